#include "common/dedup/id_table.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

namespace naru::dedup {
namespace {

bool Less(const IdEntry& a, const IdEntry& b) { return a.hi != b.hi ? a.hi < b.hi : a.lo < b.lo; }

}  // namespace

IdTable::IdTable(int slot_bits) : shift_(64 - slot_bits), mask_((size_t{1} << slot_bits) - 1) {
  bytes_ = slots() * (sizeof(IdEntry) + sizeof(uint32_t));
  // Straight from the system: zeroed, and resident only where it is touched.
  void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  madvise(memory, bytes_, MADV_HUGEPAGE);  // every lookup goes somewhere else: fewer translations to miss
  entries_ = static_cast<IdEntry*>(memory);
  sequences_ = reinterpret_cast<uint32_t*>(entries_ + slots());
}

IdTable::~IdTable() { munmap(entries_, bytes_); }

void IdTable::Prefetch(const IdHash& hash) const {
  const size_t slot = Home(hash.hi);
  __builtin_prefetch(entries_ + slot, 1);
  __builtin_prefetch(sequences_ + slot, 1);
}

// The slot of the id, or the empty one where it would go.
size_t IdTable::Locate(const IdHash& hash) const {
  size_t slot = Home(hash.hi);
  while (entries_[slot].time_s != 0 && (entries_[slot].hi != hash.hi || entries_[slot].lo != hash.lo)) {
    slot = (slot + 1) & mask_;
  }
  return slot;
}

IdTable::Found IdTable::Find(const IdHash& hash) const {
  const size_t slot = Locate(hash);
  return Found{entries_[slot].time_s, sequences_[slot]};
}

void IdTable::Put(const IdHash& hash, uint32_t time_s, uint32_t sequence) {
  const size_t slot = Locate(hash);
  size_ += entries_[slot].time_s == 0;
  entries_[slot] = IdEntry{hash.hi, hash.lo, time_s == 0 ? 1 : time_s};
  sequences_[slot] = sequence;
}

bool IdTable::Erase(const IdHash& hash, uint32_t sequence) {
  size_t hole = Locate(hash);
  if (entries_[hole].time_s == 0 || sequences_[hole] != sequence) return false;
  // Later entries of the cluster move back into the hole where they may stand: no tombstones, which would fill the
  // table.
  for (size_t slot = (hole + 1) & mask_; entries_[slot].time_s != 0; slot = (slot + 1) & mask_) {
    const size_t home = Home(entries_[slot].hi);
    if (((slot - home) & mask_) < ((slot - hole) & mask_)) continue;
    entries_[hole] = entries_[slot];
    sequences_[hole] = sequences_[slot];
    hole = slot;
  }
  entries_[hole] = IdEntry();
  --size_;
  return true;
}

void IdTable::Clear() {
  std::memset(static_cast<void*>(entries_), 0, bytes_);
  size_ = 0;
}

std::vector<IdEntry> IdTable::Sorted() const {
  std::vector<IdEntry> sorted;
  sorted.reserve(size_);
  // A cluster that began in the last slots may go on in the first ones; its entries come last in order.
  std::vector<IdEntry> wrapped;
  for (size_t slot = 0; slot <= mask_; ++slot) {
    if (entries_[slot].time_s == 0) continue;
    (Home(entries_[slot].hi) > slot ? wrapped : sorted).push_back(entries_[slot]);
  }
  sorted.insert(sorted.end(), wrapped.begin(), wrapped.end());
  // Entries are at most a cluster away from their place, which is what insertion sort is good at.
  for (size_t i = 1; i < sorted.size(); ++i) {
    const IdEntry entry = sorted[i];
    size_t at = i;
    for (; at > 0 && Less(entry, sorted[at - 1]); --at) sorted[at] = sorted[at - 1];
    sorted[at] = entry;
  }
  return sorted;
}

}  // namespace naru::dedup
