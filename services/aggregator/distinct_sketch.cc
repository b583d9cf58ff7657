#include "services/aggregator/distinct_sketch.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "services/aggregator/sketch_bytes.h"

namespace naru::aggregator {
namespace {

constexpr uint8_t kVersion = 1;
enum Form : uint8_t { kExactForm = 0, kSparseForm = 1, kDenseForm = 2 };
constexpr int kMaxRank = 64 - DistinctSketch::kIndexBits + 1;

// The two series of Ertl's estimator (arXiv:1702.01284, section 4).
double Sigma(double x) {
  if (x == 1) return std::numeric_limits<double>::infinity();
  double y = 1, z = x;
  for (;;) {
    x *= x;
    const double before = z;
    z += x * y;
    y += y;
    if (z == before) return z;
  }
}

double Tau(double x) {
  if (x == 0 || x == 1) return 0;
  double y = 1, z = 1 - x;
  for (;;) {
    x = std::sqrt(x);
    const double before = z;
    y *= 0.5;
    z -= (1 - x) * (1 - x) * y;
    if (z == before) return z / 3;
  }
}

}  // namespace

template <typename Fn>
void DistinctSketch::ForEachHash(Fn&& fn) const {
  if (has_zero_) fn(uint64_t{0});
  for (const uint64_t hash : slots_) {
    if (hash != 0) fn(hash);
  }
}

void DistinctSketch::Add(uint64_t hash) {
  if (exact()) {
    AddExact(hash);
  } else {
    AddRegister(hash);
  }
}

void DistinctSketch::AddExact(uint64_t hash) {
  if (hash == 0) {
    if (!has_zero_) ++size_;
    has_zero_ = true;
  } else {
    if (static_cast<size_t>(size_) * 2 >= slots_.size()) Grow(std::max<size_t>(8, slots_.size() * 2));
    const size_t mask = slots_.size() - 1;
    size_t at = hash & mask;
    while (slots_[at] != 0 && slots_[at] != hash) at = (at + 1) & mask;
    if (slots_[at] == hash) return;
    slots_[at] = hash;
    ++size_;
  }
  if (size_ > kExactLimit) ToRegisters();
}

void DistinctSketch::Grow(size_t slots) {
  std::vector<uint64_t> old(slots);
  old.swap(slots_);
  const size_t mask = slots - 1;
  for (const uint64_t hash : old) {
    if (hash == 0) continue;
    size_t at = hash & mask;
    while (slots_[at] != 0) at = (at + 1) & mask;
    slots_[at] = hash;
  }
}

void DistinctSketch::ToRegisters() {
  registers_.assign(kRegisters, 0);
  ForEachHash([this](uint64_t hash) { AddRegister(hash); });
  slots_ = {};
  size_ = 0;
  has_zero_ = false;
}

void DistinctSketch::AddRegister(uint64_t hash) {
  const size_t index = hash >> (64 - kIndexBits);
  const uint64_t rest = hash << kIndexBits;
  const uint8_t rank = rest == 0 ? kMaxRank : static_cast<uint8_t>(__builtin_clzll(rest) + 1);
  if (rank > registers_[index]) registers_[index] = rank;
}

void DistinctSketch::Merge(const DistinctSketch& other) {
  if (other.exact()) {
    other.ForEachHash([this](uint64_t hash) { Add(hash); });
    return;
  }
  if (exact()) ToRegisters();
  for (int i = 0; i < kRegisters; ++i) registers_[i] = std::max(registers_[i], other.registers_[i]);
}

int64_t DistinctSketch::Estimate() const {
  if (exact()) return size_;
  std::array<int, kMaxRank + 1> counts{};
  for (const uint8_t rank : registers_) ++counts[rank];
  const double m = kRegisters;
  double z = m * Tau(1 - counts[kMaxRank] / m);
  for (int rank = kMaxRank - 1; rank >= 1; --rank) z = 0.5 * (z + counts[rank]);
  z += m * Sigma(counts[0] / m);
  return std::llround(m * m / (2 * std::log(2.0) * z));
}

void DistinctSketch::Encode(std::string* out) const {
  out->push_back(kVersion);
  if (exact()) {
    out->push_back(kExactForm);
    PutVarint(size_, out);
    // Sorted, so that equal states are equal bytes.
    std::vector<uint64_t> hashes;
    hashes.reserve(size_);
    ForEachHash([&hashes](uint64_t hash) { hashes.push_back(hash); });
    std::sort(hashes.begin(), hashes.end());
    for (const uint64_t hash : hashes) PutFixed64(hash, out);
    return;
  }
  const int used = kRegisters - static_cast<int>(std::count(registers_.begin(), registers_.end(), 0));
  // A sparse entry takes two bytes nearly always, a dense register 6 bits.
  if (used * 2 < kRegisters * 6 / 8) {
    out->push_back(kSparseForm);
    PutVarint(used, out);
    int next = 0;
    for (int i = 0; i < kRegisters; ++i) {
      if (registers_[i] == 0) continue;
      PutVarint(i - next, out);
      out->push_back(static_cast<char>(registers_[i]));
      next = i + 1;
    }
    return;
  }
  out->push_back(kDenseForm);
  for (int i = 0; i < kRegisters; i += 4) {
    const uint32_t packed = registers_[i] | registers_[i + 1] << 6 | registers_[i + 2] << 12 | registers_[i + 3] << 18;
    out->push_back(static_cast<char>(packed));
    out->push_back(static_cast<char>(packed >> 8));
    out->push_back(static_cast<char>(packed >> 16));
  }
}

bool DistinctSketch::MergeEncoded(absl::string_view in) {
  uint8_t version, form;
  if (!GetByte(&in, &version) || version != kVersion || !GetByte(&in, &form)) return false;
  uint64_t count = 0;
  if (form == kExactForm) {
    if (!GetVarint(&in, &count) || count > kExactLimit || in.size() != count * 8) return false;
    for (uint64_t i = 0, hash = 0; i < count && GetFixed64(&in, &hash); ++i) Add(hash);
    return true;
  }
  if (form != kSparseForm && form != kDenseForm) return false;
  if (exact()) ToRegisters();
  if (form == kDenseForm) {
    if (in.size() != kRegisters * 6 / 8) return false;
    for (int i = 0; i < kRegisters; ++i) {
      const int bit = i * 6;
      const uint32_t low = static_cast<uint8_t>(in[bit / 8]);
      const uint32_t high = bit / 8 + 1 < static_cast<int>(in.size()) ? static_cast<uint8_t>(in[bit / 8 + 1]) : 0;
      const uint8_t rank = ((low | high << 8) >> (bit % 8)) & 63;
      if (rank > kMaxRank) return false;
      registers_[i] = std::max(registers_[i], rank);
    }
    return true;
  }
  if (!GetVarint(&in, &count) || count > kRegisters) return false;
  uint64_t next = 0;
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t gap;
    uint8_t rank;
    if (!GetVarint(&in, &gap) || !GetByte(&in, &rank) || gap >= kRegisters || next + gap >= kRegisters ||
        rank > kMaxRank)
      return false;
    registers_[next + gap] = std::max(registers_[next + gap], rank);
    next += gap + 1;
  }
  return in.empty();
}

}  // namespace naru::aggregator
