#include "common/redis/redis_client.h"

#include <hiredis/hiredis.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"

namespace naru::redis {
namespace {

struct FreeContext {
  void operator()(redisContext* context) const { redisFree(context); }
};
struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};

timeval ToTimeval(std::chrono::milliseconds time) {
  timeval value;
  value.tv_sec = time.count() / 1000;
  value.tv_usec = (time.count() % 1000) * 1000;
  return value;
}

RedisReply ToReply(const redisReply& raw) {
  RedisReply reply;
  switch (raw.type) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:
      reply.kind = raw.type == REDIS_REPLY_ERROR ? RedisReply::Kind::kError : RedisReply::Kind::kText;
      reply.text.assign(raw.str, raw.len);
      break;
    case REDIS_REPLY_INTEGER:
      reply.kind = RedisReply::Kind::kInteger;
      reply.integer = raw.integer;
      break;
    case REDIS_REPLY_ARRAY:
      reply.kind = RedisReply::Kind::kArray;
      for (size_t i = 0; i < raw.elements; ++i) reply.elements.push_back(ToReply(*raw.element[i]));
      break;
    default:
      break;
  }
  return reply;
}

absl::Status Cancelled() { return absl::CancelledError("Cancel was called"); }

}  // namespace

absl::string_view RedisReply::error_code() const {
  const absl::string_view all = text;
  return is_error() ? all.substr(0, all.find(' ')) : absl::string_view();
}

absl::Status ToStatus(const RedisReply& reply) {
  if (!reply.is_error()) return absl::OkStatus();
  static const std::set<std::string> kPassing = {"LOADING", "OOM",      "READONLY",   "MASTERDOWN",  "BUSY",
                                                 "MISCONF", "TRYAGAIN", "NOREPLICAS", "CLUSTERDOWN", "NOSCRIPT"};
  static const std::set<std::string> kUnknownUser = {"NOAUTH", "WRONGPASS"};
  const std::string code(reply.error_code());
  absl::StatusCode status = absl::StatusCode::kInternal;
  if (kPassing.count(code) > 0) status = absl::StatusCode::kUnavailable;
  if (kUnknownUser.count(code) > 0) status = absl::StatusCode::kUnauthenticated;
  if (code == "NOPERM") status = absl::StatusCode::kPermissionDenied;
  return MakeError(status, absl::StrCat("REDIS_", code), absl::StrCat("Redis: ", reply.text));
}

struct RedisClient::State {
  RedisOptions options;
  std::unique_ptr<redisContext, FreeContext> context;  // only of the calling thread
  Mutex mu;
  int fd ABSL_GUARDED_BY(mu) = -1;
  bool cancelled ABSL_GUARDED_BY(mu) = false;

  std::string address() const { return absl::StrCat(options.host, ":", options.port); }
  bool IsCancelled() {
    MutexLock lock(&mu);
    return cancelled;
  }
  void Close() {
    // Forgotten before it is closed, so that Cancel never shuts down somebody else's.
    {
      MutexLock lock(&mu);
      fd = -1;
    }
    context.reset();
  }
  absl::Status Broken(absl::string_view what) {
    const std::string why = context != nullptr && context->err != 0 ? context->errstr : "no memory";
    Close();
    if (IsCancelled()) return Cancelled();
    return MakeError(absl::StatusCode::kUnavailable, "REDIS_UNREACHABLE",
                     absl::StrCat("Redis at ", address(), ": ", what, ": ", why));
  }
  absl::Status Open();
  absl::Status Greet();
  absl::StatusOr<std::vector<RedisReply>> Exchange(const std::vector<RedisCommand>& commands);
};

absl::Status RedisClient::State::Open() {
  if (IsCancelled()) return Cancelled();
  context.reset(redisConnectWithTimeout(options.host.c_str(), options.port, ToTimeval(options.connect_timeout)));
  if (context == nullptr || context->err != 0) return Broken("cannot connect");
  if (redisSetTimeout(context.get(), ToTimeval(options.timeout)) != REDIS_OK) return Broken("cannot set a timeout");
  {
    MutexLock lock(&mu);
    if (!cancelled) fd = context->fd;
  }
  if (IsCancelled()) return Broken("cancelled");
  const absl::Status status = Greet();
  if (!status.ok()) Close();
  return status;
}

absl::Status RedisClient::State::Greet() {
  std::vector<RedisCommand> commands;
  if (!options.password.empty()) {
    RedisCommand auth = {"AUTH"};
    if (!options.username.empty()) auth.push_back(options.username);
    auth.push_back(options.password);
    commands.push_back(std::move(auth));
  }
  if (options.database != 0) commands.push_back({"SELECT", absl::StrCat(options.database)});
  if (commands.empty()) return absl::OkStatus();
  NARU_ASSIGN_OR_RETURN(const std::vector<RedisReply> replies, Exchange(commands));
  for (const RedisReply& reply : replies) {
    if (!reply.is_error()) continue;
    if (commands[0][0] == "AUTH" && &reply == &replies[0]) {
      // Older servers say ERR to a wrong password.
      return MakeError(absl::StatusCode::kUnauthenticated, "REDIS_AUTH",
                       absl::StrCat("Redis at ", address(), " refuses the password: ", reply.text));
    }
    return ToStatus(reply);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<RedisReply>> RedisClient::State::Exchange(const std::vector<RedisCommand>& commands) {
  for (const RedisCommand& command : commands) {
    std::vector<const char*> words;
    std::vector<size_t> sizes;
    for (const std::string& word : command) {
      words.push_back(word.data());
      sizes.push_back(word.size());
    }
    if (redisAppendCommandArgv(context.get(), static_cast<int>(words.size()), words.data(), sizes.data()) != REDIS_OK) {
      return Broken("cannot send");
    }
  }
  std::vector<RedisReply> replies;
  replies.reserve(commands.size());
  for (size_t i = 0; i < commands.size(); ++i) {
    void* raw = nullptr;
    if (redisGetReply(context.get(), &raw) != REDIS_OK) return Broken("no answer");
    const std::unique_ptr<redisReply, FreeReply> reply(static_cast<redisReply*>(raw));
    replies.push_back(ToReply(*reply));
  }
  return replies;
}

RedisClient::RedisClient(RedisOptions options) : state_(std::make_unique<State>()) {
  state_->options = std::move(options);
}
RedisClient::~RedisClient() { state_->Close(); }

bool RedisClient::connected() const { return state_->context != nullptr; }

void RedisClient::Disconnect() { state_->Close(); }

absl::Status RedisClient::Connect() { return connected() ? absl::OkStatus() : state_->Open(); }

absl::StatusOr<std::vector<RedisReply>> RedisClient::Pipeline(const std::vector<RedisCommand>& commands) {
  NARU_RETURN_IF_ERROR(Connect());
  return state_->Exchange(commands);
}

absl::StatusOr<RedisReply> RedisClient::Call(const RedisCommand& command) {
  NARU_ASSIGN_OR_RETURN(std::vector<RedisReply> replies, Pipeline({command}));
  // A replica that was a master: the next connection may find the new one behind the same name.
  if (replies[0].error_code() == "READONLY") state_->Close();
  NARU_RETURN_IF_ERROR(ToStatus(replies[0]));
  return std::move(replies[0]);
}

void RedisClient::Cancel() {
  MutexLock lock(&state_->mu);
  state_->cancelled = true;
  if (state_->fd >= 0) shutdown(state_->fd, SHUT_RDWR);
}

}  // namespace naru::redis
