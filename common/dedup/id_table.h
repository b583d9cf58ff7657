// The newest ids: an open-addressing table that never grows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/dedup/id_hash.h"

namespace naru::dedup {

/// An id with when it was received.
struct IdEntry {
  uint64_t hi = 0;
  uint32_t lo = 0;
  uint32_t time_s = 0;  ///< seconds since 1970; 0 = no entry
};

/// Slots are taken in the order of the hash, so that reading them out is nearly sorted already. A slot is 16 + 4 bytes,
/// taken from the system when it is first used. Not thread-safe.
class IdTable {
 public:
  /// Room for 2^slot_bits entries. The caller keeps it at most three quarters full.
  explicit IdTable(int slot_bits);
  ~IdTable();
  IdTable(const IdTable&) = delete;
  IdTable& operator=(const IdTable&) = delete;

  /// Brings the slot of `hash` into the cache. Call it some ids ahead.
  void Prefetch(const IdHash& hash) const;

  /// What Find saw.
  struct Found {
    uint32_t time_s = 0;    ///< 0: not there
    uint32_t sequence = 0;  ///< low bits of the batch that put it in
  };
  Found Find(const IdHash& hash) const;

  /// Puts the id in, or overwrites its time and sequence.
  void Put(const IdHash& hash, uint32_t time_s, uint32_t sequence);
  /// Takes the id out, if it is there with this sequence.
  bool Erase(const IdHash& hash, uint32_t sequence);

  size_t size() const { return size_; }
  size_t slots() const { return mask_ + 1; }
  /// All entries, ascending by (hi, lo).
  std::vector<IdEntry> Sorted() const;
  /// Takes everything out, and keeps the memory.
  void Clear();

  uint64_t first_sequence = 0;  ///< batches that put ids in, kept by the owner
  uint64_t last_sequence = 0;
  uint32_t first_time_s = 0;

 private:
  size_t Home(uint64_t hi) const { return hi >> shift_; }
  size_t Locate(const IdHash& hash) const;

  const int shift_;
  const size_t mask_;
  size_t bytes_;
  IdEntry* entries_;
  uint32_t* sequences_;
  size_t size_ = 0;
};

}  // namespace naru::dedup
