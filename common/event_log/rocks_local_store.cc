#include "common/event_log/rocks_local_store.h"

#include <rocksdb/convenience.h>
#include <rocksdb/write_batch.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "common/rocks/status.h"
#include "common/status/status.h"

namespace naru::event_log {

absl::StatusOr<rocksdb::ColumnFamilyHandle*> RocksLocalStore::Find(const std::string& family) {
  rocksdb::ColumnFamilyHandle* handle = store_->database()->Find(LocalFamily(family));
  if (handle == nullptr) return absl::NotFoundError(absl::StrCat("there is no local family '", family, "'"));
  return handle;
}

absl::Status RocksLocalStore::EnsureFamily(const std::string& family) {
  NARU_RETURN_IF_ERROR(CheckName("family", family));
  return store_->database()->EnsureFamilies({LocalFamily(family)});
}

absl::StatusOr<std::optional<std::string>> RocksLocalStore::Get(const std::string& family, absl::string_view key) {
  NARU_ASSIGN_OR_RETURN(rocksdb::ColumnFamilyHandle * handle, Find(family));
  std::string value;
  const rocksdb::Status status = store_->db()->Get(rocksdb::ReadOptions(), handle, ToSlice(key), &value);
  if (status.IsNotFound()) return std::optional<std::string>();
  if (!status.ok()) return rocks::FromRocks(status, absl::StrCat("reading family ", family));
  return std::optional<std::string>(std::move(value));
}

absl::StatusOr<std::vector<std::optional<std::string>>> RocksLocalStore::MultiGet(const std::string& family,
                                                                                  absl::Span<const std::string> keys) {
  NARU_ASSIGN_OR_RETURN(rocksdb::ColumnFamilyHandle * handle, Find(family));
  const std::vector<rocksdb::Slice> slices(keys.begin(), keys.end());
  std::vector<rocksdb::PinnableSlice> values(keys.size());
  std::vector<rocksdb::Status> statuses(keys.size());
  store_->db()->MultiGet(rocksdb::ReadOptions(), handle, slices.size(), slices.data(), values.data(), statuses.data());
  std::vector<std::optional<std::string>> out(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (statuses[i].IsNotFound()) continue;
    if (!statuses[i].ok()) return rocks::FromRocks(statuses[i], absl::StrCat("reading family ", family));
    out[i] = values[i].ToString();
  }
  return out;
}

absl::Status RocksLocalStore::Scan(const std::string& family, absl::string_view from, absl::string_view to,
                                   const std::function<bool(absl::string_view, absl::string_view)>& fn) {
  NARU_ASSIGN_OR_RETURN(rocksdb::ColumnFamilyHandle * handle, Find(family));
  rocksdb::ReadOptions read;
  const rocksdb::Slice upper = ToSlice(to);
  if (!to.empty()) read.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> it(store_->db()->NewIterator(read, handle));
  for (it->Seek(ToSlice(from)); it->Valid(); it->Next()) {
    if (!fn(ToView(it->key()), ToView(it->value()))) return absl::OkStatus();
  }
  return rocks::FromRocks(it->status(), absl::StrCat("scanning family ", family));
}

absl::Status RocksLocalStore::Stage(std::vector<LocalWrite> writes, CommitRequest* request) {
  for (LocalWrite& write : writes) {
    NARU_ASSIGN_OR_RETURN(rocksdb::ColumnFamilyHandle * handle, Find(write.family));
    request->local.push_back({handle, std::move(write.key), std::move(write.value)});
  }
  return absl::OkStatus();
}

absl::Status RocksLocalStore::Write(absl::Span<const LocalWrite> writes, bool sync) {
  rocksdb::WriteBatch batch;
  for (const LocalWrite& write : writes) {
    NARU_ASSIGN_OR_RETURN(rocksdb::ColumnFamilyHandle * handle, Find(write.family));
    if (write.value.has_value()) {
      batch.Put(handle, write.key, *write.value);
    } else {
      batch.Delete(handle, write.key);
    }
  }
  if (batch.Count() == 0) return absl::OkStatus();
  NARU_RETURN_IF_ERROR(store_->CheckDisk());
  return store_->Write(&batch, sync, "writing local families");
}

absl::Status RocksLocalStore::DeleteRange(const std::string& family, absl::string_view from, absl::string_view to) {
  NARU_ASSIGN_OR_RETURN(rocksdb::ColumnFamilyHandle * handle, Find(family));
  const std::string what = absl::StrCat("deleting a range of family ", family);
  std::string last(to);
  if (to.empty()) {
    // As in Scan: to the end.
    const std::unique_ptr<rocksdb::Iterator> it(store_->db()->NewIterator(rocksdb::ReadOptions(), handle));
    it->SeekToLast();
    if (!it->Valid()) return rocks::FromRocks(it->status(), what);
    last = absl::StrCat(ToView(it->key()), absl::string_view("\0", 1));
  }
  if (last <= from) return absl::OkStatus();
  const rocksdb::Slice begin = ToSlice(from);
  const rocksdb::Slice end(last);
  rocksdb::WriteBatch batch;
  // The mark first, then the files: files that go while an older version of a key stays below would bring that back.
  NARU_RETURN_IF_ERROR(rocks::FromRocks(batch.DeleteRange(handle, begin, end), what));
  NARU_RETURN_IF_ERROR(store_->Write(&batch, /*sync=*/false, what));
  return rocks::FromRocks(rocksdb::DeleteFilesInRange(store_->db(), handle, &begin, &end, /*include_end=*/false), what);
}

int64_t RocksLocalStore::ApproximateBytes(const std::string& family) {
  const absl::StatusOr<rocksdb::ColumnFamilyHandle*> handle = Find(family);
  if (!handle.ok()) return 0;
  uint64_t tables = 0, memory = 0;
  store_->db()->GetIntProperty(*handle, rocksdb::DB::Properties::kLiveSstFilesSize, &tables);
  store_->db()->GetIntProperty(*handle, rocksdb::DB::Properties::kCurSizeAllMemTables, &memory);
  return static_cast<int64_t>(tables + memory);
}

}  // namespace naru::event_log
