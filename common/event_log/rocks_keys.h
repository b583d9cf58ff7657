// Keys of the embedded log, and the small values of its family `meta`. Every key and every value begins with a format
// version; every key then has a project id (always 0 so far), big endian as all numbers in keys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/event_log/event_log.h"

namespace naru::event_log {

inline constexpr uint8_t kKeyVersion = 1;
inline constexpr uint8_t kMetaVersion = 1;
inline constexpr uint32_t kDefaultProject = 0;

/// Column families.
inline constexpr char kMetaFamily[] = "meta";
/// `log/<topic>/<partition>`; compacted topics have `keyed/...`, because they are rewritten and the others never are.
std::string LogFamily(absl::string_view topic, int partition, bool compacted);
/// `local/<family>`.
std::string LocalFamily(absl::string_view family);
/// The topic and partition of a log family.
struct LogFamilyName {
  std::string topic;
  int partition = 0;
};
std::optional<LogFamilyName> ParseLogFamily(absl::string_view family);

/// Key of the block whose first record has this offset: version, project, offset (13 bytes).
std::string LogKey(int64_t base_offset);
std::optional<int64_t> ParseLogKey(absl::string_view key);

/// Family `meta`: version, project, kind, then names ended by NUL and numbers.
enum class MetaKind : char {
  kTopic = 'T',        ///< topic -> TopicConfig
  kPartition = 'S',    ///< topic, partition -> PartitionState
  kEnd = 'E',          ///< topic, partition -> about where the partition ends; see Committer
  kGroup = 'R',        ///< group, topic -> empty: the group is registered
  kGroupOffset = 'G',  ///< group, topic, partition -> next offset
  kProducer = 'P',     ///< transactional id -> epoch
};
std::string MetaPrefix(MetaKind kind);
std::string TopicKey(absl::string_view topic);
std::string PartitionKey(absl::string_view topic, int partition);
std::string EndKey(absl::string_view topic, int partition);
std::string GroupKey(absl::string_view group, absl::string_view topic);
std::string GroupOffsetKey(absl::string_view group, absl::string_view topic, int partition);
std::string ProducerKey(absl::string_view transactional_id);

/// The names and the number of a key made by the functions above; absent numbers are -1.
struct MetaName {
  std::string first;
  std::string second;
  int partition = -1;
};
std::optional<MetaName> ParseMetaKey(absl::string_view key, MetaKind kind);

/// What is remembered of a partition apart from its blocks.
struct PartitionState {
  int64_t start_offset = 0;     ///< records below are gone, whether or not their blocks still lie about
  int64_t end_floor = 0;        ///< offsets below were given away once, even if their records are gone
  int64_t compacted_until = 0;  ///< compacted topics: keys below occur once
};

std::string EncodeTopic(const TopicConfig& config);
/// `name` is in the key. Errors: DATA_LOSS; FAILED_PRECONDITION for a newer version.
absl::StatusOr<TopicConfig> DecodeTopic(absl::string_view name, absl::string_view value);
std::string EncodePartitionState(const PartitionState& state);
absl::StatusOr<PartitionState> DecodePartitionState(absl::string_view value);
/// One number: offsets, epochs.
std::string EncodeNumber(int64_t number);
absl::StatusOr<int64_t> DecodeNumber(absl::string_view value);

/// Names of topics, groups and families: 1 to 200 of A-Z a-z 0-9 . _ - ; INVALID_ARGUMENT says what is wrong.
absl::Status CheckName(absl::string_view what, absl::string_view name);

}  // namespace naru::event_log
