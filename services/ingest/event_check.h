// What is checked of an event before it may be stored, in one pass over its bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/event/event_view.h"
#include "services/ingest/event_types.h"
#include "services/ingest/pipeline.h"

namespace naru::ingest {

struct EventCheckOptions {
  event::Limits limits;
  int64_t max_future_us = int64_t{24} * 3600 * 1'000'000;  ///< `time` may be this much after the received time
  bool keep_unregistered = false;                          ///< events of types that nobody registered
};

enum class EventState : uint8_t { kStore, kDuplicate, kRejected, kFiltered, kUnknownType };

/// An event that was checked: what the rest of the pipeline needs of it. Views point into its bytes.
struct CheckedEvent {
  EventState state = EventState::kStore;
  bool strip_server_fields = false;
  bool drop_unknown = false;
  bool has_time = false;
  const CompiledType* type = nullptr;  ///< null: unregistered
  absl::string_view bytes;
  absl::string_view id;
  absl::string_view source;
  absl::string_view type_name;
  absl::string_view key;   ///< what the partition goes by; empty: the id
  absl::string_view data;  ///< where drop_unknown
};

/// Checks the events of one batch against one table of types. Not thread-safe.
class EventChecker {
 public:
  /// Borrows everything.
  EventChecker(const EventCheckOptions& options, const TypeTable& types, int64_t received_us);
  ~EventChecker();

  /// kStore, kRejected (with `*problem` filled, but for its index), kFiltered or kUnknownType (problem filled too).
  EventState Check(absl::string_view bytes, CheckedEvent* event, NotAccepted* problem);

 private:
  const CompiledType* FindType(absl::string_view name);
  bool Excluded(const CompiledType& type, const event::EventView& view);

  const EventCheckOptions& options_;
  const TypeTable& types_;
  const int64_t received_us_;
  // Batches hold few types, mostly in runs.
  absl::string_view last_name_;
  const CompiledType* last_type_ = nullptr;
  std::vector<std::pair<const CompiledType*, std::unique_ptr<cel::Activation>>> activations_;
};

/// At most 64 bytes of `value` as printable text.
std::string ShownValue(absl::string_view value);

}  // namespace naru::ingest
