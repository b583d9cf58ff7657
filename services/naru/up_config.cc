#include "services/naru/up_config.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace naru::cli {

void AddUpOptions(Options* options, UpConfig* config) {
  options
      ->Add("data_dir", &config->data_dir, "Where everything is kept; made if it is not there. One process at a time.")
      .ValueName("DIR");
  options
      ->Add("pack", &config->packs,
            "A pack to apply at the start: a name under deploy/packs or a path; may be repeated.")
      .ValueName("NAME|PATH");
  AddServerOptions(options, &config->server);
  ingest::AddIngestOptions(options, &config->ingest);
  aggregator::AddAggregatorOptions(options, &config->aggregator);
  options->Section("Secrets");
  AddSecretOptions(options, &config->secrets);
  options->Section("Event log");
  options->Add("log_memory", &config->log_memory, "What the log in this process may keep in memory.")
      .Range(16 << 20, double{64} * (1 << 30));
  options->Add("kafka_brokers", &config->kafka_brokers, "Keep the log on this cluster instead: HOST:PORT,HOST:PORT.");
  options->Add("kafka_topic_prefix", &config->kafka_topic_prefix, "Put before the names of all topics.");
  options->Add("kafka_property", &config->kafka_properties, "A setting of librdkafka, NAME=VALUE; may be repeated.");
  AddLogOptions(options, &config->log);
  options->Validate([config] {
    std::vector<FieldViolation> violations = ingest::ValidateIngestOptions(config->ingest);
    if (config->data_dir.empty()) violations.push_back({"data_dir", "must not be empty"});
    for (const std::string& property : config->kafka_properties) {
      if (!absl::StrContains(property, '=') || property.front() == '=') {
        violations.push_back({"kafka_property", absl::StrCat("`", property, "` is not NAME=VALUE")});
      }
    }
    if (!config->kafka_properties.empty() && config->kafka_brokers.empty()) {
      violations.push_back({"kafka_property", "needs kafka_brokers"});
    }
    return violations;
  });
}

void FillAddresses(bool http_set, bool metrics_set, ServerOptions* server) {
  const size_t colon = server->listen.rfind(':');
  if (colon == std::string::npos) return;  // the server says what is wrong with it
  const std::string host = server->listen.substr(0, colon);
  const bool free_ports = server->listen.substr(colon + 1) == "0";
  if (!http_set) server->http_listen = absl::StrCat(host, free_ports ? ":0" : ":7780");
  if (!metrics_set) server->metrics_listen = absl::StrCat(host, free_ports ? ":0" : ":7790");
}

}  // namespace naru::cli
