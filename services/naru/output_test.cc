// Widths, JSON, tables, CSV, progress.
#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/testing/testing.h"
#include "services/naru/json_text.h"
#include "services/naru/row_printer.h"
#include "services/naru/terminal.h"
#include "services/naru/text_width.h"

namespace naru::cli {
namespace {

// What a printer writes to a file.
class Printed {
 public:
  Printed() : file_(std::tmpfile()) {}
  ~Printed() { std::fclose(file_); }
  FILE* file() { return file_; }
  std::string Text() {
    std::fflush(file_);
    std::rewind(file_);
    std::string text(1 << 20, '\0');
    text.resize(std::fread(text.data(), 1, text.size(), file_));
    return text;
  }

 private:
  FILE* file_;
};

TEST(TextWidthTest, KoreanTakesTwoColumnsAndCombiningMarksNone) {
  EXPECT_EQ(DisplayWidth("abc"), 3);
  EXPECT_EQ(DisplayWidth("나루"), 4);
  EXPECT_EQ(DisplayWidth("무라벨 생수 2L"), 14);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1);
  EXPECT_EQ(DisplayWidth("ㄱ"), 2);
  EXPECT_EQ(DisplayWidth("\u1112\u1161\u11ab"), 2) << "decomposed Hangul is one syllable";
  EXPECT_EQ(DisplayWidth("👍"), 2);
  EXPECT_EQ(DisplayWidth("ﾊﾝｶｸ"), 4) << "half-width katakana";
  EXPECT_EQ(DisplayWidth(""), 0);
}

TEST(TextWidthTest, BytesThatAreNotUtf8CountOneEach) {
  EXPECT_EQ(DisplayWidth("\xff\xfe"), 2);
  EXPECT_EQ(DisplayWidth("\xea\xb0"), 2) << "a cut syllable";
  EXPECT_EQ(DisplayWidth("\xed\xa0\x80"), 3) << "a surrogate";
  EXPECT_EQ(DisplayWidth("\xc0\xaf"), 2) << "an overlong slash";
}

TEST(TextWidthTest, CuttingNeverSplitsACharacterNorExceedsTheWidth) {
  EXPECT_EQ(CutToWidth("무라벨", 6), "무라벨");
  EXPECT_EQ(CutToWidth("무라벨", 5), "무라…");
  EXPECT_EQ(CutToWidth("무라벨", 4), "무…");
  EXPECT_EQ(CutToWidth("무라벨", 1), "…");
  EXPECT_EQ(CutToWidth("무라벨", 0), "");
  const std::string text = "a나b다👍\xff\xea e\u0301xyz";
  for (size_t width = 0; width < 20; ++width) EXPECT_LE(DisplayWidth(CutToWidth(text, width)), width);
}

TEST(TextWidthTest, HostileTextCannotDriveTheTerminal) {
  EXPECT_EQ(MakePrintable("a\x1b[2Jb\nc\td\xff"), "a\\x1b[2Jb\\nc\\td\\xff");
  EXPECT_EQ(MakePrintable("\u202eevil"), "\\xe2\\x80\\xaeevil") << "direction override";
  EXPECT_EQ(MakePrintable("\u009b31m"), "\\xc2\\x9b31m") << "C1 control sequence";
  EXPECT_EQ(MakePrintable("나루"), "나루");
}

TEST(JsonTextTest, StringsAreAlwaysJson) {
  EXPECT_EQ(JsonString("a\"b\\c\n\x01\x7f"), "\"a\\\"b\\\\c\\n\\u0001\\u007f\"");
  EXPECT_EQ(JsonString("나루"), "\"나루\"");
  EXPECT_EQ(JsonString("x\xffy"), "\"x\\ufffdy\"");
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; second += 3) {
      const char bytes[] = {static_cast<char>(first), static_cast<char>(second), 'z'};
      google::protobuf::Value value;
      const std::string json = JsonString(absl::string_view(bytes, 3));
      ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(json, &value).ok()) << first << " " << second;
    }
  }
}

TEST(JsonTextTest, NumbersReadBackTheSame) {
  EXPECT_EQ(JsonNumber(3), "3");
  EXPECT_EQ(JsonNumber(-0.5), "-0.5");
  EXPECT_EQ(JsonNumber(9007199254740992.0), "9007199254740992");
  EXPECT_EQ(JsonNumber(0.1), "0.1");
  EXPECT_EQ(JsonNumber(std::nan("")), "null");
  EXPECT_EQ(JsonNumber(std::numeric_limits<double>::infinity()), "null");
  for (const double number : {1e300, 1.0 / 3, 5e-324, 123456789.125, -1e18}) {
    EXPECT_EQ(std::strtod(JsonNumber(number).c_str(), nullptr), number);
  }
}

TEST(JsonTextTest, ObjectsKeepTheOrderOfTheirKeys) {
  JsonObject object;
  object.Add("b", "text").Add("a", int64_t{9007199254740993}).Add("c", true).AddNull("d");
  EXPECT_EQ(object.Text(), R"({"b":"text","a":9007199254740993,"c":true,"d":null})");
  EXPECT_EQ(JsonObject().Text(), "{}");
}

TEST(RowPrinterTest, TablesAlignByDisplayWidth) {
  Printed out;
  RowPrinter printer(out.file(), OutputFormat::kTable, false, {"word", "count"});
  printer.Add({TextCell("생수"), NumberCell(int64_t{1234})});
  printer.Add({TextCell("cola"), NumberCell(int64_t{7})});
  printer.Finish();
  EXPECT_EQ(out.Text(), "WORD  COUNT\n생수  1,234\ncola      7\n");
}

TEST(RowPrinterTest, ATableWithoutRowsPrintsNothingAndACsvItsHeader) {
  Printed table;
  { RowPrinter printer(table.file(), OutputFormat::kTable, false, {"a"}); }
  EXPECT_EQ(table.Text(), "");
  Printed csv;
  { RowPrinter printer(csv.file(), OutputFormat::kCsv, false, {"a", "b"}); }
  EXPECT_EQ(csv.Text(), "a,b\n");
}

TEST(RowPrinterTest, CsvQuotesWhatNeedsIt) {
  Printed out;
  RowPrinter printer(out.file(), OutputFormat::kCsv, true, {"a", "b", "c", "d"});
  printer.Add({TextCell("x,\"y\"\nz"), NumberCell(int64_t{1234567}), NullCell(), RawCell("무 1", R"([{"key":"무"}])")});
  printer.Finish();
  EXPECT_EQ(out.Text(), "a,b,c,d\n\"x,\"\"y\"\"\nz\",1234567,,\"[{\"\"key\"\":\"\"무\"\"}]\"\n");
}

TEST(RowPrinterTest, JsonPrintsAnObjectALine) {
  Printed out;
  RowPrinter printer(out.file(), OutputFormat::kJson, false, {"name", "count", "none"});
  printer.Add({TextCell("a\tb"), NumberCell(2.5), NullCell()});
  printer.Add({}, R"({"own":1})");
  printer.Finish();
  EXPECT_EQ(out.Text(), "{\"name\":\"a\\tb\",\"count\":2.5,\"none\":null}\n{\"own\":1}\n");
}

TEST(RowPrinterTest, RowsAfterTheBufferStayAligned) {
  Printed out;
  RowPrinter printer(out.file(), OutputFormat::kTable, false, {"a", "b"}, 1);
  printer.Add({TextCell("first"), TextCell("x")});
  printer.Add({TextCell("2"), TextCell("y")});
  printer.Finish();
  EXPECT_EQ(out.Text(), "A      B\nfirst  x\n2      y\n");
}

TEST(TerminalTest, NumbersAreWrittenForPeople) {
  EXPECT_EQ(WithThousands(0), "0");
  EXPECT_EQ(WithThousands(999), "999");
  EXPECT_EQ(WithThousands(1000), "1,000");
  EXPECT_EQ(WithThousands(-1234567), "-1,234,567");
  EXPECT_EQ(WithThousands(std::numeric_limits<int64_t>::min()), "-9,223,372,036,854,775,808");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatSeconds(3700), "1 h 1 min");
}

TEST(TerminalTest, ProgressShowsRateAndTimeLeftAndFitsTheWidth) {
  const Progress half{500, 1000, 5000, "lines", 2.0};
  const std::string line = RenderProgress("apache_logs", half, 100);
  EXPECT_THAT(line, ::testing::HasSubstr("50 %"));
  EXPECT_THAT(line, ::testing::HasSubstr("5,000 lines"));
  EXPECT_THAT(line, ::testing::HasSubstr("2,500/s"));
  EXPECT_THAT(line, ::testing::HasSubstr("2.0 s left"));
  EXPECT_THAT(line, ::testing::HasSubstr("[####"));
  for (int columns = 1; columns < 140; ++columns) {
    EXPECT_LE(DisplayWidth(RenderProgress("아주 긴 파일 이름.log", half, columns)), std::max(columns - 1, 1));
  }
  EXPECT_THAT(RenderProgress("stdin", Progress{500, 0, 10, "lines", 1}, 80), ::testing::Not(::testing::HasSubstr("%")));
}

}  // namespace
}  // namespace naru::cli
