// The log on Kafka keeps what every log promises.
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/event_log/event_log_conformance.h"
#include "common/event_log/kafka_event_log.h"
#include "common/testing/kafka_server.h"

namespace naru::event_log {
namespace {

class KafkaSubject : public EventLogSubject {
 public:
  explicit KafkaSubject(const std::string& brokers) {
    static int count = 0;
    options_.brokers = brokers;
    options_.topic_prefix = absl::StrCat("conformance-", getpid(), "-", ++count, ".");
    Reopen();
  }
  EventLog* log() override { return log_.get(); }
  void Reopen() override {
    log_.reset();
    auto log = KafkaEventLog::Open(options_);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }
  std::chrono::microseconds timestamp_resolution() const override { return std::chrono::milliseconds(1); }

 private:
  KafkaEventLogOptions options_;
  std::unique_ptr<KafkaEventLog> log_;
};

absl::StatusOr<std::unique_ptr<EventLogSubject>> MakeKafkaSubject() {
  absl::StatusOr<testing::KafkaServer*> server = testing::KafkaServer::Shared();
  if (!server.ok()) {
    const std::string why = absl::StrCat("no Kafka broker: ", server.status().message());
    return testing::ServersRequired() ? absl::InternalError(why) : absl::UnavailableError(why);
  }
  auto subject = std::make_unique<KafkaSubject>((*server)->brokers());
  if (subject->log() == nullptr) return absl::InternalError("the log could not be opened");
  return std::unique_ptr<EventLogSubject>(std::move(subject));
}

INSTANTIATE_TEST_SUITE_P(Kafka, EventLogConformance, ::testing::Values(&MakeKafkaSubject));

}  // namespace
}  // namespace naru::event_log
