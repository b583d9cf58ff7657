#include "services/naru/resource_text.h"

#include <google/protobuf/util/json_util.h>

#include "naru/catalog/v1/resources.pb.h"
#include "services/naru/json_text.h"

namespace naru::cli {
namespace {

using catalog::v1::Resource;

// The message inside `spec`, or null.
const google::protobuf::Message* SpecOf(const Resource& resource) {
  const auto* field =
      resource.GetReflection()->GetOneofFieldDescriptor(resource, Resource::descriptor()->FindOneofByName("spec"));
  return field == nullptr ? nullptr : &resource.GetReflection()->GetMessage(resource, field);
}

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  return google::protobuf::util::MessageToJsonString(message, &json, options).ok() ? json : "null";
}

}  // namespace

std::string ResourceJson(const Resource& resource) {
  JsonObject json;
  json.Add("apiVersion", resource.api_version())
      .Add("kind", resource.kind())
      .AddRaw("metadata", ToJson(resource.metadata()));
  if (const auto* spec = SpecOf(resource)) json.AddRaw("spec", ToJson(*spec));
  if (resource.tests_size() > 0) {
    JsonArray tests;
    for (const auto& test : resource.tests()) tests.AddRaw(ToJson(test));
    json.AddRaw("tests", tests.Text());
  }
  return json.Text();
}

std::string DescriptionOf(const Resource& resource) {
  switch (resource.spec_case()) {
    case Resource::kEventType:
      return resource.event_type().description();
    case Resource::kInputFormat:
      return resource.input_format().description();
    case Resource::kMetric:
      return resource.metric().description();
    case Resource::kSource:
      return resource.source().description();
    default:
      return "";
  }
}

}  // namespace naru::cli
