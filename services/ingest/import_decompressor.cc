#include "services/ingest/import_decompressor.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"

namespace naru::ingest {
namespace {

constexpr absl::string_view kGzipMagic("\x1f\x8b", 2);
constexpr absl::string_view kZstdMagic("\x28\xb5\x2f\xfd", 4);
constexpr int kMaxZstdWindowLog = 27;
constexpr size_t kStepBytes = 256 * 1024;

bool BeginsWith(absl::string_view text, absl::string_view start) { return text.substr(0, start.size()) == start; }

}  // namespace

struct ImportDecompressor::Streams {
  ~Streams() {
    if (gzip_open) inflateEnd(&gzip);
    ZSTD_freeDCtx(zstd);
  }
  z_stream gzip{};
  bool gzip_open = false;
  ZSTD_DCtx* zstd = nullptr;
};

ImportDecompressor::ImportDecompressor(ImportCompression compression)
    : compression_(compression), streams_(std::make_unique<Streams>()) {}
ImportDecompressor::~ImportDecompressor() = default;

absl::Status ImportDecompressor::Damaged(absl::string_view what) const {
  return MakeError(absl::StatusCode::kInvalidArgument, "IMPORT_DAMAGED",
                   absl::StrCat("the ", compression_ == ImportCompression::kGzip ? "gzip" : "zstd",
                                " stream is damaged near compressed byte ", input_bytes_, ": ", what));
}

absl::Status ImportDecompressor::CheckExpansion() {
  if (output_bytes_ <= kFreeExpansionBytes || output_bytes_ / kMaxExpansion <= input_bytes_) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, "IMPORT_EXPANSION",
                   absl::StrCat(input_bytes_, " compressed bytes became ", output_bytes_, "; at most ", kMaxExpansion,
                                " times as many are taken: decompress the file and import that"));
}

absl::Status ImportDecompressor::Detect(absl::string_view* input, bool at_end) {
  const size_t wanted = std::min(input->size(), kZstdMagic.size() - first_.size());
  first_.append(input->data(), wanted);
  input->remove_prefix(wanted);
  if (first_.size() < kZstdMagic.size() && !at_end) return absl::OkStatus();
  compression_ = BeginsWith(first_, kGzipMagic)   ? ImportCompression::kGzip
                 : BeginsWith(first_, kZstdMagic) ? ImportCompression::kZstd
                                                  : ImportCompression::kNone;
  first_unread_ = first_;
  return absl::OkStatus();
}

absl::Status ImportDecompressor::Step(absl::string_view* input, size_t max_output, std::string* output) {
  if (compression_ == ImportCompression::kDetect) {
    NARU_RETURN_IF_ERROR(Detect(input, false));
    if (compression_ == ImportCompression::kDetect) return absl::OkStatus();
  }
  absl::string_view first = first_unread_;
  absl::string_view* from = first.empty() ? input : &first;
  absl::Status status;
  if (compression_ == ImportCompression::kNone) {
    const size_t taken = std::min(from->size(), max_output);
    output->append(from->data(), taken);
    from->remove_prefix(taken);
  } else {
    status = compression_ == ImportCompression::kGzip ? StepGzip(from, max_output, output)
                                                      : StepZstd(from, max_output, output);
  }
  if (from == &first) first_unread_ = std::string(first);
  NARU_RETURN_IF_ERROR(status);
  return CheckExpansion();
}

absl::Status ImportDecompressor::StepGzip(absl::string_view* input, size_t max_output, std::string* output) {
  z_stream& stream = streams_->gzip;
  if (!streams_->gzip_open) {
    if (inflateInit2(&stream, 15 + 16) != Z_OK) return absl::ResourceExhaustedError("no memory for gzip");
    streams_->gzip_open = true;
  }
  size_t made = 0;
  while (!input->empty() && made < max_output) {
    if (!inside_) {
      // Tapes and some tools fill up with zeros after the last member.
      const size_t zeros = std::min(input->find_first_not_of('\0'), input->size());
      padding_ = padding_ || zeros > 0;
      input->remove_prefix(zeros);
      input_bytes_ += static_cast<int64_t>(zeros);
      if (input->empty()) return absl::OkStatus();
      if (padding_) return Damaged("bytes after the zeros that follow the last member");
      inflateReset(&stream);
      inside_ = true;
    }
    const size_t room = std::min(max_output - made, kStepBytes);
    const size_t start = output->size();
    output->resize(start + room);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input->data()));
    stream.avail_in = static_cast<uInt>(std::min<size_t>(input->size(), 1 << 30));
    const size_t offered = stream.avail_in;
    stream.next_out = reinterpret_cast<Bytef*>(output->data() + start);
    stream.avail_out = static_cast<uInt>(room);
    const int result = inflate(&stream, Z_NO_FLUSH);
    const size_t put_out = room - stream.avail_out;
    output->resize(start + put_out);
    input->remove_prefix(offered - stream.avail_in);
    input_bytes_ += static_cast<int64_t>(offered - stream.avail_in);
    output_bytes_ += static_cast<int64_t>(put_out);
    made += put_out;
    if (result == Z_STREAM_END) {
      inside_ = false;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      return Damaged(stream.msg == nullptr ? "not gzip" : stream.msg);
    } else if (result == Z_BUF_ERROR && put_out == 0 && offered == stream.avail_in) {
      return Damaged("it does not go on");
    }
  }
  return absl::OkStatus();
}

absl::Status ImportDecompressor::StepZstd(absl::string_view* input, size_t max_output, std::string* output) {
  if (streams_->zstd == nullptr) {
    streams_->zstd = ZSTD_createDCtx();
    if (streams_->zstd == nullptr) return absl::ResourceExhaustedError("no memory for zstd");
    ZSTD_DCtx_setParameter(streams_->zstd, ZSTD_d_windowLogMax, kMaxZstdWindowLog);
  }
  size_t made = 0;
  while (!input->empty() && made < max_output) {
    const size_t room = std::min(max_output - made, kStepBytes);
    const size_t start = output->size();
    output->resize(start + room);
    ZSTD_inBuffer in{input->data(), input->size(), 0};
    ZSTD_outBuffer out{output->data() + start, room, 0};
    const size_t result = ZSTD_decompressStream(streams_->zstd, &out, &in);
    output->resize(start + out.pos);
    input->remove_prefix(in.pos);
    input_bytes_ += static_cast<int64_t>(in.pos);
    output_bytes_ += static_cast<int64_t>(out.pos);
    made += out.pos;
    if (ZSTD_isError(result)) return Damaged(ZSTD_getErrorName(result));
    inside_ = result != 0;
    if (in.pos == 0 && out.pos == 0) return Damaged("it does not go on");
  }
  return absl::OkStatus();
}

absl::Status ImportDecompressor::Finish(std::string* output) {
  absl::string_view nothing;
  if (compression_ == ImportCompression::kDetect) NARU_RETURN_IF_ERROR(Detect(&nothing, true));
  while (!first_unread_.empty()) NARU_RETURN_IF_ERROR(Step(&nothing, kStepBytes, output));
  if (compression_ == ImportCompression::kZstd && inside_) {
    // The last bytes of a frame may still be inside the decompressor.
    ZSTD_inBuffer in{nullptr, 0, 0};
    while (true) {
      const size_t start = output->size();
      output->resize(start + kStepBytes);
      ZSTD_outBuffer out{output->data() + start, kStepBytes, 0};
      const size_t result = ZSTD_decompressStream(streams_->zstd, &out, &in);
      output->resize(start + out.pos);
      inside_ = ZSTD_isError(result) || result != 0;
      if (out.pos == 0 || !inside_) break;
    }
  }
  if (!inside_) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, "IMPORT_TRUNCATED",
                   absl::StrCat("the file ends inside a ", compression_ == ImportCompression::kGzip ? "gzip" : "zstd",
                                " stream after ", input_bytes_, " compressed bytes: it was cut off"));
}

}  // namespace naru::ingest
