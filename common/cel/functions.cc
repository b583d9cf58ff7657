#include "common/cel/functions.h"

#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "common/cel/list_access.h"
#include "common/cel/time_text.h"

namespace naru::cel {
namespace {

Value NoOverload(const Node& node) { return Value::Error(ErrorCode::kNoSuchOverload, node.text); }
Value CannotConvert(const Node& node) { return Value::Error(ErrorCode::kConversion, node.text); }
Value OutOfRange(const Node& node) { return Value::Error(ErrorCode::kOverflow, node.text); }

int64_t CountCodePoints(absl::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

Value Size(const Node& node, const Value* a, const ActivationState&) {
  if (a->is_string()) return Value::Int(CountCodePoints(a->string_value()));
  if (a->kind() == Kind::kList || a->kind() == Kind::kStruct) return Value::Int(static_cast<int64_t>(SizeOf(*a)));
  return NoOverload(node);
}

Value StartsWith(const Node& node, const Value* a, const ActivationState&) {
  if (!a[0].is_string() || !a[1].is_string()) return NoOverload(node);
  return Value::Bool(absl::StartsWith(a[0].string_value(), a[1].string_value()));
}

Value EndsWith(const Node& node, const Value* a, const ActivationState&) {
  if (!a[0].is_string() || !a[1].is_string()) return NoOverload(node);
  return Value::Bool(absl::EndsWith(a[0].string_value(), a[1].string_value()));
}

Value Contains(const Node& node, const Value* a, const ActivationState&) {
  if (!a[0].is_string() || !a[1].is_string()) return NoOverload(node);
  return Value::Bool(absl::StrContains(a[0].string_value(), a[1].string_value()));
}

Value Matches(const Node& node, const Value* a, const ActivationState&) {
  if (!a[0].is_string()) return NoOverload(node);
  const absl::string_view text = a[0].string_value();
  return Value::Bool(RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *node.pattern));
}

template <char (*kConvert)(unsigned char)>
Value ChangeCase(const Node& node, const Value* a, const ActivationState& state) {
  if (!a->is_string()) return NoOverload(node);
  const absl::string_view text = a->string_value();
  // Mostly there is nothing to change, and the text stays where it is.
  const bool same =
      std::all_of(text.begin(), text.end(), [](char c) { return kConvert(static_cast<unsigned char>(c)) == c; });
  if (same) return *a;
  auto* out = static_cast<char*>(state.scratch.Allocate(text.size()));
  if (out == nullptr) return Value::Error(ErrorCode::kTooLarge, node.text);
  std::transform(text.begin(), text.end(), out, [](char c) { return kConvert(static_cast<unsigned char>(c)); });
  return Value::String({out, text.size()});
}

char Lower(unsigned char c) { return absl::ascii_tolower(c); }
char Upper(unsigned char c) { return absl::ascii_toupper(c); }

/// Bytes of the blank (Unicode's White_Space) at the start, or at the end, of `text`; 0: none.
size_t BlankSize(absl::string_view text, bool at_end) {
  static constexpr absl::string_view kBlanks[] = {" ",      "\t",     "\n",     "\v",     "\f",     "\r",     "\u0085",
                                                  "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004",
                                                  "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200a", "\u2028",
                                                  "\u2029", "\u202f", "\u205f", "\u3000"};
  for (absl::string_view blank : kBlanks) {
    if (at_end ? absl::EndsWith(text, blank) : absl::StartsWith(text, blank)) return blank.size();
  }
  return 0;
}

Value Trim(const Node& node, const Value* a, const ActivationState&) {
  if (!a->is_string()) return NoOverload(node);
  absl::string_view text = a->string_value();
  while (const size_t blank = BlankSize(text, false)) text.remove_prefix(blank);
  while (const size_t blank = BlankSize(text, true)) text.remove_suffix(blank);
  return Value::String(text);
}

Value DoubleToInt(const Node& node, double value) {
  // CEL leaves out both ends: the double next to them cannot say which int was meant.
  if (!(value > -9223372036854775808.0 && value < 9223372036854775808.0)) return OutOfRange(node);
  return Value::Int(static_cast<int64_t>(value));
}

Value ToInt(const Node& node, const Value* a, const ActivationState&) {
  switch (a->kind()) {
    case Kind::kInt:
      return *a;
    case Kind::kDouble:
      return DoubleToInt(node, a->double_value());
    case Kind::kString: {
      absl::string_view text = a->string_value();
      if (absl::StartsWith(text, "+") && text.size() > 1 && absl::ascii_isdigit(text[1])) text.remove_prefix(1);
      int64_t value = 0;
      const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
      if (text.empty() || result.ec != std::errc() || result.ptr != text.data() + text.size())
        return CannotConvert(node);
      return Value::Int(value);
    }
    case Kind::kTimestamp: {
      const int64_t micros = a->timestamp_us();
      return Value::Int(micros >= 0 ? micros / 1000000 : -((-micros + 999999) / 1000000));
    }
    default:
      return NoOverload(node);
  }
}

Value ToDouble(const Node& node, const Value* a, const ActivationState&) {
  switch (a->kind()) {
    case Kind::kInt:
      return Value::Double(static_cast<double>(a->int_value()));
    case Kind::kDouble:
      return Value::Double(a->double_value());
    case Kind::kString: {
      absl::string_view text = a->string_value();
      if (absl::StartsWith(text, "+") && text.size() > 1 && text[1] != '-') text.remove_prefix(1);
      double value = 0;
      const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
      if (text.empty() || result.ec != std::errc() || result.ptr != text.data() + text.size())
        return CannotConvert(node);
      return Value::Double(value);
    }
    default:
      return NoOverload(node);
  }
}

Value ToString(const Node& node, const Value* a, const ActivationState& state) {
  switch (a->kind()) {
    case Kind::kString:
      return *a;
    case Kind::kBool:
      return Value::String(a->bool_value() ? "true" : "false");
    case Kind::kInt:
      return state.scratch.String(absl::StrCat(a->int_value()));
    case Kind::kDouble:
      return state.scratch.String(DoubleText(a->double_value()));
    case Kind::kTimestamp:
      return state.scratch.String(TimestampText(a->timestamp_us()));
    case Kind::kDuration:
      return state.scratch.String(DurationText(a->duration_us()));
    default:
      return NoOverload(node);
  }
}

Value ToBool(const Node& node, const Value* a, const ActivationState&) {
  if (a->kind() == Kind::kBool) return *a;
  if (!a->is_string()) return NoOverload(node);
  for (absl::string_view text : {"true", "True", "TRUE", "t", "1"}) {
    if (a->string_value() == text) return Value::Bool(true);
  }
  for (absl::string_view text : {"false", "False", "FALSE", "f", "0"}) {
    if (a->string_value() == text) return Value::Bool(false);
  }
  return CannotConvert(node);
}

Value ToTimestamp(const Node& node, const Value* a, const ActivationState&) {
  int64_t micros = 0;
  switch (a->kind()) {
    case Kind::kTimestamp:
      return *a;
    case Kind::kString:
      return ParseTimestamp(a->string_value(), &micros) ? Value::Timestamp(micros) : CannotConvert(node);
    case Kind::kInt:
      if (__builtin_mul_overflow(a->int_value(), 1000000, &micros) || !IsTimestamp(micros)) return OutOfRange(node);
      return Value::Timestamp(micros);
    default:
      return NoOverload(node);
  }
}

Value ToDuration(const Node& node, const Value* a, const ActivationState&) {
  if (a->kind() == Kind::kDuration) return *a;
  if (!a->is_string()) return NoOverload(node);
  int64_t micros = 0;
  return ParseDuration(a->string_value(), &micros) ? Value::Duration(micros) : CannotConvert(node);
}

Value Dynamic(const Node&, const Value* a, const ActivationState&) { return *a; }

/// bucket(x, width, max): the multiple of `width` at or below x, at most `max`; an int where width and max are ints.
Value Bucket(const Node& node, const Value* a, const ActivationState&) {
  if (!a[0].is_numeric() || !a[1].is_numeric() || !a[2].is_numeric()) return NoOverload(node);
  const double width = a[1].AsDouble();
  const double max = a[2].AsDouble();
  if (!(width > 0) || std::isnan(a[0].AsDouble()) || std::isnan(max)) {
    return Value::Error(ErrorCode::kInvalidArgument, "bucket: the width must be positive");
  }
  if (a[0].kind() == Kind::kInt && a[1].kind() == Kind::kInt && a[2].kind() == Kind::kInt) {
    const int64_t x = a[0].int_value();
    const int64_t step = a[1].int_value();
    if (x >= a[2].int_value()) return a[2];
    const int64_t rest = x % step;
    int64_t floor = 0;
    if (__builtin_sub_overflow(x, rest < 0 ? rest + step : rest, &floor)) return OutOfRange(node);
    return Value::Int(floor);
  }
  const double bucket = a[0].AsDouble() >= max ? max : std::floor(a[0].AsDouble() / width) * width;
  const bool ints = a[1].kind() == Kind::kInt && a[2].kind() == Kind::kInt;
  return ints ? DoubleToInt(node, bucket) : Value::Number(bucket);
}

// --- Timestamps and durations ---

int64_t FloorDivide(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

/// Seconds east of UTC in the zone that the program names (UTC without one).
int64_t OffsetOf(const Node& node, int64_t seconds, const ActivationState& state) {
  if (node.zone_slot < 0) return 0;
  if (static_cast<size_t>(node.zone_slot) >= state.zones.size()) state.zones.resize(node.zone_slot + 1);
  return state.zones[node.zone_slot].At(node.zone, seconds);
}

enum class Part {
  kYear,
  kMonth,
  kDate,
  kDayOfMonth,
  kDayOfWeek,
  kDayOfYear,
  kHours,
  kMinutes,
  kSeconds,
  kMilliseconds
};

int64_t CivilPart(Part part, int64_t day_number) {
  const absl::CivilDay day = absl::CivilDay(1970, 1, 1) + day_number;
  switch (part) {
    case Part::kYear:
      return day.year();
    case Part::kMonth:
      return day.month() - 1;
    case Part::kDate:
      return day.day();
    case Part::kDayOfMonth:
      return day.day() - 1;
    case Part::kDayOfYear:
      return absl::GetYearDay(day) - 1;
    default:
      return 0;
  }
}

template <Part part>
Value TimePart(const Node& node, const Value* a, const ActivationState& state) {
  if (a->kind() == Kind::kDuration && node.children.size() == 1) {
    const int64_t micros = a->duration_us();
    switch (part) {
      case Part::kHours:
        return Value::Int(micros / 3600000000);
      case Part::kMinutes:
        return Value::Int(micros / 60000000);
      case Part::kSeconds:
        return Value::Int(micros / 1000000);
      case Part::kMilliseconds:
        return Value::Int(micros % 1000000 / 1000);
      default:
        return NoOverload(node);
    }
  }
  if (a->kind() != Kind::kTimestamp) return NoOverload(node);
  const int64_t utc = FloorDivide(a->timestamp_us(), 1000000);
  const int64_t local = utc + OffsetOf(node, utc, state);
  const int64_t day = FloorDivide(local, 86400);
  const int64_t second = local - day * 86400;
  switch (part) {
    case Part::kHours:
      return Value::Int(second / 3600);
    case Part::kMinutes:
      return Value::Int(second / 60 % 60);
    case Part::kSeconds:
      return Value::Int(second % 60);
    case Part::kMilliseconds:
      return Value::Int((a->timestamp_us() - utc * 1000000) / 1000);
    case Part::kDayOfWeek:
      return Value::Int(day + 4 - FloorDivide(day + 4, 7) * 7);
    default:
      return Value::Int(CivilPart(part, day));
  }
}

/// truncate(time, unit, zone): where the civil minute, hour, day, week (Monday), month or year of `time` begins.
Value Truncate(const Node& node, const Value* a, const ActivationState&) {
  if (a[0].kind() != Kind::kTimestamp || !a[1].is_string()) return NoOverload(node);
  const absl::TimeZone zone = node.zone_slot < 0 ? absl::UTCTimeZone() : node.zone;
  const absl::Time time = absl::FromUnixMicros(a[0].timestamp_us());
  const absl::TimeZone::CivilInfo info = zone.At(time);
  const absl::string_view unit = a[1].string_value();
  // Minutes and hours are cut by the offset in force, as an hour that happens twice has two beginnings.
  if (unit == "minute" || unit == "hour") {
    const int64_t length = unit == "minute" ? 60 : 3600;
    const int64_t local = absl::ToUnixSeconds(time) + info.offset;
    return Value::Timestamp((FloorDivide(local, length) * length - info.offset) * 1000000);
  }
  absl::CivilSecond start(info.cs);
  if (unit == "day") {
    start = absl::CivilSecond(absl::CivilDay(info.cs));
  } else if (unit == "week") {
    const absl::CivilDay day(info.cs);
    start = absl::CivilSecond(absl::PrevWeekday(day + 1, absl::Weekday::monday));
  } else if (unit == "month") {
    start = absl::CivilSecond(absl::CivilMonth(info.cs));
  } else if (unit == "year") {
    start = absl::CivilSecond(absl::CivilYear(info.cs));
  } else {
    return Value::Error(ErrorCode::kInvalidArgument, "truncate: minute, hour, day, week, month or year");
  }
  // A day may begin inside a gap; `trans` is then its first moment, and of two midnights `pre` is the first.
  const absl::TimeZone::TimeInfo begin = zone.At(start);
  const absl::Time moment = begin.kind == absl::TimeZone::TimeInfo::SKIPPED ? begin.trans : begin.pre;
  const int64_t micros = absl::ToUnixMicros(moment);
  return IsTimestamp(micros) ? Value::Timestamp(micros) : OutOfRange(node);
}

constexpr TypeSet kAny = TypeBit(StaticType::kDynamic);
constexpr TypeSet kText = kAny | TypeBit(StaticType::kString);
constexpr TypeSet kNumeric =
    kAny | TypeBit(StaticType::kInt) | TypeBit(StaticType::kDouble) | TypeBit(StaticType::kNumber);
constexpr TypeSet kTime = kAny | TypeBit(StaticType::kTimestamp);
constexpr TypeSet kSpan = kAny | TypeBit(StaticType::kDuration);
constexpr TypeSet kBoolean = kAny | TypeBit(StaticType::kBool);
constexpr TypeSet kSized = kText | TypeBit(StaticType::kList) | TypeBit(StaticType::kStruct);
constexpr TypeSet kEverything = ~TypeSet{0};

template <Part part>
void AddPart(absl::string_view name, bool durations, std::vector<Function>* out) {
  out->push_back({name, true, {durations ? kTime | kSpan : kTime}, StaticType::kInt, TimePart<part>});
  out->push_back({name, true, {kTime, kText}, StaticType::kInt, TimePart<part>});
}

std::vector<Function> MakeFunctions() {
  using enum StaticType;
  std::vector<Function> f = {
      {"size", false, {kSized}, kInt, Size},
      {"size", true, {kSized}, kInt, Size},
      {"startsWith", true, {kText, kText}, kBool, StartsWith},
      {"endsWith", true, {kText, kText}, kBool, EndsWith},
      {"contains", true, {kText, kText}, kBool, Contains},
      {"matches", true, {kText, kText}, kBool, Matches},
      {"matches", false, {kText, kText}, kBool, Matches},
      {"lowerAscii", true, {kText}, kString, ChangeCase<Lower>},
      {"upperAscii", true, {kText}, kString, ChangeCase<Upper>},
      {"trim", true, {kText}, kString, Trim},
      {"int", false, {kNumeric | kText | kTime}, kInt, ToInt},
      {"double", false, {kNumeric | kText}, kDouble, ToDouble},
      {"string", false, {kNumeric | kText | kTime | kSpan | kBoolean}, kString, ToString},
      {"bool", false, {kBoolean | kText}, kBool, ToBool},
      {"timestamp", false, {kTime | kText | TypeBit(kInt)}, kTimestamp, ToTimestamp},
      {"duration", false, {kSpan | kText}, kDuration, ToDuration},
      {"dyn", false, {kEverything}, kDynamic, Dynamic},
      {"bucket", false, {kNumeric, kNumeric, kNumeric}, kDynamic, Bucket},
      {"truncate", true, {kTime, kText}, kTimestamp, Truncate},
      {"truncate", true, {kTime, kText, kText}, kTimestamp, Truncate},
  };
  AddPart<Part::kYear>("getFullYear", false, &f);
  AddPart<Part::kMonth>("getMonth", false, &f);
  AddPart<Part::kDate>("getDate", false, &f);
  AddPart<Part::kDayOfMonth>("getDayOfMonth", false, &f);
  AddPart<Part::kDayOfWeek>("getDayOfWeek", false, &f);
  AddPart<Part::kDayOfYear>("getDayOfYear", false, &f);
  AddPart<Part::kHours>("getHours", true, &f);
  AddPart<Part::kMinutes>("getMinutes", true, &f);
  AddPart<Part::kSeconds>("getSeconds", true, &f);
  AddPart<Part::kMilliseconds>("getMilliseconds", true, &f);
  return f;
}

}  // namespace

absl::Span<const Function> Functions() {
  static const auto* functions = new std::vector<Function>(MakeFunctions());
  return *functions;
}

absl::string_view TypeName(StaticType type) {
  switch (type) {
    case StaticType::kDynamic:
      return "any";
    case StaticType::kNull:
      return "null";
    case StaticType::kBool:
      return "bool";
    case StaticType::kInt:
      return "int";
    case StaticType::kDouble:
      return "double";
    case StaticType::kNumber:
      return "number";
    case StaticType::kString:
      return "string";
    case StaticType::kTimestamp:
      return "timestamp";
    case StaticType::kDuration:
      return "duration";
    case StaticType::kList:
      return "list";
    case StaticType::kStruct:
      return "map";
  }
  return "any";
}

}  // namespace naru::cel
