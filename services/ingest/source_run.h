// Follows one Source: messages become events, and how far it is is stored in the same write as they are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/event_log/event_log.h"
#include "common/input_format/input_format.h"
#include "services/ingest/byte_budget.h"
#include "services/ingest/pipeline.h"
#include "services/ingest/source_reader.h"

namespace naru::catalog::v1 {
class Source;
}

namespace naru::ingest {

/// The replica that follows Sources is the member of this group that has partition 0 of the ledger.
inline constexpr char kSourceGroup[] = "naru-ingest-sources";

/// What a Source borrows; all must outlive it.
struct SourceDependencies {
  event_log::EventLog* log = nullptr;
  IngestPipeline* pipeline = nullptr;
  ByteBudget* budget = nullptr;
  /// On Kafka: the member of kSourceGroup that this replica was elected by; nothing is stored when it no longer has its
  /// place.
  event_log::Consumer* election = nullptr;
  OpenSourceReader open_reader = [](const std::string& name, const catalog::v1::KafkaSource& spec) {
    return OpenKafkaReader(name, spec, {});
  };
};

struct SourceRunOptions {
  std::string name;
  std::shared_ptr<const input_format::InputFormat> format;
  size_t batch_events = 5000;
  size_t batch_bytes = size_t{2} << 20;
  std::chrono::milliseconds poll_wait{200};
  std::chrono::milliseconds first_retry{200};
  std::chrono::milliseconds max_retry{30'000};
  std::chrono::milliseconds look_around{10'000};  ///< how often lag and new partitions are looked at
};

/// Where a Source is.
struct SourceState {
  bool running = false;  ///< else it waits
  std::string message;   ///< what it waits for, or what was lost
  int64_t read_count = 0;
  int64_t lag = -1;      ///< messages; -1: not known yet
};

/// Starts to follow when it is made, in a thread of its own, and goes on until it is destroyed. Whatever fails is tried again,
/// with growing waits. Thread-safe.
///
/// Each message is one line of the format. The id of its event is the hash of brokers, topic, partition and offset unless the
/// format maps one; its timeline is `source/NAME`. Messages without a value (tombstones) are passed over.
class SourceRun {
 public:
  SourceRun(const SourceDependencies& dependencies, const catalog::v1::Source& spec, SourceRunOptions options);
  /// Waits for what was submitted.
  ~SourceRun();
  SourceRun(const SourceRun&) = delete;

  SourceState state() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The id of a message's event.
std::string SourceEventId(absl::string_view cluster, absl::string_view topic, int partition, int64_t offset);

}  // namespace naru::ingest
