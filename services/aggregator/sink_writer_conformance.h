// What every store that a Sink writes to must do, told to SinkWriter alone. A store's test file says how to make one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock/clock.h"
#include "common/status/status.h"
#include "common/testing/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/aggregator/sink_text.h"
#include "services/aggregator/sink_writer.h"
#include "services/aggregator/testing_cluster.h"
#include "services/aggregator/testing_sinks.h"

namespace naru::aggregator::testing {

/// Makes a store that holds nothing; an error where its server cannot be had.
using MakeSinkStore = std::function<absl::StatusOr<std::unique_ptr<SinkStore>>(const Clock& clock)>;

class SinkWriterConformance : public ::testing::TestWithParam<MakeSinkStore> {
 protected:
  SinkWriterConformance() : clock_(Time("2024-05-01T00:00:00Z")) {}

  void SetUp() override {
    auto store = GetParam()(clock_);
    if (!store.ok()) NARU_REQUIRE_SERVER_OR_SKIP(store.status().ToString());
    store_ = *std::move(store);
    writer_ = store_->MakeWriter();
  }

  static SinkLayout Layout() {
    SinkLayout layout;
    layout.sink = "sink";
    layout.metric = "hot-activity";
    layout.metric_version = 1;
    layout.retention_us = int64_t{7} * 86'400 * 1'000'000;
    layout.window_us = 60'000'000;
    layout.dimensions = {"gender", "band"};
    layout.measures = {"clicks", "points", "mean", "words"};
    layout.shapes = {{MeasureKind::kCount}, {MeasureKind::kSum}, {MeasureKind::kAvg}, {MeasureKind::kTopK, 10}};
    return layout;
  }

  static GroupValue Text(const std::string& text) {
    GroupValue value;
    value.kind = cel::Kind::kString;
    value.text = text;
    return value;
  }
  static GroupValue Number(double number) {
    GroupValue value;
    value.kind = cel::Kind::kDouble;
    value.number = number;
    return value;
  }
  static MeasureResult Integer(int64_t integer) {
    MeasureResult result;
    result.kind = MeasureResult::Kind::kInteger;
    result.integer = integer;
    return result;
  }
  static MeasureResult Real(double number) {
    MeasureResult result;
    result.kind = MeasureResult::Kind::kNumber;
    result.number = number;
    return result;
  }
  static MeasureResult Top(std::vector<std::pair<std::string, int64_t>> entries) {
    MeasureResult result;
    result.kind = MeasureResult::Kind::kTop;
    for (auto& [key, count] : entries) result.top.push_back({Text(key), count, 0});
    return result;
  }

  /// A row of the layout above with `clicks` clicks.
  SinkRow Row(const std::string& start, GroupValue gender, GroupValue band, int64_t clicks) const {
    SinkRow row;
    row.result.window = {Time(start), Time(start) + 60'000'000};
    row.result.group = {std::move(gender), std::move(band)};
    for (const GroupValue& value : row.result.group) AppendGroupValue(value.ToCel(), &row.result.key);
    row.result.measures = {Integer(clicks), Real(clicks + 0.5), MeasureResult(), Top({{"soap", clicks}, {"물", 1}})};
    row.expire_time_us = clock_.NowMicros() + Layout().retention_us;
    return row;
  }
  SinkRow Row(const std::string& gender, int64_t clicks) const {
    return Row("2024-04-30T23:00:00Z", Text(gender), Number(20), clicks);
  }

  /// A whole turn that must succeed.
  void Write(SinkWriter& writer, const std::vector<SinkRow>& rows, int64_t epoch, int64_t position, bool fill = false) {
    const absl::Status status = TryWrite(writer, rows, epoch, position, fill);
    ASSERT_TRUE(status.ok()) << status;
  }
  absl::Status TryWrite(SinkWriter& writer, const std::vector<SinkRow>& rows, int64_t epoch, int64_t position,
                        bool fill = false) {
    NARU_RETURN_IF_ERROR(writer.Begin({epoch, fill, fill ? SinkMark() : mark_}));
    refused_.clear();
    absl::Status status = rows.empty() ? absl::OkStatus() : writer.Write(rows, position, &refused_);
    const SinkMark mark{epoch, position};
    if (status.ok()) status = writer.Finish(mark);
    if (status.ok()) {
      mark_ = mark;
    } else {
      writer.Abandon();
    }
    return status;
  }
  /// A prepared store with these rows, of epoch 10 and position 100.
  void Fill(const std::vector<SinkRow>& rows) {
    const absl::Status prepared = writer_->Prepare(Layout());
    ASSERT_TRUE(prepared.ok()) << prepared;
    Write(*writer_, rows, 10, 100, true);
  }

  ShownRows Read(const SinkLayout& layout = Layout()) {
    auto rows = store_->Read(layout.metric, layout.dimensions);
    EXPECT_TRUE(rows.ok()) << rows.status();
    return rows.ok() ? *rows : ShownRows();
  }
  /// `clicks` by gender; -1 where there is no row.
  int64_t Clicks(const std::string& gender) {
    const ShownRows rows = Read();
    const auto found = rows.find(absl::StrCat("2024-04-30T23:00:00Z/2024-04-30T23:01:00Z gender=", gender, ",band=20"));
    return found == rows.end() ? -1 : std::stoll(found->second.at("clicks"));
  }

  FakeClock clock_;
  std::unique_ptr<SinkStore> store_;
  std::unique_ptr<SinkWriter> writer_;
  SinkMark mark_;
  std::vector<RefusedRow> refused_;
};

TEST_P(SinkWriterConformance, WhatIsWrittenIsRead) {
  SinkRow row = Row("F", 3);
  row.result.final = true;
  row.result.revision = 2;
  row.result.truncated = true;
  SinkRow large = Row("2024-04-30T23:01:00Z", GroupValue(), Number(0.25), int64_t{1} << 60);
  large.result.measures[3] = Top({{"soap", 1}});
  Fill({row, large});
  EXPECT_EQ(Read(), (ShownRows{{"2024-04-30T23:00:00Z/2024-04-30T23:01:00Z gender=F,band=20",
                                {{"window_end", "2024-04-30T23:01:00Z"},
                                 {"gender", "F"},
                                 {"band", "20"},
                                 {"clicks", "3"},
                                 {"points", "3.5"},
                                 {"words", "soap:3 물:1"},
                                 {"final", "1"},
                                 {"revision", "2"},
                                 {"truncated", "1"},
                                 {"metric_version", "1"}}},
                               {"2024-04-30T23:01:00Z/2024-04-30T23:02:00Z gender=~,band=0.25",
                                {{"window_end", "2024-04-30T23:02:00Z"},
                                 {"band", "0.25"},
                                 {"clicks", "1152921504606846976"},
                                 {"points", "1152921504606846976"},
                                 {"words", "soap:1"},
                                 {"final", "0"},
                                 {"revision", "0"},
                                 {"truncated", "0"},
                                 {"metric_version", "1"}}}}));
}

TEST_P(SinkWriterConformance, AnErrorInAMeasureIsToldBesideTheOthers) {
  SinkRow row = Row("F", 3);
  row.result.measures[1] = MeasureResult();
  row.result.measures[1].kind = MeasureResult::Kind::kError;
  row.result.measures[1].error = "integer sum overflowed";
  Fill({row});
  const ShownRows rows = Read();
  ASSERT_EQ(rows.size(), 1);
  EXPECT_EQ(rows.begin()->second.count("points"), 0);
  EXPECT_EQ(rows.begin()->second.at("clicks"), "3");
  EXPECT_THAT(rows.begin()->second.at("naru_errors"), ::testing::HasSubstr("integer sum overflowed"));
}

TEST_P(SinkWriterConformance, GroupsThatReadAlikeStayApart) {
  std::vector<SinkRow> rows;
  const std::vector<std::string> odd = {"",    "~",    "5",  "a:b",       "a,b", "%3A",    "a b", "\"'\\", "true", "@1",
                                        "all", "나루", "\n", "__other__", "NaN", "1e+300", "-0",  "@5",    "null"};
  for (const std::string& text : odd) {
    rows.push_back(Row("2024-04-30T23:00:00Z", Text(text), Text("x"), 1));
    rows.push_back(Row("2024-04-30T23:00:00Z", Text("x"), Text(text), 2));
  }
  GroupValue yes;
  yes.kind = cel::Kind::kBool;
  yes.integer = 1;
  GroupValue second;
  second.kind = cel::Kind::kTimestamp;
  second.integer = 5'000'000;
  GroupValue length = second;
  length.kind = cel::Kind::kDuration;
  for (const GroupValue& value : {GroupValue(), Number(5), Number(-0.5), Number(1e300), yes, second, length}) {
    rows.push_back(Row("2024-04-30T23:00:00Z", value, Text("x"), 3));
  }
  SinkRow other = Row("F", 4);
  other.result.key = std::string(kOtherGroup);
  other.result.group = {Text(std::string(kOtherName)), Text(std::string(kOtherName))};
  rows.push_back(other);
  std::set<std::string> texts;
  for (const SinkRow& row : rows) texts.insert(GroupText(row.result));
  EXPECT_EQ(texts.size(), rows.size());
  Fill(rows);
  // Written again, each finds its own row.
  for (SinkRow& row : rows) row.result.measures[0].integer += 10;
  Write(*writer_, rows, 10, 101);
  std::map<std::string, int> seen;
  for (const auto& [key, row] : Read()) {
    EXPECT_GT(std::stoi(row.at("clicks")), 10) << key;
    ++seen[key];
  }
  EXPECT_GE(seen.size(), 2 * odd.size());
}

TEST_P(SinkWriterConformance, AnOlderRowIsRefused) {
  Fill({Row("F", 3)});
  Write(*writer_, {Row("F", 9)}, 10, 200);
  EXPECT_EQ(Clicks("F"), 9);
  Write(*writer_, {Row("F", 5)}, 10, 150);
  EXPECT_EQ(Clicks("F"), 9);
  EXPECT_TRUE(refused_.empty()) << "an older row is no mistake";
  // At the same position only marks change, so what comes later counts.
  SinkRow final_row = Row("F", 9);
  final_row.result.final = true;
  mark_ = {};
  Write(*writer_, {final_row}, 10, 200);
  EXPECT_EQ(Read().begin()->second.at("final"), "1");
  // A new writer's rows are newer, wherever its positions are.
  Write(*writer_, {Row("F", 10)}, 11, 1);
  EXPECT_EQ(Clicks("F"), 10);
}

TEST_P(SinkWriterConformance, AWriterThatWasReplacedChangesNothing) {
  Fill({Row("F", 3), Row("M", 3)});
  // It has begun a turn, and then hangs.
  ASSERT_TRUE(writer_->Begin({10, false, mark_}).ok());
  const auto successor = store_->MakeWriter();
  if (store_->is_outside()) writer_->Abandon();  // what hangs in a transaction is ended by the server
  const SinkMark old_mark = mark_;
  ASSERT_TRUE(successor->Prepare(Layout()).ok());
  Write(*successor, {Row("F", 8)}, 11, 200);
  std::vector<RefusedRow> refused;
  absl::Status status = writer_->Begin({10, false, old_mark});
  if (status.ok()) status = writer_->Write(std::vector<SinkRow>{Row("F", 4)}, 150, &refused);
  if (status.ok()) status = writer_->Finish({10, 150});
  EXPECT_TRUE(IsSinkFenced(status)) << status;
  writer_->Abandon();
  EXPECT_EQ(Clicks("F"), 8);
  EXPECT_EQ(Clicks("M"), 3);
  EXPECT_FALSE(TryWrite(*writer_, {}, 10, 151, true).ok()) << "a fill of the past";
  writer_->Abandon();
  Write(*successor, {Row("M", 9)}, 11, 201);
  EXPECT_EQ(Clicks("M"), 9);
}

TEST_P(SinkWriterConformance, ARemovedRowIsGoneUntilItIsWrittenAgain) {
  const SinkRow null_group = Row("2024-04-30T23:00:00Z", GroupValue(), Number(20), 5);
  Fill({Row("F", 3), Row("M", 4), null_group});
  const auto remove = [&](SinkWriter& writer, const std::vector<SinkRow>& rows, int64_t epoch, int64_t position) {
    absl::Status status = writer.Begin({epoch, false, mark_});
    if (status.ok()) status = writer.Remove(rows, position);
    const SinkMark mark{epoch, std::max(position, mark_.sequence + 1)};
    if (status.ok()) status = writer.Finish(mark);
    ASSERT_TRUE(status.ok()) << status;
    mark_ = mark;
  };
  remove(*writer_, {Row("M", 0), null_group, Row("nobody", 0)}, 10, 100);
  EXPECT_EQ(Clicks("F"), 3);
  EXPECT_EQ(Read().size(), 1);
  Write(*writer_, {Row("M", 7)}, 10, 200);
  EXPECT_EQ(Clicks("M"), 7);
  remove(*writer_, {Row("M", 0)}, 10, 150);
  EXPECT_EQ(Clicks("M"), 7) << "what is newer stays";
  const auto successor = store_->MakeWriter();
  ASSERT_TRUE(successor->Prepare(Layout()).ok());
  remove(*successor, {Row("M", 0)}, 11, 1);
  EXPECT_EQ(Clicks("M"), -1);
  // One that hung in the middle of a turn does not bring it back.
  std::vector<RefusedRow> refused;
  absl::Status status = writer_->Begin({10, false, {}});
  if (status.ok()) status = writer_->Write(std::vector<SinkRow>{Row("M", 9)}, 300, &refused);
  writer_->Abandon();
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(Clicks("M"), -1);
}

TEST_P(SinkWriterConformance, AFillLeavesOnlyWhatItWrote) {
  Fill({Row("F", 3), Row("M", 4), Row("2024-04-01T00:00:00Z", Text("F"), Number(20), 5)});
  EXPECT_EQ(Read().size(), 3);
  Write(*writer_, {Row("F", 1)}, 11, 50, true);
  EXPECT_EQ(Read().size(), 1);
  EXPECT_EQ(Clicks("F"), 1);
  Write(*writer_, {}, 12, 60, true);
  EXPECT_TRUE(Read().empty());
}

TEST_P(SinkWriterConformance, AFillThatWasGivenUpIsDoneAgain) {
  Fill({Row("F", 3), Row("M", 4)});
  std::vector<RefusedRow> refused;
  ASSERT_TRUE(writer_->Begin({11, true, {}}).ok());
  ASSERT_TRUE(writer_->Write(std::vector<SinkRow>{Row("F", 5)}, 110, &refused).ok());
  writer_->Abandon();
  writer_ = store_->MakeWriter();
  ASSERT_TRUE(writer_->Prepare(Layout()).ok());
  Write(*writer_, {Row("F", 6)}, 12, 120, true);
  EXPECT_EQ(Clicks("F"), 6);
  EXPECT_EQ(Clicks("M"), -1);
}

TEST_P(SinkWriterConformance, AChangedMetricKeepsNoRowOfTheOldOne) {
  Fill({Row("F", 3), Row("M", 4)});
  SinkLayout changed = Layout();
  changed.metric_version = 2;
  changed.dimensions = {"gender"};
  changed.measures = {"clicks", "words", "logins"};  // words is a number now, logins is new
  changed.shapes = {{MeasureKind::kCount}, {MeasureKind::kCount}, {MeasureKind::kAvg}};
  SinkRow row = Row("F", 7);
  row.result.group.pop_back();
  row.result.key.clear();
  AppendGroupValue(row.result.group[0].ToCel(), &row.result.key);
  row.result.measures = {Integer(7), Integer(2), Real(0.25)};
  const absl::Status prepared = writer_->Prepare(changed);
  ASSERT_TRUE(prepared.ok()) << prepared;
  EXPECT_EQ(Clicks("F"), 3) << "until the fill, the old rows answer";
  Write(*writer_, {row}, 11, 300, true);
  EXPECT_EQ(Read(changed), (ShownRows{{"2024-04-30T23:00:00Z/2024-04-30T23:01:00Z gender=F",
                                       {{"window_end", "2024-04-30T23:01:00Z"},
                                        {"gender", "F"},
                                        {"clicks", "7"},
                                        {"words", "2"},
                                        {"logins", "0.25"},
                                        {"final", "0"},
                                        {"revision", "0"},
                                        {"truncated", "0"},
                                        {"metric_version", "2"}}}}));
  Write(*writer_, {row}, 11, 301);
}

TEST_P(SinkWriterConformance, ALostMarkSaysThatTheStoreWasEmptied) {
  if (!writer_->keeps_mark()) GTEST_SKIP() << "this store keeps no mark";
  ASSERT_TRUE(writer_->Prepare(Layout()).ok());
  EXPECT_FALSE((*writer_->ReadMark()).has_value());
  Fill({Row("F", 3)});
  EXPECT_EQ(**writer_->ReadMark(), mark_);
  store_->Empty();
  EXPECT_FALSE((*writer_->ReadMark()).has_value());
  EXPECT_TRUE(IsSinkStoreEmptied(TryWrite(*writer_, {Row("F", 4)}, 10, 200)));
  ASSERT_TRUE(writer_->Prepare(Layout()).ok());
  EXPECT_FALSE((*writer_->ReadMark()).has_value());
  Write(*writer_, {Row("F", 5)}, 11, 201, true);
  EXPECT_EQ(Clicks("F"), 5);
}

TEST_P(SinkWriterConformance, AStoreThatWasEmptiedInTheMiddleOfATurnIsNotTakenForWhole) {
  if (!writer_->keeps_mark()) GTEST_SKIP() << "this store keeps no mark";
  Fill({Row("F", 3)});
  ASSERT_TRUE(writer_->Begin({10, false, mark_}).ok());
  writer_->Abandon();  // or DROP would wait for the turn's locks
  store_->Empty();
  std::vector<RefusedRow> refused;
  absl::Status status = writer_->Begin({10, false, mark_});
  if (status.ok()) status = writer_->Write(std::vector<SinkRow>{Row("M", 4)}, 200, &refused);
  if (status.ok()) status = writer_->Finish({10, 200});
  EXPECT_TRUE(IsSinkStoreEmptied(status)) << status;
  writer_->Abandon();
}

TEST_P(SinkWriterConformance, AStoreThatFellBackIsNotTakenForWhole) {
  if (!writer_->keeps_mark()) GTEST_SKIP() << "this store keeps no mark";
  Fill({Row("F", 3)});
  // The mark of a turn that the store no longer knows of, as after a failover to a replica that was behind.
  mark_.sequence += 1;
  EXPECT_TRUE(IsSinkStoreEmptied(TryWrite(*writer_, {Row("F", 4)}, 10, 200)));
}

TEST_P(SinkWriterConformance, ARefusedRowDoesNotHoldBackTheRest) {
  Fill({Row("F", 3)});
  if (!store_->Spoil("hot-activity", "2024-04-30T23:00:00Z", "gender", store_->Spec().has_redis() ? "bad,20" : "bad")) {
    GTEST_SKIP() << "this store refuses nothing";
  }
  std::vector<SinkRow> rows;
  for (int i = 0; i < 300; ++i) rows.push_back(Row(i == 123 ? "bad" : absl::StrCat("g", i), i));
  Write(*writer_, rows, 10, 200);
  ASSERT_EQ(refused_.size(), 1);
  EXPECT_EQ(refused_[0].index, 123);
  EXPECT_FALSE(refused_[0].reason.empty());
  EXPECT_FALSE(refused_[0].message.empty());
  EXPECT_EQ(Clicks("g122"), 122);
  EXPECT_EQ(Clicks("g299"), 299);
  EXPECT_EQ(Read().size(), 300);
}

TEST_P(SinkWriterConformance, AWriterGoesOnWhenTheServerIsBack) {
  if (!store_->is_outside()) GTEST_SKIP() << "this store has no server of its own";
  Fill({Row("F", 3)});
  store_->Kill();
  const absl::Status gone = TryWrite(*writer_, {Row("F", 4)}, 10, 200);
  EXPECT_FALSE(gone.ok());
  EXPECT_FALSE(IsSinkStoreEmptied(gone)) << gone;
  EXPECT_FALSE(writer_->Prepare(Layout()).ok());
  store_->Restart();
  const absl::Status back = writer_->Prepare(Layout());
  ASSERT_TRUE(back.ok()) << back;
  Write(*writer_, {Row("F", 5)}, 11, 200, true);
  EXPECT_EQ(Clicks("F"), 5);
}

TEST_P(SinkWriterConformance, ThePlaceOfAnotherSinkIsLeftAlone) {
  if (!writer_->keeps_mark()) GTEST_SKIP() << "a topic may be shared";
  Fill({Row("F", 3)});
  const auto other = store_->MakeWriter();
  SinkLayout layout = Layout();
  layout.sink = "another";
  const absl::Status taken = other->Prepare(layout);
  EXPECT_EQ(GetErrorDetails(taken).reason, "STORE_TAKEN") << taken;
  EXPECT_THAT(std::string(taken.message()), ::testing::HasSubstr("`sink`"));
  layout.take_over = true;
  ASSERT_TRUE(other->Prepare(layout).ok());
  Write(*other, {Row("F", 4)}, 11, 1, true);
  EXPECT_EQ(GetErrorDetails(writer_->Prepare(Layout())).reason, "STORE_TAKEN");
}

TEST_P(SinkWriterConformance, DropLeavesNothing) {
  Fill({Row("F", 3), Row("2024-04-01T00:00:00Z", Text("F"), Number(20), 5)});
  clock_.Advance(std::chrono::seconds(1));
  const absl::Status dropped = writer_->Drop(clock_.NowMicros());
  ASSERT_TRUE(dropped.ok()) << dropped;
  EXPECT_TRUE(Read().empty());
  ASSERT_TRUE(writer_->Prepare(Layout()).ok());
  Write(*writer_, {Row("F", 1)}, clock_.NowMicros() + 1, 1, true);
  EXPECT_EQ(Clicks("F"), 1);
}

TEST_P(SinkWriterConformance, RowsWhoseTimeIsOverGo) {
  if (!store_->is_outside()) GTEST_SKIP() << "a topic's retention is the log's affair";
  SinkRow old = Row("2024-01-01T00:00:00Z", Text("F"), Number(20), 5);
  old.expire_time_us = clock_.NowMicros() + 50'000;
  SinkRow changed_lately = Row("2024-01-02T00:00:00Z", Text("F"), Number(20), 6);
  Fill({old, changed_lately, Row("F", 3)});
  clock_.Advance(std::chrono::milliseconds(100));
  EXPECT_TRUE(naru::testing::WaitUntil([&] {
    EXPECT_TRUE(writer_->Expire(clock_.NowMicros()).ok());
    return Read().size() == 2;
  }));
  EXPECT_EQ(Clicks("F"), 3);
  // A late event brings such a window back.
  old.expire_time_us = clock_.NowMicros() + Layout().retention_us;
  Write(*writer_, {old}, 10, 200);
  EXPECT_EQ(Read().size(), 3);
}

TEST_P(SinkWriterConformance, CancelEndsIt) {
  if (!store_->is_outside()) GTEST_SKIP() << "nothing to wait for";
  Fill({Row("F", 3)});
  writer_->Cancel();
  EXPECT_FALSE(TryWrite(*writer_, {Row("F", 4)}, 10, 200).ok());
  EXPECT_FALSE(writer_->Prepare(Layout()).ok());
}

}  // namespace naru::aggregator::testing
