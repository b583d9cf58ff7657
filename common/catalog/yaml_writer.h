// Resources as a tree of words, for writing and comparing them.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace naru::catalog::v1 {
class Resource;
}

namespace naru::catalog {

/// A value as it is written. Maps keep their order: the proto's for messages, the alphabet's for maps.
struct WordNode {
  enum class Kind { kScalar, kSequence, kMap };
  Kind kind = Kind::kScalar;
  std::string scalar;              ///< as it stands in YAML: quoted where it must be
  std::string text;                ///< of string scalars: the string itself
  std::vector<std::string> keys;   ///< of a map: the key of each child
  std::vector<WordNode> children;  ///< of a sequence or a map

  /// The child with this key, or null.
  const WordNode* Find(absl::string_view key) const;
  void Add(std::string key, WordNode child);
};

/// The tree of a resource: apiVersion, kind, metadata, spec, tests.
WordNode ToWords(const v1::Resource& resource, bool with_catalog_fields);

/// On one line: `{name: gender, expr: data.user_gender}`.
std::string FlowText(const WordNode& node);

/// As a block: short collections on one line, long strings as literal blocks. Ends with a line feed.
std::string BlockText(const WordNode& node);

}  // namespace naru::catalog
