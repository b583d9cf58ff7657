#include "services/aggregator/testing_cluster.h"

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/clock/rfc3339.h"
#include "common/event/event_writer.h"
#include "common/event/timeline.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "google/protobuf/util/json_util.h"
#include "naru/catalog/v1/catalog.pb.h"
#include "services/aggregator/aggregate_record.h"
#include "services/aggregator/late_events.h"

namespace naru::aggregator::testing {
namespace {

void Must(const absl::Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s: %s\n", what, status.ToString().c_str());
  std::abort();
}

template <typename T>
T Must(absl::StatusOr<T> value, const char* what) {
  Must(value.status(), what);
  return *std::move(value);
}

std::string ShowValue(const google::protobuf::Value& value) {
  switch (value.kind_case()) {
    case google::protobuf::Value::kNumberValue:
      return absl::StrFormat("%.12g", value.number_value());
    case google::protobuf::Value::kStringValue:
      return value.string_value();
    case google::protobuf::Value::kBoolValue:
      return value.bool_value() ? "true" : "false";
    default:
      return "null";
  }
}

}  // namespace

int64_t Time(const std::string& rfc3339) { return Must(ParseRfc3339(rfc3339), "time"); }

std::string Encode(const TestEvent& test) {
  std::string data, bytes;
  event::StructWriter writer(&data);
  for (const auto& [name, number] : test.numbers) writer.AddNumber(name, number);
  for (const auto& [name, text] : test.strings) writer.AddString(name, text);
  event::EventFields fields;
  fields.id = test.id;
  fields.source = "test";
  fields.type = test.ends_timeline ? absl::string_view(event::kTimelineEndType) : absl::string_view(test.type);
  fields.subject = test.subject;
  fields.session = test.session;
  fields.has_time = test.time_us != 0;
  fields.time_us = test.time_us;
  fields.data = data;
  event::AppendEvent(fields, &bytes);
  event::ServerFields server;
  server.timeline = test.timeline;
  event::AppendServerFields(server, &bytes);
  return bytes;
}

catalog::v1::Resource MakeMetric(const std::string& name, int32_t version, const std::string& spec_json) {
  return MakeResource("Metric", name, version, spec_json);
}

catalog::v1::Resource MakeResource(const std::string& kind, const std::string& name, int32_t version,
                                   const std::string& spec_json) {
  catalog::v1::Resource resource;
  resource.set_api_version("naru.dev/v1");
  resource.set_kind(kind);
  resource.mutable_metadata()->set_name(name);
  resource.mutable_metadata()->set_version(version);
  google::protobuf::Message* spec = resource.mutable_metric();
  if (kind == "Funnel") spec = resource.mutable_funnel();
  if (kind == "Retention") spec = resource.mutable_retention();
  const auto status = google::protobuf::util::JsonStringToMessage(spec_json, spec);
  if (!status.ok()) {
    std::fprintf(stderr, "%s %s: %s\n", kind.c_str(), name.c_str(), status.ToString().c_str());
    std::abort();
  }
  return resource;
}

Node::Node(event_log::EventLog& log, catalog::Catalog& catalog, const Clock& clock, AggregatorOptions options) {
  aggregator_ = Must(Aggregator::Create(options, {log, catalog, metrics_, clock}), "aggregator");
  ServerOptions server;
  server.name = "aggregator";
  server.drain_timeout = std::chrono::milliseconds(2000);
  server_ = std::make_unique<Server>(server, ServerDependencies{&metrics_});
  aggregator_->RegisterWith(*server_);
  Must(server_->Start(), "server");
  aggregator_->Start();
  stub_ = v1::AggregatorService::NewStub(server_->InProcessChannel());
  if (!naru::testing::WaitUntil([this] { return aggregator_->Health().ok(); })) {
    Must(aggregator_->Health(), "aggregator did not become ready");
  }
}

Node::~Node() { Stop(); }

void Node::Stop() {
  if (server_ == nullptr) return;
  server_->Stop();
  stub_.reset();
  server_.reset();
  aggregator_.reset();
}

void Node::Crash() {
  aggregator_->Abandon();
  Stop();
}

absl::StatusOr<v1::QueryWindowsResponse> Node::Query(const v1::QueryWindowsRequest& request) {
  grpc::ClientContext context;
  v1::QueryWindowsResponse response;
  const absl::Status status = FromGrpcStatus(stub_->QueryWindows(&context, request, &response));
  if (!status.ok()) return status;
  return response;
}

std::vector<v1::WindowRow> Node::AllRows(const std::string& metric) {
  std::vector<v1::WindowRow> rows;
  v1::QueryWindowsRequest request;
  request.set_metric(metric);
  do {
    v1::QueryWindowsResponse response = Must(Query(request), "query");
    for (v1::WindowRow& row : *response.mutable_rows()) rows.push_back(std::move(row));
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return rows;
}

std::vector<v1::Session> Node::AllSessions(const std::string& metric, const std::string& entity, int page_size) {
  std::vector<v1::Session> sessions;
  v1::QuerySessionsRequest request;
  request.set_metric(metric);
  request.set_entity(entity);
  request.set_page_size(page_size);
  do {
    grpc::ClientContext context;
    v1::QuerySessionsResponse response;
    Must(FromGrpcStatus(stub_->QuerySessions(&context, request, &response)), "sessions");
    for (v1::Session& session : *response.mutable_sessions()) sessions.push_back(std::move(session));
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return sessions;
}

v1::MetricStatus Node::Status(const std::string& metric) {
  grpc::ClientContext context;
  v1::ListMetricStatusResponse response;
  Must(FromGrpcStatus(stub_->ListMetricStatus(&context, {}, &response)), "status");
  for (const v1::MetricStatus& status : response.metrics()) {
    if (status.metric() == metric) return status;
  }
  return {};
}

Cluster::Cluster(int partitions, OpenLog open)
    : partitions_(partitions), clock_(Time("2024-05-01T00:00:00Z")), open_log_(std::move(open)) {
  if (open_log_ == nullptr) {
    open_log_ = [this]() -> absl::StatusOr<std::unique_ptr<event_log::EventLog>> {
      event_log::RocksEventLogOptions options;
      options.path = dir_.File("log");
      options.clock = &clock_;
      options.env = &env_;
      options.maintenance_interval = std::chrono::milliseconds(0);
      return event_log::RocksEventLog::Open(options);
    };
  }
  Open();
}

Cluster::~Cluster() {
  catalog_.reset();
  producer_.reset();
  log_.reset();
}

void Cluster::Open() {
  log_ = Must(open_log_(), "log");
  event_log::TopicConfig events;
  events.name = event_log::kEventsTopic;
  events.partitions = partitions_;
  Must(log_->CreateTopic(events), "events");
  producer_ = Must(log_->OpenProducer({}), "producer");
  catalog_ = Must(catalog::Catalog::Open(*log_, clock_), "catalog");
}

void Cluster::CutPower() {
  env_.CutPower();
  power_cut_ = true;
}

void Cluster::Reopen() {
  catalog_.reset();
  producer_.reset();
  log_.reset();
  if (power_cut_) env_.LoseUnsynced(&random_);
  power_cut_ = false;
  Open();
}

void Cluster::Publish(int partition, const std::vector<TestEvent>& events) {
  std::vector<std::string> bytes;
  std::vector<event_log::Record> records;
  for (const TestEvent& event : events) {
    TestEvent copy = event;
    if (copy.id.empty()) copy.id = absl::StrCat("id", next_id_++);
    bytes.push_back(Encode(copy));
  }
  for (size_t i = 0; i < events.size(); ++i)
    records.push_back({events[i].subject, bytes[i], clock_.NowMicros(), false});
  event_log::AppendBatch batch;
  batch.topic = event_log::kEventsTopic;
  batch.partition = partition;
  batch.headers.schema = event_log::kEventSchema;
  batch.records = records;
  Must(producer_->Append({batch}).status(), "publish");
}

void Cluster::PublishCatalog(const std::string& key, const std::string& value) {
  const event_log::Record record{key, value, clock_.NowMicros(), false};
  event_log::AppendBatch batch;
  batch.topic = event_log::kCatalogTopic;
  batch.headers.schema = "naru.catalog.v1.CatalogRecord";
  batch.records = absl::MakeConstSpan(&record, 1);
  Must(producer_->Append({batch}).status(), "apply");
  Must(catalog_->CatchUp(std::chrono::seconds(10)), "catalog");
}

void Cluster::Apply(const catalog::v1::Resource& resource) {
  catalog::v1::CatalogRecord record;
  *record.mutable_resource() = resource;
  auto* time = record.mutable_resource()->mutable_metadata()->mutable_update_time();
  time->set_seconds(clock_.NowMicros() / 1'000'000);
  PublishCatalog(absl::StrCat(resource.kind(), "/", resource.metadata().name()), record.SerializeAsString());
}

void Cluster::Delete(const std::string& metric, int32_t version) { DeleteResource("Metric", metric, version); }

void Cluster::DeleteResource(const std::string& kind, const std::string& name, int32_t version) {
  catalog::v1::CatalogRecord record;
  record.mutable_deleted()->set_kind(kind);
  record.mutable_deleted()->set_name(name);
  record.mutable_deleted()->set_version(version);
  PublishCatalog(absl::StrCat(kind, "/", name), record.SerializeAsString());
}

std::unique_ptr<Node> Cluster::StartNode(const std::string& instance, int64_t memory_bytes) {
  AggregatorOptions options;
  options.memory = ByteSize{memory_bytes};
  options.instance = instance;
  options.commit_interval = std::chrono::milliseconds(10);
  options.maintenance_interval = std::chrono::milliseconds(20);
  options.sinks.first_retry = std::chrono::milliseconds(10);
  options.sinks.max_retry = std::chrono::milliseconds(100);
  options.sinks.check_interval = std::chrono::milliseconds(50);
  options.sinks.expire_interval = std::chrono::milliseconds(50);
  options.sinks.poll = std::chrono::milliseconds(5);
  options.sinks.turn_at_least = std::chrono::milliseconds(50);
  options.sinks.update_interval = std::chrono::milliseconds(10);
  options.sinks.max_call = std::chrono::seconds(2);
  return std::make_unique<Node>(*log_, *catalog_, clock_, options);
}

std::map<int, int> Cluster::LiveRecords() {
  std::map<std::string, bool> live;
  std::vector<event_log::ReadPosition> positions;
  for (int p = 0; p < partitions_; ++p) positions.push_back({p, event_log::ReadPosition::Kind::kOffset, 0});
  const auto reader = Must(log_->OpenReader(event_log::kAggregatesTopic, positions), "reader");
  for (;;) {
    const auto batches = Must(reader->Poll(std::chrono::milliseconds(50), 1 << 20), "poll");
    if (batches.empty()) break;
    for (const auto& batch : batches) {
      for (const auto& record : batch.records) live[std::string(record.key)] = !record.tombstone;
    }
  }
  std::map<int, int> counts;
  for (const auto& [key, alive] : live) {
    RecordKey decoded;
    if (alive && DecodeKey(key, &decoded)) ++counts[static_cast<int>(decoded.kind)];
  }
  return counts;
}

std::vector<std::string> Cluster::LateKeys() {
  std::vector<std::string> keys;
  std::vector<event_log::ReadPosition> positions;
  for (int p = 0; p < partitions_; ++p) positions.push_back({p, event_log::ReadPosition::Kind::kOffset, 0});
  const auto reader = Must(log_->OpenReader(event_log::kLateTopic, positions), "reader");
  for (;;) {
    const auto batches = Must(reader->Poll(std::chrono::milliseconds(50), 1 << 20), "poll");
    if (batches.empty()) return keys;
    for (const auto& batch : batches) {
      if (batch.headers.schema == kLateMarkSchema) continue;
      for (const auto& record : batch.records) keys.emplace_back(record.key);
    }
  }
}

std::string ShowRow(const v1::WindowRow& row, bool with_final) {
  const auto micros = [](const google::protobuf::Timestamp& time) {
    return time.seconds() * 1'000'000 + time.nanos() / 1000;
  };
  std::string text = absl::StrCat(FormatRfc3339(micros(row.window_start_time())), "/",
                                  FormatRfc3339(micros(row.window_end_time())), " {");
  const std::map<std::string, google::protobuf::Value> group(row.group().begin(), row.group().end());
  for (const auto& [name, value] : group)
    absl::StrAppend(&text, name == group.begin()->first ? "" : ",", name, "=", ShowValue(value));
  text += "}";
  const std::map<std::string, v1::MeasureValue> measures(row.measures().begin(), row.measures().end());
  for (const auto& [name, value] : measures) {
    absl::StrAppend(&text, " ", name, "=");
    switch (value.value_case()) {
      case v1::MeasureValue::kInteger:
        absl::StrAppend(&text, value.integer());
        break;
      case v1::MeasureValue::kNumber:
        absl::StrAppend(&text, absl::StrFormat("%.9g", value.number()));
        break;
      case v1::MeasureValue::kError:
        absl::StrAppend(&text, "error:", value.error());
        break;
      case v1::MeasureValue::kText:
        text += value.text();
        break;
      case v1::MeasureValue::kBoolean:
        text += value.boolean() ? "true" : "false";
        break;
      case v1::MeasureValue::kHistogram:
        text += "<";
        for (const int64_t count : value.histogram().counts()) absl::StrAppend(&text, count, " ");
        text += ">";
        break;
      case v1::MeasureValue::kTop:
        text += "[";
        for (const v1::TopItem& item : value.top().items())
          absl::StrAppend(&text, ShowValue(item.key()), ":", item.count(), " ");
        text += "]";
        break;
      default:
        text += "null";
    }
  }
  if (row.truncated()) text += " truncated";
  if (with_final) absl::StrAppend(&text, row.final() ? " final" : " running", " r", row.revision());
  return text;
}

}  // namespace naru::aggregator::testing
