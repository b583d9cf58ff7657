#include "common/event_log/kafka_event_log.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/event_log/kafka_appender.h"
#include "common/event_log/kafka_reader.h"
#include "common/event_log/kafka_records.h"
#include "common/event_log/kafka_transactor.h"
#include "common/kafka/admin.h"
#include "common/kafka/errors.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"

namespace naru::event_log {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr size_t kMaxNotes = 100;
// Groups whose lag DescribeTopic looks up: one request each.
constexpr size_t kMaxDescribedGroups = 100;
constexpr milliseconds kHealthAge(1000);
constexpr milliseconds kHealthTimeout(2000);
constexpr int64_t kDefaultSegmentMs = int64_t{7} * 24 * 3600 * 1000;
constexpr int64_t kDefaultSegmentBytes = int64_t{1} << 30;
constexpr int64_t kSmallestSegmentBytes = int64_t{1} << 20;

int64_t ToMs(microseconds d) { return std::chrono::duration_cast<milliseconds>(d).count(); }

std::map<std::string, std::string> SettingsOf(const TopicConfig& config) {
  std::map<std::string, std::string> settings = {
      {"cleanup.policy", config.compacted ? "compact" : "delete"},
      {"retention.ms", "-1"},
      {"retention.bytes", "-1"},
      {"delete.retention.ms", absl::StrCat(ToMs(config.tombstone_retention))},
      // Records carry the time at which Naru received them.
      {"message.timestamp.type", "CreateTime"},
      {"max.message.bytes", absl::StrCat(kMaxRecordBytes + (64 << 10))},
  };
  if (config.compacted) return settings;
  // Only whole segments are dropped, so they are a tenth of what is kept, where that is little.
  if (config.retention_time.count() > 0) {
    const int64_t retention_ms = std::max<int64_t>(ToMs(config.retention_time), 1);
    settings["retention.ms"] = absl::StrCat(retention_ms);
    settings["segment.ms"] = absl::StrCat(std::clamp<int64_t>(retention_ms / 10, 1000, kDefaultSegmentMs));
  }
  if (config.retention_bytes > 0) {
    settings["retention.bytes"] = absl::StrCat(config.retention_bytes);
    settings["segment.bytes"] =
        absl::StrCat(std::clamp(config.retention_bytes / 10, kSmallestSegmentBytes, kDefaultSegmentBytes));
  }
  return settings;
}

int64_t NumberIn(const std::map<std::string, std::string>& settings, const std::string& name, int64_t fallback) {
  const auto found = settings.find(name);
  int64_t number = 0;
  return found != settings.end() && absl::SimpleAtoi(found->second, &number) ? number : fallback;
}

TopicConfig ConfigOf(const std::string& name, int partitions, const std::map<std::string, std::string>& settings) {
  TopicConfig config;
  config.name = name;
  config.partitions = partitions;
  const auto policy = settings.find("cleanup.policy");
  config.compacted = policy != settings.end() && absl::StrContains(policy->second, "compact");
  const bool drops = policy == settings.end() || absl::StrContains(policy->second, "delete");
  if (drops) {
    config.retention_time = milliseconds(std::max<int64_t>(NumberIn(settings, "retention.ms", 0), 0));
    config.retention_bytes = std::max<int64_t>(NumberIn(settings, "retention.bytes", 0), 0);
  }
  config.tombstone_retention = milliseconds(std::max<int64_t>(NumberIn(settings, "delete.retention.ms", 0), 0));
  return config;
}

std::vector<int> FirstPartitions(int count) {
  std::vector<int> partitions(count);
  for (int i = 0; i < count; ++i) partitions[i] = i;
  return partitions;
}

class KafkaProducer : public Producer {
 public:
  KafkaProducer(const KafkaShared& shared, std::unique_ptr<KafkaTransactor> transactor)
      : shared_(shared), transactor_(std::move(transactor)) {}

  absl::Status Start() {
    NARU_ASSIGN_OR_RETURN(appender_, KafkaAppender::Open(shared_));
    return absl::OkStatus();
  }

  void AppendAsync(std::vector<AppendBatch> batches, std::vector<LocalWrite> local, Callback done) override {
    absl::Status refused;
    if (!local.empty()) {
      refused = MakeError(absl::StatusCode::kFailedPrecondition, "NO_LOCAL_STORE", "a log on Kafka has no local store");
    } else if (transactor_ != nullptr) {
      // Appends are outside of transactions, but a producer that knows of its successor writes nothing more.
      refused = transactor_->broken();
    }
    appender_->AppendAsync(std::move(batches), std::move(done), std::move(refused));
  }

  absl::StatusOr<AppendResult> Commit(const Transaction& transaction) override {
    if (transactor_ == nullptr) {
      return MakeError(absl::StatusCode::kFailedPrecondition, "NO_TRANSACTIONAL_ID",
                       "Commit needs a producer with a transactional id");
    }
    return transactor_->Commit(transaction);
  }

 private:
  const KafkaShared& shared_;
  std::unique_ptr<KafkaTransactor> transactor_;
  std::unique_ptr<KafkaAppender> appender_;
};

class KafkaLog : public KafkaEventLog {
 public:
  KafkaLog(const KafkaEventLogOptions& options, std::unique_ptr<kafka::Admin> admin) : admin_(std::move(admin)) {
    shared_.options = options;
    shared_.partition_count = [this](const std::string& topic) { return Partitions(topic); };
    shared_.stable_ends = [this](rd_kafka_topic_partition_list_t* list) { return admin_->StableEnds(list); };
    shared_.note = [this](std::string note) { Note(std::move(note)); };
  }

  absl::Status CreateTopic(const TopicConfig& config) override;
  absl::StatusOr<TopicInfo> DescribeTopic(const std::string& topic) override;
  absl::StatusOr<std::vector<std::string>> ListTopics() override;

  absl::StatusOr<std::unique_ptr<Producer>> OpenProducer(const ProducerOptions& options) override;
  absl::StatusOr<std::unique_ptr<Reader>> OpenReader(const std::string& topic,
                                                     std::vector<ReadPosition> positions) override {
    return KafkaReader::Open(shared_, topic, positions);
  }
  absl::StatusOr<std::unique_ptr<Consumer>> OpenConsumer(const std::string& group, const std::string& topic,
                                                         RebalanceListener listener) override {
    return KafkaConsumer::Open(shared_, group, topic, std::move(listener));
  }
  absl::StatusOr<std::vector<std::pair<int, int64_t>>> CommittedOffsets(const std::string& group,
                                                                        const std::string& topic) override {
    NARU_ASSIGN_OR_RETURN(const int partitions, Partitions(topic));
    return admin_->CommittedOffsets(Full(group), Full(topic), partitions);
  }
  absl::Status DeleteGroup(const std::string& group, const std::string& topic) override {
    NARU_ASSIGN_OR_RETURN(const int partitions, Partitions(topic));
    return admin_->DeleteGroupOffsets(Full(group), Full(topic), partitions);
  }

  absl::Status RunMaintenance() override { return absl::OkStatus(); }
  LocalStore* local_store() override { return nullptr; }
  RecoveryReport recovery_report() override {
    MutexLock lock(&mu_);
    return report_;
  }
  absl::Status Health() override;
  int64_t disk_free_bytes() override { return -1; }

 private:
  std::string Full(const std::string& name) const { return shared_.options.topic_prefix + name; }
  absl::StatusOr<int> Partitions(const std::string& topic);
  absl::Status CreateNew(const TopicConfig& config);
  absl::StatusOr<std::vector<GroupLag>> Lags(const std::string& topic, const std::vector<PartitionInfo>& partitions);
  void Note(std::string note);

  KafkaShared shared_;
  const std::unique_ptr<kafka::Admin> admin_;
  Mutex mu_;
  std::map<std::string, int> partitions_ ABSL_GUARDED_BY(mu_);
  RecoveryReport report_ ABSL_GUARDED_BY(mu_);
  Mutex health_mu_;
  std::chrono::steady_clock::time_point health_checked_ ABSL_GUARDED_BY(health_mu_);
  absl::Status health_ ABSL_GUARDED_BY(health_mu_);
};

absl::StatusOr<int> KafkaLog::Partitions(const std::string& topic) {
  {
    MutexLock lock(&mu_);
    const auto found = partitions_.find(topic);
    if (found != partitions_.end()) return found->second;
  }
  absl::StatusOr<int> partitions = admin_->PartitionCount(Full(topic));
  if (partitions.status().code() == absl::StatusCode::kNotFound) {
    return MakeError(absl::StatusCode::kNotFound, "TOPIC_NOT_FOUND", absl::StrCat("topic ", topic, " is not there"));
  }
  NARU_RETURN_IF_ERROR(partitions.status());
  MutexLock lock(&mu_);
  partitions_[topic] = *partitions;
  return *partitions;
}

void KafkaLog::Note(std::string note) {
  MutexLock lock(&mu_);
  if (report_.notes.size() < kMaxNotes) report_.notes.push_back(std::move(note));
}

absl::Status KafkaLog::CreateNew(const TopicConfig& config) {
  std::map<std::string, std::string> settings = SettingsOf(config);
  // By default brokers refuse records from more than an hour ahead, by their clock; Naru's own clock decides. Brokers
  // before 3.6 do not know the setting.
  settings["message.timestamp.after.max.ms"] = absl::StrCat(std::numeric_limits<int64_t>::max());
  const std::string topic = Full(config.name);
  absl::Status status = admin_->CreateTopic(topic, config.partitions, shared_.options.replication_factor, settings);
  if (status.code() == absl::StatusCode::kInvalidArgument && GetErrorDetails(status).reason == "KAFKA_INVALID_CONFIG") {
    settings.erase("message.timestamp.after.max.ms");
    status = admin_->CreateTopic(topic, config.partitions, shared_.options.replication_factor, settings);
  }
  return status;
}

absl::Status KafkaLog::CreateTopic(const TopicConfig& config) {
  if (config.name.empty() || config.partitions < 1) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TOPIC_CONFIG",
                     "a topic needs a name and at least one partition");
  }
  absl::StatusOr<int> partitions = Partitions(config.name);
  if (partitions.status().code() == absl::StatusCode::kNotFound) {
    const absl::Status created = CreateNew(config);
    if (!created.ok() && created.code() != absl::StatusCode::kAlreadyExists) return created;
    // Brokers learn of a topic a moment after the controller.
    const auto deadline = std::chrono::steady_clock::now() + shared_.options.request_timeout;
    do {
      partitions = Partitions(config.name);
    } while (partitions.status().code() == absl::StatusCode::kNotFound && std::chrono::steady_clock::now() < deadline);
    NARU_RETURN_IF_ERROR(partitions.status());
    if (created.ok()) return absl::OkStatus();
  }
  NARU_RETURN_IF_ERROR(partitions.status());
  if (*partitions != config.partitions) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "TOPIC_DIFFERS",
                     absl::StrCat("topic ", config.name, " has ", *partitions, " partitions, not ", config.partitions));
  }
  NARU_ASSIGN_OR_RETURN(const auto current, admin_->TopicSettings(Full(config.name)));
  if (ConfigOf(config.name, *partitions, current).compacted != config.compacted) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "TOPIC_DIFFERS",
                     absl::StrCat("topic ", config.name, config.compacted ? " is not compacted" : " is compacted"));
  }
  std::map<std::string, std::string> changes;
  for (const auto& [name, value] : SettingsOf(config)) {
    // How the topic was set up is its owner's affair; only what is kept is Naru's.
    if (name == "cleanup.policy" || name == "message.timestamp.type" || name == "max.message.bytes") continue;
    const auto found = current.find(name);
    if (found == current.end() || found->second != value) changes[name] = value;
  }
  return changes.empty() ? absl::OkStatus() : admin_->SetTopicSettings(Full(config.name), changes);
}

absl::StatusOr<TopicInfo> KafkaLog::DescribeTopic(const std::string& topic) {
  NARU_ASSIGN_OR_RETURN(const int count, Partitions(topic));
  NARU_ASSIGN_OR_RETURN(const auto settings, admin_->TopicSettings(Full(topic)));
  TopicInfo info;
  info.config = ConfigOf(topic, count, settings);
  const std::vector<int> all = FirstPartitions(count);
  NARU_ASSIGN_OR_RETURN(const kafka::PartitionOffsets starts,
                        admin_->Offsets(Full(topic), all, kafka::Admin::At::kStart));
  NARU_ASSIGN_OR_RETURN(const kafka::PartitionOffsets ends, admin_->Offsets(Full(topic), all, kafka::Admin::At::kEnd));
  const std::map<int, int64_t> end_of(ends.begin(), ends.end());
  for (const auto& [partition, start] : starts) info.partitions.push_back({partition, start, end_of.at(partition)});
  std::sort(info.partitions.begin(), info.partitions.end(),
            [](const PartitionInfo& a, const PartitionInfo& b) { return a.partition < b.partition; });
  NARU_ASSIGN_OR_RETURN(info.groups, Lags(topic, info.partitions));
  return info;
}

absl::StatusOr<std::vector<GroupLag>> KafkaLog::Lags(const std::string& topic,
                                                     const std::vector<PartitionInfo>& partitions) {
  NARU_ASSIGN_OR_RETURN(std::vector<std::string> groups, admin_->ListGroups());
  const std::string& prefix = shared_.options.topic_prefix;
  std::erase_if(groups, [&](const std::string& group) { return !absl::StartsWith(group, prefix); });
  std::sort(groups.begin(), groups.end());
  if (groups.size() > kMaxDescribedGroups) {
    NARU_LOG_EVERY_SECONDS(600, WARNING, "only some groups' lag is shown",
                           {{"groups", groups.size()}, {"shown", kMaxDescribedGroups}});
    groups.resize(kMaxDescribedGroups);
  }
  std::vector<GroupLag> lags;
  for (const std::string& group : groups) {
    absl::StatusOr<kafka::PartitionOffsets> committed =
        admin_->CommittedOffsets(group, Full(topic), static_cast<int>(partitions.size()));
    if (committed.status().code() == absl::StatusCode::kPermissionDenied) continue;  // somebody else's group
    NARU_RETURN_IF_ERROR(committed.status());
    if (committed->empty()) continue;
    const std::map<int, int64_t> next(committed->begin(), committed->end());
    GroupLag lag{group.substr(prefix.size()), 0};
    for (const PartitionInfo& partition : partitions) {
      const auto found = next.find(partition.partition);
      const int64_t from =
          found == next.end() ? partition.start_offset : std::max(found->second, partition.start_offset);
      lag.lag += std::max<int64_t>(partition.end_offset - from, 0);
    }
    lags.push_back(std::move(lag));
  }
  return lags;
}

absl::StatusOr<std::vector<std::string>> KafkaLog::ListTopics() {
  NARU_ASSIGN_OR_RETURN(const std::vector<std::string> all, admin_->ListTopics());
  const std::string& prefix = shared_.options.topic_prefix;
  std::vector<std::string> topics;
  for (const std::string& topic : all) {
    // Topics with two underscores are Kafka's own.
    if (absl::StartsWith(topic, prefix) && !absl::StartsWith(topic, "__"))
      topics.push_back(topic.substr(prefix.size()));
  }
  std::sort(topics.begin(), topics.end());
  return topics;
}

absl::StatusOr<std::unique_ptr<Producer>> KafkaLog::OpenProducer(const ProducerOptions& options) {
  std::unique_ptr<KafkaTransactor> transactor;
  if (!options.transactional_id.empty()) {
    NARU_ASSIGN_OR_RETURN(transactor, KafkaTransactor::Open(shared_, options.transactional_id));
  }
  auto producer = std::make_unique<KafkaProducer>(shared_, std::move(transactor));
  NARU_RETURN_IF_ERROR(producer->Start());
  return std::unique_ptr<Producer>(std::move(producer));
}

absl::Status KafkaLog::Health() {
  MutexLock lock(&health_mu_);
  const auto now = std::chrono::steady_clock::now();
  // Asked of a broker at most once a second, however often it is looked at.
  if (health_checked_ == std::chrono::steady_clock::time_point() || now - health_checked_ >= kHealthAge) {
    health_ = admin_->Ping(std::min(kHealthTimeout, shared_.options.request_timeout));
    health_checked_ = std::chrono::steady_clock::now();
  }
  return health_;
}

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaEventLog>> KafkaEventLog::Open(const KafkaEventLogOptions& options) {
  if (options.brokers.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "KAFKA_SETTING", "Kafka brokers are not given: host:port,...");
  }
  NARU_ASSIGN_OR_RETURN(std::unique_ptr<kafka::Admin> admin,
                        kafka::Admin::Open(ClientOptionsOf(options), options.request_timeout));
  NARU_RETURN_IF_ERROR(admin->Ping(options.request_timeout));
  auto log = std::make_unique<KafkaLog>(options, std::move(admin));
  return std::unique_ptr<KafkaEventLog>(std::move(log));
}

}  // namespace naru::event_log
