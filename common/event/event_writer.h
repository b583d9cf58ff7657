// Writes encoded events without generated messages: importers, the simulator and ingest's own additions use it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "common/event/event_view.h"

namespace naru::event {

/// Appends the wire form of one google.protobuf.Struct to a string. Fields come out in the order they are added; add
/// them sorted by name (it compresses better). Nested structs and lists are added as finished bytes.
class StructWriter {
 public:
  explicit StructWriter(std::string* out) : out_(out) {}
  void AddNull(absl::string_view key);
  void AddNumber(absl::string_view key, double value);
  void AddString(absl::string_view key, absl::string_view value);
  void AddBool(absl::string_view key, bool value);
  void AddStruct(absl::string_view key, absl::string_view struct_bytes);
  void AddList(absl::string_view key, absl::string_view list_bytes);
  void AddValue(absl::string_view key, const ValueView& value);

 private:
  std::string* out_;
};

/// The same for the elements of a ListValue.
class ListWriter {
 public:
  explicit ListWriter(std::string* out) : out_(out) {}
  void AddValue(const ValueView& value);

 private:
  std::string* out_;
};

/// The fields of an event to be written. Empty strings and absent parts are left out.
struct EventFields {
  absl::string_view id, source, type, subject, session;
  bool has_time = false;
  int64_t time_us = 0;
  absl::string_view data;  ///< wire bytes of a Struct; empty: no data field
};

/// Appends the encoded event to `*out`.
void AppendEvent(const EventFields& fields, std::string* out);

/// What ingest adds to an event as it came. Appending fields to an encoded message is a valid encoding of the merged
/// one.
struct ServerFields {
  absl::string_view generated_id;  ///< not empty: sets id and id_generated
  bool set_time = false;           ///< the event had none
  int64_t time_us = 0;
  int32_t type_version = 0;
  absl::string_view timeline;
};
void AppendServerFields(const ServerFields& fields, std::string* out);

/// Appends `event` without the fields 8 and up (what a sender must not set).
void AppendWithoutServerFields(absl::string_view event, std::string* out);

/// Appends `event` without the fields 8 and up, with `data` (wire bytes of a Struct) instead of its own.
void AppendWithData(absl::string_view event, absl::string_view data, std::string* out);

/// Appends one `events` entry of a PublishEventsRequest (tag, length, bytes).
void AppendPublishEntry(absl::string_view event, std::string* out);

}  // namespace naru::event
