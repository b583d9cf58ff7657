#include "common/input_format/time_layout.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/cel/time_text.h"
#include "common/clock/rfc3339.h"

namespace naru::input_format {
namespace {

constexpr int64_t kSecond = 1'000'000;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

/// Reads at least `min` and at most `max` digits and takes them off.
bool TakeDigits(absl::string_view* text, size_t min, size_t max, int64_t* value) {
  size_t n = 0;
  int64_t v = 0;
  while (n < max && n < text->size() && IsDigit((*text)[n])) v = v * 10 + ((*text)[n++] - '0');
  if (n < min) return false;
  text->remove_prefix(n);
  *value = v;
  return true;
}

bool Take(absl::string_view* text, char c) {
  if (text->empty() || text->front() != c) return false;
  text->remove_prefix(1);
  return true;
}

/// Reads one to nine digits after a decimal point.
bool TakeFraction(absl::string_view* text, int64_t* micros) {
  int64_t v = 0;
  size_t n = 0;
  while (n < 9 && n < text->size() && IsDigit((*text)[n])) {
    if (n < 6) v = v * 10 + ((*text)[n] - '0');
    ++n;
  }
  if (n == 0) return false;
  for (size_t i = n; i < 6; ++i) v *= 10;
  text->remove_prefix(n);
  *micros = v;
  return true;
}

/// Reads one of `count` names, in full or its first three letters; in any case.
bool TakeName(absl::string_view* text, const absl::string_view* names, int count, int* index) {
  for (int i = 0; i < count; ++i) {
    for (size_t size : {names[i].size(), size_t{3}}) {
      if (text->size() < size) continue;
      size_t same = 0;
      while (same < size && absl::ascii_tolower((*text)[same]) == names[i][same]) ++same;
      if (same == size) {
        text->remove_prefix(size);
        *index = i;
        return true;
      }
    }
  }
  return false;
}

constexpr absl::string_view kMonths[] = {"january", "february", "march",     "april",   "may",      "june",
                                         "july",    "august",   "september", "october", "november", "december"};
constexpr absl::string_view kDays[] = {"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"};

int DaysInMonth(int64_t year, int64_t month) {
  static constexpr int kLengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return month == 2 && leap ? 29 : kLengths[month - 1];
}

}  // namespace

struct TimeLayout::Parts {
  int64_t year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, micros = 0;
  int half = -1;  ///< 0: am, 1: pm
  bool has_offset = false;
  int64_t offset_s = 0;
  bool has_unix = false;
  int64_t unix_s = 0;

  /// `Z`, `+0900`, `+09:00`, `+09`.
  bool TakeOffset(absl::string_view* text) {
    has_offset = true;
    if (Take(text, 'Z') || Take(text, 'z')) return true;
    const bool west = Take(text, '-');
    int64_t hours = 0;
    int64_t minutes = 0;
    if ((!west && !Take(text, '+')) || !TakeDigits(text, 2, 2, &hours)) return false;
    const bool colon = Take(text, ':');
    if ((colon || (!text->empty() && IsDigit(text->front()))) && !TakeDigits(text, 2, 2, &minutes)) return false;
    if (hours > 23 || minutes > 59) return false;
    offset_s = (hours * 3600 + minutes * 60) * (west ? -1 : 1);
    return true;
  }
};

absl::StatusOr<TimeLayout> TimeLayout::Compile(absl::string_view layout, absl::string_view time_zone) {
  TimeLayout compiled;
  compiled.zone_ = absl::UTCTimeZone();
  if (!time_zone.empty() && !cel::FindZone(time_zone, &compiled.zone_)) {
    return absl::InvalidArgumentError(
        absl::StrCat("`", time_zone, "` is not a time zone; write an IANA name (Asia/Seoul) or an offset (+09:00)"));
  }
  compiled.utc_ = compiled.zone_ == absl::UTCTimeZone() || time_zone == "UTC";
  compiled.description_ = std::string(layout);
  if (layout.empty() || layout == "rfc3339") {
    compiled.description_ = "a time as RFC 3339 writes it: 2022-11-01T09:00:00Z";
    return compiled;
  }
  if (layout.substr(0, 4) == "unix") {
    compiled.kind_ = layout == "unix" ? Kind::kUnix : layout == "unix_ms" ? Kind::kUnixMs : Kind::kUnixUs;
    compiled.description_ = layout == "unix"      ? "seconds since 1970"
                            : layout == "unix_ms" ? "milliseconds since 1970"
                                                  : "microseconds since 1970";
    if (layout == "unix" || layout == "unix_ms" || layout == "unix_us") return compiled;
  }
  compiled.kind_ = Kind::kWords;
  for (size_t i = 0; i < layout.size();) {
    const absl::Status status = compiled.AddWord(layout, &i);
    if (!status.ok()) return status;
  }
  const bool date = (compiled.Has(Step::kYear) || compiled.Has(Step::kShortYear)) && compiled.Has(Step::kDay) &&
                    (compiled.Has(Step::kMonth) || compiled.Has(Step::kMonthName));
  if (!date && !compiled.Has(Step::kUnixSeconds)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the layout `", layout, "` gives no date: rfc3339, unix, unix_ms, unix_us, or words with %Y, %m and %d"));
  }
  compiled.description_ = absl::StrCat("a time like ", layout);
  return compiled;
}

bool TimeLayout::Has(Step step) const {
  for (const Word& word : words_) {
    if (word.step == step) return true;
  }
  return false;
}

absl::Status TimeLayout::AddWord(absl::string_view layout, size_t* i) {
  const char c = layout[*i];
  if (c != '%') {
    ++*i;
    words_.push_back({absl::ascii_isspace(static_cast<unsigned char>(c)) ? Step::kBlank : Step::kLiteral, c});
    return absl::OkStatus();
  }
  const char word = *i + 1 < layout.size() ? layout[*i + 1] : '\0';
  size_t size = 2;
  if (word == 'E') size = 4;  // %E*S, %E3S
  const absl::string_view all = layout.substr(*i, size);
  *i += all.size();
  struct Known {
    char word;
    Step step;
  };
  static constexpr Known kKnown[] = {
      {'Y', Step::kYear},      {'y', Step::kShortYear}, {'m', Step::kMonth},       {'d', Step::kDay},
      {'e', Step::kDay},       {'H', Step::kHour},      {'k', Step::kHour},        {'I', Step::kHour12},
      {'l', Step::kHour12},    {'M', Step::kMinute},    {'S', Step::kSecond},      {'p', Step::kHalf},
      {'b', Step::kMonthName}, {'h', Step::kMonthName}, {'B', Step::kMonthName},   {'a', Step::kDayName},
      {'A', Step::kDayName},   {'z', Step::kOffset},    {'Z', Step::kZoneName},    {'s', Step::kUnixSeconds},
      {'f', Step::kFraction},  {'L', Step::kFraction},  {'n', Step::kBlank},       {'t', Step::kBlank}};
  for (const Known& known : kKnown) {
    if (known.word != word) continue;
    words_.push_back({known.step, 0});
    return absl::OkStatus();
  }
  const absl::string_view whole = word == 'F'   ? "%Y-%m-%d"
                                  : word == 'T' ? "%H:%M:%S"
                                  : word == 'R' ? "%H:%M"
                                  : word == 'D' ? "%m/%d/%y"
                                                : "";
  for (size_t k = 0; k < whole.size();) {
    const absl::Status status = AddWord(whole, &k);
    if (!status.ok()) return status;
  }
  if (!whole.empty()) return absl::OkStatus();
  if (word == '%') {
    words_.push_back({Step::kLiteral, '%'});
    return absl::OkStatus();
  }
  if (all.size() == 4 && word == 'E' && (all[2] == '*' || IsDigit(all[2])) && all[3] == 'S') {
    words_.push_back({Step::kSecondFraction, 0});
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("`", all, "` is not a word of a time layout; there are %Y %m %d %H %M %S "
                                                 "%b %z %p %y %f %s ..."));
}

bool TimeLayout::ReadWord(Word word, absl::string_view* text, Parts* parts) {
  int name = 0;
  switch (word.step) {
    case Step::kLiteral: return Take(text, word.literal);
    case Step::kBlank:
      while (!text->empty() && absl::ascii_isspace(static_cast<unsigned char>(text->front()))) text->remove_prefix(1);
      return true;
    case Step::kYear: return TakeDigits(text, 4, 4, &parts->year);
    case Step::kShortYear:
      if (!TakeDigits(text, 2, 2, &parts->year)) return false;
      parts->year += parts->year < 69 ? 2000 : 1900;  // as POSIX says
      return true;
    case Step::kMonth: return TakeDigits(text, 1, 2, &parts->month);
    case Step::kDay:
      Take(text, ' ');  // %e is padded with a blank
      return TakeDigits(text, 1, 2, &parts->day);
    case Step::kHour:
      Take(text, ' ');
      return TakeDigits(text, 1, 2, &parts->hour);
    case Step::kHour12:
      Take(text, ' ');
      if (parts->half < 0) parts->half = 0;
      return TakeDigits(text, 1, 2, &parts->hour) && parts->hour >= 1 && parts->hour <= 12;
    case Step::kMinute: return TakeDigits(text, 1, 2, &parts->minute);
    case Step::kSecond: return TakeDigits(text, 1, 2, &parts->second);
    case Step::kHalf: {
      if (text->size() < 2 || absl::ascii_tolower((*text)[1]) != 'm') return false;
      const char c = absl::ascii_tolower(text->front());
      text->remove_prefix(2);
      parts->half = c == 'p' ? 1 : 0;
      return c == 'a' || c == 'p';
    }
    case Step::kMonthName:
      if (!TakeName(text, kMonths, 12, &name)) return false;
      parts->month = name + 1;
      return true;
    case Step::kDayName: return TakeName(text, kDays, 7, &name);
    case Step::kOffset: return parts->TakeOffset(text);
    case Step::kZoneName:
      parts->has_offset = true;
      for (absl::string_view zone : {"UTC", "GMT", "Z"}) {
        if (text->substr(0, zone.size()) != zone) continue;
        text->remove_prefix(zone.size());
        return true;
      }
      return false;
    case Step::kUnixSeconds: {
      parts->has_unix = true;
      const bool negative = Take(text, '-');
      if (!TakeDigits(text, 1, 12, &parts->unix_s)) return false;
      if (negative) parts->unix_s = -parts->unix_s;
      return true;
    }
    case Step::kFraction: return TakeFraction(text, &parts->micros);
    case Step::kSecondFraction:
      return TakeDigits(text, 1, 2, &parts->second) && (!Take(text, '.') || TakeFraction(text, &parts->micros));
  }
  return false;
}

bool TimeLayout::ReadWords(absl::string_view text, Parts* parts) const {
  bool hour12 = false;
  for (const Word word : words_) {
    hour12 = hour12 || word.step == Step::kHour12;
    if (!ReadWord(word, &text, parts)) return false;
  }
  if (hour12) parts->hour = parts->hour % 12 + (parts->half == 1 ? 12 : 0);
  return text.empty();
}

bool TimeLayout::ReadRfc3339(absl::string_view text, Parts* parts) {
  if (text.size() < 20 || text[4] != '-' || text[7] != '-' || text[13] != ':' || text[16] != ':') return false;
  if (text[10] != 'T' && text[10] != 't' && text[10] != ' ') return false;
  const auto two = [&](size_t at, int64_t* value) {
    if (!IsDigit(text[at]) || !IsDigit(text[at + 1])) return false;
    *value = (text[at] - '0') * 10 + (text[at + 1] - '0');
    return true;
  };
  int64_t century = 0;
  if (!two(0, &century) || !two(2, &parts->year) || !two(5, &parts->month) || !two(8, &parts->day) ||
      !two(11, &parts->hour) || !two(14, &parts->minute) || !two(17, &parts->second)) {
    return false;
  }
  parts->year += century * 100;
  text.remove_prefix(19);
  if (Take(&text, '.') && !TakeFraction(&text, &parts->micros)) return false;
  return parts->TakeOffset(&text) && text.empty();
}

bool TimeLayout::Finish(const Parts& parts, cel::ZoneOffset* zone_offset, int64_t* micros) const {
  int64_t seconds = parts.unix_s;
  if (!parts.has_unix) {
    // Second 60 is a leap second, taken as the next minute's first.
    if (parts.year < 1 || parts.month < 1 || parts.month > 12 || parts.day < 1 || parts.hour > 23 || parts.minute > 59 ||
        parts.second > 60 || parts.day > DaysInMonth(parts.year, parts.month)) {
      return false;
    }
    const int64_t days = DaysFromCivil(parts.year, static_cast<int>(parts.month), static_cast<int>(parts.day));
    const int64_t civil = days * 86400 + parts.hour * 3600 + parts.minute * 60 + parts.second;
    seconds = parts.has_offset ? civil - parts.offset_s : utc_ ? civil : zone_offset->FromCivil(zone_, civil);
  }
  *micros = seconds * kSecond + parts.micros;
  return cel::IsTimestamp(*micros);
}

bool TimeLayout::ParseUnix(absl::string_view text, int64_t* micros) const {
  const bool negative = Take(&text, '-');
  const int64_t unit = kind_ == Kind::kUnix ? kSecond : kind_ == Kind::kUnixMs ? 1000 : 1;
  int64_t whole = 0;
  int64_t fraction = 0;
  if (!TakeDigits(&text, 1, 18, &whole)) return false;
  if (Take(&text, '.') && !TakeFraction(&text, &fraction)) return false;
  int64_t value = 0;
  if (!text.empty() || __builtin_mul_overflow(whole, unit, &value)) return false;
  value += fraction / (kSecond / unit);
  *micros = negative ? -value : value;
  return cel::IsTimestamp(*micros);
}

bool TimeLayout::Parse(absl::string_view text, cel::ZoneOffset* zone_offset, int64_t* micros) const {
  if (kind_ == Kind::kUnix || kind_ == Kind::kUnixMs || kind_ == Kind::kUnixUs) return ParseUnix(text, micros);
  Parts parts;
  const bool read = kind_ == Kind::kRfc3339 ? ReadRfc3339(text, &parts) : ReadWords(text, &parts);
  return read && Finish(parts, zone_offset, micros);
}

bool TimeLayout::FromNumber(double number, int64_t* micros) const {
  const double unit = kind_ == Kind::kUnix ? 1e6 : kind_ == Kind::kUnixMs ? 1e3 : 1;
  if (kind_ == Kind::kRfc3339 || kind_ == Kind::kWords || !(std::abs(number * unit) < 9e17)) return false;
  *micros = std::llround(number * unit);
  return cel::IsTimestamp(*micros);
}

}  // namespace naru::input_format
