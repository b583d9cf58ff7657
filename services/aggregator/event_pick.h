// The value of the first or the last event of a window.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "common/cel/value.h"
#include "services/aggregator/measure.h"

namespace naru::aggregator {

/// The value of the event with the least (first) or greatest (last) time; of events at the same time the one with the
/// greatest (source, id), so that neither the order of arrival nor that of merges matters. Values are bools, numbers,
/// texts of at most kMaxGroupTextBytes, timestamps and durations.
class EventPick {
 public:
  enum class Which : uint8_t { kFirst, kLast };

  /// Returns false for values that it cannot hold.
  bool Take(Which which, const cel::Value& value, const EventIdentity& event);
  void Merge(Which which, const EventPick& other);
  bool empty() const { return value_.empty(); }

  /// Appends the state: a version byte, then time, source, id and value; nothing when empty.
  void Encode(std::string* out) const;
  /// Merges an encoded state into this one. Returns false, changing nothing, for bytes that are not one.
  bool MergeEncoded(Which which, absl::string_view in);
  void Finish(MeasureResult* result) const;
  /// Bytes on the heap.
  size_t HeapBytes() const { return source_.capacity() + id_.capacity() + value_.capacity(); }

 private:
  bool Wins(Which which, int64_t time_us, absl::string_view source, absl::string_view id,
            absl::string_view value) const;
  void Set(int64_t time_us, absl::string_view source, absl::string_view id, absl::string_view value);

  int64_t time_us_ = 0;
  std::string source_;
  std::string id_;
  std::string value_;  // encoded; empty: none
};

}  // namespace naru::aggregator
