#include <cstdio>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/status.h"
#include "services/naru/command.h"
#include "services/naru/text_width.h"

namespace naru::cli {
namespace {

constexpr char kNextKey[] = "next";

// The next command to type, for errors that do not bring their own.
std::string NextFor(const absl::Status& status, const ErrorDetails& details, const std::string& address) {
  if (const auto own = details.metadata.find(kNextKey); own != details.metadata.end()) return own->second;
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return absl::StrCat(
          "is a server running? start one with `naru up --data_dir .naru`, or say where it is: --address "
          "HOST:PORT (now ",
          address, ")");
    case absl::StatusCode::kUnauthenticated:
      return "make a key where the server runs, `naru key create --data_dir DIR --scopes read,publish`, and give it: "
             "--api_key KEY or NARU_API_KEY=KEY";
    case absl::StatusCode::kPermissionDenied:
      return "this needs a key with more scopes: `naru key create --scopes publish,read,admin`";
    case absl::StatusCode::kResourceExhausted:
      return "the server is busy or its disk is nearly full: `naru status`";
    default:
      break;
  }
  for (const char* kind : {"Metric", "Funnel", "Retention"}) {
    if (details.reason == absl::StrCat(absl::AsciiStrToUpper(kind), "_NOT_FOUND"))
      return absl::StrCat("naru get ", kind);
  }
  return "";
}

}  // namespace

int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kDone;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kNotFound:
      return kUsage;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return kNotAllowed;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
      return kUnavailable;
    default:
      return kFailed;
  }
}

void PrintError(const absl::Status& status, const std::string& address, const Terminal& terminal) {
  const ErrorDetails details = GetErrorDetails(status);
  std::string text =
      absl::StrCat(Paint("error:", Colour::kRed, terminal.err_colour), " ", MakePrintable(status.message()), "\n");
  for (const FieldViolation& violation : details.violations) {
    // A single problem is often the message already.
    if (absl::StrContains(status.message(), violation.description)) continue;
    absl::StrAppend(&text, "  ", MakePrintable(violation.field), violation.field.empty() ? "" : ": ",
                    MakePrintable(violation.description), "\n");
  }
  if (const std::string next = NextFor(status, details, address); !next.empty())
    absl::StrAppend(&text, "  next: ", next, "\n");
  std::fputs(text.c_str(), stderr);
}

absl::Status ErrorWithNext(absl::StatusCode code, absl::string_view reason, absl::string_view message,
                           absl::string_view next) {
  ErrorDetails details;
  details.reason = std::string(reason);
  details.metadata[kNextKey] = std::string(next);
  return MakeError(code, message, std::move(details));
}

OutputFormat Session::format() const {
  const absl::StatusOr<OutputFormat> parsed = ParseOutputFormat(output);
  return parsed.ok() ? *parsed : OutputFormat::kTable;
}

void Session::Say(absl::string_view message) const { std::fprintf(stderr, "%s\n", std::string(message).c_str()); }

void Session::Warn(absl::string_view message) const {
  const std::string head = Paint("warning:", Colour::kYellow, terminal.err_colour);
  std::fprintf(stderr, "%s %s\n", head.c_str(), std::string(message).c_str());
}

}  // namespace naru::cli
