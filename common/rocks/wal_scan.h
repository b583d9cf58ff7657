// Reads RocksDB's write-ahead logs before RocksDB does, to tell a torn tail from damage in the middle, and to say what
// the damage cost. RocksDB by itself stops (or skips zeroed blocks) and tells only its own log.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace naru::rocks {

/// One write (RocksDB's WriteBatch, its 12-byte header included). The view lives until the callback returns.
struct WalWrite {
  uint64_t sequence = 0;
  uint32_t count = 0;
  absl::string_view batch;
};

/// What a file holds.
struct WalScan {
  uint64_t file_bytes = 0;
  uint64_t good_bytes = 0;      ///< from the start: whole, unharmed writes
  uint64_t first_sequence = 0;  ///< of the first good write; 0 when there is none
  uint64_t next_sequence = 0;   ///< after the last good write; 0 when there is none
  int64_t good_writes = 0;
  int64_t writes_after_damage = 0;  ///< readable ones after good_bytes; 0 with good_bytes < file_bytes: a torn tail
};

/// Reads the whole file; `after_damage`, if set, is called for each readable write that follows the first damage.
/// Errors: NOT_FOUND, INTERNAL (the file cannot be read at all).
absl::StatusOr<WalScan> ScanWal(const std::string& path, const std::function<void(const WalWrite&)>& good,
                                const std::function<void(const WalWrite&)>& after_damage);

/// CRC-32C (Castagnoli) of `data`, going on from `crc`.
uint32_t Crc32c(uint32_t crc, absl::string_view data);

}  // namespace naru::rocks
