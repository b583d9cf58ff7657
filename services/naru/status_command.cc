// naru status: services, health, accounting, lag, storage.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "absl/strings/str_cat.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "naru/aggregator/v1/aggregator.grpc.pb.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "services/naru/accounting_text.h"
#include "services/naru/command.h"
#include "services/naru/json_text.h"
#include "services/naru/proto_time.h"

namespace naru::cli {
namespace {

using grpc::health::v1::HealthCheckResponse;

// What a service says of itself; `NOT_HERE` where the address serves another one.
struct ServiceState {
  std::string name;
  std::string health;
};

// Everything that was asked. Parts whose service is elsewhere stay empty.
struct Answers {
  std::string health;
  std::vector<ServiceState> services;
  bool has_ingest = false;
  ingest::v1::Accounting accounting;
  ingest::v1::IngestStatus ingest;
  bool has_aggregator = false;
  aggregator::v1::ListMetricStatusResponse metrics;
};

constexpr const char* kServices[] = {"naru.ingest.v1.IngestService", "naru.catalog.v1.CatalogService",
                                     "naru.aggregator.v1.AggregatorService"};

class StatusCommand : public Command {
 public:
  void AddOptions(Options&) override {}

  absl::StatusOr<int> Run(Session& session) override {
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    Answers answers;
    NARU_RETURN_IF_ERROR(Ask(session.connection, channel, &answers));
    if (session.format() == OutputFormat::kTable) {
      PrintForPeople(session, answers);
    } else {
      std::printf("%s\n", Json(session, answers).c_str());
    }
    return answers.health == "SERVING" ? kDone : kUnavailable;
  }

 private:
  static absl::StatusOr<std::string> AskHealth(const ConnectionFlags& connection, grpc::health::v1::Health::Stub& stub,
                                               const std::string& service) {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    const auto context = UnaryContext(connection);
    const grpc::Status status = stub.Check(context.get(), request, &response);
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) return std::string("NOT_HERE");
    NARU_RETURN_IF_ERROR(CallStatus(status, connection));
    return HealthCheckResponse::ServingStatus_Name(response.status());
  }

  static absl::Status Ask(const ConnectionFlags& connection, const std::shared_ptr<grpc::Channel>& channel,
                          Answers* answers) {
    const auto health = grpc::health::v1::Health::NewStub(channel);
    NARU_ASSIGN_OR_RETURN(answers->health, AskHealth(connection, *health, ""));
    for (const char* service : kServices) {
      NARU_ASSIGN_OR_RETURN(const std::string state, AskHealth(connection, *health, service));
      answers->services.push_back({service, state});
    }
    answers->has_ingest = answers->services[0].health != "NOT_HERE";
    answers->has_aggregator = answers->services[2].health != "NOT_HERE";
    if (answers->has_ingest) {
      const auto stub = ingest::v1::IngestService::NewStub(channel);
      auto context = UnaryContext(connection);
      NARU_RETURN_IF_ERROR(CallStatus(stub->GetAccounting(context.get(), {}, &answers->accounting), connection));
      context = UnaryContext(connection);
      NARU_RETURN_IF_ERROR(CallStatus(stub->GetIngestStatus(context.get(), {}, &answers->ingest), connection));
    }
    if (answers->has_aggregator) {
      const auto stub = aggregator::v1::AggregatorService::NewStub(channel);
      const auto context = UnaryContext(connection);
      NARU_RETURN_IF_ERROR(CallStatus(stub->ListMetricStatus(context.get(), {}, &answers->metrics), connection));
    }
    return absl::OkStatus();
  }

  static std::string LagJson(const Answers& answers) {
    JsonArray lag;
    for (const auto& topic : answers.ingest.topics()) {
      for (const auto& consumer : topic.consumers()) {
        lag.AddRaw(
            JsonObject().Add("topic", topic.topic()).Add("group", consumer.group()).Add("lag", consumer.lag()).Text());
      }
    }
    return lag.Text();
  }

  // `REBUILDING 40%`, `FAILED: why`.
  static std::string StateText(const aggregator::v1::MetricStatus& metric) {
    if (!metric.message().empty()) return metric.state() + ": " + metric.message();
    if (metric.state() != "REBUILDING") return metric.state();
    return absl::StrCat(metric.state(), " ", static_cast<int>(metric.progress_percent()), "%");
  }

  static std::string MetricsJson(const Answers& answers) {
    JsonArray metrics;
    for (const auto& metric : answers.metrics.metrics()) {
      JsonObject json;
      json.Add("metric", metric.metric())
          .Add("kind", metric.kind())
          .Add("version", metric.version())
          .Add("state", metric.state());
      if (!metric.message().empty()) json.Add("message", metric.message());
      json.Add("lag", metric.lag()).Add("progress_percent", metric.progress_percent());
      if (metric.answering_version() != metric.version()) json.Add("answering_version", metric.answering_version());
      if (metric.has_valid_from_time()) json.Add("valid_from", TimeText(metric.valid_from_time()));
      if (metric.has_watermark_time()) json.Add("watermark_time", TimeText(metric.watermark_time()));
      json.Add("groups", metric.group_count()).Add("state_bytes", metric.state_bytes());
      json.Add("matched", metric.matched_count()).Add("not_matched", metric.not_matched_count());
      json.Add("failed_expressions", metric.failed_expression_count()).Add("late", metric.late_count());
      metrics.AddRaw(json.Text());
    }
    return metrics.Text();
  }

  static std::string StorageJson(const Answers& answers) {
    JsonArray topics;
    for (const auto& topic : answers.ingest.topics()) {
      JsonArray partitions;
      for (const auto& partition : topic.partitions()) {
        partitions.AddRaw(JsonObject()
                              .Add("partition", partition.partition())
                              .Add("start_offset", partition.start_offset())
                              .Add("end_offset", partition.end_offset())
                              .Text());
      }
      JsonObject json;
      json.Add("topic", topic.topic()).Add("size_bytes", topic.size_bytes()).AddRaw("partitions", partitions.Text());
      topics.AddRaw(json.Text());
    }
    JsonObject storage;
    storage.Add("disk_used_bytes", answers.ingest.disk_used_bytes())
        .Add("disk_free_bytes", answers.ingest.disk_free_bytes());
    storage.Add("deduplication_ids", answers.ingest.deduplication_ids()).AddRaw("topics", topics.Text());
    return storage.Text();
  }

  static std::string Json(const Session& session, const Answers& answers) {
    JsonArray services;
    for (const ServiceState& service : answers.services) {
      services.AddRaw(JsonObject().Add("name", service.name).Add("health", service.health).Text());
    }
    JsonArray sources;
    for (const auto& source : answers.ingest.sources()) {
      JsonObject json;
      json.Add("name", source.name()).Add("state", source.state()).Add("message", source.message());
      json.Add("read", source.read_count()).Add("lag", source.lag());
      sources.AddRaw(json.Text());
    }
    JsonArray notes;
    for (const std::string& note : answers.ingest.recovery_notes()) notes.Add(note);
    JsonObject json;
    json.Add("address", session.connection.address).Add("health", answers.health).AddRaw("services", services.Text());
    if (answers.has_ingest) {
      json.AddRaw("accounting", AccountingJson(answers.accounting)).AddRaw("lag", LagJson(answers));
      json.Add("in_flight_bytes", answers.ingest.in_flight_bytes()).AddRaw("storage", StorageJson(answers));
      json.AddRaw("sources", sources.Text()).AddRaw("recovery_notes", notes.Text());
    }
    if (answers.has_aggregator) json.AddRaw("metrics", MetricsJson(answers));
    return json.Text();
  }

  static void PrintForPeople(const Session& session, const Answers& answers) {
    const bool colour = session.terminal.colour;
    const bool serving = answers.health == "SERVING";
    std::printf("%s is %s\n", session.connection.address.c_str(),
                Paint(serving ? "serving" : answers.health, serving ? Colour::kGreen : Colour::kRed, colour).c_str());
    for (const ServiceState& service : answers.services) {
      if (service.health != "NOT_HERE") std::printf("  %-40s %s\n", service.name.c_str(), service.health.c_str());
    }
    if (answers.has_ingest) PrintIngest(answers, colour);
    if (answers.metrics.metrics_size() > 0) {
      std::printf("\n");
      RowPrinter printer(stdout, OutputFormat::kTable, colour,
                         {"metric", "state", "lag", "groups", "matched", "late", "watermark"});
      for (const auto& metric : answers.metrics.metrics()) {
        const bool plain = metric.kind().empty() || metric.kind() == "Metric";
        printer.Add({TextCell(plain ? metric.metric() : absl::StrCat(metric.metric(), " (", metric.kind(), ")")),
                     TextCell(StateText(metric)), NumberCell(metric.lag()), NumberCell(metric.group_count()),
                     NumberCell(metric.matched_count()), NumberCell(metric.late_count()),
                     metric.has_watermark_time() ? TextCell(TimeText(metric.watermark_time())) : NullCell()});
      }
    }
    for (const std::string& note : answers.ingest.recovery_notes()) session.Warn(note);
  }

  static void PrintIngest(const Answers& answers, bool colour) {
    std::printf("\n%s\n", AccountingLine(answers.accounting).c_str());
    const auto& ingest = answers.ingest;
    if (ingest.disk_used_bytes() >= 0) {
      std::printf("disk: %s used, %s free\n", FormatBytes(ingest.disk_used_bytes()).c_str(),
                  FormatBytes(ingest.disk_free_bytes()).c_str());
    }
    std::printf("\n");
    RowPrinter printer(stdout, OutputFormat::kTable, colour, {"topic", "partitions", "offsets", "size", "lag"});
    for (const auto& topic : ingest.topics()) {
      int64_t offsets = 0;
      for (const auto& partition : topic.partitions()) offsets += partition.end_offset() - partition.start_offset();
      std::string lag;
      for (const auto& consumer : topic.consumers()) {
        absl::StrAppend(&lag, lag.empty() ? "" : ", ", consumer.group(), " ", WithThousands(consumer.lag()));
      }
      printer.Add({TextCell(topic.topic()), NumberCell(int64_t{topic.partitions_size()}), NumberCell(offsets),
                   topic.size_bytes() < 0 ? NullCell() : RawCell(FormatBytes(topic.size_bytes()), "", true),
                   TextCell(lag)});
    }
    printer.Finish();
    for (const auto& source : ingest.sources()) {
      std::printf("source %s: %s %s, %s read, lag %s\n", source.name().c_str(), source.state().c_str(),
                  source.message().c_str(), WithThousands(source.read_count()).c_str(),
                  WithThousands(source.lag()).c_str());
    }
  }
};

}  // namespace

std::unique_ptr<Command> MakeStatusCommand() { return std::make_unique<StatusCommand>(); }

}  // namespace naru::cli
