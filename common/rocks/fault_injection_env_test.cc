#include "common/rocks/fault_injection_env.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "common/testing/testing.h"

namespace naru::rocks {
namespace {

class FaultInjectionEnvTest : public ::testing::Test {
 protected:
  std::unique_ptr<rocksdb::WritableFile> NewFile(const std::string& name) {
    std::unique_ptr<rocksdb::WritableFile> file;
    EXPECT_TRUE(env_.NewWritableFile(dir_.File(name), &file, rocksdb::EnvOptions()).ok());
    return file;
  }
  void SyncNames() {
    std::unique_ptr<rocksdb::Directory> directory;
    ASSERT_TRUE(env_.NewDirectory(dir_.path(), &directory).ok());
    ASSERT_TRUE(directory->Fsync().ok());
  }

  testing::TempDir dir_;
  FaultInjectionEnv env_;
  SeededRandom random_{1};
};

TEST_F(FaultInjectionEnvTest, SyncedBytesStayAndOthersMayGo) {
  bool lost_some = false, kept_some = false;
  for (int round = 0; round < 50; ++round) {
    auto file = NewFile("f");
    SyncNames();
    ASSERT_TRUE(file->Append("synced").ok());
    ASSERT_TRUE(file->Sync().ok());
    ASSERT_TRUE(file->Append("unsynced").ok());
    env_.CutPower();
    EXPECT_FALSE(file->Append("x").ok());
    EXPECT_FALSE(file->Sync().ok());
    file->Close().PermitUncheckedError();
    file.reset();
    env_.LoseUnsynced(&random_);
    const std::string left = testing::ReadFile(dir_.File("f"));
    EXPECT_EQ(left.substr(0, 6), "synced");
    lost_some |= left.size() < 14;
    kept_some |= left.size() > 6;
  }
  EXPECT_TRUE(lost_some);
  EXPECT_TRUE(kept_some);
}

TEST_F(FaultInjectionEnvTest, AFileOfAnUnsyncedDirectoryMayBeGone) {
  int gone = 0;
  for (int round = 0; round < 50; ++round) {
    auto file = NewFile("f");
    ASSERT_TRUE(file->Append("x").ok());
    ASSERT_TRUE(file->Sync().ok());
    file.reset();
    env_.CutPower();
    env_.LoseUnsynced(&random_);
    gone += std::filesystem::exists(dir_.File("f")) ? 0 : 1;
  }
  EXPECT_GT(gone, 5);
  EXPECT_LT(gone, 45);
}

TEST_F(FaultInjectionEnvTest, AFullDiskRefusesWrites) {
  auto file = NewFile("f");
  env_.SetDiskFull(true);
  EXPECT_TRUE(file->Append("x").IsNoSpace());
  uint64_t free = 1;
  EXPECT_TRUE(env_.GetFreeSpace(dir_.path(), &free).ok());
  EXPECT_EQ(free, 0u);
  env_.SetDiskFull(false);
  EXPECT_TRUE(file->Append("x").ok());
  env_.SetFreeBytes(77);
  EXPECT_TRUE(env_.GetFreeSpace(dir_.path(), &free).ok());
  EXPECT_EQ(free, 77u);
}

}  // namespace
}  // namespace naru::rocks
