#include "services/aggregator/row_check.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/clock/rfc3339.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"

namespace naru::aggregator {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

std::string ToJson(const Value& value) {
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(value, &json);
  return status.ok() ? json : "?";
}

bool SameTime(const std::string& a, const std::string& b) {
  const auto x = ParseRfc3339(a), y = ParseRfc3339(b);
  return x.ok() && y.ok() && *x == *y;
}

// Whether `actual` has all that `expected` names.
bool Matches(const Value& expected, const Value& actual) {
  if (expected.kind_case() != actual.kind_case()) return false;
  switch (expected.kind_case()) {
    case Value::kNumberValue: {
      const double a = expected.number_value(), b = actual.number_value();
      return a == b || std::fabs(a - b) <= 1e-9 * std::max(std::fabs(a), std::fabs(b));
    }
    case Value::kStringValue:
      return expected.string_value() == actual.string_value() ||
             SameTime(expected.string_value(), actual.string_value());
    case Value::kBoolValue:
      return expected.bool_value() == actual.bool_value();
    case Value::kListValue: {
      const auto& a = expected.list_value().values();
      const auto& b = actual.list_value().values();
      if (a.size() != b.size()) return false;
      for (int i = 0; i < a.size(); ++i) {
        if (!Matches(a[i], b[i])) return false;
      }
      return true;
    }
    case Value::kStructValue:
      for (const auto& [name, value] : expected.struct_value().fields()) {
        const auto found = actual.struct_value().fields().find(name);
        if (found == actual.struct_value().fields().end() || !Matches(value, found->second)) return false;
      }
      return true;
    default:
      return true;
  }
}

Value AsValue(const Struct& row) {
  Value value;
  *value.mutable_struct_value() = row;
  return value;
}

// What an expected row must find, before its values are compared.
Struct IdentityOf(const RowShape& shape, const Struct& row) {
  Struct identity;
  for (const std::string& name : shape.identity) {
    const auto found = row.fields().find(name);
    if (found != row.fields().end()) (*identity.mutable_fields())[name] = found->second;
  }
  return identity;
}

}  // namespace

void CheckRow(const RowShape& shape, const std::string& field, const Struct& expected, const std::vector<Struct>& rows,
              std::vector<FieldViolation>* failures) {
  const size_t before = failures->size();
  for (const auto& [name, value] : expected.fields()) {
    if (std::find(shape.names.begin(), shape.names.end(), name) == shape.names.end()) {
      failures->push_back(
          {absl::StrCat(field, ".", name), absl::StrCat("rows have ", absl::StrJoin(shape.names, ", "))});
    }
  }
  if (failures->size() > before) return;
  const Struct* same = nullptr;
  for (const Struct& row : rows) {
    if (!Matches(AsValue(IdentityOf(shape, expected)), AsValue(row))) continue;
    if (Matches(AsValue(expected), AsValue(row))) return;
    same = &row;
  }
  if (same != nullptr) {
    failures->push_back(
        {field, absl::StrCat("expected ", ToJson(AsValue(expected)), ", came out: ", ToJson(AsValue(*same)))});
    return;
  }
  std::string found;
  for (size_t i = 0; i < rows.size() && i < 5; ++i) {
    absl::StrAppend(&found, i == 0 ? "" : ", ", ToJson(AsValue(IdentityOf(shape, rows[i]))));
  }
  failures->push_back(
      {field, absl::StrCat("expected ", ToJson(AsValue(expected)), ", but there is no such row; there are ",
                           rows.size(), found.empty() ? "" : ": ", found)});
}

}  // namespace naru::aggregator
