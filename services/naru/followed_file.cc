#include "services/naru/followed_file.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#ifndef XXH_INLINE_ALL
#define XXH_INLINE_ALL
#endif
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status/status.h"

namespace naru::cli {
namespace {

constexpr char kFirstLine[] = "naru follow 1";
constexpr size_t kBlock = 64 << 10;
/// Longer first lines are told apart by this much of them.
constexpr size_t kFirstLineBytes = 64 << 10;

int64_t ReadAt(int fd, char* out, size_t size, int64_t offset) {
  ssize_t count;
  do {
    count = pread(fd, out, size, offset);
  } while (count < 0 && errno == EINTR);
  return count;
}

uint64_t HashOf(absl::string_view text) {
  // 0 means none.
  return std::max<uint64_t>(XXH3_64bits(text.data(), text.size()), 1);
}

absl::Status WriteError(const std::string& path) {
  return MakeError(absl::StatusCode::kUnavailable, "POSITIONS_NOT_WRITTEN",
                   absl::StrCat(path, ": ", std::strerror(errno), "; --positions names another file"));
}

std::string EncodeGeneration(const Generation& file) {
  return absl::StrCat(file.id.device, "\t", file.id.inode, "\t", static_cast<int>(file.state), "\t",
                      absl::Hex(file.first_line), "\t", absl::Hex(file.head), "\t", file.head_size, "\t",
                      absl::Hex(file.tail), "\t", file.position.end_byte, "\t", file.position.next_line_number, "\t",
                      file.position.line_id, "\t", absl::CEscape(file.seed), "\t", absl::CEscape(file.name), "\t",
                      absl::CEscape(file.path), "\t", absl::CEscape(file.position.header), "\n");
}

bool DecodeGeneration(absl::string_view line, Generation* file) {
  const std::vector<absl::string_view> parts = absl::StrSplit(line, '\t');
  int state = 0;
  if (parts.size() != 14 || !absl::SimpleAtoi(parts[0], &file->id.device) ||
      !absl::SimpleAtoi(parts[1], &file->id.inode) || !absl::SimpleAtoi(parts[2], &state) || state < 0 || state > 2 ||
      !absl::SimpleHexAtoi(parts[3], &file->first_line) || !absl::SimpleHexAtoi(parts[4], &file->head) ||
      !absl::SimpleAtoi(parts[5], &file->head_size) || !absl::SimpleHexAtoi(parts[6], &file->tail) ||
      !absl::SimpleAtoi(parts[7], &file->position.end_byte) ||
      !absl::SimpleAtoi(parts[8], &file->position.next_line_number)) {
    return false;
  }
  file->state = static_cast<Generation::State>(state);
  file->position.line_id = std::string(parts[9]);
  return absl::CUnescape(parts[10], &file->seed) && absl::CUnescape(parts[11], &file->name) &&
         absl::CUnescape(parts[12], &file->path) && absl::CUnescape(parts[13], &file->position.header);
}

}  // namespace

FileId IdOf(const struct stat& info) {
  return {static_cast<uint64_t>(info.st_dev), static_cast<uint64_t>(info.st_ino)};
}

absl::StatusOr<FollowState> LoadFollowState(const std::string& path) {
  FollowState state;
  std::ifstream file(path, std::ios::binary);
  if (!file) return state;
  std::stringstream contents;
  contents << file.rdbuf();
  const std::string text = contents.str();
  const absl::Status wrong = MakeError(absl::StatusCode::kInvalidArgument, "POSITIONS_DAMAGED",
                                       absl::StrCat(path, ": not what `naru import --follow` writes"));
  bool first = true;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (first) {
      const std::vector<absl::string_view> parts = absl::StrSplit(line, '\t');
      if (parts.size() != 2 || parts[0] != kFirstLine || !absl::SimpleAtoi(parts[1], &state.last_look_us)) return wrong;
      first = false;
      continue;
    }
    auto generation = std::make_unique<Generation>();
    if (!DecodeGeneration(line, generation.get())) return wrong;
    state.generations.push_back(std::move(generation));
  }
  if (first) return wrong;
  return state;
}

absl::Status SaveFollowState(const std::string& path, const FollowState& state) {
  std::string text = absl::StrCat(kFirstLine, "\t", state.last_look_us, "\n");
  for (const auto& generation : state.generations) text += EncodeGeneration(*generation);
  const std::string next = path + ".new";
  const int fd = open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return WriteError(next);
  const char* at = text.data();
  size_t left = text.size();
  bool good = true;
  while (good && left > 0) {
    const ssize_t count = write(fd, at, left);
    if (count < 0 && errno == EINTR) continue;
    good = count > 0;
    at += std::max<ssize_t>(count, 0);
    left -= static_cast<size_t>(std::max<ssize_t>(count, 0));
  }
  good = good && fsync(fd) == 0;
  good = close(fd) == 0 && good;
  if (!good || std::rename(next.c_str(), path.c_str()) != 0) return WriteError(path);
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const int folder_fd = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  good = folder_fd >= 0 && fsync(folder_fd) == 0;
  if (folder_fd >= 0) close(folder_fd);
  return good ? absl::OkStatus() : WriteError(folder);
}

struct ContentReader::State {
  ~State() {
    if (gzip_open) inflateEnd(&gzip);
    ZSTD_freeDCtx(zstd);
  }
  /// False at the end of the file.
  bool Fill() {
    if (at < end) return true;
    const int64_t count = ReadAt(fd, buffer, sizeof(buffer), offset);
    if (count <= 0) return false;
    offset += count;
    at = 0;
    end = static_cast<size_t>(count);
    return true;
  }
  int64_t ReadGzip(char* out, size_t size) {
    gzip.next_out = reinterpret_cast<Bytef*>(out);
    gzip.avail_out = static_cast<uInt>(size);
    while (gzip.avail_out == size) {
      if (!Fill()) return inside ? -1 : 0;
      if (!inside) inflateReset(&gzip);
      gzip.next_in = reinterpret_cast<Bytef*>(buffer + at);
      gzip.avail_in = static_cast<uInt>(end - at);
      const int result = inflate(&gzip, Z_NO_FLUSH);
      at = end - gzip.avail_in;
      if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) return -1;
      inside = result != Z_STREAM_END;
    }
    return static_cast<int64_t>(size - gzip.avail_out);
  }
  int64_t ReadZstd(char* out, size_t size) {
    ZSTD_outBuffer output{out, size, 0};
    while (output.pos == 0) {
      const bool more = Fill();
      ZSTD_inBuffer input{buffer, more ? end : at, at};
      const size_t result = ZSTD_decompressStream(zstd, &output, &input);
      if (ZSTD_isError(result)) return -1;
      at = input.pos;
      inside = result != 0;
      if (!more && output.pos == 0) return inside ? -1 : 0;
    }
    return static_cast<int64_t>(output.pos);
  }

  int fd = -1;
  int64_t offset = 0;
  char buffer[kBlock];
  size_t at = 0;
  size_t end = 0;
  z_stream gzip{};
  bool gzip_open = false;
  ZSTD_DCtx* zstd = nullptr;
  bool inside = false;
};

ContentReader::ContentReader(int fd) : state_(std::make_unique<State>()) {
  state_->fd = fd;
  state_->Fill();
  const absl::string_view start(state_->buffer, state_->end);
  if (start.substr(0, 2) == "\x1f\x8b") state_->gzip_open = inflateInit2(&state_->gzip, 15 + 16) == Z_OK;
  if (start.substr(0, 4) == "\x28\xb5\x2f\xfd") state_->zstd = ZSTD_createDCtx();
}
ContentReader::~ContentReader() = default;

bool ContentReader::compressed() const { return state_->gzip_open || state_->zstd != nullptr; }

int64_t ContentReader::Read(char* out, size_t size) {
  if (state_->gzip_open) return state_->ReadGzip(out, size);
  if (state_->zstd != nullptr) return state_->ReadZstd(out, size);
  if (!state_->Fill()) return 0;
  const size_t count = std::min(size, state_->end - state_->at);
  std::memcpy(out, state_->buffer + state_->at, count);
  state_->at += count;
  return static_cast<int64_t>(count);
}

uint64_t FirstLineHash(int fd, bool* compressed) {
  ContentReader reader(fd);
  *compressed = reader.compressed();
  std::string text;
  char block[4096];
  while (text.size() < kFirstLineBytes) {
    const int64_t count = reader.Read(block, sizeof(block));
    if (count < 0) return 0;
    text.append(block, static_cast<size_t>(count));
    const size_t end = text.find('\n');
    if (end != std::string::npos) return HashOf(absl::string_view(text).substr(0, end));
    if (count == 0) return *compressed && !text.empty() ? HashOf(text) : 0;
  }
  return HashOf(absl::string_view(text).substr(0, kFirstLineBytes));
}

uint64_t HeadHash(int fd, int64_t* size) {
  ContentReader reader(fd);
  std::string text(static_cast<size_t>(*size), '\0');
  int64_t have = 0;
  while (have < *size) {
    const int64_t count = reader.Read(text.data() + have, static_cast<size_t>(*size - have));
    if (count <= 0) break;
    have += count;
  }
  *size = have;
  return HashOf(absl::string_view(text).substr(0, static_cast<size_t>(have)));
}

uint64_t TailHash(int fd, int64_t end) {
  const int64_t size = std::min(end, kTailBytes);
  char bytes[kTailBytes];
  int64_t have = 0;
  while (have < size) {
    const int64_t count = ReadAt(fd, bytes + have, static_cast<size_t>(size - have), end - size + have);
    if (count <= 0) return 0;
    have += count;
  }
  return HashOf({bytes, static_cast<size_t>(size)});
}

uint64_t ContentTailHash(int fd, int64_t end, int64_t* length) {
  ContentReader reader(fd);
  std::string block(kBlock, '\0');
  std::string tail;
  int64_t passed = 0;
  *length = -1;
  while (true) {
    const int64_t count = reader.Read(block.data(), block.size());
    if (count < 0) return 0;
    if (count == 0) break;
    const int64_t wanted = std::min(count, end - passed);
    if (wanted > 0) {
      tail.append(block, 0, static_cast<size_t>(wanted));
      if (tail.size() > static_cast<size_t>(kTailBytes)) tail.erase(0, tail.size() - static_cast<size_t>(kTailBytes));
    }
    passed += count;
  }
  *length = passed;
  return passed < end ? 0 : HashOf(tail);
}

bool IsBeginningOf(int copy, int original) {
  ContentReader reader(copy);
  std::string block(kBlock, '\0');
  std::string other(kBlock, '\0');
  int64_t offset = 0;
  while (true) {
    const int64_t count = reader.Read(block.data(), block.size());
    if (count <= 0) return count == 0;
    int64_t have = 0;
    while (have < count) {
      const int64_t got = ReadAt(original, other.data() + have, static_cast<size_t>(count - have), offset + have);
      if (got <= 0) return false;
      have += got;
    }
    if (std::memcmp(block.data(), other.data(), static_cast<size_t>(count)) != 0) return false;
    offset += count;
  }
}

int64_t EndOfLastLine(int fd, int64_t from, int64_t size) {
  std::string block(kBlock, '\0');
  for (int64_t end = size; end > from;) {
    const int64_t begin = std::max(from, end - static_cast<int64_t>(kBlock));
    const int64_t count = ReadAt(fd, block.data(), static_cast<size_t>(end - begin), begin);
    if (count <= 0) return from;
    const size_t found = block.rfind('\n', static_cast<size_t>(count) - 1);
    if (found != std::string::npos) return begin + static_cast<int64_t>(found) + 1;
    end = begin;
  }
  return from;
}

}  // namespace naru::cli
