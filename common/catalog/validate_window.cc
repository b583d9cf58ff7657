// How windows may be cut; the aggregator computes with the same rules (semantics: windows).
#include <cstdint>
#include <numeric>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/catalog/validate_kinds.h"
#include "common/clock/duration.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

constexpr int64_t kMillisecond = 1000;
constexpr int64_t kHour = 3'600'000 * kMillisecond;
constexpr int64_t kDay = 24 * kHour;

// A length: so much time, or so many days or months of the calendar.
struct Length {
  enum class Unit { kFixed, kDays, kMonths } unit = Unit::kFixed;
  int64_t count = 0;  // microseconds, days, months
};

std::optional<Length> ParseCalendar(absl::string_view text) {
  Length length;
  int64_t factor = 1;
  if (absl::ConsumeSuffix(&text, "mo")) {
    length.unit = Length::Unit::kMonths;
  } else if (absl::ConsumeSuffix(&text, "d")) {
    length.unit = Length::Unit::kDays;
  } else if (absl::ConsumeSuffix(&text, "w")) {
    length.unit = Length::Unit::kDays;
    factor = 7;
  } else {
    return std::nullopt;
  }
  if (!absl::SimpleAtoi(text, &length.count) || length.count <= 0 || length.count > 36'525) return std::nullopt;
  length.count *= factor;
  return length;
}

std::optional<Length> ParseLength(const std::string& field, const std::string& text, ProblemList* problems) {
  if (text.empty()) {
    problems->Add(field, "missing; a length like 5m, 1h, 1d, 1w, 1mo");
    return std::nullopt;
  }
  if (const auto calendar = ParseCalendar(text)) return calendar;
  const auto fixed = ParseDuration(text);
  if (!fixed.ok() || absl::StrContains(text, "d") || absl::StrContains(text, "-")) {
    problems->Add(field, absl::StrCat("`", text.substr(0, 64), "` is not a length like 30s, 5m, 1h30m, 1d, 1w, 1mo"));
    return std::nullopt;
  }
  if (fixed->count() < kMillisecond) {
    problems->Add(field, absl::StrCat("`", text, "` is shorter than 1ms"));
    return std::nullopt;
  }
  return Length{Length::Unit::kFixed, fixed->count()};
}

// Whole seconds that divide an hour, or hours that divide a day: what a zone's clocks can show.
bool IsClockStep(int64_t length_us) {
  if (length_us < kHour) return length_us % (1000 * kMillisecond) == 0 && kHour % length_us == 0;
  return length_us % kHour == 0 && kDay % length_us == 0;
}

// How many parts of `part` a window of `size` is made of at most; nothing when one does not divide the calendar of the
// other. Days of 25 hours and months of 31 days are counted. Hopping windows may be made of parts of their slide.
std::optional<int64_t> PartsOf(const Length& size, const Length& part, bool hopping) {
  using Unit = Length::Unit;
  if (size.unit == part.unit) {
    if (!hopping && size.count % part.count != 0) return std::nullopt;
    return size.count / std::gcd(size.count, part.count);
  }
  if (size.unit == Unit::kMonths && part.unit == Unit::kDays && part.count == 1) return size.count * 31;
  if (size.unit == Unit::kFixed || part.unit != Unit::kFixed || !IsClockStep(part.count)) return std::nullopt;
  // A window of days that begins at every hour ends at the same hour; of months, or at parts of an hour, none does.
  if (hopping && (size.unit == Unit::kMonths || part.count < kHour)) return std::nullopt;
  const int64_t days = size.unit == Unit::kMonths ? size.count * 31 : size.count;
  return (days * kDay + kHour + part.count - 1) / part.count;
}

bool LongerThan(const Length& a, const Length& b) {
  const auto micros = [](const Length& length) {
    return length.count * (length.unit == Length::Unit::kFixed  ? 1
                           : length.unit == Length::Unit::kDays ? kDay
                                                                : 28 * kDay);
  };
  return micros(a) > micros(b);
}

void CheckParts(const std::string& field, const Length& size, const Length& part, bool hopping, ProblemList* problems) {
  if (LongerThan(part, size)) {
    problems->Add(field, "is longer than the window");
    return;
  }
  const std::optional<int64_t> parts = PartsOf(size, part, hopping);
  if (!parts.has_value()) {
    problems->Add(field,
                  hopping ? "does not divide the calendar of the size: days go into weeks, months and 1d into months, "
                            "and hours that divide 24h into days"
                          : "does not divide the size: days go into weeks, months and 1d into months, and seconds "
                            "that divide 1h or hours that divide 24h into days and months");
  } else if (*parts > kMaxPanesAWindow) {
    problems->Add(field, absl::StrCat("a window would be made of ", *parts, " panes; at most ", kMaxPanesAWindow,
                                      " are allowed"));
  }
}

void CheckUnused(const v1::Window& window, ProblemList* problems) {
  struct Use {
    const char* name;
    const std::string& value;
    const char* types;
  };
  const Use uses[] = {{"size", window.size(), "tumbling hopping cumulative"},
                      {"slide", window.slide(), "hopping"},
                      {"step", window.step(), "cumulative"},
                      {"gap", window.gap(), "session"},
                      {"entity", window.entity(), "session"},
                      {"report", window.report(), "session"}};
  for (const Use& use : uses) {
    if (use.value.empty() || absl::StrContains(use.types, window.type())) continue;
    problems->Add(absl::StrCat("spec.window.", use.name),
                  absl::StrCat("is for ", use.types, " windows, not for ", window.type(), " ones"));
  }
}

}  // namespace

void ValidateWindow(const v1::Window& window, ProblemList* problems) {
  const size_t before = problems->size();
  problems->CheckWord("spec.window.type", window.type(), {"tumbling", "hopping", "cumulative", "session", "global"},
                      true);
  if (problems->size() > before) return;
  CheckUnused(window, problems);
  if (window.type() == "session") {
    if (window.gap().empty()) problems->Add("spec.window.gap", "missing; silence that ends a session, like 30m");
    problems->CheckDuration("spec.window.gap", window.gap(), std::chrono::seconds(1), std::chrono::hours(24 * 7));
    problems->CheckWord("spec.window.entity", window.entity(), {"subject", "session"});
    if (!window.report().empty()) ParseLength("spec.window.report", window.report(), problems);
    return;
  }
  if (window.type() == "global") return;
  const std::optional<Length> size = ParseLength("spec.window.size", window.size(), problems);
  if (window.type() == "tumbling") return;
  const bool hopping = window.type() == "hopping";
  const std::string field = hopping ? "spec.window.slide" : "spec.window.step";
  const std::optional<Length> part = ParseLength(field, hopping ? window.slide() : window.step(), problems);
  if (size.has_value() && part.has_value()) CheckParts(field, *size, *part, hopping, problems);
}

}  // namespace naru::catalog
