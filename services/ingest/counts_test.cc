#include "services/ingest/counts.h"

#include <string>

#include "gtest/gtest.h"

namespace naru::ingest {
namespace {

Counts Example() {
  Counts counts;
  counts.AddStored("UserLogin", 5);
  counts.AddStored("메뉴", 300);
  counts.AddFiltered("UserLogin", 2);
  counts.AddRejected(12, 7);
  counts.AddRejected(500, 1);
  counts.duplicate = 9;
  counts.replayed = 1;
  return counts;
}

TEST(Counts, AddUp) {
  Counts counts = Example();
  EXPECT_EQ(counts.accepted(), 305);
  EXPECT_EQ(counts.filtered(), 2);
  EXPECT_EQ(counts.rejected(), 8);
  EXPECT_EQ(counts.received(), 305 + 9 + 8 + 2);
  counts.Add(Example());
  EXPECT_EQ(counts.received(), 2 * (305 + 9 + 8 + 2));
  EXPECT_TRUE(Counts().empty());
}

TEST(Counts, ReadBackWhatWasWrittenAndRefuseEveryCut) {
  std::string bytes;
  Example().AppendTo(&bytes);
  const size_t size = bytes.size();
  bytes += "rest";
  absl::string_view view = bytes;
  Counts read;
  ASSERT_TRUE(Counts::Parse(&view, &read));
  EXPECT_EQ(view, "rest");
  std::string again;
  read.AppendTo(&again);
  EXPECT_EQ(again, bytes.substr(0, size));
  for (size_t n = 0; n < size; ++n) {
    absl::string_view cut = absl::string_view(bytes).substr(0, n);
    EXPECT_FALSE(Counts::Parse(&cut, &read)) << n;
  }
}

// On disk with every batch: what is written today must be readable for ever.
TEST(Counts, KeepTheirGoldenBytes) {
  Counts counts;
  counts.AddStored("T", 300);
  counts.AddFiltered("F", 1);
  counts.AddRejected(3, 2);
  counts.duplicate = 4;
  std::string bytes;
  counts.AppendTo(&bytes);
  EXPECT_EQ(bytes, std::string("\x01\x04\x00\x01\x01T\xac\x02\x01\x01"
                               "F\x01\x01\x03\x02",
                               15));
}

TEST(Counts, BoundTheirTypes) {
  Counts counts;
  for (size_t i = 0; i < kMaxCountedTypes + 50; ++i) counts.AddStored("type" + std::to_string(i), 1);
  EXPECT_LE(counts.stored_by_type.size(), kMaxCountedTypes + 1);
  EXPECT_EQ(counts.stored_by_type.at("__other__"), 50);
  EXPECT_EQ(counts.accepted(), static_cast<int64_t>(kMaxCountedTypes) + 50);
}

}  // namespace
}  // namespace naru::ingest
