// Clients that write to a server which may die at any moment, and remember exactly what they were told.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/sync/mutex.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::faults {

/// What clients were told about the events that they sent. Thread-safe.
class Told {
 public:
  void Acknowledge(const std::vector<std::string>& ids);
  void Send(const std::vector<std::string>& ids);
  std::set<std::string> acknowledged() const;
  std::set<std::string> sent() const;

 private:
  mutable Mutex mu_;
  std::set<std::string> acknowledged_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> sent_ ABSL_GUARDED_BY(mu_);
};

/// Several clients in threads: some stream, some call. Each sends batches with ids of its own, some events twice, some
/// broken; a batch whose answer was lost is sent again to the next server, as a client with retries does.
class FaultLoad {
 public:
  FaultLoad(Told* told, uint64_t seed) : told_(told), seed_(seed) {}
  ~FaultLoad() { Stop(); }
  /// Begins to write to the server at `address`.
  void Start(const std::string& address);
  /// Ends the clients; those that wait for a dead server return at once.
  void Stop();
  /// Sends every batch whose answer was lost once more; what is refused is kept for the next time.
  absl::Status SendUnanswered(const std::string& address);

 private:
  void RunUnary(const std::string& address, int client);
  void RunStream(const std::string& address, int client);
  naru::ingest::v1::PublishEventsRequest MakeBatch(int client);
  void Record(const naru::ingest::v1::PublishEventsRequest& request,
              const naru::ingest::v1::PublishEventsResponse& response);
  void KeepUnanswered(naru::ingest::v1::PublishEventsRequest request);

  Told* told_;
  uint64_t seed_;
  std::atomic<int64_t> next_batch_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
  Mutex mu_;
  std::vector<naru::ingest::v1::PublishEventsRequest> unanswered_ ABSL_GUARDED_BY(mu_);
};

/// Everything in the log of the server at `address`, by id: how often it is there.
absl::StatusOr<std::map<std::string, int>> ReadLog(const std::string& address);

}  // namespace naru::faults
