#include "common/rocks/data_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"
#include "common/testing/testing.h"

namespace naru::rocks {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(DataDirectory, IsMadeWithItsFormat) {
  testing::TempDir dir;
  const std::string path = dir.File("a/b");
  auto directory = DataDirectory::Open(path, {"event_log", 3});
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_TRUE((*directory)->format_was_missing());
  EXPECT_EQ(*ReadWholeFile(path + "/FORMAT"), "naru event_log 3\n");
}

TEST(DataDirectory, TheSecondOpenerIsToldWhoHasIt) {
  testing::TempDir dir;
  auto first = DataDirectory::Open(dir.path(), {"event_log", 1});
  ASSERT_TRUE(first.ok());
  const absl::Status second = DataDirectory::Open(dir.path(), {"event_log", 1}).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(GetErrorDetails(second).reason, "DIRECTORY_IN_USE");
  EXPECT_THAT(std::string(second.message()), HasSubstr(absl::StrCat("process ", ::getpid())));
  first->reset();
  EXPECT_TRUE(DataDirectory::Open(dir.path(), {"event_log", 1}).ok());
}

TEST(DataDirectory, NewerDataIsRefusedNamingBothVersions) {
  testing::TempDir dir;
  dir.Write("FORMAT", "naru event_log 9\n");
  const absl::Status status = DataDirectory::Open(dir.path(), {"event_log", 2}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetErrorDetails(status).reason, "NEWER_FORMAT");
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("version 9"), HasSubstr("version 2")));
  EXPECT_EQ(*ReadWholeFile(dir.File("FORMAT")), "naru event_log 9\n") << "left as it was";
}

TEST(DataDirectory, OlderDataIsOpenedAndItsVersionTold) {
  testing::TempDir dir;
  dir.Write("FORMAT", "naru event_log 1\n");
  auto directory = DataDirectory::Open(dir.path(), {"event_log", 2});
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_EQ((*directory)->version(), 1);
}

TEST(DataDirectory, SomethingElsesDirectoryIsRefused) {
  testing::TempDir dir;
  dir.Write("FORMAT", "naru image_store 1\n");
  const absl::Status status = DataDirectory::Open(dir.path(), {"event_log", 1}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("image_store"));
}

TEST(DataDirectory, AnUnreadableFormatIsDamageAndAnEmptyOneIsNone) {
  testing::TempDir dir;
  dir.Write("FORMAT", "rubbish");
  EXPECT_EQ(DataDirectory::Open(dir.path(), {"event_log", 1}).status().code(), absl::StatusCode::kDataLoss);
  dir.Write("FORMAT", "");
  EXPECT_TRUE(DataDirectory::Open(dir.path(), {"event_log", 1}).ok());
}

TEST(DataDirectory, APathThroughAFileIsAnError) {
  testing::TempDir dir;
  dir.Write("file", "x");
  EXPECT_FALSE(DataDirectory::Open(dir.File("file/log"), {"event_log", 1}).ok());
}

TEST(WriteFileAtomically, ReplacesTheWholeFile) {
  testing::TempDir dir;
  const std::string path = dir.Write("f", "old and longer");
  ASSERT_TRUE(WriteFileAtomically(path, "new").ok());
  EXPECT_EQ(*ReadWholeFile(path), "new");
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
  EXPECT_FALSE(WriteFileAtomically(dir.File("no/such/f"), "x").ok());
  EXPECT_EQ(ReadWholeFile(dir.File("none")).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace naru::rocks
