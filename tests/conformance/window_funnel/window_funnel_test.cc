// Runs ClickHouse's public windowFunnel cases against the aggregator's funnels.
#include <gtest/gtest.h>
#include <simdjson.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/aggregator/funnel_matcher.h"

namespace naru::aggregator {
namespace {

using simdjson::dom::element;

// The one case in which an event fills several steps, which a funnel of Naru never lets it do.
constexpr absl::string_view kMarked = "(Naru: 1)";

std::string Text(element json) { return simdjson::minify(json); }

uint32_t StepsOf(const std::string& event, element steps) {
  uint32_t mask = 0;
  int step = 0;
  for (const element satisfying : steps.get_array()) {
    for (const element one : satisfying.get_array()) {
      if (Text(one) == event) mask |= uint32_t{1} << step;
    }
    ++step;
  }
  return mask;
}

TEST(WindowFunnelTest, AnswersThePublicCasesOfClickHouse) {
  const char* root = std::getenv("NARU_SOURCE_DIR");
  ASSERT_NE(root, nullptr);
  simdjson::dom::parser parser;
  element cases;
  ASSERT_EQ(parser.load(absl::StrCat(root, "/tests/conformance/window_funnel/window_funnel.json")).get(cases),
            simdjson::SUCCESS);
  int run = 0;
  for (const element vector : cases.get_array()) {
    const std::string name{std::string_view{vector["name"]}};
    SCOPED_TRACE(name);
    FunnelModes modes;
    for (const element mode : vector["modes"].get_array()) {
      const std::string_view word = mode;
      modes.strict_order = modes.strict_order || word == "strict_order";
      modes.strict_deduplication = modes.strict_deduplication || word == "strict_deduplication";
      modes.strict_increase = modes.strict_increase || word == "strict_increase";
    }
    std::vector<FunnelEvent> events;
    for (const element event : vector["events"].get_array()) {
      events.push_back({int64_t(event["time"]), StepsOf(Text(event["event"]), vector["steps"])});
    }
    const int steps = static_cast<int>(vector["steps"].get_array().size());
    FunnelMatcher matcher(steps, int64_t(vector["window"]), modes);
    const bool marked = absl::StrContains(name, kMarked);
    EXPECT_EQ(matcher.Match(events).steps, marked ? 1 : int(int64_t(vector["expected"])));
    ++run;
  }
  EXPECT_EQ(run, 48);
}

}  // namespace
}  // namespace naru::aggregator
