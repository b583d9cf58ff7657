// The PostgreSQL writer against a real PostgreSQL.
#include "services/aggregator/sink_postgres_schema.h"
#include "services/aggregator/sink_set_conformance.h"
#include "services/aggregator/sink_writer_conformance.h"

namespace naru::aggregator::testing {
namespace {

INSTANTIATE_TEST_SUITE_P(Postgres, SinkWriterConformance,
                         ::testing::Values([](const Clock&) { return MakePostgresStore(); }));
INSTANTIATE_TEST_SUITE_P(Postgres, SinkSetConformance,
                         ::testing::Values([](event_log::EventLog&, const Clock&) { return MakePostgresStore(); }));

SinkLayout LayoutOf(const std::string& metric) {
  SinkLayout layout;
  layout.metric = metric;
  layout.retention_us = int64_t{7} * 86'400 * 1'000'000;
  layout.window_us = 60'000'000;
  return layout;
}

TEST(SinkTable, CutsTimeByDayOrMonth) {
  SinkLayout layout = LayoutOf("hot-activity");
  const SinkTable by_day(layout, "");
  const auto day = by_day.PartitionOf(Time("2024-02-29T23:59:59Z"));
  EXPECT_EQ(day.name, "hot_activity_p20240229");
  EXPECT_EQ(day.from, "2024-02-29T00:00:00Z");
  EXPECT_EQ(day.to, "2024-03-01T00:00:00Z");
  layout.retention_us *= 52;
  const SinkTable by_month(layout, "");
  const auto month = by_month.PartitionOf(Time("1969-12-31T23:59:59Z"));
  EXPECT_EQ(month.name, "hot_activity_p196912");
  EXPECT_EQ(month.from, "1969-12-01T00:00:00Z");
  EXPECT_EQ(month.to, "1970-01-01T00:00:00Z");
  EXPECT_EQ(by_month.PartitionOf(kNever).from, "MINVALUE");
  for (const char* time : {"2024-02-29T23:59:59Z", "1969-12-31T00:00:00Z", "0001-01-01T00:00:00Z"}) {
    for (const SinkTable* table : {&by_day, &by_month}) {
      int64_t end_us = 0;
      const auto partition = table->PartitionOf(Time(time));
      ASSERT_TRUE(table->PartitionEnd(partition.name, &end_us)) << partition.name;
      EXPECT_EQ(end_us, Time(partition.to));
    }
  }
  int64_t end_us = 0;
  for (const char* name : {"hot_activity", "hot_activity_p2024", "hot_activity_p20241301", "other_p20240229"}) {
    EXPECT_FALSE(by_day.PartitionEnd(name, &end_us)) << name;
  }
}

TEST(SinkTable, ColumnsHaveNamesOfTheirOwn) {
  SinkLayout layout = LayoutOf("m");
  const std::string longest(64, 'a');
  layout.dimensions = {"naru_epoch", longest, longest.substr(0, 63)};
  layout.measures = {"_naru_epoch", "Count"};
  layout.shapes = {{MeasureKind::kCount}, {MeasureKind::kSum}};
  std::set<std::string> names;
  const SinkTable table(layout, "s");
  for (const SinkColumn& column : table.columns()) {
    EXPECT_LE(column.name.size(), 63);
    EXPECT_TRUE(names.insert(column.name).second) << column.name;
  }
}

}  // namespace
}  // namespace naru::aggregator::testing
