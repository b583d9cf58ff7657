// Steps through a list value, wherever its elements are.
#pragma once

#include "common/cel/value.h"
#include "common/event/event_view.h"

namespace naru::cel {

/// Reads the elements of a kList value in order.
class ListIterator {
 public:
  explicit ListIterator(const Value& list)
      : in_memory_(list.has_elements()),
        elements_(in_memory_ ? list.elements() : nullptr),
        rest_(in_memory_ ? list.element_count() : 0),
        cursor_(in_memory_ ? absl::string_view() : list.wire_bytes()) {}

  /// False at the end.
  bool Next(Value* value) {
    if (in_memory_) {
      if (rest_ == 0) return false;
      *value = *elements_++;
      --rest_;
      return true;
    }
    event::ValueView view;
    if (!cursor_.Next(&view)) return false;
    *value = Value::FromEvent(view);
    return true;
  }

 private:
  bool in_memory_;
  const Value* elements_;
  size_t rest_;
  event::ListCursor cursor_;
};

/// Number of elements of a kList or fields of a kStruct (a repeated key counts once).
size_t SizeOf(const Value& collection);

/// The list's element number `index`; kInvalidArgument beyond its ends.
Value ElementAt(const Value& list, int64_t index);

}  // namespace naru::cel
