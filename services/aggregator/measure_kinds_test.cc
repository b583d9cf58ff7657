// variance, stddev, first, last, percentile, histogram, ratio; and that every sketch keeps what it states.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "services/aggregator/distinct_sketch.h"
#include "services/aggregator/measure.h"
#include "services/aggregator/percentile_sketch.h"
#include "services/aggregator/top_k_sketch.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace naru::aggregator {
namespace {

using Kind = MeasureResult::Kind;

MeasureShape Of(MeasureKind kind) {
  MeasureShape shape;
  shape.kind = kind;
  return shape;
}

MeasureShape Percentile(double percentile) {
  MeasureShape shape = Of(MeasureKind::kPercentile);
  shape.percentile = percentile;
  return shape;
}

MeasureShape Histogram(std::vector<double> bounds) {
  MeasureShape shape = Of(MeasureKind::kHistogram);
  shape.bounds = std::move(bounds);
  return shape;
}

MeasureShape Ratio(int numerator, int denominator) {
  MeasureShape shape = Of(MeasureKind::kRatio);
  shape.numerator = numerator;
  shape.denominator = denominator;
  return shape;
}

MeasureResult Finish(const CellLayout& layout, const Cell& cell, size_t i) {
  MeasureResult result;
  layout.Finish(i, cell.data(), &result);
  return result;
}

std::string Encode(const CellLayout& layout, const Cell& cell) {
  std::string bytes;
  layout.Encode(cell.data(), &bytes);
  return bytes;
}

std::string Show(const MeasureResult& result) {
  switch (result.kind) {
    case Kind::kInteger:
      return absl::StrCat(result.integer);
    case Kind::kNumber:
      return absl::StrCat("number ", result.number);
    case Kind::kText:
      return absl::StrCat("text ", result.text);
    case Kind::kBool:
      return result.integer != 0 ? "true" : "false";
    case Kind::kError:
      return absl::StrCat("error ", result.error);
    case Kind::kHistogram: {
      std::string text;
      for (const int64_t count : result.counts) absl::StrAppend(&text, count, " ");
      return text;
    }
    default:
      return "null";
  }
}

uint64_t Hash(uint64_t n) { return XXH3_64bits(&n, sizeof(n)); }

// Any of several magnitudes, signs and zero.
double RandomNumber(std::mt19937_64& random) {
  const double unit = static_cast<double>(random() >> 11) / 9007199254740992.0;
  switch (random() % 6) {
    case 0:
      return 0;
    case 1:
      return -std::exp(unit * 10);
    case 2:
      return std::floor(unit * 100);
    case 3:
      return std::exp((unit - 0.5) * 40);
    default:
      return unit * 1000;
  }
}

TEST(VarianceTest, IsThatOfASampleAndNullBelowTwoValues) {
  const CellLayout layout({Of(MeasureKind::kVariance), Of(MeasureKind::kStddev)});
  Cell cell(&layout);
  EXPECT_EQ(Show(Finish(layout, cell, 0)), "null");
  const auto add = [&](double value) {
    for (const size_t i : {0, 1}) ASSERT_TRUE(layout.Update(i, cell.data(), cel::Value::Number(value)));
  };
  add(2);
  EXPECT_EQ(Show(Finish(layout, cell, 0)), "null");
  EXPECT_EQ(Show(Finish(layout, cell, 1)), "null");
  for (const double value : {4, 4, 4, 5, 5, 7, 9}) add(value);
  EXPECT_DOUBLE_EQ(Finish(layout, cell, 0).number, 32.0 / 7);
  EXPECT_DOUBLE_EQ(Finish(layout, cell, 1).number, std::sqrt(32.0 / 7));
}

// The sum of squares would lose every digit here.
TEST(VarianceTest, KeepsItsDigitsWhereValuesAreLargeAndCloseTogetherInAnyPartition) {
  const CellLayout layout({Of(MeasureKind::kVariance)});
  std::mt19937_64 random(8);
  for (int round = 0; round < 50; ++round) {
    std::vector<double> values;
    const double base = std::ldexp(1, static_cast<int>(random() % 40));
    for (int i = 0; i < 1000; ++i) values.push_back(base + static_cast<double>(random() % 4096) / 4096);
    long double mean = 0, squares = 0;
    for (const double value : values) mean += value;
    mean /= static_cast<long double>(values.size());
    for (const double value : values) squares += (value - mean) * (value - mean);
    const double expected = static_cast<double>(squares / static_cast<long double>(values.size() - 1));
    std::vector<Cell> parts;
    for (int p = 0; p < 9; ++p) parts.emplace_back(&layout);
    for (const double value : values) layout.Update(0, parts[random() % 8].data(), cel::Value::Double(value));
    std::shuffle(parts.begin(), parts.end(), random);
    for (size_t p = 1; p < parts.size(); ++p) {
      const std::string bytes = Encode(layout, parts[p]);
      absl::string_view in = bytes;
      ASSERT_TRUE(layout.MergeEncoded(&in, parts[0].data()));
    }
    // Lost is what the distance of the values from zero is in their spread, in units of the last place; not its square.
    const double bound = 1e-12 + 1e-15 * base / std::sqrt(expected);
    EXPECT_NEAR(Finish(layout, parts[0], 0).number, expected, expected * bound) << base;
  }
}

TEST(VarianceTest, SaysWhenItIsOutOfRange) {
  const CellLayout layout({Of(MeasureKind::kVariance)});
  Cell cell(&layout);
  layout.Update(0, cell.data(), cel::Value::Double(1e300));
  layout.Update(0, cell.data(), cel::Value::Double(-1e300));
  EXPECT_EQ(Show(Finish(layout, cell, 0)), "error variance is out of the range of a double");
}

TEST(FirstLastTest, GoByTheTimeOfTheEventAndTiesByTheGreatestSourceAndId) {
  const CellLayout layout({Of(MeasureKind::kFirst), Of(MeasureKind::kLast)});
  Cell cell(&layout);
  const auto add = [&](const cel::Value& value, int64_t time_us, const char* source, const char* id) {
    for (const size_t i : {0, 1}) ASSERT_TRUE(layout.Update(i, cell.data(), value, {time_us, source, id}));
  };
  EXPECT_EQ(Show(Finish(layout, cell, 0)), "null");
  add(cel::Value::Null(), 1, "s", "0");
  EXPECT_EQ(Show(Finish(layout, cell, 0)), "null") << "null changes nothing";
  add(cel::Value::String("b"), 20, "s", "1");
  add(cel::Value::Number(7), 10, "s", "9");
  add(cel::Value::Bool(true), 30, "s", "1");
  EXPECT_EQ(Show(Finish(layout, cell, 0)), "7");
  EXPECT_EQ(Show(Finish(layout, cell, 1)), "true");
  add(cel::Value::Number(0.5), 10, "t", "1");
  add(cel::Value::String("c"), 30, "s", "2");
  add(cel::Value::String("d"), 30, "s", "15");
  add(cel::Value::String("e"), 30, "r", "99");
  EXPECT_EQ(Show(Finish(layout, cell, 0)), "number 0.5");
  EXPECT_EQ(Show(Finish(layout, cell, 1)), "text c");
  add(cel::Value::Timestamp(1'714'521'600'000'000), 40, "s", "1");
  EXPECT_EQ(Show(Finish(layout, cell, 1)), "text 2024-05-01T00:00:00Z");
  add(cel::Value::Duration(1'500'000), 50, "s", "1");
  EXPECT_EQ(Show(Finish(layout, cell, 1)), "number 1.5");
  EXPECT_FALSE(layout.Update(1, cell.data(), cel::Value::Struct(""), {60, "s", "1"}));
  EXPECT_FALSE(layout.Update(1, cell.data(), cel::Value::String(std::string(2000, 'x')), {60, "s", "1"}));
  EXPECT_FALSE(layout.Update(1, cell.data(), cel::Value::Double(NAN), {60, "s", "1"}));
  EXPECT_EQ(Show(Finish(layout, cell, 1)), "number 1.5");
}

TEST(FirstLastTest, AnEmptyStateOfARefusedValueReadsBack) {
  const CellLayout layout({Of(MeasureKind::kFirst)});
  Cell cell(&layout), read(&layout);
  EXPECT_FALSE(layout.Update(0, cell.data(), cel::Value::Struct(""), {60, "s", "1"}));
  const std::string bytes = Encode(layout, cell);
  absl::string_view in = bytes;
  ASSERT_TRUE(layout.MergeEncoded(&in, read.data()));
  EXPECT_EQ(bytes, Encode(layout, Cell(&layout)));
}

TEST(HistogramTest, CountsUnderTheFirstBoundThatAValueIsNotAbove) {
  const CellLayout layout({Histogram({-1, 0, 10.5})});
  Cell cell(&layout);
  EXPECT_EQ(Show(Finish(layout, cell, 0)), "0 0 0 0 ");
  for (const double value : {-2.0, -1.0, -0.5, 0.0, 1.0, 10.5, 10.6, 1e300}) {
    ASSERT_TRUE(layout.Update(0, cell.data(), cel::Value::Number(value)));
  }
  EXPECT_EQ(Show(Finish(layout, cell, 0)), "2 2 2 2 ");
  EXPECT_FALSE(layout.Update(0, cell.data(), cel::Value::String("1")));
  // States of other bounds are not taken for these.
  const CellLayout fewer({Histogram({0, 1})});
  const std::string bytes = Encode(layout, cell);
  absl::string_view in = bytes;
  Cell other(&fewer);
  EXPECT_FALSE(fewer.MergeEncoded(&in, other.data()));
}

TEST(RatioTest, DividesOtherMeasuresWhereverTheyAreDeclared) {
  const CellLayout layout({Ratio(2, 1), Of(MeasureKind::kCount), Of(MeasureKind::kSum), Ratio(2, 1)});
  Cell cell(&layout);
  EXPECT_EQ(Show(Finish(layout, cell, 0)), "null") << "nothing by nothing";
  layout.Increment(1, cell.data());
  EXPECT_EQ(Show(Finish(layout, cell, 0)), "null") << "the sum of nothing is null";
  layout.Update(2, cell.data(), cel::Value::Number(3));
  layout.Increment(1, cell.data());
  EXPECT_EQ(Show(Finish(layout, cell, 0)), "number 1.5");
  EXPECT_EQ(Show(Finish(layout, cell, 3)), "number 1.5");
  Cell merged(&layout);
  layout.Merge(cell.data(), merged.data());
  const std::string bytes = Encode(layout, cell);
  absl::string_view in = bytes;
  ASSERT_TRUE(layout.MergeEncoded(&in, merged.data()));
  EXPECT_EQ(Show(Finish(layout, merged, 0)), "number 1.5") << "of sums, not a sum of ratios";
}

TEST(RatioTest, IsNullByZeroAndAnErrorOfAnError) {
  const CellLayout layout({Of(MeasureKind::kSum), Of(MeasureKind::kSum), Ratio(0, 1), Ratio(1, 0)});
  Cell cell(&layout);
  layout.Update(0, cell.data(), cel::Value::Int(1));
  layout.Update(1, cell.data(), cel::Value::Int(0));
  EXPECT_EQ(Show(Finish(layout, cell, 2)), "null");
  EXPECT_EQ(Show(Finish(layout, cell, 3)), "number 0");
  for (int i = 0; i < 2; ++i) layout.Update(0, cell.data(), cel::Value::Int(std::numeric_limits<int64_t>::max()));
  EXPECT_EQ(Show(Finish(layout, cell, 2)), "error integer sum overflowed");
  EXPECT_EQ(Show(Finish(layout, cell, 3)), "error integer sum overflowed");
}

TEST(RatioTest, AddsTheErrorsOfItsParts) {
  const CellLayout layout({Of(MeasureKind::kCountDistinct), Of(MeasureKind::kCount), Ratio(0, 1), Ratio(0, 0)});
  Cell cell(&layout);
  for (int i = 0; i < 5000; ++i) {
    layout.Update(0, cell.data(), cel::Value::Int(i));
    layout.Increment(1, cell.data());
  }
  EXPECT_EQ(Finish(layout, cell, 2).relative_error, DistinctSketch::kRelativeError);
  EXPECT_EQ(Finish(layout, cell, 3).relative_error, 2 * DistinctSketch::kRelativeError);
}

TEST(MeasureOrderTest, PutsNullAndErrorsFirstThenNumbersThenTexts) {
  std::vector<MeasureResult> results(6);
  results[1].kind = Kind::kBool;
  results[2].kind = Kind::kNumber;
  results[2].number = 0.5;
  results[3].kind = Kind::kInteger;
  results[3].integer = (int64_t{1} << 60) + 1;
  results[4].kind = Kind::kText;
  results[4].text = "a";
  results[5].kind = Kind::kText;
  results[5].text = "b";
  for (size_t i = 0; i < results.size(); ++i) {
    for (size_t j = 0; j < results.size(); ++j) EXPECT_EQ(MeasureResult::Less(results[i], results[j]), i < j) << i << j;
  }
  MeasureResult one_less = results[3];
  --one_less.integer;
  EXPECT_TRUE(MeasureResult::Less(one_less, results[3])) << "beyond 2^53 too";
}

std::vector<MeasureShape> NewShapes() {
  return {Of(MeasureKind::kVariance),
          Of(MeasureKind::kStddev),
          Of(MeasureKind::kFirst),
          Of(MeasureKind::kLast),
          Percentile(50),
          Percentile(99),
          Histogram({1, 10, 100, 1000.5}),
          Ratio(0, 4)};
}

struct TestValue {
  double number;
  int64_t time_us;
  std::string id;
};

// Random values in random partitions, merged in random order and shape, encoded on the way: one answer.
TEST(MeasureKindsTest, MergingIsAssociativeAndCommutativeAndSurvivesEncoding) {
  const CellLayout layout(NewShapes());
  std::mt19937_64 random(21);
  for (int round = 0; round < 60; ++round) {
    std::vector<TestValue> values;
    const int count = static_cast<int>(random() % (round % 3 == 0 ? 90 : 2000));
    for (int i = 0; i < count; ++i)
      values.push_back({RandomNumber(random), static_cast<int64_t>(random() % 50), absl::StrCat(random() % 20)});
    const auto add = [&](const TestValue& value, Cell* cell) {
      for (size_t i = 0; i + 1 < layout.measure_count(); ++i)
        ASSERT_TRUE(layout.Update(i, cell->data(), cel::Value::Number(value.number), {value.time_us, "s", value.id}));
    };
    Cell whole(&layout);
    for (const TestValue& value : values) add(value, &whole);
    for (int order = 0; order < 3; ++order) {
      std::vector<Cell> parts;
      const size_t n = 1 + random() % 8;
      for (size_t p = 0; p < n; ++p) parts.emplace_back(&layout);
      std::shuffle(values.begin(), values.end(), random);
      for (const TestValue& value : values) add(value, &parts[random() % n]);
      while (parts.size() > 1) {
        const size_t from = random() % parts.size();
        const size_t to = (from + 1 + random() % (parts.size() - 1)) % parts.size();
        if (random() % 2 == 0) {
          layout.Merge(parts[from].data(), parts[to].data());
        } else {
          const std::string bytes = Encode(layout, parts[from]);
          absl::string_view in = bytes;
          ASSERT_TRUE(layout.MergeEncoded(&in, parts[to].data()));
          ASSERT_TRUE(in.empty());
        }
        std::swap(parts[from], parts.back());
        parts.pop_back();
      }
      for (const size_t i : {2, 3, 4, 5, 6})
        EXPECT_EQ(Show(Finish(layout, parts[0], i)), Show(Finish(layout, whole, i)));
      for (const size_t i : {0, 1}) {
        const double expected = Finish(layout, whole, i).number;
        EXPECT_NEAR(Finish(layout, parts[0], i).number, expected, std::fabs(expected) * 1e-9);
      }
    }
  }
}

TEST(MeasureKindsTest, DamagedBytesAreRefusedAndNeverReadBeyond) {
  const CellLayout layout(NewShapes());
  std::mt19937_64 random(5);
  for (const int values : {0, 3, 3000}) {
    Cell cell(&layout);
    for (int v = 0; v < values; ++v) {
      for (size_t i = 0; i + 1 < layout.measure_count(); ++i)
        layout.Update(i, cell.data(), cel::Value::Number(RandomNumber(random)), {v, "source", "id"});
    }
    const std::string bytes = Encode(layout, cell);
    for (size_t cut = 0; cut < bytes.size(); ++cut) {
      const std::string part = bytes.substr(0, cut);
      absl::string_view in = part;
      Cell other(&layout);
      EXPECT_FALSE(layout.MergeEncoded(&in, other.data())) << cut;
    }
    for (int i = 0; i < 3000; ++i) {
      std::string damaged = bytes;
      for (uint64_t n = 1 + random() % 3; n > 0; --n) damaged[random() % damaged.size()] = static_cast<char>(random());
      absl::string_view in = damaged;
      Cell other(&layout);
      layout.MergeEncoded(&in, other.data());  // any answer but a crash
    }
  }
}

// The bytes of these states as the first release that has them wrote them: they must stay readable for ever.
TEST(MeasureKindsTest, GoldenBytesStayReadable) {
  const CellLayout layout(NewShapes());
  Cell cell(&layout);
  const std::vector<std::pair<double, const char*>> values = {{2, "a"}, {20.5, "b"}, {-3, "c"}};
  for (size_t v = 0; v < values.size(); ++v) {
    for (size_t i = 0; i + 1 < layout.measure_count(); ++i)
      layout.Update(i, cell.data(), cel::Value::Number(values[v].first),
                    {static_cast<int64_t>(v), "s", values[v].second});
  }
  const std::string golden =
      "01030000000000001a40000000000028734001030000000000001a4000000000002873400901000173016102020409010401730163020205"
      "1b01000300000000000008c0000000000000004000000000008034401b01000300000000000008c000000000000000400000000000803440"
      "01"
      "050101010000";
  const std::string bytes = absl::BytesToHexString(Encode(layout, cell));
  EXPECT_EQ(bytes, golden);
  const std::string stored = absl::HexStringToBytes(golden);
  absl::string_view in = stored;
  Cell read(&layout);
  ASSERT_TRUE(layout.MergeEncoded(&in, read.data()));
  EXPECT_TRUE(in.empty());
  EXPECT_EQ(Show(Finish(layout, read, 2)), "2");
  EXPECT_EQ(Show(Finish(layout, read, 3)), "-3");
  EXPECT_EQ(Show(Finish(layout, read, 4)), "number 2");
  EXPECT_EQ(Show(Finish(layout, read, 5)), "number 20.5");
  EXPECT_EQ(Show(Finish(layout, read, 6)), "1 1 1 0 0 ");
}

TEST(PercentileSketchTest, GoldenBytesOfBucketsStayReadable) {
  PercentileSketch sketch;
  for (int i = 0; i < 70; ++i) sketch.Add(i < 3 ? -1 : i < 5 ? 0 : 1 + i / 60);
  std::string bytes;
  sketch.Encode(&bytes);
  const std::string golden = "0101000000000000f0bf000000000000004002020037230a010003";
  EXPECT_EQ(absl::BytesToHexString(bytes), golden);
  PercentileSketch read;
  ASSERT_TRUE(read.MergeEncoded(absl::HexStringToBytes(golden)));
  EXPECT_EQ(read.count(), 70);
  EXPECT_EQ(read.Percentile(5), 0);
  EXPECT_EQ(read.Percentile(100), 2);
  EXPECT_NEAR(read.Percentile(50), 1, 0.01);
  EXPECT_NEAR(read.Percentile(1), -1, 0.01);
}

double NearestRank(std::vector<double>& values, double percentile) {
  const auto rank = static_cast<size_t>(std::ceil(percentile * static_cast<double>(values.size()) / 100));
  auto at = values.begin() + static_cast<std::ptrdiff_t>(std::clamp<size_t>(rank, 1, values.size()) - 1);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

TEST(PercentileSketchTest, IsExactWhileValuesAreFew) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 300; ++round) {
    PercentileSketch sketch;
    std::vector<double> values;
    for (uint64_t n = 1 + random() % PercentileSketch::kExactLimit; n > 0; --n) {
      values.push_back(RandomNumber(random));
      sketch.Add(values.back());
    }
    EXPECT_TRUE(sketch.exact());
    for (const double p : {0.1, 1.0, 25.0, 50.0, 95.0, 99.9, 100.0})
      ASSERT_EQ(sketch.Percentile(p), NearestRank(values, p)) << p;
  }
}

TEST(PercentileSketchTest, StaysWithinItsErrorOverTenThousandRandomSets) {
  std::mt19937_64 random(10);
  for (int set = 0; set < 10'000; ++set) {
    PercentileSketch parts[2];
    std::vector<double> values;
    for (uint64_t n = 65 + random() % (set % 100 == 0 ? 20'000 : 400); n > 0; --n) {
      values.push_back(RandomNumber(random));
      parts[random() % 2].Add(values.back());
    }
    parts[0].Merge(parts[1]);
    for (const double p : {1.0, 50.0, 90.0, 99.0, 100.0}) {
      const double truth = NearestRank(values, p);
      ASSERT_NEAR(parts[0].Percentile(p), truth, std::fabs(truth) * PercentileSketch::kRelativeError) << p;
    }
  }
}

TEST(PercentileSketchTest, StateDependsOnTheValuesOnlyAlsoWhereTheSmallestAreCutOff) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 20; ++round) {
    std::vector<double> values;
    for (int i = 0; i < 3000; ++i)
      values.push_back(std::ldexp(random() % 2 == 0 ? 1.5 : -1.5, static_cast<int>(random() % 600) - 300));
    std::string bytes[3];
    for (std::string& encoded : bytes) {
      std::shuffle(values.begin(), values.end(), random);
      PercentileSketch parts[4], all;
      for (const double value : values) parts[random() % 4].Add(value);
      for (const PercentileSketch& part : parts) {
        std::string piece;
        part.Encode(&piece);
        ASSERT_TRUE(all.MergeEncoded(piece));
      }
      all.Encode(&encoded);
      EXPECT_LE(all.HeapBytes(), 4u * PercentileSketch::kMaxBuckets * 8 + 4096);
    }
    EXPECT_EQ(bytes[0], bytes[1]);
    EXPECT_EQ(bytes[0], bytes[2]);
    // 35 orders of magnitude from the largest down are kept apart.
    PercentileSketch sketch;
    for (const double value : values) sketch.Add(value);
    for (const double p : {1.0, 10.0, 90.0, 99.0}) {
      const double truth = NearestRank(values, p);
      if (std::fabs(truth) < 1e55) continue;
      EXPECT_NEAR(sketch.Percentile(p), truth, std::fabs(truth) * PercentileSketch::kRelativeError);
    }
  }
}

// The stated error is one standard deviation.
TEST(DistinctSketchTest, ErrorsOfTenThousandRandomSetsAreThoseOfTheStatedDeviation) {
  std::mt19937_64 random(6);
  int estimated = 0, within_one = 0, within_three = 0;
  double squares = 0;
  for (int set = 0; set < 10'000; ++set) {
    const int size = static_cast<int>(std::exp(static_cast<double>(random() % 10'000) / 1e4 * 10.3));
    DistinctSketch parts[2];
    for (int n = 0; n < size; ++n) {
      const uint64_t hash = Hash(static_cast<uint64_t>(set) << 40 | static_cast<uint64_t>(n));
      parts[n % 2].Add(hash);
      if (n % 5 == 0) parts[(n + 1) % 2].Add(hash);
    }
    parts[0].Merge(parts[1]);
    const double error = (static_cast<double>(parts[0].Estimate()) - size) / std::max(1, size);
    if (parts[0].exact()) {
      ASSERT_EQ(error, 0);
      continue;
    }
    ++estimated;
    squares += error * error;
    within_one += std::fabs(error) <= DistinctSketch::kRelativeError;
    within_three += std::fabs(error) <= 3 * DistinctSketch::kRelativeError;
  }
  EXPECT_GT(estimated, 2000);
  EXPECT_LT(std::sqrt(squares / estimated), DistinctSketch::kRelativeError);
  EXPECT_GT(within_one, estimated * 0.67);
  EXPECT_GT(within_three, estimated * 0.995);
}

TEST(TopKSketchTest, StaysWithinItsBoundsOverTenThousandRandomSets) {
  std::mt19937_64 random(13);
  for (int set = 0; set < 10'000; ++set) {
    const size_t capacity = 10 + random() % 30;
    const uint64_t keys = 1 + random() % 200;
    const double skew = 1 + static_cast<double>(random() % 4);
    std::vector<int64_t> truth(keys, 0);
    TopKSketch parts[2] = {TopKSketch(capacity), TopKSketch(capacity)};
    int64_t added[2] = {0, 0};
    for (uint64_t n = random() % 500; n > 0; --n) {
      const double unit = static_cast<double>(random() % 1'000'000) / 1e6;
      const auto key = static_cast<uint64_t>(std::pow(unit, skew) * static_cast<double>(keys));
      const size_t part = random() % 2;
      ++truth[key];
      ++added[part];
      parts[part].Add(std::string(1, static_cast<char>(key)));
    }
    parts[0].Merge(parts[1]);
    const int64_t bound = added[0] / static_cast<int64_t>(capacity) + added[1] / static_cast<int64_t>(capacity);
    std::vector<char> kept(keys, 0);
    for (const auto& item : parts[0].Top(parts[0].size())) {
      const auto key = static_cast<uint8_t>(item.key[0]);
      kept[key] = 1;
      ASSERT_GE(item.count, truth[key]);
      ASSERT_LE(item.count - item.max_error, truth[key]);
      ASSERT_LE(item.max_error, bound);
      if (keys <= capacity) {
        ASSERT_EQ(item.count, truth[key]) << "exact while the keys fit";
      }
    }
    for (uint64_t key = 0; key < keys; ++key) {
      if (kept[key] == 0) {
        ASSERT_LE(truth[key], parts[0].floor());
      }
    }
  }
}

}  // namespace
}  // namespace naru::aggregator
