#include "common/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/config/version.h"
#include "common/testing/testing.h"

namespace naru {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

struct TestConfig {
  std::string listen = "127.0.0.1:7701";
  bool verbose = false;
  bool sync = true;
  int workers = 2;
  int64_t limit = 1000;
  double ratio = 0.5;
  std::chrono::milliseconds linger{2};
  std::chrono::seconds window{3600};
  ByteSize memory{64 << 20};
  std::string mode = "fast";
  Secret password;
  std::vector<std::string> brokers;
};

class ConfigTest : public ::testing::Test {
 protected:
  ConfigTest() { Register(&options_, &config_); }

  static void Register(Options* options, TestConfig* config) {
    options->Add("listen", &config->listen, "Where to listen.").ValueName("HOST:PORT");
    options->Add("verbose", &config->verbose, "Says more.").Short('v');
    options->Add("sync", &config->sync, "Syncs.");
    options->Add("workers", &config->workers, "Threads.").Range(1, 64).Short('w');
    options->Add("limit", &config->limit, "A limit.");
    options->Section("Tuning");
    options->Add("ratio", &config->ratio, "A ratio.").Range(0, 1);
    options->Add("linger", &config->linger, "How long to wait.");
    options->Add("window", &config->window, "How far back.");
    options->Add("memory", &config->memory, "How much.").Range(1 << 20, 1e12);
    options->Add("mode", &config->mode, "A mode.").OneOf({"fast", "safe"});
    options->Add("password", &config->password, "A password.");
    options->Add("brokers", &config->brokers, "Kafka.");
  }
  absl::Status Parse(std::vector<std::string> args, std::map<std::string, std::string> env = {}) {
    return options_.Parse(args, [env](absl::string_view name) -> std::optional<std::string> {
      const auto it = env.find(std::string(name));
      return it == env.end() ? std::nullopt : std::optional<std::string>(it->second);
    });
  }
  // Each problem as `where: what`.
  std::vector<std::string> Problems(std::vector<std::string> args, std::map<std::string, std::string> env = {}) {
    std::vector<std::string> problems;
    for (const FieldViolation& v : GetErrorDetails(Parse(std::move(args), std::move(env))).violations) {
      problems.push_back(v.field + ": " + v.description);
    }
    return problems;
  }

  TestConfig config_;
  Options options_{"naru-test", "A program for tests."};
  testing::TempDir dir_;
};

TEST_F(ConfigTest, AFlagWinsOverTheEnvironmentTheEnvironmentOverTheFile) {
  const std::string file = dir_.Write("c.yaml", "listen: file\nworkers: 3\nlimit: 4\nratio: 0.25\n");
  ASSERT_TRUE(Parse({"--config", file, "--listen=flag"}, {{"NARU_LISTEN", "env"}, {"NARU_WORKERS", "5"}}).ok());
  EXPECT_EQ(config_.listen, "flag");
  EXPECT_EQ(config_.workers, 5);
  EXPECT_EQ(config_.limit, 4);
  EXPECT_EQ(config_.ratio, 0.25);
  EXPECT_EQ(config_.linger, std::chrono::milliseconds(2));
  EXPECT_TRUE(options_.IsSet("limit"));
  EXPECT_FALSE(options_.IsSet("linger"));
  const std::string printed = options_.PrintConfig();
  EXPECT_THAT(printed, ::testing::ContainsRegex("listen: flag +# --listen\n"));
  EXPECT_THAT(printed, ::testing::ContainsRegex("workers: 5 +# NARU_WORKERS\n"));
  EXPECT_THAT(printed, ::testing::ContainsRegex("limit: 4 +# .*c.yaml:3\n"));
  EXPECT_THAT(printed, ::testing::ContainsRegex("linger: 2ms +# default\n"));
}

TEST_F(ConfigTest, ReadsEveryKindOfValue) {
  ASSERT_TRUE(Parse({"-v",
                     "--no_sync",
                     "-w",
                     "8",
                     "--limit",
                     "-5",
                     "--ratio",
                     "1",
                     "--linger",
                     "1.5s",
                     "--window",
                     "2d",
                     "--memory=1GiB",
                     "--mode",
                     "safe",
                     "--password",
                     "x",
                     "--brokers",
                     "a:1,b:2",
                     "--brokers",
                     "c:3"})
                  .ok());
  EXPECT_TRUE(config_.verbose);
  EXPECT_FALSE(config_.sync);
  EXPECT_EQ(config_.workers, 8);
  EXPECT_EQ(config_.limit, -5);
  EXPECT_EQ(config_.linger, std::chrono::milliseconds(1500));
  EXPECT_EQ(config_.window, std::chrono::hours(48));
  EXPECT_EQ(config_.memory.bytes, 1 << 30);
  EXPECT_EQ(config_.mode, "safe");
  EXPECT_EQ(config_.password.Reveal(), "x");
  EXPECT_THAT(config_.brokers, ElementsAre("a:1", "b:2", "c:3"));
}

TEST_F(ConfigTest, ReportsEveryProblemAtOnceAndWhereItCameFrom) {
  const std::string file = dir_.Write("c.yaml", "limit: many\nlisten: [a, b]\nworkerz: 3\n");
  options_.Validate([] { return std::vector<FieldViolation>{{"--mode", "does not go with that"}}; });
  EXPECT_THAT(
      Problems({"--config", file, "--lissten", "x", "--ratio=2", "--linger", "5", "extra", "--mode=wild"},
               {{"NARU_MEMORY", "1KiB"}, {"NARU_WORKERS", "x"}}),
      ::testing::UnorderedElementsAre(
          "--lissten: unknown flag; did you mean --listen?", "x: unexpected argument", "extra: unexpected argument",
          "--ratio: 2 is outside [0, 1]", "--linger: `5` is not a duration like 90s, 250ms or 1h30m",
          "--mode: `wild` is not one of: fast, safe", "--mode: does not go with that",
          HasSubstr("NARU_MEMORY: `memory` 1KiB is outside"), "NARU_WORKERS: `workers` `x` is not a whole number",
          file + ":1: `limit` `many` is not a whole number", file + ":2: `listen` takes one value, not a list",
          file + ":3: unknown name `workerz`; did you mean `workers`?"));
}

TEST_F(ConfigTest, RefusesValuesThatDoNotFitTheirKind) {
  for (const char* arg : {"--workers=2.5", "--workers=99999999999", "--limit=9223372036854775808", "--ratio=nan",
                          "--ratio=x", "--linger=1us", "--linger=-1s", "--window=1ms", "--memory=-1MiB", "--memory=1XB",
                          "--memory=9999999TiB", "--sync=maybe", "--no_sync=true", "--no_listen"}) {
    EXPECT_EQ(Problems({arg}).size(), 1u) << arg;
  }
}

TEST_F(ConfigTest, AFlagWithoutItsValueIsAProblemNotTheNextFlag) {
  EXPECT_THAT(Problems({"--listen", "--verbose"}), ElementsAre("--listen: needs a value: --listen HOST:PORT"));
  EXPECT_TRUE(config_.verbose);
  EXPECT_EQ(Problems({"--listen"}).size(), 1u);
}

TEST_F(ConfigTest, DashesAndUnderscoresAreTheSame) {
  std::string directory;
  options_.Add("data_dir", &directory, "Data.");
  const std::string file = dir_.Write("c.yaml", "data-dir: file\n");
  ASSERT_TRUE(Parse({"--data-dir", "flag"}).ok());
  EXPECT_EQ(directory, "flag");
  ASSERT_TRUE(Parse({"--config", file}).ok());
  EXPECT_EQ(directory, "file");
}

TEST_F(ConfigTest, NestedKeysOfAFileAreJoined) {
  std::string cert;
  options_.Add("tls_cert", &cert, "TLS.");
  const std::string file = dir_.Write("c.yaml", "tls:\n  cert: /x\nbrokers: [\"a,b\", c]\nverbose: true\n");
  ASSERT_TRUE(Parse({"--config", file}).ok());
  EXPECT_EQ(cert, "/x");
  EXPECT_THAT(config_.brokers, ElementsAre("a,b", "c"));
  EXPECT_TRUE(config_.verbose);
}

TEST_F(ConfigTest, ABrokenFileIsAProblemWithItsLine) {
  EXPECT_THAT(Problems({"--config", "/nonexistent.yaml"}), ElementsAre(HasSubstr("there is no file")));
  EXPECT_THAT(Problems({"--config", dir_.Write("a.yaml", "listen: x\n  : [\n")}), ElementsAre(HasSubstr("a.yaml:")));
  EXPECT_THAT(Problems({"--config", dir_.Write("b.yaml", "- x\n")}), ElementsAre(HasSubstr("b.yaml:1")));
  EXPECT_THAT(Problems({"--config", dir_.Write("c.yaml", "limit: 1\nlimit: 2\n")}), ElementsAre(HasSubstr("twice")));
  EXPECT_THAT(Problems({"--config", dir_.path()}), ElementsAre(HasSubstr("there is no file")));
  EXPECT_TRUE(Parse({"--config", dir_.Write("d.yaml", "")}).ok());
}

TEST_F(ConfigTest, TheFileMayBeNamedByTheEnvironment) {
  ASSERT_TRUE(Parse({}, {{"NARU_CONFIG", dir_.Write("c.yaml", "limit: 9\n")}}).ok());
  EXPECT_EQ(config_.limit, 9);
}

TEST_F(ConfigTest, SecretsAreHiddenEverywhere) {
  ASSERT_TRUE(Parse({}, {{"NARU_PASSWORD", "hunter2"}}).ok());
  EXPECT_EQ(config_.password.Reveal(), "hunter2");
  EXPECT_THAT(options_.PrintConfig(), Not(HasSubstr("hunter2")));
  EXPECT_THAT(options_.PrintConfig(), ::testing::ContainsRegex("# password: \\*\\*\\* +# NARU_PASSWORD"));
  EXPECT_THAT(options_.Help(), Not(HasSubstr("hunter2")));
}

TEST_F(ConfigTest, WhatIsPrintedReadsBackTheSame) {
  ASSERT_TRUE(Parse({"--listen", "yes: \"no\" # \\ \t\x01 \xed\x95\x9c\n", "--brokers", "a b,#c,", "--memory",
                     "1500001", "--window", "90m", "--limit", "-7", "--no_sync"})
                  .ok());
  const std::string file = dir_.Write("c.yaml", options_.PrintConfig());
  TestConfig read;
  Options options("x", "x");
  Register(&options, &read);
  const absl::Status status = options.Parse({"--config", file}, [](absl::string_view) { return std::nullopt; });
  ASSERT_TRUE(status.ok()) << FormatProblems(status) << options_.PrintConfig();
  EXPECT_EQ(read.listen, config_.listen);
  EXPECT_EQ(read.brokers, config_.brokers);
  EXPECT_EQ(read.memory, config_.memory);
  EXPECT_EQ(read.window, config_.window);
  EXPECT_EQ(read.limit, -7);
  EXPECT_FALSE(read.sync);
}

TEST_F(ConfigTest, HelpShowsDefaultsKindsAndSections) {
  ASSERT_TRUE(Parse({"--help", "--nonsense"}).ok());  // help wins over mistakes
  EXPECT_EQ(options_.action(), Options::Action::kHelp);
  const std::string help = options_.Help();
  EXPECT_THAT(help, HasSubstr("Usage: naru-test [OPTIONS]"));
  EXPECT_THAT(help, HasSubstr("--listen HOST:PORT"));
  EXPECT_THAT(help, HasSubstr("(default 127.0.0.1:7701)"));
  EXPECT_THAT(help, HasSubstr("-w, --workers NUMBER"));
  EXPECT_THAT(help, HasSubstr("\nTuning:\n"));
  EXPECT_THAT(help, HasSubstr("(default 64MiB)"));
  EXPECT_THAT(help, HasSubstr("--mode fast|safe"));
}

TEST_F(ConfigTest, ActionsAreRecognised) {
  ASSERT_TRUE(Parse({"--print_config"}).ok());
  EXPECT_EQ(options_.action(), Options::Action::kPrintConfig);
}

TEST_F(ConfigTest, CheckConfigReportsProblemsToo) {
  EXPECT_EQ(Problems({"--check_config", "--ratio=7"}).size(), 1u);
  EXPECT_EQ(options_.action(), Options::Action::kCheckConfig);
}

TEST_F(ConfigTest, RequiredOptionsMustBeSetSomewhere) {
  std::string name;
  options_.Add("name", &name, "A name.").Required();
  EXPECT_THAT(Problems({}), ElementsAre("--name: must be set"));
  EXPECT_TRUE(Parse({}, {{"NARU_NAME", "x"}}).ok());
}

TEST_F(ConfigTest, ArgumentsThatAreNotFlagsAreCollected) {
  std::vector<std::string> files;
  options_.Positional("FILE", &files, "Files to read.", 1);
  ASSERT_TRUE(Parse({"a", "--verbose", "-", "--", "--b"}).ok());
  EXPECT_THAT(files, ElementsAre("a", "-", "--b"));
  EXPECT_THAT(Problems({}), ElementsAre("FILE: is missing"));
  EXPECT_THAT(options_.Help(), HasSubstr("[OPTIONS] FILE..."));
}

TEST_F(ConfigTest, ProgramsWithCommandsStopAtTheCommand) {
  std::vector<std::string> rest;
  options_.Positional("COMMAND", &rest, "");
  options_.StopAtFirstPositional();
  ASSERT_TRUE(Parse({"--verbose", "import", "--format", "x", "--help"}).ok());
  EXPECT_THAT(rest, ElementsAre("import", "--format", "x", "--help"));
  EXPECT_EQ(options_.action(), Options::Action::kRun);
}

TEST(ConfigFlagsOnlyTest, ReadNeitherEnvironmentNorFile) {
  std::string format = "json";
  Options options("naru query", "Asks.");
  options.FlagsOnly();
  options.Add("format", &format, "Form.");
  ASSERT_TRUE(options.Parse({}, [](absl::string_view) { return std::string("env"); }).ok());
  EXPECT_EQ(format, "json");
  EXPECT_FALSE(options.Parse({"--config", "x"}, [](absl::string_view) { return std::nullopt; }).ok());
}

TEST(ConfigDeathTest, ANameIsDefinedOnce) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  std::string value;
  Options options("x", "x");
  options.Add("name", &value, "x");
  EXPECT_DEATH(options.Add("name", &value, "x"), "defined twice");
}

TEST(ByteSizeTest, ReadsAndWritesUnits) {
  EXPECT_EQ(ParseByteSize("64MiB")->bytes, 64 << 20);
  EXPECT_EQ(ParseByteSize("1 gb")->bytes, 1'000'000'000);
  EXPECT_EQ(ParseByteSize("4096")->bytes, 4096);
  EXPECT_EQ(ParseByteSize("0")->bytes, 0);
  for (const char* text : {"", "MiB", "-1", "1.5MiB", "1 XB", "1MiBx", "9223372036854775808", "8388608TiB"}) {
    EXPECT_FALSE(ParseByteSize(text).ok()) << text;
  }
  for (const int64_t bytes : {0LL, 1LL, 1000LL, 1024LL, 1500LL, 1LL << 40, 3'000'000LL, 9'223'372'036'854'775'807LL}) {
    EXPECT_EQ(ParseByteSize(FormatByteSize({bytes}))->bytes, bytes) << FormatByteSize({bytes});
  }
  EXPECT_EQ(FormatByteSize({64 << 20}), "64MiB");
}

TEST(NearestWordTest, SuggestsOnlyWhatIsNear) {
  EXPECT_EQ(NearestWord("lissten", {"linger", "listen"}), "listen");
  EXPECT_EQ(NearestWord("zzz", {"linger", "listen"}), "");
  EXPECT_EQ(NearestWord("", {"a"}), "a");
}

TEST(VersionTest, IsThatOfTheProject) { EXPECT_THAT(Version(), ::testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+")); }

}  // namespace
}  // namespace naru
