#include "common/input_format/columns.h"

#include <re2/re2.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "naru/catalog/v1/resources.pb.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::input_format {
namespace {

constexpr int64_t kMaxRegexBytes = 8 << 20;

absl::Status WrongField(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", what));
}

bool WrongCount(absl::string_view line, size_t found, size_t wanted, LineRejection* rejection) {
  return Reject(ingest::v1::PARSE, "", line, absl::StrCat(wanted, " columns, not ", found), rejection);
}

class CsvParser : public ColumnParser {
 public:
  CsvParser(char delimiter, std::vector<std::string> names) : delimiter_(delimiter), names_(std::move(names)) {}
  const std::vector<std::string>& names() const override { return names_; }
  bool Parse(absl::string_view line, Columns* columns, LineRejection* rejection) const override {
    if (!SplitCsv(line, delimiter_, columns, rejection)) return false;
    if (columns->values.size() == names_.size()) return true;
    return WrongCount(line, columns->values.size(), names_.size(), rejection);
  }

 private:
  char delimiter_;
  std::vector<std::string> names_;
};

class DelimitedParser : public ColumnParser {
 public:
  DelimitedParser(char delimiter, std::vector<std::string> names) : delimiter_(delimiter), names_(std::move(names)) {}
  const std::vector<std::string>& names() const override { return names_; }
  bool Parse(absl::string_view line, Columns* columns, LineRejection* rejection) const override {
    const size_t last = names_.size() - 1;
    columns->values.resize(names_.size());
    size_t start = 0;
    for (size_t i = 0; i < last; ++i) {
      const size_t end = line.find(delimiter_, start);
      if (end == absl::string_view::npos) return WrongCount(line, i + 1, names_.size(), rejection);
      columns->values[i] = {line.substr(start, end - start), true};
      start = end + 1;
    }
    columns->values[last] = {line.substr(start), true};
    return true;
  }

 private:
  char delimiter_;
  std::vector<std::string> names_;
};

class RegexParser : public ColumnParser {
 public:
  explicit RegexParser(std::unique_ptr<RE2> pattern) : pattern_(std::move(pattern)) {
    for (const auto& [group, name] : pattern_->CapturingGroupNames()) {
      groups_.push_back(group);
      names_.push_back(name);
    }
    group_count_ = groups_.empty() ? 1 : groups_.back() + 1;
  }
  const std::vector<std::string>& names() const override { return names_; }
  bool Parse(absl::string_view line, Columns* columns, LineRejection* rejection) const override {
    // On the stack for all but odd patterns.
    constexpr int kFew = 32;
    re2::StringPiece few[kFew];
    std::vector<re2::StringPiece> many(group_count_ > kFew ? group_count_ : 0);
    re2::StringPiece* groups = group_count_ > kFew ? many.data() : few;
    const re2::StringPiece text(line.data(), line.size());
    if (!pattern_->Match(text, 0, text.size(), RE2::ANCHOR_BOTH, groups, group_count_)) {
      return Reject(ingest::v1::PARSE, "", line, "a line that the whole pattern matches", rejection);
    }
    columns->values.clear();
    for (int group : groups_) {
      const re2::StringPiece& found = groups[group];
      columns->values.push_back({absl::string_view(found.data(), found.size()), found.data() != nullptr});
    }
    return true;
  }

 private:
  std::unique_ptr<RE2> pattern_;
  std::vector<int> groups_;
  std::vector<std::string> names_;
  int group_count_;
};

absl::StatusOr<std::unique_ptr<ColumnParser>> MakeRegexParser(const catalog::v1::Parser& spec) {
  if (spec.pattern().empty()) return WrongField("spec.parser.pattern", "is needed for a regex parser");
  RE2::Options options;
  options.set_max_mem(kMaxRegexBytes);
  options.set_log_errors(false);
  auto pattern = std::make_unique<RE2>(spec.pattern(), options);
  if (!pattern->ok()) return WrongField("spec.parser.pattern", absl::StrCat("is not valid RE2: ", pattern->error()));
  if (pattern->CapturingGroupNames().empty()) {
    return WrongField("spec.parser.pattern", "has no named groups; write (?P<name>...)");
  }
  return std::make_unique<RegexParser>(std::move(pattern));
}

absl::StatusOr<std::vector<std::string>> ColumnNames(const catalog::v1::Parser& spec) {
  std::vector<std::string> names(spec.columns().begin(), spec.columns().end());
  if (names.empty()) return WrongField("spec.parser.columns", absl::StrCat("are needed for a ", spec.type(), " parser"));
  std::vector<std::string> sorted = names;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) return WrongField("spec.parser.columns", absl::StrCat("`", *twice, "` is there twice"));
  if (sorted.front().empty()) return WrongField("spec.parser.columns", "a column has no name");
  return names;
}

}  // namespace

bool ColumnParser::IsNumber(size_t /*column*/) const { return false; }

bool SplitCsv(absl::string_view record, char delimiter, Columns* columns, LineRejection* rejection) {
  columns->values.clear();
  columns->unescaped.clear();
  // Never moves while views point into it: what is unescaped is shorter than the record.
  if (columns->unescaped.capacity() < record.size() + kPaddingBytes) {
    columns->unescaped.reserve(record.size() + kPaddingBytes);
  }
  size_t i = 0;
  while (true) {
    if (i >= record.size() || record[i] != '"') {
      const size_t end = std::min(record.find(delimiter, i), record.size());
      columns->values.push_back({record.substr(i, end - i), true});
      if (end == record.size()) return true;
      i = end + 1;
      continue;
    }
    const size_t open = i++;
    const size_t start = columns->unescaped.size();
    size_t from = i;
    while (true) {
      const size_t quote = record.find('"', i);
      if (quote == absl::string_view::npos) {
        return Reject(ingest::v1::PARSE, "", record.substr(open), "a closing quote", rejection);
      }
      i = quote + 1;
      if (i >= record.size() || record[i] != '"') {
        // Mostly nothing had to be unescaped, and the column is where it was.
        if (columns->unescaped.size() == start) {
          columns->values.push_back({record.substr(from, quote - from), true});
        } else {
          columns->unescaped.append(record.data() + from, quote - from);
          columns->values.push_back({absl::string_view(columns->unescaped).substr(start), true});
        }
        break;
      }
      columns->unescaped.append(record.data() + from, i - from);
      from = ++i;
    }
    if (i == record.size()) return true;
    if (record[i] != delimiter) {
      return Reject(ingest::v1::PARSE, "", record.substr(open), "a delimiter after the closing quote", rejection);
    }
    ++i;
  }
}

absl::StatusOr<char> DelimiterOf(const catalog::v1::Parser& spec) {
  const std::string& text = spec.delimiter();
  if (text.empty()) return spec.type() == "csv" ? ',' : '|';
  if (text == "\\t") return '\t';
  if (text.size() != 1 || text == "\n" || text == "\r" || (text == "\"" && spec.type() == "csv")) {
    return WrongField("spec.parser.delimiter", absl::StrCat("`", text, "` is not one character; write , or | or \\t"));
  }
  return text[0];
}

std::unique_ptr<ColumnParser> MakeCsvParser(char delimiter, std::vector<std::string> columns) {
  return std::make_unique<CsvParser>(delimiter, std::move(columns));
}

absl::StatusOr<std::unique_ptr<ColumnParser>> MakeColumnParser(const catalog::v1::Parser& spec) {
  if (spec.type() == "apache_combined") return MakeApacheCombinedParser();
  if (spec.type() == "regex") return MakeRegexParser(spec);
  if (spec.type() != "csv" && spec.type() != "delimited") {
    return WrongField("spec.parser.type", absl::StrCat("`", spec.type(), "` is not known; there are json, csv, delimited, "
                                                       "regex, apache_combined"));
  }
  auto delimiter = DelimiterOf(spec);
  if (!delimiter.ok()) return delimiter.status();
  auto names = ColumnNames(spec);
  if (!names.ok()) return names.status();
  if (spec.type() == "csv") return MakeCsvParser(*delimiter, *std::move(names));
  return std::make_unique<DelimitedParser>(*delimiter, *std::move(names));
}

}  // namespace naru::input_format
