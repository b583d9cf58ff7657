#include "common/event_log/rocks_groups.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/log/log.h"
#include "common/status/status.h"

namespace naru::event_log {

absl::Status GroupTable::Load() {
  const std::string& prefix = store_->options().topic_prefix;
  const auto name_of = [&](absl::string_view key, MetaKind kind) -> std::optional<GroupName> {
    const std::optional<MetaName> name = ParseMetaKey(key, kind);
    if (!name.has_value()) return std::nullopt;
    absl::string_view topic = name->second;
    if (!absl::ConsumePrefix(&topic, prefix)) return std::nullopt;
    return GroupName(name->first, topic);
  };
  std::map<GroupName, Group> groups;
  NARU_RETURN_IF_ERROR(store_->ScanMeta(MetaKind::kGroup, [&](absl::string_view key, absl::string_view) {
    if (const auto name = name_of(key, MetaKind::kGroup)) groups[*name].registered = true;
    return absl::OkStatus();
  }));
  NARU_RETURN_IF_ERROR(store_->ScanMeta(MetaKind::kGroupOffset, [&](absl::string_view key, absl::string_view value) {
    const auto name = name_of(key, MetaKind::kGroupOffset);
    if (!name.has_value()) return absl::OkStatus();
    const absl::StatusOr<int64_t> offset = DecodeNumber(value);
    if (!offset.ok()) {
      store_->AddNote(absl::StrCat("group ", name->first, " of topic ", name->second, ": ", offset.status().message()));
      return absl::OkStatus();
    }
    Group& group = groups[*name];
    group.registered = true;
    group.committed[ParseMetaKey(key, MetaKind::kGroupOffset)->partition] = *offset;
    return absl::OkStatus();
  }));
  MutexLock lock(&mu_);
  groups_ = std::move(groups);
  return absl::OkStatus();
}

GroupTable::Group* GroupTable::FindGroup(const std::string& group, const std::string& topic) {
  const auto it = groups_.find({group, topic});
  return it == groups_.end() ? nullptr : &it->second;
}

const GroupTable::Group* GroupTable::FindGroup(const std::string& group, const std::string& topic) const {
  const auto it = groups_.find({group, topic});
  return it == groups_.end() ? nullptr : &it->second;
}

absl::StatusOr<MemberId> GroupTable::Join(const std::string& group_name, Topic* topic) {
  NARU_RETURN_IF_ERROR(CheckName("group", group_name));
  bool registered = false;
  {
    MutexLock lock(&mu_);
    registered = groups_[{group_name, topic->name}].registered;
  }
  // Durable before the first record is read: from here on retention keeps what the group has not read.
  if (!registered) {
    NARU_RETURN_IF_ERROR(store_->WriteMeta({{GroupKey(group_name, topic->stored_name), EncodeNumber(0)}}));
  }
  MemberId member = 0;
  {
    MutexLock lock(&mu_);
    Group& group = groups_[{group_name, topic->name}];
    group.registered = true;
    group.owner.resize(topic->partitions.size(), 0);
    group.target.resize(topic->partitions.size(), 0);
    member = next_member_++;
    group.members[member].last_poll_us = store_->options().clock->MonotonicMicros();
    Rebalance(&group);
  }
  topic->Wake();
  return member;
}

void GroupTable::Leave(const std::string& group_name, Topic* topic, MemberId member) {
  {
    MutexLock lock(&mu_);
    Group* group = FindGroup(group_name, topic->name);
    if (group == nullptr) return;
    group->members.erase(member);
    for (MemberId& owner : group->owner) {
      if (owner == member) owner = 0;
    }
    Rebalance(group);
  }
  topic->Wake();
}

bool GroupTable::IsSilent(const Member& member) const {
  const int64_t now = store_->options().clock->MonotonicMicros();
  return !member.polling &&
         now - member.last_poll_us > std::chrono::microseconds(store_->options().member_timeout).count();
}

// Shares the partitions out evenly among those that poll, and moves as few as possible: each keeps what it has up to
// its share.
void GroupTable::Rebalance(Group* group) {
  ++group->version;
  std::fill(group->target.begin(), group->target.end(), 0);
  // Those that have most take the odd ones, so that these need not move.
  std::vector<std::pair<size_t, MemberId>> by_owned;
  for (const auto& [id, member] : group->members) {
    if (!IsSilent(member)) by_owned.emplace_back(member.owned.size(), id);
  }
  if (by_owned.empty()) return;
  std::sort(by_owned.begin(), by_owned.end(),
            [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
  const size_t share = group->target.size() / by_owned.size();
  size_t with_one_more = group->target.size() % by_owned.size();
  std::map<MemberId, size_t> room;
  for (const auto& [owned, id] : by_owned) {
    room[id] = share + (with_one_more > 0 ? 1 : 0);
    if (with_one_more > 0) --with_one_more;
  }
  for (size_t p = 0; p < group->target.size(); ++p) {
    const auto it = room.find(group->owner[p]);
    if (it == room.end() || it->second == 0) continue;
    group->target[p] = group->owner[p];
    --it->second;
  }
  auto next = room.begin();
  for (MemberId& target : group->target) {
    if (target != 0) continue;
    while (next != room.end() && next->second == 0) ++next;
    if (next == room.end()) return;
    target = next->first;
    --next->second;
  }
}

void GroupTable::ExpireMembers(Group* group) {
  bool changed = false;
  for (auto& [id, member] : group->members) {
    if (!IsSilent(member)) continue;
    changed |= std::find(group->target.begin(), group->target.end(), id) != group->target.end();
    // It stays a member without partitions until it polls again or leaves.
    for (const int p : member.owned) {
      group->owner[static_cast<size_t>(p)] = 0;
      member.lost.insert(p);
    }
    member.owned.clear();
  }
  if (changed) Rebalance(group);
}

MemberDuties GroupTable::BeginPoll(const std::string& group_name, Topic* topic, MemberId id) {
  MemberDuties duties;
  bool changed = false;
  {
    MutexLock lock(&mu_);
    Group* group = FindGroup(group_name, topic->name);
    if (group == nullptr) return duties;
    const auto it = group->members.find(id);
    if (it == group->members.end()) return duties;
    Member& member = it->second;
    const int64_t version = group->version;
    const bool was_silent = IsSilent(member);
    member.polling = true;
    member.last_poll_us = store_->options().clock->MonotonicMicros();
    duties.lost.assign(member.lost.begin(), member.lost.end());
    if (was_silent || !member.lost.empty()) Rebalance(group);  // it is back, and gets a share again
    member.lost.clear();
    ExpireMembers(group);
    for (size_t p = 0; p < group->target.size(); ++p) {
      const int partition = static_cast<int>(p);
      if (group->owner[p] == id && group->target[p] != id) {
        duties.revoke.push_back(partition);
      } else if (group->owner[p] == 0 && group->target[p] == id) {
        group->owner[p] = id;
        member.owned.insert(partition);
        duties.assigned.push_back(partition);
      }
    }
    changed = group->version != version;
  }
  if (changed) topic->Wake();
  return duties;
}

void GroupTable::EndPoll(const std::string& group_name, Topic* topic, MemberId id) {
  MutexLock lock(&mu_);
  Group* group = FindGroup(group_name, topic->name);
  if (group == nullptr) return;
  const auto it = group->members.find(id);
  if (it == group->members.end()) return;
  it->second.polling = false;
  it->second.last_poll_us = store_->options().clock->MonotonicMicros();
}

void GroupTable::Release(const std::string& group_name, Topic* topic, MemberId id, const std::vector<int>& partitions) {
  {
    MutexLock lock(&mu_);
    Group* group = FindGroup(group_name, topic->name);
    if (group == nullptr) return;
    const auto it = group->members.find(id);
    for (const int partition : partitions) {
      MemberId& owner = group->owner[static_cast<size_t>(partition)];
      if (owner == id) owner = 0;
      if (it != group->members.end()) it->second.owned.erase(partition);
    }
    ++group->version;
  }
  topic->Wake();
}

std::vector<int> GroupTable::Owned(const std::string& group_name, Topic* topic, MemberId id) const {
  MutexLock lock(&mu_);
  const Group* group = FindGroup(group_name, topic->name);
  if (group == nullptr) return {};
  const auto it = group->members.find(id);
  if (it == group->members.end()) return {};
  return {it->second.owned.begin(), it->second.owned.end()};
}

int64_t GroupTable::Version(const std::string& group_name, Topic* topic) const {
  MutexLock lock(&mu_);
  const Group* group = FindGroup(group_name, topic->name);
  return group == nullptr ? 0 : group->version;
}

bool GroupTable::Unsettled(const std::string& group_name, Topic* topic) const {
  MutexLock lock(&mu_);
  const Group* group = FindGroup(group_name, topic->name);
  return group != nullptr && (group->owner != group->target || group->members.size() > 1);
}

absl::Status GroupTable::CheckOwner(const GroupOffsets& offsets, MemberId id) const {
  MutexLock lock(&mu_);
  const Group* group = FindGroup(offsets.group, offsets.topic);
  for (const auto& [partition, next] : offsets.next_offsets) {
    const bool owns = group != nullptr && partition >= 0 && static_cast<size_t>(partition) < group->owner.size() &&
                      group->owner[static_cast<size_t>(partition)] == id;
    if (!owns) {
      return MakeError(absl::StatusCode::kAborted, "FENCED",
                       absl::StrCat("partition ", partition, " of topic ", offsets.topic, " in group ", offsets.group,
                                    " belongs to another member now"));
    }
  }
  return absl::OkStatus();
}

void GroupTable::ApplyCommitted(const GroupOffsets& offsets) {
  MutexLock lock(&mu_);
  Group& group = groups_[{offsets.group, offsets.topic}];
  group.registered = true;
  for (const auto& [partition, next] : offsets.next_offsets) group.committed[partition] = next;
}

std::map<int, int64_t> GroupTable::Committed(const std::string& group_name, const std::string& topic) const {
  MutexLock lock(&mu_);
  const Group* group = FindGroup(group_name, topic);
  return group == nullptr ? std::map<int, int64_t>{} : group->committed;
}

std::map<std::string, std::map<int, int64_t>> GroupTable::Registered(const std::string& topic) const {
  MutexLock lock(&mu_);
  std::map<std::string, std::map<int, int64_t>> registered;
  for (const auto& [name, group] : groups_) {
    if (name.second == topic && group.registered) registered[name.first] = group.committed;
  }
  return registered;
}

absl::Status GroupTable::Forget(const std::string& group_name, Topic* topic) {
  std::vector<std::string> keys = {GroupKey(group_name, topic->stored_name)};
  for (const auto& partition : topic->partitions) {
    keys.push_back(GroupOffsetKey(group_name, topic->stored_name, partition->index));
  }
  MutexLock lock(&mu_);
  const Group* group = FindGroup(group_name, topic->name);
  if (group == nullptr) return absl::OkStatus();
  if (!group->members.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("group ", group_name, " of topic ", topic->name, " has ",
                                                      group->members.size(), " members; stop them first"));
  }
  // Under the lock, so that nobody joins between the write and the table's change.
  NARU_RETURN_IF_ERROR(store_->WriteMeta({}, keys));
  groups_.erase({group_name, topic->name});
  return absl::OkStatus();
}

}  // namespace naru::event_log
