#include "services/aggregator/user_state.h"

#include <algorithm>
#include <random>
#include <set>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

namespace naru::aggregator {
namespace {

struct Added {
  StepEvent event;
  std::string group;
};

std::string EncodeAll(const std::vector<Added>& events) {
  std::string bytes;
  for (const Added& added : events) {
    // As the tracker does: everything goes through the stored form.
    FunnelUser user;
    EXPECT_TRUE(DecodeFunnelUser(bytes, &user));
    user.Add(added.event, added.group);
    bytes.clear();
    EncodeFunnelUser(user, &bytes);
  }
  return bytes;
}

TEST(FunnelUserTest, StoredBytesStayReadable) {
  const std::string bytes = EncodeAll(
      {{{-5, 0x1122334455667788, 1, -1}, "g"}, {{1'000'000, 7, 2, -1}, ""}, {{1'000'000, 8, 0x80000001, -1}, "h"}});
  EXPECT_EQ(absl::BytesToHexString(bytes),
            "01"  // format
            "00"  // truncated
            "02"
            "0167"
            "0168"  // groups
            "03"    // events
            "09"
            "01"
            "8877665544332211"
            "00"
            "8a897a"
            "02"
            "0700000000000000"
            "00"
            "8180808008"
            "0800000000000000"
            "01");
  FunnelUser user;
  ASSERT_TRUE(DecodeFunnelUser(bytes, &user));
  ASSERT_EQ(user.events.size(), 3u);
  EXPECT_EQ(user.events[0].time_us, -5);
  EXPECT_EQ(user.events[2].steps, 0x80000001u);
  EXPECT_EQ(user.groups[user.events[2].group], "h");
  EXPECT_EQ(user.events[1].group, -1);
}

TEST(FunnelUserTest, DamagedBytesAreRefused) {
  const std::string bytes = EncodeAll({{{5, 1, 1, -1}, "group"}, {{9, 2, 2, -1}, ""}, {{9, 3, 3, -1}, "other"}});
  FunnelUser user;
  for (size_t size = 1; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeFunnelUser(absl::string_view(bytes).substr(0, size), &user)) << size;
  }
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string damaged = bytes;
    damaged[random() % damaged.size()] = static_cast<char>(random());
    damaged.resize(1 + random() % (damaged.size() + 3));
    if (!DecodeFunnelUser(damaged, &user)) continue;
    for (const StepEvent& event : user.events) EXPECT_LT(event.group, static_cast<int>(user.groups.size()));
  }
  std::string newer = bytes;
  newer[0] = 2;
  EXPECT_FALSE(DecodeFunnelUser(newer, &user));
}

TEST(FunnelUserTest, BytesDependOnTheEventsAndNotOnTheirOrder) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<Added> events;
    for (int i = random() % 12; i >= 0; --i) {
      events.push_back({{static_cast<int64_t>(random() % 5), random() % 3, static_cast<uint32_t>(random() % 4), -1},
                        std::string(1, static_cast<char>('a' + random() % 3))});
    }
    const std::string bytes = EncodeAll(events);
    std::shuffle(events.begin(), events.end(), random);
    EXPECT_EQ(EncodeAll(events), bytes);
  }
}

TEST(FunnelUserTest, KeepsTheNewestAndCountsTheRest) {
  std::vector<Added> events;
  for (uint64_t i = 0; i < kMaxStepEvents + 20; ++i) {
    events.push_back({{static_cast<int64_t>(i / 3), i, 1, -1}, i < 10 ? "old" : "new"});
  }
  std::mt19937_64 random(1);
  std::string before;
  for (int round = 0; round < 3; ++round) {
    FunnelUser user;
    for (const Added& added : events) user.Add(added.event, added.group);
    std::string bytes;
    EncodeFunnelUser(user, &bytes);
    ASSERT_TRUE(DecodeFunnelUser(bytes, &user));
    EXPECT_EQ(user.events.size(), kMaxStepEvents);
    EXPECT_EQ(user.truncated, 20);
    EXPECT_EQ(user.events[0].identity, 20u);
    EXPECT_EQ(user.groups, std::vector<std::string>{"new"});
    if (round > 0) {
      EXPECT_EQ(bytes, before);
    }
    before = bytes;
    std::shuffle(events.begin(), events.end(), random);
  }
}

TEST(RetentionUserTest, StoredBytesStayReadable) {
  RetentionUser user;
  EXPECT_TRUE(user.Add(19'000, true, true));
  EXPECT_TRUE(user.Add(18'990, false, true));
  EXPECT_TRUE(user.Add(-1, true, false));
  EXPECT_FALSE(user.Add(19'000, true, true));
  EXPECT_FALSE(user.Add(-1, true, false));
  EXPECT_TRUE(user.Add(-1, true, true));
  std::string bytes;
  EncodeRetentionUser(user, &bytes);
  EXPECT_EQ(absl::BytesToHexString(bytes),
            "01"
            "00"
            "02"
            "01"
            "b99401"
            "03"
            "01"
            "af9401"
            "0a");
  RetentionUser read;
  ASSERT_TRUE(DecodeRetentionUser(bytes, &read));
  EXPECT_EQ(read.units.first, (std::vector<int64_t>{-1, 19'000}));
  EXPECT_EQ(read.units.returned, (std::vector<int64_t>{-1, 18'990, 19'000}));
  for (size_t size = 1; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeRetentionUser(absl::string_view(bytes).substr(0, size), &read)) << size;
  }
}

TEST(RetentionUserTest, KeepsTheNewestWhateverTheOrder) {
  std::vector<int64_t> units;
  for (size_t i = 0; i < kMaxUserUnits + 5; ++i) units.push_back(static_cast<int64_t>(2 * i));
  std::mt19937_64 random(1);
  for (int round = 0; round < 3; ++round) {
    RetentionUser user;
    for (const int64_t unit : units) user.Add(unit, true, false);
    for (const int64_t unit : units) EXPECT_FALSE(user.Add(unit, true, false));
    EXPECT_EQ(user.units.first.size(), kMaxUserUnits);
    EXPECT_EQ(user.units.first.front(), 10);
    EXPECT_TRUE(user.truncated);
    std::shuffle(units.begin(), units.end(), random);
  }
}

}  // namespace
}  // namespace naru::aggregator
