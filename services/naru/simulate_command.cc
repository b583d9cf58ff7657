// naru simulate: visitors of a pack's site, sent to ingest.
#include <algorithm>
#include <cmath>
#include <optional>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/clock/clock.h"
#include "common/clock/rfc3339.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "naru/event/v1/event.pb.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "services/naru/command.h"
#include "services/naru/event_sender.h"
#include "services/naru/event_text.h"
#include "services/naru/json_text.h"
#include "services/naru/proto_time.h"
#include "services/naru/time_text.h"
#include "services/naru/visitors.h"

namespace naru::cli {
namespace {

constexpr int64_t kDay = 86'400 * kSecond;

// What was made, by kind; what became of it is in SendTotals.
struct Made {
  int64_t events = 0;
  int64_t late = 0;
  int64_t duplicates = 0;
  int64_t broken = 0;
  int64_t first_us = INT64_MAX;
  int64_t last_us = INT64_MIN;

  void Count(const SimulatedEvent& event) {
    ++events;
    late += event.twist == Twist::kLate;
    duplicates += event.twist == Twist::kDuplicate;
    broken += event.twist == Twist::kBroken;
    first_us = std::min(first_us, event.time_us);
    last_us = std::max(last_us, event.time_us);
  }
};

// Holds a sender back to a rate, in small steps.
class Pace {
 public:
  explicit Pace(double events_per_second) : rate_(events_per_second), start_us_(Clock::System()->MonotonicMicros()) {}
  // How long to wait before event number `count` (from 0) may go; 0 = now.
  std::chrono::milliseconds WaitBefore(int64_t count) const {
    if (rate_ <= 0) return std::chrono::milliseconds(0);
    const double due_us = static_cast<double>(count) / rate_ * 1e6;
    const double ahead_us = due_us - static_cast<double>(Clock::System()->MonotonicMicros() - start_us_);
    return std::chrono::milliseconds(std::max<int64_t>(0, static_cast<int64_t>(std::ceil(ahead_us / 1000))));
  }

 private:
  double rate_;
  int64_t start_us_;
};

class SimulateCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Add("pack", &pack_, "Whose visitors: ciao_labella, weblog, zigbang.").ValueName("NAME");
    options.Add("seed", &seed_, "The same seed, span and number give the same events with the same ids.");
    options.Add("from", &from_, "First event time (in the pack's zone); default: the day before today.")
        .ValueName("TIME");
    options.Add("to", &to_, "End of event times, exclusive.").ValueName("TIME");
    options.Add("days", &days_, "This many whole days that end with yesterday (or begin with --from).").Range(0, 36600);
    options.Add("events", &events_, "This many events, spread over the span.").Range(0, 1e12).ValueName("N");
    options.Add("visits_per_day", &visits_per_day_, "Visits a day, where --events does not say.").Range(1, 1e7);
    options.Add("rate", &rate_, "Events a second, or `max`.").ValueName("N|max");
    options.Add("late_share", &late_share_, "Share of events sent minutes to two hours late.").Range(0, 0.5);
    options.Add("duplicate_share", &duplicate_share_, "Share of events sent twice.").Range(0, 0.5);
    options.Add("broken_share", &broken_share_, "Share of events of which a broken copy is sent too.").Range(0, 0.5);
    options.Add("follow", &follow_, "Begin a day ago, catch up, then go on with the clock until Ctrl-C.");
    options.Add("resume", &resume_, "Go on where an earlier run stopped: after the newest event of it in the log.");
    options.Add("print", &print_, "Print the events as JSON, send nothing.");
    options.Add("as_lines", &as_lines_,
                "Print the events as lines of the pack's own format (zigbang), send nothing; none twice, because equal "
                "lines are events of their own.");
  }

  absl::StatusOr<int> Run(Session& session) override;

 private:
  absl::Status Prepare(const Site& site);
  absl::StatusOr<double> RatePerSecond() const;
  absl::StatusOr<int> PrintEvents(const Site& site) const;
  absl::StatusOr<int> PrintLines(const Site& site) const;
  absl::Status FindResumeTime(const Session& session, const Site& site);
  absl::Status Send(Session& session, const Site& site, Interrupt& interrupt, EventSender& sender, Made* made);
  static void PrintSummary(const Session& session, const SimulationOptions& options, const Made& made,
                           const SendTotals& totals, double seconds);

  std::string pack_ = "ciao_labella";
  int64_t seed_ = 1;
  std::string from_, to_;
  double days_ = 0;
  int64_t events_ = 0;
  double visits_per_day_ = 0;
  std::string rate_ = "max";
  double late_share_ = 0.01;
  double duplicate_share_ = 0.01;
  double broken_share_ = 0.002;
  bool follow_ = false;
  bool resume_ = false;
  bool print_ = false;
  bool as_lines_ = false;
  double events_per_second_ = 0;  // 0: as fast as it goes
  SimulationOptions simulation_;
};

absl::StatusOr<double> SimulateCommand::RatePerSecond() const {
  if (rate_ == "max") return 0.0;
  double rate = 0;
  std::string text = rate_;
  if (text.size() > 2 && text.substr(text.size() - 2) == "/s") text.resize(text.size() - 2);
  if (!absl::SimpleAtod(text, &rate) || !(rate > 0)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "USAGE",
                     absl::StrCat("--rate: `", rate_, "` is neither `max` nor a number above 0"));
  }
  return rate;
}

absl::Status SimulateCommand::Prepare(const Site& site) {
  NARU_ASSIGN_OR_RETURN(events_per_second_, RatePerSecond());
  const std::string zone(site.time_zone());
  const int64_t now_us = Clock::System()->NowMicros();
  simulation_.seed = static_cast<uint64_t>(seed_);
  simulation_.late_share = late_share_;
  simulation_.duplicate_share = as_lines_ ? 0 : duplicate_share_;
  simulation_.broken_share = broken_share_;
  simulation_.max_events = events_;
  // Whole days that are over, so that running it again today gives the same events.
  const int64_t today_us = StartOfDay(now_us, zone);
  simulation_.to_us = today_us;
  if (!to_.empty()) {
    NARU_ASSIGN_OR_RETURN(simulation_.to_us, ParseMoment(to_, zone, now_us));
  }
  const int64_t length_us = days_ > 0 ? static_cast<int64_t>(days_ * kDay) : kDay;
  if (!from_.empty()) {
    NARU_ASSIGN_OR_RETURN(simulation_.from_us, ParseMoment(from_, zone, now_us));
    if (to_.empty() && days_ > 0) simulation_.to_us = simulation_.from_us + length_us;
    if (to_.empty() && days_ <= 0) simulation_.to_us = std::max(today_us, simulation_.from_us + kDay);
  } else {
    // From midnight to midnight, whatever the clocks did in between.
    const bool whole = days_ == std::floor(days_) && StartOfDay(simulation_.to_us, zone) == simulation_.to_us;
    const int64_t from_us = simulation_.to_us - length_us;
    simulation_.from_us = whole ? StartOfDay(from_us + kDay / 12, zone) : from_us;
  }
  if (follow_) {
    if (from_.empty()) simulation_.from_us = now_us - length_us;
    simulation_.to_us = INT64_MAX;
  }
  if (simulation_.from_us >= simulation_.to_us) {
    return MakeError(absl::StatusCode::kInvalidArgument, "USAGE",
                     absl::StrCat("--from ", FormatRfc3339(simulation_.from_us), " is not before --to ",
                                  FormatRfc3339(simulation_.to_us)));
  }
  simulation_.visits_per_day = visits_per_day_ > 0 ? visits_per_day_ : follow_ ? 60'000 : 5'000;
  if (events_ > 0 && visits_per_day_ <= 0 && !follow_) {
    const int64_t made = static_cast<int64_t>(static_cast<double>(events_) / (1 + duplicate_share_ + broken_share_));
    simulation_.visits_per_day = VisitsForEvents(site, made, simulation_.from_us, simulation_.to_us);
  }
  return absl::OkStatus();
}

// The newest event of this simulation that is in the log says where to go on.
absl::Status SimulateCommand::FindResumeTime(const Session& session, const Site& site) {
  NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
  const auto stub = ingest::v1::IngestService::NewStub(channel);
  const auto context = UnaryContext(session.connection);
  ingest::v1::ReadEventsRequest request;
  request.set_last_count(2000);
  const auto stream = stub->ReadEvents(context.get(), request);
  int64_t newest_us = INT64_MIN;
  ingest::v1::ReadEventsResponse response;
  while (stream->Read(&response)) {
    for (const auto& stored : response.events()) {
      if (stored.event().source() == site.source()) newest_us = std::max(newest_us, ToMicros(stored.event().time()));
    }
  }
  NARU_RETURN_IF_ERROR(CallStatus(stream->Finish(), session.connection));
  if (newest_us > simulation_.from_us && newest_us < simulation_.to_us) {
    // A few seconds again: events of the same moment may have been on their way. They count as duplicates.
    simulation_.resume_us = newest_us - 10 * kSecond;
  }
  return absl::OkStatus();
}

absl::Status SimulateCommand::Send(Session& session, const Site& site, Interrupt& interrupt, EventSender& sender,
                                   Made* made) {
  const Pace pace(events_per_second_);
  VisitorStream visitors(site, simulation_);
  ProgressLine progress(session.terminal, absl::StrCat("simulate ", site.pack()));
  const int64_t begin_us = std::max(simulation_.from_us, simulation_.resume_us);
  const int64_t end_us = follow_ ? Clock::System()->NowMicros() : simulation_.to_us;
  bool live = false;
  SimulatedEvent event;
  while (!interrupt.requested() && visitors.Next(&event)) {
    std::chrono::milliseconds wait = pace.WaitBefore(made->events);
    if (follow_) {
      const int64_t ahead_us = event.send_us - Clock::System()->NowMicros();
      if (ahead_us > 0 && !live) {
        live = true;
        progress.Clear();
        session.Say(absl::StrCat("caught up with the clock: ", WithThousands(made->events),
                                 " events; going on as they happen, Ctrl-C ends it"));
      }
      wait = std::max(wait, std::chrono::milliseconds((std::max<int64_t>(ahead_us, 0) + 999) / 1000));
    }
    // What is due goes out before waiting; events a few milliseconds apart still share a batch.
    if (wait.count() > 0) {
      NARU_RETURN_IF_ERROR(sender.Flush());
      if (interrupt.WaitFor(std::max(wait, std::chrono::milliseconds(20)))) break;
    }
    NARU_RETURN_IF_ERROR(sender.Send(event.bytes));
    made->Count(event);
    if (!live && made->events % 512 == 0) {
      const bool by_count = simulation_.max_events > 0;
      progress.Update(by_count ? made->events : event.send_us - begin_us,
                      by_count ? simulation_.max_events : end_us - begin_us, made->events, "events");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<int> SimulateCommand::PrintEvents(const Site& site) const {
  VisitorStream visitors(site, simulation_);
  SimulatedEvent simulated;
  event::v1::Event event;
  while (visitors.Next(&simulated) && std::ferror(stdout) == 0) {
    // A broken one may not be an event at all.
    if (event.ParseFromString(simulated.bytes)) std::printf("%s\n", EventJson(event).c_str());
  }
  return kDone;
}

absl::StatusOr<int> SimulateCommand::PrintLines(const Site& site) const {
  VisitorStream visitors(site, simulation_);
  Dice dice({simulation_.seed, 0x11E5});
  SimulatedEvent simulated;
  event::v1::Event event;
  while (visitors.Next(&simulated) && std::ferror(stdout) == 0) {
    if (!event.ParseFromString(simulated.bytes)) continue;
    const auto line = site.Line(event, simulated.twist == Twist::kBroken, dice);
    if (!line.has_value()) {
      return ErrorWithNext(absl::StatusCode::kInvalidArgument, "USAGE",
                           absl::StrCat("--as_lines: the pack `", site.pack(), "` has no lines of its own"),
                           absl::StrCat("naru simulate --pack ", site.pack(), " --print"));
    }
    std::printf("%s\n", line->c_str());
  }
  return kDone;
}

absl::StatusOr<int> SimulateCommand::Run(Session& session) {
  NARU_ASSIGN_OR_RETURN(const std::unique_ptr<Site> site, MakeSite(pack_));
  NARU_RETURN_IF_ERROR(Prepare(*site));
  Interrupt interrupt;
  const int64_t start_us = Clock::System()->MonotonicMicros();
  if (print_) return PrintEvents(*site);
  if (as_lines_) return PrintLines(*site);
  if (resume_) NARU_RETURN_IF_ERROR(FindResumeTime(session, *site));
  EventSender sender(session.connection, nullptr);
  NARU_RETURN_IF_ERROR(sender.Start());
  Made made;
  absl::Status sent = Send(session, *site, interrupt, sender, &made);
  if (sent.ok()) sent = sender.Finish();
  const double seconds = static_cast<double>(Clock::System()->MonotonicMicros() - start_us) / 1e6;
  PrintSummary(session, simulation_, made, sender.totals(), seconds);
  // A server that stops at the same Ctrl-C ends the stream first; what it acknowledged is in the summary.
  if (interrupt.requested()) return kDone;
  NARU_RETURN_IF_ERROR(sent);
  return kDone;
}

void SimulateCommand::PrintSummary(const Session& session, const SimulationOptions& options, const Made& made,
                                   const SendTotals& totals, double seconds) {
  const OutputFormat format = session.format();
  JsonObject reasons;
  std::string reason_text;
  for (const auto& [reason, count] : totals.rejected_by_reason) {
    reasons.Add(reason, count);
    absl::StrAppend(&reason_text, reason_text.empty() ? "" : ", ", reason, " ", WithThousands(count));
  }
  if (format == OutputFormat::kTable) {
    std::printf("made       %s events: %s late, %s sent twice, %s broken\n", WithThousands(made.events).c_str(),
                WithThousands(made.late).c_str(), WithThousands(made.duplicates).c_str(),
                WithThousands(made.broken).c_str());
    if (made.events > 0) {
      std::printf("event time %s to %s\n", FormatRfc3339(made.first_us).c_str(), FormatRfc3339(made.last_us).c_str());
    }
    std::printf("received   %s = accepted %s + duplicate %s + rejected %s%s%s\n",
                WithThousands(totals.received).c_str(), WithThousands(totals.accepted).c_str(),
                WithThousands(totals.duplicate).c_str(), WithThousands(totals.rejected).c_str(),
                reason_text.empty() ? "" : absl::StrCat(" (", reason_text, ")").c_str(),
                totals.filtered == 0 ? "" : absl::StrCat(" + filtered ", WithThousands(totals.filtered)).c_str());
    std::printf(
        "took       %s, %s events/s\n", FormatSeconds(seconds).c_str(),
        WithThousands(static_cast<int64_t>(static_cast<double>(totals.received) / std::max(seconds, 1e-3))).c_str());
    return;
  }
  JsonObject json;
  json.Add("made", made.events).Add("late", made.late).Add("sent_twice", made.duplicates).Add("broken", made.broken);
  json.Add("received", totals.received).Add("accepted", totals.accepted).Add("duplicate", totals.duplicate);
  json.Add("rejected", totals.rejected).Add("filtered", totals.filtered).AddRaw("rejected_by_reason", reasons.Text());
  json.Add("seed", static_cast<int64_t>(options.seed)).Add("seconds", std::round(seconds * 1000) / 1000);
  if (made.events > 0)
    json.Add("first_time", FormatRfc3339(made.first_us)).Add("last_time", FormatRfc3339(made.last_us));
  std::printf("%s\n", json.Text().c_str());
}

}  // namespace

std::unique_ptr<Command> MakeSimulateCommand() { return std::make_unique<SimulateCommand>(); }

}  // namespace naru::cli
