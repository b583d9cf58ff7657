#include "common/event_log/rocks_event_log.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/event_log/block.h"
#include "common/event_log/rocks_committer.h"
#include "common/event_log/rocks_consumer.h"
#include "common/event_log/rocks_groups.h"
#include "common/event_log/rocks_local_store.h"
#include "common/event_log/rocks_maintenance.h"
#include "common/event_log/rocks_store.h"
#include "common/log/log.h"
#include "common/rocks/status.h"
#include "common/status/status.h"

namespace naru::event_log {
namespace {

// Keys and values of one call. A call is held in memory whole, and is one write of the database.
constexpr size_t kMaxAppendBytes = size_t{64} << 20;

absl::Status CheckRecord(const Record& record, size_t index) {
  if (record.key.size() + record.value.size() <= kMaxRecordBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("record ", index, " has ", record.key.size() + record.value.size(),
                                                 " bytes, at most ", kMaxRecordBytes, " fit into the log"));
}

// Cuts a batch into blocks and encodes them.
absl::StatusOr<std::vector<EncodedBlock>> EncodeBatch(const AppendBatch& batch, BlockCodec codec, size_t* total_bytes) {
  if (batch.headers.schema.size() > kMaxHeaderField || batch.headers.traceparent.size() > kMaxHeaderField) {
    return absl::InvalidArgumentError(
        absl::StrCat("a header of a batch for topic ", batch.topic, " is longer than ", kMaxHeaderField, " bytes"));
  }
  std::vector<EncodedBlock> blocks;
  size_t first = 0;
  size_t bytes = 0;
  for (size_t i = 0; i < batch.records.size(); ++i) {
    NARU_RETURN_IF_ERROR(CheckRecord(batch.records[i], i));
    const size_t size = batch.records[i].key.size() + batch.records[i].value.size();
    if (i > first && (bytes + size > kBlockTargetBytes || i - first == kMaxBlockRecords)) {
      const auto part = batch.records.subspan(first, i - first);
      blocks.push_back(EncodeBlock(batch.headers, part, {}, static_cast<uint32_t>(part.size()), codec));
      first = i;
      bytes = 0;
    }
    bytes += size;
    *total_bytes += size;
    if (*total_bytes > kMaxAppendBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("an append holds more than ", kMaxAppendBytes, " bytes; cut it into several"));
    }
  }
  if (first < batch.records.size()) {
    const auto part = batch.records.subspan(first);
    blocks.push_back(EncodeBlock(batch.headers, part, {}, static_cast<uint32_t>(part.size()), codec));
  }
  return blocks;
}

// What opening a producer again does to the older one.
class ProducerEpochs {
 public:
  explicit ProducerEpochs(RocksStore* store) : store_(store) {}

  absl::Status Load() {
    return store_->ScanMeta(MetaKind::kProducer, [&](absl::string_view key, absl::string_view value) {
      const std::optional<MetaName> name = ParseMetaKey(key, MetaKind::kProducer);
      MutexLock lock(&mu_);
      if (name.has_value()) epochs_[name->first] = DecodeNumber(value).value_or(0);
      return absl::OkStatus();
    });
  }
  int64_t Raise(const std::string& transactional_id) {
    MutexLock lock(&mu_);
    return ++epochs_[transactional_id];
  }
  absl::Status Check(const std::string& transactional_id, int64_t epoch) const {
    MutexLock lock(&mu_);
    const auto it = epochs_.find(transactional_id);
    if (it != epochs_.end() && it->second == epoch) return absl::OkStatus();
    return MakeError(absl::StatusCode::kAborted, "FENCED",
                     absl::StrCat("a newer producer of the transactional id '", transactional_id, "' took over"));
  }

 private:
  RocksStore* const store_;
  mutable Mutex mu_;
  std::map<std::string, int64_t> epochs_ ABSL_GUARDED_BY(mu_);
};

// What a producer needs of the log.
struct Parts {
  RocksStore* store;
  Committer* committer;
  GroupTable* groups;
  ProducerEpochs* epochs;
  RocksLocalStore* local;
};

class RocksProducer : public Producer {
 public:
  RocksProducer(const Parts& parts, std::string transactional_id, int64_t epoch)
      : parts_(parts), transactional_id_(std::move(transactional_id)), epoch_(epoch) {}

  void AppendAsync(std::vector<AppendBatch> batches, std::vector<LocalWrite> local, Callback done) override {
    auto request = std::make_unique<CommitRequest>();
    request->status = Prepare(batches, std::move(local), request.get());
    request->done = std::move(done);
    if (!transactional_id_.empty()) {
      request->admit = [epochs = parts_.epochs, id = transactional_id_, epoch = epoch_] {
        return epochs->Check(id, epoch);
      };
    }
    parts_.committer->Submit(std::move(request), /*wait=*/false);
  }

  absl::StatusOr<AppendResult> Commit(const Transaction& transaction) override {
    if (transactional_id_.empty()) {
      return absl::FailedPreconditionError("Commit needs a producer that was opened with a transactional id");
    }
    MemberId member = 0;
    if (transaction.consumer != nullptr) {
      const auto* consumer = dynamic_cast<const RocksConsumer*>(transaction.consumer);
      if (consumer == nullptr) return absl::InvalidArgumentError("the transaction's consumer is of another log");
      member = consumer->member();
    }
    MutexLock one_at_a_time(&commit_mu_);
    auto request = std::make_unique<CommitRequest>();
    request->patient = transaction.patient;
    NARU_RETURN_IF_ERROR(Prepare(transaction.appends, transaction.local, request.get()));
    for (const GroupOffsets& offsets : transaction.offsets) {
      NARU_RETURN_IF_ERROR(StageOffsets(offsets, request.get()));
    }
    // The caller waits in here, so its transaction outlives the request.
    request->admit = [this, &transaction, member]() -> absl::Status {
      NARU_RETURN_IF_ERROR(parts_.epochs->Check(transactional_id_, epoch_));
      if (member == 0) return absl::OkStatus();
      for (const GroupOffsets& offsets : transaction.offsets) {
        NARU_RETURN_IF_ERROR(parts_.groups->CheckOwner(offsets, member));
      }
      return absl::OkStatus();
    };
    request->applied = [this, &transaction] {
      for (const GroupOffsets& offsets : transaction.offsets) parts_.groups->ApplyCommitted(offsets);
    };
    return parts_.committer->SubmitAndWait(std::move(request));
  }

 private:
  absl::Status Prepare(const std::vector<AppendBatch>& batches, std::vector<LocalWrite> local, CommitRequest* request) {
    size_t bytes = 0;
    request->appends.reserve(batches.size());
    for (const AppendBatch& batch : batches) {
      CommitRequest::Append append;
      NARU_ASSIGN_OR_RETURN(append.partition, parts_.store->FindPartition(batch.topic, batch.partition));
      NARU_ASSIGN_OR_RETURN(append.blocks, EncodeBatch(batch, parts_.store->options().codec, &bytes));
      request->appends.push_back(std::move(append));
    }
    return parts_.local->Stage(std::move(local), request);
  }

  absl::Status StageOffsets(const GroupOffsets& offsets, CommitRequest* request) {
    NARU_RETURN_IF_ERROR(CheckName("group", offsets.group));
    for (const auto& [partition, next] : offsets.next_offsets) {
      NARU_ASSIGN_OR_RETURN(const Partition* found, parts_.store->FindPartition(offsets.topic, partition));
      if (next < 0 || next > found->end_offset.load()) {
        return absl::InvalidArgumentError(absl::StrCat("next offset ", next, " of group ", offsets.group, " in topic ",
                                                       offsets.topic, " partition ", partition, " is not in 0 to ",
                                                       found->end_offset.load()));
      }
      request->local.push_back({parts_.store->meta(),
                                GroupOffsetKey(offsets.group, found->topic->stored_name, partition),
                                EncodeNumber(next)});
    }
    return absl::OkStatus();
  }

  const Parts parts_;
  const std::string transactional_id_;
  const int64_t epoch_;
  Mutex commit_mu_;
};

class RocksEventLogInProcess : public RocksEventLog {
 public:
  explicit RocksEventLogInProcess(std::unique_ptr<RocksStore> store)
      : store_(std::move(store)), groups_(store_.get()), epochs_(store_.get()), local_(store_.get()) {}

  absl::Status Start() {
    NARU_RETURN_IF_ERROR(groups_.Load());
    NARU_RETURN_IF_ERROR(epochs_.Load());
    committer_ = std::make_unique<Committer>(store_.get());
    maintenance_ = std::make_unique<Maintenance>(store_.get(), &groups_);
    return absl::OkStatus();
  }

  ~RocksEventLogInProcess() override {
    maintenance_.reset();
    if (committer_ != nullptr && store_->stats()->appended_records.load() > 0) committer_->NoteEnds();
    committer_.reset();
    // Tables instead of a write-ahead log to replay: the next start is quick.
    const absl::Status flushed = store_->database()->Flush();
    if (!flushed.ok()) NARU_LOG(WARNING, "the event log was closed without writing its tables", {{"status", flushed}});
  }

  absl::Status CreateTopic(const TopicConfig& config) override { return store_->CreateTopic(config); }

  absl::StatusOr<TopicInfo> DescribeTopic(const std::string& name) override {
    NARU_ASSIGN_OR_RETURN(Topic * topic, store_->FindTopic(name));
    TopicInfo info;
    info.config = topic->Config();
    info.size_bytes = 0;
    for (const auto& partition : topic->partitions) {
      info.partitions.push_back({partition->index, partition->start_offset.load(), partition->end_offset.load()});
      info.size_bytes += SizeOf(*partition);
    }
    for (const auto& [group, committed] : groups_.Registered(name)) {
      GroupLag lag{group, 0};
      for (const PartitionInfo& partition : info.partitions) {
        const auto it = committed.find(partition.partition);
        const int64_t next = std::max(it == committed.end() ? 0 : it->second, partition.start_offset);
        lag.lag += partition.end_offset - next;
      }
      info.groups.push_back(std::move(lag));
    }
    return info;
  }

  absl::StatusOr<std::vector<std::string>> ListTopics() override {
    std::vector<std::string> names;
    for (const Topic* topic : store_->Topics()) names.push_back(topic->name);
    return names;
  }

  absl::StatusOr<std::unique_ptr<Producer>> OpenProducer(const ProducerOptions& options) override {
    int64_t epoch = 0;
    const std::string& id = options.transactional_id;
    if (!id.empty()) {
      if (id.size() > 200 || id.find('\0') != std::string::npos) {
        return absl::InvalidArgumentError("a transactional id has at most 200 bytes and no NUL");
      }
      epoch = epochs_.Raise(id);
      // Through the commit thread: when this returns, nothing of an older producer is on its way any more.
      auto request = std::make_unique<CommitRequest>();
      request->local.push_back({store_->meta(), ProducerKey(id), EncodeNumber(epoch)});
      NARU_RETURN_IF_ERROR(committer_->SubmitAndWait(std::move(request)).status());
    }
    return std::make_unique<RocksProducer>(Parts{store_.get(), committer_.get(), &groups_, &epochs_, &local_}, id,
                                           epoch);
  }

  absl::StatusOr<std::unique_ptr<Reader>> OpenReader(const std::string& name,
                                                     std::vector<ReadPosition> positions) override {
    NARU_ASSIGN_OR_RETURN(Topic * topic, store_->FindTopic(name));
    auto reader = std::make_unique<RocksReader>(store_.get(), topic);
    std::set<int> seen;
    for (const ReadPosition& position : positions) {
      NARU_ASSIGN_OR_RETURN(Partition * partition, store_->FindPartition(name, position.partition));
      if (!seen.insert(position.partition).second) {
        return absl::InvalidArgumentError(absl::StrCat("partition ", position.partition, " is given twice"));
      }
      int64_t offset = partition->end_offset.load();
      if (position.kind == ReadPosition::Kind::kOffset) {
        offset = std::max(std::min(position.value, offset), partition->start_offset.load());
      } else if (position.kind == ReadPosition::Kind::kTime) {
        NARU_ASSIGN_OR_RETURN(offset, FindTime(store_.get(), partition, position.value));
        offset = std::max(offset, partition->start_offset.load());
      }
      reader->loop()->Add(partition, offset);
    }
    return reader;
  }

  absl::StatusOr<std::unique_ptr<Consumer>> OpenConsumer(const std::string& group, const std::string& name,
                                                         RebalanceListener listener) override {
    NARU_ASSIGN_OR_RETURN(Topic * topic, store_->FindTopic(name));
    NARU_ASSIGN_OR_RETURN(const MemberId member, groups_.Join(group, topic));
    return std::make_unique<RocksConsumer>(store_.get(), committer_.get(), &groups_, group, topic, member,
                                           std::move(listener));
  }

  absl::StatusOr<std::vector<std::pair<int, int64_t>>> CommittedOffsets(const std::string& group,
                                                                        const std::string& topic) override {
    NARU_RETURN_IF_ERROR(store_->FindTopic(topic).status());
    const std::map<int, int64_t> committed = groups_.Committed(group, topic);
    return std::vector<std::pair<int, int64_t>>(committed.begin(), committed.end());
  }

  absl::Status DeleteGroup(const std::string& group, const std::string& name) override {
    NARU_ASSIGN_OR_RETURN(Topic * topic, store_->FindTopic(name));
    return groups_.Forget(group, topic);
  }

  absl::Status RunMaintenance() override { return maintenance_->RunOnce(/*force=*/true); }
  LocalStore* local_store() override { return &local_; }
  RecoveryReport recovery_report() override { return store_->Report(); }
  int64_t disk_free_bytes() override { return store_->FreeBytes(); }

  absl::Status Health() override {
    NARU_RETURN_IF_ERROR(store_->WriteHealth());
    return store_->CheckDisk();
  }

  RocksEventLogStats stats() const override {
    const AtomicStats& from = *store_->stats();
    RocksEventLogStats stats;
    stats.appended_records = from.appended_records;
    stats.appended_bytes = from.appended_bytes;
    stats.commits = from.commits;
    stats.refused_appends = from.refused_appends;
    stats.damaged_ranges = from.damaged_ranges;
    stats.damaged_offsets = from.damaged_offsets;
    stats.dropped_unread_records = from.dropped_unread_records;
    stats.dropped_records = from.dropped_records;
    stats.compacted_records = from.compacted_records;
    stats.in_flight_bytes = from.in_flight_bytes;
    return stats;
  }

 private:
  int64_t SizeOf(const Partition& partition) {
    if (!partition.topic->compacted) {
      return static_cast<int64_t>(partition.end_bytes.load() - partition.start_bytes.load());
    }
    uint64_t tables = 0, memory = 0;
    store_->db()->GetIntProperty(partition.family, rocksdb::DB::Properties::kLiveSstFilesSize, &tables);
    store_->db()->GetIntProperty(partition.family, rocksdb::DB::Properties::kCurSizeAllMemTables, &memory);
    return static_cast<int64_t>(tables + memory);
  }

  std::unique_ptr<RocksStore> store_;
  GroupTable groups_;
  ProducerEpochs epochs_;
  RocksLocalStore local_;
  std::unique_ptr<Committer> committer_;
  std::unique_ptr<Maintenance> maintenance_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RocksEventLog>> RocksEventLog::Open(const RocksEventLogOptions& options) {
  NARU_ASSIGN_OR_RETURN(std::unique_ptr<RocksStore> store, RocksStore::Open(options));
  auto log = std::make_unique<RocksEventLogInProcess>(std::move(store));
  NARU_RETURN_IF_ERROR(log->Start());
  return log;
}

}  // namespace naru::event_log
