#include "common/input_format/time_layout.h"

#include <gtest/gtest.h>

#include <random>

#include "common/clock/rfc3339.h"

namespace naru::input_format {
namespace {

std::string Parse(absl::string_view layout, absl::string_view zone, absl::string_view text) {
  const auto compiled = TimeLayout::Compile(layout, zone);
  if (!compiled.ok()) return std::string(compiled.status().message());
  cel::ZoneOffset offset;
  int64_t micros = 0;
  return compiled->Parse(text, &offset, &micros) ? FormatRfc3339(micros) : "no";
}

TEST(TimeLayout, Rfc3339) {
  EXPECT_EQ(Parse("", "", "2022-11-01T09:00:00Z"), "2022-11-01T09:00:00Z");
  EXPECT_EQ(Parse("rfc3339", "", "2022-11-01 09:00:00.123456789+09:00"), "2022-11-01T00:00:00.123456Z");
  EXPECT_EQ(Parse("rfc3339", "", "2022-11-01t09:00:00z"), "2022-11-01T09:00:00Z");
  EXPECT_EQ(Parse("rfc3339", "", "2016-12-31T23:59:60Z"), "2017-01-01T00:00:00Z");
  for (const char* bad : {"", "bad", "2022-11-01", "2022-11-01T09:00:00", "2022-02-29T09:00:00Z", "2022-13-01T09:00:00Z",
                          "2022-11-01T24:00:00Z", "2022-11-01T09:60:00Z", "2022-11-01T09:00:00ZZ", "2022-11-01T09:00:00.Z",
                          "0000-01-01T00:00:00Z", "2022-11-01T09:00:00+25:00", "+022-11-01T09:00:00Z"}) {
    EXPECT_EQ(Parse("rfc3339", "", bad), "no") << bad;
  }
}

TEST(TimeLayout, UnixNumbers) {
  EXPECT_EQ(Parse("unix", "", "1667293200"), "2022-11-01T09:00:00Z");
  EXPECT_EQ(Parse("unix", "", "1667293200.25"), "2022-11-01T09:00:00.250Z");
  EXPECT_EQ(Parse("unix_ms", "", "1667293200123"), "2022-11-01T09:00:00.123Z");
  EXPECT_EQ(Parse("unix_us", "", "1667293200123456"), "2022-11-01T09:00:00.123456Z");
  EXPECT_EQ(Parse("unix", "", "-1"), "1969-12-31T23:59:59Z");
  for (const char* bad : {"", "-", "1e9", "99999999999999999", "1667293200x", "1667293200."}) {
    EXPECT_EQ(Parse("unix", "", bad), "no") << bad;
  }
  const TimeLayout seconds = *TimeLayout::Compile("unix", "");
  int64_t micros = 0;
  EXPECT_TRUE(seconds.FromNumber(1667293200.5, &micros));
  EXPECT_EQ(micros, 1667293200500000);
  EXPECT_FALSE(seconds.FromNumber(1e300, &micros));
  EXPECT_FALSE(TimeLayout::Compile("rfc3339", "")->FromNumber(1, &micros));
}

TEST(TimeLayout, WordsInZones) {
  EXPECT_EQ(Parse("%Y-%m-%dT%H:%M:%SZ", "Asia/Seoul", "2022-11-01T09:00:00Z"), "2022-11-01T00:00:00Z");
  EXPECT_EQ(Parse("%d/%b/%Y:%H:%M:%S %z", "", "17/May/2015:10:05:03 +0000"), "2015-05-17T10:05:03Z");
  EXPECT_EQ(Parse("%d/%b/%Y:%H:%M:%S %z", "Asia/Seoul", "17/May/2015:10:05:03 -0330"), "2015-05-17T13:35:03Z");
  EXPECT_EQ(Parse("%a, %d %B %Y %I:%M %p", "", "Tue, 1 november 2022 12:30 AM"), "2022-11-01T00:30:00Z");
  EXPECT_EQ(Parse("%D %T", "", "11/01/22 09:00:00"), "2022-11-01T09:00:00Z");
  EXPECT_EQ(Parse("%F %R:%E*S", "", "2022-11-01 09:00:07.25"), "2022-11-01T09:00:07.250Z");
  EXPECT_EQ(Parse("%Y%m%d%H%M%S%f", "", "20221101090000123"), "2022-11-01T09:00:00.123Z");
  EXPECT_EQ(Parse("[%s]", "", "[1667293200]"), "2022-11-01T09:00:00Z");
  EXPECT_EQ(Parse("%F %T %Z", "Asia/Seoul", "2022-11-01 09:00:00 UTC"), "2022-11-01T09:00:00Z");
  // Clocks going forward skip 02:30; going back they have 01:30 twice, and the first is taken.
  EXPECT_EQ(Parse("%F %R", "America/New_York", "2022-03-13 02:30"), "2022-03-13T07:30:00Z");
  EXPECT_EQ(Parse("%F %R", "America/New_York", "2022-11-06 01:30"), "2022-11-06T05:30:00Z");
}

TEST(TimeLayout, WrongLayoutsSayWhatIsKnown) {
  EXPECT_EQ(Parse("%Q", "", ""), "`%Q` is not a word of a time layout; there are %Y %m %d %H %M %S %b %z %p %y %f %s ...");
  EXPECT_EQ(Parse("%H:%M", "", ""),
            "the layout `%H:%M` gives no date: rfc3339, unix, unix_ms, unix_us, or words with %Y, %m and %d");
  EXPECT_EQ(Parse("unixms", "", ""),
            "the layout `unixms` gives no date: rfc3339, unix, unix_ms, unix_us, or words with %Y, %m and %d");
  EXPECT_EQ(Parse("%F", "Asia/Soul", ""),
            "`Asia/Soul` is not a time zone; write an IANA name (Asia/Seoul) or an offset (+09:00)");
  EXPECT_NE(Parse("%Y-%m-%d%", "", ""), "no");
}

TEST(TimeLayout, AgreesWithTheLibraryOnRandomTimes) {
  std::mt19937_64 random(9);
  for (const char* zone_name : {"UTC", "Asia/Seoul", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"}) {
    absl::TimeZone zone;
    ASSERT_TRUE(absl::LoadTimeZone(zone_name, &zone));
    for (const char* layout : {"%Y-%m-%d %H:%M:%S", "%d/%b/%Y:%H:%M:%S %z", "%A %B %d %I:%M:%S %p %Y", "%Y %m%d%H%M%S",
                               "%Y-%m-%dT%H:%M:%E*S%Ez"}) {
      std::string own = layout;
      if (own.size() > 3 && own.substr(own.size() - 3) == "%Ez") own = own.substr(0, own.size() - 3) + "%z";
      const TimeLayout compiled = *TimeLayout::Compile(own, zone_name);
      cel::ZoneOffset offset;
      for (int i = 0; i < 2000; ++i) {
        const absl::Time time = absl::FromUnixMicros(static_cast<int64_t>(random() % 4'000'000'000'000'000ull));
        const std::string text = absl::FormatTime(layout, time, zone);
        absl::Time expected;
        std::string error;
        ASSERT_TRUE(absl::ParseTime(layout, text, zone, &expected, &error)) << text << error;
        int64_t micros = 0;
        ASSERT_TRUE(compiled.Parse(text, &offset, &micros)) << layout << ": " << text;
        ASSERT_EQ(micros, absl::ToUnixMicros(expected)) << layout << ": " << text << " in " << zone_name;
      }
    }
  }
}

TEST(TimeLayout, MutatedTextNeverCrashes) {
  std::mt19937 random(4);
  const TimeLayout apache = *TimeLayout::Compile("%d/%b/%Y:%H:%M:%S %z", "Asia/Seoul");
  const TimeLayout rfc = *TimeLayout::Compile("rfc3339", "");
  cel::ZoneOffset offset;
  for (int i = 0; i < 100000; ++i) {
    std::string text = i % 2 == 0 ? "17/May/2015:10:05:03 +0000" : "2022-11-01T09:00:00.123Z";
    for (int n = random() % 4; n > 0; --n) text[random() % text.size()] = static_cast<char>(random());
    text.resize(random() % 4 == 0 ? random() % (text.size() + 1) : text.size());
    int64_t micros = 0;
    apache.Parse(text, &offset, &micros);
    rfc.Parse(text, &offset, &micros);
  }
}

}  // namespace
}  // namespace naru::input_format
