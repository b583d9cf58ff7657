#include "common/event_log/rocks_event_log_metrics.h"

#include <cstdint>
#include <vector>

namespace naru::event_log {

struct RocksEventLogMetrics::State {
  std::vector<MetricRegistry::Registration> registrations;
};

RocksEventLogMetrics::RocksEventLogMetrics(RocksEventLog* log, MetricRegistry* registry)
    : state_(std::make_unique<State>()) {
  const struct {
    const char* name;
    const char* help;
    int64_t RocksEventLogStats::*field;
  } kCounters[] = {
      {"naru_event_log_appended_records_total", "Records appended.", &RocksEventLogStats::appended_records},
      {"naru_event_log_appended_bytes_total", "Bytes appended, compressed.", &RocksEventLogStats::appended_bytes},
      {"naru_event_log_commits_total", "Synced writes.", &RocksEventLogStats::commits},
      {"naru_event_log_refused_appends_total", "Appends refused for want of disk or room in flight.",
       &RocksEventLogStats::refused_appends},
      {"naru_event_log_damaged_ranges_total", "Damaged ranges that readers skipped.",
       &RocksEventLogStats::damaged_ranges},
      {"naru_event_log_damaged_offsets_total", "Offsets in damaged ranges.", &RocksEventLogStats::damaged_offsets},
      {"naru_event_log_dropped_records_total", "Records removed by retention.", &RocksEventLogStats::dropped_records},
      {"naru_event_log_dropped_unread_records_total", "Records removed by retention before a group had read them.",
       &RocksEventLogStats::dropped_unread_records},
      {"naru_event_log_compacted_records_total", "Records removed by compaction.",
       &RocksEventLogStats::compacted_records},
  };
  for (const auto& counter : kCounters) {
    state_->registrations.push_back(
        registry->AddCallback(MetricRegistry::Kind::kCounter, counter.name, counter.help, {},
                              [log, field = counter.field] { return static_cast<double>(log->stats().*field); }));
  }
  state_->registrations.push_back(registry->AddCallback(
      MetricRegistry::Kind::kGauge, "naru_event_log_in_flight_bytes", "Bytes of appends that wait for the disk.", {},
      [log] { return static_cast<double>(log->stats().in_flight_bytes); }));
  state_->registrations.push_back(registry->AddCallback(MetricRegistry::Kind::kGauge, "naru_event_log_disk_free_bytes",
                                                        "Free space on the log's disk.", {},
                                                        [log] { return static_cast<double>(log->disk_free_bytes()); }));
  state_->registrations.push_back(registry->AddCallback(
      MetricRegistry::Kind::kGauge, "naru_event_log_recovery_notes", "What opening and damage gave reason to report.",
      {}, [log] { return static_cast<double>(log->recovery_report().notes.size()); }));
}

RocksEventLogMetrics::~RocksEventLogMetrics() = default;

}  // namespace naru::event_log
