#include "services/ingest/source_run.h"

#include <google/protobuf/util/json_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/event/event_view.h"
#include "common/status/status.h"
#include "naru/ingest/v1/ingest.pb.h"
#include "services/ingest/source_set.h"
#include "services/ingest/testing_ingest.h"
#include "services/ingest/testing_source.h"

namespace naru::ingest {
namespace {

using ::testing::HasSubstr;
using testing::WaitUntil;

constexpr char kFormat[] = R"({"parser":{"type":"json"},"event":{"type":{"from":"type"},"subject":{"from":"user"}}})";

catalog::v1::InputFormat FormatSpec() {
  catalog::v1::InputFormat spec;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(kFormat, &spec).ok());
  return spec;
}

std::string Message(int64_t n, const std::string& user = "u") {
  return absl::StrCat(R"({"type":"Click","user":")", user, n % 5, R"(","n":)", n, "}");
}

class SourceRunTest : public ::testing::TestWithParam<bool> {
 protected:
  SourceRunTest() : ingest_(GetParam()) {}
  void SetUp() override {
    ingest_.options.unregistered_events = "keep";
    ingest_.Open();
    topics_.Create("clicks", 2);
    spec_.mutable_kafka()->add_brokers("elsewhere:9092");
    spec_.mutable_kafka()->add_topics("clicks");
    spec_.set_format("messages");
  }

  std::unique_ptr<SourceRun> Follow() {
    SourceRunOptions options;
    options.name = "site";
    options.format = *input_format::InputFormat::Compile("messages", FormatSpec());
    options.batch_events = 100;
    options.first_retry = std::chrono::milliseconds(2);
    options.max_retry = std::chrono::milliseconds(20);
    options.look_around = std::chrono::milliseconds(20);
    SourceDependencies dependencies;
    dependencies.log = ingest_.log.get();
    dependencies.pipeline = &ingest_.ingest->pipeline();
    dependencies.budget = &ingest_.ingest->budget();
    dependencies.open_reader = topics_.Opener();
    return std::make_unique<SourceRun>(dependencies, spec_, options);
  }
  void AddMessages(int64_t from, int64_t to) {
    for (int64_t n = from; n < to; ++n) topics_.Add("clicks", static_cast<int>(n % 2), Message(n));
  }
  std::map<int64_t, int> StoredNumbers() {
    std::map<int64_t, int> numbers;
    for (const auto& record : ingest_.ReadAll(event_log::kEventsTopic)) {
      event::EventView view;
      EXPECT_TRUE(event::ParseStoredEvent(record.value, &view));
      EXPECT_EQ(view.timeline, "source/site");
      ++numbers[static_cast<int64_t>(event::FindField(view.data, "n").number)];
    }
    return numbers;
  }
  void ExpectEachOnce(int64_t from, int64_t to) {
    const auto numbers = StoredNumbers();
    EXPECT_EQ(numbers.size(), static_cast<size_t>(to - from));
    for (int64_t n = from; n < to; ++n) {
      const auto found = numbers.find(n);
      ASSERT_TRUE(found != numbers.end() && found->second == 1) << n;
    }
  }

  TestIngest ingest_;
  FakeTopics topics_;
  catalog::v1::Source spec_;
};

INSTANTIATE_TEST_SUITE_P(Logs, SourceRunTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "WithoutLocalStore" : "Embedded"; });

TEST_P(SourceRunTest, EveryMessageBecomesAnEventAndBadOnesDeadLetters) {
  AddMessages(0, 1000);
  topics_.Add("clicks", 0, "not json");
  topics_.AddTombstone("clicks", 1);
  const auto run = Follow();
  ASSERT_TRUE(WaitUntil([&] { return run->state().read_count == 1002; }));
  ASSERT_TRUE(WaitUntil([&] { return run->state().lag == 0; }));
  EXPECT_TRUE(run->state().running);
  ExpectEachOnce(0, 1000);
  const auto letters = ingest_.ReadAll(event_log::kDeadLetterTopic);
  ASSERT_EQ(letters.size(), 1u);
  v1::RejectedEvent letter;
  ASSERT_TRUE(letter.ParseFromString(letters[0].value));
  EXPECT_EQ(letter.raw(), "not json");
  EXPECT_EQ(letter.origin(), "clicks/0:500");
  EXPECT_EQ(letter.format(), "messages");
  EXPECT_EQ(letter.line_id(), SourceEventId("elsewhere:9092", "clicks", 0, 500));
}

TEST_P(SourceRunTest, GoesOnWhereItWasHoweverOftenItStops) {
  std::mt19937 random(5);
  int64_t sent = 0;
  for (int round = 0; round < 15; ++round) {
    const int64_t more = random() % 800;
    AddMessages(sent, sent + more);
    sent += more;
    const auto run = Follow();
    const int64_t wanted = round % 2 == 0 ? sent : sent / 2;
    ASSERT_TRUE(WaitUntil([&] { return run->state().read_count >= wanted; }));
  }
  const auto run = Follow();
  ASSERT_TRUE(WaitUntil([&] { return run->state().read_count == sent; }));
  ExpectEachOnce(0, sent);
  EXPECT_EQ(ingest_.Totals().duplicate, 0);
}

TEST_P(SourceRunTest, ADayLaterNothingIsTakenTwice) {
  AddMessages(0, 300);
  {
    const auto run = Follow();
    ASSERT_TRUE(WaitUntil([&] { return run->state().read_count == 300; }));
  }
  ingest_.clock.Advance(std::chrono::hours(25));
  ingest_.Reopen();
  AddMessages(300, 400);
  const auto run = Follow();
  ASSERT_TRUE(WaitUntil([&] { return run->state().read_count == 400; }));
  ExpectEachOnce(0, 400);
}

TEST_P(SourceRunTest, LatestBeginsAtTheEndAndStaysThere) {
  spec_.mutable_kafka()->set_start("latest");
  AddMessages(0, 100);
  {
    const auto run = Follow();
    ASSERT_TRUE(WaitUntil([&] { return run->state().running && run->state().lag == 0; }));
  }
  AddMessages(100, 150);
  const auto run = Follow();
  ASSERT_TRUE(WaitUntil([&] { return run->state().read_count == 50; }));
  ExpectEachOnce(100, 150);
}

TEST_P(SourceRunTest, WaitsAndGoesOnWhenTheClusterFails) {
  AddMessages(0, 200);
  topics_.FailPolls({absl::UnavailableError("no broker"), absl::UnavailableError("no broker"),
                     absl::OutOfRangeError("offsets 3 to 9 are gone"), absl::DataLossError("message 12 is damaged")});
  const auto run = Follow();
  ASSERT_TRUE(WaitUntil([&] { return run->state().read_count == 200; }));
  EXPECT_EQ(topics_.opened(), 3);
  ExpectEachOnce(0, 200);
}

TEST_P(SourceRunTest, AMissingTopicIsWaitedFor) {
  spec_.mutable_kafka()->add_topics("views");
  const auto run = Follow();
  ASSERT_TRUE(WaitUntil([&] { return absl::StrContains(run->state().message, "there is no topic views"); }));
  EXPECT_FALSE(run->state().running);
  topics_.Create("views", 1);
  topics_.Add("views", 0, Message(7));
  ASSERT_TRUE(WaitUntil([&] { return run->state().read_count == 1; }));
}

TEST_P(SourceRunTest, PartitionsThatAreAddedAreReadFromTheirStart) {
  AddMessages(0, 10);
  const auto run = Follow();
  ASSERT_TRUE(WaitUntil([&] { return run->state().read_count == 10; }));
  topics_.Create("clicks", 3);
  topics_.Add("clicks", 2, Message(10));
  ASSERT_TRUE(WaitUntil([&] { return run->state().read_count == 11; }));
  ExpectEachOnce(0, 11);
}

TEST_P(SourceRunTest, WhatCannotBeStoredIsTriedAgainInOrder) {
  if (GetParam()) return;  // the controlled log fails appends, not transactions
  AddMessages(0, 1000);
  std::vector<absl::Status> failures;
  for (int i = 0; i < 20; ++i) {
    failures.push_back(i % 3 == 0 ? absl::OkStatus() : absl::UnavailableError("the disk is full"));
  }
  ingest_.log->FailNext(failures);
  const auto run = Follow();
  ASSERT_TRUE(WaitUntil([&] { return run->state().read_count == 1000; }));
  ExpectEachOnce(0, 1000);
}

TEST_P(SourceRunTest, ABatchWhoseCommitHadNoAnswerIsNotStoredAgain) {
  if (!GetParam()) return;  // there is no transaction
  ingest_.log->LoseAnswers({absl::OkStatus(), absl::AbortedError("no answer to the commit"), absl::OkStatus(),
                            absl::AbortedError("no answer to the commit")});
  AddMessages(0, 1000);
  const auto run = Follow();
  ASSERT_TRUE(WaitUntil([&] { return run->state().read_count == 1000; }));
  ExpectEachOnce(0, 1000);
}

TEST(SourceSettings, AreTakenFromSecretsAndAMissingOneIsNamed) {
  catalog::v1::KafkaSource spec;
  spec.add_brokers("127.0.0.1:1");
  (*spec.mutable_properties())["sasl.password"] = "${secret:not-there}";
  const auto opened = OpenKafkaReader("a", spec, {});
  EXPECT_TRUE(absl::IsInvalidArgument(opened.status()));
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr("spec.kafka.properties.sasl.password"));
}

/// The set with the catalog of a whole ingest.
class SourceSetTest : public ::testing::TestWithParam<bool> {
 protected:
  SourceSetTest() : ingest_(GetParam()) {}
  void SetUp() override {
    ingest_.options.unregistered_events = "keep";
    ingest_.Open();
    topics_.Create("clicks", 1);
    formats_ = std::make_unique<ImportFormats>(ingest_.catalog.get());
    SourceDependencies dependencies;
    dependencies.log = ingest_.log.get();
    dependencies.pipeline = &ingest_.ingest->pipeline();
    dependencies.budget = &ingest_.ingest->budget();
    dependencies.open_reader = topics_.Opener();
    set_ = std::make_unique<SourceSet>(dependencies, ingest_.catalog.get(), formats_.get());
  }
  void ApplyFormat() {
    catalog::v1::Resource resource = Resource("InputFormat", "messages");
    *resource.mutable_input_format() = FormatSpec();
    Apply(resource);
  }
  void ApplySource(bool paused) {
    catalog::v1::Resource resource = Resource("Source", "site");
    resource.mutable_source()->mutable_kafka()->add_brokers("127.0.0.1:1");
    resource.mutable_source()->mutable_kafka()->add_topics("clicks");
    resource.mutable_source()->set_format("messages");
    resource.mutable_source()->set_paused(paused);
    Apply(resource);
  }
  static catalog::v1::Resource Resource(const std::string& kind, const std::string& name) {
    catalog::v1::Resource resource;
    resource.set_api_version("naru.dev/v1");
    resource.set_kind(kind);
    resource.mutable_metadata()->set_name(name);
    return resource;
  }
  void Apply(const catalog::v1::Resource& resource) {
    const auto applied = ingest_.writer->Apply({resource}, false);
    ASSERT_TRUE(applied.ok()) << applied.status();
  }
  std::string State() {
    const auto statuses = set_->Statuses();
    return statuses.empty() ? "none" : absl::StrCat(statuses[0].state(), " ", statuses[0].message());
  }

  TestIngest ingest_;
  FakeTopics topics_;
  std::unique_ptr<ImportFormats> formats_;
  std::unique_ptr<SourceSet> set_;
};

INSTANTIATE_TEST_SUITE_P(Logs, SourceSetTest, ::testing::Values(false), [](const auto&) { return "Embedded"; });

TEST_P(SourceSetTest, FollowsTheCatalog) {
  ApplyFormat();
  ApplySource(false);
  ASSERT_TRUE(WaitUntil([&] { return State() == "RUNNING "; })) << State();
  topics_.Add("clicks", 0, Message(1));
  ASSERT_TRUE(WaitUntil([&] { return set_->Statuses()[0].read_count() == 1; }));
  ApplySource(true);
  ASSERT_TRUE(WaitUntil([&] { return State() == "STOPPED paused"; })) << State();
  topics_.Add("clicks", 0, Message(2));
  ApplySource(false);
  ASSERT_TRUE(WaitUntil([&] { return State() == "RUNNING " && set_->Statuses()[0].read_count() == 2; })) << State();
  EXPECT_EQ(ingest_.Totals().accepted(), 2);
}

TEST(SourceElection, AtMostOneOfTwoReplicasFollows) {
  TestIngest ingest(true);
  ingest.options.unregistered_events = "keep";
  ingest.Open();
  FakeTopics topics;
  topics.Create("clicks", 1);
  ImportFormats formats(ingest.catalog.get());
  SourceDependencies dependencies;
  dependencies.log = ingest.log.get();
  dependencies.pipeline = &ingest.ingest->pipeline();
  dependencies.budget = &ingest.ingest->budget();
  dependencies.open_reader = topics.Opener();
  std::vector<catalog::v1::Resource> resources(2);
  resources[0].set_kind("InputFormat");
  resources[0].mutable_metadata()->set_name("messages");
  *resources[0].mutable_input_format() = FormatSpec();
  resources[1].set_kind("Source");
  resources[1].mutable_metadata()->set_name("site");
  resources[1].mutable_source()->mutable_kafka()->add_brokers("127.0.0.1:1");
  resources[1].mutable_source()->mutable_kafka()->add_topics("clicks");
  resources[1].mutable_source()->set_format("messages");
  resources[1].mutable_source()->set_paused(true);  // for the set that the ingest itself has
  for (auto& resource : resources) resource.set_api_version("naru.dev/v1");
  ASSERT_TRUE(ingest.writer->Apply(resources, false).ok());
  auto first = std::make_unique<SourceSet>(dependencies, ingest.catalog.get(), &formats);
  auto second = std::make_unique<SourceSet>(dependencies, ingest.catalog.get(), &formats);
  // The three members of the group agree on one: all say the same of a paused source, or that another has it.
  ASSERT_TRUE(WaitUntil([&] {
    int owners = 0;
    for (const auto* set : {first.get(), second.get()}) {
      const auto statuses = set->Statuses();
      if (statuses.empty()) return false;
      owners += statuses[0].message() == "paused";
    }
    return owners <= 1;
  }));
  first.reset();
  second.reset();
}

}  // namespace
}  // namespace naru::ingest
