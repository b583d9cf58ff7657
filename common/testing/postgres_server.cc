#include "common/testing/postgres_server.h"

#include "absl/strings/str_cat.h"
#include "common/testing/server_script.h"

namespace naru::testing {

absl::StatusOr<std::unique_ptr<PostgresServer>> PostgresServer::Start(const std::vector<std::string>& settings) {
  std::unique_ptr<PostgresServer> server(new PostgresServer());
  server->settings_ = settings;
  if (absl::Status status = server->Run(0); !status.ok()) return status;
  return server;
}

absl::StatusOr<PostgresServer*> PostgresServer::Shared() {
  static const absl::StatusOr<std::unique_ptr<PostgresServer>> server = Start();
  if (!server.ok()) return server.status();
  return server->get();
}

PostgresServer::~PostgresServer() { Kill(); }

std::string PostgresServer::dsn() const {
  return absl::StrCat("host=127.0.0.1 port=", port_, " user=naru dbname=naru");
}

absl::Status PostgresServer::Run(int port) {
  const auto started = StartServer("postgres", dir_.path(), port, settings_);
  if (!started.ok()) return started.status();
  pid_ = started->pid;
  port_ = started->port;
  return absl::OkStatus();
}

void PostgresServer::Kill() { KillServer(&pid_); }

absl::Status PostgresServer::Restart() {
  Kill();
  return Run(port_);
}

void PostgresServer::Pause() { SignalServer(pid_, /*stop=*/true); }
void PostgresServer::Resume() { SignalServer(pid_, /*stop=*/false); }

}  // namespace naru::testing
