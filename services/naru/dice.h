// A seeded generator for simulations: the same key gives the same throws on every machine and for ever.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace naru::cli {

/// SplitMix64's mixing step: a bijection whose output looks random.
inline uint64_t Mix(uint64_t z) {
  z += 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

/// Throws that depend on nothing but the key: `Dice({seed, day, session})`. Not thread-safe; cheap to make.
class Dice {
 public:
  Dice(std::initializer_list<uint64_t> key) {
    for (const uint64_t part : key) state_ = Mix(state_ ^ part);
  }
  uint64_t Next() { return Mix(state_ += 0x9E3779B97F4A7C15ull); }
  /// In [0, 1).
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  /// In [0, n); n > 0.
  int64_t Below(int64_t n) { return static_cast<int64_t>(Unit() * static_cast<double>(n)); }
  /// In [low, high].
  int64_t Between(int64_t low, int64_t high) { return low + Below(high - low + 1); }
  bool Chance(double share) { return Unit() < share; }
  /// Positive, with this mean.
  double Exponential(double mean) { return -mean * std::log1p(-Unit()); }
  /// An index of `weights`, by weight.
  template <typename Weights>
  size_t Pick(const Weights& weights) {
    double total = 0;
    for (const double weight : weights) total += weight;
    double left = Unit() * total;
    size_t index = 0;
    size_t last = 0;
    for (const double weight : weights) {
      if (weight > 0) last = index;
      if (left < weight) return index;
      left -= weight;
      ++index;
    }
    return last;
  }

 private:
  uint64_t state_ = 0x6E61727521ull;
};

}  // namespace naru::cli
