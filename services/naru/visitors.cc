#include "services/naru/visitors.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "common/event/event_writer.h"
#include "common/status/status.h"

namespace naru::cli {
namespace {

constexpr int64_t kMaxVisit = 2 * 3600 * kSecond;
constexpr int64_t kMaxDelay = 2 * 3600 * kSecond;
// Far beyond any allowed lead, whenever the simulation runs.
constexpr int64_t kFarFuture = 7'258'118'400 * kSecond;  // 2200-01-01

struct PlannedVisit {
  int64_t start_us;
  int64_t number;
};

struct Pending {
  int64_t send_us;
  uint64_t order;  // breaks ties, so that the order is always the same
  size_t slot;
  bool operator>(const Pending& other) const {
    return send_us != other.send_us ? send_us > other.send_us : order > other.order;
  }
};

std::string Encode(const Site& site, const std::string& id, const std::string& session, const VisitorEvent& event) {
  event::EventFields fields;
  fields.id = id;
  fields.source = site.source();
  fields.type = event.type;
  fields.subject = event.subject;
  fields.session = session;
  fields.has_time = true;
  fields.time_us = event.time_us;
  fields.data = event.data;
  std::string bytes;
  event::AppendEvent(fields, &bytes);
  return bytes;
}

// Everything here is refused by ingest whatever the type's schema says.
std::string EncodeBroken(const Site& site, std::string id, const std::string& session, VisitorEvent event, Dice& dice) {
  if (dice.Chance(0.6) && site.Spoil(dice, &event)) return Encode(site, id, session, event);
  switch (dice.Below(4)) {
    case 0:
      event.type.clear();
      break;
    case 1:
      event.subject = "\xff\xfe broken";
      break;
    case 2:
      event.time_us = kFarFuture;
      break;
    default:
      id.append(200, 'x');
  }
  return Encode(site, id, session, event);
}

}  // namespace

std::optional<std::string> Site::Line(const event::v1::Event& /*event*/, bool /*broken*/, Dice& /*dice*/) const {
  return std::nullopt;
}

absl::StatusOr<std::unique_ptr<Site>> MakeSite(absl::string_view pack) {
  while (absl::ConsumeSuffix(&pack, "/")) {
  }
  const absl::string_view name = pack.substr(pack.rfind('/') == absl::string_view::npos ? 0 : pack.rfind('/') + 1);
  if (name == "ciao_labella") return MakeCiaoLabellaSite();
  if (name == "weblog") return MakeWeblogSite();
  if (name == "zigbang") return MakeZigbangSite();
  return MakeError(
      absl::StatusCode::kNotFound, "SITE_NOT_FOUND",
      absl::StrCat("no visitors are known for the pack `", name, "`; there are ciao_labella, weblog, zigbang"));
}

double VisitsForEvents(const Site& site, int64_t events, int64_t from_us, int64_t to_us) {
  constexpr int kTries = 4000;
  std::vector<VisitorEvent> tried;
  for (int i = 0; i < kTries; ++i) {
    Dice dice({0xE5, static_cast<uint64_t>(i)});
    site.AddVisit({0xE5, i, from_us}, dice, &tried);
  }
  const double visits = static_cast<double>(events) * kTries / static_cast<double>(tried.size());
  // How many average days the span is worth, by the hours and weekdays in it.
  absl::TimeZone zone;
  absl::LoadTimeZone(site.time_zone(), &zone);
  const std::array<double, 24> hours = site.hour_weights();
  const std::array<double, 7> weekdays = site.weekday_weights();
  double all_hours = 0;
  for (const double weight : hours) all_hours += weight;
  double days = 1e-6;
  constexpr int64_t kStep = 900 * kSecond;
  for (int64_t at = from_us; at < to_us; at += kStep) {
    const absl::CivilHour hour = absl::ToCivilHour(absl::FromUnixMicros(at), zone);
    const double share = static_cast<double>(std::min(kStep, to_us - at)) / (3600.0 * kSecond);
    days += share * hours[hour.hour()] / all_hours * weekdays[static_cast<int>(absl::GetWeekday(hour))];
  }
  // The number of events varies: three standard deviations more visits than needed on average.
  return (visits * 1.005 + 3 * std::sqrt(visits + 1)) / days;
}

struct VisitorStream::State {
  State(const Site& site, const SimulationOptions& options) : site(site), options(options) {
    absl::LoadTimeZone(site.time_zone(), &zone);
    hours = site.hour_weights();
    weekdays = site.weekday_weights();
    // Visits that began before the span still have events in it.
    day = absl::ToCivilDay(absl::FromUnixMicros(EarliestStart()), zone);
    members = std::max<int64_t>(10, static_cast<int64_t>(options.visits_per_day * 2));
    uint64_t rate_bits = static_cast<uint64_t>(options.visits_per_day * 1000);
    fingerprint = absl::StrCat(absl::Hex(Mix(options.seed ^ Mix(rate_bits)), absl::kZeroPad16));
    PlanDay();
  }

  int64_t EarliestStart() const {
    const int64_t resumed = options.resume_us == INT64_MIN ? options.from_us : options.resume_us - kMaxDelay;
    return std::max(options.from_us, resumed) - kMaxVisit;
  }

  // Fills `visits` with those that start on `day`; false when the day is after the span.
  bool PlanDay() {
    visits.clear();
    next_visit = 0;
    const int64_t start = absl::ToUnixMicros(absl::FromCivil(day, zone));
    const int64_t end = absl::ToUnixMicros(absl::FromCivil(day + 1, zone));
    if (start >= options.to_us) return false;
    day_number = static_cast<uint64_t>(day - absl::CivilDay(1970, 1, 1));
    const double busy = weekdays[static_cast<int>(absl::GetWeekday(day))];
    const auto count = static_cast<int64_t>(options.visits_per_day * busy);
    for (int64_t i = 0; i < count; ++i) {
      Dice dice({options.seed, day_number, static_cast<uint64_t>(i)});
      const int64_t second = static_cast<int64_t>(dice.Pick(hours)) * 3600 + dice.Below(3600);
      // A day of 23 or 25 hours is filled up to its own end.
      const int64_t at = start + second * kSecond + dice.Below(kSecond);
      if (at >= EarliestStart() && at < std::min(end, options.to_us)) visits.push_back({at, i});
    }
    std::sort(visits.begin(), visits.end(), [](const auto& a, const auto& b) {
      return a.start_us != b.start_us ? a.start_us < b.start_us : a.number < b.number;
    });
    return true;
  }

  void Schedule(SimulatedEvent event) {
    if (event.send_us < options.resume_us) return;
    size_t slot = slots.size();
    if (!free_slots.empty()) {
      slot = free_slots.back();
      free_slots.pop_back();
      slots[slot] = std::move(event);
    } else {
      slots.push_back(std::move(event));
    }
    pending.push({slots[slot].send_us, order++, slot});
  }

  void StartVisit(const PlannedVisit& planned) {
    Dice dice({options.seed, day_number, static_cast<uint64_t>(planned.number), 1});
    Visit visit;
    visit.seed = options.seed;
    visit.start_us = planned.start_us;
    // The square makes some people come often and many only now and then.
    const double unit = dice.Unit();
    visit.member = static_cast<int64_t>(unit * unit * static_cast<double>(members));
    scratch.clear();
    site.AddVisit(visit, dice, &scratch);
    const std::string session = absl::StrCat(fingerprint.substr(0, 8), "-", day_number, "-", planned.number);
    int index = 0;
    for (VisitorEvent& event : scratch) {
      Dice twist({options.seed, day_number, static_cast<uint64_t>(planned.number), 2, static_cast<uint64_t>(index)});
      const std::string id = absl::StrCat(fingerprint, "-", day_number, "-", planned.number, "-", index++);
      if (event.time_us < options.from_us || event.time_us >= options.to_us) continue;
      AddEvent(id, session, event, twist);
    }
  }

  void AddEvent(const std::string& id, const std::string& session, const VisitorEvent& event, Dice& dice) {
    SimulatedEvent out;
    out.bytes = Encode(site, id, session, event);
    out.time_us = event.time_us;
    // The way to the server takes a moment, and reorders a little.
    out.send_us = event.time_us + static_cast<int64_t>(std::min(dice.Exponential(0.3), 5.0) * kSecond);
    if (dice.Chance(options.late_share)) {
      out.twist = Twist::kLate;
      out.send_us += std::min(static_cast<int64_t>((60 + dice.Exponential(900)) * kSecond), kMaxDelay - 10 * kSecond);
    }
    if (dice.Chance(options.duplicate_share)) {
      SimulatedEvent again = out;
      again.twist = Twist::kDuplicate;
      again.send_us += static_cast<int64_t>(dice.Exponential(20) * kSecond) + kSecond;
      Schedule(std::move(again));
    }
    if (dice.Chance(options.broken_share)) {
      SimulatedEvent broken = out;
      broken.twist = Twist::kBroken;
      broken.bytes = EncodeBroken(site, id + "-b", session, event, dice);
      Schedule(std::move(broken));
    }
    Schedule(std::move(out));
  }

  const Site& site;
  const SimulationOptions options;
  absl::TimeZone zone;
  std::array<double, 24> hours;
  std::array<double, 7> weekdays;
  absl::CivilDay day;
  uint64_t day_number = 0;
  int64_t members = 0;
  std::string fingerprint;
  std::vector<PlannedVisit> visits;
  size_t next_visit = 0;
  bool days_left = true;
  std::vector<VisitorEvent> scratch;
  std::vector<SimulatedEvent> slots;
  std::vector<size_t> free_slots;
  std::priority_queue<Pending, std::vector<Pending>, std::greater<>> pending;
  uint64_t order = 0;
  int64_t produced = 0;
};

VisitorStream::VisitorStream(const Site& site, const SimulationOptions& options)
    : state_(std::make_unique<State>(site, options)) {}
VisitorStream::~VisitorStream() = default;

bool VisitorStream::Next(SimulatedEvent* event) {
  State& state = *state_;
  if (state.options.max_events > 0 && state.produced >= state.options.max_events) return false;
  for (;;) {
    // A visit that begins now may send something before what is waiting.
    while (state.days_left && state.next_visit == state.visits.size()) {
      ++state.day;
      state.days_left = state.PlanDay();
    }
    const bool has_visit = state.next_visit < state.visits.size();
    if (has_visit &&
        (state.pending.empty() || state.visits[state.next_visit].start_us <= state.pending.top().send_us)) {
      state.StartVisit(state.visits[state.next_visit++]);
      continue;
    }
    if (state.pending.empty()) return false;
    const size_t slot = state.pending.top().slot;
    state.pending.pop();
    *event = std::move(state.slots[slot]);
    state.free_slots.push_back(slot);
    ++state.produced;
    return true;
  }
}

}  // namespace naru::cli
