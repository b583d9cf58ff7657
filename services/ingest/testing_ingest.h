// What the tests of ingest share: a whole ingest on an embedded log, and a log that fails when it is told to.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/catalog/catalog.h"
#include "common/catalog/catalog_writer.h"
#include "common/clock/clock.h"
#include "common/event/event_writer.h"
#include "common/event_log/rocks_event_log.h"
#include "common/metrics/metrics.h"
#include "common/sync/mutex.h"
#include "common/testing/testing.h"
#include "google/protobuf/text_format.h"
#include "naru/catalog/v1/catalog.pb.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/ingest/ingest.h"

namespace naru::ingest {

/// An EventLog in front of another one, whose appends can be held back or made to fail, and whose local store can be
/// hidden, as if it were on Kafka. Thread-safe.
class ControlledLog : public event_log::EventLog {
 public:
  explicit ControlledLog(event_log::EventLog* log) : log_(log) {}

  void HideLocalStore() { hidden_ = true; }
  /// While it is on, appends to `events` and `events.dlq` wait until Release.
  void Hold(bool hold) {
    MutexLock lock(&mu_);
    hold_ = hold;
  }
  size_t held() const {
    MutexLock lock(&mu_);
    return held_.size();
  }
  /// Lets a held append (0 = the oldest) go on, or fail with `status`.
  void Release(absl::Status status = absl::OkStatus(), size_t index = 0) {
    Held first;
    {
      MutexLock lock(&mu_);
      first = std::move(held_[index]);
      held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
    }
    if (status.ok()) {
      first.producer->AppendAsync(std::move(first.batches), std::move(first.local), std::move(first.done));
    } else {
      first.done(status);
    }
  }
  /// The next commits of transactions are made, and fail with these all the same, as if their answers were lost.
  void LoseAnswers(std::vector<absl::Status> statuses) {
    MutexLock lock(&mu_);
    lost_answers_.assign(statuses.begin(), statuses.end());
  }
  /// The next appends fail at once.
  void FailNext(std::vector<absl::Status> statuses) {
    MutexLock lock(&mu_);
    failures_.assign(statuses.begin(), statuses.end());
  }

  absl::Status CreateTopic(const event_log::TopicConfig& config) override { return log_->CreateTopic(config); }
  absl::StatusOr<event_log::TopicInfo> DescribeTopic(const std::string& topic) override {
    return log_->DescribeTopic(topic);
  }
  absl::StatusOr<std::vector<std::string>> ListTopics() override { return log_->ListTopics(); }
  absl::StatusOr<std::unique_ptr<event_log::Producer>> OpenProducer(
      const event_log::ProducerOptions& options) override {
    auto producer = log_->OpenProducer(options);
    if (!producer.ok()) return producer.status();
    return std::make_unique<ControlledProducer>(this, *std::move(producer));
  }
  absl::StatusOr<std::unique_ptr<event_log::Reader>> OpenReader(const std::string& topic,
                                                                std::vector<event_log::ReadPosition> from) override {
    return log_->OpenReader(topic, std::move(from));
  }
  absl::StatusOr<std::unique_ptr<event_log::Consumer>> OpenConsumer(const std::string& group, const std::string& topic,
                                                                    event_log::RebalanceListener listener) override {
    return log_->OpenConsumer(group, topic, std::move(listener));
  }
  absl::StatusOr<std::vector<std::pair<int, int64_t>>> CommittedOffsets(const std::string& group,
                                                                        const std::string& topic) override {
    return log_->CommittedOffsets(group, topic);
  }
  absl::Status DeleteGroup(const std::string& group, const std::string& topic) override {
    return log_->DeleteGroup(group, topic);
  }
  absl::Status RunMaintenance() override { return log_->RunMaintenance(); }
  event_log::LocalStore* local_store() override { return hidden_ ? nullptr : log_->local_store(); }
  event_log::RecoveryReport recovery_report() override { return log_->recovery_report(); }
  absl::Status Health() override { return log_->Health(); }
  int64_t disk_free_bytes() override { return log_->disk_free_bytes(); }

 private:
  struct Held {
    event_log::Producer* producer;
    std::vector<event_log::AppendBatch> batches;
    std::vector<event_log::LocalWrite> local;
    event_log::Producer::Callback done;
  };
  class ControlledProducer : public event_log::Producer {
   public:
    ControlledProducer(ControlledLog* log, std::unique_ptr<event_log::Producer> real)
        : log_(log), real_(std::move(real)) {}
    void AppendAsync(std::vector<event_log::AppendBatch> batches, std::vector<event_log::LocalWrite> local,
                     Callback done) override {
      absl::Status failure;
      {
        MutexLock lock(&log_->mu_);
        const bool events = batches.empty() || batches[0].topic == event_log::kEventsTopic ||
                            batches[0].topic == event_log::kDeadLetterTopic;
        if (events && !log_->failures_.empty()) {
          failure = log_->failures_.front();
          log_->failures_.pop_front();
        } else if (events && log_->hold_) {
          log_->held_.push_back({real_.get(), std::move(batches), std::move(local), std::move(done)});
          return;
        }
      }
      if (!failure.ok()) {
        done(failure);
        return;
      }
      real_->AppendAsync(std::move(batches), std::move(local), std::move(done));
    }
    absl::StatusOr<event_log::AppendResult> Commit(const event_log::Transaction& transaction) override {
      auto result = real_->Commit(transaction);
      MutexLock lock(&log_->mu_);
      if (log_->lost_answers_.empty()) return result;
      const absl::Status lost = log_->lost_answers_.front();
      log_->lost_answers_.pop_front();
      if (!lost.ok()) return lost;
      return result;
    }

   private:
    ControlledLog* const log_;
    const std::unique_ptr<event_log::Producer> real_;
  };

  event_log::EventLog* const log_;
  bool hidden_ = false;
  mutable Mutex mu_;
  bool hold_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<Held> held_ ABSL_GUARDED_BY(mu_);
  std::deque<absl::Status> failures_ ABSL_GUARDED_BY(mu_);
  std::deque<absl::Status> lost_answers_ ABSL_GUARDED_BY(mu_);
};

/// An event as bytes. `data` is the wire form of a Struct.
inline std::string MakeEvent(const std::string& id, const std::string& type, const std::string& data = "",
                             const std::string& subject = "user", const std::string& source = "test") {
  std::string bytes;
  event::AppendEvent({.id = id, .source = source, .type = type, .subject = subject, .data = data}, &bytes);
  return bytes;
}

inline std::string NumberData(const std::string& key, double number) {
  std::string data;
  event::StructWriter(&data).AddNumber(key, number);
  return data;
}

/// A whole ingest in a directory of its own, with a clock that stands still.
class TestIngest {
 public:
  static constexpr int64_t kNow = int64_t{1'700'000'000} * 1'000'000;

  explicit TestIngest(bool like_kafka = false) : like_kafka_(like_kafka) {
    options.state_dir = dir_.File("ids");
    options.instance = "a";
  }
  ~TestIngest() { Close(); }

  void Open() {
    event_log::RocksEventLogOptions log_options;
    log_options.path = dir_.File("log");
    log_options.clock = &clock;
    log_options.disk_reserve_bytes = 0;
    log_options.maintenance_interval = std::chrono::milliseconds(0);
    auto opened = event_log::RocksEventLog::Open(log_options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    rocks_ = *std::move(opened);
    log = std::make_unique<ControlledLog>(rocks_.get());
    if (like_kafka_) log->HideLocalStore();
    auto catalog_opened = catalog::Catalog::Open(*log, clock);
    ASSERT_TRUE(catalog_opened.ok()) << catalog_opened.status();
    catalog = *std::move(catalog_opened);
    writer = std::make_unique<catalog::CatalogWriter>(*log, *catalog, clock, *Random::System(), nullptr);
    IngestDependencies dependencies;
    dependencies.log = log.get();
    dependencies.catalog = catalog.get();
    dependencies.metrics = &metrics;
    dependencies.clock = &clock;
    dependencies.data_dir = dir_.path();
    auto ingest_opened = Ingest::Open(options, dependencies);
    ASSERT_TRUE(ingest_opened.ok()) << ingest_opened.status();
    ingest = *std::move(ingest_opened);
    ASSERT_TRUE(testing::WaitUntil([&] { return ingest->bookkeeping().Ready().ok(); }));
  }
  void Close() {
    ingest.reset();
    writer.reset();
    catalog.reset();
    log.reset();
    rocks_.reset();
  }
  void Reopen() {
    Close();
    Open();
  }

  /// Registers an event type; `spec` is the text form of naru.catalog.v1.EventType.
  void ApplyType(const std::string& name, const std::string& spec) {
    catalog::v1::Resource resource;
    resource.set_api_version("naru.dev/v1");
    resource.set_kind("EventType");
    resource.mutable_metadata()->set_name(name);
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(spec, resource.mutable_event_type())) << spec;
    const auto applied = writer->Apply({resource}, false);
    ASSERT_TRUE(applied.ok()) << applied.status();
  }

  /// Submits and waits.
  absl::StatusOr<BatchResult> Publish(std::vector<std::string> events) {
    auto owner = std::make_shared<std::vector<std::string>>(std::move(events));
    Batch batch;
    batch.events.assign(owner->begin(), owner->end());
    batch.owner = owner;
    return ingest->pipeline().SubmitAndWait(std::move(batch));
  }
  Counts Totals() {
    EXPECT_TRUE(ingest->bookkeeping().CatchUp().ok());
    return ingest->bookkeeping().Totals();
  }
  /// All records of a topic.
  struct Stored {
    int partition;
    int64_t offset;
    int64_t timestamp_us;
    std::string schema, key, value;
  };
  std::vector<Stored> ReadAll(const std::string& topic) {
    std::vector<Stored> all;
    const auto info = log->DescribeTopic(topic);
    EXPECT_TRUE(info.ok());
    for (const auto& partition : info->partitions) {
      if (partition.start_offset == partition.end_offset) continue;
      auto reader = log->OpenReader(topic, {{partition.partition}});
      int64_t next = partition.start_offset;
      while (next < partition.end_offset) {
        const auto batches = (*reader)->Poll(std::chrono::seconds(5), 1 << 20);
        EXPECT_TRUE(batches.ok()) << batches.status();
        if (!batches.ok() || batches->empty()) break;
        for (const auto& batch : *batches) {
          for (const auto& record : batch.records) {
            all.push_back({batch.partition, record.offset, record.timestamp_us, batch.headers.schema,
                           std::string(record.key), std::string(record.value)});
          }
          next = batch.next_offset;
        }
      }
    }
    return all;
  }

  FakeClock clock{kNow};
  MetricRegistry metrics;
  IngestOptions options;
  std::unique_ptr<ControlledLog> log;
  std::unique_ptr<catalog::Catalog> catalog;
  std::unique_ptr<catalog::CatalogWriter> writer;
  std::unique_ptr<Ingest> ingest;

 private:
  const bool like_kafka_;
  testing::TempDir dir_;
  std::unique_ptr<event_log::RocksEventLog> rocks_;
};

}  // namespace naru::ingest
