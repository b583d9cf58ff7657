#include "common/testing/testing.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/clock/clock.h"

namespace naru::testing {
namespace {

[[noreturn]] void Give(absl::string_view what) {
  std::fprintf(stderr, "%s\n", std::string(what).c_str());
  std::abort();
}

}  // namespace

TempDir::TempDir() {
  std::string pattern = absl::StrCat(GetEnv("TMPDIR", "/tmp"), "/naru_test_XXXXXX");
  if (mkdtemp(pattern.data()) == nullptr) Give(absl::StrCat("cannot make ", pattern));
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TempDir::File(absl::string_view name) const { return absl::StrCat(path_, "/", name); }

std::string TempDir::Write(absl::string_view name, absl::string_view contents) const {
  const std::string path = File(name);
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(contents.data(), static_cast<std::streamsize>(contents.size()));
  file.close();
  if (!file) Give(absl::StrCat("cannot write ", path));
  return path;
}

bool WaitUntil(const std::function<bool()>& condition, std::chrono::milliseconds timeout) {
  const int64_t end_us = Clock::System()->MonotonicMicros() + timeout.count() * 1000;
  while (!condition()) {
    if (Clock::System()->MonotonicMicros() > end_us) return condition();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream contents;
  if (!file) Give(absl::StrCat("cannot read ", path));
  contents << file.rdbuf();
  return contents.str();
}

std::string GetEnv(const char* name, absl::string_view fallback) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string(fallback) : value;
}

std::string BinaryPath(absl::string_view program) { return absl::StrCat(GetEnv("NARU_BIN_DIR", "."), "/", program); }

std::string SourcePath(absl::string_view file) { return absl::StrCat(GetEnv("NARU_SOURCE_DIR", "."), "/", file); }

std::optional<std::string> SharedDataPath(absl::string_view file) {
  const std::string directory = GetEnv("NARU_SHARED_DIR", SourcePath("../shared/data"));
  std::string path = absl::StrCat(directory, "/", file);
  std::error_code error;
  return std::filesystem::exists(path, error) ? std::optional<std::string>(std::move(path)) : std::nullopt;
}

bool ServersRequired() { return GetEnv("NARU_REQUIRE_SERVERS") == "1"; }

std::optional<std::string> FindAddress(absl::string_view line, absl::string_view name) {
  const std::string wanted = absl::StrCat(" ", name, "=");
  const std::string padded = absl::StrCat(" ", line, " ");
  const size_t at = padded.find(wanted);
  if (at == std::string::npos) return std::nullopt;
  const size_t begin = at + wanted.size();
  return padded.substr(begin, padded.find(' ', begin) - begin);
}

}  // namespace naru::testing
