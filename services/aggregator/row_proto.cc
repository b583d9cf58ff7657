#include "services/aggregator/row_proto.h"

#include <string>

#include "common/clock/rfc3339.h"
#include "naru/aggregator/v1/aggregator.pb.h"

namespace naru::aggregator {
namespace {

void HistogramToJson(const MeasureResult& result, const MeasureShape& shape, google::protobuf::Struct* json) {
  auto* bounds = (*json->mutable_fields())["bounds"].mutable_list_value();
  for (const double bound : shape.bounds) bounds->add_values()->set_number_value(bound);
  auto* counts = (*json->mutable_fields())["counts"].mutable_list_value();
  for (const int64_t count : result.counts) counts->add_values()->set_number_value(static_cast<double>(count));
}

void MeasureToJson(const MeasureResult& result, const MeasureShape& shape, google::protobuf::Value* json) {
  switch (result.kind) {
    case MeasureResult::Kind::kNull:
      json->set_null_value(google::protobuf::NULL_VALUE);
      break;
    case MeasureResult::Kind::kInteger:
      json->set_number_value(static_cast<double>(result.integer));
      break;
    case MeasureResult::Kind::kNumber:
      json->set_number_value(result.number);
      break;
    case MeasureResult::Kind::kError:
      (*json->mutable_struct_value()->mutable_fields())["error"].set_string_value(result.error);
      break;
    case MeasureResult::Kind::kText:
      json->set_string_value(result.text);
      break;
    case MeasureResult::Kind::kBool:
      json->set_bool_value(result.integer != 0);
      break;
    case MeasureResult::Kind::kHistogram:
      HistogramToJson(result, shape, json->mutable_struct_value());
      break;
    case MeasureResult::Kind::kTop:
      json->mutable_list_value();
      for (const TopEntry& entry : result.top) {
        auto* fields = json->mutable_list_value()->add_values()->mutable_struct_value()->mutable_fields();
        GroupValueToProto(entry.key, &(*fields)["key"]);
        (*fields)["count"].set_number_value(static_cast<double>(entry.count));
      }
      break;
  }
}

template <typename DimensionName, typename MeasureName, typename Shape>
void FillRow(const ResultRow& row, const DimensionName& dimension, const MeasureName& measure, const Shape& shape,
             v1::WindowRow* proto) {
  TimeToProto(row.window.start_us, proto->mutable_window_start_time());
  TimeToProto(row.window.end_us, proto->mutable_window_end_time());
  for (size_t i = 0; i < row.group.size(); ++i) {
    GroupValueToProto(row.group[i], &(*proto->mutable_group())[dimension(i)]);
  }
  for (size_t i = 0; i < row.measures.size(); ++i) {
    MeasureToProto(row.measures[i], shape(i), &(*proto->mutable_measures())[measure(i)]);
  }
  proto->set_final(row.final);
  proto->set_revision(row.revision);
  proto->set_truncated(row.truncated);
  if (row.valid_from_us.has_value()) TimeToProto(*row.valid_from_us, proto->mutable_valid_from_time());
}

}  // namespace

void TimeToProto(int64_t time_us, google::protobuf::Timestamp* proto) {
  int64_t seconds = time_us / 1'000'000, rest = time_us % 1'000'000;
  if (rest < 0) {
    --seconds;
    rest += 1'000'000;
  }
  proto->set_seconds(seconds);
  proto->set_nanos(static_cast<int32_t>(rest * 1000));
}

int64_t TimeFromProto(const google::protobuf::Timestamp& proto) {
  return proto.seconds() * 1'000'000 + proto.nanos() / 1000;
}

void MeasureToProto(const MeasureResult& result, const MeasureShape& shape, v1::MeasureValue* proto) {
  proto->set_relative_error(result.relative_error);
  switch (result.kind) {
    case MeasureResult::Kind::kNull:
      break;
    case MeasureResult::Kind::kInteger:
      proto->set_integer(result.integer);
      break;
    case MeasureResult::Kind::kNumber:
      proto->set_number(result.number);
      break;
    case MeasureResult::Kind::kError:
      proto->set_error(result.error);
      break;
    case MeasureResult::Kind::kText:
      proto->set_text(result.text);
      break;
    case MeasureResult::Kind::kBool:
      proto->set_boolean(result.integer != 0);
      break;
    case MeasureResult::Kind::kHistogram:
      proto->mutable_histogram()->mutable_bounds()->Add(shape.bounds.begin(), shape.bounds.end());
      proto->mutable_histogram()->mutable_counts()->Add(result.counts.begin(), result.counts.end());
      break;
    case MeasureResult::Kind::kTop:
      proto->mutable_top();
      for (const TopEntry& entry : result.top) {
        v1::TopItem* item = proto->mutable_top()->add_items();
        GroupValueToProto(entry.key, item->mutable_key());
        item->set_count(entry.count);
        item->set_max_error(entry.max_error);
      }
      break;
  }
}

void GroupValueToProto(const GroupValue& value, google::protobuf::Value* proto) {
  switch (value.kind) {
    case cel::Kind::kBool:
      proto->set_bool_value(value.integer != 0);
      break;
    case cel::Kind::kInt:
      proto->set_number_value(static_cast<double>(value.integer));
      break;
    case cel::Kind::kDouble:
      proto->set_number_value(value.number);
      break;
    case cel::Kind::kString:
      proto->set_string_value(value.text);
      break;
    case cel::Kind::kTimestamp:
      proto->set_string_value(FormatRfc3339(value.integer));
      break;
    case cel::Kind::kDuration:
      proto->set_number_value(static_cast<double>(value.integer) / 1e6);
      break;
    default:
      proto->set_null_value(google::protobuf::NULL_VALUE);
      break;
  }
}

void RowToProto(const WindowQuery& query, const ResultRow& row, v1::WindowRow* proto) {
  FillRow(
      row, [&](size_t i) -> const std::string& { return query.plan().dimensions[query.dimensions()[i]].name; },
      [&](size_t i) -> const std::string& { return query.plan().measures[query.measures()[i]].name; },
      [&](size_t i) -> const MeasureShape& { return query.plan().measures[query.measures()[i]].shape; }, proto);
}

void RowToProto(const std::vector<std::string>& dimensions, const std::vector<std::string>& measures,
                const std::vector<MeasureShape>& shapes, const ResultRow& row, v1::WindowRow* proto) {
  FillRow(
      row, [&](size_t i) -> const std::string& { return dimensions[i]; },
      [&](size_t i) -> const std::string& { return measures[i]; },
      [&](size_t i) -> const MeasureShape& { return shapes[i]; }, proto);
}

void RowToStruct(const WindowQuery& query, const ResultRow& row, google::protobuf::Struct* json) {
  auto& fields = *json->mutable_fields();
  fields["window_start"].set_string_value(FormatRfc3339(row.window.start_us));
  fields["window_end"].set_string_value(FormatRfc3339(row.window.end_us));
  auto* group = fields["group"].mutable_struct_value()->mutable_fields();
  for (size_t i = 0; i < row.group.size(); ++i) {
    GroupValueToProto(row.group[i], &(*group)[query.plan().dimensions[query.dimensions()[i]].name]);
  }
  auto* measures = fields["measures"].mutable_struct_value()->mutable_fields();
  for (size_t i = 0; i < row.measures.size(); ++i) {
    const MeasurePlan& measure = query.plan().measures[query.measures()[i]];
    MeasureToJson(row.measures[i], measure.shape, &(*measures)[measure.name]);
  }
  fields["final"].set_bool_value(row.final);
  fields["revision"].set_number_value(row.revision);
  fields["truncated"].set_bool_value(row.truncated);
  if (row.valid_from_us.has_value()) fields["valid_from"].set_string_value(FormatRfc3339(*row.valid_from_us));
}

}  // namespace naru::aggregator
