// A connection to a PostgreSQL database.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace naru::postgres {

struct PostgresOptions {
  std::string dsn;       ///< as libpq takes it: `host=... dbname=...` or `postgresql://...`
  std::string password;  ///< empty: what libpq finds by itself
  std::string application_name = "naru";
  std::chrono::seconds connect_timeout{5};
  std::chrono::milliseconds statement_timeout{60'000};
  std::chrono::milliseconds lock_timeout{5'000};
  /// The server ends a session that stays in a transaction without a statement this long: a client that hangs does not
  /// keep locks from others.
  std::chrono::milliseconds idle_transaction_timeout{30'000};
};

/// A row of a result; null values are absent.
using PostgresRow = std::vector<std::optional<std::string>>;

/// The SQLSTATE of an error of this class (`23505`); empty: it has none.
std::string SqlState(const absl::Status& status);
/// Whether the same statement with the same values will always fail: wrong data (class 22), a constraint (23), a limit
/// of the program (54), an error that a trigger raised (P0).
bool IsRefusedForGood(const absl::Status& status);
/// An identifier in quotes.
std::string QuoteName(absl::string_view name);

/// Not thread-safe, but Cancel is. Errors of all calls: UNAVAILABLE for a lost connection, a server that shuts down or
/// has no room, locks, deadlocks (try again, from Begin on); UNAUTHENTICATED, PERMISSION_DENIED; NOT_FOUND for a
/// missing table, schema or database; INVALID_ARGUMENT where IsRefusedForGood; else INTERNAL. Messages may quote values
/// of the row.
class PostgresConnection {
 public:
  /// Connects; blocks for at most the connect timeout.
  static absl::StatusOr<std::unique_ptr<PostgresConnection>> Open(const PostgresOptions& options);
  ~PostgresConnection();
  PostgresConnection(const PostgresConnection&) = delete;
  PostgresConnection& operator=(const PostgresConnection&) = delete;

  /// Begins a transaction, in which all statements are. One that was open is rolled back.
  absl::Status Begin();
  /// UNAVAILABLE with reason IN_DOUBT: the connection was lost meanwhile, and it may have been committed or not.
  absl::Status Commit();
  /// Never fails: without a connection the server rolls back by itself.
  void Rollback();
  /// Runs one statement with `$1`, `$2`, ... and returns its rows. After an error only Rollback, or going back to a
  /// savepoint, is possible.
  absl::StatusOr<std::vector<PostgresRow>> Query(const std::string& sql,
                                                 absl::Span<const std::optional<std::string>> parameters = {});
  /// The same for one whose rows are of no interest.
  absl::Status Execute(const std::string& sql, absl::Span<const std::optional<std::string>> parameters = {});
  /// Whether it can still be used.
  bool connected() const;
  /// Makes the call under way, and all later ones, fail.
  void Cancel();

 private:
  struct State;
  explicit PostgresConnection(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace naru::postgres
