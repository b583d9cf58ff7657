#include "services/naru/contexts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"

namespace naru::cli {
namespace {

absl::Status FileError(absl::StatusCode code, const std::string& path, absl::string_view what) {
  return MakeError(code, "CONTEXTS_FILE", absl::StrCat(path, ": ", what));
}

SavedContext ReadContext(const YAML::Node& node) {
  SavedContext saved;
  const auto text = [&](const char* key) { return node[key] ? node[key].as<std::string>() : std::string(); };
  saved.address = text("address");
  saved.api_key = text("api_key");
  saved.tls = node["tls"] && node["tls"].as<bool>();
  saved.tls_ca = text("tls_ca");
  saved.tls_cert = text("tls_cert");
  saved.tls_key = text("tls_key");
  saved.tls_server_name = text("tls_server_name");
  return saved;
}

void WriteContext(YAML::Emitter& yaml, const SavedContext& saved) {
  const auto add = [&](const char* key, const std::string& value) {
    if (!value.empty()) yaml << YAML::Key << key << YAML::Value << YAML::DoubleQuoted << value;
  };
  yaml << YAML::BeginMap;
  add("address", saved.address);
  add("api_key", saved.api_key);
  if (saved.tls) yaml << YAML::Key << "tls" << YAML::Value << true;
  add("tls_ca", saved.tls_ca);
  add("tls_cert", saved.tls_cert);
  add("tls_key", saved.tls_key);
  add("tls_server_name", saved.tls_server_name);
  yaml << YAML::EndMap;
}

absl::Status WriteAll(int fd, const std::string& path, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError(absl::StatusCode::kInternal, path, std::strerror(errno));
    text.remove_prefix(written);
  }
  if (fsync(fd) != 0) return FileError(absl::StatusCode::kInternal, path, std::strerror(errno));
  return absl::OkStatus();
}

}  // namespace

std::string ContextsPath(const std::function<std::string(const char*)>& environment) {
  if (std::string path = environment("NARU_CONTEXTS_FILE"); !path.empty()) return path;
  if (std::string config = environment("XDG_CONFIG_HOME"); !config.empty()) return config + "/naru/contexts.yaml";
  if (std::string home = environment("HOME"); !home.empty()) return home + "/.config/naru/contexts.yaml";
  return "";
}

absl::StatusOr<ContextFile> LoadContexts(const std::string& path) {
  struct stat info {};
  if (path.empty() || stat(path.c_str(), &info) != 0) return ContextFile();
  ContextFile file;
  bool holds_key = false;
  try {
    const YAML::Node root = YAML::LoadFile(path);
    if (root["current"]) file.current = root["current"].as<std::string>();
    for (const auto& entry : root["contexts"]) {
      const SavedContext saved = ReadContext(entry.second);
      holds_key = holds_key || !saved.api_key.empty();
      file.contexts[entry.first.as<std::string>()] = saved;
    }
  } catch (const YAML::Exception& error) {
    return FileError(absl::StatusCode::kInvalidArgument, path, error.what());
  }
  if (holds_key && (info.st_mode & 077) != 0) {
    return FileError(absl::StatusCode::kPermissionDenied, path,
                     absl::StrCat("holds API keys and others may read it; `chmod 600 ", path, "`"));
  }
  return file;
}

absl::Status SaveContexts(const std::string& path, const ContextFile& file) {
  if (path.empty()) {
    return FileError(absl::StatusCode::kFailedPrecondition, "contexts", "there is no HOME; set NARU_CONTEXTS_FILE");
  }
  YAML::Emitter yaml;
  yaml << YAML::BeginMap;
  if (!file.current.empty()) yaml << YAML::Key << "current" << YAML::Value << YAML::DoubleQuoted << file.current;
  yaml << YAML::Key << "contexts" << YAML::Value << YAML::BeginMap;
  for (const auto& [name, saved] : file.contexts) {
    yaml << YAML::Key << YAML::DoubleQuoted << name << YAML::Value;
    WriteContext(yaml, saved);
  }
  yaml << YAML::EndMap << YAML::EndMap;

  const std::filesystem::path directory = std::filesystem::path(path).parent_path();
  std::error_code error;
  if (!directory.empty() && !std::filesystem::exists(directory, error)) {
    std::filesystem::create_directories(directory, error);
    if (error) return FileError(absl::StatusCode::kInternal, directory.string(), error.message());
    chmod(directory.c_str(), 0700);
  }
  const std::string staging = absl::StrCat(path, ".", getpid(), ".new");
  const int fd = open(staging.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return FileError(absl::StatusCode::kInternal, staging, std::strerror(errno));
  absl::Status written = WriteAll(fd, staging, absl::StrCat(yaml.c_str(), "\n"));
  close(fd);
  if (written.ok() && rename(staging.c_str(), path.c_str()) != 0) {
    written = FileError(absl::StatusCode::kInternal, path, std::strerror(errno));
  }
  if (!written.ok()) unlink(staging.c_str());
  return written;
}

}  // namespace naru::cli
