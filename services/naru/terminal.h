// What the process's streams are, and what is drawn on them: colour, progress bars. Nothing is drawn off a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/strings/string_view.h"

namespace naru::cli {

/// What is connected to the standard streams.
struct Terminal {
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  bool colour = false;      ///< results may be coloured: stdout is a terminal, NO_COLOR is not set, TERM is not `dumb`
  bool err_colour = false;  ///< the same for messages
  int columns = 80;
  int rows = 24;
};

/// Looks at the streams, the window size and the environment (NO_COLOR, TERM, COLUMNS).
Terminal DetectTerminal();

/// SGR colours; `Paint` returns the text as it is when `on` is false.
enum class Colour { kNone, kBold, kDim, kRed, kGreen, kYellow, kCyan };
std::string Paint(absl::string_view text, Colour colour, bool on);

/// 1234567 as `1,234,567`.
std::string WithThousands(int64_t number);
/// Bytes as `1.4 MiB`.
std::string FormatBytes(int64_t bytes);
/// Seconds as `4 s`, `2 min 10 s`, `1 h 5 min`.
std::string FormatSeconds(double seconds);

/// What a progress bar shows.
struct Progress {
  int64_t done = 0;        ///< units of the bar: bytes or events
  int64_t total = 0;       ///< 0: not known (no bar, no time left)
  int64_t count = 0;       ///< what the rate is of: lines, events
  std::string count_noun;  ///< `lines`
  double elapsed_s = 0;
};

/// Returns the line that shows `progress` in at most `columns` columns:
/// `apache_logs  [#######>      ]  52 %  5,200 lines  12,000/s  1 s left`.
std::string RenderProgress(absl::string_view title, const Progress& progress, int columns);

/// A line on stderr that is redrawn in place, at most ten times a second; draws nothing when stderr is not a terminal.
/// Not thread-safe.
class ProgressLine {
 public:
  ProgressLine(const Terminal& terminal, std::string title);
  ~ProgressLine() { Clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void Update(int64_t done, int64_t total, int64_t count, absl::string_view count_noun);
  /// Takes the line away, so that a message can be printed.
  void Clear();
  double elapsed_s() const;

 private:
  bool enabled_;
  int columns_;
  std::string title_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_draw_;
  bool drawn_ = false;
};

}  // namespace naru::cli
