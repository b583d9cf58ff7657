#include "common/catalog/validate.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/catalog/field_words.h"
#include "common/catalog/nearest.h"
#include "common/catalog/problem_list.h"
#include "common/catalog/validate_kinds.h"
#include "google/protobuf/descriptor.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

constexpr char kApiVersion[] = "naru.dev/v1";
constexpr size_t kMaxNameBytes = 128;
constexpr int kMaxLabels = 64;
constexpr size_t kMaxLabelBytes = 256;
constexpr size_t kMaxAnnotationBytes = 16 * 1024;
constexpr int kMaxTests = 1000;

bool IsNameByte(char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.'; }

void CheckLabels(const std::string& field, const google::protobuf::Map<std::string, std::string>& labels,
                 size_t max_value_bytes, ProblemList* problems) {
  if (labels.size() > static_cast<size_t>(kMaxLabels)) {
    problems->Add(field, absl::StrCat(labels.size(), " entries; at most ", kMaxLabels, " are allowed"));
  }
  for (const auto& [key, value] : labels) {
    if (key.empty() || key.size() > kMaxLabelBytes) {
      problems->Add(field, absl::StrCat("a key has ", key.size(), " bytes; 1 to ", kMaxLabelBytes, " are allowed"));
    } else if (value.size() > max_value_bytes) {
      problems->Add(absl::StrCat(field, ".", key),
                    absl::StrCat("the value has ", value.size(), " bytes; at most ", max_value_bytes, " are allowed"));
    }
  }
}

void CheckMetadata(const v1::Metadata& metadata, ProblemList* problems) {
  const std::string& name = metadata.name();
  if (name.empty()) {
    problems->Add("metadata.name", "missing; each resource has a name");
  } else if (name.size() > kMaxNameBytes || !std::all_of(name.begin(), name.end(), IsNameByte)) {
    problems->Add("metadata.name",
                  absl::StrCat("`", name.substr(0, kMaxNameBytes),
                               "` is not a name: letters, digits, `-`, `_`, `.`; 1 to ", kMaxNameBytes, " bytes"));
  }
  CheckLabels("metadata.labels", metadata.labels(), kMaxLabelBytes, problems);
  CheckLabels("metadata.annotations", metadata.annotations(), kMaxAnnotationBytes, problems);
}

void CheckSpec(const v1::Resource& resource, const ResourceLookup& lookup, ProblemList* problems) {
  switch (resource.spec_case()) {
    case v1::Resource::kEventType:
      return ValidateEventType(resource.event_type(), problems);
    case v1::Resource::kInputFormat:
      return ValidateInputFormat(resource.input_format(), problems);
    case v1::Resource::kMetric:
      return ValidateMetric(resource.metric(), lookup, problems);
    case v1::Resource::kSource:
      return ValidateSource(resource.source(), lookup, problems);
    case v1::Resource::kFunnel:
      return ValidateFunnel(resource.funnel(), lookup, problems);
    case v1::Resource::kRetention:
      return ValidateRetention(resource.retention(), lookup, problems);
    case v1::Resource::kSink:
      return ValidateSink(resource.sink(), lookup, problems);
    case v1::Resource::SPEC_NOT_SET:
      return;
  }
}

// Whether the spec that is set is the one of the kind.
bool CheckKind(const v1::Resource& resource, ProblemList* problems) {
  const auto* spec = SpecField(resource.kind());
  if (spec == nullptr) {
    problems->Add("kind", absl::StrCat("there is no kind \"", resource.kind(), "\"",
                                       DidYouMean(resource.kind(), ResourceKinds())));
    return false;
  }
  if (spec->number() != static_cast<int>(resource.spec_case())) {
    problems->Add("spec", absl::StrCat("missing, or of another kind than ", resource.kind()));
    return false;
  }
  return true;
}

}  // namespace

const std::vector<std::string>& ResourceKinds() {
  static const auto* const kinds = [] {
    auto* names = new std::vector<std::string>();
    const auto* spec = v1::Resource::descriptor()->FindOneofByName("spec");
    for (int i = 0; i < spec->field_count(); ++i) names->push_back(spec->field(i)->message_type()->name());
    std::sort(names->begin(), names->end());
    return names;
  }();
  return *kinds;
}

std::vector<FieldViolation> Validate(const v1::Resource& resource, const ResourceLookup& lookup) {
  ProblemList problems;
  if (resource.api_version() != kApiVersion) {
    problems.Add("apiVersion", absl::StrCat("must be ", kApiVersion, ", not `", resource.api_version(), "`"));
  }
  CheckMetadata(resource.metadata(), &problems);
  if (resource.tests_size() > kMaxTests) {
    problems.Add("tests", absl::StrCat(resource.tests_size(), " tests; at most ", kMaxTests, " are allowed"));
  }
  if (CheckKind(resource, &problems)) CheckSpec(resource, lookup, &problems);
  return problems.Take();
}

std::vector<FieldViolation> CheckChange(const v1::Resource& current, const v1::Resource& next) {
  ProblemList problems;
  if (current.has_event_type() && next.has_event_type()) {
    CheckEventTypeChange(current.event_type(), next.event_type(), &problems);
  }
  return problems.Take();
}

}  // namespace naru::catalog
