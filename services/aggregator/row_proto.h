// Rows as messages.
#pragma once

#include "services/aggregator/window_query.h"

namespace google::protobuf {
class Struct;
class Value;
}  // namespace google::protobuf

namespace naru::aggregator::v1 {
class WindowRow;
}

namespace naru::aggregator {

/// Fills a row of an answer.
void RowToProto(const WindowQuery& query, const ResultRow& row, v1::WindowRow* proto);

/// The value of one dimension; timestamps as RFC 3339, durations in seconds.
void GroupValueToProto(const GroupValue& value, google::protobuf::Value* proto);

/// A row as plain JSON, as `naru query --output json` prints it: what tests of metrics compare.
void RowToStruct(const WindowQuery& query, const ResultRow& row, google::protobuf::Struct* json);

}  // namespace naru::aggregator
