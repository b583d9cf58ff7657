#include "common/rocks/wal_scan.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

namespace naru::rocks {
namespace {

// RocksDB's log format: blocks of 32 KiB; in them fragments of {masked crc32c, length, type}, which cover type and
// data.
constexpr size_t kBlockBytes = 32 << 10;
constexpr size_t kFragmentHeader = 7;
constexpr size_t kBatchHeader = 12;  // sequence, count
enum FragmentType : uint8_t { kZero = 0, kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

uint32_t Load32(const char* p) {
  uint32_t v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
uint64_t Load64(const char* p) {
  uint64_t v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

uint32_t Unmask(uint32_t masked) {
  const uint32_t rotated = masked - 0xa282ead8u;
  return (rotated >> 17) | (rotated << 15);
}

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int k = 0; k < 8; ++k) c = (c & 1) != 0 ? (c >> 1) ^ 0x82f63b78u : c >> 1;
    table[i] = c;
  }
  return table;
}

uint32_t CrcByTable(uint32_t c, const char* p, size_t n) {
  static constexpr std::array<uint32_t, 256> kTable = MakeCrcTable();
  for (size_t i = 0; i < n; ++i) c = kTable[(c ^ static_cast<uint8_t>(p[i])) & 0xff] ^ (c >> 8);
  return c;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t CrcByInstruction(uint32_t crc, const char* p, size_t n) {
  uint64_t c = crc;
  for (; n >= 8; n -= 8, p += 8) c = __builtin_ia32_crc32di(c, Load64(p));
  auto c32 = static_cast<uint32_t>(c);
  for (; n > 0; --n, ++p) c32 = __builtin_ia32_crc32qi(c32, static_cast<uint8_t>(*p));
  return c32;
}
#endif

// Puts fragments together and remembers where the first damage is.
class WriteAssembler {
 public:
  WriteAssembler(const std::function<void(const WalWrite&)>& good,
                 const std::function<void(const WalWrite&)>& after_damage)
      : good_(good), after_damage_(after_damage) {}

  void Fragment(uint8_t type, absl::string_view data, uint64_t end) {
    switch (type) {
      case kFull:
        Damaged(assembling_);
        Finish(data, end);
        return;
      case kFirst:
        Damaged(assembling_);
        pending_.assign(data.data(), data.size());
        assembling_ = true;
        return;
      case kMiddle:
      case kLast:
        if (!assembling_) return Damaged(true);
        pending_.append(data.data(), data.size());
        if (type == kLast) {
          assembling_ = false;
          Finish(pending_, end);
        }
        return;
      default:
        Damaged(true);
    }
  }
  /// Something here is not a whole write.
  void Damaged(bool is_damaged) {
    if (!is_damaged) return;
    damaged_ = true;
    assembling_ = false;
  }
  WalScan Result(uint64_t file_bytes) const {
    WalScan scan = scan_;
    scan.file_bytes = file_bytes;
    // A file that ends inside a write, or in the filler of a block, has nothing good after its last whole write.
    if (!damaged_ && !assembling_) scan.good_bytes = file_bytes;
    return scan;
  }

 private:
  void Finish(absl::string_view batch, uint64_t end) {
    if (batch.size() < kBatchHeader) return Damaged(true);
    const WalWrite write{Load64(batch.data()), Load32(batch.data() + 8), batch};
    if (damaged_) {
      ++scan_.writes_after_damage;
      if (after_damage_) after_damage_(write);
      return;
    }
    if (scan_.good_writes++ == 0) scan_.first_sequence = write.sequence;
    scan_.next_sequence = write.sequence + write.count;
    scan_.good_bytes = end;
    if (good_) good_(write);
  }

  const std::function<void(const WalWrite&)>& good_;
  const std::function<void(const WalWrite&)>& after_damage_;
  WalScan scan_;
  std::string pending_;
  bool assembling_ = false;
  bool damaged_ = false;
};

// Takes one block apart.
void ScanBlock(absl::string_view block, uint64_t block_start, WriteAssembler* assembler) {
  size_t at = 0;
  while (block.size() - at >= kFragmentHeader) {
    const char* header = block.data() + at;
    const size_t length = static_cast<uint8_t>(header[4]) | (static_cast<size_t>(static_cast<uint8_t>(header[5])) << 8);
    const auto type = static_cast<uint8_t>(header[6]);
    if (type == kZero && length == 0) return assembler->Damaged(true);  // never written, or lost by the disk
    if (length > block.size() - at - kFragmentHeader) return assembler->Damaged(true);
    const uint32_t crc = Crc32c(0, block.substr(at + 6, length + 1));
    if (crc != Unmask(Load32(header))) return assembler->Damaged(true);  // the length is as doubtful: skip the block
    at += kFragmentHeader;
    assembler->Fragment(type, block.substr(at, length), block_start + at + length);
    at += length;
  }
  // What is left of a full block is filler of zeros; of the last block, a torn header.
  if (block.size() < kBlockBytes && at < block.size()) assembler->Damaged(true);
}

}  // namespace

uint32_t Crc32c(uint32_t crc, absl::string_view data) {
  const uint32_t c = ~crc;
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2");
  if (has_instruction) return ~CrcByInstruction(c, data.data(), data.size());
#endif
  return ~CrcByTable(c, data.data(), data.size());
}

absl::StatusOr<WalScan> ScanWal(const std::string& path, const std::function<void(const WalWrite&)>& good,
                                const std::function<void(const WalWrite&)>& after_damage) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    const std::string message = absl::StrCat("opening ", path, ": ", std::strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(message) : absl::InternalError(message);
  }
  const off_t file_bytes = ::lseek(fd, 0, SEEK_END);
  WriteAssembler assembler(good, after_damage);
  const auto buffer = std::make_unique<char[]>(kBlockBytes);
  for (off_t block_start = 0; block_start < file_bytes; block_start += kBlockBytes) {
    const auto wanted = static_cast<size_t>(std::min<off_t>(kBlockBytes, file_bytes - block_start));
    size_t filled = 0;
    while (filled < wanted) {
      const ssize_t n = ::pread(fd, buffer.get() + filled, wanted - filled, block_start + static_cast<off_t>(filled));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      filled += static_cast<size_t>(n);
    }
    ScanBlock(absl::string_view(buffer.get(), filled), static_cast<uint64_t>(block_start), &assembler);
    if (filled < wanted) assembler.Damaged(true);  // a sector that cannot be read; what follows may be well
  }
  ::close(fd);
  WalScan scan = assembler.Result(static_cast<uint64_t>(file_bytes));
  return scan;
}

}  // namespace naru::rocks
