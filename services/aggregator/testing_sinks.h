// For tests of sinks: rows in one form, whatever the store, and the stores themselves.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/clock/clock.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/sink_writer.h"

namespace naru::aggregator::testing {

/// A row as names and values: dimensions and measures (null: absent; lists: `key:count key:count`), `window_end`,
/// `final`, `revision`, `truncated` (0 or 1), `metric_version`.
using ShownRow = std::map<std::string, std::string>;
/// By `window_start/window_end dimension=value,...`, dimensions in their order, null as `~`.
using ShownRows = std::map<std::string, ShownRow>;

std::string ShownKey(const std::string& window_start, const std::vector<std::string>& dimensions, const ShownRow& row);
/// Rows of an answer in that form.
ShownRows ShowAnswer(const std::vector<v1::WindowRow>& rows, const std::vector<std::string>& dimensions,
                     int32_t metric_version);
ShownRow ShowProto(const v1::WindowRow& row, int32_t metric_version);
std::string WindowStart(const v1::WindowRow& row);

/// A store that a Sink can write to, as its readers see it.
class SinkStore {
 public:
  virtual ~SinkStore() = default;
  /// A writer; its fence takes the place of that of the writer before.
  virtual std::unique_ptr<SinkWriter> MakeWriter() = 0;
  /// A Sink resource's `spec` that leads here.
  virtual catalog::v1::Sink Spec() const = 0;
  /// All rows of a metric. Unreadable stores give an error.
  virtual absl::StatusOr<ShownRows> Read(const std::string& metric, const std::vector<std::string>& dimensions) = 0;

  /// Whether the store can lose what it has without the log.
  virtual bool is_outside() const { return true; }
  /// Removes everything, as FLUSHALL or DROP do.
  virtual void Empty() {}
  /// Kills the server; brings it back.
  virtual void Kill() {}
  virtual void Restart() {}
  /// The server answers nothing, and its connections stand; it goes on.
  virtual void Hang() {}
  virtual void GoOn() {}
  /// Changes a value of every row, behind the writer's back.
  virtual void Damage(const std::string& /*metric*/) {}
  /// From now on this row (window_start as text, group text, the value of `dimension`) is refused for good; false: the
  /// store refuses none.
  virtual bool Spoil(const std::string& /*metric*/, const std::string& /*window_start*/,
                     const std::string& /*dimension*/, const std::string& /*value*/) {
    return false;
  }
};

/// Servers are started by the first call, one of each for the whole program. Errors: there is none.
absl::StatusOr<std::unique_ptr<SinkStore>> MakeRedisStore(const Clock& clock);
absl::StatusOr<std::unique_ptr<SinkStore>> MakePostgresStore();
/// On a log of its caller.
std::unique_ptr<SinkStore> MakeTopicStore(event_log::EventLog& log, const Clock& clock);

}  // namespace naru::aggregator::testing
