// naru tail: stored events, and those that arrive.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "absl/strings/str_cat.h"
#include "common/clock/clock.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "services/naru/command.h"
#include "services/naru/event_text.h"
#include "services/naru/json_text.h"
#include "services/naru/proto_time.h"
#include "services/naru/text_width.h"
#include "services/naru/time_text.h"

namespace naru::cli {
namespace {

class TailCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Add("follow", &follow_, "Keep on and print new events as they arrive; Ctrl-C ends it.").Short('f');
    options.Add("last", &last_, "Start with this many of the newest events.").Short('n').Range(0, 10000).ValueName("N");
    options.Add("from_time", &from_time_, "Start with the first event received at or after this time.")
        .ValueName("TIME");
    options.Add("from_offset", &from_offset_, "Start at this offset of each partition asked for.").ValueName("OFFSET");
    options.Add("partition", &partitions_, "Only these partitions.").ValueName("N");
    options.Add("type", &types_, "Only these event types.").ValueName("NAME");
    options.Add("where", &where_, "Only events for which this CEL expression is true.").ValueName("EXPR");
    options.Add("limit", &limit_, "Stop after this many.").ValueName("N");
  }

  absl::StatusOr<int> Run(Session& session) override {
    NARU_ASSIGN_OR_RETURN(const ingest::v1::ReadEventsRequest request, MakeRequest());
    Interrupt interrupt;
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = ingest::v1::IngestService::NewStub(channel);
    grpc::ClientContext context;
    const auto stream = stub->ReadEvents(&context, request);
    interrupt.OnSignal([&] { context.TryCancel(); });
    const OutputFormat format = session.format();
    RowPrinter printer(stdout, format, session.terminal.colour,
                       {"partition", "offset", "time", "type", "subject", "id", "data"}, follow_ ? 1 : 200);
    ingest::v1::ReadEventsResponse response;
    while (stream->Read(&response)) {
      for (const auto& stored : response.events()) Print(stored, format, printer);
      if (follow_) {
        printer.Finish();
        // A reader of the pipe that has gone away ends a follower.
        if (std::ferror(stdout) != 0) context.TryCancel();
      }
    }
    const grpc::Status finished = stream->Finish();
    interrupt.OnSignal(nullptr);
    printer.Finish();
    if (interrupt.requested()) return kDone;
    if (std::ferror(stdout) != 0) return kFailed;
    NARU_RETURN_IF_ERROR(CallStatus(finished, session.connection));
    return kDone;
  }

 private:
  absl::StatusOr<ingest::v1::ReadEventsRequest> MakeRequest() const {
    ingest::v1::ReadEventsRequest request;
    if ((last_ >= 0) + !from_time_.empty() + (from_offset_ >= 0) > 1) {
      return ErrorWithNext(absl::StatusCode::kInvalidArgument, "USAGE",
                           "--last, --from_time and --from_offset: only one of them", "naru tail --help");
    }
    if (from_offset_ >= 0) {
      request.set_from_offset(from_offset_);
    } else if (!from_time_.empty()) {
      NARU_ASSIGN_OR_RETURN(const int64_t from_us, ParseMoment(from_time_, "UTC", Clock::System()->NowMicros()));
      SetMicros(from_us, request.mutable_from_time());
    } else if (last_ > 0 || (last_ < 0 && !follow_)) {
      request.set_last_count(last_ > 0 ? last_ : 10);
    } else {
      request.set_from_end(true);
    }
    for (const std::string& text : partitions_) {
      int32_t partition = 0;
      if (!absl::SimpleAtoi(text, &partition) || partition < 0) {
        return MakeError(absl::StatusCode::kInvalidArgument, "USAGE",
                         absl::StrCat("--partition: `", text, "` is not a number from 0"));
      }
      request.add_partitions(partition);
    }
    for (const std::string& type : types_) request.add_types(type);
    request.set_follow(follow_);
    request.set_filter(where_);
    request.set_limit(limit_);
    return request;
  }

  static void Print(const ingest::v1::StoredEvent& stored, OutputFormat format, RowPrinter& printer) {
    const event::v1::Event& event = stored.event();
    if (IsJson(format)) {
      // The event with where it is before its own fields.
      const std::string line = absl::StrCat("{\"partition\":", stored.partition(), ",\"offset\":", stored.offset(), ",",
                                            EventJson(event).substr(1));
      printer.Add({}, line);
      return;
    }
    std::string data;
    AppendJsonStruct(event.data(), &data);
    const Cell subject = event.subject().empty() ? NullCell() : TextCell(event.subject());
    printer.Add({NumberCell(int64_t{stored.partition()}), NumberCell(stored.offset()), TextCell(TimeText(event.time())),
                 TextCell(event.type(), Colour::kCyan), subject, TextCell(event.id()), RawCell(data, data)});
  }

  bool follow_ = false;
  int last_ = -1;
  std::string from_time_;
  int64_t from_offset_ = -1;
  std::vector<std::string> partitions_;
  std::vector<std::string> types_;
  std::string where_;
  int64_t limit_ = 0;
};

}  // namespace

std::unique_ptr<Command> MakeTailCommand() { return std::make_unique<TailCommand>(); }

}  // namespace naru::cli
