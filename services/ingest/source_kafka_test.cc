// A Source on a real Kafka: somebody else's producer, a broker that dies, and replicas that share the work.
#include <gmock/gmock.h>
#include <librdkafka/rdkafka.h>

#include <map>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/event/event_view.h"
#include "common/event_log/kafka_event_log.h"
#include "common/testing/kafka_server.h"
#include "google/protobuf/util/json_util.h"
#include "naru/ingest/v1/ingest.pb.h"
#include "services/ingest/source_set.h"
#include "services/ingest/testing_ingest.h"

namespace naru::ingest {
namespace {

constexpr char kEnvelope[] = R"({"parser":{"type":"json"},
  "time":{"field":"timestamp","layout":"%Y-%m-%dT%H:%M:%SZ","timeZone":"Asia/Seoul"},"nullValues":["none"],
  "event":{"type":{"from":"fields.event"},"subject":{"from":"fields.fields.member_id"},"source":{"const":"site"}},
  "data":{"n":{"from":"fields.fields.n","type":"integer"}}})";

/// A plain producer, as the site has.
class Producer {
 public:
  explicit Producer(const std::string& brokers) {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    char error[256];
    rd_kafka_conf_set(conf, "bootstrap.servers", brokers.c_str(), error, sizeof(error));
    handle_ = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
  }
  ~Producer() {
    Flush();
    rd_kafka_destroy(handle_);
  }
  void Send(const std::string& topic, const std::string& value) {
    while (rd_kafka_producev(handle_, RD_KAFKA_V_TOPIC(topic.c_str()), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                             RD_KAFKA_V_VALUE(const_cast<char*>(value.data()), value.size()),
                             RD_KAFKA_V_END) == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
      rd_kafka_poll(handle_, 10);
    }
  }
  void SendClicks(const std::string& topic, int from, int to) {
    for (int n = from; n < to; ++n) {
      Send(topic, absl::StrCat(R"({"messageType":"log","timestamp":"2022-11-01T09:00:00Z","fields":{"event":"UserClickMenu",)",
                               R"("fields":{"member_id":"m)", n % 20, R"(","n":)", n, "}}}"));
    }
    Flush();
  }
  void Flush() { rd_kafka_flush(handle_, 30'000); }

 private:
  rd_kafka_t* handle_;
};

class SourceKafkaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto kafka = testing::KafkaServer::Start({"num.partitions=3"});
    if (!kafka.ok()) NARU_REQUIRE_SERVER_OR_SKIP(kafka.status().ToString());
    kafka_ = *std::move(kafka);
    producer_ = std::make_unique<Producer>(kafka_->brokers());
  }

  std::vector<catalog::v1::Resource> Resources() const {
    std::vector<catalog::v1::Resource> resources(2);
    resources[0].set_kind("InputFormat");
    resources[0].mutable_metadata()->set_name("envelope");
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(kEnvelope, resources[0].mutable_input_format()).ok());
    resources[1].set_kind("Source");
    resources[1].mutable_metadata()->set_name("django");
    resources[1].mutable_source()->mutable_kafka()->add_brokers(kafka_->brokers());
    resources[1].mutable_source()->mutable_kafka()->add_topics("log_menuclick");
    resources[1].mutable_source()->set_format("envelope");
    for (auto& resource : resources) resource.set_api_version("naru.dev/v1");
    return resources;
  }

  static std::map<int64_t, int> Count(event_log::EventLog& log) {
    std::map<int64_t, int> numbers;
    const auto topic = log.DescribeTopic(event_log::kEventsTopic);
    EXPECT_TRUE(topic.ok()) << topic.status();
    for (const auto& partition : topic->partitions) {
      int64_t next = partition.start_offset;
      auto reader = log.OpenReader(event_log::kEventsTopic, {{partition.partition}});
      while (next < partition.end_offset) {
        const auto batches = (*reader)->Poll(std::chrono::seconds(10), 1 << 20);
        if (!batches.ok() || batches->empty()) break;
        for (const auto& batch : *batches) {
          next = batch.next_offset;
          for (const auto& record : batch.records) {
            event::EventView view;
            if (event::ParseStoredEvent(record.value, &view)) {
              ++numbers[static_cast<int64_t>(event::FindField(view.data, "n").number)];
            }
          }
        }
      }
    }
    return numbers;
  }
  static void ExpectEachOnce(const std::map<int64_t, int>& numbers, int count) {
    EXPECT_EQ(numbers.size(), static_cast<size_t>(count));
    for (const auto& [n, times] : numbers) ASSERT_EQ(times, 1) << n;
  }

  std::unique_ptr<testing::KafkaServer> kafka_;
  std::unique_ptr<Producer> producer_;
};

TEST_F(SourceKafkaTest, AnEnvelopeOfAPlainProducerArrivesOnceThoughTheBrokerDies) {
  TestIngest ingest;
  ingest.options.unregistered_events = "keep";
  ingest.Open();
  producer_->SendClicks("log_menuclick", 0, 2000);
  ASSERT_TRUE(ingest.writer->Apply(Resources(), false).ok());
  ASSERT_TRUE(testing::WaitUntil([&] { return ingest.Totals().accepted() == 2000; }, std::chrono::seconds(60)));
  kafka_->Kill();
  ASSERT_TRUE(kafka_->Restart().ok());
  producer_->SendClicks("log_menuclick", 2000, 4000);
  ASSERT_TRUE(testing::WaitUntil([&] { return ingest.Totals().accepted() >= 4000; }, std::chrono::seconds(120)));
  ingest.Reopen();
  producer_->SendClicks("log_menuclick", 4000, 4100);
  ASSERT_TRUE(testing::WaitUntil([&] { return ingest.Totals().accepted() >= 4100; }, std::chrono::seconds(60)));
  ExpectEachOnce(Count(*ingest.log), 4100);
  for (const auto& record : ingest.ReadAll(event_log::kEventsTopic)) {
    event::EventView view;
    ASSERT_TRUE(event::ParseStoredEvent(record.value, &view));
    EXPECT_EQ(view.time_us, 1667260800000000);  // 09:00 in Seoul
    EXPECT_EQ(view.timeline, "source/django");
  }
}

TEST_F(SourceKafkaTest, OfTwoReplicasOneFollowsAndTheOtherTakesOver) {
  testing::TempDir dir;
  producer_->SendClicks("log_menuclick", 0, 1000);
  struct Replica {
    std::unique_ptr<event_log::EventLog> log;
    std::unique_ptr<catalog::Catalog> catalog;
    std::unique_ptr<Ingest> ingest;
    ~Replica() {
      ingest.reset();
      catalog.reset();
    }
  };
  const auto start = [&](const std::string& name) {
    auto replica = std::make_unique<Replica>();
    event_log::KafkaEventLogOptions options;
    options.brokers = kafka_->brokers();
    options.topic_prefix = "naru-";
    auto log = event_log::KafkaEventLog::Open(options);
    EXPECT_TRUE(log.ok()) << log.status();
    replica->log = *std::move(log);
    replica->catalog = *catalog::Catalog::Open(*replica->log, *Clock::System());
    IngestOptions ingest;
    ingest.instance = name;
    ingest.state_dir = dir.File(name);
    ingest.partitions = 4;
    ingest.unregistered_events = "keep";
    auto opened = Ingest::Open(ingest, {.log = replica->log.get(), .catalog = replica->catalog.get()});
    EXPECT_TRUE(opened.ok()) << opened.status();
    replica->ingest = *std::move(opened);
    EXPECT_TRUE(testing::WaitUntil([&] { return replica->ingest->bookkeeping().Ready().ok(); }));
    return replica;
  };
  auto first = start("a");
  catalog::CatalogWriter writer(*first->log, *first->catalog, *Clock::System(), *Random::System(), nullptr);
  ASSERT_TRUE(writer.Apply(Resources(), false).ok());
  auto second = start("b");
  const auto accepted = [](Replica& replica) {
    return replica.ingest->bookkeeping().CatchUp().ok() ? replica.ingest->bookkeeping().Totals().accepted() : -1;
  };
  ASSERT_TRUE(testing::WaitUntil([&] { return accepted(*second) == 1000; }, std::chrono::seconds(90)));
  first.reset();
  producer_->SendClicks("log_menuclick", 1000, 1500);
  ASSERT_TRUE(testing::WaitUntil([&] { return accepted(*second) >= 1500; }, std::chrono::seconds(90)));
  ExpectEachOnce(Count(*second->log), 1500);
}

}  // namespace
}  // namespace naru::ingest
