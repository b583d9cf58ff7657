// Parses blocks of lines into batches that the pipeline can take.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/input_format/input_format.h"
#include "services/ingest/import_reader.h"
#include "services/ingest/pipeline.h"

namespace naru::ingest {

/// Lines as events and rejections, ready to be submitted; owns all that the views of its Batch point into.
struct ParsedBatch {
  ChainId start;
  LedgerRange range;              ///< what the ledger will say of these lines; without `timeline`
  bool after_all = false;         ///< to be submitted only when all batches before are durable
  int64_t known_events = 0;       ///< the ledger knew these lines: only counted
  int64_t known_rejected = 0;
  std::string known_timeline;
  size_t bytes = 0;               ///< of the lines' text

  input_format::EventBuffer events;
  std::vector<EventLine> event_lines;  ///< one for each event
  struct Rejected {
    input_format::LineRejection rejection;
    EventLine line;
  };
  std::vector<Rejected> rejected;
  std::string ids;                     ///< hexadecimal digits of the lines' ids
  std::vector<ImportLine> lines;
  std::vector<std::shared_ptr<const std::string>> owners;

  bool is_known() const { return known_events + known_rejected > 0 || !known_timeline.empty(); }
  /// A batch of it. The views live as long as this object does.
  Batch MakeBatch() const;
};

/// Limits of one batch of the pipeline, with room for what ingest adds.
struct ParsedBatchLimits {
  size_t events = kMaxBatchEvents;
  size_t bytes = kMaxBatchBytes - (size_t{512} << 10);
};

/// Not thread-safe.
class ImportParser {
 public:
  ImportParser(std::string import_source, ParsedBatchLimits limits)
      : import_source_(std::move(import_source)), limits_(limits) {}

  /// What the ledger knows of parts of lines is not taken again. Borrowed.
  void set_ledger(const ImportLedger* ledger) { ledger_ = ledger; }

  /// Appends the block's batches, in order: mostly one.
  void Parse(ImportBlock block, const std::shared_ptr<const input_format::InputFormat>& format,
             std::vector<std::unique_ptr<ParsedBatch>>* batches);

 private:
  std::unique_ptr<ParsedBatch> Begin(const ChainId& start, const ImportBlock& block) const;
  void ParseLine(size_t index, ParsedBatch* batch);
  bool Fits(const ParsedBatch& batch) const;
  std::unique_ptr<ParsedBatch> MoveLastLine(ParsedBatch* batch, size_t first_event, size_t first_rejected) const;
  void SplitLine(std::unique_ptr<ParsedBatch> batch, std::vector<std::unique_ptr<ParsedBatch>>* batches) const;

  const std::string import_source_;
  const ParsedBatchLimits limits_;
  const ImportLedger* ledger_ = nullptr;
  std::shared_ptr<const input_format::InputFormat> format_;
  std::unique_ptr<input_format::LineParser> parser_;
  std::vector<input_format::LineRejection> rejections_;
};

}  // namespace naru::ingest
