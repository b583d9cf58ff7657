// For tests: an embedded log, a catalog, and aggregators on them with a server each.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/catalog/catalog.h"
#include "common/clock/clock.h"
#include "common/event_log/rocks_event_log.h"
#include "common/metrics/metrics.h"
#include "common/rocks/fault_injection_env.h"
#include "common/server/server.h"
#include "common/testing/testing.h"
#include "naru/aggregator/v1/aggregator.grpc.pb.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/aggregator.h"

namespace naru::aggregator::testing {

/// One event as a test says it.
struct TestEvent {
  std::string type;
  std::string subject;
  int64_t time_us = 0;
  std::map<std::string, double> numbers;
  std::map<std::string, std::string> strings;
  std::string timeline;
  std::string id;
  bool ends_timeline = false;
  std::string session;
};
std::string Encode(const TestEvent& event);

/// A Metric resource out of its spec as JSON. Fails the test's process when that cannot be read.
catalog::v1::Resource MakeMetric(const std::string& name, int32_t version, const std::string& spec_json);

/// The same for a Funnel or a Retention.
catalog::v1::Resource MakeResource(const std::string& kind, const std::string& name, int32_t version,
                                   const std::string& spec_json);

/// One aggregator with its server. Stopped when it goes.
class Node {
 public:
  Node(event_log::EventLog& log, catalog::Catalog& catalog, const Clock& clock, AggregatorOptions options);
  ~Node();
  v1::AggregatorService::Stub& stub() { return *stub_; }
  Aggregator& aggregator() { return *aggregator_; }
  void Stop();
  /// Ends without a last commit.
  void Crash();

  absl::StatusOr<v1::QueryWindowsResponse> Query(const v1::QueryWindowsRequest& request);
  /// Every row of a metric, over all pages.
  std::vector<v1::WindowRow> AllRows(const std::string& metric);
  /// Every session of a metric (of one entity, if one is given), over all pages.
  std::vector<v1::Session> AllSessions(const std::string& metric, const std::string& entity = "", int page_size = 0);
  v1::MetricStatus Status(const std::string& metric);

 private:
  MetricRegistry metrics_;
  std::unique_ptr<Aggregator> aggregator_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::AggregatorService::Stub> stub_;
};

/// The log and what is on it.
class Cluster {
 public:
  /// On an embedded log in a temporary directory, or on the log that `open` gives.
  using OpenLog = std::function<absl::StatusOr<std::unique_ptr<event_log::EventLog>>()>;
  explicit Cluster(int partitions, OpenLog open = nullptr);
  ~Cluster();

  FakeClock& clock() { return clock_; }
  event_log::EventLog& log() { return *log_; }
  /// Closes and opens the log and the catalog; nodes must be gone.
  void Reopen();
  /// Embedded: from now on nothing reaches the disk. Reopen brings the power back, without what was not synced.
  void CutPower();
  void Publish(int partition, const std::vector<TestEvent>& events);
  void Apply(const catalog::v1::Resource& resource);
  void Delete(const std::string& metric, int32_t version);
  void DeleteResource(const std::string& kind, const std::string& name, int32_t version);
  std::unique_ptr<Node> StartNode(const std::string& instance = "a", int64_t memory_bytes = int64_t{64} << 20);
  /// How many records of `aggregates` a reader finds after compaction by key, by kind of key.
  std::map<int, int> LiveRecords();
  std::vector<std::string> LateKeys();

 private:
  void Open();
  void PublishCatalog(const std::string& key, const std::string& value);

  const int partitions_;
  naru::testing::TempDir dir_;
  rocks::FaultInjectionEnv env_;
  SeededRandom random_{1};
  bool power_cut_ = false;
  FakeClock clock_;
  OpenLog open_log_;
  std::unique_ptr<event_log::EventLog> log_;
  std::unique_ptr<event_log::Producer> producer_;
  std::unique_ptr<catalog::Catalog> catalog_;
  int64_t next_id_ = 0;
};

/// A row as text that is easy to compare: `start/end {gender=F,band=20} clicks=3 points=12 | final r1`.
std::string ShowRow(const v1::WindowRow& row, bool with_final = false);

int64_t Time(const std::string& rfc3339);

}  // namespace naru::aggregator::testing
