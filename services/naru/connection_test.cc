// Contexts, connections, times, files, packs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <map>

#include "common/clock/rfc3339.h"
#include "common/testing/testing.h"
#include "services/naru/command.h"
#include "services/naru/connection.h"
#include "services/naru/contexts.h"
#include "services/naru/input_files.h"
#include "services/naru/packs.h"
#include "services/naru/time_text.h"

namespace naru::cli {
namespace {

using ::naru::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::function<std::string(const char*)> Environment(std::map<std::string, std::string> variables) {
  return [variables = std::move(variables)](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? std::string() : found->second;
  };
}

TEST(ContextsTest, AreKeptAndReadableByTheirOwnerOnly) {
  TempDir dir;
  const std::string path = dir.File("config/naru/contexts.yaml");
  ContextFile file;
  file.current = "prod";
  file.contexts["prod"] = {"naru.example.com:7700", "naru_abc_def", true, "/ca.pem", "", "", "naru"};
  file.contexts["odd: \"name\" #1"] = {"127.0.0.1:1", "", false, "", "", "", ""};
  ASSERT_TRUE(SaveContexts(path, file).ok());
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600);
  const absl::StatusOr<ContextFile> read = LoadContexts(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->current, "prod");
  EXPECT_EQ(read->contexts.size(), 2);
  EXPECT_EQ(read->contexts.at("prod").api_key, "naru_abc_def");
  EXPECT_TRUE(read->contexts.at("prod").tls);
  EXPECT_EQ(read->contexts.at("odd: \"name\" #1").address, "127.0.0.1:1");
}

TEST(ContextsTest, AFileThatOthersCanReadIsRefusedWhenItHoldsAKey) {
  TempDir dir;
  const std::string path = dir.Write("contexts.yaml", "contexts: {a: {address: '1:1', api_key: naru_a_b}}\n");
  chmod(path.c_str(), 0644);
  EXPECT_EQ(LoadContexts(path).status().code(), absl::StatusCode::kPermissionDenied);
  chmod(path.c_str(), 0600);
  EXPECT_TRUE(LoadContexts(path).ok());
}

TEST(ContextsTest, ABrokenFileIsAnErrorAndAMissingOneIsEmpty) {
  TempDir dir;
  EXPECT_TRUE(LoadContexts(dir.File("none.yaml")).ok());
  EXPECT_EQ(LoadContexts(dir.Write("bad.yaml", "contexts: [")).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(LoadContexts(dir.Write("bad2.yaml", "contexts: {a: {tls: [1]}}")).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ConnectionTest, FlagsWinOverTheEnvironmentAndThatOverTheContext) {
  TempDir dir;
  const std::string path = dir.File("contexts.yaml");
  ContextFile file;
  file.current = "a";
  file.contexts["a"] = {"a:1", "naru_a_key", false, "", "", "", ""};
  file.contexts["b"] = {"b:1", "naru_b_key", true, "", "", "", ""};
  ASSERT_TRUE(SaveContexts(path, file).ok());

  ConnectionFlags none;
  ASSERT_TRUE(ResolveConnection(Environment({}), path, &none).ok());
  EXPECT_EQ(none.address, "a:1");
  EXPECT_EQ(none.api_key, "naru_a_key");

  ConnectionFlags variable;
  ASSERT_TRUE(ResolveConnection(Environment({{"NARU_ADDRESS", "e:1"}}), path, &variable).ok());
  EXPECT_EQ(variable.address, "e:1");
  EXPECT_EQ(variable.api_key, "") << "the key of a context never goes to another address";

  ConnectionFlags flag;
  flag.address = "f:1";
  ASSERT_TRUE(
      ResolveConnection(Environment({{"NARU_ADDRESS", "e:1"}, {"NARU_API_KEY", "naru_e_key"}}), path, &flag).ok());
  EXPECT_EQ(flag.address, "f:1");
  EXPECT_EQ(flag.api_key, "naru_e_key");

  ConnectionFlags named;
  named.context = "b";
  ASSERT_TRUE(ResolveConnection(Environment({}), path, &named).ok());
  EXPECT_EQ(named.address, "b:1");
  EXPECT_TRUE(named.tls);

  ConnectionFlags unknown;
  unknown.context = "c";
  EXPECT_EQ(ResolveConnection(Environment({}), path, &unknown).code(), absl::StatusCode::kInvalidArgument);

  ConnectionFlags fallback;
  ASSERT_TRUE(ResolveConnection(Environment({}), dir.File("none.yaml"), &fallback).ok());
  EXPECT_EQ(fallback.address, "127.0.0.1:7700");
}

TEST(ConnectionTest, TheContextsFileIsWhereXdgSays) {
  EXPECT_EQ(ContextsPath(Environment({{"HOME", "/h"}})), "/h/.config/naru/contexts.yaml");
  EXPECT_EQ(ContextsPath(Environment({{"HOME", "/h"}, {"XDG_CONFIG_HOME", "/x"}})), "/x/naru/contexts.yaml");
  EXPECT_EQ(ContextsPath(Environment({{"NARU_CONTEXTS_FILE", "/f"}, {"HOME", "/h"}})), "/f");
  EXPECT_EQ(ContextsPath(Environment({})), "");
}

TEST(ExitCodeTest, EachKindOfErrorHasItsOwn) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), 1);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::PermissionDeniedError("")), 4);
  EXPECT_EQ(ExitCodeOf(absl::UnauthenticatedError("")), 4);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), 5);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("")), 5);
}

int64_t At(absl::string_view rfc3339) { return *ParseRfc3339(rfc3339); }

TEST(TimeTextTest, PeopleMayTypeTimesInManyWays) {
  const int64_t now = At("2026-11-22T06:30:00Z");  // 15:30 in Seoul
  const auto parse = [&](absl::string_view text, absl::string_view zone = "Asia/Seoul") {
    return ParseMoment(text, zone, now);
  };
  EXPECT_EQ(*parse("2026-11-22T09:00:00+09:00"), At("2026-11-22T00:00:00Z"));
  EXPECT_EQ(*parse("2026-11-22"), At("2026-11-21T15:00:00Z"));
  EXPECT_EQ(*parse("2026-11-22", "UTC"), At("2026-11-22T00:00:00Z"));
  EXPECT_EQ(*parse("2026-11-22 09:30"), At("2026-11-22T00:30:00Z"));
  EXPECT_EQ(*parse("now"), now);
  EXPECT_EQ(*parse("today"), At("2026-11-21T15:00:00Z"));
  EXPECT_EQ(*parse("yesterday"), At("2026-11-20T15:00:00Z"));
  EXPECT_EQ(*parse("1h30m"), At("2026-11-22T05:00:00Z"));
  EXPECT_EQ(*parse("-2d"), At("2026-11-20T06:30:00Z"));
}

TEST(TimeTextTest, AnythingElseIsRefusedWithWhatIsRight) {
  for (const char* text : {"", "tomorrowish", "2026-13-01", "2026-02-30", "12", "--5m", "5 minutes"}) {
    const absl::StatusOr<int64_t> parsed = ParseMoment(text, "UTC", 0);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("2026-11-22"));
  }
  EXPECT_FALSE(ParseMoment("now", "Asia/Soul", 0).ok());
}

TEST(TimeTextTest, DaysThatAreNot24HoursBeginAtMidnight) {
  // New York, the day the clocks go forward and the day after.
  EXPECT_EQ(StartOfDay(At("2026-03-08T20:00:00Z"), "America/New_York"), At("2026-03-08T05:00:00Z"));
  EXPECT_EQ(StartOfDay(At("2026-03-09T20:00:00Z"), "America/New_York"), At("2026-03-09T04:00:00Z"));
}

TEST(InputFilesTest, DirectoriesPatternsAndStandardInputBecomeFiles) {
  TempDir dir;
  std::filesystem::create_directories(dir.File("logs/.git"));
  std::filesystem::create_directories(dir.File("logs/b"));
  dir.Write("logs/.git/config", "x");
  dir.Write("logs/b/2.log", "x");
  dir.Write("logs/1.log", "x");
  dir.Write("logs/.hidden", "x");
  dir.Write("logs/3.txt", "x");
  dir.Write("logs/star[1].log", "x");
  const auto files = FindInputFiles({"-", dir.File("logs")});
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_THAT(*files, ElementsAre("-", dir.File("logs/1.log"), dir.File("logs/3.txt"), dir.File("logs/b/2.log"),
                                  dir.File("logs/star[1].log")));
  EXPECT_THAT(*FindInputFiles({dir.File("logs/?.log")}), ElementsAre(dir.File("logs/1.log")));
  EXPECT_THAT(*FindInputFiles({dir.File("logs/star[1].log")}), ElementsAre(dir.File("logs/star[1].log")))
      << "a name that exists is no pattern";
  EXPECT_EQ(FindInputFiles({dir.File("logs/*.zip")}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(FindInputFiles({dir.File("none")}).status().code(), absl::StatusCode::kNotFound);
}

TEST(PacksTest, ANameIsLookedUpAndAPathIsTaken) {
  TempDir dir;
  std::filesystem::create_directories(dir.File("packs/shop"));
  std::filesystem::create_directories(dir.File("packs/site"));
  const auto environment = Environment({{"NARU_PACKS_DIR", dir.File("packs")}});
  EXPECT_EQ(*FindPack("shop", environment), dir.File("packs/shop"));
  EXPECT_EQ(*FindPack(dir.File("packs/site"), environment), dir.File("packs/site"));
  const absl::Status missing = FindPack("nothing", environment).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("shop"));
  EXPECT_FALSE(FindPack("", environment).ok());
}

}  // namespace
}  // namespace naru::cli
