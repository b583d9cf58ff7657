// naru dlq: rejected events, why, and taking them again.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/clock/clock.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "naru/event/v1/event.pb.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "services/naru/command.h"
#include "services/naru/event_text.h"
#include "services/naru/json_text.h"
#include "services/naru/proto_time.h"
#include "services/naru/text_width.h"
#include "services/naru/time_text.h"

namespace naru::cli {
namespace {

using ingest::v1::IngestService;
using ingest::v1::RejectedEvent;
using ingest::v1::RejectReason;

absl::StatusOr<RejectReason> ParseReason(const std::string& text) {
  RejectReason reason = ingest::v1::REJECT_REASON_UNSPECIFIED;
  if (text.empty()) return reason;
  std::string upper = absl::AsciiStrToUpper(text);
  for (char& c : upper) c = c == '-' ? '_' : c;
  if (ingest::v1::RejectReason_Parse(upper, &reason)) return reason;
  std::vector<std::string> known;
  const auto* type = ingest::v1::RejectReason_descriptor();
  for (int i = 1; i < type->value_count(); ++i) known.push_back(type->value(i)->name());
  return MakeError(absl::StatusCode::kInvalidArgument, "USAGE",
                   absl::StrCat("--reason: `", text, "` is none of ", absl::StrJoin(known, ", ")));
}

// The bytes as they came, in words: an event as JSON where they are one, else the line itself.
std::string RawText(const RejectedEvent& rejected) {
  event::v1::Event event;
  if (rejected.format().empty() && event.ParseFromString(rejected.raw())) return EventJson(event);
  return rejected.raw();
}

std::string RejectedJson(const RejectedEvent& rejected) {
  JsonObject json;
  json.Add("name", rejected.name()).Add("reason", ingest::v1::RejectReason_Name(rejected.reason()));
  json.Add("field", rejected.field()).Add("value", rejected.value()).Add("expected", rejected.expected());
  json.Add("reject_time", TimeText(rejected.reject_time()))
      .Add("source", rejected.source())
      .Add("type", rejected.type());
  json.Add("format", rejected.format()).Add("origin", rejected.origin()).Add("line_id", rejected.line_id());
  json.Add("timeline", rejected.timeline()).Add("replayed", rejected.replayed());
  json.Add("raw", RawText(rejected)).Add("raw_base64", absl::Base64Escape(rejected.raw()));
  return json.Text();
}

class DlqListCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Add("reason", &reason_, "Only this reason: FIELD_KIND, TIME, PARSE, ...").ValueName("REASON");
    options.Add("from_time", &from_time_, "Only those rejected at or after this time.").ValueName("TIME");
    options.Add("limit", &limit_, "At most this many; 0 = all.").Range(0, 1e9);
  }

  absl::StatusOr<int> Run(Session& session) override {
    ingest::v1::ListRejectedRequest request;
    NARU_ASSIGN_OR_RETURN(const RejectReason reason, ParseReason(reason_));
    request.set_reason(reason);
    if (!from_time_.empty()) {
      NARU_ASSIGN_OR_RETURN(const int64_t from_us, ParseMoment(from_time_, "UTC", Clock::System()->NowMicros()));
      SetMicros(from_us, request.mutable_from_time());
    }
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = IngestService::NewStub(channel);
    RowPrinter printer(
        stdout, session.format(), session.terminal.colour,
        {"name", "reason", "field", "value", "expected", "source", "type", "origin", "reject_time", "replayed"});
    int64_t left = limit_ > 0 ? limit_ : INT64_MAX;
    ingest::v1::ListRejectedResponse response;
    int64_t count = 0;
    do {
      request.set_page_size(static_cast<int32_t>(std::min<int64_t>(left, 1000)));
      const auto context = UnaryContext(session.connection);
      NARU_RETURN_IF_ERROR(CallStatus(stub->ListRejected(context.get(), request, &response), session.connection));
      for (const RejectedEvent& rejected : response.rejected()) Print(rejected, session.format(), printer);
      count += response.rejected_size();
      left -= response.rejected_size();
      request.set_page_token(response.next_page_token());
    } while (left > 0 && !response.next_page_token().empty());
    printer.Finish();
    if (count == 0 && session.format() == OutputFormat::kTable) session.Say("nothing was rejected");
    return kDone;
  }

 private:
  static void Print(const RejectedEvent& rejected, OutputFormat format, RowPrinter& printer) {
    if (IsJson(format)) {
      printer.Add({}, RejectedJson(rejected));
      return;
    }
    const auto text = [](const std::string& value) {
      return value.empty() ? NullCell() : TextCell(CutToWidth(value, 48));
    };
    printer.Add({TextCell(rejected.name()), TextCell(ingest::v1::RejectReason_Name(rejected.reason()), Colour::kYellow),
                 text(rejected.field()), text(rejected.value()), text(rejected.expected()), text(rejected.source()),
                 text(rejected.type()), text(rejected.origin()), TextCell(TimeText(rejected.reject_time())),
                 BoolCell(rejected.replayed())});
  }

  std::string reason_;
  std::string from_time_;
  int64_t limit_ = 100;
};

class DlqShowCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("NAME", &names_, "PARTITION/OFFSET, as `naru dlq list` says.", 1, 1);
    options.Add("raw", &raw_, "Print only the bytes as they came.");
  }

  absl::StatusOr<int> Run(Session& session) override {
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = IngestService::NewStub(channel);
    const auto context = UnaryContext(session.connection);
    ingest::v1::GetRejectedRequest request;
    request.set_name(names_[0]);
    RejectedEvent rejected;
    NARU_RETURN_IF_ERROR(CallStatus(stub->GetRejected(context.get(), request, &rejected), session.connection));
    if (raw_) {
      std::fwrite(rejected.raw().data(), 1, rejected.raw().size(), stdout);
      return kDone;
    }
    if (session.format() != OutputFormat::kTable) {
      std::printf("%s\n", RejectedJson(rejected).c_str());
      return kDone;
    }
    const auto line = [](const char* name, const std::string& value) {
      if (!value.empty()) std::printf("%-12s %s\n", name, MakePrintable(value).c_str());
    };
    line("name", rejected.name());
    line("reason", ingest::v1::RejectReason_Name(rejected.reason()));
    line("field", rejected.field());
    line("value", rejected.value());
    line("expected", rejected.expected());
    line("rejected at", TimeText(rejected.reject_time()));
    line("source", rejected.source());
    line("type", rejected.type());
    line("format", rejected.format());
    line("origin", rejected.origin());
    line("replayed", rejected.replayed() ? "yes" : "no");
    line("bytes", RawText(rejected));
    return kDone;
  }

 private:
  std::vector<std::string> names_;
  bool raw_ = false;
};

class DlqReplayCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("NAME", &names_, "PARTITION/OFFSET, as `naru dlq list` says.");
    options.Add("reason", &reason_, "All with this reason.").ValueName("REASON");
    options.Add("all", &all_, "All of them.");
    options.Add("dry_run", &dry_run_, "Only say what would happen.");
    options.Add("strict", &strict_, "End with exit code 3 when some are still wrong.");
  }

  absl::StatusOr<int> Run(Session& session) override {
    if (names_.empty() && reason_.empty() && !all_) {
      return ErrorWithNext(absl::StatusCode::kInvalidArgument, "USAGE", "say which: names, --reason REASON or --all",
                           "naru dlq list");
    }
    ingest::v1::ReplayRejectedRequest request;
    NARU_ASSIGN_OR_RETURN(const RejectReason reason, ParseReason(reason_));
    request.set_reason(reason);
    request.set_dry_run(dry_run_);
    for (const std::string& name : names_) request.add_names(name);
    Interrupt interrupt;
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = IngestService::NewStub(channel);
    // No deadline: there may be millions. What was replayed before Ctrl-C stays replayed.
    grpc::ClientContext context;
    interrupt.OnSignal([&] { context.TryCancel(); });
    ingest::v1::ReplayRejectedResponse response;
    const grpc::Status replayed = stub->ReplayRejected(&context, request, &response);
    interrupt.OnSignal(nullptr);
    NARU_RETURN_IF_ERROR(CallStatus(replayed, session.connection));
    RowPrinter printer(stdout, session.format(), session.terminal.colour,
                       {"read", "accepted", "duplicate", "rejected", "filtered"});
    printer.Add({NumberCell(response.read_count()), NumberCell(response.accepted_count()),
                 NumberCell(response.duplicate_count()), NumberCell(response.rejected_count()),
                 NumberCell(response.filtered_count())});
    return strict_ && response.rejected_count() > 0 ? kRejectedLines : kDone;
  }

 private:
  std::vector<std::string> names_;
  std::string reason_;
  bool all_ = false;
  bool dry_run_ = false;
  bool strict_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeDlqListCommand() { return std::make_unique<DlqListCommand>(); }
std::unique_ptr<Command> MakeDlqShowCommand() { return std::make_unique<DlqShowCommand>(); }
std::unique_ptr<Command> MakeDlqReplayCommand() { return std::make_unique<DlqReplayCommand>(); }

}  // namespace naru::cli
