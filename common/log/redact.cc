#include "common/log/redact.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"

namespace naru {
namespace {

constexpr absl::string_view kKeyPrefix = "naru_";
// A secret has 64 digits; anything nearly as long is treated as one, so that a mistyped key is not shown either.
constexpr size_t kShortestSecret = 32;

size_t AlnumLength(absl::string_view text) {
  size_t length = 0;
  while (length < text.size() && absl::ascii_isalnum(static_cast<unsigned char>(text[length]))) ++length;
  return length;
}

}  // namespace

bool IsSecretName(absl::string_view name) {
  const std::string lower = absl::StrReplaceAll(absl::AsciiStrToLower(name), {{"-", "_"}});
  for (const absl::string_view word : {"secret", "password", "api_key", "token", "authorization"}) {
    // A page token and its like are positions, not secrets.
    if (absl::StrContains(lower, word) && lower != "page_token" && lower != "next_page_token") return true;
  }
  return false;
}

std::string Redact(absl::string_view name, absl::string_view value) {
  if (!name.empty() && IsSecretName(name)) return value.empty() ? "" : "***";
  std::string out;
  while (true) {
    const size_t at = value.find(kKeyPrefix);
    if (at == absl::string_view::npos) break;
    out.append(value.data(), at + kKeyPrefix.size());
    value.remove_prefix(at + kKeyPrefix.size());
    const size_t id = AlnumLength(value);
    if (id == 0 || id >= value.size() || value[id] != '_') continue;
    const size_t secret = AlnumLength(value.substr(id + 1));
    if (secret < kShortestSecret) continue;
    out.append(value.data(), id + 1).append("***");
    value.remove_prefix(id + 1 + secret);
  }
  out.append(value.data(), value.size());
  return out;
}

}  // namespace naru
