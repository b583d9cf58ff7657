#include "common/kafka/client.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/kafka/errors.h"
#include "common/log/log.h"
#include "common/status/status.h"

namespace naru::kafka {
namespace {

// Secrets travel in properties (sasl.password, ssl.key.password): a message never shows their values.
absl::Status Set(rd_kafka_conf_t* conf, const std::string& name, const std::string& value) {
  char error[512];
  if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), error, sizeof error) == RD_KAFKA_CONF_OK) {
    return absl::OkStatus();
  }
  const bool secret = absl::StrContains(name, "password") || absl::StrContains(name, "secret") ||
                      absl::StrContains(name, "key.pem") || absl::StrContains(name, "sasl.oauthbearer");
  return MakeError(absl::StatusCode::kInvalidArgument, "KAFKA_SETTING",
                   absl::StrCat("Kafka setting ", name, secret ? "" : absl::StrCat("=", value), ": ",
                                secret ? "librdkafka does not take its value" : error));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Make(rd_kafka_type_t type, const ClientOptions& options,
                                                     const Settings& defaults, void* owner,
                                                     const std::function<void(rd_kafka_conf_t*)>& prepare) {
  std::unique_ptr<Client> client(new Client());
  client->owner_ = owner;
  client->options_ = options;
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  absl::Status status = Set(conf, "bootstrap.servers", options.brokers);
  if (status.ok()) status = Set(conf, "client.id", options.client_id);
  // Without this, connection attempts to a broker that restarts are spaced up to ten seconds apart.
  if (status.ok()) status = Set(conf, "reconnect.backoff.max.ms", "1000");
  for (const auto& [name, value] : defaults) {
    if (status.ok()) status = Set(conf, name, value);
  }
  if (status.ok() && options.on_statistics && options.statistics_interval.count() > 0) {
    status = Set(conf, "statistics.interval.ms", absl::StrCat(options.statistics_interval.count()));
    rd_kafka_conf_set_stats_cb(conf, &Client::OnStatistics);
  }
  for (const auto& [name, value] : options.properties) {
    if (status.ok()) status = Set(conf, name, value);
  }
  if (!status.ok()) {
    rd_kafka_conf_destroy(conf);
    return status;
  }
  rd_kafka_conf_set_opaque(conf, client.get());
  rd_kafka_conf_set_error_cb(conf, &Client::OnError);
  rd_kafka_conf_set_log_cb(conf, &Client::OnLog);
  if (prepare) prepare(conf);
  char error[512];
  client->handle_ = rd_kafka_new(type, conf, error, sizeof error);
  if (client->handle_ == nullptr) {
    rd_kafka_conf_destroy(conf);
    return MakeError(absl::StatusCode::kInvalidArgument, "KAFKA_SETTING", absl::StrCat("Kafka client: ", error));
  }
  return client;
}

Client::~Client() {
  if (handle_ != nullptr) rd_kafka_destroy(handle_);
}

absl::Status Client::fatal_error() const {
  char text[512];
  const rd_kafka_resp_err_t error = rd_kafka_fatal_error(handle_, text, sizeof text);
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return absl::OkStatus();
  const absl::Status status = StatusOf(error, "Kafka client");
  const absl::string_view reason = IsFenced(status) ? absl::string_view(kFenced) : absl::string_view("KAFKA_FATAL");
  return MakeError(absl::StatusCode::kAborted, reason, absl::StrCat("Kafka client: ", text));
}

absl::Status Client::last_error() const {
  MutexLock lock(&mu_);
  return last_error_;
}

void Client::OnError(rd_kafka_t*, int error, const char* reason, void* opaque) {
  auto* client = static_cast<Client*>(opaque);
  if (error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) client->unreachable_.store(true, std::memory_order_relaxed);
  absl::Status status = StatusOf(error, reason == nullptr ? "Kafka client" : reason);
  NARU_LOG_EVERY_SECONDS(5, WARNING, "kafka client error",
                         {{"client_id", client->options_.client_id}, {"error", status}});
  MutexLock lock(&client->mu_);
  client->last_error_ = std::move(status);
}

void Client::OnLog(const rd_kafka_t*, int level, const char* facility, const char* text) {
  // Syslog's levels. librdkafka warns of every lost connection; the error callback says the same once.
  if (level <= 3) {
    NARU_LOG_EVERY_SECONDS(5, WARNING, "kafka client", {{"facility", facility}, {"text", text}});
  } else {
    NARU_LOG(DEBUG, "kafka client", {{"facility", facility}, {"text", text}});
  }
}

int Client::OnStatistics(rd_kafka_t*, char* json, size_t size, void* opaque) {
  static_cast<Client*>(opaque)->options_.on_statistics(absl::string_view(json, size));
  return 0;  // librdkafka frees the text
}

}  // namespace naru::kafka
