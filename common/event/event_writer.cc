#include "common/event/event_writer.h"

#include <cstring>

#include "common/event/wire.h"

namespace naru::event {
namespace {

using wire::AppendBytes;
using wire::AppendInt;
using wire::AppendVarint;
using wire::kFixed64;
using wire::kLength;
using wire::kVarint;
using wire::Tag;
using wire::VarintSize;

size_t ValueSize(const ValueView& value) {
  switch (value.kind) {
    case Kind::kAbsent:
    case Kind::kNull:
    case Kind::kBool:
      return 2;
    case Kind::kNumber:
      return 9;
    default:
      return 1 + VarintSize(value.bytes.size()) + value.bytes.size();
  }
}

void AppendValueFields(const ValueView& value, std::string* out) {
  switch (value.kind) {
    case Kind::kAbsent:
    case Kind::kNull:
      AppendInt(1, 0, out);
      return;
    case Kind::kBool:
      AppendInt(4, value.boolean ? 1 : 0, out);
      return;
    case Kind::kNumber: {
      char bytes[9];
      bytes[0] = Tag(2, kFixed64);
      std::memcpy(bytes + 1, &value.number, 8);
      out->append(bytes, 9);
      return;
    }
    case Kind::kString:
      AppendBytes(3, value.bytes, out);
      return;
    case Kind::kStruct:
      AppendBytes(5, value.bytes, out);
      return;
    case Kind::kList:
      AppendBytes(6, value.bytes, out);
      return;
  }
}

void AppendEntry(absl::string_view key, const ValueView& value, std::string* out) {
  const size_t value_size = ValueSize(value);
  const size_t entry_size = 1 + VarintSize(key.size()) + key.size() + 1 + VarintSize(value_size) + value_size;
  AppendVarint(Tag(1, kLength), out);
  AppendVarint(entry_size, out);
  AppendBytes(1, key, out);
  AppendVarint(Tag(2, kLength), out);
  AppendVarint(value_size, out);
  AppendValueFields(value, out);
}

void AppendTimestamp(uint32_t field, int64_t time_us, std::string* out) {
  int64_t seconds = time_us / 1'000'000;
  int64_t micros = time_us % 1'000'000;
  if (micros < 0) {
    micros += 1'000'000;
    --seconds;
  }
  std::string timestamp;  // at most 17 bytes: stays in the object
  if (seconds != 0) AppendInt(1, seconds, &timestamp);
  if (micros != 0) AppendInt(2, micros * 1000, &timestamp);
  AppendBytes(field, timestamp, out);
}

}  // namespace

void StructWriter::AddNull(absl::string_view key) { AppendEntry(key, ValueView{.kind = Kind::kNull}, out_); }
void StructWriter::AddNumber(absl::string_view key, double value) {
  AppendEntry(key, ValueView{.kind = Kind::kNumber, .number = value}, out_);
}
void StructWriter::AddString(absl::string_view key, absl::string_view value) {
  AppendEntry(key, ValueView{.kind = Kind::kString, .bytes = value}, out_);
}
void StructWriter::AddBool(absl::string_view key, bool value) {
  AppendEntry(key, ValueView{.kind = Kind::kBool, .boolean = value}, out_);
}
void StructWriter::AddStruct(absl::string_view key, absl::string_view struct_bytes) {
  AppendEntry(key, ValueView{.kind = Kind::kStruct, .bytes = struct_bytes}, out_);
}
void StructWriter::AddList(absl::string_view key, absl::string_view list_bytes) {
  AppendEntry(key, ValueView{.kind = Kind::kList, .bytes = list_bytes}, out_);
}
void StructWriter::AddValue(absl::string_view key, const ValueView& value) { AppendEntry(key, value, out_); }

void ListWriter::AddValue(const ValueView& value) {
  AppendVarint(Tag(1, kLength), out_);
  AppendVarint(ValueSize(value), out_);
  AppendValueFields(value, out_);
}

void AppendEvent(const EventFields& fields, std::string* out) {
  if (!fields.id.empty()) AppendBytes(1, fields.id, out);
  if (!fields.source.empty()) AppendBytes(2, fields.source, out);
  if (!fields.type.empty()) AppendBytes(3, fields.type, out);
  if (!fields.subject.empty()) AppendBytes(4, fields.subject, out);
  if (!fields.session.empty()) AppendBytes(5, fields.session, out);
  if (fields.has_time) AppendTimestamp(6, fields.time_us, out);
  if (!fields.data.empty()) AppendBytes(7, fields.data, out);
}

void AppendServerFields(const ServerFields& fields, std::string* out) {
  if (!fields.generated_id.empty()) AppendBytes(1, fields.generated_id, out);
  if (fields.set_time) AppendTimestamp(6, fields.time_us, out);
  if (fields.type_version != 0) AppendInt(9, fields.type_version, out);
  if (!fields.timeline.empty()) AppendBytes(10, fields.timeline, out);
  if (!fields.generated_id.empty()) AppendInt(11, 1, out);
}

namespace {

// Copies the fields below `end_field`, except `left_out`.
void CopyFields(absl::string_view event, uint32_t end_field, uint32_t left_out, std::string* out) {
  const char* p = event.data();
  const char* const end = p + event.size();
  uint32_t tag;
  while (p < end) {
    const char* const start = p;
    p = wire::ReadTag(p, end, &tag);
    if (p == nullptr) return;
    p = wire::SkipValue(p, end, tag);
    if (p == nullptr) return;
    if (tag >> 3 < end_field && tag >> 3 != left_out) out->append(start, p - start);
  }
}

}  // namespace

void AppendWithoutServerFields(absl::string_view event, std::string* out) { CopyFields(event, 8, 0, out); }

void AppendWithData(absl::string_view event, absl::string_view data, std::string* out) {
  CopyFields(event, 8, 7, out);
  AppendBytes(7, data, out);
}

void AppendPublishEntry(absl::string_view event, std::string* out) { AppendBytes(1, event, out); }

}  // namespace naru::event
