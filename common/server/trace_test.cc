#include "common/server/trace.h"

#include <gtest/gtest.h>

namespace naru {
namespace {

constexpr char kExample[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(TraceTest, ReadsAndWritesTheExampleOfTheStandard) {
  const auto trace = TraceContext::Parse(kExample);
  ASSERT_TRUE(trace.has_value());
  EXPECT_EQ(trace->TraceId(), "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(trace->flags, 1);
  EXPECT_EQ(trace->ToString(), kExample);
}

TEST(TraceTest, AcceptsLaterVersionsAndRefusesNonsense) {
  const std::string example = kExample;
  EXPECT_TRUE(TraceContext::Parse("cc" + example.substr(2)));
  EXPECT_TRUE(TraceContext::Parse("cc" + example.substr(2) + "-more"));
  for (const std::string& text :
       {std::string(), std::string("00"), example.substr(1), example + "0", example + "-x", "ff" + example.substr(2),
        "cc" + example.substr(2) + "more", std::string("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
        std::string("00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
        std::string("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"),
        std::string("00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")}) {
    EXPECT_FALSE(TraceContext::Parse(text)) << text;
  }
}

TEST(TraceTest, AChildStaysInItsTrace) {
  SeededRandom random(1);
  const TraceContext trace = TraceContext::Generate(random);
  const TraceContext child = trace.Child(random);
  EXPECT_EQ(child.TraceId(), trace.TraceId());
  EXPECT_NE(child.span_id, trace.span_id);
  EXPECT_TRUE(TraceContext::Parse(child.ToString()));
  EXPECT_EQ(TraceContext().ToString(), "");
}

}  // namespace
}  // namespace naru
