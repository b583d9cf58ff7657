#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "common/auth/api_key.h"
#include "common/auth/method_scopes.h"
#include "common/status/status.h"

namespace naru {
namespace {

TEST(ApiKeyTest, HasTheDocumentedForm) {
  SeededRandom random(1);
  const NewApiKey made = MakeApiKey(random);
  EXPECT_THAT(made.key, ::testing::MatchesRegex("naru_[a-z2-7]+_[0-9a-f]+"));
  EXPECT_EQ(made.key.size(), 5 + 12 + 1 + 64u);
  EXPECT_EQ(ApiKeyId(made.key), made.id);
  EXPECT_EQ(made.sha256, HashApiKey(made.key));
  EXPECT_NE(MakeApiKey(random).key, made.key);
}

TEST(ApiKeyTest, TheHashIsThatOfTheWholeKey) {
  EXPECT_EQ(absl::BytesToHexString(HashApiKey("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(ApiKeyTest, OtherTextsHaveNoId) {
  SeededRandom random(1);
  const std::string key = MakeApiKey(random).key;
  for (const std::string& text : {std::string(), std::string("naru_"), key.substr(1), key + "0", key.substr(0, 81),
                                  std::string(82, '_'), absl::AsciiStrToUpper(key), " " + key.substr(1)}) {
    EXPECT_EQ(ApiKeyId(text), std::nullopt) << text;
  }
}

TEST(BearerTokenTest, ReadsTheHeader) {
  EXPECT_EQ(BearerToken("Bearer abc"), "abc");
  EXPECT_EQ(BearerToken("bearer  abc "), "abc");
  EXPECT_EQ(BearerToken("Basic abc"), "");
  EXPECT_EQ(BearerToken("Bearer"), "");
  EXPECT_EQ(BearerToken(""), "");
}

TEST(ScopesTest, AdminImpliesTheOthersAndNoneOtherImpliesAny) {
  EXPECT_TRUE(Scopes(Scope::kAdmin).Allow(Scope::kPublish));
  EXPECT_TRUE(Scopes(Scope::kAdmin).Allow(Scope::kRead));
  EXPECT_FALSE(Scopes(Scope::kPublish).Allow(Scope::kRead));
  EXPECT_FALSE(Scopes(Scope::kRead).Allow(Scope::kAdmin));
  EXPECT_FALSE(Scopes().Allow(Scope::kRead));
}

TEST(ScopesTest, NamesAreReadAndWritten) {
  const Scopes scopes = Scopes::FromNames({"read", "publish"}).value();
  EXPECT_THAT(scopes.Names(), ::testing::ElementsAre("publish", "read"));
  EXPECT_EQ(Scopes::FromNames(scopes.Names()).value(), scopes);
  EXPECT_FALSE(Scopes::FromNames({"read", "root"}).ok());
  EXPECT_FALSE(Scopes::FromNames({}).ok());
}

class KeyStoreTest : public ::testing::Test {
 protected:
  SeededRandom random_{7};
  NewApiKey made_ = MakeApiKey(random_);
  MemoryKeyStore keys_;
};

TEST_F(KeyStoreTest, KnowsWhatWasPutAndNothingElse) {
  EXPECT_FALSE(keys_.Check(made_.key));
  keys_.Put({made_.id, Scope::kRead, made_.sha256});
  const auto principal = keys_.Check(made_.key);
  ASSERT_TRUE(principal.has_value());
  EXPECT_EQ(principal->key_id, made_.id);
  std::string wrong = made_.key;
  wrong.back() = wrong.back() == '0' ? '1' : '0';
  EXPECT_FALSE(keys_.Check(wrong));
  EXPECT_FALSE(keys_.Check(""));
  EXPECT_FALSE(keys_.Check(made_.sha256));
}

TEST_F(KeyStoreTest, RevokingRemovingAndReplacingTakeEffectAtOnce) {
  keys_.Put({made_.id, Scope::kRead, made_.sha256, true});
  EXPECT_FALSE(keys_.Check(made_.key));
  keys_.Put({made_.id, Scope::kRead, made_.sha256});
  EXPECT_TRUE(keys_.Check(made_.key));
  keys_.Remove(made_.id);
  EXPECT_FALSE(keys_.Check(made_.key));
  keys_.Replace({{made_.id, Scope::kRead, made_.sha256}});
  EXPECT_TRUE(keys_.Check(made_.key));
  keys_.Replace({});
  EXPECT_EQ(keys_.size(), 0u);
}

TEST_F(KeyStoreTest, AnEntryWithoutAWholeHashOpensNothing) {
  keys_.Put({made_.id, Scope::kAdmin, ""});
  EXPECT_FALSE(keys_.Check(made_.key));
}

TEST_F(KeyStoreTest, AuthorizeSaysWhatIsMissing) {
  MethodScopes methods;
  methods.RequireScope("/s.S/Read", Scope::kRead);
  methods.RequireScope("/t.T/*", Scope::kPublish);
  keys_.Put({made_.id, Scope::kRead, made_.sha256});
  Principal principal;
  const auto reason = [&](const char* method, const std::string& key) {
    const absl::Status status = Authorize(keys_, methods, method, key, &principal);
    return status.ok() ? std::string("OK") : GetErrorDetails(status).reason;
  };
  EXPECT_EQ(reason("/s.S/Read", ""), "API_KEY_MISSING");
  EXPECT_EQ(reason("/s.S/Read", "naru_x"), "API_KEY_INVALID");
  EXPECT_EQ(reason("/s.S/Read", made_.key), "OK");
  EXPECT_EQ(principal.key_id, made_.id);
  EXPECT_EQ(reason("/s.S/Other", made_.key), "SCOPE_MISSING");  // nobody registered it: admin
  EXPECT_EQ(reason("/t.T/Any", made_.key), "SCOPE_MISSING");
  EXPECT_EQ(methods.Required("/t.T/Any"), Scope::kPublish);
  EXPECT_EQ(methods.Required("/t.Tx/Any"), Scope::kAdmin);
  EXPECT_EQ(methods.Required(""), Scope::kAdmin);
}

}  // namespace
}  // namespace naru
