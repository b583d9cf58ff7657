#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/catalog/sink_table_name.h"
#include "common/catalog/validate_kinds.h"
#include "common/secret/secret.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

constexpr int kMaxMetrics = 100;
constexpr int kMaxPartitions = 128;
constexpr size_t kMaxPrefixBytes = 256;
constexpr size_t kMaxSinkTopicBytes = 200;
constexpr size_t kMaxSchemaBytes = 63;

// `host:port`, or with `port_needed` false also `host`.
bool IsAddress(absl::string_view text, bool port_needed) {
  if (text.empty() || text.find_first_of(" \t\r\n,/@") != absl::string_view::npos) return false;
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return !port_needed;
  int port = 0;
  return colon > 0 && absl::SimpleAtoi(text.substr(colon + 1), &port) && port > 0 && port <= 65535;
}

bool IsPrintable(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7f; });
}

// A password in the catalog is one that everybody reads.
bool HoldsPassword(absl::string_view dsn) {
  if (const size_t scheme = dsn.find("://"); scheme != absl::string_view::npos) {
    const absl::string_view authority = dsn.substr(scheme + 3, dsn.find_first_of("/?", scheme + 3) - scheme - 3);
    const size_t at = authority.rfind('@');
    if (at != absl::string_view::npos && authority.substr(0, at).find(':') != absl::string_view::npos) return true;
  }
  const std::string lower = absl::AsciiStrToLower(dsn);
  for (size_t at = lower.find("password"); at != std::string::npos; at = lower.find("password", at + 1)) {
    const bool word = at == 0 || !absl::ascii_isalnum(lower[at - 1]);
    const size_t after = lower.find_first_not_of(" \t", at + 8);
    if (word && after != std::string::npos && lower[after] == '=') return true;
  }
  return false;
}

void ValidateRedis(const v1::RedisSink& redis, ProblemList* problems) {
  if (redis.address().empty()) {
    problems->Add("spec.redis.address", "missing; HOST:PORT");
  } else if (!IsAddress(redis.address(), true)) {
    problems->Add("spec.redis.address", absl::StrCat("`", redis.address(), "` is not HOST:PORT"));
  }
  if (redis.key_prefix().size() > kMaxPrefixBytes || !IsPrintable(redis.key_prefix())) {
    problems->Add("spec.redis.key_prefix",
                  absl::StrCat("must be at most ", kMaxPrefixBytes, " bytes without spaces and control characters"));
  }
  if (redis.database() < 0 || redis.database() > 1'000'000) {
    problems->Add("spec.redis.database",
                  absl::StrCat(redis.database(), " is not the number of a database (0 or more)"));
  }
}

void ValidatePostgres(const v1::Sink& sink, ProblemList* problems) {
  const v1::PostgresSink& postgres = sink.postgres();
  const bool parts = !postgres.host().empty() || !postgres.database().empty() || !postgres.user().empty();
  if (postgres.dsn().empty() && !parts) {
    problems->Add("spec.postgres", "needs a dsn, or host, database and user");
  } else if (!postgres.dsn().empty() && parts) {
    problems->Add("spec.postgres.dsn", "says everything; leave host, database and user out");
  } else if (HoldsPassword(postgres.dsn())) {
    problems->Add("spec.postgres.dsn",
                  "holds a password, which everybody who reads the catalog would read; leave it out and write "
                  "password: {secret: NAME}");
  }
  if (parts) {
    if (!IsAddress(postgres.host(), false)) {
      problems->Add("spec.postgres.host", absl::StrCat("`", postgres.host(), "` is not HOST or HOST:PORT"));
    }
    if (postgres.database().empty()) problems->Add("spec.postgres.database", "missing");
    if (postgres.user().empty()) problems->Add("spec.postgres.user", "missing");
  }
  const std::string& schema = postgres.schema();
  if (schema.size() > kMaxSchemaBytes || !IsPrintable(schema) || absl::StartsWith(schema, "pg_")) {
    problems->Add("spec.postgres.schema", absl::StrCat("`", schema, "` cannot be the name of a schema of ours"));
  }
  std::map<std::string, std::string> tables;
  for (int i = 0; i < sink.metrics_size(); ++i) {
    const auto [found, added] = tables.emplace(SinkTableName(sink.metrics(i)), sink.metrics(i));
    if (added || found->second == sink.metrics(i)) continue;
    problems->Add(absl::StrCat("spec.metrics[", i, "]"),
                  absl::StrCat("its table would be `", found->first, "`, which is that of `", found->second,
                               "`; put it into a Sink with another schema"));
  }
}

// Names of Naru's own topics.
bool IsReservedTopic(absl::string_view name) {
  static const std::set<std::string> kReserved = {"events", "aggregates", "products", "places", "images"};
  return kReserved.count(std::string(name)) > 0 || absl::StartsWith(name, "naru.") ||
         absl::StartsWith(name, "events.") || absl::StartsWith(name, "sinks.");
}

void ValidateTopic(const v1::TopicSink& topic, ProblemList* problems) {
  const std::string& name = topic.name();
  const bool word = std::all_of(name.begin(), name.end(),
                                [](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; });
  if (name.empty()) {
    problems->Add("spec.topic.name", "missing");
  } else if (!word || name.size() > kMaxSinkTopicBytes || name == "." || name == "..") {
    problems->Add("spec.topic.name", absl::StrCat("`", name,
                                                  "` is not the name of a topic: letters, digits, `.`, `_`, "
                                                  "`-`; at most ",
                                                  kMaxSinkTopicBytes, " bytes"));
  } else if (IsReservedTopic(name)) {
    problems->Add("spec.topic.name", absl::StrCat("`", name, "` is a topic of Naru's own; choose another name"));
  }
  problems->CheckWord("spec.topic.format", topic.format(), {"protobuf", "json"});
  if (topic.partitions() < 0 || topic.partitions() > kMaxPartitions) {
    problems->Add("spec.topic.partitions", absl::StrCat(topic.partitions(), " is outside 1 to ", kMaxPartitions));
  }
}

// Why a name that is no Metric's is refused.
std::string NoMetric(const std::string& given, const ResourceLookup& lookup) {
  for (const char* kind : {"Funnel", "Retention"}) {
    const std::string prefix = absl::StrCat(kind, "/");
    const bool prefixed = absl::StartsWith(given, prefix);
    const std::string name = prefixed ? given.substr(prefix.size()) : given;
    if (lookup(kind, name) == nullptr) continue;
    return absl::StrCat("`", name, "` is a ", kind,
                        ", which has no rows that a Sink could write; only Metrics have (ask `naru ",
                        absl::AsciiStrToLower(kind), " ", name, "`)");
  }
  return absl::StrCat("there is no Metric `", given, "`; apply it together with this");
}

void ValidateMetrics(const v1::Sink& sink, const ResourceLookup& lookup, ProblemList* problems) {
  if (sink.metrics().empty()) problems->Add("spec.metrics", "missing; names of Metrics");
  if (sink.metrics_size() > kMaxMetrics) {
    problems->Add("spec.metrics", absl::StrCat(sink.metrics_size(), " metrics; at most ", kMaxMetrics));
  }
  std::set<std::string> seen;
  for (int i = 0; i < sink.metrics_size(); ++i) {
    const std::string& name = sink.metrics(i);
    const std::string field = absl::StrCat("spec.metrics[", i, "]");
    if (!seen.insert(name).second) {
      problems->Add(field, absl::StrCat("`", name, "` is given twice"));
    } else if (lookup("Metric", name) == nullptr) {
      problems->Add(field, NoMetric(name, lookup));
    }
  }
}

}  // namespace

void ValidateSink(const v1::Sink& sink, const ResourceLookup& lookup, ProblemList* problems) {
  switch (sink.to_case()) {
    case v1::Sink::kRedis:
      ValidateRedis(sink.redis(), problems);
      break;
    case v1::Sink::kPostgres:
      ValidatePostgres(sink, problems);
      break;
    case v1::Sink::kTopic:
      ValidateTopic(sink.topic(), problems);
      break;
    case v1::Sink::TO_NOT_SET:
      problems->Add("spec", "says nothing about where to; one of redis, postgres, topic");
      break;
  }
  ValidateMetrics(sink, lookup, problems);
  if (sink.has_password()) {
    if (sink.has_topic()) {
      problems->Add("spec.password", "is not for topics");
    } else if (!IsValidSecretName(sink.password().secret())) {
      problems->Add("spec.password.secret", absl::StrCat("`", sink.password().secret(),
                                                         "` is not the name of a secret: a file of --secrets_dir"));
    }
  }
  if (sink.has_redis() && !sink.redis().username().empty() && !sink.has_password()) {
    problems->Add("spec.password", "missing; a user has a password");
  }
  problems->CheckDuration("spec.interval", sink.interval(), std::chrono::milliseconds(10), std::chrono::hours(1));
}

}  // namespace naru::catalog
