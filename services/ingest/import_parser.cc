#include "services/ingest/import_parser.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::ingest {

using input_format::LineRejection;

namespace {

/// Where the ledger's entry of a line's part begins: nothing that a chain of lines comes to.
ChainId PartStart(const ChainId& line, size_t first_event) {
  return NextChainId(line, absl::StrCat("\n", first_event));
}

std::unique_ptr<ParsedBatch> KnownBatch(const ChainId& start, const LedgerRange& known) {
  auto batch = std::make_unique<ParsedBatch>();
  batch->start = start;
  batch->range = known;
  batch->known_events = known.event_count;
  batch->known_rejected = known.rejected_count;
  batch->known_timeline = known.timeline;
  return batch;
}

}  // namespace

Batch ParsedBatch::MakeBatch() const {
  Batch batch;
  batch.events.reserve(events.size());
  for (size_t i = 0; i < events.size(); ++i) batch.events.push_back(events.event(i));
  batch.lines = event_lines;
  batch.rejected.reserve(rejected.size());
  for (const Rejected& line : rejected) {
    batch.rejected.push_back({line.rejection.reason, line.rejection.field, line.rejection.value,
                              line.rejection.expected, line.line.line, line.line.position, line.line.line_id});
  }
  batch.known_duplicates = known_events + known_rejected;
  return batch;
}

std::unique_ptr<ParsedBatch> ImportParser::Begin(const ChainId& start, const ImportBlock& block) const {
  auto batch = std::make_unique<ParsedBatch>();
  batch->start = start;
  batch->owners = block.owners;
  batch->lines.reserve(block.lines.size());
  batch->event_lines.reserve(block.lines.size());
  // Never moves while views point into it.
  batch->ids.reserve(block.lines.size() * kChainIdHexBytes);
  // Mostly an event is about as long as its line.
  batch->events.bytes.Reserve(block.bytes + block.bytes / 4 + 64 * block.lines.size());
  batch->events.ends.reserve(block.lines.size());
  return batch;
}

bool ImportParser::Fits(const ParsedBatch& batch) const {
  return batch.events.size() <= limits_.events && batch.events.bytes.size() <= limits_.bytes;
}

void ImportParser::ParseLine(size_t index, ParsedBatch* batch) {
  const ImportLine& line = batch->lines[index];
  const size_t id_at = batch->ids.size();
  batch->ids.resize(id_at + kChainIdHexBytes);
  WriteChainId(line.id, batch->ids.data() + id_at);
  const absl::string_view id = absl::string_view(batch->ids).substr(id_at, kChainIdHexBytes);
  const EventLine event_line{line.text, line.number, id};
  rejections_.clear();
  if (line.too_long) {
    LineRejection rejection;
    input_format::Reject(v1::LINE_TOO_LONG, "", line.text,
                         absl::StrCat("at most ", input_format::kMaxLineBytes, " bytes"), &rejection);
    rejections_.push_back(std::move(rejection));
  } else {
    parser_->Parse(line.text, {.line_id = id, .import_source = import_source_, .padded = true}, &batch->events,
                   &rejections_);
  }
  while (batch->event_lines.size() < batch->events.size()) batch->event_lines.push_back(event_line);
  for (LineRejection& rejection : rejections_) batch->rejected.push_back({std::move(rejection), event_line});
  batch->bytes += line.text.size();
  batch->range.end = line.id;
  batch->range.end_byte = line.end_byte;
  ++batch->range.line_count;
}

/// Takes the last line's results out of `batch` into a batch of their own.
std::unique_ptr<ParsedBatch> ImportParser::MoveLastLine(ParsedBatch* batch, size_t first_event,
                                                        size_t first_rejected) const {
  const ImportLine line = batch->lines.back();
  const ImportLine& before = batch->lines[batch->lines.size() - 2];
  auto moved = std::make_unique<ParsedBatch>();
  moved->start = before.id;
  moved->owners = batch->owners;
  moved->lines.push_back(line);
  moved->ids = batch->ids.substr(batch->ids.size() - kChainIdHexBytes);
  const EventLine event_line{line.text, line.number, moved->ids};
  for (size_t i = first_event; i < batch->events.size(); ++i) {
    moved->events.bytes.Append(batch->events.event(i));
    moved->events.ends.push_back(moved->events.bytes.size());
  }
  moved->event_lines.assign(moved->events.size(), event_line);
  for (size_t i = first_rejected; i < batch->rejected.size(); ++i) {
    moved->rejected.push_back({std::move(batch->rejected[i].rejection), event_line});
  }
  moved->bytes = line.text.size();
  moved->range.end = line.id;
  moved->range.line_count = 1;
  moved->range.end_byte = line.end_byte;
  batch->rejected.resize(first_rejected);
  batch->events.ends.resize(first_event);
  batch->events.bytes.Truncate(first_event == 0 ? 0 : batch->events.ends.back());
  batch->event_lines.resize(first_event);
  batch->bytes -= line.text.size();
  batch->lines.pop_back();
  batch->range.end = before.id;
  batch->range.end_byte = before.end_byte;
  --batch->range.line_count;
  return moved;
}

/// One line whose events do not fit into one batch. Each part has an entry of the ledger, so that an import that breaks
/// off between them goes on with the next; the line's own entry comes with the last part, when the others are durable.
void ImportParser::SplitLine(std::unique_ptr<ParsedBatch> batch,
                             std::vector<std::unique_ptr<ParsedBatch>>* batches) const {
  size_t next = 0;
  const size_t count = batch->events.size();
  while (next < count || batch != nullptr) {
    const ChainId part_start = PartStart(batch->lines[0].id, next);
    const LedgerRange* known = ledger_ == nullptr ? nullptr : ledger_->Find(part_start);
    // Entries say later how many of the part's events were rejected; together they stay as many.
    const auto known_count = static_cast<size_t>(known == nullptr ? 0 : known->event_count + known->rejected_count);
    if (known_count > 0 && next + known_count < count) {
      batches->push_back(KnownBatch(part_start, *known));
      next += known_count;
      continue;
    }
    auto part = std::make_unique<ParsedBatch>();
    const size_t first = next;
    part->owners = batch->owners;
    part->lines = batch->lines;
    part->ids = batch->ids;
    const EventLine line{batch->lines[0].text, batch->lines[0].number, part->ids};
    while (next < count && part->events.size() < limits_.events) {
      const absl::string_view event = batch->events.event(next);
      if (part->events.size() > 0 && part->events.bytes.size() + event.size() > limits_.bytes) break;
      part->events.bytes.Append(event);
      part->events.ends.push_back(part->events.bytes.size());
      ++next;
    }
    part->event_lines.assign(part->events.size(), line);
    part->after_all = next == count;
    part->range = batch->range;
    if (part->after_all) {
      part->start = batch->start;
      for (ParsedBatch::Rejected& rejected : batch->rejected)
        part->rejected.push_back({std::move(rejected.rejection), line});
      part->range.event_count = static_cast<int64_t>(count);
      part->range.rejected_count = static_cast<int64_t>(part->rejected.size());
      part->bytes = batch->bytes;
      batch.reset();
    } else {
      part->start = part_start;
      part->range.line_count = 0;
      part->range.event_count = static_cast<int64_t>(next - first);
    }
    batches->push_back(std::move(part));
  }
}

void ImportParser::Parse(ImportBlock block, const std::shared_ptr<const input_format::InputFormat>& format,
                         std::vector<std::unique_ptr<ParsedBatch>>* batches) {
  if (block.known != nullptr) {
    batches->push_back(KnownBatch(block.start, *block.known));
    return;
  }
  if (format_ != format) {
    format_ = format;
    parser_ = std::make_unique<input_format::LineParser>(format_);
  }
  const auto end = [&](std::unique_ptr<ParsedBatch> batch) {
    if (!Fits(*batch) && batch->lines.size() == 1) return SplitLine(std::move(batch), batches);
    batch->range.event_count = static_cast<int64_t>(batch->events.size());
    batch->range.rejected_count = static_cast<int64_t>(batch->rejected.size());
    batches->push_back(std::move(batch));
  };
  std::unique_ptr<ParsedBatch> batch = Begin(block.start, block);
  for (const ImportLine& line : block.lines) {
    if (batch == nullptr) batch = Begin(batches->back()->range.end, block);
    const size_t first_event = batch->events.size();
    const size_t first_rejected = batch->rejected.size();
    batch->lines.push_back(line);
    ParseLine(batch->lines.size() - 1, batch.get());
    if (Fits(*batch)) continue;
    std::unique_ptr<ParsedBatch> last;
    if (batch->lines.size() > 1) last = MoveLastLine(batch.get(), first_event, first_rejected);
    end(std::move(batch));
    if (last == nullptr) continue;
    // What did not fit beside others goes alone.
    end(std::move(last));
  }
  if (batch != nullptr) end(std::move(batch));
}

}  // namespace naru::ingest
