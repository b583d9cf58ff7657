// The topic writer on an embedded log, and what is said in words.
#include "common/event_log/rocks_event_log.h"
#include "services/aggregator/sink_set_conformance.h"
#include "services/aggregator/sink_writer_conformance.h"

namespace naru::aggregator::testing {
namespace {

absl::StatusOr<std::unique_ptr<SinkStore>> MakeStore(const Clock& clock) {
  // One log for each test, kept until the program ends: the store borrows it.
  static std::vector<std::unique_ptr<naru::testing::TempDir>> dirs;
  static std::vector<std::unique_ptr<event_log::EventLog>> logs;
  dirs.push_back(std::make_unique<naru::testing::TempDir>());
  event_log::RocksEventLogOptions options;
  options.path = dirs.back()->File("log");
  NARU_ASSIGN_OR_RETURN(auto log, event_log::RocksEventLog::Open(options));
  logs.push_back(std::move(log));
  return MakeTopicStore(*logs.back(), clock);
}

INSTANTIATE_TEST_SUITE_P(Topic, SinkWriterConformance, ::testing::Values(MakeStore));
INSTANTIATE_TEST_SUITE_P(Topic, SinkSetConformance,
                         ::testing::Values([](event_log::EventLog& log,
                                              const Clock& clock) -> absl::StatusOr<std::unique_ptr<SinkStore>> {
                           return MakeTopicStore(log, clock);
                         }));

TEST(SinkText, NumbersAreAsShortAsCanBe) {
  EXPECT_EQ(NumberText(20), "20");
  EXPECT_EQ(NumberText(-0.5), "-0.5");
  EXPECT_EQ(NumberText(0.1), "0.1");
  EXPECT_EQ(NumberText(1e300), "1e+300");
  EXPECT_EQ(NumberText(std::numeric_limits<double>::infinity()), "Infinity");
  SeededRandom random(7);
  for (int i = 0; i < 10'000; ++i) {
    const uint64_t bits = random.Next();
    double number;
    std::memcpy(&number, &bits, 8);
    if (!std::isfinite(number)) continue;
    EXPECT_EQ(std::strtod(NumberText(number).c_str(), nullptr), number);
  }
}

TEST(SinkText, GroupsAreReadableWhereTheyCanBe) {
  ResultRow row;
  EXPECT_EQ(GroupText(row), "all");
  row.group.resize(3);
  row.group[0].kind = cel::Kind::kString;
  row.group[0].text = "여:자";
  row.group[1].kind = cel::Kind::kDouble;
  row.group[1].number = 20;
  EXPECT_EQ(GroupText(row), "여%3A자,20,~");
  row.group[0].text = "20";
  EXPECT_EQ(GroupText(row), "%320,20,~");
}

TEST(SinkText, JsonIsEscaped) {
  std::string out;
  AppendJsonText(std::string("a\"b\\c\n\0d", 8), &out);
  EXPECT_EQ(out, "\"a\\\"b\\\\c\\u000a\\u0000d\"");
}

}  // namespace
}  // namespace naru::aggregator::testing
