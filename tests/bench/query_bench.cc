// How long an answer takes: pages of 100 rows out of one tumbling window of many groups, asked with `fast` over
// loopback while nothing is written.
//
//     query_bench [--dir DIR] [--groups N] [--queries N]
//
// Prints one JSON line for each kind of query. Made for a person with a quiet machine; no test looks at its numbers.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/catalog/catalog.h"
#include "common/clock/clock.h"
#include "common/event/event_writer.h"
#include "common/event_log/rocks_event_log.h"
#include "common/log/log.h"
#include "common/metrics/metrics.h"
#include "common/server/server.h"
#include "common/status/grpc_status.h"
#include "naru/aggregator/v1/aggregator.grpc.pb.h"
#include "naru/catalog/v1/catalog.pb.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/aggregator.h"

namespace naru::aggregator {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kPartitions = 4;
constexpr int kBatch = 500;

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

void AddMeasure(catalog::v1::Metric* metric, const std::string& name, const std::string& agg, const std::string& expr) {
  catalog::v1::Measure* measure = metric->add_measures();
  measure->set_name(name);
  measure->set_agg(agg);
  measure->set_expr(expr);
}

catalog::v1::Metric ByItem() {
  catalog::v1::Metric metric;
  metric.mutable_window()->set_type("tumbling");
  metric.mutable_window()->set_size("1d");
  metric.set_max_groups(10'000'000);
  for (const char* name : {"item", "region"}) metric.add_dimensions()->set_name(name);
  AddMeasure(&metric, "events", "count", "");
  AddMeasure(&metric, "points", "sum", "data.points");
  AddMeasure(&metric, "mean", "avg", "data.points");
  catalog::v1::Measure* ratio = metric.add_measures();
  ratio->set_name("share");
  ratio->set_agg("ratio");
  ratio->set_numerator("points");
  ratio->set_denominator("events");
  return metric;
}

void Apply(event_log::EventLog& log, const catalog::v1::Metric& metric) {
  catalog::v1::CatalogRecord record;
  record.mutable_resource()->set_kind("Metric");
  record.mutable_resource()->mutable_metadata()->set_name("by-item");
  record.mutable_resource()->mutable_metadata()->set_version(1);
  *record.mutable_resource()->mutable_metric() = metric;
  const std::string value = record.SerializeAsString();
  const event_log::Record stored{"Metric/by-item", value, Clock::System()->NowMicros(), false};
  event_log::AppendBatch batch;
  batch.topic = event_log::kCatalogTopic;
  batch.records = absl::MakeConstSpan(&stored, 1);
  Must(Must(log.OpenProducer({}))->Append({batch}).status());
}

// Two events of each group, spread over the partitions: answers merge.
void Publish(event_log::EventLog& log, int groups) {
  const auto producer = Must(log.OpenProducer({}));
  const int64_t now_us = Clock::System()->NowMicros();
  int made = 0;
  while (made < 2 * groups) {
    std::vector<std::string> events;
    for (; static_cast<int>(events.size()) < kBatch && made < 2 * groups; ++made) {
      const int group = static_cast<int>(static_cast<int64_t>(made) * 7919 % groups);
      std::string data;
      event::StructWriter writer(&data);
      writer.AddString("item", absl::StrCat("item-", group));
      writer.AddNumber("points", static_cast<double>(group % 1000));
      writer.AddString("region", absl::StrCat("region-", group % 17));
      const std::string id = absl::StrCat(made);
      event::EventFields fields;
      fields.id = id;
      fields.source = "bench";
      fields.type = "view";
      fields.has_time = true;
      fields.time_us = now_us;
      fields.data = data;
      events.emplace_back();
      event::AppendEvent(fields, &events.back());
    }
    std::vector<event_log::Record> records;
    for (const std::string& event : events) records.push_back({{}, event, now_us, false});
    event_log::AppendBatch batch;
    batch.topic = event_log::kEventsTopic;
    batch.partition = made / kBatch % kPartitions;
    batch.headers.schema = "naru.event.v1.Event";
    batch.records = records;
    Must(producer->Append({batch}).status());
  }
}

// Asks `queries` times; a query that has a next page goes on with it, so that pages of all depths are asked for.
void Measure(v1::AggregatorService::Stub& stub, const char* name, int queries,
             const std::function<void(v1::QueryWindowsRequest*)>& change) {
  std::vector<double> times_ms;
  v1::QueryWindowsRequest request;
  request.set_metric("by-item");
  request.set_page_size(100);
  request.set_fast(true);
  change(&request);
  size_t rows = 0;
  for (int i = 0; i < queries; ++i) {
    grpc::ClientContext context;
    v1::QueryWindowsResponse response;
    const auto start = SteadyClock::now();
    Must(FromGrpcStatus(stub.QueryWindows(&context, request, &response)));
    times_ms.push_back(std::chrono::duration<double, std::milli>(SteadyClock::now() - start).count());
    rows += static_cast<size_t>(response.rows_size());
    request.set_page_token(response.next_page_token());
  }
  std::sort(times_ms.begin(), times_ms.end());
  const auto at = [&](double share) {
    return times_ms[static_cast<size_t>(share * static_cast<double>(times_ms.size() - 1))];
  };
  std::printf(
      "{\"bench\":\"query_windows\",\"case\":\"%s\",\"queries\":%d,\"rows\":%zu,\"p50_ms\":%.2f,\"p99_ms\":%.2f,"
      "\"max_ms\":%.2f}\n",
      name, queries, rows, at(0.5), at(0.99), times_ms.back());
  std::fflush(stdout);
}

void MeasureAll(const std::string& dir, int groups, int queries) {
  std::filesystem::remove_all(dir);
  event_log::RocksEventLogOptions options;
  options.path = dir;
  const auto log = Must(event_log::RocksEventLog::Open(options));
  event_log::TopicConfig topic;
  topic.name = event_log::kEventsTopic;
  topic.partitions = kPartitions;
  Must(log->CreateTopic(topic));
  const auto catalog = Must(catalog::Catalog::Open(*log, *Clock::System()));
  Apply(*log, ByItem());
  Must(catalog->CatchUp(std::chrono::seconds(10)));
  Publish(*log, groups);
  MetricRegistry metrics;
  AggregatorOptions aggregator_options;
  aggregator_options.instance = "bench";
  const auto aggregator = Must(Aggregator::Create(aggregator_options, {*log, *catalog, metrics}));
  ServerOptions server_options;
  server_options.name = "aggregator";
  server_options.listen = "127.0.0.1:0";
  Server server(server_options, ServerDependencies{&metrics});
  aggregator->RegisterWith(server);
  Must(server.Start());
  aggregator->Start();
  const auto stub =
      v1::AggregatorService::NewStub(grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials()));
  while (aggregator->stats().events < 2 * groups) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  {
    // Everything is there once a query that waits is answered.
    grpc::ClientContext context;
    v1::QueryWindowsRequest request;
    request.set_metric("by-item");
    request.set_page_size(1);
    v1::QueryWindowsResponse response;
    Must(FromGrpcStatus(stub->QueryWindows(&context, request, &response)));
  }
  Measure(*stub, "by group", queries, [](auto*) {});
  Measure(*stub, "filter", queries / 10, [](auto* r) { r->set_filter("region == \"region-3\""); });
  Measure(*stub, "order by a measure", queries / 50, [](auto* r) { r->set_order_by("points desc"); });
  Measure(*stub, "order by a ratio", queries / 50, [](auto* r) { r->set_order_by("share desc"); });
  Measure(*stub, "group by one dimension of two", queries / 10, [](auto* r) { r->add_group_by("region"); });
  server.Stop();
}

int Run(int argc, char** argv) {
  std::string dir = "/tmp/naru_query_bench";
  int groups = 100'000, queries = 2000;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--dir") == 0) dir = argv[i + 1];
    if (std::strcmp(argv[i], "--groups") == 0 && !absl::SimpleAtoi(argv[i + 1], &groups)) return 2;
    if (std::strcmp(argv[i], "--queries") == 0 && !absl::SimpleAtoi(argv[i + 1], &queries)) return 2;
  }
  log::SetLevel(log::Level::kError);
  MeasureAll(dir, groups, queries);
  std::filesystem::remove_all(dir);
  return 0;
}

}  // namespace
}  // namespace naru::aggregator

int main(int argc, char** argv) { return naru::aggregator::Run(argc, argv); }
