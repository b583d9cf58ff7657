// naru sessions: single sessions of a metric with session windows.
#include <grpcpp/channel.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.grpc.pb.h"
#include "services/naru/command.h"
#include "services/naru/json_text.h"
#include "services/naru/proto_time.h"
#include "services/naru/time_text.h"

namespace naru::cli {
namespace {

using aggregator::v1::AggregatorService;
using aggregator::v1::QuerySessionsRequest;

const char* StateOf(const aggregator::v1::Session& session) {
  return session.counted() ? "counted" : session.running() ? "running" : "over";
}

std::vector<Cell> CellsOf(const aggregator::v1::Session& session, const std::string& time_zone) {
  std::string entry, exit;
  AppendJsonStruct(session.entry(), &entry);
  AppendJsonStruct(session.exit(), &exit);
  const auto time = [&](const google::protobuf::Timestamp& at) {
    return RawCell(FormatLocal(ToMicros(at), time_zone), JsonString(TimeText(at)));
  };
  return {time(session.start_time()),
          time(session.end_time()),
          TextCell(session.entity()),
          NumberCell(session.event_count()),
          NumberCell(session.duration_ms()),
          TextCell(StateOf(session)),
          RawCell(entry, entry),
          RawCell(exit, exit)};
}

std::string JsonOf(const aggregator::v1::Session& session) {
  std::string entry, exit;
  AppendJsonStruct(session.entry(), &entry);
  AppendJsonStruct(session.exit(), &exit);
  return JsonObject()
      .Add("start", TimeText(session.start_time()))
      .Add("end", TimeText(session.end_time()))
      .Add("entity", session.entity())
      .Add("events", session.event_count())
      .Add("duration_ms", session.duration_ms())
      .Add("bounce", session.bounce())
      .Add("state", StateOf(session))
      .AddRaw("entry", entry)
      .AddRaw("exit", exit)
      .Add("late_events", session.late_event_count())
      .Text();
}

class SessionsCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("METRIC", &metric_, "Name of a metric with session windows.", 1, 1);
    options.Add("entity", &entity_, "Only the sessions of this subject (or session, as the metric says).")
        .ValueName("NAME");
    options.Add("from", &from_, "Sessions that start at or after this time.").ValueName("TIME");
    options.Add("to", &to_, "Sessions that start before this time.").ValueName("TIME");
    options.Add("limit", &limit_, "At most this many sessions; 0 = all.").Range(0, 1e9);
    options.Add("fast", &fast_, "Take what is counted already, do not wait for events that just came.");
    options.Add("time_zone", &time_zone_, "Zone of times without one in --from and --to, and of times in tables.")
        .ValueName("NAME");
  }

  absl::StatusOr<int> Run(Session& session) override {
    NARU_ASSIGN_OR_RETURN(QuerySessionsRequest request, MakeRequest());
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = AggregatorService::NewStub(channel);
    RowPrinter printer(stdout, session.format(), session.terminal.colour,
                       {"start", "end", "entity", "events", "duration_ms", "state", "entry", "exit"});
    int64_t left = limit_ > 0 ? limit_ : INT64_MAX;
    bool any = false;
    aggregator::v1::QuerySessionsResponse response;
    do {
      request.set_page_size(static_cast<int32_t>(std::min<int64_t>(left, 10'000)));
      const auto context = UnaryContext(session.connection);
      NARU_RETURN_IF_ERROR(CallStatus(stub->QuerySessions(context.get(), request, &response), session.connection));
      for (const aggregator::v1::Session& found : response.sessions()) {
        printer.Add(CellsOf(found, time_zone_), JsonOf(found));
        any = true;
      }
      left -= response.sessions_size();
      request.set_page_token(response.next_page_token());
      // What was waited for at the first page is there for all.
      request.set_fast(true);
    } while (left > 0 && !response.next_page_token().empty());
    printer.Finish();
    if (!any && session.format() == OutputFormat::kTable) session.Say("no sessions match");
    return kDone;
  }

 private:
  absl::StatusOr<QuerySessionsRequest> MakeRequest() const {
    QuerySessionsRequest request;
    request.set_metric(metric_[0]);
    request.set_entity(entity_);
    request.set_fast(fast_);
    NARU_RETURN_IF_ERROR(FillTimeRange(from_, to_, time_zone_, &request));
    return request;
  }

  std::vector<std::string> metric_;
  std::string entity_, from_, to_;
  int64_t limit_ = 0;
  bool fast_ = false;
  std::string time_zone_ = "UTC";
};

}  // namespace

std::unique_ptr<Command> MakeSessionsCommand() { return std::make_unique<SessionsCommand>(); }

}  // namespace naru::cli
