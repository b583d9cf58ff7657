// How each type of option is read from text and shown as text.
#include <cstdio>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/clock/duration.h"
#include "common/config/option_state.h"

namespace naru {
namespace {

absl::Status Wrong(absl::string_view value, absl::string_view right) {
  return absl::InvalidArgumentError(absl::StrCat("`", value.substr(0, 128), "` is not ", right));
}

// The default is shown as it stands now, before anything is read into the target.
OptionState* Finish(OptionState* option) {
  option->default_text = absl::StrJoin(option->show(), ",");
  return option;
}

template <typename Duration>
OptionState* AddDuration(OptionState* option, Duration* target) {
  option->value_name = "DURATION";
  option->minimum = 0;
  option->set = [target](const std::vector<std::string>& values) -> absl::Status {
    const absl::StatusOr<std::chrono::microseconds> parsed = ParseDuration(values[0]);
    if (!parsed.ok()) return absl::InvalidArgumentError(parsed.status().message());
    const auto rounded = std::chrono::duration_cast<Duration>(*parsed);
    if (rounded != *parsed) {
      return Wrong(values[0], absl::StrCat("a whole number of ", FormatDuration(Duration(1)).substr(1)));
    }
    *target = rounded;
    return absl::OkStatus();
  };
  option->show = [target] { return std::vector<std::string>{FormatDuration(*target)}; };
  option->number = [target] {
    return static_cast<double>(std::chrono::duration_cast<std::chrono::microseconds>(*target).count());
  };
  return Finish(option);
}

template <typename Integer>
OptionState* AddInteger(OptionState* option, Integer* target) {
  option->value_name = "NUMBER";
  option->set = [target](const std::vector<std::string>& values) -> absl::Status {
    if (!absl::SimpleAtoi(values[0], target)) return Wrong(values[0], "a whole number");
    return absl::OkStatus();
  };
  option->show = [target] { return std::vector<std::string>{absl::StrCat(*target)}; };
  option->number = [target] { return static_cast<double>(*target); };
  return Finish(option);
}

}  // namespace

OptionState* Options::State::Add(absl::string_view name, absl::string_view help_text) {
  if (Find(name) != nullptr) {
    std::fprintf(stderr, "option %s is defined twice\n", std::string(name).c_str());
    std::abort();
  }
  auto option = std::make_unique<OptionState>();
  option->name = std::string(name);
  option->help = std::string(help_text);
  option->section = section;
  option->source = "default";
  option->flags_only = flags_only;
  by_name[option->name] = option.get();
  options.push_back(std::move(option));
  return options.back().get();
}

Option Options::Add(absl::string_view name, std::string* target, absl::string_view help) {
  OptionState* option = state_->Add(name, help);
  option->value_name = "TEXT";
  option->is_text = true;
  option->set = [target](const std::vector<std::string>& values) {
    *target = values[0];
    return absl::OkStatus();
  };
  option->show = [target] { return std::vector<std::string>{*target}; };
  return Option(Finish(option));
}

Option Options::Add(absl::string_view name, bool* target, absl::string_view help) {
  OptionState* option = state_->Add(name, help);
  option->is_bool = true;
  option->set = [target](const std::vector<std::string>& values) -> absl::Status {
    if (!absl::SimpleAtob(values[0], target)) return Wrong(values[0], "true or false");
    return absl::OkStatus();
  };
  option->show = [target] { return std::vector<std::string>{*target ? "true" : "false"}; };
  return Option(Finish(option));
}

Option Options::Add(absl::string_view name, int* target, absl::string_view help) {
  return Option(AddInteger(state_->Add(name, help), target));
}
Option Options::Add(absl::string_view name, int64_t* target, absl::string_view help) {
  return Option(AddInteger(state_->Add(name, help), target));
}

Option Options::Add(absl::string_view name, double* target, absl::string_view help) {
  OptionState* option = state_->Add(name, help);
  option->value_name = "NUMBER";
  option->set = [target](const std::vector<std::string>& values) -> absl::Status {
    double number = 0;
    if (!absl::SimpleAtod(values[0], &number) || number != number) return Wrong(values[0], "a number");
    *target = number;
    return absl::OkStatus();
  };
  option->show = [target] { return std::vector<std::string>{absl::StrCat(*target)}; };
  option->number = [target] { return *target; };
  return Option(Finish(option));
}

Option Options::Add(absl::string_view name, std::chrono::microseconds* target, absl::string_view help) {
  return Option(AddDuration(state_->Add(name, help), target));
}
Option Options::Add(absl::string_view name, std::chrono::milliseconds* target, absl::string_view help) {
  return Option(AddDuration(state_->Add(name, help), target));
}
Option Options::Add(absl::string_view name, std::chrono::seconds* target, absl::string_view help) {
  return Option(AddDuration(state_->Add(name, help), target));
}

Option Options::Add(absl::string_view name, ByteSize* target, absl::string_view help) {
  OptionState* option = state_->Add(name, help);
  option->value_name = "SIZE";
  option->set = [target](const std::vector<std::string>& values) -> absl::Status {
    const absl::StatusOr<ByteSize> parsed = ParseByteSize(values[0]);
    if (!parsed.ok()) return absl::InvalidArgumentError(parsed.status().message());
    *target = *parsed;
    return absl::OkStatus();
  };
  option->show = [target] { return std::vector<std::string>{FormatByteSize(*target)}; };
  option->number = [target] { return static_cast<double>(target->bytes); };
  return Option(Finish(option));
}

Option Options::Add(absl::string_view name, Secret* target, absl::string_view help) {
  OptionState* option = state_->Add(name, help);
  option->value_name = "SECRET";
  option->secret = true;
  option->set = [target](const std::vector<std::string>& values) {
    *target = Secret(values[0]);
    return absl::OkStatus();
  };
  option->show = [target] { return std::vector<std::string>{target->empty() ? "" : "***"}; };
  return Option(Finish(option));
}

Option Options::Add(absl::string_view name, std::vector<std::string>* target, absl::string_view help) {
  OptionState* option = state_->Add(name, help);
  option->value_name = "TEXT,...";
  option->is_list = true;
  option->is_text = true;
  option->set = [target](const std::vector<std::string>& values) {
    *target = values;
    return absl::OkStatus();
  };
  option->show = [target] { return *target; };
  return Option(Finish(option));
}

Option& Option::Short(char letter) {
  state_->letter = letter;
  return *this;
}
Option& Option::Required() {
  state_->required = true;
  return *this;
}
Option& Option::OneOf(std::vector<std::string> values) {
  state_->value_name = absl::StrJoin(values, "|");
  state_->one_of = std::move(values);
  return *this;
}
Option& Option::Range(double minimum, double maximum) {
  state_->minimum = minimum;
  state_->maximum = maximum;
  return *this;
}
Option& Option::Hidden() {
  state_->hidden = true;
  return *this;
}
Option& Option::ValueName(std::string name) {
  state_->value_name = std::move(name);
  return *this;
}

}  // namespace naru
