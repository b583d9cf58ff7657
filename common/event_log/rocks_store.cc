#include "common/event_log/rocks_store.h"

#include <rocksdb/env.h>
#include <rocksdb/iterator.h>
#include <rocksdb/metadata.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/event_log/block.h"
#include "common/log/log.h"
#include "common/rocks/status.h"
#include "common/status/status.h"

namespace naru::event_log {
namespace {

constexpr int kFormatVersion = 1;
constexpr size_t kMinMemoryBudget = size_t{16} << 20;
constexpr int64_t kMiB = int64_t{1} << 20;

// How often a database that stopped taking writes is asked to go on.
constexpr int64_t kResumeEveryUs = 200'000;
// What resuming needs beside the memory: around the tables' data, for a new write-ahead log, for a new manifest.
constexpr int64_t kRoomToResume = 8 * kMiB;

rocks::FamilyUse UseOf(absl::string_view family) {
  return absl::StartsWith(family, "log/") ? rocks::FamilyUse::kGrowing : rocks::FamilyUse::kKeyed;
}

// The greatest key of a family as its tables' books have it, for when the last block itself cannot be read.
int64_t GreatestOffsetInTables(rocksdb::DB* db, rocksdb::ColumnFamilyHandle* family) {
  rocksdb::ColumnFamilyMetaData metadata;
  db->GetColumnFamilyMetaData(family, &metadata);
  int64_t greatest = -1;
  for (const rocksdb::LevelMetaData& level : metadata.levels) {
    for (const rocksdb::SstFileMetaData& file : level.files) {
      greatest = std::max(greatest, ParseLogKey(file.largestkey).value_or(-1));
    }
  }
  return greatest;
}

absl::Status CheckConfig(const TopicConfig& config) {
  NARU_RETURN_IF_ERROR(CheckName("topic", config.name));
  if (config.partitions < 1 || config.partitions > kMaxPartitions) {
    return absl::InvalidArgumentError(
        absl::StrCat("topic ", config.name, ": partitions is ", config.partitions, ", not 1 to ", kMaxPartitions));
  }
  if (config.retention_time.count() < 0 || config.retention_bytes < 0 || config.tombstone_retention.count() < 0 ||
      config.unread_hard_limit_bytes < 0) {
    return absl::InvalidArgumentError(absl::StrCat("topic ", config.name, ": a retention is negative"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<RocksStore>> RocksStore::Open(const RocksEventLogOptions& options) {
  if (options.path.empty()) return absl::InvalidArgumentError("the event log's path is empty");
  if (options.memory_budget < kMinMemoryBudget) {
    return absl::InvalidArgumentError(absl::StrCat("the event log's memory_budget is ", options.memory_budget,
                                                   " bytes, at least ", kMinMemoryBudget, " are needed"));
  }
  if (!options.topic_prefix.empty()) NARU_RETURN_IF_ERROR(CheckName("topic prefix", options.topic_prefix));
  std::unique_ptr<RocksStore> store(new RocksStore(options));
  absl::StatusOr<std::unique_ptr<rocks::DataDirectory>> directory =
      rocks::DataDirectory::Open(options.path, {"event_log", kFormatVersion});
  if (absl::IsDataLoss(directory.status())) {
    // A FORMAT that cannot be read is damage, and damage never stops the log. Blocks carry their own version.
    store->AddNote(absl::StrCat(directory.status().message(), "; it is written again"));
    std::error_code error;
    std::filesystem::remove(absl::StrCat(options.path, "/FORMAT"), error);
    directory = rocks::DataDirectory::Open(options.path, {"event_log", kFormatVersion});
  }
  if (!directory.ok()) return directory.status();
  store->directory_ = *std::move(directory);

  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(options.path, error);
  const int64_t one_percent = error ? 0 : static_cast<int64_t>(space.capacity / 100);
  const auto wal = static_cast<int64_t>(rocks::kMaxWalBytes);
  store->disk_reserve_bytes_ =
      options.disk_reserve_bytes >= 0 ? options.disk_reserve_bytes : std::max(wal + 64 * kMiB, one_percent);

  rocks::DatabaseOptions database;
  database.path = absl::StrCat(options.path, "/db");
  database.env = options.env;
  database.memtable_bytes = options.memory_budget / 2;
  database.cache_bytes = options.memory_budget / 4;
  database.use_of = &UseOf;
  database.lost_put = [raw = store.get()](const std::string& family, absl::string_view key, absl::string_view value) {
    raw->NoteLostPut(family, key, value);
  };
  NARU_ASSIGN_OR_RETURN(store->database_, rocks::Database::Open(std::move(database)));
  for (const std::string& note : store->database_->notes()) store->AddNote(note);
  NARU_RETURN_IF_ERROR(store->database_->EnsureFamilies({kMetaFamily}));
  store->meta_ = store->database_->Find(kMetaFamily);
  NARU_RETURN_IF_ERROR(store->LoadTopics());
  return store;
}

void RocksStore::NoteLostPut(const std::string& family, absl::string_view key, absl::string_view value) {
  if (!ParseLogFamily(family).has_value()) return;
  const std::optional<int64_t> base = ParseLogKey(key);
  if (!base.has_value()) return;
  const absl::StatusOr<BlockHeader> header = ParseBlockHeader(value);
  LostRange& range = lost_[family];
  range.from = std::min(range.from, *base);
  range.to = std::max(range.to, *base + (header.ok() ? header->span : kMaxBlockRecords));
}

absl::Status RocksStore::LoadTopics() {
  std::vector<TopicConfig> configs;
  NARU_RETURN_IF_ERROR(ScanMeta(MetaKind::kTopic, [&](absl::string_view key, absl::string_view value) -> absl::Status {
    const std::optional<MetaName> name = ParseMetaKey(key, MetaKind::kTopic);
    absl::string_view topic = name.has_value() ? absl::string_view(name->first) : "";
    if (!name.has_value() || !absl::ConsumePrefix(&topic, options_.topic_prefix)) return absl::OkStatus();
    absl::StatusOr<TopicConfig> config = DecodeTopic(topic, value);
    if (absl::IsDataLoss(config.status())) {
      AddNote(absl::StrCat("topic ", topic, ": ", config.status().message()));
      return absl::OkStatus();
    }
    if (!config.ok()) return config.status();
    configs.push_back(*std::move(config));
    return absl::OkStatus();
  }));
  for (const TopicConfig& config : configs) {
    NARU_ASSIGN_OR_RETURN(std::unique_ptr<Topic> topic, MakeTopic(config));
    MutexLock lock(&mu_);
    topics_[config.name] = std::move(topic);
  }
  lost_.clear();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Topic>> RocksStore::MakeTopic(const TopicConfig& config) {
  auto topic = std::make_unique<Topic>();
  topic->name = config.name;
  topic->stored_name = absl::StrCat(options_.topic_prefix, config.name);
  topic->compacted = config.compacted;
  {
    MutexLock lock(&topic->mu);
    topic->config = config;
  }
  std::vector<std::string> families;
  for (int p = 0; p < config.partitions; ++p) {
    families.push_back(LogFamily(topic->stored_name, p, config.compacted));
  }
  NARU_RETURN_IF_ERROR(database_->EnsureFamilies(families));
  for (int p = 0; p < config.partitions; ++p) {
    auto partition = std::make_unique<Partition>();
    partition->topic = topic.get();
    partition->index = p;
    partition->family = database_->Find(families[static_cast<size_t>(p)]);
    NARU_RETURN_IF_ERROR(LoadPartition(partition.get()));
    topic->partitions.push_back(std::move(partition));
  }
  return topic;
}

absl::Status RocksStore::LoadPartition(Partition* partition) {
  const std::string& topic = partition->topic->stored_name;
  std::string value;
  const rocksdb::Status found = db()->Get(rocksdb::ReadOptions(), meta_, PartitionKey(topic, partition->index), &value);
  if (!found.ok() && !found.IsNotFound() && !found.IsCorruption()) return rocks::FromRocks(found, "reading partition");
  PartitionState state;
  if (found.ok()) {
    const absl::StatusOr<PartitionState> decoded = DecodePartitionState(value);
    if (absl::IsFailedPrecondition(decoded.status())) return decoded.status();
    if (decoded.ok()) state = *decoded;
  }
  int64_t floor = std::max(state.end_floor, state.start_offset);
  std::string mark;
  if (db()->Get(rocksdb::ReadOptions(), meta_, EndKey(topic, partition->index), &mark).ok()) {
    floor = std::max(floor, DecodeNumber(mark).value_or(0));
  }
  // A group that is ahead of the log has read what is now lost: giving its offsets out again would hide new records
  // from it.
  NARU_RETURN_IF_ERROR(ScanMeta(MetaKind::kGroupOffset, [&](absl::string_view key, absl::string_view number) {
    const std::optional<MetaName> name = ParseMetaKey(key, MetaKind::kGroupOffset);
    if (name.has_value() && name->second == topic && name->partition == partition->index) {
      floor = std::max(floor, DecodeNumber(number).value_or(0));
    }
    return absl::OkStatus();
  }));
  NARU_ASSIGN_OR_RETURN(const int64_t end, LoadTail(partition, floor));
  if (std::max(end, state.start_offset) < floor) {
    AddNote(absl::StrCat("topic ", partition->topic->name, " partition ", partition->index, " ends at offset ", end,
                         ", although it had reached ", floor, "; what was between is lost"));
  }
  {
    MutexLock lock(&partition->state_mu);
    partition->state = state;
  }
  partition->start_offset = state.start_offset;
  partition->end_offset = partition->tail.next_offset;
  partition->end_bytes = partition->tail.bytes;
  NARU_RETURN_IF_ERROR(SkipLostTail(partition));
  return LoadStartBytes(partition);
}

absl::Status RocksStore::SkipLostTail(Partition* partition) {
  const auto lost = lost_.find(LogFamily(partition->topic->stored_name, partition->index, partition->topic->compacted));
  // What lies below the end is there after all: compaction had only written it anew.
  Partition::Tail& tail = partition->tail;
  if (lost == lost_.end() || lost->second.to <= tail.next_offset) return absl::OkStatus();
  AddNote(absl::StrCat("topic ", partition->topic->name, " partition ", partition->index, ": offsets [",
                       std::max(lost->second.from, tail.next_offset), ", ", lost->second.to,
                       ") were lost with the write-ahead log"));
  // Never given out again: readers are told that they are lost rather than shown other records under them.
  tail.next_offset = lost->second.to;
  tail.previous_end = tail.next_offset;
  partition->end_offset = tail.next_offset;
  const int64_t end = tail.next_offset;
  return UpdatePartitionState(partition, [end](PartitionState* state) { state->end_floor = end; });
}

absl::StatusOr<int64_t> RocksStore::LoadTail(Partition* partition, int64_t end_floor) {
  Partition::Tail& tail = partition->tail;
  rocksdb::ReadOptions read;
  read.fill_cache = false;
  const std::unique_ptr<rocksdb::Iterator> it(db()->NewIterator(read, partition->family));
  it->SeekToLast();
  int64_t end = 0;
  int64_t unreadable = -1;  // base offset of a last block that cannot be read
  if (it->Valid()) {
    const int64_t base = ParseLogKey(ToView(it->key())).value_or(0);
    const absl::StatusOr<BlockHeader> header = ParseBlockHeader(ToView(it->value()));
    if (absl::IsFailedPrecondition(header.status())) return header.status();
    if (header.ok()) {
      end = base + header->span;
      tail.max_timestamp_us = header->partition_max_timestamp_us;
      tail.bytes = header->bytes_before + it->value().size();
    } else {
      unreadable = base;
    }
  } else if (!it->status().ok()) {
    unreadable = GreatestOffsetInTables(db(), partition->family);
  }
  if (unreadable >= 0) {
    end = unreadable + kMaxBlockRecords;
    AddNote(absl::StrCat("topic ", partition->topic->name, " partition ", partition->index,
                         ": the last block, at offset ", unreadable, ", is damaged; new records begin at ", end));
  }
  tail.next_offset = std::max(end, end_floor);
  tail.previous_end = tail.next_offset;
  tail.bytes_at_mark = tail.bytes;
  return end;
}

absl::Status RocksStore::LoadStartBytes(Partition* partition) {
  rocksdb::ReadOptions read;
  read.fill_cache = false;
  const std::unique_ptr<rocksdb::Iterator> it(db()->NewIterator(read, partition->family));
  it->Seek(LogKey(partition->start_offset));
  const absl::StatusOr<BlockHeader> header =
      it->Valid() ? ParseBlockHeader(ToView(it->value())) : absl::DataLossError("no block");
  // Without a readable first block the size is taken as nothing until retention looks again.
  partition->start_bytes = header.ok() ? header->bytes_before : partition->end_bytes.load();
  return absl::OkStatus();
}

absl::Status RocksStore::CreateTopic(const TopicConfig& config) {
  NARU_RETURN_IF_ERROR(CheckConfig(config));
  MutexLock create_lock(&create_mu_);
  const absl::StatusOr<Topic*> existing = FindTopic(config.name);
  if (existing.ok()) {
    Topic* topic = *existing;
    if (static_cast<int>(topic->partitions.size()) != config.partitions || topic->compacted != config.compacted) {
      return absl::FailedPreconditionError(
          absl::StrCat("topic ", config.name, " exists with ", topic->partitions.size(), " partitions, ",
                       topic->compacted ? "compacted" : "not compacted", "; these cannot be changed to ",
                       config.partitions, " partitions, ", config.compacted ? "compacted" : "not compacted"));
    }
    const std::string encoded = EncodeTopic(config);
    if (encoded == EncodeTopic(topic->Config())) return absl::OkStatus();
    NARU_RETURN_IF_ERROR(WriteMeta({{TopicKey(topic->stored_name), encoded}}));
    MutexLock lock(&topic->mu);
    topic->config = config;
    return absl::OkStatus();
  }
  NARU_ASSIGN_OR_RETURN(std::unique_ptr<Topic> topic, MakeTopic(config));
  NARU_RETURN_IF_ERROR(WriteMeta({{TopicKey(topic->stored_name), EncodeTopic(config)}}));
  MutexLock lock(&mu_);
  topics_[config.name] = std::move(topic);
  return absl::OkStatus();
}

absl::StatusOr<Topic*> RocksStore::FindTopic(const std::string& name) {
  MutexLock lock(&mu_);
  const auto it = topics_.find(name);
  if (it == topics_.end()) return absl::NotFoundError(absl::StrCat("there is no topic '", name, "'"));
  return it->second.get();
}

absl::StatusOr<Partition*> RocksStore::FindPartition(const std::string& topic, int partition) {
  NARU_ASSIGN_OR_RETURN(Topic * found, FindTopic(topic));
  if (partition < 0 || partition >= static_cast<int>(found->partitions.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("topic ", topic, " has partitions 0 to ", found->partitions.size() - 1, ", not ", partition));
  }
  return found->partitions[static_cast<size_t>(partition)].get();
}

std::vector<Topic*> RocksStore::Topics() {
  MutexLock lock(&mu_);
  std::vector<Topic*> topics;
  topics.reserve(topics_.size());
  for (const auto& [name, topic] : topics_) topics.push_back(topic.get());
  return topics;
}

absl::Status RocksStore::WriteMeta(const std::vector<std::pair<std::string, std::string>>& puts,
                                   const std::vector<std::string>& deletes) {
  rocksdb::WriteBatch batch;
  for (const auto& [key, value] : puts) batch.Put(meta_, key, value);
  for (const std::string& key : deletes) batch.Delete(meta_, key);
  return Write(&batch, /*sync=*/true, "writing the log's books");
}

rocksdb::Status RocksStore::Resume() {
  MutexLock lock(&resume_mu_);
  const int64_t now = Clock::System()->MonotonicMicros();
  if (now < next_resume_us_) return rocksdb::Status::Busy("resumed a moment ago");
  // Resuming writes the memory out. To try that without the space for it would turn an error that passes into one that
  // only a restart mends.
  const int64_t free = FreeBytes();
  const auto needed = static_cast<int64_t>(options_.memory_budget / 2) + kRoomToResume;
  if (free >= 0 && free < needed) return rocksdb::Status::NoSpace("not enough room to write the memory out");
  next_resume_us_ = now + kResumeEveryUs;
  return db()->Resume();
}

absl::Status RocksStore::Write(rocksdb::WriteBatch* batch, bool sync, absl::string_view what) {
  rocksdb::WriteOptions write;
  write.sync = sync;
  rocksdb::Status written = db()->Write(write, batch);
  // What the failed try left in the write-ahead log, if anything, the same bytes overwrite.
  if (!written.ok() && Resume().ok()) written = db()->Write(write, batch);
  const absl::Status status = rocks::FromRocks(written, what);
  if (!status.ok() || write_failed_.load()) {
    NARU_LOG_EVERY_SECONDS(5, WARNING, "writes of the event log", {{"status", status}});
    MutexLock lock(&mu_);
    write_health_ = status;
    write_failed_ = !status.ok();
  }
  return status;
}

absl::Status RocksStore::WriteHealth() const {
  MutexLock lock(&mu_);
  return write_health_;
}

absl::Status RocksStore::ScanMeta(MetaKind kind,
                                  const std::function<absl::Status(absl::string_view, absl::string_view)>& fn) {
  const std::string prefix = MetaPrefix(kind);
  const std::unique_ptr<rocksdb::Iterator> it(db()->NewIterator(rocksdb::ReadOptions(), meta_));
  for (it->Seek(prefix); it->Valid() && absl::StartsWith(ToView(it->key()), prefix); it->Next()) {
    NARU_RETURN_IF_ERROR(fn(ToView(it->key()), ToView(it->value())));
  }
  if (!it->status().ok()) {
    // The log goes on with what can be read; what could not is told.
    AddNote(absl::StrCat("the log's books are damaged: ", it->status().ToString()));
  }
  return absl::OkStatus();
}

absl::Status RocksStore::UpdatePartitionState(Partition* partition,
                                              const std::function<void(PartitionState*)>& change) {
  MutexLock lock(&partition->state_mu);
  PartitionState state = partition->state;
  change(&state);
  NARU_RETURN_IF_ERROR(
      WriteMeta({{PartitionKey(partition->topic->stored_name, partition->index), EncodePartitionState(state)}}));
  partition->state = state;
  return absl::OkStatus();
}

int64_t RocksStore::FreeBytes() const {
  uint64_t free = 0;
  rocksdb::Env* env = options_.env != nullptr ? options_.env : rocksdb::Env::Default();
  if (!env->GetFreeSpace(options_.path, &free).ok()) return -1;
  return static_cast<int64_t>(free);
}

absl::Status RocksStore::CheckDisk() const {
  const int64_t free = FreeBytes();
  if (free < 0 || free >= disk_reserve_bytes_) return absl::OkStatus();
  ErrorDetails details;
  details.reason = "DISK_NEARLY_FULL";
  details.retry_after = std::chrono::seconds(5);
  return MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("the disk of ", options_.path, " has ", free / kMiB, " MiB free, less than the reserve of ",
                   disk_reserve_bytes_ / kMiB, " MiB; free some space, writing then resumes by itself"),
      std::move(details));
}

void RocksStore::AddNote(std::string note) {
  constexpr size_t kMaxNotes = 1000;  // damage without end must not fill the memory
  MutexLock lock(&mu_);
  if (notes_.size() < kMaxNotes) notes_.push_back(std::move(note));
}

RecoveryReport RocksStore::Report() const {
  MutexLock lock(&mu_);
  return RecoveryReport{notes_};
}

}  // namespace naru::event_log
