// naru import: streams files as they are; the server decompresses, parses, de-duplicates.
#include <fcntl.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "services/naru/command.h"
#include "services/naru/input_files.h"
#include "services/naru/json_text.h"
#include "services/naru/text_width.h"

namespace naru::cli {
namespace {

using ingest::v1::ImportEventsRequest;
using ingest::v1::ImportEventsResponse;
using Stream = grpc::ClientReaderWriter<ImportEventsRequest, ImportEventsResponse>;

constexpr size_t kChunkBytes = 256 << 10;

struct Totals {
  int64_t files = 0;
  int64_t read = 0;
  int64_t accepted = 0;
  int64_t duplicate = 0;
  int64_t rejected = 0;
  int64_t filtered = 0;
  int64_t bytes = 0;

  void Add(const ImportEventsResponse& last) {
    read += last.read_count();
    accepted += last.accepted_count();
    duplicate += last.duplicate_count();
    rejected += last.rejected_count();
    filtered += last.filtered_count();
    bytes += last.received_bytes();
  }
};

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
    chunk->resize(kChunkBytes);
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
    options.Add("show_rejected", &show_rejected_, "Rejected lines of each file to show (at most 20).").Range(0, 20);
  }

  absl::StatusOr<int> Run(Session& session) override {
    NARU_ASSIGN_OR_RETURN(const std::vector<std::string> files, FindInputFiles(files_));
    Interrupt interrupt;
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = ingest::v1::IngestService::NewStub(channel);
    Totals totals;
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
    PrintTotals(session, totals);
    if (totals.rejected > 0) {
      session.Say(
          absl::StrCat("rejected lines are kept: `naru dlq list`; after mending the format or type `naru dlq replay`"));
    }
    return strict_ && totals.rejected > 0 ? kRejectedLines : kDone;
  }

 private:
  absl::Status ImportFile(Session& session, ingest::v1::IngestService::Stub& stub, const std::string& path,
                          Interrupt& interrupt, Totals* totals) {
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
      ShowRejected(session, name, response);
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
  int SendFile(Stream& stream, InputFile& file, const std::string& name) {
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

  void ShowRejected(const Session& session, const std::string& name, const ImportEventsResponse& response) {
    for (const auto& line : response.rejected_lines()) {
      if (shown_ == show_rejected_) return;
      ++shown_;
      const std::string what =
          absl::StrCat(line.field().empty() ? "" : absl::StrCat(" ", line.field()),
                       line.value().empty() ? "" : absl::StrCat(" `", MakePrintable(line.value()), "`"),
                       line.expected().empty() ? "" : absl::StrCat(": expected ", line.expected()));
      session.Say(absl::StrCat(name, ":", line.line_number(), ": rejected, ",
                               ingest::v1::RejectReason_Name(line.reason()), what));
      if (!line.line().empty()) session.Say(absl::StrCat("    ", CutToWidth(MakePrintable(line.line()), 160)));
    }
  }

  static void SayFile(const Session& session, const std::string& name, const ImportEventsResponse& last,
                      double seconds) {
    session.Say(absl::StrCat(name, ": ", WithThousands(last.read_count()), " lines in ", FormatSeconds(seconds), ": ",
                             WithThousands(last.accepted_count()), " accepted, ", WithThousands(last.duplicate_count()),
                             " duplicate, ", WithThousands(last.rejected_count()), " rejected"));
  }

  static void PrintTotals(const Session& session, const Totals& totals) {
    RowPrinter printer(stdout, session.format(), session.terminal.colour,
                       {"read", "accepted", "duplicate", "rejected", "filtered", "files", "bytes"});
    printer.Add({NumberCell(totals.read), NumberCell(totals.accepted), NumberCell(totals.duplicate),
                 NumberCell(totals.rejected), NumberCell(totals.filtered), NumberCell(totals.files),
                 NumberCell(totals.bytes)});
  }

  std::vector<std::string> files_;
  std::string format_;
  std::string source_;
  bool strict_ = false;
  int show_rejected_ = 20;
  int shown_ = 0;
};

}  // namespace

std::unique_ptr<Command> MakeImportCommand() { return std::make_unique<ImportCommand>(); }

}  // namespace naru::cli
