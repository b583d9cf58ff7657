#include "common/testing/kafka_server.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace naru::testing {

absl::StatusOr<std::unique_ptr<KafkaServer>> KafkaServer::Start(const std::vector<std::string>& settings) {
  std::unique_ptr<KafkaServer> server(new KafkaServer());
  server->settings_ = settings;
  if (absl::Status status = server->Run("0"); !status.ok()) return status;
  return server;
}

absl::StatusOr<KafkaServer*> KafkaServer::Shared() {
  static const absl::StatusOr<std::unique_ptr<KafkaServer>> server = Start();
  if (!server.ok()) return server.status();
  return server->get();
}

KafkaServer::~KafkaServer() { Kill(); }

std::string KafkaServer::brokers() const { return absl::StrCat("127.0.0.1:", port_); }

absl::Status KafkaServer::Run(const std::string& port) {
  Process::Options options;
  options.args = {SourcePath("tests/servers/kafka/start"), dir_.File("broker"), port};
  options.args.insert(options.args.end(), settings_.begin(), settings_.end());
  options.env["NARU_SERVER_OWNER"] = absl::StrCat(getpid());
  absl::StatusOr<ProcessResult> result = RunProcess(std::move(options), std::chrono::minutes(5));
  if (!result.ok()) return result.status();
  if (result->exit_code != 0) return absl::InternalError(absl::StrCat("no Kafka broker: ", result->err));
  if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(result->out), &pid_)) {
    return absl::InternalError(absl::StrCat("no pid in what the start of Kafka said: ", result->out));
  }
  port_ = std::string(absl::StripAsciiWhitespace(ReadFile(dir_.File("broker/port"))));
  return absl::OkStatus();
}

void KafkaServer::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  // Not a child of this process, so there is nothing to wait for but its disappearance.
  WaitUntil([this] { return kill(pid_, 0) != 0; });
  pid_ = -1;
}

absl::Status KafkaServer::Restart() {
  Kill();
  return Run(port_);
}

void KafkaServer::Pause() { kill(pid_, SIGSTOP); }
void KafkaServer::Resume() { kill(pid_, SIGCONT); }

}  // namespace naru::testing
