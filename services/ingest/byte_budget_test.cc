#include "services/ingest/byte_budget.h"

#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace naru::ingest {
namespace {

TEST(ByteBudget, RefusesWhatDoesNotFitAndLetsWaitersInInOrder) {
  ByteBudget budget(100);
  EXPECT_TRUE(budget.TryTake(60));
  EXPECT_FALSE(budget.TryTake(50));
  std::string order;
  budget.Take(50, [&] { order += "a"; });
  budget.Take(10, [&] { order += "b"; });
  EXPECT_EQ(order, "");
  // Somebody is waiting: nobody overtakes, however little it wants.
  EXPECT_FALSE(budget.TryTake(1));
  budget.GiveBack(60);
  EXPECT_EQ(order, "ab");
  EXPECT_EQ(budget.taken(), 60);
}

TEST(ByteBudget, LetsWhatIsLargerThanAllOfItThroughAlone) {
  ByteBudget budget(100);
  EXPECT_TRUE(budget.TryTake(500));
  EXPECT_FALSE(budget.TryTake(1));
  budget.GiveBack(500);
  EXPECT_TRUE(budget.TryTake(1));
  bool taken = false;
  budget.Take(500, [&] { taken = true; });
  EXPECT_FALSE(taken);
  budget.GiveBack(1);
  EXPECT_TRUE(taken);
}

TEST(ByteBudget, HoldsItsLimitWithManyThreads) {
  ByteBudget budget(1000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) {
        budget.TakeAndWait(100 + t * 100);
        ASSERT_LE(budget.taken(), 1000);
        budget.GiveBack(100 + t * 100);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(budget.taken(), 0);
}

}  // namespace
}  // namespace naru::ingest
