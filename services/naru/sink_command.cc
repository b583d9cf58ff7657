// naru sink: where the rows of metrics are written to, how far, and pausing it.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>

#include "absl/strings/str_cat.h"
#include "common/clock/duration.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.grpc.pb.h"
#include "services/naru/command.h"
#include "services/naru/json_text.h"

namespace naru::cli {
namespace {

using aggregator::v1::AggregatorService;
using aggregator::v1::SinkMetricStatus;
using aggregator::v1::SinkStatus;

absl::StatusOr<std::unique_ptr<AggregatorService::Stub>> OpenStub(const Session& session) {
  NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
  return AggregatorService::NewStub(channel);
}

Colour ColourOf(const std::string& state) {
  if (state == "RUNNING") return Colour::kGreen;
  return state == "WAITING" || state == "STOPPED" ? Colour::kRed : Colour::kNone;
}

void PrintSinks(const Session& session, const std::vector<SinkStatus>& sinks) {
  RowPrinter printer(stdout, session.format(), session.terminal.colour,
                     {"sink", "type", "target", "metric", "version", "state", "lag", "behind", "written", "refused",
                      "writer", "message"});
  for (const SinkStatus& sink : sinks) {
    for (const SinkMetricStatus& metric : sink.metrics()) {
      const std::string behind = FormatDuration(std::chrono::seconds(metric.lag_seconds()));
      printer.Add({TextCell(sink.name()), TextCell(sink.type()), TextCell(sink.target()), TextCell(metric.metric()),
                   metric.metric_version() == 0 ? NullCell() : NumberCell(int64_t{metric.metric_version()}),
                   TextCell(metric.state(), ColourOf(metric.state())), NumberCell(metric.lag()),
                   RawCell(behind, absl::StrCat(metric.lag_seconds()), true), NumberCell(metric.written_count()),
                   NumberCell(metric.refused_count()), TextCell(metric.writer()), TextCell(metric.message())});
    }
  }
}

class SinkListCommand : public Command {
 public:
  void AddOptions(Options&) override {}

  absl::StatusOr<int> Run(Session& session) override {
    NARU_ASSIGN_OR_RETURN(const auto stub, OpenStub(session));
    aggregator::v1::ListSinksResponse response;
    const auto context = UnaryContext(session.connection);
    NARU_RETURN_IF_ERROR(CallStatus(stub->ListSinks(context.get(), {}, &response), session.connection));
    PrintSinks(session, {response.sinks().begin(), response.sinks().end()});
    if (response.sinks().empty()) session.Say("there are no sinks; `naru explain Sink` says how one is written");
    return kDone;
  }
};

// What the three commands that change a sink share.
class SinkChangeCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("NAME", &names_, "Name of the Sink; `naru sink list` shows them.", 1, 1);
  }

  absl::StatusOr<int> Run(Session& session) override {
    NARU_ASSIGN_OR_RETURN(const auto stub, OpenStub(session));
    const auto context = UnaryContext(session.connection);
    SinkStatus sink;
    NARU_RETURN_IF_ERROR(CallStatus(Call(*stub, context.get(), names_[0], &sink), session.connection));
    session.Say(Done(names_[0]));
    if (IsJson(session.format()) || session.format() == OutputFormat::kCsv) PrintSinks(session, {sink});
    return kDone;
  }

 protected:
  virtual grpc::Status Call(AggregatorService::Stub& stub, grpc::ClientContext* context, const std::string& name,
                            SinkStatus* sink) = 0;
  virtual std::string Done(const std::string& name) const = 0;

 private:
  std::vector<std::string> names_;
};

class SinkPauseCommand : public SinkChangeCommand {
 protected:
  grpc::Status Call(AggregatorService::Stub& stub, grpc::ClientContext* context, const std::string& name,
                    SinkStatus* sink) override {
    aggregator::v1::PauseSinkRequest request;
    request.set_name(name);
    return stub.PauseSink(context, request, sink);
  }
  std::string Done(const std::string& name) const override {
    return absl::StrCat("sink ", name, " is paused; `naru sink resume ", name, "` goes on where it was");
  }
};

class SinkResumeCommand : public SinkChangeCommand {
 protected:
  grpc::Status Call(AggregatorService::Stub& stub, grpc::ClientContext* context, const std::string& name,
                    SinkStatus* sink) override {
    aggregator::v1::ResumeSinkRequest request;
    request.set_name(name);
    return stub.ResumeSink(context, request, sink);
  }
  std::string Done(const std::string& name) const override { return absl::StrCat("sink ", name, " goes on"); }
};

class SinkResyncCommand : public SinkChangeCommand {
 protected:
  grpc::Status Call(AggregatorService::Stub& stub, grpc::ClientContext* context, const std::string& name,
                    SinkStatus* sink) override {
    aggregator::v1::ResyncSinkRequest request;
    request.set_name(name);
    return stub.ResyncSink(context, request, sink);
  }
  std::string Done(const std::string& name) const override {
    return absl::StrCat("sink ", name, " is filled again; `naru sink list` shows how far it is");
  }
};

}  // namespace

std::unique_ptr<Command> MakeSinkListCommand() { return std::make_unique<SinkListCommand>(); }
std::unique_ptr<Command> MakeSinkPauseCommand() { return std::make_unique<SinkPauseCommand>(); }
std::unique_ptr<Command> MakeSinkResumeCommand() { return std::make_unique<SinkResumeCommand>(); }
std::unique_ptr<Command> MakeSinkResyncCommand() { return std::make_unique<SinkResyncCommand>(); }

}  // namespace naru::cli
