#include "services/aggregator/aggregate_record.h"

#include "services/aggregator/sketch_bytes.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace naru::aggregator {
namespace {

constexpr char kKeyFormat = 1;
constexpr char kDefaultProject = 0;
constexpr uint8_t kValueFormat = 1;
constexpr size_t kMaxRevisions = 4096;

void PutBig(uint64_t value, int bytes, std::string* out) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift));
}

bool GetBig(absl::string_view* in, int bytes, uint64_t* value) {
  if (in->size() < static_cast<size_t>(bytes)) return false;
  *value = 0;
  for (int i = 0; i < bytes; ++i) *value = *value << 8 | static_cast<uint8_t>((*in)[i]);
  in->remove_prefix(bytes);
  return true;
}

constexpr uint64_t kSign = uint64_t{1} << 63;

void PutKeyStart(absl::string_view metric, int32_t version, int32_t partition, std::string* out) {
  out->push_back(kKeyFormat);
  out->push_back(kDefaultProject);
  out->push_back(static_cast<char>(metric.size()));  // names are at most 128 bytes
  out->append(metric.data(), metric.size());
  PutBig(static_cast<uint32_t>(version), 4, out);
  PutBig(static_cast<uint32_t>(partition), 4, out);
}

bool GetFormat(absl::string_view* in) {
  uint8_t format;
  return GetByte(in, &format) && format == kValueFormat;
}

bool GetCount(absl::string_view* in, int64_t* count) {
  uint64_t value;
  if (!GetVarint(in, &value) || value > INT64_MAX) return false;
  *count = static_cast<int64_t>(value);
  return true;
}

}  // namespace

void AppendKey(const RecordKey& key, std::string* out) {
  PutKeyStart(key.metric, key.version, key.partition, out);
  out->push_back(static_cast<char>(key.kind));
  if (key.kind == RecordKind::kPane || key.kind == RecordKind::kRow) {
    PutBig(static_cast<uint64_t>(key.pane_start_us) ^ kSign, 8, out);
  }
  if (key.kind == RecordKind::kRow) out->append(key.group.data(), key.group.size());
  if (key.kind == RecordKind::kEntity) AppendEntityId(key.entity, out);
  if (key.kind == RecordKind::kEntityIndex) out->append(key.index.data(), key.index.size());
}

std::string EncodeKey(const RecordKey& key) {
  std::string bytes;
  AppendKey(key, &bytes);
  return bytes;
}

bool DecodeKey(absl::string_view bytes, RecordKey* key) {
  uint8_t format, project, size, kind;
  uint64_t version, partition, pane;
  if (!GetByte(&bytes, &format) || format != kKeyFormat || !GetByte(&bytes, &project) || project != kDefaultProject)
    return false;
  if (!GetByte(&bytes, &size) || size > bytes.size()) return false;
  key->metric = bytes.substr(0, size);
  bytes.remove_prefix(size);
  if (!GetBig(&bytes, 4, &version) || !GetBig(&bytes, 4, &partition) || !GetByte(&bytes, &kind)) return false;
  if (kind > static_cast<uint8_t>(RecordKind::kEntityIndex)) return false;
  key->version = static_cast<int32_t>(version);
  key->partition = static_cast<int32_t>(partition);
  key->kind = static_cast<RecordKind>(kind);
  if (key->kind == RecordKind::kPane || key->kind == RecordKind::kRow) {
    if (!GetBig(&bytes, 8, &pane)) return false;
    key->pane_start_us = static_cast<int64_t>(pane ^ kSign);
  }
  if (key->kind == RecordKind::kEntity) return ReadEntityId(&bytes, &key->entity) && bytes.empty();
  if (key->kind == RecordKind::kEntityIndex) {
    key->index = bytes;
    return true;
  }
  key->group = bytes;
  return key->kind == RecordKind::kRow || bytes.empty();
}

EntityId EntityIdOf(absl::string_view entity) {
  const XXH128_hash_t hash = XXH3_128bits(entity.data(), entity.size());
  return {hash.high64, hash.low64};
}

void AppendEntityId(const EntityId& id, std::string* out) {
  PutBig(id.high, 8, out);
  PutBig(id.low, 8, out);
}

bool ReadEntityId(absl::string_view* bytes, EntityId* id) {
  return GetBig(bytes, 8, &id->high) && GetBig(bytes, 8, &id->low);
}

std::string KeyPrefix(const MetricId& metric, int32_t partition) {
  std::string prefix;
  PutKeyStart(metric.name, metric.version, partition, &prefix);
  return prefix;
}

std::string RowPrefix(const MetricId& metric, int32_t partition, int64_t pane_start_us) {
  RecordKey key;
  key.kind = RecordKind::kRow;
  key.metric = metric.name;
  key.version = metric.version;
  key.partition = partition;
  key.pane_start_us = pane_start_us;
  return EncodeKey(key);
}

std::string KindPrefix(const MetricId& metric, int32_t partition, RecordKind kind) {
  std::string prefix = KeyPrefix(metric, partition);
  prefix.push_back(static_cast<char>(kind));
  return prefix;
}

std::string PrefixEnd(absl::string_view prefix) {
  std::string end(prefix);
  while (!end.empty()) {
    if (static_cast<uint8_t>(end.back()) != 0xFF) {
      end.back() = static_cast<char>(static_cast<uint8_t>(end.back()) + 1);
      return end;
    }
    end.pop_back();
  }
  return end;
}

std::string EncodeHead(const HeadRecord& head) {
  std::string bytes(1, static_cast<char>(kValueFormat));
  PutVarint(head.next_offset, &bytes);
  return bytes;
}

bool DecodeHead(absl::string_view bytes, HeadRecord* head) {
  return GetFormat(&bytes) && GetCount(&bytes, &head->next_offset);
}

std::string EncodeProgress(const Progress& progress) {
  std::string bytes(1, static_cast<char>(kValueFormat));
  bytes.push_back(static_cast<char>((progress.joined ? 1 : 0) | (progress.valid_from_us.has_value() ? 2 : 0)));
  PutVarint(progress.next_offset, &bytes);
  if (progress.valid_from_us.has_value()) PutSigned(*progress.valid_from_us, &bytes);
  PutVarint(progress.counts.matched, &bytes);
  PutVarint(progress.counts.not_matched, &bytes);
  PutVarint(progress.counts.failed_expressions, &bytes);
  PutVarint(progress.counts.late, &bytes);
  PutVarint(progress.timelines.size(), &bytes);
  for (const Timeline& timeline : progress.timelines) {
    PutBytes(timeline.id, &bytes);
    PutSigned(timeline.max_time_us, &bytes);
    PutSigned(timeline.last_received_us, &bytes);
    bytes.push_back(timeline.ended ? 1 : 0);
  }
  return bytes;
}

bool DecodeProgress(absl::string_view bytes, Progress* progress) {
  *progress = Progress();
  uint8_t flags;
  int64_t valid_from, timelines;
  if (!GetFormat(&bytes) || !GetByte(&bytes, &flags) || !GetCount(&bytes, &progress->next_offset)) return false;
  progress->joined = (flags & 1) != 0;
  if ((flags & 2) != 0) {
    if (!GetSigned(&bytes, &valid_from)) return false;
    progress->valid_from_us = valid_from;
  }
  EventCounts& counts = progress->counts;
  if (!GetCount(&bytes, &counts.matched) || !GetCount(&bytes, &counts.not_matched) ||
      !GetCount(&bytes, &counts.failed_expressions) || !GetCount(&bytes, &counts.late)) {
    return false;
  }
  if (!GetCount(&bytes, &timelines) || timelines > static_cast<int64_t>(bytes.size())) return false;
  for (int64_t i = 0; i < timelines; ++i) {
    Timeline timeline;
    absl::string_view id;
    uint8_t ended;
    if (!GetBytes(&bytes, &id) || !GetSigned(&bytes, &timeline.max_time_us) ||
        !GetSigned(&bytes, &timeline.last_received_us) || !GetByte(&bytes, &ended)) {
      return false;
    }
    timeline.id = std::string(id);
    timeline.ended = ended != 0;
    progress->timelines.push_back(std::move(timeline));
  }
  return true;
}

std::string EncodePane(const PaneRecord& pane) {
  std::string bytes(1, static_cast<char>(kValueFormat));
  bytes.push_back(static_cast<char>((pane.truncated ? 1 : 0) | (pane.first ? 2 : 0)));
  PutSigned(pane.last_change_us, &bytes);
  PutVarint(pane.group_count, &bytes);
  return bytes;
}

bool DecodePane(absl::string_view bytes, PaneRecord* pane) {
  uint8_t flags;
  if (!GetFormat(&bytes) || !GetByte(&bytes, &flags)) return false;
  pane->truncated = (flags & 1) != 0;
  pane->first = (flags & 2) != 0;
  return GetSigned(&bytes, &pane->last_change_us) && GetCount(&bytes, &pane->group_count);
}

std::string EncodeEntity(const EntityRecord& entity) {
  std::string bytes(1, static_cast<char>(kValueFormat));
  bytes.reserve(entity.state.size() + 10);
  PutSigned(entity.last_change_us, &bytes);
  bytes.append(entity.state.data(), entity.state.size());
  return bytes;
}

bool DecodeEntity(absl::string_view bytes, EntityRecord* entity) {
  if (!GetFormat(&bytes) || !GetSigned(&bytes, &entity->last_change_us)) return false;
  entity->state = bytes;
  return true;
}

void AddRevisions(int64_t end_us, int32_t count, Revisions* revisions) {
  for (auto& [end, known] : *revisions) {
    if (end != end_us) continue;
    known += count;
    return;
  }
  revisions->emplace_back(end_us, count);
}

void EncodeRow(const Revisions& revisions, const CellLayout& layout, const char* cell, std::string* out) {
  out->push_back(static_cast<char>(kValueFormat));
  PutVarint(revisions.size(), out);
  for (const auto& [end, count] : revisions) {
    PutSigned(end, out);
    PutVarint(count, out);
  }
  PutVarint(layout.measure_count(), out);
  layout.Encode(cell, out);
}

bool ReadRowHeader(absl::string_view* bytes, Revisions* revisions) {
  uint64_t size;
  if (!GetFormat(bytes) || !GetVarint(bytes, &size) || size > kMaxRevisions) return false;
  for (uint64_t i = 0; i < size; ++i) {
    int64_t end;
    uint64_t count;
    if (!GetSigned(bytes, &end) || !GetVarint(bytes, &count) || count > INT32_MAX) return false;
    if (revisions != nullptr) revisions->emplace_back(end, static_cast<int32_t>(count));
  }
  return true;
}

bool MergeRow(absl::string_view bytes, const CellLayout& layout, char* cell, Revisions* revisions) {
  uint64_t measures;
  if (!ReadRowHeader(&bytes, revisions) || !GetVarint(&bytes, &measures) || measures != layout.measure_count())
    return false;
  return layout.MergeEncoded(&bytes, cell) && bytes.empty();
}

}  // namespace naru::aggregator
