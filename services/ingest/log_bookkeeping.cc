#include "services/ingest/log_bookkeeping.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/event/event_view.h"
#include "common/event/wire.h"
#include "common/event_log/last_record.h"
#include "common/log/log.h"
#include "common/status/status.h"

namespace naru::ingest {
namespace {

namespace wire = event::wire;
using event_log::FetchedBatch;
using event_log::FetchedRecord;
using event_log::ReadPosition;

constexpr char kCountsKey[] = "ingest/counts";
constexpr char kLocalPrefix[] = "ingest/local/";
constexpr char kReplayedPrefix[] = "ingest/replayed/";
constexpr char kNoteVersion = 1;
constexpr int kReasonField = 3;  // of RejectedEvent

void AppendOffsets(const std::map<int, int64_t>& offsets, std::string* out) {
  wire::AppendVarint(offsets.size(), out);
  for (const auto& [partition, offset] : offsets) {
    wire::AppendVarint(partition, out);
    wire::AppendVarint(static_cast<uint64_t>(offset), out);
  }
}

bool ReadNumber(absl::string_view* bytes, uint64_t* value) {
  const char* p = wire::ReadVarint(bytes->data(), bytes->data() + bytes->size(), value);
  if (p == nullptr) return false;
  bytes->remove_prefix(p - bytes->data());
  return true;
}

bool ReadOffsets(absl::string_view* bytes, std::map<int, int64_t>* offsets) {
  uint64_t n, partition, offset;
  if (!ReadNumber(bytes, &n)) return false;
  for (uint64_t i = 0; i < n; ++i) {
    if (!ReadNumber(bytes, &partition) || !ReadNumber(bytes, &offset)) return false;
    (*offsets)[static_cast<int>(partition)] = static_cast<int64_t>(offset);
  }
  return true;
}

// The reason alone, without building the message: dead letters can be large.
int ReasonOf(absl::string_view letter) {
  const char* p = letter.data();
  const char* const end = p + letter.size();
  uint32_t tag;
  uint64_t reason = 0;
  while (p != nullptr && p < end) {
    p = wire::ReadTag(p, end, &tag);
    if (p == nullptr) break;
    p = tag == wire::Tag(kReasonField, wire::kVarint) ? wire::ReadVarint(p, end, &reason)
                                                      : wire::SkipValue(p, end, tag);
  }
  return reason < kMaxReasons ? static_cast<int>(reason) : 0;
}

// The key of the hashes in a directory; made where there is none.
absl::StatusOr<dedup::HashKey> LoadKey(const std::string& directory, Random* random) {
  const std::string path = directory + "/key";
  dedup::HashKey key{};
  std::ifstream in(path, std::ios::binary);
  if (in && in.read(reinterpret_cast<char*>(key.data()), key.size())) return key;
  for (size_t i = 0; i < key.size(); i += 8) {
    const uint64_t bits = random->Next();
    std::memcpy(key.data() + i, &bits, 8);
  }
  // Not synced: generations made with a key that is lost are set aside, and ids read back from the log.
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(key.data()), key.size());
  out.close();
  if (!out) return MakeError(absl::StatusCode::kUnavailable, "STATE_DIR", absl::StrCat("cannot write ", path));
  return key;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LogBookkeeping>> LogBookkeeping::Open(event_log::EventLog& log,
                                                                     LogBookkeepingOptions options,
                                                                     std::vector<std::string>* notes) {
  std::unique_ptr<LogBookkeeping> bookkeeping(new LogBookkeeping(log, std::move(options)));
  NARU_RETURN_IF_ERROR(bookkeeping->Start(notes));
  return bookkeeping;
}

LogBookkeeping::~LogBookkeeping() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    wakes_.SignalAll();
  }
  if (flusher_.joinable()) flusher_.join();
  events_.reset();
  letters_.reset();
  ledger_.reset();
  if (producer_ != nullptr && ready_) Flush(/*snapshot=*/true);
  window_.reset();
  std::error_code ignored;
  if (temporary_directory_) std::filesystem::remove_all(options_.directory, ignored);
}

absl::Status LogBookkeeping::Start(std::vector<std::string>* notes) {
  NARU_ASSIGN_OR_RETURN(producer_, log_.OpenProducer({}));
  // The ledger first: it says from where to count the rest.
  NARU_ASSIGN_OR_RETURN(ledger_, TopicFollower::Start(log_, event_log::kLedgerTopic, {ReadPosition{}},
                                                      [this](const FetchedBatch& batch) { OnLedger(batch); }));
  NARU_ASSIGN_OR_RETURN(const TopicFollower::Mark ledger_end, ledger_->MarkEnd());
  NARU_RETURN_IF_ERROR(ledger_->WaitFor(ledger_end, std::chrono::seconds(60)));
  int64_t letters_from;
  {
    MutexLock lock(&mu_);
    ledger_read_ = true;
    letters_from = counted_letters_;
    const auto mine = others_.find(options_.instance);
    if (mine != others_.end()) own_ = mine->second;
    others_.erase(options_.instance);
  }
  NARU_RETURN_IF_ERROR(OpenWindow(notes));
  NARU_ASSIGN_OR_RETURN(letters_, TopicFollower::Start(log_, event_log::kDeadLetterTopic,
                                                       {ReadPosition{0, ReadPosition::Kind::kOffset, letters_from}},
                                                       [this](const FetchedBatch& batch) { OnDeadLetters(batch); }));
  NARU_RETURN_IF_ERROR(FollowEvents());
  flusher_ = std::thread([this] { FlushLoop(); });
  return absl::OkStatus();
}

absl::Status LogBookkeeping::OpenWindow(std::vector<std::string>* notes) {
  if (options_.directory.empty()) {
    std::string pattern = (std::filesystem::temp_directory_path() / "naru-ingest-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) {
      return MakeError(absl::StatusCode::kUnavailable, "STATE_DIR", absl::StrCat("cannot make ", pattern));
    }
    options_.directory = pattern;
    temporary_directory_ = true;
  }
  std::error_code error;
  std::filesystem::create_directories(options_.directory, error);
  dedup::IdWindowOptions window;
  NARU_ASSIGN_OR_RETURN(window.key, LoadKey(options_.directory, options_.random));
  window.directory = options_.directory;
  window.clock = options_.clock;
  window.slot_bits = options_.id_table_bits;
  window.note = [this] {
    std::string note(1, kNoteVersion);
    MutexLock lock(&mu_);
    AppendOffsets(remembered_, &note);
    return note;
  };
  NARU_ASSIGN_OR_RETURN(window_, dedup::IdWindow::Open(std::move(window), notes));
  std::string note = window_->sealed_note();
  absl::string_view bytes = note;
  if (!bytes.empty() && bytes[0] == kNoteVersion) {
    bytes.remove_prefix(1);
    if (!ReadOffsets(&bytes, &ids_from_)) ids_from_.clear();
  }
  ids_since_us_ = options_.clock->NowMicros() - std::chrono::microseconds(options_.longest_window).count();
  return absl::OkStatus();
}

absl::Status LogBookkeeping::FollowEvents() {
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo topic, log_.DescribeTopic(event_log::kEventsTopic));
  std::map<int, int64_t> counted_events;
  {
    MutexLock lock(&mu_);
    counted_events = counted_events_;
  }
  std::vector<ReadPosition> from;
  for (const event_log::PartitionInfo& info : topic.partitions) {
    const int64_t counted = counted_events[info.partition];
    const auto sealed = ids_from_.find(info.partition);
    ReadPosition position{info.partition, ReadPosition::Kind::kOffset, counted};
    if (sealed != ids_from_.end()) {
      position.value = std::min(counted, sealed->second);
    } else if (counted > 0) {
      // One window is read back for the ids, and whatever is not counted yet, which is no older than a snapshot.
      NARU_ASSIGN_OR_RETURN(const std::optional<int64_t> last_us,
                            event_log::LastRecordTime(log_, event_log::kEventsTopic, info));
      if (last_us.has_value() && *last_us >= ids_since_us_) {
        position = {info.partition, ReadPosition::Kind::kTime, ids_since_us_};
      }
    }
    from.push_back(position);
  }
  NARU_ASSIGN_OR_RETURN(events_, TopicFollower::Start(log_, event_log::kEventsTopic, std::move(from),
                                                      [this](const FetchedBatch& batch) { OnEvents(batch); }));
  NARU_ASSIGN_OR_RETURN(ready_mark_, events_->MarkEnd());
  return absl::OkStatus();
}

absl::Status LogBookkeeping::Ready() const {
  if (ready_.load(std::memory_order_acquire)) return absl::OkStatus();
  if (events_->Passed(ready_mark_)) {
    ready_.store(true, std::memory_order_release);
    return absl::OkStatus();
  }
  ErrorDetails details;
  details.reason = "READING_IDS_BACK";
  details.retry_after = std::chrono::milliseconds(500);
  return MakeError(absl::StatusCode::kUnavailable, "the ids of the de-duplication window are still being read back",
                   details);
}

// --- What the log says ---------------------------------------------------------------------------------------------

void LogBookkeeping::OnEvents(const FetchedBatch& batch) {
  if (batch.headers.schema != event_log::kEventSchema) return;  // a mark: neither an id nor a count
  const auto sealed = ids_from_.find(batch.partition);
  const int64_t ids_from = sealed == ids_from_.end() ? 0 : sealed->second;
  int64_t counted_from;
  {
    MutexLock lock(&mu_);
    counted_from = counted_events_[batch.partition];
  }
  std::vector<dedup::IdHash> ids;
  Counts counts;
  int64_t time_us = 0;
  for (const FetchedRecord& record : batch.records) {
    event::EventView view;
    if (!event::ParseStoredEvent(record.value, &view)) continue;
    if (record.offset >= counted_from) counts.AddStored(view.type, 1);
    if (record.offset < ids_from || record.timestamp_us < ids_since_us_ || view.id_generated) continue;
    ids.push_back(window_->hasher().Hash(view.source, view.id));
    time_us = std::max(time_us, record.timestamp_us);
  }
  if (!ids.empty()) window_->Remember(ids, static_cast<uint32_t>(time_us / 1'000'000));
  MutexLock lock(&mu_);
  remembered_[batch.partition] = std::max(ids_from, batch.next_offset);
  if (batch.next_offset <= counted_from) return;
  logged_.Add(counts);
  counted_events_[batch.partition] = batch.next_offset;
  logged_changed_ = true;
}

void LogBookkeeping::OnDeadLetters(const FetchedBatch& batch) {
  if (batch.headers.schema != event_log::kRejectedSchema) return;
  MutexLock lock(&mu_);
  for (const FetchedRecord& record : batch.records) {
    if (record.offset >= counted_letters_) logged_.AddRejected(ReasonOf(record.value), 1);
  }
  counted_letters_ = std::max(counted_letters_, batch.next_offset);
  logged_changed_ = true;
}

void LogBookkeeping::OnLedger(const FetchedBatch& batch) {
  for (const FetchedRecord& record : batch.records) {
    if (!record.tombstone) ApplyLedger(record.key, record.value);
  }
}

void LogBookkeeping::ApplyLedger(absl::string_view key, absl::string_view value) {
  if (value.empty() || value[0] != kNoteVersion) return;
  value.remove_prefix(1);
  MutexLock lock(&mu_);
  if (absl::ConsumePrefix(&key, kReplayedPrefix)) {
    const std::vector<absl::string_view> parts = absl::StrSplit(key, '/');
    int32_t partition;
    int64_t offset;
    if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &partition) || !absl::SimpleAtoi(parts[1], &offset)) return;
    // A later mark may be that of a duplicate: what was stored stays known.
    std::string& type = replayed_[{partition, offset}];
    if (!value.empty()) type = std::string(value);
  } else if (absl::ConsumePrefix(&key, kLocalPrefix)) {
    if (ledger_read_ && key == options_.instance) return;  // our own
    Counts counts;
    if (Counts::Parse(&value, &counts)) others_[std::string(key)] = counts;
  } else if (key == kCountsKey && !ledger_read_) {
    Counts counts;
    std::map<int, int64_t> offsets;
    uint64_t letters;
    if (!Counts::Parse(&value, &counts) || !ReadOffsets(&value, &offsets) || !ReadNumber(&value, &letters)) return;
    logged_ = counts;
    counted_events_ = offsets;
    counted_letters_ = static_cast<int64_t>(letters);
  }
}

// --- What the log does not say -------------------------------------------------------------------------------------

std::vector<event_log::LocalWrite> LogBookkeeping::Begin(uint64_t sequence, uint32_t /*time_s*/,
                                                         absl::Span<const dedup::IdHash> /*ids*/,
                                                         const Counts& counts) {
  if (counts.duplicate == 0 && counts.filtered_by_type.empty()) return {};
  Counts own;
  own.duplicate = counts.duplicate;
  own.filtered_by_type = counts.filtered_by_type;
  MutexLock lock(&mu_);
  under_way_.emplace_back(sequence, std::move(own));
  return {};
}

void LogBookkeeping::End(uint64_t sequence, bool durable) {
  MutexLock lock(&mu_);
  const auto it =
      std::find_if(under_way_.begin(), under_way_.end(), [&](const auto& b) { return b.first == sequence; });
  if (it == under_way_.end()) return;
  if (durable) {
    own_.Add(it->second);
    own_changed_ = true;
  }
  std::swap(*it, under_way_.back());
  under_way_.pop_back();
}

Counts LogBookkeeping::Totals() const {
  MutexLock lock(&mu_);
  Counts totals = logged_;
  totals.Add(own_);
  for (const auto& [instance, counts] : others_) totals.Add(counts);
  // An event stored by a replay was counted as rejected when it came.
  for (const auto& [letter, type] : replayed_) {
    if (type.empty()) continue;
    totals.AddStored(type, -1);
    ++totals.replayed;
  }
  return totals;
}

absl::Status LogBookkeeping::CatchUp() {
  for (TopicFollower* follower : {ledger_.get(), letters_.get(), events_.get()}) {
    NARU_ASSIGN_OR_RETURN(const TopicFollower::Mark mark, follower->MarkEnd());
    NARU_RETURN_IF_ERROR(follower->WaitFor(mark, std::chrono::seconds(10)));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> LogBookkeeping::WasReplayed(int32_t partition, int64_t offset) {
  MutexLock lock(&mu_);
  return replayed_.contains({partition, offset});
}

void LogBookkeeping::MarkReplayed(int32_t partition, int64_t offset, absl::string_view type,
                                  std::vector<event_log::LocalWrite>* /*local*/, std::vector<LedgerRecord>* ledger) {
  ledger->push_back(
      {absl::StrCat(kReplayedPrefix, partition, "/", offset), absl::StrCat(std::string(1, kNoteVersion), type)});
}

void LogBookkeeping::FlushLoop() {
  auto next_snapshot = std::chrono::steady_clock::now() + options_.snapshot_interval;
  while (true) {
    {
      MutexLock lock(&mu_);
      if (!stopping_) wakes_.WaitFor(&mu_, options_.flush_interval);
      if (stopping_) return;
    }
    const bool snapshot = std::chrono::steady_clock::now() >= next_snapshot;
    if (snapshot) next_snapshot = std::chrono::steady_clock::now() + options_.snapshot_interval;
    Flush(snapshot);
  }
}

void LogBookkeeping::Flush(bool snapshot) {
  std::vector<std::pair<std::string, std::string>> entries;
  {
    MutexLock lock(&mu_);
    if (own_changed_) {
      std::string value(1, kNoteVersion);
      own_.AppendTo(&value);
      entries.emplace_back(kLocalPrefix + options_.instance, std::move(value));
      own_changed_ = false;
    }
    if (snapshot && logged_changed_) {
      std::string value(1, kNoteVersion);
      logged_.AppendTo(&value);
      AppendOffsets(counted_events_, &value);
      wire::AppendVarint(static_cast<uint64_t>(counted_letters_), &value);
      entries.emplace_back(kCountsKey, std::move(value));
      logged_changed_ = false;
    }
  }
  if (entries.empty()) return;
  std::vector<event_log::Record> records;
  for (const auto& [key, value] : entries) {
    records.push_back({.key = key, .value = value, .timestamp_us = options_.clock->NowMicros()});
  }
  const auto appended = producer_->Append({{event_log::kLedgerTopic, 0, {event_log::kLedgerSchema, ""}, records}});
  if (appended.ok()) return;
  NARU_LOG_EVERY_SECONDS(10, WARNING, "counts cannot be written to the ledger; trying again",
                         {{"error", appended.status()}});
  MutexLock lock(&mu_);
  own_changed_ = true;
  logged_changed_ = true;
}

}  // namespace naru::ingest
