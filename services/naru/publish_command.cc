// naru publish: one event from flags, or a JSON object a line from files or standard input.
#include <fstream>
#include <iostream>

#include <google/protobuf/util/json_util.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/clock/clock.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "naru/event/v1/event.pb.h"
#include "services/naru/command.h"
#include "services/naru/event_sender.h"
#include "services/naru/event_text.h"
#include "services/naru/proto_time.h"
#include "services/naru/text_width.h"
#include "services/naru/time_text.h"

namespace naru::cli {
namespace {

class PublishCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("FILE", &files_, "Files with one event as JSON a line, or - for standard input.");
    options.Add("type", &type_, "Publish one event of this type.").ValueName("NAME");
    options.Add("source", &source_, "Source of the event, and of those in files that name none.").ValueName("NAME");
    options.Add("id", &id_, "Id; none: the server makes one, and publishing again is a second event.")
        .ValueName("TEXT");
    options.Add("subject", &subject_, "User or device that it is about.").ValueName("TEXT");
    options.Add("session", &session_id_, "Visit that it belongs to.").ValueName("TEXT");
    options.Add("time", &time_, "When it happened; none: when it arrives.").ValueName("TIME");
    options.Add("data", &data_, "Its data, a JSON object.").ValueName("JSON");
    options.Add("strict", &strict_, "End with exit code 3 when an event was rejected.");
  }

  absl::StatusOr<int> Run(Session& session) override {
    if (type_.empty() == files_.empty()) {
      return ErrorWithNext(absl::StatusCode::kInvalidArgument, "USAGE",
                           "say what to publish: --type NAME for one event, or files (- for standard input)",
                           "naru publish --help");
    }
    Interrupt interrupt;
    EventSender sender(session.connection, [&](const Rejection& rejection) { ShowRejection(session, rejection); });
    NARU_RETURN_IF_ERROR(sender.Start());
    interrupt.OnSignal([&] { sender.Cancel(); });
    const absl::Status sent = type_.empty() ? SendFiles(sender) : SendOne(sender);
    absl::Status finished = sent.ok() ? sender.Finish() : sent;
    interrupt.OnSignal(nullptr);
    const SendTotals totals = sender.totals();
    if (totals.received > 0) PrintTotals(session, totals);
    NARU_RETURN_IF_ERROR(finished);
    if (strict_ && totals.rejected > 0) return kRejectedLines;
    return totals.rejected > 0 && totals.accepted + totals.duplicate + totals.filtered == 0 ? kFailed : kDone;
  }

 private:
  absl::Status SendOne(EventSender& sender) {
    event::v1::Event event;
    event.set_type(type_);
    event.set_source(source_.empty() ? "naru-cli" : source_);
    event.set_id(id_);
    event.set_subject(subject_);
    event.set_session(session_id_);
    if (!time_.empty()) {
      NARU_ASSIGN_OR_RETURN(const int64_t time_us, ParseMoment(time_, "UTC", Clock::System()->NowMicros()));
      SetMicros(time_us, event.mutable_time());
    }
    if (!data_.empty()) {
      const auto parsed = google::protobuf::util::JsonStringToMessage(data_, event.mutable_data());
      if (!parsed.ok()) {
        return MakeError(absl::StatusCode::kInvalidArgument, "DATA_JSON",
                         absl::StrCat("--data: not a JSON object: ", std::string(parsed.message())));
      }
    }
    return sender.Send(event.SerializeAsString());
  }

  absl::Status SendFiles(EventSender& sender) {
    for (const std::string& path : files_) {
      if (path == "-") {
        NARU_RETURN_IF_ERROR(SendLines(sender, std::cin, "standard input"));
        continue;
      }
      std::ifstream file(path);
      if (!file)
        return MakeError(absl::StatusCode::kNotFound, "FILE_NOT_FOUND", absl::StrCat(path, ": cannot be read"));
      NARU_RETURN_IF_ERROR(SendLines(sender, file, path));
    }
    return absl::OkStatus();
  }

  absl::Status SendLines(EventSender& sender, std::istream& in, const std::string& name) {
    std::string line;
    for (int64_t number = 1; std::getline(in, line); ++number) {
      if (absl::StripAsciiWhitespace(line).empty()) continue;
      absl::StatusOr<event::v1::Event> event = ParseEventJson(line);
      if (!event.ok()) {
        // What came before is sent, so that the count says where it stopped.
        NARU_RETURN_IF_ERROR(sender.Finish());
        return Annotate(event.status(), absl::StrCat(name, ":", number));
      }
      if (event->source().empty()) event->set_source(source_);
      NARU_RETURN_IF_ERROR(sender.Send(event->SerializeAsString()));
    }
    return absl::OkStatus();
  }

  void ShowRejection(const Session& session, const Rejection& rejection) {
    if (++shown_ > 20) return;
    session.Say(absl::StrCat("event ", rejection.number + 1, " rejected, ", rejection.reason, " ", rejection.field,
                             rejection.value.empty() ? "" : absl::StrCat(" `", MakePrintable(rejection.value), "`"),
                             rejection.expected.empty() ? "" : absl::StrCat(": expected ", rejection.expected)));
  }

  static void PrintTotals(const Session& session, const SendTotals& totals) {
    RowPrinter printer(stdout, session.format(), session.terminal.colour,
                       {"received", "accepted", "duplicate", "rejected", "filtered"});
    printer.Add({NumberCell(totals.received), NumberCell(totals.accepted), NumberCell(totals.duplicate),
                 NumberCell(totals.rejected), NumberCell(totals.filtered)});
  }

  std::vector<std::string> files_;
  std::string type_, source_, id_, subject_, session_id_, time_, data_;
  bool strict_ = false;
  std::atomic<int> shown_{0};
};

}  // namespace

std::unique_ptr<Command> MakePublishCommand() { return std::make_unique<PublishCommand>(); }

}  // namespace naru::cli
