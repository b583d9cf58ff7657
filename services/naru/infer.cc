#include "services/naru/infer.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/event/event_view.h"
#include "common/event/schema.h"
#include "common/input_format/input_format.h"
#include "common/status/status.h"
#include "naru/event/v1/event.pb.h"
#include "naru/ingest/v1/ingest.pb.h"
#include "services/naru/event_text.h"
#include "services/naru/infer_fields.h"
#include "services/naru/infer_parser.h"

namespace naru::cli {
namespace {

using catalog::v1::InputFormat;
using catalog::v1::Mapping;
using catalog::v1::Resource;
using Fields = std::map<std::string, FieldStats>;

constexpr size_t kMaxTypes = 20;
constexpr int kMaxTimeDepth = 3;

/// Names that say what a field is, best first; compared without case and `_`, `-`, blanks.
const std::vector<std::string> kTypeNames = {"type", "eventtype", "eventname", "event", "action", "activity"};
const std::vector<std::string> kSubjectNames = {"subject",   "userid",     "uid",      "user",     "memberid",
                                                "member",    "customerid", "customer", "clientid", "accountid",
                                                "visitorid", "visitor",    "deviceid", "username"};
const std::vector<std::string> kSessionNames = {"session", "sessionid", "visitid", "visit"};
const std::vector<std::string> kIdNames = {"id", "eventid", "uuid", "messageid"};
const std::vector<std::string> kTimeNames = {"time",     "timestamp",  "eventtime", "ts",
                                             "datetime", "occurredat", "createdat", "created",
                                             "date",     "pickuptime", "t"};

std::string Folded(absl::string_view name) {
  std::string folded;
  for (char c : name) {
    if (c != '_' && c != '-' && c != ' ') folded.push_back(absl::ascii_tolower(static_cast<unsigned char>(c)));
  }
  return folded;
}

size_t RankIn(const std::vector<std::string>& names, absl::string_view name) {
  return static_cast<size_t>(std::find(names.begin(), names.end(), Folded(name)) - names.begin());
}

bool IsResourceName(absl::string_view name) {
  return !name.empty() && name.size() <= 128 && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
  });
}

/// `access-log 2` -> `AccessLog2`.
std::string CamelCase(absl::string_view name) {
  std::string out;
  bool upper = true;
  for (char c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c))) {
      upper = true;
      continue;
    }
    out.push_back(upper ? absl::ascii_toupper(static_cast<unsigned char>(c)) : c);
    upper = false;
  }
  return out.empty() ? "Event" : out;
}

/// Calls `fn` for each event of the text, and `rejected` for each line or element that gives none.
struct Reading {
  std::function<void(absl::string_view event)> event;
  std::function<void(int64_t line, const input_format::LineRejection&)> rejected;
  int64_t lines = 0;
};

absl::Status ReadEvents(const InputFormat& spec, const std::string& name, absl::string_view text, Reading* reading) {
  NARU_ASSIGN_OR_RETURN(auto format, input_format::InputFormat::Compile(name, spec));
  input_format::RecordSplitter splitter = format->MakeSplitter();
  auto parser = std::make_unique<input_format::LineParser>(format);
  bool header = format->has_header();
  bool undecided = false;
  text = input_format::SkipByteOrderMark(text, true, &undecided);
  input_format::RecordSplitter::Record record;
  input_format::EventBuffer events;
  std::vector<input_format::LineRejection> rejections;
  reading->lines = 0;
  while (splitter.Next(text, true, &record)) {
    text.remove_prefix(record.size);
    if (record.text.find_first_not_of(" \t") == absl::string_view::npos) continue;
    if (header) {
      header = false;
      NARU_ASSIGN_OR_RETURN(format, format->WithHeader(record.text));
      parser = std::make_unique<input_format::LineParser>(format);
      continue;
    }
    ++reading->lines;
    events.Clear();
    rejections.clear();
    parser->Parse(record.text, {.line_id = "00000000000000000000000000000000"}, &events, &rejections);
    for (size_t i = 0; i < events.size(); ++i) reading->event(events.event(i));
    if (reading->rejected == nullptr) continue;
    for (const auto& rejection : rejections) reading->rejected(reading->lines, rejection);
  }
  return absl::OkStatus();
}

absl::StatusOr<Fields> CountFields(const InputFormat& spec, absl::string_view text, int64_t* total) {
  Fields fields;
  *total = 0;
  // Names of identifiers: only those need to know whether all their values differ.
  Reading reading;
  event::v1::Event event;
  reading.event = [&](absl::string_view bytes) {
    if (!event.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
    ++*total;
    for (const auto& [name, value] : event.data().fields()) {
      if (RankIn(kIdNames, name) < kIdNames.size()) fields[name].count_all = true;
    }
    AddObject(event.data(), &fields);
  };
  NARU_RETURN_IF_ERROR(ReadEvents(spec, "guess", text, &reading));
  return fields;
}

/// A field that was chosen for something.
struct Choice {
  std::string path;  ///< empty: none
  std::string layout;
  bool everywhere = false;  ///< every event has it
  explicit operator bool() const { return !path.empty(); }
};

class Inferrer {
 public:
  Inferrer(absl::string_view text, const InferOptions& options) : text_(text), options_(options) {}

  absl::StatusOr<Inference> Run() {
    NARU_ASSIGN_OR_RETURN(format_, GuessParser(text_));
    NARU_ASSIGN_OR_RETURN(fields_, CountFields(format_, text_, &total_));
    if (total_ == 0) {
      return MakeError(absl::StatusCode::kInvalidArgument, "FORMAT_UNKNOWN", "no line could be read as an event");
    }
    if (!format_.explode().empty()) {
      InputFormat lines = format_;
      lines.clear_explode();
      NARU_ASSIGN_OR_RETURN(line_fields_, CountFields(lines, text_, &line_total_));
      line_fields_.erase(format_.explode());
    }
    ChooseEnvelope();
    ChooseTime();
    ChooseAttributes();
    MapData();
    NARU_RETURN_IF_ERROR(MakeTypes());
    NARU_RETURN_IF_ERROR(Verify());
    Finish();
    return std::move(result_);
  }

 private:
  bool IsJson() const { return format_.parser().type() == "json"; }
  bool IsApache() const { return format_.parser().type() == "apache_combined"; }
  void Remark(std::string text) { result_.remarks.push_back(std::move(text)); }

  void ChooseEnvelope();
  void ChooseTime();
  void AddTimes(const Fields& fields, int64_t total, const std::string& prefix, int depth,
                std::vector<std::pair<size_t, Choice>>* found) const;
  void ChooseAttributes();
  void ChooseType();
  Choice Best(const std::vector<std::string>& names, const std::function<bool(const FieldStats&, int64_t)>& fits) const;
  void MapData();
  void MapColumn(const std::string& path, const std::string& name, const FieldStats& stats);
  absl::Status MakeTypes();
  absl::Status Verify();
  void Finish();

  const absl::string_view text_;
  const InferOptions& options_;
  InputFormat format_;
  Fields fields_;
  int64_t total_ = 0;
  Fields line_fields_;  ///< of the line, where its events are exploded
  int64_t line_total_ = 0;
  std::set<std::string> used_;  ///< paths that the event's attributes and time are taken from
  std::map<std::string, std::pair<int64_t, Fields>> by_type_;
  Inference result_;
};

/// An event that has its data in an object of its own, as Naru and CloudEvents write them.
void Inferrer::ChooseEnvelope() {
  const auto data = fields_.find("data");
  const auto type = fields_.find("type");
  if (!IsJson() || !format_.explode().empty() || data == fields_.end() || type == fields_.end()) return;
  if (data->second.objects != data->second.seen || type->second.strings != total_) return;
  for (const auto& [name, stats] : fields_) {
    // Other objects would be lost.
    if (name != "data" && !stats.IsScalar() && stats.seen > 0) return;
  }
  format_.set_data_from("data");
}

void Inferrer::AddTimes(const Fields& fields, int64_t total, const std::string& prefix, int depth,
                        std::vector<std::pair<size_t, Choice>>* found) const {
  for (const auto& [name, stats] : fields) {
    if (absl::StrContains(name, ".") || name.empty()) continue;
    const std::string folded = Folded(name);
    size_t rank = RankIn(kTimeNames, name);
    const bool hinted = rank < kTimeNames.size() || absl::StrContains(folded, "time") || absl::EndsWith(folded, "at");
    if (rank == kTimeNames.size() && !hinted) rank += absl::StrContains(folded, "date") ? 1 : 2;
    if (absl::StrContains(folded, "birth")) continue;
    const std::string layout = TimeLayoutOf(stats, hinted);
    if (!layout.empty()) {
      Choice choice{absl::StrCat(prefix, name), layout, stats.seen == total};
      // A time that every event has, then by name, then the one that is less deep.
      found->emplace_back((choice.everywhere ? 0 : 1000) + rank * 10 + static_cast<size_t>(depth), std::move(choice));
    }
    if (depth < kMaxTimeDepth && stats.objects == stats.seen && stats.seen > 0) {
      AddTimes(stats.below, total, absl::StrCat(prefix, name, "."), depth + 1, found);
    }
  }
}

void Inferrer::ChooseTime() {
  if (IsApache()) return;  // its parser reads it
  std::vector<std::pair<size_t, Choice>> found;
  AddTimes(fields_, total_, "", 0, &found);
  if (found.empty()) AddTimes(line_fields_, line_total_, "", 0, &found);
  if (found.empty()) {
    Remark("no field with a time was found: events happen when they are received");
    return;
  }
  const auto best =
      std::min_element(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  const Choice& time = best->second;
  format_.mutable_time()->set_field(time.path);
  if (time.layout != "rfc3339") format_.mutable_time()->set_layout(time.layout);
  if (!time.everywhere) format_.mutable_time()->set_optional(true);
  used_.insert(time.path);
  const bool zoned =
      absl::StrContains(absl::AsciiStrToLower(time.layout), "%z") || !absl::StrContains(time.layout, "%");
  if (!zoned) Remark(absl::StrCat("times of `", time.path, "` name no zone and are taken as UTC: set time.time_zone"));
  if (time.layout == "%m/%d/%Y %H:%M:%S") Remark("times are taken as month/day/year");
}

Choice Inferrer::Best(const std::vector<std::string>& names,
                      const std::function<bool(const FieldStats&, int64_t)>& fits) const {
  struct Group {
    std::string prefix;
    const Fields* fields;
    int64_t total;
  };
  std::vector<Group> groups = {{"", &fields_, total_}, {"", &line_fields_, line_total_}};
  for (const std::string& column : format_.parser().json_columns()) {
    const auto found = fields_.find(column);
    if (found != fields_.end()) groups.push_back({absl::StrCat(column, "."), &found->second.below, total_});
  }
  Choice best;
  size_t best_rank = names.size();
  for (const Group& group : groups) {
    for (const auto& [name, stats] : *group.fields) {
      const size_t rank = RankIn(names, name);
      const std::string path = absl::StrCat(group.prefix, name);
      if (rank >= best_rank || absl::StrContains(name, ".") || used_.count(path) != 0) continue;
      if (!stats.IsScalar() || !fits(stats, group.total)) continue;
      best_rank = rank;
      best = {path, "", stats.seen == group.total};
    }
    if (best) break;
  }
  return best;
}

void Inferrer::ChooseType() {
  Mapping* type = format_.mutable_event()->mutable_type();
  Choice choice;
  if (options_.event_type.empty()) {
    choice = Best(kTypeNames, [](const FieldStats& stats, int64_t total) {
      return stats.seen == total && stats.strings == total && !stats.many && stats.distinct.size() <= kMaxTypes &&
             std::all_of(stats.distinct.begin(), stats.distinct.end(), IsResourceName);
    });
  }
  if (choice) {
    type->Clear();
    type->set_from(choice.path);
    used_.insert(choice.path);
    return;
  }
  const std::string made = IsApache() ? "HttpRequest" : CamelCase(options_.name);
  type->mutable_const_()->set_string_value(options_.event_type.empty() ? made : options_.event_type);
}

void Inferrer::ChooseAttributes() {
  ChooseType();
  auto* event = format_.mutable_event();
  if (IsApache()) {
    event->mutable_subject()->set_template_("{clientip}|{agent}");
    event->mutable_subject()->set_hash(true);
    Remark("the subject is a hash of address and user agent");
    return;
  }
  const auto take = [&](const Choice& choice, Mapping* mapping) {
    mapping->set_from(choice.path);
    used_.insert(choice.path);
  };
  const auto id = Best(kIdNames, [](const FieldStats& stats, int64_t total) {
    return stats.seen == total && stats.longest <= 128 && stats.hashes.size() == static_cast<size_t>(total) &&
           stats.empty_texts == 0;
  });
  if (id && format_.explode().empty()) take(id, event->mutable_id());
  const auto short_text = [](size_t limit) {
    return [limit](const FieldStats& stats, int64_t) { return stats.longest <= limit && stats.booleans == 0; };
  };
  if (const auto subject = Best(kSubjectNames, short_text(1024))) take(subject, event->mutable_subject());
  if (const auto session = Best(kSessionNames, short_text(256))) take(session, event->mutable_session());
  if (!format_.data_from().empty() && fields_.count("source") != 0 && fields_["source"].strings == total_ &&
      fields_["source"].longest <= 256 && fields_["source"].empty_texts == 0) {
    event->mutable_source()->set_from("source");
  }
}

void Inferrer::MapColumn(const std::string& path, const std::string& name, const FieldStats& stats) {
  Mapping& mapping = (*format_.mutable_data())[name];
  mapping.set_from(path);
  const int64_t real = stats.RealTexts();
  if (stats.strings != stats.seen || real == 0) return;
  const bool exact = std::max(-stats.low, stats.high) <= 9007199254740992.0;
  std::string type;
  if (stats.integer_texts == real && exact) type = "integer";
  if (type.empty() && stats.integer_texts + stats.number_texts == real) type = exact ? "number" : "";
  if (stats.boolean_texts == real) type = "boolean";
  if (type.empty()) return;
  mapping.set_type(type);
  // Only where they stand for a missing number are such words known to mean nothing.
  for (const std::string& word : stats.null_words) {
    const auto& nulls = format_.null_values();
    if (std::find(nulls.begin(), nulls.end(), word) == nulls.end()) format_.add_null_values(word);
  }
}

void Inferrer::MapData() {
  if (!format_.data_from().empty()) return;
  if (IsJson()) {
    // The whole object is taken. Of exploded lines that is the element: what the line says beside it is added by name.
    bool more = false;
    for (const auto& [name, stats] : line_fields_) more = more || (used_.count(name) == 0 && stats.seen > 0);
    if (!more) return;
    for (const Fields* fields : {&fields_, &line_fields_}) {
      for (const auto& [name, stats] : *fields) {
        if (used_.count(name) != 0 || stats.seen == 0 || absl::StrContains(name, ".") || name.empty()) continue;
        (*format_.mutable_data())[name].set_from(name);
      }
    }
    return;
  }
  // Of access logs the subject stands for who it was.
  static const std::set<std::string> kPersonal = {"clientip", "ident", "auth"};
  for (const auto& [name, stats] : fields_) {
    if (used_.count(name) != 0 || (IsApache() && kPersonal.count(name) != 0)) continue;
    if (absl::StrContains(name, ".") || name.empty()) {
      Remark(absl::StrCat("column `", name, "` is left out: a path cannot name it"));
    } else if (stats.objects == stats.seen && stats.seen > 0) {
      for (const auto& [below, inner] : stats.below) {
        const std::string path = absl::StrCat(name, ".", below);
        if (used_.count(path) != 0 || absl::StrContains(below, ".") || below.empty()) continue;
        (*format_.mutable_data())[fields_.count(below) == 0 ? below : absl::StrCat(name, "_", below)].set_from(path);
      }
    } else {
      MapColumn(name, name, stats);
    }
  }
}

absl::Status Inferrer::MakeTypes() {
  Reading reading;
  event::v1::Event event;
  reading.event = [&](absl::string_view bytes) {
    if (!event.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
    if (result_.events.size() < static_cast<size_t>(options_.shown_events)) {
      event::v1::Event shown = event;
      if (!format_.event().has_id()) shown.clear_id();  // an import makes ids of its lines
      result_.events.push_back(EventJson(shown));
    }
    auto& [count, fields] = by_type_[event.type()];
    ++count;
    AddObject(event.data(), &fields);
  };
  NARU_RETURN_IF_ERROR(ReadEvents(format_, options_.name, text_, &reading));
  for (const auto& [name, counted] : by_type_) {
    Resource type;
    type.set_api_version("naru.dev/v1");
    type.set_kind("EventType");
    type.mutable_metadata()->set_name(name);
    MakeSchema(counted.second, counted.first, type.mutable_event_type()->mutable_schema());
    result_.types.push_back(std::move(type));
  }
  return absl::OkStatus();
}

absl::Status Inferrer::Verify() {
  std::map<std::string, event::TypeSchema> schemas;
  for (const Resource& type : result_.types) {
    NARU_ASSIGN_OR_RETURN(auto schema, event::TypeSchema::Compile(type.event_type()));
    schemas.emplace(type.metadata().name(), std::move(schema));
  }
  const auto reject = [&](int64_t line, absl::string_view what) {
    if (result_.rejected_count++ == 0) result_.first_rejection = absl::StrCat("line ", line, ": ", what);
  };
  Reading reading;
  reading.rejected = [&](int64_t line, const input_format::LineRejection& rejection) {
    reject(line, absl::StrCat(ingest::v1::RejectReason_Name(rejection.reason), " ", rejection.field, ": expected ",
                              rejection.expected));
  };
  reading.event = [&](absl::string_view bytes) {
    event::EventView view;
    event::ParseProblem problem;
    event::SchemaProblem wrong;
    if (event::ParseEvent(bytes, event::Limits(), &view, &problem) != event::ParseError::kOk) {
      reject(reading.lines, absl::StrCat(problem.field, ": expected ", problem.expected));
    } else if (const auto schema = schemas.find(std::string(view.type)); !schema->second.Check(view.data, &wrong)) {
      reject(reading.lines, absl::StrCat(wrong.field, ": expected ", wrong.expected));
    } else {
      ++result_.event_count;
    }
  };
  NARU_RETURN_IF_ERROR(ReadEvents(format_, options_.name, text_, &reading));
  result_.line_count = reading.lines;
  return absl::OkStatus();
}

void Inferrer::Finish() {
  result_.format.set_api_version("naru.dev/v1");
  result_.format.set_kind("InputFormat");
  result_.format.mutable_metadata()->set_name(options_.name);
  *result_.format.mutable_input_format() = format_;
}

}  // namespace

absl::StatusOr<Inference> InferEvents(absl::string_view text, const InferOptions& options) {
  return Inferrer(text, options).Run();
}

}  // namespace naru::cli
