#include "common/event_log/block.h"

#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"

namespace naru::event_log {
namespace {

enum Flags : uint8_t { kSparse = 1, kTombstones = 2, kOneTimestamp = 4 };

// How quickly LZ4 gives up looking for repetitions: half the time of 1 for one twentieth more bytes.
constexpr int kLz4Acceleration = 3;
// Below this a codec's own frame and the call cost more than they save.
constexpr size_t kMinCompressedBytes = 96;

template <typename T>
void Store(char* p, T v) {
  std::memcpy(p, &v, sizeof(v));
}
template <typename T>
T Load(const char* p) {
  T v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

uint64_t ZigZag(int64_t v) { return (static_cast<uint64_t>(v) << 1) ^ static_cast<uint64_t>(v >> 63); }
int64_t UnZigZag(uint64_t v) { return static_cast<int64_t>((v >> 1) ^ (~(v & 1) + 1)); }

char* PutVarint(char* p, uint64_t v) {
  while (v >= 0x80) {
    *p++ = static_cast<char>(v | 0x80);
    v >>= 7;
  }
  *p++ = static_cast<char>(v);
  return p;
}

// Takes columns off a payload; after a failure everything reads as 0 and ok() is false.
class ColumnReader {
 public:
  explicit ColumnReader(absl::string_view data) : p_(data.data()), end_(data.data() + data.size()) {}
  uint64_t Varint() {
    uint64_t v = 0;
    for (int shift = 0; shift < 64 && p_ < end_; shift += 7) {
      const auto byte = static_cast<uint8_t>(*p_++);
      v |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return v;
    }
    ok_ = false;
    return 0;
  }
  const char* Bytes(size_t n) {
    if (static_cast<size_t>(end_ - p_) < n) {
      ok_ = false;
      return nullptr;
    }
    const char* start = p_;
    p_ += n;
    return start;
  }
  bool ok() const { return ok_; }
  bool at_end() const { return p_ == end_; }

 private:
  const char* p_;
  const char* end_;
  bool ok_ = true;
};

// A buffer that grows and is not cleared; one for each thread and use, so that encoding does not allocate.
struct Scratch {
  std::unique_ptr<char[]> data;
  size_t capacity = 0;
  char* Reserve(size_t n) {
    if (n > capacity) {
      data.reset(new char[n]);
      capacity = n;
    }
    return data.get();
  }
  /// Gives an unusually large buffer back.
  void Trim() {
    if (capacity > 4 * kBlockTargetBytes) {
      data.reset();
      capacity = 0;
    }
  }
};

struct Columns {
  size_t bytes = 0;
  uint8_t flags = 0;
  int64_t max_timestamp_us = 0;
};

// Writes the columns into `scratch`.
Columns WriteColumns(absl::Span<const Record> records, absl::Span<const uint32_t> offsets, Scratch* scratch) {
  Columns columns;
  size_t bound = 0;
  columns.max_timestamp_us = records[0].timestamp_us;
  bool one_timestamp = true;
  for (const Record& record : records) {
    bound += record.key.size() + record.value.size() + 26;  // at most 10 + 5 + 1 + 5 + 5 bytes of columns
    if (record.tombstone) columns.flags |= kTombstones;
    one_timestamp &= record.timestamp_us == records[0].timestamp_us;
    columns.max_timestamp_us = std::max(columns.max_timestamp_us, record.timestamp_us);
  }
  if (one_timestamp) columns.flags |= kOneTimestamp;
  if (!offsets.empty()) columns.flags |= kSparse;
  char* const start = scratch->Reserve(bound);
  char* p = start;
  if (!one_timestamp) {
    uint64_t previous = static_cast<uint64_t>(records[0].timestamp_us);
    for (const Record& record : records) {
      // Unsigned: the difference of two far apart timestamps wraps, and unwraps when added again.
      p = PutVarint(p, ZigZag(static_cast<int64_t>(static_cast<uint64_t>(record.timestamp_us) - previous)));
      previous = static_cast<uint64_t>(record.timestamp_us);
    }
  }
  uint32_t next = 0;
  for (const uint32_t offset : offsets) {
    p = PutVarint(p, offset - next);
    next = offset + 1;
  }
  if ((columns.flags & kTombstones) != 0) {
    const size_t bytes = (records.size() + 7) / 8;
    std::memset(p, 0, bytes);
    for (size_t i = 0; i < records.size(); ++i) {
      if (records[i].tombstone) p[i / 8] = static_cast<char>(p[i / 8] | (1 << (i % 8)));
    }
    p += bytes;
  }
  for (const Record& record : records) p = PutVarint(p, record.key.size());
  for (const Record& record : records) p = PutVarint(p, record.value.size());
  // std::copy, unlike memcpy, takes empty views that point nowhere.
  for (const Record& record : records) p = std::copy(record.key.begin(), record.key.end(), p);
  for (const Record& record : records) p = std::copy(record.value.begin(), record.value.end(), p);
  columns.bytes = static_cast<size_t>(p - start);
  return columns;
}

// Compresses into `out`; returns 0 when that does not pay.
size_t Compress(BlockCodec codec, absl::string_view raw, Scratch* out) {
  if (raw.size() < kMinCompressedBytes) return 0;
  size_t bytes = 0;
  if (codec == BlockCodec::kLz4) {
    const int bound = LZ4_compressBound(static_cast<int>(raw.size()));
    char* p = out->Reserve(static_cast<size_t>(bound));
    bytes =
        static_cast<size_t>(LZ4_compress_fast(raw.data(), p, static_cast<int>(raw.size()), bound, kLz4Acceleration));
  } else if (codec == BlockCodec::kZstd) {
    const size_t bound = ZSTD_compressBound(raw.size());
    // A context costs more to make than a block costs to compress.
    thread_local const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(), &ZSTD_freeCCtx);
    bytes = ZSTD_compressCCtx(context.get(), out->Reserve(bound), bound, raw.data(), raw.size(), 1);
    if (ZSTD_isError(bytes) != 0) bytes = 0;
  }
  return bytes < raw.size() - raw.size() / 16 ? bytes : 0;
}

absl::Status Decompress(uint8_t codec, absl::string_view stored, char* out, size_t raw_bytes) {
  switch (static_cast<BlockCodec>(codec)) {
    case BlockCodec::kNone:
      if (stored.size() != raw_bytes) break;
      std::memcpy(out, stored.data(), raw_bytes);
      return absl::OkStatus();
    case BlockCodec::kLz4:
      if (LZ4_decompress_safe(stored.data(), out, static_cast<int>(stored.size()), static_cast<int>(raw_bytes)) ==
          static_cast<int>(raw_bytes)) {
        return absl::OkStatus();
      }
      break;
    case BlockCodec::kZstd:
      if (ZSTD_decompress(out, raw_bytes, stored.data(), stored.size()) == raw_bytes) return absl::OkStatus();
      break;
  }
  return absl::DataLossError("a block does not decompress to its size");
}

absl::Status ReadColumns(const BlockHeader& header, absl::string_view payload, int64_t base_offset, int64_t from_offset,
                         std::vector<FetchedRecord>* out) {
  ColumnReader in(payload);
  const size_t n = header.records;
  std::vector<FetchedRecord> records(n);
  int64_t timestamp = header.first_timestamp_us;
  for (FetchedRecord& record : records) {
    if ((header.flags & kOneTimestamp) == 0) {
      timestamp = static_cast<int64_t>(static_cast<uint64_t>(timestamp) + static_cast<uint64_t>(UnZigZag(in.Varint())));
    }
    record.timestamp_us = timestamp;
  }
  int64_t offset = base_offset;
  for (FetchedRecord& record : records) {
    if ((header.flags & kSparse) != 0) offset += static_cast<int64_t>(in.Varint() & 0xffffffffu);
    record.offset = offset++;
  }
  if ((header.flags & kTombstones) != 0) {
    const char* bits = in.Bytes((n + 7) / 8);
    if (bits == nullptr) return absl::DataLossError("a block's columns are short");
    for (size_t i = 0; i < n; ++i) records[i].tombstone = ((bits[i / 8] >> (i % 8)) & 1) != 0;
  }
  // The lengths first, kept as empty views over nothing but their length: bytes follow when all lengths are known.
  std::vector<uint32_t> lengths(2 * n);
  for (uint32_t& length : lengths) length = static_cast<uint32_t>(std::min<uint64_t>(in.Varint(), UINT32_MAX));
  for (size_t i = 0; i < n && in.ok(); ++i) records[i].key = absl::string_view(in.Bytes(lengths[i]), lengths[i]);
  for (size_t i = 0; i < n && in.ok(); ++i)
    records[i].value = absl::string_view(in.Bytes(lengths[n + i]), lengths[n + i]);
  if (!in.ok() || !in.at_end() || offset > base_offset + header.span) {
    return absl::DataLossError("a block's columns do not add up");
  }
  const auto first = std::lower_bound(records.begin(), records.end(), from_offset,
                                      [](const FetchedRecord& record, int64_t from) { return record.offset < from; });
  records.erase(records.begin(), first);
  *out = std::move(records);
  return absl::OkStatus();
}

}  // namespace

EncodedBlock EncodeBlock(const Headers& headers, absl::Span<const Record> records, absl::Span<const uint32_t> offsets,
                         uint32_t span, BlockCodec codec) {
  thread_local Scratch raw_scratch;
  thread_local Scratch compressed_scratch;
  const Columns columns = WriteColumns(records, offsets, &raw_scratch);
  const absl::string_view raw(raw_scratch.data.get(), columns.bytes);
  const size_t compressed = Compress(codec, raw, &compressed_scratch);
  const absl::string_view stored = compressed == 0 ? raw : absl::string_view(compressed_scratch.data.get(), compressed);

  EncodedBlock block;
  block.records = static_cast<uint32_t>(records.size());
  block.max_timestamp_us = columns.max_timestamp_us;
  std::string& value = block.value;
  value.reserve(kBlockHeaderBytes + headers.schema.size() + headers.traceparent.size() + stored.size());
  value.assign(kBlockHeaderBytes, '\0');
  value.append(headers.schema).append(headers.traceparent).append(stored.data(), stored.size());
  char* p = value.data();
  p[0] = static_cast<char>(kBlockVersion);
  p[1] = static_cast<char>(compressed == 0 ? BlockCodec::kNone : codec);
  p[2] = static_cast<char>(columns.flags);
  Store<uint32_t>(p + 8, block.records);
  Store<uint32_t>(p + 12, span);
  Store<uint32_t>(p + 16, static_cast<uint32_t>(raw.size()));
  Store<uint32_t>(p + 20, static_cast<uint32_t>(stored.size()));
  Store<uint16_t>(p + 24, static_cast<uint16_t>(headers.schema.size()));
  Store<uint16_t>(p + 26, static_cast<uint16_t>(headers.traceparent.size()));
  Store<int64_t>(p + 32, records[0].timestamp_us);
  Store<int64_t>(p + 40, columns.max_timestamp_us);
  Store<uint64_t>(p + 48, XXH3_64bits(p + kBlockHeaderBytes, value.size() - kBlockHeaderBytes));
  raw_scratch.Trim();
  compressed_scratch.Trim();
  return block;
}

void StampBlock(const BlockStamp& stamp, std::string* value) {
  char* p = value->data();
  Store<int64_t>(p + 56, stamp.partition_max_timestamp_us);
  Store<uint64_t>(p + 64, stamp.bytes_before);
  Store<int64_t>(p + 72, stamp.previous_end);
  Store<uint32_t>(p + 80, static_cast<uint32_t>(XXH3_64bits(p, 80)));
}

absl::StatusOr<BlockHeader> ParseBlockHeader(absl::string_view value) {
  if (value.size() < kBlockHeaderBytes) return absl::DataLossError("a block is shorter than its header");
  const char* p = value.data();
  BlockHeader header;
  header.version = static_cast<uint8_t>(p[0]);
  if (Load<uint32_t>(p + 80) != static_cast<uint32_t>(XXH3_64bits(p, 80))) {
    return absl::DataLossError("the checksum of a block's header is wrong");
  }
  if (header.version != kBlockVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("a block has format version ", header.version, ", this program knows ", kBlockVersion));
  }
  header.codec = static_cast<uint8_t>(p[1]);
  header.flags = static_cast<uint8_t>(p[2]);
  header.encryption_key_id = Load<uint32_t>(p + 4);
  header.records = Load<uint32_t>(p + 8);
  header.span = Load<uint32_t>(p + 12);
  header.raw_bytes = Load<uint32_t>(p + 16);
  header.stored_bytes = Load<uint32_t>(p + 20);
  header.schema_bytes = Load<uint16_t>(p + 24);
  header.traceparent_bytes = Load<uint16_t>(p + 26);
  header.first_timestamp_us = Load<int64_t>(p + 32);
  header.max_timestamp_us = Load<int64_t>(p + 40);
  header.body_checksum = Load<uint64_t>(p + 48);
  header.partition_max_timestamp_us = Load<int64_t>(p + 56);
  header.bytes_before = Load<uint64_t>(p + 64);
  header.previous_end = Load<int64_t>(p + 72);
  if (header.codec > static_cast<uint8_t>(BlockCodec::kZstd) || header.encryption_key_id != 0) {
    return absl::FailedPreconditionError(absl::StrCat("a block has codec ", header.codec, " and encryption key ",
                                                      header.encryption_key_id, ", which this program does not know"));
  }
  return header;
}

absl::StatusOr<FetchedBatch> DecodeBlock(absl::string_view value, int64_t base_offset, int64_t from_offset) {
  NARU_ASSIGN_OR_RETURN(const BlockHeader header, ParseBlockHeader(value));
  const absl::string_view body = value.substr(kBlockHeaderBytes);
  if (body.size() != size_t{header.schema_bytes} + header.traceparent_bytes + header.stored_bytes ||
      XXH3_64bits(body.data(), body.size()) != header.body_checksum) {
    return absl::DataLossError("the checksum of a block is wrong");
  }
  // Bounds the allocations below; no block that was encoded here is larger.
  if (header.raw_bytes > 2 * kMaxRecordBytes || header.records > header.raw_bytes) {
    return absl::DataLossError("a block claims an impossible size");
  }
  FetchedBatch batch;
  batch.headers.schema = std::string(body.substr(0, header.schema_bytes));
  batch.headers.traceparent = std::string(body.substr(header.schema_bytes, header.traceparent_bytes));
  const absl::string_view stored = body.substr(size_t{header.schema_bytes} + header.traceparent_bytes);
  std::shared_ptr<char[]> raw(new char[header.raw_bytes + 1]);
  NARU_RETURN_IF_ERROR(Decompress(header.codec, stored, raw.get(), header.raw_bytes));
  NARU_RETURN_IF_ERROR(
      ReadColumns(header, absl::string_view(raw.get(), header.raw_bytes), base_offset, from_offset, &batch.records));
  batch.next_offset = base_offset + header.span;
  batch.owner = std::move(raw);
  return batch;
}

}  // namespace naru::event_log
