#include "common/event_log/event_log.h"

#include <optional>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/sync/mutex.h"

namespace naru::event_log {

absl::StatusOr<AppendResult> Producer::Append(std::vector<AppendBatch> batches, std::vector<LocalWrite> local) {
  Mutex mu;
  CondVar cv;
  std::optional<absl::StatusOr<AppendResult>> result;
  AppendAsync(std::move(batches), std::move(local), [&](absl::StatusOr<AppendResult> r) {
    MutexLock lock(&mu);
    result = std::move(r);
    // Under the lock: as soon as the waiter sees the result it destroys what is signalled here.
    cv.Signal();
  });
  MutexLock lock(&mu);
  while (!result.has_value()) cv.Wait(&mu);
  return *std::move(result);
}

int PartitionOf(absl::string_view key, int partitions) {
  if (partitions <= 1) return 0;
  // The high bits, scaled: no division, and the same answer on every machine.
  const uint64_t hash = XXH3_64bits(key.data(), key.size());
  return static_cast<int>((static_cast<unsigned __int128>(hash) * static_cast<uint64_t>(partitions)) >> 64);
}

}  // namespace naru::event_log
