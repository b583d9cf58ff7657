// Named addresses and keys, kept in a file that only its owner can read.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace naru::cli {

/// What a context holds.
struct SavedContext {
  std::string address;
  std::string api_key;
  bool tls = false;
  std::string tls_ca;
  std::string tls_cert;
  std::string tls_key;
  std::string tls_server_name;
};

/// The file: contexts by name, and the one in use.
struct ContextFile {
  std::string current;  ///< empty = none
  std::map<std::string, SavedContext> contexts;
};

/// $XDG_CONFIG_HOME/naru/contexts.yaml, else ~/.config/naru/contexts.yaml; $NARU_CONTEXTS_FILE overrides.
/// Empty when there is no home directory.
std::string ContextsPath(const std::function<std::string(const char*)>& environment);

/// Reads the file; one that does not exist is empty. Errors: INVALID_ARGUMENT for one that cannot be understood,
/// PERMISSION_DENIED where others may read it and it holds a key (the message says how to mend that).
absl::StatusOr<ContextFile> LoadContexts(const std::string& path);

/// Replaces the file as a whole (a new file renamed over it), mode 0600, its directory 0700.
absl::Status SaveContexts(const std::string& path, const ContextFile& file);

}  // namespace naru::cli
