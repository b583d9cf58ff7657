#include "services/aggregator/serving_view.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "services/aggregator/sketch_bytes.h"

namespace naru::aggregator {
namespace {

using event_log::LocalWrite;

constexpr char kPositionFormat = 0;  // before all keys of aggregate records, which begin with 1
constexpr uint8_t kPositionValueFormat = 1;
constexpr size_t kRowOverheadBytes = 96;  // of a map node and two strings
constexpr size_t kMaxRemoved = 4096;
constexpr size_t kPollBytes = size_t{4} << 20;
constexpr size_t kMaxGatheredBytes = size_t{32} << 20;  // more than a commit has
// Tombstones in `aggregates` live 7 days: a copy that is further behind may miss removals.
constexpr int64_t kMaxBehindUs = int64_t{6} * 86'400 * 1'000'000;

std::string PositionKey(int32_t partition) {
  std::string key(1, kPositionFormat);
  for (int shift = 24; shift >= 0; shift -= 8)
    key.push_back(static_cast<char>(static_cast<uint32_t>(partition) >> shift));
  return key;
}

std::string PositionValue(int64_t offset, int64_t now_us) {
  std::string value(1, static_cast<char>(kPositionValueFormat));
  PutVarint(offset, &value);
  PutSigned(now_us, &value);
  return value;
}

bool ParsePosition(absl::string_view value, int64_t* offset, int64_t* written_us) {
  uint8_t format;
  uint64_t number;
  if (!GetByte(&value, &format) || format != kPositionValueFormat || !GetVarint(&value, &number)) return false;
  *offset = static_cast<int64_t>(number);
  return GetSigned(&value, written_us);
}

// In the store, values have their offset in `aggregates` in front.
std::string StoredValue(int64_t offset, absl::string_view value) {
  std::string stored;
  PutVarint(offset, &stored);
  stored.append(value.data(), value.size());
  return stored;
}

bool TakeOffset(absl::string_view* stored, int64_t* offset) {
  uint64_t value;
  if (!GetVarint(stored, &value)) return false;
  *offset = static_cast<int64_t>(value);
  return true;
}

MetricId IdOf(const RecordKey& key) { return {std::string(key.metric), key.version}; }

}  // namespace

ServingView::ServingView(event_log::EventLog& log, event_log::LocalStore& store, const Clock& clock,
                         ServingViewOptions options)
    : log_(log), store_(store), clock_(clock), options_(std::move(options)) {}

ServingView::~ServingView() { Stop(); }

absl::Status ServingView::Start(int partitions) {
  partitions_ = partitions;
  {
    MutexLock lock(&mu_);
    applied_.assign(partitions, 0);
    seen_.assign(partitions, 0);
    heads_.assign(partitions, 0);
  }
  NARU_RETURN_IF_ERROR(store_.EnsureFamily(options_.family));
  NARU_RETURN_IF_ERROR(LoadPositions());
  NARU_RETURN_IF_ERROR(LoadMetrics());
  std::vector<event_log::ReadPosition> positions;
  {
    MutexLock lock(&mu_);
    start_ = applied_;
    for (int p = 0; p < partitions; ++p) positions.push_back({p, event_log::ReadPosition::Kind::kOffset, applied_[p]});
  }
  NARU_ASSIGN_OR_RETURN(auto reader, log_.OpenReader(event_log::kAggregatesTopic, std::move(positions)));
  {
    MutexLock lock(&reader_mu_);
    reader_ = std::move(reader);
  }
  following_ = true;
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

void ServingView::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.SignalAll();
  }
  {
    MutexLock lock(&reader_mu_);
    if (reader_ != nullptr) reader_->Cancel();
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status ServingView::LoadPositions() {
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo topic, log_.DescribeTopic(event_log::kAggregatesTopic));
  bool wipe = false;
  const int partitions = partitions_.load();
  std::vector<int64_t> offsets(partitions, 0);
  for (int p = 0; p < partitions; ++p) {
    NARU_ASSIGN_OR_RETURN(const std::optional<std::string> stored, store_.Get(options_.family, PositionKey(p)));
    if (!stored.has_value()) continue;
    int64_t written_us = 0;
    if (!ParsePosition(*stored, &offsets[p], &written_us)) {
      wipe = true;
      continue;
    }
    int64_t end = 0;
    for (const event_log::PartitionInfo& info : topic.partitions) {
      if (info.partition == p) end = info.end_offset;
    }
    // Another log than the one that was followed, or so far behind it that tombstones are gone.
    const bool behind = offsets[p] < end && clock_.NowMicros() - written_us > kMaxBehindUs;
    wipe = wipe || offsets[p] > end || behind;
  }
  if (wipe) return Wipe();
  MutexLock lock(&mu_);
  applied_ = seen_ = offsets;
  return absl::OkStatus();
}

absl::Status ServingView::Wipe() {
  NARU_LOG(WARNING, "the local copy of aggregates does not fit the log; reading it again from the beginning");
  return store_.DeleteRange(options_.family, "", "\xFF");
}

absl::Status ServingView::LoadMetrics() {
  // Rows and entities stay on disk: after the small records of a metric in a partition, jump to the next.
  std::string from(1, kPositionFormat + 1);
  for (;;) {
    std::string next;
    NARU_RETURN_IF_ERROR(store_.Scan(options_.family, from, "", [&](absl::string_view key, absl::string_view value) {
      RecordKey decoded;
      if (DecodeKey(key, &decoded) && decoded.kind >= RecordKind::kRow) {
        next = PrefixEnd(KeyPrefix(IdOf(decoded), decoded.partition));
        return false;
      }
      LoadMeta(key, value);
      return true;
    }));
    if (next.empty()) return absl::OkStatus();
    from = std::move(next);
  }
}

void ServingView::LoadMeta(absl::string_view key, absl::string_view value) {
  RecordKey decoded;
  event_log::FetchedRecord record;
  if (!DecodeKey(key, &decoded) || !TakeOffset(&value, &record.offset)) return;
  if (decoded.partition < 0 || decoded.partition >= partitions_.load()) return;
  record.value = value;
  ApplyRecord(record, decoded);
}

void ServingView::Run() {
  for (;;) {
    event_log::Reader* reader;
    {
      MutexLock lock(&reader_mu_);
      reader = reader_.get();
    }
    absl::StatusOr<std::vector<event_log::FetchedBatch>> batches =
        reader->Poll(std::chrono::milliseconds(200), kPollBytes);
    {
      MutexLock lock(&mu_);
      if (stopping_) return;
    }
    if (!batches.ok()) {
      if (absl::IsCancelled(batches.status())) return;
      SetHealth(batches.status());
      NARU_LOG_EVERY_SECONDS(10, WARNING, "cannot follow aggregates", {{"error", batches.status()}});
      MutexLock lock(&mu_);
      if (!stopping_) changed_.WaitFor(&mu_, std::chrono::milliseconds(100));
      continue;
    }
    const bool idle = batches->empty();
    for (event_log::FetchedBatch& batch : *batches) Gather(std::move(batch));
    if (!ApplyGathered(/*all=*/idle)) return;
    SetHealth(absl::OkStatus());
    if (!idle) EvictIfNeeded();
  }
}

void ServingView::Gather(event_log::FetchedBatch batch) { gathered_[batch.partition].push_back(std::move(batch)); }

namespace {

// Whether the batches are whole commits: each ends with the partition's head. What comes without one (another release
// wrote it) is taken when nothing follows, or when it becomes much.
bool EndsACommit(const std::vector<event_log::FetchedBatch>& batches) {
  size_t bytes = 0;
  for (const event_log::FetchedBatch& batch : batches) {
    for (const event_log::FetchedRecord& record : batch.records) bytes += record.key.size() + record.value.size();
  }
  if (bytes > kMaxGatheredBytes || batches.back().records.empty()) return true;
  RecordKey key;
  return DecodeKey(batches.back().records.back().key, &key) && key.kind == RecordKind::kHead;
}

}  // namespace

// False: stopped.
bool ServingView::ApplyGathered(bool all) {
  for (auto it = gathered_.begin(); it != gathered_.end();) {
    if (!all && !EndsACommit(it->second)) {
      ++it;
      continue;
    }
    absl::Status status;
    // What the store did not take must be applied before anything later: try until it does.
    while (!(status = Apply(it->second)).ok()) {
      SetHealth(status);
      NARU_LOG_EVERY_SECONDS(10, ERROR, "cannot store aggregates", {{"error", status}});
      MutexLock lock(&mu_);
      if (stopping_) return false;
      changed_.WaitFor(&mu_, std::chrono::milliseconds(200));
    }
    it = gathered_.erase(it);
  }
  return true;
}

absl::Status ServingView::Apply(const std::vector<event_log::FetchedBatch>& batches) {
  const int32_t partition = batches.back().partition;
  const int64_t next_offset = batches.back().next_offset;
  std::vector<LocalWrite> writes;
  std::vector<std::pair<const event_log::FetchedRecord*, RecordKey>> records;
  for (const event_log::FetchedBatch& batch : batches) {
    for (const event_log::FetchedRecord& record : batch.records) {
      RecordKey key;
      if (!DecodeKey(record.key, &key) || key.partition != partition) {
        NARU_LOG_EVERY_SECONDS(60, WARNING, "skipped a record of aggregates that this release does not know",
                               {{"partition", partition}, {"offset", record.offset}});
        continue;
      }
      records.emplace_back(&record, key);
      LocalWrite write{options_.family, std::string(record.key), std::nullopt};
      if (!record.tombstone) write.value = StoredValue(record.offset, record.value);
      writes.push_back(std::move(write));
    }
  }
  writes.push_back({options_.family, PositionKey(partition), PositionValue(next_offset, clock_.NowMicros())});
  MutexLock applying(&apply_mu_);
  applies_.fetch_add(1);
  if (partition >= 0 && partition < partitions_.load()) {
    // Before anybody can read a row of it.
    MutexLock lock(&mu_);
    seen_[partition] = std::max(seen_[partition], next_offset);
  }
  // Not synced: after a crash the copy is a little older and follows from there.
  NARU_RETURN_IF_ERROR(store_.Write(writes, /*sync=*/false));
  for (const auto& [record, key] : records) ApplyRecord(*record, key);
  MutexLock lock(&mu_);
  if (partition >= 0 && partition < static_cast<int>(applied_.size())) {
    applied_[partition] = std::max(applied_[partition], next_offset);
  }
  changes_.fetch_add(1);
  changed_.SignalAll();
  return absl::OkStatus();
}

absl::Status ServingView::ReadConsistently(const std::function<absl::Status()>& read) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    uint64_t before;
    {
      MutexLock lock(&apply_mu_);
      before = applies_.load();
    }
    const absl::Status status = read();
    if (!status.ok() || applies_.load() == before) return status;
  }
  MutexLock lock(&apply_mu_);
  return read();
}

void ServingView::ApplyRecord(const event_log::FetchedRecord& record, const RecordKey& key) {
  if (key.kind == RecordKind::kHead) {
    HeadRecord head;
    if (record.tombstone || !DecodeHead(record.value, &head)) return;
    MutexLock lock(&mu_);
    heads_[key.partition] = std::max(heads_[key.partition], head.next_offset);
    return;
  }
  const MetricId id = IdOf(key);
  std::shared_ptr<MetricView> metric = record.tombstone ? Find(id) : FindOrAdd(id);
  if (metric == nullptr) return;
  if (key.kind == RecordKind::kSpec) {
    MutexLock lock(&metric->mu);
    if (!record.tombstone) metric->spec = std::string(record.value);
    return;
  }
  PartitionView* view = metric->partitions[key.partition].get();
  bool gone = false;
  {
    MutexLock lock(&view->mu);
    if (key.kind == RecordKind::kProgress) {
      Progress progress;
      gone = record.tombstone;
      view->progress.reset();
      view->committed_offset = record.offset + 1;
      if (!gone && DecodeProgress(record.value, &progress)) view->progress = std::move(progress);
    } else if (!record.tombstone) {
      // Of those removed some are no part of a commit that progress ends; they follow others where they are.
      view->last_offset = std::max(view->last_offset, record.offset);
    }
  }
  if (key.kind == RecordKind::kPane || key.kind == RecordKind::kRow) ApplyRow(record, key, view);
  if (!gone) return;
  // Progress is removed last: with it the metric has left the partition; when it left all, it is forgotten.
  for (const auto& partition : metric->partitions) {
    MutexLock lock(&partition->mu);
    if (partition->progress.has_value() || !partition->panes.empty()) return;
  }
  MutexLock lock(&mu_);
  metrics_.erase(id);
}

void ServingView::ApplyRow(const event_log::FetchedRecord& record, const RecordKey& key, PartitionView* view) {
  MutexLock lock(&view->mu);
  if (key.kind == RecordKind::kPane && record.tombstone) {
    const auto found = view->panes.find(key.pane_start_us);
    if (found == view->panes.end()) return;
    cached_bytes_ -= static_cast<int64_t>(found->second.bytes);
    view->panes.erase(found);
    MutexLock global(&mu_);
    removed_.push_back({IdOf(key), key.partition, key.pane_start_us, record.offset});
    if (removed_.size() > kMaxRemoved) removed_.pop_front();
    return;
  }
  if (key.kind == RecordKind::kPane) {
    const bool is_new = view->panes.find(key.pane_start_us) == view->panes.end();
    PaneView& pane = view->panes[key.pane_start_us];
    DecodePane(record.value, &pane.record);
    pane.offset = record.offset;
    // The record comes before the rows of its commit, so of a pane's first commit all rows are still to come.
    if (is_new && pane.record.first && following_) {
      pane.rows = std::make_unique<Rows>();
      pane.last_used = ++uses_;
    }
    return;
  }
  const auto found = view->panes.find(key.pane_start_us);
  if (found == view->panes.end() || found->second.rows == nullptr) return;
  PaneView& pane = found->second;
  const auto row = pane.rows->find(key.group);
  if (row != pane.rows->end()) {
    const size_t before = row->first.size() + row->second.value.size() + kRowOverheadBytes;
    pane.bytes -= before;
    cached_bytes_ -= static_cast<int64_t>(before);
    if (record.tombstone) {
      pane.rows->erase(row);
      return;
    }
    row->second = {record.offset, std::string(record.value)};
  } else if (!record.tombstone) {
    pane.rows->emplace(std::string(key.group), CachedRow{record.offset, std::string(record.value)});
  } else {
    return;
  }
  const size_t after = key.group.size() + record.value.size() + kRowOverheadBytes;
  pane.bytes += after;
  cached_bytes_ += static_cast<int64_t>(after);
}

// Drops the panes that were used longest ago until a quarter of the budget is free.
void ServingView::EvictIfNeeded() {
  const int64_t budget = static_cast<int64_t>(options_.memory_budget_bytes);
  if (cached_bytes_.load() <= budget) return;
  struct Candidate {
    uint64_t last_used;
    PartitionView* view;
    int64_t start_us;
  };
  std::vector<Candidate> candidates;
  std::vector<std::shared_ptr<MetricView>> metrics;
  {
    MutexLock lock(&mu_);
    for (const auto& [id, metric] : metrics_) metrics.push_back(metric);
  }
  for (const auto& metric : metrics) {
    for (const auto& view : metric->partitions) {
      MutexLock lock(&view->mu);
      for (const auto& [start, pane] : view->panes) {
        if (pane.rows != nullptr) candidates.push_back({pane.last_used, view.get(), start});
      }
    }
  }
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.last_used < b.last_used; });
  if (!candidates.empty()) candidates.pop_back();  // what was used last may be in use again at once
  for (const Candidate& candidate : candidates) {
    if (cached_bytes_.load() <= budget * 3 / 4) return;
    MutexLock lock(&candidate.view->mu);
    const auto found = candidate.view->panes.find(candidate.start_us);
    if (found == candidate.view->panes.end()) continue;
    cached_bytes_ -= static_cast<int64_t>(found->second.bytes);
    found->second.bytes = 0;
    found->second.rows.reset();
  }
}

std::shared_ptr<ServingView::MetricView> ServingView::Find(const MetricId& metric) const {
  MutexLock lock(&mu_);
  const auto found = metrics_.find(metric);
  return found == metrics_.end() ? nullptr : found->second;
}

std::shared_ptr<ServingView::MetricView> ServingView::FindOrAdd(const MetricId& metric) {
  MutexLock lock(&mu_);
  std::shared_ptr<MetricView>& view = metrics_[metric];
  if (view == nullptr) {
    view = std::make_shared<MetricView>();
    for (int p = 0; p < partitions_.load(); ++p) view->partitions.push_back(std::make_unique<PartitionView>());
  }
  return view;
}

int64_t ServingView::AppliedOffset(int32_t partition) const {
  MutexLock lock(&mu_);
  return partition < static_cast<int>(applied_.size()) ? applied_[partition] : 0;
}

std::vector<int64_t> ServingView::AppliedOffsets() const {
  MutexLock lock(&mu_);
  return applied_;
}

std::vector<int64_t> ServingView::SeenOffsets() const {
  MutexLock lock(&mu_);
  return seen_;
}

std::vector<int64_t> ServingView::StartOffsets() const {
  MutexLock lock(&mu_);
  return start_;
}

int64_t ServingView::HeadOffset(int32_t partition) const {
  MutexLock lock(&mu_);
  return partition < static_cast<int>(heads_.size()) ? heads_[partition] : 0;
}

bool ServingView::WaitUntil(const std::function<bool()>& condition, std::chrono::microseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const uint64_t seen = changes_.load();
    if (condition()) return true;
    MutexLock lock(&mu_);
    while (changes_.load() == seen && !stopping_) {
      const auto left =
          std::chrono::duration_cast<std::chrono::microseconds>(deadline - std::chrono::steady_clock::now());
      if (left.count() <= 0) return false;
      changed_.WaitFor(&mu_, left);
    }
    if (stopping_) return false;
  }
}

std::vector<MetricId> ServingView::Metrics() const {
  MutexLock lock(&mu_);
  std::vector<MetricId> ids;
  for (const auto& [id, view] : metrics_) ids.push_back(id);
  return ids;
}

std::optional<Progress> ServingView::GetProgress(const MetricId& metric, int32_t partition) const {
  const std::shared_ptr<MetricView> view = Find(metric);
  if (view == nullptr || partition >= static_cast<int>(view->partitions.size())) return std::nullopt;
  MutexLock lock(&view->partitions[partition]->mu);
  return view->partitions[partition]->progress;
}

std::string ServingView::GetSpec(const MetricId& metric) const {
  const std::shared_ptr<MetricView> view = Find(metric);
  if (view == nullptr) return "";
  MutexLock lock(&view->mu);
  return view->spec;
}

std::vector<int64_t> ServingView::CommittedOffsets(const MetricId& metric) const {
  // First: what is applied from here on lies behind these offsets.
  std::vector<int64_t> offsets = AppliedOffsets();
  const std::shared_ptr<MetricView> view = Find(metric);
  if (view == nullptr) return offsets;
  for (size_t p = 0; p < view->partitions.size() && p < offsets.size(); ++p) {
    PartitionView& partition = *view->partitions[p];
    MutexLock lock(&partition.mu);
    const bool in_part = partition.last_offset >= partition.committed_offset;
    if (in_part) offsets[p] = std::min(offsets[p], partition.committed_offset);
  }
  return offsets;
}

std::vector<int64_t> ServingView::LastCommits(const MetricId& metric) const {
  std::vector<int64_t> offsets(partitions_.load(), 0);
  const std::shared_ptr<MetricView> view = Find(metric);
  if (view == nullptr) return offsets;
  for (size_t p = 0; p < view->partitions.size(); ++p) {
    MutexLock lock(&view->partitions[p]->mu);
    offsets[p] = view->partitions[p]->committed_offset;
  }
  return offsets;
}

bool ServingView::Joined(const MetricId& metric) const {
  const std::shared_ptr<MetricView> view = Find(metric);
  if (view == nullptr) return false;
  for (const auto& partition : view->partitions) {
    MutexLock lock(&partition->mu);
    if (!partition->progress.has_value() || !partition->progress->joined) return false;
  }
  return true;
}

std::vector<ViewPane> ServingView::ListPanes(const MetricId& metric, int32_t partition, int64_t from_us,
                                             int64_t to_us) const {
  std::vector<ViewPane> panes;
  const std::shared_ptr<MetricView> view = Find(metric);
  if (view == nullptr || partition >= static_cast<int>(view->partitions.size())) return panes;
  PartitionView& part = *view->partitions[partition];
  MutexLock lock(&part.mu);
  for (auto it = part.panes.lower_bound(from_us); it != part.panes.end() && it->first < to_us; ++it) {
    panes.push_back({it->first, it->second.record, it->second.offset});
  }
  return panes;
}

void ServingView::Measure(const MetricId& metric, int64_t* groups, int64_t* bytes) const {
  *groups = *bytes = 0;
  const std::shared_ptr<MetricView> view = Find(metric);
  if (view == nullptr) return;
  for (const auto& partition : view->partitions) {
    MutexLock lock(&partition->mu);
    for (const auto& [start, pane] : partition->panes) {
      *groups += pane.record.group_count;
      // Panes on disk only are taken to be like those in memory: 128 bytes a row is what counts and sums need.
      *bytes += pane.rows != nullptr ? static_cast<int64_t>(pane.bytes) : pane.record.group_count * 128;
    }
  }
}

std::vector<RemovedPane> ServingView::RemovedSince(const MetricId& metric, const std::vector<int64_t>& offsets) const {
  MutexLock lock(&mu_);
  std::vector<RemovedPane> removed;
  for (const RemovedPane& pane : removed_) {
    const bool after = pane.partition < static_cast<int>(offsets.size()) && pane.offset >= offsets[pane.partition];
    if (after && pane.metric == metric) removed.push_back(pane);
  }
  return removed;
}

absl::Status ServingView::EnsureRows(const MetricId& metric, int32_t partition, int64_t pane_start_us, PaneView* pane) {
  pane->last_used = ++uses_;
  if (pane->rows != nullptr) return absl::OkStatus();
  auto rows = std::make_unique<Rows>();
  size_t bytes = 0;
  const std::string prefix = RowPrefix(metric, partition, pane_start_us);
  NARU_RETURN_IF_ERROR(
      store_.Scan(options_.family, prefix, PrefixEnd(prefix), [&](absl::string_view key, absl::string_view value) {
        int64_t offset = 0;
        if (!TakeOffset(&value, &offset)) return true;
        const absl::string_view group = key.substr(prefix.size());
        rows->emplace_hint(rows->end(), std::string(group), CachedRow{offset, std::string(value)});
        bytes += group.size() + value.size() + kRowOverheadBytes;
        return true;
      }));
  pane->rows = std::move(rows);
  pane->bytes = bytes;
  cached_bytes_ += static_cast<int64_t>(bytes);
  return absl::OkStatus();
}

absl::Status ServingView::VisitRows(const MetricId& metric, int32_t partition, int64_t pane_start_us,
                                    absl::string_view from_group, const std::function<bool(const ViewRow&)>& fn) {
  const std::shared_ptr<MetricView> view = Find(metric);
  if (view == nullptr || partition >= static_cast<int>(view->partitions.size())) return absl::OkStatus();
  {
    PartitionView& part = *view->partitions[partition];
    MutexLock lock(&part.mu);
    const auto found = part.panes.find(pane_start_us);
    if (found == part.panes.end()) return absl::OkStatus();
    NARU_RETURN_IF_ERROR(EnsureRows(metric, partition, pane_start_us, &found->second));
    const Rows& rows = *found->second.rows;
    for (auto it = rows.lower_bound(from_group); it != rows.end(); ++it) {
      if (!fn({it->first, it->second.value, it->second.offset})) break;
    }
  }
  EvictIfNeeded();
  return absl::OkStatus();
}

bool ServingView::GroupExists(const MetricId& metric, int64_t from_us, int64_t to_us, absl::string_view group) {
  const std::shared_ptr<MetricView> view = Find(metric);
  if (view == nullptr) return false;
  for (size_t p = 0; p < view->partitions.size(); ++p) {
    PartitionView& part = *view->partitions[p];
    MutexLock lock(&part.mu);
    for (auto it = part.panes.lower_bound(from_us); it != part.panes.end() && it->first < to_us; ++it) {
      if (it->second.rows != nullptr) {
        if (it->second.rows->find(group) != it->second.rows->end()) return true;
        continue;
      }
      std::string key = RowPrefix(metric, static_cast<int32_t>(p), it->first);
      key.append(group.data(), group.size());
      const auto stored = store_.Get(options_.family, key);
      if (stored.ok() && stored->has_value()) return true;
    }
  }
  return false;
}

absl::Status ServingView::LoadPane(const MetricId& metric, int32_t partition, int64_t pane_start_us,
                                   const std::function<void(absl::string_view, absl::string_view)>& fn) {
  return VisitRows(metric, partition, pane_start_us, "", [&](const ViewRow& row) {
    fn(row.group, row.value);
    return true;
  });
}

absl::StatusOr<std::optional<std::string>> ServingView::ReadEntity(const MetricId& metric, int32_t partition,
                                                                   const EntityId& id) {
  std::string key = KindPrefix(metric, partition, RecordKind::kEntity);
  AppendEntityId(id, &key);
  NARU_ASSIGN_OR_RETURN(std::optional<std::string> stored, store_.Get(options_.family, key));
  if (!stored.has_value()) return stored;
  absl::string_view value = *stored;
  int64_t offset = 0;
  if (!TakeOffset(&value, &offset)) return std::optional<std::string>();
  return std::optional<std::string>(value);
}

absl::Status ServingView::VisitEntitiesWithOffsets(
    const MetricId& metric, int32_t partition, const EntityId& from,
    const std::function<bool(const EntityId&, absl::string_view, int64_t)>& fn) {
  const std::string prefix = KindPrefix(metric, partition, RecordKind::kEntity);
  std::string begin = prefix;
  AppendEntityId(from, &begin);
  return store_.Scan(options_.family, begin, PrefixEnd(prefix), [&](absl::string_view key, absl::string_view value) {
    absl::string_view rest = key.substr(prefix.size());
    EntityId id;
    int64_t offset = 0;
    if (!ReadEntityId(&rest, &id) || !TakeOffset(&value, &offset)) return true;
    return fn(id, value, offset);
  });
}

absl::Status ServingView::VisitEntities(const MetricId& metric, int32_t partition, const EntityId& from,
                                        const EntityFn& fn) {
  return VisitEntitiesWithOffsets(
      metric, partition, from,
      [&fn](const EntityId& id, absl::string_view value, int64_t /*offset*/) { return fn(id, value); });
}

absl::Status ServingView::VisitIndex(const MetricId& metric, int32_t partition, absl::string_view from,
                                     absl::string_view to, const IndexFn& fn) {
  const std::string prefix = KindPrefix(metric, partition, RecordKind::kEntityIndex);
  const std::string end = to.empty() ? PrefixEnd(prefix) : absl::StrCat(prefix, to);
  return store_.Scan(options_.family, absl::StrCat(prefix, from), end,
                     [&](absl::string_view key, absl::string_view value) {
                       int64_t offset = 0;
                       if (!TakeOffset(&value, &offset)) return true;
                       return fn(key.substr(prefix.size()), value);
                     });
}

absl::StatusOr<std::vector<std::string>> ServingView::ListKeys(const MetricId& metric, int32_t partition,
                                                               size_t limit) {
  const std::string prefix = KeyPrefix(metric, partition);
  std::vector<std::string> keys, small;
  NARU_RETURN_IF_ERROR(
      store_.Scan(options_.family, prefix, PrefixEnd(prefix), [&](absl::string_view key, absl::string_view) {
        RecordKey decoded;
        const bool meta =
            DecodeKey(key, &decoded) && (decoded.kind == RecordKind::kProgress || decoded.kind == RecordKind::kSpec);
        (meta ? small : keys).emplace_back(key);
        return keys.size() < limit;
      }));
  // Progress says that the metric is still there, so it goes last.
  if (keys.size() < limit) {
    std::reverse(small.begin(), small.end());
    keys.insert(keys.end(), small.begin(), small.end());
  }
  return keys;
}

absl::StatusOr<std::vector<std::string>> ServingView::ListRowKeys(const MetricId& metric, int32_t partition,
                                                                  int64_t pane_start_us, size_t limit) {
  const std::string prefix = RowPrefix(metric, partition, pane_start_us);
  std::vector<std::string> keys;
  NARU_RETURN_IF_ERROR(
      store_.Scan(options_.family, prefix, PrefixEnd(prefix), [&](absl::string_view key, absl::string_view) {
        keys.emplace_back(key);
        return keys.size() < limit;
      }));
  return keys;
}

absl::Status ServingView::Health() const {
  MutexLock lock(&mu_);
  return health_;
}

void ServingView::SetHealth(absl::Status status) {
  MutexLock lock(&mu_);
  health_ = std::move(status);
}

}  // namespace naru::aggregator
