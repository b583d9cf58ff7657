#include "services/aggregator/testing_sinks.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/clock/rfc3339.h"
#include "common/postgres/postgres_connection.h"
#include "common/redis/redis_client.h"
#include "common/status/status.h"
#include "common/testing/postgres_server.h"
#include "common/testing/redis_server.h"
#include "services/aggregator/row_proto.h"
#include "services/aggregator/sink_postgres.h"
#include "services/aggregator/sink_redis.h"
#include "services/aggregator/sink_text.h"
#include "services/aggregator/sink_topic.h"

namespace naru::aggregator::testing {
namespace {

using postgres::PostgresConnection;
using redis::RedisReply;

void Must(const absl::Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s: %s\n", what, status.ToString().c_str());
  std::abort();
}

std::string ValueText(const google::protobuf::Value& value) {
  switch (value.kind_case()) {
    case google::protobuf::Value::kNumberValue:
      return NumberText(value.number_value());
    case google::protobuf::Value::kStringValue:
      return value.string_value();
    case google::protobuf::Value::kBoolValue:
      return value.bool_value() ? "true" : "false";
    default:
      return "null";
  }
}

// Most frequent values, whatever their order: two of one count may be told in either.
std::string Sorted(std::vector<std::string> entries) {
  std::sort(entries.begin(), entries.end());
  return absl::StrJoin(entries, " ");
}

class RedisStore : public SinkStore {
 public:
  RedisStore(naru::testing::RedisServer* server, const Clock& clock) : server_(server), clock_(clock) {}

  redis::RedisOptions Options() const {
    redis::RedisOptions options;
    options.host = "127.0.0.1";
    options.port = server_->port();
    return options;
  }
  std::unique_ptr<SinkWriter> MakeWriter() override { return MakeRedisSinkWriter(Options(), "test", clock_); }
  catalog::v1::Sink Spec() const override {
    catalog::v1::Sink spec;
    spec.mutable_redis()->set_address(server_->address());
    spec.mutable_redis()->set_key_prefix("test");
    return spec;
  }

  absl::StatusOr<ShownRows> Read(const std::string& metric, const std::vector<std::string>& dimensions) override {
    redis::RedisClient client(Options());
    ShownRows rows;
    const std::string base = absl::StrCat("test:", metric, ":");
    NARU_ASSIGN_OR_RETURN(const RedisReply windows, client.Call({"ZRANGE", base + "windows", "0", "-1"}));
    for (const RedisReply& window : windows.elements) {
      const std::string start = window.text;
      NARU_ASSIGN_OR_RETURN(const RedisReply groups, client.Call({"SMEMBERS", base + start}));
      for (const RedisReply& group : groups.elements) {
        const std::string key = absl::StrCat(base, start, ":", group.text);
        NARU_ASSIGN_OR_RETURN(const RedisReply hash, client.Call({"HGETALL", key}));
        if (hash.elements.empty()) continue;  // expired
        ShownRow row;
        for (size_t i = 0; i < hash.elements.size(); i += 2) row[hash.elements[i].text] = hash.elements[i + 1].text;
        NARU_RETURN_IF_ERROR(AddSets(client, key, &row));
        row["metric_version"] = row["naru_metric_version"];
        const std::string began = row["window_start"];
        if (start.substr(0, start.find('/')) != began) row["wrong"] = start;
        for (const char* ours : {"naru_metric_version", "naru_version", "naru_sets"}) row.erase(ours);
        row.erase("window_start");
        rows[ShownKey(began, dimensions, row)] = row;
      }
    }
    return rows;
  }

  void Empty() override {
    redis::RedisClient client(Options());
    Must(client.Call({"FLUSHALL"}).status(), "FLUSHALL");
    client.Call({"SCRIPT", "FLUSH"}).status().IgnoreError();
  }
  void Kill() override { server_->Kill(); }
  void Restart() override { Must(server_->Restart(), "redis"); }
  void Hang() override { server_->Pause(); }
  void GoOn() override { server_->Resume(); }

  void Damage(const std::string& metric) override {
    redis::RedisClient client(Options());
    const auto keys = client.Call({"KEYS", absl::StrCat("test:", metric, ":*Z:*")});
    Must(keys.status(), "KEYS");
    for (const RedisReply& key : keys->elements) client.Call({"HSET", key.text, "clicks", "-1"}).status().IgnoreError();
  }

  bool Spoil(const std::string& metric, const std::string& window_start, const std::string& /*dimension*/,
             const std::string& value) override {
    redis::RedisClient client(Options());
    const std::string key = absl::StrCat("test:", metric, ":", window_start, ":", value);
    Must(client.Pipeline({{"DEL", key}, {"SET", key, "not a hash"}}).status(), "SET");
    return true;
  }

 private:
  static absl::Status AddSets(redis::RedisClient& client, const std::string& key, ShownRow* row) {
    if (row->count("naru_sets") == 0) return absl::OkStatus();
    const std::vector<std::string> names = absl::StrSplit(row->at("naru_sets"), ',');
    for (const std::string& name : names) {
      NARU_ASSIGN_OR_RETURN(const RedisReply set,
                            client.Call({"ZREVRANGE", absl::StrCat(key, ":", name), "0", "-1", "WITHSCORES"}));
      std::vector<std::string> entries;
      for (size_t i = 0; i < set.elements.size(); i += 2) {
        entries.push_back(absl::StrCat(set.elements[i].text, ":", set.elements[i + 1].text));
      }
      (*row)[name] = Sorted(std::move(entries));
    }
    return absl::OkStatus();
  }

  naru::testing::RedisServer* server_;
  const Clock& clock_;
};

class PostgresStore : public SinkStore {
 public:
  explicit PostgresStore(naru::testing::PostgresServer* server) : server_(server) {}

  postgres::PostgresOptions Options() const {
    postgres::PostgresOptions options;
    options.dsn = server_->dsn();
    return options;
  }
  std::unique_ptr<SinkWriter> MakeWriter() override { return MakePostgresSinkWriter(Options(), "live"); }
  catalog::v1::Sink Spec() const override {
    catalog::v1::Sink spec;
    spec.mutable_postgres()->set_dsn(server_->dsn());
    spec.mutable_postgres()->set_schema("live");
    return spec;
  }

  absl::StatusOr<ShownRows> Read(const std::string& metric, const std::vector<std::string>& dimensions) override {
    ShownRows rows;
    // As text of JSON, so that columns come with their names, and lists as they are.
    const auto found = Run(absl::StrCat(
        "SELECT ", Time("t.window_start"), ", ", Time("t.window_end"),
        ", c.key, CASE WHEN jsonb_typeof(c.value) = 'array' THEN (SELECT string_agg(e ->> 'key' || ':' || (e ->> "
        "'count'), ' ' ORDER BY (e ->> 'key' || ':' || (e ->> 'count')) COLLATE \"C\") FROM "
        "jsonb_array_elements(c.value) AS e) ELSE c.value #>> '{}' END, t.naru_group::text FROM live.",
        Table(metric), " AS t, jsonb_each(to_jsonb(t)) AS c"));
    if (absl::IsNotFound(found.status())) return rows;
    NARU_RETURN_IF_ERROR(found.status());
    std::map<std::string, std::pair<std::string, ShownRow>> by_key;
    for (const auto& cells : *found) {
      auto& [start, row] = by_key[absl::StrCat(*cells[0], *cells[1], *cells[4])];
      start = *cells[0];
      row["window_end"] = *cells[1];
      const std::string& name = *cells[2];
      if (!cells[3].has_value() || name == "window_start" || name == "window_end") continue;
      const bool flag = name == "final" || name == "truncated";
      if (name == "naru_metric_version") row["metric_version"] = *cells[3];
      if (!absl::StartsWith(name, "naru_") || name == "naru_errors") {
        row[name] = flag ? (*cells[3] == "true" ? "1" : "0") : *cells[3];
        if (name == "histogram") row[name] = absl::StrReplaceAll(row[name], {{" ", ""}});
      }
    }
    for (auto& [key, found_row] : by_key)
      rows[ShownKey(found_row.first, dimensions, found_row.second)] = found_row.second;
    return rows;
  }

  void Empty() override {
    absl::Status status;
    // A writer that is at work may be in a deadlock with it, of which the server ends one.
    for (int attempt = 0; attempt < 20; ++attempt) {
      status = Run("DROP SCHEMA IF EXISTS live CASCADE").status();
      if (!absl::IsUnavailable(status)) break;
    }
    Must(status, "DROP SCHEMA");
  }
  void Kill() override { server_->Kill(); }
  void Restart() override { Must(server_->Restart(), "postgres"); }
  void Hang() override { server_->Pause(); }
  void GoOn() override { server_->Resume(); }
  void Damage(const std::string& metric) override {
    Must(Run(absl::StrCat("UPDATE live.", Table(metric), " SET clicks = -1")).status(), "UPDATE");
  }
  bool Spoil(const std::string& metric, const std::string& /*window_start*/, const std::string& dimension,
             const std::string& value) override {
    Must(Run(absl::StrCat("DELETE FROM live.", Table(metric), " WHERE ", dimension, " = '", value, "'")).status(),
         "DELETE");
    Must(
        Run(absl::StrCat("ALTER TABLE live.", Table(metric), " ADD CHECK (", dimension, " <> '", value, "')")).status(),
        "CHECK");
    return true;
  }

 private:
  static std::string Table(const std::string& metric) { return absl::StrReplaceAll(metric, {{"-", "_"}}); }
  // As RFC 3339, with a fraction where there is one.
  static std::string Time(const std::string& column) {
    return absl::StrCat("replace(to_char(", column, ", 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), '.000000Z', 'Z')");
  }
  absl::StatusOr<std::vector<postgres::PostgresRow>> Run(const std::string& sql) {
    NARU_ASSIGN_OR_RETURN(const auto connection, PostgresConnection::Open(Options()));
    NARU_RETURN_IF_ERROR(connection->Begin());
    NARU_ASSIGN_OR_RETURN(auto rows, connection->Query(sql));
    NARU_RETURN_IF_ERROR(connection->Commit());
    return rows;
  }

  naru::testing::PostgresServer* server_;
};

// The fence of a topic's writers: each one takes the transactional id from the one before.
class ProducerFence : public SinkFence {
 public:
  explicit ProducerFence(std::unique_ptr<event_log::Producer> producer) : producer_(std::move(producer)) {}
  absl::Status Append(std::vector<event_log::AppendBatch> appends) override {
    event_log::Transaction transaction;
    transaction.appends = std::move(appends);
    return producer_->Commit(transaction).status();
  }

 private:
  std::unique_ptr<event_log::Producer> producer_;
};

class TopicStore : public SinkStore {
 public:
  TopicStore(event_log::EventLog& log, const Clock& clock) : log_(log), clock_(clock) {}

  std::unique_ptr<SinkWriter> MakeWriter() override {
    auto producer = log_.OpenProducer({"sink-test"});
    Must(producer.status(), "producer");
    fences_.push_back(std::make_unique<ProducerFence>(*std::move(producer)));
    return MakeTopicSinkWriter(log_, clock_, *fences_.back(), Spec().topic());
  }
  catalog::v1::Sink Spec() const override {
    catalog::v1::Sink spec;
    spec.mutable_topic()->set_name("rows");
    spec.mutable_topic()->set_partitions(2);
    return spec;
  }
  bool is_outside() const override { return false; }

  // As readers are told to: the greatest version of each key, and nothing that is older than the last fill.
  absl::StatusOr<ShownRows> Read(const std::string& metric, const std::vector<std::string>& dimensions) override {
    ShownRows rows;
    const auto topic = log_.DescribeTopic("rows");
    if (absl::IsNotFound(topic.status())) return rows;
    NARU_RETURN_IF_ERROR(topic.status());
    std::vector<event_log::ReadPosition> positions;
    for (const auto& partition : topic->partitions) {
      positions.push_back({partition.partition, event_log::ReadPosition::Kind::kOffset, 0});
    }
    NARU_ASSIGN_OR_RETURN(const auto reader, log_.OpenReader("rows", positions));
    std::map<std::string, v1::SinkRow> newest;
    int64_t fill_epoch = 0;
    std::map<int, int64_t> read;
    const auto at_end = [&] {
      return std::all_of(topic->partitions.begin(), topic->partitions.end(),
                         [&](const auto& partition) { return read[partition.partition] >= partition.end_offset; });
    };
    while (!at_end()) {
      NARU_ASSIGN_OR_RETURN(const auto batches, reader->Poll(std::chrono::milliseconds(50), 1 << 20));
      for (const auto& batch : batches) {
        read[batch.partition] = batch.next_offset;
        for (const auto& record : batch.records) {
          v1::SinkRow row;
          if (!row.ParseFromArray(record.value.data(), static_cast<int>(record.value.size())) || row.metric() != metric)
            continue;
          if (row.reset()) {
            fill_epoch = std::max(fill_epoch, row.epoch());
            continue;
          }
          v1::SinkRow& known = newest[std::string(record.key)];
          const auto version = [](const v1::SinkRow& r) {
            return std::tuple(r.epoch(), r.metric_version(), r.position());
          };
          if (version(row) >= version(known)) known = row;
        }
      }
    }
    for (const auto& [key, row] : newest) {
      if (row.epoch() < fill_epoch || row.removed()) continue;
      const ShownRow shown = ShowProto(row.row(), row.metric_version());
      rows[ShownKey(WindowStart(row.row()), dimensions, shown)] = shown;
    }
    return rows;
  }

 private:
  event_log::EventLog& log_;
  const Clock& clock_;
  std::vector<std::unique_ptr<ProducerFence>> fences_;
};

}  // namespace

std::string WindowStart(const v1::WindowRow& row) { return FormatRfc3339(TimeFromProto(row.window_start_time())); }

std::string ShownKey(const std::string& window_start, const std::vector<std::string>& dimensions, const ShownRow& row) {
  std::string key = absl::StrCat(window_start, "/", row.at("window_end"));
  for (const std::string& name : dimensions) {
    const auto found = row.find(name);
    absl::StrAppend(&key, &name == &dimensions.front() ? " " : ",", name, "=",
                    found == row.end() ? "~" : found->second);
  }
  return key;
}

ShownRow ShowProto(const v1::WindowRow& row, int32_t metric_version) {
  ShownRow shown;
  shown["window_end"] = FormatRfc3339(TimeFromProto(row.window_end_time()));
  for (const auto& [name, value] : row.group()) {
    if (value.kind_case() != google::protobuf::Value::kNullValue) shown[name] = ValueText(value);
  }
  for (const auto& [name, value] : row.measures()) {
    std::vector<std::string> entries;
    switch (value.value_case()) {
      case v1::MeasureValue::kInteger:
        shown[name] = absl::StrCat(value.integer());
        break;
      case v1::MeasureValue::kNumber:
        shown[name] = NumberText(value.number());
        break;
      case v1::MeasureValue::kTop:
        for (const v1::TopItem& item : value.top().items()) {
          entries.push_back(absl::StrCat(ValueText(item.key()), ":", item.count()));
        }
        shown[name] = Sorted(std::move(entries));
        break;
      case v1::MeasureValue::kText:
        shown[name] = value.text();
        break;
      case v1::MeasureValue::kBoolean:
        shown[name] = value.boolean() ? "true" : "false";
        break;
      case v1::MeasureValue::kHistogram:
        shown[name] = absl::StrCat("{\"bounds\":[", absl::StrJoin(value.histogram().bounds(), ","), "],\"counts\":[",
                                   absl::StrJoin(value.histogram().counts(), ","), "]}");
        break;
      case v1::MeasureValue::kError:
        shown["naru_errors"] = absl::StrCat("{\"", name, "\":\"", value.error(), "\"}");
        break;
      default:
        break;
    }
  }
  shown["final"] = row.final() ? "1" : "0";
  shown["revision"] = absl::StrCat(row.revision());
  shown["truncated"] = row.truncated() ? "1" : "0";
  shown["metric_version"] = absl::StrCat(metric_version);
  return shown;
}

ShownRows ShowAnswer(const std::vector<v1::WindowRow>& rows, const std::vector<std::string>& dimensions,
                     int32_t metric_version) {
  ShownRows shown;
  for (const v1::WindowRow& row : rows) {
    const ShownRow one = ShowProto(row, metric_version);
    shown[ShownKey(WindowStart(row), dimensions, one)] = one;
  }
  return shown;
}

absl::StatusOr<std::unique_ptr<SinkStore>> MakeRedisStore(const Clock& clock) {
  static const auto server = naru::testing::RedisServer::Start();
  if (!server.ok()) return server.status();
  auto store = std::make_unique<RedisStore>(server->get(), clock);
  store->Empty();
  return store;
}

absl::StatusOr<std::unique_ptr<SinkStore>> MakePostgresStore() {
  const auto server = naru::testing::PostgresServer::Shared();
  if (!server.ok()) return server.status();
  auto store = std::make_unique<PostgresStore>(*server);
  store->Empty();
  return store;
}

std::unique_ptr<SinkStore> MakeTopicStore(event_log::EventLog& log, const Clock& clock) {
  return std::make_unique<TopicStore>(log, clock);
}

}  // namespace naru::aggregator::testing
