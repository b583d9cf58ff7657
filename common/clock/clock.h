// Time and randomness as things that tests decide.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace naru {

/// The time of day and a stopwatch. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Microseconds since 1970-01-01T00:00:00Z; may jump when the machine's clock is set.
  virtual int64_t NowMicros() const = 0;
  /// Microseconds since some fixed moment; never goes back. For durations and deadlines.
  virtual int64_t MonotonicMicros() const = 0;
  /// The machine's clock; lives as long as the process.
  static const Clock* System();
};

/// A clock that stands still until it is told otherwise.
class FakeClock : public Clock {
 public:
  explicit FakeClock(int64_t now_us) : now_us_(now_us) {}
  int64_t NowMicros() const override { return now_us_.load(); }
  int64_t MonotonicMicros() const override { return monotonic_us_.load(); }
  void Advance(std::chrono::microseconds by) {
    now_us_ += by.count();
    monotonic_us_ += by.count();
  }
  void SetNowMicros(int64_t now_us) { now_us_ = now_us; }

 private:
  std::atomic<int64_t> now_us_;
  std::atomic<int64_t> monotonic_us_{0};
};

/// A source of random bits. Thread-safe.
class Random {
 public:
  virtual ~Random() = default;
  virtual uint64_t Next() = 0;
  /// The operating system's generator (getrandom): good enough for keys.
  static Random* System();
};

/// A seeded, repeatable generator (SplitMix64).
class SeededRandom : public Random {
 public:
  explicit SeededRandom(uint64_t seed) : state_(seed) {}
  uint64_t Next() override {
    uint64_t z = state_.fetch_add(0x9E3779B97F4A7C15ull) + 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }

 private:
  std::atomic<uint64_t> state_;
};

/// Returns a UUIDv7 (RFC 9562) in its 36-character form; times of one clock sort by it to the millisecond.
std::string MakeUuidV7(const Clock& clock, Random& random);

}  // namespace naru
