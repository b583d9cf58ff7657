// Cuts an import's bytes into blocks of lines with their identities, and finds the lines that earlier imports took.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/input_format/input_format.h"
#include "services/ingest/import_decompressor.h"
#include "services/ingest/import_ledger.h"
#include "services/ingest/line_chain.h"

namespace naru::ingest {

/// One line of an import.
struct ImportLine {
  absl::string_view text;  ///< 64 bytes after it may be read
  ChainId id;
  int64_t number = 0;    ///< from 1, in the decompressed file
  int64_t end_byte = 0;  ///< in decompressed bytes
  bool too_long = false;
};

/// Lines one after the other. Either all are known to the ledger, or none is.
struct ImportBlock {
  ChainId start;  ///< identity before the first line
  std::vector<ImportLine> lines;
  const LedgerRange* known = nullptr;  ///< not null: `lines` is empty, and these were taken before
  size_t bytes = 0;                    ///< of the lines' text
  std::vector<std::shared_ptr<const std::string>> owners;
};

/// How far a file was taken: behind a line, or at its start.
struct ImportPosition {
  ChainId line_id;
  int64_t end_byte = 0;
  int64_t next_line_number = 1;
  std::string header;  ///< the header line, where the format has one
};

/// Limits of a block.
struct ImportBlockLimits {
  size_t lines = 4096;
  size_t bytes = size_t{1} << 20;
};

/// Not thread-safe. Borrows the ledger.
class ImportReader {
 public:
  ImportReader(std::shared_ptr<const input_format::InputFormat> format, absl::string_view source,
               absl::string_view seed, ImportCompression compression, const ImportLedger* ledger,
               ImportBlockLimits limits);

  ~ImportReader();

  /// Before anything is added: what comes is not the file's start but goes on there.
  /// Errors: INVALID_ARGUMENT for a header that does not fit.
  absl::Status GoOnFrom(const ImportPosition& position);

  /// Takes the file's next bytes and appends the blocks that are complete. Errors: INVALID_ARGUMENT as
  /// ImportDecompressor::Step, or for a header that does not fit; the blocks appended before are good.
  absl::Status Add(absl::string_view bytes, std::vector<ImportBlock>* blocks);
  /// The file ends here. On an error (the file was cut off inside a compressed stream), or if it is still growing, only
  /// whole lines were appended.
  absl::Status Finish(bool growing, std::vector<ImportBlock>* blocks);

  /// The format that lines are to be parsed with; changes once, when a header was read.
  const std::shared_ptr<const input_format::InputFormat>& format() const { return format_; }
  const ChainId& chain() const { return chain_; }
  int64_t end_byte() const { return end_byte_; }
  /// Behind the last whole record.
  ImportPosition position() const { return {chain_, record_end_, next_number_, header_}; }
  /// Non-blank lines so far.
  int64_t line_count() const { return line_count_; }

 private:
  class BufferPool;
  absl::Status Cut(bool at_end, std::vector<ImportBlock>* blocks);
  absl::Status AddRecord(const input_format::RecordSplitter::Record& record, bool may_grow,
                         const std::shared_ptr<const std::string>& owner, std::vector<ImportBlock>* blocks);
  void SplitOffLastLine(std::vector<ImportBlock>* blocks);
  void EndBlock(bool known, std::vector<ImportBlock>* blocks);
  void BeginBlock();

  std::shared_ptr<const input_format::InputFormat> format_;
  const ImportLedger* ledger_;
  const ImportBlockLimits limits_;
  ImportDecompressor decompressor_;
  input_format::RecordSplitter splitter_;
  bool header_pending_;
  bool at_start_ = true;
  std::shared_ptr<BufferPool> pool_;
  std::string buffer_;  ///< decompressed, not yet cut
  ChainId chain_;
  int64_t end_byte_ = 0;
  int64_t record_end_ = 0;  ///< as end_byte_, without the begin of a record that is too long
  int64_t next_number_ = 1;
  std::string header_;
  int64_t line_count_ = 0;
  ImportBlock block_;
  const LedgerRange* target_ = nullptr;  ///< the range that begins where the block does
};

}  // namespace naru::ingest
