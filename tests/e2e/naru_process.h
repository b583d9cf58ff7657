// A real `naru up`, and the real command line against it.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "common/testing/testing.h"

namespace naru::e2e {

/// The platform in one process, on free ports. Not thread-safe.
class Platform {
 public:
  /// Starts `naru up` on `data_dir` with the packs; `flags` are added. Waits for the first line.
  /// Errors: what the process wrote to standard error.
  static absl::StatusOr<std::unique_ptr<Platform>> Start(const std::string& data_dir,
                                                         const std::vector<std::string>& packs,
                                                         const std::vector<std::string>& flags = {});

  const std::string& grpc() const { return grpc_; }
  const std::string& http() const { return http_; }
  const std::string& metrics() const { return metrics_; }
  const std::string& first_line() const { return first_line_; }
  /// From the start of the process to its first line.
  std::chrono::milliseconds ready_after() const { return ready_after_; }
  testing::Process& process() { return *process_; }

  /// Runs `naru ARGS --address ...` to its end.
  testing::ProcessResult Naru(std::vector<std::string> args, const std::string& input = "") const;
  /// Ctrl-C; the exit code.
  absl::StatusOr<int> Stop();
  /// kill -9.
  void Kill();

 private:
  std::unique_ptr<testing::Process> process_;
  std::string first_line_, grpc_, http_, metrics_;
  std::chrono::milliseconds ready_after_{0};
};

/// Runs `naru ARGS` to its end, with the variables added to the environment.
testing::ProcessResult RunNaru(std::vector<std::string> args, const std::string& input = "",
                               const std::map<std::string, std::string>& env = {});

/// The value of an integer field in a flat JSON text, -1 when it is not there: `JsonNumber(line, "accepted")`.
int64_t JsonNumber(const std::string& json, const std::string& key);

/// The lines of a text, without the empty ones.
std::vector<std::string> Lines(const std::string& text);
/// The last of them; empty when there is none.
std::string LastLine(const std::string& text);

}  // namespace naru::e2e
