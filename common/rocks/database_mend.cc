// What Database::Open does when files are damaged or missing.
#include <rocksdb/convenience.h>
#include <rocksdb/write_batch.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/rocks/data_directory.h"
#include "common/rocks/database.h"
#include "common/rocks/status.h"
#include "common/rocks/wal_scan.h"
#include "common/status/status.h"

namespace naru::rocks {
namespace {

namespace fs = std::filesystem;

struct NumberedFile {
  uint64_t number = 0;
  std::string path;
};

// Files named `<prefix><number><suffix>`, by number.
std::vector<NumberedFile> ListNumbered(const std::string& directory, absl::string_view prefix,
                                       absl::string_view suffix) {
  std::vector<NumberedFile> files;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    absl::string_view digits = name;
    uint64_t number = 0;
    if (absl::ConsumePrefix(&digits, prefix) && absl::ConsumeSuffix(&digits, suffix) &&
        absl::SimpleAtoi(digits, &number)) {
      files.push_back({number, entry.path().string()});
    }
  }
  std::sort(files.begin(), files.end(),
            [](const NumberedFile& a, const NumberedFile& b) { return a.number < b.number; });
  return files;
}

std::vector<NumberedFile> ListWals(const std::string& directory) { return ListNumbered(directory, "", ".log"); }

// Writes a batch again, into families that may have other numbers now.
class Retarget : public rocksdb::WriteBatch::Handler {
 public:
  using Find = std::function<rocksdb::ColumnFamilyHandle*(uint32_t)>;
  explicit Retarget(Find find) : find_(std::move(find)) {}

  rocksdb::Status PutCF(uint32_t id, const rocksdb::Slice& key, const rocksdb::Slice& value) override {
    rocksdb::ColumnFamilyHandle* family = Family(id);
    return family == nullptr ? rocksdb::Status::OK() : out_.Put(family, key, value);
  }
  rocksdb::Status DeleteCF(uint32_t id, const rocksdb::Slice& key) override {
    rocksdb::ColumnFamilyHandle* family = Family(id);
    return family == nullptr ? rocksdb::Status::OK() : out_.Delete(family, key);
  }
  rocksdb::Status DeleteRangeCF(uint32_t id, const rocksdb::Slice& from, const rocksdb::Slice& to) override {
    rocksdb::ColumnFamilyHandle* family = Family(id);
    return family == nullptr ? rocksdb::Status::OK() : out_.DeleteRange(family, from, to);
  }
  void LogData(const rocksdb::Slice&) override {}
  rocksdb::WriteBatch* out() { return &out_; }
  int64_t skipped() const { return skipped_; }

 private:
  rocksdb::ColumnFamilyHandle* Family(uint32_t id) {
    rocksdb::ColumnFamilyHandle* family = find_(id);
    if (family == nullptr) ++skipped_;
    return family;
  }
  Find find_;
  rocksdb::WriteBatch out_;
  int64_t skipped_ = 0;
};

// Tells puts one by one.
class PutLister : public rocksdb::WriteBatch::Handler {
 public:
  using Fn = std::function<void(uint32_t, absl::string_view, absl::string_view)>;
  explicit PutLister(Fn fn) : fn_(std::move(fn)) {}
  rocksdb::Status PutCF(uint32_t id, const rocksdb::Slice& key, const rocksdb::Slice& value) override {
    fn_(id, absl::string_view(key.data(), key.size()), absl::string_view(value.data(), value.size()));
    return rocksdb::Status::OK();
  }
  rocksdb::Status DeleteCF(uint32_t, const rocksdb::Slice&) override { return rocksdb::Status::OK(); }
  rocksdb::Status DeleteRangeCF(uint32_t, const rocksdb::Slice&, const rocksdb::Slice&) override {
    return rocksdb::Status::OK();
  }
  void LogData(const rocksdb::Slice&) override {}

 private:
  Fn fn_;
};

}  // namespace

bool Database::IsDamage(const rocksdb::Status& status) {
  if (status.IsCorruption()) return true;
  return status.IsPathNotFound() || status.IsNotFound() ||
         (status.IsIOError() && status.ToString().find("No such file") != std::string::npos);
}

void Database::ReportLost(const std::map<uint32_t, std::string>& families, absl::string_view batch) {
  if (!options_.lost_put) return;
  PutLister lister([&](uint32_t id, absl::string_view key, absl::string_view value) {
    const auto it = families.find(id);
    if (it != families.end()) options_.lost_put(it->second, key, value);
  });
  rocksdb::WriteBatch(std::string(batch)).Iterate(&lister).PermitUncheckedError();
}

void Database::KeepDamaged(const std::string& file, uint64_t from, const std::string& name) {
  // Best effort: mending must not fail because a copy for people cannot be made (the disk may be full).
  const std::string directory = Sibling("damaged");
  std::error_code error;
  fs::create_directories(directory, error);
  std::vector<std::pair<fs::file_time_type, fs::path>> kept;
  int64_t total = static_cast<int64_t>(fs::file_size(file, error)) - static_cast<int64_t>(from);
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    kept.emplace_back(entry.last_write_time(error), entry.path());
    total += static_cast<int64_t>(entry.file_size(error));
  }
  std::sort(kept.begin(), kept.end());
  for (auto it = kept.begin(); it != kept.end() && total > kMaxDamagedBytes; ++it) {
    total -= static_cast<int64_t>(fs::file_size(it->second, error));
    fs::remove(it->second, error);
  }
  if (total > kMaxDamagedBytes) return;
  std::ifstream in(file, std::ios::binary);
  in.seekg(static_cast<std::streamoff>(from));
  std::ofstream out(absl::StrCat(directory, "/", name), std::ios::binary);
  if (in.peek() != std::ifstream::traits_type::eof()) out << in.rdbuf();
}

absl::StatusOr<Database::Books> Database::FindBooks() {
  const std::string current = absl::StrCat(options_.path, "/CURRENT");
  const std::vector<NumberedFile> manifests = ListNumbered(options_.path, "MANIFEST-", "");
  const absl::StatusOr<std::string> text = ReadWholeFile(current);
  if (text.ok() && absl::EndsWith(*text, "\n") && absl::StartsWith(*text, "MANIFEST-") &&
      fs::exists(absl::StrCat(options_.path, "/", absl::StripSuffix(*text, "\n")))) {
    return Books::kThere;
  }
  const bool has_data =
      !ListNumbered(options_.path, "", ".sst").empty() || !ListWals(options_.path).empty() || !manifests.empty();
  if (!has_data && !text.ok()) return Books::kNone;
  if (manifests.empty()) return Books::kLost;
  // The newest MANIFEST is the one that was in use; were it a half-written successor, opening would fail and the
  // database be rebuilt from its tables.
  const std::string name = fs::path(manifests.back().path).filename().string();
  notes_.push_back(absl::StrCat("CURRENT was missing or damaged; it names ", name, " again"));
  NARU_RETURN_IF_ERROR(WriteFileAtomically(current, absl::StrCat(name, "\n")));
  return Books::kThere;
}

absl::Status Database::CutWals(const std::string& directory) {
  const std::map<uint32_t, std::string> families = ReadFamiliesFile();
  const auto report = [&](const WalWrite& write) { ReportLost(families, write.batch); };
  const std::vector<NumberedFile> wals = ListWals(directory);
  bool stopped = false;
  uint64_t next_sequence = 0;  // after a torn file: what the next one must begin with to belong to it
  for (const NumberedFile& wal : wals) {
    const std::string name = fs::path(wal.path).filename().string();
    if (next_sequence != 0 && !stopped) {
      NARU_ASSIGN_OR_RETURN(const WalScan peek, ScanWal(wal.path, nullptr, nullptr));
      stopped = peek.good_writes > 0 && peek.first_sequence != next_sequence;
    }
    if (stopped) {
      NARU_ASSIGN_OR_RETURN(const WalScan scan, ScanWal(wal.path, report, report));
      KeepDamaged(wal.path, 0, name);
      notes_.push_back(absl::StrCat("write-ahead log ", name, " follows the damage and was put aside: ",
                                    scan.good_writes + scan.writes_after_damage, " writes lost"));
      std::error_code error;
      fs::remove(wal.path, error);
      continue;
    }
    NARU_ASSIGN_OR_RETURN(const WalScan scan, ScanWal(wal.path, nullptr, report));
    next_sequence = 0;
    if (scan.good_bytes == scan.file_bytes) continue;
    stopped = scan.writes_after_damage > 0;
    if (stopped) {
      KeepDamaged(wal.path, scan.good_bytes, absl::StrCat(name, "-from-", scan.good_bytes));
      notes_.push_back(absl::StrCat("write-ahead log ", name, " is damaged at byte ", scan.good_bytes, " of ",
                                    scan.file_bytes, ": ", scan.writes_after_damage,
                                    " readable writes after it, and what was in the damage, are lost"));
    } else {
      notes_.push_back(absl::StrCat("write-ahead log ", name, " had a torn tail: ", scan.file_bytes - scan.good_bytes,
                                    " bytes that were never acknowledged were cut"));
      next_sequence = scan.next_sequence;
    }
    if (::truncate(wal.path.c_str(), static_cast<off_t>(scan.good_bytes)) != 0) {
      return absl::InternalError(absl::StrCat("cutting ", wal.path, ": ", std::strerror(errno)));
    }
  }
  return absl::OkStatus();
}

absl::Status Database::Rebuild(const std::string& why) {
  notes_.push_back(absl::StrCat("the database's own books were damaged and are rebuilt from its tables: ", why));
  const std::string replay = Sibling("replay");
  std::error_code error;
  const bool again = fs::exists(replay, error);
  fs::create_directories(replay, error);
  for (const NumberedFile& wal : ListWals(options_.path)) {
    // RocksDB's repair forgets families that have no table yet, so the log is replayed by ReplayWals. When mending was
    // itself interrupted, the logs here hold nothing but a part of that replay.
    if (again) {
      fs::remove(wal.path, error);
    } else {
      fs::rename(wal.path, absl::StrCat(replay, "/", fs::path(wal.path).filename().string()), error);
    }
    if (error) return absl::InternalError(absl::StrCat("moving ", wal.path, ": ", error.message()));
  }
  rocksdb::DBOptions db_options = MakeDatabaseOptions(options_.env, memory_);
  db_options.create_if_missing = true;
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const auto& [id, name] : ReadFamiliesFile()) {
    const FamilyUse use = options_.use_of == nullptr ? FamilyUse::kKeyed : options_.use_of(name);
    descriptors.emplace_back(name, MakeFamilyOptions(use, memory_));
  }
  if (descriptors.empty()) {
    descriptors.emplace_back(rocksdb::kDefaultColumnFamilyName, MakeFamilyOptions(FamilyUse::kKeyed, memory_));
  }
  rocksdb::Status status =
      rocksdb::RepairDB(options_.path, db_options, descriptors, MakeFamilyOptions(FamilyUse::kKeyed, memory_));
  const std::string lost = absl::StrCat(options_.path, "/lost");
  for (const NumberedFile& table : ListNumbered(lost, "", ".sst")) {
    const std::string name = fs::path(table.path).filename().string();
    notes_.push_back(absl::StrCat("table ", name, " could not be read and was put aside (",
                                  fs::file_size(table.path, error), " bytes)"));
    KeepDamaged(table.path, 0, name);
  }
  fs::remove_all(lost, error);
  if (status.ok()) status = OpenRocks();
  if (status.ok()) return absl::OkStatus();
  // Trouble of the machine, not damage: the next start mends on.
  if (!IsDamage(status)) return FromRocks(status, absl::StrCat("mending ", options_.path));
  // Nothing can be read: start afresh beside it rather than not at all.
  const std::string aside = absl::StrCat(options_.path, ".unreadable-", std::to_string(::time(nullptr)));
  fs::rename(options_.path, aside, error);
  fs::create_directories(options_.path, error);
  notes_.push_back(absl::StrCat("nothing could be mended (", status.ToString(), "); the old files are in ", aside));
  return FromRocks(OpenRocks(), absl::StrCat("opening ", options_.path));
}

absl::Status Database::ReplayWals() {
  const std::string replay = Sibling("replay");
  if (!fs::exists(replay)) return absl::OkStatus();
  NARU_RETURN_IF_ERROR(CutWals(replay));
  const std::map<uint32_t, std::string> names = ReadFamiliesFile();
  std::vector<std::string> missing;
  for (const auto& [id, name] : names) missing.push_back(name);
  // Written again below, with the numbers of now: until the replay is over, the old file must stay as it is.
  rocksdb::Status status;
  for (const std::string& name : missing) {
    if (Find(name) != nullptr) continue;
    const FamilyUse use = options_.use_of == nullptr ? FamilyUse::kKeyed : options_.use_of(name);
    rocksdb::ColumnFamilyHandle* handle = nullptr;
    status = db_->CreateColumnFamily(MakeFamilyOptions(use, memory_), name, &handle);
    if (!status.ok()) return FromRocks(status, absl::StrCat("making column family ", name));
    MutexLock lock(&mu_);
    families_[name] = handle;
  }
  int64_t replayed = 0, skipped = 0;
  const auto apply = [&](const WalWrite& write) {
    Retarget retarget([&](uint32_t id) {
      const auto it = names.find(id);
      return it == names.end() ? nullptr : Find(it->second);
    });
    rocksdb::Status applied = rocksdb::WriteBatch(std::string(write.batch)).Iterate(&retarget);
    if (applied.ok()) applied = db_->Write(rocksdb::WriteOptions(), retarget.out());
    if (status.ok() && !applied.ok()) status = applied;
    skipped += retarget.skipped();
    ++replayed;
  };
  for (const NumberedFile& wal : ListWals(replay)) {
    NARU_RETURN_IF_ERROR(ScanWal(wal.path, apply, nullptr).status());
    if (!status.ok()) return FromRocks(status, absl::StrCat("replaying ", wal.path));
  }
  NARU_RETURN_IF_ERROR(Flush());
  notes_.push_back(
      absl::StrCat("replayed ", replayed, " writes from the write-ahead log",
                   skipped > 0 ? absl::StrCat("; ", skipped, " keys of unknown families were left out") : ""));
  // Renamed first: a removal cut short must not look like a replay still to be done.
  const std::string done = Sibling("replayed");
  std::error_code error;
  fs::remove_all(done, error);
  fs::rename(replay, done, error);
  if (error) return absl::InternalError(absl::StrCat("renaming ", replay, ": ", error.message()));
  fs::remove_all(done, error);
  return absl::OkStatus();
}

}  // namespace naru::rocks
