#include "services/aggregator/session_query.h"

#include <algorithm>
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "services/aggregator/query_common.h"
#include "services/aggregator/session_rows.h"
#include "services/aggregator/window_query.h"

namespace naru::aggregator {
namespace {

absl::Status Damaged() {
  return MakeError(absl::StatusCode::kDataLoss, "STATE_DAMAGED", "a stored session cannot be read");
}

// What orders sessions. Those of one entity differ in their start.
struct Place {
  int64_t start_us = 0;
  std::string entity;
  friend bool operator<(const Place& a, const Place& b) {
    return std::tie(a.start_us, a.entity) < std::tie(b.start_us, b.entity);
  }
};

struct Found {
  Place place;
  v1::Session session;
  friend bool operator<(const Found& a, const Found& b) { return a.place < b.place; }
};

}  // namespace

struct SessionQuery::State {
  std::shared_ptr<const MetricPlan> plan;
  int64_t from_us = kNever;
  int64_t to_us = kForever;
  std::string entity;
  size_t page_size = kDefaultPageSize;
  std::optional<Place> after;
  uint64_t fingerprint = 0;

  absl::Status TakeToken(const std::string& token);
  std::string TokenAfter(const Place& place) const;
};

namespace {

// Keeps the first sessions of those it is offered.
class Page {
 public:
  Page(const MetricPlan& plan, int64_t from_us, int64_t to_us, const std::optional<Place>& after, size_t size,
       int64_t frontier_us)
      : plan_(plan), from_us_(from_us), to_us_(to_us), after_(after), size_(size), frontier_us_(frontier_us) {}

  void Offer(absl::string_view entity, const Session& session, bool counted) {
    if (session.start_us < from_us_ || session.start_us >= to_us_) return;
    Place place{session.start_us, std::string(entity)};
    if (after_.has_value() && !(*after_ < place)) return;
    if (full() && !(place < found_.front().place)) return;
    Found found;
    found.place = std::move(place);
    Fill(entity, session, counted, &found.session);
    found_.push_back(std::move(found));
    std::push_heap(found_.begin(), found_.end());
    if (found_.size() <= size_) return;
    std::pop_heap(found_.begin(), found_.end());
    found_.pop_back();
  }
  bool full() const { return found_.size() == size_; }
  /// Nothing that starts then or later can be on the page.
  bool IsBefore(int64_t start_us) const { return full() && found_.front().place.start_us < start_us; }
  std::vector<Found> Take() {
    std::sort_heap(found_.begin(), found_.end());
    return std::move(found_);
  }

 private:
  void Fill(absl::string_view entity, const Session& session, bool counted, v1::Session* proto) {
    const SessionPlan& sessions = *plan_.session;
    proto->set_entity(std::string(entity));
    TimeToProto(session.start_us, proto->mutable_start_time());
    TimeToProto(session.end_us, proto->mutable_end_time());
    proto->set_event_count(session.events);
    proto->set_duration_ms((session.end_us - session.start_us) / 1000);
    proto->set_bounce(session.events == 1);
    EdgeToStruct(session.entry, sessions.entry, &edge_);
    proto->mutable_entry()->ParseFromString(edge_);
    EdgeToStruct(session.exit, sessions.exit, &edge_);
    proto->mutable_exit()->ParseFromString(edge_);
    proto->set_running(!counted && session.end_us + sessions.gap_us > frontier_us_);
    proto->set_counted(counted);
    proto->set_late_event_count(session.late_events);
  }

  const MetricPlan& plan_;
  const int64_t from_us_, to_us_;
  const std::optional<Place>& after_;
  const size_t size_;
  const int64_t frontier_us_;
  std::vector<Found> found_;  // a heap: the last one in front
  std::string edge_;
};

absl::Status OfferRunning(absl::string_view state, Page* page) {
  EntitySessions sessions;
  if (!DecodeEntitySessions(state, &sessions)) return Damaged();
  for (const Session& session : sessions.running) page->Offer(sessions.entity, session, /*counted=*/false);
  return absl::OkStatus();
}

absl::Status OfferCounted(ServingView& view, const MetricId& id, int32_t partition, const std::string& from,
                          const std::string& to, Page* page) {
  bool damaged = false;
  NARU_RETURN_IF_ERROR(view.VisitIndex(id, partition, from, to, [&](absl::string_view, absl::string_view value) {
    CountedSession counted;
    damaged = !DecodeCountedSession(value, &counted);
    if (!damaged) page->Offer(counted.entity, counted.session, /*counted=*/true);
    return !damaged;
  }));
  return damaged ? Damaged() : absl::OkStatus();
}

absl::Status ReadEntity(ServingView& view, const MetricId& id, const std::string& entity, Page* page) {
  const EntityId entity_id = EntityIdOf(entity);
  for (int p = 0; p < view.partitions(); ++p) {
    NARU_ASSIGN_OR_RETURN(const std::optional<std::string> value, view.ReadEntity(id, p, entity_id));
    EntityRecord record;
    if (value.has_value()) {
      if (!DecodeEntity(*value, &record)) return Damaged();
      NARU_RETURN_IF_ERROR(OfferRunning(record.state, page));
    }
    std::vector<std::string> keys;
    const std::string prefix = PlacePrefix(entity_id);
    NARU_RETURN_IF_ERROR(
        view.VisitIndex(id, p, prefix, PrefixEnd(prefix), [&](absl::string_view key, absl::string_view stored) {
          SessionPlace place;
          if (DecodePlace(key, stored, &place)) keys.push_back(EncodeCountedKey(place.counted_key()));
          return true;
        }));
    for (const std::string& key : keys) {
      CountedKey counted;
      DecodeCountedKey(key, &counted);
      // Its window is gone, and it goes with the next look.
      if (view.ListPanes(id, p, counted.pane_start_us, counted.pane_start_us + 1).empty()) continue;
      NARU_RETURN_IF_ERROR(OfferCounted(view, id, p, key, absl::StrCat(key, absl::string_view("\0", 1)), page));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadAll(ServingView& view, const MetricPlan& plan, int64_t from_us, int64_t to_us, Page* page) {
  const MetricId id{plan.name, plan.version};
  const RunningSessionsFn running = RunningSessionsOf(view, id);
  std::set<int64_t> panes;
  const int64_t first_us = from_us == kNever ? kNever : plan.grid.PaneOf(from_us).start_us;
  for (int p = 0; p < view.partitions(); ++p) {
    absl::Status status;
    NARU_RETURN_IF_ERROR(running(p, [&](absl::string_view state, int64_t) {
      status = OfferRunning(state, page);
      return status.ok();
    }));
    NARU_RETURN_IF_ERROR(status);
    for (const ViewPane& pane : view.ListPanes(id, p, first_us, to_us)) panes.insert(pane.start_us);
  }
  for (const int64_t start_us : panes) {
    if (page->IsBefore(start_us)) break;
    const std::string prefix = CountedPrefix(start_us);
    for (int p = 0; p < view.partitions(); ++p) {
      NARU_RETURN_IF_ERROR(OfferCounted(view, id, p, prefix, PrefixEnd(prefix), page));
    }
  }
  return absl::OkStatus();
}

}  // namespace

// version.fingerprint.position, as those of windows; the position is the start and the entity.
std::string SessionQuery::State::TokenAfter(const Place& place) const {
  return MakePageToken(plan->version, fingerprint, absl::StrCat(place.start_us, " ", place.entity));
}

absl::Status SessionQuery::State::TakeToken(const std::string& token) {
  if (token.empty()) return absl::OkStatus();
  PageToken read;
  Place place;
  if (!ReadPageToken(token, &read)) return NoPageToken();
  const std::string& position = read.position;
  const size_t space = position.find(' ');
  if (space == std::string::npos || !absl::SimpleAtoi(position.substr(0, space), &place.start_us)) return NoPageToken();
  NARU_RETURN_IF_ERROR(CheckPageToken(read.version, read.fingerprint, *plan, fingerprint, "the metric"));
  place.entity = position.substr(space + 1);
  after = std::move(place);
  return absl::OkStatus();
}

SessionQuery::SessionQuery(std::unique_ptr<State> state) : state_(std::move(state)) {}
SessionQuery::SessionQuery(SessionQuery&&) noexcept = default;
SessionQuery& SessionQuery::operator=(SessionQuery&&) noexcept = default;
SessionQuery::~SessionQuery() = default;

absl::StatusOr<SessionQuery> SessionQuery::Compile(const v1::QuerySessionsRequest& request,
                                                   std::shared_ptr<const MetricPlan> plan) {
  if (plan->session == nullptr) {
    return InvalidQuery("metric",
                        absl::StrCat("`", plan->name, "` has no session windows; ask for its windows instead"));
  }
  auto state = std::make_unique<State>();
  state->plan = std::move(plan);
  NARU_RETURN_IF_ERROR(TakeTimes(request, &state->from_us, &state->to_us));
  NARU_RETURN_IF_ERROR(TakePageSize(request.page_size(), kMaxPageSize, &state->page_size));
  state->entity = request.entity();
  state->fingerprint = FingerprintOf(request);
  NARU_RETURN_IF_ERROR(state->TakeToken(request.page_token()));
  return SessionQuery(std::move(state));
}

absl::Status SessionQuery::Run(ServingView& view, int64_t frontier_us, size_t max_bytes,
                               v1::QuerySessionsResponse* response) const {
  const State& state = *state_;
  std::vector<Found> found;
  // What is counted between two reads would be there twice, or not at all. One more than the page shows whether there
  // is another.
  NARU_RETURN_IF_ERROR(view.ReadConsistently([&]() -> absl::Status {
    const int64_t from_us = state.after.has_value() ? std::max(state.from_us, state.after->start_us) : state.from_us;
    Page page(*state.plan, from_us, state.to_us, state.after, state.page_size + 1, frontier_us);
    NARU_RETURN_IF_ERROR(state.entity.empty()
                             ? ReadAll(view, *state.plan, from_us, state.to_us, &page)
                             : ReadEntity(view, {state.plan->name, state.plan->version}, state.entity, &page));
    found = page.Take();
    return absl::OkStatus();
  }));
  size_t bytes = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    bytes += found[i].session.ByteSizeLong() + 4;
    if (i == state.page_size || (bytes > max_bytes && i > 0)) {
      response->set_next_page_token(state.TokenAfter(found[i - 1].place));
      break;
    }
    *response->add_sessions() = std::move(found[i].session);
  }
  response->set_metric_version(state.plan->version);
  return absl::OkStatus();
}

}  // namespace naru::aggregator
