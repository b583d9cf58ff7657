// Memory for small pieces of bytes that live until the next line.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/event/short_copy.h"

namespace naru::input_format {

/// What it gave out never moves until Reset.
class ByteArena {
 public:
  absl::string_view Copy(absl::string_view bytes) {
    char* out = Allocate(bytes.size());
    event::CopyShort(out, bytes.data(), bytes.size());
    return {out, bytes.size()};
  }

  char* Allocate(size_t size) {
    while (chunk_ < chunks_.size() && used_ + size > chunks_[chunk_].size) {
      ++chunk_;
      used_ = 0;
    }
    if (chunk_ == chunks_.size()) {
      const size_t chunk_size = std::max(kChunkBytes, size);
      chunks_.push_back({std::make_unique<char[]>(chunk_size), chunk_size});
      used_ = 0;
    }
    char* out = chunks_[chunk_].bytes.get() + used_;
    used_ += size;
    return out;
  }

  /// Keeps a moderate amount for the next line and gives the rest back.
  void Reset() {
    while (chunks_.size() > kKeptChunks) chunks_.pop_back();
    chunk_ = 0;
    used_ = 0;
  }

 private:
  static constexpr size_t kChunkBytes = 4096;
  static constexpr size_t kKeptChunks = 16;
  struct Chunk {
    std::unique_ptr<char[]> bytes;
    size_t size;
  };
  std::vector<Chunk> chunks_;
  size_t chunk_ = 0;
  size_t used_ = 0;
};

}  // namespace naru::input_format
