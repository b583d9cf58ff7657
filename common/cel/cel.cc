#include "common/cel/cel.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/cel/compiler.h"
#include "common/cel/parser.h"
#include "common/cel/program.h"
#include "common/event/short_copy.h"

namespace naru::cel {
namespace {

constexpr size_t kChunkBytes = 16 * 1024;
/// All strings and lists that the programs of one event may compute together.
constexpr size_t kMaxScratchBytes = 8 * 1024 * 1024;
/// Keys of a type's events that are remembered, and how many of them may be missing in a row.
constexpr size_t kMaxShapeEntries = 64;
constexpr size_t kMaxShapeSkip = 4;
constexpr size_t kMaxShapeKeyBytes = 64;

/// Finds the slot of a key that did not come where others of its type had it, and remembers it before entry `next`.
int FindSlot(const EnvironmentData& environment, absl::string_view key, size_t next, Shape* shape) {
  const auto found = environment.slot_by_name.find(key);
  const int slot = found == environment.slot_by_name.end() ? -1 : found->second;
  if (shape->entries.size() < kMaxShapeEntries && key.size() <= kMaxShapeKeyBytes) {
    shape->entries.insert(shape->entries.begin() + next, {std::string(key), slot});
  }
  return slot;
}

void LoadData(absl::string_view data, ActivationState* state) {
  Shape& shape = state->shapes[state->type_number];
  event::StructCursor cursor(data);
  absl::string_view key;
  event::ValueView view;
  size_t next = 0;
  while (cursor.Next(&key, &view)) {
    size_t entry = next;
    const size_t end = std::min(next + kMaxShapeSkip, shape.entries.size());
    while (entry < end && !event::SameText(key, shape.entries[entry].key)) ++entry;
    int slot = -1;
    if (entry < end) {
      slot = shape.entries[entry].slot;
      next = entry + 1;
    } else {
      slot = FindSlot(*state->environment, key, next, &shape);
      next = std::min(next + 1, shape.entries.size());
    }
    if (slot >= 0) state->slots[slot] = Value::FromEvent(view);
  }
}

int TypeNumberOf(const EnvironmentData& environment, absl::string_view type, TypeCache* cache) {
  TypeCache::Entry& entry = cache->EntryOf(type);
  if (entry.number >= 0 && event::SameText(entry.type, type)) return entry.number;
  const auto found = environment.type_numbers.find(type);
  entry.type.assign(type.data(), type.size());
  entry.number = found == environment.type_numbers.end() ? 0 : found->second;
  return entry.number;
}

/// Makes room for what was compiled since the last event.
void Refresh(ActivationState* state) {
  const EnvironmentData& environment = *state->environment;
  state->version = environment.version;
  state->slots = environment.absent;
  state->shapes.assign(environment.type_numbers.size() + 1, Shape());
  state->type_cache = TypeCache();
}

Value OptionalText(absl::string_view text) { return text.empty() ? Value::Null() : Value::String(text); }

}  // namespace

void* Scratch::Allocate(size_t bytes) {
  bytes = (bytes + 15) & ~size_t{15};
  if (total_ + bytes > kMaxScratchBytes) return nullptr;
  total_ += bytes;
  while (chunk_ < chunks_.size() && used_ + bytes > chunks_[chunk_].size) {
    ++chunk_;
    used_ = 0;
  }
  if (chunk_ == chunks_.size()) {
    const size_t size = std::max(kChunkBytes, bytes);
    chunks_.push_back({std::make_unique<char[]>(size), size});
    used_ = 0;
  }
  char* out = chunks_[chunk_].bytes.get() + used_;
  used_ += bytes;
  return out;
}

Value Scratch::String(absl::string_view text) {
  auto* out = static_cast<char*>(text.size() > kMaxStringBytes ? nullptr : Allocate(text.size()));
  if (out == nullptr) return Value::Error(ErrorCode::kTooLarge, "string");
  std::copy(text.begin(), text.end(), out);
  return Value::String({out, text.size()});
}

int EnvironmentData::SlotOf(absl::string_view name) {
  const auto found = slot_by_name.find(name);
  if (found != slot_by_name.end()) return found->second;
  const int slot = static_cast<int>(names.size());
  names.emplace_back(name);
  slot_by_name.emplace(std::string(name), slot);
  labels.push_back(kind == Kind::kEvents ? absl::StrCat("data.", name) : std::string(name));
  RebuildAbsent();
  return slot;
}

int EnvironmentData::TypeNumber(absl::string_view type) {
  const auto found = type_numbers.find(type);
  if (found != type_numbers.end()) return found->second;
  const int number = static_cast<int>(type_numbers.size()) + 1;
  type_numbers.emplace(std::string(type), number);
  RebuildAbsent();
  return number;
}

void EnvironmentData::RebuildAbsent() {
  ++version;
  absent.clear();
  for (const std::string& label : labels) absent.push_back(Value::Error(ErrorCode::kNoSuchField, label));
  absent_by_type.assign(type_numbers.size() + 1, {});
  for (const auto& [number, fields] : declared) {
    std::vector<Value> values = absent;
    for (const std::string& field : fields) {
      const auto slot = slot_by_name.find(field);
      if (slot != slot_by_name.end()) values[slot->second] = Value::Null();
    }
    absent_by_type[number] = std::move(values);
  }
}

Value Program::Eval(const Activation& activation) const { return Run(root_, *activation.state_); }
bool Program::is_constant() const { return root_->is_constant; }
StaticType Program::result_type() const { return root_->type; }
const std::string& Program::source() const { return data_->source; }
const std::optional<std::vector<std::string>>& Program::event_types() const { return data_->event_types; }
const std::vector<std::string>& Program::data_fields() const { return data_->data_fields; }

Environment::Environment(std::unique_ptr<EnvironmentData> data) : data_(std::move(data)) {}
Environment::Environment(Environment&&) noexcept = default;
Environment& Environment::operator=(Environment&&) noexcept = default;
Environment::~Environment() = default;

Environment Environment::ForEvents() {
  Environment environment(std::make_unique<EnvironmentData>());
  environment.data_->RebuildAbsent();
  return environment;
}

Environment Environment::ForVariables(const std::vector<std::string>& names) {
  Environment environment = ForAnyVariables();
  for (const std::string& name : names) environment.data_->SlotOf(name);
  environment.data_->kind = EnvironmentData::Kind::kVariables;
  return environment;
}

Environment Environment::ForAnyVariables() {
  Environment environment(std::make_unique<EnvironmentData>());
  environment.data_->kind = EnvironmentData::Kind::kAnyVariables;
  environment.data_->RebuildAbsent();
  return environment;
}

absl::StatusOr<Program> Environment::Compile(absl::string_view source, const CompileOptions& options,
                                             CompileProblem* problem) {
  CompileProblem own_problem;
  if (problem == nullptr) problem = &own_problem;
  auto data = std::make_shared<ProgramData>();
  data->source = std::string(source);
  data->folding.environment = data_.get();
  const std::unique_ptr<Ast> ast = Parse(data->source, problem);
  if (ast == nullptr || !CompileAst(*ast, options, data_.get(), data.get(), problem)) {
    return absl::InvalidArgumentError(
        absl::StrCat("line ", problem->line, ", column ", problem->column, ": ", problem->message));
  }
  Program program;
  program.root_ = data->root;
  program.data_ = std::move(data);
  return program;
}

void Environment::DeclareType(absl::string_view type, const std::vector<std::string>& fields) {
  data_->declared[data_->TypeNumber(type)] = fields;
  data_->RebuildAbsent();
}

const std::vector<std::string>& Environment::variables() const { return data_->names; }

Activation::Activation(const Environment* environment) : state_(std::make_unique<ActivationState>()) {
  state_->environment = environment->data_.get();
  Refresh(state_.get());
}

Activation::~Activation() = default;

void Activation::Load(const event::EventView& event, int64_t received_time_us) {
  ActivationState& state = *state_;
  const EnvironmentData& environment = *state.environment;
  if (state.version != environment.version) Refresh(&state);
  state.scratch.Reset();
  state.type_number = TypeNumberOf(environment, event.type, &state.type_cache);
  state.attributes[kId] = Value::String(event.id);
  state.attributes[kSource] = Value::String(event.source);
  state.attributes[kType] = Value::String(event.type);
  state.attributes[kSubject] = OptionalText(event.subject);
  state.attributes[kSession] = OptionalText(event.session);
  state.attributes[kTime] = Value::Timestamp(event.has_time ? event.time_us : received_time_us);
  state.attributes[kReceivedTime] = Value::Timestamp(received_time_us);
  state.data = event.data;
  if (state.slots.empty()) return;
  const std::vector<Value>& declared = environment.absent_by_type[state.type_number];
  const std::vector<Value>& absent = declared.empty() ? environment.absent : declared;
  std::copy(absent.begin(), absent.end(), state.slots.begin());
  if (!event.data.empty()) LoadData(event.data, &state);
}

void Activation::Clear() {
  if (state_->version != state_->environment->version) Refresh(state_.get());
  state_->slots = state_->environment->absent;
  state_->scratch.Reset();
}

void Activation::Set(int variable, Value value) {
  if (state_->version != state_->environment->version) Refresh(state_.get());
  state_->slots[variable] = value;
}

}  // namespace naru::cel
