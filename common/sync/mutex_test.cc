#include "common/sync/mutex.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace naru {
namespace {

TEST(MutexTest, OneThreadAtATimeIsInside) {
  Mutex mu;
  int count = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) {
        MutexLock lock(&mu);
        ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, 40'000);
}

TEST(MutexTest, TryLockDoesNotWait) {
  Mutex mu;
  MutexLock lock(&mu);
  bool taken = true;
  std::thread other([&] {
    taken = mu.TryLock();
    if (taken) mu.Unlock();
  });
  other.join();
  EXPECT_FALSE(taken);
}

TEST(CondVarTest, HandsAValueFromThreadToThread) {
  Mutex mu;
  CondVar changed;
  int turn = 0;
  std::thread other([&] {
    for (int i = 0; i < 1000; ++i) {
      MutexLock lock(&mu);
      while (turn % 2 == 0) changed.Wait(&mu);
      ++turn;
      changed.Signal();
    }
  });
  for (int i = 0; i < 1000; ++i) {
    MutexLock lock(&mu);
    while (turn % 2 == 1) changed.Wait(&mu);
    ++turn;
    changed.SignalAll();
  }
  other.join();
  EXPECT_EQ(turn, 2000);
}

TEST(CondVarTest, WaitForGivesUp) {
  Mutex mu;
  CondVar never;
  MutexLock lock(&mu);
  // A wait may end early by itself, so only "it ends, and says it timed out at last" can be asked for.
  while (never.WaitFor(&mu, std::chrono::milliseconds(1))) {
  }
}

}  // namespace
}  // namespace naru
