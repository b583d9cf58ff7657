// naru query and naru watch: rows of a metric's windows, once or as they change.
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
#include "services/naru/window_text.h"

namespace naru::cli {
namespace {

using aggregator::v1::AggregatorService;
using aggregator::v1::QueryWindowsRequest;
using aggregator::v1::WindowRow;

// The flags that say which rows.
class RowFlags {
 public:
  void AddTo(Options& options) {
    options.Positional("METRIC", &metric_, "Name of the metric; `naru get Metric` lists them.", 1, 1);
    options.Add("from", &from_, "Windows that start at or after this time.").ValueName("TIME");
    options.Add("to", &to_, "Windows that start before this time.").ValueName("TIME");
    options.Add("where", &where_, "A CEL expression over the dimensions: 'gender == \"F\" && age_band >= 20'.")
        .ValueName("EXPR");
    options.Add("by", &window_size_, "Windows of this length instead of the metric's: 1h, 1d, 1w, 1mo.")
        .ValueName("SIZE");
    options.Add("group_by", &group_by_, "Keep only these dimensions and merge the others; `none` merges all groups.")
        .ValueName("NAME,...");
    options.Add("measures", &measures_, "Only these measures.").ValueName("NAME,...");
    options.Add("latest", &latest_, "Only the newest window that has rows.");
    options.Add("final_only", &final_only_, "Only windows that are final.");
    options.Add("time_zone", &time_zone_, "Zone of times without one in --from and --to, and of times in tables.")
        .ValueName("NAME");
  }

  absl::StatusOr<QueryWindowsRequest> MakeRequest() const {
    QueryWindowsRequest request;
    request.set_metric(metric_[0]);
    NARU_RETURN_IF_ERROR(FillTimeRange(from_, to_, time_zone_, &request));
    request.set_filter(where_);
    if (group_by_.size() == 1 && group_by_[0] == "none") {
      request.set_group_by_none(true);
    } else {
      for (const std::string& name : group_by_) request.add_group_by(name);
    }
    for (const std::string& name : measures_) request.add_measures(name);
    request.set_window_size(window_size_);
    request.set_latest_window(latest_);
    request.set_final_only(final_only_);
    return request;
  }
  const std::string& time_zone() const { return time_zone_; }

 private:
  std::vector<std::string> metric_;
  std::string from_, to_, where_, window_size_;
  std::vector<std::string> group_by_;
  std::vector<std::string> measures_;
  bool latest_ = false;
  bool final_only_ = false;
  std::string time_zone_ = "UTC";
};

// Prints rows; the columns are known with the first.
class WindowPrinter {
 public:
  WindowPrinter(const Session& session, std::string time_zone, size_t buffer_rows)
      : session_(session), time_zone_(std::move(time_zone)), buffer_rows_(buffer_rows) {}

  void Add(const WindowRow& row) {
    if (!columns_.has_value()) {
      columns_.emplace(row);
      printer_.emplace(stdout, session_.format(), session_.terminal.colour, columns_->Names(), buffer_rows_);
    }
    if (IsJson(session_.format())) {
      printer_->Add({}, WindowRowJson(row));
    } else {
      printer_->Add(columns_->Cells(row, time_zone_));
    }
  }
  void Finish() {
    if (printer_.has_value()) printer_->Finish();
  }
  bool empty() const { return !columns_.has_value(); }

 private:
  const Session& session_;
  std::string time_zone_;
  size_t buffer_rows_;
  std::optional<WindowColumns> columns_;
  std::optional<RowPrinter> printer_;
};

class QueryCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    rows_.AddTo(options);
    options.Add("order_by", &order_by_, "`measure`, `measure desc`, `window_start desc` or a dimension.")
        .ValueName("ORDER");
    options.Add("having", &having_, "A CEL expression over measures and dimensions of rows: 'per_user > 2'.")
        .ValueName("EXPR");
    options.Add("limit", &limit_, "At most this many rows; 0 = all.").Range(0, 1e9);
    options.Add("fast", &fast_, "Take what is counted already, do not wait for events that just came.");
  }

  absl::StatusOr<int> Run(Session& session) override {
    NARU_ASSIGN_OR_RETURN(QueryWindowsRequest request, rows_.MakeRequest());
    request.set_order_by(order_by_);
    request.set_row_filter(having_);
    request.set_fast(fast_);
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = AggregatorService::NewStub(channel);
    WindowPrinter printer(session, rows_.time_zone(), 10000);
    int64_t left = limit_ > 0 ? limit_ : INT64_MAX;
    aggregator::v1::QueryWindowsResponse response;
    do {
      request.set_page_size(static_cast<int32_t>(std::min<int64_t>(left, 10'000)));
      const auto context = UnaryContext(session.connection);
      NARU_RETURN_IF_ERROR(CallStatus(stub->QueryWindows(context.get(), request, &response), session.connection));
      for (const WindowRow& row : response.rows()) printer.Add(row);
      left -= response.rows_size();
      request.set_page_token(response.next_page_token());
      // What was waited for at the first page is there for all.
      request.set_fast(true);
    } while (left > 0 && !response.next_page_token().empty());
    printer.Finish();
    if (response.has_valid_from_time()) {
      session.Say(absl::StrCat("note: this version of the metric is complete from ",
                               TimeText(response.valid_from_time()), " on"));
    }
    if (printer.empty() && session.format() == OutputFormat::kTable) session.Say("no windows match");
    return kDone;
  }

 private:
  RowFlags rows_;
  std::string order_by_;
  std::string having_;
  int64_t limit_ = 0;
  bool fast_ = false;
};

class WatchCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    rows_.AddTo(options);
    options.Add("rate", &rate_, "At most this many updates a second.").Range(0.01, 100).ValueName("HZ");
    options.Add("count", &count_, "End after this many updates; 0 = go on until Ctrl-C.").Range(0, 1e9);
  }

  absl::StatusOr<int> Run(Session& session) override {
    aggregator::v1::WatchWindowsRequest request;
    NARU_ASSIGN_OR_RETURN(*request.mutable_query(), rows_.MakeRequest());
    request.set_max_rate_hz(rate_);
    Interrupt interrupt;
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = AggregatorService::NewStub(channel);
    grpc::ClientContext context;
    const auto stream = stub->WatchWindows(&context, request);
    interrupt.OnSignal([&] { context.TryCancel(); });
    WindowPrinter printer(session, rows_.time_zone(), 10000);
    aggregator::v1::WatchWindowsResponse response;
    bool enough = false;
    for (int64_t updates = 0; !enough && stream->Read(&response);) {
      for (const WindowRow& row : response.rows()) printer.Add(row);
      printer.Finish();
      ++updates;
      enough = (count_ > 0 && updates >= count_) || std::ferror(stdout) != 0;
    }
    if (enough) context.TryCancel();
    const grpc::Status finished = stream->Finish();
    interrupt.OnSignal(nullptr);
    if (enough || interrupt.requested()) return kDone;
    NARU_RETURN_IF_ERROR(CallStatus(finished, session.connection));
    return kDone;
  }

 private:
  RowFlags rows_;
  double rate_ = 2;
  int64_t count_ = 0;
};

}  // namespace

std::unique_ptr<Command> MakeQueryCommand() { return std::make_unique<QueryCommand>(); }
std::unique_ptr<Command> MakeWatchCommand() { return std::make_unique<WatchCommand>(); }

}  // namespace naru::cli
