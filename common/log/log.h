// Structured logs: one line an entry, as text for people or JSON for programs, on standard error.
//
//     NARU_LOG(INFO, "topic opened", {{"topic", name}, {"partitions", 4}});
//     NARU_LOG_EVERY_SECONDS(10, WARNING, "disk nearly full", {{"free_bytes", free}});
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace naru::log {

/// How much an entry matters. INFO is for what an operator wants to have known tomorrow; never one an event.
enum class Level : int { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3 };

/// The form of a line.
enum class Format { kText, kJson };

/// What a field holds: text, a number, a truth value, or an error. Borrows: use it only within the logging expression.
class Value {
 public:
  Value(const char* text) : value_(absl::string_view(text == nullptr ? "" : text)) {}    // NOLINT: implicit
  Value(absl::string_view text) : value_(text) {}                                        // NOLINT: implicit
  Value(std::string_view text) : value_(absl::string_view(text.data(), text.size())) {}  // NOLINT: implicit
  Value(const std::string& text) : value_(absl::string_view(text)) {}                    // NOLINT: implicit
  Value(bool truth) : value_(truth) {}                                                   // NOLINT: implicit
  Value(double number) : value_(number) {}                                               // NOLINT: implicit
  Value(const absl::Status& status) : value_(&status) {}                                 // NOLINT: implicit
  template <typename T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>, int> = 0>
  Value(T number)  // NOLINT: implicit
      : value_(static_cast<std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>(number)) {}

  using Variant = std::variant<absl::string_view, int64_t, uint64_t, double, bool, const absl::Status*>;
  const Variant& variant() const { return value_; }

 private:
  Variant value_;
};

/// A name (lower_snake_case, unit in it) and a value. The value of a field whose name says `secret`, `password`,
/// `api_key`, `token` or `authorization` is never written, nor is the secret part of anything that looks like an API
/// key.
struct Field {
  absl::string_view name;
  Value value;
};
using Fields = std::initializer_list<Field>;

/// Entries below `level` are dropped before their fields are looked at. Default INFO.
void SetLevel(Level level);
void SetFormat(Format format);
/// `debug`, `info`, `warning`, `error`. Errors: INVALID_ARGUMENT.
absl::StatusOr<Level> ParseLevel(absl::string_view name);
/// `text`, `json`. Errors: INVALID_ARGUMENT.
absl::StatusOr<Format> ParseFormat(absl::string_view name);
/// Sends finished lines (no line feed) to `sink` instead of standard error; nullptr undoes it. Called one at a time.
void SetSink(std::function<void(absl::string_view line)> sink);

namespace internal {
extern std::atomic<int> minimum_level;
// What the first argument of NARU_LOG stands for; pasted, so that a macro named DEBUG elsewhere does no harm.
inline constexpr Level kDEBUG = Level::kDebug;
inline constexpr Level kINFO = Level::kInfo;
inline constexpr Level kWARNING = Level::kWarning;
inline constexpr Level kERROR = Level::kError;
}  // namespace internal
/// Whether entries of `level` are written. Costs one load.
inline bool Enabled(Level level) {
  return static_cast<int>(level) >= internal::minimum_level.load(std::memory_order_relaxed);
}

/// Writes an entry. Use NARU_LOG. Thread-safe; blocks only for writing to standard error.
void Write(Level level, const char* file, int line, absl::string_view message, Fields fields = {});

/// Lets one entry through for each period and counts what it held back. Thread-safe.
class Limiter {
 public:
  /// Returns whether to write now; then `*suppressed` is the number held back since the last one.
  bool Admit(int64_t period_us, int64_t* suppressed);

 private:
  std::atomic<int64_t> next_us_{0};
  std::atomic<int64_t> suppressed_{0};
};
/// As Write, with the field `suppressed` when entries of this place were held back.
void WriteLimited(Level level, const char* file, int line, int64_t suppressed, absl::string_view message,
                  Fields fields = {});

}  // namespace naru::log

/// Writes an entry: NARU_LOG(DEBUG|INFO|WARNING|ERROR, message [, {{name, value}, ...}]).
#define NARU_LOG(level, ...)                                                                \
  do {                                                                                      \
    if (::naru::log::Enabled(::naru::log::internal::k##level)) {                            \
      ::naru::log::Write(::naru::log::internal::k##level, __FILE__, __LINE__, __VA_ARGS__); \
    }                                                                                       \
  } while (false)

/// The same, at most once in `seconds` for this line of the program.
#define NARU_LOG_EVERY_SECONDS(seconds, level, ...)                                                                 \
  do {                                                                                                              \
    static ::naru::log::Limiter naru_limiter;                                                                       \
    int64_t naru_suppressed = 0;                                                                                    \
    if (::naru::log::Enabled(::naru::log::internal::k##level) &&                                                    \
        naru_limiter.Admit(static_cast<int64_t>(seconds) * 1'000'000, &naru_suppressed)) {                          \
      ::naru::log::WriteLimited(::naru::log::internal::k##level, __FILE__, __LINE__, naru_suppressed, __VA_ARGS__); \
    }                                                                                                               \
  } while (false)
