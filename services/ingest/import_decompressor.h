// Decompresses an import's bytes as they come.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace naru::ingest {

/// How the bytes are compressed; kDetect finds out from the first four.
enum class ImportCompression { kDetect, kNone, kGzip, kZstd };

/// A stream of gzip members or Zstandard frames, one after the other, or of plain bytes. Memory is bounded: 128 MiB at most for
/// a Zstandard window. Not thread-safe.
class ImportDecompressor {
 public:
  /// More output than 2,000 times the input is refused once it is over this.
  static constexpr int64_t kFreeExpansionBytes = int64_t{256} << 20;
  static constexpr int64_t kMaxExpansion = 2000;

  explicit ImportDecompressor(ImportCompression compression);
  ~ImportDecompressor();

  /// Takes bytes from the front of `*input` and appends at most about `max_output` decompressed ones to `*output`; call again
  /// while `*input` is not empty.
  /// Errors: INVALID_ARGUMENT (IMPORT_DAMAGED, IMPORT_EXPANSION). Some damage shows only in the checksum at the end of a member
  /// or frame, when its bytes have been put out.
  absl::Status Step(absl::string_view* input, size_t max_output, std::string* output);

  /// Nothing comes any more: puts out what is left. Errors: INVALID_ARGUMENT (IMPORT_TRUNCATED) inside a member or frame.
  absl::Status Finish(std::string* output);

 private:
  struct Streams;
  absl::Status Detect(absl::string_view* input, bool at_end);
  absl::Status StepGzip(absl::string_view* input, size_t max_output, std::string* output);
  absl::Status StepZstd(absl::string_view* input, size_t max_output, std::string* output);
  absl::Status Damaged(absl::string_view what) const;
  absl::Status CheckExpansion();

  ImportCompression compression_;
  std::string first_;         ///< the bytes that tell the compression, until there are four
  std::string first_unread_;  ///< those of them that are still to be decompressed
  std::unique_ptr<Streams> streams_;
  bool inside_ = false;  ///< of a member or frame
  bool padding_ = false;  ///< zeros after the last gzip member
  int64_t input_bytes_ = 0;
  int64_t output_bytes_ = 0;
};

}  // namespace naru::ingest
