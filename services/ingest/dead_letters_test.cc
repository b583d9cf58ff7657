#include "services/ingest/dead_letters.h"

#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "naru/event/v1/event.pb.h"
#include "naru/ingest/v1/ingest.pb.h"
#include "services/ingest/testing_ingest.h"

namespace naru::ingest {
namespace {

// Every promise is kept the same way embedded and on a log without a local store.
class DeadLettersTest : public ::testing::TestWithParam<bool> {
 protected:
  DeadLettersTest() : ingest_(GetParam()) {}
  void SetUp() override { ingest_.Open(); }

  // Rejects a line, whose events are `events` when it is read again.
  void RejectLine(std::vector<std::string> events) {
    ingest_.ingest->dead_letters().set_line_reader(
        [events = std::move(events)](const v1::RejectedEvent&) -> absl::StatusOr<std::vector<std::string>> {
          return events;
        });
    Batch batch;
    batch.format = "lines";
    batch.rejected = {{v1::PARSE, "", "", "", "the line", 1, "l1"}};
    ASSERT_TRUE(ingest_.ingest->pipeline().SubmitAndWait(std::move(batch)).ok());
  }
  v1::ReplayRejectedResponse Replay(const std::vector<std::string>& names = {}, bool dry_run = false) {
    v1::ReplayRejectedRequest request;
    for (const std::string& name : names) request.add_names(name);
    request.set_dry_run(dry_run);
    v1::ReplayRejectedResponse response;
    const absl::Status status = ingest_.ingest->dead_letters().Replay(request, &response);
    EXPECT_TRUE(status.ok()) << status;
    return response;
  }
  std::vector<std::string> StoredIds() {
    std::vector<std::string> ids;
    for (const auto& record : ingest_.ReadAll(event_log::kEventsTopic)) {
      event::v1::Event event;
      EXPECT_TRUE(event.ParseFromString(record.value));
      ids.push_back(event.id());
    }
    return ids;
  }

  TestIngest ingest_;
};

INSTANTIATE_TEST_SUITE_P(Logs, DeadLettersTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "WithoutLocalStore" : "Embedded"; });

TEST_P(DeadLettersTest, ALetterOfSeveralEventsStaysUntilAllOfThemAreGood) {
  ingest_.ApplyType("Known", "");
  std::vector<std::string> events;
  // More than a batch of a replay takes; the bad one is the last.
  for (int i = 0; i < 700; ++i) events.push_back(MakeEvent(absl::StrCat(i), "Known"));
  events.push_back(MakeEvent("bad", "Later"));
  RejectLine(events);
  for (const bool dry_run : {true, false}) {
    const v1::ReplayRejectedResponse response = Replay({}, dry_run);
    EXPECT_EQ(response.accepted_count(), 0);
    EXPECT_EQ(response.rejected_count(), 701);
  }
  EXPECT_FALSE(ingest_.ingest->dead_letters().Get("0/0")->replayed());
  ingest_.ApplyType("Later", "");
  EXPECT_EQ(Replay().accepted_count(), 701);
  EXPECT_TRUE(ingest_.ingest->dead_letters().Get("0/0")->replayed());
  ingest_.clock.Advance(std::chrono::hours(48));
  EXPECT_EQ(Replay().accepted_count(), 0);
  EXPECT_EQ(StoredIds().size(), 701);
}

TEST_P(DeadLettersTest, EventsWithoutIdsGetThoseOfTheirLetterAndAreStoredOnce) {
  ASSERT_EQ(ingest_.Publish({MakeEvent("", "Later"), MakeEvent("", "Later", "", "")})->rejected, 2);
  ingest_.ApplyType("Later", "");
  // Twice in one batch, before a mark of the first is there.
  const v1::ReplayRejectedResponse response = Replay({"0/0", "0/1", "0/0"});
  EXPECT_EQ(response.accepted_count(), 2);
  EXPECT_EQ(response.duplicate_count(), 1);
  EXPECT_THAT(StoredIds(), ::testing::UnorderedElementsAre("events.dlq/0/0/0", "events.dlq/0/1/0"));
}

TEST_P(DeadLettersTest, ManyReplaysAtATimeStoreEachEventOnce) {
  std::vector<std::string> events;
  for (int i = 0; i < 2000; ++i) events.push_back(MakeEvent(i % 2 == 0 ? "" : absl::StrCat(i), "Later"));
  ASSERT_EQ(ingest_.Publish(events)->rejected, 2000);
  ingest_.ApplyType("Later", "");
  std::atomic<int64_t> accepted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] { accepted += Replay().accepted_count(); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(accepted, 2000);
  EXPECT_EQ(StoredIds().size(), 2000);
  EXPECT_EQ(ingest_.Totals().replayed, 2000);
}

// As it comes when the types change between the look at a letter and its batch.
TEST_P(DeadLettersTest, ALetterIsNotMarkedWhileOneOfItsEventsIsRejected) {
  ingest_.ApplyType("Known", "");
  RejectLine({});
  const std::string good = MakeEvent("good", "Known"), bad = MakeEvent("bad", "Later");
  Batch batch;
  batch.events = {good, bad};
  batch.replayed_from = {{0, 0}, {0, 0}};
  const auto result = ingest_.ingest->pipeline().SubmitAndWait(std::move(batch));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->accepted, 1);
  ASSERT_TRUE(ingest_.ingest->bookkeeping().CatchUp().ok());
  EXPECT_FALSE(ingest_.ingest->dead_letters().Get("0/0")->replayed());
}

}  // namespace
}  // namespace naru::ingest
