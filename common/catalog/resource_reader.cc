#include "common/catalog/resource_reader.h"

#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/catalog/field_words.h"
#include "common/catalog/nearest.h"
#include "common/catalog/validate.h"
#include "common/catalog/yaml_scalar.h"
#include "common/clock/rfc3339.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/time_util.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::ListValue;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::Struct;
using google::protobuf::Timestamp;
using google::protobuf::Value;

constexpr char kApiVersion[] = "naru.dev/v1";
constexpr int64_t kExactInteger = int64_t{1} << 53;
constexpr size_t kMaxProblems = 1000;

std::string Describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kSequence:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a map";
    case YamlNode::Kind::kScalar:
      break;
  }
  const std::string text = node.text.size() > 64 ? absl::StrCat(node.text.substr(0, 61), "...") : node.text;
  return node.plain ? absl::StrCat("`", text, "`") : absl::StrCat("the string \"", text, "\"");
}

class Reader {
 public:
  Reader(const YamlTree& tree, absl::string_view file, LoadedResource* loaded, std::vector<FileProblem>* problems)
      : tree_(tree), file_(file), loaded_(loaded), problems_(problems), problems_before_(problems->size()) {}

  bool Read(v1::Resource* resource);

 private:
  void Problem(const YamlNode& node, const std::string& path, std::string message);
  bool Expected(const YamlNode& node, const std::string& path, absl::string_view what) {
    Problem(node, path, absl::StrCat("expected ", what, ", found ", Describe(node)));
    return false;
  }
  bool Visit(const YamlNode& node, const std::string& path);
  // The text of a map's key; false with a problem when it has none or was there before.
  bool TakeKey(const YamlNode& key, const std::string& path, std::set<std::string>* seen);

  const YamlNode* FindEntry(absl::string_view key) const;
  const FieldDescriptor* ReadKind(v1::Resource* resource);
  void ReadTop(v1::Resource* resource, const FieldDescriptor* spec);
  void CheckTop(const v1::Resource& resource);
  void ReadMessage(const YamlNode& node, const std::string& path, Message* message);
  void ReadEntry(const YamlNode& key, const YamlNode& node, const std::string& path,
                 std::set<const FieldDescriptor*>* seen_fields, Message* message);
  void ReadField(const YamlNode& node, const std::string& path, const FieldDescriptor* field, Message* message);
  void ReadRepeated(const YamlNode& node, const std::string& path, const FieldDescriptor* field, Message* message);
  void ReadMapField(const YamlNode& node, const std::string& path, const FieldDescriptor* field, Message* message);
  void ReadSubmessage(const YamlNode& node, const std::string& path, Message* message);
  // Sets (or, for a repeated field, adds) a scalar.
  void ReadScalar(const YamlNode& node, const std::string& path, const FieldDescriptor* field, Message* message);
  void ReadTimestamp(const YamlNode& node, const std::string& path, Timestamp* time);
  void ReadValue(const YamlNode& node, const std::string& path, Value* value);
  void ReadValueScalar(const YamlNode& node, const std::string& path, Value* value);
  void ReadStruct(const YamlNode& node, const std::string& path, Struct* fields);
  bool ParseInteger(const YamlNode& node, const std::string& path, int64_t low, int64_t high, int64_t* integer);
  bool ParseNumber(const YamlNode& node, const std::string& path, double* number);
  bool ParseBool(const YamlNode& node, const std::string& path, bool* boolean);
  bool ParseText(const YamlNode& node, const std::string& path, std::string* text);

  const YamlTree& tree_;
  const std::string file_;
  LoadedResource* loaded_;
  std::vector<FileProblem>* problems_;
  const size_t problems_before_;
  int visited_ = 0;
  bool exhausted_ = false;
};

void Reader::Problem(const YamlNode& node, const std::string& path, std::string message) {
  if (problems_->size() - problems_before_ >= kMaxProblems) return;
  problems_->push_back({file_, node.position, path, std::move(message)});
}

// Counts what is read, aliases followed: a few lines can otherwise stand for billions of values.
bool Reader::Visit(const YamlNode& node, const std::string& path) {
  if (++visited_ <= kMaxYamlNodes) return true;
  if (!exhausted_) {
    Problem(node, path, absl::StrCat("with aliases followed the document holds more than ", kMaxYamlNodes, " values"));
  }
  exhausted_ = true;
  return false;
}

bool Reader::TakeKey(const YamlNode& key, const std::string& path, std::set<std::string>* seen) {
  if (key.kind != YamlNode::Kind::kScalar || !key.tag.empty()) return Expected(key, path, "a word as key");
  if (!seen->insert(key.text).second) {
    Problem(key, path, absl::StrCat("the key \"", key.text, "\" is given twice"));
    return false;
  }
  return true;
}

const YamlNode* Reader::FindEntry(absl::string_view key) const {
  const YamlNode& root = tree_.at(tree_.root);
  for (const auto& [key_index, value_index] : root.entries) {
    const YamlNode& node = tree_.at(key_index);
    if (node.kind == YamlNode::Kind::kScalar && node.text == key) return &tree_.at(value_index);
  }
  return nullptr;
}

const FieldDescriptor* Reader::ReadKind(v1::Resource* resource) {
  const YamlNode& root = tree_.at(tree_.root);
  const YamlNode* node = FindEntry("kind");
  if (node == nullptr || node->kind == YamlNode::Kind::kNull) {
    Problem(root, "kind", absl::StrCat("missing; one of ", absl::StrJoin(ResourceKinds(), ", ")));
    return nullptr;
  }
  if (!ParseText(*node, "kind", resource->mutable_kind())) return nullptr;
  const FieldDescriptor* spec = SpecField(resource->kind());
  if (spec == nullptr) {
    Problem(*node, "kind",
            absl::StrCat("there is no kind \"", resource->kind(), "\"", DidYouMean(resource->kind(), ResourceKinds())));
  }
  return spec;
}

void Reader::ReadTop(v1::Resource* resource, const FieldDescriptor* spec) {
  static const std::vector<std::string> kWords = {"apiVersion", "kind", "metadata", "spec", "tests"};
  const Descriptor* descriptor = v1::Resource::descriptor();
  std::set<std::string> seen;
  for (const auto& [key_index, value_index] : tree_.at(tree_.root).entries) {
    const YamlNode& key = tree_.at(key_index);
    const YamlNode& value = tree_.at(value_index);
    if (!TakeKey(key, "", &seen)) continue;
    loaded_->positions[key.text] = key.position;
    if (key.text == "kind" || value.kind == YamlNode::Kind::kNull) continue;
    if (key.text == "spec") {
      if (spec != nullptr) ReadMessage(value, "spec", resource->GetReflection()->MutableMessage(resource, spec));
    } else if (key.text == "apiVersion" || key.text == "metadata" || key.text == "tests") {
      ReadField(value, key.text, FindFieldByWord(*descriptor, key.text), resource);
    } else {
      Problem(key, "", absl::StrCat("unknown key \"", key.text, "\"", DidYouMean(key.text, kWords)));
    }
  }
}

void Reader::CheckTop(const v1::Resource& resource) {
  const YamlNode& root = tree_.at(tree_.root);
  const YamlNode* version = FindEntry("apiVersion");
  if (resource.api_version() != kApiVersion && (version == nullptr || version->kind != YamlNode::Kind::kMap)) {
    Problem(version == nullptr ? root : *version, "apiVersion",
            absl::StrCat("must be ", kApiVersion,
                         version == nullptr ? "; it is missing" : absl::StrCat(", found ", Describe(*version))));
  }
  if (resource.metadata().name().empty()) {
    const YamlNode* metadata = FindEntry("metadata");
    Problem(metadata == nullptr ? root : *metadata, "metadata.name", "missing; each resource has a name");
  }
  const YamlNode* spec = FindEntry("spec");
  if (spec == nullptr || spec->kind == YamlNode::Kind::kNull) Problem(root, "spec", "missing");
}

bool Reader::Read(v1::Resource* resource) {
  const YamlNode& root = tree_.at(tree_.root);
  if (root.kind != YamlNode::Kind::kMap) {
    return Expected(root, "", "a resource: a map with apiVersion, kind, metadata and spec");
  }
  loaded_->position = root.position;
  const FieldDescriptor* spec = ReadKind(resource);
  ReadTop(resource, spec);
  CheckTop(*resource);
  return problems_->size() == problems_before_;
}

void Reader::ReadMessage(const YamlNode& node, const std::string& path, Message* message) {
  if (!Visit(node, path)) return;
  if (node.kind != YamlNode::Kind::kMap || !node.tag.empty()) {
    Expected(node, path, absl::StrCat("a map with ", absl::StrJoin(FieldWords(*message->GetDescriptor()), ", ")));
    return;
  }
  std::set<std::string> seen;
  std::set<const FieldDescriptor*> seen_fields;
  for (const auto& [key_index, value_index] : node.entries) {
    const YamlNode& key = tree_.at(key_index);
    if (TakeKey(key, path, &seen)) ReadEntry(key, tree_.at(value_index), path, &seen_fields, message);
  }
}

void Reader::ReadEntry(const YamlNode& key, const YamlNode& node, const std::string& path,
                       std::set<const FieldDescriptor*>* seen_fields, Message* message) {
  const Descriptor& descriptor = *message->GetDescriptor();
  const FieldDescriptor* field = FindFieldByWord(descriptor, key.text);
  if (field == nullptr) {
    Problem(key, path,
            key.text == "<<"
                ? std::string("merge keys (<<) are not supported; repeat the fields")
                : absl::StrCat("unknown key \"", key.text, "\"", DidYouMean(key.text, FieldWords(descriptor))));
    return;
  }
  const std::string child = absl::StrCat(path, ".", FieldWord(*field));
  loaded_->positions.emplace(child, key.position);
  if (!seen_fields->insert(field).second) {
    Problem(key, child, absl::StrCat("\"", key.text, "\" is given twice, in two spellings"));
    return;
  }
  const auto* oneof = field->real_containing_oneof();
  const FieldDescriptor* other =
      oneof == nullptr ? nullptr : message->GetReflection()->GetOneofFieldDescriptor(*message, oneof);
  if (other != nullptr) {
    Problem(key, child, absl::StrCat("only one of ", FieldWord(*other), " and ", FieldWord(*field), " may be given"));
    return;
  }
  // As in JSON and for kubectl: null is the same as leaving the key out, except where null is itself a value.
  const bool is_value = field->message_type() == Value::descriptor() && !field->is_repeated();
  if (node.kind != YamlNode::Kind::kNull || is_value) ReadField(node, child, field, message);
}

void Reader::ReadField(const YamlNode& node, const std::string& path, const FieldDescriptor* field, Message* message) {
  if (field->is_map()) {
    ReadMapField(node, path, field, message);
  } else if (field->is_repeated()) {
    ReadRepeated(node, path, field, message);
  } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    ReadSubmessage(node, path, message->GetReflection()->MutableMessage(message, field));
  } else {
    ReadScalar(node, path, field, message);
  }
}

void Reader::ReadRepeated(const YamlNode& node, const std::string& path, const FieldDescriptor* field,
                          Message* message) {
  if (!Visit(node, path)) return;
  if (node.kind != YamlNode::Kind::kSequence || !node.tag.empty()) {
    Expected(node, path, "a list");
    return;
  }
  for (size_t i = 0; i < node.items.size(); ++i) {
    const YamlNode& item = tree_.at(node.items[i]);
    const std::string child = absl::StrCat(path, "[", i, "]");
    loaded_->positions[child] = item.position;
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      ReadSubmessage(item, child, message->GetReflection()->AddMessage(message, field));
    } else {
      ReadScalar(item, child, field, message);
    }
    if (exhausted_) return;
  }
}

void Reader::ReadMapField(const YamlNode& node, const std::string& path, const FieldDescriptor* field,
                          Message* message) {
  if (!Visit(node, path)) return;
  if (node.kind != YamlNode::Kind::kMap || !node.tag.empty()) {
    Expected(node, path, "a map");
    return;
  }
  const FieldDescriptor* key_field = field->message_type()->map_key();
  const FieldDescriptor* value_field = field->message_type()->map_value();
  std::set<std::string> seen;
  for (const auto& [key_index, value_index] : node.entries) {
    const YamlNode& key = tree_.at(key_index);
    if (!TakeKey(key, path, &seen)) continue;
    const std::string child = absl::StrCat(path, ".", key.text);
    loaded_->positions.emplace(child, key.position);
    Message* entry = message->GetReflection()->AddMessage(message, field);
    entry->GetReflection()->SetString(entry, key_field, key.text);
    const YamlNode& value = tree_.at(value_index);
    if (value.kind != YamlNode::Kind::kNull || value_field->message_type() == Value::descriptor()) {
      ReadField(value, child, value_field, entry);
    } else if (value_field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      entry->GetReflection()->MutableMessage(entry, value_field);
    }
    if (exhausted_) return;
  }
}

void Reader::ReadSubmessage(const YamlNode& node, const std::string& path, Message* message) {
  if (auto* value = dynamic_cast<Value*>(message)) {
    ReadValue(node, path, value);
  } else if (auto* fields = dynamic_cast<Struct*>(message)) {
    ReadStruct(node, path, fields);
  } else if (auto* time = dynamic_cast<Timestamp*>(message)) {
    ReadTimestamp(node, path, time);
  } else if (auto* mapping = dynamic_cast<v1::Mapping*>(message);
             mapping != nullptr && node.kind == YamlNode::Kind::kScalar && node.tag.empty()) {
    if (Visit(node, path)) mapping->set_from(node.text);
  } else {
    ReadMessage(node, path, message);
  }
}

void Reader::ReadScalar(const YamlNode& node, const std::string& path, const FieldDescriptor* field, Message* message) {
  if (!Visit(node, path)) return;
  const Reflection* reflection = message->GetReflection();
  const bool add = field->is_repeated();
  int64_t integer = 0;
  double number = 0;
  bool boolean = false;
  std::string text;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      if (!ParseText(node, path, &text)) return;
      loaded_->texts[path] = node.position;
      add ? reflection->AddString(message, field, text) : reflection->SetString(message, field, text);
      return;
    case FieldDescriptor::CPPTYPE_BOOL:
      if (!ParseBool(node, path, &boolean)) return;
      add ? reflection->AddBool(message, field, boolean) : reflection->SetBool(message, field, boolean);
      return;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      if (!ParseNumber(node, path, &number)) return;
      add ? reflection->AddDouble(message, field, number) : reflection->SetDouble(message, field, number);
      return;
    case FieldDescriptor::CPPTYPE_INT32:
      if (!ParseInteger(node, path, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max(),
                        &integer)) {
        return;
      }
      add ? reflection->AddInt32(message, field, static_cast<int32_t>(integer))
          : reflection->SetInt32(message, field, static_cast<int32_t>(integer));
      return;
    case FieldDescriptor::CPPTYPE_INT64:
      if (!ParseInteger(node, path, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max(),
                        &integer)) {
        return;
      }
      add ? reflection->AddInt64(message, field, integer) : reflection->SetInt64(message, field, integer);
      return;
    default:
      Problem(node, path, absl::StrCat("fields of type ", field->cpp_type_name(), " cannot be written in YAML"));
  }
}

bool Reader::ParseText(const YamlNode& node, const std::string& path, std::string* text) {
  if (node.kind != YamlNode::Kind::kScalar || !node.tag.empty()) return Expected(node, path, "a string");
  *text = node.text;
  return true;
}

bool Reader::ParseBool(const YamlNode& node, const std::string& path, bool* boolean) {
  const Scalar scalar = node.kind == YamlNode::Kind::kScalar && node.plain ? ResolvePlain(node.text) : Scalar();
  if (scalar.kind != ScalarKind::kBool) return Expected(node, path, "true or false");
  *boolean = scalar.boolean;
  return true;
}

bool Reader::ParseInteger(const YamlNode& node, const std::string& path, int64_t low, int64_t high, int64_t* integer) {
  const Scalar scalar = node.kind == YamlNode::Kind::kScalar && node.plain ? ResolvePlain(node.text) : Scalar();
  if (scalar.kind != ScalarKind::kInteger) return Expected(node, path, "an integer");
  if (scalar.overflows || scalar.integer < low || scalar.integer > high) {
    return Expected(node, path, absl::StrCat("an integer from ", low, " to ", high));
  }
  *integer = scalar.integer;
  return true;
}

bool Reader::ParseNumber(const YamlNode& node, const std::string& path, double* number) {
  const Scalar scalar = node.kind == YamlNode::Kind::kScalar && node.plain ? ResolvePlain(node.text) : Scalar();
  const bool numeric = scalar.kind == ScalarKind::kInteger || scalar.kind == ScalarKind::kFloat;
  if (!numeric || !std::isfinite(scalar.number)) return Expected(node, path, "a number");
  *number = scalar.number;
  return true;
}

void Reader::ReadTimestamp(const YamlNode& node, const std::string& path, Timestamp* time) {
  if (!Visit(node, path)) return;
  const auto parsed = node.kind == YamlNode::Kind::kScalar ? ParseRfc3339(node.text)
                                                           : absl::StatusOr<int64_t>(absl::InvalidArgumentError(""));
  if (!parsed.ok()) {
    Expected(node, path, "a time like 2022-11-01T09:00:00+09:00");
    return;
  }
  *time = google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(*parsed);
}

void Reader::ReadValue(const YamlNode& node, const std::string& path, Value* value) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
    case YamlNode::Kind::kScalar:
      if (Visit(node, path)) ReadValueScalar(node, path, value);
      return;
    case YamlNode::Kind::kMap:
      ReadStruct(node, path, value->mutable_struct_value());
      return;
    case YamlNode::Kind::kSequence:
      break;
  }
  if (!Visit(node, path)) return;
  if (!node.tag.empty()) Problem(node, path, absl::StrCat("unknown tag `", node.tag, "`"));
  ListValue* list = value->mutable_list_value();
  for (size_t i = 0; i < node.items.size() && !exhausted_; ++i) {
    ReadValue(tree_.at(node.items[i]), absl::StrCat(path, "[", i, "]"), list->add_values());
  }
}

void Reader::ReadValueScalar(const YamlNode& node, const std::string& path, Value* value) {
  if (!node.tag.empty()) {
    Problem(node, path, absl::StrCat("unknown tag `", node.tag, "`"));
    return;
  }
  if (node.kind == YamlNode::Kind::kNull) {
    value->set_null_value(google::protobuf::NULL_VALUE);
    return;
  }
  const Scalar scalar = node.plain ? ResolvePlain(node.text) : Scalar();
  switch (scalar.kind) {
    case ScalarKind::kNull:
      value->set_null_value(google::protobuf::NULL_VALUE);
      return;
    case ScalarKind::kBool:
      value->set_bool_value(scalar.boolean);
      return;
    case ScalarKind::kString:
      value->set_string_value(node.text);
      return;
    case ScalarKind::kInteger:
      if (scalar.overflows || std::abs(scalar.integer) > kExactInteger) {
        Problem(node, path,
                absl::StrCat("`", node.text,
                             "` is beyond 2^53, where numbers of data are no longer exact; "
                             "put it in quotes to have a string"));
        return;
      }
      break;
    case ScalarKind::kFloat:
      if (!std::isfinite(scalar.number)) {
        Expected(node, path, "a finite number");
        return;
      }
      break;
  }
  value->set_number_value(scalar.number);
}

void Reader::ReadStruct(const YamlNode& node, const std::string& path, Struct* fields) {
  if (!Visit(node, path)) return;
  if (node.kind != YamlNode::Kind::kMap || !node.tag.empty()) {
    Expected(node, path, "a map");
    return;
  }
  std::set<std::string> seen;
  for (const auto& [key_index, value_index] : node.entries) {
    const YamlNode& key = tree_.at(key_index);
    if (!TakeKey(key, path, &seen)) continue;
    const std::string child = absl::StrCat(path, ".", key.text);
    loaded_->positions.emplace(child, key.position);
    ReadValue(tree_.at(value_index), child, &(*fields->mutable_fields())[key.text]);
    if (exhausted_) return;
  }
}

}  // namespace

bool ReadResource(const YamlTree& tree, absl::string_view file, LoadedResource* loaded,
                  std::vector<FileProblem>* problems) {
  auto resource = std::make_shared<v1::Resource>();
  loaded->file = std::string(file);
  Reader reader(tree, file, loaded, problems);
  const bool ok = reader.Read(resource.get());
  loaded->resource = std::move(resource);
  return ok;
}

}  // namespace naru::catalog
