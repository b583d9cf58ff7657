#include "common/input_format/json_reader.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::input_format {
namespace {

using event::Kind;
using event::ValueView;
using simdjson::dom::element;
using simdjson::dom::element_type;

/// Deeper lines are refused while parsing; what is between this and the limit of `data` is told by its path.
constexpr size_t kMaxParseDepth = 64;
constexpr absl::string_view kIntegerLimit =
    "an integer from -9007199254740992 to 9007199254740992; write larger ones as strings";

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

/// One field of an object.
struct Field {
  absl::string_view key;
  element value;
  int number = -1;  ///< in the keys that are looked up
};

/// An object's fields in their order, with those that are looked up by number.
class OpenObject {
 public:
  explicit OpenObject(const JsonKeys* keys) : keys_(keys), places_(keys->names().size(), -1) {}

  bool Load(simdjson::dom::object object, LineRejection* rejection) {
    fields_.clear();
    std::fill(places_.begin(), places_.end(), -1);
    size_t position = 0;
    for (const auto& member : object) {
      Field field{View(member.key), member.value, -1};
      field.number = NumberOf(field.key, position++);
      if (field.number >= 0) {
        int& place = places_[field.number];
        if (place >= 0) return Reject(ingest::v1::PARSE, field.key, "", "each key once", rejection);
        place = static_cast<int>(fields_.size());
      }
      fields_.push_back(field);
    }
    return true;
  }

  const Field* Find(int key) const { return places_[key] < 0 ? nullptr : &fields_[places_[key]]; }
  const std::vector<Field>& fields() const { return fields_; }

 private:
  /// Lines mostly have the same keys in the same places.
  int NumberOf(absl::string_view key, size_t position) {
    if (position >= seen_.size()) seen_.resize(position + 1);
    Seen& seen = seen_[position];
    if (seen.number != kUnknown && event::SameText(seen.key, key)) {
      return seen.number;
    }
    const auto& names = keys_->names();
    int number = -1;
    for (size_t i = 0; i < names.size() && number < 0; ++i) {
      if (names[i] == key) number = static_cast<int>(i);
    }
    if (key.size() <= 64 && position < 256) {
      seen.key.assign(key.data(), key.size());
      seen.number = number;
    }
    return number;
  }

  static constexpr int kUnknown = -2;
  struct Seen {
    std::string key;
    int number = kUnknown;
  };
  const JsonKeys* keys_;
  std::vector<Field> fields_;
  std::vector<int> places_;
  std::vector<Seen> seen_;
};

void PrependPath(absl::string_view key, LineRejection* rejection) {
  rejection->field = rejection->field.empty() || rejection->field[0] == '['
                         ? absl::StrCat(key, rejection->field)
                         : absl::StrCat(key, ".", rejection->field);
}

}  // namespace

void UsedFields::Add(absl::string_view path) {
  const std::vector<std::string> names = absl::StrSplit(path, '.');
  UsedFields* level = this;
  for (size_t i = 0; i < names.size(); ++i) {
    auto found = std::find_if(level->entries.begin(), level->entries.end(),
                              [&](const Entry& entry) { return entry.name == names[i]; });
    if (found == level->entries.end()) {
      level->entries.push_back({names[i], false, std::make_unique<UsedFields>()});
      found = level->entries.end() - 1;
    }
    if (i + 1 == names.size()) found->whole = true;
    level = found->below.get();
  }
}

const UsedFields::Entry* UsedFields::Find(absl::string_view name) const {
  for (const Entry& entry : entries) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

int JsonKeys::Add(absl::string_view name) {
  for (size_t i = 0; i < names_.size(); ++i) {
    if (names_[i] == name) return static_cast<int>(i);
  }
  names_.emplace_back(name);
  return static_cast<int>(names_.size()) - 1;
}

struct JsonReader::State {
  State(const JsonKeys* keys, const JsonKeys* element_keys, const std::vector<std::string>* null_values)
      : line(keys), element(element_keys), null_values(null_values) {}

  /// An object while it is encoded. A level is used again for the next object of its depth.
  struct Level {
    struct Member {
      absl::string_view key;
      ValueView value;
    };
    std::vector<Member> members;
    WireBuffer bytes;
  };

  simdjson::dom::parser parser;
  simdjson::dom::element root;
  std::vector<simdjson::dom::element> elements;
  OpenObject line;
  OpenObject element;
  const std::vector<std::string>* null_values;
  ByteArena arena;
  std::vector<std::unique_ptr<Level>> levels;

  bool IsNullValue(absl::string_view text) const {
    for (const std::string& null_value : *null_values) {
      if (text == null_value) return true;
    }
    return false;
  }

  Level& LevelAt(int depth) {
    while (levels.size() <= static_cast<size_t>(depth)) levels.push_back(std::make_unique<Level>());
    return *levels[depth];
  }

  const OpenObject& ObjectOf(Scope scope) const { return scope == Scope::kLine ? line : element; }

  /// `depth` is that of the object or list that the value would be.
  bool ToView(const simdjson::dom::element& json, int depth, const UsedFields* used, ValueView* view,
              LineRejection* rejection) {
    *view = ValueView();
    switch (json.type()) {
      case element_type::NULL_VALUE: view->kind = Kind::kNull; return true;
      case element_type::BOOL:
        view->kind = Kind::kBool;
        view->boolean = bool(json);
        return true;
      case element_type::INT64: return Integer(int64_t(json), view, rejection);
      case element_type::UINT64: return Integer(INT64_MAX, view, rejection);
      case element_type::DOUBLE:
        view->kind = Kind::kNumber;
        view->number = double(json);
        return std::isfinite(view->number) || Reject(ingest::v1::NOT_FINITE, "", "", "a finite number", rejection);
      case element_type::STRING:
        view->bytes = View(std::string_view(json));
        view->kind = !null_values->empty() && IsNullValue(view->bytes) ? Kind::kAbsent : Kind::kString;
        return true;
      case element_type::OBJECT:
      case element_type::ARRAY: break;
    }
    if (depth > kMaxDataDepth) {
      return Reject(ingest::v1::DATA_TOO_DEEP, "", "", absl::StrCat("at most ", kMaxDataDepth, " levels"), rejection);
    }
    const bool object = json.type() == element_type::OBJECT;
    view->kind = object ? Kind::kStruct : Kind::kList;
    return object ? NestedObject(simdjson::dom::object(json), depth, used, view, rejection)
                  : NestedList(simdjson::dom::array(json), depth, view, rejection);
  }

  static bool Integer(int64_t integer, ValueView* view, LineRejection* rejection) {
    view->kind = Kind::kNumber;
    view->number = static_cast<double>(integer);
    return (integer <= kMaxExactInteger && integer >= -kMaxExactInteger) ||
           Reject(ingest::v1::FIELD_RANGE, "", absl::StrCat(integer), kIntegerLimit, rejection);
  }

  bool NestedObject(simdjson::dom::object object, int depth, const UsedFields* used, ValueView* view,
                    LineRejection* rejection) {
    Level& level = LevelAt(depth);
    level.members.clear();
    for (const auto& member : object) {
      if (!AddMember(View(member.key), member.value, depth, used, rejection)) return false;
    }
    level.bytes.Clear();
    if (!WriteMembers(&level, &level.bytes, rejection)) return false;
    view->bytes = arena.Copy(level.bytes.view());
    return true;
  }

  bool NestedList(simdjson::dom::array list, int depth, ValueView* view, LineRejection* rejection) {
    Level& level = LevelAt(depth);
    level.bytes.Clear();
    int index = 0;
    for (const simdjson::dom::element& item : list) {
      ValueView value;
      if (!ToView(item, depth + 1, nullptr, &value, rejection)) {
        PrependPath(absl::StrCat("[", index, "]"), rejection);
        return false;
      }
      // A list keeps its places: what counts as absent is null there.
      if (value.kind == Kind::kAbsent) value.kind = Kind::kNull;
      level.bytes.AddElement(value);
      ++index;
    }
    view->bytes = arena.Copy(level.bytes.view());
    return true;
  }

  bool AddMember(absl::string_view key, const simdjson::dom::element& json, int depth, const UsedFields* used,
                 LineRejection* rejection) {
    const UsedFields::Entry* entry = used == nullptr ? nullptr : used->Find(key);
    if (entry != nullptr && entry->whole) return true;
    ValueView value;
    if (!ToView(json, depth + 1, entry == nullptr ? nullptr : entry->below.get(), &value, rejection)) {
      PrependPath(key, rejection);
      return false;
    }
    // An object of which everything was used leaves nothing behind.
    if (value.kind == Kind::kAbsent || (entry != nullptr && value.kind == Kind::kStruct && value.bytes.empty())) return true;
    LevelAt(depth).members.push_back({key, value});
    return true;
  }

  static bool WriteMembers(Level* level, WireBuffer* out, LineRejection* rejection) {
    auto& members = level->members;
    const auto before = [](const Level::Member& a, const Level::Member& b) {
      // Mostly the first letter decides.
      if (!a.key.empty() && !b.key.empty() && a.key[0] != b.key[0]) {
        return static_cast<unsigned char>(a.key[0]) < static_cast<unsigned char>(b.key[0]);
      }
      return a.key < b.key;
    };
    if (!std::is_sorted(members.begin(), members.end(), before)) std::sort(members.begin(), members.end(), before);
    for (size_t i = 1; i < members.size(); ++i) {
      if (members[i].key.size() == members[i - 1].key.size() && members[i].key == members[i - 1].key) {
        return Reject(ingest::v1::PARSE, members[i].key, "", "each key once", rejection);
      }
    }
    for (const Level::Member& member : members) out->AddField(member.key, member.value);
    return true;
  }
};

JsonReader::JsonReader(const JsonKeys* keys, const JsonKeys* element_keys, const std::vector<std::string>* null_values)
    : state_(std::make_unique<State>(keys, element_keys, null_values)) {}

JsonReader::~JsonReader() = default;

bool JsonReader::Parse(absl::string_view text, LineRejection* rejection) {
  State& state = *state_;
  simdjson::error_code error = simdjson::SUCCESS;
  if (state.parser.capacity() < text.size()) {
    error = state.parser.allocate(std::max<size_t>(text.size() * 2, 4096), kMaxParseDepth);
  }
  if (error == simdjson::SUCCESS) {
    error = state.parser.parse(text.data(), text.size(), false).get(state.root);
  }
  switch (error) {
    case simdjson::SUCCESS: break;
    case simdjson::UTF8_ERROR: return Reject(ingest::v1::INVALID_UTF8, "", "", "valid UTF-8", rejection);
    case simdjson::DEPTH_ERROR:
      return Reject(ingest::v1::DATA_TOO_DEEP, "", "", absl::StrCat("at most ", kMaxDataDepth, " levels"), rejection);
    case simdjson::NUMBER_ERROR:
      return Reject(ingest::v1::PARSE, "", text, "numbers as JSON writes them, integers up to 2^53", rejection);
    case simdjson::STRING_ERROR:
      return Reject(ingest::v1::PARSE, "", text, "strings as JSON writes them, without lone surrogates", rejection);
    default: return Reject(ingest::v1::PARSE, "", text, "one JSON object", rejection);
  }
  simdjson::dom::object object;
  if (state.root.get(object) != simdjson::SUCCESS) {
    return Reject(ingest::v1::PARSE, "", text, "one JSON object", rejection);
  }
  return state.line.Load(object, rejection);
}

bool JsonReader::OpenArray(const std::vector<std::string>& path, size_t* count, LineRejection* rejection) {
  simdjson::dom::element found = state_->root;
  for (const std::string& name : path) {
    if (found[std::string_view(name)].get(found) != simdjson::SUCCESS) {
      return Reject(ingest::v1::PARSE, name, "", "an array of objects", rejection);
    }
  }
  simdjson::dom::array array;
  if (found.get(array) != simdjson::SUCCESS) {
    return Reject(ingest::v1::PARSE, path.back(), "", "an array of objects", rejection);
  }
  state_->elements.assign(array.begin(), array.end());
  *count = state_->elements.size();
  return true;
}

bool JsonReader::SelectElement(size_t index, LineRejection* rejection) {
  State& state = *state_;
  state.arena.Reset();
  simdjson::dom::object object;
  if (state.elements[index].get(object) != simdjson::SUCCESS) {
    return Reject(ingest::v1::PARSE, absl::StrCat("[", index, "]"), "", "an object", rejection);
  }
  return state.element.Load(object, rejection);
}

bool JsonReader::Get(Scope scope, int key, const std::vector<std::string>& below, int depth, ValueView* value,
                     LineRejection* rejection) {
  *value = ValueView();
  const Field* field = state_->ObjectOf(scope).Find(key);
  if (field == nullptr) return true;
  simdjson::dom::element found = field->value;
  for (const std::string& name : below) {
    if (found[std::string_view(name)].get(found) != simdjson::SUCCESS) return true;
  }
  return state_->ToView(found, depth, nullptr, value, rejection);
}

bool JsonReader::EncodeObject(Scope scope, const UsedFields& used, WireBuffer* out, LineRejection* rejection) {
  State& state = *state_;
  State::Level& level = state.LevelAt(1);
  level.members.clear();
  for (const Field& field : state.ObjectOf(scope).fields()) {
    if (!state.AddMember(field.key, field.value, 1, &used, rejection)) return false;
  }
  return State::WriteMembers(&level, out, rejection);
}

void JsonReader::Reset() { state_->arena.Reset(); }

}  // namespace naru::input_format
