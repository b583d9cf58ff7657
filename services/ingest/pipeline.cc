#include "services/ingest/pipeline.h"

#include <optional>

#include "common/sync/mutex.h"

namespace naru::ingest {

absl::StatusOr<BatchResult> IngestPipeline::SubmitAndWait(Batch batch) {
  Mutex mu;
  CondVar cv;
  std::optional<absl::StatusOr<BatchResult>> result;
  Submit(std::move(batch), [&](absl::StatusOr<BatchResult> r) {
    MutexLock lock(&mu);
    result = std::move(r);
    cv.Signal();
  });
  MutexLock lock(&mu);
  while (!result.has_value()) cv.Wait(&mu);
  return *std::move(result);
}

}  // namespace naru::ingest
