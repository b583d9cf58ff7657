#include "services/naru/follower.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/testing/testing.h"

namespace naru::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

using Counts = std::map<std::string, int>;

/// The wall's time, as files have it, and a monotonic one that moves when it is told to.
class TestClock : public Clock {
 public:
  int64_t NowMicros() const override { return Clock::System()->NowMicros(); }
  int64_t MonotonicMicros() const override { return monotonic_us_; }
  void Pass(int64_t seconds) { monotonic_us_ += seconds * 1'000'000; }

 private:
  int64_t monotonic_us_ = 1'000'000'000;
};

/// Takes lines as the server does: a line's id depends on the seed and all lines before it, and each id is stored once,
/// for ever. A position is known while it is where a range of the ledger ends.
class FakeServer : public LineTaker {
 public:
  enum class Trouble { kNone, kAway, kHalf, kAnswerLost };

  absl::StatusOr<FollowPosition> Take(const FollowPiece& piece) override {
    ++calls;
    if (on_take) on_take();
    const Trouble now = trouble ? trouble() : Trouble::kNone;
    if (now == Trouble::kAway) return absl::UnavailableError("away");
    FollowPosition position = piece.position;
    if (piece.pause) {
      paused.push_back(piece.path.substr(piece.path.rfind('/') + 1));
      return position;
    }
    std::string before = position.line_id;
    if (before.empty()) {
      position = {};
      before = absl::StrCat("seed ", piece.seed);
    } else if (!ends_.contains(before)) {
      return absl::FailedPreconditionError("unknown position");
    }
    std::string bytes, chunk;
    int64_t count = 0;
    while ((count = piece.read(&chunk)) > 0) bytes += chunk;
    if (count < 0) return absl::OutOfRangeError("changed");
    if (piece.compressed) bytes = Unzip(bytes);
    const std::string start = before;
    std::vector<std::string> lines;
    size_t at = 0;
    while (at < bytes.size()) {
      const size_t end = bytes.find('\n', at);
      if (end == std::string::npos && piece.growing) break;
      lines.push_back(bytes.substr(at, end == std::string::npos ? end : end - at));
      at = end == std::string::npos ? bytes.size() : end + 1;
    }
    position.end_byte += static_cast<int64_t>(at);
    const size_t taken = now == Trouble::kHalf ? lines.size() / 2 : lines.size();
    for (size_t i = 0; i < taken; ++i) {
      before = std::to_string(std::hash<std::string>()(before + "\n" + lines[i]));
      if (ids_.insert(before).second) ++stored[lines[i]];
    }
    if (before != start) {
      ends_.erase(start);
      ends_.insert(before);
      position.line_id = before;
    }
    if (now != Trouble::kNone) return absl::UnavailableError("broke off");
    return position;
  }

  void ForgetPositions() { ends_.clear(); }

  Counts stored;
  std::vector<std::string> paused;
  int calls = 0;
  std::function<void()> on_take;
  std::function<Trouble()> trouble;

 private:
  static std::string Unzip(const std::string& bytes) {
    z_stream stream{};
    EXPECT_EQ(inflateInit2(&stream, 15 + 16), Z_OK);
    std::string out(10 << 20, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(bytes.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
    out.resize(stream.total_out);
    inflateEnd(&stream);
    return out;
  }

  std::set<std::string> ids_;
  std::set<std::string> ends_;
};

void Zip(const std::string& path) {
  const std::string text = testing::ReadFile(path);
  gzFile file = gzopen((path + ".gz").c_str(), "wb");
  ASSERT_NE(file, nullptr);
  ASSERT_EQ(gzwrite(file, text.data(), static_cast<unsigned>(text.size())), static_cast<int>(text.size()));
  ASSERT_EQ(gzclose(file), Z_OK);
  fs::remove(path);
}

class FollowerTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return dir_.File(name); }
  void Append(const std::string& name, const std::string& text) {
    std::ofstream(Path(name), std::ios::binary | std::ios::app) << text;
  }
  void Open(const std::vector<std::string>& names = {"app.log"}) {
    follower_.reset();
    FollowOptions options;
    for (const std::string& name : names) options.arguments.push_back(Path(name));
    options.positions_path = state_.File("positions");
    options.settle = std::chrono::milliseconds(0);
    auto opened = Follower::Open(options, &server_, &clock_, [&](const std::string& text) { said_.push_back(text); });
    ASSERT_TRUE(opened.ok()) << opened.status();
    follower_ = *std::move(opened);
  }
  absl::Status Look() {
    return follower_->Look([] { return false; });
  }
  /// Looks until what was rotated is closed.
  void Settle() {
    for (int i = 0; i < 4; ++i) {
      ASSERT_TRUE(Look().ok());
      clock_.Pass(60);
    }
    ASSERT_TRUE(Look().ok());
  }

  testing::TempDir dir_, state_;
  TestClock clock_;
  FakeServer server_;
  std::vector<std::string> said_;
  std::unique_ptr<Follower> follower_;
};

TEST_F(FollowerTest, TakesWhatIsAppendedAndWaitsForTheEndOfALine) {
  Open();
  ASSERT_TRUE(Look().ok());
  Append("app.log", "a\nb\nhal");
  ASSERT_TRUE(Look().ok());
  EXPECT_EQ(server_.stored, (Counts{{"a", 1}, {"b", 1}}));
  const int calls = server_.calls;
  ASSERT_TRUE(Look().ok());
  EXPECT_EQ(server_.calls, calls) << "nothing new, nothing sent";
  Append("app.log", "f\na\n");
  ASSERT_TRUE(Look().ok());
  EXPECT_EQ(server_.stored, (Counts{{"a", 2}, {"b", 1}, {"half", 1}}));
}

TEST_F(FollowerTest, WhatGrewIsPausedWhenItStops) {
  Open({"app.log", "quiet.log"});
  Append("app.log", "a\nhal");
  Append("quiet.log", "q\n");
  ASSERT_TRUE(Look().ok());
  Open({"app.log", "quiet.log"});
  follower_->Pause();
  EXPECT_TRUE(server_.paused.empty()) << "nothing came since this one began";
  Append("app.log", "f\n");
  ASSERT_TRUE(Look().ok());
  follower_->Pause();
  follower_->Pause();
  EXPECT_EQ(server_.paused, std::vector<std::string>{"app.log"}) << "once";
  Append("app.log", "b\n");
  ASSERT_TRUE(Look().ok());
  server_.trouble = [] { return FakeServer::Trouble::kAway; };
  follower_->Pause();
  server_.trouble = nullptr;
  follower_->Pause();
  EXPECT_EQ(server_.paused.size(), 2u) << "what failed may be tried again";
  EXPECT_EQ(server_.stored, (Counts{{"a", 1}, {"half", 1}, {"b", 1}, {"q", 1}}));
}

TEST_F(FollowerTest, ARestartAddsNothingAndALineThatWasHalfCountsOnce) {
  Open();
  Append("app.log", "a\nb\nhal");
  ASSERT_TRUE(Look().ok());
  Open();
  Append("app.log", "f\n");
  ASSERT_TRUE(Look().ok());
  Open();
  Settle();
  EXPECT_EQ(server_.stored, (Counts{{"a", 1}, {"b", 1}, {"half", 1}}));
}

TEST_F(FollowerTest, EqualLinesOfTwoGenerationsAreTwoAndTheRenamedFileIsReadToItsEnd) {
  Open();
  Append("app.log", "start\nx\n");
  ASSERT_TRUE(Look().ok());
  Append("app.log", "late");
  fs::rename(Path("app.log"), Path("app.log.1"));
  Append("app.log", "start\nx\ny\n");
  ASSERT_TRUE(Look().ok());
  Append("app.log.1", "r\n");
  ASSERT_TRUE(Look().ok());
  EXPECT_EQ(server_.stored, (Counts{{"start", 2}, {"x", 2}, {"y", 1}, {"later", 1}}));
  Append("app.log.1", "no end");
  Settle();
  EXPECT_EQ(server_.stored["no end"], 1);
  Open();
  Settle();
  EXPECT_EQ(server_.stored, (Counts{{"start", 2}, {"x", 2}, {"y", 1}, {"later", 1}, {"no end", 1}}));
}

TEST_F(FollowerTest, ATruncatedFileIsANewOneAndItsCopyHasWhatWasNotTakenYet) {
  Open();
  Append("app.log", "start\nfirst\n");
  ASSERT_TRUE(Look().ok());
  Append("app.log", "unseen\nhalf");
  fs::copy_file(Path("app.log"), Path("app.log.1"));
  fs::resize_file(Path("app.log"), 0);
  Append("app.log", "start\n");
  Settle();
  EXPECT_EQ(server_.stored, (Counts{{"start", 2}, {"first", 1}, {"unseen", 1}, {"half", 1}}));
  Zip(Path("app.log.1"));
  Settle();
  Open();
  Settle();
  EXPECT_EQ(server_.stored, (Counts{{"start", 2}, {"first", 1}, {"unseen", 1}, {"half", 1}}));
}

TEST_F(FollowerTest, WhatWasRotatedAndCompressedWhileNobodyLookedIsTakenFromTheArchive) {
  Open();
  Append("app.log", "start\nfirst\n");
  ASSERT_TRUE(Look().ok());
  follower_.reset();
  Append("app.log", "unseen\n");
  fs::rename(Path("app.log"), Path("app.log.1"));
  Zip(Path("app.log.1"));
  Append("app.log.2", "start\na whole generation\n");
  Append("app.log", "start\n");
  Open();
  Settle();
  EXPECT_EQ(server_.stored, (Counts{{"start", 3}, {"first", 1}, {"unseen", 1}, {"a whole generation", 1}}));
}

TEST_F(FollowerTest, OlderArchivesAreTakenOnlyWhereAPatternNamesThem) {
  Append("app.log.1", "old\n");
  Append("app.log", "new\n");
  const auto long_ago = fs::last_write_time(Path("app.log.1")) - std::chrono::hours(24);
  fs::last_write_time(Path("app.log.1"), long_ago);
  Open();
  Settle();
  EXPECT_EQ(server_.stored, (Counts{{"new", 1}}));
  fs::rename(Path("app.log.1"), Path("app.log.2"));
  Zip(Path("app.log.2"));
  fs::last_write_time(Path("app.log.2.gz"), long_ago);
  Settle();
  EXPECT_EQ(server_.stored, (Counts{{"new", 1}})) << "moving it does not make it new";
  Open({"app.log*"});
  Settle();
  EXPECT_EQ(server_.stored, (Counts{{"new", 1}, {"old", 1}}));
}

TEST_F(FollowerTest, CopiesBesideTheOriginalAddNothing) {
  Open({"*"});
  Append("app.log", "start\na\nb\n");
  ASSERT_TRUE(Look().ok());
  fs::copy_file(Path("app.log"), Path("app.log.1"));
  fs::copy_file(Path("app.log"), Path("backup"));
  fs::copy_file(Path("app.log"), Path("app.log.2"));
  Zip(Path("app.log.2"));
  Settle();
  Append("app.log", "c\n");
  Settle();
  Open({"*"});
  Settle();
  EXPECT_EQ(server_.stored, (Counts{{"start", 1}, {"a", 1}, {"b", 1}, {"c", 1}}));
}

TEST_F(FollowerTest, ALongerCopyInPlaceOfTheFileGoesOnWithIt) {
  Open();
  std::string text = "start\n";
  for (int i = 0; i < 500; ++i) absl::StrAppend(&text, "line ", i, "\n");
  Append("app.log", text);
  ASSERT_TRUE(Look().ok());
  // As rsync does.
  Append(".app.log.x", text + "more\n");
  fs::rename(Path(".app.log.x"), Path("app.log"));
  Settle();
  EXPECT_EQ(server_.stored["start"], 1);
  EXPECT_EQ(server_.stored["line 499"], 1);
  EXPECT_EQ(server_.stored["more"], 1);
}

TEST_F(FollowerTest, PatternsAndDirectoriesTakeNewFilesIn) {
  fs::create_directory(Path("logs"));
  Open({"*.log", "logs"});
  ASSERT_TRUE(Look().ok());
  Append("one.log", "1\n");
  Append("two.txt", "no\n");
  Append("logs/three", "3\n");
  Append("logs/.hidden", "no\n");
  ASSERT_TRUE(Look().ok());
  EXPECT_EQ(server_.stored, (Counts{{"1", 1}, {"3", 1}}));
}

TEST_F(FollowerTest, APositionThatTheServerDoesNotKnowMeansEverythingAgain) {
  Open();
  Append("app.log", "a\nb\n");
  ASSERT_TRUE(Look().ok());
  server_.ForgetPositions();
  Append("app.log", "c\n");
  ASSERT_TRUE(Look().ok());
  EXPECT_EQ(server_.stored, (Counts{{"a", 1}, {"b", 1}, {"c", 1}}));
  const int calls = server_.calls;
  Append("app.log", "d\n");
  ASSERT_TRUE(Look().ok());
  EXPECT_EQ(server_.calls, calls + 1) << "after that it goes on from a position again";
}

TEST_F(FollowerTest, AFileThatMustWaitDoesNotHoldUpTheOthers) {
  Open({"*.log"});
  Append("a.log", "a\n");
  Append("b.log", "b\n");
  int calls = 0;
  server_.trouble = [&] { return ++calls == 1 ? FakeServer::Trouble::kAway : FakeServer::Trouble::kNone; };
  EXPECT_TRUE(absl::IsUnavailable(Look()));
  EXPECT_EQ(server_.stored.size(), 1u);
  ASSERT_TRUE(Look().ok());
  EXPECT_EQ(server_.stored, (Counts{{"a", 1}, {"b", 1}}));
}

TEST_F(FollowerTest, APositionsFileOfSomethingElseIsRefused) {
  state_.Write("positions", "hello\n");
  FollowOptions options;
  options.positions_path = state_.File("positions");
  const auto opened = Follower::Open(options, &server_, &clock_, [](const std::string&) {});
  EXPECT_TRUE(absl::IsInvalidArgument(opened.status()));
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr(state_.File("positions")));
}

TEST(RotatedNames, AreTheNameWithANumberOrADate) {
  for (const char* path : {"a.log.1", "a.log.12.gz", "a.log-20261128", "a.log-2026-11-28_10:00.zst", "a.log.2.zst"})
    EXPECT_TRUE(IsRotatedName(path, "a.log")) << path;
  for (const char* path : {"a.log", "a.log.", "a.log.swp", "a.log.gz", "a.log-notes.txt", "b.log.1", "a.log1"})
    EXPECT_FALSE(IsRotatedName(path, "a.log")) << path;
}

/// A writer of a log that is rotated in every way, and a slow count of what it wrote. Each generation begins with the
/// same line, then has one of its own, then lines that repeat.
class Writer {
 public:
  Writer(std::string directory, std::mt19937* random) : directory_(std::move(directory)), random_(*random) {}

  void Step() {
    switch (Below(12)) {
      case 0:
        return RotateByRenaming();
      case 1:
        return RotateByCopying();
      case 2:
        return Compress();
      case 3:
        if (old_path_.empty()) return;
        // The program has opened its log anew.
        old_path_.clear();
        CountHalf(&old_half_);
        return;
      default:
        return WriteLines();
    }
  }
  /// What is complete: whole lines, and half ones of files that nobody writes to any more.
  const Counts& Finish() {
    if (!old_path_.empty()) CountHalf(&old_half_);
    return counts_;
  }

 private:
  int Below(int n) { return static_cast<int>(random_() % static_cast<uint32_t>(n)); }
  std::string Live() const { return directory_ + "/app.log"; }
  std::string Archive(int n) const { return absl::StrCat(Live(), ".", n); }

  void CountHalf(std::string* half) {
    if (!half->empty()) ++counts_[*half];
    half->clear();
  }
  void Write(const std::string& path, const std::string& text, std::string* half) {
    std::ofstream(path, std::ios::binary | std::ios::app) << text;
    for (const char c : text) {
      if (c != '\n') {
        half->push_back(c);
      } else {
        ++counts_[*half];
        half->clear();
      }
    }
  }
  void WriteLines() {
    const bool to_old = !old_path_.empty() && Below(2) == 0;
    std::string text;
    if (!to_old && !fs::exists(Live())) fresh_ = true;
    if (!to_old && std::exchange(fresh_, false)) {
      absl::StrAppend(&text, "start\n", "generation ", ++generation_, " of the log\n");
    }
    for (int n = Below(4); n > 0; --n) {
      absl::StrAppend(&text, Below(3) == 0 ? "x" : absl::StrCat("line ", Below(40), std::string(Below(60), '-')), "\n");
    }
    if (Below(4) == 0) text += "half ";
    Write(to_old ? old_path_ : Live(), text, to_old ? &old_half_ : &half_);
  }
  /// Makes room: app.log.3 becomes app.log.4, compressed or not.
  void Shift() {
    if (!old_path_.empty()) {
      old_path_.clear();
      CountHalf(&old_half_);
    }
    for (int n = 60; n >= 1; --n) {
      for (const char* end : {"", ".gz"}) {
        if (fs::exists(Archive(n) + end)) fs::rename(Archive(n) + end, Archive(n + 1) + end);
      }
    }
  }
  bool CanRotate() const { return fs::exists(Live()) && fs::file_size(Live()) > 0 && !fs::exists(Archive(60)); }
  void RotateByRenaming() {
    if (!CanRotate()) return;
    Shift();
    fs::rename(Live(), Archive(1));
    if (Below(2) == 0) {
      old_path_ = Archive(1);
      old_half_ = std::exchange(half_, "");
    } else {
      CountHalf(&half_);
    }
    fresh_ = true;
    if (Below(2) == 0) WriteLines();
  }
  void RotateByCopying() {
    if (!CanRotate()) return;
    Shift();
    fs::copy_file(Live(), Archive(1));
    fs::resize_file(Live(), 0);
    CountHalf(&half_);
    fresh_ = true;
  }
  void Compress() {
    for (int n = 1; n <= 60; ++n) {
      if (!fs::exists(Archive(n)) || Archive(n) == old_path_ || Below(2) == 0) continue;
      return Zip(Archive(n));
    }
  }

  const std::string directory_;
  std::mt19937& random_;
  Counts counts_;
  std::string half_;
  std::string old_half_;
  std::string old_path_;  ///< renamed, but still written to
  bool fresh_ = true;
  int generation_ = 0;
};

class FollowerScheduleTest : public FollowerTest, public ::testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(Arguments, FollowerScheduleTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Pattern" : "Name"; });

TEST_P(FollowerScheduleTest, WhateverHappensEachLineCountsOnce) {
  const int rounds = std::stoi(testing::GetEnv("NARU_FOLLOW_ROUNDS", "100"));
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    std::mt19937 random(static_cast<uint32_t>(round) * 2 + GetParam());
    for (const auto& entry : fs::directory_iterator(dir_.path())) fs::remove_all(entry.path());
    fs::remove(state_.File("positions"));
    server_ = FakeServer();
    // A kill within a call: what the state was then is what is found afterwards.
    std::string positions_then;
    bool killed = false;
    const auto positions = [&] {
      const std::string path = state_.File("positions");
      return fs::exists(path) ? testing::ReadFile(path) : std::string();
    };
    int trouble_percent = 0;
    bool dead = false;  // already before this call
    server_.on_take = [&] {
      dead = killed;
      if (!killed && trouble_percent > 0 && random() % 30 == 0) {
        killed = true;
        positions_then = positions();
      }
    };
    server_.trouble = [&] {
      // Who was killed sends nothing more: the seeds it would draw are in no positions file.
      if (dead) return FakeServer::Trouble::kAway;
      if (static_cast<int>(random() % 100) >= trouble_percent) return FakeServer::Trouble::kNone;
      return static_cast<FakeServer::Trouble>(1 + random() % 3);
    };
    Writer writer(dir_.path(), &random);
    const std::vector<std::string> names = {GetParam() ? "app.log*" : "app.log"};
    Open(names);
    // What was there before is known as such from the first look on.
    ASSERT_TRUE(Look().ok());
    const int steps = 20 + static_cast<int>(random() % 100);
    for (int step = 0; step < steps; ++step) {
      trouble_percent = random() % 4 == 0 ? 40 : 0;
      writer.Step();
      if (random() % 3 != 0 && follower_ != nullptr) (void)Look();
      if (killed) {
        follower_.reset();
        state_.Write("positions", positions_then);
        killed = dead = false;
      }
      if (random() % 12 == 0) follower_.reset();
      if (follower_ == nullptr && random() % 3 == 0) Open(names);
      if (random() % 10 == 0) clock_.Pass(2);
    }
    trouble_percent = 0;
    const Counts& expected = writer.Finish();
    Open(names);
    Settle();
    Open(names);
    Settle();
    Counts differences;
    for (const auto& [line, count] : server_.stored) differences[line] += count;
    for (const auto& [line, count] : expected) differences[line] -= count;
    for (auto it = differences.begin(); it != differences.end();) {
      it = it->second == 0 ? differences.erase(it) : std::next(it);
    }
    ASSERT_EQ(differences, Counts()) << "stored too often (or, negative, not often enough)";
  }
}

}  // namespace
}  // namespace naru::cli
