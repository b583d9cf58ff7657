#include "common/rocks/database.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/log/log.h"
#include "common/rocks/data_directory.h"
#include "common/rocks/status.h"
#include "common/status/status.h"

namespace naru::rocks {
namespace {

namespace fs = std::filesystem;

}  // namespace

Database::Database(DatabaseOptions options)
    : options_(std::move(options)), memory_(MakeSharedMemory(options_.memtable_bytes, options_.cache_bytes)) {}

Database::~Database() {
  {
    MutexLock lock(&mu_);
    for (auto& [name, handle] : families_) db_->DestroyColumnFamilyHandle(handle).PermitUncheckedError();
    families_.clear();
  }
  if (db_ != nullptr) db_->Close().PermitUncheckedError();
}

std::string Database::Sibling(absl::string_view suffix) const { return absl::StrCat(options_.path, ".", suffix); }

absl::StatusOr<std::unique_ptr<Database>> Database::Open(DatabaseOptions options) {
  if (options.env == nullptr) options.env = rocksdb::Env::Default();
  std::unique_ptr<Database> database(new Database(std::move(options)));
  std::error_code error;
  fs::create_directories(database->options_.path, error);
  if (error)
    return absl::PermissionDeniedError(absl::StrCat("making ", database->options_.path, ": ", error.message()));
  NARU_RETURN_IF_ERROR(database->OpenOrMend());
  NARU_RETURN_IF_ERROR(database->ReplayWals());
  NARU_RETURN_IF_ERROR(database->WriteFamiliesFile());
  for (const std::string& note : database->notes_) {
    NARU_LOG(WARNING, "recovery", {{"path", database->options_.path}, {"note", note}});
  }
  return database;
}

absl::Status Database::OpenOrMend() {
  NARU_ASSIGN_OR_RETURN(const Books books, FindBooks());
  if (books == Books::kLost) return Rebuild("CURRENT and MANIFEST are missing");
  if (books == Books::kThere) NARU_RETURN_IF_ERROR(CutWals(options_.path));
  rocksdb::Status status = OpenRocks();
  if (status.ok()) return absl::OkStatus();
  if (!IsDamage(status)) return FromRocks(status, absl::StrCat("opening ", options_.path));
  return Rebuild(status.ToString());
}

rocksdb::Status Database::OpenRocks() {
  rocksdb::DBOptions db_options = MakeDatabaseOptions(options_.env, memory_);
  std::vector<std::string> names;
  const bool fresh = !fs::exists(absl::StrCat(options_.path, "/CURRENT"));
  if (!fresh) {
    rocksdb::Status status = rocksdb::DB::ListColumnFamilies(db_options, options_.path, &names);
    if (!status.ok()) return status;
  }
  if (names.empty()) names.push_back(rocksdb::kDefaultColumnFamilyName);
  db_options.create_if_missing = fresh;
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  descriptors.reserve(names.size());
  for (const std::string& name : names) {
    const FamilyUse use = options_.use_of == nullptr ? FamilyUse::kKeyed : options_.use_of(name);
    descriptors.emplace_back(name, MakeFamilyOptions(use, memory_));
  }
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  rocksdb::Status status = rocksdb::DB::Open(db_options, options_.path, descriptors, &handles, &db);
  if (!status.ok()) return status;
  db_.reset(db);
  MutexLock lock(&mu_);
  for (size_t i = 0; i < names.size(); ++i) families_[names[i]] = handles[i];
  return status;
}

rocksdb::ColumnFamilyHandle* Database::Find(const std::string& family) const {
  MutexLock lock(&mu_);
  const auto it = families_.find(family);
  return it == families_.end() ? nullptr : it->second;
}

std::vector<std::string> Database::Families() const {
  MutexLock lock(&mu_);
  std::vector<std::string> names;
  names.reserve(families_.size());
  for (const auto& [name, handle] : families_) names.push_back(name);
  return names;
}

absl::Status Database::EnsureFamilies(const std::vector<std::string>& families) {
  {
    // The lock is held throughout: two makers of one family must not both make it, and this is rare.
    MutexLock lock(&mu_);
    std::map<FamilyUse, std::vector<std::string>> missing;
    size_t count = families_.size();
    for (const std::string& name : families) {
      if (families_.count(name) != 0) continue;
      missing[options_.use_of == nullptr ? FamilyUse::kKeyed : options_.use_of(name)].push_back(name);
      ++count;
    }
    if (missing.empty()) return absl::OkStatus();
    if (count > kMaxFamilies) {
      return absl::ResourceExhaustedError(
          absl::StrCat(count, " column families are more than the ", kMaxFamilies, " that one database may have"));
    }
    for (const auto& [use, names] : missing) {
      std::vector<rocksdb::ColumnFamilyHandle*> handles;
      const rocksdb::Status status = db_->CreateColumnFamilies(MakeFamilyOptions(use, memory_), names, &handles);
      for (size_t i = 0; i < handles.size(); ++i) families_[names[i]] = handles[i];
      if (!status.ok()) return FromRocks(status, absl::StrCat("making column family ", names[handles.size()]));
    }
  }
  return WriteFamiliesFile();
}

absl::Status Database::Flush() {
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  {
    MutexLock lock(&mu_);
    for (const auto& [name, handle] : families_) handles.push_back(handle);
  }
  return FromRocks(db_->Flush(rocksdb::FlushOptions(), handles), "writing tables");
}

absl::Status Database::WriteFamiliesFile() {
  std::string text;
  {
    MutexLock lock(&mu_);
    std::map<uint32_t, std::string> by_id;
    for (const auto& [name, handle] : families_) by_id[handle->GetID()] = name;
    for (const auto& [id, name] : by_id) absl::StrAppend(&text, id, " ", name, "\n");
  }
  const absl::StatusOr<std::string> old = ReadWholeFile(Sibling("families"));
  if (old.ok() && *old == text) return absl::OkStatus();
  return WriteFileAtomically(Sibling("families"), text);
}

std::map<uint32_t, std::string> Database::ReadFamiliesFile() const {
  std::map<uint32_t, std::string> families;
  const absl::StatusOr<std::string> text = ReadWholeFile(Sibling("families"));
  if (!text.ok()) return families;
  for (absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    uint32_t id = 0;
    if (absl::SimpleAtoi(parts.first, &id) && !parts.second.empty()) families[id] = std::string(parts.second);
  }
  return families;
}

}  // namespace naru::rocks
