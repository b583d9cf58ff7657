#include "common/rocks/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/status/status.h"

namespace naru::rocks {
namespace {

absl::Status FromErrno(int error, absl::string_view what) {
  const std::string message = absl::StrCat(what, ": ", std::strerror(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case ENOSPC:
    case EDQUOT:
      return MakeError(absl::StatusCode::kResourceExhausted, "DISK_FULL", message);
    default:
      return absl::InternalError(message);
  }
}

// An open file that is closed at the end of the scope.
class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

absl::Status WriteAll(int fd, absl::string_view data, const std::string& path) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FromErrno(errno, absl::StrCat("writing ", path));
    data.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::StatusOr<int> Lock(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/LOCK");
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return FromErrno(errno, absl::StrCat("opening ", path));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    char text[32] = {};
    const ssize_t n = ::pread(fd, text, sizeof(text) - 1, 0);
    ::close(fd);
    if (error != EWOULDBLOCK) return FromErrno(error, absl::StrCat("locking ", path));
    int64_t pid = 0;
    const bool known = n > 0 && absl::SimpleAtoi(absl::StripAsciiWhitespace(text), &pid);
    return MakeError(absl::StatusCode::kUnavailable, "DIRECTORY_IN_USE",
                     absl::StrCat("data directory ", directory, " is in use by ",
                                  known ? absl::StrCat("process ", pid) : "another process",
                                  "; stop it first, or choose another directory"));
  }
  const std::string pid = absl::StrCat(::getpid(), "\n");
  // Only for people to read: the lock holds whether or not this can be written.
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, pid.data(), pid.size(), 0) < 0) errno = 0;
  return fd;
}

// Returns the version, or 0 when the file says nothing.
absl::StatusOr<int> ParseFormat(const std::string& path, absl::string_view text, const DirectoryFormat& format) {
  const std::vector<std::string> words = absl::StrSplit(absl::StripAsciiWhitespace(text), ' ', absl::SkipWhitespace());
  if (words.empty()) return 0;
  int version = 0;
  if (words.size() != 3 || words[0] != "naru" || !absl::SimpleAtoi(words[2], &version) || version < 1) {
    return absl::DataLossError(
        absl::StrCat(path, " says '", text.substr(0, 80), "', expected 'naru ", format.name, " ", format.version, "'"));
  }
  if (words[1] != format.name) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "OTHER_FORMAT",
                     absl::StrCat(path, " says that the directory holds ", words[1], ", not ", format.name));
  }
  if (version > format.version) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, "NEWER_FORMAT",
        absl::StrCat(path, ": the data has format version ", version, ", this program knows only up to version ",
                     format.version, "; use the program that wrote it, or a newer one"));
  }
  return version;
}

}  // namespace

absl::Status SyncDirectory(const std::string& path) {
  File directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || ::fsync(directory.get()) != 0) {
    return FromErrno(errno, absl::StrCat("syncing directory ", path));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& path) {
  File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return FromErrno(errno, absl::StrCat("opening ", path));
  std::string contents;
  char buffer[16 << 10];
  while (true) {
    const ssize_t n = ::read(file.get(), buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FromErrno(errno, absl::StrCat("reading ", path));
    if (n == 0) return contents;
    contents.append(buffer, static_cast<size_t>(n));
  }
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view contents) {
  const std::string temporary = absl::StrCat(path, ".tmp");
  {
    File file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (file.get() < 0) return FromErrno(errno, absl::StrCat("opening ", temporary));
    NARU_RETURN_IF_ERROR(WriteAll(file.get(), contents, temporary));
    if (::fdatasync(file.get()) != 0) return FromErrno(errno, absl::StrCat("syncing ", temporary));
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return FromErrno(errno, absl::StrCat("renaming to ", path));
  return SyncDirectory(std::filesystem::path(path).parent_path().string());
}

absl::StatusOr<std::unique_ptr<DataDirectory>> DataDirectory::Open(const std::string& path,
                                                                   const DirectoryFormat& format) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return FromErrno(error.value(), absl::StrCat("making directory ", path));
  NARU_ASSIGN_OR_RETURN(const int lock_fd, Lock(path));
  std::unique_ptr<DataDirectory> directory(new DataDirectory(path, lock_fd));

  const std::string format_path = absl::StrCat(path, "/FORMAT");
  const absl::StatusOr<std::string> text = ReadWholeFile(format_path);
  if (text.ok()) {
    NARU_ASSIGN_OR_RETURN(directory->version_, ParseFormat(format_path, *text, format));
  } else if (!absl::IsNotFound(text.status())) {
    return text.status();
  }
  if (directory->version_ == 0) {
    directory->format_was_missing_ = true;
    directory->version_ = format.version;
    NARU_RETURN_IF_ERROR(
        WriteFileAtomically(format_path, absl::StrCat("naru ", format.name, " ", format.version, "\n")));
  }
  return directory;
}

DataDirectory::~DataDirectory() {
  // Closing the last descriptor gives up the lock. The file stays: removing it would race with the next opener.
  ::close(lock_fd_);
}

}  // namespace naru::rocks
