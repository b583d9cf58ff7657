// A librdkafka client that cleans up after itself. Includes librdkafka: only for .cc files.
#pragma once

#include <librdkafka/rdkafka.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/kafka/options.h"
#include "common/sync/mutex.h"

namespace naru::kafka {

/// Destroys librdkafka's objects.
struct Deleter {
  void operator()(rd_kafka_topic_partition_list_t* p) const { rd_kafka_topic_partition_list_destroy(p); }
  void operator()(rd_kafka_topic_t* p) const { rd_kafka_topic_destroy(p); }
  void operator()(rd_kafka_message_t* p) const { rd_kafka_message_destroy(p); }
  void operator()(rd_kafka_queue_t* p) const { rd_kafka_queue_destroy(p); }
  void operator()(rd_kafka_event_t* p) const { rd_kafka_event_destroy(p); }
  void operator()(rd_kafka_AdminOptions_t* p) const { rd_kafka_AdminOptions_destroy(p); }
  void operator()(rd_kafka_consumer_group_metadata_t* p) const { rd_kafka_consumer_group_metadata_destroy(p); }
  void operator()(const rd_kafka_metadata_t* p) const { rd_kafka_metadata_destroy(p); }
};
using PartitionList = std::unique_ptr<rd_kafka_topic_partition_list_t, Deleter>;
using TopicHandle = std::unique_ptr<rd_kafka_topic_t, Deleter>;
using MessagePtr = std::unique_ptr<rd_kafka_message_t, Deleter>;
using GroupMetadata = std::unique_ptr<rd_kafka_consumer_group_metadata_t, Deleter>;

/// Settings by name, later ones winning.
using Settings = std::vector<std::pair<std::string, std::string>>;

/// One rd_kafka_t. Its log lines go to Naru's log, its errors are kept. Thread-safe as librdkafka is.
class Client {
 public:
  /// Makes a client of `type` with `defaults`, then the options' own properties, then what `prepare` sets (callbacks).
  /// librdkafka's opaque is the Client; `owner` is for the callbacks that `prepare` installs.
  /// Errors: INVALID_ARGUMENT names the setting. Does not connect.
  static absl::StatusOr<std::unique_ptr<Client>> Make(rd_kafka_type_t type, const ClientOptions& options,
                                                      const Settings& defaults, void* owner = nullptr,
                                                      const std::function<void(rd_kafka_conf_t*)>& prepare = nullptr);
  /// Destroys the client; messages still in its queues are dropped.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  rd_kafka_t* get() const { return handle_; }
  void* owner() const { return owner_; }

  /// What made the client unusable; OK while it is usable.
  absl::Status fatal_error() const;
  /// Whether no broker could be reached, by the last that was heard of them. Cleared by SetReachable.
  bool unreachable() const { return unreachable_.load(std::memory_order_relaxed); }
  void SetReachable() { unreachable_.store(false, std::memory_order_relaxed); }
  /// The last error told by librdkafka; OK when there was none.
  absl::Status last_error() const;

 private:
  Client() = default;
  static void OnError(rd_kafka_t*, int error, const char* reason, void* opaque);
  static void OnLog(const rd_kafka_t*, int level, const char* facility, const char* text);
  static int OnStatistics(rd_kafka_t*, char* json, size_t size, void* opaque);

  rd_kafka_t* handle_ = nullptr;
  void* owner_ = nullptr;
  ClientOptions options_;
  std::atomic<bool> unreachable_{false};
  mutable Mutex mu_;
  absl::Status last_error_ ABSL_GUARDED_BY(mu_);
};

}  // namespace naru::kafka
