// The packs under deploy/packs: every resource is valid, every example in them holds, and what the formats make of
// lines is what the event types accept.
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/catalog/builtin.h"
#include "common/catalog/resource_checks.h"
#include "common/catalog/resource_file.h"
#include "common/event/event_view.h"
#include "common/event/schema.h"
#include "common/input_format/input_format.h"
#include "common/testing/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/metric_evaluator.h"
#include "services/aggregator/user_evaluator.h"

namespace naru {
namespace {

using catalog::FileProblem;
using catalog::ResourceSet;
using catalog::v1::Resource;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

ResourceSet LoadPacks(const std::vector<std::string>& names) {
  std::vector<std::string> paths;
  for (const std::string& name : names) paths.push_back(testing::SourcePath("deploy/packs/" + name));
  ResourceSet set = catalog::LoadPaths(paths);
  catalog::TestRunners runners;
  catalog::RegisterResourceChecks(&runners);
  aggregator::RegisterMetricTests(&runners);
  aggregator::RegisterUserTests(&runners);
  catalog::CheckOffline(&runners, &set);
  for (const FileProblem& problem : set.problems) ADD_FAILURE() << problem.ToString();
  return set;
}
ResourceSet LoadPack(const std::string& name) { return LoadPacks({name}); }

std::map<std::string, const Resource*> OfKind(const ResourceSet& set, const std::string& kind) {
  std::map<std::string, const Resource*> resources;
  for (const catalog::LoadedResource& loaded : set.resources) {
    if (loaded.resource->kind() == kind) resources[loaded.resource->metadata().name()] = loaded.resource.get();
  }
  return resources;
}

std::vector<std::string> NamesOf(const std::map<std::string, const Resource*>& resources) {
  std::vector<std::string> names;
  for (const auto& [name, resource] : resources) names.push_back(name);
  return names;
}

// Event types as ingest checks with them.
class Schemas {
 public:
  explicit Schemas(const ResourceSet& set) {
    for (const auto& [name, resource] : OfKind(set, "EventType")) {
      auto schema = event::TypeSchema::Compile(resource->event_type());
      EXPECT_TRUE(schema.ok()) << schema.status();
      if (schema.ok()) schemas_.emplace(name, *std::move(schema));
    }
  }
  // Empty: accepted.
  std::string Check(absl::string_view bytes) const {
    event::EventView view;
    event::ParseProblem parse_problem;
    if (event::ParseEvent(bytes, event::Limits(), &view, &parse_problem) != event::ParseError::kOk) {
      return absl::StrCat("not an event: ", parse_problem.field, " ", parse_problem.expected);
    }
    const auto schema = schemas_.find(std::string(view.type));
    if (schema == schemas_.end()) return absl::StrCat("unknown type ", view.type);
    event::SchemaProblem problem;
    if (schema->second.Check(view.data, &problem)) return "";
    return absl::StrCat(view.type, ": ", problem.field, " `", problem.value, "`: expected ", problem.expected);
  }

 private:
  std::map<std::string, event::TypeSchema> schemas_;
};

TEST(CiaoLabella, HoldsItsNineMessageKindsItsFormatAndItsMetrics) {
  const ResourceSet set = LoadPack("ciao_labella");
  EXPECT_THAT(NamesOf(OfKind(set, "EventType")),
              UnorderedElementsAre("UserLogin", "UserLogout", "UserClickMenu", "UserUsedEcopoint1", "UserUsedEcopoint2",
                                   "UserSearchProduct", "UserClickProduct", "UserSearchLesswaste", "error"));
  EXPECT_THAT(NamesOf(OfKind(set, "InputFormat")), ElementsAre("ciao-labella-envelope"));
  EXPECT_THAT(NamesOf(OfKind(set, "Metric")),
              ElementsAre("click-prices", "eco-points", "hot-activity", "lesswaste-distances", "member-points",
                          "popular-words", "product-clicks", "search-words", "stay-time"));
  EXPECT_EQ(OfKind(set, "Metric")["hot-activity"]->metric().measures_size(), 13);
  for (const auto& [name, metric] : OfKind(set, "Metric"))
    EXPECT_EQ(metric->metric().time_zone(), "Asia/Seoul") << name;
}

TEST(CiaoLabella, NeedsNoServerUnlessItsSinksAreWanted) {
  EXPECT_THAT(NamesOf(OfKind(LoadPack("ciao_labella"), "Sink")), IsEmpty());
  const ResourceSet set = LoadPacks({"ciao_labella", "ciao_labella_sinks"});
  EXPECT_THAT(NamesOf(OfKind(set, "Sink")), ElementsAre("ciao-hot", "ciao-warm"));
}

TEST(CiaoLabella, NeverShowsWhoSomebodyIs) {
  const ResourceSet set = LoadPack("ciao_labella");
  for (const auto& [name, type] : OfKind(set, "EventType")) {
    EXPECT_TRUE(type->event_type().schema().properties().at("member_id").x_personal()) << name;
  }
}

TEST(CiaoLabella, AcceptsWhatItsFormatMakesOfEveryMessageKind) {
  const ResourceSet set = LoadPack("ciao_labella");
  const Schemas schemas(set);
  const auto format = input_format::InputFormat::Compile(
      "ciao-labella-envelope", OfKind(set, "InputFormat")["ciao-labella-envelope"]->input_format());
  ASSERT_TRUE(format.ok()) << format.status();
  input_format::LineParser parser(*format);
  const std::pair<const char*, const char*> messages[] = {
      {"UserLogin", R"("login_time":"2022-11-01 09:00:00")"},
      {"UserLogout", R"("logout_method":"SessionExpired","logout_time":"2022-11-01 09:30:00")"},
      {"UserClickMenu", R"("selected_menu":"ecopoint1","menuclick_page":"navbar","menuclick_time":"x")"},
      {"UserUsedEcopoint1", R"("save_point":"30","photo_id":17,"eco1upload_time":"x","fail_msg":"none")"},
      {"UserUsedEcopoint2", R"("save_point":0,"eco2upload_time":"x","fail_msg":"OcrNoDetect")"},
      {"UserSearchProduct", R"("search_word":"무라벨 생수","searchclick_time":"x")"},
      {"UserClickProduct", R"("product_name":"샘물","product_volume":"2L","product_unitprice":"480.5")"},
      {"UserSearchLesswaste", R"("radius_km":5,"searchclick_location":[37.5,127.0],"searchclick_time":"x")"},
      {"error", R"("stack_trace":"Traceback\n  File","lineno":42)"}};
  const char* const visitors[] = {R"("member_id":"m1","user_gender":"F","user_age":27,"user_region":"서울특별시")",
                                  R"("member_id":"none","user_gender":"none","user_age":"none","user_region":"none")"};
  for (const auto& [type, fields] : messages) {
    for (const char* visitor : visitors) {
      input_format::EventBuffer events;
      std::vector<input_format::LineRejection> rejections;
      parser.Parse(absl::StrCat(R"({"messageType":"log","timestamp":"2022-11-01T09:00:00Z","fields":{"event":")", type,
                                R"(","topic":"t","key":"k","fields":{)", visitor, ",", fields, "}}}"),
                   {.line_id = "id-1"}, &events, &rejections);
      ASSERT_THAT(rejections, IsEmpty()) << type << " " << rejections[0].field << " " << rejections[0].expected;
      ASSERT_EQ(events.size(), 1u);
      EXPECT_EQ(schemas.Check(events.event(0)), "") << type;
    }
  }
}

TEST(Zigbang, HoldsItsEventTypesItsFormatAndItsMetrics) {
  const ResourceSet set = LoadPack("zigbang");
  const auto types = OfKind(set, "EventType");
  EXPECT_EQ(types.size(), 25u);
  for (const auto& [name, type] : types) {
    for (const char* field : {"local1", "local2", "room_type", "deal_type", "screen_name"}) {
      EXPECT_TRUE(type->event_type().schema().properties().contains(field)) << name << " " << field;
    }
    EXPECT_TRUE(type->event_type().schema().properties().at("address").x_personal()) << name;
  }
  EXPECT_THAT(NamesOf(OfKind(set, "InputFormat")), ElementsAre("zigbang-lines"));
  EXPECT_THAT(NamesOf(OfKind(set, "Metric")),
              ElementsAre("daily-users", "favourites", "homes", "hourly-activity", "hours-of-the-day", "realtime",
                          "regions", "sessions", "weekly-users"));
  EXPECT_THAT(NamesOf(OfKind(set, "Funnel")), ElementsAre("contract"));
  EXPECT_THAT(NamesOf(OfKind(set, "Retention")), ElementsAre("weekly-return"));
  for (const auto& [name, metric] : OfKind(set, "Metric"))
    EXPECT_EQ(metric->metric().time_zone(), "Asia/Seoul") << name;
}

TEST(Zigbang, WritesEachOfTheSeventeenProvincesByItsFullName) {
  const ResourceSet set = LoadPack("zigbang");
  const auto format =
      input_format::InputFormat::Compile("zigbang-lines", OfKind(set, "InputFormat")["zigbang-lines"]->input_format());
  ASSERT_TRUE(format.ok()) << format.status();
  input_format::LineParser parser(*format);
  const std::map<std::string, std::vector<std::string>> names = {{"서울특별시", {"서울", "서울시"}},
                                                                 {"부산광역시", {"부산", "부산시"}},
                                                                 {"대구광역시", {"대구", "대구시"}},
                                                                 {"인천광역시", {"인천", "인천시"}},
                                                                 {"광주광역시", {"광주"}},
                                                                 {"대전광역시", {"대전", "대전시"}},
                                                                 {"울산광역시", {"울산", "울산시"}},
                                                                 {"세종특별자치시", {"세종", "세종시"}},
                                                                 {"경기도", {"경기"}},
                                                                 {"강원특별자치도", {"강원", "강원도"}},
                                                                 {"충청북도", {"충북"}},
                                                                 {"충청남도", {"충남"}},
                                                                 {"전북특별자치도", {"전북", "전라북도"}},
                                                                 {"전라남도", {"전남"}},
                                                                 {"경상북도", {"경북"}},
                                                                 {"경상남도", {"경남"}},
                                                                 {"제주특별자치도", {"제주", "제주도"}}};
  EXPECT_EQ(names.size(), 17u);
  for (const auto& [full, shorter] : names) {
    std::vector<std::string> all = shorter;
    all.push_back(full);
    for (const std::string& name : all) {
      input_format::EventBuffer events;
      std::vector<input_format::LineRejection> rejections;
      parser.Parse(absl::StrCat("1668004200123|u1|s1|view_map|a|203.0.113.7|h|1|x|{\"local1\":\"", name, "\"}"),
                   {.line_id = "id-1"}, &events, &rejections);
      ASSERT_EQ(events.size(), 1u) << name;
      event::EventView view;
      ASSERT_EQ(event::ParseEvent(events.event(0), event::Limits(), &view), event::ParseError::kOk);
      EXPECT_NE(view.data.find(full), absl::string_view::npos) << name;
    }
  }
}

TEST(Weblog, HoldsItsMetrics) {
  const ResourceSet set = LoadPack("weblog");
  EXPECT_THAT(NamesOf(OfKind(set, "EventType")), ElementsAre("HttpRequest"));
  EXPECT_THAT(NamesOf(OfKind(set, "Metric")), ElementsAre("requests", "top-paths", "visitors", "visits"));
}

TEST(Weblog, TakesARealLogButForItsOneBrokenLine) {
  const auto path = testing::SharedDataPath("weblog/apache_logs");
  if (!path.has_value()) GTEST_SKIP() << "the example data is not on this machine";
  const ResourceSet set = LoadPack("weblog");
  const Schemas schemas(set);
  const auto format = input_format::InputFormat::Compile(
      "apache-combined", catalog::FindBuiltin("InputFormat", "apache-combined")->input_format());
  ASSERT_TRUE(format.ok()) << format.status();
  input_format::LineParser parser(*format);
  const std::string text = testing::ReadFile(*path);
  input_format::RecordSplitter splitter = (*format)->MakeSplitter();
  input_format::EventBuffer events;
  std::vector<input_format::LineRejection> rejections;
  std::set<std::string> subjects;
  absl::string_view rest = text;
  input_format::RecordSplitter::Record record;
  int lines = 0;
  while (splitter.Next(rest, true, &record)) {
    parser.Parse(record.text, {.line_id = absl::StrCat("line-", ++lines)}, &events, &rejections);
    rest.remove_prefix(record.size);
  }
  EXPECT_EQ(lines, 10'000);
  EXPECT_EQ(events.size(), 9'999u);
  EXPECT_EQ(rejections.size(), 1u);
  for (size_t i = 0; i < events.size(); ++i) {
    ASSERT_EQ(schemas.Check(events.event(i)), "") << i;
    event::EventView view;
    event::ParseEvent(events.event(i), event::Limits(), &view);
    subjects.insert(std::string(view.subject));
  }
  EXPECT_GT(subjects.size(), 1'753u) << "there are more visitors than addresses";
}

}  // namespace
}  // namespace naru
