#include "common/status/status.h"

#include <cstdint>
#include <cstring>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace naru {
namespace {

constexpr char kPayloadUrl[] = "naru.dev/error_details";

// The payload never leaves the process, so its form is private: each string with its length before it.
void PutString(std::string* out, absl::string_view value) {
  const auto size = static_cast<uint32_t>(value.size());
  out->append(reinterpret_cast<const char*>(&size), sizeof(size));
  out->append(value.data(), value.size());
}

class Reader {
 public:
  explicit Reader(absl::string_view data) : data_(data) {}

  std::string TakeString() {
    uint32_t size = 0;
    if (data_.size() < sizeof(size)) return Stop();
    std::memcpy(&size, data_.data(), sizeof(size));
    data_.remove_prefix(sizeof(size));
    if (data_.size() < size) return Stop();
    std::string value(data_.substr(0, size));
    data_.remove_prefix(size);
    return value;
  }
  bool done() const { return data_.empty(); }

 private:
  std::string Stop() {
    data_ = {};
    return {};
  }
  absl::string_view data_;
};

std::string Encode(const ErrorDetails& details) {
  std::string out;
  PutString(&out, details.reason);
  PutString(&out, details.domain);
  PutString(&out, details.retry_after ? absl::StrCat(details.retry_after->count()) : "");
  PutString(&out, absl::StrCat(details.metadata.size()));
  for (const auto& [key, value] : details.metadata) {
    PutString(&out, key);
    PutString(&out, value);
  }
  for (const FieldViolation& violation : details.violations) {
    PutString(&out, violation.field);
    PutString(&out, violation.description);
  }
  return out;
}

ErrorDetails Decode(const std::string& data) {
  Reader reader(data);
  ErrorDetails details;
  details.reason = reader.TakeString();
  details.domain = reader.TakeString();
  const std::string retry = reader.TakeString();
  if (!retry.empty()) details.retry_after = std::chrono::milliseconds(std::stoll(retry));
  const std::string metadata_count = reader.TakeString();
  for (size_t left = metadata_count.empty() ? 0 : std::stoull(metadata_count); left > 0; --left) {
    std::string key = reader.TakeString();
    details.metadata[std::move(key)] = reader.TakeString();
  }
  while (!reader.done()) {
    FieldViolation violation;
    violation.field = reader.TakeString();
    violation.description = reader.TakeString();
    details.violations.push_back(std::move(violation));
  }
  return details;
}

}  // namespace

absl::Status MakeError(absl::StatusCode code, absl::string_view message, ErrorDetails details) {
  absl::Status status(code, message);
  if (details.reason.empty()) details.reason = absl::StatusCodeToString(code);
  status.SetPayload(kPayloadUrl, absl::Cord(Encode(details)));
  return status;
}

absl::Status MakeError(absl::StatusCode code, absl::string_view reason, absl::string_view message) {
  ErrorDetails details;
  details.reason = std::string(reason);
  return MakeError(code, message, std::move(details));
}

ErrorDetails GetErrorDetails(const absl::Status& status) {
  if (const auto payload = status.GetPayload(kPayloadUrl)) return Decode(std::string(*payload));
  ErrorDetails details;
  details.reason = absl::StatusCodeToString(status.code());
  return details;
}

absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(context, ": ", status.message()));
  status.ForEachPayload(
      [&annotated](absl::string_view url, const absl::Cord& payload) { annotated.SetPayload(url, payload); });
  return annotated;
}

}  // namespace naru
