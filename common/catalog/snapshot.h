// All resources and API keys at one position of the catalog's topic.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace naru::catalog::v1 {
class ApiKey;
class CatalogRecord;
class Resource;
}  // namespace naru::catalog::v1

namespace naru::catalog {

/// What the catalog holds at one moment. Immutable, so thread-safe; what it returns lives as long as the snapshot (and
/// whatever later snapshot still shares it: hold the shared_ptr).
class Snapshot {
 public:
  /// The resource, or null. Names that are built in (see builtin.h) are found too, unless `kind` and `name` were
  /// applied.
  const v1::Resource* Find(absl::string_view kind, absl::string_view name) const;
  /// The same, shared: outlives the snapshot.
  std::shared_ptr<const v1::Resource> FindShared(absl::string_view kind, absl::string_view name) const;
  /// All applied resources of one kind by name; empty `kind`: of all kinds, by kind, then name. Without built-in ones.
  std::vector<const v1::Resource*> List(absl::string_view kind) const;
  /// The last version that a deleted resource had; 0 = there was none.
  int32_t DeletedVersion(absl::string_view kind, absl::string_view name) const;

  /// The key with this id, or null; revoked ones too.
  const v1::ApiKey* FindApiKey(absl::string_view id) const;
  /// All keys, oldest first; revoked ones too.
  std::vector<const v1::ApiKey*> ApiKeys() const;

  /// Grows by one with each snapshot of a Catalog; 1 = the first. Not the same in two processes.
  int64_t version() const { return version_; }
  /// Offset after the last record that this snapshot holds: the same in every process.
  int64_t position() const { return position_; }
  /// Records that were left out because they could not be read (written by a newer release, or damaged).
  int64_t skipped_records() const { return skipped_; }

 private:
  friend class SnapshotBuilder;
  template <typename T>
  using ByName = std::map<std::string, T, std::less<>>;

  ByName<ByName<std::shared_ptr<const v1::Resource>>> resources_;  // by kind, then name
  ByName<ByName<int32_t>> deleted_;
  ByName<std::shared_ptr<const v1::ApiKey>> api_keys_;
  int64_t version_ = 0;
  int64_t position_ = 0;
  int64_t skipped_ = 0;
};

/// Makes one snapshot after another out of records. Not thread-safe.
class SnapshotBuilder {
 public:
  /// Takes the value of a record (an encoded CatalogRecord) with its key (`KIND/NAME`). What cannot be read is counted.
  void Apply(absl::string_view key, absl::string_view value, bool tombstone);
  /// Everything up to this offset has been applied.
  void set_position(int64_t position) { next_.position_ = position; }
  int64_t position() const { return next_.position_; }
  /// A snapshot of what was applied so far.
  std::shared_ptr<const Snapshot> Build();

 private:
  bool ApplyRecord(absl::string_view key, v1::CatalogRecord record);
  Snapshot next_;
};

/// The key of a resource's record: `KIND/NAME`. API keys have the kind `ApiKey`.
std::string RecordKey(absl::string_view kind, absl::string_view name);

}  // namespace naru::catalog
