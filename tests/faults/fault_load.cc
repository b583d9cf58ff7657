#include "tests/faults/fault_load.h"

#include <grpcpp/grpcpp.h>

#include <deque>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock/clock.h"
#include "common/status/grpc_status.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"

namespace naru::faults {
namespace {

using ingest::v1::IngestService;
using ingest::v1::PublishEventsRequest;
using ingest::v1::PublishEventsResponse;

constexpr int kUnaryClients = 2;
constexpr int kStreamClients = 2;
constexpr int kBatchesUnderWay = 8;  // of one stream

std::unique_ptr<IngestService::Stub> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(64 << 20);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return IngestService::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

std::vector<std::string> Ids(const PublishEventsRequest& request) {
  std::vector<std::string> ids;
  for (const auto& event : request.events()) {
    if (event.type() == "load") ids.push_back(event.id());
  }
  return ids;
}

}  // namespace

void Told::Acknowledge(const std::vector<std::string>& ids) {
  MutexLock lock(&mu_);
  acknowledged_.insert(ids.begin(), ids.end());
}

void Told::Send(const std::vector<std::string>& ids) {
  MutexLock lock(&mu_);
  sent_.insert(ids.begin(), ids.end());
}

std::set<std::string> Told::acknowledged() const {
  MutexLock lock(&mu_);
  return acknowledged_;
}

std::set<std::string> Told::sent() const {
  MutexLock lock(&mu_);
  return sent_;
}

PublishEventsRequest FaultLoad::MakeBatch(int client) {
  const int64_t batch = next_batch_++;
  SeededRandom random(seed_ + batch);
  PublishEventsRequest request;
  const int count = 1 + random.Next() % 100;
  for (int i = 0; i < count; ++i) {
    auto* event = request.add_events();
    event->set_id(absl::StrCat("c", client, "-", batch, "-", i));
    event->set_source("faults");
    event->set_type(random.Next() % 50 == 0 ? "no-such-type" : "load");
    event->set_subject(absl::StrCat("user", random.Next() % 100));
    (*event->mutable_data()->mutable_fields())["n"].set_number_value(i);
    if (random.Next() % 20 == 0) *request.add_events() = *event;  // the same event twice in one batch
  }
  return request;
}

void FaultLoad::Record(const PublishEventsRequest& request, const PublishEventsResponse& response) {
  std::set<int> rejected;
  for (const auto& result : response.not_accepted()) {
    if (!result.duplicate()) rejected.insert(result.index());
  }
  std::vector<std::string> ids;
  for (int i = 0; i < request.events_size(); ++i) {
    if (rejected.count(i) == 0) ids.push_back(request.events(i).id());
  }
  told_->Acknowledge(ids);
}

void FaultLoad::KeepUnanswered(PublishEventsRequest request) {
  MutexLock lock(&mu_);
  unanswered_.push_back(std::move(request));
}

void FaultLoad::RunUnary(const std::string& address, int client) {
  const auto stub = Connect(address);
  while (!stopping_) {
    PublishEventsRequest request = MakeBatch(client);
    told_->Send(Ids(request));
    PublishEventsResponse response;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    const grpc::Status status = stub->PublishEvents(&context, request, &response);
    if (status.ok()) {
      Record(request, response);
    } else {
      KeepUnanswered(std::move(request));
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the server is gone, or asks for patience
    }
  }
}

void FaultLoad::RunStream(const std::string& address, int client) {
  const auto stub = Connect(address);
  grpc::ClientContext context;
  const auto stream = stub->StreamEvents(&context);
  std::deque<PublishEventsRequest> under_way;
  const auto read_one = [&] {
    PublishEventsResponse response;
    if (!stream->Read(&response)) return false;
    Record(under_way.front(), response);
    under_way.pop_front();
    return true;
  };
  bool alive = true;
  while (!stopping_ && alive) {
    PublishEventsRequest request = MakeBatch(client);
    told_->Send(Ids(request));
    alive = stream->Write(request);
    under_way.push_back(std::move(request));
    if (alive && under_way.size() >= kBatchesUnderWay) alive = read_one();
  }
  stream->WritesDone();
  while (!under_way.empty() && read_one()) {
  }
  stream->Finish();
  for (PublishEventsRequest& request : under_way) KeepUnanswered(std::move(request));
}

void FaultLoad::Start(const std::string& address) {
  stopping_ = false;
  for (int i = 0; i < kUnaryClients; ++i) threads_.emplace_back([=, this] { RunUnary(address, i); });
  for (int i = 0; i < kStreamClients; ++i) {
    threads_.emplace_back([=, this] { RunStream(address, kUnaryClients + i); });
  }
}

void FaultLoad::Stop() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

absl::Status FaultLoad::SendUnanswered(const std::string& address) {
  const auto stub = Connect(address);
  std::vector<PublishEventsRequest> requests;
  {
    MutexLock lock(&mu_);
    requests.swap(unanswered_);
  }
  absl::Status first_error;
  for (PublishEventsRequest& request : requests) {
    PublishEventsResponse response;
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    const grpc::Status status =
        first_error.ok() ? stub->PublishEvents(&context, request, &response) : grpc::Status::CANCELLED;
    if (status.ok()) {
      Record(request, response);
    } else {
      if (first_error.ok()) first_error = FromGrpcStatus(status);
      KeepUnanswered(std::move(request));
    }
  }
  return first_error;
}

absl::StatusOr<std::map<std::string, int>> ReadLog(const std::string& address) {
  const auto stub = Connect(address);
  std::map<std::string, int> counts;
  grpc::ClientContext context;
  const auto reader = stub->ReadEvents(&context, ingest::v1::ReadEventsRequest());
  ingest::v1::ReadEventsResponse response;
  while (reader->Read(&response)) {
    for (const auto& stored : response.events()) ++counts[stored.event().id()];
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok()) return FromGrpcStatus(status);
  return counts;
}

}  // namespace naru::faults
