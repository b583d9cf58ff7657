#include "services/ingest/log_pipeline.h"

#include <map>
#include <random>
#include <set>
#include <thread>

#include "common/event/event_view.h"
#include "common/status/status.h"
#include "gmock/gmock.h"
#include "naru/event/v1/event.pb.h"
#include "naru/ingest/v1/ingest.pb.h"
#include "services/ingest/testing_ingest.h"

namespace naru::ingest {
namespace {

using ::testing::HasSubstr;

const char kMenu[] = R"(schema {
  required: "menu"
  properties { key: "menu" value { type: "string" enum { string_value: "a" } enum { string_value: "b" } } }
  properties { key: "age" value { type: "integer" minimum: 0 maximum: 150 } }
  properties { key: "member" value { type: "string" max_length: 3 x_personal: true } }
})";

std::string Menu(const std::string& menu) {
  std::string data;
  event::StructWriter(&data).AddString("menu", menu);
  return data;
}

// Every promise is kept the same way embedded and on a log without a local store.
class LogPipelineTest : public ::testing::TestWithParam<bool> {
 protected:
  LogPipelineTest() : ingest_(GetParam()) {}
  void SetUp() override {
    ingest_.Open();
    ingest_.ApplyType("Menu", kMenu);
  }
  absl::StatusOr<BatchResult> Publish(std::vector<std::string> events) { return ingest_.Publish(std::move(events)); }

  void ExpectCounts(int64_t accepted, int64_t duplicate, int64_t rejected) {
    const Counts counts = ingest_.Totals();
    EXPECT_EQ(counts.accepted(), accepted);
    EXPECT_EQ(counts.duplicate, duplicate);
    EXPECT_EQ(counts.rejected(), rejected);
    EXPECT_EQ(counts.received(), accepted + duplicate + rejected);
  }

  TestIngest ingest_;
};

INSTANTIATE_TEST_SUITE_P(Logs, LogPipelineTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "WithoutLocalStore" : "Embedded"; });

TEST_P(LogPipelineTest, StoresWhatIsAcceptedAndSaysWhatIsNot) {
  auto result =
      Publish({MakeEvent("1", "Menu", Menu("a")), MakeEvent("1", "Menu", Menu("a")), MakeEvent("2", "Menu", Menu("z")),
               MakeEvent("3", "Menu", Menu("b"), "other"), MakeEvent("4", "Nobody"), std::string("\xff\xff")});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->received, 6);
  EXPECT_EQ(result->accepted, 2);
  EXPECT_EQ(result->duplicate, 1);
  EXPECT_EQ(result->rejected, 3);
  ASSERT_EQ(result->not_accepted.size(), 4);
  EXPECT_EQ(result->not_accepted[0].index, 1);
  EXPECT_TRUE(result->not_accepted[0].duplicate);
  EXPECT_EQ(result->not_accepted[1].reason, v1::FIELD_ENUM);
  EXPECT_EQ(result->not_accepted[1].field, "data.menu");
  EXPECT_EQ(result->not_accepted[1].value, "z");
  EXPECT_EQ(result->not_accepted[1].expected, "one of a, b");
  EXPECT_EQ(result->not_accepted[2].reason, v1::UNKNOWN_TYPE);
  EXPECT_EQ(result->not_accepted[3].reason, v1::MALFORMED);

  const auto stored = ingest_.ReadAll(event_log::kEventsTopic);
  ASSERT_EQ(stored.size(), 2);
  for (const auto& record : stored) {
    EXPECT_EQ(record.schema, "naru.event.v1.Event");
    EXPECT_EQ(record.timestamp_us, TestIngest::kNow);
    EXPECT_EQ(record.partition, event_log::PartitionOf(record.key, 4 * (GetParam() ? 3 : 1)));
    v1::PublishEventsRequest ignored;
    event::v1::Event event;
    ASSERT_TRUE(event.ParseFromString(record.value));
    EXPECT_EQ(event.type_version(), 1);
    EXPECT_EQ(event.time().seconds(), TestIngest::kNow / 1'000'000);
    EXPECT_EQ(record.key, event.subject());
  }
  const auto letters = ingest_.ReadAll(event_log::kDeadLetterTopic);
  ASSERT_EQ(letters.size(), 3);
  v1::RejectedEvent letter;
  ASSERT_TRUE(letter.ParseFromString(letters[0].value));
  EXPECT_EQ(letter.raw(), MakeEvent("2", "Menu", Menu("z")));
  EXPECT_EQ(letter.reason(), v1::FIELD_ENUM);
  EXPECT_EQ(letter.source(), "test");
  EXPECT_EQ(letter.type(), "Menu");
  ASSERT_TRUE(letter.ParseFromString(letters[2].value));
  EXPECT_EQ(letter.raw(), "\xff\xff");
  ExpectCounts(2, 1, 3);
}

TEST_P(LogPipelineTest, GivesOffsetsOfEveryEventOnRequest) {
  std::vector<std::string> events;
  for (int i = 0; i < 100; ++i)
    events.push_back(MakeEvent(std::to_string(i % 90), "Menu", Menu("a"), std::to_string(i)));
  Batch batch;
  batch.events.assign(events.begin(), events.end());
  batch.return_offsets = true;
  const auto result = ingest_.ingest->pipeline().SubmitAndWait(std::move(batch));
  ASSERT_TRUE(result.ok());
  ASSERT_EQ(result->event_offsets.size(), 90);
  std::map<std::pair<int, int64_t>, std::string> stored;
  for (const auto& record : ingest_.ReadAll(event_log::kEventsTopic))
    stored[{record.partition, record.offset}] = record.key;
  std::map<int, int64_t> last;
  for (const StoredAt& at : result->event_offsets) {
    EXPECT_EQ((stored.at({at.partition, at.offset})), std::to_string(at.index));
    last[at.partition] = std::max(last[at.partition], at.offset);
  }
  EXPECT_THAT(result->last_offsets, ::testing::ElementsAreArray(last.begin(), last.end()));
}

TEST_P(LogPipelineTest, RejectsTimesTooFarInTheFutureAndKeepsOldOnes) {
  auto at = [](const std::string& id, int64_t time_us) {
    std::string data = Menu("a"), bytes;
    event::AppendEvent({.id = id, .source = "s", .type = "Menu", .has_time = true, .time_us = time_us, .data = data},
                       &bytes);
    return bytes;
  };
  const int64_t day = int64_t{86'400} * 1'000'000;
  const auto result = Publish({at("1", TestIngest::kNow + day), at("2", TestIngest::kNow + day + 1), at("3", 1)});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->accepted, 2);
  ASSERT_EQ(result->not_accepted.size(), 1);
  EXPECT_EQ(result->not_accepted[0].index, 1);
  EXPECT_EQ(result->not_accepted[0].reason, v1::TIME_IN_FUTURE);
  EXPECT_THAT(result->not_accepted[0].expected, HasSubstr("1d after it was received"));
}

TEST_P(LogPipelineTest, MakesMissingIdsAndDoesNotDeduplicateThem) {
  const auto result = Publish({MakeEvent("", "Menu", Menu("a"), ""), MakeEvent("", "Menu", Menu("a"), "")});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->accepted, 2);
  std::set<std::string> ids;
  for (const auto& record : ingest_.ReadAll(event_log::kEventsTopic)) {
    event::v1::Event event;
    ASSERT_TRUE(event.ParseFromString(record.value));
    EXPECT_TRUE(event.id_generated());
    EXPECT_EQ(event.id().size(), 36);
    EXPECT_EQ(record.key, event.id());
    ids.insert(event.id());
  }
  EXPECT_EQ(ids.size(), 2);
}

TEST_P(LogPipelineTest, DropsServerFieldsThatASenderSets) {
  event::v1::Event event;
  ASSERT_TRUE(event.ParseFromString(MakeEvent("1", "Menu", Menu("a"))));
  event.set_timeline("forged");
  event.set_type_version(77);
  event.set_id_generated(true);
  ASSERT_TRUE(Publish({event.SerializeAsString()}).ok());
  event::v1::Event stored;
  ASSERT_TRUE(stored.ParseFromString(ingest_.ReadAll(event_log::kEventsTopic).at(0).value));
  EXPECT_EQ(stored.timeline(), "");
  EXPECT_EQ(stored.type_version(), 1);
  EXPECT_FALSE(stored.id_generated());
}

TEST_P(LogPipelineTest, PartitionsBySubjectOrSessionAsTheTypeSays) {
  ingest_.ApplyType("Visit", R"(partition_by: "session")");
  auto make = [](const std::string& id, const std::string& type, const std::string& subject,
                 const std::string& session) {
    std::string bytes, data = Menu("a");
    event::AppendEvent({.id = id, .source = "s", .type = type, .subject = subject, .session = session, .data = data},
                       &bytes);
    return bytes;
  };
  ASSERT_TRUE(Publish({make("1", "Menu", "u", "s"), make("2", "Menu", "", "s"), make("3", "Menu", "", ""),
                       make("4", "Visit", "u", "s"), make("5", "Visit", "u", "")})
                  .ok());
  std::map<std::string, std::string> keys;
  for (const auto& record : ingest_.ReadAll(event_log::kEventsTopic)) {
    event::v1::Event event;
    ASSERT_TRUE(event.ParseFromString(record.value));
    keys[event.id()] = record.key;
  }
  EXPECT_EQ(keys, (std::map<std::string, std::string>{{"1", "u"}, {"2", "s"}, {"3", "3"}, {"4", "s"}, {"5", "5"}}));
}

TEST_P(LogPipelineTest, CountsExcludedEventsAndStoresThemNowhere) {
  ingest_.ApplyType("Page", R"(exclude: "data.bot == true")");
  std::string bot;
  event::StructWriter(&bot).AddBool("bot", true);
  const auto result = Publish({MakeEvent("1", "Page", bot), MakeEvent("2", "Page")});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->received, 2);
  EXPECT_EQ(result->accepted, 1);
  EXPECT_EQ(result->filtered, 1);
  EXPECT_EQ(ingest_.ReadAll(event_log::kEventsTopic).size(), 1);
  const Counts totals = ingest_.Totals();
  EXPECT_EQ(totals.filtered(), 1);
  EXPECT_EQ(totals.accepted(), 1);
  EXPECT_EQ(totals.received(), 2);
}

TEST_P(LogPipelineTest, DropsUnknownFieldsWhereTheTypeSaysSo) {
  ingest_.ApplyType("Small", R"(unknown_fields: "drop" schema { properties { key: "menu" value {} } })");
  ASSERT_TRUE(Publish({MakeEvent("1", "Small", Menu("a") + NumberData("x", 1))}).ok());
  event::v1::Event stored;
  ASSERT_TRUE(stored.ParseFromString(ingest_.ReadAll(event_log::kEventsTopic).at(0).value));
  EXPECT_EQ(stored.data().fields_size(), 1);
  EXPECT_EQ(stored.data().fields().at("menu").string_value(), "a");
}

TEST_P(LogPipelineTest, LearnsOfATypeThatWasMadeAMomentAgo) {
  for (int i = 0; i < 20; ++i) {
    const std::string type = "Type" + std::to_string(i);
    ingest_.ApplyType(type, "");
    const auto result = Publish({MakeEvent(type, type)});
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result->accepted, 1) << i;
  }
}

TEST_P(LogPipelineTest, KeepsUnregisteredEventsIfToldTo) {
  ingest_.options.unregistered_events = "keep";
  ingest_.Reopen();
  ASSERT_TRUE(Publish({MakeEvent("1", "Nobody")}).ok());
  event::v1::Event stored;
  ASSERT_TRUE(stored.ParseFromString(ingest_.ReadAll(event_log::kEventsTopic).at(0).value));
  EXPECT_EQ(stored.type_version(), 0);
}

TEST_P(LogPipelineTest, ForgetsIdsAfterTheWindowOfTheirType) {
  ingest_.ApplyType("Short", R"(deduplication_window: "60s")");
  auto duplicates = [&](const std::string& type) {
    const auto result = Publish({MakeEvent("1", type, Menu("a"), "u", type)});
    return result.ok() ? result->duplicate : -1;
  };
  EXPECT_EQ(duplicates("Short") + duplicates("Menu"), 0);
  ingest_.clock.Advance(std::chrono::seconds(59));
  EXPECT_EQ(duplicates("Short"), 1);
  ingest_.clock.Advance(std::chrono::seconds(1));
  EXPECT_EQ(duplicates("Short"), 0);
  EXPECT_EQ(duplicates("Menu"), 1);
  ingest_.clock.Advance(std::chrono::hours(24));
  EXPECT_EQ(duplicates("Menu"), 0);
}

TEST_P(LogPipelineTest, RefusesBatchesAboveTheLimits) {
  std::vector<std::string> events(10'001, MakeEvent("1", "Menu", Menu("a")));
  EXPECT_EQ(Publish(events).status().code(), absl::StatusCode::kInvalidArgument);
  events.resize(10'000);
  EXPECT_TRUE(Publish(events).ok());
  const std::string large = MakeEvent("x", "Menu", NumberData(std::string(200'000, 'k'), 1));
  EXPECT_EQ(GetErrorDetails(Publish(std::vector<std::string>(22, large)).status()).reason, "BATCH_TOO_LARGE");
  EXPECT_TRUE(Publish({}).ok());
}

TEST_P(LogPipelineTest, ReleasesIdsOfAFailedBatchAndCountsNothing) {
  ingest_.log->FailNext({absl::UnavailableError("gone")});
  EXPECT_EQ(Publish({MakeEvent("1", "Menu", Menu("a")), MakeEvent("2", "Menu", Menu("z"))}).status().code(),
            absl::StatusCode::kUnavailable);
  ExpectCounts(0, 0, 0);
  const auto again = Publish({MakeEvent("1", "Menu", Menu("a")), MakeEvent("2", "Menu", Menu("z"))});
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->accepted, 1);
  EXPECT_EQ(again->rejected, 1);
  ExpectCounts(1, 0, 1);
}

TEST_P(LogPipelineTest, WaitsForRoomInTheLogInsteadOfFailing) {
  const absl::Status no_room = MakeError(absl::StatusCode::kResourceExhausted, "TOO_MUCH_IN_FLIGHT", "full");
  ingest_.log->FailNext({no_room, no_room, no_room});
  const auto result = Publish({MakeEvent("1", "Menu", Menu("a"))});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->accepted, 1);
  ExpectCounts(1, 0, 0);
}

// Collects answers of batches that are held back.
struct Answers {
  Mutex mu;
  std::map<int, absl::StatusOr<BatchResult>> results;
  IngestPipeline::Done Into(int n) {
    return [this, n](absl::StatusOr<BatchResult> result) {
      MutexLock lock(&mu);
      results.emplace(n, std::move(result));
    };
  }
  bool Has(int n) {
    MutexLock lock(&mu);
    return results.contains(n);
  }
};

TEST_P(LogPipelineTest, AnswersADuplicateOnlyWhenTheFirstIsDurable) {
  Answers answers;
  const std::string event = MakeEvent("1", "Menu", Menu("a")), other = MakeEvent("2", "Menu", Menu("a"));
  ingest_.log->Hold(true);
  Batch first, second;
  first.events = {event};
  second.events = {event, other};
  ingest_.ingest->pipeline().Submit(std::move(first), answers.Into(1));
  ingest_.ingest->pipeline().Submit(std::move(second), answers.Into(2));
  ASSERT_EQ(ingest_.log->held(), 2);
  ingest_.log->Hold(false);
  // The second batch reaches the disk first, as it may on Kafka: its own event is durable, the duplicate's first is
  // not.
  ingest_.log->Release(absl::OkStatus(), /*index=*/1);
  ASSERT_TRUE(testing::WaitUntil([&] { return ingest_.ReadAll(event_log::kEventsTopic).size() == 1; }));
  EXPECT_FALSE(answers.Has(2));
  ingest_.log->Release();
  ASSERT_TRUE(testing::WaitUntil([&] { return answers.Has(1) && answers.Has(2); }));
  EXPECT_EQ(answers.results.at(2)->duplicate, 1);
  EXPECT_EQ(answers.results.at(2)->accepted, 1);
}

TEST_P(LogPipelineTest, FailsADuplicateWhoseFirstWasNotStored) {
  Answers answers;
  const std::string event = MakeEvent("1", "Menu", Menu("a")), other = MakeEvent("2", "Menu", Menu("a"));
  ingest_.log->Hold(true);
  Batch first, second;
  first.events = {event};
  second.events = {event, other};
  ingest_.ingest->pipeline().Submit(std::move(first), answers.Into(1));
  ingest_.ingest->pipeline().Submit(std::move(second), answers.Into(2));
  ingest_.log->Release(absl::UnavailableError("gone"));
  ingest_.log->Release();
  ASSERT_TRUE(testing::WaitUntil([&] { return answers.Has(1) && answers.Has(2); }));
  ingest_.log->Hold(false);
  EXPECT_EQ(answers.results.at(1).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(answers.results.at(2).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(GetErrorDetails(answers.results.at(2).status()).reason, "FIRST_NOT_STORED");
  // Both send again.
  EXPECT_EQ(Publish({event})->accepted, 1);
  const auto again = Publish({event, other});
  EXPECT_EQ(again->duplicate, 2);
  EXPECT_EQ(ingest_.ReadAll(event_log::kEventsTopic).size(), 2);
}

TEST_P(LogPipelineTest, ALedgerEntryIsNotStoredBeforeTheFirstOfADuplicate) {
  Answers answers;
  const std::string event = MakeEvent("1", "Menu", Menu("a")), other = MakeEvent("2", "Menu", Menu("a"));
  const auto submit = [&] {
    Batch batch;
    batch.events = {event, other};
    batch.extra = {{event_log::kLedgerTopic, 0, "some.Ledger", "import/1", "position 2"}};
    return batch;
  };
  const auto entries = [&] {
    int count = 0;
    for (const auto& record : ingest_.ReadAll(event_log::kLedgerTopic)) count += record.key == "import/1";
    return count;
  };
  for (const bool stored : {false, true}) {
    ingest_.log->Hold(true);
    Batch first;
    first.events = {event};
    ingest_.ingest->pipeline().Submit(std::move(first), answers.Into(1));
    ingest_.ingest->pipeline().Submit(submit(), answers.Into(2));
    EXPECT_EQ(ingest_.log->held(), 1);
    EXPECT_EQ(entries(), 0);
    ingest_.log->Hold(false);
    ingest_.log->Release(stored ? absl::OkStatus() : absl::UnavailableError("gone"));
    ASSERT_TRUE(testing::WaitUntil([&] { return answers.Has(1) && answers.Has(2); }));
    EXPECT_EQ(answers.results.at(2).ok(), stored);
    EXPECT_EQ(entries(), stored ? 1 : 0);
    if (!stored) {
      EXPECT_EQ(GetErrorDetails(answers.results.at(2).status()).reason, "FIRST_NOT_STORED");
    }
    answers.results.clear();
  }
  ExpectCounts(2, 1, 0);
}

TEST_P(LogPipelineTest, StoresExtraRecordsAndLinesOfImports) {
  const std::string good = MakeEvent("l1", "Menu", Menu("a")), bad = MakeEvent("l2", "Menu", Menu("z"));
  Batch batch;
  batch.events = {good, bad};
  batch.lines = {{"line one", 1, "l1"}, {"line two", 2, "l2"}};
  batch.rejected = {{v1::PARSE, "time", "x\xff", "a time", "line three", 3, "l3"}};
  batch.known_duplicates = 5;
  batch.timeline = "import-1";
  batch.format = "ndjson";
  batch.origin = "a.log";
  batch.import_source = "site";
  batch.extra = {{event_log::kLedgerTopic, 0, "some.Ledger", "import/1", "position 3"}};
  const auto result = ingest_.ingest->pipeline().SubmitAndWait(std::move(batch));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->received, 8);
  EXPECT_EQ(result->accepted, 1);
  EXPECT_EQ(result->duplicate, 5);
  EXPECT_EQ(result->rejected, 2);
  ExpectCounts(1, 5, 2);
  event::v1::Event stored;
  ASSERT_TRUE(stored.ParseFromString(ingest_.ReadAll(event_log::kEventsTopic).at(0).value));
  EXPECT_EQ(stored.timeline(), "import-1");
  const auto letters = ingest_.ReadAll(event_log::kDeadLetterTopic);
  ASSERT_EQ(letters.size(), 2);
  v1::RejectedEvent letter;
  ASSERT_TRUE(letter.ParseFromString(letters[0].value));
  EXPECT_EQ(letter.raw(), "line two");
  EXPECT_EQ(letter.origin(), "a.log:2");
  EXPECT_EQ(letter.line_id(), "l2");
  EXPECT_EQ(letter.format(), "ndjson");
  ASSERT_TRUE(letter.ParseFromString(letters[1].value));
  EXPECT_EQ(letter.raw(), "line three");
  EXPECT_EQ(letter.reason(), v1::PARSE);
  EXPECT_EQ(letter.source(), "site");
  EXPECT_EQ(letter.value(), "x\\xff");
  bool found = false;
  for (const auto& record : ingest_.ReadAll(event_log::kLedgerTopic)) found |= record.key == "import/1";
  EXPECT_TRUE(found);
}

// What a transactional id and a session keep out.
class FencedPipelineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ingest_.Open();
    ingest_.ApplyType("Menu", kMenu);
  }
  absl::StatusOr<BatchResult> Submit(int64_t session, const std::string& position) {
    const std::string event = MakeEvent("", "Menu", Menu("a"));
    Batch batch;
    batch.events = {event};
    batch.session = session;
    batch.extra = {{event_log::kLedgerTopic, 0, "some.Ledger", "position", position}};
    return ingest_.ingest->pipeline().SubmitAndWait(std::move(batch));
  }
  std::vector<std::string> Positions() {
    std::vector<std::string> positions;
    for (const auto& record : ingest_.ReadAll(event_log::kLedgerTopic)) {
      if (record.key == "position") positions.push_back(record.value);
    }
    return positions;
  }

  TestIngest ingest_{true};
};

TEST_F(FencedPipelineTest, ABatchWhoseCommitHadNoAnswerIsNotCommittedAgain) {
  const auto session = ingest_.ingest->pipeline().BeginSession();
  ASSERT_TRUE(session.ok());
  ingest_.log->LoseAnswers({absl::AbortedError("no answer to the commit")});
  EXPECT_TRUE(absl::IsAborted(Submit(*session, "1").status()));
  EXPECT_EQ(Positions(), (std::vector<std::string>{"1"}));
  EXPECT_EQ(ingest_.ReadAll(event_log::kEventsTopic).size(), 1);
}

TEST_F(FencedPipelineTest, AfterASuccessorNothingOfTheOldSessionIsStored) {
  LogPipeline& pipeline = ingest_.ingest->pipeline();
  const auto session = pipeline.BeginSession();
  ASSERT_TRUE(session.ok());
  ASSERT_TRUE(Submit(*session, "1").ok());
  auto successor = *ingest_.log->OpenProducer({.transactional_id = "naru-ingest-a"});
  // The first is fenced; the second must not take the id back and commit what it knew before.
  EXPECT_TRUE(absl::IsAborted(Submit(*session, "2").status()));
  EXPECT_TRUE(absl::IsAborted(Submit(*session, "3").status()));
  EXPECT_EQ(Positions(), (std::vector<std::string>{"1"}));
  const auto next = pipeline.BeginSession();
  ASSERT_TRUE(next.ok());
  EXPECT_TRUE(absl::IsAborted(Submit(*session, "4").status()));
  EXPECT_TRUE(Submit(*next, "5").ok());
  EXPECT_EQ(Positions(), (std::vector<std::string>{"1", "5"}));
}

TEST_F(FencedPipelineTest, AMemberThatLostItsPlaceStoresNothing) {
  std::unique_ptr<event_log::Consumer> member = *ingest_.log->OpenConsumer("elected", event_log::kLedgerTopic, {});
  const auto poll = [&] { return member->Poll(std::chrono::milliseconds(0), 1).ok(); };
  ASSERT_TRUE(testing::WaitUntil([&] { return poll() && !member->Assignment().empty(); }));
  const std::string event = MakeEvent("1", "Menu", Menu("a"));
  Batch batch;
  batch.events = {event};
  batch.extra = {{event_log::kLedgerTopic, 0, "some.Ledger", "position", "1"}};
  batch.consumer = member.get();
  batch.offsets = {"elected", event_log::kLedgerTopic, {{0, 0}}};
  ASSERT_TRUE(ingest_.ingest->pipeline().SubmitAndWait(batch).ok());
  // Offsets of a group that the member has no place in.
  batch.offsets.group = "others";
  EXPECT_TRUE(absl::IsAborted(ingest_.ingest->pipeline().SubmitAndWait(batch).status()));
  EXPECT_EQ(Positions(), (std::vector<std::string>{"1"}));
}

TEST_P(LogPipelineTest, KeepsIdsAndCountsOverRestarts) {
  for (int round = 0; round < 5; ++round) {
    std::vector<std::string> events;
    for (int i = 0; i < 20; ++i)
      events.push_back(MakeEvent(std::to_string(i + round * 10), "Menu", Menu(i % 7 ? "a" : "z")));
    ASSERT_TRUE(Publish(events).ok());
    const Counts before = ingest_.Totals();
    ingest_.Reopen();
    const Counts after = ingest_.Totals();
    EXPECT_EQ(after.stored_by_type, before.stored_by_type);
    EXPECT_EQ(after.duplicate, before.duplicate);
    EXPECT_EQ(after.rejected_by_reason, before.rejected_by_reason);
  }
  EXPECT_EQ(static_cast<size_t>(ingest_.Totals().accepted()), ingest_.ReadAll(event_log::kEventsTopic).size());
}

// Random batches from many threads with failures and restarts, against what the clients were told.
TEST_P(LogPipelineTest, AccountsForEverythingWhateverHappens) {
  std::mt19937_64 rng(5);
  std::set<std::string> stored_ids;
  int64_t accepted = 0, duplicate = 0, rejected = 0;
  for (int round = 0; round < 6; ++round) {
    for (int n = 0; n < 40; ++n) {
      std::vector<std::string> events;
      std::set<std::string> fresh;
      int64_t expect_duplicate = 0, expect_rejected = 0;
      for (uint64_t i = rng() % 60; i > 0; --i) {
        const std::string id = std::to_string(rng() % 3000);
        if (rng() % 5 == 0) {
          events.push_back(MakeEvent(id, "Menu", NumberData("age", 500)));
          ++expect_rejected;
          continue;
        }
        events.push_back(MakeEvent(id, "Menu", Menu("a"), std::to_string(rng() % 50)));
        if (stored_ids.contains(id) || !fresh.insert(id).second) ++expect_duplicate;
      }
      const bool fails = rng() % 6 == 0;
      const bool appends = !events.empty();
      if (fails) ingest_.log->FailNext({absl::UnavailableError("gone")});
      const auto result = Publish(events);
      ingest_.log->FailNext({});
      if (!result.ok()) continue;
      // Where there is no local store, a batch of duplicates alone writes nothing and cannot fail.
      EXPECT_TRUE(!fails || !appends || (fresh.empty() && expect_rejected == 0));
      stored_ids.insert(fresh.begin(), fresh.end());
      ASSERT_EQ(result->accepted, static_cast<int64_t>(fresh.size()));
      ASSERT_EQ(result->duplicate, expect_duplicate);
      ASSERT_EQ(result->rejected, expect_rejected);
      accepted += result->accepted;
      duplicate += result->duplicate;
      rejected += result->rejected;
    }
    ExpectCounts(accepted, duplicate, rejected);
    if (round % 2 == 1) ingest_.Reopen();
    ExpectCounts(accepted, duplicate, rejected);
  }
  EXPECT_EQ(ingest_.ReadAll(event_log::kEventsTopic).size(), stored_ids.size());
  EXPECT_EQ(static_cast<int64_t>(ingest_.ReadAll(event_log::kDeadLetterTopic).size()), rejected);
}

TEST_P(LogPipelineTest, StoresEachIdOnceWithManyThreads) {
  constexpr int kThreads = 4, kIds = 3000;
  std::atomic<int64_t> accepted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int start = 0; start < kIds; start += 100) {
        std::vector<std::string> events;
        for (int i = 0; i < 100; ++i)
          events.push_back(MakeEvent(std::to_string(start + i), "Menu", Menu("a"), std::to_string(i)));
        const auto result = Publish(events);
        ASSERT_TRUE(result.ok()) << result.status();
        accepted += result->accepted;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(accepted, kIds);
  EXPECT_EQ(ingest_.ReadAll(event_log::kEventsTopic).size(), kIds);
  ExpectCounts(kIds, kIds * (kThreads - 1), 0);
}

TEST_P(LogPipelineTest, SurvivesTenThousandHostileMessagesAndCountsEachOne) {
  std::mt19937_64 rng(9);
  int64_t sent = 0;
  for (int n = 0; n < 100; ++n) {
    std::vector<std::string> events;
    for (int i = 0; i < 100; ++i) {
      std::string bytes = MakeEvent(std::to_string(rng()), "Menu", Menu("a"));
      for (uint64_t k = rng() % 4; k > 0; --k) bytes[rng() % bytes.size()] = static_cast<char>(rng());
      if (rng() % 8 == 0) bytes.resize(rng() % bytes.size());
      events.push_back(std::move(bytes));
    }
    const auto result = Publish(events);
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(result->received, 100);
    sent += 100;
  }
  const Counts counts = ingest_.Totals();
  EXPECT_EQ(counts.received(), sent);
  EXPECT_GT(counts.rejected(), sent / 10);
  EXPECT_EQ(ingest_.ReadAll(event_log::kEventsTopic).size(), static_cast<size_t>(counts.accepted()));
  EXPECT_EQ(ingest_.ReadAll(event_log::kDeadLetterTopic).size(), static_cast<size_t>(counts.rejected()));
}

}  // namespace
}  // namespace naru::ingest
