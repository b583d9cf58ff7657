// What a Sink does as a whole, whatever it writes to: a real aggregator on an embedded log, and a store as its readers
// see it. In the end the store always equals what QueryWindows answers.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "common/testing/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/aggregator/sink_ledger.h"
#include "services/aggregator/testing_cluster.h"
#include "services/aggregator/testing_sinks.h"

namespace naru::aggregator::testing {

/// Makes a store that holds nothing; the log is for those that are in it.
using MakeStoreOnLog =
    std::function<absl::StatusOr<std::unique_ptr<SinkStore>>(event_log::EventLog& log, const Clock& clock)>;

inline constexpr char kSinkMetric[] = R"({"window": {"type": "tumbling", "size": "1m"}, "retention": "30d",
  "dimensions": [{"name": "gender"}],
  "measures": [{"name": "clicks", "agg": "count"}, {"name": "points", "agg": "sum", "expr": "data.points"},
               {"name": "users", "agg": "count_distinct", "expr": "subject"},
               {"name": "words", "agg": "top_k", "k": 3, "expr": "data.word"}]})";

class SinkSetConformance : public ::testing::TestWithParam<MakeStoreOnLog> {
 protected:
  SinkSetConformance() : cluster(2) {}

  void SetUp() override {
    auto made = GetParam()(cluster.log(), cluster.clock());
    if (!made.ok()) NARU_REQUIRE_SERVER_OR_SKIP(made.status().ToString());
    store = *std::move(made);
    cluster.Apply(MakeMetric("clicks", 1, kSinkMetric));
    ApplySink();
    node = cluster.StartNode();
  }

  void ApplySink(const std::vector<std::string>& metrics = {"clicks"}, int32_t version = 1,
                 const std::string& name = "out") {
    catalog::v1::Resource resource;
    resource.set_api_version("naru.dev/v1");
    resource.set_kind("Sink");
    resource.mutable_metadata()->set_name(name);
    resource.mutable_metadata()->set_version(version);
    *resource.mutable_sink() = store->Spec();
    for (const std::string& metric : metrics) resource.mutable_sink()->add_metrics(metric);
    resource.mutable_sink()->set_interval("10ms");
    cluster.Apply(resource);
  }

  /// Events of the last minutes, spread over partitions, groups and windows.
  void Publish(int count) {
    for (int i = 0; i < count; ++i) {
      const int64_t n = published++;
      TestEvent event;
      event.type = "click";
      event.subject = absl::StrCat("u", n % 11);
      event.time_us = cluster.clock().NowMicros() - (n % 3) * 60'000'000;
      event.numbers["points"] = static_cast<double>(n % 7);
      event.strings["word"] = absl::StrCat("w", n % 4);
      if (n % 5 != 0) event.strings["gender"] = n % 2 == 0 ? "F" : "M";
      cluster.Publish(static_cast<int>(n % 2), {event});
    }
  }

  ShownRows Expected(int32_t version = 1, const std::string& metric = "clicks") {
    return ShowAnswer(node->AllRows(metric), {"gender"}, version);
  }
  ShownRows Stored(const std::string& metric = "clicks") {
    const auto rows = store->Read(metric, {"gender"});
    return rows.ok() ? *rows : ShownRows();
  }
  /// Waits until the store holds what a query answers, and nothing else.
  void ExpectEqual(int32_t version = 1) {
    if (naru::testing::WaitUntil([&] { return Stored() == Expected(version); }, std::chrono::seconds(60))) return;
    EXPECT_EQ(Stored(), Expected(version)) << Status().DebugString();
  }

  v1::SinkStatus Status(const std::string& name = "out") {
    grpc::ClientContext context;
    v1::ListSinksResponse response;
    const grpc::Status status = node->stub().ListSinks(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    for (const v1::SinkStatus& sink : response.sinks()) {
      if (sink.name() == name) return sink;
    }
    return {};
  }
  std::string State() { return Status().metrics_size() == 0 ? "" : Status().metrics(0).state(); }
  bool WaitForState(const std::string& state) {
    return naru::testing::WaitUntil([&] { return State() == state; }, std::chrono::seconds(30));
  }

  template <typename Request, typename Call>
  absl::Status Change(Call call, const std::string& name = "out") {
    grpc::ClientContext context;
    Request request;
    request.set_name(name);
    v1::SinkStatus status;
    return FromGrpcStatus((node->stub().*call)(&context, request, &status));
  }
  absl::Status Pause() { return Change<v1::PauseSinkRequest>(&v1::AggregatorService::Stub::PauseSink); }
  absl::Status Resume() { return Change<v1::ResumeSinkRequest>(&v1::AggregatorService::Stub::ResumeSink); }
  absl::Status Resync() { return Change<v1::ResyncSinkRequest>(&v1::AggregatorService::Stub::ResyncSink); }

  void ForEachRecord(const char* topic, const std::function<void(const event_log::FetchedRecord&)>& fn) {
    auto reader = cluster.log().OpenReader(topic, {{0, event_log::ReadPosition::Kind::kOffset, 0}});
    if (!reader.ok()) return;
    for (;;) {
      const auto batches = (*reader)->Poll(std::chrono::milliseconds(20), 1 << 20);
      if (!batches.ok() || batches->empty()) return;
      for (const auto& batch : *batches) {
        for (const auto& record : batch.records) fn(record);
      }
    }
  }
  std::vector<v1::RefusedSinkRow> Refused() {
    std::vector<v1::RefusedSinkRow> rows;
    ForEachRecord(kSinksDeadLetterTopic, [&](const event_log::FetchedRecord& record) {
      rows.emplace_back().ParseFromArray(record.value.data(), static_cast<int>(record.value.size()));
    });
    return rows;
  }
  bool IsPausedInTheLog() {
    v1::SinkPause pause;
    ForEachRecord(kSinksTopic, [&](const event_log::FetchedRecord& record) {
      if (record.key == "pause/out") pause.ParseFromArray(record.value.data(), static_cast<int>(record.value.size()));
    });
    return pause.paused();
  }

  Cluster cluster;
  std::unique_ptr<SinkStore> store;
  std::unique_ptr<Node> node;
  int64_t published = 0;
};

/// Reads the store again and again, and says when a row went backwards.
class NeverBackwards {
 public:
  explicit NeverBackwards(SinkStore& store) : store_(store), thread_([this] { Run(); }) {}
  ~NeverBackwards() {
    stop_ = true;
    thread_.join();
    EXPECT_EQ(backwards_, "");
  }
  int64_t reads() const { return reads_.load(); }

 private:
  void Run() {
    std::map<std::string, int64_t> seen;
    while (!stop_) {
      const auto rows = store_.Read("clicks", {"gender"});
      if (!rows.ok()) continue;
      ++reads_;
      for (const auto& [key, row] : *rows) {
        // Rows may be away for a while, when the store was emptied; but what is there is never older than before.
        if (row.count("clicks") == 0) continue;
        int64_t& before = seen[key];
        const int64_t now = std::stoll(row.at("clicks"));
        if (now < before) backwards_ = absl::StrCat(key, " went from ", before, " to ", now);
        before = std::max(before, now);
      }
    }
  }

  SinkStore& store_;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> reads_{0};
  std::string backwards_;
  std::thread thread_;
};

TEST_P(SinkSetConformance, RowsArriveAndFollow) {
  Publish(100);
  ExpectEqual();
  EXPECT_EQ(Stored().size(), 9);
  Publish(3);
  ExpectEqual();
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return Status().metrics(0).lag() == 0; }));
  const v1::SinkStatus status = Status();
  EXPECT_EQ(status.name(), "out");
  EXPECT_FALSE(status.target().empty());
  ASSERT_EQ(status.metrics_size(), 1);
  EXPECT_EQ(status.metrics(0).state(), "RUNNING") << status.DebugString();
  EXPECT_EQ(status.metrics(0).metric_version(), 1);
  EXPECT_EQ(status.metrics(0).writer(), "a");
  EXPECT_GE(status.metrics(0).written_count(), 9);
}

TEST_P(SinkSetConformance, FinalAndRevisedRowsAreMarked) {
  Publish(30);
  ExpectEqual();
  EXPECT_EQ(Stored().rbegin()->second.at("final"), "0");
  cluster.clock().Advance(std::chrono::hours(1));
  ExpectEqual();
  const std::string newest = "2024-05-01T00:00:00Z/2024-05-01T00:01:00Z gender=F";
  EXPECT_EQ(Stored()[newest]["final"], "1");
  EXPECT_EQ(Stored()[newest]["revision"], "1");
  // A late event revises its window, which is final again when nothing has come for a while.
  TestEvent late{"click", "u1", cluster.clock().NowMicros() - int64_t{3600} * 1'000'000, {}, {{"gender", "F"}}};
  cluster.Publish(0, {late});
  cluster.clock().Advance(std::chrono::hours(1));
  ExpectEqual();
  EXPECT_EQ(Stored()[newest]["final"], "1");
  EXPECT_EQ(Stored()[newest]["revision"], "2");
}

TEST_P(SinkSetConformance, RestartsAndCrashesOfTheAggregatorLoseNothing) {
  const NeverBackwards sampler(*store);
  for (int round = 0; round < 4; ++round) {
    Publish(40);
    if (round % 2 == 0) ExpectEqual();
    if (round % 2 == 0) {
      node->Crash();
    } else {
      node->Stop();
    }
    Publish(5);
    node = cluster.StartNode(round == 1 ? "b" : "a");
  }
  ExpectEqual();
}

TEST_P(SinkSetConformance, ARestartWritesOnlyWhatHasChanged) {
  Publish(50);
  ExpectEqual();
  // Once nothing more comes, how far it is is stored within a moment; until then a restart writes again what came last.
  EXPECT_TRUE(naru::testing::WaitUntil([&] {
    const int64_t before = Status().metrics(0).written_count();
    node->Stop();
    node = cluster.StartNode();
    Publish(1);
    ExpectEqual();
    return Status().metrics(0).written_count() - before <= 3;  // the groups of one window
  }));
}

TEST_P(SinkSetConformance, AStoreThatIsKilledLosesNothingAndHoldsNothingUp) {
  if (!store->is_outside()) GTEST_SKIP() << "this store has no server of its own";
  Publish(50);
  ExpectEqual();
  {
    const NeverBackwards sampler(*store);
    for (int round = 0; round < 2; ++round) {
      store->Kill();
      Publish(50);
      EXPECT_FALSE(Expected().empty()) << "queries answer while the store is down";
      EXPECT_TRUE(WaitForState("WAITING"));
      EXPECT_GT(Status().metrics(0).lag(), 0);
      EXPECT_FALSE(Status().metrics(0).message().empty());
      store->Restart();
      Publish(20);
    }
    ExpectEqual();
    EXPECT_TRUE(WaitForState("RUNNING"));
  }
}

TEST_P(SinkSetConformance, AStoreThatHangsHoldsNothingUp) {
  if (!store->is_outside()) GTEST_SKIP() << "this store has no server of its own";
  Publish(50);
  ExpectEqual();
  store->Hang();
  Publish(50);
  EXPECT_FALSE(Expected().empty()) << "queries answer while the store hangs";
  EXPECT_TRUE(WaitForState("WAITING"));
  EXPECT_GT(Status().metrics(0).lag(), 0);
  // Nor does it keep the process from ending.
  node->Stop();
  store->GoOn();
  node = cluster.StartNode();
  Publish(20);
  ExpectEqual();
}

TEST_P(SinkSetConformance, AStoreThatIsEmptiedIsFilledAgainByItself) {
  if (!store->is_outside()) GTEST_SKIP() << "this store cannot be emptied";
  Publish(50);
  ExpectEqual();
  const NeverBackwards sampler(*store);
  store->Empty();  // while nothing happens
  ExpectEqual();
  for (int round = 0; round < 3; ++round) {
    Publish(20);
    store->Empty();
    Publish(20);
  }
  ExpectEqual();
}

TEST_P(SinkSetConformance, APausedSinkIsLeftAloneAlsoAfterARestart) {
  Publish(20);
  ExpectEqual();
  EXPECT_TRUE(absl::IsNotFound(Change<v1::PauseSinkRequest>(&v1::AggregatorService::Stub::PauseSink, "oud")));
  const absl::Status paused = Pause();
  ASSERT_TRUE(paused.ok()) << paused;
  EXPECT_TRUE(Pause().ok());
  EXPECT_TRUE(WaitForState("PAUSED"));
  EXPECT_TRUE(Status().paused());
  // What was under way when it was paused may still come.
  ASSERT_TRUE(naru::testing::WaitUntil([&] { return Status().metrics(0).writer().empty(); }));
  node->Stop();
  node = cluster.StartNode();
  const ShownRows before = Stored();
  Publish(20);
  EXPECT_NE(Expected(), before);
  EXPECT_EQ(State(), "PAUSED");
  EXPECT_GT(Status().metrics(0).lag(), 0);
  EXPECT_EQ(Stored(), before);
  ASSERT_TRUE(Resume().ok());
  ExpectEqual();
  EXPECT_TRUE(WaitForState("RUNNING"));
}

TEST_P(SinkSetConformance, AResyncMendsWhatOthersChanged) {
  Publish(40);
  ExpectEqual();
  store->Damage("clicks");
  ASSERT_TRUE(Resync().ok());
  ExpectEqual();
  EXPECT_TRUE(absl::IsNotFound(Change<v1::ResyncSinkRequest>(&v1::AggregatorService::Stub::ResyncSink, "nothing")));
}

TEST_P(SinkSetConformance, ASecondSinkLeavesTheRowsOfTheFirstAloneUntilItIsResynced) {
  if (!store->is_outside()) GTEST_SKIP() << "this store does not know whose its rows are";
  Publish(20);
  ExpectEqual();
  cluster.Apply(MakeMetric("other", 1, kSinkMetric));
  ApplySink({"other"}, 1, "second");
  ASSERT_TRUE(naru::testing::WaitUntil(
      [&] { return !Expected(1, "other").empty() && Stored("other") == Expected(1, "other"); }));
  // A request of before it wrote this metric is not about it.
  ASSERT_TRUE(Change<v1::ResyncSinkRequest>(&v1::AggregatorService::Stub::ResyncSink, "second").ok());
  ApplySink({"clicks", "other"}, 2, "second");
  const auto message = [&] {
    const v1::SinkStatus status = Status("second");
    return status.metrics_size() == 2 ? status.metrics(0).message() : "";
  };
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return message().find("Sink `out`") != std::string::npos; })) << message();
  Publish(20);
  ExpectEqual();
  EXPECT_EQ(State(), "RUNNING");
  ASSERT_TRUE(Change<v1::ResyncSinkRequest>(&v1::AggregatorService::Stub::ResyncSink, "second").ok());
  EXPECT_TRUE(WaitForState("WAITING")) << "now it is the first that must not write";
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return message().empty(); })) << message();
  Publish(20);
  ExpectEqual();
}

TEST_P(SinkSetConformance, AChangedMetricReplacesItsRows) {
  Publish(40);
  ExpectEqual();
  std::string changed = kSinkMetric;
  changed.replace(
      changed.find(R"({"name": "users", "agg": "count_distinct", "expr": "subject"})"),
      std::string(R"({"name": "users", "agg": "count_distinct", "expr": "subject"})").size(),
      R"({"name": "best", "agg": "max", "expr": "data.points"}, {"name": "users", "agg": "avg", "expr": "data.points"})");
  changed.replace(changed.find(R"("size": "1m")"), 12, R"("size": "1h")");
  cluster.Apply(MakeMetric("clicks", 2, changed));
  Publish(10);
  ASSERT_TRUE(naru::testing::WaitUntil([&] { return Status().metrics(0).metric_version() == 2; }));
  ExpectEqual(2);
  for (const auto& [key, row] : Stored()) EXPECT_EQ(row.at("metric_version"), "2") << key;
  Publish(10);
  ExpectEqual(2);
}

TEST_P(SinkSetConformance, EveryKindOfMeasureAndOfWindowArrives) {
  const std::string measures = R"("retention": "30d", "dimensions": [{"name": "gender"}], "measures": [
    {"name": "clicks", "agg": "count"}, {"name": "least", "agg": "min", "expr": "data.points"},
    {"name": "variance", "agg": "variance", "expr": "data.points"},
    {"name": "spread", "agg": "stddev", "expr": "data.points"},
    {"name": "first", "agg": "first", "expr": "data.word"}, {"name": "last", "agg": "last", "expr": "data.points"},
    {"name": "median", "agg": "percentile", "percentile": 50, "expr": "data.points"},
    {"name": "histogram", "agg": "histogram", "bounds": [1, 5], "expr": "data.points"},
    {"name": "share", "agg": "ratio", "numerator": "least", "denominator": "clicks"}]})";
  const std::map<std::string, std::string> windows = {
      {"hopping", R"({"type": "hopping", "size": "3m", "slide": "1m"})"},
      {"cumulative", R"({"type": "cumulative", "size": "1h", "step": "10m"})"},
      {"global", R"({"type": "global"})"}};
  std::vector<std::string> names = {"clicks"};
  for (const auto& [name, window] : windows) {
    cluster.Apply(MakeMetric(name, 1, absl::StrCat(R"({"window": )", window, ", ", measures)));
    names.push_back(name);
  }
  ApplySink(names, 2);
  Publish(60);
  cluster.clock().Advance(std::chrono::minutes(25));
  Publish(60);
  for (const auto& [name, window] : windows) {
    const auto expected = [&, &name = name] { return ShowAnswer(node->AllRows(name), {"gender"}, 1); };
    EXPECT_TRUE(naru::testing::WaitUntil([&, &name = name] { return Stored(name) == expected(); })) << name;
    EXPECT_EQ(Stored(name), expected());
    EXPECT_FALSE(expected().empty());
  }
}

// A session is in the row of its first hour and its last page, so it leaves one row for another as it goes on.
TEST_P(SinkSetConformance, RowsOfSessionsAreThoseOfAQuery) {
  constexpr int64_t kMinute = 60'000'000;
  cluster.Apply(MakeMetric("visits", 1, R"({"window": {"type": "session", "gap": "10m"}, "out_of_orderness": "0s",
    "retention": "30d", "dimensions": [{"name": "gender", "expr": "data.exit.gender"}],
    "measures": [{"name": "clicks", "agg": "count"}, {"name": "ms", "agg": "sum", "expr": "data.duration_ms"}]})"));
  ApplySink({"clicks", "visits"}, 2);
  const int64_t t0 = cluster.clock().NowMicros();
  cluster.clock().Advance(std::chrono::hours(6));
  // Each user has a timeline of their own, so that only their own events end their sessions.
  const auto view = [&](const std::string& user, int64_t minute, const std::string& page) {
    TestEvent event{"view", user, t0 + minute * kMinute, {}, {{"gender", page}}};
    event.timeline = user;
    cluster.Publish(user == "a" ? 0 : 1, {event});
  };
  const auto expected = [&] { return ShowAnswer(node->AllRows("visits"), {"gender"}, 1); };
  const auto groups = [](const ShownRows& rows) {
    std::map<std::string, std::string> clicks;  // by hour and page
    for (const auto& [key, row] : rows)
      clicks[absl::StrCat(key.substr(11, 2), key.substr(key.find('=')))] = row.at("clicks");
    return clicks;
  };
  using Groups = std::map<std::string, std::string>;
  const auto expect = [&](const Groups& wanted) {
    EXPECT_TRUE(
        naru::testing::WaitUntil([&] { return groups(Stored("visits")) == wanted && Stored("visits") == expected(); }));
    EXPECT_EQ(groups(expected()), wanted);
    EXPECT_EQ(Stored("visits"), expected()) << Status().DebugString();
  };
  view("a", 65, "home");
  view("b", 65, "home");
  expect({{"01=home", "2"}});
  view("a", 66, "list");
  view("b", 67, "list");
  expect({{"01=list", "2"}});  // running sessions have left the first row, which is gone
  node->Crash();
  view("a", 68, "cart");
  view("b", 58, "list");  // it began earlier
  node = cluster.StartNode();
  expect({{"00=list", "1"}, {"01=cart", "1"}});  // what left while nobody wrote is gone as well
  view("a", 130, "home");                        // the first session is counted
  expect({{"00=list", "1"}, {"01=cart", "1"}, {"02=home", "1"}});
  view("a", 59, "home");  // late: the counted session begins an hour earlier now
  expect({{"00=cart", "1"}, {"00=list", "1"}, {"02=home", "1"}});
  cluster.clock().Advance(std::chrono::hours(1));  // all timelines are over
  expect({{"00=cart", "1"}, {"00=list", "1"}, {"02=home", "1"}});
  EXPECT_EQ(Stored("visits").begin()->second.at("final"), "1");
}

TEST_P(SinkSetConformance, ADeletedMetricLeavesNothingBehindAndADeletedSinkEverything) {
  cluster.Apply(MakeMetric("other", 1, kSinkMetric));
  ApplySink({"clicks", "other"}, 2);
  Publish(40);
  ExpectEqual();
  ASSERT_TRUE(naru::testing::WaitUntil([&] { return Stored("other") == Expected(1, "other"); }));
  EXPECT_EQ(Expected(1, "other").size(), Expected().size());
  ApplySink({"clicks"}, 3);
  cluster.Delete("other", 1);
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return Stored("other").empty(); }));
  ASSERT_TRUE(Pause().ok());
  cluster.DeleteResource("Sink", "out", 3);
  Publish(10);
  EXPECT_FALSE(Stored().empty());
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return !IsPausedInTheLog(); }));
  // One of the same name begins anew.
  cluster.clock().Advance(std::chrono::seconds(1));
  ApplySink({"clicks"}, 4);
  ExpectEqual();
}

TEST_P(SinkSetConformance, ARowThatIsRefusedIsKeptWithItsReasonWhileTheRestPasses) {
  Publish(10);
  ExpectEqual();
  const std::string window = "2024-05-01T00:00:00Z";
  if (!store->Spoil("clicks", window, "gender", "bad")) GTEST_SKIP() << "this store refuses nothing";
  cluster.Publish(0, {{"click", "u1", cluster.clock().NowMicros(), {}, {{"gender", "bad"}}}});
  Publish(20);
  ShownRows rest = Expected();
  rest.erase("2024-05-01T00:00:00Z/2024-05-01T00:01:00Z gender=bad");
  EXPECT_EQ(rest.size() + 1, Expected().size());
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return Stored() == rest; })) << Status().DebugString();
  ASSERT_TRUE(naru::testing::WaitUntil([&] { return !Refused().empty(); }));
  const v1::RefusedSinkRow refused = Refused()[0];
  EXPECT_EQ(refused.sink(), "out");
  EXPECT_EQ(refused.metric(), "clicks");
  EXPECT_EQ(refused.row().group().at("gender").string_value(), "bad");
  EXPECT_EQ(refused.row().measures().at("clicks").integer(), 1);
  EXPECT_FALSE(refused.reason().empty());
  EXPECT_FALSE(refused.message().empty());
  EXPECT_GE(Status().metrics(0).refused_count(), 1);
  EXPECT_EQ(State(), "RUNNING");
}

}  // namespace naru::aggregator::testing
