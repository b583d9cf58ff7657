// The same code on a real Kafka broker: crashes, successors and rebalances lose and double nothing.
#include <atomic>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/event_log/kafka_event_log.h"
#include "common/testing/kafka_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/aggregator/testing_cluster.h"

namespace naru::aggregator {
namespace {

using testing::Cluster;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::MakeMetric;
using testing::Node;
using testing::ShowRow;
using testing::TestEvent;

const char kClicks[] = R"({"window": {"type": "tumbling", "size": "1m"}, "dimensions": [{"name": "gender"}],
  "measures": [{"name": "clicks", "agg": "count"}, {"name": "points", "agg": "sum", "expr": "data.points"},
               {"name": "users", "agg": "count_distinct", "expr": "subject"}]})";

std::vector<std::string> Rows(Node& node) {
  std::vector<std::string> rows;
  for (const v1::WindowRow& row : node.AllRows("clicks")) rows.push_back(ShowRow(row));
  return rows;
}

class AggregatorKafkaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto server = naru::testing::KafkaServer::Shared();
    if (!server.ok()) NARU_REQUIRE_SERVER_OR_SKIP(server.status().ToString());
    static std::atomic<int> number{0};
    const std::string prefix = absl::StrCat("agg", number++, ".");
    const std::string brokers = (*server)->brokers();
    cluster = std::make_unique<Cluster>(2, [=]() -> absl::StatusOr<std::unique_ptr<event_log::EventLog>> {
      event_log::KafkaEventLogOptions options;
      options.brokers = brokers;
      options.topic_prefix = prefix;
      options.session_timeout = std::chrono::seconds(6);
      return event_log::KafkaEventLog::Open(options);
    });
    cluster->Apply(MakeMetric("clicks", 1, kClicks));
  }

  void Publish(int count) {
    for (int i = 0; i < count; ++i) {
      const int64_t n = published++;
      cluster->Publish(
          static_cast<int>(n % 2),
          {{"click", absl::StrCat("u", n % 10), cluster->clock().NowMicros(), {{"points", 2}}, {{"gender", "F"}}}});
    }
  }
  std::string Expected() const {
    return absl::StrCat("clicks=", published, " points=", 2 * published, " users=", std::min<int64_t>(10, published));
  }

  int64_t published = 0;
  std::unique_ptr<Cluster> cluster;
};

TEST_F(AggregatorKafkaTest, RestartsAndCrashesLoseAndDoubleNothing) {
  auto node = cluster->StartNode();
  for (int round = 0; round < 5; ++round) {
    Publish(30);
    if (round != 1) {
      EXPECT_THAT(Rows(*node), ElementsAre(HasSubstr(Expected())));
    }
    if (round % 2 == 0) {
      node->Stop();
    } else {
      node->Crash();
    }
    Publish(7);
    node = cluster->StartNode();
  }
  EXPECT_TRUE(naru::testing::WaitUntil(
      [&] { return Rows(*node) == std::vector<std::string>{} || absl::StrContains(Rows(*node)[0], Expected()); },
      std::chrono::seconds(60)));
  EXPECT_THAT(Rows(*node), ElementsAre(HasSubstr(Expected())));
}

TEST_F(AggregatorKafkaTest, TwoReplicasShareThePartitionsAndOneTakesOver) {
  auto a = cluster->StartNode("a");
  auto b = cluster->StartNode("b");
  Publish(50);
  const auto counted = [&](Node& node) {
    return naru::testing::WaitUntil(
        [&] {
          v1::QueryWindowsRequest request;
          request.set_metric("clicks");
          const auto response = node.Query(request);
          return response.ok() && response->rows_size() == 1 &&
                 absl::StrContains(ShowRow(response->rows(0)), Expected());
        },
        std::chrono::seconds(60));
  };
  EXPECT_TRUE(counted(*a));
  EXPECT_TRUE(counted(*b));
  Publish(20);
  a->Stop();
  Publish(20);
  EXPECT_TRUE(counted(*b));
  a = cluster->StartNode("a");
  Publish(20);
  EXPECT_TRUE(counted(*a));
  EXPECT_TRUE(counted(*b));
}

TEST_F(AggregatorKafkaTest, ARepeatOfTenMinutesCountsOnceAlsoAcrossARestart) {
  auto node = cluster->StartNode();
  const TestEvent once{"click", "u1", cluster->clock().NowMicros(), {{"points", 2}}, {{"gender", "F"}}, "", "the-same"};
  cluster->Publish(0, {once, once});
  EXPECT_THAT(Rows(*node), ElementsAre(HasSubstr("clicks=1 ")));
  node->Stop();
  cluster->clock().Advance(std::chrono::minutes(9));
  node = cluster->StartNode();
  cluster->Publish(0, {once});
  EXPECT_THAT(Rows(*node), ElementsAre(HasSubstr("clicks=1 ")));
  cluster->clock().Advance(std::chrono::minutes(2));
  cluster->Publish(0, {once});
  EXPECT_THAT(Rows(*node), ElementsAre(HasSubstr("clicks=2 ")));
}

}  // namespace
}  // namespace naru::aggregator
