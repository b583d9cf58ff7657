#include "common/catalog/field_words.h"

#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

std::string FieldWord(const FieldDescriptor& field) {
  // As kubectl's users write it.
  if (field.containing_type() == v1::Resource::descriptor() && field.name() == "api_version") return "apiVersion";
  return field.has_json_name() ? field.json_name() : field.name();
}

const FieldDescriptor* FindFieldByWord(const Descriptor& message, absl::string_view word) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor* field = message.field(i);
    if (FieldWord(*field) == word || field->name() == word || field->json_name() == word) return field;
  }
  return nullptr;
}

std::vector<std::string> FieldWords(const Descriptor& message) {
  std::vector<std::string> words;
  for (int i = 0; i < message.field_count(); ++i) words.push_back(FieldWord(*message.field(i)));
  return words;
}

const FieldDescriptor* SpecField(absl::string_view kind) {
  const auto* spec = v1::Resource::descriptor()->FindOneofByName("spec");
  for (int i = 0; i < spec->field_count(); ++i) {
    if (spec->field(i)->message_type()->name() == kind) return spec->field(i);
  }
  return nullptr;
}

}  // namespace naru::catalog
