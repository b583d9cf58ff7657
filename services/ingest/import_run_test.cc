#include "services/ingest/import_run.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/event/timeline.h"
#include "common/status/status.h"
#include "naru/ingest/v1/ingest.pb.h"
#include "services/ingest/import_formats.h"
#include "services/ingest/import_ledger.h"
#include "services/ingest/testing_import.h"
#include "services/ingest/testing_ingest.h"

namespace naru::ingest {
namespace {

using ::testing::HasSubstr;

constexpr char kLines[] = R"({"parser":{"type":"csv","columns":["n","user"]},
  "event":{"type":{"const":"Line"},"subject":{"from":"user"}},"data":{"n":{"from":"n","type":"integer"}}})";

/// A pipeline in front of another, whose batches fail when they are told to.
class FailingPipeline : public IngestPipeline {
 public:
  explicit FailingPipeline(IngestPipeline* real) : real_(real) {}
  void Submit(Batch batch, Done done) override {
    absl::Status failure;
    {
      MutexLock lock(&mu_);
      ++submitted_;
      if (fails_) failure = fails_(submitted_);
    }
    if (failure.ok()) return real_->Submit(std::move(batch), std::move(done));
    done(failure);
  }
  absl::StatusOr<int64_t> BeginSession() override { return real_->BeginSession(); }
  /// Gives the number of the batch (from 1) a status.
  void set_fails(std::function<absl::Status(int)> fails) {
    MutexLock lock(&mu_);
    fails_ = std::move(fails);
    submitted_ = 0;
  }
  int submitted() {
    MutexLock lock(&mu_);
    return submitted_;
  }

 private:
  IngestPipeline* const real_;
  Mutex mu_;
  std::function<absl::Status(int)> fails_ ABSL_GUARDED_BY(mu_);
  int submitted_ ABSL_GUARDED_BY(mu_) = 0;
};

struct Outcome {
  absl::Status status;
  ImportProgress progress;
  std::vector<ImportRejectedLine> rejected_lines;

  std::string Counts() const {
    return absl::StrCat("read ", progress.read, " accepted ", progress.accepted, " duplicate ", progress.duplicate,
                        " rejected ", progress.rejected);
  }
};

/// Every promise is kept the same way embedded and on a log without a local store.
class ImportRunTest : public ::testing::TestWithParam<bool> {
 protected:
  ImportRunTest() : ingest_(GetParam()) {}

  void SetUp() override {
    ingest_.options.unregistered_events = "keep";
    ingest_.Open();
    options_.format = Format(kLines);
    options_.source = "file";
    options_.file_name = "lines.csv";
    options_.block = {.lines = 50, .bytes = 4096};
    options_.first_retry = std::chrono::milliseconds(1);
  }

  static std::shared_ptr<const input_format::InputFormat> Format(const std::string& json) {
    catalog::v1::InputFormat spec;
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(json, &spec).ok());
    auto format = input_format::InputFormat::Compile("lines", spec);
    EXPECT_TRUE(format.ok()) << format.status();
    return *format;
  }

  /// Runs an import. `abort_after` >= 0: breaks off after so many bytes.
  Outcome Import(const std::string& bytes, int64_t abort_after = -1, size_t chunk = 1000) {
    pipeline_ =
        pipeline_ == nullptr ? std::make_unique<FailingPipeline>(&ingest_.ingest->pipeline()) : std::move(pipeline_);
    Outcome outcome;
    Mutex mu;
    CondVar changed;
    bool done = false;
    {
      ImportRun run(
          {ingest_.log.get(), pipeline_.get(), &ingest_.ingest->budget(), &ingest_.clock}, &gate_, options_,
          [&](ImportProgress progress) {
            MutexLock lock(&mu);
            for (auto& line : progress.rejected_lines) outcome.rejected_lines.push_back(line);
          },
          [&](absl::Status status, ImportProgress progress) {
            MutexLock lock(&mu);
            for (auto& line : progress.rejected_lines) outcome.rejected_lines.push_back(line);
            outcome.status = std::move(status);
            outcome.progress = std::move(progress);
            done = true;
            changed.SignalAll();
          });
      const size_t end = abort_after < 0 ? bytes.size() : std::min<size_t>(bytes.size(), abort_after);
      for (size_t at = 0; at < end; at += chunk) {
        auto room = std::make_shared<std::atomic<bool>>(false);
        run.Add(bytes.substr(at, std::min(chunk, end - at)), [room] { *room = true; });
        const bool taken = testing::WaitUntil([&] {
          if (*room) return true;
          MutexLock lock(&mu);
          return done;
        });
        EXPECT_TRUE(taken);
        MutexLock lock(&mu);
        if (done) break;
      }
      if (abort_after < 0) {
        run.FinishInput(pause_);
      } else {
        run.Abort(absl::CancelledError("broken off"));
      }
      MutexLock lock(&mu);
      while (!done) changed.Wait(&mu);
    }
    return outcome;
  }

  /// Numbers in the lines of stored events, and how often; ends of timelines are left out.
  std::map<int64_t, int> StoredNumbers() {
    std::map<int64_t, int> numbers;
    for (const auto& record : ingest_.ReadAll(event_log::kEventsTopic)) {
      event::EventView view;
      EXPECT_TRUE(event::ParseStoredEvent(record.value, &view));
      if (event::IsTimelineEnd(view)) continue;
      ++numbers[static_cast<int64_t>(event::FindField(view.data, "n").number)];
    }
    return numbers;
  }
  size_t DeadLetters() { return ingest_.ReadAll(event_log::kDeadLetterTopic).size(); }
  std::map<std::string, int> TimelineEnds() {
    std::map<std::string, int> ends;
    for (const auto& record : ingest_.ReadAll(event_log::kEventsTopic)) {
      event::EventView view;
      if (event::ParseStoredEvent(record.value, &view) && event::IsTimelineEnd(view))
        ++ends[std::string(view.timeline)];
    }
    return ends;
  }
  void ExpectEachOnce(int64_t from, int64_t to, const std::set<int64_t>& without = {}) {
    const auto numbers = StoredNumbers();
    for (int64_t n = from; n < to; ++n) {
      const auto found = numbers.find(n);
      const int count = found == numbers.end() ? 0 : found->second;
      ASSERT_EQ(count, without.contains(n) ? 0 : 1) << n;
    }
  }
  /// Lines from..to-1; those that `bad` divides cannot be read.
  static std::string Lines(int64_t from, int64_t to, int64_t bad = 1 << 30) {
    std::string text;
    for (int64_t n = from; n < to; ++n) {
      absl::StrAppend(&text, n % bad == bad - 1 ? absl::StrCat("bad", n) : absl::StrCat(n), ",user", n % 7, "\n");
    }
    return text;
  }
  static std::set<int64_t> Bad(int64_t to, int64_t bad) {
    std::set<int64_t> numbers;
    for (int64_t n = 0; n < to; ++n) {
      if (n % bad == bad - 1) numbers.insert(n);
    }
    return numbers;
  }
  void PassHours(int hours) {
    ingest_.clock.Advance(std::chrono::hours(hours));
    pipeline_.reset();
    ingest_.Reopen();
  }

  TestIngest ingest_;
  ImportGate gate_;
  ImportOptions options_;
  bool pause_ = false;
  std::unique_ptr<FailingPipeline> pipeline_;
};

INSTANTIATE_TEST_SUITE_P(Logs, ImportRunTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "WithoutLocalStore" : "Embedded"; });

TEST_P(ImportRunTest, TakesEveryLineAndTellsWhatItCannotRead) {
  const Outcome outcome = Import(Lines(0, 1000, 100));
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.Counts(), "read 1000 accepted 990 duplicate 0 rejected 10");
  ASSERT_EQ(outcome.rejected_lines.size(), 10u);
  EXPECT_EQ(outcome.rejected_lines[0].line_number, 100);
  EXPECT_EQ(outcome.rejected_lines[0].reason, v1::PARSE);
  EXPECT_EQ(outcome.rejected_lines[0].field, "n");
  EXPECT_EQ(outcome.rejected_lines[0].value, "bad99");
  EXPECT_EQ(outcome.rejected_lines[0].expected, "an integer");
  EXPECT_EQ(outcome.rejected_lines[0].line, "bad99,user1");
  EXPECT_EQ(outcome.progress.received_bytes, static_cast<int64_t>(Lines(0, 1000, 100).size()));
  ExpectEachOnce(0, 1000, Bad(1000, 100));
  EXPECT_EQ(DeadLetters(), 10u);
  const Counts totals = ingest_.Totals();
  EXPECT_EQ(totals.accepted(), 990);
  EXPECT_EQ(totals.rejected(), 10);
  EXPECT_EQ(totals.received(), 1000);
}

TEST_P(ImportRunTest, TheEndIsMarkedInEveryPartitionOnce) {
  ASSERT_TRUE(Import(Lines(0, 300)).status.ok());
  const auto ends = TimelineEnds();
  ASSERT_EQ(ends.size(), 1u);
  const size_t partitions = ingest_.log->DescribeTopic(event_log::kEventsTopic)->partitions.size();
  EXPECT_EQ(ends.begin()->second, static_cast<int>(partitions));
  for (const auto& record : ingest_.ReadAll(event_log::kEventsTopic)) {
    event::EventView view;
    ASSERT_TRUE(event::ParseStoredEvent(record.value, &view));
    EXPECT_EQ(view.timeline, ends.begin()->first);
    EXPECT_EQ(record.schema, event::IsTimelineEnd(view) ? "naru.timeline.end" : "naru.event.v1.Event");
  }
  ASSERT_TRUE(Import(Lines(0, 300)).status.ok());
  EXPECT_EQ(TimelineEnds(), ends);
}

TEST_P(ImportRunTest, TheSameFileAfterADayAddsNothing) {
  ASSERT_TRUE(Import(Lines(0, 1000, 100)).status.ok());
  PassHours(25);
  const Outcome again = Import(Lines(0, 1000, 100));
  ASSERT_TRUE(again.status.ok()) << again.status;
  EXPECT_EQ(again.Counts(), "read 1000 accepted 0 duplicate 990 rejected 10");
  ExpectEachOnce(0, 1000, Bad(1000, 100));
  EXPECT_EQ(DeadLetters(), 10u);
  EXPECT_EQ(ingest_.Totals().received(), 2000);
}

TEST_P(ImportRunTest, CompressedFormsOfAnImportedFileAddNothing) {
  const std::string text = Lines(0, 1000);
  ASSERT_TRUE(Import(text).status.ok());
  PassHours(25);
  std::string dos = text;
  for (size_t at = 0; (at = dos.find('\n', at)) != std::string::npos; at += 2) dos.insert(at, "\r");
  for (const std::string& form :
       {Gzip(text), Zstd(text), Gzip(text.substr(0, 777)) + Gzip(text.substr(777)), "\xEF\xBB\xBF" + text, dos,
        text.substr(0, text.size() - 1), "\n\n" + text + "\n\n"}) {
    const Outcome outcome = Import(form);
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(outcome.Counts(), "read 1000 accepted 0 duplicate 1000 rejected 0");
  }
  ExpectEachOnce(0, 1000);
}

TEST_P(ImportRunTest, AGrownFileAddsOnlyItsNewLines) {
  ASSERT_TRUE(Import(Lines(0, 1030)).status.ok());
  PassHours(25);
  const Outcome grown = Import(Lines(0, 2500));
  EXPECT_EQ(grown.Counts(), "read 2500 accepted 1470 duplicate 1030 rejected 0");
  PassHours(25);
  const Outcome grown_more = Import(Lines(0, 2501));
  EXPECT_EQ(grown_more.Counts(), "read 2501 accepted 1 duplicate 2500 rejected 0");
  ExpectEachOnce(0, 2501);
  // Each growth is a timeline of its own, as the one before had ended.
  EXPECT_EQ(TimelineEnds().size(), 3u);
}

TEST_P(ImportRunTest, AFileWhoseLastLineWasNotCompleteAddsOnlyThatLineWhenItHasGrown) {
  // Also where the last line is the first of a block, or the last one that fits.
  for (const int64_t lines : {1, 2, 30, 50, 51, 100}) {
    options_.source = absl::StrCat("file", lines);
    const std::string whole = Lines(0, lines);
    const std::string begun = whole.substr(0, whole.size() - 3);
    const std::string counts = absl::StrCat("read ", lines, " accepted ");
    EXPECT_EQ(Import(begun).Counts(), absl::StrCat(counts, lines, " duplicate 0 rejected 0"));
    PassHours(25);
    EXPECT_EQ(Import(begun).Counts(), absl::StrCat(counts, "0 duplicate ", lines, " rejected 0"));
    PassHours(25);
    EXPECT_EQ(Import(whole).Counts(), absl::StrCat(counts, "1 duplicate ", lines - 1, " rejected 0"));
    PassHours(25);
    EXPECT_EQ(Import(whole.substr(0, whole.size() - 1)).Counts(),
              absl::StrCat(counts, "0 duplicate ", lines, " rejected 0"));
  }
}

TEST_P(ImportRunTest, EqualLinesAndEqualFilesOfTwoSourcesAreDifferentEvents) {
  const std::string text = "5,a\n5,a\n5,a\n";
  EXPECT_EQ(Import(text).Counts(), "read 3 accepted 3 duplicate 0 rejected 0");
  options_.source = "other";
  EXPECT_EQ(Import(text).Counts(), "read 3 accepted 3 duplicate 0 rejected 0");
  EXPECT_EQ(StoredNumbers()[5], 6);
}

TEST_P(ImportRunTest, AFileThatBeginsAlikeSharesOnlyWhatTheLedgerKnows) {
  ASSERT_TRUE(Import(Lines(0, 1000)).status.ok());
  const Outcome outcome = Import(Lines(0, 500) + Lines(5000, 5500));
  EXPECT_EQ(outcome.Counts(), "read 1000 accepted 500 duplicate 500 rejected 0");
  ExpectEachOnce(0, 1000);
  ExpectEachOnce(5000, 5500);
}

TEST_P(ImportRunTest, BrokenOffAtAnyPlaceEachLineCountsOnce) {
  const std::string text = Lines(0, 3000, 250);
  std::mt19937 random(8);
  for (int round = 0; round < 12; ++round) {
    const Outcome outcome = Import(text, random() % text.size(), 1 + random() % 5000);
    EXPECT_FALSE(outcome.status.ok());
    if (round % 3 == 0) PassHours(25);
  }
  PassHours(25);
  const Outcome last = Import(text);
  ASSERT_TRUE(last.status.ok()) << last.status;
  EXPECT_EQ(last.progress.read, 3000);
  EXPECT_EQ(last.progress.rejected, 12);
  ExpectEachOnce(0, 3000, Bad(3000, 250));
  EXPECT_EQ(DeadLetters(), 12u);
  // It went on with the timeline that it had begun.
  EXPECT_EQ(TimelineEnds().size(), 1u);
}

TEST_P(ImportRunTest, BatchesThatFailedAreTakenLaterAndNoOthersTwice) {
  const std::string text = Lines(0, 4000, 500);
  options_.retry_for = std::chrono::milliseconds(0);
  std::mt19937 random(21);
  for (int round = 0; round < 8; ++round) {
    if (pipeline_ == nullptr) pipeline_ = std::make_unique<FailingPipeline>(&ingest_.ingest->pipeline());
    const int lost = 1 + random() % 60;
    pipeline_->set_fails(
        [lost](int batch) { return batch == lost ? absl::DataLossError("the disk is broken") : absl::OkStatus(); });
    Import(text);
    if (round % 2 == 0) PassHours(25);
  }
  PassHours(25);
  const Outcome last = Import(text);
  ASSERT_TRUE(last.status.ok()) << last.status;
  EXPECT_EQ(last.progress.read, 4000);
  ExpectEachOnce(0, 4000, Bad(4000, 500));
  EXPECT_EQ(DeadLetters(), 8u);
}

TEST_P(ImportRunTest, BatchesThatTheLogHasNoRoomForAreTriedAgain) {
  pipeline_ = std::make_unique<FailingPipeline>(&ingest_.ingest->pipeline());
  pipeline_->set_fails([](int batch) {
    return batch % 3 == 1 ? absl::ResourceExhaustedError("the disk is nearly full") : absl::OkStatus();
  });
  const Outcome outcome = Import(Lines(0, 2000));
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.Counts(), "read 2000 accepted 2000 duplicate 0 rejected 0");
  ExpectEachOnce(0, 2000);
}

TEST_P(ImportRunTest, ALogThatStaysAwayEndsTheImportWithItsError) {
  pipeline_ = std::make_unique<FailingPipeline>(&ingest_.ingest->pipeline());
  pipeline_->set_fails([](int batch) { return batch > 5 ? absl::UnavailableError("no broker") : absl::OkStatus(); });
  options_.retry_for = std::chrono::milliseconds(50);
  const Outcome outcome = Import(Lines(0, 2000));
  EXPECT_TRUE(absl::IsUnavailable(outcome.status)) << outcome.status;
  EXPECT_EQ(outcome.progress.accepted, 250);
  EXPECT_TRUE(TimelineEnds().empty());
}

TEST_P(ImportRunTest, ACommitWithoutAnAnswerEndsTheImportAndTheNextOneKnowsWhatIsStored) {
  if (!GetParam()) return;  // there is no transaction
  ingest_.log->LoseAnswers({absl::OkStatus(), absl::OkStatus(), absl::AbortedError("no answer to the commit")});
  const Outcome first = Import(Lines(0, 2000));
  EXPECT_TRUE(absl::IsAborted(first.status)) << first.status;
  const Outcome second = Import(Lines(0, 2000));
  ASSERT_TRUE(second.status.ok()) << second.status;
  EXPECT_GE(second.progress.duplicate, 150);
  ExpectEachOnce(0, 2000);
}

TEST_P(ImportRunTest, DamagedFilesGiveWhatCameBeforeAndAnError) {
  const std::string text = Lines(0, 20000);
  const std::string zipped = Gzip(text);
  const Outcome cut = Import(zipped.substr(0, zipped.size() / 2));
  EXPECT_EQ(GetErrorDetails(cut.status).reason, "IMPORT_TRUNCATED") << cut.status;
  EXPECT_GT(cut.progress.accepted, 1000);
  EXPECT_EQ(cut.progress.rejected, 0);
  EXPECT_TRUE(TimelineEnds().empty());
  const int64_t before = cut.progress.accepted;
  PassHours(25);
  const Outcome whole = Import(zipped);
  ASSERT_TRUE(whole.status.ok()) << whole.status;
  EXPECT_EQ(whole.progress.duplicate, before);
  ExpectEachOnce(0, 20000);
}

TEST_P(ImportRunTest, LinesThatTheirTypeRefusesAreKnownToo) {
  ingest_.ApplyType("Line", R"(schema { properties { key: "n" value { type: "integer" maximum: 899 } } })");
  const Outcome first = Import(Lines(0, 1000));
  EXPECT_EQ(first.Counts(), "read 1000 accepted 900 duplicate 0 rejected 100");
  ASSERT_EQ(first.rejected_lines.size(), 20u);
  EXPECT_EQ(first.rejected_lines[0].reason, v1::FIELD_RANGE);
  EXPECT_EQ(first.rejected_lines[0].line_number, 901);
  PassHours(25);
  const Outcome again = Import(Lines(0, 1000));
  EXPECT_EQ(again.Counts(), "read 1000 accepted 0 duplicate 900 rejected 100");
  EXPECT_EQ(DeadLetters(), 100u);
}

TEST_P(ImportRunTest, ExplodedLinesLargerThanABatchAreTakenWhole) {
  options_.format =
      Format(R"({"parser":{"type":"json"},"explode":"e","event":{"type":{"const":"Line"},"subject":{"from":"s"}}})");
  options_.batch = {.events = 500, .bytes = 1 << 20};
  std::string text;
  int64_t n = 0;
  for (int line = 0; line < 40; ++line) {
    text += absl::StrCat(R"({"s":"u","e":[)");
    const int elements = line % 5 == 0 ? 1700 : line % 7 == 0 ? 0 : 3;
    for (int i = 0; i < elements; ++i) text += absl::StrCat(i == 0 ? "" : ",", R"({"n":)", n++, "}");
    text += "]}\n";
  }
  const Outcome outcome = Import(text, -1, 10000);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.progress.accepted, n);
  ExpectEachOnce(0, n);
  PassHours(25);
  EXPECT_EQ(Import(text, -1, 10000).progress.duplicate, n);
  ExpectEachOnce(0, n);
}

TEST_P(ImportRunTest, AnExplodedLineThatBrokeOffBetweenItsPartsGoesOnADayLater) {
  options_.format =
      Format(R"({"parser":{"type":"json"},"explode":"e","event":{"type":{"const":"Line"},"subject":{"from":"s"}}})");
  options_.batch = {.events = 100, .bytes = 1 << 20};
  options_.retry_for = std::chrono::milliseconds(0);
  std::string text = R"({"s":"u","e":[)";
  for (int i = 0; i < 1050; ++i) absl::StrAppend(&text, i == 0 ? "" : ",", R"({"n":)", i, "}");
  text += "]}\n";
  ingest_.ApplyType("Line", R"(schema { properties { key: "n" value { type: "integer" maximum: 1029 } } })");
  std::set<int64_t> refused;
  for (int64_t n = 1030; n < 1050; ++n) refused.insert(n);
  for (const int lost : {3, 7, 2, 4}) {
    pipeline_ = std::make_unique<FailingPipeline>(&ingest_.ingest->pipeline());
    pipeline_->set_fails(
        [lost](int batch) { return batch == lost ? absl::DataLossError("the disk is broken") : absl::OkStatus(); });
    Import(text);
    PassHours(25);
  }
  const Outcome whole = Import(text);
  ASSERT_TRUE(whole.status.ok()) << whole.status;
  EXPECT_EQ(whole.progress.read, 1050);
  ExpectEachOnce(0, 1050, refused);
  PassHours(25);
  EXPECT_EQ(Import(text).Counts(), "read 1050 accepted 0 duplicate 1030 rejected 20");
}

TEST_P(ImportRunTest, AHeaderNamesTheColumnsAndIsNoLine) {
  options_.format = Format(R"({"parser":{"type":"csv","header":true},"event":{"type":{"const":"Line"}},
    "data":{"n":{"from":"n","type":"integer"}}})");
  const std::string text = "x,n\n" + std::string("a,1\nb,2\n\"c\n\",3\nd,oops\n");
  const Outcome outcome = Import(text);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.Counts(), "read 4 accepted 3 duplicate 0 rejected 1");
  EXPECT_EQ(outcome.rejected_lines[0].line_number, 6);
  PassHours(25);
  EXPECT_EQ(Import(text).Counts(), "read 4 accepted 0 duplicate 3 rejected 1");
  const Outcome wrong = Import("x,m\n1,2\n");
  EXPECT_TRUE(absl::IsInvalidArgument(wrong.status));
  EXPECT_THAT(std::string(wrong.status.message()), HasSubstr("there is no column `n`"));
}

TEST_P(ImportRunTest, AFileThatGrowsIsTakenPieceByPieceIntoFewRanges) {
  options_.follow = true;
  std::mt19937 random(5);
  std::string text;
  int64_t next = 0;
  int64_t accepted = 0;
  for (int piece = 0; piece < 60; ++piece) {
    const int64_t until = next + 1 + static_cast<int64_t>(random() % 7);
    text += Lines(next, until, 100);
    next = until;
    // The half line at the end is not there yet.
    const int64_t from = options_.position.has_value() ? options_.position->end_byte : 0;
    const Outcome outcome = Import(text.substr(from) + "999999,us");
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    accepted += outcome.progress.accepted;
    ASSERT_EQ(outcome.progress.duplicate, 0);
    ASSERT_TRUE(outcome.progress.position.has_value());
    ASSERT_EQ(outcome.progress.position->end_byte, static_cast<int64_t>(text.size()));
    ASSERT_EQ(outcome.progress.position->next_line_number, next + 1);
    options_.position = outcome.progress.position;
  }
  EXPECT_EQ(accepted, next - static_cast<int64_t>(Bad(next, 100).size()));
  ExpectEachOnce(0, next, Bad(next, 100));
  EXPECT_TRUE(TimelineEnds().empty()) << "it may still grow";
  const auto ledger = ImportLedger::Load(*ingest_.log);
  ASSERT_TRUE(ledger.ok());
  EXPECT_LE(ledger->size(), static_cast<size_t>(2 * next / 50 + 2)) << "as many ranges as lines need, not pieces";

  const int partitions = static_cast<int>(ingest_.log->DescribeTopic(event_log::kEventsTopic)->partitions.size());
  // Each time that its follower stops, its timeline ends, until more comes.
  for (int stop = 1; stop <= 2; ++stop) {
    pause_ = true;
    ASSERT_TRUE(Import("").status.ok());
    ASSERT_EQ(TimelineEnds().size(), 1u);
    EXPECT_EQ(TimelineEnds().begin()->second, stop * partitions);
    pause_ = false;
    text += Lines(next, next + 1, 100);
    const Outcome more = Import(text.substr(static_cast<size_t>(options_.position->end_byte)));
    ASSERT_EQ(more.progress.read, 1);
    accepted += more.progress.accepted;
    options_.position = more.progress.position;
    ++next;
  }

  // The last piece ends it: one timeline, one end in each partition.
  options_.follow = false;
  ASSERT_TRUE(Import("").status.ok());
  EXPECT_EQ(TimelineEnds().size(), 1u);
  EXPECT_EQ(TimelineEnds().begin()->second, 3 * partitions);
  options_.position.reset();
  PassHours(25);
  const Outcome again = Import(text);
  EXPECT_EQ(again.progress.accepted, 0);
  EXPECT_EQ(again.progress.duplicate, accepted);
  EXPECT_EQ(again.progress.rejected, static_cast<int64_t>(Bad(next, 100).size()));
  EXPECT_EQ(DeadLetters(), Bad(next, 100).size());
}

TEST_P(ImportRunTest, ALineThatItsTypeRefusesIsCountedInTheSharedRange) {
  ingest_.ApplyType("Line", R"(schema { properties { key: "n" value { type: "integer" maximum: 899 } } })");
  options_.follow = true;
  Outcome outcome = Import(Lines(895, 902));
  EXPECT_EQ(outcome.Counts(), "read 7 accepted 5 duplicate 0 rejected 2");
  options_.position = outcome.progress.position;
  outcome = Import(Lines(890, 892) + "950,user\n");
  EXPECT_EQ(outcome.Counts(), "read 3 accepted 2 duplicate 0 rejected 1");
  options_.position.reset();
  PassHours(25);
  EXPECT_EQ(Import(Lines(895, 902) + Lines(890, 892) + "950,user\n").Counts(),
            "read 10 accepted 0 duplicate 7 rejected 3");
}

TEST_P(ImportRunTest, APositionThatTheLedgerDoesNotKnowIsRefused) {
  options_.follow = true;
  const Outcome first = Import(Lines(0, 10));
  options_.position = first.progress.position;
  ASSERT_TRUE(Import(Lines(10, 20)).status.ok());
  // An answer was lost: the sender is at line 10, the ledger at line 20.
  Outcome outcome = Import(Lines(10, 30));
  EXPECT_TRUE(absl::IsFailedPrecondition(outcome.status)) << outcome.status;
  EXPECT_EQ(GetErrorDetails(outcome.status).reason, "POSITION_UNKNOWN");
  options_.position.reset();
  outcome = Import(Lines(0, 30));
  EXPECT_EQ(outcome.Counts(), "read 30 accepted 10 duplicate 20 rejected 0");
  ExpectEachOnce(0, 30);
}

TEST_P(ImportRunTest, SeedsMakeEqualLinesEventsOfTheirOwn) {
  ASSERT_EQ(Import(Lines(0, 10)).progress.accepted, 10);
  options_.seed = "second";
  ASSERT_EQ(Import(Lines(0, 10)).progress.accepted, 10);
  ASSERT_EQ(Import(Lines(0, 12)).Counts(), "read 12 accepted 2 duplicate 10 rejected 0");
  options_.seed.clear();
  EXPECT_EQ(Import(Lines(0, 10)).progress.duplicate, 10);
  EXPECT_EQ(StoredNumbers()[3], 2);
}

TEST_P(ImportRunTest, APositionRemembersTheHeader) {
  options_.format = Format(R"({"parser":{"type":"csv","header":true},"event":{"type":{"const":"Line"}},
    "data":{"n":{"from":"n","type":"integer"}}})");
  options_.follow = true;
  Outcome outcome = Import("x,n\na,1\n\"b\n");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.Counts(), "read 1 accepted 1 duplicate 0 rejected 0") << "a quote is still open";
  EXPECT_EQ(outcome.progress.position->header, "x,n");
  options_.position = outcome.progress.position;
  outcome = Import("\"b\n\",2\nc,3\n");
  EXPECT_EQ(outcome.Counts(), "read 2 accepted 2 duplicate 0 rejected 0");
  EXPECT_EQ(StoredNumbers()[2], 1);
  EXPECT_EQ(outcome.progress.position->next_line_number, 6);
}

TEST_P(ImportRunTest, LinesOfAllSortsOfBytesAreCounted) {
  std::mt19937 random(31);
  std::string text;
  for (int i = 0; i < 3000; ++i) {
    for (int n = random() % 20; n > 0; --n) text += static_cast<char>(random());
    text += "\n";
  }
  text += std::string(3 << 20, 'x') + "\n7,user\n";
  const Outcome outcome = Import(text, -1, 70000);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.progress.read, outcome.progress.accepted + outcome.progress.rejected);
  EXPECT_GT(outcome.progress.rejected, 2000);
  EXPECT_EQ(StoredNumbers()[7], 1);
  PassHours(25);
  EXPECT_EQ(Import(text, -1, 333).progress.read, outcome.progress.read);
  EXPECT_EQ(DeadLetters(), static_cast<size_t>(outcome.progress.rejected));
}

TEST_P(ImportRunTest, TwoImportsOfOneFileAtATimeTakeEachLineOnce) {
  const std::string text = Lines(0, 5000, 1000);
  pipeline_ = std::make_unique<FailingPipeline>(&ingest_.ingest->pipeline());
  std::vector<Outcome> outcomes(2);
  std::vector<std::thread> threads;
  std::atomic<int> running{2};
  for (Outcome& outcome : outcomes) {
    threads.emplace_back([&] {
      ImportRun run(
          {ingest_.log.get(), pipeline_.get(), &ingest_.ingest->budget(), &ingest_.clock}, &gate_, options_,
          [](const ImportProgress&) {},
          [&](absl::Status status, ImportProgress progress) {
            outcome.status = std::move(status);
            outcome.progress = std::move(progress);
            --running;
          });
      run.Add(text, [] {});
      run.FinishInput();
      testing::WaitUntil([&] { return running == 0; });
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(outcomes[0].progress.accepted + outcomes[1].progress.accepted, 4995);
  EXPECT_EQ(outcomes[0].progress.read, 5000);
  EXPECT_EQ(outcomes[1].progress.read, 5000);
  EXPECT_EQ(DeadLetters(), 5u);
}

TEST_P(ImportRunTest, TheRealAccessLogGoesInOnce) {
  const std::string path =
      testing::GetEnv("NARU_SHARED_DIR", testing::GetEnv("NARU_SOURCE_DIR", ".") + "/../shared/data") +
      "/weblog/apache_logs";
  std::ifstream file(path, std::ios::binary);
  if (!file) GTEST_SKIP() << path << " is not there";
  std::stringstream contents;
  contents << file.rdbuf();
  ImportFormats formats(ingest_.catalog.get());
  options_ = ImportOptions();
  const auto format = formats.Find("apache-combined");
  ASSERT_TRUE(format.ok()) << format.status();
  options_.format = *format;
  const Outcome first = Import(contents.str(), -1, 1 << 20);
  ASSERT_TRUE(first.status.ok()) << first.status;
  EXPECT_EQ(first.Counts(), "read 10000 accepted 9999 duplicate 0 rejected 1");
  ASSERT_EQ(first.rejected_lines.size(), 1u);
  EXPECT_EQ(first.rejected_lines[0].line_number, 8899);
  EXPECT_EQ(first.rejected_lines[0].expected, "a closing quote");
  PassHours(25);
  EXPECT_EQ(Import(Gzip(contents.str()), -1, 1 << 20).Counts(), "read 10000 accepted 0 duplicate 9999 rejected 1");
}

TEST(ImportLedger, FindsTheRangeOfALineAndNotThoseOfItsParts) {
  ImportLedger ledger;
  const ChainId line{1, 2}, before{3, 4};
  for (uint64_t part = 0; part < 50; ++part) ledger.Add({5, part}, {.end = line, .event_count = 100});
  ledger.Add(before, {.end = line, .line_count = 1, .event_count = 5000});
  ChainId start;
  ASSERT_NE(ledger.FindEnd(line, &start), nullptr);
  EXPECT_TRUE(start == before);
}

TEST(LineChain, EachIdentityDependsOnAllBefore) {
  const ChainId a = NextChainId(ChainStart("s"), "x");
  const ChainId b = NextChainId(a, "x");
  EXPECT_FALSE(a == b);
  EXPECT_FALSE(ChainStart("s") == ChainStart("t"));
  EXPECT_FALSE(NextChainId(ChainId{1, 2}, "x") == NextChainId(ChainId{3, 2}, "x"));
  EXPECT_FALSE(NextChainId(ChainId{1, 2}, "x") == NextChainId(ChainId{1, 3}, "x"));
  ChainId back;
  ASSERT_TRUE(ParseChainId(ChainIdText(b), &back));
  EXPECT_TRUE(back == b);
  EXPECT_FALSE(ParseChainId("xyz", &back));
  EXPECT_TRUE(ChainStart("s") == ChainStart("s", ""));
  EXPECT_FALSE(ChainStart("s") == ChainStart("s", "1"));
  EXPECT_FALSE(ChainStart("s", "2") == ChainStart("s", "1"));
  EXPECT_FALSE(ChainStart("t", "1") == ChainStart("s", "1"));
  // Kept in ledgers and events for ever: golden.
  EXPECT_EQ(ChainIdText(NextChainId(ChainStart("shop"), "line")), "7394fdb8a9055a79a905ce1af48e5dbf");
}

}  // namespace
}  // namespace naru::ingest
