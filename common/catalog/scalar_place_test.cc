#include "common/catalog/scalar_place.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/catalog/resource_file.h"
#include "gtest/gtest.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

constexpr char kHead[] = "# a comment\napiVersion: naru.dev/v1\nkind: Metric\nmetadata: {name: a}\nspec:\n";

/// Lines and columns of a byte of a text, both from 1, in characters.
Position At(absl::string_view text, size_t offset) {
  Position position{1, 1};
  for (size_t i = 0; i < offset; ++i) {
    if (text[i] == '\n') {
      position = {position.line + 1, 1};
    } else if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) {
      ++position.column;
    }
  }
  return position;
}

/// Reads a metric whose filter is written as `yaml` and holds one `@`, and compares where that is in the file with what
/// is found from where it is in the value.
void ExpectFound(const std::string& yaml) {
  const std::string file = absl::StrCat(kHead, yaml);
  const ResourceSet set = LoadText("a.yaml", file);
  ASSERT_TRUE(set.problems.empty()) << set.problems[0].ToString() << "\n" << file;
  const LoadedResource& loaded = set.resources[0];
  const std::string& value = loaded.resource->metric().filter();
  const size_t in_value = value.find('@');
  ASSERT_NE(in_value, std::string::npos) << file;
  const Position wanted = At(value, in_value);
  const auto found =
      PlaceInScalar(*loaded.document, loaded.first_line, loaded.texts.at("spec.filter"), wanted.line, wanted.column);
  ASSERT_TRUE(found.has_value()) << file;
  const Position there = At(file, file.find('@'));
  EXPECT_EQ(found->line, there.line) << file;
  EXPECT_EQ(found->column, there.column) << file;
}

TEST(PlaceInScalar, FindsCharactersOfEveryStyle) {
  ExpectFound("  filter: type == @\n");
  ExpectFound("  {filter: type == @, time_zone: UTC}\n");
  ExpectFound("  filter:   &anchor   'it''s  @'\n");
  ExpectFound("  filter: !!str \"\\u00e9\\n\\\"x\\x41@\"\n");
  ExpectFound("  filter: a\n    b\n\n    c @ d\n");
  ExpectFound("  filter: 'a\n\n\n    b  @'\n");
  ExpectFound("  filter: \"a\\\n     b @\"\n");
  ExpectFound("  filter: |\n    a &&\n\n      b\n    @ == 1\n");
  ExpectFound("  filter: >-  # 2 lines\n    a &&\n    b ||\n\n\n    '나루' @\n");
  ExpectFound("  filter: >\n\n    a\n      b\n\n    c\n    d @\n");
}

TEST(PlaceInScalar, FindsTheEndAndNothingBeyond) {
  const std::string text = "filter: 'abc'\n";
  const auto place = [&](int line, int column) { return PlaceInScalar(text, 7, {7, 9}, line, column); };
  EXPECT_EQ(place(1, 1)->column, 10);
  EXPECT_EQ(place(1, 4)->column, 13);
  EXPECT_FALSE(place(1, 5).has_value());
  EXPECT_FALSE(place(2, 1).has_value());
  EXPECT_FALSE(PlaceInScalar(text, 7, {9, 9}, 1, 1).has_value());
  EXPECT_FALSE(PlaceInScalar("filter: |2\n    abc\n", 1, {1, 9}, 1, 1).has_value());
}

/// Words of an expression, with one `@` among them.
std::vector<std::string> RandomWords(std::mt19937* random) {
  static const std::vector<std::string> kWords = {"type", "==", "&&", "data.a", "(x", "y)", "1.5", "나루", "<=", "in"};
  std::vector<std::string> words = {"first"};
  for (size_t n = (*random)() % 12; n > 0; --n) words.push_back(kWords[(*random)() % kWords.size()]);
  words.insert(words.begin() + 1 + (*random)() % words.size(), "@");
  return words;
}

TEST(PlaceInScalar, AgreesWithTheReaderOnRandomText) {
  std::mt19937 random(5);
  for (int round = 0; round < 3000; ++round) {
    const int style = random() % 5;
    const std::vector<std::string> words = RandomWords(&random);
    static const std::vector<std::string> kBreaks = {"\n    ", "\n\n    ", "\n\n\n    ", "  \n    ", "\n      "};
    std::string text;
    for (size_t i = 0; i < words.size(); ++i) {
      if (i > 0 && random() % 4 == 0) {
        // Blocks keep blanks at the end of a line, the others do not.
        text += kBreaks[random() % (style < 3 ? kBreaks.size() : 3)];
        if (style >= 3 && random() % 4 == 0) text += "  ";
      } else if (i > 0) {
        text += std::string(1 + random() % 2, ' ');
      }
      text += words[i];
      if (style == 1 && random() % 5 == 0) text += " ''q''";
      if (style == 2 && random() % 5 == 0) text += " \\\"q\\\" \\n \\u1234 \\t";
      if (style == 2 && random() % 9 == 0) text += " \\\n    ";
    }
    static const std::vector<std::string> kHeaders = {"", "'", "\"", "|", ">"};
    static const std::vector<std::string> kChomps = {"", "-", "+"};
    const std::string& header = kHeaders[style];
    ExpectFound(style < 3 ? absl::StrCat("  filter: ", header, text, header, "\n")
                          : absl::StrCat("  filter: ", header, kChomps[random() % 3], "\n    ", text, "\n"));
    if (HasFailure()) return;
  }
}

TEST(ResourceFile, ProblemsInsideExpressionsNameTheirPlaceInTheFile) {
  ResourceSet set = LoadText("a.yaml", absl::StrCat(kHead, R"(  window: {type: tumbling, size: 1h}
  filter: >-
    type == "A" &&
    datta.x == 1
  dimensions: [{name: d, expr: 'bucket("x" + 1, 2, 3)'}]
  measures: [{name: n, agg: count}]
)"));
  CheckOffline(nullptr, &set);
  ASSERT_EQ(set.problems.size(), 2u);
  EXPECT_EQ(set.problems[0].ToString(), "a.yaml:9:5: spec.filter: `datta` is not known; did you mean `data`?");
  EXPECT_EQ(set.problems[1].ToString(),
            "a.yaml:10:44: spec.dimensions[0].expr: `+` does not take string and int; write the "
            "literal as the field is, or convert with string() or double()");
}

}  // namespace
}  // namespace naru::catalog
