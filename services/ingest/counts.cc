#include "services/ingest/counts.h"

#include "common/event/wire.h"

namespace naru::ingest {
namespace {

namespace wire = event::wire;

constexpr char kCountsVersion = 1;
constexpr char kOtherTypes[] = "__other__";

bool ReadVarint(absl::string_view* bytes, uint64_t* value) {
  const char* p = wire::ReadVarint(bytes->data(), bytes->data() + bytes->size(), value);
  if (p == nullptr) return false;
  bytes->remove_prefix(p - bytes->data());
  return true;
}

void AddType(absl::string_view type, int64_t n, Counts::ByType* counts) {
  const auto it = counts->find(type);
  if (it != counts->end()) {
    it->second += n;
  } else if (counts->size() < kMaxCountedTypes) {
    counts->emplace(std::string(type), n);
  } else {
    (*counts)[kOtherTypes] += n;
  }
}

int64_t Sum(const Counts::ByType& counts) {
  int64_t sum = 0;
  for (const auto& [type, n] : counts) sum += n;
  return sum;
}

void AppendTypes(const Counts::ByType& counts, std::string* out) {
  wire::AppendVarint(counts.size(), out);
  for (const auto& [type, n] : counts) {
    wire::AppendVarint(type.size(), out);
    out->append(type);
    wire::AppendVarint(static_cast<uint64_t>(n), out);
  }
}

bool ReadTypes(absl::string_view* bytes, Counts::ByType* counts) {
  uint64_t types, size, n;
  if (!ReadVarint(bytes, &types)) return false;
  for (uint64_t i = 0; i < types; ++i) {
    if (!ReadVarint(bytes, &size) || size > bytes->size()) return false;
    const absl::string_view type = bytes->substr(0, size);
    bytes->remove_prefix(size);
    if (!ReadVarint(bytes, &n)) return false;
    AddType(type, static_cast<int64_t>(n), counts);
  }
  return true;
}

}  // namespace

int64_t Counts::filtered() const { return Sum(filtered_by_type); }
int64_t Counts::accepted() const { return Sum(stored_by_type); }

int64_t Counts::rejected() const {
  int64_t sum = 0;
  for (int64_t n : rejected_by_reason) sum += n;
  return sum;
}

bool Counts::empty() const { return received() == 0 && replayed == 0; }

void Counts::AddStored(absl::string_view type, int64_t n) { AddType(type, n, &stored_by_type); }
void Counts::AddFiltered(absl::string_view type, int64_t n) { AddType(type, n, &filtered_by_type); }

void Counts::AddRejected(int reason, int64_t n) {
  rejected_by_reason[reason >= 0 && reason < kMaxReasons ? reason : 0] += n;
}

void Counts::Add(const Counts& other) {
  for (const auto& [type, n] : other.stored_by_type) AddStored(type, n);
  for (const auto& [type, n] : other.filtered_by_type) AddFiltered(type, n);
  for (int reason = 0; reason < kMaxReasons; ++reason) rejected_by_reason[reason] += other.rejected_by_reason[reason];
  duplicate += other.duplicate;
  replayed += other.replayed;
}

void Counts::AppendTo(std::string* out) const {
  out->push_back(kCountsVersion);
  wire::AppendVarint(static_cast<uint64_t>(duplicate), out);
  wire::AppendVarint(static_cast<uint64_t>(replayed), out);
  AppendTypes(stored_by_type, out);
  AppendTypes(filtered_by_type, out);
  int reasons = 0;
  for (int64_t n : rejected_by_reason) reasons += n != 0;
  wire::AppendVarint(reasons, out);
  for (int reason = 0; reason < kMaxReasons; ++reason) {
    if (rejected_by_reason[reason] == 0) continue;
    wire::AppendVarint(reason, out);
    wire::AppendVarint(static_cast<uint64_t>(rejected_by_reason[reason]), out);
  }
}

bool Counts::Parse(absl::string_view* bytes, Counts* counts) {
  *counts = Counts();
  if (bytes->empty() || bytes->front() != kCountsVersion) return false;
  bytes->remove_prefix(1);
  uint64_t duplicate, replayed, reasons, reason, n;
  if (!ReadVarint(bytes, &duplicate) || !ReadVarint(bytes, &replayed)) return false;
  counts->duplicate = static_cast<int64_t>(duplicate);
  counts->replayed = static_cast<int64_t>(replayed);
  if (!ReadTypes(bytes, &counts->stored_by_type) || !ReadTypes(bytes, &counts->filtered_by_type)) return false;
  if (!ReadVarint(bytes, &reasons)) return false;
  for (uint64_t i = 0; i < reasons; ++i) {
    if (!ReadVarint(bytes, &reason) || !ReadVarint(bytes, &n)) return false;
    counts->AddRejected(reason < kMaxReasons ? static_cast<int>(reason) : 0, static_cast<int64_t>(n));
  }
  return true;
}

}  // namespace naru::ingest
