#include "services/aggregator/pane_store.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace naru::aggregator {
namespace {

constexpr size_t kFirstSlots = 16;
constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr size_t kMaxBlockBytes = kHugePageBytes;

}  // namespace

uint64_t HashGroup(absl::string_view key) { return XXH3_64bits(key.data(), key.size()); }

Pane::Pane(TimeSpan pane_span, const CellLayout* layout) : span(pane_span), layout_(layout) { MakeSlots(kFirstSlots); }

Pane::~Pane() {
  ForEach([this](Row* row) {
    layout_->Destroy(row->cell());
    delete row->revisions;
  });
}

/// What is large lies in huge pages where the system has them: look-ups of many groups otherwise miss the TLB each
/// time. `bytes` may become more.
void* Pane::AllocateBlock(size_t* bytes) {
  void* memory = nullptr;
  if (*bytes >= kHugePageBytes) {
    *bytes = (*bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
    memory = std::aligned_alloc(kHugePageBytes, *bytes);
    if (memory != nullptr) madvise(memory, *bytes, MADV_HUGEPAGE);
  } else {
    memory = std::malloc(*bytes);
  }
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void Pane::MakeSlots(size_t count) {
  size_t bytes = count * sizeof(Slot);
  slots_.reset(static_cast<Slot*>(AllocateBlock(&bytes)));
  std::memset(static_cast<void*>(slots_.get()), 0, count * sizeof(Slot));
  mask_ = count - 1;
}

char* Pane::Allocate(size_t bytes) {
  bytes = (bytes + 7) / 8 * 8;
  if (bytes > free_bytes_) {
    size_t block = std::max(bytes, next_block_bytes_);
    next_block_bytes_ = std::min(next_block_bytes_ * 2, kMaxBlockBytes);
    blocks_.emplace_back(static_cast<char*>(AllocateBlock(&block)));
    free_ = blocks_.back().get();
    free_bytes_ = block;
    arena_bytes_ += block;
  }
  char* result = free_;
  free_ += bytes;
  free_bytes_ -= bytes;
  return result;
}

Row* Pane::Insert(uint64_t hash, absl::string_view key) {
  if ((size_ + 1) * 4 > slot_count() * 3) Grow();
  Row* row = new (Allocate(sizeof(Row) + layout_->size() + key.size())) Row;
  row->hash = hash;
  row->key_size = static_cast<uint32_t>(key.size());
  layout_->Init(row->cell());
  std::memcpy(row->cell() + layout_->size(), key.data(), key.size());
  size_t at = hash & mask_;
  while (slots_[at].row != nullptr) at = (at + 1) & mask_;
  slots_[at] = {hash, row};
  ++size_;
  return row;
}

void Pane::Grow() {
  const size_t count = slot_count();
  const Memory<Slot> old = std::move(slots_);
  MakeSlots(count * 2);
  for (size_t i = 0; i < count; ++i) {
    const Slot slot = old[i];
    if (slot.row == nullptr) continue;
    size_t at = slot.hash & mask_;
    while (slots_[at].row != nullptr) at = (at + 1) & mask_;
    slots_[at] = slot;
  }
}

Pane* PaneStore::FindLoaded(int64_t pane_start_us) const {
  const auto found = loaded_.find(pane_start_us);
  return found == loaded_.end() ? nullptr : found->second.get();
}

absl::StatusOr<Pane*> PaneStore::GetSlow(const TimeSpan& span) {
  Pane* pane = FindLoaded(span.start_us);
  if (pane == nullptr) {
    auto made = std::make_unique<Pane>(span, layout_);
    const auto known = known_.find(span.start_us);
    if (known != known_.end()) {
      made->record = known->second;
      made->loaded = true;
      NARU_RETURN_IF_ERROR(Load(made.get()));
      known_.erase(known);
    }
    pane = made.get();
    loaded_.emplace(span.start_us, std::move(made));
  }
  pane->last_used = ++*uses_;
  last_ = pane;
  return pane;
}

absl::Status PaneStore::Load(Pane* pane) {
  if (source_ == nullptr) return absl::OkStatus();
  bool damaged = false;
  NARU_RETURN_IF_ERROR(source_->LoadPane(metric_, partition_, pane->span.start_us,
                                         [&](absl::string_view group, absl::string_view value) {
                                           Row* row = pane->Insert(HashGroup(group), group);
                                           row->persisted = true;
                                           Revisions revisions;
                                           if (!MergeRow(value, *layout_, row->cell(), &revisions)) damaged = true;
                                           if (!revisions.empty()) row->revisions = new Revisions(std::move(revisions));
                                         }));
  if (!damaged) return absl::OkStatus();
  return MakeError(absl::StatusCode::kDataLoss, "STATE_DAMAGED",
                   absl::StrCat("stored states of metric ", metric_.name, " cannot be read"));
}

void PaneStore::Remove(int64_t pane_start_us) {
  if (last_ != nullptr && last_->span.start_us == pane_start_us) last_ = nullptr;
  loaded_.erase(pane_start_us);
  known_.erase(pane_start_us);
}

void PaneStore::Evict(int64_t pane_start_us) {
  const auto found = loaded_.find(pane_start_us);
  if (found == loaded_.end() || found->second->dirty) return;
  if (last_ == found->second.get()) last_ = nullptr;
  known_[pane_start_us] = found->second->record;
  loaded_.erase(found);
}

}  // namespace naru::aggregator
