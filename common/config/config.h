// What can be set about a program: flag > environment > file > default, with every problem reported at once.
//
// A service keeps one plain struct whose initialisers are the defaults, and says once how each member is set:
//
//     struct IngestConfig { std::string listen = "127.0.0.1:7701"; std::chrono::milliseconds linger{2}; ByteSize
//     memory{64 << 20}; }; Options options("naru-ingest", "Takes events, checks them and writes them to the log.");
//     options.Add("listen", &config.listen, "Address of the gRPC port, HOST:PORT; port 0 takes a free one.");
//     if (const std::optional<int> exit_code = options.ParseCommandLine(argc, argv)) return *exit_code;
//
// A flag is `--listen VALUE` or `--listen=VALUE` (`--data-dir` and `--data_dir` are the same), the variable is
// NARU_LISTEN, and in the YAML file of `--config FILE` the key is `listen`; nested keys are joined by `_`.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/status/status.h"

namespace naru {

/// A number of bytes, written `64MiB`, `1GB` or `4096`.
struct ByteSize {
  int64_t bytes = 0;
  friend bool operator==(const ByteSize&, const ByteSize&) = default;
};
/// Units B, KB MB GB TB (powers of 1,000), KiB MiB GiB TiB (powers of 1,024), case-insensitive; none = bytes.
/// Errors: INVALID_ARGUMENT, negative or beyond 64 bits included.
absl::StatusOr<ByteSize> ParseByteSize(absl::string_view text);
/// The shortest exact text: `64MiB`, `1500B`.
std::string FormatByteSize(ByteSize size);

/// A password or key: is never printed. `Reveal` where it is used.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}
  const std::string& Reveal() const { return value_; }
  bool empty() const { return value_.empty(); }
  friend bool operator==(const Secret&, const Secret&) = default;

 private:
  std::string value_;
};

class Options;
struct OptionState;

/// One thing that can be set; returned by Options::Add to say more about it.
class Option {
 public:
  /// A one-letter flag: `-f VALUE`.
  Option& Short(char letter);
  /// Must be set by a flag, a variable or the file.
  Option& Required();
  /// Only these values.
  Option& OneOf(std::vector<std::string> values);
  /// Numbers, durations (microseconds) and sizes (bytes): both ends included.
  Option& Range(double minimum, double maximum);
  /// Not in --help; still works.
  Option& Hidden();
  /// What --help shows for the value instead of its kind: `HOST:PORT`.
  Option& ValueName(std::string name);

 private:
  friend class Options;
  explicit Option(OptionState* state) : state_(state) {}
  OptionState* state_;
};

/// The options of a program. Not thread-safe: used once, at the start of main.
class Options {
 public:
  /// `program` as typed; `description` is one sentence or a paragraph for --help.
  Options(std::string program, std::string description);
  ~Options();
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  /// `name` is lower_snake_case and unique; `*target` holds the default now and the value after parsing. It is
  /// borrowed.
  Option Add(absl::string_view name, std::string* target, absl::string_view help);
  Option Add(absl::string_view name, bool* target, absl::string_view help);  ///< `--x`, `--x=false`, `--no_x`
  Option Add(absl::string_view name, int* target, absl::string_view help);
  Option Add(absl::string_view name, int64_t* target, absl::string_view help);
  Option Add(absl::string_view name, double* target, absl::string_view help);
  Option Add(absl::string_view name, std::chrono::microseconds* target, absl::string_view help);
  Option Add(absl::string_view name, std::chrono::milliseconds* target, absl::string_view help);
  Option Add(absl::string_view name, std::chrono::seconds* target, absl::string_view help);
  Option Add(absl::string_view name, ByteSize* target, absl::string_view help);
  Option Add(absl::string_view name, Secret* target, absl::string_view help);
  /// A list: the flag may be repeated, each value (and a variable's) may hold several with commas; YAML takes a list.
  Option Add(absl::string_view name, std::vector<std::string>* target, absl::string_view help);

  /// Arguments that are not flags. Without it they are a problem. `minimum` and `maximum` bound their number.
  void Positional(absl::string_view name, std::vector<std::string>* target, absl::string_view help, int minimum = 0,
                  int maximum = 1 << 20);
  /// For programs with commands: the first argument that is not a flag ends the flags; it and all that follows are
  /// positional.
  void StopAtFirstPositional();
  /// The options added from now on stand under this heading in --help.
  void Section(absl::string_view heading);
  /// Text after the options in --help, such as examples.
  void Epilog(absl::string_view text);
  /// Only flags: no variables and no file, for options of a single command.
  void FlagsOnly();
  /// Checks that concern several values; called once all are read, also when some are wrong.
  void Validate(std::function<std::vector<FieldViolation>()> check);

  /// What the person asked for.
  enum class Action { kRun, kHelp, kVersion, kPrintConfig, kCheckConfig };
  using Environment = std::function<std::optional<std::string>(absl::string_view name)>;

  /// Reads everything. `args` is without the program's name. Errors: INVALID_ARGUMENT (reason CONFIG) with a violation
  /// for each problem: unknown flags (with the nearest known one), bad values and where they came from, failed checks.
  absl::Status Parse(const std::vector<std::string>& args, const Environment& environment);
  Action action() const;

  /// Parses, and does what --help, --version, --print_config and --check_config ask. Returns the exit code to end with
  /// (0, or 2 after printing every problem to standard error), or nothing: go on.
  std::optional<int> ParseCommandLine(int argc, const char* const* argv);

  std::string Help() const;
  /// Every option with its value (secrets hidden) and where it came from, as YAML that --config reads back.
  std::string PrintConfig() const;
  /// Whether it was set by flag, variable or file, rather than left at its default.
  bool IsSet(absl::string_view name) const;

 private:
  void AddBuiltIn();

  struct State;
  std::unique_ptr<State> state_;
};

/// Every problem of an error of Options::Parse, one a line.
std::string FormatProblems(const absl::Status& status);

/// Returns the member of `known` nearest to `word` in spelling, or an empty string when none is near.
std::string NearestWord(absl::string_view word, const std::vector<std::string>& known);

}  // namespace naru
