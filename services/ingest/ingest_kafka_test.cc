// Ingest on a real Kafka: what several replicas, restarts and an empty disk must not change.
#include <filesystem>
#include <set>

#include "common/event_log/kafka_event_log.h"
#include "common/testing/kafka_server.h"
#include "naru/ingest/v1/ingest.pb.h"
#include "services/ingest/testing_ingest.h"

namespace naru::ingest {
namespace {

// A replica with its own log client, catalog and state.
struct Replica {
  std::unique_ptr<event_log::EventLog> log;
  std::unique_ptr<catalog::Catalog> catalog;
  std::unique_ptr<catalog::CatalogWriter> writer;
  std::unique_ptr<Ingest> ingest;

  ~Replica() {
    ingest.reset();
    writer.reset();
    catalog.reset();
  }
  absl::StatusOr<BatchResult> Publish(const std::vector<std::string>& events) {
    Batch batch;
    batch.events.assign(events.begin(), events.end());
    return ingest->pipeline().SubmitAndWait(std::move(batch));
  }
  Counts Totals() {
    EXPECT_TRUE(ingest->bookkeeping().CatchUp().ok());
    return ingest->bookkeeping().Totals();
  }
};

class IngestKafkaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto kafka = testing::KafkaServer::Start();
    if (!kafka.ok()) NARU_REQUIRE_SERVER_OR_SKIP(kafka.status().ToString());
    kafka_ = std::move(*kafka);
  }

  std::unique_ptr<Replica> Start(const std::string& name, const std::string& state_dir) {
    auto replica = std::make_unique<Replica>();
    event_log::KafkaEventLogOptions options;
    options.brokers = kafka_->brokers();
    auto log = event_log::KafkaEventLog::Open(options);
    EXPECT_TRUE(log.ok()) << log.status();
    replica->log = *std::move(log);
    auto catalog = catalog::Catalog::Open(*replica->log, *Clock::System());
    EXPECT_TRUE(catalog.ok()) << catalog.status();
    replica->catalog = *std::move(catalog);
    replica->writer = std::make_unique<catalog::CatalogWriter>(*replica->log, *replica->catalog, *Clock::System(),
                                                               *Random::System(), nullptr);
    IngestOptions ingest;
    ingest.instance = name;
    ingest.state_dir = state_dir;
    auto opened = Ingest::Open(ingest, {.log = replica->log.get(), .catalog = replica->catalog.get()});
    EXPECT_TRUE(opened.ok()) << opened.status();
    replica->ingest = *std::move(opened);
    EXPECT_TRUE(testing::WaitUntil([&] { return replica->ingest->bookkeeping().Ready().ok(); }));
    return replica;
  }
  static void ApplyType(Replica& replica, const std::string& name) {
    catalog::v1::Resource resource;
    resource.set_api_version("naru.dev/v1");
    resource.set_kind("EventType");
    resource.mutable_metadata()->set_name(name);
    resource.mutable_event_type();
    ASSERT_TRUE(replica.writer->Apply({resource}, false).ok());
  }
  static std::vector<std::string> Events(int from, int to, const std::string& type = "T") {
    std::vector<std::string> events;
    for (int id = from; id < to; ++id)
      events.push_back(MakeEvent(std::to_string(id), type, "", std::to_string(id % 50)));
    return events;
  }

  testing::TempDir dir_;
  std::unique_ptr<testing::KafkaServer> kafka_;
};

TEST_F(IngestKafkaTest, ReplicasKnowEachOthersIdsAndAgreeOnTheAccounting) {
  auto a = Start("a", dir_.File("a"));
  ApplyType(*a, "T");
  auto b = Start("b", dir_.File("b"));
  EXPECT_EQ(a->Publish(Events(0, 1000))->accepted, 1000);
  ASSERT_TRUE(b->ingest->bookkeeping().CatchUp().ok());
  const auto second = b->Publish(Events(500, 1500));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->duplicate, 500);
  EXPECT_EQ(second->accepted, 500);
  // A type made through one replica is known to the other at once.
  ApplyType(*a, "New");
  EXPECT_EQ(b->Publish(Events(0, 10, "New"))->duplicate, 10);
  EXPECT_EQ(b->Publish(Events(5000, 5010, "New"))->accepted, 10);
  EXPECT_EQ(b->Publish(Events(0, 5, "Nobody"))->rejected, 5);
  // The count of duplicates goes through the ledger, once a second.
  EXPECT_TRUE(testing::WaitUntil([&] { return a->Totals().duplicate == 510; }));
  for (Replica* replica : {a.get(), b.get()}) {
    const Counts counts = replica->Totals();
    EXPECT_EQ(counts.accepted(), 1510);
    EXPECT_EQ(counts.duplicate, 510);
    EXPECT_EQ(counts.rejected(), 5);
  }
}

TEST_F(IngestKafkaTest, KeepsIdsAndCountsOverRestartsAlsoOnAnEmptyDisk) {
  {
    auto a = Start("a", dir_.File("a"));
    ApplyType(*a, "T");
    EXPECT_EQ(a->Publish(Events(0, 2000))->accepted, 2000);
    EXPECT_EQ(a->Publish(Events(1000, 2000))->duplicate, 1000);
  }
  {
    auto a = Start("a", dir_.File("a"));
    EXPECT_EQ(a->Totals().accepted(), 2000);
    EXPECT_EQ(a->Totals().duplicate, 1000);
    EXPECT_EQ(a->Publish(Events(0, 2100))->duplicate, 2000);
  }
  auto elsewhere = Start("a", "");
  EXPECT_EQ(elsewhere->Publish(Events(0, 2100))->duplicate, 2100);
  EXPECT_EQ(elsewhere->Totals().accepted(), 2100);
  EXPECT_EQ(elsewhere->Totals().duplicate, 1000 + 2000 + 2100);
}

TEST_F(IngestKafkaTest, StoresExtraRecordsAndReplaysInTransactions) {
  auto a = Start("a", dir_.File("a"));
  ApplyType(*a, "T");
  const std::vector<std::string> events = Events(0, 100);
  Batch batch;
  batch.events.assign(events.begin(), events.end());
  batch.return_offsets = true;
  batch.extra = {{event_log::kLedgerTopic, 0, "some.Ledger", "import/1", "position"}};
  const auto result = a->ingest->pipeline().SubmitAndWait(std::move(batch));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->accepted, 100);
  std::set<std::pair<int, int64_t>> places;
  for (const StoredAt& at : result->event_offsets) places.insert({at.partition, at.offset});
  EXPECT_EQ(places.size(), 100);

  EXPECT_EQ(a->Publish(Events(200, 230, "Late"))->rejected, 30);
  ApplyType(*a, "Late");
  for (int round = 0; round < 2; ++round) {
    v1::ReplayRejectedRequest request;
    v1::ReplayRejectedResponse response;
    const absl::Status replayed = a->ingest->dead_letters().Replay(request, &response);
    ASSERT_TRUE(replayed.ok()) << replayed;
    EXPECT_EQ(response.accepted_count(), round == 0 ? 30 : 0);
    EXPECT_EQ(response.duplicate_count(), round == 0 ? 0 : 30);
  }
  const Counts counts = a->Totals();
  EXPECT_EQ(counts.accepted(), 100);
  EXPECT_EQ(counts.rejected(), 30);
  EXPECT_EQ(counts.replayed, 30);
}

}  // namespace
}  // namespace naru::ingest
