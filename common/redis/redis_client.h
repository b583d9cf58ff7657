// A client of one Redis server.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace naru::redis {

struct RedisOptions {
  std::string host;
  int port = 6379;
  std::string username;  ///< empty: none
  std::string password;  ///< empty: no AUTH
  int database = 0;
  std::chrono::milliseconds connect_timeout{2'000};
  std::chrono::milliseconds timeout{5'000};  ///< of each read and write
};

/// What the server answers.
struct RedisReply {
  enum class Kind : uint8_t { kNil, kText, kInteger, kArray, kError } kind = Kind::kNil;
  std::string text;  ///< kText; kError: what the server said, `WRONGTYPE Operation against ...`
  int64_t integer = 0;
  std::vector<RedisReply> elements;  ///< kArray

  bool is_error() const { return kind == Kind::kError; }
  /// The first word of an error: `WRONGTYPE`, `NOSCRIPT`.
  absl::string_view error_code() const;
};

/// An error reply as a status. UNAVAILABLE for what passes by itself (LOADING, OOM, READONLY, ...), UNAUTHENTICATED and
/// PERMISSION_DENIED for credentials, INTERNAL for the rest; the reason is `REDIS_` and the code.
absl::Status ToStatus(const RedisReply& reply);

using RedisCommand = std::vector<std::string>;

/// One connection, made at the first call and, when it broke, at the next. Not thread-safe, but Cancel is. Calls block
/// for at most the timeouts.
class RedisClient {
 public:
  explicit RedisClient(RedisOptions options);
  ~RedisClient();
  RedisClient(const RedisClient&) = delete;
  RedisClient& operator=(const RedisClient&) = delete;

  /// Connects where it is not connected. Errors: UNAVAILABLE; UNAUTHENTICATED; CANCELLED after Cancel.
  absl::Status Connect();
  bool connected() const;
  /// The next call makes a new connection.
  void Disconnect();
  /// Sends one command. An error reply is an error, as ToStatus makes it. Errors: also as Connect; UNAVAILABLE when the
  /// connection broke or a timeout passed (whether the command was done is then unknown).
  absl::StatusOr<RedisReply> Call(const RedisCommand& command);
  /// Sends all commands, then reads all replies, error replies included. All are held in memory at the same time.
  /// Errors: as Call, but for error replies.
  absl::StatusOr<std::vector<RedisReply>> Pipeline(const std::vector<RedisCommand>& commands);
  /// Makes the call under way, and all later ones, fail with CANCELLED.
  void Cancel();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace naru::redis
