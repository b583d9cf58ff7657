// naru import: streams files as they are; the server decompresses, parses, de-duplicates.
#include <fcntl.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "services/naru/command.h"
#include "services/naru/follow_import.h"
#include "services/naru/import_report.h"
#include "services/naru/input_files.h"

namespace naru::cli {
namespace {

using ingest::v1::ImportEventsRequest;
using ingest::v1::ImportEventsResponse;
using ImportStream = grpc::ClientReaderWriter<ImportEventsRequest, ImportEventsResponse>;

constexpr size_t kImportChunkBytes = 256 << 10;

// Opens a file, or standard input for `-`; closes what it opened.
class InputFile {
 public:
  explicit InputFile(const std::string& path)
      : fd_(path == "-" ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~InputFile() {
    if (fd_ > STDIN_FILENO) close(fd_);
  }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  bool is_open() const { return fd_ >= 0; }
  int64_t size() const {
    struct stat info {};
    return fstat(fd_, &info) == 0 && S_ISREG(info.st_mode) ? info.st_size : 0;
  }
  // Bytes read, 0 at the end, -1 on an error.
  ssize_t Read(std::string* chunk) {
    chunk->resize(kImportChunkBytes);
    ssize_t count;
    do {
      count = read(fd_, chunk->data(), chunk->size());
    } while (count < 0 && errno == EINTR);
    if (count >= 0) chunk->resize(count);
    return count;
  }

 private:
  int fd_;
};

class ImportCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("FILE", &files_,
                       "Files, directories, patterns, or - for standard input; .gz and .zst as they are.", 1);
    options
        .Add("format", &format_,
             "Name of an InputFormat: apache-combined, ndjson, cloudevents, or one of the catalog's.")
        .Required()
        .ValueName("NAME");
    options
        .Add("source", &source_,
             "Event source; files that are to count twice although they begin alike are given different ones.")
        .ValueName("NAME");
    options.Add("strict", &strict_, "End with exit code 3 when lines were rejected.");
    options.Add("show_rejected", &show_rejected_, "Rejected lines to show (at most 20).").Range(0, 20);
    options.Section("Following");
    options.Add("follow", &follow_,
                "Go on with what is written to the files, through rotations, until Ctrl-C; patterns and directories "
                "take new files in.");
    options
        .Add("positions", &positions_,
             "Where to remember how far each file was taken; default: a file in ~/.local/state/naru for this command.")
        .ValueName("FILE");
    options.Add("interval", &interval_, "Time between two looks at the files.").Range(1e4, 6e7);
    options
        .Add("rotate_wait", &rotate_wait_,
             "A file that was rotated is complete, its last line even without an end, when it has been silent for this "
             "long.")
        .Range(0, 3.6e9);
    options.Add("period", &period_, "Time between two lines of totals, with --output json or csv.").Range(1e5, 8.64e10);
  }

  absl::StatusOr<int> Run(Session& session) override {
    if (follow_) return Follow(session);
    NARU_ASSIGN_OR_RETURN(const std::vector<std::string> files, FindInputFiles(files_));
    Interrupt interrupt;
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = ingest::v1::IngestService::NewStub(channel);
    ImportTotals totals;
    absl::Status status;
    for (const std::string& file : files) {
      status = ImportFile(session, *stub, file, interrupt, &totals);
      if (!status.ok()) break;
      ++totals.files;
    }
    if (interrupt.requested() && !status.ok()) {
      session.Say("interrupted: what was acknowledged is stored, the same command again goes on from there");
      return kFailed;
    }
    NARU_RETURN_IF_ERROR(status);
    RowPrinter printer(stdout, session.format(), session.terminal.colour, ImportTotalsColumns());
    printer.Add(ImportTotalsCells(totals));
    printer.Finish();
    return FinishImport(session, totals, strict_);
  }

 private:
  absl::StatusOr<int> Follow(Session& session) const {
    if (std::find(files_.begin(), files_.end(), "-") != files_.end()) {
      return ErrorWithNext(absl::StatusCode::kInvalidArgument, "USAGE",
                           "--follow: standard input is read to its end and cannot be followed",
                           "naru import - --help");
    }
    FollowImportOptions options;
    options.arguments = files_;
    options.format = format_;
    options.source = source_;
    options.positions = positions_;
    options.interval = interval_;
    options.rotate_wait = rotate_wait_;
    options.period = period_;
    options.show_rejected = show_rejected_;
    options.strict = strict_;
    return RunFollowImport(session, options);
  }

  absl::Status ImportFile(Session& session, ingest::v1::IngestService::Stub& stub, const std::string& path,
                          Interrupt& interrupt, ImportTotals* totals) {
    InputFile file(path);
    if (!file.is_open()) {
      return MakeError(absl::StatusCode::kNotFound, "FILE_NOT_READABLE",
                       absl::StrCat(path, ": ", std::strerror(errno)));
    }
    const std::string name = path == "-" ? "standard input" : path;
    grpc::ClientContext context;
    const auto stream = stub.ImportEvents(&context);
    interrupt.OnSignal([&] { context.TryCancel(); });
    int read_error = 0;  // the writer's until it was joined
    std::thread writer([&] {
      read_error = SendFile(*stream, file, name);
      // The server must not take it for the whole file.
      if (read_error != 0) context.TryCancel();
    });

    ImportEventsResponse response;
    ImportEventsResponse last;
    ProgressLine progress(session.terminal, name);
    while (stream->Read(&response)) {
      if (response.rejected_lines_size() > 0) progress.Clear();
      SayRejectedLines(session, name, response, &show_rejected_);
      progress.Update(response.received_bytes(), file.size(), response.read_count(), "lines");
      last = response;
    }
    progress.Clear();
    // A server that ended the call early leaves the writer in its next Write, which then fails.
    writer.join();
    const grpc::Status finished = stream->Finish();
    interrupt.OnSignal(nullptr);
    if (read_error != 0) {
      return MakeError(absl::StatusCode::kInternal, "FILE_READ", absl::StrCat(name, ": ", std::strerror(read_error)));
    }
    if (!finished.ok()) return Annotate(CallStatus(finished, session.connection), name);
    if (!last.done())
      return MakeError(absl::StatusCode::kInternal, "IMPORT_NOT_DONE", absl::StrCat(name, ": the server ended early"));
    totals->Add(last);
    if (files_.size() > 1 || session.terminal.err_is_terminal) SayFile(session, name, last, progress.elapsed_s());
    return absl::OkStatus();
  }

  // Returns the errno of reading the file, 0 for none; a stream that broke is the reader's to report.
  int SendFile(ImportStream& stream, InputFile& file, const std::string& name) {
    ImportEventsRequest request;
    auto* start = request.mutable_start();
    start->set_format(format_);
    start->set_source(source_);
    start->set_file_name(name);
    bool alive = stream.Write(request);
    ssize_t count = 0;
    while (alive && (count = file.Read(request.mutable_chunk())) > 0) alive = stream.Write(request);
    if (count < 0) return errno;
    request.mutable_end();
    if (alive) stream.Write(request);
    stream.WritesDone();
    return 0;
  }

  static void SayFile(const Session& session, const std::string& name, const ImportEventsResponse& last,
                      double seconds) {
    session.Say(absl::StrCat(
        name, ": ", WithThousands(last.read_count()), " lines in ", FormatSeconds(seconds), ": ",
        WithThousands(last.accepted_count()), " accepted, ", WithThousands(last.duplicate_count()), " duplicate, ",
        WithThousands(last.rejected_count()), " rejected",
        last.filtered_count() == 0 ? "" : absl::StrCat(", ", WithThousands(last.filtered_count()), " filtered")));
  }

  std::vector<std::string> files_;
  std::string format_;
  std::string source_;
  bool strict_ = false;
  int show_rejected_ = 20;
  bool follow_ = false;
  std::string positions_;
  std::chrono::milliseconds interval_{500};
  std::chrono::milliseconds rotate_wait_{5'000};
  std::chrono::milliseconds period_{10'000};
};

}  // namespace

std::unique_ptr<Command> MakeImportCommand() { return std::make_unique<ImportCommand>(); }

}  // namespace naru::cli
