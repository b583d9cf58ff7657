// The positions by which others remember what they have read of the view.
#include "services/aggregator/serving_view.h"

#include <gtest/gtest.h>

#include "common/event_log/rocks_event_log.h"
#include "common/testing/testing.h"

namespace naru::aggregator {
namespace {

using ::naru::testing::WaitUntil;

class ServingViewTest : public ::testing::Test {
 protected:
  void SetUp() override {
    event_log::RocksEventLogOptions options;
    options.path = dir_.File("log");
    auto log = event_log::RocksEventLog::Open(options);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
    event_log::TopicConfig topic;
    topic.name = event_log::kAggregatesTopic;
    topic.partitions = 1;
    topic.compacted = true;
    ASSERT_TRUE(log_->CreateTopic(topic).ok());
    auto producer = log_->OpenProducer({});
    ASSERT_TRUE(producer.ok()) << producer.status();
    producer_ = *std::move(producer);
    Start();
  }
  void Start() {
    view_.reset();
    view_ = std::make_unique<ServingView>(*log_, *log_->local_store(), *Clock::System(), ServingViewOptions());
    ASSERT_TRUE(view_->Start(1).ok());
  }

  /// Appends records of the metric `m` and waits until the view has them. Absent values remove.
  void Append(const std::vector<std::pair<RecordKind, std::optional<std::string>>>& wanted) {
    std::vector<std::string> keys;
    for (const auto& [kind, value] : wanted) {
      RecordKey key;
      key.kind = kind;
      key.metric = "m";
      key.version = 1;
      if (kind == RecordKind::kRow) key.group = "g";
      keys.push_back(EncodeKey(key));
    }
    std::vector<event_log::Record> records;
    for (size_t i = 0; i < wanted.size(); ++i) {
      const std::optional<std::string>& value = wanted[i].second;
      records.push_back(
          {keys[i], value.has_value() ? absl::string_view(*value) : absl::string_view(), 1, !value.has_value()});
    }
    event_log::AppendBatch batch;
    batch.topic = event_log::kAggregatesTopic;
    batch.partition = 0;
    batch.headers.schema = kAggregateSchema;
    batch.records = records;
    ASSERT_TRUE(producer_->Append({batch}).ok());
    end_ += static_cast<int64_t>(records.size());
    ASSERT_TRUE(WaitUntil([&] { return view_->AppliedOffset(0) == end_; }));
  }
  std::vector<int64_t> Committed() const { return view_->CommittedOffsets({"m", 1}); }

  naru::testing::TempDir dir_;
  std::unique_ptr<event_log::EventLog> log_;
  std::unique_ptr<event_log::Producer> producer_;
  std::unique_ptr<ServingView> view_;
  int64_t end_ = 0;
};

TEST_F(ServingViewTest, ACommitThatIsThereInPartIsNotTakenForRead) {
  const std::string pane = EncodePane({}), progress = EncodeProgress({});
  Append({{RecordKind::kPane, pane}, {RecordKind::kRow, "r"}, {RecordKind::kProgress, progress}});
  EXPECT_EQ(Committed(), std::vector<int64_t>{3});
  Append({{RecordKind::kPane, pane}});
  EXPECT_EQ(Committed(), std::vector<int64_t>{3}) << "who remembered 4 would never look at the pane's rows again";
  EXPECT_EQ(view_->SeenOffsets(), std::vector<int64_t>{4});
  Start();
  EXPECT_EQ(Committed(), std::vector<int64_t>{3}) << "nor after a restart in between";
  EXPECT_EQ(view_->SeenOffsets(), std::vector<int64_t>{4});
  Append({{RecordKind::kRow, "r"}, {RecordKind::kProgress, progress}});
  EXPECT_EQ(Committed(), std::vector<int64_t>{6});
  EXPECT_EQ(view_->LastCommits({"m", 1}), std::vector<int64_t>{6});
  Start();
  EXPECT_EQ(Committed(), std::vector<int64_t>{6});
  Append({{RecordKind::kEntity, EncodeEntity({})}});
  EXPECT_EQ(Committed(), std::vector<int64_t>{6});
  Append({{RecordKind::kEntityIndex, "i"}, {RecordKind::kProgress, progress}});
  EXPECT_EQ(Committed(), std::vector<int64_t>{9});
}

TEST_F(ServingViewTest, RemovalsAndOtherMetricsMovePositionsOn) {
  Append({{RecordKind::kPane, EncodePane({})}, {RecordKind::kProgress, EncodeProgress({})}});
  Append({{RecordKind::kPane, std::nullopt}});
  EXPECT_EQ(Committed(), std::vector<int64_t>{3});
  EXPECT_EQ(view_->LastCommits({"m", 1}), std::vector<int64_t>{2});
  EXPECT_EQ(view_->CommittedOffsets({"other", 1}), std::vector<int64_t>{3});
}

}  // namespace
}  // namespace naru::aggregator
