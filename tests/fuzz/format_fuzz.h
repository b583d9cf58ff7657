// What the fuzzers of input formats share: any bytes are a file of the format.
#pragma once

#include <google/protobuf/util/json_util.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "common/event/event_view.h"
#include "common/input_format/input_format.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::fuzz {

/// A format with its parser.
class FormatTarget {
 public:
  explicit FormatTarget(const char* spec_json) {
    catalog::v1::InputFormat spec;
    if (!google::protobuf::util::JsonStringToMessage(spec_json, &spec).ok()) std::abort();
    auto format = input_format::InputFormat::Compile("fuzz", spec);
    if (!format.ok()) std::abort();
    format_ = *format;
    parser_ = std::make_unique<input_format::LineParser>(format_);
  }

  /// Reads all records of `file`; every event that comes out must be one that ingest can read.
  void Run(absl::string_view file) {
    input_format::RecordSplitter splitter = format_->MakeSplitter();
    input_format::RecordSplitter::Record record;
    bool more = true;
    while (more) {
      more = splitter.Next(file, true, &record);
      if (record.size == 0 && more) std::abort();
      file.remove_prefix(record.size);
      if (!more) break;
      events_.Clear();
      rejections_.clear();
      parser_->Parse(record.text, {.line_id = "0123456789abcdef"}, &events_, &rejections_);
      for (size_t i = 0; i < events_.size(); ++i) Check(events_.event(i));
    }
    if (!file.empty()) std::abort();
  }

 private:
  static void Check(absl::string_view bytes) {
    event::EventView view;
    switch (event::ParseEvent(bytes, event::Limits(), &view)) {
      case event::ParseError::kOk:
      case event::ParseError::kAttributeTooLong:
      case event::ParseError::kEventTooLarge: return;
      default: std::abort();
    }
  }

  std::shared_ptr<const input_format::InputFormat> format_;
  std::unique_ptr<input_format::LineParser> parser_;
  input_format::EventBuffer events_;
  std::vector<input_format::LineRejection> rejections_;
};

/// Runs all formats over the input; they are made once.
template <size_t kCount>
int RunFormats(const char* const (&specs)[kCount], const uint8_t* data, size_t size) {
  static auto* const targets = [&] {
    auto* made = new std::vector<FormatTarget>();
    for (const char* spec : specs) made->emplace_back(spec);
    return made;
  }();
  for (FormatTarget& target : *targets) target.Run({reinterpret_cast<const char*>(data), size});
  return 0;
}

}  // namespace naru::fuzz
