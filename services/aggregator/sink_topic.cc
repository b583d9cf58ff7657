#include "services/aggregator/sink_topic.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"
#include "google/protobuf/util/json_util.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/row_proto.h"
#include "services/aggregator/sink_text.h"

namespace naru::aggregator {
namespace {

constexpr size_t kMaxRecordBytes = 900 * 1024;  // brokers take messages of 1 MB by default

class TopicSinkWriter : public SinkWriter {
 public:
  TopicSinkWriter(event_log::EventLog& log, const Clock& clock, SinkFence& fence, const catalog::v1::TopicSink& spec)
      : log_(log), clock_(clock), fence_(fence), topic_(spec.name()), json_(spec.format() == "json") {
    partitions_ = std::max(1, spec.partitions());
  }

  absl::Status Prepare(const SinkLayout& layout) override;
  absl::StatusOr<std::optional<SinkMark>> ReadMark() override { return std::optional<SinkMark>(); }
  bool keeps_mark() const override { return false; }
  absl::Status Begin(const SinkTurn& turn) override;
  absl::Status Write(absl::Span<const SinkRow> rows, int64_t position, std::vector<RefusedRow>* refused) override;
  absl::Status Remove(absl::Span<const SinkRow> rows, int64_t position) override;
  absl::Status Finish(const SinkMark& /*mark*/) override { return absl::OkStatus(); }
  void Abandon() override {}
  absl::Status Expire(int64_t /*now_us*/) override { return absl::OkStatus(); }
  absl::Status Drop(int64_t epoch) override;

 private:
  struct Outgoing {
    std::string key;
    std::string value;
  };
  std::string Encode(const v1::SinkRow& row) const;
  std::string KeyOf(const ResultRow& row) const;
  absl::Status Append(const std::vector<Outgoing>& records);
  v1::SinkRow Header(int64_t epoch, int64_t position) const;

  event_log::EventLog& log_;
  const Clock& clock_;
  SinkFence& fence_;
  const std::string topic_;
  const bool json_;
  int partitions_ = 1;
  SinkLayout layout_;
  SinkTurn turn_;
};

absl::Status TopicSinkWriter::Prepare(const SinkLayout& layout) {
  layout_ = layout;
  event_log::TopicConfig config;
  config.name = topic_;
  config.retention_time = std::chrono::microseconds(layout.retention_us);
  const auto existing = log_.DescribeTopic(topic_);
  if (existing.ok()) {
    // What is there keeps its partitions; several metrics share it.
    partitions_ = existing->config.partitions;
    config.retention_time = std::max(config.retention_time, existing->config.retention_time);
    if (config.retention_time == existing->config.retention_time) return absl::OkStatus();
  } else if (!absl::IsNotFound(existing.status())) {
    return existing.status();
  }
  config.partitions = partitions_;
  return log_.CreateTopic(config);
}

std::string TopicSinkWriter::Encode(const v1::SinkRow& row) const {
  if (!json_) return row.SerializeAsString();
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  // Only messages with an unknown Any or an invalid time fail.
  return google::protobuf::util::MessageToJsonString(row, &text, options).ok() ? text : "{}";
}

std::string TopicSinkWriter::KeyOf(const ResultRow& row) const {
  return absl::StrCat(layout_.metric, ":", WindowName(row.window, layout_.cumulative), ":", GroupText(row));
}

absl::Status TopicSinkWriter::Append(const std::vector<Outgoing>& records) {
  std::vector<std::vector<event_log::Record>> by_partition(partitions_);
  for (const Outgoing& record : records) {
    by_partition[event_log::PartitionOf(record.key, partitions_)].push_back(
        {record.key, record.value, clock_.NowMicros(), false});
  }
  std::vector<event_log::AppendBatch> batches;
  for (int p = 0; p < partitions_; ++p) {
    if (by_partition[p].empty()) continue;
    event_log::AppendBatch batch;
    batch.topic = topic_;
    batch.partition = p;
    batch.headers.schema = json_ ? kSinkRowJsonSchema : kSinkRowSchema;
    batch.records = by_partition[p];
    batches.push_back(std::move(batch));
  }
  return fence_.Append(std::move(batches));
}

v1::SinkRow TopicSinkWriter::Header(int64_t epoch, int64_t position) const {
  v1::SinkRow row;
  row.set_metric(layout_.metric);
  row.set_metric_version(layout_.metric_version);
  row.set_epoch(epoch);
  row.set_position(position);
  return row;
}

absl::Status TopicSinkWriter::Begin(const SinkTurn& turn) {
  turn_ = turn;
  if (!turn.fill) return absl::OkStatus();
  v1::SinkRow reset = Header(turn.epoch, 0);
  reset.set_reset(true);
  // Readers of one partition do not see the others.
  std::vector<event_log::AppendBatch> batches;
  const std::string value = Encode(reset);
  std::vector<event_log::Record> records(partitions_);
  for (int p = 0; p < partitions_; ++p) {
    records[p] = {layout_.metric, value, clock_.NowMicros(), false};
    event_log::AppendBatch batch;
    batch.topic = topic_;
    batch.partition = p;
    batch.headers.schema = json_ ? kSinkRowJsonSchema : kSinkRowSchema;
    batch.records = absl::MakeConstSpan(&records[p], 1);
    batches.push_back(std::move(batch));
  }
  return fence_.Append(std::move(batches));
}

absl::Status TopicSinkWriter::Write(absl::Span<const SinkRow> rows, int64_t position,
                                    std::vector<RefusedRow>* refused) {
  std::vector<Outgoing> records;
  for (size_t i = 0; i < rows.size(); ++i) {
    const ResultRow& result = rows[i].result;
    v1::SinkRow proto = Header(turn_.epoch, position);
    RowToProto(layout_.dimensions, layout_.measures, layout_.shapes, result, proto.mutable_row());
    std::string value = Encode(proto);
    if (value.size() > kMaxRecordBytes) {
      refused->push_back(
          {i, "TOO_LARGE",
           absl::StrCat("the row takes ", value.size(), " bytes; at most ", kMaxRecordBytes, " fit into a record")});
      continue;
    }
    records.push_back({KeyOf(result), std::move(value)});
  }
  return records.empty() ? absl::OkStatus() : Append(records);
}

absl::Status TopicSinkWriter::Remove(absl::Span<const SinkRow> rows, int64_t position) {
  std::vector<Outgoing> records;
  for (const SinkRow& row : rows) {
    v1::SinkRow proto = Header(turn_.epoch, position);
    proto.set_removed(true);
    ResultRow only_place;
    only_place.window = row.result.window;
    only_place.group = row.result.group;
    RowToProto(layout_.dimensions, layout_.measures, layout_.shapes, only_place, proto.mutable_row());
    records.push_back({KeyOf(row.result), Encode(proto)});
  }
  return records.empty() ? absl::OkStatus() : Append(records);
}

// Readers forget the metric.
absl::Status TopicSinkWriter::Drop(int64_t epoch) { return Begin({epoch, true, {}}); }

}  // namespace

std::unique_ptr<SinkWriter> MakeTopicSinkWriter(event_log::EventLog& log, const Clock& clock, SinkFence& fence,
                                                const catalog::v1::TopicSink& spec) {
  return std::make_unique<TopicSinkWriter>(log, clock, fence, spec);
}

}  // namespace naru::aggregator
