// What a Source reads from, apart from Kafka itself: tests give their own.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/kafka/raw_consumer.h"
#include "common/secret/secret.h"

namespace naru::catalog::v1 {
class KafkaSource;
}

namespace naru::ingest {

/// Topics of somebody else's, read from positions that the caller keeps. Not thread-safe, but Cancel is. The calls are those of
/// kafka::RawConsumer, with its errors.
class SourceReader {
 public:
  virtual ~SourceReader() = default;
  virtual absl::StatusOr<int> PartitionCount(const std::string& topic) = 0;
  /// The offset after the last message, for each partition.
  virtual absl::StatusOr<kafka::PartitionOffsets> Ends(const std::string& topic, const std::vector<int>& partitions) = 0;
  virtual absl::Status Assign(const std::vector<kafka::RawPosition>& positions) = 0;
  virtual absl::StatusOr<std::vector<kafka::RawBatch>> Poll(std::chrono::milliseconds max_wait, size_t max_bytes) = 0;
  /// Tells the cluster how far this is, for its own tools.
  virtual void CommitAdvisory(const std::vector<kafka::RawPosition>& next) = 0;
  virtual void Cancel() = 0;
};

/// Opens the reader of a Source. `name` is the Source's.
using OpenSourceReader =
    std::function<absl::StatusOr<std::unique_ptr<SourceReader>>(const std::string& name, const catalog::v1::KafkaSource& spec)>;

/// Reads somebody else's Kafka. Errors: INVALID_ARGUMENT names a wrong setting, or a `${secret:...}`, `${file:...}` or
/// `${env:...}` that is not there.
absl::StatusOr<std::unique_ptr<SourceReader>> OpenKafkaReader(const std::string& name, const catalog::v1::KafkaSource& spec,
                                                              const SecretOptions& secrets);

}  // namespace naru::ingest
