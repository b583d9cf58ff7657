// A real process around Server, for stop_signal_test.
#include <cstdio>
#include <string>

#include "common/config/config.h"
#include "common/metrics/metrics.h"
#include "common/server/server.h"

int main(int argc, char** argv) {
  naru::StopSignal signal;
  naru::ServerOptions config;
  config.http_listen = "127.0.0.1:0";
  naru::Options options("stop_signal_test_program", "Serves nothing, until it is told to stop.");
  naru::AddServerOptions(&options, &config);
  if (const std::optional<int> exit_code = options.ParseCommandLine(argc, argv)) return *exit_code;
  naru::MetricRegistry metrics;
  naru::Server server(config, {.metrics = &metrics});
  server.OnFlush([] { std::puts("flushed"); });
  if (const absl::Status status = server.Start(); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return 1;
  }
  std::printf("ready: %s\n", server.Addresses().c_str());
  std::fflush(stdout);
  signal.Wait();
  server.Stop();
  return 0;
}
