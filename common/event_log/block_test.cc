#include "common/event_log/block.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/clock/clock.h"
#include "common/event_log/rocks_keys.h"

namespace naru::event_log {
namespace {

using ::testing::ElementsAre;

std::string Encode(const std::vector<Record>& records, BlockCodec codec = BlockCodec::kLz4,
                   const std::vector<uint32_t>& offsets = {}, uint32_t span = 0) {
  EncodedBlock block = EncodeBlock({"a.Schema", "00-trace"}, records, offsets,
                                   offsets.empty() ? static_cast<uint32_t>(records.size()) : span, codec);
  StampBlock({1234, 5678, 99}, &block.value);
  return block.value;
}

TEST(Block, EverythingComesBackWithEveryCodec) {
  std::string big(70'000, 'b');
  const std::vector<Record> records = {{"k1", "v1", 1'000'000},
                                       {"", "", -5},
                                       {"k2", big, std::numeric_limits<int64_t>::max()},
                                       {"k3", "x", std::numeric_limits<int64_t>::min(), true}};
  for (const BlockCodec codec : {BlockCodec::kNone, BlockCodec::kLz4, BlockCodec::kZstd}) {
    const std::string value = Encode(records, codec);
    auto batch = DecodeBlock(value, 100, 0);
    ASSERT_TRUE(batch.ok()) << batch.status();
    EXPECT_EQ(batch->headers.schema, "a.Schema");
    EXPECT_EQ(batch->headers.traceparent, "00-trace");
    EXPECT_EQ(batch->next_offset, 104);
    ASSERT_EQ(batch->records.size(), 4u);
    for (size_t i = 0; i < records.size(); ++i) {
      EXPECT_EQ(batch->records[i].offset, 100 + static_cast<int64_t>(i));
      EXPECT_EQ(batch->records[i].key, records[i].key);
      EXPECT_EQ(batch->records[i].value, records[i].value);
      EXPECT_EQ(batch->records[i].timestamp_us, records[i].timestamp_us);
      EXPECT_EQ(batch->records[i].tombstone, records[i].tombstone);
    }
    auto header = ParseBlockHeader(value);
    ASSERT_TRUE(header.ok()) << header.status();
    EXPECT_EQ(header->partition_max_timestamp_us, 1234);
    EXPECT_EQ(header->bytes_before, 5678u);
    EXPECT_EQ(header->previous_end, 99);
    EXPECT_EQ(header->max_timestamp_us, std::numeric_limits<int64_t>::max());
    EXPECT_EQ(header->encryption_key_id, 0u);
    if (codec != BlockCodec::kNone) {
      EXPECT_LT(value.size(), 2000u);
    }
  }
}

TEST(Block, SparseOffsetsComeBack) {
  const std::string value =
      Encode({{"a", "1", 5}, {"b", "2", 5}, {"c", "3", 5}}, BlockCodec::kLz4, {0, 7, 70'000}, 80'000);
  auto batch = DecodeBlock(value, 1'000'000, 0);
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->records[0].offset, 1'000'000);
  EXPECT_EQ(batch->records[1].offset, 1'000'007);
  EXPECT_EQ(batch->records[2].offset, 1'070'000);
  EXPECT_EQ(batch->next_offset, 1'080'000);
  batch = DecodeBlock(value, 1'000'000, 1'000'008);
  ASSERT_TRUE(batch.ok());
  ASSERT_EQ(batch->records.size(), 1u);
  EXPECT_EQ(batch->records[0].key, "c");
}

TEST(Block, RandomRecordsComeBack) {
  SeededRandom random(5);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> parts;
    std::vector<Record> records;
    const size_t count = 1 + random.Next() % 200;
    for (size_t i = 0; i < 2 * count; ++i) {
      std::string part(random.Next() % 40, '\0');
      for (char& c : part) c = static_cast<char>(random.Next() % (round % 2 == 0 ? 256 : 4));
      parts.push_back(std::move(part));
    }
    for (size_t i = 0; i < count; ++i) {
      records.push_back({parts[2 * i], parts[2 * i + 1], static_cast<int64_t>(random.Next()), random.Next() % 9 == 0});
    }
    auto batch = DecodeBlock(Encode(records, static_cast<BlockCodec>(random.Next() % 3)), 7, 0);
    ASSERT_TRUE(batch.ok()) << batch.status();
    ASSERT_EQ(batch->records.size(), count);
    for (size_t i = 0; i < count; ++i) {
      ASSERT_EQ(batch->records[i].key, records[i].key);
      ASSERT_EQ(batch->records[i].value, records[i].value);
      ASSERT_EQ(batch->records[i].timestamp_us, records[i].timestamp_us);
      ASSERT_EQ(batch->records[i].tombstone, records[i].tombstone);
    }
  }
}

TEST(Block, EveryFlippedBitIsFound) {
  const std::string value = Encode({{"key", std::string(50, 'v'), 1}, {"key", "other", 2}});
  for (size_t byte = 0; byte < value.size(); ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = value;
      damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << bit));
      EXPECT_FALSE(DecodeBlock(damaged, 0, 0).ok()) << "byte " << byte << " bit " << bit;
    }
  }
}

TEST(Block, EveryCutIsFound) {
  const std::string value = Encode({{"key", std::string(500, 'v'), 1}});
  for (size_t size = 0; size < value.size(); ++size) {
    EXPECT_FALSE(DecodeBlock(value.substr(0, size), 0, 0).ok()) << size;
  }
  EXPECT_FALSE(DecodeBlock(value + "x", 0, 0).ok());
}

// Blocks whose checksums are right but whose contents make no sense: as from a hostile or a newer writer.
TEST(Block, NonsenseWithRightChecksumsIsRefused) {
  SeededRandom random(9);
  const std::string good = Encode({{"key", "value", 1}, {"key", "value", 2, true}}, BlockCodec::kNone);
  for (int round = 0; round < 20'000; ++round) {
    std::string value = good;
    const size_t changes = 1 + random.Next() % 4;
    for (size_t i = 0; i < changes; ++i) value[random.Next() % value.size()] = static_cast<char>(random.Next());
    // Stamping makes the header's checksum right again; the body's is right as long as the body was left alone.
    StampBlock({}, &value);
    auto batch = DecodeBlock(value, 0, 0);
    if (batch.ok()) {
      EXPECT_LE(batch->records.size(), good.size());
    }
  }
}

// Golden bytes: what version 1 looks like on disk, for ever. A change here needs a new version and a reader of this
// one.
TEST(Block, Version1LooksLikeThis) {
  EncodedBlock block =
      EncodeBlock({"s", "t"}, std::vector<Record>{{"k", "v1", 1000}, {"", "v2", 3000, true}}, {}, 2, BlockCodec::kLz4);
  StampBlock({3000, 7, 40}, &block.value);
  EXPECT_EQ(absl::BytesToHexString(block.value),
            "010002000000000002000000020000000d0000000d0000000100010000000000e803000000000000b80b00000000000011280f80"
            "db5e74d1b80b00000000000007000000000000002800000000000000f8fb8f36737400a01f02010002026b76317632");
}

TEST(Block, CompressedGoldenBytesCanStillBeRead) {
  const struct {
    BlockCodec codec;
    const char* hex;
  } kGolden[] = {
      {BlockCodec::kLz4,
       "01010300000000000300000014000000510100002e000000130000000000000000401e18240a060002401e18240a0600af09220b"
       "ccd95109010000000000000002000000000000000300000000000000eb851ae46e6172752e6576656e742e76312e4576656e74f1"
       "05000202000204020606060500ac02757365722d310600113206007f3166697273747a0100ff14507a7a7a7a7a"},
      {BlockCodec::kZstd,
       "010203000000000003000000140000005101000031000000130000000000000000401e18240a060002401e18240a0600791d9fa5"
       "64481d8801000000000000000200000000000000030000000000000053e9e8fc6e6172752e6576656e742e76312e4576656e7428"
       "b52ffd6051003d0100e0000202000204020606060500ac02757365722d31323166697273747a030028386540ae5c8509"}};
  for (const auto& golden : kGolden) {
    auto batch = DecodeBlock(absl::HexStringToBytes(golden.hex), 10, 0);
    ASSERT_TRUE(batch.ok()) << batch.status();
    ASSERT_EQ(batch->records.size(), 3u);
    EXPECT_EQ(batch->records[2].offset, 10 + 8);
    EXPECT_EQ(batch->records[2].value, std::string(300, 'z'));
    EXPECT_EQ(batch->records[1].timestamp_us, 1'700'000'000'000'001);
    EXPECT_TRUE(batch->records[1].tombstone);
    EXPECT_EQ(batch->headers.schema, "naru.event.v1.Event");
    EXPECT_EQ(batch->records[0].key, "user-1");
  }
}

TEST(RocksKeys, Version1LooksLikeThis) {
  const auto hex = [](const std::string& bytes) { return absl::BytesToHexString(bytes); };
  EXPECT_EQ(hex(LogKey(0x0102030405060708)), "01000000000102030405060708");
  EXPECT_EQ(hex(TopicKey("ev")), "010000000054657600");
  EXPECT_EQ(hex(PartitionKey("ev", 3)), "01000000005365760000000003");
  EXPECT_EQ(hex(EndKey("ev", 3)), "01000000004565760000000003");
  EXPECT_EQ(hex(GroupKey("g", "ev")), "0100000000526700657600");
  EXPECT_EQ(hex(GroupOffsetKey("g", "ev", 3)), "010000000047670065760000000003");
  EXPECT_EQ(hex(ProducerKey("p")), "0100000000507000");
  EXPECT_EQ(hex(EncodeNumber(258)), "010201000000000000");
  EXPECT_EQ(hex(EncodePartitionState({1, 2, 3})), "01010000000000000002000000000000000300000000000000");
  TopicConfig config;
  config.name = "ev";
  config.partitions = 4;
  config.compacted = true;
  config.retention_time = std::chrono::microseconds(5);
  config.retention_bytes = 6;
  config.tombstone_retention = std::chrono::microseconds(7);
  config.unread_hard_limit_bytes = 8;
  EXPECT_EQ(hex(EncodeTopic(config)),
            "01040000000000000001000000000000000500000000000000060000000000000007000000000000000800000000000000");
  EXPECT_EQ(LogFamily("ev", 2, false), "log/ev/2");
  EXPECT_EQ(LogFamily("ev", 2, true), "keyed/ev/2");
  EXPECT_EQ(LocalFamily("ids"), "local/ids");
}

TEST(RocksKeys, LogKeysSortByOffset) {
  std::vector<std::string> keys;
  for (const int64_t offset : {int64_t{0}, int64_t{1}, int64_t{255}, int64_t{256}, int64_t{1} << 40}) {
    keys.push_back(LogKey(offset));
    EXPECT_EQ(ParseLogKey(keys.back()), offset);
  }
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end()));
  EXPECT_FALSE(ParseLogKey("short").has_value());
}

TEST(RocksKeys, WhatWasEncodedIsDecoded) {
  TopicConfig config;
  config.name = "events.dlq";
  config.partitions = 12;
  config.retention_bytes = int64_t{1} << 50;
  auto decoded = DecodeTopic("events.dlq", EncodeTopic(config));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->partitions, 12);
  EXPECT_EQ(decoded->retention_bytes, int64_t{1} << 50);
  auto name = ParseMetaKey(GroupOffsetKey("group-1", "events.dlq", 11), MetaKind::kGroupOffset);
  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(name->first, "group-1");
  EXPECT_EQ(name->second, "events.dlq");
  EXPECT_EQ(name->partition, 11);
  EXPECT_FALSE(ParseMetaKey(TopicKey("x"), MetaKind::kGroup).has_value());
}

TEST(RocksKeys, ANewerVersionOfAValueIsRefusedAndACutOneIsDamage) {
  std::string newer = EncodeNumber(5);
  newer[0] = 2;
  EXPECT_EQ(DecodeNumber(newer).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(DecodeNumber("").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(DecodeNumber(EncodeNumber(5).substr(0, 4)).status().code(), absl::StatusCode::kDataLoss);
}

TEST(RocksKeys, NamesAreChecked) {
  for (const char* good : {"events", "events.dlq", "a_b-c.D9"}) EXPECT_TRUE(CheckName("topic", good).ok()) << good;
  for (const std::string& bad : {std::string(), std::string("a b"), std::string("a/b"), std::string("."),
                                 std::string("a\0b", 3), std::string(201, 'x'), std::string("이벤트")}) {
    EXPECT_EQ(CheckName("topic", bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(PartitionOf, IsTheSameForEver) {
  EXPECT_EQ(PartitionOf("", 4), 0);
  std::vector<int> partitions;
  for (int i = 0; i < 12; ++i) partitions.push_back(PartitionOf(absl::StrCat("user-", i), 12));
  EXPECT_THAT(partitions, ElementsAre(11, 5, 1, 7, 0, 2, 0, 8, 9, 0, 10, 4));
  EXPECT_EQ(PartitionOf("anything", 1), 0);
}

TEST(PartitionOf, SpreadsKeysEvenly) {
  std::vector<int> counts(12, 0);
  for (int i = 0; i < 120'000; ++i) ++counts[static_cast<size_t>(PartitionOf(absl::StrCat("user-", i), 12))];
  for (const int count : counts) {
    EXPECT_GT(count, 9'500);
    EXPECT_LT(count, 10'500);
  }
}

}  // namespace
}  // namespace naru::event_log
