// The stored form of records: a block is one value in the database, made and compressed on the appender's thread.
//
// Version 1, little endian:
//    0 u8  format version      1 u8  codec           2 u8 flags        3 u8  reserved, 0
//    4 u32 encryption key id (0: not encrypted)      8 u32 records    12 u32 span (offsets covered; >= records)
//   16 u32 payload bytes before compression         20 u32 payload bytes as stored
//   24 u16 length of the schema's name              26 u16 length of the traceparent       28 u32 reserved, 0
//   32 i64 first record's timestamp                 40 i64 greatest timestamp
//   48 u64 XXH3 of everything from byte 84 on
//   56 i64 greatest timestamp of the partition up to and with this block      (stamped when offsets are known)
//   64 u64 bytes of all earlier blocks of the partition                       (stamped)
//   72 i64 end offset of the partition before this block                      (stamped)
//   80 u32 XXH3 (low half) of bytes 0..79
//   84 schema, traceparent, payload
// The payload has columns: [timestamps] [offset gaps] [tombstone bits] key lengths, value lengths, keys, values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/event_log/event_log.h"
#include "common/event_log/rocks_event_log.h"

namespace naru::event_log {

inline constexpr uint8_t kBlockVersion = 1;
inline constexpr size_t kBlockHeaderBytes = 84;
/// Records are put into one block until it holds about this much: large enough to compress well and to cost one key,
/// small enough that a reader may hold several.
inline constexpr size_t kBlockTargetBytes = 256 << 10;
/// Key and value of one record together. Far above an event's limit (256 KiB); bounds what one block can need.
inline constexpr size_t kMaxRecordBytes = size_t{16} << 20;
/// Bytes of a schema name, of a traceparent.
inline constexpr size_t kMaxHeaderField = 1024;

/// The fixed part of a block.
struct BlockHeader {
  uint8_t version = kBlockVersion;
  uint8_t codec = 0;
  uint8_t flags = 0;
  uint32_t encryption_key_id = 0;
  uint32_t records = 0;
  uint32_t span = 0;
  uint32_t raw_bytes = 0;
  uint32_t stored_bytes = 0;
  uint16_t schema_bytes = 0;
  uint16_t traceparent_bytes = 0;
  int64_t first_timestamp_us = 0;
  int64_t max_timestamp_us = 0;
  uint64_t body_checksum = 0;
  int64_t partition_max_timestamp_us = 0;
  uint64_t bytes_before = 0;
  int64_t previous_end = 0;
};

/// What is known only when a block's place in its partition is.
struct BlockStamp {
  int64_t partition_max_timestamp_us = 0;
  uint64_t bytes_before = 0;
  int64_t previous_end = 0;
};

/// A block that has no place yet.
struct EncodedBlock {
  std::string value;
  uint32_t records = 0;
  int64_t max_timestamp_us = 0;
};

/// Encodes `records` as one block. `offsets`, unless empty, has each record's offset less the block's base, growing,
/// all below `span`; without it offsets are dense and `span` is the number of records. The caller has checked the
/// limits above. Thread-safe.
EncodedBlock EncodeBlock(const Headers& headers, absl::Span<const Record> records, absl::Span<const uint32_t> offsets,
                         uint32_t span, BlockCodec codec);

/// Puts the stamp and the header's checksum in.
void StampBlock(const BlockStamp& stamp, std::string* value);

/// Reads and checks the fixed part only. Errors: DATA_LOSS; FAILED_PRECONDITION for an unknown version or codec.
absl::StatusOr<BlockHeader> ParseBlockHeader(absl::string_view value);

/// Checks and decompresses the block at `base_offset`, and leaves out what lies before `from_offset`. next_offset is
/// the end of the block; topic and partition are left for the caller. Errors: as ParseBlockHeader.
absl::StatusOr<FetchedBatch> DecodeBlock(absl::string_view value, int64_t base_offset, int64_t from_offset);

}  // namespace naru::event_log
