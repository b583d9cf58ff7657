// How a metric cuts time: panes (what is stored) and windows (what is asked for). A tumbling window is one pane;
// hopping windows share panes of gcd(size, slide), so that an event is counted once however many windows it falls into;
// the panes of cumulative windows are their steps; a global window is one pane of all time.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace naru::catalog::v1 {
class Window;
}

namespace naru::aggregator {

/// [start, end) in microseconds since 1970 UTC.
struct TimeSpan {
  int64_t start_us = 0;
  int64_t end_us = 0;
  bool Contains(int64_t time_us) const { return time_us >= start_us && time_us < end_us; }
  friend bool operator==(const TimeSpan&, const TimeSpan&) = default;
};

/// Most panes that one window of a metric may be made of.
inline constexpr int kMaxPanesPerWindow = 2000;
/// Most panes that a window of another size may be made of when one is asked for.
inline constexpr int kMaxPanesPerDerivedWindow = 50'000;

/// The global window: years 1 to 9999.
inline constexpr int64_t kMinTimeUs = -62'135'596'800'000'000;
inline constexpr int64_t kMaxTimeUs = 253'402'300'799'999'999;

/// A regular division of time, fixed or by a zone's calendar. Fixed steps count from the epoch; days from 1970-01-01,
/// weeks (steps of 7 days, anchored) from a Monday, months from January 1970; hours are those that the zone's clocks
/// show, and so are parts of an hour.
struct CalendarStep {
  enum class Unit : uint8_t { kFixed, kCivilSeconds, kCivilHours, kCivilDays, kCivilMonths, kAllTime };
  Unit unit = Unit::kFixed;
  int64_t count = 1;       ///< kFixed: microseconds; else that many seconds (dividing 3,600), hours, days, months
  int64_t anchor_day = 0;  ///< kCivilDays: a day (since 1970-01-01) on which a step starts
  friend bool operator==(const CalendarStep&, const CalendarStep&) = default;

  /// Start of the step that contains `time_us`.
  int64_t Floor(int64_t time_us, const absl::TimeZone& zone) const;
  /// Start of the step after the one that starts at `start_us`.
  int64_t Next(int64_t start_us, const absl::TimeZone& zone) const;
};

/// The windows of one metric. Immutable after Compile; thread-safe.
class WindowGrid {
 public:
  /// Errors: INVALID_ARGUMENT with a field violation (`spec.window...`): unknown type, length, unit or zone; windows of
  /// more than kMaxPanesPerWindow panes; slides and steps that do not divide into the calendar. Types other than
  /// tumbling, hopping, cumulative and global are refused, naming those.
  static absl::StatusOr<WindowGrid> Compile(const catalog::v1::Window& window, absl::string_view time_zone);

  /// Windows of another length (`1h`, `1d`, `1mo`), one after the other, made of the panes of this one.
  /// Errors: INVALID_ARGUMENT with a violation of `window_size` that says what can be asked for, where a pane would lie
  /// in two of them, or there are more than kMaxPanesPerDerivedWindow in one.
  absl::StatusOr<WindowGrid> WithSize(absl::string_view size) const;

  /// The pane that an event of this time belongs to.
  TimeSpan PaneOf(int64_t time_us) const;
  /// Appends every window that the pane starting at `pane_start_us` is part of, latest first.
  void AppendWindowsOf(int64_t pane_start_us, std::vector<TimeSpan>* windows) const;
  /// The end of the last window that the pane is part of.
  int64_t LastWindowEnd(int64_t pane_start_us) const;
  /// The longest window that starts at `start_us`, which must be a start.
  TimeSpan WindowAt(int64_t start_us) const { return {start_us, EndOf(start_us)}; }
  /// True when each window is exactly one pane.
  bool tumbling() const { return tumbling_; }
  /// True when windows begin together and each is a step longer than the one before.
  bool cumulative() const { return cumulative_; }
  /// True for what WithSize made: its windows are not those of the metric.
  bool derived() const { return derived_; }
  /// Start of the latest window that the pane is part of.
  int64_t LastWindowStart(int64_t pane_start_us) const { return slide_.Floor(pane_start_us, zone_); }
  const absl::TimeZone& zone() const { return zone_; }

 private:
  int64_t EndOf(int64_t start_us) const;
  absl::Status CompileHopping(const catalog::v1::Window& window);
  absl::Status CompileCumulative(const catalog::v1::Window& window);
  absl::Status CheckPanesFitInto(const CalendarStep& size, absl::string_view text) const;
  std::string DescribePane() const;

  bool tumbling_ = true;
  bool cumulative_ = false;
  bool derived_ = false;
  CalendarStep pane_;
  CalendarStep slide_;
  CalendarStep size_;
  absl::TimeZone zone_ = absl::UTCTimeZone();
};

/// Remembers panes that were found, for the hot path: events come nearly in order of time. For one thread.
class PaneFinder {
 public:
  explicit PaneFinder(const WindowGrid* grid) : grid_(grid) {}
  TimeSpan Find(int64_t time_us) {
    TimeSpan& slot = slots_[(static_cast<uint64_t>(time_us) >> kSliceBits) % slots_.size()];
    if (!slot.Contains(time_us)) slot = grid_->PaneOf(time_us);
    return slot;
  }

 private:
  static constexpr int kSliceBits = 28;  // 4.5 minutes: panes shorter than that share a slot in turn
  const WindowGrid* grid_;
  std::array<TimeSpan, 512> slots_{};
};

}  // namespace naru::aggregator
