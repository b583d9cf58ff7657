// naru late: events that came later than a metric allows, and counting them after all.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "absl/strings/str_cat.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.grpc.pb.h"
#include "services/naru/command.h"
#include "services/naru/event_text.h"
#include "services/naru/json_text.h"
#include "services/naru/proto_time.h"

namespace naru::cli {
namespace {

using aggregator::v1::AggregatorService;
using aggregator::v1::LateEvent;

class LateListCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("METRIC", &metric_, "Name of the metric.", 1, 1);
    options.Add("limit", &limit_, "At most this many; 0 = all.").Range(0, 1e9);
  }

  absl::StatusOr<int> Run(Session& session) override {
    aggregator::v1::ListLateEventsRequest request;
    request.set_metric(metric_[0]);
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = AggregatorService::NewStub(channel);
    RowPrinter printer(
        stdout, session.format(), session.terminal.colour,
        {"name", "time", "timeline_time", "received_time", "type", "subject", "source", "id", "replayed"});
    int64_t left = limit_ > 0 ? limit_ : INT64_MAX, count = 0;
    aggregator::v1::ListLateEventsResponse response;
    do {
      request.set_page_size(static_cast<int32_t>(std::min<int64_t>(left, 1000)));
      const auto context = UnaryContext(session.connection);
      response.Clear();
      NARU_RETURN_IF_ERROR(CallStatus(stub->ListLateEvents(context.get(), request, &response), session.connection));
      for (const LateEvent& late : response.events()) Print(late, session.format(), printer);
      count += response.events_size();
      left -= response.events_size();
      request.set_page_token(response.next_page_token());
    } while (left > 0 && !response.next_page_token().empty());
    printer.Finish();
    if (count == 0 && session.format() == OutputFormat::kTable) session.Say("nothing was late");
    return kDone;
  }

 private:
  static void Print(const LateEvent& late, OutputFormat format, RowPrinter& printer) {
    const event::v1::Event& event = late.event();
    if (IsJson(format)) {
      JsonObject json;
      json.Add("name", late.name()).Add("replayed", late.replayed());
      if (event.has_lateness()) json.Add("timeline_time", TimeText(event.lateness().timeline_time()));
      json.AddRaw("event", EventJson(event));
      printer.Add({}, json.Text());
      return;
    }
    const auto time = [](bool there, const google::protobuf::Timestamp& value) {
      return there ? TextCell(TimeText(value)) : NullCell();
    };
    printer.Add({TextCell(late.name()), time(event.has_time(), event.time()),
                 time(event.has_lateness(), event.lateness().timeline_time()),
                 time(event.has_received_time(), event.received_time()), TextCell(event.type()),
                 TextCell(event.subject()), TextCell(event.source()), TextCell(event.id()), BoolCell(late.replayed())});
  }

  std::vector<std::string> metric_;
  int64_t limit_ = 100;
};

class LateReplayCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("METRIC [NAME...]", &words_,
                       "The metric, and which events: PARTITION/OFFSET, as `naru late list` says.");
    options.Add("all", &all_, "All of them.");
    options.Add("dry_run", &dry_run_, "Only say what would happen.");
  }

  absl::StatusOr<int> Run(Session& session) override {
    if (words_.empty() || (words_.size() == 1 && !all_)) {
      return ErrorWithNext(absl::StatusCode::kInvalidArgument, "USAGE", "say which: a metric, and names or --all",
                           words_.empty() ? "naru get Metric" : absl::StrCat("naru late list ", words_[0]));
    }
    aggregator::v1::ReplayLateEventsRequest request;
    request.set_metric(words_[0]);
    for (size_t i = 1; i < words_.size(); ++i) request.add_names(words_[i]);
    request.set_dry_run(dry_run_);
    Interrupt interrupt;
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = AggregatorService::NewStub(channel);
    // No deadline: there may be millions. What was replayed before Ctrl-C stays replayed.
    grpc::ClientContext context;
    interrupt.OnSignal([&] { context.TryCancel(); });
    aggregator::v1::ReplayLateEventsResponse response;
    const grpc::Status replayed = stub->ReplayLateEvents(&context, request, &response);
    interrupt.OnSignal(nullptr);
    NARU_RETURN_IF_ERROR(CallStatus(replayed, session.connection));
    RowPrinter printer(stdout, session.format(), session.terminal.colour, {"read", "replayed", "duplicate", "skipped"});
    printer.Add({NumberCell(response.read_count()), NumberCell(response.replayed_count()),
                 NumberCell(response.duplicate_count()), NumberCell(response.skipped_count())});
    return kDone;
  }

 private:
  std::vector<std::string> words_;
  bool all_ = false;
  bool dry_run_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeLateListCommand() { return std::make_unique<LateListCommand>(); }
std::unique_ptr<Command> MakeLateReplayCommand() { return std::make_unique<LateReplayCommand>(); }

}  // namespace naru::cli
