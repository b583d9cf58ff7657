// naru why: how the numbers of a window came about.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/clock/clock.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.grpc.pb.h"
#include "services/naru/command.h"
#include "services/naru/json_text.h"
#include "services/naru/proto_time.h"
#include "services/naru/time_text.h"
#include "services/naru/window_text.h"

namespace naru::cli {
namespace {

using aggregator::v1::AggregatorService;
using aggregator::v1::ExplainWindowRequest;
using aggregator::v1::ExplainWindowResponse;
using aggregator::v1::PanePartial;
using aggregator::v1::PartitionExplanation;
using aggregator::v1::WindowRow;

// `gender=F,age_band=20` as an expression; what has no single `=` is one already.
std::string GroupFilter(const std::string& group) {
  if (group.empty() || absl::StrContains(group, "==") || absl::StrContains(group, "<") ||
      absl::StrContains(group, ">") || absl::StrContains(group, "!="))
    return group;
  std::string filter;
  for (const absl::string_view part : absl::StrSplit(group, ',')) {
    const std::pair<std::string, std::string> entry = absl::StrSplit(part, absl::MaxSplits('=', 1));
    double number;
    const std::string& value = entry.second;
    const bool literal = value == "null" || value == "true" || value == "false" || absl::SimpleAtod(value, &number);
    absl::StrAppend(&filter, filter.empty() ? "" : " && ", entry.first, " == ", literal ? value : JsonString(value));
  }
  return filter;
}

std::string JsonOf(const google::protobuf::Map<std::string, aggregator::v1::MeasureValue>& measures) {
  std::vector<std::string> names;
  for (const auto& [name, value] : measures) names.push_back(name);
  std::sort(names.begin(), names.end());
  JsonObject json;
  for (const std::string& name : names) json.AddRaw(name, MeasureCell(measures.at(name)).json);
  return json.Text();
}

std::string PartitionJson(const PartitionExplanation& partition) {
  JsonArray timelines;
  for (const auto& timeline : partition.timelines()) {
    JsonObject json;
    json.Add("timeline", timeline.timeline()).Add("state", timeline.state());
    if (timeline.has_watermark_time()) json.Add("watermark", TimeText(timeline.watermark_time()));
    if (timeline.has_last_received_time()) json.Add("last_received", TimeText(timeline.last_received_time()));
    timelines.AddRaw(json.Text());
  }
  JsonObject json;
  json.Add("partition", partition.partition()).Add("next_offset", partition.next_offset());
  json.Add("end_offset", partition.end_offset()).Add("joined", partition.joined());
  if (partition.has_frontier_time()) json.Add("frontier", TimeText(partition.frontier_time()));
  json.Add("matched", partition.matched_count()).Add("not_matched", partition.not_matched_count());
  json.Add("late", partition.late_count()).Add("failed_expressions", partition.failed_expression_count());
  json.AddRaw("timelines", timelines.Text());
  return json.Text();
}

std::string PartialJson(const PanePartial& partial) {
  JsonObject json;
  json.Add("partition", partial.partition()).Add("pane_start", TimeText(partial.pane_start_time()));
  json.Add("pane_end", TimeText(partial.pane_end_time())).Add("groups", partial.group_count());
  json.Add("pane_groups", partial.pane_group_count()).Add("truncated", partial.truncated());
  if (partial.has_last_change_time()) json.Add("last_change", TimeText(partial.last_change_time()));
  json.Add("offset", partial.offset());
  json.AddRaw("measures", JsonOf(partial.measures()));
  return json.Text();
}

std::string ExplanationJson(const ExplainWindowResponse& response) {
  JsonArray partitions, partials;
  for (const auto& partition : response.partitions()) partitions.AddRaw(PartitionJson(partition));
  for (const auto& partial : response.partials()) partials.AddRaw(PartialJson(partial));
  JsonObject json;
  json.Add("metric", response.metric()).Add("version", response.metric_version()).Add("state", response.state());
  json.Add("filter", response.filter()).AddRaw("row", WindowRowJson(response.row()));
  json.Add("groups", response.group_count());
  if (response.has_frontier_time()) json.Add("frontier", TimeText(response.frontier_time()));
  json.AddRaw("partitions", partitions.Text()).AddRaw("partials", partials.Text());
  json.Add("omitted_partials", response.omitted_partial_count());
  return json.Text();
}

class WhyCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("METRIC [WINDOW] [GROUP]", &words_,
                       "The metric; the window's start (`latest`: the newest); groups as dimension=value,... or a CEL "
                       "expression over the dimensions.",
                       1, 3);
    options.Add("end", &end_, "End of the window, where several begin together (cumulative).").ValueName("TIME");
    options.Add("fast", &fast_, "Take what is counted already, do not wait for events that just came.");
    options.Add("time_zone", &time_zone_, "Zone of times without one, and of times in tables.").ValueName("NAME");
  }

  absl::StatusOr<int> Run(Session& session) override {
    ExplainWindowRequest request;
    request.set_metric(words_[0]);
    request.set_fast(fast_);
    NARU_RETURN_IF_ERROR(CheckTimeZone(time_zone_));
    if (words_.size() > 1 && words_[1] != "latest")
      NARU_RETURN_IF_ERROR(SetMoment("WINDOW", words_[1], request.mutable_window_start_time()));
    if (!end_.empty()) NARU_RETURN_IF_ERROR(SetMoment("--end", end_, request.mutable_window_end_time()));
    if (words_.size() > 2) request.set_filter(GroupFilter(words_[2]));
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = AggregatorService::NewStub(channel);
    const auto context = UnaryContext(session.connection);
    ExplainWindowResponse response;
    NARU_RETURN_IF_ERROR(CallStatus(stub->ExplainWindow(context.get(), request, &response), session.connection));
    if (session.format() == OutputFormat::kTable) {
      PrintForPeople(session, response);
    } else if (session.format() == OutputFormat::kCsv) {
      PrintPartials(session, response);
    } else {
      std::printf("%s\n", ExplanationJson(response).c_str());
    }
    return kDone;
  }

 private:
  absl::Status SetMoment(const char* what, const std::string& text, google::protobuf::Timestamp* time) const {
    const absl::StatusOr<int64_t> moment = ParseMoment(text, time_zone_, Clock::System()->NowMicros());
    if (!moment.ok()) return Annotate(moment.status(), what);
    SetMicros(*moment, time);
    return absl::OkStatus();
  }
  std::string Local(const google::protobuf::Timestamp& time) const { return FormatLocal(ToMicros(time), time_zone_); }

  void PrintForPeople(const Session& session, const ExplainWindowResponse& response) const {
    const WindowRow& row = response.row();
    std::printf("%s, version %d, %s\n", response.metric().c_str(), response.metric_version(), response.state().c_str());
    std::printf("%s to %s: ", Local(row.window_start_time()).c_str(), Local(row.window_end_time()).c_str());
    if (row.final()) {
      std::printf("final, revision %d%s\n", row.revision(), row.revision() > 1 ? " (changed after it was final)" : "");
    } else {
      std::printf("running, %s\n", WhatHoldsItBack(response).c_str());
    }
    if (row.has_valid_from_time())
      std::printf("incomplete: this version has not all events received before %s\n",
                  Local(row.valid_from_time()).c_str());
    if (row.truncated()) std::printf("truncated: groups beyond max_groups are in __other__\n");
    std::printf("%s groups", WithThousands(response.group_count()).c_str());
    if (!words_.empty() && words_.size() > 2) std::printf(" with %s", words_[2].c_str());
    std::printf("\n\n");
    PrintPartials(session, response);
    if (response.omitted_partial_count() > 0)
      std::printf("and %s more\n", WithThousands(response.omitted_partial_count()).c_str());
    std::printf("\n");
    PrintPartitions(session, response);
  }

  // The partition, and in it the timeline, that is furthest behind.
  std::string WhatHoldsItBack(const ExplainWindowResponse& response) const {
    const PartitionExplanation* least = nullptr;
    for (const PartitionExplanation& partition : response.partitions()) {
      if (!partition.has_frontier_time())
        return absl::StrCat("partition ", partition.partition(), " has no watermark yet");
      if (least == nullptr || ToMicros(partition.frontier_time()) < ToMicros(least->frontier_time()))
        least = &partition;
    }
    if (least == nullptr) return "no partition is counted yet";
    std::string text = absl::StrCat("partition ", least->partition(), " is at ", Local(least->frontier_time()));
    const aggregator::v1::TimelineExplanation* slowest = nullptr;
    for (const auto& timeline : least->timelines()) {
      if (timeline.state() != "OPEN" || !timeline.has_watermark_time()) continue;
      if (slowest == nullptr || ToMicros(timeline.watermark_time()) < ToMicros(slowest->watermark_time()))
        slowest = &timeline;
    }
    if (slowest != nullptr)
      absl::StrAppend(&text, " (", slowest->timeline().empty() ? "live" : slowest->timeline(), ")");
    return text;
  }

  void PrintPartials(const Session& session, const ExplainWindowResponse& response) const {
    std::vector<std::string> measures;
    for (const auto& [name, value] : response.row().measures()) measures.push_back(name);
    std::sort(measures.begin(), measures.end());
    std::vector<std::string> columns = {"partition", "pane"};
    columns.insert(columns.end(), measures.begin(), measures.end());
    columns.insert(columns.end(), {"groups", "of_groups", "last_change", "offset"});
    RowPrinter printer(stdout, session.format(), session.terminal.colour, columns);
    for (const PanePartial& partial : response.partials()) {
      std::vector<Cell> cells = {NumberCell(int64_t{partial.partition()}), TimeCell(partial.pane_start_time())};
      for (const std::string& name : measures) cells.push_back(Value(partial.measures(), name));
      cells.push_back(NumberCell(partial.group_count()));
      cells.push_back(NumberCell(partial.pane_group_count()));
      cells.push_back(partial.has_last_change_time() ? TimeCell(partial.last_change_time()) : NullCell());
      cells.push_back(NumberCell(partial.offset()));
      printer.Add(std::move(cells));
    }
    if (session.format() == OutputFormat::kCsv) return;
    std::vector<Cell> all = {TextCell("all", Colour::kBold), NullCell()};
    for (const std::string& name : measures) all.push_back(Value(response.row().measures(), name));
    all.insert(all.end(), {NumberCell(response.group_count()), NullCell(), NullCell(), NullCell()});
    printer.Add(std::move(all));
  }

  void PrintPartitions(const Session& session, const ExplainWindowResponse& response) const {
    RowPrinter printer(
        stdout, OutputFormat::kTable, session.terminal.colour,
        {"partition", "counted", "log_end", "frontier", "matched", "not_matched", "late", "failed", "timelines"});
    for (const PartitionExplanation& partition : response.partitions()) {
      std::string timelines;
      for (const auto& timeline : partition.timelines()) {
        absl::StrAppend(&timelines, timelines.empty() ? "" : ", ",
                        timeline.timeline().empty() ? "live" : timeline.timeline(), " ", timeline.state());
      }
      printer.Add({NumberCell(int64_t{partition.partition()}), NumberCell(partition.next_offset()),
                   NumberCell(partition.end_offset()),
                   partition.has_frontier_time() ? TimeCell(partition.frontier_time()) : NullCell(),
                   NumberCell(partition.matched_count()), NumberCell(partition.not_matched_count()),
                   NumberCell(partition.late_count()), NumberCell(partition.failed_expression_count()),
                   TextCell(timelines)});
    }
  }

  Cell TimeCell(const google::protobuf::Timestamp& time) const {
    Cell cell = RawCell(Local(time), JsonString(TimeText(time)));
    cell.csv = TimeText(time);
    return cell;
  }
  static Cell Value(const google::protobuf::Map<std::string, aggregator::v1::MeasureValue>& measures,
                    const std::string& name) {
    const auto found = measures.find(name);
    return found == measures.end() ? NullCell() : MeasureCell(found->second);
  }

  std::vector<std::string> words_;
  std::string end_;
  bool fast_ = false;
  std::string time_zone_ = "UTC";
};

}  // namespace

std::unique_ptr<Command> MakeWhyCommand() { return std::make_unique<WhyCommand>(); }

}  // namespace naru::cli
