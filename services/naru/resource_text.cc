#include "services/naru/resource_text.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/type_resolver_util.h>

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

// The message's own order of a map changes from run to run; sorted bytes give sorted JSON.
std::string SortedBytes(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

std::string ToJson(const google::protobuf::Message& message) {
  namespace util = google::protobuf::util;
  static auto* const resolver =
      util::NewTypeResolverForDescriptorPool("type.googleapis.com", google::protobuf::DescriptorPool::generated_pool());
  util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  const std::string type = "type.googleapis.com/" + message.GetDescriptor()->full_name();
  return util::BinaryToJsonString(resolver, type, SortedBytes(message), &json, options).ok() ? json : "null";
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
    case Resource::kFunnel:
      return resource.funnel().description();
    case Resource::kRetention:
      return resource.retention().description();
    case Resource::kSource:
      return resource.source().description();
    case Resource::kSink:
      return resource.sink().description();
    default:
      return "";
  }
}

}  // namespace naru::cli
