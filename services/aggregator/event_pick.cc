#include "services/aggregator/event_pick.h"

#include "common/clock/rfc3339.h"
#include "services/aggregator/exact_number.h"
#include "services/aggregator/group_key.h"
#include "services/aggregator/sketch_bytes.h"

namespace naru::aggregator {
namespace {

constexpr uint8_t kVersion = 1;

// What an encoded value begins with. Stored: never re-used.
enum PickTag : uint8_t { kBool = 1, kInteger = 2, kDouble = 3, kText = 4, kTimestamp = 5, kDuration = 6 };

bool EncodeValue(const cel::Value& value, std::string* out) {
  Exact exact;
  switch (value.kind()) {
    case cel::Kind::kBool:
      out->push_back(kBool);
      out->push_back(value.bool_value() ? 1 : 0);
      return true;
    case cel::Kind::kInt:
    case cel::Kind::kDouble:
      if (!ToExact(value, &exact)) return false;
      out->push_back(exact.is_integer ? kInteger : kDouble);
      if (exact.is_integer) {
        PutSigned(exact.integer, out);
      } else {
        PutDouble(exact.number, out);
      }
      return true;
    case cel::Kind::kString:
      if (value.string_value().size() > kMaxGroupTextBytes) return false;
      out->push_back(kText);
      out->append(value.string_value().data(), value.string_value().size());
      return true;
    case cel::Kind::kTimestamp:
      out->push_back(kTimestamp);
      PutSigned(value.timestamp_us(), out);
      return true;
    case cel::Kind::kDuration:
      out->push_back(kDuration);
      PutSigned(value.duration_us(), out);
      return true;
    default:
      return false;
  }
}

// `*result` may be null: only checks.
bool DecodeValue(absl::string_view in, MeasureResult* result) {
  MeasureResult ignored;
  if (result == nullptr) result = &ignored;
  uint8_t tag, flag;
  if (!GetByte(&in, &tag)) return false;
  switch (tag) {
    case kBool:
      result->kind = MeasureResult::Kind::kBool;
      if (!GetByte(&in, &flag) || flag > 1) return false;
      result->integer = flag;
      break;
    case kInteger:
      result->kind = MeasureResult::Kind::kInteger;
      if (!GetSigned(&in, &result->integer)) return false;
      break;
    case kDouble:
      result->kind = MeasureResult::Kind::kNumber;
      if (!GetDouble(&in, &result->number)) return false;
      break;
    case kText:
      result->kind = MeasureResult::Kind::kText;
      result->text = std::string(in);
      return in.size() <= kMaxGroupTextBytes;
    case kTimestamp:
    case kDuration: {
      int64_t micros;
      if (!GetSigned(&in, &micros)) return false;
      result->kind = tag == kTimestamp ? MeasureResult::Kind::kText : MeasureResult::Kind::kNumber;
      if (tag == kTimestamp) result->text = FormatRfc3339(micros);
      result->number = tag == kTimestamp ? 0 : static_cast<double>(micros) / 1e6;
      break;
    }
    default:
      return false;
  }
  return in.empty();
}

}  // namespace

bool EventPick::Wins(Which which, int64_t time_us, absl::string_view source, absl::string_view id,
                     absl::string_view value) const {
  if (empty()) return true;
  if (time_us != time_us_) return (time_us > time_us_) == (which == Which::kLast);
  if (source != source_) return source > absl::string_view(source_);
  if (id != id_) return id > absl::string_view(id_);
  return value > absl::string_view(value_);  // an id that was used twice
}

void EventPick::Set(int64_t time_us, absl::string_view source, absl::string_view id, absl::string_view value) {
  time_us_ = time_us;
  source_.assign(source.data(), source.size());
  id_.assign(id.data(), id.size());
  value_.assign(value.data(), value.size());
}

bool EventPick::Take(Which which, const cel::Value& value, const EventIdentity& event) {
  thread_local std::string encoded;
  encoded.clear();
  if (!EncodeValue(value, &encoded)) return false;
  if (Wins(which, event.time_us, event.source, event.id, encoded)) Set(event.time_us, event.source, event.id, encoded);
  return true;
}

void EventPick::Merge(Which which, const EventPick& other) {
  if (!other.empty() && Wins(which, other.time_us_, other.source_, other.id_, other.value_)) *this = other;
}

void EventPick::Encode(std::string* out) const {
  if (empty()) return;
  out->push_back(static_cast<char>(kVersion));
  PutSigned(time_us_, out);
  PutBytes(source_, out);
  PutBytes(id_, out);
  PutBytes(value_, out);
}

bool EventPick::MergeEncoded(Which which, absl::string_view in) {
  uint8_t version;
  int64_t time_us;
  absl::string_view source, id, value;
  if (!GetByte(&in, &version) || version != kVersion || !GetSigned(&in, &time_us) || !GetBytes(&in, &source) ||
      !GetBytes(&in, &id) || !GetBytes(&in, &value) || !in.empty() || !DecodeValue(value, nullptr)) {
    return false;
  }
  if (Wins(which, time_us, source, id, value)) Set(time_us, source, id, value);
  return true;
}

void EventPick::Finish(MeasureResult* result) const {
  if (!empty()) DecodeValue(value_, result);
}

}  // namespace naru::aggregator
