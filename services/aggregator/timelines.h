// Watermarks: how far the time of events has come, for each timeline of a partition.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace naru::aggregator {

/// Later than all times, and earlier than all.
inline constexpr int64_t kForever = std::numeric_limits<int64_t>::max();
inline constexpr int64_t kNever = std::numeric_limits<int64_t>::min();

/// An import that is silent for this long no longer holds back `final`.
inline constexpr int64_t kSilentImportUs = int64_t{10} * 60 * 1'000'000;
/// Timelines kept for a partition; beyond, those that ended first are forgotten, then the longest silent ones.
inline constexpr size_t kMaxTimelines = 1024;
/// Of these, so many that have ended (they only matter to an import that goes on after its end).
inline constexpr size_t kMaxEndedTimelines = 16;

/// One timeline of a partition: live (no id) or an import, file or Source.
struct Timeline {
  std::string id;
  int64_t max_time_us = kNever;       ///< greatest min(event time, received time)
  int64_t last_received_us = kNever;  ///< of its newest record
  bool ended = false;                 ///< its end marker came
  friend bool operator==(const Timeline&, const Timeline&) = default;
};

/// The timelines of one (metric, partition). Not thread-safe.
class Timelines {
 public:
  /// Takes note of a record, in the order of offsets. Returns the timeline's greatest time, this record included.
  int64_t Observe(absl::string_view id, int64_t event_time_us, int64_t received_us) {
    Timeline& timeline = Find(id);
    const int64_t time = event_time_us < received_us ? event_time_us : received_us;
    if (time > timeline.max_time_us) timeline.max_time_us = time;
    if (received_us > timeline.last_received_us) timeline.last_received_us = received_us;
    timeline.ended = false;  // an import that goes on after its end was seen is open again
    return timeline.max_time_us;
  }
  /// Takes note of a timeline's end marker.
  void End(absl::string_view id, int64_t received_us);

  const std::vector<Timeline>& all() const { return all_; }
  /// Null: there is none, or it was forgotten.
  const Timeline* Get(absl::string_view id) const;
  /// How many were forgotten since the start.
  uint64_t erased() const { return erased_; }
  /// Greatest received time of a record; kNever: there was none.
  int64_t LastReceived() const;
  void Restore(std::vector<Timeline> timelines);

 private:
  Timeline& Find(absl::string_view id) {
    if (last_ < all_.size() && all_[last_].id.size() == id.size() && all_[last_].id == id) return all_[last_];
    return FindOrAdd(id);
  }
  Timeline& FindOrAdd(absl::string_view id);

  std::vector<Timeline> all_;
  size_t last_ = 0;
  uint64_t erased_ = 0;
};

/// Times before which one partition expects nothing more that is on time: the least watermark of its open timelines.
/// Live counts as open unless it was silent for `idle_timeout_us`; then the wall clock stands in for it. `caught_up`:
/// everything that is in the log has been seen, so silence is silence.
int64_t PartitionFrontier(const std::vector<Timeline>& timelines, int64_t out_of_orderness_us, int64_t idle_timeout_us,
                          int64_t now_us, bool caught_up);

/// How a timeline stands: whether it holds back the frontier, or why not.
enum class TimelineStanding : uint8_t {
  kOpen,
  kIdle,    ///< live and silent: the wall clock stands in for it
  kEnded,   ///< an import that is over
  kSilent,  ///< an import that said nothing for kSilentImportUs
};
TimelineStanding StandingOf(const Timeline& timeline, int64_t idle_timeout_us, int64_t now_us, bool caught_up);

/// The watermark of the live timeline; kNever before its first event.
int64_t LiveWatermark(const std::vector<Timeline>& timelines, int64_t out_of_orderness_us);

}  // namespace naru::aggregator
