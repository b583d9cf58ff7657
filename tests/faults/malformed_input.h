// Seeded random lines and events that are broken in every way that is known, and some that are whole.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/clock/clock.h"

namespace naru::faults {

/// The input formats that lines are made for: their names in the catalog.
const std::vector<std::string>& MalformedFormats();
/// The event types and input formats that the lines and events are about, as YAML; those of `ciao_labella` come on top.
absl::string_view MalformedResources();

/// Makes input. The same seed gives the same input. Not thread-safe.
class MalformedInput {
 public:
  /// Times lie around `now_us`.
  MalformedInput(uint64_t seed, int64_t now_us) : random_(seed), now_us_(now_us) {}
  void set_now_us(int64_t now_us) { now_us_ = now_us; }

  /// A line of the format (without its line feed, and with none in it), mostly mutated.
  std::string Line(absl::string_view format);
  /// A line that is longer than a line may be.
  std::string OverlongLine();
  /// An encoded event, mostly broken; some are the one before again.
  std::string Event();
  /// An event that is larger than an event may be.
  std::string OverlongEvent();
  /// Changes some bytes, of any value.
  void Mutate(std::string* bytes);

  size_t Below(size_t n) { return static_cast<size_t>(random_.Next() % n); }

 private:
  std::string WholeLine(absl::string_view format);
  std::string WholeEvent();
  std::string BrokenEvent();
  std::string Data();
  std::string Word();
  std::string Time(absl::string_view layout);
  template <size_t kCount>
  absl::string_view OneOf(const absl::string_view (&choices)[kCount]) {
    return choices[Below(kCount)];
  }

  SeededRandom random_;
  int64_t now_us_;
  std::string last_event_;
};

}  // namespace naru::faults
