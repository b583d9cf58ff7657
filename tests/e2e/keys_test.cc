// API keys, from the first one (made offline) to a revoked one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/naru_process.h"

namespace naru::e2e {
namespace {

using ::naru::testing::ProcessResult;
using ::naru::testing::TempDir;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

TEST(KeysTest, TheFirstKeyIsMadeOfflineAndOpensTheDoor) {
  TempDir dir;
  const std::string data_dir = dir.File("data");
  const ProcessResult created =
      RunNaru({"key", "create", "--data_dir", data_dir, "--scopes", "read,publish,admin", "--name", "me"});
  ASSERT_EQ(created.exit_code, 0) << created.err;
  const std::string key(absl::StripAsciiWhitespace(created.out));
  ASSERT_THAT(key, MatchesRegex("naru_[a-z2-7]+_[0-9a-f]{64}"));

  auto started = Platform::Start(data_dir, {}, {"--require_keys"});
  ASSERT_TRUE(started.ok()) << started.status();
  const Platform& platform = **started;
  const ProcessResult without = platform.Naru({"publish", "--type", "A"});
  EXPECT_EQ(without.exit_code, 4) << without.err;
  EXPECT_THAT(without.err, HasSubstr("naru key create"));
  EXPECT_EQ(platform.Naru({"status", "--api_key", "naru_aaaaaaaaaaaa_0000"}).exit_code, 4);
  EXPECT_EQ(platform.Naru({"status", "--api_key", key}).exit_code, 0);

  // A key for publishing may not read.
  const ProcessResult second = platform.Naru({"key", "create", "--scopes", "publish", "--api_key", key});
  ASSERT_EQ(second.exit_code, 0) << second.err;
  const std::string publisher(absl::StripAsciiWhitespace(second.out));
  EXPECT_EQ(platform.Naru({"tail", "--api_key", publisher}).exit_code, 4);
  EXPECT_EQ(platform.Naru({"key", "list", "--api_key", publisher}).exit_code, 4);

  const ProcessResult listed = platform.Naru({"key", "list", "--output", "json", "--api_key", key});
  EXPECT_EQ(Lines(listed.out).size(), 2);
  EXPECT_THAT(listed.out, Not(HasSubstr(key.substr(key.size() - 64)))) << "secrets are never listed";

  const std::string id = publisher.substr(5, publisher.rfind('_') - 5);
  EXPECT_EQ(platform.Naru({"key", "revoke", id, "--api_key", key}).exit_code, 0);
  EXPECT_EQ(platform.Naru({"publish", "--type", "A", "--api_key", publisher}).exit_code, 4);

  const ProcessResult busy = RunNaru({"key", "list", "--data_dir", data_dir});
  EXPECT_EQ(busy.exit_code, 1) << "a server runs on it";
  EXPECT_THAT(busy.err, HasSubstr("server"));
  EXPECT_EQ(*(*started)->Stop(), 0);
  EXPECT_EQ(Lines(RunNaru({"key", "list", "--data_dir", data_dir, "--output", "json"}).out).size(), 2);
}

TEST(KeysTest, AContextCarriesTheKey) {
  TempDir dir;
  const std::string data_dir = dir.File("data");
  const ProcessResult created =
      RunNaru({"key", "create", "--data_dir", data_dir, "--scopes", "read", "--output", "json"});
  ASSERT_EQ(created.exit_code, 0) << created.err;
  const size_t at = created.out.find("naru_");
  const std::string key = created.out.substr(at, created.out.find('"', at) - at);
  auto started = Platform::Start(data_dir, {}, {"--require_keys"});
  ASSERT_TRUE(started.ok()) << started.status();
  const std::map<std::string, std::string> env = {{"NARU_CONTEXTS_FILE", dir.File("contexts.yaml")}};
  EXPECT_EQ(RunNaru({"context", "set", "local", "--address", (*started)->grpc(), "--api_key", key}, "", env).exit_code,
            0);
  EXPECT_EQ(RunNaru({"status"}, "", env).exit_code, 0);
  EXPECT_EQ(RunNaru({"get"}, "", {{"NARU_ADDRESS", (*started)->grpc()}, {"NARU_API_KEY", key}}).exit_code, 0);
}

TEST(TlsTest, AnOpenAddressNeedsKeysAndACertificateThatTheClientTrusts) {
  TempDir dir;
  const std::string cert = dir.File("tls.crt");
  const std::string key_file = dir.File("tls.key");
  const auto made = testing::RunProcess(
      {.args = {"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=naru.test",
                "-addext", "subjectAltName=DNS:naru.test", "-keyout", key_file, "-out", cert}});
  if (!made.ok() || made->exit_code != 0) GTEST_SKIP() << "openssl is not on this machine";
  const std::string data_dir = dir.File("data");
  const std::string key(
      absl::StripAsciiWhitespace(RunNaru({"key", "create", "--data_dir", data_dir, "--scopes", "read,publish"}).out));
  auto started = Platform::Start(data_dir, {}, {"--require_keys", "--tls_cert", cert, "--tls_key", key_file});
  ASSERT_TRUE(started.ok()) << started.status();
  const Platform& platform = **started;
  const std::vector<std::string> trust = {"--tls_ca", cert, "--tls_server_name", "naru.test"};
  const auto with = [&](std::vector<std::string> args) {
    args.insert(args.end(), trust.begin(), trust.end());
    return platform.Naru(args);
  };
  EXPECT_EQ(with({"status", "--api_key", key}).exit_code, 0);
  EXPECT_EQ(with({"status"}).exit_code, 4) << "TLS alone opens nothing";
  EXPECT_EQ(platform.Naru({"status", "--api_key", key, "--tls"}).exit_code, 5) << "who signed it is not trusted";
  EXPECT_EQ(platform.Naru({"status", "--timeout", "3s"}).exit_code, 5) << "no plain text on a TLS port";
}

}  // namespace
}  // namespace naru::e2e
