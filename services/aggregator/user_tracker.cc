#include "services/aggregator/user_tracker.h"

#include "absl/strings/str_cat.h"
#include "common/status/status.h"
#include "services/aggregator/metric_state.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace naru::aggregator {
namespace {

absl::Status Damaged(const std::string& plan) {
  return MakeError(absl::StatusCode::kDataLoss, "STATE_DAMAGED",
                   absl::StrCat("a stored user of ", plan, " cannot be read"));
}

// Tells events of one time apart; part of what is stored.
uint64_t IdentityOf(const event::EventView& event) {
  return XXH3_64bits_withSeed(event.id.data(), event.id.size(), XXH3_64bits(event.source.data(), event.source.size()));
}

}  // namespace

absl::StatusOr<bool> UserTracker::Add(const event::EventView& event, const MetricPlan::TypeRoute& route,
                                      int64_t event_time_us, int64_t received_us, const cel::Activation& activation) {
  const UserPlan& users = *state_->plan().users;
  if (users.EntityOf(event).empty()) return false;
  const uint32_t conditions = ConditionsOf(route, activation);
  if (users.kind == UserPlan::Kind::kFunnel) {
    if (conditions == 0 && !users.modes.strict_order) return false;
    NARU_RETURN_IF_ERROR(AddStep(event, conditions, event_time_us, received_us, activation));
    return true;
  }
  if (conditions == 0) return false;
  NARU_RETURN_IF_ERROR(AddUnit(event, conditions, event_time_us, received_us));
  return true;
}

uint32_t UserTracker::ConditionsOf(const MetricPlan::TypeRoute& route, const cel::Activation& activation) {
  uint32_t conditions = 0;
  for (const uint16_t i : route.unconditional) conditions |= uint32_t{1} << i;
  for (const uint16_t i : route.conditional) {
    const cel::Value matches = state_->plan().measures[i].filter.program.Eval(activation);
    if (matches.IsTrue()) {
      conditions |= uint32_t{1} << i;
    } else if (matches.is_error()) {
      ++state_->counts.failed_expressions;
    }
  }
  return conditions;
}

absl::Status UserTracker::AddStep(const event::EventView& event, uint32_t steps, int64_t event_time_us,
                                  int64_t received_us, const cel::Activation& activation) {
  const EntityId id = EntityIdOf(state_->plan().users->EntityOf(event));
  NARU_ASSIGN_OR_RETURN(Entity * entity, state_->entities.Get(id, received_us));
  if (!DecodeFunnelUser(entity->state, &funnel_user_)) return Damaged(state_->plan().name);
  group_.clear();
  if ((steps & 1) != 0) state_->counts.failed_expressions += AppendGroup(state_->plan(), activation, &group_);
  funnel_user_.Add({event_time_us, IdentityOf(event), steps, -1}, group_);
  entity->state.clear();
  EncodeFunnelUser(funnel_user_, &entity->state);
  state_->TouchEntity(entity, received_us);
  return absl::OkStatus();
}

absl::Status UserTracker::AddUnit(const event::EventView& event, uint32_t conditions, int64_t event_time_us,
                                  int64_t received_us) {
  const EntityId id = EntityIdOf(state_->plan().users->EntityOf(event));
  NARU_ASSIGN_OR_RETURN(Entity * entity, state_->entities.Get(id, received_us));
  if (!DecodeRetentionUser(entity->state, &retention_user_)) return Damaged(state_->plan().name);
  const bool first = (conditions & 1) != 0, returned = (conditions & 2) != 0;
  // The same day again changes nothing, so it costs nothing to store either.
  if (!retention_user_.Add(UnitOf(event_time_us), first, returned)) return absl::OkStatus();
  entity->state.clear();
  EncodeRetentionUser(retention_user_, &entity->state);
  state_->TouchEntity(entity, received_us);
  return absl::OkStatus();
}

int64_t UserTracker::UnitOf(int64_t time_us) {
  if (last_span_.Contains(time_us)) return last_unit_;
  const CohortCalendar& calendar = *state_->plan().users->calendar;
  last_unit_ = calendar.UnitOf(time_us);
  last_span_ = calendar.SpanOf(last_unit_);
  return last_unit_;
}

}  // namespace naru::aggregator
