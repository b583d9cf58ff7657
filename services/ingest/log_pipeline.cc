#include "services/ingest/log_pipeline.h"

#include <algorithm>
#include <deque>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/event/event_writer.h"
#include "common/event/short_copy.h"
#include "common/event/utf8.h"
#include "common/log/log.h"
#include "common/metrics/metrics.h"
#include "common/status/status.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::ingest {
namespace {

using event_log::AppendBatch;
using event_log::AppendResult;
using event_log::LocalWrite;
using event_log::Record;

constexpr int kMaxAppendAttempts = 5000;  // of a batch that the log has no room for, 2 ms apart

bool IsNoRoom(const absl::Status& status) {
  return absl::IsResourceExhausted(status) && GetErrorDetails(status).reason == event_log::kTooMuchInFlight;
}

absl::Status FirstNotStored() {
  return MakeError(
      absl::StatusCode::kUnavailable, "FIRST_NOT_STORED",
      "an event of this batch was sent twice, and storing it the first time failed: retry with the same ids");
}

}  // namespace

// A batch on its way. Everything that records point into lives here until the log calls back.
struct LogPipeline::Job {
  Batch batch;
  Done done;
  int64_t received_us = 0;
  std::shared_ptr<const TypeTable> types;
  std::vector<CheckedEvent> events;
  BatchResult result;

  std::vector<dedup::Candidate> candidates;
  std::vector<uint32_t> candidate_index;
  dedup::CheckedBatch checked;
  std::vector<dedup::IdHash> new_ids;

  std::string values;  // of all records; offsets first, views once it has stopped growing
  struct Stored {
    uint32_t index;
    uint32_t value_begin, value_end;
    const std::string* generated_id;  // null: it has its own
  };
  std::vector<Stored> stored;
  std::deque<std::string> generated_ids;
  std::vector<std::vector<Record>> records;           // by partition
  std::vector<std::vector<uint32_t>> record_indexes;  // positions in the batch, beside `records`
  std::vector<std::string> dead_letters;
  std::vector<Record> dead_letter_records;
  std::vector<Record> extra_records;
  std::vector<LocalWrite> local;
  std::vector<std::pair<std::string, int>> appended_partitions;  // topic, partition of each AppendBatch
  Counts counts;
  int attempts = 0;
};

struct LogPipeline::Meters {
  explicit Meters(MetricRegistry* metrics) {
    if (metrics == nullptr) return;
    const char* help = "Events taken, by what became of them.";
    accepted = metrics->AddCounter("naru_ingest_events_total", help, {{"outcome", "accepted"}});
    duplicate = metrics->AddCounter("naru_ingest_events_total", help, {{"outcome", "duplicate"}});
    rejected = metrics->AddCounter("naru_ingest_events_total", help, {{"outcome", "rejected"}});
    filtered = metrics->AddCounter("naru_ingest_events_total", help, {{"outcome", "filtered"}});
    for (int reason = 0; reason <= v1::RejectReason_MAX; ++reason) {
      reasons.push_back(
          metrics->AddCounter("naru_ingest_rejected_total", "Rejected events, by reason.",
                              {{"reason", v1::RejectReason_Name(static_cast<v1::RejectReason>(reason))}}));
    }
    batches = metrics->AddCounter("naru_ingest_batches_total", "Batches taken.");
    failures = metrics->AddCounter("naru_ingest_failed_batches_total", "Batches that could not be stored.");
    bytes = metrics->AddCounter("naru_ingest_event_bytes_total", "Bytes of stored events, uncompressed.");
    seconds = metrics->AddHistogram("naru_ingest_batch_seconds", "From taking a batch to its durable answer.",
                                    LatencyBuckets());
  }
  Counter accepted, duplicate, rejected, filtered, batches, failures, bytes;
  std::vector<Counter> reasons;
  Histogram seconds;
};

LogPipeline::LogPipeline(event_log::EventLog& log, catalog::Catalog& catalog, Bookkeeping& bookkeeping,
                         const Clock& clock, Random& random, LogPipelineOptions options)
    : log_(log),
      catalog_(catalog),
      bookkeeping_(bookkeeping),
      clock_(clock),
      random_(random),
      options_(std::move(options)),
      embedded_(log.local_store() != nullptr) {}

absl::StatusOr<std::unique_ptr<LogPipeline>> LogPipeline::Open(event_log::EventLog& log, catalog::Catalog& catalog,
                                                               Bookkeeping& bookkeeping, const Clock& clock,
                                                               Random& random, MetricRegistry* metrics,
                                                               LogPipelineOptions options) {
  std::unique_ptr<LogPipeline> pipeline(new LogPipeline(log, catalog, bookkeeping, clock, random, std::move(options)));
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo topic, log.DescribeTopic(event_log::kEventsTopic));
  pipeline->partitions_ = topic.config.partitions;
  NARU_ASSIGN_OR_RETURN(pipeline->producer_, log.OpenProducer({}));
  pipeline->meters_ = std::make_unique<Meters>(metrics);
  LogPipeline* raw = pipeline.get();
  pipeline->subscription_ =
      catalog.Subscribe([raw](std::shared_ptr<const catalog::Snapshot> snapshot) { raw->SetTypes(*snapshot); });
  return pipeline;
}

LogPipeline::~LogPipeline() {
  {
    MutexLock lock(&mu_);
    while (jobs_ > 0) idle_.Wait(&mu_);
  }
  if (subscription_ != 0) catalog_.Unsubscribe(subscription_);
  catalog_queue_.Stop();
  transaction_queue_.Stop();
}

std::shared_ptr<const TypeTable> LogPipeline::types() const {
  MutexLock lock(&mu_);
  return types_;
}

void LogPipeline::SetTypes(const catalog::Snapshot& snapshot) {
  const std::shared_ptr<const TypeTable> before = types();
  const std::shared_ptr<const TypeTable> table = TypeTable::Compile(snapshot, before.get());
  std::function<void(const TypeTable&)> callback;
  {
    MutexLock lock(&mu_);
    types_ = table;
    callback = on_types_;
  }
  if (callback) callback(*table);
}

void LogPipeline::OnTypes(std::function<void(const TypeTable&)> callback) {
  callback(*types());
  MutexLock lock(&mu_);
  on_types_ = std::move(callback);
}

// --- Checking ------------------------------------------------------------------------------------------------------

void LogPipeline::Submit(Batch batch, Done done) {
  size_t bytes = 0;
  for (absl::string_view event : batch.events) bytes += event.size();
  if (batch.events.size() > kMaxBatchEvents || bytes > kMaxBatchBytes) {
    done(MakeError(absl::StatusCode::kInvalidArgument, "BATCH_TOO_LARGE",
                   absl::StrCat("a batch of ", batch.events.size(), " events and ", bytes,
                                " bytes; at most 10000 events and 4 MiB: send several batches")));
    return;
  }
  const absl::Status ready = bookkeeping_.Ready();
  if (!ready.ok()) {
    done(ready);
    return;
  }
  auto job = std::make_shared<Job>();
  job->batch = std::move(batch);
  job->done = std::move(done);
  job->received_us = clock_.NowMicros();
  {
    MutexLock lock(&mu_);
    ++jobs_;
    job->types = types_;
  }
  if (CheckEvents(job.get())) {
    Continue(std::move(job));
  } else {
    catalog_queue_.Post([this, job] { CheckAgainstNewestCatalog(job); });
  }
}

// False if there is an event of a type that this table does not know.
bool LogPipeline::CheckEvents(Job* job) {
  const size_t n = job->batch.events.size();
  job->events.assign(n, CheckedEvent());
  job->result = BatchResult();
  EventChecker checker(options_.check, *job->types, job->received_us);
  bool all_known = true;
  NotAccepted problem;
  for (size_t i = 0; i < n; ++i) {
    const EventState state = checker.Check(job->batch.events[i], &job->events[i], &problem);
    if (state != EventState::kRejected && state != EventState::kUnknownType) continue;
    all_known &= state != EventState::kUnknownType;
    problem.index = static_cast<int32_t>(i);
    job->result.not_accepted.push_back(std::move(problem));
    problem = NotAccepted();
  }
  return all_known;
}

// On the catalog's queue: the type may have been made a moment ago, on another machine.
void LogPipeline::CheckAgainstNewestCatalog(std::shared_ptr<Job> job) {
  const absl::Status caught_up = catalog_.CatchUp(options_.catalog_timeout);
  if (!caught_up.ok()) {
    job->done(MakeError(absl::StatusCode::kUnavailable, "CATALOG_UNAVAILABLE",
                        absl::StrCat("an event type is not known yet and the catalog cannot be read to its end: ",
                                     caught_up.message())));
    job.reset();
    Release();
    return;
  }
  job->types = types();
  CheckEvents(job.get());
  for (CheckedEvent& event : job->events) {
    if (event.state == EventState::kUnknownType) event.state = EventState::kRejected;
  }
  Continue(std::move(job));
}

void LogPipeline::Continue(std::shared_ptr<Job> job) {
  const absl::Status deduplicated = Deduplicate(job.get());
  if (!deduplicated.ok()) {
    job->done(deduplicated);
    job.reset();
    Release();
    return;
  }
  BuildRecords(job.get());
  CountAndKeep(job.get());
  // A ledger entry or a mark says that all of the batch is stored, duplicates of what is still on its way included: it
  // must not be durable before they are.
  const bool vouches = !job->batch.extra.empty() || !job->batch.local.empty();
  if (!vouches || job->checked.waits_for.empty()) {
    Store(std::move(job));
    return;
  }
  const auto waits_for = job->checked.waits_for;
  dedup::IdWindow::WhenResolved(waits_for, [this, job](bool all_durable) {
    // Elsewhere, as this is a thread of the log.
    transaction_queue_.Post([this, job, all_durable] {
      if (all_durable) {
        Store(job);
      } else {
        Finish(job, FirstNotStored());
      }
    });
  });
}

void LogPipeline::Store(std::shared_ptr<Job> job) {
  if (!embedded_ && !job->batch.extra.empty()) {
    transaction_queue_.Post([this, job] { AppendInTransaction(job); });
  } else {
    Append(std::move(job));
  }
}

absl::Status LogPipeline::Deduplicate(Job* job) {
  job->candidates.reserve(job->events.size());
  for (size_t i = 0; i < job->events.size(); ++i) {
    const CheckedEvent& event = job->events[i];
    if (event.state != EventState::kStore || event.id.empty()) continue;
    const uint32_t window_s = event.type == nullptr ? kDefaultWindowSeconds : event.type->window_s;
    if (window_s == 0) continue;
    job->candidates.push_back({bookkeeping_.window().hasher().Hash(event.source, event.id), window_s});
    job->candidate_index.push_back(static_cast<uint32_t>(i));
  }
  std::vector<dedup::Answer> answers(job->candidates.size());
  const auto time_s = static_cast<uint32_t>(job->received_us / 1'000'000);
  NARU_ASSIGN_OR_RETURN(job->checked, bookkeeping_.window().Check(job->candidates, time_s, absl::MakeSpan(answers)));
  for (size_t c = 0; c < answers.size(); ++c) {
    if (answers[c] == dedup::Answer::kNew) {
      job->new_ids.push_back(job->candidates[c].id);
    } else {
      const uint32_t index = job->candidate_index[c];
      job->events[index].state = EventState::kDuplicate;
      NotAccepted duplicate;
      duplicate.index = static_cast<int32_t>(index);
      duplicate.duplicate = true;
      job->result.not_accepted.push_back(std::move(duplicate));
    }
  }
  std::sort(job->result.not_accepted.begin(), job->result.not_accepted.end(),
            [](const NotAccepted& a, const NotAccepted& b) { return a.index < b.index; });
  return absl::OkStatus();
}

// --- Records -------------------------------------------------------------------------------------------------------

void LogPipeline::BuildRecords(Job* job) {
  size_t bytes = 0;
  for (absl::string_view event : job->batch.events) bytes += event.size();
  job->values.reserve(bytes + job->events.size() * (16 + job->batch.timeline.size()));
  job->stored.reserve(job->events.size());
  for (size_t i = 0; i < job->events.size(); ++i) {
    if (job->events[i].state == EventState::kStore) AddRecord(job, i);
  }
  job->records.resize(partitions_);
  job->record_indexes.resize(partitions_);
  for (auto& records : job->records) records.reserve(job->stored.size() / partitions_ + 16);
  for (const Job::Stored& stored : job->stored) {
    const CheckedEvent& event = job->events[stored.index];
    Record record;
    record.key = !event.key.empty() ? event.key : stored.generated_id == nullptr ? event.id : *stored.generated_id;
    record.value = absl::string_view(job->values).substr(stored.value_begin, stored.value_end - stored.value_begin);
    record.timestamp_us = job->received_us;
    const int partition = event_log::PartitionOf(record.key, partitions_);
    job->records[partition].push_back(record);
    job->record_indexes[partition].push_back(stored.index);
  }
  if (!job->batch.replayed_from.empty()) return;
  for (const NotAccepted& rejected : job->result.not_accepted) {
    if (rejected.duplicate) continue;
    const CheckedEvent& event = job->events[rejected.index];
    const EventLine* line = job->batch.lines.empty() ? nullptr : &job->batch.lines[rejected.index];
    AddDeadLetter(job, rejected.reason, rejected.field, rejected.value, rejected.expected, &event,
                  line == nullptr ? event.bytes : line->line, line == nullptr ? 0 : line->position,
                  line == nullptr ? absl::string_view() : line->line_id);
  }
  for (const RejectedLine& line : job->batch.rejected) {
    AddDeadLetter(job, line.reason, line.field, ShownValue(line.value), line.expected, nullptr, line.line,
                  line.position, line.line_id);
  }
}

// Appends the event's value to the job's: the bytes that came, and what the server knows of them.
void LogPipeline::AddRecord(Job* job, size_t index) {
  const CheckedEvent& event = job->events[index];
  Job::Stored stored{static_cast<uint32_t>(index), static_cast<uint32_t>(job->values.size()), 0, nullptr};
  if (event.drop_unknown) {
    std::string data;
    event.type->schema->DropUnknown(event.data, &data);
    event::AppendWithData(event.bytes, data, &job->values);
  } else if (event.strip_server_fields) {
    event::AppendWithoutServerFields(event.bytes, &job->values);
  } else {
    job->values.append(event.bytes.data(), event.bytes.size());
  }
  event::ServerFields fields;
  if (event.id.empty()) {
    stored.generated_id = &job->generated_ids.emplace_back(MakeUuidV7(clock_, random_));
    fields.generated_id = *stored.generated_id;
  }
  fields.set_time = !event.has_time;
  fields.time_us = job->received_us;
  fields.type_version = event.type == nullptr ? 0 : event.type->version;
  fields.timeline = job->batch.timeline;
  event::AppendServerFields(fields, &job->values);
  stored.value_end = static_cast<uint32_t>(job->values.size());
  job->stored.push_back(stored);
}

void LogPipeline::AddDeadLetter(Job* job, v1::RejectReason reason, absl::string_view field, absl::string_view value,
                                absl::string_view expected, const CheckedEvent* event, absl::string_view raw,
                                int64_t position, absl::string_view line_id) {
  v1::RejectedEvent letter;
  const auto text = [](absl::string_view bytes, size_t limit) {
    return bytes.size() <= limit && event::ValidUtf8(bytes) ? std::string(bytes) : std::string();
  };
  letter.set_raw(std::string(raw.substr(0, options_.max_dead_letter_bytes)));
  letter.set_reason(reason);
  letter.set_field(text(field, 1024));
  letter.set_value(std::string(value));
  letter.set_expected(text(expected, 4096));
  letter.mutable_reject_time()->set_seconds(job->received_us / 1'000'000);
  letter.mutable_reject_time()->set_nanos(static_cast<int32_t>(job->received_us % 1'000'000 * 1000));
  if (event != nullptr) {
    letter.set_source(text(event->source, 256));
    letter.set_type(text(event->type_name, 256));
  }
  if (letter.source().empty()) letter.set_source(job->batch.import_source);
  // A line without a format is of a Source or import that sends events as they are.
  letter.set_format(job->batch.format);
  if (!job->batch.origin.empty()) letter.set_origin(absl::StrCat(job->batch.origin, ":", position));
  letter.set_line_id(text(line_id, 128));
  letter.set_import_source(job->batch.import_source);
  letter.set_timeline(job->batch.timeline);
  job->dead_letters.push_back(letter.SerializeAsString());
}

void LogPipeline::CountAndKeep(Job* job) {
  BatchResult& result = job->result;
  Counts& counts = job->counts;
  absl::string_view type;
  int64_t run = 0;
  const auto flush = [&] {
    if (run > 0) counts.AddStored(type, run);
    run = 0;
  };
  for (const CheckedEvent& event : job->events) {
    if (event.state == EventState::kDuplicate) ++result.duplicate;
    if (event.state == EventState::kRejected) ++result.rejected;
    if (event.state == EventState::kFiltered) {
      ++result.filtered;
      counts.AddFiltered(event.type_name, 1);
    }
    if (event.state != EventState::kStore) continue;
    ++result.accepted;
    if (!event::SameText(event.type_name, type)) {
      flush();
      type = event.type_name;
    }
    ++run;
  }
  flush();
  for (const NotAccepted& rejected : result.not_accepted) {
    if (!rejected.duplicate) counts.AddRejected(rejected.reason, 1);
  }
  for (const RejectedLine& line : job->batch.rejected) counts.AddRejected(line.reason, 1);
  result.rejected += static_cast<int64_t>(job->batch.rejected.size());
  result.duplicate += job->batch.known_duplicates;
  result.received = result.accepted + result.duplicate + result.rejected + result.filtered;
  counts.duplicate = result.duplicate;
  if (!job->batch.replayed_from.empty()) MarkReplayed(job);
  const auto time_s = static_cast<uint32_t>(job->received_us / 1'000'000);
  job->local = bookkeeping_.Begin(job->checked.sequence, time_s, job->new_ids, counts);
  for (const LocalWrite& write : job->batch.local) job->local.push_back(write);
}

void LogPipeline::MarkReplayed(Job* job) {
  // They were counted as rejected when they came first.
  job->counts = Counts();
  job->counts.replayed = job->result.accepted + job->result.filtered;
  std::vector<LedgerRecord> ledger;
  // Of a letter with several events none may be lost: while one is rejected it stays to be taken again.
  std::set<std::pair<int32_t, int64_t>> unfinished;
  for (size_t i = 0; i < job->events.size(); ++i) {
    if (job->events[i].state == EventState::kRejected) unfinished.insert(job->batch.replayed_from[i]);
  }
  for (size_t i = 0; i < job->events.size(); ++i) {
    const CheckedEvent& event = job->events[i];
    const auto& [partition, offset] = job->batch.replayed_from[i];
    if (unfinished.contains({partition, offset})) continue;
    bookkeeping_.MarkReplayed(partition, offset, event.state == EventState::kStore ? event.type_name : "",
                              &job->batch.local, &ledger);
  }
  for (LedgerRecord& record : ledger) {
    job->batch.extra.push_back(
        {event_log::kLedgerTopic, 0, event_log::kLedgerSchema, std::move(record.key), std::move(record.value)});
  }
}

BatchResult LogPipeline::Preview(const std::vector<absl::string_view>& events) {
  const std::shared_ptr<const TypeTable> table = types();
  EventChecker checker(options_.check, *table, clock_.NowMicros());
  BatchResult result;
  result.received = static_cast<int64_t>(events.size());
  for (size_t i = 0; i < events.size(); ++i) {
    CheckedEvent event;
    NotAccepted problem;
    const EventState state = checker.Check(events[i], &event, &problem);
    if (state == EventState::kStore || state == EventState::kFiltered) {
      ++(state == EventState::kStore ? result.accepted : result.filtered);
      continue;
    }
    ++result.rejected;
    problem.index = static_cast<int32_t>(i);
    result.not_accepted.push_back(std::move(problem));
  }
  return result;
}

// --- Appending -----------------------------------------------------------------------------------------------------

namespace {

// The job's records as batches, in the order of `*places`.
template <typename JobT>
std::vector<AppendBatch> MakeAppends(JobT* job) {
  std::vector<AppendBatch> appends;
  job->appended_partitions.clear();
  for (size_t p = 0; p < job->records.size(); ++p) {
    if (job->records[p].empty()) continue;
    appends.push_back({event_log::kEventsTopic,
                       static_cast<int>(p),
                       {event_log::kEventSchema, job->batch.traceparent},
                       job->records[p]});
    job->appended_partitions.emplace_back(event_log::kEventsTopic, static_cast<int>(p));
  }
  if (!job->dead_letters.empty()) {
    job->dead_letter_records.clear();
    for (const std::string& letter : job->dead_letters) {
      Record record;
      record.key = "";
      record.value = letter;
      record.timestamp_us = job->received_us;
      job->dead_letter_records.push_back(record);
    }
    appends.push_back({event_log::kDeadLetterTopic,
                       0,
                       {event_log::kRejectedSchema, job->batch.traceparent},
                       job->dead_letter_records});
    job->appended_partitions.emplace_back(event_log::kDeadLetterTopic, 0);
  }
  job->extra_records.assign(job->batch.extra.size(), Record());
  for (size_t i = 0; i < job->batch.extra.size(); ++i) {
    const ExtraRecord& extra = job->batch.extra[i];
    Record& record = job->extra_records[i];
    record.key = extra.key;
    record.value = extra.value;
    record.tombstone = extra.tombstone;
    record.timestamp_us = job->received_us;
    appends.push_back(
        {extra.topic, extra.partition, {extra.schema, job->batch.traceparent}, absl::MakeConstSpan(&record, 1)});
    job->appended_partitions.emplace_back("", extra.partition);  // nobody asks for its offset
  }
  return appends;
}

}  // namespace

void LogPipeline::Append(std::shared_ptr<Job> job) {
  std::vector<AppendBatch> appends = MakeAppends(job.get());
  if (appends.empty() && job->local.empty()) {
    Finish(std::move(job), AppendResult());
    return;
  }
  Job* raw = job.get();
  producer_->AppendAsync(std::move(appends), raw->local, [this, job](absl::StatusOr<AppendResult> result) {
    if (!result.ok() && IsNoRoom(result.status()) && ++job->attempts < kMaxAppendAttempts) {
      // The bytes were admitted already: waiting is slower than refusing them only for this batch.
      catalog_queue_.Post([this, job] {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        Append(job);
      });
      return;
    }
    Finish(job, std::move(result));
  });
}

// On the queue of transactions, as are the three after it.
void LogPipeline::AppendInTransaction(std::shared_ptr<Job> job) {
  absl::StatusOr<AppendResult> result = Commit(job.get());
  Finish(std::move(job), std::move(result));
}

absl::Status LogPipeline::OpenTransactions() {
  if (transactions_ != nullptr) return absl::OkStatus();
  NARU_ASSIGN_OR_RETURN(transactions_, log_.OpenProducer({.transactional_id = options_.transactional_id}));
  ++session_;
  return absl::OkStatus();
}

absl::StatusOr<AppendResult> LogPipeline::Commit(Job* job) {
  const Batch& batch = job->batch;
  if (batch.session != 0 && (transactions_ == nullptr || batch.session != session_)) {
    return MakeError(absl::StatusCode::kAborted, "SESSION_ENDED",
                     "another ingest may have taken over since the log was read: send it again, and what is stored is "
                     "not stored twice");
  }
  NARU_RETURN_IF_ERROR(OpenTransactions());
  event_log::Transaction transaction;
  transaction.appends = MakeAppends(job);
  if (transaction.appends.empty()) return AppendResult();
  transaction.consumer = batch.consumer;
  if (batch.consumer != nullptr) transaction.offsets.push_back(batch.offsets);
  absl::StatusOr<AppendResult> result = transactions_->Commit(transaction);
  // Fenced by a successor, or nobody knows whether it was committed. What the batch goes by may be out of date, so it
  // is not repeated, nor is any other of its session: the log is read again first.
  if (absl::IsAborted(result.status())) transactions_.reset();
  return result;
}

absl::StatusOr<int64_t> LogPipeline::BeginSession() {
  if (embedded_) return 0;
  Mutex mu;
  CondVar changed;
  bool done = false;
  absl::StatusOr<int64_t> session = 0;
  transaction_queue_.Post([&] {
    const absl::Status opened = OpenTransactions();
    MutexLock lock(&mu);
    session = opened.ok() ? absl::StatusOr<int64_t>(session_) : opened;
    done = true;
    changed.SignalAll();
  });
  MutexLock lock(&mu);
  while (!done) changed.Wait(&mu);
  return session;
}

// On a thread of the log (or the submitter's): everything is durable, or it failed.
void LogPipeline::Finish(std::shared_ptr<Job> job, absl::StatusOr<AppendResult> appended) {
  const bool durable = appended.ok();
  bookkeeping_.End(job->checked.sequence, durable);
  if (!durable) {
    bookkeeping_.window().Rollback(job->checked.batch);
    meters_->failures.Increment();
    job->done(appended.status());
    job.reset();
    Release();
    return;
  }
  bookkeeping_.window().Commit(job->checked.batch);
  if (job->checked.waits_for.empty()) {
    Answer(std::move(job), appended);
    return;
  }
  // A duplicate of an event that is itself still on its way: it is one only if that one arrives.
  const auto waits_for = job->checked.waits_for;
  dedup::IdWindow::WhenResolved(waits_for, [this, job, appended = std::move(appended)](bool all_durable) mutable {
    if (all_durable) {
      Answer(std::move(job), appended);
      return;
    }
    meters_->failures.Increment();
    job->done(FirstNotStored());
    job.reset();
    Release();
  });
}

void LogPipeline::Answer(std::shared_ptr<Job> job, const absl::StatusOr<AppendResult>& appended) {
  BatchResult& result = job->result;
  for (size_t a = 0; a < appended->size(); ++a) {
    const auto& [topic, partition] = job->appended_partitions[a];
    if (topic != event_log::kEventsTopic) continue;
    const event_log::AppendedBatch& where = (*appended)[a];
    result.last_offsets.emplace_back(partition, where.last_offset);
    if (!job->batch.return_offsets) continue;
    const std::vector<uint32_t>& indexes = job->record_indexes[partition];
    for (size_t i = 0; i < indexes.size(); ++i) {
      const int64_t offset = where.offsets.empty() ? where.base_offset + static_cast<int64_t>(i) : where.offsets[i];
      result.event_offsets.push_back({static_cast<int32_t>(indexes[i]), partition, offset});
    }
  }
  std::sort(result.event_offsets.begin(), result.event_offsets.end(),
            [](const StoredAt& a, const StoredAt& b) { return a.index < b.index; });
  meters_->batches.Increment();
  meters_->bytes.Increment(static_cast<double>(job->values.size()));
  meters_->accepted.Increment(static_cast<double>(result.accepted));
  meters_->duplicate.Increment(static_cast<double>(result.duplicate));
  meters_->rejected.Increment(static_cast<double>(result.rejected));
  meters_->filtered.Increment(static_cast<double>(result.filtered));
  if (result.rejected > 0) {
    for (size_t reason = 0; reason < meters_->reasons.size(); ++reason) {
      meters_->reasons[reason].Increment(static_cast<double>(job->counts.rejected_by_reason[reason]));
    }
  }
  meters_->seconds.Observe(static_cast<double>(clock_.NowMicros() - job->received_us) / 1e6);
  const Done done = std::move(job->done);
  BatchResult answer = std::move(job->result);
  job.reset();
  done(std::move(answer));
  Release();
}

void LogPipeline::Release() {
  MutexLock lock(&mu_);
  if (--jobs_ == 0) idle_.SignalAll();
}

}  // namespace naru::ingest
