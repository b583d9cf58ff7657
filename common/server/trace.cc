#include "common/server/trace.h"

#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace naru {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

bool ReadHex(absl::string_view text, uint8_t* out, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) {
    const int high = HexDigit(text[2 * i]);
    const int low = HexDigit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<uint8_t>(high * 16 + low);
  }
  return true;
}

void AppendHex(const uint8_t* bytes, size_t size, std::string* out) {
  constexpr char kHex[] = "0123456789abcdef";
  for (size_t i = 0; i < size; ++i) {
    out->push_back(kHex[bytes[i] >> 4]);
    out->push_back(kHex[bytes[i] & 15]);
  }
}

template <size_t N>
bool IsZero(const std::array<uint8_t, N>& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

template <size_t N>
void FillRandom(Random& random, std::array<uint8_t, N>* bytes) {
  for (size_t i = 0; i < N; i += 8) {
    const uint64_t number = random.Next() | 1;  // never all zero
    for (size_t j = 0; j < 8; ++j) (*bytes)[i + j] = static_cast<uint8_t>(number >> (8 * j));
  }
}

}  // namespace

bool TraceContext::valid() const { return !IsZero(trace_id) && !IsZero(span_id); }

std::string TraceContext::TraceId() const {
  std::string text;
  AppendHex(trace_id.data(), trace_id.size(), &text);
  return text;
}

std::string TraceContext::ToString() const {
  if (!valid()) return "";
  std::string text = "00-";
  text.reserve(55);
  AppendHex(trace_id.data(), trace_id.size(), &text);
  text.push_back('-');
  AppendHex(span_id.data(), span_id.size(), &text);
  text.push_back('-');
  AppendHex(&flags, 1, &text);
  return text;
}

TraceContext TraceContext::Child(Random& random) const {
  TraceContext child = *this;
  FillRandom(random, &child.span_id);
  return child;
}

TraceContext TraceContext::Generate(Random& random) {
  TraceContext trace;
  FillRandom(random, &trace.trace_id);
  FillRandom(random, &trace.span_id);
  return trace;
}

std::optional<TraceContext> TraceContext::Parse(absl::string_view text) {
  // 00-<32>-<16>-<2>. A later version may go on after another dash; version ff is forbidden.
  TraceContext trace;
  uint8_t version = 0;
  if (text.size() < 55 || text[2] != '-' || text[35] != '-' || text[52] != '-' || !ReadHex(text, &version, 1) ||
      version == 0xff || (version == 0 && text.size() != 55) || (text.size() > 55 && text[55] != '-') ||
      !ReadHex(text.substr(3), trace.trace_id.data(), 16) || !ReadHex(text.substr(36), trace.span_id.data(), 8) ||
      !ReadHex(text.substr(53), &trace.flags, 1) || !trace.valid()) {
    return std::nullopt;
  }
  return trace;
}

TraceContext TraceFromContext(const grpc::ServerContextBase& context) {
  const auto& metadata = context.client_metadata();
  const auto it = metadata.find(kTraceHeader);
  if (it == metadata.end()) return {};
  return TraceContext::Parse({it->second.data(), it->second.size()}).value_or(TraceContext{});
}

void AddTrace(const TraceContext& trace, grpc::ClientContext* context) {
  if (trace.valid()) context->AddMetadata(kTraceHeader, trace.ToString());
}

}  // namespace naru
