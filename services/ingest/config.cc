#include "services/ingest/config.h"

#include "absl/strings/str_cat.h"

namespace naru::ingest {

void AddIngestOptions(Options* options, IngestOptions* ingest) {
  options->Section("Events");
  options
      ->Add("max_in_flight", &ingest->max_in_flight,
            "Bytes taken and not yet acknowledged; beyond them calls are refused and streams wait.")
      .Range(1 << 20, double{16} * (1 << 30));
  options->Add("max_event", &ingest->max_event, "Largest event.").Range(1 << 10, 1 << 20);
  options->Add("max_future", &ingest->max_future, "How far after the time it was received an event's time may be.")
      .Range(0, 3.2e15);
  options->Add("unregistered_events", &ingest->unregistered_events, "Events of a type that nobody registered.")
      .OneOf({"reject", "keep"});
  options
      ->Add("partitions", &ingest->partitions,
            "Partitions of the topic `events` when it is made; 0 = 4 in one process, 12 on Kafka.")
      .Range(0, 128);
  options->Add("rejected_retention", &ingest->rejected_retention, "How long rejected events are kept.")
      .Range(6e7, 3.2e15);
}

std::vector<FieldViolation> ValidateIngestOptions(const IngestOptions& ingest) {
  std::vector<FieldViolation> violations;
  if (ingest.max_event.bytes > ingest.max_in_flight.bytes) {
    violations.push_back(
        {"max_event", absl::StrCat("larger than max_in_flight (", FormatByteSize(ingest.max_in_flight), ")")});
  }
  return violations;
}

void AddIngestConfig(Options* options, IngestConfig* config) {
  AddServerOptions(options, &config->server);
  AddIngestOptions(options, &config->ingest);
  AddSecretOptions(options, &config->ingest.secrets);
  options->Section("Kafka");
  options->Add("kafka_brokers", &config->kafka_brokers, "The cluster that holds the event log: HOST:PORT,HOST:PORT.");
  options->Add("kafka_topic_prefix", &config->kafka_topic_prefix, "Put before the names of all topics.");
  options->Add("kafka_property", &config->kafka_properties, "A setting of librdkafka, NAME=VALUE; may be repeated.");
  options->Add("state_dir", &config->ingest.state_dir,
               "Directory for the ids seen; empty: a temporary one, read back from the log at each start.");
  options->Add("instance", &config->ingest.instance,
               "Stable name of this replica, unlike any other's; empty: the host name.");
  options->Add("data_dir", &config->data_dir, "Refused: one process on its own directory is `naru up --data_dir DIR`.")
      .Hidden();
  AddLogOptions(options, &config->log);
  options->Validate([config] {
    std::vector<FieldViolation> violations = ValidateIngestOptions(config->ingest);
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

}  // namespace naru::ingest
