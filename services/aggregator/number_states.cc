#include "services/aggregator/number_states.h"

#include <algorithm>
#include <limits>

#include "services/aggregator/measure.h"
#include "services/aggregator/sketch_bytes.h"

namespace naru::aggregator {
namespace {

constexpr uint8_t kMomentsVersion = 1;

void FinishNumber(double number, const char* out_of_range, MeasureResult* result) {
  if (std::isfinite(number)) {
    result->kind = MeasureResult::Kind::kNumber;
    result->number = number;
  } else {
    result->kind = MeasureResult::Kind::kError;
    result->error = out_of_range;
  }
}

}  // namespace

void SumState::Merge(const SumState& other) {
  AddInteger(other.low);
  high += other.high;
  if (other.has_doubles) {
    AddDouble(other.sum);
    compensation += other.compensation;
  }
  count += other.count;
}

double SumState::Total() const {
  return std::ldexp(static_cast<double>(high), 64) + static_cast<double>(low) + (sum + compensation);
}

void SumState::Encode(std::string* out) const {
  out->push_back(has_doubles ? 1 : 0);
  PutVarint(count, out);
  PutSigned(low, out);
  PutSigned(high, out);
  if (!has_doubles) return;
  PutDouble(sum, out);
  PutDouble(compensation, out);
}

bool SumState::MergeEncoded(absl::string_view* in) {
  SumState other;
  uint8_t flags;
  uint64_t events;
  int64_t upper;
  if (!GetByte(in, &flags) || flags > 1 || !GetVarint(in, &events) || !GetSigned(in, &other.low) ||
      !GetSigned(in, &upper))
    return false;
  if (upper > std::numeric_limits<int32_t>::max() / 2 || upper < std::numeric_limits<int32_t>::min() / 2) return false;
  if (events > INT64_MAX / 2) return false;
  other.count = static_cast<int64_t>(events);
  other.high = static_cast<int32_t>(upper);
  other.has_doubles = flags != 0;
  if (other.has_doubles && (!GetDouble(in, &other.sum) || !GetDouble(in, &other.compensation))) return false;
  Merge(other);
  return true;
}

void SumState::Finish(bool average, MeasureResult* result) const {
  if (count == 0) return;
  if (average || has_doubles) {
    FinishNumber(average ? Total() / static_cast<double>(count) : Total(), "sum is out of the range of a double",
                 result);
  } else if (high != 0) {
    result->kind = MeasureResult::Kind::kError;
    result->error = "integer sum overflowed";
  } else {
    result->kind = MeasureResult::Kind::kInteger;
    result->integer = low;
  }
}

void ExtremeState::Take(const Exact& value, bool maximum) {
  if (tag != kNone) {
    const cel::Value candidate = value.is_integer ? cel::Value::Int(value.integer) : cel::Value::Double(value.number);
    const cel::Value held = tag == kInteger ? cel::Value::Int(integer) : cel::Value::Double(number);
    if (cel::Compare(candidate, held) != (maximum ? cel::Order::kGreater : cel::Order::kLess)) return;
  }
  tag = value.is_integer ? kInteger : kDouble;
  if (value.is_integer) {
    integer = value.integer;
  } else {
    number = value.number;
  }
}

void ExtremeState::Encode(std::string* out) const {
  out->push_back(static_cast<char>(tag));
  if (tag == kInteger) PutSigned(integer, out);
  if (tag == kDouble) PutDouble(number, out);
}

bool ExtremeState::MergeEncoded(absl::string_view* in, bool maximum) {
  uint8_t stored;
  Exact value;
  if (!GetByte(in, &stored) || stored > kDouble) return false;
  if (stored == kNone) return true;
  value.is_integer = stored == kInteger;
  if (value.is_integer ? !GetSigned(in, &value.integer) : !GetDouble(in, &value.number)) return false;
  Take(value, maximum);
  return true;
}

void ExtremeState::Finish(MeasureResult* result) const {
  if (tag == kNone) return;
  result->kind = tag == kInteger ? MeasureResult::Kind::kInteger : MeasureResult::Kind::kNumber;
  result->integer = tag == kInteger ? integer : 0;
  result->number = tag == kInteger ? 0 : number;
}

void MomentsState::Merge(const MomentsState& other) {
  if (other.count == 0) return;
  if (count == 0) {
    *this = other;
    return;
  }
  const double n = static_cast<double>(count), m = static_cast<double>(other.count);
  const double distance = other.mean - mean;
  mean += distance * (m / (n + m));
  squares += other.squares + distance * distance * (n * m / (n + m));
  count += other.count;
}

void MomentsState::Encode(std::string* out) const {
  out->push_back(static_cast<char>(kMomentsVersion));
  PutVarint(count, out);
  if (count == 0) return;
  PutDouble(mean, out);
  PutDouble(squares, out);
}

bool MomentsState::MergeEncoded(absl::string_view* in) {
  MomentsState other;
  uint8_t version;
  uint64_t values;
  if (!GetByte(in, &version) || version != kMomentsVersion || !GetVarint(in, &values) || values > INT64_MAX / 2)
    return false;
  other.count = static_cast<int64_t>(values);
  if (values > 0 && (!GetDouble(in, &other.mean) || !GetDouble(in, &other.squares))) return false;
  Merge(other);
  return true;
}

void MomentsState::Finish(bool root, MeasureResult* result) const {
  if (count < 2) return;
  const double variance = std::max(0.0, squares) / static_cast<double>(count - 1);
  FinishNumber(std::isnan(squares) ? squares : (root ? std::sqrt(variance) : variance),
               "variance is out of the range of a double", result);
}

}  // namespace naru::aggregator
