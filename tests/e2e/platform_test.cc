// The whole platform as a person uses it: real processes, real files, the real command line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/naru_process.h"

namespace naru::e2e {
namespace {

using ::naru::testing::ProcessResult;
using ::naru::testing::TempDir;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr char kShopPack[] = R"(apiVersion: naru.dev/v1
kind: EventType
metadata: {name: Bought}
spec:
  description: Somebody bought something.
  schema:
    required: [price]
    properties:
      price: {type: integer, minimum: 0, maximum: 1000}
      gender: {type: string, enum: [F, M]}
---
apiVersion: naru.dev/v1
kind: InputFormat
metadata: {name: shop-lines}
spec:
  parser: {type: delimited, delimiter: "|", columns: [at, user, price]}
  time: {field: at, layout: rfc3339}
  event:
    type: {const: Bought}
    subject: user
  data:
    price: {from: price, type: integer}
---
apiVersion: naru.dev/v1
kind: Metric
metadata: {name: sales}
spec:
  filter: type == "Bought"
  window: {type: tumbling, size: 1h}
  dimensions: [{name: gender, expr: data.gender}]
  measures:
    - {name: count, agg: count}
    - {name: revenue, agg: sum, expr: data.price}
)";

class PlatformTest : public ::testing::Test {
 protected:
  void SetUp() override { shop_.Write("shop.yaml", kShopPack); }

  void Start(const std::vector<std::string>& flags = {}) {
    auto started = Platform::Start(data_dir_.File("data"), {shop_.path()}, flags);
    ASSERT_TRUE(started.ok()) << started.status();
    platform_ = *std::move(started);
  }

  // Publishes one Bought event an hour of a day of 2026 and returns the totals.
  std::string PublishDay(int count, const std::string& prefix = "e") {
    std::string lines;
    for (int i = 0; i < count; ++i) {
      absl::StrAppend(&lines, R"({"id":")", prefix, i, R"(","source":"shop","type":"Bought","subject":"u)", i % 7,
                      R"(","time":"2026-11-01T)", absl::Dec(i % 24, absl::kZeroPad2), R"(:30:00Z","data":{"price":)",
                      i % 100, R"(,"gender":")", i % 3 == 0 ? "F" : "M", "\"}}\n");
    }
    const ProcessResult result = platform_->Naru({"publish", "-", "--output", "json"}, lines);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  }

  TempDir data_dir_;
  TempDir shop_;
  std::unique_ptr<Platform> platform_;
};

TEST_F(PlatformTest, TheFirstLineSaysWhereEverythingIs) {
  Start();
  EXPECT_THAT(platform_->first_line(),
              MatchesRegex("naru is ready: grpc=127\\.0\\.0\\.1:[0-9]+ http=127\\.0\\.0\\.1:[0-9]+ "
                           "metrics=127\\.0\\.0\\.1:[0-9]+ data_dir=.+"));
  EXPECT_TRUE(absl::EndsWith(platform_->first_line(), absl::StrCat("data_dir=", data_dir_.File("data"))));
  const auto stopped = platform_->Stop();
  ASSERT_TRUE(stopped.ok()) << stopped.status();
  EXPECT_EQ(*stopped, 0);
  EXPECT_EQ(Lines(platform_->process().Stdout()).size(), 1) << "nothing else on standard output";
}

TEST_F(PlatformTest, EventsGoInAndWindowsComeOut) {
  Start();
  const std::string totals = PublishDay(240);
  EXPECT_EQ(JsonNumber(totals, "accepted"), 240);
  const ProcessResult rows = platform_->Naru({"query", "sales", "--output", "json"});
  ASSERT_EQ(rows.exit_code, 0) << rows.err;
  int64_t count = 0;
  int64_t revenue = 0;
  for (const std::string& line : Lines(rows.out)) {
    EXPECT_TRUE(absl::StartsWith(line, "{\"window_start\":\"2026-11-01T")) << line;
    EXPECT_THAT(line, HasSubstr("\"revision\":"));
    count += JsonNumber(line, "count");
    revenue += JsonNumber(line, "revenue");
  }
  EXPECT_EQ(count, 240);
  int64_t expected = 0;
  for (int i = 0; i < 240; ++i) expected += i % 100;
  EXPECT_EQ(revenue, expected);
  const ProcessResult merged =
      platform_->Naru({"query", "sales", "--group_by", "none", "--from", "2026-11-01T10:00:00Z", "--to",
                       "2026-11-01T11:00:00Z", "--output", "json"});
  ASSERT_EQ(Lines(merged.out).size(), 1) << merged.out << merged.err;
  EXPECT_EQ(JsonNumber(merged.out, "count"), 10);
  EXPECT_THAT(merged.out, HasSubstr("\"window_end\":\"2026-11-01T11:00:00Z\",\"group\":{},\"measures\":{"));
}

TEST_F(PlatformTest, TheSameEventsAgainAreDuplicatesAndEverythingIsAccountedFor) {
  Start();
  PublishDay(100);
  const std::string again = PublishDay(100);
  EXPECT_EQ(JsonNumber(again, "duplicate"), 100);
  EXPECT_EQ(JsonNumber(again, "accepted"), 0);
  const ProcessResult status = platform_->Naru({"status", "--output", "json"});
  ASSERT_EQ(status.exit_code, 0) << status.err;
  EXPECT_EQ(JsonNumber(status.out, "received"), 200);
  EXPECT_EQ(JsonNumber(status.out, "accepted"), 100);
  EXPECT_EQ(JsonNumber(status.out, "duplicate"), 100);
  for (const char* part : {"\"services\":[", "\"health\":\"SERVING\"", "\"accounting\":{", "\"rejected_by_reason\":{",
                           "\"lag\":[", "\"storage\":{"}) {
    EXPECT_THAT(status.out, HasSubstr(part));
  }
}

TEST_F(PlatformTest, AnImportIsCountedOnceAndItsRejectedLinesAreReplayedAfterMending) {
  Start();
  TempDir files;
  std::string lines;
  for (int i = 0; i < 1000; ++i)
    absl::StrAppend(&lines, "2015-05-17T10:00:00Z|u", i % 9, "|", i == 500 ? 2000 : i % 1000, "\n");
  const std::string file = files.Write("sales.log", lines);
  const ProcessResult first = platform_->Naru({"import", file, "--format", "shop-lines", "--output", "json"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_THAT(LastLine(first.out), HasSubstr(R"({"read":1000,"accepted":999,"duplicate":0,"rejected":1)"));
  EXPECT_THAT(first.err, HasSubstr("FIELD_RANGE"));

  // A line more at the end: only that is new, and the bad line leaves no second dead letter.
  files.Write("sales.log", lines + "2015-05-17T11:00:00Z|u1|5\n");
  const ProcessResult grown =
      platform_->Naru({"import", file, "--format", "shop-lines", "--strict", "--output", "json"});
  EXPECT_EQ(grown.exit_code, 3);
  EXPECT_EQ(JsonNumber(grown.out, "accepted"), 1);
  EXPECT_EQ(JsonNumber(grown.out, "duplicate"), 999);

  const ProcessResult listed = platform_->Naru({"dlq", "list", "--output", "json"});
  ASSERT_EQ(Lines(listed.out).size(), 1) << listed.out << listed.err;
  EXPECT_THAT(listed.out, HasSubstr("\"field\":\"data.price\""));
  const size_t at = listed.out.find("\"name\":\"") + 8;
  const std::string name = listed.out.substr(at, listed.out.find('"', at) - at);
  const ProcessResult shown = platform_->Naru({"dlq", "show", name, "--raw"});
  EXPECT_EQ(shown.out, "2015-05-17T10:00:00Z|u5|2000") << shown.err;

  // Still wrong until the type is mended; then accepted once.
  EXPECT_EQ(JsonNumber(platform_->Naru({"dlq", "replay", "--all", "--output", "json"}).out, "rejected"), 1);
  std::string mended = kShopPack;
  mended.replace(mended.find("maximum: 1000"), 13, "maximum: 9999");
  TempDir pack;
  pack.Write("shop.yaml", mended);
  const ProcessResult applied = platform_->Naru({"apply", "-f", pack.path(), "--output", "json"});
  ASSERT_EQ(applied.exit_code, 0) << applied.err;
  EXPECT_THAT(applied.out, HasSubstr("\"action\":\"updated\""));
  EXPECT_EQ(JsonNumber(platform_->Naru({"dlq", "replay", name, "--output", "json"}).out, "accepted"), 1);
  EXPECT_EQ(JsonNumber(platform_->Naru({"dlq", "replay", "--all", "--output", "json"}).out, "accepted"), 0);
  const ProcessResult status = platform_->Naru({"status", "--output", "json"});
  EXPECT_EQ(JsonNumber(status.out, "replayed"), 1);
  EXPECT_EQ(JsonNumber(status.out, "accepted"), 1000);
  const ProcessResult rows = platform_->Naru({"query", "sales", "--group_by", "none", "--output", "json"});
  ASSERT_EQ(Lines(rows.out).size(), 2) << rows.out << rows.err;
  EXPECT_EQ(JsonNumber(Lines(rows.out)[0], "count"), 1000) << "the replayed event counts in its window";
}

TEST_F(PlatformTest, TheWholeDayOfAServerGoesInWithOneLineRejected) {
  const auto log = testing::SharedDataPath("weblog/apache_logs");
  if (!log.has_value()) GTEST_SKIP() << "the example access log is not on this machine";
  auto started = Platform::Start(data_dir_.File("weblog"), {"weblog"});
  ASSERT_TRUE(started.ok()) << started.status();
  platform_ = *std::move(started);
  const ProcessResult first =
      platform_->Naru({"import", *log, "--format", "apache-combined", "--strict", "--output", "json"});
  EXPECT_EQ(first.exit_code, 3);
  EXPECT_THAT(LastLine(first.out), HasSubstr(R"({"read":10000,"accepted":9999,"duplicate":0,"rejected":1)"));
  EXPECT_THAT(first.err, HasSubstr(":8899: rejected, PARSE"));
  const ProcessResult again = platform_->Naru({"import", *log, "--format", "apache-combined", "--output", "json"});
  EXPECT_EQ(JsonNumber(again.out, "accepted"), 0);
  const ProcessResult metrics = platform_->Naru({"get", "Metric", "--output", "json"});
  EXPECT_GE(Lines(metrics.out).size(), 1);
  const ProcessResult top = platform_->Naru({"top", "--once"});
  EXPECT_EQ(top.exit_code, 0) << top.err;
  EXPECT_THAT(top.out, HasSubstr("accepted 9,999"));
}

TEST_F(PlatformTest, ApplyingTwiceChangesNothingAndBadResourcesAreAllReported) {
  Start();
  const ProcessResult again = platform_->Naru({"apply", "-f", shop_.path(), "--output", "json"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  for (const std::string& line : Lines(again.out)) EXPECT_THAT(line, HasSubstr("\"action\":\"unchanged\""));
  EXPECT_EQ(platform_->Naru({"diff", "-f", shop_.path()}).exit_code, 0);

  const std::string bad =
      absl::StrCat(kShopPack, "---\napiVersion: naru.dev/v1\nkind: Metric\nmetadata: {name: bad}\nspec:\n",
                   "  filter: type ==\n  window: {type: tumbling, size: soon}\n  measures: [{name: a, agg: count}]\n");
  const ProcessResult refused = platform_->Naru({"apply", "-f", "-"}, bad);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("spec.filter"));
  EXPECT_THAT(refused.err, HasSubstr("spec.window.size"));
  EXPECT_EQ(platform_->Naru({"get", "Metric", "bad"}).exit_code, 2);

  std::string changed = kShopPack;
  changed.replace(changed.find("size: 1h"), 8, "size: 2h");
  EXPECT_EQ(platform_->Naru({"diff", "-f", "-"}, changed).exit_code, 1);
  const ProcessResult yaml = platform_->Naru({"get", "Metric", "sales"});
  EXPECT_THAT(yaml.out, HasSubstr("kind: Metric"));
  EXPECT_EQ(platform_->Naru({"apply", "-f", "-", "--output", "csv"}, yaml.out).exit_code, 0)
      << "what get prints, apply takes";
  EXPECT_EQ(platform_->Naru({"delete", "Metric", "sales"}).exit_code, 0);
  EXPECT_EQ(platform_->Naru({"query", "sales"}).exit_code, 2);
}

TEST_F(PlatformTest, TailFollowsNewEventsAndEndsCleanlyOnCtrlC) {
  Start();
  auto tail = testing::Process::Start({.args = {testing::BinaryPath("naru"), "tail", "--follow", "--from_offset", "0",
                                                "--output", "json", "--address", platform_->grpc()}});
  ASSERT_TRUE(tail.ok());
  PublishDay(3);
  for (int i = 0; i < 3; ++i) {
    const auto line = (*tail)->ReadLine();
    ASSERT_TRUE(line.ok()) << line.status();
    EXPECT_THAT(*line, HasSubstr("\"type\":\"Bought\""));
    EXPECT_THAT(*line, HasSubstr("\"received_time\""));
  }
  (*tail)->Signal(SIGINT);
  const auto exit_code = (*tail)->Wait();
  ASSERT_TRUE(exit_code.ok()) << exit_code.status();
  EXPECT_EQ(*exit_code, 0);
}

TEST_F(PlatformTest, WatchPrintsRowsThenChanges) {
  Start();
  PublishDay(24);
  platform_->Naru({"query", "sales"});
  auto watch = testing::Process::Start(
      {.args = {testing::BinaryPath("naru"), "watch", "sales", "--group_by", "none", "--from", "2026-11-01T05:00:00Z",
                "--to", "2026-11-01T06:00:00Z", "--output", "json", "--rate", "20", "--address", platform_->grpc()}});
  ASSERT_TRUE(watch.ok());
  const auto first = (*watch)->ReadLine();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(JsonNumber(*first, "count"), 1);
  PublishDay(24, "more");
  const auto second = (*watch)->ReadLine();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(JsonNumber(*second, "count"), 2);
  (*watch)->Signal(SIGTERM);
  const auto exit_code = (*watch)->Wait();
  ASSERT_TRUE(exit_code.ok());
  EXPECT_EQ(*exit_code, 0);
}

TEST_F(PlatformTest, ARestartGoesOnWhereItWas) {
  Start();
  PublishDay(240);
  const std::string before = platform_->Naru({"query", "sales", "--output", "json"}).out;
  ASSERT_EQ(*platform_->Stop(), 0);
  Start();
  EXPECT_EQ(platform_->Naru({"query", "sales", "--output", "json"}).out, before);
  EXPECT_EQ(JsonNumber(PublishDay(240), "duplicate"), 240) << "ids are remembered";
  EXPECT_EQ(platform_->Naru({"query", "sales", "--output", "json"}).out, before);
}

TEST_F(PlatformTest, AKilledProcessHasLostNothingThatItAcknowledged) {
  Start();
  PublishDay(240);
  platform_->Kill();
  Start();
  const ProcessResult rows = platform_->Naru({"query", "sales", "--group_by", "none", "--output", "json"});
  int64_t count = 0;
  for (const std::string& line : Lines(rows.out)) count += JsonNumber(line, "count");
  EXPECT_EQ(count, 240) << rows.err;
  EXPECT_EQ(JsonNumber(platform_->Naru({"status", "--output", "json"}).out, "accepted"), 240);
}

TEST_F(PlatformTest, ASecondProcessOnTheSameDataIsRefused) {
  Start();
  const ProcessResult second = RunNaru({"up", "--data_dir", data_dir_.File("data"), "--listen", "127.0.0.1:0"});
  EXPECT_NE(second.exit_code, 0);
  EXPECT_EQ(second.out, "");
  EXPECT_THAT(second.err, HasSubstr(data_dir_.File("data")));
}

TEST_F(PlatformTest, WrongFlagsOfUpEndWithTwo) {
  EXPECT_EQ(RunNaru({"up", "--data_dir", data_dir_.File("x"), "--listen", "here"}).exit_code, 2);
  EXPECT_EQ(
      RunNaru({"up", "--data_dir", data_dir_.File("x"), "--pack", "no-such-pack", "--listen", "127.0.0.1:0"}).exit_code,
      2);
  EXPECT_EQ(RunNaru({"up", "--data_dir", data_dir_.File("x"), "--no_such_flag"}).exit_code, 2);
  EXPECT_EQ(RunNaru({"up", "--help"}).exit_code, 0);
}

TEST_F(PlatformTest, TheTestsOfPacksRunWithoutAServer) {
  const ProcessResult packs = RunNaru({"test", "weblog", "ciao_labella"});
  EXPECT_EQ(packs.exit_code, 0) << packs.out << packs.err;
  const std::string wrong = shop_.Write("wrong.yaml", R"(apiVersion: naru.dev/v1
kind: EventType
metadata: {name: Sold}
spec: {schema: {properties: {price: {type: integer}}}}
tests: [{event: {data: {price: free}}, accepted: true}]
)");
  const ProcessResult failed = RunNaru({"test", wrong});
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_THAT(failed.out, HasSubstr("wrong.yaml:5"));
}

TEST_F(PlatformTest, AnOpenAddressWithoutKeysIsRefused) {
  const ProcessResult refused = RunNaru({"up", "--data_dir", data_dir_.File("x"), "--listen", "0.0.0.0:0"});
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_THAT(refused.err, HasSubstr("tls"));
}

}  // namespace
}  // namespace naru::e2e
