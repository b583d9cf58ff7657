// Entities and their index: against a source that lags behind commits, and through a real commit, log and view.
#include "services/aggregator/entity_store.h"

#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/clock/clock.h"
#include "common/event_log/rocks_event_log.h"
#include "common/status/status.h"
#include "common/testing/testing.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/commit.h"
#include "services/aggregator/finality.h"
#include "services/aggregator/serving_view.h"
#include "services/aggregator/source_partition.h"

namespace naru::aggregator {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kDay = 86'400 * kSecond;

// What was committed, visible only as far as it is applied.
class LaggingSource : public EntitySource {
 public:
  void Commit(EntityStore* entities, EntityIndex* index) {
    Step step;
    for (const Entity* entity : entities->dirty()) {
      if (!EntityStore::ToStore(*entity)) continue;
      std::optional<std::string>& value = step.entities[entity->id()];
      if (!entity->state.empty()) value = EncodeEntity({entity->last_change_us(), entity->state});
    }
    index->ForEachDirty(
        [&](absl::string_view key, const std::optional<std::string>& value) { step.index[std::string(key)] = value; });
    steps_.push_back(std::move(step));
    entities->MarkCommitted(static_cast<int64_t>(steps_.size()) - 1);
    index->MarkCommitted(static_cast<int64_t>(steps_.size()) - 1);
  }
  int64_t Apply(size_t steps) {
    for (; steps > 0 && applied_ < steps_.size(); --steps, ++applied_) {
      for (const auto& [id, value] : steps_[applied_].entities) Put(id, value, &entities_);
      for (const auto& [key, value] : steps_[applied_].index) Put(key, value, &index_);
    }
    return static_cast<int64_t>(applied_);
  }
  size_t entity_count() const { return entities_.size(); }
  int reads = 0;

  absl::StatusOr<std::optional<std::string>> ReadEntity(const MetricId&, int32_t, const EntityId& id) override {
    ++reads;
    const auto found = entities_.find(id);
    if (found == entities_.end()) return std::optional<std::string>();
    return std::optional<std::string>(found->second);
  }
  absl::Status VisitEntities(const MetricId&, int32_t, const EntityId& from, const EntityFn& fn) override {
    for (auto it = entities_.lower_bound(from); it != entities_.end() && fn(it->first, it->second); ++it) {
    }
    return absl::OkStatus();
  }
  absl::Status VisitIndex(const MetricId&, int32_t, absl::string_view from, absl::string_view to,
                          const IndexFn& fn) override {
    for (auto it = index_.lower_bound(std::string(from)); it != index_.end(); ++it) {
      if ((!to.empty() && absl::string_view(it->first) >= to) || !fn(it->first, it->second)) break;
    }
    return absl::OkStatus();
  }

 private:
  struct Step {
    std::map<EntityId, std::optional<std::string>> entities;
    std::map<std::string, std::optional<std::string>> index;
  };
  template <typename K>
  static void Put(const K& key, const std::optional<std::string>& value, std::map<K, std::string>* to) {
    if (value.has_value()) {
      (*to)[key] = *value;
    } else {
      to->erase(key);
    }
  }
  std::vector<Step> steps_;
  size_t applied_ = 0;
  std::map<EntityId, std::string> entities_;
  std::map<std::string, std::string> index_;
};

const MetricId kMetric{"m", 1};

struct Tables {
  explicit Tables(EntitySource* source) : entities(kMetric, 0, source), index(kMetric, 0, source) {}
  EntityStore entities;
  EntityIndex index;
};

std::vector<std::string> All(EntityIndex& index, absl::string_view from, absl::string_view to) {
  std::vector<std::string> all;
  EXPECT_TRUE(index
                  .Visit(from, to,
                         [&](absl::string_view key, absl::string_view value) {
                           all.push_back(absl::StrCat(key, "=", value));
                           return true;
                         })
                  .ok());
  return all;
}

// Tables and two plain maps that should say the same.
class EntityTablesTest : public ::testing::TestWithParam<int> {
 protected:
  static std::string KeyOf(uint64_t n) { return absl::StrCat("k", n % 100 + 100); }

  void Change(Entity* entity, int who, int64_t now_us) {
    if (random() % 4 == 0) {
      entity->state.clear();
    } else {
      entity->state += absl::StrCat(now_us, ",");
    }
    states[who] = entity->state;
    tables->entities.MarkDirty(entity, now_us);
  }
  void ChangeIndex(int64_t now_us) {
    const std::string key = KeyOf(random());
    if (random() % 3 == 0) {
      tables->index.Erase(key);
      records.erase(key);
    } else {
      tables->index.Put(key, absl::StrCat(now_us));
      records[key] = absl::StrCat(now_us);
    }
  }
  void CompareIndex() {
    const std::string from = KeyOf(random()), to = random() % 4 == 0 ? "" : KeyOf(random());
    std::vector<std::string> expected;
    for (auto it = records.lower_bound(from); it != records.end() && (to.empty() || it->first < to); ++it)
      expected.push_back(absl::StrCat(it->first, "=", it->second));
    ASSERT_EQ(All(tables->index, from, to), expected);
    const auto one = *tables->index.Get(from);
    ASSERT_EQ(one.has_value(), records.count(from) > 0);
    if (one.has_value()) {
      ASSERT_EQ(*one, records[from]);
    }
  }
  void Commit() {
    source.Commit(&tables->entities, &tables->index);
    committed_states = states;
    committed_records = records;
  }
  // A restart begins with what was committed, once the view has it.
  void Restart() {
    source.Apply(SIZE_MAX);
    tables = std::make_unique<Tables>(&source);
    states = committed_states;
    records = committed_records;
  }

  std::mt19937_64 random{static_cast<uint64_t>(GetParam())};
  LaggingSource source;
  std::unique_ptr<Tables> tables = std::make_unique<Tables>(&source);
  std::map<int, std::string> states, committed_states;
  std::map<std::string, std::string> records, committed_records;
};

// Everything equals the maps, whatever is committed, applied late, evicted, or lost in a crash and done again.
TEST_P(EntityTablesTest, AnswerAsPlainMapsDo) {
  tables->entities.BeginEmpty();
  int64_t now_us = kDay;
  for (int step = 0; step < 3000; ++step) {
    now_us += kSecond;
    const int who = static_cast<int>(random() % 60);
    const uint64_t action = random() % 10;
    if (action < 4) {
      Entity* entity = *tables->entities.Get(EntityIdOf(absl::StrCat("user", who)), now_us);
      ASSERT_EQ(entity->state, states[who]);
      if (action < 3) Change(entity, who, now_us);
    } else if (action == 4) {
      ChangeIndex(now_us);
    } else if (action == 5) {
      ASSERT_NO_FATAL_FAILURE(CompareIndex());
    } else if (action == 6) {
      Commit();
    } else if (action == 7) {
      source.Apply(random() % 3);
    } else if (action == 8) {
      tables->entities.Evict(source.Apply(0), random() % 5000);
      tables->index.DropApplied(source.Apply(0));
    } else if (random() % 20 == 0) {
      Restart();
    }
  }
  source.Commit(&tables->entities, &tables->index);
  const int64_t applied = source.Apply(SIZE_MAX);
  tables->entities.Evict(applied, SIZE_MAX);
  tables->index.DropApplied(applied);
  EXPECT_EQ(tables->entities.loaded_count(), 0u);
  EXPECT_LT(tables->entities.bytes(), 1000u);
  EXPECT_EQ(tables->index.bytes(), 0u);
  size_t known = 0;
  for (const auto& [who, state] : states) known += state.empty() ? 0 : 1;
  EXPECT_EQ(source.entity_count(), known);  // what has no state is not stored
}

INSTANTIATE_TEST_SUITE_P(Seeds, EntityTablesTest, ::testing::Range(1, 9));

TEST(EntityStoreTest, NewEntitiesOfANewMetricAreNotLookedFor) {
  LaggingSource source;
  Tables tables(&source);
  tables.entities.BeginEmpty();
  for (int i = 0; i < 100; ++i) {
    Entity* entity = *tables.entities.Get(EntityIdOf(absl::StrCat(i)), kDay);
    entity->state = "x";
    tables.entities.MarkDirty(entity, kDay);
  }
  EXPECT_EQ(source.reads, 0);
  source.Commit(&tables.entities, &tables.index);
  EXPECT_EQ(tables.entities.Evict(source.Apply(0), SIZE_MAX), 0u);  // the source does not have them yet
  EXPECT_GT(tables.entities.Evict(source.Apply(1), 1), 0u);
  EXPECT_EQ(tables.entities.loaded_count(), 99u);
  EXPECT_EQ((*tables.entities.Get(EntityIdOf("0"), kDay))->state, "x");
  EXPECT_EQ(source.reads, 1);
}

TEST(EntityStoreTest, WhatDidNotChangeForTheRetentionIsForgottenByReceivedTime) {
  LaggingSource source;
  Tables tables(&source);
  tables.entities.set_retention_us(kDay);
  for (const char* name : {"a", "b", "c"}) {
    Entity* entity = *tables.entities.Get(EntityIdOf(name), 0);
    entity->state = name;
    tables.entities.MarkDirty(entity, *name == 'c' ? kDay : 0);
  }
  source.Commit(&tables.entities, &tables.index);
  source.Apply(1);
  EXPECT_EQ((*tables.entities.Get(EntityIdOf("a"), kDay))->state, "a");
  EXPECT_EQ((*tables.entities.Get(EntityIdOf("a"), kDay + 1))->state, "");
  EXPECT_EQ((*tables.entities.Get(EntityIdOf("a"), kDay))->state, "");  // for good
  tables.entities.MarkDirty(*tables.entities.Get(EntityIdOf("b"), kDay), 2 * kDay);
  source.Commit(&tables.entities, &tables.index);
  source.Apply(1);
  EXPECT_EQ(source.entity_count(), 2u);
  // Within the slack nothing goes by itself; then only what the source has as old and memory too.
  const int64_t due_us = 2 * kDay + EntityStore::kExpirySlackUs;
  EXPECT_EQ(*tables.entities.Expire(due_us, 100), 0u);
  EXPECT_GT(*tables.entities.Expire(due_us + 1, 100), 0u);
  source.Commit(&tables.entities, &tables.index);
  source.Apply(1);
  EXPECT_EQ(source.entity_count(), 1u);
  EXPECT_EQ((*tables.entities.Get(EntityIdOf("b"), due_us))->state, "b");
}

TEST(EntityStoreTest, ExpiryLooksAtAFewAndReachesAll) {
  LaggingSource source;
  Tables tables(&source);
  tables.entities.set_retention_us(kDay);
  for (int i = 0; i < 100; ++i) {
    Entity* entity = *tables.entities.Get(EntityIdOf(absl::StrCat(i)), 0);
    entity->state = "x";
    tables.entities.MarkDirty(entity, i % 2 == 0 ? 0 : 3 * kDay);
  }
  source.Commit(&tables.entities, &tables.index);
  tables.entities.Evict(source.Apply(1), SIZE_MAX);
  for (int round = 0; round < 11; ++round) {
    EXPECT_TRUE(tables.entities.Expire(3 * kDay, 10).ok());
    EXPECT_LE(tables.entities.dirty().size(), 10u);
    source.Commit(&tables.entities, &tables.index);
    source.Apply(1);
  }
  EXPECT_EQ(source.entity_count(), 50u);
}

TEST(EntityRecordTest, KeysAndValuesKeepTheirBytes) {
  RecordKey key;
  key.kind = RecordKind::kEntity;
  key.metric = "m";
  key.version = 2;
  key.partition = 3;
  key.entity = EntityIdOf("alice");
  const std::string golden = absl::StrCat("0100016d000000020000000305", "48bb949a3dd26afa", "c9a1342ad0e35dd2");
  const std::string bytes = EncodeKey(key);
  EXPECT_EQ(absl::BytesToHexString(bytes), golden);
  RecordKey read;
  ASSERT_TRUE(DecodeKey(bytes, &read));
  EXPECT_EQ(read.kind, RecordKind::kEntity);
  EXPECT_EQ(read.entity, key.entity);
  EXPECT_FALSE(DecodeKey(absl::StrCat(bytes, "x"), &read));
  EXPECT_FALSE(DecodeKey(bytes.substr(0, bytes.size() - 1), &read));
  key.kind = RecordKind::kEntityIndex;
  key.index = "abc";
  EXPECT_EQ(absl::BytesToHexString(EncodeKey(key)), "0100016d000000020000000306616263");
  const std::string index = EncodeKey(key);
  ASSERT_TRUE(DecodeKey(index, &read));
  EXPECT_EQ(read.index, "abc");
  const std::string value = EncodeEntity({kSecond, "state"});
  EXPECT_EQ(absl::BytesToHexString(value), "0180897a7374617465");
  EntityRecord record;
  ASSERT_TRUE(DecodeEntity(value, &record));
  EXPECT_EQ(record.last_change_us, kSecond);
  EXPECT_EQ(record.state, "state");
  EXPECT_FALSE(DecodeEntity("", &record));
  EXPECT_FALSE(DecodeEntity("\x02\x02", &record));
}

// One partition on a real log, without the loop around it.
class EntityCommitTest : public ::testing::Test {
 protected:
  EntityCommitTest() : clock_(kDay) {
    options_.path = dir_.File("log");
    options_.clock = &clock_;
    options_.maintenance_interval = std::chrono::milliseconds(0);
    Open();
  }
  void Open() {
    auto opened = event_log::RocksEventLog::Open(options_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    log_ = *std::move(opened);
    for (const char* name : {event_log::kEventsTopic, event_log::kAggregatesTopic, event_log::kLateTopic}) {
      event_log::TopicConfig topic;
      topic.name = name;
      topic.compacted = topic.name == event_log::kAggregatesTopic;
      ASSERT_TRUE(log_->CreateTopic(topic).ok());
    }
    producer_ = *log_->OpenProducer({"test"});
    view_ = std::make_unique<ServingView>(*log_, *log_->local_store(), clock_, ServingViewOptions());
    ASSERT_TRUE(view_->Start(1).ok());
    finality_ = std::make_unique<Finality>(*log_, *view_, clock_);
    catalog::v1::Metric metric;
    const char json[] =
        R"({"window": {"type": "tumbling", "size": "1m"}, "measures": [{"name": "n", "agg": "count"}]})";
    ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(json, &metric).ok());
    auto plans = std::make_shared<PlanSet>();
    plans->plans.push_back(*MetricPlan::Compile("m", 1, 0, metric, &plans->environment));
    partition_ = std::make_unique<SourcePartition>(*log_, *view_, 0, 0, false, &uses_);
    ASSERT_TRUE(partition_->AdoptPlans(plans).ok());
  }
  void Close() {
    partition_.reset();
    finality_.reset();
    view_.reset();
    producer_.reset();
    log_.reset();
  }
  void CommitAndApply() {
    class Commit commit(*view_, *finality_, clock_.NowMicros());
    commit.Add(partition_.get());
    ASSERT_TRUE(commit.Run(*producer_, nullptr, "g", /*patient=*/false).ok());
    const int64_t end = log_->DescribeTopic(event_log::kAggregatesTopic)->partitions[0].end_offset;
    ASSERT_TRUE(view_->WaitUntil([&] { return view_->AppliedOffset(0) >= end; }, std::chrono::seconds(10)));
  }
  MetricState& state() { return *partition_->states().begin()->second; }
  Entity* Get(const std::string& name) { return *state().entities.Get(EntityIdOf(name), clock_.NowMicros()); }
  void Set(const std::string& name, const std::string& text) {
    Entity* entity = Get(name);
    entity->state = text;
    state().TouchEntity(entity, clock_.NowMicros());
  }
  std::map<std::string, int64_t> Stored() {
    std::map<std::string, int64_t> stored;
    EXPECT_TRUE(view_
                    ->VisitEntitiesWithOffsets(kMetric, 0, EntityId{},
                                               [&](const EntityId&, absl::string_view value, int64_t offset) {
                                                 EntityRecord record;
                                                 EXPECT_TRUE(DecodeEntity(value, &record));
                                                 stored[std::string(record.state)] = offset;
                                                 return true;
                                               })
                    .ok());
    return stored;
  }
  std::vector<std::string> Keys() {
    std::vector<std::string> keys;
    for (const auto& [state, offset] : Stored()) keys.push_back(state);
    return keys;
  }

  naru::testing::TempDir dir_;
  FakeClock clock_;
  event_log::RocksEventLogOptions options_;
  std::unique_ptr<event_log::EventLog> log_;
  std::unique_ptr<event_log::Producer> producer_;
  std::unique_ptr<ServingView> view_;
  std::unique_ptr<Finality> finality_;
  std::unique_ptr<SourcePartition> partition_;
  uint64_t uses_ = 0;
};

TEST_F(EntityCommitTest, EntitiesAndIndexComeBackFromTheViewAfterARestart) {
  Set("a", "1");
  Set("b", "2");
  state().AddDirtyBytes(state().entity_index.Put("x", "of x"));
  state().AddDirtyBytes(state().entity_index.Put("y", "of y"));
  EXPECT_GT(state().dirty_bytes, 4 * 60u);
  CommitAndApply();
  EXPECT_EQ(state().dirty_bytes, 0u);
  EXPECT_THAT(Keys(), ElementsAre("1", "2"));
  Set("a", "3");
  Set("b", "");
  Set("lost", "4");
  state().AddDirtyBytes(state().entity_index.Erase("x"));
  state().entities.Evict(view_->AppliedOffset(0), SIZE_MAX);
  const int64_t before = Stored().begin()->second;
  CommitAndApply();
  EXPECT_THAT(Keys(), ElementsAre("3", "4"));
  EXPECT_GT(Stored()["3"], before);
  Set("lost", "never committed");
  Close();
  Open();
  EXPECT_EQ(Get("a")->state, "3");
  EXPECT_EQ(Get("b")->state, "");
  EXPECT_EQ(Get("lost")->state, "4");
  EXPECT_THAT(All(state().entity_index, "", ""), ElementsAre("y=of y"));
  EXPECT_THAT(*view_->ListKeys(kMetric, 0, 100), ::testing::SizeIs(2 + 1 + 2));  // progress and spec, too
}

TEST_F(EntityCommitTest, ACommitOfSeveralBlocksBecomesVisibleAtOnce) {
  // Each commit changes the first and the last entity (by id) and much between them.
  std::map<EntityId, std::string> names;
  for (int i = 0; i < 300; ++i) names[EntityIdOf(absl::StrCat(i))] = absl::StrCat(i);
  const std::string big(8000, 'x');
  for (int round = 0; round < 5; ++round) {
    for (const auto& [id, name] : names) Set(name, absl::StrCat(round, " ", name, big));
    class Commit commit(*view_, *finality_, clock_.NowMicros());
    commit.Add(partition_.get());
    ASSERT_TRUE(commit.Run(*producer_, nullptr, "g", /*patient=*/false).ok());
    const int64_t end = log_->DescribeTopic(event_log::kAggregatesTopic)->partitions[0].end_offset;
    while (view_->AppliedOffset(0) < end) {
      std::map<char, int> rounds;
      ASSERT_TRUE(view_
                      ->ReadConsistently([&] {
                        rounds.clear();
                        return view_->VisitEntities(kMetric, 0, EntityId{},
                                                    [&](const EntityId&, absl::string_view value) {
                                                      EntityRecord record;
                                                      if (DecodeEntity(value, &record)) ++rounds[record.state[0]];
                                                      return true;
                                                    });
                      })
                      .ok());
      ASSERT_LE(rounds.size(), 1u);
    }
  }
}

TEST_F(EntityCommitTest, ADamagedEntityIsAnError) {
  std::string key = KindPrefix(kMetric, 0, RecordKind::kEntity);
  AppendEntityId(EntityIdOf("a"), &key);
  const event_log::LocalWrite write{ServingViewOptions().family, key, std::string("\x05\x63")};
  ASSERT_TRUE(log_->local_store()->Write({write}, false).ok());
  CommitAndApply();
  partition_ = std::make_unique<SourcePartition>(*log_, *view_, 0, 0, false, &uses_);
  EntityStore entities(kMetric, 0, view_.get());
  EXPECT_TRUE(absl::IsDataLoss(entities.Get(EntityIdOf("a"), 0).status()));
}

}  // namespace
}  // namespace naru::aggregator
