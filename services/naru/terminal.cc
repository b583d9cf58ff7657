#include "services/naru/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/naru/text_width.h"

namespace naru::cli {

Terminal DetectTerminal() {
  Terminal terminal;
  terminal.out_is_terminal = isatty(STDOUT_FILENO) == 1;
  terminal.err_is_terminal = isatty(STDERR_FILENO) == 1;
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  const bool wanted =
      (no_color == nullptr || *no_color == '\0') && (term == nullptr || absl::string_view(term) != "dumb");
  terminal.colour = terminal.out_is_terminal && wanted;
  terminal.err_colour = terminal.err_is_terminal && wanted;
  winsize size{};
  const int fd = terminal.out_is_terminal ? STDOUT_FILENO : STDERR_FILENO;
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    terminal.columns = size.ws_col;
    if (size.ws_row > 0) terminal.rows = size.ws_row;
  } else if (const char* columns = std::getenv("COLUMNS"); columns != nullptr && std::atoi(columns) > 0) {
    terminal.columns = std::atoi(columns);
  }
  return terminal;
}

std::string Paint(absl::string_view text, Colour colour, bool on) {
  if (!on || colour == Colour::kNone) return std::string(text);
  const char* code = "0";
  switch (colour) {
    case Colour::kNone:
      break;
    case Colour::kBold:
      code = "1";
      break;
    case Colour::kDim:
      code = "2";
      break;
    case Colour::kRed:
      code = "31";
      break;
    case Colour::kGreen:
      code = "32";
      break;
    case Colour::kYellow:
      code = "33";
      break;
    case Colour::kCyan:
      code = "36";
      break;
  }
  return absl::StrCat("\x1b[", code, "m", text, "\x1b[0m");
}

std::string WithThousands(int64_t number) {
  std::string digits = std::to_string(number);
  const size_t first = number < 0 ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

std::string FormatBytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (std::fabs(value) >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? absl::StrCat(bytes, " B") : absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

std::string FormatSeconds(double seconds) {
  if (seconds < 0) seconds = 0;
  if (seconds < 10) return absl::StrFormat("%.1f s", seconds);
  const int64_t whole = std::llround(seconds);
  if (whole < 60) return absl::StrCat(whole, " s");
  if (whole < 3600) return absl::StrCat(whole / 60, " min ", whole % 60, " s");
  return absl::StrCat(whole / 3600, " h ", whole % 3600 / 60, " min");
}

std::string RenderProgress(absl::string_view title, const Progress& progress, int columns) {
  const double share =
      progress.total > 0 ? std::clamp(static_cast<double>(progress.done) / progress.total, 0.0, 1.0) : 0;
  const double elapsed = std::max(progress.elapsed_s, 1e-3);
  std::string tail = absl::StrCat(WithThousands(progress.count), " ", progress.count_noun, "  ",
                                  WithThousands(std::llround(progress.count / elapsed)), "/s");
  if (progress.total > 0) {
    tail = absl::StrCat(absl::StrFormat("%3d %%  ", static_cast<int>(share * 100)), tail);
    // The first moments say nothing about the rest.
    if (share > 0.01 && share < 1 && progress.elapsed_s > 0.5) {
      absl::StrAppend(&tail, "  ", FormatSeconds(elapsed * (1 - share) / share), " left");
    }
  }
  const std::string head = CutToWidth(MakePrintable(title), std::max(8, columns / 3));
  const int room = columns - static_cast<int>(DisplayWidth(head) + DisplayWidth(tail)) - 7;
  std::string bar;
  if (progress.total > 0 && room >= 5) {
    const int width = std::min(room, 40);
    const int filled = static_cast<int>(share * width);
    bar = absl::StrCat("[", std::string(filled, '#'), std::string(width - filled, ' '), "]  ");
  }
  return CutToWidth(absl::StrCat(head, "  ", bar, tail), std::max(columns - 1, 1));
}

ProgressLine::ProgressLine(const Terminal& terminal, std::string title)
    : enabled_(terminal.err_is_terminal),
      columns_(terminal.columns),
      title_(std::move(title)),
      start_(std::chrono::steady_clock::now()) {}

void ProgressLine::Update(int64_t done, int64_t total, int64_t count, absl::string_view count_noun) {
  if (!enabled_) return;
  const auto now = std::chrono::steady_clock::now();
  if (drawn_ && now - last_draw_ < std::chrono::milliseconds(100)) return;
  const Progress progress{done, total, count, std::string(count_noun), elapsed_s()};
  std::fprintf(stderr, "\r\x1b[K%s", RenderProgress(title_, progress, columns_).c_str());
  std::fflush(stderr);
  last_draw_ = now;
  drawn_ = true;
}

void ProgressLine::Clear() {
  if (!drawn_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
}

double ProgressLine::elapsed_s() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

}  // namespace naru::cli
