#include "common/clock/clock.h"

#include <sys/random.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>

namespace naru {
namespace {

int64_t ReadClock(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000;
}

class SystemClock : public Clock {
 public:
  int64_t NowMicros() const override { return ReadClock(CLOCK_REALTIME); }
  int64_t MonotonicMicros() const override { return ReadClock(CLOCK_MONOTONIC); }
};

// Numbers are taken from the kernel a page at a time: an id is needed for every event, a system call for each would
// cost more than all the rest of making it. Numbers are wiped once handed out, so that a key never stays in the buffer.
struct RandomBuffer {
  uint64_t numbers[64];
  size_t left = 0;
};

void FillFromKernel(void* data, size_t size) {
  auto* bytes = static_cast<unsigned char*>(data);
  while (size > 0) {
    const ssize_t got = getrandom(bytes, size, 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      std::abort();  // no entropy: nothing that needs it may go on
    }
    bytes += got;
    size -= static_cast<size_t>(got);
  }
}

class SystemRandom : public Random {
 public:
  uint64_t Next() override {
    thread_local RandomBuffer buffer;
    if (buffer.left == 0) {
      FillFromKernel(buffer.numbers, sizeof(buffer.numbers));
      buffer.left = 64;
    }
    --buffer.left;
    const uint64_t number = buffer.numbers[buffer.left];
    buffer.numbers[buffer.left] = 0;
    return number;
  }
};

constexpr char kHex[] = "0123456789abcdef";

// Writes the lowest `digits` hexadecimal digits of `value`, most significant first.
char* PutHex(char* out, uint64_t value, int digits) {
  for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4) *out++ = kHex[(value >> shift) & 15];
  return out;
}

}  // namespace

const Clock* Clock::System() {
  static const SystemClock* const clock = new SystemClock;  // never destroyed: used by threads that outlive main
  return clock;
}

Random* Random::System() {
  static SystemRandom* const random = new SystemRandom;
  return random;
}

std::string MakeUuidV7(const Clock& clock, Random& random) {
  const uint64_t millis = static_cast<uint64_t>(clock.NowMicros() / 1000);
  const uint64_t a = random.Next();
  const uint64_t b = random.Next();
  std::string text(36, '-');
  char* out = text.data();
  out = PutHex(out, millis >> 16, 8) + 1;
  out = PutHex(out, millis, 4) + 1;
  out = PutHex(out, 0x7000 | (a & 0x0FFF), 4) + 1;
  out = PutHex(out, 0x8000 | ((a >> 16) & 0x3FFF), 4) + 1;
  PutHex(out, b, 12);
  return text;
}

}  // namespace naru
