// SIGINT and SIGTERM as something to wait for.
#pragma once

#include <memory>

namespace naru {

/// Takes over SIGINT and SIGTERM for the process while it lives, and ignores SIGPIPE. Make it first in main, before any
/// thread: it blocks the signals, and threads inherit that. The first signal ends Wait; a second one ends the process
/// at once with 128 + its number (130, 143). One at a time in a process.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// Blocks until a signal came or Trigger was called; its number, 0 for Trigger. May be called from any thread.
  int Wait();
  /// Whether Wait would return at once. Thread-safe.
  bool stopped() const;
  /// Ends Wait without a signal. Thread-safe.
  void Trigger();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace naru
