#include "common/catalog/catalog.h"

#include <atomic>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/auth/api_key.h"
#include "common/catalog/catalog_key_store.h"
#include "common/catalog/catalog_writer.h"
#include "common/catalog/resource_file.h"
#include "common/event_log/rocks_event_log.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"
#include "common/testing/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "naru/catalog/v1/catalog.pb.h"

namespace naru::catalog {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::chrono::seconds kSoon{20};

v1::Resource EventType(const std::string& name, const std::string& description = "x") {
  v1::Resource resource;
  resource.set_api_version("naru.dev/v1");
  resource.set_kind("EventType");
  resource.mutable_metadata()->set_name(name);
  resource.mutable_event_type()->set_description(description);
  return resource;
}

v1::Resource Yaml(const std::string& kind, const std::string& name, const std::string& spec) {
  const ResourceSet set = LoadText("a.yaml", absl::StrCat("apiVersion: naru.dev/v1\nkind: ", kind,
                                                          "\nmetadata: {name: ", name, "}\nspec: ", spec, "\n"));
  for (const FileProblem& problem : set.problems) ADD_FAILURE() << problem.ToString();
  return *set.resources.at(0).resource;
}

class CatalogTest : public ::testing::Test {
 protected:
  void SetUp() override { OpenLog(); }
  void TearDown() override { Close(); }

  void OpenLog() {
    event_log::RocksEventLogOptions options;
    options.path = dir_.File("log");
    options.clock = &clock_;
    options.maintenance_interval = std::chrono::milliseconds(0);
    auto log = event_log::RocksEventLog::Open(options);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
    catalog_ = OpenCatalog();
    writer_ = std::make_unique<CatalogWriter>(*log_, *catalog_, clock_, random_, &runners_);
  }
  std::unique_ptr<Catalog> OpenCatalog() {
    auto catalog = Catalog::Open(*log_, clock_);
    EXPECT_TRUE(catalog.ok()) << catalog.status();
    return catalog.ok() ? *std::move(catalog) : nullptr;
  }
  void Close() {
    writer_.reset();
    catalog_.reset();
    log_.reset();
  }
  v1::ApplyResult Apply(const v1::Resource& resource) {
    auto response = writer_->Apply({resource}, false);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? response->results(0) : v1::ApplyResult();
  }

  testing::TempDir dir_;
  FakeClock clock_{1'700'000'000'000'000};
  SeededRandom random_{1};
  TestRunners runners_;
  std::unique_ptr<event_log::RocksEventLog> log_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<CatalogWriter> writer_;
};

TEST_F(CatalogTest, IsEmptyAtFirst) {
  EXPECT_THAT(catalog_->snapshot()->List(""), IsEmpty());
  EXPECT_EQ(catalog_->snapshot()->Find("EventType", "a"), nullptr);
  EXPECT_TRUE(catalog_->CatchUp(kSoon).ok());
  EXPECT_TRUE(catalog_->Health().ok());
}

TEST_F(CatalogTest, FindsBuiltInFormatsWithoutListingThem) {
  EXPECT_NE(catalog_->snapshot()->Find("InputFormat", "ndjson"), nullptr);
  EXPECT_THAT(catalog_->snapshot()->List("InputFormat"), IsEmpty());
}

TEST_F(CatalogTest, CreatesUpdatesAndLeavesAlone) {
  v1::ApplyResult result = Apply(EventType("a", "one"));
  EXPECT_EQ(result.action(), v1::ApplyResult::CREATED);
  EXPECT_EQ(result.resource().metadata().version(), 1);
  const std::string etag = result.resource().metadata().etag();
  const int64_t position = catalog_->snapshot()->position();

  EXPECT_EQ(Apply(EventType("a", "one")).action(), v1::ApplyResult::UNCHANGED);
  EXPECT_EQ(Apply(result.resource()).action(), v1::ApplyResult::UNCHANGED);
  EXPECT_EQ(catalog_->snapshot()->position(), position);

  result = Apply(EventType("a", "two"));
  EXPECT_EQ(result.action(), v1::ApplyResult::UPDATED);
  EXPECT_EQ(result.resource().metadata().version(), 2);
  EXPECT_NE(result.resource().metadata().etag(), etag);
  EXPECT_EQ(catalog_->snapshot()->Find("EventType", "a")->event_type().description(), "two");

  v1::Resource labelled = EventType("a", "two");
  (*labelled.mutable_metadata()->mutable_labels())["team"] = "web";
  result = Apply(labelled);
  EXPECT_EQ(result.action(), v1::ApplyResult::UPDATED);
  EXPECT_EQ(result.resource().metadata().version(), 2) << "only the spec makes versions";
}

TEST_F(CatalogTest, GivesNewEtagsToOldContents) {
  std::set<std::string> etags;
  for (int i = 0; i < 6; ++i) etags.insert(Apply(EventType("a", i % 2 == 0 ? "x" : "y")).resource().metadata().etag());
  EXPECT_THAT(etags, SizeIs(6));
}

TEST_F(CatalogTest, ComparesEtags) {
  v1::Resource resource = Apply(EventType("a", "one")).resource();
  Apply(EventType("a", "two"));
  resource.mutable_event_type()->set_description("three");
  auto response = writer_->Apply({EventType("b"), resource}, false);
  EXPECT_EQ(response.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(GetErrorDetails(response.status()).reason, "ETAG_MISMATCH");
  EXPECT_EQ(catalog_->snapshot()->Find("EventType", "b"), nullptr) << "all or nothing";
  resource.mutable_metadata()->set_etag(catalog_->snapshot()->Find("EventType", "a")->metadata().etag());
  EXPECT_EQ(Apply(resource).action(), v1::ApplyResult::UPDATED);
  v1::Resource gone = EventType("never");
  gone.mutable_metadata()->set_etag("0");
  EXPECT_EQ(writer_->Apply({gone}, false).status().code(), absl::StatusCode::kAborted);
}

TEST_F(CatalogTest, DryRunSaysWhatWouldHappen) {
  Apply(EventType("a"));
  auto response = writer_->Apply({EventType("a"), EventType("b")}, true);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->results(0).action(), v1::ApplyResult::UNCHANGED);
  EXPECT_EQ(response->results(1).action(), v1::ApplyResult::CREATED);
  EXPECT_THAT(catalog_->snapshot()->List(""), SizeIs(1));
}

TEST_F(CatalogTest, ReportsEveryProblemOfAllResources) {
  v1::Resource bad = EventType("a b");
  bad.mutable_event_type()->set_retention("soon");
  auto response = writer_->Apply({EventType("ok"), bad, EventType("ok")}, false);
  EXPECT_EQ(response.status().code(), absl::StatusCode::kInvalidArgument);
  const ErrorDetails details = GetErrorDetails(response.status());
  EXPECT_EQ(details.reason, "INVALID_RESOURCES");
  std::vector<std::string> fields;
  for (const FieldViolation& violation : details.violations) fields.push_back(violation.field);
  EXPECT_THAT(fields,
              ElementsAre("resources[1].metadata.name", "resources[1].spec.retention", "resources[2].metadata.name"));
  EXPECT_THAT(catalog_->snapshot()->List(""), IsEmpty());
}

TEST_F(CatalogTest, RefusesBuiltInNamesAndTooLargeOnes) {
  v1::Resource format = *catalog_->snapshot()->Find("InputFormat", "ndjson");
  EXPECT_THAT(writer_->Apply({format}, false).status().message(), HasSubstr("built in"));
  EXPECT_EQ(writer_->Delete("InputFormat", "ndjson", "").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(writer_->Apply({EventType("a", std::string(300'000, 'x'))}, false).status().message(),
              HasSubstr("at most 262144"));
}

TEST_F(CatalogTest, SeesResourcesOfTheSameCall) {
  const v1::Resource source = Yaml("Source", "s", "{kafka: {brokers: ['b:1'], topics: [t]}, format: f}");
  const v1::Resource format = Yaml("InputFormat", "f", "{parser: {type: json}, event: {type: t}}");
  EXPECT_THAT(writer_->Apply({source}, false).status().message(), HasSubstr("no InputFormat `f`"));
  EXPECT_TRUE(writer_->Apply({source, format}, false).ok());
  const absl::Status in_use = writer_->Delete("InputFormat", "f", "").status();
  EXPECT_EQ(in_use.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(in_use.message(), HasSubstr("used by Source s"));
  EXPECT_TRUE(writer_->Delete("Source", "s", "").ok());
  EXPECT_TRUE(writer_->Delete("InputFormat", "f", "").ok());
}

TEST_F(CatalogTest, KeepsAMetricThatASinkWrites) {
  const v1::Resource metric =
      Yaml("Metric", "m", "{window: {type: tumbling, size: 1h}, measures: [{name: n, agg: count}]}");
  const v1::Resource sink = Yaml("Sink", "s", "{redis: {address: 'redis:6379'}, metrics: [m]}");
  EXPECT_FALSE(writer_->Apply({sink}, false).ok());
  EXPECT_TRUE(writer_->Apply({sink, metric}, false).ok());
  const absl::Status in_use = writer_->Delete("Metric", "m", "").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(in_use));
  EXPECT_THAT(std::string(in_use.message()), HasSubstr("Sink s"));
  EXPECT_TRUE(writer_->Delete("Sink", "s", "").ok());
  EXPECT_TRUE(writer_->Delete("Metric", "m", "").ok());
}

TEST_F(CatalogTest, NeverUsesAnOldVersionAgain) {
  Apply(EventType("a", "one"));
  Apply(EventType("a", "two"));
  EXPECT_EQ(writer_->Delete("EventType", "a", "wrong").status().code(), absl::StatusCode::kAborted);
  const auto deleted = writer_->Delete("EventType", "a", "");
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_EQ(deleted->event_type().description(), "two");
  EXPECT_EQ(catalog_->snapshot()->Find("EventType", "a"), nullptr);
  EXPECT_EQ(catalog_->snapshot()->DeletedVersion("EventType", "a"), 2);
  EXPECT_EQ(writer_->Delete("EventType", "a", "").status().code(), absl::StatusCode::kNotFound);
  Close();
  OpenLog();
  const v1::ApplyResult again = Apply(EventType("a", "one"));
  EXPECT_EQ(again.action(), v1::ApplyResult::CREATED);
  EXPECT_EQ(again.resource().metadata().version(), 3);
  EXPECT_EQ(catalog_->snapshot()->DeletedVersion("EventType", "a"), 0);
}

TEST_F(CatalogTest, NamesTheNearestWhenSomethingIsNotThere) {
  Apply(EventType("UserLogin"));
  EXPECT_THAT(ResourceNotFound(*catalog_->snapshot(), "EventType", "UserLogn").message(),
              HasSubstr("did you mean \"UserLogin\"?"));
  EXPECT_THAT(ResourceNotFound(*catalog_->snapshot(), "Eventtype", "x").message(),
              HasSubstr("did you mean \"EventType\"?"));
}

TEST_F(CatalogTest, RefusesAnIncompatibleChange) {
  Apply(Yaml("EventType", "a", "{schema: {properties: {x: {type: number}}}}"));
  const auto response = writer_->Apply({Yaml("EventType", "a", "{schema: {properties: {x: {type: string}}}}")}, false);
  EXPECT_THAT(response.status().message(),
              HasSubstr("resources[0].spec.schema.properties.x.type: changes from number"));
}

TEST_F(CatalogTest, RunsChecksAndTestsBeforeItWrites) {
  runners_.Register("EventType", [](const v1::Resource& resource, const ResourceLookup& lookup) {
    std::vector<FieldViolation> failed;
    EXPECT_NE(lookup("EventType", resource.metadata().name()), nullptr);
    if (resource.event_type().description() == "bad") failed.push_back({"tests[0]", "came out otherwise"});
    return failed;
  });
  runners_.RegisterCheck("Metric", [](const v1::Resource&, const ResourceLookup&) {
    return std::vector<FieldViolation>{{"spec.window.type", "not in this release"}};
  });
  v1::Resource resource = EventType("a", "bad");
  resource.add_tests()->set_accepted(true);
  EXPECT_THAT(writer_->Apply({resource}, false).status().message(), HasSubstr("resources[0].tests[0]: came out"));
  resource.mutable_event_type()->set_description("good");
  EXPECT_TRUE(writer_->Apply({resource}, false).ok());
  v1::Resource metric = Yaml("Metric", "m", "{window: {type: global}, measures: [{name: n, agg: count}]}");
  EXPECT_THAT(writer_->Apply({metric}, false).status().message(), HasSubstr("not in this release"));
  v1::Resource format = Yaml("InputFormat", "f", "{parser: {type: json}, event: {type: t}}");
  format.add_tests()->set_input("x");
  EXPECT_TRUE(writer_->Apply({format}, false).ok()) << "a kind that nobody registered is another program's";
}

TEST_F(CatalogTest, KeepsEverythingAcrossARestart) {
  Apply(EventType("a", "one"));
  Apply(EventType("b", "two"));
  ASSERT_TRUE(writer_->Delete("EventType", "b", "").ok());
  const auto key = writer_->CreateApiKey("web", {"publish"});
  ASSERT_TRUE(key.ok()) << key.status();
  const std::string etag = catalog_->snapshot()->Find("EventType", "a")->metadata().etag();
  const int64_t position = catalog_->snapshot()->position();
  Close();
  OpenLog();
  EXPECT_EQ(catalog_->snapshot()->Find("EventType", "a")->metadata().etag(), etag);
  EXPECT_EQ(catalog_->snapshot()->position(), position);
  EXPECT_EQ(catalog_->snapshot()->DeletedVersion("EventType", "b"), 1);
  EXPECT_NE(catalog_->snapshot()->FindApiKey(key->api_key().id()), nullptr);
}

TEST_F(CatalogTest, FollowsAfterCompaction) {
  for (int i = 0; i < 300; ++i) Apply(EventType(absl::StrCat("type", i % 3), absl::StrCat("round ", i)));
  ASSERT_TRUE(writer_->Delete("EventType", "type1", "").ok());
  clock_.Advance(std::chrono::hours(24 * 30));
  ASSERT_TRUE(log_->RunMaintenance().ok());
  const auto late = OpenCatalog();
  ASSERT_NE(late, nullptr);
  EXPECT_THAT(late->snapshot()->List(""), SizeIs(2));
  EXPECT_EQ(late->snapshot()->Find("EventType", "type2")->event_type().description(), "round 299");
  EXPECT_EQ(late->snapshot()->DeletedVersion("EventType", "type1"), 100);
  EXPECT_EQ(late->snapshot()->position(), catalog_->snapshot()->position());
}

TEST_F(CatalogTest, OneOfTwoWritersAtATimeWins) {
  constexpr int kWriters = 4;
  constexpr int kRounds = 25;
  Apply(EventType("counter", "0"));
  std::atomic<int> lost{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kWriters; ++i) {
    threads.emplace_back([this, &lost] {
      const auto catalog = OpenCatalog();
      SeededRandom random(7);
      CatalogWriter writer(*log_, *catalog, clock_, random, nullptr);
      for (int done = 0; done < kRounds;) {
        // Read, add one, write if nobody else did: as a client does with an etag.
        v1::Resource resource = *catalog->snapshot()->Find("EventType", "counter");
        resource.mutable_event_type()->set_description(
            absl::StrCat(std::stoi(resource.event_type().description()) + 1));
        const auto response = writer.Apply({resource}, false);
        if (response.ok()) {
          ++done;
          continue;
        }
        ASSERT_EQ(response.status().code(), absl::StatusCode::kAborted) << response.status();
        ++lost;
        ASSERT_TRUE(catalog->CatchUp(kSoon).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(catalog_->CatchUp(kSoon).ok());
  const v1::Resource* counter = catalog_->snapshot()->Find("EventType", "counter");
  EXPECT_EQ(counter->event_type().description(), absl::StrCat(kWriters * kRounds));
  EXPECT_EQ(counter->metadata().version(), kWriters * kRounds + 1);
}

TEST_F(CatalogTest, TellsSubscribersEverySnapshotInOrder) {
  const auto follower = OpenCatalog();
  Mutex mu;
  std::vector<int64_t> versions;
  std::vector<size_t> sizes;
  const int64_t token = follower->Subscribe([&](const std::shared_ptr<const Snapshot>& snapshot) {
    MutexLock lock(&mu);
    versions.push_back(snapshot->version());
    sizes.push_back(snapshot->List("").size());
  });
  {
    MutexLock lock(&mu);
    EXPECT_THAT(sizes, ElementsAre(0)) << "the current one comes before Subscribe returns";
  }
  for (int i = 0; i < 20; ++i) Apply(EventType(absl::StrCat("t", i)));
  ASSERT_TRUE(follower->CatchUp(kSoon).ok());
  {
    MutexLock lock(&mu);
    EXPECT_EQ(sizes.back(), 20u) << "CatchUp waits for subscribers too";
    for (size_t i = 1; i < versions.size(); ++i) EXPECT_EQ(versions[i], versions[i - 1] + 1);
  }
  follower->Unsubscribe(token);
  Apply(EventType("one-more"));
  ASSERT_TRUE(follower->CatchUp(kSoon).ok());
  MutexLock lock(&mu);
  EXPECT_EQ(sizes.back(), 20u);
}

TEST_F(CatalogTest, LeavesOutRecordsThatItCannotRead) {
  Apply(EventType("a"));
  auto producer = log_->OpenProducer({});
  ASSERT_TRUE(producer.ok());
  v1::CatalogRecord newer;
  newer.GetReflection()->MutableUnknownFields(&newer)->AddVarint(99, 1);
  const std::string newer_bytes = newer.SerializeAsString();
  const std::vector<event_log::Record> records = {{.key = "EventType/b", .value = "\xff\xff garbage"},
                                                  {.key = "no-slash", .value = newer_bytes},
                                                  {.key = "Future/c", .value = newer_bytes},
                                                  {.key = "EventType/gone", .value = "", .tombstone = true}};
  event_log::AppendBatch batch;
  batch.topic = event_log::kCatalogTopic;
  batch.records = records;
  ASSERT_TRUE((*producer)->Append({batch}).ok());
  ASSERT_TRUE(catalog_->CatchUp(kSoon).ok());
  EXPECT_EQ(catalog_->snapshot()->skipped_records(), 3);
  EXPECT_THAT(catalog_->snapshot()->List(""), SizeIs(1));
}

TEST_F(CatalogTest, SaysHowFarItIsWhenTheEndDoesNotCome) {
  const absl::Status status = catalog_->WaitForPosition(1000, std::chrono::milliseconds(20));
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(status.message(), HasSubstr("to offset 0 of 1000"));
}

TEST_F(CatalogTest, MakesKeysThatOpenUntilTheyAreRevoked) {
  CatalogKeyStore keys(*catalog_);
  EXPECT_EQ(writer_->CreateApiKey("x", {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(writer_->CreateApiKey("x", {"root"}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(writer_->CreateApiKey(std::string(129, 'x'), {"read"}).status().code(), absl::StatusCode::kInvalidArgument);
  const auto made = writer_->CreateApiKey("dashboards", {"read", "publish"});
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_TRUE(made->api_key().sha256().empty());
  EXPECT_THAT(made->api_key().scopes(), ElementsAre("publish", "read"));
  const auto principal = keys.Check(made->key());
  ASSERT_TRUE(principal.has_value());
  EXPECT_TRUE(principal->scopes.Allow(Scope::kRead));
  EXPECT_FALSE(principal->scopes.Allow(Scope::kAdmin));

  clock_.Advance(std::chrono::seconds(1));
  const auto other = writer_->CreateApiKey("", {"admin"});
  EXPECT_EQ(catalog_->snapshot()->ApiKeys()[0]->display_name(), "dashboards");
  const auto revoked = writer_->RevokeApiKey(made->api_key().id());
  ASSERT_TRUE(revoked.ok()) << revoked.status();
  EXPECT_TRUE(revoked->has_revoke_time());
  EXPECT_TRUE(revoked->sha256().empty());
  EXPECT_FALSE(keys.Check(made->key()).has_value());
  EXPECT_TRUE(keys.Check(other->key()).has_value());
  EXPECT_EQ(writer_->RevokeApiKey("nothing").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(writer_->RevokeApiKey(made->api_key().id())->revoke_time().seconds(), revoked->revoke_time().seconds());
}

TEST_F(CatalogTest, NeverKeepsTheSecretOfAKey) {
  const auto made = writer_->CreateApiKey("x", {"read"});
  ASSERT_TRUE(made.ok());
  const v1::ApiKey* stored = catalog_->snapshot()->FindApiKey(made->api_key().id());
  EXPECT_THAT(stored->SerializeAsString(), ::testing::Not(HasSubstr(made->key().substr(20))));
  EXPECT_EQ(stored->sha256(), HashApiKey(made->key()));
}

}  // namespace
}  // namespace naru::catalog
