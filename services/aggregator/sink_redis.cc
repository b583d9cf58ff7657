#include "services/aggregator/sink_redis.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status/status.h"
#include "services/aggregator/sink_text.h"

namespace naru::aggregator {
namespace {

using redis::RedisCommand;
using redis::RedisReply;

constexpr size_t kPipelined = 256;  // commands under way at a time
constexpr char kScanCount[] = "1000";

// Writes one row unless a newer one is there. What may fail comes before what changes the row.
// What a newer writer has removed an older one must not bring back, so the mark counts as well.
// KEYS: hash, set of groups, windows, mark. ARGV: version, milliseconds to live, window, its time, group, number of
// fields, the fields with their values, then for each top_k measure: name, number of entries, the entries (count,
// value).
constexpr char kWriteScript[] = R"(
local epoch = redis.call('HGET', KEYS[4], 'epoch')
if epoch and tonumber(epoch) > tonumber(string.sub(ARGV[1], 1, 19)) then return 0 end
local old = redis.call('HMGET', KEYS[1], 'naru_version', 'naru_sets')
if old[1] and old[1] > ARGV[1] then return 0 end
redis.call('SADD', KEYS[2], ARGV[5])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[3])
if old[2] then
  for name in string.gmatch(old[2], '[^,]+') do redis.call('DEL', KEYS[1] .. ':' .. name) end
end
redis.call('DEL', KEYS[1])
local at = 7 + 2 * tonumber(ARGV[6])
redis.call('HSET', KEYS[1], 'naru_version', ARGV[1], unpack(ARGV, 7, at - 1))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
while at <= #ARGV do
  local key, n = KEYS[1] .. ':' .. ARGV[at], 2 * tonumber(ARGV[at + 1])
  redis.call('DEL', key)
  if n > 0 then
    redis.call('ZADD', key, unpack(ARGV, at + 2, at + 1 + n))
    redis.call('PEXPIRE', key, ARGV[2])
  end
  at = at + 2 + n
end
for i = 2, 3 do
  if redis.call('PTTL', KEYS[i]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
end
return 1
)";

// Removes one row unless it is newer than a version, and what is left behind by one that expired.
// KEYS: hash, set of groups, windows. ARGV: version, window, group.
constexpr char kRemoveScript[] = R"(
local old = redis.call('HMGET', KEYS[1], 'naru_version', 'naru_sets')
if old[1] and old[1] > ARGV[1] then return 0 end
if old[2] then
  for name in string.gmatch(old[2], '[^,]+') do redis.call('DEL', KEYS[1] .. ':' .. name) end
end
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[2], ARGV[3])
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('ZREM', KEYS[3], ARGV[2]) end
return 1
)";

// Moves the mark. KEYS: mark. ARGV: sink, epoch, sequence, metric version, expected epoch, expected sequence, fill (0,
// 1).
constexpr char kMarkScript[] = R"(
local now = redis.call('HMGET', KEYS[1], 'epoch', 'sequence')
if now[1] and tonumber(now[1]) > tonumber(ARGV[2]) then return 'FENCED' end
if ARGV[7] == '0' then
  if not now[1] then return 'EMPTIED' end
  local epoch, expected = tonumber(now[1]), tonumber(ARGV[5])
  if epoch < expected or (epoch == expected and tonumber(now[2]) < tonumber(ARGV[6])) then return 'EMPTIED' end
end
redis.call('HSET', KEYS[1], 'sink', ARGV[1], 'epoch', ARGV[2], 'sequence', ARGV[3], 'metric_version', ARGV[4])
return 'OK'
)";

// Compared as text, so of equal width, and digits only: how other characters sort depends on the server's locale.
std::string VersionText(int64_t epoch, int32_t metric_version, int64_t position) {
  return absl::StrFormat("%019d.%010d.%019d", epoch, metric_version, position);
}

class RedisSinkWriter : public SinkWriter {
 public:
  RedisSinkWriter(const redis::RedisOptions& options, std::string prefix, const Clock& clock)
      : client_(options), prefix_(prefix.empty() ? "naru" : std::move(prefix)), clock_(clock) {}

  absl::Status Prepare(const SinkLayout& layout) override;
  absl::StatusOr<std::optional<SinkMark>> ReadMark() override;
  bool expires_rows() const override { return true; }
  absl::Status Begin(const SinkTurn& turn) override;
  absl::Status Write(absl::Span<const SinkRow> rows, int64_t position, std::vector<RefusedRow>* refused) override;
  absl::Status Remove(absl::Span<const SinkRow> rows, int64_t position) override;
  absl::Status Finish(const SinkMark& mark) override;
  void Abandon() override {}
  absl::Status Expire(int64_t now_us) override;
  absl::Status Drop(int64_t epoch) override;
  void Cancel() override { client_.Cancel(); }

 private:
  std::string Key(absl::string_view rest) const { return absl::StrCat(base_, ":", rest); }
  RedisCommand RemoveCommand(const std::string& window, const std::string& group, const std::string& version) const;
  absl::Status RemoveSome(const std::vector<RedisCommand>& commands);
  RedisCommand WriteCommand(const SinkRow& row, int64_t position) const;
  void AddFields(const ResultRow& row, RedisCommand* command) const;
  void AddSets(const ResultRow& row, RedisCommand* command) const;
  absl::Status LoadScripts();
  absl::Status WriteSome(absl::Span<const SinkRow> rows, size_t first, int64_t position,
                         std::vector<RefusedRow>* refused);
  absl::StatusOr<RedisReply> RunScript(RedisCommand command);
  absl::Status RemoveOlder(const std::string& version);
  absl::Status RemoveOlderOf(const std::string& window, const std::string& version);
  absl::StatusOr<std::vector<std::string>> Scan(const char* command, const std::string& key, std::string* cursor);

  redis::RedisClient client_;
  const std::string prefix_;
  const Clock& clock_;
  SinkLayout layout_;
  std::string base_;
  SinkTurn turn_;
  std::string write_sha_, remove_sha_, mark_sha_;
};

absl::Status RedisSinkWriter::LoadScripts() {
  std::vector<RedisCommand> commands;
  for (const char* script : {kWriteScript, kRemoveScript, kMarkScript}) commands.push_back({"SCRIPT", "LOAD", script});
  NARU_ASSIGN_OR_RETURN(std::vector<RedisReply> replies, client_.Pipeline(commands));
  for (const RedisReply& reply : replies) NARU_RETURN_IF_ERROR(ToStatus(reply));
  write_sha_ = replies[0].text;
  remove_sha_ = replies[1].text;
  mark_sha_ = replies[2].text;
  return absl::OkStatus();
}

absl::Status RedisSinkWriter::Prepare(const SinkLayout& layout) {
  layout_ = layout;
  base_ = absl::StrCat(prefix_, ":", layout.metric);
  NARU_ASSIGN_OR_RETURN(const RedisReply owner, client_.Call({"HGET", Key("mark"), "sink"}));
  if (owner.kind == RedisReply::Kind::kText && owner.text != layout.sink && !layout.take_over) {
    return SinkStoreTaken(absl::StrCat("`", base_, "` in this Redis"), owner.text);
  }
  return LoadScripts();
}

absl::StatusOr<std::optional<SinkMark>> RedisSinkWriter::ReadMark() {
  NARU_ASSIGN_OR_RETURN(const RedisReply reply, client_.Call({"HMGET", Key("mark"), "epoch", "sequence"}));
  SinkMark mark;
  if (reply.elements.size() != 2 || !absl::SimpleAtoi(reply.elements[0].text, &mark.epoch) ||
      !absl::SimpleAtoi(reply.elements[1].text, &mark.sequence)) {
    return std::optional<SinkMark>();
  }
  return std::optional<SinkMark>(mark);
}

absl::Status RedisSinkWriter::Begin(const SinkTurn& turn) {
  turn_ = turn;
  NARU_ASSIGN_OR_RETURN(const std::optional<SinkMark> mark, ReadMark());
  if (mark.has_value() && mark->epoch > turn.epoch) return SinkFenced();
  if (!turn.fill && (!mark.has_value() || *mark < turn.expected)) {
    return SinkStoreEmptied(absl::StrCat("Redis has lost rows of `", base_, "`"));
  }
  return absl::OkStatus();
}

void RedisSinkWriter::AddFields(const ResultRow& row, RedisCommand* command) const {
  const size_t count_at = command->size();
  command->emplace_back();
  const auto add = [command](absl::string_view name, std::string value) {
    command->emplace_back(name);
    command->push_back(std::move(value));
  };
  add("window_start", WindowTimeText(row.window.start_us));
  add("window_end", WindowTimeText(row.window.end_us));
  add("final", row.final ? "1" : "0");
  add("revision", absl::StrCat(row.revision));
  add("truncated", row.truncated ? "1" : "0");
  if (row.valid_from_us.has_value()) add("naru_valid_from", WindowTimeText(*row.valid_from_us));
  for (size_t i = 0; i < row.group.size(); ++i) {
    std::optional<std::string> text = GroupValueText(row.group[i]);
    if (text.has_value()) add(layout_.dimensions[i], *std::move(text));
  }
  std::string sets;
  for (size_t i = 0; i < row.measures.size(); ++i) {
    const std::string& name = layout_.measures[i];
    std::optional<std::string> text = MeasureText(row.measures[i], layout_.shapes[i]);
    if (text.has_value()) add(name, *std::move(text));
    if (row.measures[i].kind == MeasureResult::Kind::kTop) absl::StrAppend(&sets, sets.empty() ? "" : ",", name);
  }
  add("naru_metric_version", absl::StrCat(layout_.metric_version));
  if (!sets.empty()) add("naru_sets", sets);
  std::string errors = MeasureErrorsJson(row.measures, layout_.measures);
  if (!errors.empty()) add("naru_errors", std::move(errors));
  (*command)[count_at] = absl::StrCat((command->size() - count_at - 1) / 2);
}

void RedisSinkWriter::AddSets(const ResultRow& row, RedisCommand* command) const {
  for (size_t i = 0; i < row.measures.size(); ++i) {
    if (row.measures[i].kind != MeasureResult::Kind::kTop) continue;
    command->push_back(layout_.measures[i]);
    const size_t count_at = command->size();
    command->emplace_back();
    // Values of different kinds may read alike (5 and "5"): the more frequent one, which comes first, counts.
    std::set<std::string> seen;
    for (const TopEntry& entry : row.measures[i].top) {
      std::string text = GroupValueText(entry.key).value_or("null");
      if (!seen.insert(text).second) continue;
      command->push_back(absl::StrCat(entry.count));
      command->push_back(std::move(text));
    }
    (*command)[count_at] = absl::StrCat(seen.size());
  }
}

RedisCommand RedisSinkWriter::WriteCommand(const SinkRow& row, int64_t position) const {
  const std::string window = WindowName(row.result.window, layout_.cumulative);
  const std::string group = GroupText(row.result);
  const int64_t live_ms = std::max<int64_t>(1, (row.expire_time_us - clock_.NowMicros()) / 1000);
  RedisCommand command = {"EVALSHA",
                          write_sha_,
                          "4",
                          Key(absl::StrCat(window, ":", group)),
                          Key(window),
                          Key("windows"),
                          Key("mark"),
                          VersionText(turn_.epoch, layout_.metric_version, position),
                          absl::StrCat(live_ms),
                          window,
                          absl::StrCat(row.result.window.start_us / 1000),
                          group};
  AddFields(row.result, &command);
  AddSets(row.result, &command);
  return command;
}

absl::Status RedisSinkWriter::WriteSome(absl::Span<const SinkRow> rows, size_t first, int64_t position,
                                        std::vector<RefusedRow>* refused) {
  std::vector<size_t> left(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) left[i] = i;
  // Twice: a server that was restarted has forgotten the scripts.
  for (int attempt = 0; attempt < 2 && !left.empty(); ++attempt) {
    if (attempt > 0) NARU_RETURN_IF_ERROR(LoadScripts());
    std::vector<RedisCommand> commands;
    for (const size_t i : left) commands.push_back(WriteCommand(rows[i], position));
    NARU_ASSIGN_OR_RETURN(const std::vector<RedisReply> replies, client_.Pipeline(commands));
    std::vector<size_t> again;
    for (size_t i = 0; i < replies.size(); ++i) {
      if (!replies[i].is_error()) continue;
      if (replies[i].error_code() == "NOSCRIPT") {
        again.push_back(left[i]);
      } else if (absl::StrContains(replies[i].text, "WRONGTYPE")) {
        refused->push_back({first + left[i], "WRONGTYPE", replies[i].text});
      } else {
        if (replies[i].error_code() == "READONLY") client_.Disconnect();
        return ToStatus(replies[i]);
      }
    }
    left = std::move(again);
  }
  if (left.empty()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kUnavailable, "REDIS_NOSCRIPT",
                   "Redis forgets scripts as soon as they are loaded");
}

absl::Status RedisSinkWriter::Write(absl::Span<const SinkRow> rows, int64_t position,
                                    std::vector<RefusedRow>* refused) {
  for (size_t first = 0; first < rows.size(); first += kPipelined) {
    NARU_RETURN_IF_ERROR(WriteSome(rows.subspan(first, kPipelined), first, position, refused));
  }
  return absl::OkStatus();
}

RedisCommand RedisSinkWriter::RemoveCommand(const std::string& window, const std::string& group,
                                            const std::string& version) const {
  return {"EVALSHA", remove_sha_, "3",  Key(absl::StrCat(window, ":", group)), Key(window), Key("windows"),
          version,   window,      group};
}

absl::Status RedisSinkWriter::RemoveSome(const std::vector<RedisCommand>& commands) {
  NARU_ASSIGN_OR_RETURN(const std::vector<RedisReply> replies, client_.Pipeline(commands));
  for (const RedisReply& reply : replies) {
    // What somebody else has put in the place of a row is not ours to remove.
    if (!absl::StrContains(reply.text, "WRONGTYPE")) NARU_RETURN_IF_ERROR(ToStatus(reply));
  }
  return absl::OkStatus();
}

absl::Status RedisSinkWriter::Remove(absl::Span<const SinkRow> rows, int64_t position) {
  // A server that was restarted in this turn has forgotten the scripts, and it fails: the next try loads them.
  const std::string version = VersionText(turn_.epoch, layout_.metric_version, position);
  for (size_t first = 0; first < rows.size(); first += kPipelined) {
    std::vector<RedisCommand> commands;
    for (const SinkRow& row : rows.subspan(first, kPipelined)) {
      commands.push_back(
          RemoveCommand(WindowName(row.result.window, layout_.cumulative), GroupText(row.result), version));
    }
    NARU_RETURN_IF_ERROR(RemoveSome(commands));
  }
  return absl::OkStatus();
}

absl::StatusOr<RedisReply> RedisSinkWriter::RunScript(RedisCommand command) {
  absl::StatusOr<RedisReply> reply = client_.Call(command);
  if (reply.ok() || GetErrorDetails(reply.status()).reason != "REDIS_NOSCRIPT") return reply;
  NARU_RETURN_IF_ERROR(LoadScripts());
  return client_.Call(command);
}

absl::Status RedisSinkWriter::Finish(const SinkMark& mark) {
  if (turn_.fill) NARU_RETURN_IF_ERROR(RemoveOlder(VersionText(turn_.epoch, 0, 0)));
  NARU_ASSIGN_OR_RETURN(
      const RedisReply reply,
      RunScript({"EVALSHA", mark_sha_, "1", Key("mark"), layout_.sink, absl::StrCat(mark.epoch),
                 absl::StrCat(mark.sequence), absl::StrCat(layout_.metric_version), absl::StrCat(turn_.expected.epoch),
                 absl::StrCat(turn_.expected.sequence), turn_.fill ? "1" : "0"}));
  if (reply.text == "FENCED") return SinkFenced();
  if (reply.text == "EMPTIED") return SinkStoreEmptied(absl::StrCat("Redis has lost rows of `", base_, "`"));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> RedisSinkWriter::Scan(const char* command, const std::string& key,
                                                               std::string* cursor) {
  NARU_ASSIGN_OR_RETURN(const RedisReply reply, client_.Call({command, key, *cursor, "COUNT", kScanCount}));
  if (reply.elements.size() != 2)
    return MakeError(absl::StatusCode::kInternal, "REDIS_SCAN", "an odd answer to a scan");
  *cursor = reply.elements[0].text;
  std::vector<std::string> found;
  for (const RedisReply& element : reply.elements[1].elements) found.push_back(element.text);
  return found;
}

absl::Status RedisSinkWriter::RemoveOlderOf(const std::string& window, const std::string& version) {
  std::string cursor = "0";
  do {
    NARU_ASSIGN_OR_RETURN(const std::vector<std::string> groups, Scan("SSCAN", Key(window), &cursor));
    std::vector<RedisCommand> commands;
    for (const std::string& group : groups) commands.push_back(RemoveCommand(window, group, version));
    NARU_RETURN_IF_ERROR(RemoveSome(commands));
  } while (cursor != "0");
  return absl::OkStatus();
}

absl::Status RedisSinkWriter::RemoveOlder(const std::string& version) {
  std::string cursor = "0";
  do {
    // Windows with their times, one after the other.
    NARU_ASSIGN_OR_RETURN(const std::vector<std::string> windows, Scan("ZSCAN", Key("windows"), &cursor));
    for (size_t i = 0; i < windows.size(); i += 2) NARU_RETURN_IF_ERROR(RemoveOlderOf(windows[i], version));
  } while (cursor != "0");
  return absl::OkStatus();
}

// Hashes and sets expire by themselves; only the list of windows has members that do not.
absl::Status RedisSinkWriter::Expire(int64_t /*now_us*/) {
  std::string cursor = "0";
  do {
    NARU_ASSIGN_OR_RETURN(const std::vector<std::string> windows, Scan("ZSCAN", Key("windows"), &cursor));
    std::vector<RedisCommand> commands;
    for (size_t i = 0; i < windows.size(); i += 2) commands.push_back({"EXISTS", Key(windows[i])});
    if (commands.empty()) continue;
    NARU_ASSIGN_OR_RETURN(const std::vector<RedisReply> replies, client_.Pipeline(commands));
    std::vector<RedisCommand> removals;
    for (size_t i = 0; i < replies.size(); ++i) {
      if (!replies[i].is_error() && replies[i].integer == 0)
        removals.push_back({"ZREM", Key("windows"), windows[2 * i]});
    }
    if (!removals.empty()) NARU_RETURN_IF_ERROR(client_.Pipeline(removals).status());
  } while (cursor != "0");
  return absl::OkStatus();
}

absl::Status RedisSinkWriter::Drop(int64_t /*epoch*/) {
  NARU_RETURN_IF_ERROR(RemoveOlder(VersionText(INT64_MAX, INT32_MAX, INT64_MAX)));
  return client_.Call({"DEL", Key("mark"), Key("windows")}).status();
}

}  // namespace

std::unique_ptr<SinkWriter> MakeRedisSinkWriter(const redis::RedisOptions& options, const std::string& key_prefix,
                                                const Clock& clock) {
  return std::make_unique<RedisSinkWriter>(options, key_prefix, clock);
}

}  // namespace naru::aggregator
