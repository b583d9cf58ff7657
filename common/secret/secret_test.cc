#include "common/secret/secret.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/testing/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace naru {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Secret, IsTheFileOfItsNameElseTheVariable) {
  testing::TempDir dir;
  dir.Write("redis-password", "pass word\n");
  ::setenv("NARU_SECRET_REDIS_PASSWORD", "from the variable", 1);
  ::setenv("NARU_SECRET_OTHER_ONE_2", "two", 1);
  const SecretOptions secrets{dir.path()};
  EXPECT_EQ(*ReadSecret(secrets, "spec.password", "redis-password"), "pass word");
  EXPECT_EQ(*ReadSecret(secrets, "spec.password", "other.one-2"), "two");
  EXPECT_EQ(*ReadSecret({}, "spec.password", "redis-password"), "from the variable");
  ::unsetenv("NARU_SECRET_REDIS_PASSWORD");
}

TEST(Secret, IsReadAgainEachTime) {
  testing::TempDir dir;
  dir.Write("p", "one");
  EXPECT_EQ(*ReadSecret({dir.path()}, "f", "p"), "one");
  dir.Write("p", "two\n");
  EXPECT_EQ(*ReadSecret({dir.path()}, "f", "p"), "two");
}

TEST(Secret, AMissingOneSaysWhereItWasLookedFor) {
  testing::TempDir dir;
  const auto missing = ReadSecret({dir.path()}, "spec.password", "absent");
  EXPECT_TRUE(absl::IsInvalidArgument(missing.status()));
  EXPECT_THAT(std::string(missing.status().message()),
              AllOf(HasSubstr("spec.password"), HasSubstr(dir.path()), HasSubstr("NARU_SECRET_ABSENT")));
  EXPECT_THAT(std::string(ReadSecret({}, "f", "absent").status().message()), HasSubstr("--secrets_dir"));
}

TEST(Secret, ANameIsNoPath) {
  testing::TempDir dir;
  dir.Write("inside", "x");
  for (const char* bad : {"", "../inside", "a/b", ".hidden", "..", "a b"}) {
    EXPECT_FALSE(IsValidSecretName(bad)) << bad;
    EXPECT_FALSE(ReadSecret({dir.path()}, "f", bad).ok()) << bad;
  }
}

TEST(Secret, ReferencesInSettingsAreReplaced) {
  testing::TempDir dir;
  const std::string path = dir.Write("file", "from file\n");
  ::setenv("NARU_TEST_SETTING", "me", 1);
  const SecretOptions secrets{dir.path()};
  EXPECT_EQ(*ResolveSecrets(secrets, "f", absl::StrCat("${file:", path, "}")), "from file");
  EXPECT_EQ(*ResolveSecrets(secrets, "f", "a-${env:NARU_TEST_SETTING}-${secret:file}"), "a-me-from file");
  EXPECT_EQ(*ResolveSecrets(secrets, "f", "plain"), "plain");
  for (const char* bad : {"${env:NARU_NOT_THERE}", "${file:/not/there}", "${vault:x}", "${env:X", "${secret:none}"}) {
    const auto resolved = ResolveSecrets(secrets, "sasl.password", bad);
    EXPECT_TRUE(absl::IsInvalidArgument(resolved.status())) << bad;
    EXPECT_THAT(std::string(resolved.status().message()), HasSubstr("sasl.password"));
  }
  // What was resolved before the mistake is not told.
  EXPECT_THAT(std::string(ResolveSecrets(secrets, "f", "${secret:file}${secret:none}").status().message()),
              Not(HasSubstr("from file")));
}

TEST(Secret, KnowsAReferenceFromAValue) {
  EXPECT_TRUE(IsSecretReference("${secret:redis-password}"));
  EXPECT_TRUE(IsSecretReference("${file:/run/secrets/x}"));
  EXPECT_TRUE(IsSecretReference("${env:X}"));
  for (const char* bad : {"hunter2", "${file:relative}", "${env:}", "${secret:}", "${secret:a", "x${env:X}"}) {
    EXPECT_FALSE(IsSecretReference(bad)) << bad;
  }
}

}  // namespace
}  // namespace naru
