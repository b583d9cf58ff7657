// A disk that is nearly full, and one that is full: writing stops in time, reading goes on, writing resumes by itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/event_log/event_log.h"
#include "common/event_log/rocks_event_log.h"
#include "common/event_log/rocks_test_log.h"
#include "common/rocks/fault_injection_env.h"
#include "common/status/status.h"
#include "common/testing/testing.h"

namespace naru::event_log {
namespace {

class RocksFullDisk : public ::testing::Test {
 protected:
  void MakeTopic(const std::string& name, int64_t retention_bytes = 0) {
    TopicConfig config;
    config.name = name;
    config.retention_bytes = retention_bytes;
    const absl::Status status = log_->CreateTopic(config);
    ASSERT_TRUE(status.ok()) << status;
  }
  absl::Status Append(Producer* producer, size_t bytes) {
    std::string value;
    while (value.size() < bytes) absl::StrAppend(&value, random_.Next());
    const std::vector<Record> records = {{"k", value, TestLog::kNow}};
    return producer->Append({AppendBatch{"events", 0, {}, records}}).status();
  }
  size_t CountRecords() {
    auto reader = log_->OpenReader("events", {{0, ReadPosition::Kind::kOffset, 0}});
    EXPECT_TRUE(reader.ok()) << reader.status();
    size_t count = 0;
    while (reader.ok()) {
      auto batches = (*reader)->Poll(std::chrono::milliseconds(0), 1 << 20);
      EXPECT_TRUE(batches.ok()) << batches.status();
      if (!batches.ok() || batches->empty()) break;
      for (const FetchedBatch& batch : *batches) count += batch.records.size();
    }
    return count;
  }

  SeededRandom random_{1};
  rocks::FaultInjectionEnv env_;
  TestLog log_;
};

TEST_F(RocksFullDisk, NearlyFullRefusesAppendsReadsOnAndResumes) {
  log_.options.env = &env_;
  log_.options.disk_reserve_bytes = 50 << 20;
  log_.Open();
  MakeTopic("events");
  auto producer = log_->OpenProducer({"writer-1"});
  ASSERT_TRUE(producer.ok());
  ASSERT_TRUE(Append(producer->get(), 1000).ok());
  env_.SetFreeBytes((50 << 20) - 1);
  const absl::Status refused = Append(producer->get(), 1000);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  EXPECT_EQ(GetErrorDetails(refused).reason, "DISK_NEARLY_FULL");
  EXPECT_TRUE(GetErrorDetails(refused).retry_after.has_value());
  EXPECT_EQ(log_->Health().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(log_->stats().refused_appends, 1);
  EXPECT_EQ(log_->disk_free_bytes(), (50 << 20) - 1);
  EXPECT_EQ(CountRecords(), 1u);
  // Consumers may still say how far they are: retention could not free anything otherwise.
  Transaction transaction;
  transaction.offsets = {{"group", "events", {{0, 1}}}};
  EXPECT_TRUE((*producer)->Commit(transaction).ok());
  env_.SetFreeBytes(50 << 20);
  EXPECT_TRUE(Append(producer->get(), 1000).ok());
  EXPECT_TRUE(log_->Health().ok());
  EXPECT_EQ(CountRecords(), 2u);
}

TEST_F(RocksFullDisk, AWriteThatFailsForSpaceIsUndoneAndWritingResumes) {
  log_.options.env = &env_;
  log_.options.disk_reserve_bytes = 0;  // so that RocksDB itself meets the end of the disk
  log_.Open();
  MakeTopic("events");
  auto producer = log_->OpenProducer({});
  ASSERT_TRUE(producer.ok());
  size_t written = 0;
  for (int round = 0; round < 5; ++round) {
    ASSERT_TRUE(testing::WaitUntil([&] { return Append(producer->get(), 1000).ok(); }));
    ++written;
    env_.SetDiskFull(true);
    const absl::Status refused = Append(producer->get(), 1000);
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
    EXPECT_FALSE(log_->Health().ok());
    EXPECT_EQ(CountRecords(), written);
    env_.SetDiskFull(false);
  }
  ASSERT_TRUE(testing::WaitUntil([&] { return Append(producer->get(), 1000).ok(); }));
  ++written;
  EXPECT_TRUE(log_->Health().ok()) << log_->Health();
  EXPECT_EQ(CountRecords(), written);
  producer->reset();
  log_.Close();
  log_.Open();
  EXPECT_EQ(CountRecords(), written);
}

// A small file system of its own, mounted while the object lives.
class SmallDisk {
 public:
  explicit SmallDisk(const std::string& path, const std::string& size) : path_(path) {
    std::filesystem::create_directories(path);
    mounted_ = ::mount("tmpfs", path.c_str(), "tmpfs", 0, absl::StrCat("size=", size).c_str()) == 0;
    if (!mounted_) why_ = std::strerror(errno);
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  const std::string& why() const { return why_; }

 private:
  const std::string path_;
  bool mounted_ = false;
  std::string why_;
};

TEST_F(RocksFullDisk, ARealSmallDiskFillsUpIsReadAndFreed) {
  testing::TempDir dir;
  const SmallDisk disk(dir.File("disk"), "96m");
  if (!disk.mounted()) GTEST_SKIP() << "a file system cannot be mounted here: " << disk.why();
  log_.options.path = dir.File("disk") + "/log";
  log_.options.memory_budget = size_t{16} << 20;
  log_.options.disk_reserve_bytes = 40 << 20;
  log_.Open();
  MakeTopic("events", 8 << 20);
  // A group that reads nothing keeps everything.
  ASSERT_TRUE(log_->OpenConsumer("slow", "events", {}).ok());
  TopicConfig config;
  config.name = "events";
  config.retention_bytes = 8 << 20;
  config.unread_hard_limit_bytes = 200 << 20;
  ASSERT_TRUE(log_->CreateTopic(config).ok());
  auto producer = log_->OpenProducer({"writer-1"});
  ASSERT_TRUE(producer.ok());
  size_t written = 0;
  absl::Status status;
  while ((status = Append(producer->get(), 100'000)).ok()) {
    ++written;
    ASSERT_LT(written, 2000u) << "the disk never fills up";
    if (written % 50 == 0) {
      ASSERT_TRUE(log_->RunMaintenance().ok());
    }
  }
  EXPECT_EQ(GetErrorDetails(status).reason, "DISK_NEARLY_FULL") << status;
  EXPECT_GT(written, 100u);
  EXPECT_EQ(CountRecords(), written);
  Transaction transaction;
  transaction.offsets = {{"slow", "events", {{0, static_cast<int64_t>(written)}}}};
  ASSERT_TRUE((*producer)->Commit(transaction).ok());
  ASSERT_TRUE(testing::WaitUntil([&] {
    EXPECT_TRUE(log_->RunMaintenance().ok());
    return Append(producer->get(), 100'000).ok();
  })) << log_->Health();
  producer->reset();
  log_.Close();
}

TEST_F(RocksFullDisk, ADiskFullWithoutReserveLosesNothingAcknowledged) {
  testing::TempDir dir;
  const SmallDisk disk(dir.File("disk"), "48m");
  if (!disk.mounted()) GTEST_SKIP() << "a file system cannot be mounted here: " << disk.why();
  log_.options.path = dir.File("disk") + "/log";
  log_.options.memory_budget = size_t{16} << 20;
  log_.options.disk_reserve_bytes = 0;
  log_.Open();
  MakeTopic("events");
  auto producer = log_->OpenProducer({});
  ASSERT_TRUE(producer.ok());
  size_t written = 0;
  absl::Status status;
  while ((status = Append(producer->get(), 100'000)).ok()) ASSERT_LT(++written, 2000u);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(CountRecords(), written);
  producer->reset();
  log_.Close();
  // Somebody makes room; the next start has everything.
  const std::string grow = absl::StrCat("size=", "128m");
  ASSERT_EQ(::mount("tmpfs", dir.File("disk").c_str(), "tmpfs", MS_REMOUNT, grow.c_str()), 0);
  log_.Open();
  EXPECT_EQ(CountRecords(), written);
  producer = log_->OpenProducer({});
  ASSERT_TRUE(producer.ok());
  EXPECT_TRUE(Append(producer->get(), 100'000).ok());
  producer->reset();
  log_.Close();
}

}  // namespace
}  // namespace naru::event_log
