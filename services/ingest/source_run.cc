#include "services/ingest/source_run.h"

#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "naru/catalog/v1/resources.pb.h"
#include "naru/ingest/v1/ledger.pb.h"
#include "services/ingest/import_ledger.h"
#include "services/ingest/line_chain.h"

namespace naru::ingest {
namespace {

constexpr size_t kPollBytes = size_t{4} << 20;

/// A partition of a topic that is followed.
struct Followed {
  int64_t next_offset = -1;  ///< -1: not read yet
  int64_t read_count = 0;
};
using FollowedKey = std::pair<std::string, int>;

/// Messages of one partition as events; owns what the batch points into.
struct SourceBatch {
  FollowedKey from;
  int64_t next_offset = 0;
  int64_t message_count = 0;
  std::shared_ptr<const void> owner;
  input_format::EventBuffer events;
  std::vector<EventLine> event_lines;
  struct Rejected {
    input_format::LineRejection rejection;
    EventLine line;
  };
  std::vector<Rejected> rejected;
  std::string ids;
  size_t bytes = 0;
};

absl::string_view TrimLineFeed(absl::string_view text) {
  if (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
  return text;
}

}  // namespace

std::string SourceEventId(absl::string_view cluster, absl::string_view topic, int partition, int64_t offset) {
  const std::string place = absl::StrCat(cluster, "/", topic, "/", partition, "/", offset);
  const XXH128_hash_t hash = XXH3_128bits(place.data(), place.size());
  return ChainIdText({hash.high64, hash.low64});
}

struct SourceRun::State {
  State(const SourceDependencies& dependencies, const catalog::v1::Source& spec, SourceRunOptions options)
      : dependencies(dependencies),
        kafka(spec.kafka()),
        options(std::move(options)),
        cluster(absl::StrJoin(kafka.brokers(), ",")),
        parser(this->options.format) {}

  const SourceDependencies dependencies;
  const catalog::v1::KafkaSource kafka;
  const SourceRunOptions options;
  const std::string cluster;

  // Only of the following thread.
  input_format::LineParser parser;
  std::vector<input_format::LineRejection> rejections;
  std::map<FollowedKey, Followed> followed;
  int64_t session = 0;  ///< of the pipeline, begun before the positions were read
  std::chrono::steady_clock::time_point last_look;

  mutable Mutex mu;
  CondVar changed;
  SourceState status ABSL_GUARDED_BY(mu);
  std::shared_ptr<SourceReader> reader ABSL_GUARDED_BY(mu);
  std::atomic<bool> stopping{false};
  std::thread thread;

  void Run();
  absl::Status Follow();
  absl::Status LoadPositions();
  absl::StatusOr<std::vector<kafka::RawPosition>> Positions(SourceReader* from);
  absl::Status StartAtEnd(SourceReader* from, const std::string& topic, int count);
  ExtraRecord PositionRecord(const FollowedKey& key, int64_t next_offset, int64_t read_count) const;
  absl::Status LookAround(SourceReader* from);
  absl::Status PollOnce(SourceReader* from);
  void Parse(const kafka::RawBatch& batch, std::vector<std::shared_ptr<SourceBatch>>* out);
  void ParseMessage(const kafka::RawMessage& message, SourceBatch* batch);
  absl::Status Store(std::vector<std::shared_ptr<SourceBatch>> wave);
  void Fence(Batch* batch) const;
  Batch MakeBatch(const std::shared_ptr<SourceBatch>& parsed);
  void SetState(bool running, std::string message);
  bool Wait(std::chrono::milliseconds time);
};

void SourceRun::State::SetState(bool running, std::string message) {
  MutexLock lock(&mu);
  status.running = running;
  status.message = std::move(message);
}

/// False: stopping.
bool SourceRun::State::Wait(std::chrono::milliseconds time) {
  const auto until = std::chrono::steady_clock::now() + time;
  MutexLock lock(&mu);
  while (!stopping && std::chrono::steady_clock::now() < until) changed.WaitFor(&mu, std::chrono::milliseconds(100));
  return !stopping;
}

absl::Status SourceRun::State::LoadPositions() {
  followed.clear();
  const std::string prefix = absl::StrCat("source/", options.name, "/");
  int64_t read_count = 0;
  NARU_RETURN_IF_ERROR(ReadLedger(*dependencies.log, [&](const event_log::FetchedRecord& record) {
    absl::string_view key = record.key;
    if (key.substr(0, prefix.size()) != prefix) return;
    key.remove_prefix(prefix.size());
    const size_t slash = key.rfind('/');
    v1::SourcePosition position;
    int partition = 0;
    if (slash == absl::string_view::npos || !absl::SimpleAtoi(key.substr(slash + 1), &partition) ||
        !position.ParseFromArray(record.value.data(), static_cast<int>(record.value.size()))) {
      return;
    }
    followed[{std::string(key.substr(0, slash)), partition}] = {position.next_offset(), position.read_count()};
  }));
  for (const auto& [key, partition] : followed) read_count += partition.read_count;
  MutexLock lock(&mu);
  status.read_count = read_count;
  return absl::OkStatus();
}

/// Every partition that the topics have now, each where it was left.
absl::StatusOr<std::vector<kafka::RawPosition>> SourceRun::State::Positions(SourceReader* from) {
  std::vector<kafka::RawPosition> positions;
  for (const std::string& topic : kafka.topics()) {
    NARU_ASSIGN_OR_RETURN(const int count, from->PartitionCount(topic));
    const auto first = followed.lower_bound({topic, 0});
    const bool is_new = first == followed.end() || first->first.first != topic;
    if (is_new && kafka.start() == "latest") NARU_RETURN_IF_ERROR(StartAtEnd(from, topic, count));
    for (int partition = 0; partition < count; ++partition) {
      const Followed& place = followed[{topic, partition}];
      kafka::RawPosition position{topic, partition, kafka::RawPosition::Kind::kOffset, place.next_offset};
      // Also of a partition that was added later: everything in it came after the Source was made.
      if (place.next_offset < 0) position.kind = kafka::RawPosition::Kind::kStart;
      positions.push_back(std::move(position));
    }
  }
  return positions;
}

/// Notes where the topic ends now, so that a restart before the first message does not move the beginning.
absl::Status SourceRun::State::StartAtEnd(SourceReader* from, const std::string& topic, int count) {
  std::vector<int> partitions(count);
  std::iota(partitions.begin(), partitions.end(), 0);
  NARU_ASSIGN_OR_RETURN(const kafka::PartitionOffsets ends, from->Ends(topic, partitions));
  Batch batch;
  for (const auto& [partition, end] : ends) batch.extra.push_back(PositionRecord({topic, partition}, end, 0));
  Fence(&batch);
  NARU_RETURN_IF_ERROR(dependencies.pipeline->SubmitAndWait(std::move(batch)).status());
  for (const auto& [partition, end] : ends) followed[{topic, partition}] = {end, 0};
  return absl::OkStatus();
}

/// Counts what is still to be read, and takes up partitions that were added.
absl::Status SourceRun::State::LookAround(SourceReader* from) {
  if (std::chrono::steady_clock::now() - last_look < options.look_around) return absl::OkStatus();
  last_look = std::chrono::steady_clock::now();
  int64_t lag = 0;
  const size_t before = followed.size();
  NARU_ASSIGN_OR_RETURN(const std::vector<kafka::RawPosition> positions, Positions(from));
  if (followed.size() != before) NARU_RETURN_IF_ERROR(from->Assign(positions));
  for (const std::string& topic : kafka.topics()) {
    std::vector<int> partitions;
    for (const auto& [key, place] : followed) {
      if (key.first == topic) partitions.push_back(key.second);
    }
    NARU_ASSIGN_OR_RETURN(const kafka::PartitionOffsets ends, from->Ends(topic, partitions));
    for (const auto& [partition, end] : ends) {
      const Followed& place = followed[{topic, partition}];
      if (place.next_offset >= 0) lag += std::max<int64_t>(0, end - place.next_offset);
    }
  }
  MutexLock lock(&mu);
  status.lag = lag;
  return absl::OkStatus();
}

void SourceRun::State::ParseMessage(const kafka::RawMessage& message, SourceBatch* batch) {
  const absl::string_view line = TrimLineFeed(message.value);
  const size_t id_at = batch->ids.size();
  batch->ids += SourceEventId(cluster, batch->from.first, batch->from.second, message.offset);
  const absl::string_view id = absl::string_view(batch->ids).substr(id_at);
  const EventLine event_line{line, message.offset, id};
  rejections.clear();
  parser.Parse(line, {.line_id = id, .import_source = {}}, &batch->events, &rejections);
  batch->event_lines.resize(batch->events.size(), event_line);
  for (input_format::LineRejection& rejection : rejections) batch->rejected.push_back({std::move(rejection), event_line});
  batch->bytes += line.size();
}

void SourceRun::State::Parse(const kafka::RawBatch& batch, std::vector<std::shared_ptr<SourceBatch>>* out) {
  std::shared_ptr<SourceBatch> current;
  const auto begin = [&] {
    current = std::make_shared<SourceBatch>();
    current->from = {batch.topic, batch.partition};
    current->owner = batch.owner;
    // Never moves while views point into it.
    current->ids.reserve(std::min(batch.messages.size(), options.batch_events) * kChainIdHexBytes + kChainIdHexBytes);
    out->push_back(current);
  };
  for (const kafka::RawMessage& message : batch.messages) {
    if (current == nullptr || current->events.size() + current->rejected.size() >= options.batch_events ||
        static_cast<size_t>(current->message_count) >= options.batch_events || current->bytes >= options.batch_bytes) {
      begin();
    }
    if (!message.null_value) ParseMessage(message, current.get());
    ++current->message_count;
    current->next_offset = message.offset + 1;
  }
  // Also where only markers of transactions were passed: the next start need not read them again.
  if (current == nullptr) begin();
  current->next_offset = std::max(current->next_offset, batch.next_offset);
}

ExtraRecord SourceRun::State::PositionRecord(const FollowedKey& key, int64_t next_offset, int64_t read_count) const {
  v1::SourcePosition position;
  position.set_next_offset(next_offset);
  position.set_read_count(read_count);
  return {event_log::kLedgerTopic, 0, "naru.ingest.v1.SourcePosition",
          absl::StrCat("source/", options.name, "/", key.first, "/", key.second), position.SerializeAsString()};
}

/// Makes the batch fail if another replica follows the Source by now.
void SourceRun::State::Fence(Batch* batch) const {
  batch->session = session;
  batch->consumer = dependencies.election;
  // Only the membership counts: nobody reads from this offset.
  if (batch->consumer != nullptr) batch->offsets = {kSourceGroup, event_log::kLedgerTopic, {{0, 0}}};
}

Batch SourceRun::State::MakeBatch(const std::shared_ptr<SourceBatch>& parsed) {
  Batch batch;
  batch.owner = parsed;
  for (size_t i = 0; i < parsed->events.size(); ++i) batch.events.push_back(parsed->events.event(i));
  batch.lines = parsed->event_lines;
  for (const SourceBatch::Rejected& line : parsed->rejected) {
    batch.rejected.push_back({line.rejection.reason, line.rejection.field, line.rejection.value, line.rejection.expected,
                              line.line.line, line.line.position, line.line.line_id});
  }
  batch.timeline = absl::StrCat("source/", options.name);
  batch.format = options.format->name();
  batch.origin = absl::StrCat(parsed->from.first, "/", parsed->from.second);
  batch.extra.push_back(PositionRecord(parsed->from, parsed->next_offset,
                                       followed[parsed->from].read_count + parsed->message_count));
  Fence(&batch);
  return batch;
}

/// Submits at most one batch of each partition, and waits. What fails is tried again until it is stored: a later
/// position must never be stored without what came before it. ABORTED is not tried again: the positions may be
/// another's by now.
absl::Status SourceRun::State::Store(std::vector<std::shared_ptr<SourceBatch>> wave) {
  std::chrono::milliseconds wait = options.first_retry;
  while (!wave.empty()) {
    std::vector<absl::Status> results(wave.size(), absl::UnknownError("on its way"));
    size_t outstanding = wave.size();
    for (size_t i = 0; i < wave.size(); ++i) {
      const auto bytes = static_cast<int64_t>(wave[i]->bytes);
      dependencies.budget->TakeAndWait(bytes);
      dependencies.pipeline->Submit(MakeBatch(wave[i]), [&, i, bytes](absl::StatusOr<BatchResult> result) {
        dependencies.budget->GiveBack(bytes);
        MutexLock lock(&mu);
        results[i] = result.status();
        --outstanding;
        changed.SignalAll();
      });
    }
    std::vector<std::shared_ptr<SourceBatch>> failed;
    absl::Status error;
    bool aborted = false;
    {
      MutexLock lock(&mu);
      while (outstanding > 0) changed.Wait(&mu);
      for (size_t i = 0; i < wave.size(); ++i) {
        if (!results[i].ok()) {
          if (!aborted) error = results[i];
          aborted |= absl::IsAborted(results[i]);
          failed.push_back(wave[i]);
          continue;
        }
        Followed& place = followed[wave[i]->from];
        place.next_offset = wave[i]->next_offset;
        place.read_count += wave[i]->message_count;
        status.read_count += wave[i]->message_count;
      }
    }
    if (aborted) return error;
    wave = std::move(failed);
    if (wave.empty()) return absl::OkStatus();
    SetState(false, absl::StrCat("events cannot be stored: ", error.message()));
    if (!Wait(wait)) return absl::CancelledError("stopping");
    wait = std::min(wait * 2, options.max_retry);
  }
  return absl::OkStatus();
}

absl::Status SourceRun::State::PollOnce(SourceReader* from) {
  const auto polled = from->Poll(options.poll_wait, kPollBytes);
  if (absl::IsOutOfRange(polled.status()) || absl::IsDataLoss(polled.status())) {
    NARU_LOG(WARNING, "messages of a source are gone", {{"source", options.name}, {"error", polled.status()}});
    SetState(true, std::string(polled.status().message()));
    return absl::OkStatus();
  }
  NARU_RETURN_IF_ERROR(polled.status());
  // By partition, in order; a wave takes the first that is left of each.
  std::map<FollowedKey, std::vector<std::shared_ptr<SourceBatch>>> parsed;
  for (const kafka::RawBatch& batch : *polled) Parse(batch, &parsed[{batch.topic, batch.partition}]);
  for (size_t n = 0;; ++n) {
    std::vector<std::shared_ptr<SourceBatch>> wave;
    for (const auto& [key, batches] : parsed) {
      if (n < batches.size()) wave.push_back(batches[n]);
    }
    if (wave.empty()) break;
    NARU_RETURN_IF_ERROR(Store(std::move(wave)));
  }
  if (parsed.empty()) return absl::OkStatus();
  std::vector<kafka::RawPosition> next;
  for (const auto& [key, batches] : parsed) {
    next.push_back({key.first, key.second, kafka::RawPosition::Kind::kOffset, followed[key].next_offset});
  }
  from->CommitAdvisory(next);
  SetState(true, "");
  return absl::OkStatus();
}

/// Until something fails.
absl::Status SourceRun::State::Follow() {
  if (options.format->has_header()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the format ", options.format->name(), " expects a header, which messages do not have"));
  }
  NARU_ASSIGN_OR_RETURN(session, dependencies.pipeline->BeginSession());
  NARU_RETURN_IF_ERROR(LoadPositions());
  NARU_ASSIGN_OR_RETURN(std::shared_ptr<SourceReader> opened, dependencies.open_reader(options.name, kafka));
  {
    MutexLock lock(&mu);
    reader = opened;
    if (stopping) return absl::CancelledError("stopping");
  }
  NARU_ASSIGN_OR_RETURN(const std::vector<kafka::RawPosition> positions, Positions(opened.get()));
  NARU_RETURN_IF_ERROR(opened->Assign(positions));
  last_look = std::chrono::steady_clock::time_point();
  SetState(true, "");
  while (!stopping) {
    NARU_RETURN_IF_ERROR(LookAround(opened.get()));
    NARU_RETURN_IF_ERROR(PollOnce(opened.get()));
  }
  return absl::CancelledError("stopping");
}

void SourceRun::State::Run() {
  std::chrono::milliseconds wait = options.first_retry;
  while (!stopping) {
    const auto begun = std::chrono::steady_clock::now();
    const absl::Status failed = Follow();
    {
      MutexLock lock(&mu);
      reader.reset();
    }
    if (stopping) return;
    NARU_LOG(WARNING, "a source waits", {{"source", options.name}, {"error", failed}});
    SetState(false, std::string(failed.message()));
    // What had worked for a while begins with short waits again.
    if (std::chrono::steady_clock::now() - begun > options.max_retry) wait = options.first_retry;
    if (!Wait(wait)) return;
    wait = std::min(wait * 2, options.max_retry);
  }
}

SourceRun::SourceRun(const SourceDependencies& dependencies, const catalog::v1::Source& spec, SourceRunOptions options)
    : state_(std::make_unique<State>(dependencies, spec, std::move(options))) {
  State* state = state_.get();
  state->SetState(false, "it starts");
  state->thread = std::thread([state] { state->Run(); });
}

SourceRun::~SourceRun() {
  state_->stopping = true;
  {
    MutexLock lock(&state_->mu);
    if (state_->reader != nullptr) state_->reader->Cancel();
    state_->changed.SignalAll();
  }
  state_->thread.join();
}

SourceState SourceRun::state() const {
  MutexLock lock(&state_->mu);
  return state_->status;
}

}  // namespace naru::ingest
