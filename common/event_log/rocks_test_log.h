// What the tests of the embedded log share.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/clock/clock.h"
#include "common/event_log/rocks_event_log.h"
#include "common/log/log.h"
#include "common/testing/testing.h"

namespace naru::event_log {

/// A log in a directory of its own, with a clock that stands still and no background work.
class TestLog {
 public:
  static constexpr int64_t kNow = 1'700'000'000'000'000;

  TestLog() {
    options.path = directory_.path() + "/log";
    options.clock = &clock;
    options.maintenance_interval = std::chrono::milliseconds(0);
    options.disk_reserve_bytes = 0;
    // Damage and lost power are told in every way there is; hundreds of lines would hide a failure.
    log::SetSink([](absl::string_view) {});
  }
  ~TestLog() {
    Close();
    log::SetSink(nullptr);
  }

  void Open() {
    absl::StatusOr<std::unique_ptr<RocksEventLog>> log = RocksEventLog::Open(options);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }
  void Close() { log_.reset(); }
  RocksEventLog* get() { return log_.get(); }
  RocksEventLog* operator->() { return log_.get(); }
  std::string DatabasePath() const { return options.path + "/db"; }

  FakeClock clock{kNow};
  RocksEventLogOptions options;

 private:
  testing::TempDir directory_;
  std::unique_ptr<RocksEventLog> log_;
};

}  // namespace naru::event_log
