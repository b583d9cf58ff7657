// How fast the embedded event log is: appending with a sync before each acknowledgement, reading back, opening.
//
//     event_log_bench [--dir DIR] [--records N] [--callers N] [--batch N] [--in_flight N] [--partitions N]
//     event_log_bench --dir DIR --open_only 1      opens what a killed run left, and reads it back
//
// Prints one JSON line. Made for a person with a quiet machine; no test looks at its numbers.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/clock/clock.h"
#include "common/event_log/rocks_event_log.h"
#include "common/sync/mutex.h"

namespace naru::event_log {
namespace {

using SteadyClock = std::chrono::steady_clock;

struct Flags {
  std::string dir = "/tmp/naru_event_log_bench";
  int64_t records = 8'000'000;
  int callers = 4;
  int batch = 500;
  int in_flight = 4;
  int partitions = 4;
  bool open_only = false;
};

double Seconds(SteadyClock::time_point from) {
  return std::chrono::duration<double>(SteadyClock::now() - from).count();
}

int64_t StatusField(const char* field) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);) {
    if (line.compare(0, std::strlen(field), field) == 0) return std::atoll(line.c_str() + std::strlen(field) + 1);
  }
  return 0;
}

// Bytes that this process has written to files, the page cache included.
int64_t BytesWritten() {
  std::ifstream in("/proc/self/io");
  std::string name;
  int64_t value = 0;
  while (in >> name >> value) {
    if (name == "wchar:") return value;
  }
  return 0;
}

int64_t DirectoryBytes(const std::string& dir) {
  int64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir, error)) {
    if (entry.is_regular_file(error)) bytes += static_cast<int64_t>(entry.file_size(error));
  }
  return bytes;
}

// A few thousand batches of 170-byte records that look like events, used again and again.
struct Corpus {
  explicit Corpus(const Flags& flags) {
    SeededRandom random(7);
    static constexpr const char* kTypes[] = {"UserLogin", "UserLogout", "UserClickMenu", "UserSearch"};
    for (int b = 0; b < 256; ++b) {
      std::vector<std::string>& batch = values.emplace_back();
      for (int i = 0; i < flags.batch; ++i) {
        std::string value = absl::StrFormat(
            "\n\x10%016x\x12\x03web\x1a%s\"\x08u%07d2\x14%014d*{\"menu\":\"ecopoint%d\",\"age\":%d,\"gender\":\"%c\","
            "\"region\":\"Seoul\",\"member_id\":\"m%06d\",\"session\":\"%08x\"}",
            random.Next(), kTypes[random.Next() % 4], static_cast<int>(random.Next() % 100'000), 1'700'000'000'000 + i,
            static_cast<int>(random.Next() % 3), static_cast<int>(random.Next() % 60),
            random.Next() % 2 == 0 ? 'f' : 'm', static_cast<int>(random.Next() % 100'000),
            static_cast<uint32_t>(random.Next()));
        value.resize(162, ' ');
        batch.push_back(std::move(value));
      }
      std::vector<std::string>& batch_keys = keys.emplace_back();
      for (int i = 0; i < flags.batch; ++i) batch_keys.push_back(absl::StrFormat("u%07d", random.Next() % 100'000));
      std::vector<Record>& batch_records = records.emplace_back();
      for (int i = 0; i < flags.batch; ++i) {
        batch_records.push_back(
            {batch_keys[static_cast<size_t>(i)], batch[static_cast<size_t>(i)], 1'700'000'000'000'000 + b});
      }
    }
  }
  std::vector<std::vector<std::string>> values;
  std::vector<std::vector<std::string>> keys;
  std::vector<std::vector<Record>> records;
};

// One caller: keeps `in_flight` appends under way.
class Caller {
 public:
  Caller(Producer* producer, const Corpus& corpus, const Flags& flags, int index)
      : producer_(producer), corpus_(corpus), flags_(flags), index_(index) {}

  void Run(int64_t batches) {
    for (int64_t i = 0; i < batches; ++i) {
      {
        MutexLock lock(&mu_);
        while (in_flight_ >= flags_.in_flight) cv_.Wait(&mu_);
        ++in_flight_;
      }
      const std::vector<Record>& records = corpus_.records[static_cast<size_t>((i * 4 + index_) % 256)];
      const auto start = SteadyClock::now();
      const int partition = static_cast<int>((i + index_) % flags_.partitions);
      producer_->AppendAsync({AppendBatch{"events", partition, {"naru.event.v1.Event", ""}, records}}, {},
                             [this, start](absl::StatusOr<AppendResult> result) {
                               if (!result.ok()) std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
                               MutexLock lock(&mu_);
                               latencies_ms.push_back(Seconds(start) * 1e3);
                               --in_flight_;
                               cv_.Signal();
                             });
    }
    MutexLock lock(&mu_);
    while (in_flight_ > 0) cv_.Wait(&mu_);
  }

  std::vector<double> latencies_ms;

 private:
  Producer* const producer_;
  const Corpus& corpus_;
  const Flags& flags_;
  const int index_;
  Mutex mu_;
  CondVar cv_;
  int in_flight_ ABSL_GUARDED_BY(mu_) = 0;
};

std::unique_ptr<RocksEventLog> OpenLog(const Flags& flags, double* seconds) {
  RocksEventLogOptions options;
  options.path = flags.dir;
  const auto start = SteadyClock::now();
  auto log = RocksEventLog::Open(options);
  if (!log.ok()) {
    std::fprintf(stderr, "%s\n", log.status().ToString().c_str());
    std::exit(1);
  }
  for (const char* name : {"events", "events.dlq", "events.late", "aggregates", "naru.ledger"}) {
    TopicConfig config;
    config.name = name;
    config.partitions = flags.partitions;
    config.compacted = std::string(name) == "aggregates" || std::string(name) == "naru.ledger";
    if (!(*log)->CreateTopic(config).ok()) std::exit(1);
  }
  *seconds = Seconds(start);
  return *std::move(log);
}

double ReadAll(RocksEventLog* log, const Flags& flags, int64_t* records) {
  std::vector<ReadPosition> positions;
  for (int p = 0; p < flags.partitions; ++p) positions.push_back({p, ReadPosition::Kind::kOffset, 0});
  const auto start = SteadyClock::now();
  auto reader = log->OpenReader("events", positions);
  while (reader.ok()) {
    auto batches = (*reader)->Poll(std::chrono::milliseconds(0), 4 << 20);
    if (!batches.ok() || batches->empty()) break;
    for (const FetchedBatch& batch : *batches) *records += static_cast<int64_t>(batch.records.size());
  }
  return Seconds(start);
}

int OpenOnly(const Flags& flags) {
  double seconds = 0;
  const std::unique_ptr<RocksEventLog> log = OpenLog(flags, &seconds);
  for (const std::string& note : log->recovery_report().notes) std::printf("note: %s\n", note.c_str());
  const int64_t idle_kib = StatusField("VmRSS:");
  int64_t records = 0;
  const double read_seconds = ReadAll(log.get(), flags, &records);
  std::printf("{\"open_ms\":%.1f,\"records\":%lld,\"read_per_s\":%.0f,\"idle_mib\":%.1f}\n", seconds * 1e3,
              static_cast<long long>(records), static_cast<double>(records) / read_seconds,
              static_cast<double>(idle_kib) / 1024);
  return 0;
}

int Main(const Flags& flags) {
  std::error_code error;
  std::filesystem::remove_all(flags.dir, error);
  double open_empty = 0, open_again = 0;
  std::unique_ptr<RocksEventLog> log = OpenLog(flags, &open_empty);
  const int64_t idle_kib = StatusField("VmRSS:");
  const Corpus corpus(flags);
  auto producer = log->OpenProducer({});
  if (!producer.ok()) return 1;
  const int64_t written_before = BytesWritten();
  const int64_t batches = flags.records / flags.batch / flags.callers;
  std::vector<std::unique_ptr<Caller>> callers;
  std::vector<std::thread> threads;
  rusage before{}, after{};
  ::getrusage(RUSAGE_SELF, &before);
  const auto start = SteadyClock::now();
  for (int c = 0; c < flags.callers; ++c) {
    callers.push_back(std::make_unique<Caller>(producer->get(), corpus, flags, c));
    threads.emplace_back([caller = callers.back().get(), batches] { caller->Run(batches); });
  }
  for (std::thread& thread : threads) thread.join();
  const double append_seconds = Seconds(start);
  ::getrusage(RUSAGE_SELF, &after);
  const auto cpu = [](const rusage& r) {
    return static_cast<double>(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           static_cast<double>(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
  };
  std::vector<double> latencies;
  for (const auto& caller : callers) {
    latencies.insert(latencies.end(), caller->latencies_ms.begin(), caller->latencies_ms.end());
  }
  std::sort(latencies.begin(), latencies.end());
  const auto percentile = [&](double p) {
    return latencies[static_cast<size_t>(p * static_cast<double>(latencies.size() - 1))];
  };
  const int64_t records = batches * flags.batch * flags.callers;
  const RocksEventLogStats stats = log->stats();
  int64_t read_records = 0;
  const double read_seconds = ReadAll(log.get(), flags, &read_records);
  const int64_t busy_kib = StatusField("VmRSS:"), peak_kib = StatusField("VmHWM:");
  producer->reset();
  const auto close_start = SteadyClock::now();
  log.reset();
  const double close_seconds = Seconds(close_start);
  const int64_t written = BytesWritten() - written_before;
  log = OpenLog(flags, &open_again);
  std::printf(
      "{\"append_per_s\":%.0f,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.1f,\"cpu_s\":%.2f,\"wall_s\":%.2f,"
      "\"records_per_sync\":%.0f,\"compression\":%.2f,\"write_amplification\":%.2f,\"read_per_s\":%.0f,"
      "\"open_empty_ms\":%.1f,\"open_again_ms\":%.1f,\"close_ms\":%.1f,\"idle_mib\":%.1f,\"busy_mib\":%.1f,"
      "\"peak_mib\":%.1f,\"disk_mib\":%.1f}\n",
      static_cast<double>(records) / append_seconds, percentile(0.5), percentile(0.99), latencies.back(),
      cpu(after) - cpu(before), append_seconds, static_cast<double>(records) / static_cast<double>(stats.commits),
      static_cast<double>(records) * 170 / static_cast<double>(stats.appended_bytes),
      static_cast<double>(written) / static_cast<double>(stats.appended_bytes),
      static_cast<double>(read_records) / read_seconds, open_empty * 1e3, open_again * 1e3, close_seconds * 1e3,
      static_cast<double>(idle_kib) / 1024, static_cast<double>(busy_kib) / 1024, static_cast<double>(peak_kib) / 1024,
      static_cast<double>(DirectoryBytes(flags.dir)) / 1048576);
  log.reset();
  std::filesystem::remove_all(flags.dir, error);
  return 0;
}

}  // namespace
}  // namespace naru::event_log

int main(int argc, char** argv) {
  naru::event_log::Flags flags;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const int64_t number = std::atoll(argv[i + 1]);
    if (name == "--dir")
      flags.dir = argv[i + 1];
    else if (name == "--records")
      flags.records = number;
    else if (name == "--callers")
      flags.callers = static_cast<int>(number);
    else if (name == "--batch")
      flags.batch = static_cast<int>(number);
    else if (name == "--in_flight")
      flags.in_flight = static_cast<int>(number);
    else if (name == "--partitions")
      flags.partitions = static_cast<int>(number);
    else if (name == "--open_only")
      flags.open_only = number != 0;
    else {
      std::fprintf(stderr, "unknown flag %s; see the top of event_log_bench.cc\n", name.c_str());
      return 2;
    }
  }
  return flags.open_only ? naru::event_log::OpenOnly(flags) : naru::event_log::Main(flags);
}
