#include "services/aggregator/sink_postgres.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"
#include "services/aggregator/sink_postgres_schema.h"
#include "services/aggregator/sink_text.h"

namespace naru::aggregator {
namespace {

using postgres::PostgresConnection;
using postgres::PostgresRow;
using postgres::QuoteName;

constexpr char kSavepoint[] = "SAVEPOINT naru_batch";
constexpr char kBackToSavepoint[] = "ROLLBACK TO SAVEPOINT naru_batch";
constexpr char kReleaseSavepoint[] = "RELEASE SAVEPOINT naru_batch";

int64_t ToNumber(const std::optional<std::string>& text) {
  int64_t number = 0;
  if (!text.has_value() || !absl::SimpleAtoi(*text, &number)) return 0;
  return number;
}

class PostgresSinkWriter : public SinkWriter {
 public:
  PostgresSinkWriter(const postgres::PostgresOptions& options, const std::string& schema)
      : options_(options), schema_(schema.empty() ? "public" : schema) {}

  absl::Status Prepare(const SinkLayout& layout) override;
  absl::StatusOr<std::optional<SinkMark>> ReadMark() override;
  absl::Status Begin(const SinkTurn& turn) override;
  absl::Status Write(absl::Span<const SinkRow> rows, int64_t position, std::vector<RefusedRow>* refused) override;
  absl::Status Remove(absl::Span<const SinkRow> rows, int64_t position) override;
  absl::Status Finish(const SinkMark& mark) override;
  void Abandon() override;
  absl::Status Expire(int64_t now_us) override;
  absl::Status Drop(int64_t epoch) override;
  void Cancel() override;

 private:
  absl::Status Connect();
  absl::Status MakeTables();
  absl::Status MakeTable();
  absl::Status AddColumns();
  absl::StatusOr<std::map<std::string, std::string>> StoredColumns();
  absl::StatusOr<std::optional<SinkMark>> ReadMarkInTransaction(const char* lock);
  absl::Status ReplaceColumns();
  absl::Status MakePartitions(absl::Span<const SinkRow> rows);
  absl::Status MakePartition(const SinkTable::Partition& partition);
  absl::Status Insert(absl::Span<const SinkRow> rows, size_t first, int64_t position, std::vector<RefusedRow>* refused);
  absl::Status InTransaction(const std::function<absl::Status()>& work);
  absl::Status Lost(absl::Status status) const;

  const postgres::PostgresOptions options_;
  const std::string schema_;
  Mutex mu_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  std::unique_ptr<PostgresConnection> connection_;  // replaced under mu_, by the one thread
  SinkLayout layout_;
  std::unique_ptr<SinkTable> table_;
  std::string upsert_;
  SinkTurn turn_;
  std::set<std::string> partitions_;            // that are there
  std::vector<SinkColumn> columns_to_replace_;  // of another type than wanted
};

// A table that is not there has been dropped by somebody.
absl::Status PostgresSinkWriter::Lost(absl::Status status) const {
  if (!absl::IsNotFound(status)) return status;
  return SinkStoreEmptied(std::string(status.message()));
}

absl::Status PostgresSinkWriter::Connect() {
  if (connection_ != nullptr && connection_->connected()) return absl::OkStatus();
  {
    MutexLock lock(&mu_);
    if (cancelled_) return absl::CancelledError("Cancel was called");
    connection_.reset();
  }
  NARU_ASSIGN_OR_RETURN(std::unique_ptr<PostgresConnection> opened, PostgresConnection::Open(options_));
  MutexLock lock(&mu_);
  if (cancelled_) return absl::CancelledError("Cancel was called");
  connection_ = std::move(opened);
  return absl::OkStatus();
}

void PostgresSinkWriter::Cancel() {
  MutexLock lock(&mu_);
  cancelled_ = true;
  if (connection_ != nullptr) connection_->Cancel();
}

absl::Status PostgresSinkWriter::InTransaction(const std::function<absl::Status()>& work) {
  NARU_RETURN_IF_ERROR(Connect());
  NARU_RETURN_IF_ERROR(connection_->Begin());
  absl::Status status = work();
  if (status.ok()) return connection_->Commit();
  connection_->Rollback();
  return status;
}

absl::Status PostgresSinkWriter::Prepare(const SinkLayout& layout) {
  layout_ = layout;
  table_ = std::make_unique<SinkTable>(layout, schema_);
  upsert_ = table_->Upsert();
  partitions_.clear();
  columns_to_replace_.clear();
  return InTransaction([this] { return MakeTables(); });
}

absl::Status PostgresSinkWriter::MakeTables() {
  // One at a time: several metrics begin together, and IF NOT EXISTS alone does not bear that.
  NARU_RETURN_IF_ERROR(
      connection_->Execute("SELECT pg_advisory_xact_lock(hashtext($1))", {absl::StrCat("naru sink ", schema_)}));
  NARU_ASSIGN_OR_RETURN(const std::vector<PostgresRow> there,
                        connection_->Query("SELECT to_regnamespace($1)::text", {QuoteName(schema_)}));
  if (!there[0][0].has_value()) NARU_RETURN_IF_ERROR(connection_->Execute("CREATE SCHEMA " + QuoteName(schema_)));
  NARU_RETURN_IF_ERROR(connection_->Execute(table_->CreateSinks()));
  NARU_ASSIGN_OR_RETURN(const std::vector<PostgresRow> others,
                        connection_->Query(absl::StrCat("SELECT metric, sink FROM ", table_->Sinks(),
                                                        " WHERE metric = $1 OR table_name = $2"),
                                           {layout_.metric, table_->name()}));
  for (const PostgresRow& other : others) {
    if (other[0] != layout_.metric) {
      return MakeError(absl::StatusCode::kFailedPrecondition, "STORE_TAKEN",
                       absl::StrCat("the table ", table_->name(), " holds the metric `", other[0].value_or(""),
                                    "`; put one of the two into another schema"));
    }
    if (other[1] != layout_.sink && !layout_.take_over) {
      return SinkStoreTaken(absl::StrCat("the table ", table_->name()), other[1].value_or(""));
    }
  }
  return MakeTable();
}

absl::Status PostgresSinkWriter::MakeTable() {
  NARU_ASSIGN_OR_RETURN(const std::vector<PostgresRow> there,
                        connection_->Query("SELECT to_regclass($1)::text", {table_->Quoted()}));
  if (there[0][0].has_value()) return AddColumns();
  NARU_RETURN_IF_ERROR(connection_->Execute(table_->CreateTable()));
  NARU_RETURN_IF_ERROR(connection_->Execute(
      absl::StrCat("COMMENT ON TABLE ", table_->Quoted(), " IS 'Made and filled by Naru; see the table naru_sinks.'")));
  // A mark that was left tells of rows that are gone.
  return connection_->Execute(absl::StrCat("DELETE FROM ", table_->Sinks(), " WHERE metric = $1"), {layout_.metric});
}

absl::StatusOr<std::map<std::string, std::string>> PostgresSinkWriter::StoredColumns() {
  NARU_ASSIGN_OR_RETURN(const std::vector<PostgresRow> rows,
                        connection_->Query("SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE "
                                           "attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped",
                                           {table_->Quoted()}));
  std::map<std::string, std::string> columns;
  for (const PostgresRow& row : rows) columns[*row[0]] = *row[1];
  return columns;
}

absl::Status PostgresSinkWriter::AddColumns() {
  NARU_ASSIGN_OR_RETURN(const auto stored, StoredColumns());
  for (const SinkColumn& column : table_->columns()) {
    const auto found = stored.find(column.name);
    if (found == stored.end()) {
      NARU_RETURN_IF_ERROR(connection_->Execute(
          absl::StrCat("ALTER TABLE ", table_->Quoted(), " ADD COLUMN ", QuoteName(column.name), " ", column.type)));
      NARU_LOG(INFO, "a column was added", {{"table", table_->name()}, {"column", column.name}});
    } else if (found->second != column.type) {
      columns_to_replace_.push_back(column);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<SinkMark>> PostgresSinkWriter::ReadMarkInTransaction(const char* lock) {
  NARU_ASSIGN_OR_RETURN(
      const std::vector<PostgresRow> rows,
      connection_->Query(absl::StrCat("SELECT epoch, sequence FROM ", table_->Sinks(), " WHERE metric = $1", lock),
                         {layout_.metric}));
  if (rows.empty()) return std::optional<SinkMark>();
  return std::optional<SinkMark>(SinkMark{ToNumber(rows[0][0]), ToNumber(rows[0][1])});
}

absl::StatusOr<std::optional<SinkMark>> PostgresSinkWriter::ReadMark() {
  std::optional<SinkMark> mark;
  const absl::Status status = InTransaction([&]() -> absl::Status {
    NARU_ASSIGN_OR_RETURN(
        const std::vector<PostgresRow> tables,
        connection_->Query("SELECT to_regclass($1)::text, to_regclass($2)::text", {table_->Quoted(), table_->Sinks()}));
    if (!tables[0][0].has_value() || !tables[0][1].has_value()) return absl::OkStatus();
    NARU_ASSIGN_OR_RETURN(mark, ReadMarkInTransaction(""));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return mark;
}

absl::Status PostgresSinkWriter::Begin(const SinkTurn& turn) {
  turn_ = turn;
  NARU_RETURN_IF_ERROR(Connect());
  NARU_RETURN_IF_ERROR(connection_->Begin());
  // Constraints that somebody added must not wait for the end of the turn, when it is too late to tell whose fault it
  // is.
  NARU_RETURN_IF_ERROR(connection_->Execute("SET CONSTRAINTS ALL IMMEDIATE"));
  if (turn.fill) {
    // Removing what the fill did not write may take as long as it likes.
    NARU_RETURN_IF_ERROR(connection_->Execute("SET LOCAL statement_timeout = 0"));
    NARU_RETURN_IF_ERROR(Lost(connection_->Execute(
        absl::StrCat("INSERT INTO ", table_->Sinks(),
                     " (metric, sink, table_name, metric_version, epoch, sequence) VALUES ($1, $2, $3, 0, 0, 0) ON "
                     "CONFLICT (metric) DO NOTHING"),
        {layout_.metric, layout_.sink, table_->name()})));
  }
  // The lock makes turns of two writers follow each other; the server ends a session that keeps it without a word.
  const absl::StatusOr<std::optional<SinkMark>> mark = ReadMarkInTransaction(" FOR UPDATE");
  if (!mark.ok()) return Lost(mark.status());
  if (mark->has_value() && (*mark)->epoch > turn.epoch) return SinkFenced();
  if (!turn.fill && (!mark->has_value() || **mark < turn.expected)) {
    return SinkStoreEmptied(absl::StrCat("the database has lost rows of ", table_->name()));
  }
  return turn.fill ? ReplaceColumns() : absl::OkStatus();
}

absl::Status PostgresSinkWriter::ReplaceColumns() {
  for (const SinkColumn& column : columns_to_replace_) {
    const std::string name = QuoteName(column.name);
    NARU_RETURN_IF_ERROR(connection_->Execute(absl::StrCat("ALTER TABLE ", table_->Quoted(), " DROP COLUMN ", name,
                                                           ", ADD COLUMN ", name, " ", column.type)));
  }
  return absl::OkStatus();
}

absl::Status PostgresSinkWriter::MakePartitions(absl::Span<const SinkRow> rows) {
  for (const SinkRow& row : rows) {
    const SinkTable::Partition partition = table_->PartitionOf(row.result.window.start_us);
    if (partitions_.count(partition.name) > 0) continue;
    NARU_RETURN_IF_ERROR(MakePartition(partition));
    partitions_.insert(partition.name);
  }
  return absl::OkStatus();
}

// Made apart and attached then, because making it in its place would lock readers out until the turn ends.
absl::Status PostgresSinkWriter::MakePartition(const SinkTable::Partition& partition) {
  const std::string quoted = table_->Quoted(partition.name);
  NARU_ASSIGN_OR_RETURN(const std::vector<PostgresRow> attached,
                        connection_->Query("SELECT count(*) FROM pg_inherits WHERE inhrelid = to_regclass($1) AND "
                                           "inhparent = to_regclass($2)",
                                           {quoted, table_->Quoted()}));
  if (attached[0][0] != "0") return absl::OkStatus();
  const auto bound = [](const std::string& text) { return text == "MINVALUE" ? text : absl::StrCat("'", text, "'"); };
  NARU_RETURN_IF_ERROR(
      connection_->Execute(absl::StrCat("CREATE TABLE IF NOT EXISTS ", quoted, " (LIKE ", table_->Quoted(),
                                        " INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")));
  return connection_->Execute(absl::StrCat("ALTER TABLE ", table_->Quoted(), " ATTACH PARTITION ", quoted,
                                           " FOR VALUES FROM (", bound(partition.from), ") TO (", bound(partition.to),
                                           ")"));
}

absl::Status PostgresSinkWriter::Insert(absl::Span<const SinkRow> rows, size_t first, int64_t position,
                                        std::vector<RefusedRow>* refused) {
  std::string json = "[";
  for (const SinkRow& row : rows) {
    if (json.size() > 1) json.push_back(',');
    table_->AppendRowJson(row, turn_.epoch, position, &json);
  }
  json.push_back(']');
  NARU_RETURN_IF_ERROR(connection_->Execute(kSavepoint));
  const absl::Status status = connection_->Execute(upsert_, {json});
  if (status.ok()) return connection_->Execute(kReleaseSavepoint);
  if (!postgres::IsRefusedForGood(status)) return Lost(status);
  if (absl::StrContains(status.message(), "no partition of relation"))
    return SinkStoreEmptied("a partition was dropped");
  NARU_RETURN_IF_ERROR(connection_->Execute(kBackToSavepoint));
  if (rows.size() == 1) {
    refused->push_back({first, postgres::SqlState(status), std::string(status.message())});
    return absl::OkStatus();
  }
  // Halves, until the rows that are to blame stand alone.
  const size_t half = rows.size() / 2;
  NARU_RETURN_IF_ERROR(Insert(rows.subspan(0, half), first, position, refused));
  return Insert(rows.subspan(half), first + half, position, refused);
}

absl::Status PostgresSinkWriter::Write(absl::Span<const SinkRow> rows, int64_t position,
                                       std::vector<RefusedRow>* refused) {
  if (rows.empty()) return absl::OkStatus();
  NARU_RETURN_IF_ERROR(Lost(MakePartitions(rows)));
  return Insert(rows, 0, position, refused);
}

absl::Status PostgresSinkWriter::Remove(absl::Span<const SinkRow> rows, int64_t position) {
  if (rows.empty()) return absl::OkStatus();
  std::string json = "[";
  for (const SinkRow& row : rows) {
    if (json.size() > 1) json.push_back(',');
    SinkTable::AppendPlaceJson(row, &json);
  }
  json.push_back(']');
  return Lost(connection_->Execute(table_->Remove(), {json, absl::StrCat(turn_.epoch),
                                                      absl::StrCat(layout_.metric_version), absl::StrCat(position)}));
}

absl::Status PostgresSinkWriter::Finish(const SinkMark& mark) {
  if (turn_.fill) {
    NARU_RETURN_IF_ERROR(Lost(connection_->Execute(
        absl::StrCat("DELETE FROM ", table_->Quoted(), " WHERE naru_epoch < $1"), {absl::StrCat(turn_.epoch)})));
  }
  NARU_RETURN_IF_ERROR(connection_->Execute(
      absl::StrCat(
          "UPDATE ", table_->Sinks(),
          " SET sink = $2, metric_version = $3, epoch = $4, sequence = $5, update_time = now() WHERE metric = $1"),
      {layout_.metric, layout_.sink, absl::StrCat(layout_.metric_version), absl::StrCat(mark.epoch),
       absl::StrCat(mark.sequence)}));
  const absl::Status status = connection_->Commit();
  if (!status.ok()) {
    partitions_.clear();
    return status;
  }
  if (turn_.fill) columns_to_replace_.clear();
  return absl::OkStatus();
}

void PostgresSinkWriter::Abandon() {
  if (connection_ != nullptr) connection_->Rollback();
  partitions_.clear();  // those made in the turn are gone with it
}

absl::Status PostgresSinkWriter::Expire(int64_t now_us) {
  std::vector<PostgresRow> names;
  NARU_RETURN_IF_ERROR(InTransaction([&]() -> absl::Status {
    NARU_ASSIGN_OR_RETURN(names, connection_->Query("SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = "
                                                    "i.inhrelid WHERE i.inhparent = to_regclass($1)",
                                                    {table_->Quoted()}));
    return absl::OkStatus();
  }));
  for (const PostgresRow& row : names) {
    const std::string name = row[0].value_or("");
    int64_t end_us = 0;
    // Rows live for the retention after a change, and changes come no earlier than their events.
    if (!table_->PartitionEnd(name, &end_us) || (end_us != kNever && end_us > now_us - layout_.retention_us)) continue;
    // One short transaction each: dropping locks readers out.
    NARU_RETURN_IF_ERROR(InTransaction([&]() -> absl::Status {
      const std::string quoted = table_->Quoted(name);
      NARU_ASSIGN_OR_RETURN(const std::vector<PostgresRow> left,
                            connection_->Query(absl::StrCat("SELECT count(*) FROM (SELECT 1 FROM ", quoted,
                                                            " WHERE naru_expire_time > $1::timestamptz LIMIT 1) AS l"),
                                               {WindowTimeText(now_us)}));
      if (left[0][0] != "0") return absl::OkStatus();
      NARU_LOG(INFO, "a partition is dropped, its rows have expired", {{"partition", name}});
      partitions_.erase(name);
      return connection_->Execute("DROP TABLE " + quoted);
    }));
  }
  return absl::OkStatus();
}

absl::Status PostgresSinkWriter::Drop(int64_t /*epoch*/) {
  partitions_.clear();
  return InTransaction([this]() -> absl::Status {
    NARU_RETURN_IF_ERROR(connection_->Execute("DROP TABLE IF EXISTS " + table_->Quoted()));
    return connection_->Execute(absl::StrCat("DELETE FROM ", table_->Sinks(), " WHERE metric = $1"), {layout_.metric});
  });
}

}  // namespace

std::unique_ptr<SinkWriter> MakePostgresSinkWriter(const postgres::PostgresOptions& options,
                                                   const std::string& schema) {
  return std::make_unique<PostgresSinkWriter>(options, schema);
}

}  // namespace naru::aggregator
