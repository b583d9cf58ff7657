#include "common/catalog/catalog.h"

#include <map>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"

namespace naru::catalog {
namespace {

constexpr std::chrono::milliseconds kPollWait{500};
constexpr std::chrono::milliseconds kRetryPause{200};
constexpr std::chrono::seconds kOpenTimeout{60};
constexpr size_t kPollBytes = 8 << 20;

}  // namespace

struct Catalog::State {
  State(event_log::EventLog& the_log, const Clock& the_clock) : log(the_log), clock(the_clock) {}

  void Follow();
  absl::Status OpenReader();
  // Applies what was read; publishes only once the end as it was at start has been reached.
  void Take(const std::vector<event_log::FetchedBatch>& batches);
  void Publish(std::shared_ptr<const Snapshot> snapshot);
  void SetHealth(absl::Status status);
  bool PauseBeforeRetry();

  event_log::EventLog& log;
  const Clock& clock;
  std::unique_ptr<event_log::Reader> reader;
  SnapshotBuilder builder;   // only the following thread, once it runs
  int64_t publish_from = 0;  // position below which nothing is published yet

  // Held while callbacks run, so that Subscribe and Unsubscribe come before or after a whole delivery.
  Mutex delivery_mu ABSL_ACQUIRED_BEFORE(mu);
  std::map<int64_t, Callback> callbacks ABSL_GUARDED_BY(delivery_mu);
  int64_t next_token ABSL_GUARDED_BY(delivery_mu) = 1;

  mutable Mutex mu;
  CondVar changed;
  std::shared_ptr<const Snapshot> current ABSL_GUARDED_BY(mu);
  int64_t delivered_position ABSL_GUARDED_BY(mu) = -1;  // every subscriber has what lies before
  absl::Status health ABSL_GUARDED_BY(mu);
  bool stopping ABSL_GUARDED_BY(mu) = false;
  std::thread thread;
};

absl::Status Catalog::State::OpenReader() {
  event_log::ReadPosition position;
  position.partition = 0;
  position.value = builder.position();
  NARU_ASSIGN_OR_RETURN(reader, log.OpenReader(event_log::kCatalogTopic, {position}));
  return absl::OkStatus();
}

void Catalog::State::Take(const std::vector<event_log::FetchedBatch>& batches) {
  for (const event_log::FetchedBatch& batch : batches) {
    for (const event_log::FetchedRecord& record : batch.records) {
      builder.Apply(record.key, record.value, record.tombstone);
    }
    builder.set_position(batch.next_offset);
  }
  if (!batches.empty() && builder.position() >= publish_from) Publish(builder.Build());
}

void Catalog::State::Publish(std::shared_ptr<const Snapshot> snapshot) {
  MutexLock delivery(&delivery_mu);
  {
    MutexLock lock(&mu);
    current = snapshot;
  }
  for (const auto& [token, callback] : callbacks) callback(snapshot);
  MutexLock lock(&mu);
  delivered_position = snapshot->position();
  changed.SignalAll();
}

void Catalog::State::SetHealth(absl::Status status) {
  MutexLock lock(&mu);
  health = std::move(status);
}

// Returns false when the catalog is being destroyed.
bool Catalog::State::PauseBeforeRetry() {
  MutexLock lock(&mu);
  if (!stopping) changed.WaitFor(&mu, kRetryPause);
  return !stopping;
}

void Catalog::State::Follow() {
  while (true) {
    auto batches = reader->Poll(kPollWait, kPollBytes);
    if (batches.ok()) {
      SetHealth(absl::OkStatus());
      Take(*batches);
      MutexLock lock(&mu);
      if (stopping) return;
      continue;
    }
    if (batches.status().code() == absl::StatusCode::kCancelled) return;
    SetHealth(batches.status());
    NARU_LOG_EVERY_SECONDS(10, WARNING, "cannot read the catalog", {{"error", batches.status()}});
    // A removed or damaged range is reported once and skipped by the reader; anything else is tried again.
    if (!PauseBeforeRetry()) return;
  }
}

Catalog::Catalog(std::unique_ptr<State> state) : state_(std::move(state)) {}

absl::StatusOr<std::unique_ptr<Catalog>> Catalog::Open(event_log::EventLog& log, const Clock& clock) {
  event_log::TopicConfig topic;
  topic.name = event_log::kCatalogTopic;
  topic.partitions = 1;
  topic.compacted = true;
  NARU_RETURN_IF_ERROR(log.CreateTopic(topic));
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo info, log.DescribeTopic(event_log::kCatalogTopic));
  if (info.partitions.size() != 1) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "CATALOG_TOPIC",
                     absl::StrCat("topic ", event_log::kCatalogTopic, " has ", info.partitions.size(),
                                  " partitions; it must have 1"));
  }
  auto state = std::make_unique<State>(log, clock);
  state->publish_from = info.partitions[0].end_offset;
  {
    MutexLock lock(&state->mu);
    state->current = state->builder.Build();
    if (state->publish_from == 0) state->delivered_position = 0;
  }
  NARU_RETURN_IF_ERROR(state->OpenReader());
  State* const raw = state.get();
  std::unique_ptr<Catalog> catalog(new Catalog(std::move(state)));
  raw->thread = std::thread([raw] { raw->Follow(); });
  NARU_RETURN_IF_ERROR(catalog->WaitForPosition(info.partitions[0].end_offset, kOpenTimeout));
  return catalog;
}

Catalog::~Catalog() {
  {
    MutexLock lock(&state_->mu);
    state_->stopping = true;
    state_->changed.SignalAll();
  }
  state_->reader->Cancel();
  if (state_->thread.joinable()) state_->thread.join();
}

std::shared_ptr<const Snapshot> Catalog::snapshot() const {
  MutexLock lock(&state_->mu);
  return state_->current;
}

int64_t Catalog::Subscribe(Callback callback) {
  MutexLock delivery(&state_->delivery_mu);
  callback(snapshot());
  const int64_t token = state_->next_token++;
  state_->callbacks.emplace(token, std::move(callback));
  return token;
}

void Catalog::Unsubscribe(int64_t token) {
  MutexLock delivery(&state_->delivery_mu);
  state_->callbacks.erase(token);
}

absl::Status Catalog::CatchUp(std::chrono::milliseconds timeout) {
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo info, state_->log.DescribeTopic(event_log::kCatalogTopic));
  if (info.partitions.empty()) return MakeError(absl::StatusCode::kUnavailable, "CATALOG_TOPIC", "no partition");
  return WaitForPosition(info.partitions[0].end_offset, timeout);
}

absl::Status Catalog::WaitForPosition(int64_t position, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  MutexLock lock(&state_->mu);
  while (state_->delivered_position < position) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= left.zero()) {
      return MakeError(
          absl::StatusCode::kDeadlineExceeded, "CATALOG_BEHIND",
          absl::StrCat("the catalog was read to offset ", state_->delivered_position, " of ", position, " within ",
                       timeout.count(), " ms",
                       state_->health.ok() ? "" : absl::StrCat("; reading failed: ", state_->health.message())));
    }
    state_->changed.WaitFor(&state_->mu, std::chrono::duration_cast<std::chrono::microseconds>(left));
  }
  return absl::OkStatus();
}

absl::Status Catalog::Health() const {
  MutexLock lock(&state_->mu);
  return state_->health;
}

}  // namespace naru::catalog
