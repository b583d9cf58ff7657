// The open WatchWindows calls. Includes gRPC: only for .cc files.
#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <thread>

#include "common/sync/mutex.h"
#include "naru/aggregator/v1/aggregator.grpc.pb.h"
#include "services/aggregator/query_pool.h"
#include "services/aggregator/window_watch.h"

namespace naru::aggregator {

/// Most calls open at a time.
inline constexpr size_t kMaxWatches = 1000;

/// Gives each watch its turns, on the pool's threads, never while its reader is still taking the last one's messages.
/// Thread-safe.
class WatchHub {
 public:
  explicit WatchHub(QueryPool& pool);
  ~WatchHub();

  /// The reactor of a new call; it owns itself. `watch` may be an error, which ends the call.
  grpc::ServerWriteReactor<v1::WatchWindowsResponse>* Add(absl::StatusOr<std::unique_ptr<WindowWatch>> watch);
  /// Ends all calls (UNAVAILABLE) and takes no more.
  void Stop();

 private:
  class Reactor;
  void Run();
  void Remove(Reactor* reactor);

  QueryPool& pool_;
  Mutex mu_;
  CondVar wake_;
  std::map<Reactor*, std::shared_ptr<Reactor>> reactors_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace naru::aggregator
