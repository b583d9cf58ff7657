// One import, from its bytes to the answer.
//
// Three threads: one decompresses, cuts lines and finds what the ledger knows; one parses; one submits. Each batch
// carries its entry of the ledger, stored with its events or not at all, so an import that was killed goes on where it
// was.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/clock/clock.h"
#include "common/event_log/event_log.h"
#include "common/input_format/input_format.h"
#include "services/ingest/byte_budget.h"
#include "services/ingest/import_parser.h"
#include "services/ingest/import_reader.h"
#include "services/ingest/pipeline.h"

namespace naru::ingest {

/// What an import borrows; all must outlive it.
struct ImportDependencies {
  event_log::EventLog* log = nullptr;
  IngestPipeline* pipeline = nullptr;
  ByteBudget* budget = nullptr;
  const Clock* clock = Clock::System();
};

struct ImportOptions {
  std::shared_ptr<const input_format::InputFormat> format;
  std::string source;     ///< empty: what the format says
  std::string file_name;  ///< to show
  std::string seed;       ///< tells files of one source that begin alike apart
  bool follow = false;    ///< the file still grows: its last, half line stays for later, its timeline does not end
  std::optional<ImportPosition> position;  ///< go on from there, uncompressed
  ImportCompression compression = ImportCompression::kDetect;
  ImportBlockLimits block;
  ParsedBatchLimits batch;
  int max_batches_in_flight = 8;
  std::chrono::milliseconds progress_interval{500};
  /// How long a batch that the log does not take is tried again before the import ends with that error.
  std::chrono::milliseconds retry_for{60'000};
  std::chrono::milliseconds first_retry{50};
};

/// A line of which the sender is told.
struct ImportRejectedLine {
  int64_t line_number = 0;
  v1::RejectReason reason{};
  std::string field;
  std::string value;
  std::string expected;
  std::string line;  ///< at most 200 bytes
};

/// Where an import is. read = accepted + duplicate + rejected + filtered.
struct ImportProgress {
  int64_t read = 0;
  int64_t accepted = 0;
  int64_t duplicate = 0;
  int64_t rejected = 0;
  int64_t filtered = 0;
  int64_t received_bytes = 0;
  std::vector<ImportRejectedLine> rejected_lines;  ///< new since the last progress; at most 20 an import
  std::map<int32_t, int64_t> last_offsets;         ///< by partition of `events`
  std::optional<ImportPosition> position;          ///< with the result of an import that went well
};

/// Makes imports of one event source wait for each other: two of the same file would both store what neither has found
/// in the ledger. Thread-safe.
class ImportGate {
 public:
  /// Waits until nobody else has `source`, or until `cancelled` says so (asked about every 50 ms): then false.
  bool Enter(const std::string& source, const std::function<bool()>& cancelled);
  void Leave(const std::string& source);

 private:
  Mutex mu_;
  CondVar left_;
  std::map<std::string, bool> taken_ ABSL_GUARDED_BY(mu_);
};

/// Bytes and lines of a file that grows come in many small imports; those that fit into one range of the ledger share
/// it, so that the ledger grows with the file and not with the imports.
///
/// Thread-safe. The callbacks come from threads of the run and must not block for long, nor call the run's destructor.
class ImportRun {
 public:
  using OnProgress = std::function<void(ImportProgress)>;
  /// Called once; nothing is called after it.
  using OnDone = std::function<void(absl::Status, ImportProgress)>;

  ImportRun(const ImportDependencies& dependencies, ImportGate* gate, ImportOptions options, OnProgress on_progress,
            OnDone on_done);
  /// Aborts, and waits for what was submitted.
  ~ImportRun();
  ImportRun(const ImportRun&) = delete;

  /// Takes the file's next bytes; `ready` is called when the next may come (at once or later; never when the run is
  /// over).
  void Add(std::string bytes, std::function<void()> ready);
  /// The file is complete. `pause`, of one that still grows: nobody looks at it from now on, so its timeline ends until
  /// more of it comes.
  void FinishInput(bool pause = false);
  /// Stops: what was submitted stays, the rest is dropped. The result is `why`.
  void Abort(absl::Status why);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace naru::ingest
