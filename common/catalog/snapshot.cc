#include "common/catalog/snapshot.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/catalog/builtin.h"
#include "naru/catalog/v1/catalog.pb.h"

namespace naru::catalog {
namespace {

// What the maps by kind and name have in common: find the inner value or null.
template <typename Map>
auto* FindIn(const Map& by_kind, absl::string_view kind, absl::string_view name) {
  using Value = typename Map::mapped_type::mapped_type;
  const auto names = by_kind.find(kind);
  if (names == by_kind.end()) return static_cast<const Value*>(nullptr);
  const auto found = names->second.find(name);
  return found == names->second.end() ? static_cast<const Value*>(nullptr) : &found->second;
}

template <typename Map>
void EraseIn(Map& by_kind, absl::string_view kind, absl::string_view name) {
  const auto names = by_kind.find(kind);
  if (names == by_kind.end()) return;
  if (const auto found = names->second.find(name); found != names->second.end()) names->second.erase(found);
  if (names->second.empty()) by_kind.erase(names);
}

}  // namespace

std::shared_ptr<const v1::Resource> Snapshot::FindShared(absl::string_view kind, absl::string_view name) const {
  if (const auto* found = FindIn(resources_, kind, name)) return *found;
  return FindBuiltin(kind, name);
}

const v1::Resource* Snapshot::Find(absl::string_view kind, absl::string_view name) const {
  return FindShared(kind, name).get();
}

std::vector<const v1::Resource*> Snapshot::List(absl::string_view kind) const {
  std::vector<const v1::Resource*> list;
  for (const auto& [this_kind, by_name] : resources_) {
    if (!kind.empty() && kind != this_kind) continue;
    for (const auto& [name, resource] : by_name) list.push_back(resource.get());
  }
  return list;
}

int32_t Snapshot::DeletedVersion(absl::string_view kind, absl::string_view name) const {
  const int32_t* version = FindIn(deleted_, kind, name);
  return version == nullptr ? 0 : *version;
}

const v1::ApiKey* Snapshot::FindApiKey(absl::string_view id) const {
  const auto found = api_keys_.find(id);
  return found == api_keys_.end() ? nullptr : found->second.get();
}

std::vector<const v1::ApiKey*> Snapshot::ApiKeys() const {
  std::vector<const v1::ApiKey*> keys;
  keys.reserve(api_keys_.size());
  for (const auto& [id, key] : api_keys_) keys.push_back(key.get());
  std::stable_sort(keys.begin(), keys.end(), [](const v1::ApiKey* a, const v1::ApiKey* b) {
    const auto& s = a->create_time();
    const auto& t = b->create_time();
    return s.seconds() != t.seconds() ? s.seconds() < t.seconds() : s.nanos() < t.nanos();
  });
  return keys;
}

void SnapshotBuilder::Apply(absl::string_view key, absl::string_view value, bool tombstone) {
  v1::CatalogRecord record;
  if (!tombstone && !record.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    ++next_.skipped_;
    return;
  }
  if (!ApplyRecord(key, std::move(record))) ++next_.skipped_;
}

// A record without content is a tombstone. Returns false for what this release does not know.
bool SnapshotBuilder::ApplyRecord(absl::string_view key, v1::CatalogRecord record) {
  const size_t slash = key.find('/');
  if (slash == absl::string_view::npos) return false;
  const absl::string_view kind = key.substr(0, slash);
  const absl::string_view name = key.substr(slash + 1);
  switch (record.record_case()) {
    case v1::CatalogRecord::kResource:
      EraseIn(next_.deleted_, kind, name);
      next_.resources_[std::string(kind)][std::string(name)] =
          std::make_shared<const v1::Resource>(std::move(*record.mutable_resource()));
      return true;
    case v1::CatalogRecord::kApiKey:
      next_.api_keys_[std::string(name)] = std::make_shared<const v1::ApiKey>(std::move(*record.mutable_api_key()));
      return true;
    case v1::CatalogRecord::kDeleted:
      EraseIn(next_.resources_, kind, name);
      next_.deleted_[std::string(kind)][std::string(name)] = record.deleted().version();
      return true;
    case v1::CatalogRecord::RECORD_NOT_SET:
      break;
  }
  if (record.ByteSizeLong() != 0) return false;  // only fields of a newer release
  EraseIn(next_.resources_, kind, name);
  EraseIn(next_.deleted_, kind, name);
  if (kind == "ApiKey") next_.api_keys_.erase(std::string(name));
  return true;
}

std::shared_ptr<const Snapshot> SnapshotBuilder::Build() {
  ++next_.version_;
  return std::make_shared<const Snapshot>(next_);
}

std::string RecordKey(absl::string_view kind, absl::string_view name) { return absl::StrCat(kind, "/", name); }

}  // namespace naru::catalog
