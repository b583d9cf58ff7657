// Sinks of several aggregators on a real Kafka broker: each is written by one of them, and handed over.
#include <atomic>

#include "common/event_log/kafka_event_log.h"
#include "common/testing/kafka_server.h"
#include "services/aggregator/sink_set_conformance.h"

namespace naru::aggregator::testing {
namespace {

// The suite's fixture is wanted here, its tests run on the embedded log.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(SinkSetConformance);

class SinkKafkaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto server = naru::testing::KafkaServer::Shared();
    if (!server.ok()) NARU_REQUIRE_SERVER_OR_SKIP(server.status().ToString());
    static std::atomic<int> number{0};
    const std::string prefix = absl::StrCat("sink", number++, ".");
    const std::string brokers = (*server)->brokers();
    cluster_ = std::make_unique<Cluster>(2, [=]() -> absl::StatusOr<std::unique_ptr<event_log::EventLog>> {
      event_log::KafkaEventLogOptions options;
      options.brokers = brokers;
      options.topic_prefix = prefix;
      options.session_timeout = std::chrono::seconds(6);
      return event_log::KafkaEventLog::Open(options);
    });
    auto redis = MakeRedisStore(cluster_->clock());
    if (!redis.ok()) NARU_REQUIRE_SERVER_OR_SKIP(redis.status().ToString());
    redis_ = *std::move(redis);
    topic_ = MakeTopicStore(cluster_->log(), cluster_->clock());
    cluster_->Apply(MakeMetric("clicks", 1, kSinkMetric));
    ApplySink("to-redis", redis_->Spec());
    ApplySink("to-topic", topic_->Spec());
  }

  void ApplySink(const std::string& name, const catalog::v1::Sink& spec) {
    catalog::v1::Resource resource;
    resource.set_api_version("naru.dev/v1");
    resource.set_kind("Sink");
    resource.mutable_metadata()->set_name(name);
    resource.mutable_metadata()->set_version(1);
    *resource.mutable_sink() = spec;
    resource.mutable_sink()->add_metrics("clicks");
    resource.mutable_sink()->set_interval("10ms");
    cluster_->Apply(resource);
  }

  void Publish(int count) {
    for (int i = 0; i < count; ++i) {
      const int64_t n = published_++;
      TestEvent event{"click", absl::StrCat("u", n % 11), cluster_->clock().NowMicros(), {{"points", 1}}, {}};
      event.strings["gender"] = n % 3 == 0 ? "F" : "M";
      event.strings["word"] = absl::StrCat("w", n % 4);
      cluster_->Publish(static_cast<int>(n % 2), {event});
    }
  }

  // Waits until both stores hold what `node` answers.
  void ExpectEqual(Node& node) {
    const auto expected = [&] {
      v1::QueryWindowsRequest request;
      request.set_metric("clicks");
      const auto response = node.Query(request);
      if (!response.ok()) return ShownRows{{"no answer", {}}};
      return ShowAnswer({response->rows().begin(), response->rows().end()}, {"gender"}, 1);
    };
    for (SinkStore* store : {redis_.get(), topic_.get()}) {
      const auto equal = [&] {
        const auto rows = store->Read("clicks", {"gender"});
        return rows.ok() && *rows == expected();
      };
      EXPECT_TRUE(naru::testing::WaitUntil(equal, std::chrono::seconds(60)));
      if (::testing::Test::HasFailure()) {
        EXPECT_EQ(store->Read("clicks", {"gender"}).value_or(ShownRows()), expected());
      }
    }
  }

  static std::map<std::string, std::string> Writers(Node& node) {
    grpc::ClientContext context;
    v1::ListSinksResponse response;
    EXPECT_TRUE(node.stub().ListSinks(&context, {}, &response).ok());
    std::map<std::string, std::string> writers;
    for (const v1::SinkStatus& sink : response.sinks()) writers[sink.name()] = sink.metrics(0).writer();
    return writers;
  }

  std::unique_ptr<Cluster> cluster_;
  std::unique_ptr<SinkStore> redis_, topic_;
  int64_t published_ = 0;
};

TEST_F(SinkKafkaTest, EachSinkIsWrittenByOneAggregatorAndHandedOver) {
  const NeverBackwards sampler(*redis_);
  auto a = cluster_->StartNode("a");
  auto b = cluster_->StartNode("b");
  Publish(50);
  ExpectEqual(*a);
  // Both tell the same of who writes what.
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return Writers(*a) == Writers(*b); }, std::chrono::seconds(30)));
  Publish(20);
  a->Stop();
  Publish(20);
  ExpectEqual(*b);
  EXPECT_EQ(Writers(*b), (std::map<std::string, std::string>{{"to-redis", "b"}, {"to-topic", "b"}}));
  a = cluster_->StartNode("a");
  Publish(20);
  ExpectEqual(*a);
  b->Crash();
  Publish(20);
  ExpectEqual(*a);
}

TEST_F(SinkKafkaTest, ASinkIsPausedThroughAnyAggregator) {
  auto a = cluster_->StartNode("a");
  auto b = cluster_->StartNode("b");
  Publish(20);
  ExpectEqual(*a);
  for (const char* sink : {"to-redis", "to-topic"}) {
    grpc::ClientContext context;
    v1::PauseSinkRequest request;
    request.set_name(sink);
    v1::SinkStatus status;
    ASSERT_TRUE(b->stub().PauseSink(&context, request, &status).ok());
    EXPECT_TRUE(status.paused());
  }
  const std::map<std::string, std::string> nobody = {{"to-redis", ""}, {"to-topic", ""}};
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return Writers(*a) == nobody && Writers(*b) == nobody; },
                                       std::chrono::seconds(60)));
  for (const char* sink : {"to-redis", "to-topic"}) {
    grpc::ClientContext context;
    v1::ResumeSinkRequest request;
    request.set_name(sink);
    v1::SinkStatus status;
    ASSERT_TRUE(a->stub().ResumeSink(&context, request, &status).ok());
  }
  Publish(20);
  ExpectEqual(*b);
}

}  // namespace
}  // namespace naru::aggregator::testing
