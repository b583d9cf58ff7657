#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/catalog/embedded.h"
#include "common/catalog/field_words.h"
#include "common/catalog/nearest.h"
#include "common/catalog/resource_file.h"
#include "common/catalog/validate.h"
#include "google/protobuf/descriptor.pb.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorProto;
using google::protobuf::FieldDescriptor;

// Comments of messages and fields by full name. The descriptors inside generated code carry none.
using Comments = std::map<std::string, std::string>;

std::string Tidy(const std::string& comment) {
  std::vector<std::string> lines;
  for (absl::string_view line : absl::StrSplit(comment, '\n')) lines.emplace_back(absl::StripAsciiWhitespace(line));
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return absl::StrJoin(lines, "\n");
}

void AddNames(const DescriptorProto& message, const std::string& name, std::vector<int> path,
              std::map<std::vector<int>, std::string>* names) {
  (*names)[path] = name;
  path.push_back(DescriptorProto::kFieldFieldNumber);
  for (int i = 0; i < message.field_size(); ++i) {
    path.push_back(i);
    (*names)[path] = absl::StrCat(name, ".", message.field(i).name());
    path.pop_back();
  }
  path.back() = DescriptorProto::kNestedTypeFieldNumber;
  for (int i = 0; i < message.nested_type_size(); ++i) {
    path.push_back(i);
    AddNames(message.nested_type(i), absl::StrCat(name, ".", message.nested_type(i).name()), path, names);
    path.pop_back();
  }
}

Comments ReadComments() {
  Comments comments;
  google::protobuf::FileDescriptorSet set;
  set.ParseFromArray(kResourceDescriptors[0].bytes, static_cast<int>(kResourceDescriptors[0].size));
  for (const auto& file : set.file()) {
    std::map<std::vector<int>, std::string> names;
    for (int i = 0; i < file.message_type_size(); ++i) {
      AddNames(file.message_type(i), absl::StrCat(file.package(), ".", file.message_type(i).name()),
               {google::protobuf::FileDescriptorProto::kMessageTypeFieldNumber, i}, &names);
    }
    for (const auto& location : file.source_code_info().location()) {
      const auto name = names.find({location.path().begin(), location.path().end()});
      if (name != names.end()) comments[name->second] = Tidy(location.leading_comments());
    }
  }
  return comments;
}

std::string CommentOf(const std::string& full_name) {
  static const Comments* const comments = new Comments(ReadComments());
  const auto found = comments->find(full_name);
  return found == comments->end() ? "" : found->second;
}

// The message that a field leads to (of a map: its values'), null for scalars and free values.
const Descriptor* Target(const FieldDescriptor& field) {
  if (field.is_map()) return Target(*field.message_type()->map_value());
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return nullptr;
  return absl::StartsWith(field.message_type()->full_name(), "google.protobuf.") ? nullptr : field.message_type();
}

std::string TypeWord(const FieldDescriptor& field, bool element = false) {
  if (field.is_map()) return absl::StrCat("map of ", TypeWord(*field.message_type()->map_value()));
  if (field.is_repeated() && !element) return absl::StrCat("list of ", TypeWord(field, true));
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return "string";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "boolean";
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "number";
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
      return "integer";
    default:
      break;
  }
  if (field.message_type()->full_name() == "google.protobuf.Value") return "any value";
  if (field.message_type()->full_name() == "google.protobuf.Struct") return "object";
  if (field.message_type()->full_name() == "google.protobuf.Timestamp") return "time";
  return field.message_type()->name();
}

std::string Indent(const std::string& text, absl::string_view margin) {
  return absl::StrCat(margin, absl::StrReplaceAll(text, {{"\n", absl::StrCat("\n", margin)}}));
}

std::string FieldList(const Descriptor& message) {
  std::string out = "\nFIELDS\n";
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    absl::StrAppend(&out, "  ", FieldWord(field), "  <", TypeWord(field), ">\n",
                    Indent(CommentOf(field.full_name()), "      "), "\n");
  }
  return out;
}

std::string Kinds() {
  std::string out = "KINDS\n";
  for (const std::string& kind : ResourceKinds()) {
    const std::string comment = CommentOf(SpecField(kind)->message_type()->full_name());
    absl::StrAppend(&out, "  ", kind, "\n", Indent(comment, "      "), "\n");
  }
  return absl::StrCat(out, "\nA resource has apiVersion (naru.dev/v1), kind, metadata, spec and tests.\n",
                      "`naru explain KIND`, `KIND.field`, `KIND.metadata` or `KIND.tests` say more.\n");
}

const FieldDescriptor* FindKind(absl::string_view word) {
  for (const std::string& kind : ResourceKinds()) {
    if (absl::EqualsIgnoreCase(kind, word)) return SpecField(kind);
  }
  return nullptr;
}

absl::Status NotFound(absl::string_view what, absl::string_view word, const std::vector<std::string>& words) {
  return MakeError(absl::StatusCode::kNotFound, "NOTHING_TO_EXPLAIN",
                   absl::StrCat("there is no ", what, " `", word, "`", DidYouMean(word, words)));
}

}  // namespace

absl::StatusOr<std::string> Explain(absl::string_view path) {
  const std::vector<std::string> words = absl::StrSplit(path, '.', absl::SkipEmpty());
  if (words.empty()) return Kinds();
  const FieldDescriptor* field = FindKind(words[0]);
  if (field == nullptr) return NotFound("kind", words[0], ResourceKinds());
  const std::string kind = field->message_type()->name();
  std::string name = kind;
  std::string comment = CommentOf(field->message_type()->full_name());
  for (size_t i = 1; i < words.size(); ++i) {
    if (i == 1 && words[i] == "spec") continue;
    const bool common = i == 1 && (words[i] == "metadata" || words[i] == "tests");
    const Descriptor* message = common ? v1::Resource::descriptor() : Target(*field);
    if (message == nullptr) {
      return MakeError(absl::StatusCode::kNotFound, "NOTHING_TO_EXPLAIN",
                       absl::StrCat(name, " is a ", TypeWord(*field), " and has no field `", words[i], "`"));
    }
    const FieldDescriptor* next = FindFieldByWord(*message, words[i]);
    if (next == nullptr) return NotFound(absl::StrCat("field in ", name, " called"), words[i], FieldWords(*message));
    field = next;
    absl::StrAppend(&name, ".", FieldWord(*field));
    comment = CommentOf(field->full_name());
  }
  std::string out = name == kind ? absl::StrCat("KIND   ", kind, "\n\n")
                                 : absl::StrCat("FIELD  ", name, "  <", TypeWord(*field), ">\n\n");
  absl::StrAppend(&out, Indent(comment, "  "), "\n");
  if (const Descriptor* message = Target(*field); message != nullptr) {
    const std::string about = CommentOf(message->full_name());
    if (name != kind && about != comment) absl::StrAppend(&out, Indent(about, "  "), "\n");
    absl::StrAppend(&out, FieldList(*message));
  }
  return out;
}

}  // namespace naru::catalog
