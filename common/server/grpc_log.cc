#include "common/server/grpc_log.h"

#include <grpc/support/log.h>

#include "common/log/log.h"

namespace naru {
namespace {

// Most of it is about one connection of one client (a failed handshake, a reset), which any stranger can cause at will.
void Log(gpr_log_func_args* args) {
  if (args->severity == GPR_LOG_SEVERITY_ERROR) {
    NARU_LOG_EVERY_SECONDS(1, WARNING, "grpc", {{"text", args->message}});
  } else {
    NARU_LOG_EVERY_SECONDS(1, DEBUG, "grpc", {{"text", args->message}});
  }
}

}  // namespace

void RouteGrpcLog() { gpr_set_log_function(&Log); }

}  // namespace naru
