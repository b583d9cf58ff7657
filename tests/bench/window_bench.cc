// The window kernel alone: rows that are in memory already are counted and summed by a key in tumbling windows of an
// hour, with the aggregator's own panes, groups and measures, in the order in which it uses them. Nothing is parsed.
//
//     window_bench make FILE ROWS KEYS    writes rows, for this program and for what it is compared with
//     window_bench count FILE PASSES      prints the median of the passes, as one JSON line
//
// A row is 16 bytes, little-endian: time in microseconds (int64), key (uint32), value (int32).
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "common/clock/clock.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/metric_plan.h"
#include "services/aggregator/pane_store.h"

namespace naru::aggregator {
namespace {

struct Input {
  int64_t time_us;
  uint32_t key;
  int32_t value;
};
static_assert(sizeof(Input) == 16);

// What both sides must agree on.
struct Answer {
  int64_t groups = 0;
  int64_t count = 0;
  int64_t sum = 0;
  int64_t check = 0;  ///< of count times sum of each group: depends on what is grouped with what
};

double ThreadSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

int Make(const char* path, int64_t rows, uint32_t keys) {
  // A whole hour, so that the keys are the groups.
  constexpr int64_t kStartUs = 1'700'002'800'000'000;
  constexpr int64_t kHourUs = 3'600'000'000;
  SeededRandom random(7);
  std::ofstream file(path, std::ios::binary);
  for (int64_t i = 0; i < rows; ++i) {
    const uint64_t bits = random.Next();
    const auto time_us = static_cast<int64_t>(static_cast<double>(kHourUs) / static_cast<double>(rows) * i);
    const Input row{kStartUs + time_us, static_cast<uint32_t>(bits % keys), static_cast<int32_t>(bits >> 40) % 1000};
    file.write(reinterpret_cast<const char*>(&row), sizeof(row));
  }
  file.close();
  return file.good() ? 0 : 1;
}

std::vector<Input> Read(const char* path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  std::vector<Input> rows(static_cast<size_t>(file.tellg()) / sizeof(Input));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(rows.data()), static_cast<std::streamsize>(rows.size() * sizeof(Input)));
  return rows;
}

catalog::v1::Metric CountAndSum() {
  catalog::v1::Metric metric;
  metric.mutable_window()->set_type("tumbling");
  metric.mutable_window()->set_size("1h");
  metric.set_max_groups(10'000'000);
  metric.add_dimensions()->set_name("key");
  catalog::v1::Measure* count = metric.add_measures();
  count->set_name("events");
  count->set_agg("count");
  catalog::v1::Measure* sum = metric.add_measures();
  sum->set_name("points");
  sum->set_agg("sum");
  sum->set_expr("data.points");
  return metric;
}

// As EventKernel does: look-ups of a few rows are fetched ahead, then they are counted.
class Kernel {
 public:
  explicit Kernel(const MetricPlan& plan)
      : plan_(plan), finder_(&plan.grid), panes_({"bench", 1}, 0, &plan.layout, nullptr) {}

  void Take(const Input& row) {
    Pending& pending = ring_[pending_++];
    pending.pane = *panes_.Get(finder_.Find(row.time_us));
    pending.key.clear();
    AppendGroupValue(cel::Value::Int(row.key), &pending.key);
    pending.hash = HashGroup(pending.key);
    pending.pane->Prefetch(pending.hash);
    pending.value = row.value;
    if (pending_ == kRing) Flush();
  }
  void Flush() {
    for (size_t i = 0; i < pending_; ++i) ring_[i].pane->PrefetchRow(ring_[i].hash);
    for (size_t i = 0; i < pending_; ++i) Count(ring_[i]);
    pending_ = 0;
  }
  Answer Finish() {
    Answer answer;
    panes_.ForEachLoaded([&](Pane* pane) {
      pane->ForEach([&](Row* row) {
        MeasureResult count, sum;
        plan_.layout.Finish(0, row->cell(), &count);
        plan_.layout.Finish(1, row->cell(), &sum);
        ++answer.groups;
        answer.count += count.integer;
        answer.sum += sum.integer;
        answer.check += count.integer * sum.integer;
      });
    });
    return answer;
  }

 private:
  static constexpr size_t kRing = 16;
  struct Pending {
    Pane* pane = nullptr;
    uint64_t hash = 0;
    std::string key;
    int32_t value = 0;
  };

  void Count(const Pending& pending) {
    Row* row = pending.pane->Find(pending.hash, pending.key);
    if (row == nullptr) {
      ++pending.pane->record.group_count;
      row = pending.pane->Insert(pending.hash, pending.key);
    }
    panes_.MarkDirty(pending.pane);
    pending.pane->MarkDirty(row);
    plan_.layout.Increment(0, row->cell());
    // Numbers of events are doubles.
    plan_.layout.Update(1, row->cell(), cel::Value::Double(pending.value));
  }

  const MetricPlan& plan_;
  PaneFinder finder_;
  PaneStore panes_;
  std::array<Pending, kRing> ring_;
  size_t pending_ = 0;
};

int Count(const char* path, int passes) {
  const std::vector<Input> rows = Read(path);
  cel::Environment environment = cel::Environment::ForEvents();
  const auto plan = MetricPlan::Compile("bench", 1, 0, CountAndSum(), &environment);
  if (!plan.ok() || rows.empty() || passes < 1) {
    std::fprintf(stderr, "window_bench: %s\n", plan.ok() ? "no rows" : plan.status().ToString().c_str());
    return 1;
  }
  std::vector<double> rates;
  Answer answer;
  for (int pass = 0; pass < passes; ++pass) {
    Kernel kernel(**plan);
    const double start = ThreadSeconds();
    for (const Input& row : rows) kernel.Take(row);
    kernel.Flush();
    rates.push_back(static_cast<double>(rows.size()) / (ThreadSeconds() - start));
    answer = kernel.Finish();
  }
  std::sort(rates.begin(), rates.end());
  std::printf("{\"rows_per_s\":%.0f,\"groups\":%lld,\"count\":%lld,\"sum\":%lld,\"check\":%lld}\n",
              rates[rates.size() / 2], static_cast<long long>(answer.groups), static_cast<long long>(answer.count),
              static_cast<long long>(answer.sum), static_cast<long long>(answer.check));
  return 0;
}

int Run(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  if (command == "make" && argc == 5) {
    return Make(argv[2], std::atoll(argv[3]), static_cast<uint32_t>(std::max(1, std::atoi(argv[4]))));
  }
  if (command == "count" && argc == 4) return Count(argv[2], std::atoi(argv[3]));
  std::fprintf(stderr, "usage: window_bench make FILE ROWS KEYS | count FILE PASSES\n");
  return 2;
}

}  // namespace
}  // namespace naru::aggregator

int main(int argc, char** argv) { return naru::aggregator::Run(argc, argv); }
