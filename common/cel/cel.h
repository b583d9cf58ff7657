// Expressions: a documented subset of CEL, the Common Expression Language (README.md lists it). Compiled once,
// evaluated without allocation for each event.
//
//     cel::Environment environment = cel::Environment::ForEvents();
//     NARU_ASSIGN_OR_RETURN(cel::Program filter, environment.Compile("type == \"UserLogin\" && data.user_age >= 20"));
//     cel::Activation activation(&environment);          // one a thread, after the programs are compiled
//     activation.Load(event, received_time_us);          // one walk over the event's data for all programs
//     if (filter.Matches(activation)) ...
//
// The kinds: null, bool, int (64 bits), double, string, timestamp and duration (microseconds), list, and struct (only
// from event data). Numbers of event data are doubles; unlike CEL's other doubles they also calculate with ints
// (data.save_point * 2 is a double). A missing field is an error value; a field that the event's type declares (see
// DeclareType) but that is absent is null. Absent `subject` and `session` are null.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/cel/value.h"
#include "common/event/event_view.h"

namespace naru::cel {

struct Node;
struct ProgramData;
struct EnvironmentData;
struct ActivationState;
class Activation;

/// Limits of an expression.
inline constexpr size_t kMaxSourceBytes = 4096;
inline constexpr int kMaxDepth = 32;              ///< of parentheses, brackets, calls and conditionals in each other
inline constexpr size_t kMaxListElements = 1000;  ///< of a list literal
inline constexpr size_t kMaxStringBytes = 256 * 1024;  ///< of a computed string
inline constexpr int64_t kMaxRegexBytes = 1 << 20;     ///< of a compiled regular expression

/// What is known of an expression's result before it runs.
enum class StaticType : uint8_t {
  kDynamic,  ///< not known: a field of event data
  kNull,
  kBool,
  kInt,
  kDouble,
  kNumber,  ///< a number of event data: a double that also calculates with ints
  kString,
  kTimestamp,
  kDuration,
  kList,
  kStruct,
};

/// Where and why an expression was refused.
struct CompileProblem {
  int line = 0;         ///< from 1
  int column = 0;       ///< from 1, in characters
  std::string message;  ///< what was wrong and what would be right
};

/// Tells the compiler what `data` holds, so that an expression is checked against event types. Borrowed while
/// compiling.
class DataTypes {
 public:
  virtual ~DataTypes() = default;
  /// The kind of the field at `path` below `data` in events of `types` (sorted; null: of any type). False: none of them
  /// can have it, and `*problem` says what they have.
  virtual bool Find(const std::vector<std::string>& path, const std::vector<std::string>* types, StaticType* type,
                    std::string* problem) const = 0;
};

struct CompileOptions {
  /// The result must be a bool (or not known before it runs).
  bool filter = false;
  /// Null: any field may be there and hold anything. Where the expression itself compares `type` with literals, what
  /// stands beside it is checked against those types only: `type == "A" && data.x > 1`.
  const DataTypes* data_types = nullptr;
  /// The event types that the expression will see, sorted; absent: any.
  std::optional<std::vector<std::string>> types;
};

/// A compiled expression. Cheap to copy; thread-safe; must not outlive its Environment.
class Program {
 public:
  Program() = default;
  /// Evaluates with the event or variables that `activation` holds, which must be of the same Environment. Does not
  /// allocate unless strings or lists are made (in the activation's scratch memory).
  Value Eval(const Activation& activation) const;
  /// Whether the result is true; errors and null are not.
  bool Matches(const Activation& activation) const { return Eval(activation).IsTrue(); }
  /// False for a Program() that was never compiled.
  bool valid() const { return data_ != nullptr; }
  /// The result does not depend on the event.
  bool is_constant() const;
  StaticType result_type() const;
  const std::string& source() const;
  /// Fields of `data` that it reads, as paths, sorted: `user_age`, `address.city`.
  const std::vector<std::string>& data_fields() const;
  /// The event types, sorted, for which it can be true, where comparisons of `type` with literals tell; absent: any.
  const std::optional<std::vector<std::string>>& event_types() const;

 private:
  friend class Environment;
  std::shared_ptr<const ProgramData> data_;
  const Node* root_ = nullptr;
};

/// The variables that expressions may name, and the fields that all of its programs read. Compiling is not thread-safe
/// and must not run beside Load or Eval of the same environment; evaluating is, with an Activation a thread. Movable.
class Environment {
 public:
  /// Variables: id, source, type, subject, session (strings), time, received_time (timestamps), data.
  static Environment ForEvents();
  /// These variables, of any kind (dimensions of a metric, columns of a format).
  static Environment ForVariables(const std::vector<std::string>& names);
  /// Any name is a variable; variables() says which ones the programs use.
  static Environment ForAnyVariables();

  Environment(Environment&&) noexcept;
  Environment& operator=(Environment&&) noexcept;
  ~Environment();

  /// Compiles. INVALID_ARGUMENT with `line 1, column 14: ...`; the same in `*problem` when not null.
  absl::StatusOr<Program> Compile(absl::string_view source, const CompileOptions& options = {},
                                  CompileProblem* problem = nullptr);

  /// Events of `type` that lack one of these top-level fields have null there instead of an error. Replaces an earlier
  /// declaration of the type.
  void DeclareType(absl::string_view type, const std::vector<std::string>& fields);

  /// ForVariables, ForAnyVariables: the names, in the order of their numbers for Activation::Set.
  const std::vector<std::string>& variables() const;

 private:
  explicit Environment(std::unique_ptr<EnvironmentData> data);
  friend class Activation;
  std::unique_ptr<EnvironmentData> data_;
};

/// What the variables hold now. Reusable; for one thread. Borrows the environment and what is loaded into it.
class Activation {
 public:
  explicit Activation(const Environment* environment);
  ~Activation();
  Activation(const Activation&) = delete;
  Activation& operator=(const Activation&) = delete;

  /// Takes an event, whose bytes must stay until the next Load: one walk over its data finds the fields that all
  /// programs read. An event without a time has its received time.
  void Load(const event::EventView& event, int64_t received_time_us);

  /// Other environments: forgets all values (each is then an error: no such field).
  void Clear();
  /// Gives variable number `variable` a value.
  void Set(int variable, Value value);

 private:
  friend class Program;
  std::unique_ptr<ActivationState> state_;
};

}  // namespace naru::cel
