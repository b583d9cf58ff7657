#include "common/auth/api_key.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/status.h"

namespace naru {
namespace {

constexpr absl::string_view kPrefix = "naru_";
constexpr size_t kIdLength = 12;
constexpr size_t kSecretDigits = 64;

constexpr struct {
  Scope scope;
  absl::string_view name;
} kScopes[] = {{Scope::kPublish, "publish"}, {Scope::kRead, "read"}, {Scope::kAdmin, "admin"}};

}  // namespace

absl::string_view ScopeName(Scope scope) {
  for (const auto& known : kScopes) {
    if (known.scope == scope) return known.name;
  }
  return "unknown";
}

std::vector<std::string> Scopes::Names() const {
  std::vector<std::string> names;
  for (const auto& known : kScopes) {
    if ((bits_ & static_cast<uint8_t>(known.scope)) != 0) names.emplace_back(known.name);
  }
  return names;
}

absl::StatusOr<Scopes> Scopes::FromNames(const std::vector<std::string>& names) {
  Scopes scopes;
  for (const std::string& name : names) {
    const auto* known = std::find_if(std::begin(kScopes), std::end(kScopes),
                                     [&name](const auto& candidate) { return candidate.name == name; });
    if (known == std::end(kScopes)) {
      return MakeError(absl::StatusCode::kInvalidArgument, "SCOPE",
                       absl::StrCat("`", name, "` is not a scope: publish, read, admin"));
    }
    scopes = scopes | known->scope;
  }
  if (scopes.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "SCOPE", "a key needs a scope: publish, read, admin");
  }
  return scopes;
}

NewApiKey MakeApiKey(Random& random) {
  constexpr char kBase32[] = "abcdefghijklmnopqrstuvwxyz234567";
  NewApiKey made;
  uint64_t bits = random.Next();
  for (size_t i = 0; i < kIdLength; ++i, bits >>= 5) made.id.push_back(kBase32[bits & 31]);
  made.key = absl::StrCat(kPrefix, made.id, "_");
  for (int i = 0; i < 4; ++i) absl::StrAppend(&made.key, absl::Hex(random.Next(), absl::kZeroPad16));
  made.sha256 = HashApiKey(made.key);
  return made;
}

std::string HashApiKey(absl::string_view key) {
  std::string hash(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), reinterpret_cast<unsigned char*>(hash.data()));
  return hash;
}

std::optional<std::string> ApiKeyId(absl::string_view key) {
  if (key.size() != kPrefix.size() + kIdLength + 1 + kSecretDigits || !absl::StartsWith(key, kPrefix)) {
    return std::nullopt;
  }
  const absl::string_view id = key.substr(kPrefix.size(), kIdLength);
  const absl::string_view secret = key.substr(kPrefix.size() + kIdLength + 1);
  const bool well_formed =
      key[kPrefix.size() + kIdLength] == '_' &&
      std::all_of(id.begin(), id.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '2' && c <= '7'); }) &&
      std::all_of(secret.begin(), secret.end(),
                  [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  return well_formed ? std::optional<std::string>(id) : std::nullopt;
}

absl::string_view BearerToken(absl::string_view header) {
  constexpr absl::string_view kBearer = "bearer ";
  if (!absl::StartsWithIgnoreCase(header, kBearer)) return {};
  return absl::StripAsciiWhitespace(header.substr(kBearer.size()));
}

void MemoryKeyStore::Put(Entry entry) {
  MutexLock lock(&mu_);
  std::string id = entry.id;
  entries_[std::move(id)] = std::move(entry);
}

void MemoryKeyStore::Remove(absl::string_view id) {
  MutexLock lock(&mu_);
  if (const auto it = entries_.find(id); it != entries_.end()) entries_.erase(it);
}

void MemoryKeyStore::Replace(std::vector<Entry> entries) {
  std::map<std::string, Entry, std::less<>> replaced;
  for (Entry& entry : entries) {
    std::string id = entry.id;
    replaced[std::move(id)] = std::move(entry);
  }
  MutexLock lock(&mu_);
  entries_ = std::move(replaced);
}

size_t MemoryKeyStore::size() const {
  MutexLock lock(&mu_);
  return entries_.size();
}

std::optional<Principal> MemoryKeyStore::Check(absl::string_view key) const {
  const std::optional<std::string> id = ApiKeyId(key);
  if (!id) return std::nullopt;
  const std::string hash = HashApiKey(key);
  MutexLock lock(&mu_);
  const auto it = entries_.find(*id);
  // The id is public; only the comparison of hashes must not tell how far it got.
  if (it == entries_.end() || it->second.revoked || it->second.sha256.size() != hash.size() ||
      CRYPTO_memcmp(it->second.sha256.data(), hash.data(), hash.size()) != 0) {
    return std::nullopt;
  }
  return Principal{it->second.id, it->second.scopes};
}

}  // namespace naru
