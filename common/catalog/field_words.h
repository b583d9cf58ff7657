// How the fields of the resource protos are called in YAML.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace google::protobuf {
class Descriptor;
class FieldDescriptor;
}  // namespace google::protobuf

namespace naru::catalog {

/// The word for a field: its json_name where the proto gives one (`minLength`, `x-personal`), else its name
/// (`unknown_fields`); `apiVersion` for the first one.
std::string FieldWord(const google::protobuf::FieldDescriptor& field);

/// The field of `message` with this word, its proto name or its JSON name; null if there is none.
const google::protobuf::FieldDescriptor* FindFieldByWord(const google::protobuf::Descriptor& message,
                                                         absl::string_view word);

/// The words of all fields of a message, in the order of the proto.
std::vector<std::string> FieldWords(const google::protobuf::Descriptor& message);

/// The field of Resource's `spec` that holds `kind` (`EventType` -> event_type); null for an unknown kind.
const google::protobuf::FieldDescriptor* SpecField(absl::string_view kind);

}  // namespace naru::catalog
