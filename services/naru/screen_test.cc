#include "services/naru/screen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_join.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/naru/text_width.h"

namespace naru::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

catalog::v1::Resource HotActivity() {
  catalog::v1::Resource resource;
  resource.mutable_metadata()->set_name("hot-activity");
  auto* metric = resource.mutable_metric();
  metric->set_time_zone("Asia/Seoul");
  metric->mutable_window()->set_type("hopping");
  metric->mutable_window()->set_size("60m");
  metric->mutable_window()->set_slide("5m");
  for (const char* name : {"gender", "age_band", "region", "device"}) metric->add_dimensions()->set_name(name);
  for (const char* name : {"login", "menu_a", "menu_b", "points", "x", "y"}) metric->add_measures()->set_name(name);
  return resource;
}

std::vector<std::string> Names(const SectionPlan& plan) {
  std::vector<std::string> names;
  for (const ScreenDimension& dimension : plan.dimensions) names.push_back(dimension.name);
  return names;
}

TEST(SectionPlanTest, ShowsTheFirstDimensionsAndMeasuresByDefault) {
  const auto plan = PlanSection(HotActivity());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(Names(*plan), ElementsAre("gender", "age_band", "region"));
  EXPECT_EQ(plan->columns.size(), 5);
  EXPECT_EQ(plan->title, "hot-activity");
}

TEST(SectionPlanTest, TakesTheNewestWindowThatIsFull) {
  const auto plan = PlanSection(HotActivity());
  ASSERT_TRUE(plan.ok());
  constexpr int64_t kMinute = 60'000'000;
  EXPECT_EQ(plan->ShownStart(600 * kMinute), 545 * kMinute) << "an event at 10:02 is in the window 09:05 to 10:05";
  catalog::v1::Resource tumbling = HotActivity();
  tumbling.mutable_metric()->mutable_window()->set_type("tumbling");
  EXPECT_EQ(PlanSection(tumbling)->ShownStart(600 * kMinute), 600 * kMinute);
  catalog::v1::Resource uneven = HotActivity();
  uneven.mutable_metric()->mutable_window()->set_size("12m");
  EXPECT_EQ(PlanSection(uneven)->ShownStart(600 * kMinute), 590 * kMinute);
}

TEST(SectionPlanTest, AnnotationsSayWhatIsShown) {
  catalog::v1::Resource resource = HotActivity();
  auto& annotations = *resource.mutable_metadata()->mutable_annotations();
  annotations["naru.dev/top-title"] = "The last hour";
  annotations["naru.dev/top-columns"] = "logins = login; menu clicks = menu_a + menu_b ; points";
  annotations["naru.dev/top-by"] = "region, age = age_band";
  annotations["naru.dev/top-order"] = "1";
  const auto plan = PlanSection(resource);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->title, "The last hour");
  EXPECT_THAT(Names(*plan), ElementsAre("region", "age_band"));
  EXPECT_EQ(plan->dimensions[1].title, "age");
  ASSERT_EQ(plan->columns.size(), 3);
  EXPECT_EQ(plan->columns[1].title, "menu clicks");
  EXPECT_THAT(plan->columns[1].measures, ElementsAre("menu_a", "menu_b"));
  EXPECT_THAT(plan->columns[2].measures, ElementsAre("points"));
  EXPECT_EQ(plan->order, 1);
}

TEST(SectionPlanTest, AnnotationsThatNameNothingAreErrors) {
  for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{
           {"top-columns", "a = nothing"}, {"top-by", "planet"}, {"top-order", "first"}}) {
    catalog::v1::Resource resource = HotActivity();
    (*resource.mutable_metadata()->mutable_annotations())["naru.dev/" + key] = value;
    const auto plan = PlanSection(resource);
    ASSERT_FALSE(plan.ok()) << key;
    EXPECT_THAT(std::string(plan.status().message()), HasSubstr(key));
  }
}

ScreenContents Example() {
  ScreenContents contents;
  contents.headline = "naru  127.0.0.1:7700  120 events/s";
  ScreenSection section;
  section.title = "지난 한 시간";
  section.panels.push_back({{"gender", "logins"}, {{"F", "1,204"}, {"M", "800"}}});
  section.panels.push_back({{"region", "logins"}, {{"서울특별시", "700"}, {"경기도", "650"}, {"-", "1"}}});
  contents.sections.push_back(section);
  contents.footer = {"received 3 = accepted 2 + duplicate 1 + rejected 0"};
  return contents;
}

TEST(LayOutTest, PanelsStandBesideEachOtherWhereTheyFit) {
  EXPECT_THAT(
      LayOut(Example(), 80, 0, false),
      ElementsAre("naru  127.0.0.1:7700  120 events/s", "", "지난 한 시간", "gender  logins  region      logins",
                  "F        1,204  서울특별시     700", "M          800  경기도         650",
                  "                -                1", "", "received 3 = accepted 2 + duplicate 1 + rejected 0"));
}

TEST(LayOutTest, ListsOfWordsAreReadFromTheLeft) {
  ScreenContents contents;
  contents.sections.push_back(
      {"", {{{"gender", "searches", "words"}, {{"F", "12", "생수 9, 콜라 3"}, {"M", "1,000", "커피 7"}}}}});
  const auto lines = LayOut(contents, 80, 0, false);
  EXPECT_EQ(lines[3], "F             12  생수 9, 콜라 3");
  EXPECT_EQ(lines[4], "M          1,000  커피 7");
}

TEST(LayOutTest, OnANarrowTerminalTheyStandBelowEachOther) {
  const auto lines = LayOut(Example(), 22, 0, false);
  EXPECT_EQ(lines[3], "gender  logins");
  EXPECT_EQ(lines[6], "region      logins");
}

TEST(LayOutTest, RankingsGetShorterBeforeSectionsAreLeftOut) {
  ScreenContents contents = Example();
  Panel words{{"word", "searches"}, {}, true};
  for (int i = 0; i < 12; ++i) words.rows.push_back({"word" + std::to_string(i), "1"});
  contents.sections.push_back({"words", {words}});
  EXPECT_EQ(LayOut(contents, 80, 0, false).size(), 22) << "ten words where there is room";
  const auto small = LayOut(contents, 80, 15, false);
  EXPECT_EQ(small.size(), 15);
  EXPECT_THAT(absl::StrJoin(small, "\n"), HasSubstr("word2"));
  const auto smaller = LayOut(contents, 80, 14, false);
  EXPECT_THAT(absl::StrJoin(smaller, "\n"), ::testing::Not(HasSubstr("words"))) << "whole sections, not halves";
  EXPECT_THAT(smaller.back(), HasSubstr("received 3"));
}

TEST(LayOutTest, NothingIsWiderOrHigherThanTheTerminalAndTheFooterStays) {
  for (int width = 20; width < 100; width += 7) {
    for (int height = 3; height < 14; ++height) {
      const auto lines = LayOut(Example(), width, height, false);
      // A wrapped footer may need more than a very small terminal has; it is shown whole all the same.
      EXPECT_LE(static_cast<int>(lines.size()), std::max(height, 6));
      for (const std::string& line : lines) EXPECT_LE(static_cast<int>(DisplayWidth(line)), width);
      EXPECT_THAT(absl::StrJoin(lines, " "), HasSubstr("received 3"));
    }
  }
}

}  // namespace
}  // namespace naru::cli
