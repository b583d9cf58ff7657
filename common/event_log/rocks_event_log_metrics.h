// The embedded log's counters as metrics.
#pragma once

#include <memory>

#include "common/event_log/rocks_event_log.h"
#include "common/metrics/metrics.h"

namespace naru::event_log {

/// While it lives, the registry serves `naru_event_log_*` of one log. Both must outlive it.
class RocksEventLogMetrics {
 public:
  RocksEventLogMetrics(RocksEventLog* log, MetricRegistry* registry);
  ~RocksEventLogMetrics();
  RocksEventLogMetrics(const RocksEventLogMetrics&) = delete;
  RocksEventLogMetrics& operator=(const RocksEventLogMetrics&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace naru::event_log
