#include "common/catalog/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <map>
#include <sstream>
#include <stdexcept>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/event/utf8.h"

namespace naru::catalog {
namespace {

constexpr absl::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Thrown out of the handler and caught in ParseYamlDocument: the library's parser can only be left that way.
struct LimitExceeded : std::runtime_error {
  LimitExceeded(const YAML::Mark& where, const std::string& message) : std::runtime_error(message), mark(where) {}
  YAML::Mark mark;
};

// Translates the library's marks (lines from 0, columns in bytes) into positions.
class Positions {
 public:
  explicit Positions(const YamlDocumentText& document) : text_(document.text), first_line_(document.first_line) {
    starts_.push_back(0);
    for (size_t i = 0; i < text_.size(); ++i) {
      if (text_[i] == '\n') starts_.push_back(i + 1);
    }
  }
  Position At(const YAML::Mark& mark) {
    if (mark.is_null() || mark.line < 0) return {first_line_, 1};
    if (static_cast<size_t>(mark.line) >= starts_.size()) return {first_line_ + mark.line, 1};
    const size_t target = starts_[mark.line] + static_cast<size_t>(mark.column);
    // Marks mostly come in order: going on from the last one keeps a document of one long line from being read over and
    // over.
    if (mark.line != last_line_ || target < last_byte_) {
      last_line_ = mark.line;
      last_byte_ = starts_[mark.line];
      last_column_ = 1;
    }
    for (; last_byte_ < text_.size() && last_byte_ < target; ++last_byte_) {
      if ((static_cast<unsigned char>(text_[last_byte_]) & 0xC0) != 0x80) ++last_column_;
    }
    return {first_line_ + mark.line, last_column_};
  }

 private:
  absl::string_view text_;
  int first_line_;
  std::vector<size_t> starts_;  // of each line, in bytes
  int last_line_ = -1;
  size_t last_byte_ = 0;
  int last_column_ = 1;
};

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(Positions* positions, YamlTree* tree) : positions_(positions), tree_(tree) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    // The library ends a document where it cannot go on, and would take the rest for a new one.
    if (tree_->root >= 0) throw LimitExceeded(mark, "not YAML: this does not belong to what stands above it");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Place(NewNode(mark, YamlNode::Kind::kNull, "?", anchor));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw LimitExceeded(mark, "an alias to an anchor that is not there");
    for (const Open& open : open_) {
      if (open.node == found->second) throw LimitExceeded(mark, "an alias to something that it is itself part of");
    }
    Place(found->second);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const int node = NewNode(mark, YamlNode::Kind::kScalar, tag, anchor);
    tree_->nodes[node].text = value;
    tree_->nodes[node].plain = tag == "?";
    Place(node);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Begin(mark, YamlNode::Kind::kSequence, tag, anchor);
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Begin(mark, YamlNode::Kind::kMap, tag, anchor);
  }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  struct Open {
    int node;
    int key = -1;  // of a map: the key whose value comes next
  };

  int NewNode(const YAML::Mark& mark, YamlNode::Kind kind, const std::string& tag, YAML::anchor_t anchor) {
    if (tree_->nodes.size() >= static_cast<size_t>(kMaxYamlNodes)) {
      throw LimitExceeded(mark, absl::StrCat("a document may hold at most ", kMaxYamlNodes, " values"));
    }
    YamlNode node;
    node.kind = kind;
    node.position = positions_->At(mark);
    static constexpr absl::string_view kCore = "tag:yaml.org,2002:";
    const absl::string_view name = absl::StripPrefix(tag, kCore);
    if (tag != "?" && tag != "!" && !tag.empty() && name != "str" && name != "map" && name != "seq") node.tag = tag;
    tree_->nodes.push_back(std::move(node));
    const int index = static_cast<int>(tree_->nodes.size()) - 1;
    if (anchor != YAML::NullAnchor) anchors_[anchor] = index;
    return index;
  }

  void Begin(const YAML::Mark& mark, YamlNode::Kind kind, const std::string& tag, YAML::anchor_t anchor) {
    if (open_.size() >= static_cast<size_t>(kMaxYamlDepth)) {
      throw LimitExceeded(mark, absl::StrCat("nested deeper than ", kMaxYamlDepth, " levels"));
    }
    const int node = NewNode(mark, kind, tag, anchor);
    Place(node);
    open_.push_back({node});
  }

  // Gives a finished or begun node to the collection that is open.
  void Place(int node) {
    if (open_.empty()) {
      tree_->root = node;
      return;
    }
    Open& open = open_.back();
    YamlNode& parent = tree_->nodes[open.node];
    if (parent.kind == YamlNode::Kind::kSequence) {
      parent.items.push_back(node);
    } else if (open.key < 0) {
      open.key = node;
    } else {
      parent.entries.emplace_back(open.key, node);
      open.key = -1;
    }
  }

  Positions* positions_;
  YamlTree* tree_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, int> anchors_;
};

// `---` or `...` at the start of a line, followed by white space or the end.
bool IsMarker(absl::string_view line, absl::string_view marker) {
  if (!absl::StartsWith(line, marker)) return false;
  return line.size() == marker.size() || line[marker.size()] == ' ' || line[marker.size()] == '\t' ||
         line[marker.size()] == '\r';
}

// Whether a part holds anything but comments, directives and markers.
bool HasContent(absl::string_view text) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    absl::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (absl::StartsWith(line, "%")) continue;
    if (IsMarker(line, "---")) line.remove_prefix(3);
    const size_t first = line.find_first_not_of(" \t\r");
    if (first != absl::string_view::npos && line[first] != '#') return true;
  }
  return false;
}

}  // namespace

std::vector<YamlDocumentText> SplitYamlStream(absl::string_view text) {
  std::vector<YamlDocumentText> documents;
  text = absl::StripPrefix(text, kByteOrderMark);
  size_t begin = 0;
  int begin_line = 1;
  int line_number = 1;
  const auto finish = [&](size_t end) {
    const absl::string_view part = text.substr(begin, end - begin);
    if (HasContent(part)) documents.push_back({std::string(part), begin_line});
  };
  for (size_t start = 0; start < text.size(); ++line_number) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const absl::string_view line = text.substr(start, end - start);
    const size_t next = std::min(end + 1, text.size());
    if (IsMarker(line, "---")) {
      finish(start);
      begin = start;
      begin_line = line_number;
    } else if (IsMarker(line, "...")) {
      finish(start);
      begin = next;
      begin_line = line_number + 1;
    }
    start = next;
  }
  finish(text.size());
  return documents;
}

bool CheckYamlBytes(absl::string_view text, FileProblem* problem) {
  int line_number = 1;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const absl::string_view line = text.substr(0, end);
    problem->position = {line_number, 1};
    if (!event::ValidUtf8(line)) {
      problem->message = "this line is not UTF-8";
      return false;
    }
    for (size_t i = 0; i < line.size(); ++i) {
      const auto byte = static_cast<unsigned char>(line[i]);
      const bool line_end = byte == '\r' && i + 1 == line.size();
      if ((byte >= 0x20 && byte != 0x7F) || byte == '\t' || line_end) continue;
      problem->message = absl::StrCat("a control character (byte ", byte, "); write it as an escape in double quotes");
      return false;
    }
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line_number;
  }
  return true;
}

bool ParseYamlDocument(const YamlDocumentText& document, YamlTree* tree, FileProblem* problem) {
  if (document.text.size() > kMaxDocumentBytes) {
    problem->position = {document.first_line, 1};
    problem->message =
        absl::StrCat("the document has ", document.text.size(), " bytes; at most ", kMaxDocumentBytes, " are allowed");
    return false;
  }
  Positions positions(document);
  try {
    std::istringstream stream(document.text);
    YAML::Parser parser(stream);
    TreeBuilder builder(&positions, tree);
    while (parser.HandleNextDocument(builder)) {
    }
    return true;
  } catch (const LimitExceeded& limit) {
    problem->position = positions.At(limit.mark);
    problem->message = limit.what();
  } catch (const YAML::Exception& exception) {
    problem->position = positions.At(exception.mark);
    problem->message = absl::StrCat("not YAML: ", exception.msg);
  } catch (const std::exception& exception) {
    problem->position = {document.first_line, 1};
    problem->message = absl::StrCat("not YAML: ", exception.what());
  }
  return false;
}

}  // namespace naru::catalog
