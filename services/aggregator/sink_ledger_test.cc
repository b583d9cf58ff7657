#include "services/aggregator/sink_ledger.h"

#include <thread>

#include "common/clock/clock.h"
#include "common/event_log/rocks_event_log.h"
#include "common/status/status.h"
#include "common/testing/testing.h"
#include "gtest/gtest.h"
#include "services/aggregator/sink_writer.h"

namespace naru::aggregator {
namespace {

class SinkLedgerTest : public ::testing::Test {
 protected:
  /// A ledger with the thread that polls it.
  class Member {
   public:
    Member(event_log::EventLog& log, const std::string& instance)
        : ledger(log, *Clock::System(), {.instance = instance}) {
      const absl::Status opened = ledger.Open();
      EXPECT_TRUE(opened.ok()) << opened;
      thread_ = std::thread([this] {
        while (!stop_) ledger.Poll(std::chrono::milliseconds(2)).IgnoreError();
      });
    }
    ~Member() {
      stop_ = true;
      thread_.join();
      ledger.Stop();
    }
    int64_t WaitForClaim(const SinkId& id) {
      naru::testing::WaitUntil([&] { return ledger.Claim(id) != 0; });
      return ledger.Claim(id);
    }
    SinkLedger ledger;

   private:
    std::atomic<bool> stop_{false};
    std::thread thread_;
  };

  void SetUp() override { Open(); }
  void Open() {
    log_.reset();
    event_log::RocksEventLogOptions options;
    options.path = dir_.File("log");
    auto log = event_log::RocksEventLog::Open(options);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }
  static v1::SinkState StateOf(int64_t epoch) {
    v1::SinkState state;
    state.set_epoch(epoch);
    state.add_done_offsets(epoch * 10);
    return state;
  }

  naru::testing::TempDir dir_;
  std::unique_ptr<event_log::EventLog> log_;
  const SinkId id_{"out", "clicks"};
};

TEST_F(SinkLedgerTest, StatesSurviveAndAreRemoved) {
  {
    Member member(*log_, "a");
    const int64_t claim = member.WaitForClaim(id_);
    ASSERT_NE(claim, 0);
    EXPECT_FALSE(member.ledger.State(id_).has_value());
    ASSERT_TRUE(member.ledger.Commit(id_, claim, StateOf(1), {}).ok());
    ASSERT_TRUE(member.ledger.Commit(id_, claim, StateOf(2), {}).ok());
    EXPECT_EQ(member.ledger.State(id_)->epoch(), 2) << "known at once";
    ASSERT_TRUE(member.ledger.Commit({"out", "gone"}, claim, StateOf(3), {}).ok());
    ASSERT_TRUE(member.ledger.Commit({"out", "gone"}, claim, std::nullopt, {}).ok());
  }
  Open();
  Member member(*log_, "a");
  member.WaitForClaim(id_);
  EXPECT_EQ(member.ledger.State(id_)->epoch(), 2);
  EXPECT_EQ(member.ledger.KnownStates(), std::vector<SinkId>{id_});
}

TEST_F(SinkLedgerTest, OneOwnsASinkAndTheNextKnowsAllThatItStored) {
  auto first = std::make_unique<Member>(*log_, "a");
  const int64_t claim = first->WaitForClaim(id_);
  Member second(*log_, "b");
  ASSERT_TRUE(first->ledger.Commit(id_, claim, StateOf(5), {}).ok());
  EXPECT_EQ(second.ledger.Claim(id_), 0);
  EXPECT_TRUE(IsSinkFenced(second.ledger.Commit(id_, 1, StateOf(6), {})));
  // It follows, so it can tell how far the other is.
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return second.ledger.State(id_).has_value(); }));
  EXPECT_EQ(second.ledger.State(id_)->epoch(), 5);
  first.reset();
  ASSERT_NE(second.WaitForClaim(id_), 0);
  EXPECT_EQ(second.ledger.State(id_)->epoch(), 5);
  EXPECT_TRUE(IsSinkFenced(second.ledger.Commit(id_, second.ledger.Claim(id_) + 1, StateOf(6), {})));
}

TEST_F(SinkLedgerTest, AppendsAreStoredWithTheStateOrNotAtAll) {
  Member member(*log_, "a");
  const int64_t claim = member.WaitForClaim(id_);
  const event_log::Record record{"k", "v", 1, false};
  event_log::AppendBatch batch;
  batch.topic = kSinksDeadLetterTopic;
  batch.records = absl::MakeConstSpan(&record, 1);
  EXPECT_TRUE(IsSinkFenced(member.ledger.Commit(id_, claim + 7, StateOf(1), {batch})));
  EXPECT_EQ(log_->DescribeTopic(kSinksDeadLetterTopic)->partitions[0].end_offset, 0);
  EXPECT_TRUE(member.ledger.Commit(id_, claim, StateOf(1), {batch}).ok());
  EXPECT_TRUE(member.ledger.Append(id_, claim, {batch}).ok());
  EXPECT_EQ(log_->DescribeTopic(kSinksDeadLetterTopic)->partitions[0].end_offset, 2);
}

TEST_F(SinkLedgerTest, PausesAndRequestsAreKnownToAllAndStay) {
  {
    Member a(*log_, "a"), b(*log_, "b");
    ASSERT_TRUE(a.ledger.SetPaused("out", true).ok());
    EXPECT_TRUE(a.ledger.Paused("out"));
    EXPECT_FALSE(a.ledger.Paused("other"));
    EXPECT_TRUE(naru::testing::WaitUntil([&] { return b.ledger.Paused("out"); }));
    ASSERT_TRUE(b.ledger.RequestResync("out").ok());
    const int64_t first = b.ledger.ResyncRequest("out");
    EXPECT_GT(first, 0);
    ASSERT_TRUE(b.ledger.RequestResync("out").ok());
    EXPECT_GT(b.ledger.ResyncRequest("out"), first) << "each is a request of its own";
  }
  Open();
  Member a(*log_, "a");
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return a.ledger.Paused("out") && a.ledger.ResyncRequest("out") > 0; }));
  ASSERT_TRUE(a.ledger.SetPaused("out", false).ok());
  EXPECT_FALSE(a.ledger.Paused("out"));
}

TEST_F(SinkLedgerTest, StopLetsThoseThatWaitGo) {
  SinkLedger ledger(*log_, *Clock::System(), {});
  ASSERT_TRUE(ledger.Open().ok());
  // Nobody polls, so this would wait for ever.
  std::thread waiting([&] { EXPECT_TRUE(absl::IsCancelled(ledger.Commit(id_, 1, StateOf(1), {}))); });
  ledger.Stop();
  waiting.join();
  EXPECT_TRUE(absl::IsCancelled(ledger.Commit(id_, 1, StateOf(1), {})));
}

}  // namespace
}  // namespace naru::aggregator
