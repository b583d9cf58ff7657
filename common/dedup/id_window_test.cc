#include "common/dedup/id_window.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>
#include <random>
#include <thread>

#include "common/testing/testing.h"
#include "gtest/gtest.h"

namespace naru::dedup {
namespace {

constexpr uint32_t kDay = 86'400;

class IdWindowTest : public ::testing::Test {
 protected:
  void Open(int slot_bits = 10) {
    window_.reset();
    IdWindowOptions options;
    options.directory = dir_.File("ids");
    options.slot_bits = slot_bits;
    options.clock = &clock_;
    options.note = [this] { return note_; };
    options.sealed = [this](uint64_t sequence) { sealed_ = sequence; };
    auto window = IdWindow::Open(options, &notes_);
    ASSERT_TRUE(window.ok()) << window.status();
    window_ = *std::move(window);
  }

  IdHash Id(int n) { return window_->hasher().Hash("test", std::to_string(n)); }
  std::vector<Candidate> Ids(std::vector<int> numbers, uint32_t window_s = kDay) {
    std::vector<Candidate> candidates;
    for (int n : numbers) candidates.push_back({Id(n), window_s});
    return candidates;
  }
  // The answers as text: n = new, d = duplicate.
  std::string Check(const std::vector<Candidate>& candidates, CheckedBatch* checked, uint32_t time_s = 1'000'000) {
    std::vector<Answer> answers(candidates.size());
    auto result = window_->Check(candidates, time_s, absl::MakeSpan(answers));
    if (absl::IsResourceExhausted(result.status())) {
      // Tables of a few hundred ids fill faster than a file can be synced.
      window_->WaitForBackgroundWork();
      result = window_->Check(candidates, time_s, absl::MakeSpan(answers));
    }
    EXPECT_TRUE(result.ok()) << result.status();
    *checked = *std::move(result);
    std::string text;
    for (Answer answer : answers) text += answer == Answer::kNew ? 'n' : 'd';
    return text;
  }
  std::string CheckAndCommit(const std::vector<Candidate>& candidates, uint32_t time_s = 1'000'000) {
    CheckedBatch checked;
    const std::string answers = Check(candidates, &checked, time_s);
    window_->Commit(checked.batch);
    return answers;
  }

  testing::TempDir dir_;
  FakeClock clock_{int64_t{1'000'000} * 1'000'000};
  std::string note_;
  std::atomic<uint64_t> sealed_{0};
  std::vector<std::string> notes_;
  std::unique_ptr<IdWindow> window_;
};

TEST_F(IdWindowTest, KnowsDuplicatesWithinABatchAndBetweenBatches) {
  Open();
  EXPECT_EQ(CheckAndCommit(Ids({1, 2, 1})), "nnd");
  EXPECT_EQ(CheckAndCommit(Ids({2, 3})), "dn");
  EXPECT_EQ(CheckAndCommit({}), "");
}

TEST_F(IdWindowTest, ForgetsAfterTheWindowOfEachId) {
  Open();
  CheckAndCommit(Ids({1, 2}), 1'000'000);
  EXPECT_EQ(CheckAndCommit(Ids({1}, 60), 1'000'059), "d");
  EXPECT_EQ(CheckAndCommit(Ids({1}, 60), 1'000'060), "n");
  EXPECT_EQ(CheckAndCommit(Ids({2}, kDay), 1'000'060), "d");
  // Seen again at 1,000,060, so the window of 1 began anew.
  EXPECT_EQ(CheckAndCommit(Ids({1}, 60), 1'000'119), "d");
  // A clock set back makes no duplicate new.
  EXPECT_EQ(CheckAndCommit(Ids({1}, 60), 900'000), "d");
}

TEST_F(IdWindowTest, RollsBackOnlyTheNewIdsOfAFailedBatch) {
  Open();
  EXPECT_EQ(CheckAndCommit(Ids({1})), "n");
  CheckedBatch failed;
  EXPECT_EQ(Check(Ids({1, 2, 3}), &failed), "dnn");
  window_->Rollback(failed.batch);
  EXPECT_EQ(CheckAndCommit(Ids({1, 2, 3})), "dnn");
}

TEST_F(IdWindowTest, SaysWhichBatchesADuplicateWaitsFor) {
  Open();
  CheckedBatch first, second, third;
  Check(Ids({1, 2}), &first);
  Check(Ids({3}), &second);
  EXPECT_EQ(Check(Ids({1, 3, 4, 1}), &third), "ddnd");
  ASSERT_EQ(third.waits_for.size(), 2);
  std::vector<bool> done;
  IdWindow::WhenResolved(third.waits_for, [&](bool durable) { done.push_back(durable); });
  EXPECT_TRUE(done.empty());
  window_->Commit(second.batch);
  EXPECT_TRUE(done.empty());
  window_->Rollback(first.batch);
  EXPECT_EQ(done, std::vector<bool>{false});
  window_->Commit(third.batch);
  // 1 and 2 were released, 3 and 4 are stored.
  EXPECT_EQ(CheckAndCommit(Ids({1, 2, 3, 4})), "nndd");

  CheckedBatch again;
  Check(Ids({1}), &again);
  EXPECT_TRUE(again.waits_for.empty());
  IdWindow::WhenResolved(again.waits_for, [&](bool durable) { done.push_back(durable); });
  EXPECT_TRUE(done.back());
  window_->Commit(again.batch);
}

TEST_F(IdWindowTest, AgreesWithAMapOverManyGenerations) {
  Open(9);  // seals every 384 ids
  std::mt19937_64 rng(3);
  std::map<int, uint32_t> model;
  uint32_t now_s = 1'000'000;
  for (int round = 0; round < 3000; ++round) {
    now_s += rng() % 40;
    clock_.SetNowMicros(int64_t{now_s} * 1'000'000);
    std::vector<int> numbers(1 + rng() % 40);
    for (int& n : numbers) n = static_cast<int>(rng() % 60'000);
    const uint32_t window_s = rng() % 2 ? 20'000 : 5'000;
    std::string expected;
    std::map<int, uint32_t> added;
    for (int n : numbers) {
      const auto it = model.find(n);
      const bool duplicate = added.contains(n) || (it != model.end() && now_s - it->second < window_s);
      expected += duplicate ? 'd' : 'n';
      if (!duplicate) added[n] = now_s;
    }
    CheckedBatch checked;
    ASSERT_EQ(Check(Ids(numbers, window_s), &checked, now_s), expected) << round;
    if (rng() % 4 == 0) {
      // A failed batch forgets an expired id for good: what it overwrote was too old to matter for this window only.
      for (const auto& [n, time_s] : added) model.erase(n);
      window_->Rollback(checked.batch);
      for (const auto& [n, time_s] : added) CheckAndCommit(Ids({n}, 1), now_s), model[n] = now_s;
    } else {
      for (const auto& [n, time_s] : added) model[n] = time_s;
      window_->Commit(checked.batch);
    }
    if (round % 500 == 499) {
      window_->WaitForBackgroundWork();
      EXPECT_LE(window_->stats().runs, 20);
    }
  }
  EXPECT_GT(sealed_, 100);
}

TEST_F(IdWindowTest, GoesOnFromItsFilesAndTheTailThatIsReplayed) {
  Open(9);
  std::vector<std::vector<IdHash>> batches(1);
  for (int i = 0; i < 200; ++i) {
    std::vector<int> numbers;
    for (int n = 0; n < 10; ++n) numbers.push_back(i * 10 + n);
    note_ = "after " + std::to_string(i);
    CheckAndCommit(Ids(numbers));
    batches.emplace_back();
    for (int n : numbers) batches.back().push_back(Id(n));
  }
  window_->WaitForBackgroundWork();
  const uint64_t sealed = sealed_;
  ASSERT_GT(sealed, 150);
  ASSERT_LT(sealed, 200);
  Open(9);
  EXPECT_EQ(window_->sealed_sequence(), sealed);
  EXPECT_EQ(window_->sealed_note(), "after " + std::to_string(sealed));  // asked before the next batch went in
  for (uint64_t sequence = sealed + 1; sequence <= 200; ++sequence)
    window_->Restore(sequence, batches[sequence], 1'000'000);
  std::vector<int> all;
  for (int n = 0; n < 2001; ++n) all.push_back(n);
  for (int start = 0; start < 2000; start += 100) {
    EXPECT_EQ(CheckAndCommit(Ids({all.begin() + start, all.begin() + start + 100})), std::string(100, 'd'));
  }
  EXPECT_EQ(CheckAndCommit(Ids({2000})), "n");
}

TEST_F(IdWindowTest, SetsDamagedFilesAsideAndStarts) {
  Open(9);
  for (int i = 0; i < 400; ++i) CheckAndCommit(Ids({i, i + 100'000}));
  window_->WaitForBackgroundWork();
  window_.reset();
  int files = 0;
  for (const auto& file : std::filesystem::directory_iterator(dir_.File("ids"))) {
    std::filesystem::resize_file(file.path(), std::filesystem::file_size(file.path()) - 1);
    ++files;
  }
  ASSERT_GT(files, 0);
  Open(9);
  EXPECT_EQ(notes_.size(), files);
  EXPECT_EQ(window_->sealed_sequence(), 0);
  EXPECT_EQ(CheckAndCommit(Ids({1})), "n");
}

TEST_F(IdWindowTest, RemembersIdsOfOthersWithoutTakingThemFromABatchInFlight) {
  Open();
  CheckedBatch mine;
  Check(Ids({1}), &mine);
  const std::vector<IdHash> others = {Id(1), Id(2)};
  window_->Remember(others, 1'000'000);
  EXPECT_EQ(CheckAndCommit(Ids({2})), "d");
  window_->Rollback(mine.batch);
  EXPECT_EQ(CheckAndCommit(Ids({1})), "n");
}

TEST_F(IdWindowTest, RefusesIdsRatherThanGrowWhenTheDiskTakesNothing) {
  Open(9);
  // A folder that is not there any more: every seal fails.
  std::filesystem::remove_all(dir_.File("ids"));
  bool refused = false;
  for (int i = 0; i < 400 && !refused; ++i) {
    std::vector<int> numbers;
    for (int n = 0; n < 10; ++n) numbers.push_back(i * 10 + n);
    std::vector<Answer> answers(10);
    const auto checked = window_->Check(Ids(numbers), 1'000'000, absl::MakeSpan(answers));
    refused = !checked.ok();
    if (refused) {
      EXPECT_EQ(checked.status().code(), absl::StatusCode::kResourceExhausted);
    } else {
      window_->Commit(checked->batch);
    }
  }
  EXPECT_TRUE(refused);
  // It recovers by itself.
  std::filesystem::create_directories(dir_.File("ids"));
  EXPECT_TRUE(testing::WaitUntil([&] { return sealed_ > 0; }));
  window_->WaitForBackgroundWork();
  EXPECT_EQ(CheckAndCommit(Ids({1, 999'999})), "dn");
}

TEST_F(IdWindowTest, IsExactWithManyThreads) {
  Open(10);
  // Each id is offered by every thread; exactly one may have it.
  constexpr int kThreads = 4, kIds = 20'000;
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 rng(t);
      for (int i = 0; i < kIds; i += 50) {
        std::vector<Candidate> candidates;
        for (int n = 0; n < 50; ++n) candidates.push_back({Id(i + n), kDay});
        std::vector<Answer> answers(50);
        const auto checked = window_->Check(candidates, 1'000'000, absl::MakeSpan(answers));
        if (!checked.ok() || rng() % 8 == 0) {
          if (checked.ok()) window_->Rollback(checked->batch);
          i -= 50;
          continue;
        }
        taken += static_cast<int>(std::count(answers.begin(), answers.end(), Answer::kNew));
        window_->Commit(checked->batch);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(taken, kIds);
}

TEST_F(IdWindowTest, HoldsTwentyMillionIdsWithin64MiB) {
  Open(19);
  constexpr int kBatch = 5'000;
  int64_t most = 0;
  std::vector<Candidate> candidates(kBatch);
  std::vector<Answer> answers(kBatch);
  std::mt19937_64 rng(1);
  for (int64_t n = 0; n < 20'000'000; n += kBatch) {
    for (Candidate& candidate : candidates) candidate = {{rng(), static_cast<uint32_t>(rng())}, kDay};
    const auto checked = window_->Check(candidates, 1'000'000, absl::MakeSpan(answers));
    ASSERT_TRUE(checked.ok()) << checked.status();
    window_->Commit(checked->batch);
    if (n % 1'000'000 == 0) {
      window_->WaitForBackgroundWork();  // a day of 20 million ids leaves far more time than this test
      most = std::max(most, window_->stats().memory_bytes);
    }
  }
  window_->WaitForBackgroundWork();
  most = std::max(most, window_->stats().memory_bytes);
  EXPECT_EQ(window_->stats().ids, 20'000'000);
  EXPECT_LT(most, 64 << 20);
  // The filters, once more read from disk.
  Open(19);
  EXPECT_LT(window_->stats().memory_bytes, 64 << 20);
  rng.seed(1);
  for (int64_t n = 0; n < 19'000'000; n += kBatch) {
    for (Candidate& candidate : candidates) candidate = {{rng(), static_cast<uint32_t>(rng())}, kDay};
    if (n % 1'000'000 != 0) continue;
    const auto checked = window_->Check(candidates, 1'000'000, absl::MakeSpan(answers));
    ASSERT_TRUE(checked.ok());
    ASSERT_EQ(std::count(answers.begin(), answers.end(), Answer::kDuplicate), kBatch);
    window_->Commit(checked->batch);
  }
}

}  // namespace
}  // namespace naru::dedup
