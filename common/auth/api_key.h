// API keys: `naru_<id>_<secret>`, 256 random bits of which only the SHA-256 is kept.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/clock/clock.h"
#include "common/sync/mutex.h"

namespace naru {

/// What a caller may do. `admin` implies the other two; publish and read do not imply each other.
enum class Scope : uint8_t { kPublish = 1, kRead = 2, kAdmin = 4 };

/// A set of scopes.
class Scopes {
 public:
  constexpr Scopes() = default;
  constexpr Scopes(Scope scope) : bits_(static_cast<uint8_t>(scope)) {}  // NOLINT: implicit, one scope is a set
  constexpr Scopes operator|(Scopes other) const { return Scopes(static_cast<uint8_t>(bits_ | other.bits_)); }
  /// Whether this set lets its owner do what needs `scope`.
  constexpr bool Allow(Scope scope) const {
    return (bits_ & (static_cast<uint8_t>(scope) | static_cast<uint8_t>(Scope::kAdmin))) != 0;
  }
  constexpr bool empty() const { return bits_ == 0; }
  /// `publish`, `read`, `admin`, in this order.
  std::vector<std::string> Names() const;
  /// Errors: INVALID_ARGUMENT (reason SCOPE) naming the unknown one; an empty list is an error too.
  static absl::StatusOr<Scopes> FromNames(const std::vector<std::string>& names);
  friend constexpr bool operator==(Scopes, Scopes) = default;

 private:
  constexpr explicit Scopes(uint8_t bits) : bits_(bits) {}
  uint8_t bits_ = 0;
};

/// The name of one scope.
absl::string_view ScopeName(Scope scope);

/// Who calls.
struct Principal {
  std::string key_id;
  Scopes scopes;
};

/// A freshly made key. `key` is shown to its owner once and never kept.
struct NewApiKey {
  std::string id;      ///< 12 of a-z and 2-7
  std::string key;     ///< `naru_<id>_<64 hexadecimal digits>`
  std::string sha256;  ///< 32 bytes
};
NewApiKey MakeApiKey(Random& random);

/// The SHA-256 of the whole key, 32 bytes.
std::string HashApiKey(absl::string_view key);

/// The id inside a well-formed key; nothing for any other text.
std::optional<std::string> ApiKeyId(absl::string_view key);

/// The key in the value of an `authorization` header (`Bearer <key>`, any case of the word); empty when there is none.
absl::string_view BearerToken(absl::string_view header);

/// Knows the valid keys.
class KeyStore {
 public:
  virtual ~KeyStore() = default;
  /// Who owns `key`, when it is valid now. Takes the same time wherever a wrong key differs from a right one.
  /// Thread-safe; does not block on anything outside the process.
  virtual std::optional<Principal> Check(absl::string_view key) const = 0;
};

/// Keys in memory, kept up to date by whoever follows the catalog. Thread-safe.
class MemoryKeyStore : public KeyStore {
 public:
  /// What is kept of a key.
  struct Entry {
    std::string id;
    Scopes scopes;
    std::string sha256;  ///< 32 bytes
    bool revoked = false;
  };
  /// Adds or replaces the key with this id.
  void Put(Entry entry);
  void Remove(absl::string_view id);
  /// Puts exactly these in place of all.
  void Replace(std::vector<Entry> entries);
  size_t size() const;

  std::optional<Principal> Check(absl::string_view key) const override;

 private:
  mutable Mutex mu_;
  std::map<std::string, Entry, std::less<>> entries_ ABSL_GUARDED_BY(mu_);
};

}  // namespace naru
