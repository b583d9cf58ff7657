#include "services/aggregator/sink_ledger.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "services/aggregator/sink_writer.h"

namespace naru::aggregator {
namespace {

using std::chrono::milliseconds;

constexpr char kStateSchema[] = "naru.aggregator.v1.SinkState";
constexpr char kPauseSchema[] = "naru.aggregator.v1.SinkPause";
constexpr char kResyncSchema[] = "naru.aggregator.v1.SinkResync";
constexpr absl::string_view kStatePrefix = "state/";
constexpr absl::string_view kPausePrefix = "pause/";
constexpr absl::string_view kResyncPrefix = "resync/";
constexpr size_t kLedgerPollBytes = size_t{1} << 20;
constexpr milliseconds kBusyPoll{5};  // while something waits to be stored
constexpr milliseconds kControlWait{5'000};
constexpr std::chrono::hours kRefusedRetention{24 * 30};

std::string StateKey(const SinkId& id) { return absl::StrCat(kStatePrefix, id.sink, "/", id.metric); }

absl::Status Stopping() { return absl::CancelledError("sinks are stopping"); }

}  // namespace

/// A commit that waits for the polling thread.
struct SinkLedger::Request {
  const SinkId& id;
  int64_t claim;
  std::vector<event_log::AppendBatch> appends;
  bool has_state = false;
  std::optional<v1::SinkState> state;  // absent: it is removed
  std::string key;
  std::string value;
  int partition = 0;
  bool done = false;
  absl::Status status;
};

SinkLedger::SinkLedger(event_log::EventLog& log, const Clock& clock, SinkLedgerOptions options)
    : log_(log), clock_(clock), options_(std::move(options)) {}

SinkLedger::~SinkLedger() { Stop(); }

int SinkLedger::PartitionFor(absl::string_view key) const {
  return event_log::PartitionOf(key, static_cast<int>(partitions_.size()));
}

absl::Status SinkLedger::Open() {
  FailAll(SinkFenced());
  consumer_.reset();
  producer_.reset();
  reader_.reset();
  failure_ = absl::OkStatus();
  const auto existing = log_.DescribeTopic(kSinksTopic);
  if (!existing.ok() && !absl::IsNotFound(existing.status())) return existing.status();
  event_log::TopicConfig topic;
  topic.name = kSinksTopic;
  topic.compacted = true;
  topic.partitions = existing.ok()                   ? existing->config.partitions
                     : log_.local_store() != nullptr ? 1
                                                     : options_.partitions;
  NARU_RETURN_IF_ERROR(log_.CreateTopic(topic));
  event_log::TopicConfig refused;
  refused.name = kSinksDeadLetterTopic;
  refused.retention_time = kRefusedRetention;
  NARU_RETURN_IF_ERROR(log_.CreateTopic(refused));
  std::vector<event_log::ReadPosition> positions;
  for (int p = 0; p < topic.partitions; ++p) positions.push_back({p, event_log::ReadPosition::Kind::kOffset, 0});
  NARU_ASSIGN_OR_RETURN(reader_, log_.OpenReader(kSinksTopic, std::move(positions)));
  {
    MutexLock lock(&mu_);
    partitions_.assign(topic.partitions, {});
  }
  return OpenGroup();
}

absl::Status SinkLedger::OpenGroup() {
  // The producer first: from here on a predecessor of the same name can no longer commit.
  NARU_ASSIGN_OR_RETURN(producer_, log_.OpenProducer({absl::StrCat("naru-sinks-", options_.instance)}));
  event_log::RebalanceListener listener;
  listener.assigned = [this](const std::vector<int>& partitions) {
    const absl::Status status = Assigned(partitions);
    if (!status.ok()) failure_ = status;
    return std::vector<std::pair<int, int64_t>>();
  };
  listener.revoked = [this](const std::vector<int>& partitions) { Lost(partitions); };
  listener.lost = [this](const std::vector<int>& partitions) { Lost(partitions); };
  NARU_ASSIGN_OR_RETURN(consumer_, log_.OpenConsumer(options_.group, kSinksTopic, std::move(listener)));
  // Only the membership is wanted; the records come from the reader, of all partitions.
  consumer_->SetPaused(true);
  return absl::OkStatus();
}

absl::Status SinkLedger::Assigned(const std::vector<int>& partitions) {
  // Committed offsets first: asking for them waits for commits that a predecessor has under way.
  NARU_RETURN_IF_ERROR(log_.CommittedOffsets(options_.group, kSinksTopic).status());
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo topic, log_.DescribeTopic(kSinksTopic));
  MutexLock lock(&mu_);
  for (const event_log::PartitionInfo& info : topic.partitions) {
    if (std::find(partitions.begin(), partitions.end(), info.partition) == partitions.end()) continue;
    Partition& partition = partitions_[info.partition];
    partition.claim = next_claim_++;
    partition.needed = info.end_offset;
    partition.ready = partition.read >= partition.needed;
  }
  return absl::OkStatus();
}

void SinkLedger::Lost(const std::vector<int>& partitions) {
  MutexLock lock(&mu_);
  for (const int p : partitions) partitions_[p].claim = 0;
}

absl::Status SinkLedger::Poll(milliseconds max_wait) {
  NARU_RETURN_IF_ERROR(Follow());
  {
    MutexLock lock(&mu_);
    if (!waiting_.empty()) max_wait = std::min(max_wait, kBusyPoll);
  }
  const auto polled = consumer_->Poll(max_wait, 1);
  if (!polled.ok() && !absl::IsUnavailable(polled.status()) && !absl::IsOutOfRange(polled.status())) {
    return polled.status();
  }
  NARU_RETURN_IF_ERROR(failure_);
  return CommitPending();
}

absl::Status SinkLedger::Follow() {
  for (;;) {
    auto batches = reader_->Poll(milliseconds(0), kLedgerPollBytes);
    if (!batches.ok()) {
      const bool passes = absl::IsUnavailable(batches.status()) || absl::IsOutOfRange(batches.status()) ||
                          absl::IsDataLoss(batches.status());
      return passes ? absl::OkStatus() : batches.status();
    }
    if (batches->empty()) return absl::OkStatus();
    MutexLock lock(&mu_);
    for (const event_log::FetchedBatch& batch : *batches) {
      for (const event_log::FetchedRecord& record : batch.records) Apply(record);
      Partition& partition = partitions_[batch.partition];
      partition.read = std::max(partition.read, batch.next_offset);
      partition.ready = partition.ready || (partition.claim != 0 && partition.read >= partition.needed);
    }
    changed_.SignalAll();
  }
}

void SinkLedger::Apply(const event_log::FetchedRecord& record) {
  absl::string_view key = record.key;
  const int size = static_cast<int>(record.value.size());
  if (absl::ConsumePrefix(&key, kStatePrefix)) {
    const size_t slash = key.find('/');
    if (slash == absl::string_view::npos) return;
    Stored& stored = states_[{std::string(key.substr(0, slash)), std::string(key.substr(slash + 1))}];
    if (record.offset <= stored.offset) return;  // what this process stored itself is known already
    v1::SinkState state;
    if (!record.tombstone && !state.ParseFromArray(record.value.data(), size)) return;
    stored = {std::move(state), record.offset, record.tombstone};
  } else if (absl::ConsumePrefix(&key, kPausePrefix)) {
    v1::SinkPause pause;
    if (pause.ParseFromArray(record.value.data(), size)) paused_[std::string(key)] = pause.paused();
  } else if (absl::ConsumePrefix(&key, kResyncPrefix)) {
    v1::SinkResync resync;
    if (resync.ParseFromArray(record.value.data(), size)) resyncs_[std::string(key)] = resync.request();
  }
}

absl::Status SinkLedger::CommitPending() {
  std::vector<Request*> valid;
  {
    MutexLock lock(&mu_);
    for (Request* request : waiting_) {
      const Partition& partition = partitions_[request->partition];
      if (partition.ready && partition.claim == request->claim) {
        valid.push_back(request);
      } else {
        request->status = SinkFenced();
        request->done = true;
      }
    }
    waiting_.clear();
    changed_.SignalAll();
  }
  if (valid.empty()) return absl::OkStatus();
  const absl::Status status = CommitRequests(valid);
  // After ABORTED nothing can be committed by this producer or member any more.
  return absl::IsAborted(status) ? status : absl::OkStatus();
}

absl::Status SinkLedger::CommitRequests(const std::vector<Request*>& requests) {
  event_log::Transaction transaction;
  event_log::GroupOffsets offsets;
  offsets.group = options_.group;
  offsets.topic = kSinksTopic;
  std::vector<event_log::Record> records(requests.size());
  std::vector<size_t> batch_of(requests.size());
  {
    MutexLock lock(&mu_);
    for (size_t i = 0; i < requests.size(); ++i) {
      Request* request = requests[i];
      const std::pair<int, int64_t> next(request->partition, partitions_[request->partition].read);
      if (std::find(offsets.next_offsets.begin(), offsets.next_offsets.end(), next) == offsets.next_offsets.end()) {
        offsets.next_offsets.push_back(next);
      }
      records[i] = {request->key, request->value, clock_.NowMicros(), !request->state.has_value()};
      batch_of[i] = transaction.appends.size();
      if (request->has_state) {
        event_log::AppendBatch batch;
        batch.topic = kSinksTopic;
        batch.partition = request->partition;
        batch.headers.schema = kStateSchema;
        batch.records = absl::MakeConstSpan(&records[i], 1);
        transaction.appends.push_back(std::move(batch));
      }
      for (event_log::AppendBatch& append : request->appends) transaction.appends.push_back(append);
    }
  }
  transaction.offsets.push_back(std::move(offsets));
  transaction.consumer = consumer_.get();
  const absl::StatusOr<event_log::AppendResult> result = producer_->Commit(transaction);
  MutexLock lock(&mu_);
  for (size_t i = 0; i < requests.size(); ++i) {
    Request* request = requests[i];
    if (result.ok() && request->has_state) {
      states_[request->id] = {request->state.value_or(v1::SinkState()), (*result)[batch_of[i]].last_offset,
                              !request->state.has_value()};
    }
    request->status = result.status();
    request->done = true;
  }
  changed_.SignalAll();
  return result.status();
}

absl::Status SinkLedger::Commit(const SinkId& id, int64_t claim, const std::optional<v1::SinkState>& state,
                                std::vector<event_log::AppendBatch> appends) {
  Request request{id, claim, std::move(appends)};
  request.has_state = true;
  request.state = state;
  if (state.has_value()) request.value = state->SerializeAsString();
  return Run(&request);
}

absl::Status SinkLedger::Append(const SinkId& id, int64_t claim, std::vector<event_log::AppendBatch> appends) {
  Request request{id, claim, std::move(appends)};
  return Run(&request);
}

absl::Status SinkLedger::Run(Request* request) {
  request->key = StateKey(request->id);
  MutexLock lock(&mu_);
  if (stopping_) return Stopping();
  if (partitions_.empty()) return SinkFenced();
  request->partition = PartitionFor(request->key);
  waiting_.push_back(request);
  while (!request->done) changed_.Wait(&mu_);
  return request->status;
}

void SinkLedger::FailAll(const absl::Status& status) {
  MutexLock lock(&mu_);
  for (Request* request : waiting_) {
    request->status = status;
    request->done = true;
  }
  waiting_.clear();
  for (Partition& partition : partitions_) partition.claim = 0;
  changed_.SignalAll();
}

void SinkLedger::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
  }
  FailAll(Stopping());
}

int64_t SinkLedger::Claim(const SinkId& id) const {
  MutexLock lock(&mu_);
  if (partitions_.empty()) return 0;
  const Partition& partition = partitions_[PartitionFor(StateKey(id))];
  return partition.ready ? partition.claim : 0;
}

std::optional<v1::SinkState> SinkLedger::State(const SinkId& id) const {
  MutexLock lock(&mu_);
  const auto found = states_.find(id);
  if (found == states_.end() || found->second.removed) return std::nullopt;
  return found->second.state;
}

std::vector<SinkId> SinkLedger::KnownStates() const {
  MutexLock lock(&mu_);
  std::vector<SinkId> ids;
  for (const auto& [id, stored] : states_) {
    if (!stored.removed) ids.push_back(id);
  }
  return ids;
}

bool SinkLedger::Paused(const std::string& sink) const {
  MutexLock lock(&mu_);
  const auto found = paused_.find(sink);
  return found != paused_.end() && found->second;
}

int64_t SinkLedger::ResyncRequest(const std::string& sink) const {
  MutexLock lock(&mu_);
  const auto found = resyncs_.find(sink);
  return found == resyncs_.end() ? 0 : found->second;
}

absl::Status SinkLedger::AppendControl(const std::string& key, const std::string& value, absl::string_view schema) {
  int partition = 0;
  {
    MutexLock lock(&mu_);
    if (partitions_.empty()) {
      return MakeError(absl::StatusCode::kUnavailable, "STARTING", "sinks are not yet followed; try again");
    }
    partition = PartitionFor(key);
  }
  const event_log::Record record{key, value, clock_.NowMicros(), false};
  event_log::AppendBatch batch;
  batch.topic = kSinksTopic;
  batch.partition = partition;
  batch.headers.schema = std::string(schema);
  batch.records = absl::MakeConstSpan(&record, 1);
  MutexLock lock(&control_mu_);
  if (control_ == nullptr) {
    NARU_ASSIGN_OR_RETURN(control_, log_.OpenProducer({}));
  }
  return control_->Append({batch}).status();
}

absl::Status SinkLedger::SetPaused(const std::string& sink, bool paused) {
  v1::SinkPause pause;
  pause.set_paused(paused);
  NARU_RETURN_IF_ERROR(AppendControl(absl::StrCat(kPausePrefix, sink), pause.SerializeAsString(), kPauseSchema));
  // So that who asked sees what it did; the others follow within a moment.
  const auto deadline = std::chrono::steady_clock::now() + kControlWait;
  MutexLock lock(&mu_);
  while (!stopping_ && std::chrono::steady_clock::now() < deadline) {
    const auto found = paused_.find(sink);
    if ((found != paused_.end() && found->second) == paused) break;
    changed_.WaitFor(&mu_, milliseconds(100));
  }
  return absl::OkStatus();
}

absl::Status SinkLedger::RequestResync(const std::string& sink) {
  v1::SinkResync resync;
  resync.set_request(std::max(clock_.NowMicros(), ResyncRequest(sink) + 1));
  NARU_RETURN_IF_ERROR(AppendControl(absl::StrCat(kResyncPrefix, sink), resync.SerializeAsString(), kResyncSchema));
  const auto deadline = std::chrono::steady_clock::now() + kControlWait;
  MutexLock lock(&mu_);
  while (!stopping_ && std::chrono::steady_clock::now() < deadline) {
    const auto found = resyncs_.find(sink);
    if (found != resyncs_.end() && found->second >= resync.request()) break;
    changed_.WaitFor(&mu_, milliseconds(100));
  }
  return absl::OkStatus();
}

}  // namespace naru::aggregator
