#include "common/catalog/yaml_writer.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/catalog/field_words.h"
#include "common/catalog/resource_file.h"
#include "common/catalog/yaml_scalar.h"
#include "common/clock/rfc3339.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/time_util.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::Struct;
using google::protobuf::Timestamp;
using google::protobuf::Value;

constexpr size_t kMaxLine = 110;

WordNode Raw(std::string text) {
  WordNode node;
  node.scalar = std::move(text);
  return node;
}

WordNode Text(const std::string& text) {
  WordNode node;
  node.scalar = QuoteString(text);
  node.text = text;
  return node;
}

WordNode MessageWords(const Message& message);

WordNode StructWords(const Struct& fields) {
  WordNode node;
  node.kind = WordNode::Kind::kMap;
  std::vector<std::string> keys;
  for (const auto& [key, value] : fields.fields()) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  for (const std::string& key : keys) node.Add(key, MessageWords(fields.fields().at(key)));
  return node;
}

WordNode ValueWords(const Value& value) {
  switch (value.kind_case()) {
    case Value::kBoolValue:
      return Raw(value.bool_value() ? "true" : "false");
    case Value::kNumberValue:
      return Raw(FormatNumber(value.number_value()));
    case Value::kStringValue:
      return Text(value.string_value());
    case Value::kStructValue:
      return StructWords(value.struct_value());
    case Value::kListValue: {
      WordNode node;
      node.kind = WordNode::Kind::kSequence;
      for (const Value& item : value.list_value().values()) node.children.push_back(ValueWords(item));
      return node;
    }
    case Value::kNullValue:
    case Value::KIND_NOT_SET:
      break;
  }
  return Raw("null");
}

WordNode ScalarWords(const Message& message, const FieldDescriptor* field, int index) {
  const Reflection* reflection = message.GetReflection();
  const bool repeated = index >= 0;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return Text(repeated ? reflection->GetRepeatedString(message, field, index)
                           : reflection->GetString(message, field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return Raw((repeated ? reflection->GetRepeatedBool(message, field, index) : reflection->GetBool(message, field))
                     ? "true"
                     : "false");
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return Raw(FormatNumber(repeated ? reflection->GetRepeatedDouble(message, field, index)
                                       : reflection->GetDouble(message, field)));
    case FieldDescriptor::CPPTYPE_INT32:
      return Raw(absl::StrCat(repeated ? reflection->GetRepeatedInt32(message, field, index)
                                       : reflection->GetInt32(message, field)));
    case FieldDescriptor::CPPTYPE_INT64:
      return Raw(absl::StrCat(repeated ? reflection->GetRepeatedInt64(message, field, index)
                                       : reflection->GetInt64(message, field)));
    default:
      return MessageWords(repeated ? reflection->GetRepeatedMessage(message, field, index)
                                   : reflection->GetMessage(message, field));
  }
}

WordNode MapWords(const Message& message, const FieldDescriptor* field) {
  const Reflection* reflection = message.GetReflection();
  std::map<std::string, WordNode> sorted;
  for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
    const Message& entry = reflection->GetRepeatedMessage(message, field, i);
    sorted[entry.GetReflection()->GetString(entry, field->message_type()->map_key())] =
        ScalarWords(entry, field->message_type()->map_value(), -1);
  }
  WordNode node;
  node.kind = WordNode::Kind::kMap;
  for (auto& [key, child] : sorted) node.Add(key, std::move(child));
  return node;
}

// Only the path: in YAML a plain string stands for it. A path that is empty or that would be null needs the long form.
bool IsPlainMapping(const v1::Mapping& mapping) {
  v1::Mapping only_from;
  only_from.set_from(mapping.from());
  return !mapping.from().empty() && only_from.ByteSizeLong() == mapping.ByteSizeLong();
}

WordNode MessageWords(const Message& message) {
  if (const auto* value = dynamic_cast<const Value*>(&message)) return ValueWords(*value);
  if (const auto* fields = dynamic_cast<const Struct*>(&message)) return StructWords(*fields);
  if (const auto* time = dynamic_cast<const Timestamp*>(&message)) {
    return Text(FormatRfc3339(google::protobuf::util::TimeUtil::TimestampToMicroseconds(*time)));
  }
  if (const auto* mapping = dynamic_cast<const v1::Mapping*>(&message);
      mapping != nullptr && IsPlainMapping(*mapping)) {
    return Text(mapping->from());
  }
  WordNode node;
  node.kind = WordNode::Kind::kMap;
  const Reflection* reflection = message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    if (field->is_repeated() ? reflection->FieldSize(message, field) == 0 : !reflection->HasField(message, field)) {
      continue;
    }
    WordNode child;
    if (field->is_map()) {
      child = MapWords(message, field);
    } else if (field->is_repeated()) {
      child.kind = WordNode::Kind::kSequence;
      for (int j = 0; j < reflection->FieldSize(message, field); ++j) {
        child.children.push_back(ScalarWords(message, field, j));
      }
    } else {
      child = ScalarWords(message, field, -1);
    }
    node.Add(FieldWord(*field), std::move(child));
  }
  return node;
}

bool HasLiteralBlock(const WordNode& node) {
  if (node.kind == WordNode::Kind::kScalar) return FitsLiteralBlock(node.text);
  return std::any_of(node.children.begin(), node.children.end(), HasLiteralBlock);
}

int Height(const WordNode& node) {
  int below = 0;
  for (const WordNode& child : node.children) below = std::max(below, Height(child));
  return node.kind == WordNode::Kind::kScalar ? 0 : below + 1;
}

// Short enough and simple enough to be read on one line.
bool FitsLine(const WordNode& node, size_t indent) {
  if (node.children.empty()) return !HasLiteralBlock(node);
  return Height(node) <= 2 && !HasLiteralBlock(node) && indent + FlowText(node).size() <= kMaxLine;
}

void WriteBlock(const WordNode& node, size_t indent, std::string* out);

// What follows `key:` or `-`.
void WriteAfterKey(const WordNode& node, size_t indent, size_t used, std::string* out) {
  if (FitsLine(node, used)) {
    absl::StrAppend(out, " ", FlowText(node), "\n");
    return;
  }
  if (node.kind == WordNode::Kind::kScalar) {
    const bool ends_with_line_feed = node.text.back() == '\n';
    absl::StrAppend(out, ends_with_line_feed ? " |\n" : " |-\n");
    absl::string_view text = node.text;
    if (ends_with_line_feed) text.remove_suffix(1);
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      absl::StrAppend(out, line.empty() ? "" : std::string(indent + 2, ' '), line, "\n");
    }
    return;
  }
  absl::StrAppend(out, "\n");
  WriteBlock(node, indent + 2, out);
}

void WriteEntry(const std::string& key, const WordNode& value, size_t indent, std::string* out) {
  const std::string word = QuoteString(key);
  absl::StrAppend(out, word, ":");
  WriteAfterKey(value, indent, indent + word.size() + 2, out);
}

void WriteBlock(const WordNode& node, size_t indent, std::string* out) {
  const std::string margin(indent, ' ');
  for (size_t i = 0; i < node.children.size(); ++i) {
    const WordNode& item = node.children[i];
    if (node.kind == WordNode::Kind::kMap) {
      absl::StrAppend(out, margin);
      WriteEntry(node.keys[i], item, indent, out);
      continue;
    }
    absl::StrAppend(out, margin, "-");
    if (item.kind != WordNode::Kind::kMap || FitsLine(item, indent + 2)) {
      WriteAfterKey(item, indent, indent + 2, out);
      continue;
    }
    // The first key stands beside the dash.
    std::string block;
    WriteBlock(item, indent + 2, &block);
    absl::StrAppend(out, " ", block.substr(indent + 2));
  }
}

}  // namespace

const WordNode* WordNode::Find(absl::string_view key) const {
  const auto found = std::find(keys.begin(), keys.end(), key);
  return found == keys.end() ? nullptr : &children[found - keys.begin()];
}

void WordNode::Add(std::string key, WordNode child) {
  keys.push_back(std::move(key));
  children.push_back(std::move(child));
}

WordNode ToWords(const v1::Resource& resource, bool with_catalog_fields) {
  v1::Resource copy = resource;
  if (!with_catalog_fields) {
    copy.mutable_metadata()->clear_version();
    copy.mutable_metadata()->clear_etag();
    copy.mutable_metadata()->clear_update_time();
  }
  WordNode node = MessageWords(copy);
  for (std::string& key : node.keys) {
    const auto* field = FindFieldByWord(*v1::Resource::descriptor(), key);
    if (field != nullptr && field->real_containing_oneof() != nullptr) key = "spec";
  }
  return node;
}

std::string FlowText(const WordNode& node) {
  if (node.kind == WordNode::Kind::kScalar) return node.scalar;
  const bool is_map = node.kind == WordNode::Kind::kMap;
  std::string out = is_map ? "{" : "[";
  for (size_t i = 0; i < node.children.size(); ++i) {
    absl::StrAppend(&out, i == 0 ? "" : ", ", is_map ? absl::StrCat(QuoteString(node.keys[i]), ": ") : "",
                    FlowText(node.children[i]));
  }
  return absl::StrCat(out, is_map ? "}" : "]");
}

std::string BlockText(const WordNode& node) {
  std::string out;
  WriteBlock(node, 0, &out);
  return out;
}

std::string ToYaml(const v1::Resource& resource, bool with_catalog_fields) {
  return BlockText(ToWords(resource, with_catalog_fields));
}

}  // namespace naru::catalog
