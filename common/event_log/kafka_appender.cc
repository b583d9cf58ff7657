#include "common/event_log/kafka_appender.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/kafka/errors.h"
#include "common/log/log.h"
#include "common/status/status.h"

namespace naru::event_log {
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr std::chrono::seconds kCloseTimeout(5);

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaAppender>> KafkaAppender::Open(const KafkaShared& shared) {
  std::unique_ptr<KafkaAppender> appender(new KafkaAppender(shared));
  NARU_ASSIGN_OR_RETURN(std::unique_ptr<kafka::Client> client, appender->MakeClient());
  {
    MutexLock lock(&appender->mu_);
    appender->Use(std::move(client));
  }
  KafkaAppender* raw = appender.get();
  appender->thread_ = std::thread([raw] { raw->DeliveryLoop(); });
  return appender;
}

absl::StatusOr<std::unique_ptr<kafka::Client>> KafkaAppender::MakeClient() const {
  const KafkaEventLogOptions& options = shared_.options;
  kafka::Settings settings = ProducerSettings();
  settings.emplace_back("enable.idempotence", "true");
  // Waiting a little makes fewer and larger requests, which the brokers thank with a fifth more records a second.
  settings.emplace_back("linger.ms", "5");
  settings.emplace_back("message.timeout.ms", absl::StrCat(options.delivery_timeout.count()));
  return kafka::Client::Make(RD_KAFKA_PRODUCER, ClientOptionsOf(options), settings, nullptr, [](rd_kafka_conf_t* conf) {
    rd_kafka_conf_set_dr_msg_cb(
        conf, [](rd_kafka_t*, const rd_kafka_message_t* message, void*) { PendingRecords::OnDelivered(*message); });
  });
}

void KafkaAppender::Use(std::unique_ptr<kafka::Client> client) {
  client_ = std::move(client);
  queue_.reset(rd_kafka_queue_get_main(client_->get()));
  sender_.emplace(shared_, client_.get());
}

void KafkaAppender::AppendAsync(std::vector<AppendBatch> batches, Producer::Callback done, absl::Status refused) {
  auto append = std::make_unique<Append>(std::move(batches), std::move(done));
  absl::Status status = std::move(refused);
  if (status.ok()) status = RecordSender::Check(shared_, append->batches);
  MutexLock lock(&mu_);
  if (status.ok()) status = refused_;
  const size_t bytes = append->records.bytes();
  if (status.ok() && in_flight_bytes_ > 0 && in_flight_bytes_ + bytes > shared_.options.max_in_flight_bytes) {
    status = MakeError(absl::StatusCode::kResourceExhausted, kTooMuchInFlight,
                       absl::StrCat(in_flight_bytes_, " bytes are on their way to Kafka already"));
  }
  // Failures take their place in the queue too: callbacks come in the order of the calls.
  Append* raw = append.get();
  in_flight_.push_back(std::move(append));
  if (status.ok()) {
    raw->reserved = bytes;
    in_flight_bytes_ += bytes;
    sender_->Send(raw->batches, &raw->records);
  } else {
    raw->records.Fail(std::move(status));
  }
  if (raw->records.done()) rd_kafka_queue_yield(queue_.get());
}

void KafkaAppender::DeliveryLoop() {
  while (!stop_.load()) {
    // Only this thread replaces the client, so it may be used here without the lock.
    rd_kafka_t* handle;
    {
      MutexLock lock(&mu_);
      handle = client_->get();
    }
    rd_kafka_poll(handle, 100);
    CallBack();
    if (rd_kafka_fatal_error(handle, nullptr, 0) != RD_KAFKA_RESP_ERR_NO_ERROR) {
      absl::Status reason;
      {
        MutexLock lock(&mu_);
        reason = client_->fatal_error();
      }
      Replace(reason);
    }
  }
}

void KafkaAppender::CallBack() {
  std::vector<std::unique_ptr<Append>> ready;
  {
    MutexLock lock(&mu_);
    while (!in_flight_.empty() && in_flight_.front()->records.done()) {
      in_flight_bytes_ -= in_flight_.front()->reserved;
      ready.push_back(std::move(in_flight_.front()));
      in_flight_.pop_front();
    }
  }
  for (const std::unique_ptr<Append>& append : ready) append->done(append->records.Result());
}

// Serves the reports of everything that is still with the client; returns how many are left.
size_t KafkaAppender::Drain(std::chrono::milliseconds timeout) {
  rd_kafka_t* handle;
  {
    MutexLock lock(&mu_);
    handle = client_->get();
  }
  const auto deadline = SteadyClock::now() + timeout;
  while (rd_kafka_outq_len(handle) > 0 && SteadyClock::now() < deadline) rd_kafka_poll(handle, 10);
  return rd_kafka_outq_len(handle);
}

void KafkaAppender::Replace(const absl::Status& reason) {
  NARU_LOG(WARNING, "kafka producer broke and is replaced",
           {{"client_id", shared_.options.client_id}, {"error", reason}});
  shared_.note(absl::StrCat("a Kafka producer was replaced: ", reason.message()));
  rd_kafka_t* handle;
  {
    MutexLock lock(&mu_);
    refused_ =
        MakeError(absl::StatusCode::kUnavailable, "KAFKA_PRODUCER_RESTARTED", "the Kafka producer is being replaced");
    handle = client_->get();
  }
  rd_kafka_purge(handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  Drain(kCloseTimeout);
  CallBack();
  absl::StatusOr<std::unique_ptr<kafka::Client>> client = MakeClient();
  std::unique_ptr<kafka::Client> old;
  {
    MutexLock lock(&mu_);
    if (!client.ok()) {  // settings that were good once are good again: only memory or threads can be missing
      refused_ = client.status();
      return;
    }
    sender_.reset();
    queue_.reset();
    old = std::move(client_);
    Use(*std::move(client));
  }
  old.reset();
  {
    MutexLock lock(&mu_);
    // The old client is gone, with whatever it had not reported on.
    for (const std::unique_ptr<Append>& append : in_flight_) {
      if (!append->records.done()) append->records.Fail(refused_);
    }
    refused_ = absl::OkStatus();
  }
  CallBack();
}

bool KafkaAppender::Idle() {
  MutexLock lock(&mu_);
  return in_flight_.empty();
}

KafkaAppender::~KafkaAppender() {
  {
    MutexLock lock(&mu_);
    refused_ = MakeError(absl::StatusCode::kUnavailable, "KAFKA_PRODUCER_CLOSED", "the Kafka producer is closing");
  }
  const auto deadline = SteadyClock::now() + kCloseTimeout;
  while (!Idle() && SteadyClock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  stop_.store(true);
  {
    MutexLock lock(&mu_);
    rd_kafka_queue_yield(queue_.get());
  }
  if (thread_.joinable()) thread_.join();
  if (Idle()) return;
  {
    MutexLock lock(&mu_);
    rd_kafka_purge(client_->get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  }
  Drain(kCloseTimeout);
  CallBack();
}

void KafkaAppender::BreakForTest() {
  MutexLock lock(&mu_);
  rd_kafka_test_fatal_error(client_->get(), RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "made by a test");
}

}  // namespace naru::event_log
