#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/catalog/builtin.h"
#include "common/catalog/validate_kinds.h"
#include "common/secret/secret.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

constexpr int kMaxTopics = 100;
constexpr size_t kMaxTopicBytes = 249;

bool IsBroker(absl::string_view text) {
  const size_t colon = text.rfind(':');
  int port = 0;
  return colon != absl::string_view::npos && colon > 0 && absl::SimpleAtoi(text.substr(colon + 1), &port) && port > 0 &&
         port <= 65535 && text.find_first_of(" \t,/") == absl::string_view::npos;
}

bool IsTopic(absl::string_view text) {
  return !text.empty() && text.size() <= kMaxTopicBytes && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; });
}

// Settings that say how to reach and trust the brokers. The rest is Naru's: changing it would break what it promises.
bool IsAllowedProperty(absl::string_view name) {
  return name == "security.protocol" || absl::StartsWith(name, "sasl.") || absl::StartsWith(name, "ssl.") ||
         name == "client.id" || name == "client.rack" || name == "broker.address.family";
}

bool IsSecret(absl::string_view name) {
  return absl::EndsWith(name, "password") || absl::StrContains(name, "secret") || absl::EndsWith(name, "key.pem");
}

void ValidateKafka(const v1::KafkaSource& kafka, ProblemList* problems) {
  if (kafka.brokers().empty()) problems->Add("spec.kafka.brokers", "missing; at least one HOST:PORT");
  for (int i = 0; i < kafka.brokers_size(); ++i) {
    if (IsBroker(kafka.brokers(i))) continue;
    problems->Add(absl::StrCat("spec.kafka.brokers[", i, "]"),
                  absl::StrCat("`", kafka.brokers(i), "` is not HOST:PORT"));
  }
  if (kafka.topics().empty()) problems->Add("spec.kafka.topics", "missing; at least one topic");
  if (kafka.topics_size() > kMaxTopics) {
    problems->Add("spec.kafka.topics", absl::StrCat(kafka.topics_size(), " topics; at most ", kMaxTopics));
  }
  for (int i = 0; i < kafka.topics_size(); ++i) {
    const bool twice =
        std::find(kafka.topics().begin(), kafka.topics().begin() + i, kafka.topics(i)) != kafka.topics().begin() + i;
    if (IsTopic(kafka.topics(i)) && !twice) continue;
    problems->Add(absl::StrCat("spec.kafka.topics[", i, "]"),
                  absl::StrCat("`", kafka.topics(i), twice ? "` is given twice" : "` is not the name of a topic"));
  }
  problems->CheckWord("spec.kafka.start", kafka.start(), {"earliest", "latest"});
  for (const auto& [name, value] : kafka.properties()) {
    const std::string field = absl::StrCat("spec.kafka.properties.", name);
    if (!IsAllowedProperty(name)) {
      problems->Add(field,
                    "cannot be set; allowed: security.protocol, sasl.*, ssl.*, client.id, client.rack, "
                    "broker.address.family");
    } else if (IsSecret(name) && !IsSecretReference(value)) {
      problems->Add(
          field,
          "would be readable by everybody who reads the catalog; write ${secret:NAME}, ${file:/path} or ${env:NAME}");
    }
  }
}

}  // namespace

void ValidateSource(const v1::Source& source, const ResourceLookup& lookup, ProblemList* problems) {
  if (source.has_kafka()) {
    ValidateKafka(source.kafka(), problems);
  } else {
    problems->Add("spec.kafka", "missing; it says what is followed");
  }
  if (source.format().empty()) {
    problems->Add("spec.format", "missing; the name of an InputFormat");
  } else if (lookup("InputFormat", source.format()) == nullptr) {
    std::string names;
    for (const auto& builtin : BuiltinResources()) absl::StrAppend(&names, " ", builtin->metadata().name());
    problems->Add("spec.format", absl::StrCat("there is no InputFormat `", source.format(),
                                              "`; apply it together with this, or use a built-in one:", names));
  }
}

}  // namespace naru::catalog
