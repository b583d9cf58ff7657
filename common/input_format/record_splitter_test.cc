#include "common/input_format/record_splitter.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace naru::input_format {
namespace {

/// All records of `bytes`, given to the splitter in pieces that end at `cuts`.
std::vector<std::string> Split(RecordSplitter splitter, absl::string_view bytes, const std::vector<size_t>& cuts) {
  std::vector<std::string> records;
  std::string pending;
  size_t from = 0;
  for (size_t i = 0; i <= cuts.size(); ++i) {
    const bool at_end = i == cuts.size();
    const size_t to = at_end ? bytes.size() : cuts[i];
    pending.append(bytes.data() + from, to - from);
    from = to;
    RecordSplitter::Record record;
    absl::string_view rest = pending;
    bool more = true;
    while (more) {
      more = splitter.Next(rest, at_end, &record);
      rest.remove_prefix(record.size);
      if (more) records.push_back((record.too_long ? "TOO LONG " : "") + std::string(record.text.substr(0, 100)));
    }
    pending = std::string(rest);
  }
  EXPECT_TRUE(pending.empty());
  return records;
}

TEST(RecordSplitter, LinesWithAndWithoutTheirEnd) {
  EXPECT_EQ(Split({}, "a\nb\r\nc", {}), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(Split({}, "a\n\n\r\nb\n", {}), (std::vector<std::string>{"a", "", "", "b"}));
  EXPECT_EQ(Split({}, "", {}), (std::vector<std::string>{}));
  EXPECT_EQ(Split({}, "\n", {}), (std::vector<std::string>{""}));
  EXPECT_EQ(Split({}, "a\rb\n", {}), (std::vector<std::string>{"a\rb"}));
}

TEST(RecordSplitter, QuotedFieldsMayHoldNewlines) {
  const RecordSplitter csv = RecordSplitter::ForCsv(',');
  EXPECT_EQ(Split(csv, "a,\"b\nc\",d\ne\n", {}), (std::vector<std::string>{"a,\"b\nc\",d", "e"}));
  EXPECT_EQ(Split(csv, "\"a\"\"\n\"\"b\"\nc", {}), (std::vector<std::string>{"\"a\"\"\n\"\"b\"", "c"}));
  // A quote inside a field that did not begin with one is text.
  EXPECT_EQ(Split(csv, "5\" disk,x\ny\n", {}), (std::vector<std::string>{"5\" disk,x", "y"}));
  EXPECT_EQ(Split(csv, "a\"\"b,x\ny\n", {}), (std::vector<std::string>{"a\"\"b,x", "y"}));
}

TEST(RecordSplitter, AQuoteThatNeverClosesTakesOneLineOnly) {
  const RecordSplitter csv = RecordSplitter::ForCsv(',');
  EXPECT_EQ(Split(csv, "a,\"b\nc\nd\n", {}), (std::vector<std::string>{"a,\"b", "c", "d"}));
  std::string bytes = "a,\"b\n";
  for (int i = 0; i < 200000; ++i) bytes += "line,two\n";
  for (const std::vector<size_t>& cuts : {std::vector<size_t>{}, {100}, {1 << 20}, {(1 << 20) + 1, (1 << 20) + 2}}) {
    EXPECT_EQ(Split(csv, bytes, cuts).size(), 200001u);
  }
}

TEST(RecordSplitter, TooLongLinesAreCutAndTheRestSkipped) {
  for (size_t size : {kMaxLineBytes - 1, kMaxLineBytes, kMaxLineBytes + 1, kMaxLineBytes + 2, 3 * kMaxLineBytes}) {
    const std::string bytes = "a\n" + std::string(size, 'x') + "\nb\n";
    const std::string expected = (size > kMaxLineBytes ? "TOO LONG " : "") + std::string(100, 'x');
    for (const std::vector<size_t>& cuts : std::vector<std::vector<size_t>>{
             {}, {1}, {kMaxLineBytes}, {kMaxLineBytes + 2}, {kMaxLineBytes + 3}, {1000, size + 2}, {1000, size + 3}}) {
      std::vector<size_t> valid;
      for (size_t cut : cuts) valid.push_back(std::min(cut, bytes.size()));
      EXPECT_EQ(Split({}, bytes, valid), (std::vector<std::string>{"a", expected, "b"})) << size;
    }
    EXPECT_EQ(Split({}, std::string(size, 'x'), {}), (std::vector<std::string>{expected}));
    EXPECT_EQ(Split({}, std::string(size, 'x') + "\r\nb", {size / 2, size + 1}),
              (std::vector<std::string>{expected, "b"}));
  }
}

TEST(RecordSplitter, HowTheStreamIsCutMakesNoDifference) {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes;
    for (int n = random() % 30; n > 0; --n) bytes += "a\",\n\r\n"[random() % 6];
    std::vector<size_t> cuts;
    for (size_t i = 0; i < bytes.size(); ++i) {
      if (random() % 4 == 0) cuts.push_back(i);
    }
    for (const RecordSplitter& splitter : {RecordSplitter(), RecordSplitter::ForCsv(',')}) {
      ASSERT_EQ(Split(splitter, bytes, cuts), Split(splitter, bytes, {})) << bytes;
    }
  }
}

TEST(RecordSplitter, AByteOrderMarkIsSkippedOnce) {
  bool undecided = true;
  EXPECT_EQ(SkipByteOrderMark("\xEF\xBB\xBFx", false, &undecided), "x");
  EXPECT_FALSE(undecided);
  EXPECT_EQ(SkipByteOrderMark("\xEF\xBB", false, &undecided), "\xEF\xBB");
  EXPECT_TRUE(undecided);
  EXPECT_EQ(SkipByteOrderMark("\xEF\xBB", true, &undecided), "\xEF\xBB");
  EXPECT_FALSE(undecided);
  EXPECT_EQ(SkipByteOrderMark("xy", false, &undecided), "xy");
  EXPECT_FALSE(undecided);
}

}  // namespace
}  // namespace naru::input_format
