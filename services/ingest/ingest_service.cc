#include "services/ingest/ingest_service.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"

#include "common/server/server.h"
#include "common/status/grpc_status.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "services/ingest/error_domain.h"
#include "services/ingest/publish_calls.h"
#include "services/ingest/read_events.h"
#include "services/ingest/source_run.h"

namespace naru::ingest {
namespace {

grpc::Status Grpc(const absl::Status& status) { return ToGrpcStatus(status, kErrorDomain); }

void FillTypes(const Counts::ByType& counts, google::protobuf::RepeatedPtrField<v1::TypeCount>* out) {
  std::vector<std::pair<int64_t, std::string>> types;
  for (const auto& [type, count] : counts) {
    if (count != 0) types.emplace_back(-count, type);
  }
  std::sort(types.begin(), types.end());
  for (const auto& [count, type] : types) {
    v1::TypeCount* added = out->Add();
    added->set_type(type);
    added->set_count(-count);
  }
}

void FillAccounting(const Counts& counts, v1::Accounting* out) {
  out->set_received_count(counts.received());
  out->set_accepted_count(counts.accepted());
  out->set_duplicate_count(counts.duplicate);
  out->set_rejected_count(counts.rejected());
  out->set_filtered_count(counts.filtered());
  out->set_replayed_count(counts.replayed);
  std::vector<std::pair<int64_t, int>> reasons;
  for (int reason = 0; reason < kMaxReasons; ++reason) {
    if (counts.rejected_by_reason[reason] > 0) reasons.emplace_back(-counts.rejected_by_reason[reason], reason);
  }
  std::sort(reasons.begin(), reasons.end());
  for (const auto& [count, reason] : reasons) {
    v1::RejectedCount* rejected = out->add_rejected_by_reason();
    rejected->set_reason(static_cast<v1::RejectReason>(reason));
    rejected->set_count(-count);
  }
  FillTypes(counts.stored_by_type, out->mutable_accepted_by_type());
  FillTypes(counts.filtered_by_type, out->mutable_filtered_by_type());
}

int64_t DirectoryBytes(const std::string& path) {
  int64_t sum = 0;
  std::error_code error;
  // Files come and go meanwhile: those that are gone count nothing.
  for (auto it = std::filesystem::recursive_directory_iterator(path, error);
       !error && it != std::filesystem::recursive_directory_iterator(); it.increment(error)) {
    std::error_code gone;
    if (it->is_regular_file(gone)) sum += static_cast<int64_t>(it->file_size(gone));
  }
  return sum;
}

void FillTopic(const event_log::TopicInfo& info, v1::TopicStatus* out) {
  out->set_topic(info.config.name);
  out->set_size_bytes(info.size_bytes);
  for (const event_log::PartitionInfo& partition : info.partitions) {
    v1::PartitionStatus* status = out->add_partitions();
    status->set_partition(partition.partition);
    status->set_start_offset(partition.start_offset);
    status->set_end_offset(partition.end_offset);
  }
  for (const event_log::GroupLag& group : info.groups) {
    if (group.group == kSourceGroup) continue;  // it only elects, and reads nothing
    v1::ConsumerLag* lag = out->add_consumers();
    lag->set_group(group.group);
    lag->set_lag(group.lag);
  }
}

using Publishing = v1::IngestService::WithRawCallbackMethod_PublishEvents<v1::IngestService::Service>;
using Streaming = v1::IngestService::WithRawCallbackMethod_StreamEvents<Publishing>;
using Reading = v1::IngestService::WithCallbackMethod_ReadEvents<Streaming>;
using Importing = v1::IngestService::WithCallbackMethod_ImportEvents<Reading>;

// Ends an import that nobody serves.
class RefusedImport : public grpc::ServerBidiReactor<v1::ImportEventsRequest, v1::ImportEventsResponse> {
 public:
  RefusedImport() { Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "this server takes no imports")); }
  void OnDone() override { delete this; }
};

}  // namespace

// Events go by callbacks over raw bytes; what people ask now and then uses the synchronous API, which may block.
class IngestService::Rpcs final : public Importing {
 public:
  explicit Rpcs(IngestServiceParts parts)
      : parts_(std::move(parts)), publish_(*parts_.pipeline, *parts_.budget), read_(*parts_.log, *parts_.catalog) {}

  grpc::ServerUnaryReactor* PublishEvents(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override {
    return publish_.Publish(context, request, response);
  }
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StreamEvents(
      grpc::CallbackServerContext* context) override {
    return publish_.Stream(context);
  }
  grpc::ServerWriteReactor<v1::ReadEventsResponse>* ReadEvents(grpc::CallbackServerContext* context,
                                                               const v1::ReadEventsRequest* request) override {
    return read_.Read(context, request);
  }
  grpc::ServerBidiReactor<v1::ImportEventsRequest, v1::ImportEventsResponse>* ImportEvents(
      grpc::CallbackServerContext* context) override {
    if (imports_ == nullptr) return new RefusedImport();
    return imports_->ImportEvents(context);
  }

  grpc::Status GetAccounting(grpc::ServerContext*, const v1::GetAccountingRequest*, v1::Accounting* response) override {
    const absl::Status caught_up = parts_.bookkeeping->CatchUp();
    if (!caught_up.ok()) return Grpc(caught_up);
    FillAccounting(parts_.bookkeeping->Totals(), response);
    return grpc::Status::OK;
  }
  grpc::Status ListRejected(grpc::ServerContext*, const v1::ListRejectedRequest* request,
                            v1::ListRejectedResponse* response) override {
    return Grpc(parts_.dead_letters->List(*request, response));
  }
  grpc::Status GetRejected(grpc::ServerContext*, const v1::GetRejectedRequest* request,
                           v1::RejectedEvent* response) override {
    absl::StatusOr<v1::RejectedEvent> letter = parts_.dead_letters->Get(request->name());
    if (letter.ok()) *response = *std::move(letter);
    return Grpc(letter.status());
  }
  grpc::Status ReplayRejected(grpc::ServerContext*, const v1::ReplayRejectedRequest* request,
                              v1::ReplayRejectedResponse* response) override {
    return Grpc(parts_.dead_letters->Replay(*request, response));
  }
  grpc::Status GetIngestStatus(grpc::ServerContext*, const v1::GetIngestStatusRequest*,
                               v1::IngestStatus* response) override {
    return Grpc(FillStatus(response));
  }

  void StopStreams() {
    publish_.StopStreams();
    read_.Stop();
    if (imports_ != nullptr) imports_->Stop();
  }

  void set_import_handler(ImportHandler* handler) { imports_ = handler; }
  void set_sources(std::function<std::vector<v1::SourceStatus>()> sources) { sources_ = std::move(sources); }

 private:
  absl::Status FillStatus(v1::IngestStatus* response) {
    response->set_in_flight_bytes(parts_.budget->taken());
    response->set_deduplication_ids(parts_.bookkeeping->window().stats().ids);
    response->set_disk_free_bytes(parts_.log->disk_free_bytes());
    response->set_disk_used_bytes(parts_.data_dir.empty() ? -1 : DirectoryBytes(parts_.data_dir));
    for (const std::string& note : parts_.log->recovery_report().notes) response->add_recovery_notes(note);
    for (const std::string& note : parts_.notes) response->add_recovery_notes(note);
    if (sources_) {
      for (v1::SourceStatus& source : sources_()) *response->add_sources() = std::move(source);
    }
    const auto topics = parts_.log->ListTopics();
    if (!topics.ok()) return topics.status();
    for (const std::string& topic : *topics) {
      const auto info = parts_.log->DescribeTopic(topic);
      if (info.ok()) FillTopic(*info, response->add_topics());
    }
    return absl::OkStatus();
  }

  const IngestServiceParts parts_;
  PublishCalls publish_;
  ReadEventsCalls read_;
  ImportHandler* imports_ = nullptr;
  std::function<std::vector<v1::SourceStatus>()> sources_;
};

IngestService::IngestService(IngestServiceParts parts) : rpcs_(std::make_unique<Rpcs>(std::move(parts))) {}
IngestService::~IngestService() = default;

void IngestService::set_import_handler(ImportHandler* handler) { rpcs_->set_import_handler(handler); }
void IngestService::set_sources(std::function<std::vector<v1::SourceStatus>()> sources) {
  rpcs_->set_sources(std::move(sources));
}

grpc::Service* IngestService::service() { return rpcs_.get(); }
void IngestService::StopStreams() { rpcs_->StopStreams(); }

void IngestService::Register(Server& server) {
  server.AddService(v1::IngestService::service_full_name(), rpcs_.get());
  const std::string prefix = absl::StrCat("/", v1::IngestService::service_full_name(), "/");
  for (const char* method : {"PublishEvents", "StreamEvents", "ImportEvents"}) {
    server.RequireScope(prefix + method, Scope::kPublish);
  }
  for (const char* method : {"ReadEvents", "GetAccounting", "ListRejected", "GetRejected", "GetIngestStatus"}) {
    server.RequireScope(prefix + method, Scope::kRead);
  }
  server.RequireScope(prefix + "ReplayRejected", Scope::kAdmin);
  server.OnStop([this] { StopStreams(); });
}

}  // namespace naru::ingest
