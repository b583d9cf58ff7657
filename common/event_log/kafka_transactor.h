// Kafka transactions of one transactional id. Includes librdkafka: only for .cc files.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "common/event_log/kafka_records.h"
#include "common/sync/mutex.h"

namespace naru::event_log {

/// Commits appends and offsets all or nothing. Thread-safe; one commit at a time.
class KafkaTransactor {
 public:
  /// Takes the transactional id over from whoever had it; what they had not committed is aborted. Borrows `shared`.
  static absl::StatusOr<std::unique_ptr<KafkaTransactor>> Open(const KafkaShared& shared,
                                                               const std::string& transactional_id);

  /// As Producer::Commit. UNAVAILABLE: nothing was committed, the same may be tried again. ABORTED (FENCED, or
  /// COMMIT_UNKNOWN when the broker did not answer): this producer is of no more use; what was committed is seen by
  /// opening another and reading the group's offsets.
  absl::StatusOr<AppendResult> Commit(const Transaction& transaction);

  /// Why it is of no more use; OK while it is.
  absl::Status broken();

 private:
  using Deadline = std::chrono::steady_clock::time_point;

  KafkaTransactor(const KafkaShared& shared, std::unique_ptr<kafka::Client> client)
      : shared_(shared), client_(std::move(client)), sender_(shared, client_.get()) {}
  absl::Status Begin(const Transaction& transaction, Deadline deadline) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status SendOffsets(const Transaction& transaction, Deadline deadline) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WaitUntilReadable(const Transaction& transaction, const AppendResult& result);
  absl::Status Finish(Deadline deadline) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Abort(absl::Status reason, Deadline deadline) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Break(absl::Status reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const KafkaShared& shared_;
  const std::unique_ptr<kafka::Client> client_;
  Mutex mu_;
  RecordSender sender_ ABSL_GUARDED_BY(mu_);
  Mutex broken_mu_;  // its own, so that asking does not wait for a commit
  absl::Status broken_ ABSL_GUARDED_BY(broken_mu_);
};

}  // namespace naru::event_log
