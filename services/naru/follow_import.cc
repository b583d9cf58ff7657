#include "services/naru/follow_import.h"

#include <fcntl.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <sys/file.h>
#include <unistd.h>

#ifndef XXH_INLINE_ALL
#define XXH_INLINE_ALL
#endif
#include <xxhash.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/clock/clock.h"
#include "common/status/status.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "services/naru/follower.h"
#include "services/naru/import_report.h"

namespace naru::cli {
namespace {

namespace fs = std::filesystem;
using ingest::v1::ImportEventsRequest;
using ingest::v1::ImportEventsResponse;

/// What is left to send when Ctrl-C comes is still sent if it is this little, so that the totals are whole.
constexpr int64_t kFinishBytes = int64_t{8} << 20;
constexpr std::chrono::milliseconds kMaxWait(5'000);
/// A stop does not wait longer than this for the end of a timeline, which silence ends as well.
constexpr std::chrono::milliseconds kPauseTime(2'000);

/// One follower of the same files at a time: two would take each other's positions.
class Lock {
 public:
  ~Lock() {
    if (fd_ >= 0) close(fd_);
  }
  absl::Status Take(const std::string& path) {
    fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd_ < 0) {
      return MakeError(absl::StatusCode::kUnavailable, "POSITIONS_NOT_WRITTEN",
                       absl::StrCat(path, ": ", std::strerror(errno), "; --positions names another file"));
    }
    if (flock(fd_, LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
    return MakeError(absl::StatusCode::kFailedPrecondition, "ALREADY_FOLLOWED",
                     absl::StrCat("another `naru import --follow` keeps its positions in ", path,
                                  "; end it, or name another file with --positions"));
  }

 private:
  int fd_ = -1;
};

/// `~/.local/state/naru/follow-0123456789abcdef`: the same command finds it again.
absl::StatusOr<std::string> DefaultPositions(const Session& session, const FollowImportOptions& options) {
  const char* state_home = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  fs::path folder;
  if (state_home != nullptr && *state_home != '\0') {
    folder = state_home;
  } else if (home != nullptr && *home != '\0') {
    folder = fs::path(home) / ".local" / "state";
  } else {
    return MakeError(absl::StatusCode::kInvalidArgument, "USAGE",
                     "--positions FILE: neither XDG_STATE_HOME nor HOME says where to remember what was taken");
  }
  folder /= "naru";
  std::error_code error;
  fs::create_directories(folder, error);
  const std::string key = absl::StrCat(session.connection.address, "\n", options.format, "\n", options.source, "\n",
                                       absl::StrJoin(options.arguments, "\n"));
  return (folder / absl::StrCat("follow-", absl::Hex(XXH3_64bits(key.data(), key.size()), absl::kZeroPad16))).string();
}

/// Sends pieces of files in ImportEvents calls. Not thread-safe.
class ImportTaker : public LineTaker {
 public:
  ImportTaker(Session& session, const FollowImportOptions& options, const std::shared_ptr<grpc::Channel>& channel,
              const Interrupt& interrupt)
      : session_(session),
        options_(options),
        stub_(ingest::v1::IngestService::NewStub(channel)),
        interrupt_(interrupt),
        rejected_left_(options.show_rejected) {}

  absl::StatusOr<FollowPosition> Take(const FollowPiece& piece) override {
    grpc::ClientContext context;
    if (piece.pause) context.set_deadline(std::chrono::system_clock::now() + kPauseTime);
    const auto stream = stub_->ImportEvents(&context);
    std::atomic<bool> changed{false};
    std::thread writer([&] { changed = !Send(*stream, piece, context); });
    ImportEventsResponse response;
    ImportEventsResponse last;
    while (stream->Read(&response)) {
      SayRejectedLines(session_, piece.path, response, &rejected_left_);
      last = response;
    }
    writer.join();
    const grpc::Status finished = stream->Finish();
    if (changed) return absl::OutOfRangeError("the file changed while it was read");
    if (!finished.ok()) return Explain(CallStatus(finished, session_.connection));
    if (!last.done()) return absl::UnavailableError("the server ended early");
    totals_.Add(last);
    FollowPosition position;
    if (!last.has_position()) return position;
    position.line_id = last.position().line_id();
    position.end_byte = last.position().end_byte();
    position.next_line_number = last.position().next_line_number();
    position.header = last.position().header();
    return position;
  }

  const ImportTotals& totals() const { return totals_; }

 private:
  static absl::Status Explain(const absl::Status& status) {
    const std::string reason = GetErrorDetails(status).reason;
    if (reason == "IMPORT_DAMAGED" || reason == "IMPORT_TRUNCATED" || reason == "IMPORT_EXPANSION") {
      return absl::DataLossError(status.message());
    }
    return status;
  }

  // False when the file must not be read on.
  bool Send(grpc::ClientReaderWriter<ImportEventsRequest, ImportEventsResponse>& stream, const FollowPiece& piece,
            grpc::ClientContext& context) const {
    ImportEventsRequest request;
    auto* start = request.mutable_start();
    start->set_format(options_.format);
    start->set_source(options_.source);
    start->set_file_name(piece.path);
    start->set_seed(piece.seed);
    start->set_follow(piece.growing);
    start->set_compression(piece.compressed ? ingest::v1::ImportStart::COMPRESSION_UNSPECIFIED
                                            : ingest::v1::ImportStart::NONE);
    if (!piece.position.line_id.empty() && !piece.compressed) {
      auto* position = start->mutable_position();
      position->set_line_id(piece.position.line_id);
      position->set_end_byte(piece.position.end_byte);
      position->set_next_line_number(piece.position.next_line_number);
      position->set_header(piece.position.header);
    }
    bool alive = stream.Write(request);
    int64_t left = piece.bytes;
    while (alive) {
      const int64_t count = piece.read(request.mutable_chunk());
      if (count < 0 || (interrupt_.requested() && left > kFinishBytes)) {
        context.TryCancel();
        return count >= 0;
      }
      if (count == 0) break;
      left -= count;
      alive = stream.Write(request);
    }
    request.mutable_end()->set_pause(piece.pause);
    if (alive) stream.Write(request);
    stream.WritesDone();
    return true;
  }

  Session& session_;
  const FollowImportOptions& options_;
  const std::unique_ptr<ingest::v1::IngestService::Stub> stub_;
  const Interrupt& interrupt_;
  int rejected_left_;
  ImportTotals totals_;
};

bool IsWaitedFor(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status) || absl::IsAborted(status) ||
         absl::IsDeadlineExceeded(status) || absl::IsCancelled(status);
}

/// Prints totals: at the end, and for programs once a period.
class TotalsPrinter {
 public:
  TotalsPrinter(const Session& session, std::chrono::milliseconds period)
      : printer_(stdout, session.format(), session.terminal.colour, ImportTotalsColumns()),
        periodic_(session.format() != OutputFormat::kTable),
        period_us_(std::chrono::microseconds(period).count()),
        last_us_(Clock::System()->MonotonicMicros()) {}

  void Print(ImportTotals totals, int files) {
    totals.files = files;
    printer_.Add(ImportTotalsCells(totals));
    std::fflush(stdout);
  }
  void MaybePrint(const ImportTotals& totals, int files) {
    const int64_t now_us = Clock::System()->MonotonicMicros();
    if (!periodic_ || now_us - last_us_ < period_us_) return;
    last_us_ = now_us;
    Print(totals, files);
  }

 private:
  RowPrinter printer_;
  const bool periodic_;
  const int64_t period_us_;
  int64_t last_us_;
};

}  // namespace

absl::StatusOr<int> RunFollowImport(Session& session, const FollowImportOptions& given) {
  FollowImportOptions options = given;
  // The same files, wherever the command is typed.
  for (std::string& argument : options.arguments) argument = fs::absolute(argument).lexically_normal().string();
  if (options.positions.empty()) {
    NARU_ASSIGN_OR_RETURN(options.positions, DefaultPositions(session, options));
  }
  Interrupt interrupt;
  Lock lock;
  NARU_RETURN_IF_ERROR(lock.Take(options.positions + ".lock"));
  NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
  ImportTaker taker(session, options, channel, interrupt);
  FollowOptions follow;
  follow.arguments = options.arguments;
  follow.positions_path = options.positions;
  follow.rotate_wait = options.rotate_wait;
  NARU_ASSIGN_OR_RETURN(
      const std::unique_ptr<Follower> follower,
      Follower::Open(follow, &taker, Clock::System(), [&](const std::string& text) { session.Say(text); }));
  TotalsPrinter printer(session, options.period);
  bool waiting = false;
  std::chrono::milliseconds wait = options.interval;
  absl::Status status;
  do {
    status = follower->Look([&] { return interrupt.requested(); });
    if (interrupt.requested()) break;
    if (!status.ok() && !IsWaitedFor(status)) break;
    if (!status.ok() && !waiting) session.Say(absl::StrCat("waiting: ", status.message()));
    if (status.ok() && waiting) session.Say("going on");
    waiting = !status.ok();
    wait = waiting ? std::min(wait * 2, kMaxWait) : options.interval;
    printer.MaybePrint(taker.totals(), follower->open_files());
  } while (!interrupt.WaitFor(wait));
  if (interrupt.requested()) follower->Pause();
  printer.Print(taker.totals(), follower->open_files());
  if (!interrupt.requested()) NARU_RETURN_IF_ERROR(status);
  return FinishImport(session, taker.totals(), options.strict);
}

}  // namespace naru::cli
