#include "common/event_log/rocks_keys.h"

#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status/status.h"

namespace naru::event_log {
namespace {

void PutBigEndian32(std::string* out, uint32_t v) {
  for (int shift = 24; shift >= 0; shift -= 8) out->push_back(static_cast<char>(v >> shift));
}
void PutBigEndian64(std::string* out, uint64_t v) {
  PutBigEndian32(out, static_cast<uint32_t>(v >> 32));
  PutBigEndian32(out, static_cast<uint32_t>(v));
}
uint64_t TakeBigEndian(absl::string_view data) {
  uint64_t v = 0;
  for (const char c : data) v = (v << 8) | static_cast<uint8_t>(c);
  return v;
}
void PutLittleEndian64(std::string* out, int64_t v) {
  const auto u = static_cast<uint64_t>(v);
  for (int shift = 0; shift < 64; shift += 8) out->push_back(static_cast<char>(u >> shift));
}
int64_t TakeLittleEndian64(absl::string_view* data) {
  uint64_t v = 0;
  for (int i = 7; i >= 0; --i) v = (v << 8) | static_cast<uint8_t>((*data)[static_cast<size_t>(i)]);
  data->remove_prefix(8);
  return static_cast<int64_t>(v);
}

std::string KeyStart() {
  std::string key;
  key.push_back(static_cast<char>(kKeyVersion));
  PutBigEndian32(&key, kDefaultProject);
  return key;
}

// Checks the version byte and that at least `numbers` numbers follow; later fields of a newer minor form are ignored.
absl::Status TakeVersion(absl::string_view* value, absl::string_view what, size_t numbers) {
  if (value->empty()) return absl::DataLossError(absl::StrCat("the stored ", what, " is empty"));
  const auto version = static_cast<uint8_t>((*value)[0]);
  if (version != kMetaVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("the stored ", what, " has format version ", version, ", this program knows ", kMetaVersion));
  }
  value->remove_prefix(1);
  if (value->size() < 8 * numbers) return absl::DataLossError(absl::StrCat("the stored ", what, " is cut short"));
  return absl::OkStatus();
}

std::string EncodeNumbers(std::initializer_list<int64_t> numbers) {
  std::string value(1, static_cast<char>(kMetaVersion));
  for (const int64_t number : numbers) PutLittleEndian64(&value, number);
  return value;
}

}  // namespace

std::string LogFamily(absl::string_view topic, int partition, bool compacted) {
  return absl::StrCat(compacted ? "keyed/" : "log/", topic, "/", partition);
}

std::string LocalFamily(absl::string_view family) { return absl::StrCat("local/", family); }

std::optional<LogFamilyName> ParseLogFamily(absl::string_view family) {
  if (!absl::ConsumePrefix(&family, "log/") && !absl::ConsumePrefix(&family, "keyed/")) return std::nullopt;
  const size_t slash = family.rfind('/');
  LogFamilyName name;
  if (slash == absl::string_view::npos || !absl::SimpleAtoi(family.substr(slash + 1), &name.partition)) {
    return std::nullopt;
  }
  name.topic = std::string(family.substr(0, slash));
  return name;
}

std::string LogKey(int64_t base_offset) {
  std::string key = KeyStart();
  PutBigEndian64(&key, static_cast<uint64_t>(base_offset));
  return key;
}

std::optional<int64_t> ParseLogKey(absl::string_view key) {
  if (key.size() != 13 || static_cast<uint8_t>(key[0]) != kKeyVersion) return std::nullopt;
  return static_cast<int64_t>(TakeBigEndian(key.substr(5)));
}

std::string MetaPrefix(MetaKind kind) {
  std::string key = KeyStart();
  key.push_back(static_cast<char>(kind));
  return key;
}

namespace {
std::string MetaKey(MetaKind kind, std::initializer_list<absl::string_view> names) {
  std::string key = MetaPrefix(kind);
  for (const absl::string_view name : names) {
    key.append(name.data(), name.size());
    key.push_back('\0');
  }
  return key;
}
}  // namespace

std::string TopicKey(absl::string_view topic) { return MetaKey(MetaKind::kTopic, {topic}); }
std::string PartitionKey(absl::string_view topic, int partition) {
  std::string key = MetaKey(MetaKind::kPartition, {topic});
  PutBigEndian32(&key, static_cast<uint32_t>(partition));
  return key;
}
std::string EndKey(absl::string_view topic, int partition) {
  std::string key = MetaKey(MetaKind::kEnd, {topic});
  PutBigEndian32(&key, static_cast<uint32_t>(partition));
  return key;
}
std::string GroupKey(absl::string_view group, absl::string_view topic) {
  return MetaKey(MetaKind::kGroup, {group, topic});
}
std::string GroupOffsetKey(absl::string_view group, absl::string_view topic, int partition) {
  std::string key = MetaKey(MetaKind::kGroupOffset, {group, topic});
  PutBigEndian32(&key, static_cast<uint32_t>(partition));
  return key;
}
std::string ProducerKey(absl::string_view transactional_id) { return MetaKey(MetaKind::kProducer, {transactional_id}); }

std::optional<MetaName> ParseMetaKey(absl::string_view key, MetaKind kind) {
  if (!absl::ConsumePrefix(&key, MetaPrefix(kind))) return std::nullopt;
  const auto take = [&key](std::string* name) {
    const size_t end = key.find('\0');
    if (end == absl::string_view::npos) return false;
    *name = std::string(key.substr(0, end));
    key.remove_prefix(end + 1);
    return true;
  };
  MetaName name;
  if (!take(&name.first)) return std::nullopt;
  if ((kind == MetaKind::kGroup || kind == MetaKind::kGroupOffset) && !take(&name.second)) return std::nullopt;
  if (kind == MetaKind::kPartition || kind == MetaKind::kEnd || kind == MetaKind::kGroupOffset) {
    if (key.size() != 4) return std::nullopt;
    name.partition = static_cast<int>(TakeBigEndian(key));
  } else if (!key.empty()) {
    return std::nullopt;
  }
  return name;
}

std::string EncodeTopic(const TopicConfig& config) {
  return EncodeNumbers({config.partitions, config.compacted ? 1 : 0, config.retention_time.count(),
                        config.retention_bytes, config.tombstone_retention.count(), config.unread_hard_limit_bytes});
}

absl::StatusOr<TopicConfig> DecodeTopic(absl::string_view name, absl::string_view value) {
  NARU_RETURN_IF_ERROR(TakeVersion(&value, absl::StrCat("topic ", name), 6));
  TopicConfig config;
  config.name = std::string(name);
  config.partitions = static_cast<int>(TakeLittleEndian64(&value));
  config.compacted = TakeLittleEndian64(&value) != 0;
  config.retention_time = std::chrono::microseconds(TakeLittleEndian64(&value));
  config.retention_bytes = TakeLittleEndian64(&value);
  config.tombstone_retention = std::chrono::microseconds(TakeLittleEndian64(&value));
  config.unread_hard_limit_bytes = TakeLittleEndian64(&value);
  return config;
}

std::string EncodePartitionState(const PartitionState& state) {
  return EncodeNumbers({state.start_offset, state.end_floor, state.compacted_until});
}

absl::StatusOr<PartitionState> DecodePartitionState(absl::string_view value) {
  NARU_RETURN_IF_ERROR(TakeVersion(&value, "partition state", 3));
  PartitionState state;
  state.start_offset = TakeLittleEndian64(&value);
  state.end_floor = TakeLittleEndian64(&value);
  state.compacted_until = TakeLittleEndian64(&value);
  return state;
}

std::string EncodeNumber(int64_t number) { return EncodeNumbers({number}); }

absl::StatusOr<int64_t> DecodeNumber(absl::string_view value) {
  NARU_RETURN_IF_ERROR(TakeVersion(&value, "number", 1));
  return TakeLittleEndian64(&value);
}

absl::Status CheckName(absl::string_view what, absl::string_view name) {
  constexpr size_t kMaxName = 200;  // as Kafka's 249, less room for a prefix
  bool good = !name.empty() && name.size() <= kMaxName && name != "." && name != "..";
  for (const char c : name) good = good && (absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-');
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " name '", name.substr(0, kMaxName), "' is not 1 to ", kMaxName, " of A-Z a-z 0-9 . _ -"));
}

}  // namespace naru::event_log
