// An event as views into the bytes that came. The hot path walks the received protobuf bytes once, checks them, and
// keeps them as they are; generated messages are for everything else.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace naru::event {

/// Limits of an event (semantics: identity and sizes). Sizes in bytes.
struct Limits {
  size_t id = 128;
  size_t source = 256;
  size_t type = 256;
  size_t session = 256;
  size_t subject = 1024;
  size_t event = 256 * 1024;
  int data_depth = 8;  ///< an event whose data is {"a": 1} has depth 1
};

/// Kinds of a google.protobuf.Value.
enum class Kind : uint8_t { kAbsent, kNull, kNumber, kString, kBool, kStruct, kList };

/// One value inside an event's data: a scalar, or the wire bytes of a Struct or ListValue.
struct ValueView {
  Kind kind = Kind::kAbsent;
  bool boolean = false;
  double number = 0;
  absl::string_view bytes;  ///< kString: the text; kStruct, kList: the message's wire bytes
};

/// An event that has been checked. All views point into the bytes given to ParseEvent and live as long as those.
struct EventView {
  absl::string_view id;
  absl::string_view source;
  absl::string_view type;
  absl::string_view subject;
  absl::string_view session;
  bool has_time = false;
  int64_t time_us = 0;  ///< microseconds since 1970 UTC
  bool has_data = false;
  absl::string_view data;  ///< wire bytes of the google.protobuf.Struct
  // Set by ingest (fields 8 and up of the proto).
  int32_t type_version = 0;
  absl::string_view timeline;
  bool id_generated = false;
  bool has_server_fields = false;  ///< any field from 8 on is present (ingest drops them from senders)
  absl::string_view bytes;         ///< the whole event
};

/// What ParseEvent found wrong. Order and meaning follow naru.ingest.v1.RejectReason.
enum class ParseError : uint8_t {
  kOk,
  kMalformed,
  kInvalidUtf8,
  kMissingAttribute,
  kAttributeTooLong,
  kEventTooLarge,
  kTime,
  kDataTooDeep,
  kNotFinite,
};

/// Where and why, for messages; views point into the event's bytes or to static text.
struct ParseProblem {
  ParseError error = ParseError::kOk;
  absl::string_view field;     ///< `id`, `source`, `time`, `data`, ...
  absl::string_view data_key;  ///< with `data`: the top-level key that the problem is under, where there is one
  absl::string_view value;     ///< the offending bytes, uncut; for kTime the wire bytes of the Timestamp
  absl::string_view expected;  ///< what would be right
};

/// Walks `bytes` (an encoded naru.event.v1.Event), checks it against wire format, UTF-8 and `limits`, and fills
/// `*view`. Returns kOk, or the first problem (with `*problem` filled when not null); then `*view` holds what was read
/// so far. Field order and unknown fields do not matter; repeated scalar fields: the last one wins; a repeated
/// Timestamp merges; what a view could not show as one piece (`data`, or a Value's struct or list, given twice) is
/// malformed, and so are groups. A Value of no kind is null. Never reads outside `bytes`. Thread-safe.
ParseError ParseEvent(absl::string_view bytes, const Limits& limits, EventView* view, ParseProblem* problem = nullptr);

/// The same for bytes that were checked before (read back from the log): structure only, no UTF-8, about twice as fast.
/// Returns false if the bytes are not an event at all.
bool ParseStoredEvent(absl::string_view bytes, EventView* view);

/// Splits an encoded PublishEventsRequest into its events' bytes, appended to `*events`, and reads `return_offsets`.
/// Returns false if the bytes are not such a message.
bool SplitPublishRequest(absl::string_view request, std::vector<absl::string_view>* events, bool* return_offsets);

/// Returns the field `name` of a Struct's wire bytes; kAbsent if there is none. Duplicate keys: the last wins.
ValueView FindField(absl::string_view struct_bytes, absl::string_view name);

/// Finds several fields in one walk: out[i] for names[i].
void FindFields(absl::string_view struct_bytes, absl::Span<const absl::string_view> names, absl::Span<ValueView> out);

/// Calls fn(key, value) for each field of a Struct's wire bytes, in wire order, until it returns false.
template <typename Fn>
void ForEachField(absl::string_view struct_bytes, Fn&& fn);

/// Calls fn(value) for each element of a ListValue's wire bytes, until it returns false.
template <typename Fn>
void ForEachElement(absl::string_view list_bytes, Fn&& fn);

/// Steps through a Struct or ListValue: the primitive under the functions above.
class StructCursor {
 public:
  explicit StructCursor(absl::string_view struct_bytes) : rest_(struct_bytes) {}
  /// Reads the next field; false at the end (or at bytes that are not a field).
  bool Next(absl::string_view* key, ValueView* value);

 private:
  absl::string_view rest_;
};

/// Steps through the elements of a ListValue.
class ListCursor {
 public:
  explicit ListCursor(absl::string_view list_bytes) : rest_(list_bytes) {}
  bool Next(ValueView* value);

 private:
  absl::string_view rest_;
};

template <typename Fn>
void ForEachField(absl::string_view struct_bytes, Fn&& fn) {
  StructCursor cursor(struct_bytes);
  absl::string_view key;
  ValueView value;
  while (cursor.Next(&key, &value) && fn(key, value)) {
  }
}

template <typename Fn>
void ForEachElement(absl::string_view list_bytes, Fn&& fn) {
  ListCursor cursor(list_bytes);
  ValueView value;
  while (cursor.Next(&value) && fn(value)) {
  }
}

}  // namespace naru::event
