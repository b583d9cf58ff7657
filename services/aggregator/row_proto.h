// Rows as messages.
#pragma once

#include <string>
#include <vector>

#include "services/aggregator/window_query.h"

namespace google::protobuf {
class Struct;
class Timestamp;
class Value;
}  // namespace google::protobuf

namespace naru::aggregator::v1 {
class MeasureValue;
class WindowRow;
}  // namespace naru::aggregator::v1

namespace naru::aggregator {

/// Fills a row of an answer.
void RowToProto(const WindowQuery& query, const ResultRow& row, v1::WindowRow* proto);
/// Fills the value of one measure of this shape.
void MeasureToProto(const MeasureResult& result, const MeasureShape& shape, v1::MeasureValue* proto);
void TimeToProto(int64_t time_us, google::protobuf::Timestamp* proto);
/// Microseconds since 1970 UTC.
int64_t TimeFromProto(const google::protobuf::Timestamp& proto);

/// The same for rows whose columns have these names.
void RowToProto(const std::vector<std::string>& dimensions, const std::vector<std::string>& measures,
                const std::vector<MeasureShape>& shapes, const ResultRow& row, v1::WindowRow* proto);

/// The value of one dimension; timestamps as RFC 3339, durations in seconds.
void GroupValueToProto(const GroupValue& value, google::protobuf::Value* proto);

/// A row as plain JSON, as `naru query --output json` prints it: what tests of metrics compare.
void RowToStruct(const WindowQuery& query, const ResultRow& row, google::protobuf::Struct* json);

}  // namespace naru::aggregator
