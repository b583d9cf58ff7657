// How fast the aggregator counts: the kernel alone, from the log to committed windows, and how both grow.
//
//     aggregator_bench [--dir DIR] [--events N] [--part kernel|log|growth]
//
// Prints one JSON line for each measurement; without --part those of kernel and log. Made for a person with a quiet
// machine; no test looks at its numbers.
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/catalog/catalog.h"
#include "common/clock/clock.h"
#include "common/event/event_writer.h"
#include "common/event_log/rocks_event_log.h"
#include "common/log/log.h"
#include "common/metrics/metrics.h"
#include "naru/catalog/v1/catalog.pb.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/aggregator.h"
#include "services/aggregator/event_kernel.h"

namespace naru::aggregator {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kBatch = 500;

double Seconds(SteadyClock::time_point from) {
  return std::chrono::duration<double>(SteadyClock::now() - from).count();
}

// Of this thread: the kernel is one, and other programs on the machine should not count.
double ThreadSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  Must(value.status());
  return *std::move(value);
}

void AddMeasure(catalog::v1::Metric* metric, const std::string& name, const std::string& agg, const std::string& expr,
                const std::string& filter) {
  catalog::v1::Measure* measure = metric->add_measures();
  measure->set_name(name);
  measure->set_agg(agg);
  measure->set_expr(expr);
  measure->set_filter(filter);
}

void AddDimension(catalog::v1::Metric* metric, const std::string& name, const std::string& expr) {
  catalog::v1::Dimension* dimension = metric->add_dimensions();
  dimension->set_name(name);
  dimension->set_expr(expr);
}

// The hot path of the pack ciao_labella.
catalog::v1::Metric ThirteenSums(const std::string& type) {
  catalog::v1::Metric metric;
  metric.set_time_zone("Asia/Seoul");
  metric.mutable_window()->set_type(type);
  metric.mutable_window()->set_size(type == "hopping" ? "60m" : "5m");
  if (type == "hopping") metric.mutable_window()->set_slide("5m");
  metric.set_filter(
      "type in [\"UserLogin\", \"UserLogout\", \"UserClickMenu\", \"UserUsedEcopoint1\", \"UserUsedEcopoint2\", "
      "\"UserSearchProduct\", \"UserClickProduct\", \"UserSearchLesswaste\"]");
  AddDimension(&metric, "gender", "data.user_gender");
  AddDimension(&metric, "age_band", "bucket(data.user_age, 10, 60)");
  AddDimension(&metric, "region", "data.user_region");
  AddMeasure(&metric, "login", "count", "", "type == \"UserLogin\"");
  AddMeasure(&metric, "logout", "count", "", "type == \"UserLogout\"");
  for (const char* menu : {"nolabel", "ecopoint1", "ecopoint2", "lesswaste"}) {
    AddMeasure(&metric, absl::StrCat("menu_", menu), "count", "",
               absl::StrCat("type == \"UserClickMenu\" && data.selected_menu == \"", menu, "\""));
  }
  AddMeasure(&metric, "ecopoint1_click", "count", "", "type == \"UserUsedEcopoint1\"");
  AddMeasure(&metric, "ecopoint2_click", "count", "", "type == \"UserUsedEcopoint2\"");
  AddMeasure(&metric, "lesswaste_click", "count", "", "type == \"UserSearchLesswaste\"");
  AddMeasure(&metric, "nolabel_search", "count", "", "type == \"UserSearchProduct\"");
  AddMeasure(&metric, "nolabel_click", "count", "", "type == \"UserClickProduct\"");
  AddMeasure(&metric, "save_ecopoint1", "sum", "data.save_point", "type == \"UserUsedEcopoint1\"");
  AddMeasure(&metric, "save_ecopoint2", "sum", "data.save_point", "type == \"UserUsedEcopoint2\"");
  return metric;
}

catalog::v1::Metric CountAndSum() {
  catalog::v1::Metric metric;
  metric.mutable_window()->set_type("tumbling");
  metric.mutable_window()->set_size("1h");
  metric.set_max_groups(10'000'000);
  AddDimension(&metric, "key", "subject");
  AddMeasure(&metric, "events", "count", "", "");
  AddMeasure(&metric, "points", "sum", "data.save_point", "");
  return metric;
}

// Encoded events of about 170 bytes, times nearly in order over one hour.
std::vector<std::string> MakeEvents(int count, int subjects) {
  static constexpr const char* kTypes[] = {"UserLogin",         "UserLogout",         "UserClickMenu",
                                           "UserUsedEcopoint1", "UserUsedEcopoint2",  "UserSearchProduct",
                                           "UserClickProduct",  "UserSearchLesswaste"};
  static constexpr const char* kMenus[] = {"ecopoint1", "ecopoint2", "nolabel", "lesswaste"};
  static constexpr const char* kRegions[] = {"서울특별시", "부산광역시", "대구광역시", "인천광역시", "광주광역시",
                                             "대전광역시", "울산광역시", "경기도",     "강원도",     "제주도"};
  SeededRandom random(7);
  std::vector<std::string> events(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    std::string data;
    event::StructWriter writer(&data);
    const int type = static_cast<int>(random.Next() % 8);
    if (type == 3 || type == 4) writer.AddNumber("save_point", static_cast<double>(10 * (1 + random.Next() % 5)));
    if (type == 2) writer.AddString("selected_menu", kMenus[random.Next() % 4]);
    writer.AddNumber("user_age", static_cast<double>(14 + random.Next() % 60));
    writer.AddString("user_gender", random.Next() % 2 == 0 ? "F" : "M");
    writer.AddString("user_region", kRegions[random.Next() % 10]);
    const std::string id = absl::StrFormat("%016x%016x", random.Next(), random.Next());
    const std::string subject = absl::StrFormat("m%06d", random.Next() % static_cast<uint64_t>(subjects));
    event::EventFields fields;
    fields.id = id;
    fields.source = "ciao-labella";
    fields.type = kTypes[type];
    fields.subject = subject;
    fields.has_time = true;
    fields.time_us =
        1'700'000'000'000'000 + int64_t{3'600'000'000} / count * i - static_cast<int64_t>(random.Next() % 2'000'000);
    fields.data = data;
    event::AppendEvent(fields, &events[static_cast<size_t>(i)]);
    event::AppendServerFields({.type_version = 1}, &events[static_cast<size_t>(i)]);
  }
  return events;
}

std::vector<event_log::FetchedBatch> MakeBatches(const std::vector<std::string>& events) {
  std::vector<event_log::FetchedBatch> batches;
  for (size_t i = 0; i < events.size(); ++i) {
    if (i % kBatch == 0) batches.emplace_back();
    batches.back().records.push_back({static_cast<int64_t>(i), 1'700'003'600'000'000, {}, events[i], false});
    batches.back().next_offset = static_cast<int64_t>(i) + 1;
  }
  return batches;
}

// Median of five passes over the events, each into empty states.
void RunKernel(const char* name, const std::vector<catalog::v1::Metric>& metrics,
               const std::vector<std::string>& events) {
  const std::vector<event_log::FetchedBatch> batches = MakeBatches(events);
  auto plans = std::make_shared<PlanSet>();
  for (size_t i = 0; i < metrics.size(); ++i) {
    plans->plans.push_back(Must(MetricPlan::Compile(absl::StrCat("m", i), 1, 0, metrics[i], &plans->environment)));
  }
  std::vector<double> rates;
  for (int pass = 0; pass < 5; ++pass) {
    EventKernel kernel(plans);
    std::vector<std::unique_ptr<MetricState>> states;
    std::vector<MetricState*> pointers;
    for (const auto& plan : plans->plans) {
      states.push_back(std::make_unique<MetricState>(plan, 0, nullptr, nullptr));
      pointers.push_back(states.back().get());
    }
    std::vector<LateEvent> late;
    const double start = ThreadSeconds();
    for (const event_log::FetchedBatch& batch : batches)
      Must(kernel.Process(batch, 0, INT64_MAX, pointers, nullptr, &late).status());
    rates.push_back(static_cast<double>(events.size()) / (ThreadSeconds() - start));
  }
  std::sort(rates.begin(), rates.end());
  std::printf("{\"bench\":\"aggregator_kernel\",\"case\":\"%s\",\"events_per_cpu_second\":%.0f}\n", name,
              rates[rates.size() / 2]);
  std::fflush(stdout);
}

void ApplyMetric(event_log::EventLog& log, const std::string& name, const catalog::v1::Metric& metric) {
  catalog::v1::CatalogRecord record;
  record.mutable_resource()->set_kind("Metric");
  record.mutable_resource()->mutable_metadata()->set_name(name);
  record.mutable_resource()->mutable_metadata()->set_version(1);
  *record.mutable_resource()->mutable_metric() = metric;
  const std::string key = absl::StrCat("Metric/", name);
  const std::string value = record.SerializeAsString();
  const event_log::Record stored{key, value, Clock::System()->NowMicros(), false};
  event_log::AppendBatch batch;
  batch.topic = event_log::kCatalogTopic;
  batch.records = absl::MakeConstSpan(&stored, 1);
  const auto producer = Must(log.OpenProducer({}));
  Must(producer->Append({batch}).status());
}

// Appends the events `repeats` times; returns how many that are.
int64_t FillLog(event_log::EventLog& log, const std::vector<std::string>& events, int repeats) {
  constexpr size_t kBatchesPerAppend = 16;  // one sync for all of them
  event_log::TopicConfig topic;
  topic.name = event_log::kEventsTopic;
  topic.partitions = 4;
  Must(log.CreateTopic(topic));
  const auto producer = Must(log.OpenProducer({}));
  const int64_t now_us = Clock::System()->NowMicros();
  std::vector<std::vector<event_log::Record>> records;
  std::vector<event_log::AppendBatch> batches;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (size_t i = 0; i < events.size(); i += kBatch) {
      records.emplace_back();
      for (size_t j = i; j < std::min(i + kBatch, events.size()); ++j)
        records.back().push_back({{}, events[j], now_us, false});
      event_log::AppendBatch batch;
      batch.topic = event_log::kEventsTopic;
      batch.partition = static_cast<int>(i / kBatch) % 4;
      batch.headers.schema = "naru.event.v1.Event";
      batch.records = records.back();
      batches.push_back(batch);
      if (batches.size() < kBatchesPerAppend && i + kBatch < events.size()) continue;
      Must(producer->Append(std::move(batches)).status());
      batches.clear();
      records.clear();
    }
  }
  return static_cast<int64_t>(events.size()) * repeats;
}

// Events that lie in the log when the aggregator starts, until every one is counted and committed.
void RunFromLog(const char* bench, const char* name, const std::string& dir,
                const std::vector<catalog::v1::Metric>& counted, const std::vector<std::string>& events, int repeats) {
  std::filesystem::remove_all(dir);
  event_log::RocksEventLogOptions options;
  options.path = dir;
  const auto log = Must(event_log::RocksEventLog::Open(options));
  const int64_t published = FillLog(*log, events, repeats);
  const auto catalog = Must(catalog::Catalog::Open(*log, *Clock::System()));
  for (size_t i = 0; i < counted.size(); ++i) ApplyMetric(*log, absl::StrCat("m", i), counted[i]);
  Must(catalog->CatchUp(std::chrono::seconds(10)));
  MetricRegistry metrics;
  AggregatorOptions aggregator_options;
  aggregator_options.instance = "bench";
  const auto aggregator = Must(Aggregator::Create(aggregator_options, {*log, *catalog, metrics}));
  const double cpu = CpuSeconds();
  const auto start = SteadyClock::now();
  aggregator->Start();
  while (aggregator->stats().events < published) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const double counted_s = Seconds(start);
  aggregator->Stop();
  const double cpu_s = CpuSeconds() - cpu;
  std::printf(
      "{\"bench\":\"%s\",\"case\":\"%s\",\"events\":%lld,\"cpu_s\":%.3f,\"events_per_second\":%.0f,"
      "\"events_per_cpu_second\":%.0f,\"commits\":%lld,\"committed_bytes\":%lld}\n",
      bench, name, static_cast<long long>(published), cpu_s, static_cast<double>(published) / counted_s,
      static_cast<double>(published) / cpu_s, static_cast<long long>(aggregator->stats().commits),
      static_cast<long long>(aggregator->stats().committed_bytes));
  std::fflush(stdout);
}

void RunKernels(int count, const std::vector<std::string>& few) {
  RunKernel("13 sums, tumbling 5m", {ThirteenSums("tumbling")}, few);
  RunKernel("13 sums, hopping 60m/5m", {ThirteenSums("hopping")}, few);
  RunKernel("13 sums, ten metrics", std::vector<catalog::v1::Metric>(10, ThirteenSums("hopping")), few);
  RunKernel("count+sum, 5,000 keys", {CountAndSum()}, few);
  RunKernel("count+sum, 100,000 keys", {CountAndSum()}, MakeEvents(count, 100'000));
  RunKernel("count+sum, 1,000,000 keys", {CountAndSum()}, MakeEvents(count, 1'000'000));
}

void RunLogs(const std::string& dir, const std::vector<std::string>& few) {
  constexpr char kName[] = "aggregator_from_log";
  RunFromLog(kName, "13 sums, tumbling 5m", dir, {ThirteenSums("tumbling")}, few, 4);
  RunFromLog(kName, "13 sums, hopping 60m/5m", dir, {ThirteenSums("hopping")}, few, 4);
}

// Each is ten times the first in one respect.
void RunGrowth(const std::string& dir, int count) {
  constexpr char kName[] = "aggregator_growth";
  const std::vector<std::string> some = MakeEvents(count, 10'000);
  RunFromLog(kName, "base", dir, {CountAndSum()}, some, 1);
  RunFromLog(kName, "10x events", dir, {CountAndSum()}, some, 10);
  RunFromLog(kName, "10x groups", dir, {CountAndSum()}, MakeEvents(count, 100'000), 1);
  RunFromLog(kName, "10x metrics", dir, std::vector<catalog::v1::Metric>(10, CountAndSum()), some, 1);
}

int Run(int argc, char** argv) {
  std::string dir = "/tmp/naru_aggregator_bench", part;
  int64_t events = 2'000'000;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--dir") == 0) dir = argv[i + 1];
    if (std::strcmp(argv[i], "--part") == 0) part = argv[i + 1];
    if (std::strcmp(argv[i], "--events") == 0 && !absl::SimpleAtoi(argv[i + 1], &events)) return 2;
  }
  log::SetLevel(log::Level::kError);
  const int count = static_cast<int>(events);
  if (part != "growth") {
    const std::vector<std::string> few = MakeEvents(count, 5000);
    if (part.empty() || part == "kernel") RunKernels(count, few);
    if (part.empty() || part == "log") RunLogs(dir, few);
  } else {
    RunGrowth(dir, count);
  }
  std::filesystem::remove_all(dir);
  return 0;
}

}  // namespace
}  // namespace naru::aggregator

int main(int argc, char** argv) { return naru::aggregator::Run(argc, argv); }
