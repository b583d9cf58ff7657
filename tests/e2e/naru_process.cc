#include "tests/e2e/naru_process.h"

#include <gtest/gtest.h>

#include <csignal>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace naru::e2e {

absl::StatusOr<std::unique_ptr<Platform>> Platform::Start(const std::string& data_dir,
                                                          const std::vector<std::string>& packs,
                                                          const std::vector<std::string>& flags) {
  testing::Process::Options options;
  options.args = {testing::BinaryPath("naru"), "up", "--data_dir", data_dir, "--listen", "127.0.0.1:0"};
  for (const std::string& pack : packs) options.args.insert(options.args.end(), {"--pack", pack});
  options.args.insert(options.args.end(), flags.begin(), flags.end());
  auto platform = std::make_unique<Platform>();
  const auto start = std::chrono::steady_clock::now();
  auto process = testing::Process::Start(std::move(options));
  if (!process.ok()) return process.status();
  platform->process_ = *std::move(process);
  auto line = platform->process_->ReadLine(std::chrono::seconds(60));
  if (!line.ok()) return line.status();
  platform->ready_after_ =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
  platform->first_line_ = *line;
  platform->grpc_ = testing::FindAddress(*line, "grpc").value_or("");
  platform->http_ = testing::FindAddress(*line, "http").value_or("");
  platform->metrics_ = testing::FindAddress(*line, "metrics").value_or("");
  return platform;
}

testing::ProcessResult Platform::Naru(std::vector<std::string> args, const std::string& input) const {
  args.insert(args.end(), {"--address", grpc_});
  return RunNaru(std::move(args), input);
}

absl::StatusOr<int> Platform::Stop() {
  process_->Signal(SIGINT);
  return process_->Wait();
}

void Platform::Kill() {
  process_->Signal(SIGKILL);
  EXPECT_TRUE(process_->Wait().ok());
}

testing::ProcessResult RunNaru(std::vector<std::string> args, const std::string& input,
                               const std::map<std::string, std::string>& env) {
  testing::Process::Options options;
  options.args = {testing::BinaryPath("naru")};
  options.args.insert(options.args.end(), args.begin(), args.end());
  options.input = input;
  // A person's own contexts and keys must not reach the tests.
  options.env = {{"NARU_CONTEXTS_FILE", "/nonexistent/contexts.yaml"}, {"NARU_ADDRESS", ""}, {"NARU_API_KEY", ""}};
  for (const auto& [name, value] : env) options.env[name] = value;
  const auto result = testing::RunProcess(std::move(options), std::chrono::seconds(120));
  if (!result.ok()) {
    ADD_FAILURE() << "naru " << (args.empty() ? "" : args[0]) << ": " << result.status();
    return {-1, "", std::string(result.status().message())};
  }
  return *result;
}

int64_t JsonNumber(const std::string& json, const std::string& key) {
  const std::string label = absl::StrCat("\"", key, "\":");
  const size_t at = json.find(label);
  return at == std::string::npos ? -1 : std::strtoll(json.c_str() + at + label.size(), nullptr, 10);
}

std::vector<std::string> Lines(const std::string& text) { return absl::StrSplit(text, '\n', absl::SkipEmpty()); }

std::string LastLine(const std::string& text) {
  const std::vector<std::string> lines = Lines(text);
  return lines.empty() ? "" : lines.back();
}

}  // namespace naru::e2e
