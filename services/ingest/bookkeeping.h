// What ingest remembers of the events it has taken: their ids, and how many went where.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/dedup/id_window.h"
#include "common/event_log/event_log.h"
#include "services/ingest/counts.h"

namespace naru::ingest {

/// A record of the topic `naru.ledger`.
struct LedgerRecord {
  std::string key;
  std::string value;
};

/// Two ways of the same: LocalBookkeeping writes ids and counts in the same atomic write as the events; LogBookkeeping
/// (on Kafka) derives them from the log. Thread-safe.
///
/// For each batch: window().Check, Begin, append, End, then window().Commit or Rollback.
class Bookkeeping {
 public:
  virtual ~Bookkeeping() = default;

  virtual dedup::IdWindow& window() = 0;

  /// What must be written together with batch `sequence`: its new ids and counts. Empty on Kafka.
  virtual std::vector<event_log::LocalWrite> Begin(uint64_t sequence, uint32_t time_s,
                                                   absl::Span<const dedup::IdHash> ids, const Counts& counts) = 0;
  /// The batch is durable, or nothing of it is.
  virtual void End(uint64_t sequence, bool durable) = 0;

  /// Everything that is durable. On Kafka: as far as this replica has read the log.
  virtual Counts Totals() const = 0;
  /// Waits until Totals has everything that was durable when this was called, for at most ten seconds.
  virtual absl::Status CatchUp() = 0;

  /// Whether the dead letter was replayed and accepted before.
  virtual absl::StatusOr<bool> WasReplayed(int32_t partition, int64_t offset) = 0;
  /// What to store with a replay's events, so that WasReplayed says so: a local key, or a record of the ledger. `type`
  /// is empty where no event was stored again.
  virtual void MarkReplayed(int32_t partition, int64_t offset, absl::string_view type,
                            std::vector<event_log::LocalWrite>* local, std::vector<LedgerRecord>* ledger) = 0;

  /// OK when ids of the whole window are known; before that no batch may be taken. Does not block.
  virtual absl::Status Ready() const = 0;
};

}  // namespace naru::ingest
