#include "services/ingest/import_formats.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/catalog/builtin.h"
#include "common/catalog/nearest.h"
#include "common/status/status.h"
#include "naru/catalog/v1/resources.pb.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::ingest {
namespace {

constexpr char kKind[] = "InputFormat";

absl::Status NotFound(const catalog::Snapshot& snapshot, const std::string& name) {
  std::vector<std::string> names;
  for (const auto& builtin : catalog::BuiltinResources()) {
    if (builtin->kind() == kKind) names.push_back(builtin->metadata().name());
  }
  for (const catalog::v1::Resource* resource : snapshot.List(kKind)) names.push_back(resource->metadata().name());
  return MakeError(absl::StatusCode::kNotFound, "FORMAT_NOT_FOUND",
                   absl::StrCat("there is no input format `", name, "`", catalog::DidYouMean(name, names)));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const input_format::InputFormat>> ImportFormats::Find(const std::string& name) {
  const std::shared_ptr<const catalog::Snapshot> snapshot = catalog_->snapshot();
  const std::shared_ptr<const catalog::v1::Resource> resource = snapshot->FindShared(kKind, name);
  if (resource == nullptr) return NotFound(*snapshot, name);
  {
    MutexLock lock(&mu_);
    const auto found = compiled_.find(name);
    if (found != compiled_.end() && found->second.first == resource) return found->second.second;
  }
  NARU_ASSIGN_OR_RETURN(auto format, input_format::InputFormat::Compile(name, resource->input_format()));
  MutexLock lock(&mu_);
  compiled_[name] = {resource, format};
  return format;
}

absl::StatusOr<std::vector<std::string>> ImportFormats::ReadLetter(const v1::RejectedEvent& letter) {
  NARU_ASSIGN_OR_RETURN(const auto format, Find(letter.format()));
  input_format::LineParser parser(format);
  input_format::EventBuffer events;
  std::vector<input_format::LineRejection> rejections;
  parser.Parse(letter.raw(), {.line_id = letter.line_id(), .import_source = letter.import_source()}, &events,
               &rejections);
  if (!rejections.empty()) {
    const input_format::LineRejection& first = rejections.front();
    return MakeError(
        absl::StatusCode::kInvalidArgument, v1::RejectReason_Name(first.reason),
        absl::StrCat(first.field.empty() ? "the line" : first.field, ": `", first.value, "` is not ", first.expected));
  }
  std::vector<std::string> out;
  for (size_t i = 0; i < events.size(); ++i) out.emplace_back(events.event(i));
  return out;
}

LineReader ImportFormats::MakeLineReader() {
  return [this](const v1::RejectedEvent& letter) { return ReadLetter(letter); };
}

}  // namespace naru::ingest
