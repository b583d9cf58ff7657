// naru funnel and naru retention: how far users came, and who came back.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <optional>

#include "absl/strings/str_cat.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.grpc.pb.h"
#include "services/naru/command.h"
#include "services/naru/proto_time.h"
#include "services/naru/time_text.h"
#include "services/naru/user_text.h"

namespace naru::cli {
namespace {

using aggregator::v1::AggregatorService;
using aggregator::v1::CohortRow;
using aggregator::v1::FunnelRow;

// The flags that both commands have.
class SpanFlags {
 public:
  void AddTo(Options& options, const char* from, const char* to) {
    options.Add("from", &from_, from).ValueName("TIME");
    options.Add("to", &to_, to).ValueName("TIME");
    options.Add("fast", &fast_, "Take what is counted already, do not wait for events that just came.");
    options.Add("time_zone", &time_zone_, "Zone of times without one in --from and --to, and of times in tables.")
        .ValueName("NAME");
  }

  template <typename Request>
  absl::Status Fill(Request* request) const {
    NARU_RETURN_IF_ERROR(FillTimeRange(from_, to_, time_zone_, request));
    request->set_fast(fast_);
    return absl::OkStatus();
  }
  const std::string& time_zone() const { return time_zone_; }

 private:
  std::string from_, to_;
  bool fast_ = false;
  std::string time_zone_ = "UTC";
};

void NoteValidFrom(const Session& session, const google::protobuf::Timestamp& time) {
  session.Say(absl::StrCat("note: this version is complete from ", TimeText(time), " on"));
}

class FunnelCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("FUNNEL", &funnel_, "Name of the funnel; `naru get Funnel` lists them.", 1, 1);
    span_.AddTo(options, "First steps at or after this time.", "First steps before this time.");
    options.Add("where", &where_, "A CEL expression over the dimensions: 'region == \"Seoul\"'.").ValueName("EXPR");
    options.Add("group_by", &group_by_, "A row for each value of these dimensions.").ValueName("NAME,...");
    options.Add("interval", &interval_, "A row for each `1d`, `1w` or `1mo` of the first step, in the funnel's zone.")
        .ValueName("UNIT");
  }

  absl::StatusOr<int> Run(Session& session) override {
    aggregator::v1::QueryFunnelRequest request;
    request.set_funnel(funnel_[0]);
    NARU_RETURN_IF_ERROR(span_.Fill(&request));
    request.set_filter(where_);
    for (const std::string& name : group_by_) request.add_group_by(name);
    request.set_interval(interval_);
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = AggregatorService::NewStub(channel);
    std::optional<FunnelColumns> columns;
    std::optional<RowPrinter> printer;
    int64_t truncated = 0;
    aggregator::v1::QueryFunnelResponse response;
    do {
      const auto context = UnaryContext(session.connection);
      NARU_RETURN_IF_ERROR(CallStatus(stub->QueryFunnel(context.get(), request, &response), session.connection));
      for (const FunnelRow& row : response.rows()) {
        if (!columns.has_value()) {
          columns.emplace(row);
          printer.emplace(stdout, session.format(), session.terminal.colour, columns->Names());
        }
        truncated += row.truncated_user_count();
        Print(session, row, *columns, &*printer);
      }
      request.set_page_token(response.next_page_token());
      request.set_fast(true);  // what was waited for at the first page is there for all
    } while (!response.next_page_token().empty());
    if (printer.has_value()) printer->Finish();
    if (response.has_valid_from_time()) NoteValidFrom(session, response.valid_from_time());
    if (truncated > 0) session.Say(absl::StrCat("note: of ", truncated, " users not all events are kept"));
    if (!columns.has_value() && session.format() == OutputFormat::kTable)
      session.Say("nobody has taken the first step");
    return kDone;
  }

 private:
  void Print(const Session& session, const FunnelRow& row, const FunnelColumns& columns, RowPrinter* printer) const {
    if (IsJson(session.format())) return printer->Add({}, FunnelRowJson(row));
    for (int step = 0; step < row.steps_size(); ++step) printer->Add(columns.Cells(row, step, span_.time_zone()));
  }

  std::vector<std::string> funnel_;
  SpanFlags span_;
  std::string where_, interval_;
  std::vector<std::string> group_by_;
};

class RetentionCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("RETENTION", &retention_, "Name of the retention; `naru get Retention` lists them.", 1, 1);
    span_.AddTo(options, "Days (weeks, months) that start at or after this time.",
                "Days (weeks, months) that start before this time.");
  }

  absl::StatusOr<int> Run(Session& session) override {
    aggregator::v1::QueryRetentionRequest request;
    request.set_retention(retention_[0]);
    NARU_RETURN_IF_ERROR(span_.Fill(&request));
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = AggregatorService::NewStub(channel);
    std::optional<RowPrinter> printer;
    int64_t truncated = 0;
    aggregator::v1::QueryRetentionResponse response;
    do {
      const auto context = UnaryContext(session.connection);
      NARU_RETURN_IF_ERROR(CallStatus(stub->QueryRetention(context.get(), request, &response), session.connection));
      for (const CohortRow& row : response.rows()) {
        if (!printer.has_value()) {
          printer.emplace(stdout, session.format(), session.terminal.colour, CohortColumns(row));
        }
        truncated = std::max(truncated, row.truncated_user_count());
        if (IsJson(session.format())) {
          printer->Add({}, CohortRowJson(row));
        } else {
          printer->Add(CohortCells(row, span_.time_zone()));
        }
      }
      request.set_page_token(response.next_page_token());
      request.set_fast(true);
    } while (!response.next_page_token().empty());
    if (response.has_valid_from_time()) NoteValidFrom(session, response.valid_from_time());
    if (truncated > 0) session.Say("note: of some users the oldest days are no longer kept");
    if (!printer.has_value() && session.format() == OutputFormat::kTable) session.Say("nobody is there yet");
    if (printer.has_value()) printer->Finish();
    return kDone;
  }

 private:
  std::vector<std::string> retention_;
  SpanFlags span_;
};

}  // namespace

std::unique_ptr<Command> MakeFunnelCommand() { return std::make_unique<FunnelCommand>(); }
std::unique_ptr<Command> MakeRetentionCommand() { return std::make_unique<RetentionCommand>(); }

}  // namespace naru::cli
