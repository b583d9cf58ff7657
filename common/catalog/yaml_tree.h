// One YAML document as a plain tree with positions. Hides the YAML library from everybody else.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/catalog/resource_file.h"

namespace naru::catalog {

/// A node of the tree. Children are indices into YamlTree::nodes; an alias is the index of what it stands for, so a
/// node may be reached in several ways, but never through itself.
struct YamlNode {
  enum class Kind : uint8_t { kNull, kScalar, kSequence, kMap };
  Kind kind = Kind::kNull;
  bool plain = true;  ///< scalars: not quoted, not a block, no tag
  Position position;
  std::string text;                          ///< of a scalar
  std::string tag;                           ///< an explicit one that is not `!!str`, `!!map`, `!!seq`; else empty
  std::vector<int> items;                    ///< of a sequence
  std::vector<std::pair<int, int>> entries;  ///< of a map: key, value; in the order of the file
};

/// A document. Empty `nodes`: the document has no content.
struct YamlTree {
  std::vector<YamlNode> nodes;
  int root = -1;
  const YamlNode& at(int index) const { return nodes[index]; }
};

/// A document of a stream, as text, and the line (from 1) that it begins in.
struct YamlDocumentText {
  std::string text;
  int first_line = 1;
};

/// Cuts a stream at `---` and `...` lines. Parts without content are left out.
std::vector<YamlDocumentText> SplitYamlStream(absl::string_view text);

/// What is wrong with the bytes before any YAML is looked at: not UTF-8, control characters. False and `*problem`
/// filled.
bool CheckYamlBytes(absl::string_view text, FileProblem* problem);

/// Parses one document. On an error `*problem` (position and message) is filled and the result is false.
/// Limits: kMaxDocumentBytes, kMaxYamlDepth, kMaxYamlNodes.
bool ParseYamlDocument(const YamlDocumentText& document, YamlTree* tree, FileProblem* problem);

}  // namespace naru::catalog
