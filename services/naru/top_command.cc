// naru top: live windows of all metrics on one screen.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/clock/clock.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.grpc.pb.h"
#include "naru/catalog/v1/catalog.grpc.pb.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "services/naru/accounting_text.h"
#include "services/naru/command.h"
#include "services/naru/proto_time.h"
#include "services/naru/screen.h"
#include "services/naru/text_width.h"
#include "services/naru/time_text.h"
#include "services/naru/window_text.h"

namespace naru::cli {
namespace {

using aggregator::v1::AggregatorService;
using aggregator::v1::MeasureValue;
using aggregator::v1::QueryWindowsRequest;
using aggregator::v1::QueryWindowsResponse;
using aggregator::v1::WindowRow;

constexpr int kRowsOfPanel = 10;

// Adds up the measures of a column; text (top_k lists, errors) is taken as it is.
std::string ColumnText(const ScreenColumn& column, const WindowRow& row) {
  int64_t integers = 0;
  double numbers = 0;
  bool has_number = false;
  bool has_any = false;
  for (const std::string& name : column.measures) {
    const auto found = row.measures().find(name);
    if (found == row.measures().end()) continue;
    switch (found->second.value_case()) {
      case MeasureValue::kInteger:
        integers += found->second.integer();
        break;
      case MeasureValue::kNumber:
        numbers += found->second.number();
        has_number = true;
        break;
      case MeasureValue::VALUE_NOT_SET:
        continue;
      default:
        return MeasureCell(found->second).text;
    }
    has_any = true;
  }
  if (!has_any) return "-";
  return has_number ? NumberCell(numbers + static_cast<double>(integers)).text : WithThousands(integers);
}

// Everything the screen shows comes from here. Keeps the stubs; asks again for each frame.
class Screen {
 public:
  Screen(const ConnectionFlags& connection, const std::shared_ptr<grpc::Channel>& channel,
         std::vector<std::string> wanted)
      : connection_(connection),
        wanted_(std::move(wanted)),
        ingest_(ingest::v1::IngestService::NewStub(channel)),
        aggregator_(AggregatorService::NewStub(channel)),
        catalog_(catalog::v1::CatalogService::NewStub(channel)) {}

  absl::StatusOr<ScreenContents> Get() {
    ScreenContents contents;
    NARU_ASSIGN_OR_RETURN(const std::vector<SectionPlan> plans, Plans());
    for (const SectionPlan& plan : plans) {
      absl::StatusOr<std::optional<ScreenSection>> section = Section(plan);
      NARU_RETURN_IF_ERROR(section.status());
      if (section->has_value()) contents.sections.push_back(**std::move(section));
    }
    NARU_RETURN_IF_ERROR(AddAccounting(&contents));
    if (plans.empty()) contents.footer.push_back("no metrics yet: naru apply --pack ciao_labella");
    return contents;
  }

 private:
  absl::StatusOr<std::vector<SectionPlan>> Plans() {
    catalog::v1::ListResourcesRequest request;
    request.set_kind("Metric");
    request.set_page_size(1000);
    catalog::v1::ListResourcesResponse response;
    const auto context = UnaryContext(connection_);
    NARU_RETURN_IF_ERROR(CallStatus(catalog_->ListResources(context.get(), request, &response), connection_));
    std::vector<SectionPlan> plans;
    std::vector<std::string> known;
    for (const auto& resource : response.resources()) {
      known.push_back(resource.metadata().name());
      NARU_ASSIGN_OR_RETURN(SectionPlan plan, PlanSection(resource));
      const bool named = std::find(wanted_.begin(), wanted_.end(), plan.metric) != wanted_.end();
      if (wanted_.empty() ? !plan.hidden : named) plans.push_back(std::move(plan));
    }
    for (const std::string& name : wanted_) {
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        return ErrorWithNext(absl::StatusCode::kNotFound, "METRIC_NOT_FOUND",
                             absl::StrCat("there is no metric `", name, "`"), "naru get Metric");
      }
    }
    std::sort(plans.begin(), plans.end(), [](const SectionPlan& a, const SectionPlan& b) {
      return a.order != b.order ? a.order < b.order : a.metric < b.metric;
    });
    return plans;
  }

  absl::StatusOr<QueryWindowsResponse> Query(const QueryWindowsRequest& request) {
    QueryWindowsResponse response;
    const auto context = UnaryContext(connection_);
    const grpc::Status status = aggregator_->QueryWindows(context.get(), request, &response);
    // A metric that was applied a moment ago is not known to the aggregator yet.
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) return response;
    NARU_RETURN_IF_ERROR(CallStatus(status, connection_));
    return response;
  }

  // Nothing while the metric has no windows.
  absl::StatusOr<std::optional<ScreenSection>> Section(const SectionPlan& plan) {
    QueryWindowsRequest newest;
    newest.set_metric(plan.metric);
    newest.set_latest_window(true);
    newest.set_group_by_none(true);
    newest.set_fast(true);
    newest.set_page_size(1);
    // One event with a clock in the future does not hide what is going on now.
    SetMicros(Clock::System()->NowMicros() + 1, newest.mutable_to_time());
    NARU_ASSIGN_OR_RETURN(const QueryWindowsResponse found, Query(newest));
    if (found.rows_size() == 0) return std::optional<ScreenSection>();
    const int64_t start_us = plan.ShownStart(ToMicros(found.rows(0).window_start_time()));

    ScreenSection section;
    QueryWindowsRequest request;
    request.set_metric(plan.metric);
    request.set_fast(true);
    SetMicros(start_us, request.mutable_from_time());
    SetMicros(start_us + 1, request.mutable_to_time());
    for (const ScreenColumn& column : plan.columns) {
      for (const std::string& measure : column.measures) request.add_measures(measure);
    }
    std::string window;
    for (const ScreenDimension& dimension : plan.dimensions) {
      NARU_ASSIGN_OR_RETURN(Panel panel, MakePanel(plan, request, dimension, &window));
      section.panels.push_back(std::move(panel));
    }
    if (plan.dimensions.empty()) {
      NARU_ASSIGN_OR_RETURN(Panel panel, MakePanel(plan, request, {}, &window));
      section.panels.push_back(std::move(panel));
    }
    section.title = absl::StrCat(plan.title, "  ", window);
    return std::optional<ScreenSection>(std::move(section));
  }

  absl::StatusOr<Panel> MakePanel(const SectionPlan& plan, QueryWindowsRequest request, const ScreenDimension& by,
                                  std::string* window) {
    const std::string& dimension = by.name;
    if (dimension.empty()) {
      request.set_group_by_none(true);
    } else {
      request.add_group_by(dimension);
    }
    // The largest first: of many groups (words) only the top is shown.
    if (!plan.columns.empty()) request.set_order_by(plan.columns[0].measures[0] + " desc");
    request.set_page_size(1000);
    NARU_ASSIGN_OR_RETURN(const QueryWindowsResponse response, Query(request));
    std::vector<const WindowRow*> rows;
    for (const WindowRow& row : response.rows()) rows.push_back(&row);
    Panel panel;
    panel.ranking = SortRows(plan, dimension, &rows);
    if (!rows.empty()) *window = WindowText(*rows.front(), plan.time_zone);
    if (dimension.empty() && !rows.empty() && AddRanking(plan, *rows.front(), &panel)) return panel;
    if (!dimension.empty()) panel.header.push_back(by.title);
    for (const ScreenColumn& column : plan.columns) panel.header.push_back(column.title);
    for (const WindowRow* row : rows) {
      if (static_cast<int>(panel.rows.size()) == kRowsOfPanel) break;
      std::vector<std::string> cells;
      if (!dimension.empty()) cells.push_back(GroupCell(row->group().at(dimension)).text);
      for (const ScreenColumn& column : plan.columns) cells.push_back(ColumnText(column, *row));
      panel.rows.push_back(std::move(cells));
    }
    return panel;
  }

  static std::string WindowText(const WindowRow& row, const std::string& time_zone) {
    return absl::StrCat(FormatLocal(ToMicros(row.window_start_time()), time_zone), " to ",
                        FormatLocal(ToMicros(row.window_end_time()), time_zone), " (", time_zone, ")",
                        row.final() ? ", final" : "");
  }

  // A single list of most frequent values is shown as rows. False where it is something else.
  static bool AddRanking(const SectionPlan& plan, const WindowRow& row, Panel* panel) {
    if (plan.columns.size() != 1 || plan.columns[0].measures.size() != 1) return false;
    const auto found = row.measures().find(plan.columns[0].measures[0]);
    if (found == row.measures().end() || !found->second.has_top()) return false;
    panel->ranking = true;
    panel->header = {plan.columns[0].title, "count"};
    for (const auto& item : found->second.top().items()) {
      panel->rows.push_back({GroupCell(item.key()).text, WithThousands(item.count())});
    }
    return true;
  }

  // Numbers (age bands, hours) in their order; names by what they count, largest first. Whether it is the latter.
  static bool SortRows(const SectionPlan& plan, const std::string& dimension, std::vector<const WindowRow*>* rows) {
    if (dimension.empty() || plan.columns.empty()) return false;
    const auto number = [&](const WindowRow* row) -> std::optional<double> {
      const auto& value = row->group().at(dimension);
      if (value.kind_case() == google::protobuf::Value::kNumberValue) return value.number_value();
      return std::nullopt;
    };
    const auto weight = [&](const WindowRow* row) {
      double sum = 0;
      for (const std::string& name : plan.columns[0].measures) {
        const auto found = row->measures().find(name);
        if (found == row->measures().end()) continue;
        sum += found->second.has_integer() ? static_cast<double>(found->second.integer()) : found->second.number();
      }
      return sum;
    };
    std::stable_sort(rows->begin(), rows->end(), [&](const WindowRow* a, const WindowRow* b) {
      const auto left = number(a);
      const auto right = number(b);
      if (left.has_value() != right.has_value()) return left.has_value();
      if (left.has_value()) return *left < *right;
      return weight(a) > weight(b);
    });
    return std::none_of(rows->begin(), rows->end(), [&](const WindowRow* row) { return number(row).has_value(); });
  }

  absl::Status AddAccounting(ScreenContents* contents) {
    ingest::v1::Accounting accounting;
    const auto context = UnaryContext(connection_);
    NARU_RETURN_IF_ERROR(CallStatus(ingest_->GetAccounting(context.get(), {}, &accounting), connection_));
    const int64_t now_us = Clock::System()->MonotonicMicros();
    if (last_us_ > 0 && now_us > last_us_) {
      rate_ = static_cast<double>(accounting.received_count() - last_received_) * 1e6 /
              static_cast<double>(now_us - last_us_);
    }
    last_us_ = now_us;
    last_received_ = accounting.received_count();
    contents->headline = absl::StrCat("naru  ", connection_.address, "  ",
                                      WithThousands(static_cast<int64_t>(rate_ + 0.5)), " events/s");
    contents->footer.push_back(AccountingLine(accounting, 3));
    return absl::OkStatus();
  }

  const ConnectionFlags& connection_;
  const std::vector<std::string> wanted_;
  std::unique_ptr<ingest::v1::IngestService::Stub> ingest_;
  std::unique_ptr<AggregatorService::Stub> aggregator_;
  std::unique_ptr<catalog::v1::CatalogService::Stub> catalog_;
  int64_t last_us_ = 0;
  int64_t last_received_ = 0;
  double rate_ = 0;
};

// Draws frames: in place on a terminal, one after another elsewhere.
class Canvas {
 public:
  explicit Canvas(const Terminal& terminal) : in_place_(terminal.out_is_terminal) {
    // The other screen of the terminal, without the cursor.
    if (in_place_) std::fputs("\x1b[?1049h\x1b[?25l", stdout);
  }
  ~Canvas() {
    if (!in_place_) return;
    std::fputs("\x1b[?25h\x1b[?1049l", stdout);
    // What was last seen stays on the screen people come back to.
    for (const std::string& line : last_) std::printf("%s\n", line.c_str());
  }
  void Draw(const ScreenContents& contents) {
    const Terminal terminal = DetectTerminal();
    if (in_place_) {
      last_ = LayOut(contents, terminal.columns, terminal.rows, terminal.colour);
      std::fputs("\x1b[H", stdout);
      for (size_t i = 0; i < last_.size(); ++i)
        std::printf("%s\x1b[K%s", last_[i].c_str(), i + 1 < last_.size() ? "\n" : "");
      std::fputs("\x1b[J", stdout);
    } else {
      ScreenContents plain = contents;
      plain.headline.clear();
      std::vector<std::string> lines = LayOut(plain, 120, 0, false);
      if (lines == last_) return;
      last_ = lines;
      for (const std::string& line : lines) std::printf("%s\n", line.c_str());
    }
    std::fflush(stdout);
  }

 private:
  const bool in_place_;
  std::vector<std::string> last_;
};

class TopCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("METRIC", &metrics_, "Only these metrics.");
    options.Add("interval", &interval_, "Time between two looks; default 1s on a terminal, 5s elsewhere.");
    options.Add("once", &once_, "Print one snapshot and end.");
  }

  absl::StatusOr<int> Run(Session& session) override {
    if (session.format() != OutputFormat::kTable) {
      return ErrorWithNext(absl::StatusCode::kInvalidArgument, "USAGE",
                           "`naru top` is for people; programs take query or watch", "naru watch METRIC --output json");
    }
    Interrupt interrupt;
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    Screen screen(session.connection, channel, metrics_);
    // The first look decides whether there is anything to look at.
    NARU_ASSIGN_OR_RETURN(ScreenContents contents, screen.Get());
    if (once_) {
      for (const std::string& line : LayOut(contents, session.terminal.out_is_terminal ? session.terminal.columns : 120,
                                            0, session.terminal.colour)) {
        std::printf("%s\n", line.c_str());
      }
      return kDone;
    }
    const std::chrono::milliseconds standard(session.terminal.out_is_terminal ? 1000 : 5000);
    const std::chrono::milliseconds interval = interval_.count() > 0 ? interval_ : standard;
    Canvas canvas(session.terminal);
    canvas.Draw(contents);
    while (!interrupt.WaitFor(interval) && std::ferror(stdout) == 0) {
      absl::StatusOr<ScreenContents> next = screen.Get();
      if (next.ok()) {
        contents = *std::move(next);
      } else if (!interrupt.requested()) {
        // The last figures stay; the server may come back.
        if (contents.footer.size() > 1) contents.footer.pop_back();
        contents.footer.push_back(absl::StrCat("waiting: ", MakePrintable(next.status().message())));
      }
      if (!interrupt.requested()) canvas.Draw(contents);
    }
    return kDone;
  }

 private:
  std::vector<std::string> metrics_;
  std::chrono::milliseconds interval_{0};
  bool once_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeTopCommand() { return std::make_unique<TopCommand>(); }

}  // namespace naru::cli
