#include "common/event_log/rocks_committer.h"

#include <rocksdb/write_batch.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log/log.h"
#include "common/rocks/status.h"
#include "common/status/status.h"

namespace naru::event_log {
namespace {

// A group is written, synced and kept in memory as one batch: this bounds that memory, and how long the first of the
// group waits for the last.
constexpr size_t kMaxGroupBytes = size_t{8} << 20;
// What a request costs beside its blocks, roughly; it also bounds the number of requests under way.
constexpr size_t kRequestOverhead = 512;
// Bytes of keys alone (offsets, positions) that may be written although the disk is nearly full: consumers then go on,
// and retention can free space.
constexpr size_t kSmallWriteBytes = 64 << 10;
// How many bytes a partition takes before its end is noted again. The note is there so that the loss of the newest
// table is seen: nothing else would show that there was more.
constexpr uint64_t kEndMarkBytes = 256 << 10;
// How long a patient request waits for others. Each sync of its own would hold up the appends that come meanwhile.
constexpr std::chrono::milliseconds kPatience(10);
// A batch's memory is used again unless it grew beyond this.
constexpr size_t kKeptBatchBytes = size_t{2} << 20;

absl::Status TooMuchInFlight(size_t bytes, size_t limit) {
  ErrorDetails details;
  details.reason = kTooMuchInFlight;
  details.retry_after = std::chrono::milliseconds(20);
  return MakeError(absl::StatusCode::kResourceExhausted,
                   absl::StrCat(bytes, " bytes of appends wait for the disk, the limit is ", limit, "; retry"),
                   std::move(details));
}

}  // namespace

size_t CommitRequest::Bytes() const {
  size_t bytes = kRequestOverhead;
  for (const Append& append : appends) {
    for (const EncodedBlock& block : append.blocks) bytes += block.value.size() + sizeof(block);
  }
  for (const LocalPut& put : local)
    bytes += put.key.size() + (put.value.has_value() ? put.value->size() : 0) + sizeof(put);
  return bytes;
}

Committer::Committer(RocksStore* store)
    : store_(store),
      max_in_flight_bytes_(store->options().memory_budget / 4),
      batch_(std::make_unique<rocksdb::WriteBatch>()),
      thread_([this] { Run(); }) {}

Committer::~Committer() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    work_.Signal();
  }
  thread_.join();
}

void Committer::Submit(std::unique_ptr<CommitRequest> request, bool wait) {
  size_t bytes = request->Bytes();
  MutexLock lock(&mu_);
  const auto full = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return in_flight_bytes_ > 0 && in_flight_bytes_ + bytes > max_in_flight_bytes_;
  };
  while (wait && request->status.ok() && full()) room_.Wait(&mu_);
  if (request->status.ok() && full()) request->status = TooMuchInFlight(in_flight_bytes_, max_in_flight_bytes_);
  if (!request->status.ok()) {
    // Nothing of it is written any more; only its callback must keep its place.
    request->appends.clear();
    request->local.clear();
    bytes = request->Bytes();
  }
  in_flight_bytes_ += bytes;
  store_->stats()->in_flight_bytes = static_cast<int64_t>(in_flight_bytes_);
  if (!request->patient) ++eager_;
  if (queue_.empty()) patience_ends_ = std::chrono::steady_clock::now() + kPatience;
  queue_.push_back(std::move(request));
  work_.Signal();
}

absl::StatusOr<AppendResult> Committer::SubmitAndWait(std::unique_ptr<CommitRequest> request) {
  Mutex mu;
  CondVar cv;
  std::optional<absl::StatusOr<AppendResult>> result;
  request->done = [&](absl::StatusOr<AppendResult> r) {
    MutexLock lock(&mu);
    result = std::move(r);
    cv.Signal();
  };
  Submit(std::move(request), /*wait=*/true);
  MutexLock lock(&mu);
  while (!result.has_value()) cv.Wait(&mu);
  return *std::move(result);
}

void Committer::NoteEnds() {
  auto request = std::make_unique<CommitRequest>();
  for (const Topic* topic : store_->Topics()) {
    for (const auto& partition : topic->partitions) {
      // The commit thread is idle or behind this request, and the end only grows: a stale note is a low one.
      if (partition->end_offset.load() == 0) continue;
      request->local.push_back(
          {store_->meta(), EndKey(topic->stored_name, partition->index), EncodeNumber(partition->end_offset.load())});
    }
  }
  SubmitAndWait(std::move(request)).status().IgnoreError();
}

void Committer::Barrier() { SubmitAndWait(std::make_unique<CommitRequest>()).status().IgnoreError(); }

// Waits for work and takes what may be written together; returns its bytes. An empty group: it is over.
size_t Committer::TakeGroup(Group* group) {
  MutexLock lock(&mu_);
  while (eager_ == 0 && !stopping_) {
    if (queue_.empty()) {
      work_.Wait(&mu_);
      continue;
    }
    const auto left = patience_ends_ - std::chrono::steady_clock::now();
    if (left.count() <= 0) break;
    work_.WaitFor(&mu_, std::chrono::ceil<std::chrono::microseconds>(left));
  }
  size_t bytes = 0;
  while (!queue_.empty()) {
    const size_t next = queue_.front()->Bytes();
    if (!group->empty() && bytes + next > kMaxGroupBytes) break;
    bytes += next;
    if (!queue_.front()->patient) --eager_;
    group->push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  return bytes;
}

void Committer::Run() {
  Group group;
  while (true) {
    const size_t bytes = TakeGroup(&group);
    if (group.empty()) return;
    CommitGroup(&group);
    for (const std::unique_ptr<CommitRequest>& request : group) {
      if (!request->done) continue;
      if (request->status.ok()) {
        request->done(std::move(request->result));
      } else {
        request->done(request->status);
      }
    }
    WakeReaders();  // last: they will be busy with it, and those who wait for an answer are first
    group.clear();
    MutexLock lock(&mu_);
    in_flight_bytes_ -= bytes;
    store_->stats()->in_flight_bytes = static_cast<int64_t>(in_flight_bytes_);
    room_.SignalAll();
  }
}

absl::Status Committer::Stage(CommitRequest* request, rocksdb::WriteBatch* batch) {
  NARU_RETURN_IF_ERROR(request->status);
  if (request->admit) NARU_RETURN_IF_ERROR(request->admit());
  request->result.resize(request->appends.size());
  for (size_t i = 0; i < request->appends.size(); ++i) StageAppend(&request->appends[i], &request->result[i], batch);
  for (const CommitRequest::LocalPut& put : request->local) {
    if (put.value.has_value()) {
      batch->Put(put.family, put.key, *put.value);
    } else {
      batch->Delete(put.family, put.key);
    }
  }
  return absl::OkStatus();
}

void Committer::StageAppend(CommitRequest::Append* append, AppendedBatch* appended, rocksdb::WriteBatch* batch) {
  Partition* partition = append->partition;
  Partition::Tail& tail = partition->tail;
  const auto known =
      std::find_if(touched_.begin(), touched_.end(), [&](const auto& t) { return t.first == partition; });
  if (known == touched_.end()) touched_.emplace_back(partition, tail);
  appended->base_offset = tail.next_offset;
  for (EncodedBlock& block : append->blocks) {
    tail.max_timestamp_us = std::max(tail.max_timestamp_us, block.max_timestamp_us);
    StampBlock({tail.max_timestamp_us, tail.bytes, tail.previous_end}, &block.value);
    batch->Put(partition->family, LogKey(tail.next_offset), block.value);
    tail.next_offset += block.records;
    tail.previous_end = tail.next_offset;
    tail.bytes += block.value.size();
  }
  appended->last_offset = tail.next_offset - 1;
  if (tail.bytes - tail.bytes_at_mark >= kEndMarkBytes) {
    tail.bytes_at_mark = tail.bytes;
    batch->Put(store_->meta(), EndKey(partition->topic->stored_name, partition->index), EncodeNumber(tail.next_offset));
  }
}

void Committer::CommitGroup(Group* group) {
  touched_.clear();
  const bool has_writes = std::any_of(group->begin(), group->end(), [](const auto& request) {
    return request->status.ok() && !(request->appends.empty() && request->local.empty());
  });
  const absl::Status disk = has_writes ? store_->CheckDisk() : absl::OkStatus();
  for (auto& request : *group) {
    if (request->status.ok() && !disk.ok() && (!request->appends.empty() || request->Bytes() > kSmallWriteBytes)) {
      request->status = disk;
    }
    request->status = Stage(request.get(), batch_.get());
  }
  if (batch_->Count() > 0) {
    const absl::Status written = store_->Write(batch_.get(), /*sync=*/true, "writing the event log");
    if (written.ok()) {
      ++store_->stats()->commits;
    } else {
      GiveUp(group, written);
    }
  }
  Publish(*group);
  if (batch_->GetDataSize() > kKeptBatchBytes) batch_ = std::make_unique<rocksdb::WriteBatch>();
  batch_->Clear();
}

void Committer::GiveUp(Group* group, const absl::Status& status) {
  for (auto& request : *group) {
    if (request->status.ok()) request->status = status;
  }
  for (auto& [partition, before] : touched_) {
    // The write may be in the write-ahead log although it failed, and come back after a crash. Its offsets are
    // therefore never given out again.
    const int64_t next_offset = partition->tail.next_offset;
    partition->tail = before;
    partition->tail.next_offset = next_offset;
  }
}

void Committer::Publish(const Group& group) {
  int64_t records = 0, bytes = 0, refused = 0;
  for (const auto& request : group) {
    if (absl::IsResourceExhausted(request->status)) ++refused;
    if (!request->status.ok()) continue;
    for (const CommitRequest::Append& append : request->appends) {
      for (const EncodedBlock& block : append.blocks) {
        records += block.records;
        bytes += static_cast<int64_t>(block.value.size());
      }
    }
    if (request->applied) request->applied();
  }
  AtomicStats* stats = store_->stats();
  stats->appended_records += records;
  stats->appended_bytes += bytes;
  stats->refused_appends += refused;
  for (const auto& [partition, before] : touched_) {
    const Partition::Tail& tail = partition->tail;
    if (tail.previous_end == before.previous_end) continue;  // given up, or nothing in it
    partition->end_bytes.store(tail.bytes);
    partition->end_offset.store(tail.previous_end);
  }
}

void Committer::WakeReaders() {
  std::vector<Topic*> topics;
  for (const auto& [partition, before] : touched_) {
    if (partition->tail.previous_end == before.previous_end) continue;
    if (std::find(topics.begin(), topics.end(), partition->topic) == topics.end()) topics.push_back(partition->topic);
  }
  for (Topic* topic : topics) topic->Wake();
}

}  // namespace naru::event_log
