// The states that a metric has in one source partition: for each pane a hash table of groups.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/aggregator/aggregate_record.h"
#include "services/aggregator/measure.h"
#include "services/aggregator/window_grid.h"

namespace naru::aggregator {

/// A group in a pane: this header, then its cell, then the bytes of its key. Lives in its pane's arena.
struct Row {
  uint64_t hash = 0;
  Revisions* revisions = nullptr;  ///< owned; null: none
  uint32_t key_size = 0;
  bool dirty = false;      ///< changed since the last commit
  bool persisted = false;  ///< a commit, or the store, has it
  bool bumped = false;     ///< the commit that is under way has counted a revision of it
  bool revised = false;    ///< session windows: an event changed sessions that were counted, since the last commit

  char* cell() { return reinterpret_cast<char*>(this + 1); }
  const char* cell() const { return reinterpret_cast<const char*>(this + 1); }
  absl::string_view key(const CellLayout& layout) const { return {cell() + layout.size(), key_size}; }
};

/// The groups of one pane. Open addressing over 16-byte slots, so that a look-up touches one line of the table and
/// those of the row; `Prefetch` and then `PrefetchRow` fetch them ahead. Not thread-safe.
class Pane {
 public:
  Pane(TimeSpan span, const CellLayout* layout);
  ~Pane();
  Pane(const Pane&) = delete;
  Pane& operator=(const Pane&) = delete;

  /// Fetches the table's line.
  void Prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[hash & mask_]); }
  /// Fetches the row, if it lies where its hash says, as most do; Prefetch should have had time before.
  // Without the attribute GCC 12 takes it for a function without effect and removes its calls.
  ABSL_ATTRIBUTE_ALWAYS_INLINE void PrefetchRow(uint64_t hash) const {
    const Slot& slot = slots_[hash & mask_];
    if (slot.row == nullptr) return;
    __builtin_prefetch(slot.row);
    __builtin_prefetch(slot.row->cell() + layout_->size());  // the key, which may begin on the next line
  }
  /// Null: there is no such group.
  Row* Find(uint64_t hash, absl::string_view key) const {
    for (size_t at = hash & mask_; slots_[at].row != nullptr; at = (at + 1) & mask_) {
      if (slots_[at].hash == hash && Same(slots_[at].row->key(*layout_), key)) return slots_[at].row;
    }
    return nullptr;
  }
  /// Adds a group that is not there, with empty states.
  Row* Insert(uint64_t hash, absl::string_view key);
  void MarkDirty(Row* row) {
    if (row->dirty) return;
    row->dirty = true;
    dirty_rows.push_back(row);
  }
  /// Calls fn(Row*) for each group.
  template <typename Fn>
  void ForEach(Fn&& fn) const {
    for (size_t i = 0; i < slot_count(); ++i) {
      if (slots_[i].row != nullptr) fn(slots_[i].row);
    }
  }
  size_t size() const { return size_; }
  /// Bytes of the table and of the rows without what sketches hold.
  size_t bytes() const { return slot_count() * sizeof(Slot) + arena_bytes_; }
  const CellLayout& layout() const { return *layout_; }

  const TimeSpan span;
  PaneRecord record;
  bool dirty = false;             ///< the record, or rows, changed since the last commit
  bool loaded = false;            ///< its rows came from the store
  int64_t committed_offset = -1;  ///< in `aggregates`, of its last commit
  uint64_t last_used = 0;
  std::vector<Row*> dirty_rows;

 private:
  struct Slot {
    uint64_t hash;
    Row* row;  ///< null: free
  };
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  template <typename T>
  using Memory = std::unique_ptr<T[], Free>;

  /// Most keys are a number or a short word: two loads, not a call.
  static bool Same(absl::string_view a, absl::string_view b) {
    if (a.size() != b.size()) return false;
    if (a.size() < 8 || a.size() > 16) return a == b;
    return Load8(a.data()) == Load8(b.data()) && Load8(a.data() + a.size() - 8) == Load8(b.data() + b.size() - 8);
  }
  static uint64_t Load8(const char* bytes) {
    uint64_t word;
    std::memcpy(&word, bytes, 8);
    return word;
  }
  static void* AllocateBlock(size_t* bytes);
  void MakeSlots(size_t count);
  void Grow();
  char* Allocate(size_t bytes);
  size_t slot_count() const { return mask_ + 1; }

  const CellLayout* layout_;
  Memory<Slot> slots_;
  size_t mask_ = 0;
  size_t size_ = 0;
  std::vector<Memory<char>> blocks_;
  char* free_ = nullptr;
  size_t free_bytes_ = 0;
  size_t next_block_bytes_ = 1024;
  size_t arena_bytes_ = 0;
};

/// The hash that rows are found by.
uint64_t HashGroup(absl::string_view key);

/// Where the committed states are, for panes that are not in memory.
class PaneSource {
 public:
  virtual ~PaneSource() = default;
  /// Calls fn(group, value) for each row of the pane, values as EncodeRow made them.
  virtual absl::Status LoadPane(const MetricId& metric, int32_t partition, int64_t pane_start_us,
                                const std::function<void(absl::string_view, absl::string_view)>& fn) = 0;
};

/// All panes of a metric in a source partition; those not used lately may be on disk only. Not thread-safe.
class PaneStore {
 public:
  /// `layout` and `source` (may be null: nothing is ever on disk only) are borrowed.
  PaneStore(MetricId metric, int32_t partition, const CellLayout* layout, PaneSource* source)
      : metric_(std::move(metric)), partition_(partition), layout_(layout), source_(source) {}

  /// Counts uses of panes of several stores in one order. Borrowed.
  void set_use_counter(uint64_t* uses) { uses_ = uses; }
  /// A pane that is committed but not in memory.
  void AddKnown(int64_t pane_start_us, const PaneRecord& record) { known_[pane_start_us] = record; }

  /// The pane of this span, in memory: made or read where it is not. Stays where it is until Evict or Remove.
  absl::StatusOr<Pane*> Get(const TimeSpan& span) {
    if (last_ != nullptr && last_->span.start_us == span.start_us) return last_;
    return GetSlow(span);
  }
  /// Null: not in memory.
  Pane* FindLoaded(int64_t pane_start_us) const;
  /// Forgets a pane altogether.
  void Remove(int64_t pane_start_us);
  /// Drops a clean pane from memory.
  void Evict(int64_t pane_start_us);

  /// Every pane in memory, in no order.
  template <typename Fn>
  void ForEachLoaded(Fn&& fn) const {
    for (const auto& [start, pane] : loaded_) fn(pane.get());
  }
  /// Every pane with its record, in memory or not.
  template <typename Fn>
  void ForEachRecord(Fn&& fn) const {
    for (const auto& [start, pane] : loaded_) fn(start, pane->record);
    for (const auto& [start, record] : known_) fn(start, record);
  }
  void MarkDirty(Pane* pane) {
    if (pane->dirty) return;
    pane->dirty = true;
    dirty_panes_.push_back(pane);
  }
  std::vector<Pane*>& dirty_panes() { return dirty_panes_; }
  const CellLayout& layout() const { return *layout_; }
  size_t loaded_count() const { return loaded_.size(); }

 private:
  absl::StatusOr<Pane*> GetSlow(const TimeSpan& span);
  absl::Status Load(Pane* pane);

  const MetricId metric_;
  const int32_t partition_;
  const CellLayout* layout_;
  PaneSource* source_;
  Pane* last_ = nullptr;
  uint64_t own_uses_ = 0;
  uint64_t* uses_ = &own_uses_;
  absl::flat_hash_map<int64_t, std::unique_ptr<Pane>> loaded_;
  absl::flat_hash_map<int64_t, PaneRecord> known_;
  std::vector<Pane*> dirty_panes_;
};

}  // namespace naru::aggregator
