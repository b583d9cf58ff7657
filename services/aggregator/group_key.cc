#include "services/aggregator/group_key.h"

#include <cmath>
#include <cstring>

namespace naru::aggregator {
namespace {

enum Tag : char {
  kNullTag = 1,
  kFalseTag = 2,
  kTrueTag = 3,
  kNumberTag = 4,
  kBigIntTag = 5,
  kStringTag = 6,
  kTimestampTag = 7,
  kDurationTag = 8
};

constexpr int64_t kExactInDouble = int64_t{1} << 53;
constexpr uint64_t kSignBit = uint64_t{1} << 63;

void AppendBigEndian(uint64_t bits, std::string* out) {
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
  bits = __builtin_bswap64(bits);
  char bytes[8];
  std::memcpy(bytes, &bits, 8);
  out->append(bytes, 8);
}

bool ReadBigEndian(absl::string_view* in, uint64_t* bits) {
  if (in->size() < 8) return false;
  *bits = 0;
  for (int i = 0; i < 8; ++i) *bits = *bits << 8 | static_cast<uint8_t>((*in)[i]);
  in->remove_prefix(8);
  return true;
}

void AppendNumber(double number, std::string* key) {
  if (number == 0) number = 0;  // -0 is 0
  uint64_t bits;
  std::memcpy(&bits, &number, 8);
  bits = (bits & kSignBit) != 0 ? ~bits : bits | kSignBit;
  key->push_back(kNumberTag);
  AppendBigEndian(bits, key);
}

// Text ends with 00 01, and a zero byte inside is 00 FF: a text sorts before its continuations.
void AppendText(absl::string_view text, std::string* key) {
  key->push_back(kStringTag);
  while (!text.empty()) {
    const void* zero = std::memchr(text.data(), 0, text.size());
    if (zero == nullptr) {
      key->append(text.data(), text.size());
      break;
    }
    const size_t before = static_cast<const char*>(zero) - text.data();
    key->append(text.data(), before);
    key->append("\x00\xFF", 2);
    text.remove_prefix(before + 1);
  }
  key->append("\x00\x01", 2);
}

// Finds where a text ends; npos when it does not.
size_t TextEnd(absl::string_view in) {
  for (size_t at = 0; at + 1 < in.size(); at += 2) {
    const void* zero = std::memchr(in.data() + at, 0, in.size() - at);
    if (zero == nullptr) return absl::string_view::npos;
    at = static_cast<const char*>(zero) - in.data();
    if (at + 1 >= in.size()) return absl::string_view::npos;
    if (in[at + 1] == '\x01') return at;
    if (in[at + 1] != '\xFF') return absl::string_view::npos;
  }
  return absl::string_view::npos;
}

bool SkipGroupValue(absl::string_view* key) {
  if (key->empty()) return false;
  const char tag = key->front();
  size_t size = 1;
  if (tag == kStringTag) {
    const size_t end = TextEnd(key->substr(1));
    if (end == absl::string_view::npos) return false;
    size = 1 + end + 2;
  } else if (tag >= kNumberTag && tag <= kDurationTag) {
    size = 9;
  } else if (tag < kNullTag || tag > kDurationTag) {
    return false;
  }
  if (key->size() < size) return false;
  key->remove_prefix(size);
  return true;
}

}  // namespace

bool AppendGroupValue(const cel::Value& value, std::string* key) {
  switch (value.kind()) {
    case cel::Kind::kNull:
      key->push_back(kNullTag);
      return true;
    case cel::Kind::kBool:
      key->push_back(value.bool_value() ? kTrueTag : kFalseTag);
      return true;
    case cel::Kind::kInt:
      if (value.int_value() >= -kExactInDouble && value.int_value() <= kExactInDouble) {
        AppendNumber(static_cast<double>(value.int_value()), key);
      } else {
        key->push_back(kBigIntTag);
        AppendBigEndian(static_cast<uint64_t>(value.int_value()) ^ kSignBit, key);
      }
      return true;
    case cel::Kind::kDouble:
      if (std::isnan(value.double_value())) return false;
      AppendNumber(value.double_value(), key);
      return true;
    case cel::Kind::kString:
      if (value.string_value().size() > kMaxGroupTextBytes) return false;
      AppendText(value.string_value(), key);
      return true;
    case cel::Kind::kTimestamp:
      key->push_back(kTimestampTag);
      AppendBigEndian(static_cast<uint64_t>(value.timestamp_us()) ^ kSignBit, key);
      return true;
    case cel::Kind::kDuration:
      key->push_back(kDurationTag);
      AppendBigEndian(static_cast<uint64_t>(value.duration_us()) ^ kSignBit, key);
      return true;
    case cel::Kind::kError:
    case cel::Kind::kList:
    case cel::Kind::kStruct:
      return false;
  }
  return false;
}

cel::Value GroupValue::ToCel() const {
  switch (kind) {
    case cel::Kind::kBool:
      return cel::Value::Bool(integer != 0);
    case cel::Kind::kInt:
      return cel::Value::Int(integer);
    case cel::Kind::kDouble:
      return cel::Value::Number(number);
    case cel::Kind::kString:
      return cel::Value::String(text);
    case cel::Kind::kTimestamp:
      return cel::Value::Timestamp(integer);
    case cel::Kind::kDuration:
      return cel::Value::Duration(integer);
    default:
      return cel::Value::Null();
  }
}

bool ReadGroupValue(absl::string_view* key, GroupValue* value) {
  if (key->empty()) return false;
  *value = GroupValue();
  const char tag = key->front();
  key->remove_prefix(1);
  uint64_t bits = 0;
  switch (tag) {
    case kNullTag:
      return true;
    case kFalseTag:
    case kTrueTag:
      value->kind = cel::Kind::kBool;
      value->integer = tag == kTrueTag;
      return true;
    case kNumberTag:
      if (!ReadBigEndian(key, &bits)) return false;
      bits = (bits & kSignBit) != 0 ? bits ^ kSignBit : ~bits;
      value->kind = cel::Kind::kDouble;
      std::memcpy(&value->number, &bits, 8);
      return true;
    case kBigIntTag:
    case kTimestampTag:
    case kDurationTag:
      if (!ReadBigEndian(key, &bits)) return false;
      value->kind = tag == kBigIntTag      ? cel::Kind::kInt
                    : tag == kTimestampTag ? cel::Kind::kTimestamp
                                           : cel::Kind::kDuration;
      value->integer = static_cast<int64_t>(bits ^ kSignBit);
      return true;
    case kStringTag: {
      const size_t end = TextEnd(*key);
      if (end == absl::string_view::npos) return false;
      value->kind = cel::Kind::kString;
      for (size_t i = 0; i < end; ++i) {
        value->text.push_back((*key)[i]);
        if ((*key)[i] == '\0') ++i;  // the FF after it
      }
      key->remove_prefix(end + 2);
      return true;
    }
    default:
      return false;
  }
}

bool DecodeGroup(absl::string_view key, size_t count, std::vector<GroupValue>* values) {
  values->clear();
  values->resize(count);
  if (key == kOtherGroup) {
    for (GroupValue& value : *values) {
      value.kind = cel::Kind::kString;
      value.text = std::string(kOtherName);
    }
    return true;
  }
  for (GroupValue& value : *values) {
    if (!ReadGroupValue(&key, &value)) return false;
  }
  return key.empty();
}

bool SplitGroup(absl::string_view key, size_t count, std::vector<absl::string_view>* parts) {
  parts->clear();
  for (size_t i = 0; i < count; ++i) {
    const absl::string_view before = key;
    if (!SkipGroupValue(&key)) return false;
    parts->push_back(before.substr(0, before.size() - key.size()));
  }
  return key.empty();
}

}  // namespace naru::aggregator
