#include "common/event_log/rocks_event_log.h"

#include "common/event_log/event_log_conformance.h"
#include "common/event_log/rocks_test_log.h"

namespace naru::event_log {
namespace {

class RocksSubject : public EventLogSubject {
 public:
  RocksSubject() { log_.Open(); }
  EventLog* log() override { return log_.get(); }
  void Reopen() override {
    log_.Close();
    log_.Open();
  }

 private:
  TestLog log_;
};

absl::StatusOr<std::unique_ptr<EventLogSubject>> MakeRocksSubject() { return std::make_unique<RocksSubject>(); }

INSTANTIATE_TEST_SUITE_P(Rocks, EventLogConformance, ::testing::Values(&MakeRocksSubject));

}  // namespace
}  // namespace naru::event_log
