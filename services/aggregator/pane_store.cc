#include "services/aggregator/pane_store.h"

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
constexpr size_t kMaxBlockBytes = 256 * 1024;

}  // namespace

uint64_t HashGroup(absl::string_view key) { return XXH3_64bits(key.data(), key.size()); }

Pane::Pane(TimeSpan pane_span, const CellLayout* layout)
    : span(pane_span), layout_(layout), slots_(kFirstSlots), mask_(kFirstSlots - 1) {}

Pane::~Pane() {
  ForEach([this](Row* row) {
    layout_->Destroy(row->cell());
    delete row->revisions;
  });
}

char* Pane::Allocate(size_t bytes) {
  bytes = (bytes + 7) / 8 * 8;
  if (bytes > free_bytes_) {
    const size_t block = std::max(bytes, next_block_bytes_);
    next_block_bytes_ = std::min(next_block_bytes_ * 2, kMaxBlockBytes);
    blocks_.emplace_back(new uint64_t[(block + 7) / 8]);
    free_ = reinterpret_cast<char*>(blocks_.back().get());
    free_bytes_ = block;
    arena_bytes_ += block;
  }
  char* result = free_;
  free_ += bytes;
  free_bytes_ -= bytes;
  return result;
}

Row* Pane::Insert(uint64_t hash, absl::string_view key) {
  if ((size_ + 1) * 4 > slots_.size() * 3) Grow();
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
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  mask_ = slots_.size() - 1;
  for (const Slot& slot : old) {
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
