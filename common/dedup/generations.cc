#include "common/dedup/generations.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status/status.h"

namespace naru::dedup {
namespace {

// So many neighbours of one tier become one run. Upper tiers wait for more, because merging them holds both the old
// filters and the new one in memory.
constexpr size_t kMergeSmall = 8;
constexpr size_t kMergeLarge = 12;

}  // namespace

Generations::Generations(std::string directory, uint64_t key_fingerprint, size_t small_run)
    : directory_(std::move(directory)),
      key_fingerprint_(key_fingerprint),
      small_run_(small_run),
      runs_(std::make_shared<RunSet>(RunList())) {}

std::string Generations::PathOf(uint64_t first, uint64_t last) const {
  return absl::StrCat(directory_, "/", absl::StrFormat("%016x-%016x.ids", first, last));
}

absl::Status Generations::Load(std::vector<std::string>* notes) {
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  if (error)
    return MakeError(absl::StatusCode::kUnavailable, "DEDUP_DIRECTORY",
                     absl::StrCat(directory_, ": ", error.message()));
  RunList found;
  for (const auto& file : std::filesystem::directory_iterator(directory_, error)) {
    const std::string path = file.path().string();
    if (absl::EndsWith(path, ".ids.tmp")) std::filesystem::remove(file.path(), error);  // never finished
    if (!absl::EndsWith(path, ".ids")) continue;
    absl::StatusOr<std::shared_ptr<IdRun>> run = IdRun::Open(path);
    if (absl::IsFailedPrecondition(run.status())) return run.status();
    if (run.ok() && (*run)->info().key_fingerprint == key_fingerprint_) {
      found.push_back(*std::move(run));
      continue;
    }
    if (notes != nullptr) {
      notes->push_back(absl::StrCat("de-duplication: set aside ", path, ": ",
                                    run.ok() ? "made with another key" : std::string(run.status().message())));
    }
    std::filesystem::rename(file.path(), path + ".damaged", error);
  }
  if (error)
    return MakeError(absl::StatusCode::kUnavailable, "DEDUP_DIRECTORY",
                     absl::StrCat(directory_, ": ", error.message()));
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    if (a->info().first_sequence != b->info().first_sequence)
      return a->info().first_sequence < b->info().first_sequence;
    return a->info().last_sequence > b->info().last_sequence;
  });
  RunList kept;
  for (auto& run : found) {
    // A merged run covers its inputs, which a crash may have left behind.
    if (!kept.empty() && run->info().last_sequence <= kept.back()->info().last_sequence) {
      run->MarkObsolete();
    } else {
      kept.push_back(run);
    }
  }
  MutexLock lock(&mu_);
  runs_ = std::make_shared<RunSet>(std::move(kept));
  return absl::OkStatus();
}

std::shared_ptr<const RunSet> Generations::runs() const {
  MutexLock lock(&mu_);
  return runs_;
}

absl::Status Generations::Add(const std::vector<IdEntry>& entries, RunInfo info) {
  info.key_fingerprint = key_fingerprint_;
  const std::string path = PathOf(info.first_sequence, info.last_sequence);
  NARU_ASSIGN_OR_RETURN(std::unique_ptr<IdRunWriter> writer, IdRunWriter::Create(path, entries.size()));
  for (const IdEntry& entry : entries) NARU_RETURN_IF_ERROR(writer->Add(entry));
  NARU_RETURN_IF_ERROR(writer->Finish(std::move(info)));
  NARU_ASSIGN_OR_RETURN(std::shared_ptr<IdRun> run, IdRun::Open(path));
  MutexLock lock(&mu_);
  RunList next = runs_->runs;
  next.push_back(std::move(run));
  runs_ = std::make_shared<RunSet>(std::move(next));
  return absl::OkStatus();
}

// 0: as sealed; each further tier is eight times larger.
int Generations::TierOf(const IdRun& run) const {
  int tier = 0;
  for (uint64_t limit = small_run_ * 4; run.info().count >= limit; limit *= 8) ++tier;
  return tier;
}

absl::StatusOr<bool> Generations::MergeOnce(uint32_t keep_from_s) {
  const std::shared_ptr<const RunSet> held = runs();
  const RunList& current = held->runs;
  // Newest first: these are the smallest.
  size_t end = current.size();
  while (end > 0) {
    const int tier = TierOf(*current[end - 1]);
    size_t begin = end - 1;
    while (begin > 0 && TierOf(*current[begin - 1]) == tier) --begin;
    if (end - begin >= (tier == 0 ? kMergeSmall : kMergeLarge)) {
      const size_t stop = begin + kMergeSmall;
      const RunList inputs(current.begin() + begin, current.begin() + stop);
      const std::string path = PathOf(inputs.front()->info().first_sequence, inputs.back()->info().last_sequence);
      NARU_RETURN_IF_ERROR(MergeRuns(inputs, keep_from_s, path));
      NARU_ASSIGN_OR_RETURN(std::shared_ptr<IdRun> merged, IdRun::Open(path));
      MutexLock lock(&mu_);
      // Others only add at the end meanwhile, so the inputs are still where they were.
      RunList next = runs_->runs;
      for (const auto& input : inputs) {
        damaged_before_ += input->damaged_pages();
        input->MarkObsolete();
      }
      next.erase(next.begin() + begin, next.begin() + stop);
      next.insert(next.begin() + begin, std::move(merged));
      runs_ = std::make_shared<RunSet>(std::move(next));
      return true;
    }
    end = begin;
  }
  return false;
}

void Generations::Expire(uint32_t keep_from_s) {
  MutexLock lock(&mu_);
  RunList next;
  for (const auto& run : runs_->runs) {
    // The newest run stays: its name says where the sequence goes on.
    if (run->info().max_time_s >= keep_from_s || run == runs_->runs.back()) {
      next.push_back(run);
    } else {
      damaged_before_ += run->damaged_pages();
      run->MarkObsolete();
    }
  }
  if (next.size() != runs_->runs.size()) runs_ = std::make_shared<RunSet>(std::move(next));
}

int64_t Generations::damaged_pages() const {
  MutexLock lock(&mu_);
  int64_t sum = damaged_before_;
  for (const auto& run : runs_->runs) sum += run->damaged_pages();
  return sum;
}

}  // namespace naru::dedup
