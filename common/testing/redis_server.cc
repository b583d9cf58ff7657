#include "common/testing/redis_server.h"

#include "absl/strings/str_cat.h"
#include "common/testing/server_script.h"

namespace naru::testing {

absl::StatusOr<std::unique_ptr<RedisServer>> RedisServer::Start(const std::vector<std::string>& arguments) {
  std::unique_ptr<RedisServer> server(new RedisServer());
  server->arguments_ = arguments;
  if (absl::Status status = server->Run(0); !status.ok()) return status;
  return server;
}

RedisServer::~RedisServer() { Kill(); }

std::string RedisServer::address() const { return absl::StrCat("127.0.0.1:", port_); }

absl::Status RedisServer::Run(int port) {
  const auto started = StartServer("redis", dir_.path(), port, arguments_);
  if (!started.ok()) return started.status();
  pid_ = started->pid;
  port_ = started->port;
  return absl::OkStatus();
}

void RedisServer::Kill() { KillServer(&pid_); }

absl::Status RedisServer::Restart() {
  Kill();
  return Run(port_);
}

void RedisServer::Pause() { SignalServer(pid_, /*stop=*/true); }
void RedisServer::Resume() { SignalServer(pid_, /*stop=*/false); }

}  // namespace naru::testing
