// What tests share: temporary directories, bounded waiting, real processes, servers that may be missing.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace naru::testing {

/// A new directory under $TMPDIR or /tmp, removed with all that is in it.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  /// `path()/name`.
  std::string File(absl::string_view name) const;
  /// Writes a file and returns its path.
  std::string Write(absl::string_view name, absl::string_view contents) const;

 private:
  std::string path_;
};

/// Polls `condition` every few milliseconds; false when it was not true within `timeout`.
bool WaitUntil(const std::function<bool()>& condition, std::chrono::milliseconds timeout = std::chrono::seconds(20));

/// The whole file; fails the test's process with a message when it cannot be read.
std::string ReadFile(const std::string& path);

/// An environment variable, or `fallback`.
std::string GetEnv(const char* name, absl::string_view fallback = "");

/// A program that was started. Killed and waited for when the object goes.
class Process {
 public:
  struct Options {
    std::vector<std::string> args;           ///< args[0] is the program, looked up in PATH
    std::map<std::string, std::string> env;  ///< added to this process's
    std::string working_directory;           ///< empty = this process's
    std::string input;                       ///< written to its standard input, which is then closed
  };
  /// Errors: NOT_FOUND when the program cannot be started.
  static absl::StatusOr<std::unique_ptr<Process>> Start(Options options);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  int pid() const;
  /// The next line of standard output, without its line feed. Errors: DEADLINE_EXCEEDED; OUT_OF_RANGE at the end of the
  /// output; both quote what it wrote to standard error.
  absl::StatusOr<std::string> ReadLine(std::chrono::milliseconds timeout = std::chrono::seconds(20));
  void Signal(int signal);
  /// The exit code, 128 + n when signal n ended it. Errors: DEADLINE_EXCEEDED.
  absl::StatusOr<int> Wait(std::chrono::milliseconds timeout = std::chrono::seconds(30));
  /// All that it wrote so far, lines taken by ReadLine included.
  std::string Stdout() const;
  std::string Stderr() const;

 private:
  struct State;
  explicit Process(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// What a finished program left.
struct ProcessResult {
  int exit_code;
  std::string out;
  std::string err;
};
/// Starts, waits and returns. Errors: as Start; DEADLINE_EXCEEDED (it is killed).
absl::StatusOr<ProcessResult> RunProcess(Process::Options options,
                                         std::chrono::milliseconds timeout = std::chrono::seconds(60));

/// The path of a program of this build, from $NARU_BIN_DIR: `naru`, `naru-ingest`.
std::string BinaryPath(absl::string_view program);
/// The path of a file of the source tree, from $NARU_SOURCE_DIR.
std::string SourcePath(absl::string_view file);
/// Example data that is not part of the repository: $NARU_SHARED_DIR, or shared/data beside the source tree; nothing
/// where the machine has none.
std::optional<std::string> SharedDataPath(absl::string_view file);

/// Whether a missing server fails a test rather than skips it ($NARU_REQUIRE_SERVERS=1, as in CI).
bool ServersRequired();

/// The `PORT` of `name=HOST:PORT` in a first line of output (`grpc=`, `http=`, `metrics=`); the whole HOST:PORT.
std::optional<std::string> FindAddress(absl::string_view line, absl::string_view name);

}  // namespace naru::testing

/// Ends the test as skipped with `reason`, or as failed where servers are required. Only inside a test body or SetUp.
#define NARU_REQUIRE_SERVER_OR_SKIP(reason)                \
  do {                                                     \
    if (::naru::testing::ServersRequired()) {              \
      FAIL() << "a server is required here: " << (reason); \
    } else {                                               \
      GTEST_SKIP() << (reason);                            \
    }                                                      \
  } while (false)
