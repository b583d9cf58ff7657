// Consumer groups inside one process: who reads which partition, and how far each group is. Only for .cc files here.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/event_log/event_log.h"
#include "common/event_log/rocks_store.h"
#include "common/sync/mutex.h"

namespace naru::event_log {

using MemberId = int64_t;

/// What a member has to do at its next poll.
struct MemberDuties {
  std::vector<int> lost;      ///< taken away already
  std::vector<int> revoke;    ///< to be given up: call the listener, then Release
  std::vector<int> assigned;  ///< now its own
};

/// Thread-safe. A partition is taken from a member only when the member has let go of it (cooperative), or has not
/// polled for the member timeout.
class GroupTable {
 public:
  explicit GroupTable(RocksStore* store) : store_(store) {}

  /// Reads what was committed. Called once, before anything else.
  absl::Status Load();

  /// Adds a member and registers the group durably. Errors: of the write.
  absl::StatusOr<MemberId> Join(const std::string& group, Topic* topic);
  void Leave(const std::string& group, Topic* topic, MemberId member);

  /// The member polls: says what it has to do, and takes over what is free. `Polling` until EndPoll.
  MemberDuties BeginPoll(const std::string& group, Topic* topic, MemberId member);
  void EndPoll(const std::string& group, Topic* topic, MemberId member);
  void Release(const std::string& group, Topic* topic, MemberId member, const std::vector<int>& partitions);
  std::vector<int> Owned(const std::string& group, Topic* topic, MemberId member) const;
  /// Changes whenever some member of the group has something to do. Cheap.
  int64_t Version(const std::string& group, Topic* topic) const;
  /// Whether partitions wait for a member that may have to be declared dead: then waiting should be short.
  bool Unsettled(const std::string& group, Topic* topic) const;

  /// ABORTED (reason FENCED) unless the member owns all these partitions.
  absl::Status CheckOwner(const GroupOffsets& offsets, MemberId member) const;
  /// After the write that stored them.
  void ApplyCommitted(const GroupOffsets& offsets);

  std::map<int, int64_t> Committed(const std::string& group, const std::string& topic) const;
  /// Groups that are registered for a topic, with what they have committed.
  std::map<std::string, std::map<int, int64_t>> Registered(const std::string& topic) const;
  /// FAILED_PRECONDITION while it has members.
  absl::Status Forget(const std::string& group, Topic* topic);

 private:
  using GroupName = std::pair<std::string, std::string>;  // group, topic (as callers say it)
  struct Member {
    std::set<int> owned;
    std::set<int> lost;
    bool polling = false;
    int64_t last_poll_us = 0;
  };
  struct Group {
    std::map<int, int64_t> committed;
    bool registered = false;
    std::map<MemberId, Member> members;
    std::vector<MemberId> owner;   // by partition; 0: nobody
    std::vector<MemberId> target;  // by partition; 0: nobody
    int64_t version = 0;
  };

  bool IsSilent(const Member& member) const;
  void Rebalance(Group* group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ExpireMembers(Group* group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Group* FindGroup(const std::string& group, const std::string& topic) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  const Group* FindGroup(const std::string& group, const std::string& topic) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  RocksStore* const store_;
  mutable Mutex mu_;
  std::map<GroupName, Group> groups_ ABSL_GUARDED_BY(mu_);
  MemberId next_member_ ABSL_GUARDED_BY(mu_) = 1;
};

}  // namespace naru::event_log
