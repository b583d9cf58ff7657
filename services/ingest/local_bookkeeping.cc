#include "services/ingest/local_bookkeeping.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "common/log/log.h"
#include "common/status/status.h"

namespace naru::ingest {
namespace {

using event_log::LocalWrite;

constexpr char kIdsFamily[] = "ids";
constexpr char kStateFamily[] = "state";
constexpr char kValueVersion = 1;

void AppendBigEndian(uint64_t value, int bytes, std::string* out) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift));
}

uint64_t ReadBigEndian(absl::string_view bytes) {
  uint64_t value = 0;
  for (char c : bytes) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

// Format version, project id.
std::string KeyPrefix() {
  std::string key(1, kValueVersion);
  AppendBigEndian(0, 4, &key);
  return key;
}

std::string BatchKey(uint64_t sequence) {
  std::string key = KeyPrefix();
  AppendBigEndian(sequence, 8, &key);
  return key;
}

std::string StateKey(absl::string_view name) { return absl::StrCat(KeyPrefix(), "ingest/", name); }

std::string ReplayedKey(int32_t partition, int64_t offset) {
  std::string key = StateKey("replayed/");
  AppendBigEndian(static_cast<uint32_t>(partition), 4, &key);
  AppendBigEndian(static_cast<uint64_t>(offset), 8, &key);
  return key;
}

// One batch: version, received time, counts, hashes.
std::string EncodeBatch(uint32_t time_s, absl::Span<const dedup::IdHash> ids, const Counts& counts) {
  std::string value(1, kValueVersion);
  AppendBigEndian(time_s, 4, &value);
  counts.AppendTo(&value);
  dedup::AppendHashes(ids, &value);
  return value;
}

bool ParseBatch(absl::string_view value, uint32_t* time_s, std::vector<dedup::IdHash>* ids, Counts* counts) {
  if (value.size() < 5 || value[0] != kValueVersion) return false;
  *time_s = static_cast<uint32_t>(ReadBigEndian(value.substr(1, 4)));
  value.remove_prefix(5);
  return Counts::Parse(&value, counts) && dedup::ParseHashes(value, ids);
}

absl::StatusOr<dedup::HashKey> LoadHashKey(event_log::LocalStore* store, Random* random) {
  const std::string name = StateKey("id_key");
  NARU_ASSIGN_OR_RETURN(const std::optional<std::string> stored, store->Get(kStateFamily, name));
  dedup::HashKey key{};
  if (stored.has_value() && stored->size() == key.size() + 1) {
    std::memcpy(key.data(), stored->data() + 1, key.size());
    return key;
  }
  for (size_t i = 0; i < key.size(); i += 8) {
    const uint64_t bits = random->Next();
    std::memcpy(key.data() + i, &bits, 8);
  }
  const std::string value = absl::StrCat(std::string(1, kValueVersion),
                                         absl::string_view(reinterpret_cast<const char*>(key.data()), key.size()));
  const LocalWrite write{kStateFamily, name, value};
  NARU_RETURN_IF_ERROR(store->Write(absl::MakeConstSpan(&write, 1), /*sync=*/true));
  return key;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalBookkeeping>> LocalBookkeeping::Open(event_log::LocalStore* store,
                                                                         const LocalBookkeepingOptions& options,
                                                                         std::vector<std::string>* notes) {
  std::unique_ptr<LocalBookkeeping> bookkeeping(new LocalBookkeeping(store));
  NARU_RETURN_IF_ERROR(bookkeeping->Restore(options, notes));
  return bookkeeping;
}

LocalBookkeeping::~LocalBookkeeping() { window_.reset(); }

absl::Status LocalBookkeeping::Restore(const LocalBookkeepingOptions& options, std::vector<std::string>* notes) {
  NARU_RETURN_IF_ERROR(store_->EnsureFamily(kIdsFamily));
  NARU_RETURN_IF_ERROR(store_->EnsureFamily(kStateFamily));
  dedup::IdWindowOptions window;
  NARU_ASSIGN_OR_RETURN(window.key, LoadHashKey(store_, options.random));
  window.directory = options.directory;
  window.clock = options.clock;
  window.slot_bits = options.id_table_bits;
  window.seal_after_batches = options.seal_after_batches;
  window.sealed = [this](uint64_t sequence) { FoldSealed(sequence); };

  NARU_ASSIGN_OR_RETURN(const std::optional<std::string> stored, store_->Get(kStateFamily, StateKey("counts")));
  {
    MutexLock lock(&mu_);
    if (stored.has_value()) {
      absl::string_view value = *stored;
      if (value.size() < 9 || value[0] != kValueVersion) {
        return MakeError(absl::StatusCode::kDataLoss, "ACCOUNTING_DAMAGED", "the stored accounting cannot be read");
      }
      folded_sequence_ = ReadBigEndian(value.substr(1, 8));
      value.remove_prefix(9);
      if (!Counts::Parse(&value, &folded_)) {
        return MakeError(absl::StatusCode::kDataLoss, "ACCOUNTING_DAMAGED", "the stored accounting cannot be read");
      }
      totals_ = folded_;
    }
  }
  NARU_ASSIGN_OR_RETURN(window_, dedup::IdWindow::Open(std::move(window), notes));
  return ReplayBatches(static_cast<uint32_t>(options.clock->NowMicros() / 1'000'000), notes);
}

absl::Status LocalBookkeeping::ReplayBatches(uint32_t now_s, std::vector<std::string>* notes) {
  uint64_t folded;
  {
    MutexLock lock(&mu_);
    folded = folded_sequence_;
  }
  const uint64_t from = std::min(folded, window_->sealed_sequence()) + 1;
  int64_t damaged = 0;
  std::vector<dedup::IdHash> ids;
  NARU_RETURN_IF_ERROR(
      store_->Scan(kIdsFamily, BatchKey(from), "", [&](absl::string_view key, absl::string_view value) {
        const uint64_t sequence = key.size() == 13 ? ReadBigEndian(key.substr(5)) : 0;
        uint32_t time_s = 0;
        Counts counts;
        if (sequence == 0 || !ParseBatch(value, &time_s, &ids, &counts)) {
          ++damaged;
          return true;
        }
        window_->Restore(sequence, ids, time_s);
        if (sequence <= folded) return true;
        std::string encoded;
        counts.AppendTo(&encoded);
        MutexLock lock(&mu_);
        totals_.Add(counts);
        unfolded_.emplace_back(sequence, std::move(encoded));
        return true;
      }));
  // Where sealed files are gone the sequence must still go on after what was folded, or new batches would look old.
  window_->Restore(folded, {}, now_s);
  if (damaged > 0 && notes != nullptr) {
    notes->push_back(absl::StrCat("ids and counts of ", damaged, " batches cannot be read"));
  }
  return absl::OkStatus();
}

std::vector<LocalWrite> LocalBookkeeping::Begin(uint64_t sequence, uint32_t time_s, absl::Span<const dedup::IdHash> ids,
                                                const Counts& counts) {
  std::vector<LocalWrite> writes;
  writes.push_back(LocalWrite{kIdsFamily, BatchKey(sequence), EncodeBatch(time_s, ids, counts)});
  MutexLock lock(&mu_);
  under_way_.emplace_back(sequence, counts);
  return writes;
}

void LocalBookkeeping::End(uint64_t sequence, bool durable) {
  MutexLock lock(&mu_);
  const auto it =
      std::find_if(under_way_.begin(), under_way_.end(), [&](const auto& b) { return b.first == sequence; });
  if (it == under_way_.end()) return;
  if (durable) {
    totals_.Add(it->second);
    std::string encoded;
    it->second.AppendTo(&encoded);
    unfolded_.emplace_back(sequence, std::move(encoded));
  }
  std::swap(*it, under_way_.back());
  under_way_.pop_back();
}

// On a thread of the window: every batch up to `sequence` has ended.
void LocalBookkeeping::FoldSealed(uint64_t sequence) {
  std::deque<std::pair<uint64_t, std::string>> batches;
  {
    MutexLock lock(&mu_);
    if (sequence <= folded_sequence_) return;
    batches.swap(unfolded_);
  }
  // Without the lock: there may be many of them, and End runs on the log's thread.
  Counts sum, counts;
  for (auto& [batch, encoded] : batches) {
    absl::string_view bytes = encoded;
    if (batch <= sequence && Counts::Parse(&bytes, &counts)) sum.Add(counts);
  }
  std::erase_if(batches, [&](const auto& batch) { return batch.first <= sequence; });
  std::string value(1, kValueVersion);
  {
    MutexLock lock(&mu_);
    unfolded_.insert(unfolded_.end(), std::make_move_iterator(batches.begin()), std::make_move_iterator(batches.end()));
    folded_.Add(sum);
    folded_sequence_ = sequence;
    AppendBigEndian(sequence, 8, &value);
    folded_.AppendTo(&value);
  }
  const LocalWrite write{kStateFamily, StateKey("counts"), value};
  // Synced before the keys go: dropping ranges is not part of the write-ahead log.
  absl::Status status = store_->Write(absl::MakeConstSpan(&write, 1), /*sync=*/true);
  if (status.ok()) status = store_->DeleteRange(kIdsFamily, BatchKey(0), BatchKey(sequence + 1));
  // Nothing is lost by a failure: the next generation folds and deletes what this one could not.
  if (!status.ok()) NARU_LOG(WARNING, "counts of sealed batches could not be folded", {{"error", status}});
}

Counts LocalBookkeeping::Totals() const {
  MutexLock lock(&mu_);
  return totals_;
}

absl::StatusOr<bool> LocalBookkeeping::WasReplayed(int32_t partition, int64_t offset) {
  NARU_ASSIGN_OR_RETURN(const std::optional<std::string> mark,
                        store_->Get(kStateFamily, ReplayedKey(partition, offset)));
  return mark.has_value();
}

void LocalBookkeeping::MarkReplayed(int32_t partition, int64_t offset, absl::string_view /*type*/,
                                    std::vector<LocalWrite>* local, std::vector<LedgerRecord>* /*ledger*/) {
  local->push_back(LocalWrite{kStateFamily, ReplayedKey(partition, offset), std::string(1, kValueVersion)});
}

}  // namespace naru::ingest
