// Simulated visitors: who comes when is the same for every site, what they do there is the site's.
//
// Everything is a function of (seed, day, session): the same simulation run again gives the same events with the same
// ids, whatever part of it is asked for.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/naru/dice.h"

namespace naru::event::v1 {
class Event;
}

namespace naru::cli {

inline constexpr int64_t kSecond = 1'000'000;  ///< in microseconds

/// What a visitor did.
struct VisitorEvent {
  int64_t time_us = 0;
  std::string type;
  std::string subject;  ///< empty: anonymous
  std::string data;     ///< wire bytes of a google.protobuf.Struct, keys sorted
};

/// A visit of one person.
struct Visit {
  uint64_t seed = 0;   ///< what the person is a function of, together with `member`
  int64_t member = 0;  ///< who: the same number is the same person, who comes back
  int64_t start_us = 0;
};

/// A site that visitors come to. Immutable, thread-safe.
class Site {
 public:
  virtual ~Site() = default;
  /// Name of the pack.
  virtual absl::string_view pack() const = 0;
  virtual absl::string_view source() const = 0;
  /// Zone of the hours of the day.
  virtual absl::string_view time_zone() const = 0;
  /// How busy each hour of the day is, relative to the others.
  virtual std::array<double, 24> hour_weights() const = 0;
  /// How busy each weekday is, Monday first; 1 = average.
  virtual std::array<double, 7> weekday_weights() const = 0;
  /// Appends what happens in a visit, by time. All of it within two hours of the start.
  virtual void AddVisit(const Visit& visit, Dice& dice, std::vector<VisitorEvent>* events) const = 0;
  /// Makes the data of `event` wrong for its type; false where this event cannot be spoilt that way.
  virtual bool Spoil(Dice& dice, VisitorEvent* event) const = 0;
  /// The event as a line of the pack's own format; `broken`: as one that the format refuses. Nothing: the pack has no
  /// lines.
  virtual std::optional<std::string> Line(const event::v1::Event& event, bool broken, Dice& dice) const;
};

std::unique_ptr<Site> MakeCiaoLabellaSite();
std::unique_ptr<Site> MakeWeblogSite();
std::unique_ptr<Site> MakeZigbangSite();
/// The site that a pack (a name, or a path that ends with it) stands for. Errors: NOT_FOUND naming those there are.
absl::StatusOr<std::unique_ptr<Site>> MakeSite(absl::string_view pack);

/// What to simulate. Shares are of all events, 0 to 0.5.
struct SimulationOptions {
  uint64_t seed = 1;
  double visits_per_day = 2000;
  int64_t from_us = 0;  ///< first event time
  int64_t to_us = 0;    ///< end of event times, exclusive
  /// Leaves out what was sent before this moment of the simulation: to go on where an earlier run stopped.
  int64_t resume_us = INT64_MIN;
  int64_t max_events = 0;         ///< stop after this many; 0 = no limit
  double late_share = 0.01;       ///< sent minutes to two hours after they happened
  double duplicate_share = 0.01;  ///< sent a second time
  double broken_share = 0.002;    ///< sent again with something wrong, under an id of their own
};

/// What is special about a simulated event.
enum class Twist { kNone, kLate, kDuplicate, kBroken };

/// An event ready to be sent.
struct SimulatedEvent {
  std::string bytes;    ///< encoded naru.event.v1.Event
  int64_t send_us = 0;  ///< when it is sent, in the simulation's time
  int64_t time_us = 0;  ///< when it happened
  Twist twist = Twist::kNone;
};

/// Visits a day that make about `events` events between the two times (a little more, so that the limit cuts the end).
/// Tries some thousand visits to find out how much happens in one.
double VisitsForEvents(const Site& site, int64_t events, int64_t from_us, int64_t to_us);

/// The stream of events, by send time. Memory: one day's visits (16 bytes each) and the events that are under way.
/// Not thread-safe.
class VisitorStream {
 public:
  /// `site` is borrowed.
  VisitorStream(const Site& site, const SimulationOptions& options);
  ~VisitorStream();
  /// False at the end of the span.
  bool Next(SimulatedEvent* event);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace naru::cli
