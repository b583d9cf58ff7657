#include "common/postgres/postgres_connection.h"

#include <sys/socket.h>

#include <pqxx/pqxx>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"

namespace naru::postgres {
namespace {

constexpr absl::string_view kReasonPrefix = "PG_";

absl::StatusCode CodeOf(absl::string_view state) {
  const absl::string_view kind = state.substr(0, 2);
  // Connections, resources, operators, transactions, locks: all pass.
  if (kind == "08" || kind == "53" || kind == "57" || kind == "40" || kind == "55" || kind == "25") {
    return absl::StatusCode::kUnavailable;
  }
  if (kind == "22" || kind == "23" || kind == "54" || kind == "P0") return absl::StatusCode::kInvalidArgument;
  if (kind == "28") return absl::StatusCode::kUnauthenticated;
  if (state == "42501") return absl::StatusCode::kPermissionDenied;
  if (state == "42P01" || kind == "3F" || kind == "3D") return absl::StatusCode::kNotFound;
  return absl::StatusCode::kInternal;
}

absl::Status Unavailable(absl::string_view reason, absl::string_view what) {
  return MakeError(absl::StatusCode::kUnavailable, reason,
                   absl::StrCat("PostgreSQL: ", absl::StripAsciiWhitespace(what)));
}

absl::Status WithState(const std::string& state, absl::string_view what) {
  return MakeError(CodeOf(state), absl::StrCat(kReasonPrefix, state),
                   absl::StrCat("PostgreSQL: ", absl::StripAsciiWhitespace(what)));
}

// libpq tells why a connection was refused in words only.
absl::Status ConnectError(absl::string_view what) {
  if (absl::StrContains(what, "authentication failed") || absl::StrContains(what, "no password supplied") ||
      absl::StrContains(what, "no pg_hba.conf entry")) {
    return MakeError(absl::StatusCode::kUnauthenticated, "PG_28000",
                     absl::StrCat("PostgreSQL: ", absl::StripAsciiWhitespace(what)));
  }
  return Unavailable("PG_UNREACHABLE", what);
}

// Runs what may throw; the only place where exceptions of the library are caught.
template <typename Function>
absl::Status Guard(const Function& function) {
  try {
    function();
    return absl::OkStatus();
  } catch (const pqxx::in_doubt_error& error) {
    return Unavailable("IN_DOUBT", error.what());
  } catch (const pqxx::broken_connection& error) {
    return ConnectError(error.what());
  } catch (const pqxx::transaction_rollback& error) {
    return Unavailable("PG_40001", error.what());  // deadlocks too
  } catch (const pqxx::insufficient_privilege& error) {
    return WithState("42501", error.what());  // which it does not say itself
  } catch (const pqxx::sql_error& error) {
    const std::string state = error.sqlstate();
    // Without a state it was the connection that failed.
    if (state.empty()) return Unavailable("PG_UNREACHABLE", error.what());
    return WithState(state, error.what());
  } catch (const std::exception& error) {
    return MakeError(absl::StatusCode::kInternal, "PG_CLIENT", absl::StrCat("PostgreSQL: ", error.what()));
  }
}

std::string Quoted(absl::string_view value) {
  return absl::StrCat("'", absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"'", "\\'"}}), "'");
}

std::string UrlEncoded(absl::string_view value) {
  std::string out;
  for (const char c : value) {
    if (absl::ascii_isalnum(c)) {
      out.push_back(c);
    } else {
      absl::StrAppend(&out, "%", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
    }
  }
  return out;
}

// Adds what was not said in `dsn` itself, in either of its forms.
std::string Complete(const PostgresOptions& options) {
  std::string dsn = options.dsn;
  const bool url = absl::StartsWith(dsn, "postgresql://") || absl::StartsWith(dsn, "postgres://");
  const auto add = [&](absl::string_view name, absl::string_view value) {
    if (absl::StrContains(dsn, absl::StrCat(name, "="))) return;
    if (url) {
      absl::StrAppend(&dsn, absl::StrContains(dsn, "?") ? "&" : "?", name, "=", UrlEncoded(value));
    } else {
      absl::StrAppend(&dsn, " ", name, "=", Quoted(value));
    }
  };
  add("connect_timeout", absl::StrCat(options.connect_timeout.count()));
  add("application_name", options.application_name);
  add("client_encoding", "UTF8");
  // A network that swallows everything is noticed too.
  add("keepalives_idle", "10");
  add("keepalives_interval", "5");
  add("keepalives_count", "3");
  add("tcp_user_timeout", "30000");
  if (!options.password.empty()) add("password", options.password);
  return dsn;
}

}  // namespace

std::string SqlState(const absl::Status& status) {
  const std::string reason = GetErrorDetails(status).reason;
  absl::string_view state = reason;
  return absl::ConsumePrefix(&state, kReasonPrefix) && state.size() == 5 ? std::string(state) : "";
}

bool IsRefusedForGood(const absl::Status& status) {
  return absl::IsInvalidArgument(status) && !SqlState(status).empty();
}

std::string QuoteName(absl::string_view name) {
  return absl::StrCat("\"", absl::StrReplaceAll(name, {{"\"", "\"\""}}), "\"");
}

struct PostgresConnection::State {
  std::unique_ptr<pqxx::connection> connection;
  std::unique_ptr<pqxx::work> work;
  std::string greeting;  // still to be said
  bool lost = false;
  Mutex mu;
  int fd ABSL_GUARDED_BY(mu) = -1;
  bool cancelled ABSL_GUARDED_BY(mu) = false;

  // Notes a lost connection, and says CANCELLED where that was wanted.
  absl::Status Done(absl::Status status) {
    if (status.ok()) return status;
    MutexLock lock(&mu);
    if (cancelled) return absl::CancelledError("Cancel was called");
    const std::string reason = GetErrorDetails(status).reason;
    lost = lost || !connection->is_open() || reason == "PG_UNREACHABLE" || reason == "IN_DOUBT" ||
           absl::StartsWith(reason, "PG_57P") || absl::StartsWith(reason, "PG_08") || reason == "PG_25P03";
    return status;
  }
};

PostgresConnection::PostgresConnection(std::unique_ptr<State> state) : state_(std::move(state)) {}

PostgresConnection::~PostgresConnection() {
  Rollback();
  {
    // Forgotten before it is closed, so that Cancel never shuts down somebody else's.
    MutexLock lock(&state_->mu);
    state_->fd = -1;
  }
  state_->connection.reset();
}

absl::StatusOr<std::unique_ptr<PostgresConnection>> PostgresConnection::Open(const PostgresOptions& options) {
  auto state = std::make_unique<State>();
  const absl::Status status = Guard([&] {
    state->connection = std::make_unique<pqxx::connection>(Complete(options));
    // A new session in the middle of what the caller takes for one transaction would be worse than an error.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // libpqxx 7 has no reactivation any more
    state->connection->inhibit_reactivation(true);
#pragma GCC diagnostic pop
  });
  if (!status.ok()) return status;
  // Said later, when Cancel can end it: a server may take a connection and then hang.
  state->greeting =
      absl::StrCat("SET statement_timeout = ", options.statement_timeout.count(),
                   "; SET lock_timeout = ", options.lock_timeout.count(),
                   "; SET idle_in_transaction_session_timeout = ", options.idle_transaction_timeout.count(),
                   "; SET timezone = 'UTC'; SET client_min_messages = error");
  {
    MutexLock lock(&state->mu);
    state->fd = state->connection->sock();
  }
  return std::unique_ptr<PostgresConnection>(new PostgresConnection(std::move(state)));
}

absl::Status PostgresConnection::Begin() {
  Rollback();
  return state_->Done(Guard([&] {
    if (!state_->greeting.empty()) {
      pqxx::nontransaction(*state_->connection).exec(state_->greeting);
      state_->greeting.clear();
    }
    state_->work = std::make_unique<pqxx::work>(*state_->connection);
  }));
}

absl::Status PostgresConnection::Commit() {
  if (state_->work == nullptr) return MakeError(absl::StatusCode::kInternal, "PG_CLIENT", "no transaction is open");
  const absl::Status status = state_->Done(Guard([&] { state_->work->commit(); }));
  Rollback();
  return status;
}

void PostgresConnection::Rollback() {
  if (state_->work == nullptr) return;
  state_->Done(Guard([&] { state_->work->abort(); })).IgnoreError();
  Guard([&] { state_->work.reset(); }).IgnoreError();
}

absl::StatusOr<std::vector<PostgresRow>> PostgresConnection::Query(
    const std::string& sql, absl::Span<const std::optional<std::string>> parameters) {
  if (state_->work == nullptr) return MakeError(absl::StatusCode::kInternal, "PG_CLIENT", "no transaction is open");
  std::vector<PostgresRow> rows;
  const absl::Status status = state_->Done(Guard([&] {
    std::vector<const char*> values;
    for (const std::optional<std::string>& value : parameters) {
      values.push_back(value.has_value() ? value->c_str() : nullptr);
    }
    const pqxx::result result = values.empty()
                                    ? state_->work->exec(sql)
                                    : state_->work->exec_params(sql, pqxx::prepare::make_dynamic_params(values));
    for (const pqxx::row& row : result) {
      PostgresRow& out = rows.emplace_back();
      for (const pqxx::field& field : row) {
        out.push_back(field.is_null() ? std::nullopt
                                      : std::optional<std::string>(std::string(field.c_str(), field.size())));
      }
    }
  }));
  if (!status.ok()) return status;
  return rows;
}

absl::Status PostgresConnection::Execute(const std::string& sql,
                                         absl::Span<const std::optional<std::string>> parameters) {
  return Query(sql, parameters).status();
}

bool PostgresConnection::connected() const { return !state_->lost; }

void PostgresConnection::Cancel() {
  MutexLock lock(&state_->mu);
  state_->cancelled = true;
  if (state_->fd >= 0) shutdown(state_->fd, SHUT_RDWR);
}

}  // namespace naru::postgres
