#include "services/naru/user_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "naru/aggregator/v1/aggregator.pb.h"

namespace naru::cli {
namespace {

using ::testing::ElementsAre;

TEST(UserTextTest, ShortDurationsHaveTheTwoGreatestUnits) {
  EXPECT_EQ(ShortDuration(0), "0ms");
  EXPECT_EQ(ShortDuration(250e3), "250ms");
  EXPECT_EQ(ShortDuration(2.54e6), "2.5s");
  EXPECT_EQ(ShortDuration(60e6), "1m");
  EXPECT_EQ(ShortDuration(185.4e6), "3m5s");
  EXPECT_EQ(ShortDuration(119.6e6), "2m");
  EXPECT_EQ(ShortDuration(3'600e6 + 59.9 * 60e6), "2h");
  EXPECT_EQ(ShortDuration(26 * 3'600e6), "1d2h");
}

aggregator::v1::FunnelRow FunnelRow() {
  aggregator::v1::FunnelRow row;
  (*row.mutable_group())["region"].set_string_value("서울");
  auto* search = row.add_steps();
  search->set_name("search");
  search->set_user_count(4);
  search->set_from_previous_ratio(1);
  search->set_from_first_ratio(1);
  auto* buy = row.add_steps();
  buy->set_name("buy");
  buy->set_user_count(1);
  buy->set_from_previous_ratio(0.25);
  buy->set_from_first_ratio(0.25);
  buy->set_median_from_previous_us(1'500'000);
  buy->set_average_from_previous_us(1'500'000);
  buy->set_median_from_first_us(1'500'000);
  buy->set_average_from_first_us(1'500'000);
  return row;
}

TEST(UserTextTest, AFunnelsRowIsAnObjectForProgramsAndALineAStepForPeople) {
  aggregator::v1::FunnelRow row = FunnelRow();
  EXPECT_EQ(FunnelRowJson(row),
            R"({"group":{"region":"서울"},"steps":[{"name":"search","users":4,"from_previous":1,"from_first":1},)"
            R"({"name":"buy","users":1,"from_previous":0.25,"from_first":0.25,"median_from_previous_s":1.5,)"
            R"("average_from_previous_s":1.5,"median_from_first_s":1.5,"average_from_first_s":1.5}],"final":false})");
  const FunnelColumns columns(row);
  EXPECT_THAT(columns.Names(),
              ElementsAre("region", "step", "users", "from_previous", "from_first", "median_from_previous",
                          "average_from_previous", "median_from_first", "final"));
  std::vector<std::string> texts;
  for (const Cell& cell : columns.Cells(row, 1, "UTC")) texts.push_back(cell.text);
  EXPECT_THAT(texts, ElementsAre("서울", "buy", "1", "25.0%", "25.0%", "1.5s", "1.5s", "1.5s", "no"));
  row.mutable_interval_start_time()->set_seconds(0);
  row.mutable_interval_end_time()->set_seconds(86'400);
  EXPECT_EQ(FunnelColumns(row).Names()[0], "interval_start");
  EXPECT_EQ(FunnelColumns(row).Cells(row, 0, "Asia/Seoul")[0].text, "1970-01-01 09:00:00");
}

TEST(UserTextTest, ACohortsRowShowsWhatIsNotYetKnownAsMissing) {
  aggregator::v1::CohortRow row;
  row.mutable_start_time()->set_seconds(0);
  row.mutable_end_time()->set_seconds(86'400);
  row.set_user_count(8);
  for (const int count : {8, 0, 2, 0}) row.add_returned_counts(count);
  row.set_final_count(2);
  EXPECT_EQ(CohortRowJson(row),
            R"({"start":"1970-01-01T00:00:00Z","end":"1970-01-02T00:00:00Z","users":8,"returned":[8,0,2,0],)"
            R"("final_count":2})");
  EXPECT_THAT(CohortColumns(row), ElementsAre("start", "users", "0", "1", "2", "3"));
  std::vector<std::string> texts;
  for (const Cell& cell : CohortCells(row, "UTC")) texts.push_back(cell.text);
  EXPECT_THAT(texts, ElementsAre("1970-01-01 00:00:00", "8", "100.0%", "0.0%", "25.0%", "-"));
}

}  // namespace
}  // namespace naru::cli
