#include "services/naru/connection.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include "absl/strings/str_cat.h"
#include "common/config/config.h"
#include "common/server/channel.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "services/naru/contexts.h"

namespace naru::cli {

void ConnectionFlags::AddTo(Options& options) {
  options.Section("Connection");
  options
      .Add("address", &address,
           absl::StrCat("Where the server is; else $NARU_ADDRESS, the context, ", kDefaultAddress, "."))
      .ValueName("HOST:PORT");
  options
      .Add("api_key", &api_key,
           "API key; else $NARU_API_KEY or the context's. A flag is visible in `ps`: prefer those.")
      .ValueName("KEY");
  options.Add("context", &context, "A context of `naru context list`; else $NARU_CONTEXT or the current one.")
      .ValueName("NAME");
  options.Add("tls", &tls, "Use TLS, trusting what the system trusts.");
  options.Add("tls_ca", &tls_ca, "PEM file of who signed the server's certificate; implies --tls.").ValueName("FILE");
  options.Add("tls_cert", &tls_cert, "PEM file of this client's certificate.").ValueName("FILE");
  options.Add("tls_key", &tls_key, "PEM file of its key.").ValueName("FILE");
  options.Add("tls_server_name", &tls_server_name, "Name to expect in the server's certificate.").ValueName("NAME");
  options.Add("timeout", &timeout, "How long a call may take (streams: no limit).");
}

absl::Status ResolveConnection(const std::function<std::string(const char*)>& environment,
                               const std::string& context_path, ConnectionFlags* flags) {
  const auto fill = [](std::string* field, const std::string& value) {
    if (field->empty()) *field = value;
  };
  // An address given by hand does not take the key of a context: it may be another machine's.
  const bool address_given = !flags->address.empty() || !environment("NARU_ADDRESS").empty();
  fill(&flags->address, environment("NARU_ADDRESS"));
  fill(&flags->api_key, environment("NARU_API_KEY"));
  fill(&flags->tls_ca, environment("NARU_TLS_CA"));
  fill(&flags->tls_cert, environment("NARU_TLS_CERT"));
  fill(&flags->tls_key, environment("NARU_TLS_KEY"));
  fill(&flags->tls_server_name, environment("NARU_TLS_SERVER_NAME"));
  if (environment("NARU_TLS") == "1" || environment("NARU_TLS") == "true") flags->tls = true;
  const bool context_given = !flags->context.empty() || !environment("NARU_CONTEXT").empty();
  fill(&flags->context, environment("NARU_CONTEXT"));

  if (!address_given || context_given) {
    NARU_ASSIGN_OR_RETURN(const ContextFile file, LoadContexts(context_path));
    fill(&flags->context, file.current);
    if (!flags->context.empty()) {
      const auto found = file.contexts.find(flags->context);
      if (found == file.contexts.end()) {
        return MakeError(absl::StatusCode::kInvalidArgument, "CONTEXT_NOT_FOUND",
                         absl::StrCat("there is no context `", flags->context, "` in ", context_path,
                                      "; `naru context list` shows those there are"));
      }
      const SavedContext& saved = found->second;
      fill(&flags->address, saved.address);
      fill(&flags->api_key, saved.api_key);
      fill(&flags->tls_ca, saved.tls_ca);
      fill(&flags->tls_cert, saved.tls_cert);
      fill(&flags->tls_key, saved.tls_key);
      fill(&flags->tls_server_name, saved.tls_server_name);
      flags->tls = flags->tls || saved.tls;
    }
  }
  fill(&flags->address, kDefaultAddress);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const ConnectionFlags& flags) {
  ChannelOptions options;
  options.address = flags.address;
  options.api_key = flags.api_key;
  options.tls = flags.tls;
  options.tls_ca = flags.tls_ca;
  options.tls_cert = flags.tls_cert;
  options.tls_key = flags.tls_key;
  options.tls_server_name = flags.tls_server_name;
  return MakeChannel(options);
}

absl::Status CallStatus(const grpc::Status& status, const ConnectionFlags& flags) {
  if (status.ok()) return absl::OkStatus();
  const absl::Status converted = FromGrpcStatus(status);
  if (converted.code() == absl::StatusCode::kUnavailable) {
    return Annotate(converted, absl::StrCat("cannot reach ", flags.address));
  }
  if (converted.code() == absl::StatusCode::kDeadlineExceeded &&
      GetErrorDetails(converted).reason == "DEADLINE_EXCEEDED") {
    return Annotate(converted, absl::StrCat("no answer from ", flags.address, " in time (--timeout)"));
  }
  return converted;
}

std::unique_ptr<grpc::ClientContext> UnaryContext(const ConnectionFlags& flags) {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(std::chrono::system_clock::now() + flags.timeout);
  return context;
}

Interrupt::Interrupt() {
  waiter_ = std::thread([this] {
    signal_.Wait();
    if (finished_) return;
    // Under the lock, so that what `stop_` refers to lives until OnSignal(nullptr) returns.
    MutexLock lock(&mu_);
    came_ = true;
    changed_.SignalAll();
    if (stop_) stop_();
  });
}

Interrupt::~Interrupt() {
  finished_ = true;
  signal_.Trigger();
  waiter_.join();
}

void Interrupt::OnSignal(std::function<void()> stop) {
  MutexLock lock(&mu_);
  stop_ = std::move(stop);
  if (came_ && stop_) stop_();
}

bool Interrupt::WaitFor(std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  MutexLock lock(&mu_);
  while (!came_) {
    const auto left = end - std::chrono::steady_clock::now();
    if (left <= std::chrono::steady_clock::duration::zero()) return false;
    changed_.WaitFor(&mu_, std::chrono::duration_cast<std::chrono::microseconds>(left) + std::chrono::microseconds(1));
  }
  return true;
}

}  // namespace naru::cli
