#include "common/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace naru {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(MetricsTest, CountersGaugesAndHistogramsAreScraped) {
  MetricRegistry metrics;
  Counter counter = metrics.AddCounter("naru_test_total", "Tests.", {{"kind", "a"}});
  counter.Increment();
  counter.Increment(2);
  counter.Increment(-5);
  metrics.AddCounter("naru_test_total", "Tests.", {{"kind", "a"}}).Increment();
  metrics.AddCounter("naru_test_total", "Tests.", {{"kind", "b"}});
  Gauge gauge = metrics.AddGauge("naru_test_bytes", "Bytes.");
  gauge.Set(10);
  gauge.Add(-3);
  Histogram histogram = metrics.AddHistogram("naru_test_seconds", "Time.", {0.1, 1});
  histogram.Observe(0.5);
  histogram.Observe(5);
  const std::string text = metrics.Scrape();
  EXPECT_THAT(text, HasSubstr("# HELP naru_test_total Tests.\n# TYPE naru_test_total counter\n"));
  EXPECT_THAT(text, HasSubstr("naru_test_total{kind=\"a\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("naru_test_total{kind=\"b\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("naru_test_bytes 7\n"));
  EXPECT_THAT(text, HasSubstr("naru_test_seconds_bucket{le=\"1\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("naru_test_seconds_count 2\n"));
}

TEST(MetricsTest, ADefaultHandleDoesNothing) {
  Counter().Increment();
  Gauge().Set(1);
  Histogram().Observe(1);
  EXPECT_EQ(Counter().Value(), 0);
}

TEST(MetricsTest, CallbacksAreAskedWhileTheyLive) {
  MetricRegistry metrics;
  auto first = metrics.AddCallback(MetricRegistry::Kind::kGauge, "naru_lag_events", "Lag.", {{"partition", "0"}},
                                   [] { return 3.0; });
  {
    const auto second = metrics.AddCallback(MetricRegistry::Kind::kGauge, "naru_lag_events", "Lag.",
                                            {{"partition", "1"}}, [] { return 4.0; });
    const std::string text = metrics.Scrape();
    EXPECT_THAT(text, HasSubstr("naru_lag_events{partition=\"0\"} 3\nnaru_lag_events{partition=\"1\"} 4\n"));
  }
  EXPECT_THAT(metrics.Scrape(), Not(HasSubstr("partition=\"1\"")));
  first.Reset();
  EXPECT_THAT(metrics.Scrape(), Not(HasSubstr("partition=\"0\"")));
}

TEST(MetricsTest, ARegistrationMayOutliveItsRegistry) {
  MetricRegistry::Registration registration;
  {
    MetricRegistry metrics;
    registration = metrics.AddCallback(MetricRegistry::Kind::kCounter, "naru_x_total", "X.", {}, [] { return 1.0; });
  }
}

TEST(MetricsTest, TheProcessIsMeasured) {
  MetricRegistry metrics;
  metrics.AddProcessMetrics();
  const std::string text = metrics.Scrape();
  for (const char* name : {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds",
                           "process_max_fds", "process_threads", "process_start_time_seconds"}) {
    EXPECT_THAT(text, HasSubstr(std::string("\n") + name + " "));
    EXPECT_THAT(text, Not(HasSubstr(std::string("\n") + name + " 0\n")));
  }
}

TEST(MetricsTest, CountingFromManyThreadsLosesNothing) {
  MetricRegistry metrics;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&metrics] {
      Counter counter = metrics.AddCounter("naru_test_total", "Tests.");
      for (int i = 0; i < 10'000; ++i) counter.Increment();
    });
  }
  for (int i = 0; i < 20; ++i) metrics.Scrape();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(metrics.AddCounter("naru_test_total", "Tests.").Value(), 40'000);
}

TEST(MetricsDeathTest, BreakingTheRulesStopsTheProgram) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  MetricRegistry metrics;
  metrics.AddGauge("naru_x", "X.", {{"a", "1"}});
  EXPECT_DEATH(metrics.AddGauge("other_x", "X."), "names begin with naru_");
  EXPECT_DEATH(metrics.AddGauge("naru_X", "X."), "snake_case");
  EXPECT_DEATH(metrics.AddCounter("naru_y", "Y."), "_total");
  EXPECT_DEATH(metrics.AddGauge("naru_y", ""), "help");
  EXPECT_DEATH(metrics.AddGauge("naru_x", "X.", {{"b", "1"}}), "registered before");
}

}  // namespace
}  // namespace naru
