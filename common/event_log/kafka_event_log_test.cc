#include "common/event_log/kafka_event_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/testing/kafka_server.h"

namespace naru::event_log {
namespace {
using testing::KafkaServer;

TEST(KafkaEventLog, Smoke) {
  auto server = KafkaServer::Shared();
  ASSERT_TRUE(server.ok()) << server.status();
  KafkaEventLogOptions o;
  o.brokers = (*server)->brokers();
  o.topic_prefix = "smoke.";
  auto log = KafkaEventLog::Open(o);
  ASSERT_TRUE(log.ok()) << log.status();
  auto t = [] { return std::chrono::steady_clock::now(); };
  auto t0 = t();
  auto lap = [&](const char* what) { fprintf(stderr, "%s %.1f ms\n", what, std::chrono::duration<double, std::milli>(t() - t0).count()); t0 = t(); };
  TopicConfig c; c.name = "a"; c.partitions = 4; c.retention_time = std::chrono::hours(24);
  ASSERT_EQ((*log)->CreateTopic(c), absl::OkStatus()); lap("create");
  c.retention_bytes = 100 << 20;
  ASSERT_EQ((*log)->CreateTopic(c), absl::OkStatus()); lap("alter");
  auto info = (*log)->DescribeTopic("a");
  ASSERT_TRUE(info.ok()) << info.status(); lap("describe");
  EXPECT_EQ(info->config.retention_bytes, 100 << 20);
  EXPECT_EQ(info->config.retention_time, std::chrono::hours(24));
  auto p = (*log)->OpenProducer({});
  ASSERT_TRUE(p.ok());
  std::vector<std::string> values; for (int i = 0; i < 100; ++i) values.push_back(absl::StrCat("v", i));
  std::vector<Record> records;
  int64_t now = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  for (auto& v : values) records.push_back({"k", v, now, false});
  lap("open producer");
  auto r = (*p)->Append({{"a", 1, {"s", "tp"}, records}});
  ASSERT_TRUE(r.ok()) << r.status(); lap("append");
  for (int i = 0; i < 3; ++i) { r = (*p)->Append({{"a", 1, {"s", "tp"}, records}}); lap("append"); }
  EXPECT_EQ((*r)[0].base_offset, 300);
  auto reader = (*log)->OpenReader("a", {{1, ReadPosition::Kind::kOffset, 0}}); lap("open reader");
  ASSERT_TRUE(reader.ok()) << reader.status();
  auto b = (*reader)->Poll(std::chrono::seconds(5), 1 << 20); lap("poll");
  ASSERT_TRUE(b.ok()) << b.status();
  ASSERT_EQ(b->size(), 1);
  EXPECT_EQ((*b)[0].headers.schema, "s");
  auto tp = (*log)->OpenProducer({"tx"}); lap("init txn");
  ASSERT_TRUE(tp.ok()) << tp.status();
  for (int i = 0; i < 4; ++i) {
    Transaction x; x.appends = {{"a", 2, {}, records}};
    x.offsets = {{"g", "a", {{1, 50}}}};
    auto cr = (*tp)->Commit(x); lap("commit");
    ASSERT_TRUE(cr.ok()) << cr.status();
    EXPECT_EQ((*cr)[0].base_offset, i * 101);
  }
  info = (*log)->DescribeTopic("a"); lap("describe");
  ASSERT_TRUE(info.ok()) << info.status();
  ASSERT_EQ(info->groups.size(), 1);
  EXPECT_EQ(info->groups[0].lag, 350 + 404);
  EXPECT_EQ((*log)->DeleteGroup("g", "a"), absl::OkStatus()); lap("delete group");
  EXPECT_TRUE((*log)->CommittedOffsets("g", "a")->empty()); lap("committed");
  auto r2 = (*log)->OpenReader("a", {{2, ReadPosition::Kind::kOffset, 0}});
  auto b2 = (*r2)->Poll(std::chrono::seconds(5), 1 << 20); lap("poll");
  for (int i = 0; i < 3 && b2->back().next_offset < 404; ++i) { b2 = (*r2)->Poll(std::chrono::seconds(5), 1 << 20); lap("poll"); }
  EXPECT_EQ(b2->back().next_offset, 404);
  EXPECT_EQ((*log)->Health(), absl::OkStatus()); lap("health");
}
}  // namespace
}  // namespace naru::event_log
