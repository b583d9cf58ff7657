#include "services/aggregator/measure.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "services/aggregator/distinct_sketch.h"
#include "services/aggregator/top_k_sketch.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace naru::aggregator {
namespace {

uint64_t Hash(uint64_t n) { return XXH3_64bits(&n, sizeof(n)); }

std::vector<MeasureShape> AllShapes() {
  return {{MeasureKind::kCount, 0}, {MeasureKind::kSum, 0},           {MeasureKind::kMin, 0}, {MeasureKind::kMax, 0},
          {MeasureKind::kAvg, 0},   {MeasureKind::kCountDistinct, 0}, {MeasureKind::kTopK, 3}};
}

void AddTo(const CellLayout& layout, const cel::Value& value, Cell* cell) {
  for (size_t i = 0; i < layout.measure_count(); ++i) layout.Update(i, cell->data(), value);
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

TEST(MeasureTest, EmptyStatesAreZeroOrNull) {
  const CellLayout layout(AllShapes());
  const Cell cell(&layout);
  EXPECT_EQ(Finish(layout, cell, 0).integer, 0);
  EXPECT_EQ(Finish(layout, cell, 0).kind, MeasureResult::Kind::kInteger);
  for (const size_t i : {1, 2, 3, 4}) EXPECT_EQ(Finish(layout, cell, i).kind, MeasureResult::Kind::kNull) << i;
  EXPECT_EQ(Finish(layout, cell, 5).integer, 0);
  EXPECT_TRUE(Finish(layout, cell, 6).top.empty());
}

TEST(MeasureTest, NullChangesNothingAndWrongKindsAreRefused) {
  const CellLayout layout(AllShapes());
  Cell cell(&layout);
  for (size_t i = 1; i < layout.measure_count(); ++i) {
    EXPECT_TRUE(layout.Update(i, cell.data(), cel::Value::Null()));
    EXPECT_FALSE(layout.Update(i, cell.data(), cel::Value::Error(cel::ErrorCode::kNoSuchField)));
  }
  for (const size_t i : {1, 2, 3, 4}) {
    EXPECT_FALSE(layout.Update(i, cell.data(), cel::Value::String("12")));
    EXPECT_FALSE(layout.Update(i, cell.data(), cel::Value::Double(std::nan(""))));
    EXPECT_FALSE(layout.Update(i, cell.data(), cel::Value::Double(INFINITY)));
  }
  EXPECT_EQ(Encode(layout, cell), Encode(layout, Cell(&layout)));
}

TEST(MeasureTest, SumsOfIntegersAreExactAndOverflowIsAnErrorWhateverTheOrder) {
  const CellLayout layout({{MeasureKind::kSum, 0}});
  Cell cell(&layout);
  const int64_t max = std::numeric_limits<int64_t>::max();
  AddTo(layout, cel::Value::Int(max), &cell);
  AddTo(layout, cel::Value::Int(max), &cell);
  EXPECT_EQ(Finish(layout, cell, 0).error, "integer sum overflowed");
  AddTo(layout, cel::Value::Int(-max), &cell);
  EXPECT_EQ(Finish(layout, cell, 0).integer, max);
  AddTo(layout, cel::Value::Number(1), &cell);
  EXPECT_EQ(Finish(layout, cell, 0).kind, MeasureResult::Kind::kError);
  AddTo(layout, cel::Value::Number(-1), &cell);
  EXPECT_EQ(Finish(layout, cell, 0).integer, max);
  for (int i = 0; i < 3; ++i) AddTo(layout, cel::Value::Int(std::numeric_limits<int64_t>::min()), &cell);
  EXPECT_EQ(Finish(layout, cell, 0).kind, MeasureResult::Kind::kError);
}

TEST(MeasureTest, SumsOfDoublesKeepWhatPlainAdditionLoses) {
  const CellLayout layout({{MeasureKind::kSum, 0}});
  Cell cell(&layout);
  AddTo(layout, cel::Value::Double(1e16), &cell);  // beyond 2^53: not taken as an integer
  for (int i = 0; i < 1000; ++i) AddTo(layout, cel::Value::Double(0.5), &cell);
  AddTo(layout, cel::Value::Double(-1e16), &cell);
  EXPECT_DOUBLE_EQ(Finish(layout, cell, 0).number, 500.0);
}

TEST(MeasureTest, DoubleSumsAgreeWithinTheirBoundInAnyOrderAndPartition) {
  const CellLayout layout({{MeasureKind::kSum, 0}});
  std::mt19937_64 random(3);
  std::vector<double> values;
  double absolute = 0;
  for (int i = 0; i < 5000; ++i) {
    values.push_back(std::ldexp(static_cast<double>(random() % 1000) - 500.3, static_cast<int>(random() % 60) - 30));
    absolute += std::fabs(values.back());
  }
  std::vector<double> sums;
  for (int round = 0; round < 10; ++round) {
    std::shuffle(values.begin(), values.end(), random);
    std::vector<Cell> parts;
    for (int p = 0; p < 7; ++p) parts.emplace_back(&layout);
    for (size_t i = 0; i < values.size(); ++i) AddTo(layout, cel::Value::Double(values[i]), &parts[random() % 7]);
    for (int p = 1; p < 7; ++p) layout.Merge(parts[p].data(), parts[0].data());
    sums.push_back(Finish(layout, parts[0], 0).number);
  }
  for (const double sum : sums) EXPECT_NEAR(sum, sums[0], absolute * 1e-12);
}

TEST(MeasureTest, ExtremesCompareIntegersAndDoublesExactly) {
  const CellLayout layout({{MeasureKind::kMin, 0}, {MeasureKind::kMax, 0}});
  Cell cell(&layout);
  const int64_t big = (int64_t{1} << 53) + 1;  // not a double
  AddTo(layout, cel::Value::Int(big), &cell);
  AddTo(layout, cel::Value::Double(static_cast<double>(int64_t{1} << 53)), &cell);
  EXPECT_EQ(Finish(layout, cell, 1).integer, big);
  EXPECT_EQ(Finish(layout, cell, 0).integer, big - 1);
  AddTo(layout, cel::Value::Double(-0.5), &cell);
  EXPECT_EQ(Finish(layout, cell, 0).number, -0.5);
}

TEST(MeasureTest, DistinctCountsEqualNumbersOfBothKindsOnce) {
  const CellLayout layout({{MeasureKind::kCountDistinct, 0}});
  Cell cell(&layout);
  for (const cel::Value& value :
       {cel::Value::Int(1), cel::Value::Double(1), cel::Value::Number(1), cel::Value::String("1"),
        cel::Value::Bool(true), cel::Value::Double(0), cel::Value::Double(-0.0)}) {
    AddTo(layout, value, &cell);
  }
  EXPECT_EQ(Finish(layout, cell, 0).integer, 4);
  const std::string a(2000, 'x'), b = a + "y";
  AddTo(layout, cel::Value::String(a), &cell);
  AddTo(layout, cel::Value::String(b), &cell);
  EXPECT_EQ(Finish(layout, cell, 0).integer, 6);
}

// Random values in random partitions, merged in random order and shape, encoded on the way: one answer.
TEST(MeasureTest, MergingIsAssociativeAndCommutativeAndSurvivesEncoding) {
  const CellLayout layout(AllShapes());
  std::mt19937_64 random(11);
  for (int round = 0; round < 30; ++round) {
    std::vector<cel::Value> values;
    const int count = static_cast<int>(random() % 4000);
    for (int i = 0; i < count; ++i) values.push_back(cel::Value::Int(static_cast<int64_t>(random() % 3000) - 1500));
    Cell whole(&layout);
    for (const cel::Value& value : values) AddTo(layout, value, &whole);
    std::string first;
    for (int order = 0; order < 3; ++order) {
      std::vector<Cell> parts;
      const size_t n = 1 + random() % 8;
      for (size_t p = 0; p < n; ++p) parts.emplace_back(&layout);
      for (const cel::Value& value : values) AddTo(layout, value, &parts[random() % n]);
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
      for (const size_t i : {0, 1, 2, 3, 4, 5}) {
        EXPECT_EQ(Finish(layout, parts[0], i).integer, Finish(layout, whole, i).integer) << i;
        EXPECT_DOUBLE_EQ(Finish(layout, parts[0], i).number, Finish(layout, whole, i).number) << i;
      }
    }
  }
}

TEST(MeasureTest, DamagedBytesAreRefusedAndNeverReadBeyond) {
  const CellLayout layout(AllShapes());
  Cell cell(&layout);
  for (int i = 0; i < 5000; ++i) AddTo(layout, cel::Value::Int(i % 300), &cell);
  const std::string bytes = Encode(layout, cell);
  for (size_t cut = 0; cut < bytes.size(); cut += 1 + cut / 50) {
    const std::string part = bytes.substr(0, cut);
    absl::string_view in = part;
    Cell other(&layout);
    EXPECT_FALSE(layout.MergeEncoded(&in, other.data()));
  }
  std::mt19937_64 random(5);
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = bytes;
    damaged[random() % damaged.size()] = static_cast<char>(random());
    absl::string_view in = damaged;
    Cell other(&layout);
    layout.MergeEncoded(&in, other.data());  // any answer but a crash
  }
}

TEST(DistinctSketchTest, IsExactUpToItsLimit) {
  DistinctSketch sketch;
  sketch.Add(0);
  sketch.Add(0);
  for (uint64_t n = 1; n < DistinctSketch::kExactLimit; ++n) {
    sketch.Add(Hash(n));
    sketch.Add(Hash(n / 2 + 1));
  }
  EXPECT_TRUE(sketch.exact());
  EXPECT_EQ(sketch.Estimate(), DistinctSketch::kExactLimit);
}

TEST(DistinctSketchTest, ErrorStaysWithinWhatIsStated) {
  // The stated error is one standard deviation: over many sets the root mean square must be near it, no set far beyond.
  for (const int size : {2049, 5000, 20'000, 60'000, 200'000, 1'000'000}) {
    const int sets = size > 100'000 ? 20 : 100;
    double squares = 0;
    for (int set = 0; set < sets; ++set) {
      DistinctSketch sketch;
      for (int n = 0; n < size; ++n) sketch.Add(Hash(static_cast<uint64_t>(set) << 40 | static_cast<uint64_t>(n)));
      const double error = (static_cast<double>(sketch.Estimate()) - size) / size;
      EXPECT_LT(std::fabs(error), 5 * DistinctSketch::kRelativeError) << size;
      squares += error * error;
    }
    EXPECT_LT(std::sqrt(squares / sets), 1.5 * DistinctSketch::kRelativeError) << size;
  }
}

TEST(DistinctSketchTest, StateDependsOnTheSetOnly) {
  std::mt19937_64 random(2);
  for (const int size : {10, 2048, 2049, 3000, 30'000}) {
    std::vector<uint64_t> hashes;
    for (int n = 0; n < size; ++n) hashes.push_back(Hash(static_cast<uint64_t>(n) * 77));
    std::string bytes[3];
    for (std::string& encoded : bytes) {
      std::shuffle(hashes.begin(), hashes.end(), random);
      DistinctSketch parts[4], all;
      for (const uint64_t hash : hashes) {
        parts[random() % 4].Add(hash);
        if (random() % 3 == 0) parts[random() % 4].Add(hash);
      }
      for (const DistinctSketch& part : parts) {
        std::string piece;
        part.Encode(&piece);
        ASSERT_TRUE(all.MergeEncoded(piece));
      }
      all.Encode(&encoded);
      EXPECT_LE(encoded.size(), 8 * DistinctSketch::kExactLimit + 16u);
    }
    EXPECT_EQ(bytes[0], bytes[1]);
    EXPECT_EQ(bytes[0], bytes[2]);
  }
}

TEST(TopKSketchTest, CountsExactlyWhileKeysFit) {
  TopKSketch sketch(100);
  std::map<std::string, int64_t> truth;
  std::mt19937_64 random(4);
  for (int i = 0; i < 10'000; ++i) {
    const std::string key = std::to_string(std::min(random() % 100, random() % 100));
    sketch.Add(key);
    ++truth[key];
  }
  EXPECT_EQ(sketch.floor(), 0);
  const auto top = sketch.Top(100);
  ASSERT_EQ(top.size(), truth.size());
  for (size_t i = 0; i < top.size(); ++i) {
    EXPECT_EQ(top[i].count, truth[top[i].key]);
    EXPECT_EQ(top[i].max_error, 0);
    if (i == 0) continue;
    EXPECT_TRUE(top[i - 1].count > top[i].count || (top[i - 1].count == top[i].count && top[i - 1].key < top[i].key));
  }
}

// The bounds that SpaceSaving promises, for skewed and flat streams, merged in any shape.
TEST(TopKSketchTest, TrueCountsLieWithinTheBoundsAlsoAfterMerging) {
  std::mt19937_64 random(9);
  for (int round = 0; round < 40; ++round) {
    const size_t capacity = 20 + random() % 50;
    const double skew = 1 + static_cast<double>(random() % 4);
    std::map<std::string, int64_t> truth;
    std::vector<TopKSketch> parts(1 + random() % 5, TopKSketch(capacity));
    std::vector<int64_t> added(parts.size(), 0);
    for (int i = 0; i < 5000; ++i) {
      const double u = static_cast<double>(random() % 1'000'000) / 1e6;
      const std::string key = std::to_string(static_cast<int>(std::pow(u, skew) * 500));
      ++truth[key];
      const size_t part = random() % parts.size();
      parts[part].Add(key);
      ++added[part];
    }
    int64_t bound = 0;
    for (const int64_t n : added) bound += n / static_cast<int64_t>(capacity);
    TopKSketch forward(capacity), backward(capacity);
    for (size_t p = 0; p < parts.size(); ++p) {
      std::string bytes;
      parts[p].Encode(&bytes);
      ASSERT_TRUE(forward.MergeEncoded(bytes));
      backward.Merge(parts[parts.size() - 1 - p]);
    }
    std::string a, b;
    forward.Encode(&a);
    backward.Encode(&b);
    EXPECT_EQ(a, b);
    std::set<std::string> kept;
    for (const auto& item : forward.Top(forward.size())) {
      kept.insert(item.key);
      EXPECT_GE(item.count, truth[item.key]);
      EXPECT_LE(item.count - item.max_error, truth[item.key]);
      EXPECT_LE(item.max_error, bound);
    }
    for (const auto& [key, count] : truth) {
      if (kept.count(key) > 0) continue;
      EXPECT_LE(count, forward.floor());
    }
  }
}

TEST(TopKSketchTest, ARestoredSketchGoesOnAsIfNothingHadHappened) {
  std::mt19937_64 random(1);
  TopKSketch straight(30), restored(30);
  for (int i = 0; i < 3000; ++i) {
    const std::string key = std::to_string(std::min(random() % 200, random() % 200));
    straight.Add(key);
    restored.Add(key);
    if (i % 100 == 0) {
      std::string bytes;
      restored.Encode(&bytes);
      TopKSketch next(30);
      ASSERT_TRUE(next.MergeEncoded(bytes));
      restored = std::move(next);
    }
  }
  std::string a, b;
  straight.Encode(&a);
  restored.Encode(&b);
  EXPECT_EQ(a, b);
}

}  // namespace
}  // namespace naru::aggregator
