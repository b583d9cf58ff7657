#include "common/log/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cmath>
#include <cstring>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/clock/clock.h"
#include "common/clock/rfc3339.h"
#include "common/log/redact.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"

namespace naru::log {
namespace internal {
std::atomic<int> minimum_level{static_cast<int>(Level::kInfo)};
}  // namespace internal

namespace {

std::atomic<int> line_format{static_cast<int>(Format::kText)};

// Where lines go: standard error by spdlog, or the sink of a test.
struct Output {
  Mutex mu;
  std::function<void(absl::string_view)> sink ABSL_GUARDED_BY(mu);
  std::unique_ptr<spdlog::logger> stderr_logger;

  Output() {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    stderr_logger = std::make_unique<spdlog::logger>("naru", std::move(sink));
    stderr_logger->set_pattern("%v");
    stderr_logger->set_level(spdlog::level::trace);
  }
};

Output& TheOutput() {
  static Output* const output = new Output;  // never destroyed: threads may log until the process ends
  return *output;
}

constexpr const char* kLevelNames[] = {"DEBUG", "INFO", "WARNING", "ERROR"};

void AppendJsonString(absl::string_view text, std::string* out) {
  out->push_back('"');
  for (const char c : text) {
    switch (c) {
      case '"':
        out->append("\\\"");
        break;
      case '\\':
        out->append("\\\\");
        break;
      case '\n':
        out->append("\\n");
        break;
      case '\r':
        out->append("\\r");
        break;
      case '\t':
        out->append("\\t");
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          absl::StrAppendFormat(out, "\\u%04x", static_cast<int>(c));
        } else {
          out->push_back(c);
        }
    }
  }
  out->push_back('"');
}

// A value in a text line is quoted where a reader could not tell where it ends.
void AppendTextString(absl::string_view text, std::string* out) {
  bool plain = !text.empty();
  for (const char c : text) plain &= static_cast<unsigned char>(c) > 0x20 && c != '"' && c != '=' && c != '\\';
  if (plain) {
    out->append(text.data(), text.size());
  } else {
    AppendJsonString(text, out);
  }
}

void AppendNumber(double number, bool json, std::string* out) {
  if (!std::isfinite(number)) {  // JSON has no such number
    const char* name = std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
    absl::StrAppend(out, json ? "\"" : "", name, json ? "\"" : "");
  } else {
    absl::StrAppendFormat(out, "%.*g", std::round(number * 1e6) / 1e6 == number ? 15 : 17, number);
  }
}

void AppendValue(const Field& field, bool json, std::string* out) {
  const auto text = [&](absl::string_view value) {
    const std::string shown = Redact(field.name, value);
    json ? AppendJsonString(shown, out) : AppendTextString(shown, out);
  };
  const Value::Variant& value = field.value.variant();
  if (const auto* view = std::get_if<absl::string_view>(&value)) {
    text(*view);
  } else if (const auto* status = std::get_if<const absl::Status*>(&value)) {
    text((*status)->ok() ? "OK"
                         : absl::StrCat(absl::StatusCodeToString((*status)->code()), ": ", (*status)->message()));
  } else if (IsSecretName(field.name)) {
    text("");
  } else if (const auto* number = std::get_if<int64_t>(&value)) {
    absl::StrAppend(out, *number);
  } else if (const auto* natural = std::get_if<uint64_t>(&value)) {
    absl::StrAppend(out, *natural);
  } else if (const auto* real = std::get_if<double>(&value)) {
    AppendNumber(*real, json, out);
  } else {
    out->append(std::get<bool>(value) ? "true" : "false");
  }
}

std::string BaseName(const char* file) {
  const char* slash = std::strrchr(file, '/');
  return slash == nullptr ? file : slash + 1;
}

struct Entry {
  Level level;
  std::string place;
  absl::string_view message;
  Fields fields;
  int64_t suppressed;
};

std::string FormatJson(const Entry& entry) {
  std::string line = absl::StrCat("{\"time\":\"", FormatRfc3339(Clock::System()->NowMicros()), "\",\"level\":\"",
                                  kLevelNames[static_cast<int>(entry.level)], "\",\"message\":");
  AppendJsonString(Redact("", entry.message), &line);
  for (const Field& field : entry.fields) {
    line.push_back(',');
    AppendJsonString(field.name, &line);
    line.push_back(':');
    AppendValue(field, true, &line);
  }
  if (entry.suppressed > 0) absl::StrAppend(&line, ",\"suppressed\":", entry.suppressed);
  absl::StrAppend(&line, ",\"at\":\"", entry.place, "\"}");
  return line;
}

std::string FormatText(const Entry& entry) {
  // A message is the program's own text, but it may quote outside text: a line feed in it must not forge an entry.
  std::string message = Redact("", entry.message);
  for (char& c : message) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) c = ' ';
  }
  std::string line = absl::StrFormat("%s %-7s %s", FormatRfc3339(Clock::System()->NowMicros()),
                                     kLevelNames[static_cast<int>(entry.level)], message);
  for (const Field& field : entry.fields) {
    absl::StrAppend(&line, " ", field.name, "=");
    AppendValue(field, false, &line);
  }
  if (entry.suppressed > 0) absl::StrAppend(&line, " suppressed=", entry.suppressed);
  if (entry.level != Level::kInfo) absl::StrAppend(&line, " at=", entry.place);
  return line;
}

}  // namespace

void SetLevel(Level level) { internal::minimum_level = static_cast<int>(level); }
void SetFormat(Format format) { line_format = static_cast<int>(format); }

absl::StatusOr<Level> ParseLevel(absl::string_view name) {
  for (int i = 0; i < 4; ++i) {
    if (absl::EqualsIgnoreCase(name, kLevelNames[i])) return static_cast<Level>(i);
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "LOG_LEVEL",
                   absl::StrCat("`", name, "` is not a log level: debug, info, warning, error"));
}

absl::StatusOr<Format> ParseFormat(absl::string_view name) {
  if (name == "text") return Format::kText;
  if (name == "json") return Format::kJson;
  return MakeError(absl::StatusCode::kInvalidArgument, "LOG_FORMAT",
                   absl::StrCat("`", name, "` is not a log format: text, json"));
}

void SetSink(std::function<void(absl::string_view line)> sink) {
  Output& output = TheOutput();
  MutexLock lock(&output.mu);
  output.sink = std::move(sink);
}

void WriteLimited(Level level, const char* file, int line, int64_t suppressed, absl::string_view message,
                  Fields fields) {
  const Entry entry{level, absl::StrCat(BaseName(file), ":", line), message, fields, suppressed};
  const std::string text = line_format == static_cast<int>(Format::kJson) ? FormatJson(entry) : FormatText(entry);
  Output& output = TheOutput();
  {
    MutexLock lock(&output.mu);
    if (output.sink) return output.sink(text);
  }
  output.stderr_logger->log(spdlog::level::info, spdlog::string_view_t(text.data(), text.size()));
}

void Write(Level level, const char* file, int line, absl::string_view message, Fields fields) {
  WriteLimited(level, file, line, 0, message, fields);
}

bool Limiter::Admit(int64_t period_us, int64_t* suppressed) {
  const int64_t now_us = Clock::System()->MonotonicMicros();
  int64_t next_us = next_us_.load(std::memory_order_relaxed);
  if (now_us < next_us || !next_us_.compare_exchange_strong(next_us, now_us + period_us)) {
    suppressed_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  *suppressed = suppressed_.exchange(0, std::memory_order_relaxed);
  return true;
}

}  // namespace naru::log
