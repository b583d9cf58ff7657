// Compatibility of event types: whether every event that the old one accepted is accepted by the new one. What cannot
// be decided (two different patterns) counts as a refusal.
#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/catalog/validate_kinds.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

using google::protobuf::Value;
using Properties = google::protobuf::Map<std::string, v1::Field>;
using Names = google::protobuf::RepeatedPtrField<std::string>;

bool Contains(const Names& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool SameValue(const Value& a, const Value& b) { return a.SerializeAsString() == b.SerializeAsString(); }

std::string ValueText(const Value& value) {
  if (value.has_string_value()) return value.string_value();
  if (value.has_number_value()) return absl::StrCat(value.number_value());
  return value.ShortDebugString();
}

// Every value of the first type is one of the second: an integer is a number, a time is a string, and everything is
// allowed where no type is named.
bool Widens(const std::string& from, const std::string& to) {
  return from == to || to.empty() || (from == "integer" && to == "number") || (from == "timestamp" && to == "string");
}

class ChangeChecker {
 public:
  ChangeChecker(const v1::EventType& current, const v1::EventType& next, ProblemList* problems)
      : rejects_unknown_(next.unknown_fields() == "reject"),
        was_rejecting_(current.unknown_fields() == "reject"),
        problems_(problems) {}

  void CheckObject(const Properties& current, const Names& current_required, const Properties& next,
                   const Names& next_required, const std::string& path) {
    for (const std::string& name : next_required) {
      if (Contains(current_required, name)) continue;
      Refuse(absl::StrCat(path, ".required"), absl::StrCat("`", name,
                                                           "` becomes required; events without it were "
                                                           "accepted"));
    }
    for (const auto& [name, field] : current) {
      const std::string child = absl::StrCat(path, ".properties.", name);
      const auto found = next.find(name);
      if (found != next.end()) {
        CheckField(field, found->second, child);
      } else if (rejects_unknown_ && !(next.empty() && path != "spec.schema")) {
        Refuse(absl::StrCat(path, ".properties"), absl::StrCat("`", name,
                                                               "` is no longer there and unknown fields are "
                                                               "rejected; events with it were accepted"));
      }
    }
  }

  void CheckUnknownFields() {
    if (rejects_unknown_ && !was_rejecting_) {
      Refuse("spec.unknown_fields", "unknown fields become rejected; events with some were accepted");
    }
  }

 private:
  void Refuse(const std::string& path, const std::string& why) {
    problems_->Add(path, absl::StrCat(why, " (`compatibility: none` takes the change all the same)"));
  }

  void CheckField(const v1::Field& current, const v1::Field& next, const std::string& path) {
    if (!Widens(current.type(), next.type())) {
      Refuse(absl::StrCat(path, ".type"),
             absl::StrCat("changes from ", current.type().empty() ? "anything" : current.type(), " to ", next.type()));
      return;
    }
    CheckEnum(current, next, path);
    CheckLimits(current, next, path);
    if (!next.pattern().empty() && next.pattern() != current.pattern()) {
      Refuse(absl::StrCat(path, ".pattern"),
             "the pattern is new or another one; texts that it does not match were "
             "accepted");
    }
    if (next.has_items()) CheckField(current.items(), next.items(), absl::StrCat(path, ".items"));
    CheckObject(current.properties(), current.required(), next.properties(), next.required(), path);
    if (rejects_unknown_ && current.properties().empty() && !next.properties().empty()) {
      Refuse(absl::StrCat(path, ".properties"), "the object had free fields, now unknown ones are rejected");
    }
  }

  void CheckEnum(const v1::Field& current, const v1::Field& next, const std::string& path) {
    if (next.enum__size() == 0) return;
    if (current.enum__size() == 0) {
      Refuse(absl::StrCat(path, ".enum"), "any value was accepted, now only some are");
      return;
    }
    for (const Value& value : current.enum_()) {
      const bool kept = std::any_of(next.enum_().begin(), next.enum_().end(),
                                    [&](const Value& other) { return SameValue(value, other); });
      if (!kept) Refuse(absl::StrCat(path, ".enum"), absl::StrCat("`", ValueText(value), "` is no longer allowed"));
    }
  }

  // A lower limit must not rise, an upper one not fall; a limit that was not there was infinite.
  template <typename T>
  void CheckLimit(const std::string& path, const char* word, bool had, T before, bool has, T after, bool upper) {
    if (!has || (had && (upper ? after >= before : after <= before))) return;
    Refuse(absl::StrCat(path, ".", word), had ? absl::StrCat(upper ? "falls" : "rises", " from ", before, " to ", after)
                                              : absl::StrCat("there was no limit, now it is ", after));
  }

  void CheckLimits(const v1::Field& current, const v1::Field& next, const std::string& path) {
    CheckLimit(path, "minimum", current.has_minimum(), current.minimum(), next.has_minimum(), next.minimum(), false);
    CheckLimit(path, "maximum", current.has_maximum(), current.maximum(), next.has_maximum(), next.maximum(), true);
    CheckLimit(path, "minLength", true, current.min_length(), next.has_min_length(), next.min_length(), false);
    CheckLimit(path, "maxLength", current.has_max_length(), current.max_length(), next.has_max_length(),
               next.max_length(), true);
    CheckLimit(path, "maxItems", current.has_max_items(), current.max_items(), next.has_max_items(), next.max_items(),
               true);
  }

  const bool rejects_unknown_;
  const bool was_rejecting_;
  ProblemList* problems_;
};

std::string PartitionBy(const v1::EventType& type) {
  return type.partition_by().empty() ? "subject" : type.partition_by();
}

}  // namespace

void CheckEventTypeChange(const v1::EventType& current, const v1::EventType& next, ProblemList* problems) {
  if (PartitionBy(current) != PartitionBy(next)) {
    problems->Add("spec.partition_by", absl::StrCat("stays ", PartitionBy(current),
                                                    " for ever: stored events lie in the partitions that it "
                                                    "decided; make a type of another name"));
  }
  if (next.compatibility() == "none") return;
  ChangeChecker checker(current, next, problems);
  checker.CheckUnknownFields();
  checker.CheckObject(current.schema().properties(), current.schema().required(), next.schema().properties(),
                      next.schema().required(), "spec.schema");
}

}  // namespace naru::catalog
