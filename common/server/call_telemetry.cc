#include "common/server/call_telemetry.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_interceptor.h>

#include <array>
#include <map>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/auth/api_key.h"
#include "common/log/log.h"
#include "common/status/grpc_status.h"
#include "common/sync/mutex.h"

namespace naru {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;

constexpr int kCodes = 17;
constexpr int64_t kWarningsPerSecond = 20;

absl::string_view View(grpc::string_ref text) { return {text.data(), text.size()}; }

}  // namespace

absl::string_view CodeName(int code) {
  static const auto* const names = [] {
    auto* all = new std::array<std::string, kCodes>;
    for (int i = 0; i < kCodes; ++i) (*all)[i] = absl::StatusCodeToString(static_cast<absl::StatusCode>(i));
    return all;
  }();
  return code >= 0 && code < kCodes ? absl::string_view((*names)[code]) : "UNKNOWN";
}

struct MethodMetrics {
  std::string label;
  Gauge in_flight;
  Histogram seconds;
  Counter received;
  Counter sent;
  std::array<Counter, kCodes> by_code;  // filled as codes occur: most never do
  std::array<std::atomic<bool>, kCodes> has_code{};
  Mutex mu;
};

struct CallTelemetry::State {
  Mutex mu;
  std::set<std::string, std::less<>> services;
  std::map<std::string, std::unique_ptr<MethodMetrics>, std::less<>> methods ABSL_GUARDED_BY(mu);
  std::atomic<int64_t> window_start_us{0};
  std::atomic<int64_t> warnings_in_window{0};
  std::atomic<int64_t> suppressed{0};
};

CallTelemetry::CallTelemetry(std::string domain, MetricRegistry* metrics, const Clock* clock, Random* random)
    : domain_(std::move(domain)),
      metrics_(metrics),
      clock_(clock),
      random_(random->Next()),
      state_(std::make_unique<State>()) {}
CallTelemetry::~CallTelemetry() = default;

void CallTelemetry::AddService(absl::string_view full_name) { state_->services.insert(std::string(full_name)); }

MethodMetrics* CallTelemetry::ForMethod(absl::string_view method) {
  const size_t slash = method.rfind('/');
  const bool known =
      slash != absl::string_view::npos && slash > 0 && state_->services.count(method.substr(1, slash - 1)) > 0;
  const absl::string_view label = known ? method : "other";
  MutexLock lock(&state_->mu);
  if (const auto it = state_->methods.find(label); it != state_->methods.end()) return it->second.get();
  auto made = std::make_unique<MethodMetrics>();
  made->label = std::string(label);
  const Labels labels = {{"method", made->label}};
  made->in_flight = metrics_->AddGauge("naru_grpc_calls_in_flight", "gRPC calls that are running.", labels);
  made->seconds = metrics_->AddHistogram("naru_grpc_call_seconds", "How long gRPC calls took, streams included.",
                                         LatencyBuckets(), labels);
  made->received =
      metrics_->AddCounter("naru_grpc_messages_received_total", "Messages received in gRPC calls.", labels);
  made->sent = metrics_->AddCounter("naru_grpc_messages_sent_total", "Messages sent in gRPC calls.", labels);
  return state_->methods.emplace(made->label, std::move(made)).first->second.get();
}

namespace {

// Adds one to the counter of (method, code).
void CountCode(MethodMetrics* method, int code, MetricRegistry* metrics) {
  if (code < 0 || code >= kCodes) code = 2;
  if (!method->has_code[code].load(std::memory_order_acquire)) {
    MutexLock lock(&method->mu);
    if (!method->has_code[code].load(std::memory_order_relaxed)) {
      method->by_code[code] = metrics->AddCounter("naru_grpc_calls_total", "gRPC calls that ended, by code.",
                                                  {{"method", method->label}, {"code", std::string(CodeName(code))}});
      method->has_code[code].store(true, std::memory_order_release);
    }
  }
  method->by_code[code].Increment();
}

// Looks at one call. gRPC calls it from one thread at a time for what belongs to one batch, but a read and a write of a
// stream may be looked at together: each of its counters belongs to one direction.
class CallInterceptor : public grpc::experimental::Interceptor {
 public:
  CallInterceptor(grpc::experimental::ServerRpcInfo* info, CallTelemetry* telemetry, MetricRegistry* metrics)
      : info_(info),
        telemetry_(telemetry),
        metrics_(metrics),
        method_(telemetry->ForMethod(info->method())),
        start_us_(telemetry->clock().MonotonicMicros()) {
    method_->in_flight.Add(1);
  }

  ~CallInterceptor() override {
    method_->in_flight.Add(-1);
    // No status was sent: the caller went away, and the handler noticed.
    if (!ended_) CountCode(method_, grpc::StatusCode::CANCELLED, metrics_);
  }

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_INITIAL_METADATA)) Begin(methods);
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE) &&
        methods->GetRecvMessage() != nullptr) {
      ++received_;
      method_->received.Increment();
    }
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_MESSAGE)) {
      ++sent_;
      method_->sent.Increment();
    }
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) End(methods);
    methods->Proceed();
  }

 private:
  void Begin(InterceptorBatchMethods* methods) {
    auto* metadata = methods->GetRecvInitialMetadata();
    if (metadata == nullptr) return;
    const auto it = metadata->find(kTraceHeader);
    if (it != metadata->end()) {
      if (const auto trace = TraceContext::Parse(View(it->second))) {
        trace_id_ = trace->TraceId();
        return;
      }
      metadata->erase(kTraceHeader);
    }
    // The handler finds it in its context as if the caller had sent it; this object lives as long as the context.
    const TraceContext made = TraceContext::Generate(telemetry_->random());
    trace_id_ = made.TraceId();
    traceparent_ = made.ToString();
    metadata->emplace(kTraceHeader, grpc::string_ref(traceparent_));
  }

  void End(InterceptorBatchMethods* methods) {
    if (ended_) return;
    ended_ = true;
    grpc::Status status = methods->GetSendStatus();
    const int64_t duration_us = telemetry_->clock().MonotonicMicros() - start_us_;
    method_->seconds.Observe(static_cast<double>(duration_us) / 1e6);
    CountCode(method_, status.error_code(), metrics_);
    if (!status.ok() && status.error_details().empty()) {
      // From gRPC itself or a bare status: every error carries a reason.
      status = ToGrpcStatus(FromGrpcStatus(status), telemetry_->domain());
      methods->ModifySendStatus(status);
    }
    if (status.ok() && !log::Enabled(log::Level::kDebug)) return;
    CallTelemetry::Ended ended;
    ended.method = info_->method();
    ended.code = status.error_code();
    const std::string message = status.error_message();
    ended.message = message;
    ended.duration_us = duration_us;
    ended.trace_id = trace_id_;
    ended.received = received_;
    ended.sent = sent_;
    if (grpc::ServerContextBase* context = info_->server_context()) {
      ended.peer = context->peer();
      ended.key_id = KeyIdOf(context->client_metadata());
    }
    telemetry_->Log(ended);
  }

  static std::string KeyIdOf(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
    if (const auto it = metadata.find("authorization"); it != metadata.end()) {
      return ApiKeyId(BearerToken(View(it->second))).value_or("");
    }
    if (const auto it = metadata.find("x-api-key"); it != metadata.end()) {
      return ApiKeyId(View(it->second)).value_or("");
    }
    return "";
  }

  grpc::experimental::ServerRpcInfo* const info_;
  CallTelemetry* const telemetry_;
  MetricRegistry* const metrics_;
  MethodMetrics* const method_;
  const int64_t start_us_;
  std::string trace_id_;
  std::string traceparent_;
  std::atomic<int64_t> received_{0};
  std::atomic<int64_t> sent_{0};
  bool ended_ = false;
};

class CallInterceptorFactory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  CallInterceptorFactory(CallTelemetry* telemetry, MetricRegistry* metrics)
      : telemetry_(telemetry), metrics_(metrics) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo* info) override {
    return new CallInterceptor(info, telemetry_, metrics_);  // gRPC deletes it with the call's context
  }

 private:
  CallTelemetry* const telemetry_;
  MetricRegistry* const metrics_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> CallTelemetry::MakeInterceptorFactory() {
  return std::make_unique<CallInterceptorFactory>(this, metrics_);
}

void CallTelemetry::Refused(const Ended& ended) {
  CountCode(ForMethod(ended.method), ended.code, metrics_);
  Log(ended);
}

void CallTelemetry::Log(const Ended& ended) {
  const bool failed = ended.code != grpc::StatusCode::OK && ended.code != grpc::StatusCode::CANCELLED;
  const double duration_ms = static_cast<double>(ended.duration_us) / 1000;
  if (!failed) {
    NARU_LOG(DEBUG, "call",
             {{"method", ended.method},
              {"code", CodeName(ended.code)},
              {"duration_ms", duration_ms},
              {"received", ended.received},
              {"sent", ended.sent},
              {"peer", ended.peer},
              {"key_id", ended.key_id},
              {"trace_id", ended.trace_id}});
    return;
  }
  // A client in a loop must not fill the disk with its own failures.
  const int64_t now_us = clock_->MonotonicMicros();
  int64_t start_us = state_->window_start_us;
  if (now_us - start_us >= 1'000'000 && state_->window_start_us.compare_exchange_strong(start_us, now_us)) {
    state_->warnings_in_window = 0;
  }
  if (state_->warnings_in_window.fetch_add(1) >= kWarningsPerSecond) {
    ++state_->suppressed;
    return;
  }
  NARU_LOG(WARNING, "call failed",
           {{"method", ended.method},
            {"code", CodeName(ended.code)},
            {"error", ended.message},
            {"duration_ms", duration_ms},
            {"received", ended.received},
            {"sent", ended.sent},
            {"peer", ended.peer},
            {"key_id", ended.key_id},
            {"trace_id", ended.trace_id},
            {"suppressed", state_->suppressed.exchange(0)}});
}

}  // namespace naru
