#include "common/dedup/id_hash.h"

#include <bit>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace naru::dedup {
namespace {

static_assert(std::endian::native == std::endian::little, "files hold little-endian numbers as they are in memory");
constexpr size_t kHashBytes = 12;

}  // namespace

IdHasher::IdHasher(const HashKey& key) {
  static_assert(sizeof(secret_) >= XXH3_SECRET_SIZE_MIN);
  // Each 8 bytes of the secret from the key and a counter: XXH3 asks for bytes that look random, and these do.
  for (uint64_t i = 0; i * 8 < secret_.size(); ++i) {
    uint8_t input[40];
    std::memcpy(input, key.data(), 32);
    std::memcpy(input + 32, &i, 8);
    const uint64_t word = XXH3_64bits(input, sizeof(input));
    std::memcpy(secret_.data() + i * 8, &word, 8);
  }
  fingerprint_ = XXH3_64bits_withSeed(key.data(), key.size(), 0x6e617275);
}

IdHash IdHasher::Hash(absl::string_view source, absl::string_view id) const {
  // The source's length goes first, so that ("ab", "c") and ("a", "bc") differ.
  char buffer[512];
  std::string large;
  char* p = buffer;
  const size_t size = 2 + source.size() + id.size();
  if (size > sizeof(buffer)) {
    large.resize(size);
    p = large.data();
  }
  const uint16_t length = static_cast<uint16_t>(source.size());
  std::memcpy(p, &length, 2);
  std::memcpy(p + 2, source.data(), source.size());
  std::memcpy(p + 2 + source.size(), id.data(), id.size());
  const XXH128_hash_t hash = XXH3_128bits_withSecret(p, size, secret_.data(), secret_.size());
  return IdHash{hash.high64, static_cast<uint32_t>(hash.low64)};
}

void AppendHashes(absl::Span<const IdHash> hashes, std::string* out) {
  const size_t start = out->size();
  out->resize(start + hashes.size() * kHashBytes);
  char* p = out->data() + start;
  for (const IdHash& hash : hashes) {
    std::memcpy(p, &hash.hi, 8);
    std::memcpy(p + 8, &hash.lo, 4);
    p += kHashBytes;
  }
}

bool ParseHashes(absl::string_view bytes, std::vector<IdHash>* hashes) {
  if (bytes.size() % kHashBytes != 0) return false;
  hashes->resize(bytes.size() / kHashBytes);
  const char* p = bytes.data();
  for (IdHash& hash : *hashes) {
    std::memcpy(&hash.hi, p, 8);
    std::memcpy(&hash.lo, p + 8, 4);
    p += kHashBytes;
  }
  return true;
}

}  // namespace naru::dedup
