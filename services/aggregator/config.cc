#include "services/aggregator/config.h"

#include "absl/strings/str_cat.h"

namespace naru::aggregator {

void AddAggregatorOptions(Options* options, AggregatorOptions* aggregator) {
  options->Section("Windows");
  options
      ->Add("aggregator_memory", &aggregator->memory,
            "Memory for the states of windows; what is beyond it stays on disk until it is asked for.")
      .Range(16 << 20, double{1024} * (1 << 30));
  options
      ->Add("commit_interval", &aggregator->commit_interval,
            "How often counted events are committed; stretches by itself where much changes.")
      .Range(1e4, 6e7);
  options
      ->Add("maintenance_interval", &aggregator->maintenance_interval, "How often old windows and metrics are removed.")
      .Range(1e4, 3.6e9)
      .Hidden();
  options
      ->Add("late_retention", &aggregator->late_retention, "How long events that came too late for a metric are kept.")
      .Range(6e7, 3.2e15);
}

void AddAggregatorConfig(Options* options, AggregatorConfig* config) {
  AddServerOptions(options, &config->server);
  AddAggregatorOptions(options, &config->aggregator);
  AddSecretOptions(options, &config->aggregator.secrets);
  options->Section("Kafka");
  options->Add("kafka_brokers", &config->kafka_brokers, "The cluster that holds the event log: HOST:PORT,HOST:PORT.");
  options->Add("kafka_topic_prefix", &config->kafka_topic_prefix, "Put before the names of all topics.");
  options->Add("kafka_property", &config->kafka_properties, "A setting of librdkafka, NAME=VALUE; may be repeated.");
  options->Add(
      "state_dir", &config->aggregator.state_dir,
      "Directory for the local copy of the windows; empty: a temporary one, read back from the log at each start.");
  options->Add("instance", &config->aggregator.instance,
               "Stable name of this replica, unlike any other's; empty: the host name.");
  options->Add("group", &config->aggregator.group, "Consumer group that the replicas share.");
  options->Add("data_dir", &config->data_dir, "Refused: one process on its own directory is `naru up --data_dir DIR`.")
      .Hidden();
  options->Section("Log");
  options->Add("log_level", &config->log_level, "Least important entries that are written.")
      .OneOf({"debug", "info", "warning", "error"});
  options->Add("log_format", &config->log_format, "Form of a line.").OneOf({"text", "json"});
  options->Validate([config] {
    std::vector<FieldViolation> violations;
    if (!config->data_dir.empty()) {
      violations.push_back({"data_dir",
                            "an embedded log belongs to one process: run `naru up --data_dir DIR` instead, or "
                            "give --kafka_brokers"});
    } else if (config->kafka_brokers.empty()) {
      violations.push_back({"kafka_brokers", "must be given; without Kafka run everything in one process: `naru up`"});
    }
    for (const std::string& property : config->kafka_properties) {
      if (property.find('=') == std::string::npos || property.front() == '=') {
        violations.push_back({"kafka_property", absl::StrCat("`", property, "` is not NAME=VALUE")});
      }
    }
    return violations;
  });
}

}  // namespace naru::aggregator
