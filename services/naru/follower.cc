#include "services/naru/follower.h"

#include <fcntl.h>
#include <glob.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <random>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status/status.h"

namespace naru::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kChunkBytes = 256 << 10;
/// Generations whose file is gone, kept to recognise copies that turn up later.
constexpr size_t kKeptLost = 500;
/// With fewer equal bytes a new file under the same name is taken for a new log, with more for a longer copy (rsync).
constexpr int64_t kSameContentBytes = kTailBytes;
constexpr int64_t kSecondMicros = 1'000'000;

bool IsCompressedName(absl::string_view path) { return absl::EndsWith(path, ".gz") || absl::EndsWith(path, ".zst"); }

/// A file as one look sees it.
struct Candidate {
  std::string path;
  std::string name;      ///< the name that it belongs to
  bool matched = false;  ///< by an argument; else found beside one
  struct stat info {};
  int64_t modified_us() const { return info.st_mtim.tv_sec * kSecondMicros + info.st_mtim.tv_nsec / 1000; }
};

class OpenFile {
 public:
  explicit OpenFile(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~OpenFile() {
    if (fd_ >= 0) close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// Whether it begins as the generation did when that was found.
bool HasHead(int fd, const Generation& file) {
  int64_t size = file.head_size;
  return HeadHash(fd, &size) == file.head && size == file.head_size;
}

/// The name without what rotation added. A rotated file that was found while nothing had the log's own name was given
/// its own as name; it is of the same log nevertheless.
absl::string_view LogName(absl::string_view name) {
  for (size_t length = 1; length < name.size(); ++length) {
    if (IsRotatedName(name, name.substr(0, length))) return name.substr(0, length);
  }
  return name;
}

bool Holds(int fd, const struct stat& listed) {
  struct stat info {};
  return fd >= 0 && fstat(fd, &info) == 0 && IdOf(info) == IdOf(listed);
}

int64_t SizeOf(int fd) {
  struct stat info {};
  return fstat(fd, &info) == 0 ? info.st_size : 0;
}

bool IsLater(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status) || absl::IsAborted(status) ||
         absl::IsDeadlineExceeded(status) || absl::IsCancelled(status);
}

void AddMatches(const std::string& argument, std::set<std::string>* paths) {
  std::error_code error;
  if (fs::is_directory(argument, error)) {
    fs::recursive_directory_iterator at(argument, error);
    for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
      const std::string file = at->path().filename().string();
      std::error_code ignored;
      if (!file.empty() && file[0] == '.') {
        if (at->is_directory(ignored)) at.disable_recursion_pending();
      } else if (at->is_regular_file(ignored)) {
        paths->insert(at->path().string());
      }
    }
    return;
  }
  if (fs::exists(argument, error) || argument.find_first_of("*?[") == std::string::npos) {
    paths->insert(argument);
    return;
  }
  glob_t matches{};
  if (glob(argument.c_str(), GLOB_TILDE, nullptr, &matches) == 0) {
    paths->insert(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
  }
  globfree(&matches);
}

}  // namespace

bool IsRotatedName(absl::string_view path, absl::string_view name) {
  if (!absl::ConsumePrefix(&path, name)) return false;
  if (!absl::ConsumeSuffix(&path, ".gz")) absl::ConsumeSuffix(&path, ".zst");
  if (path.size() < 2 || (path[0] != '.' && path[0] != '-')) return false;
  path.remove_prefix(1);
  return absl::ascii_isdigit(path[0]) && path.find_first_not_of("0123456789.-_:T") == path.npos;
}

struct Follower::State {
  FollowOptions options;
  LineTaker* taker = nullptr;
  const Clock* clock = nullptr;
  std::function<void(const std::string&)> say;
  FollowState kept;
  int64_t look = 0;
  bool dirty = false;
  bool deferred = false;  ///< a file of this look is to be decided on later
  /// Files that were looked at in vain: unreadable, damaged, copies. Looked at again when they change.
  std::map<std::string, std::pair<int64_t, int64_t>> passed_over;

  int64_t Now() const { return clock->MonotonicMicros(); }

  // --- What there is
  std::vector<Candidate> List() const;
  std::string NameOf(const std::string& path, const std::set<std::string>& names) const;
  Generation* FindById(const FileId& id) const;
  std::vector<Generation*> BeginningLike(uint64_t first_line) const;
  bool IsIntact(const Generation& file) const { return file.fd >= 0 || file.seen_in == look; }

  // --- One file
  absl::Status ExamineKnown(const Candidate& candidate, Generation* file, bool* replaced);
  absl::Status ExamineUnknown(const Candidate& candidate);
  enum class Kinship { kNone, kCopy, kContinuation, kUndecided, kDamaged };
  Kinship KinshipOf(const Candidate& candidate, int fd, bool compressed, const Generation& file) const;
  absl::Status TakeOver(const Candidate& candidate, OpenFile* file, bool compressed, Generation* generation);
  absl::Status Begin(const Candidate& candidate, OpenFile* file, bool compressed, uint64_t first_line, bool new_seed);
  void Attach(const Candidate& candidate, int fd, Generation* file);
  void Lose(Generation* file);
  void PassOver(const Candidate& candidate) {
    passed_over[candidate.path] = {candidate.info.st_size, candidate.modified_us()};
  }
  bool IsPassedOver(const Candidate& candidate) const {
    const auto found = passed_over.find(candidate.path);
    return found != passed_over.end() &&
           found->second == std::pair(static_cast<int64_t>(candidate.info.st_size), candidate.modified_us());
  }

  // --- Taking
  absl::Status TakeNew(Generation* file);
  absl::Status TakePiece(Generation* file, int64_t end, bool growing);
  absl::Status TakeFrom(Generation* file, const FollowPosition& position, int64_t end, bool growing);
  absl::Status TakeCompressed(const Candidate& candidate, int fd, Generation* file);
  void Close(Generation* file);
  absl::Status CloseIfQuiet(Generation* file);
  absl::Status Save();
  void Forget();
};

Follower::Follower(std::unique_ptr<State> state) : state_(std::move(state)) {}

Follower::~Follower() {
  for (const auto& file : state_->kept.generations) state_->Close(file.get());
}

absl::StatusOr<std::unique_ptr<Follower>> Follower::Open(FollowOptions options, LineTaker* taker, const Clock* clock,
                                                         std::function<void(const std::string&)> say) {
  auto state = std::make_unique<State>();
  NARU_ASSIGN_OR_RETURN(state->kept, LoadFollowState(options.positions_path));
  state->options = std::move(options);
  state->taker = taker;
  state->clock = clock;
  state->say = std::move(say);
  for (const auto& file : state->kept.generations) file->changed_us = state->Now();
  return std::unique_ptr<Follower>(new Follower(std::move(state)));
}

int Follower::open_files() const {
  const auto& files = state_->kept.generations;
  return static_cast<int>(std::count_if(files.begin(), files.end(), [](const auto& file) { return file->fd >= 0; }));
}

// --- What there is ---------------------------------------------------------------------------------------------------

/// A file beside a followed name belongs to that name, if it is what rotation makes of it.
std::string Follower::State::NameOf(const std::string& path, const std::set<std::string>& names) const {
  for (const std::string& name : names) {
    if (IsRotatedName(path, name)) return name;
  }
  return path;
}

/// Rotated and older files first, so that a name's former content is known before its new one.
std::vector<Candidate> Follower::State::List() const {
  std::set<std::string> matched;
  for (const std::string& argument : options.arguments) AddMatches(argument, &matched);
  std::set<std::string> names = matched;
  for (const auto& file : kept.generations) names.insert(file->name);
  std::set<std::string> paths = matched;
  std::set<std::string> folders;
  for (const std::string& name : names) folders.insert(fs::path(name).parent_path().string());
  for (const std::string& folder : folders) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder.empty() ? "." : folder, error)) {
      const std::string path = folder.empty() ? entry.path().filename().string() : entry.path().string();
      if (NameOf(path, names) != path) paths.insert(path);
    }
  }
  std::vector<Candidate> candidates;
  for (const std::string& path : paths) {
    Candidate candidate{.path = path, .name = NameOf(path, names), .matched = matched.contains(path)};
    if (stat(path.c_str(), &candidate.info) == 0 && S_ISREG(candidate.info.st_mode)) candidates.push_back(candidate);
  }
  std::stable_sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    const bool a_rotated = a.path != a.name;
    const bool b_rotated = b.path != b.name;
    return a_rotated != b_rotated ? a_rotated : a.modified_us() < b.modified_us();
  });
  return candidates;
}

Generation* Follower::State::FindById(const FileId& id) const {
  for (const auto& file : kept.generations) {
    if (file->id == id) return file.get();
  }
  return nullptr;
}

std::vector<Generation*> Follower::State::BeginningLike(uint64_t first_line) const {
  std::vector<Generation*> found;
  for (const auto& file : kept.generations) {
    if (file->first_line == first_line) found.push_back(file.get());
  }
  return found;
}

// --- One file --------------------------------------------------------------------------------------------------------

absl::Status Follower::State::ExamineKnown(const Candidate& candidate, Generation* file, bool* replaced) {
  file->seen_in = look;
  const bool same_size = candidate.info.st_size == file->seen_size;
  if (file->state == Generation::State::kDone && same_size) {
    file->path = candidate.path;
    return absl::OkStatus();
  }
  OpenFile opened(candidate.path);
  // Renamed since it was listed: the next look sees it where it is.
  if (!Holds(opened.get(), candidate.info)) return absl::OkStatus();
  bool compressed = false;
  const bool same = FirstLineHash(opened.get(), &compressed) == file->first_line && HasHead(opened.get(), *file) &&
                    (compressed || file->position.end_byte == 0 ||
                     (candidate.info.st_size >= file->position.end_byte &&
                      TailHash(opened.get(), file->position.end_byte) == file->tail));
  if (!same) {
    say(absl::StrCat(candidate.path, ": truncated or replaced; what it holds now is a new file"));
    Lose(file);
    *replaced = true;
    return absl::OkStatus();
  }
  if (file->state == Generation::State::kDone) {
    file->seen_size = candidate.info.st_size;
    file->path = candidate.path;
    if (compressed || candidate.info.st_size <= file->position.end_byte) return absl::OkStatus();
    // Somebody still writes to what was rotated.
    file->state = Generation::State::kClosing;
    dirty = true;
  }
  if (compressed) return IsPassedOver(candidate) ? absl::OkStatus() : TakeCompressed(candidate, opened.get(), file);
  dirty = dirty || file->path != candidate.path;
  file->path = candidate.path;
  if (file->fd < 0) Attach(candidate, opened.Release(), file);
  const Generation::State place =
      candidate.path == file->name ? Generation::State::kGrowing : Generation::State::kClosing;
  if (file->state != place) {
    file->state = place;
    file->changed_us = Now();
    dirty = true;
  }
  return TakeNew(file);
}

void Follower::State::Attach(const Candidate& candidate, int fd, Generation* file) {
  Close(file);
  file->id = IdOf(candidate.info);
  file->path = candidate.path;
  file->fd = fd;
  file->seen_in = look;
  file->seen_size = -1;
  file->changed_us = Now();
  dirty = true;
}

/// Its file holds something else now; what was not taken may be in a copy.
void Follower::State::Lose(Generation* file) {
  Close(file);
  file->id = {};
  file->seen_in = -1;
  file->seen_size = -1;
  if (file->state != Generation::State::kDone) file->state = Generation::State::kClosing;
  file->changed_us = Now();
  dirty = true;
  // What was only a copy may be all that is left now.
  passed_over.clear();
}

/// What an unknown file that begins alike is to a generation that is known.
Follower::State::Kinship Follower::State::KinshipOf(const Candidate& candidate, int fd, bool compressed,
                                                    const Generation& file) const {
  // Nothing was taken of it yet: whatever begins alike would contain it. It will be known at the next look.
  if (file.position.end_byte == 0 && IsIntact(file)) return Kinship::kUndecided;
  int64_t length = candidate.info.st_size;
  const uint64_t tail =
      compressed ? ContentTailHash(fd, file.position.end_byte, &length) : TailHash(fd, file.position.end_byte);
  if (length < 0) return Kinship::kDamaged;
  const bool contains =
      HasHead(fd, file) && length >= file.position.end_byte && (file.position.end_byte == 0 || tail == file.tail);
  if (candidate.path == file.name && !compressed) {
    // Another file under a followed name. One that holds all of the former one, which is gone, is a longer copy of it.
    const bool gone = !IsIntact(file) || (file.fd >= 0 && file.seen_in != look);
    return contains && gone && file.position.end_byte >= kSameContentBytes ? Kinship::kContinuation : Kinship::kNone;
  }
  if (!IsIntact(file)) return contains ? Kinship::kContinuation : Kinship::kNone;
  if (file.state == Generation::State::kDone && file.fd < 0) {
    return contains && length == file.position.end_byte ? Kinship::kCopy : Kinship::kNone;
  }
  return IsBeginningOf(fd, file.fd) ? Kinship::kCopy : Kinship::kNone;
}

absl::Status Follower::State::ExamineUnknown(const Candidate& candidate) {
  if (IsPassedOver(candidate)) return absl::OkStatus();
  OpenFile opened(candidate.path);
  if (opened.get() < 0) {
    say(absl::StrCat(candidate.path, ": ", std::strerror(errno)));
    PassOver(candidate);
    return absl::OkStatus();
  }
  if (!Holds(opened.get(), candidate.info)) return absl::OkStatus();
  bool compressed = false;
  const uint64_t first_line = FirstLineHash(opened.get(), &compressed);
  if (first_line == 0) return absl::OkStatus();
  // Beside the followed names only what appeared since the last look is theirs.
  const bool ours =
      candidate.matched || (kept.last_look_us > 0 && candidate.modified_us() >= kept.last_look_us - kSecondMicros);
  const std::vector<Generation*> alike = BeginningLike(first_line);
  for (Generation* file : alike) {
    switch (KinshipOf(candidate, opened.get(), compressed, *file)) {
      case Kinship::kContinuation:
        return TakeOver(candidate, &opened, compressed, file);
      case Kinship::kUndecided:
        deferred = deferred || ours;
        return absl::OkStatus();
      case Kinship::kCopy:
      case Kinship::kDamaged:
        PassOver(candidate);
        return absl::OkStatus();
      case Kinship::kNone:
        break;
    }
  }
  if (!ours) return absl::OkStatus();
  const bool settled =
      clock->NowMicros() - candidate.modified_us() >= std::chrono::microseconds(options.settle).count();
  if (!alike.empty() && (candidate.path != candidate.name || compressed) && !settled) {
    deferred = true;
    return absl::OkStatus();
  }
  const bool same_name = std::any_of(kept.generations.begin(), kept.generations.end(),
                                     [&](const auto& file) { return LogName(file->name) == LogName(candidate.name); });
  return Begin(candidate, &opened, compressed, first_line, !alike.empty() && same_name);
}

/// What was lost goes on in this file.
absl::Status Follower::State::TakeOver(const Candidate& candidate, OpenFile* file, bool compressed,
                                       Generation* generation) {
  if (compressed) {
    Attach(candidate, -1, generation);
    if (generation->state == Generation::State::kDone) generation->state = Generation::State::kClosing;
    return TakeCompressed(candidate, file->get(), generation);
  }
  say(absl::StrCat(candidate.path, ": goes on with ", generation->name));
  const bool has_more = candidate.info.st_size > generation->position.end_byte;
  const bool own_name = candidate.path == generation->name;
  if (generation->state == Generation::State::kDone && !has_more) {
    Attach(candidate, -1, generation);
    generation->seen_size = candidate.info.st_size;
    return absl::OkStatus();
  }
  generation->state = own_name ? Generation::State::kGrowing : Generation::State::kClosing;
  Attach(candidate, file->Release(), generation);
  return TakeNew(generation);
}

absl::Status Follower::State::Begin(const Candidate& candidate, OpenFile* file, bool compressed, uint64_t first_line,
                                    bool new_seed) {
  // Whatever had this name before has it no more.
  for (const auto& former : kept.generations) {
    if (former->name == candidate.name && former->state == Generation::State::kGrowing &&
        (candidate.path == candidate.name || former->path != former->name)) {
      former->state = Generation::State::kClosing;
      former->changed_us = Now();
    }
  }
  auto generation = std::make_unique<Generation>();
  generation->name = candidate.name;
  generation->first_line = first_line;
  generation->head_size = kTailBytes;
  generation->head = HeadHash(file->get(), &generation->head_size);
  generation->state =
      candidate.path == candidate.name && !compressed ? Generation::State::kGrowing : Generation::State::kClosing;
  if (new_seed) {
    std::random_device random;
    generation->seed = absl::StrCat(absl::Hex(uint64_t{random()} << 32 | random(), absl::kZeroPad16));
  }
  Generation* added = generation.get();
  kept.generations.push_back(std::move(generation));
  say(absl::StrCat(candidate.path, compressed ? ": a compressed file" : ": followed"));
  Attach(candidate, compressed ? -1 : file->Release(), added);
  // Before anything of it is sent: its lines' ids depend on the seed.
  NARU_RETURN_IF_ERROR(Save());
  return compressed ? TakeCompressed(candidate, file->get(), added) : TakeNew(added);
}

// --- Taking ----------------------------------------------------------------------------------------------------------

void Follower::State::Close(Generation* file) {
  if (file->fd >= 0) close(file->fd);
  file->fd = -1;
}

absl::Status Follower::State::TakeFrom(Generation* file, const FollowPosition& position, int64_t end, bool growing) {
  FollowPiece piece;
  piece.path = file->path;
  piece.seed = file->seed;
  piece.position = position;
  piece.growing = growing;
  int64_t offset = position.end_byte;
  piece.bytes = end - offset;
  piece.read = [file, end, offset](std::string* chunk) mutable -> int64_t {
    chunk->resize(static_cast<size_t>(std::min<int64_t>(kChunkBytes, end - offset)));
    if (chunk->empty()) return 0;
    const ssize_t count = pread(file->fd, chunk->data(), chunk->size(), offset);
    // Truncated meanwhile: what was read may be of what came after.
    if (count <= 0 || SizeOf(file->fd) < end) return -1;
    chunk->resize(static_cast<size_t>(count));
    offset += count;
    return count;
  };
  const absl::StatusOr<FollowPosition> taken = taker->Take(piece);
  if (!taken.ok()) return taken.status();
  if (!taken->line_id.empty() && taken->line_id != file->position.line_id) {
    file->position = *taken;
    file->tail = TailHash(file->fd, taken->end_byte);
    file->grew = true;
    dirty = true;
  }
  return absl::OkStatus();
}

absl::Status Follower::State::TakePiece(Generation* file, int64_t end, bool growing) {
  const absl::Status status = TakeFrom(file, file->position, end, growing);
  if (!absl::IsFailedPrecondition(status)) return status;
  // The server knows another past than we do: everything again, what it has is told apart by its ledger.
  return TakeFrom(file, {}, end, growing);
}

absl::Status Follower::State::TakeNew(Generation* file) {
  if (file->fd < 0) return absl::OkStatus();
  const int64_t size = SizeOf(file->fd);
  if (size != file->seen_size) file->changed_us = Now();
  file->seen_size = size;
  const int64_t end = EndOfLastLine(file->fd, file->position.end_byte, size);
  if (end <= file->position.end_byte) return absl::OkStatus();
  const absl::Status status = TakePiece(file, end, true);
  // It changed while it was read: the next look sees what it is now.
  return absl::IsOutOfRange(status) ? absl::OkStatus() : status;
}

absl::Status Follower::State::TakeCompressed(const Candidate& candidate, int fd, Generation* file) {
  file->seen_size = candidate.info.st_size;
  FollowPiece piece;
  piece.path = candidate.path;
  piece.seed = file->seed;
  piece.growing = false;
  piece.compressed = true;
  piece.bytes = candidate.info.st_size;
  int64_t offset = 0;
  piece.read = [fd, offset](std::string* chunk) mutable -> int64_t {
    chunk->resize(kChunkBytes);
    const ssize_t count = pread(fd, chunk->data(), chunk->size(), offset);
    if (count < 0) return -1;
    chunk->resize(static_cast<size_t>(count));
    offset += count;
    return count;
  };
  const absl::StatusOr<FollowPosition> taken = taker->Take(piece);
  if (absl::IsDataLoss(taken.status())) {
    say(absl::StrCat(candidate.path, ": ", taken.status().message(), "; it is read again when it changes"));
    PassOver(candidate);
    return absl::OkStatus();
  }
  NARU_RETURN_IF_ERROR(taken.status());
  file->position = *taken;
  int64_t length = 0;
  file->tail = ContentTailHash(fd, taken->end_byte, &length);
  file->state = Generation::State::kDone;
  dirty = true;
  return absl::OkStatus();
}

/// Ends a generation that was rotated and has been silent: its last line may have no end.
absl::Status Follower::State::CloseIfQuiet(Generation* file) {
  if (file->state == Generation::State::kGrowing && file->fd >= 0 && file->seen_in != look) {
    // Removed, or renamed out of sight; the file itself is still open here.
    file->state = Generation::State::kClosing;
    file->changed_us = Now();
    dirty = true;
  }
  if (file->state == Generation::State::kGrowing && file->fd < 0 && file->seen_in != look) Lose(file);
  // A compressed file that is there and could not be taken yet.
  const bool waits = file->fd < 0 && file->seen_in == look;
  if (file->state != Generation::State::kClosing || waits) return absl::OkStatus();
  if (file->fd >= 0) NARU_RETURN_IF_ERROR(TakeNew(file));
  if (Now() - file->changed_us < std::chrono::microseconds(options.rotate_wait).count()) return absl::OkStatus();
  if (file->fd >= 0) {
    const absl::Status status = TakePiece(file, SizeOf(file->fd), false);
    if (absl::IsOutOfRange(status)) return absl::OkStatus();
    NARU_RETURN_IF_ERROR(status);
  }
  file->state = Generation::State::kDone;
  Close(file);
  dirty = true;
  return absl::OkStatus();
}

absl::Status Follower::State::Save() {
  NARU_RETURN_IF_ERROR(SaveFollowState(options.positions_path, kept));
  dirty = false;
  return absl::OkStatus();
}

/// Forgets the oldest of those whose files are gone.
void Follower::State::Forget() {
  auto& files = kept.generations;
  const auto is_lost = [&](const auto& file) {
    return file->state == Generation::State::kDone && file->seen_in != look;
  };
  size_t lost = static_cast<size_t>(std::count_if(files.begin(), files.end(), is_lost));
  while (lost > kKeptLost) {
    files.erase(std::find_if(files.begin(), files.end(), is_lost));
    --lost;
  }
}

absl::Status Follower::Look(const std::function<bool()>& stop) {
  State& state = *state_;
  ++state.look;
  state.deferred = false;
  const int64_t begun_us = state.clock->NowMicros();
  absl::Status first;
  bool whole = true;
  const auto go_on = [&](const absl::Status& status) {
    // One file that must wait does not hold up the others.
    if (!status.ok() && first.ok()) first = status;
    whole = whole && (status.ok() || IsLater(status)) && !stop();
    return whole;
  };
  // What is known first: only then it is clear which content has lost its file.
  std::vector<Candidate> unknown;
  for (const Candidate& candidate : state.List()) {
    Generation* file = state.FindById(IdOf(candidate.info));
    bool replaced = file == nullptr;
    if (file != nullptr && !go_on(state.ExamineKnown(candidate, file, &replaced))) break;
    if (replaced) unknown.push_back(candidate);
  }
  for (const Candidate& candidate : unknown) {
    if (!whole || !go_on(state.ExamineUnknown(candidate))) break;
  }
  for (size_t i = 0; whole && i < state.kept.generations.size(); ++i) {
    go_on(state.CloseIfQuiet(state.kept.generations[i].get()));
  }
  if (whole && first.ok()) {
    state.Forget();
    // What appears from now on beside a followed name was not there before.
    if (!state.deferred && begun_us - state.kept.last_look_us > kSecondMicros) {
      state.kept.last_look_us = begun_us;
      state.dirty = true;
    }
  }
  if (state.dirty) NARU_RETURN_IF_ERROR(state.Save());
  return first;
}

void Follower::Pause() {
  for (const auto& file : state_->kept.generations) {
    if (!file->grew || file->state == Generation::State::kDone) continue;
    FollowPiece piece;
    piece.path = file->path;
    piece.seed = file->seed;
    piece.position = file->position;
    piece.pause = true;
    piece.read = [](std::string* chunk) -> int64_t {
      chunk->clear();
      return 0;
    };
    const absl::StatusOr<FollowPosition> paused = state_->taker->Take(piece);
    if (!paused.ok() && IsLater(paused.status())) return;
    file->grew = false;
  }
}

}  // namespace naru::cli
