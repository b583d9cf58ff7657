// Topics in memory, instead of somebody else's Kafka.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/sync/mutex.h"
#include "services/ingest/source_reader.h"

namespace naru::ingest {

/// Thread-safe; outlives the readers that it opens.
class FakeTopics {
 public:
  void Create(const std::string& topic, int partitions) {
    MutexLock lock(&mu_);
    topics_[topic].resize(partitions);
  }
  void Add(const std::string& topic, int partition, std::string value) {
    MutexLock lock(&mu_);
    topics_[topic][partition].push_back({std::move(value), false});
  }
  void AddTombstone(const std::string& topic, int partition) {
    MutexLock lock(&mu_);
    topics_[topic][partition].push_back({"", true});
  }
  /// The next polls fail with these.
  void FailPolls(std::vector<absl::Status> statuses) {
    MutexLock lock(&mu_);
    failures_.assign(statuses.begin(), statuses.end());
  }
  int opened() const {
    MutexLock lock(&mu_);
    return opened_;
  }
  OpenSourceReader Opener() {
    return [this](const std::string&, const catalog::v1::KafkaSource&) -> absl::StatusOr<std::unique_ptr<SourceReader>> {
      MutexLock lock(&mu_);
      ++opened_;
      return std::make_unique<Reader>(this);
    };
  }

 private:
  struct Message {
    std::string value;
    bool null_value = false;
  };

  class Reader : public SourceReader {
   public:
    explicit Reader(FakeTopics* topics) : topics_(topics) {}
    absl::StatusOr<int> PartitionCount(const std::string& topic) override {
      MutexLock lock(&topics_->mu_);
      const auto found = topics_->topics_.find(topic);
      if (found == topics_->topics_.end()) return absl::NotFoundError("there is no topic " + topic);
      return static_cast<int>(found->second.size());
    }
    absl::StatusOr<kafka::PartitionOffsets> Ends(const std::string& topic, const std::vector<int>& partitions) override {
      MutexLock lock(&topics_->mu_);
      kafka::PartitionOffsets ends;
      for (int partition : partitions) {
        ends.emplace_back(partition, static_cast<int64_t>(topics_->topics_[topic][partition].size()));
      }
      return ends;
    }
    absl::Status Assign(const std::vector<kafka::RawPosition>& positions) override {
      MutexLock lock(&topics_->mu_);
      next_.clear();
      for (const kafka::RawPosition& position : positions) {
        const auto size = static_cast<int64_t>(topics_->topics_[position.topic][position.partition].size());
        next_[{position.topic, position.partition}] = position.kind == kafka::RawPosition::Kind::kOffset ? position.value
                                                      : position.kind == kafka::RawPosition::Kind::kEnd  ? size
                                                                                                         : 0;
      }
      return absl::OkStatus();
    }
    absl::StatusOr<std::vector<kafka::RawBatch>> Poll(std::chrono::milliseconds max_wait, size_t /*max_bytes*/) override {
      MutexLock lock(&topics_->mu_);
      if (!topics_->failures_.empty()) {
        const absl::Status failure = topics_->failures_.front();
        topics_->failures_.pop_front();
        return failure;
      }
      std::vector<kafka::RawBatch> batches;
      for (auto& [key, next] : next_) {
        const auto& messages = topics_->topics_[key.first][key.second];
        if (next >= static_cast<int64_t>(messages.size())) continue;
        kafka::RawBatch batch;
        batch.topic = key.first;
        batch.partition = key.second;
        auto owner = std::make_shared<std::vector<std::string>>();
        owner->reserve(messages.size());
        for (int n = 0; n < 700 && next < static_cast<int64_t>(messages.size()); ++n, ++next) {
          owner->push_back(messages[next].value);
          kafka::RawMessage message;
          message.offset = next;
          message.value = owner->back();
          message.null_value = messages[next].null_value;
          batch.messages.push_back(message);
        }
        batch.next_offset = next;
        batch.owner = owner;
        batches.push_back(std::move(batch));
      }
      if (batches.empty() && !cancelled_) changed_.WaitFor(&topics_->mu_, std::min(max_wait, std::chrono::milliseconds(5)));
      if (cancelled_) return absl::CancelledError("cancelled");
      return batches;
    }
    void CommitAdvisory(const std::vector<kafka::RawPosition>& /*next*/) override {}
    void Cancel() override {
      MutexLock lock(&topics_->mu_);
      cancelled_ = true;
      changed_.SignalAll();
    }

   private:
    FakeTopics* const topics_;
    CondVar changed_;
    bool cancelled_ = false;
    std::map<std::pair<std::string, int>, int64_t> next_;
  };

  mutable Mutex mu_;
  std::map<std::string, std::vector<std::vector<Message>>> topics_;
  std::deque<absl::Status> failures_;
  int opened_ = 0;
};

}  // namespace naru::ingest
