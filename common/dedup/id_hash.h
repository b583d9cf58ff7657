// What is kept of an event's identity.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace naru::dedup {

/// 96 bits of a keyed hash of (source, id). Two of 20 million ids are equal by chance once in 10^14 such days.
struct IdHash {
  uint64_t hi = 0;
  uint32_t lo = 0;
  friend bool operator==(const IdHash&, const IdHash&) = default;
  friend auto operator<=>(const IdHash&, const IdHash&) = default;
};

/// The key of the hash, one for each data directory, so that nobody outside can make ids that collide.
using HashKey = std::array<uint8_t, 32>;

/// Hashes identities. Immutable; thread-safe. About 20 ns an id.
class IdHasher {
 public:
  explicit IdHasher(const HashKey& key);
  /// `source` and `id` together at most 64 KiB.
  IdHash Hash(absl::string_view source, absl::string_view id) const;
  /// Tells keys apart without revealing them: files remember which key their hashes were made with.
  uint64_t fingerprint() const { return fingerprint_; }

 private:
  std::array<uint8_t, 192> secret_;
  uint64_t fingerprint_;
};

/// Appends 12 bytes for each hash.
void AppendHashes(absl::Span<const IdHash> hashes, std::string* out);
/// The inverse; false if `bytes` is not a whole number of hashes.
bool ParseHashes(absl::string_view bytes, std::vector<IdHash>* hashes);

}  // namespace naru::dedup
