#include "common/server/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_interceptor.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/http/address.h"
#include "common/server/grpc_log.h"
#include "common/server/tls.h"
#include "common/status/status.h"

namespace naru {
namespace {

// Call credentials would do this on TLS channels only; loopback servers may ask for keys too.
class KeyInterceptor : public grpc::experimental::Interceptor {
 public:
  explicit KeyInterceptor(const std::string* header) : header_(header) {}
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(grpc::experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->emplace("authorization", *header_);
    }
    methods->Proceed();
  }

 private:
  const std::string* header_;
};

class KeyInterceptorFactory : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit KeyInterceptorFactory(const std::string& key) : header_(absl::StrCat("Bearer ", key)) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(grpc::experimental::ClientRpcInfo* /*info*/) override {
    return new KeyInterceptor(&header_);  // gRPC deletes it after the call, and this factory after the channel
  }

 private:
  const std::string header_;
};

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> Credentials(const ChannelOptions& options, bool tls) {
  if (!tls) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions ssl;
  for (const auto& [path, pem] :
       {std::pair{&options.tls_ca, &ssl.pem_root_certs}, std::pair{&options.tls_cert, &ssl.pem_cert_chain},
        std::pair{&options.tls_key, &ssl.pem_private_key}}) {
    if (path->empty()) continue;
    NARU_ASSIGN_OR_RETURN(*pem, ReadPemFile(*path));
  }
  return grpc::SslCredentials(ssl);
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const ChannelOptions& options) {
  RouteGrpcLog();
  NARU_ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(options.address));
  const bool tls = options.tls || !options.tls_ca.empty() || !options.tls_cert.empty();
  if (!options.api_key.empty() && !tls && !IsLoopbackHost(address.host)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "INSECURE_CHANNEL",
                     absl::StrCat("refusing to send an API key to ", options.address, " without TLS"));
  }
  NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials, Credentials(options, tls));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(options.keepalive.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  // Channels of one process would otherwise share connections by address, their limits included.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (!options.tls_server_name.empty()) arguments.SetSslTargetNameOverride(options.tls_server_name);
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  if (!options.api_key.empty()) interceptors.push_back(std::make_unique<KeyInterceptorFactory>(options.api_key));
  return grpc::experimental::CreateCustomChannelWithInterceptors(FormatHostPort(address.host, address.port),
                                                                 credentials, arguments, std::move(interceptors));
}

}  // namespace naru
