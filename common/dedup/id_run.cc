#include "common/dedup/id_run.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"

namespace naru::dedup {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kPageEntries = 255;
constexpr size_t kMaxNoteBytes = 3072;
constexpr uint64_t kMagic = 0x315344495552414e;  // bytes "NARUIDS1"
constexpr uint32_t kVersion = 1;
constexpr size_t kWriteBufferBytes = 256 * 1024;

struct PageTrailer {
  uint64_t checksum;
  uint32_t count;
  uint32_t unused;
};
static_assert(sizeof(IdEntry) == 16);
static_assert(kPageEntries * sizeof(IdEntry) + sizeof(PageTrailer) == kPageBytes);

struct Header {
  uint64_t magic;
  uint32_t version;
  uint32_t note_bytes;
  uint64_t first_sequence, last_sequence;
  uint64_t key_fingerprint;
  uint64_t count;
  uint32_t min_time_s, max_time_s;
  uint64_t pages;
  uint64_t filter_bytes;
  uint64_t tail_checksum;  // of filter and index
  char note[kMaxNoteBytes];
  uint64_t checksum;  // of everything before it
};
static_assert(sizeof(Header) <= kPageBytes);

absl::Status IoError(absl::string_view what, const std::string& path) {
  const int error = errno;
  const auto code = error == ENOENT   ? absl::StatusCode::kNotFound
                    : error == ENOSPC ? absl::StatusCode::kResourceExhausted
                                      : absl::StatusCode::kUnavailable;
  return MakeError(code, "DEDUP_FILE", absl::StrCat(what, " ", path, ": ", std::strerror(error)));
}

absl::Status Damaged(const std::string& path, absl::string_view what) {
  return MakeError(absl::StatusCode::kDataLoss, "DEDUP_FILE_DAMAGED", absl::StrCat(path, ": ", what));
}

bool ReadAt(int fd, void* data, size_t size, uint64_t offset) {
  char* p = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t n = pread(fd, p, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    size -= n;
    offset += n;
  }
  return true;
}

uint64_t TailChecksum(const IdFilter& filter, const std::vector<uint64_t>& first_keys) {
  const uint64_t seed = XXH3_64bits(filter.data(), filter.size_bytes());
  return XXH3_64bits_withSeed(first_keys.data(), first_keys.size() * sizeof(uint64_t), seed);
}

// The fields of a sound header describe a file of exactly its size.
absl::Status CheckHeader(const Header& header, uint64_t file_bytes, const std::string& path) {
  if (header.magic != kMagic) return Damaged(path, "not a file of ids");
  if (header.version > kVersion) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "NEWER_FORMAT",
                     absl::StrCat(path, " has format ", header.version, ", this program reads up to ", kVersion));
  }
  if (header.checksum != XXH3_64bits(&header, offsetof(Header, checksum))) return Damaged(path, "damaged header");
  if (header.note_bytes > kMaxNoteBytes || header.filter_bytes == 0 || header.filter_bytes % 64 != 0 ||
      header.pages > file_bytes / kPageBytes || header.filter_bytes > file_bytes ||
      file_bytes != kPageBytes * (1 + header.pages) + header.filter_bytes + header.pages * sizeof(uint64_t)) {
    return Damaged(path, "not of the size that its header says");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<IdRun>> IdRun::Open(const std::string& path) {
  std::shared_ptr<IdRun> run(new IdRun());
  run->path_ = path;
  run->fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (run->fd_ < 0) return IoError("cannot open", path);
  struct stat stat;
  if (fstat(run->fd_, &stat) != 0) return IoError("cannot look at", path);
  Header header;
  if (!ReadAt(run->fd_, &header, sizeof(header), 0)) return Damaged(path, "shorter than a header");
  NARU_RETURN_IF_ERROR(CheckHeader(header, stat.st_size, path));
  run->info_ = RunInfo{header.first_sequence,
                       header.last_sequence,
                       header.key_fingerprint,
                       header.count,
                       header.min_time_s,
                       header.max_time_s,
                       std::string(header.note, header.note_bytes)};
  std::vector<char> filter(header.filter_bytes);
  run->first_keys_.resize(header.pages);
  const uint64_t tail = kPageBytes * (1 + header.pages);
  if (!ReadAt(run->fd_, filter.data(), filter.size(), tail) ||
      !ReadAt(run->fd_, run->first_keys_.data(), header.pages * sizeof(uint64_t), tail + filter.size())) {
    return IoError("cannot read", path);
  }
  run->filter_ = std::make_unique<IdFilter>(filter);
  if (TailChecksum(*run->filter_, run->first_keys_) != header.tail_checksum) return Damaged(path, "damaged filter");
  // Looked up at random: reading ahead would only push other things out of the page cache.
  posix_fadvise(run->fd_, 0, 0, POSIX_FADV_RANDOM);
  return run;
}

IdRun::~IdRun() {
  if (fd_ >= 0) close(fd_);
  if (obsolete_) unlink(path_.c_str());
}

int64_t IdRun::damaged_pages() const { return damaged_pages_; }

bool IdRun::ReadPage(size_t page, std::vector<IdEntry>* entries) const {
  alignas(8) char bytes[kPageBytes];
  PageTrailer trailer;
  bool good = ReadAt(fd_, bytes, kPageBytes, kPageBytes * (1 + page));
  if (good) {
    std::memcpy(&trailer, bytes + kPageEntries * sizeof(IdEntry), sizeof(trailer));
    good = trailer.count <= kPageEntries &&
           trailer.checksum == XXH3_64bits_withSeed(bytes, kPageEntries * sizeof(IdEntry), trailer.count);
  }
  if (!good) {
    damaged_pages_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  entries->resize(trailer.count);
  if (trailer.count > 0) std::memcpy(entries->data(), bytes, trailer.count * sizeof(IdEntry));
  return true;
}

std::optional<uint32_t> IdRun::Find(const IdHash& id) const {
  auto after = std::upper_bound(first_keys_.begin(), first_keys_.end(), id.hi);
  thread_local std::vector<IdEntry> entries;
  while (after != first_keys_.begin()) {
    --after;
    if (ReadPage(after - first_keys_.begin(), &entries)) {
      const IdEntry wanted{id.hi, id.lo, 0};
      const auto less = [](const IdEntry& a, const IdEntry& b) { return a.hi != b.hi ? a.hi < b.hi : a.lo < b.lo; };
      const auto it = std::lower_bound(entries.begin(), entries.end(), wanted, less);
      if (it != entries.end() && it->hi == id.hi && it->lo == id.lo) return it->time_s;
    }
    // Entries of equal `hi` may have begun in the page before.
    if (*after != id.hi) break;
  }
  return std::nullopt;
}

absl::StatusOr<std::unique_ptr<IdRunWriter>> IdRunWriter::Create(const std::string& path, size_t expected) {
  std::unique_ptr<IdRunWriter> writer(new IdRunWriter(path, expected));
  const std::string temporary = path + ".tmp";
  writer->fd_ = open(temporary.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
  if (writer->fd_ < 0) return IoError("cannot make", temporary);
  // The header is written last, over this.
  NARU_RETURN_IF_ERROR(writer->Write(std::string(kPageBytes, '\0').data(), kPageBytes));
  return writer;
}

IdRunWriter::~IdRunWriter() {
  if (fd_ >= 0) close(fd_);
  if (!finished_) unlink((path_ + ".tmp").c_str());
}

absl::Status IdRunWriter::Write(const void* data, size_t size) {
  const char* p = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = write(fd_, p, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return IoError("cannot write", path_);
    p += n;
    size -= n;
  }
  return absl::OkStatus();
}

absl::Status IdRunWriter::FlushPage() {
  if (page_.empty()) return absl::OkStatus();
  first_keys_.push_back(page_.front().hi);
  const size_t start = buffer_.size();
  buffer_.resize(start + kPageBytes);
  char* page = buffer_.data() + start;
  std::memcpy(page, page_.data(), page_.size() * sizeof(IdEntry));
  PageTrailer trailer{0, static_cast<uint32_t>(page_.size()), 0};
  trailer.checksum = XXH3_64bits_withSeed(page, kPageEntries * sizeof(IdEntry), trailer.count);
  std::memcpy(page + kPageEntries * sizeof(IdEntry), &trailer, sizeof(trailer));
  page_.clear();
  if (buffer_.size() < kWriteBufferBytes) return absl::OkStatus();
  NARU_RETURN_IF_ERROR(Write(buffer_.data(), buffer_.size()));
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status IdRunWriter::Add(const IdEntry& entry) {
  filter_.Add(FilterProbe(IdHash{entry.hi, entry.lo}));
  page_.push_back(entry);
  ++count_;
  min_time_s_ = std::min(min_time_s_, entry.time_s);
  max_time_s_ = std::max(max_time_s_, entry.time_s);
  return page_.size() == kPageEntries ? FlushPage() : absl::OkStatus();
}

absl::Status IdRunWriter::Finish(RunInfo info) {
  NARU_RETURN_IF_ERROR(FlushPage());
  NARU_RETURN_IF_ERROR(Write(buffer_.data(), buffer_.size()));
  NARU_RETURN_IF_ERROR(Write(filter_.data(), filter_.size_bytes()));
  NARU_RETURN_IF_ERROR(Write(first_keys_.data(), first_keys_.size() * sizeof(uint64_t)));
  if (info.note.size() > kMaxNoteBytes) {
    return MakeError(absl::StatusCode::kInvalidArgument, "NOTE_TOO_LONG", "a run's note has at most 3072 bytes");
  }
  Header header{};
  header.magic = kMagic;
  header.version = kVersion;
  header.note_bytes = static_cast<uint32_t>(info.note.size());
  header.first_sequence = info.first_sequence;
  header.last_sequence = info.last_sequence;
  header.key_fingerprint = info.key_fingerprint;
  header.count = count_;
  header.min_time_s = min_time_s_;
  header.max_time_s = max_time_s_;
  header.pages = first_keys_.size();
  header.filter_bytes = filter_.size_bytes();
  header.tail_checksum = TailChecksum(filter_, first_keys_);
  std::memcpy(header.note, info.note.data(), info.note.size());
  header.checksum = XXH3_64bits(&header, offsetof(Header, checksum));
  if (pwrite(fd_, &header, sizeof(header), 0) != static_cast<ssize_t>(sizeof(header)))
    return IoError("cannot write", path_);
  if (fdatasync(fd_) != 0) return IoError("cannot sync", path_);
  if (rename((path_ + ".tmp").c_str(), path_.c_str()) != 0) return IoError("cannot name", path_);
  finished_ = true;
  const std::string directory = path_.substr(0, path_.find_last_of('/'));
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return IoError("cannot open", directory);
  const int synced = fsync(fd);
  close(fd);
  return synced == 0 ? absl::OkStatus() : IoError("cannot sync", directory);
}

namespace {

// Walks the entries of one run.
class RunCursor {
 public:
  explicit RunCursor(const IdRun* run) : run_(run) { Load(); }
  bool done() const { return done_; }
  const IdEntry& entry() const { return entries_[at_]; }
  void Advance() {
    if (++at_ >= entries_.size()) Load();
  }

 private:
  void Load() {
    at_ = 0;
    entries_.clear();
    while (entries_.empty() && page_ < run_->pages()) {
      if (!run_->ReadPage(page_++, &entries_)) entries_.clear();
    }
    done_ = entries_.empty();
  }

  const IdRun* run_;
  size_t page_ = 0;
  size_t at_ = 0;
  bool done_ = false;
  std::vector<IdEntry> entries_;
};

}  // namespace

absl::Status MergeRuns(const std::vector<std::shared_ptr<IdRun>>& runs, uint32_t keep_from_s, const std::string& path) {
  RunInfo info = runs.back()->info();
  info.first_sequence = runs.front()->info().first_sequence;
  uint64_t expected = 0;
  std::vector<RunCursor> cursors;
  for (const auto& run : runs) {
    expected += run->info().count;
    cursors.emplace_back(run.get());
  }
  NARU_ASSIGN_OR_RETURN(std::unique_ptr<IdRunWriter> writer, IdRunWriter::Create(path, expected));
  IdEntry pending{};
  const auto flush = [&]() -> absl::Status {
    return pending.time_s == 0 || pending.time_s < keep_from_s ? absl::OkStatus() : writer->Add(pending);
  };
  while (true) {
    // A handful of runs: comparing all heads is as fast as a heap.
    RunCursor* least = nullptr;
    for (RunCursor& cursor : cursors) {
      if (cursor.done()) continue;
      if (least == nullptr || cursor.entry().hi < least->entry().hi ||
          (cursor.entry().hi == least->entry().hi && cursor.entry().lo < least->entry().lo)) {
        least = &cursor;
      }
    }
    if (least == nullptr) break;
    const IdEntry& entry = least->entry();
    if (pending.time_s != 0 && pending.hi == entry.hi && pending.lo == entry.lo) {
      pending.time_s = std::max(pending.time_s, entry.time_s);
    } else {
      NARU_RETURN_IF_ERROR(flush());
      pending = entry;
    }
    least->Advance();
  }
  NARU_RETURN_IF_ERROR(flush());
  return writer->Finish(std::move(info));
}

}  // namespace naru::dedup
