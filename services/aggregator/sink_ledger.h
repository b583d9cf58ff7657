// Who writes which Sink, and how far each is: the topic `naru.sinks`, the same on the embedded log and on Kafka.
//
// The aggregators share the topic's partitions out among them as a consumer group; the owner of a partition writes the
// (sink, metric)s whose names hash to it. A state is stored in a transaction that also commits the group's offsets, so
// one that has lost the partition stores nothing more. Every aggregator follows the whole topic, so that each can
// answer how far a Sink is, and pause it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock/clock.h"
#include "common/event_log/event_log.h"
#include "common/sync/mutex.h"
#include "naru/aggregator/v1/sink_state.pb.h"

namespace naru::aggregator {

/// Compacted: how far each Sink is, which are paused.
inline constexpr char kSinksTopic[] = "naru.sinks";
/// Rows that a Sink's store refused for good.
inline constexpr char kSinksDeadLetterTopic[] = "sinks.dlq";

/// One thing to write.
struct SinkId {
  std::string sink;
  std::string metric;
  friend auto operator<=>(const SinkId&, const SinkId&) = default;
};

struct SinkLedgerOptions {
  std::string group = "naru-aggregator-sinks";
  std::string instance = "0";  ///< stable and unique
  int partitions = 8;          ///< of the topic, when it is made on Kafka; one embedded
  std::chrono::milliseconds restore_timeout{30'000};
};

/// One `Poll`ing thread; everything else from any thread. Borrows the log and the clock.
class SinkLedger {
 public:
  SinkLedger(event_log::EventLog& log, const Clock& clock, SinkLedgerOptions options);
  ~SinkLedger();

  /// Makes the topics `naru.sinks` and `sinks.dlq` where they are missing, and begins to follow. Errors: those of the
  /// log.
  absl::Status Open();
  /// Follows the topic, takes part in the group and stores what waits; returns after at most about `max_wait`. After an
  /// error Open begins afresh; claims are then void.
  absl::Status Poll(std::chrono::milliseconds max_wait);
  /// Commits fail from now on, those that wait included.
  void Stop();

  /// The claim on a (sink, metric) while this process owns its partition and knows all that was stored before; 0: not
  /// so. Another number means that it was lost in between.
  int64_t Claim(const SinkId& id) const;
  std::optional<v1::SinkState> State(const SinkId& id) const;
  std::vector<SinkId> KnownStates() const;
  bool Paused(const std::string& sink) const;
  /// The newest request to fill the sink again; 0: none.
  int64_t ResyncRequest(const std::string& sink) const;

  /// Stores a state (absent: removes it) and appends, all or nothing, as long as the claim holds. Blocks until it is
  /// durable. Not from the polling thread. Errors: ABORTED (FENCED); CANCELLED after Stop; UNAVAILABLE and others of
  /// the log.
  absl::Status Commit(const SinkId& id, int64_t claim, const std::optional<v1::SinkState>& state,
                      std::vector<event_log::AppendBatch> appends);
  /// The same without a state.
  absl::Status Append(const SinkId& id, int64_t claim, std::vector<event_log::AppendBatch> appends);

  /// Pauses or resumes; returns when all that follow the topic can know. Errors: those of the log.
  absl::Status SetPaused(const std::string& sink, bool paused);
  absl::Status RequestResync(const std::string& sink);

 private:
  struct Partition {
    int64_t claim = 0;   ///< 0: not owned
    bool ready = false;  ///< all that was stored before is known
    int64_t needed = 0;  ///< to be read until here
    int64_t read = 0;    ///< has been
  };
  struct Stored {
    v1::SinkState state;
    int64_t offset = -1;
    bool removed = false;
  };
  struct Request;

  absl::Status OpenGroup();
  absl::Status Assigned(const std::vector<int>& partitions);
  void Lost(const std::vector<int>& partitions);
  absl::Status Follow();
  void Apply(const event_log::FetchedRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Run(Request* request);
  absl::Status CommitPending();
  absl::Status CommitRequests(const std::vector<Request*>& requests);
  void FailAll(const absl::Status& status);
  absl::Status AppendControl(const std::string& key, const std::string& value, absl::string_view schema);
  int PartitionFor(absl::string_view key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  event_log::EventLog& log_;
  const Clock& clock_;
  const SinkLedgerOptions options_;

  // Only of the polling thread.
  std::unique_ptr<event_log::Producer> producer_;
  std::unique_ptr<event_log::Consumer> consumer_;
  std::unique_ptr<event_log::Reader> reader_;
  absl::Status failure_;  // found inside a callback of the consumer

  mutable Mutex mu_;
  CondVar changed_;
  std::vector<Partition> partitions_ ABSL_GUARDED_BY(mu_);
  std::map<SinkId, Stored> states_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, bool> paused_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, int64_t> resyncs_ ABSL_GUARDED_BY(mu_);
  std::vector<Request*> waiting_ ABSL_GUARDED_BY(mu_);
  int64_t next_claim_ ABSL_GUARDED_BY(mu_) = 1;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  // For records of control, which need no ownership.
  Mutex control_mu_;
  std::unique_ptr<event_log::Producer> control_ ABSL_GUARDED_BY(control_mu_);
};

}  // namespace naru::aggregator
