#include "services/aggregator/sink_open.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/status/status.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/sink_postgres.h"
#include "services/aggregator/sink_redis.h"
#include "services/aggregator/sink_topic.h"

namespace naru::aggregator {
namespace {

// `host:port` or `host`; validated when it was applied.
std::pair<std::string, std::string> SplitAddress(const std::string& address, const char* default_port) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return {address, default_port};
  return {address.substr(0, colon), address.substr(colon + 1)};
}

std::string Quoted(const std::string& value) {
  return absl::StrCat("'", absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"'", "\\'"}}), "'");
}

std::unique_ptr<SinkWriter> OpenRedis(const catalog::v1::RedisSink& spec, const std::string& password,
                                      const Clock& clock) {
  redis::RedisOptions options;
  const auto [host, port] = SplitAddress(spec.address(), "6379");
  options.host = host;
  if (!absl::SimpleAtoi(port, &options.port)) options.port = 0;
  options.username = spec.username();
  options.password = password;
  options.database = spec.database();
  return MakeRedisSinkWriter(options, spec.key_prefix(), clock);
}

absl::StatusOr<std::unique_ptr<SinkWriter>> OpenPostgres(const catalog::v1::PostgresSink& spec,
                                                         const std::string& password, const SecretOptions& secrets) {
  postgres::PostgresOptions options;
  options.application_name = "naru-sink";
  options.password = password;
  if (!spec.dsn().empty()) {
    NARU_ASSIGN_OR_RETURN(options.dsn, ResolveSecrets(secrets, "spec.postgres.dsn", spec.dsn()));
  } else {
    const auto [host, port] = SplitAddress(spec.host(), "5432");
    options.dsn = absl::StrCat("host=", Quoted(host), " port=", Quoted(port), " dbname=", Quoted(spec.database()),
                               " user=", Quoted(spec.user()));
  }
  return MakePostgresSinkWriter(options, spec.schema());
}

}  // namespace

std::string SinkType(const catalog::v1::Sink& spec) {
  switch (spec.to_case()) {
    case catalog::v1::Sink::kRedis:
      return "redis";
    case catalog::v1::Sink::kPostgres:
      return "postgres";
    case catalog::v1::Sink::kTopic:
      return "topic";
    case catalog::v1::Sink::TO_NOT_SET:
      break;
  }
  return "";
}

std::string SinkTarget(const catalog::v1::Sink& spec) {
  if (spec.has_redis()) {
    return absl::StrCat(spec.redis().address(), "/", spec.redis().database(), " ",
                        spec.redis().key_prefix().empty() ? "naru" : spec.redis().key_prefix());
  }
  if (spec.has_postgres()) {
    const auto& postgres = spec.postgres();
    const std::string schema = postgres.schema().empty() ? "public" : postgres.schema();
    if (!postgres.dsn().empty()) return absl::StrCat(postgres.dsn(), " ", schema);
    return absl::StrCat(postgres.host(), "/", postgres.database(), " ", schema);
  }
  return spec.topic().name();
}

absl::StatusOr<std::unique_ptr<SinkWriter>> OpenSink(const catalog::v1::Sink& spec, const SecretOptions& secrets,
                                                     event_log::EventLog& log, const Clock& clock, SinkFence& fence) {
  std::string password;
  if (spec.has_password()) {
    NARU_ASSIGN_OR_RETURN(password, ReadSecret(secrets, "spec.password", spec.password().secret()));
  }
  switch (spec.to_case()) {
    case catalog::v1::Sink::kRedis:
      return OpenRedis(spec.redis(), password, clock);
    case catalog::v1::Sink::kPostgres:
      return OpenPostgres(spec.postgres(), password, secrets);
    case catalog::v1::Sink::kTopic:
      return MakeTopicSinkWriter(log, clock, fence, spec.topic());
    case catalog::v1::Sink::TO_NOT_SET:
      break;
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "SINK_UNKNOWN",
                   "this release does not know where this sink writes to");
}

}  // namespace naru::aggregator
