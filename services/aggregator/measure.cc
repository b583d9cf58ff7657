#include "services/aggregator/measure.h"

#include <cmath>
#include <limits>
#include <new>
#include <utility>

#include "services/aggregator/distinct_sketch.h"
#include "services/aggregator/sketch_bytes.h"
#include "services/aggregator/top_k_sketch.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace naru::aggregator {
namespace {

// A number as an exact integer where it is one.
struct Exact {
  bool is_integer = false;
  int64_t integer = 0;
  double number = 0;
};

bool ToExact(const cel::Value& value, Exact* exact) {
  if (value.kind() == cel::Kind::kInt) {
    *exact = {true, value.int_value(), 0};
    return true;
  }
  if (value.kind() != cel::Kind::kDouble || !std::isfinite(value.double_value())) return false;
  const double number = value.double_value();
  constexpr double kLimit = 9007199254740992.0;  // 2^53: beyond, doubles are not every integer
  if (number >= -kLimit && number <= kLimit && number == std::trunc(number)) {
    *exact = {true, static_cast<int64_t>(number), 0};
  } else {
    *exact = {false, 0, number};
  }
  return true;
}

// The sum of integers exactly (96 bits, so whether it overflows does not depend on the order) and of other numbers with
// Neumaier's compensation.
struct SumState {
  int64_t low = 0;
  double sum = 0;
  double compensation = 0;
  int64_t count = 0;
  int32_t high = 0;  // times 2^64
  bool has_doubles = false;

  void AddInteger(int64_t value) {
    if (__builtin_add_overflow(low, value, &low)) high += value > 0 ? 1 : -1;
  }
  void AddDouble(double value) {
    const double total = sum + value;
    compensation += std::fabs(sum) >= std::fabs(value) ? (sum - total) + value : (value - total) + sum;
    sum = total;
    has_doubles = true;
  }
  void Merge(const SumState& other) {
    AddInteger(other.low);
    high += other.high;
    if (other.has_doubles) {
      AddDouble(other.sum);
      compensation += other.compensation;
    }
    count += other.count;
  }
  double Total() const {
    return std::ldexp(static_cast<double>(high), 64) + static_cast<double>(low) + (sum + compensation);
  }
};

struct ExtremeState {
  enum Tag : uint8_t { kNone, kInteger, kDouble };
  union {
    int64_t integer = 0;
    double number;
  };
  Tag tag = kNone;

  cel::Value ToCel() const { return tag == kInteger ? cel::Value::Int(integer) : cel::Value::Double(number); }
  void Take(const Exact& value, bool maximum) {
    if (tag != kNone) {
      const cel::Value candidate = value.is_integer ? cel::Value::Int(value.integer) : cel::Value::Double(value.number);
      if (cel::Compare(candidate, ToCel()) != (maximum ? cel::Order::kGreater : cel::Order::kLess)) return;
    }
    tag = value.is_integer ? kInteger : kDouble;
    if (value.is_integer) {
      integer = value.integer;
    } else {
      number = value.number;
    }
  }
  Exact ToExactValue() const { return {tag == kInteger, tag == kInteger ? integer : 0, tag == kDouble ? number : 0}; }
};

size_t StateSize(MeasureKind kind) {
  switch (kind) {
    case MeasureKind::kCount:
      return 8;
    case MeasureKind::kSum:
    case MeasureKind::kAvg:
      return sizeof(SumState);
    case MeasureKind::kMin:
    case MeasureKind::kMax:
      return sizeof(ExtremeState);
    case MeasureKind::kCountDistinct:
    case MeasureKind::kTopK:
      return sizeof(void*);
  }
  return 8;
}

size_t TopKCapacity(int k) { return std::max(1000, k * 10); }

template <typename T>
T& At(char* cell, uint32_t offset) {
  return *reinterpret_cast<T*>(cell + offset);
}
template <typename T>
const T& At(const char* cell, uint32_t offset) {
  return *reinterpret_cast<const T*>(cell + offset);
}

DistinctSketch& Distinct(char* cell, uint32_t offset) {
  DistinctSketch*& sketch = At<DistinctSketch*>(cell, offset);
  if (sketch == nullptr) sketch = new DistinctSketch;
  return *sketch;
}

TopKSketch& TopK(char* cell, uint32_t offset, int k) {
  TopKSketch*& sketch = At<TopKSketch*>(cell, offset);
  if (sketch == nullptr) sketch = new TopKSketch(TopKCapacity(k));
  return *sketch;
}

bool UpdateSketch(const MeasureShape& shape, char* cell, uint32_t offset, const cel::Value& value) {
  thread_local std::string key;
  key.clear();
  if (!AppendGroupValue(value, &key)) {
    // Long texts are still different values: their hash stands for them.
    if (!value.is_string() || shape.kind != MeasureKind::kCountDistinct) return false;
    Distinct(cell, offset).Add(XXH3_64bits_withSeed(value.string_value().data(), value.string_value().size(), 1));
    return true;
  }
  if (shape.kind == MeasureKind::kCountDistinct) {
    Distinct(cell, offset).Add(XXH3_64bits(key.data(), key.size()));
  } else {
    TopK(cell, offset, shape.k).Add(key);
  }
  return true;
}

void EncodeSum(const SumState& state, std::string* out) {
  out->push_back(state.has_doubles ? 1 : 0);
  PutVarint(state.count, out);
  PutSigned(state.low, out);
  PutSigned(state.high, out);
  if (!state.has_doubles) return;
  PutDouble(state.sum, out);
  PutDouble(state.compensation, out);
}

bool DecodeSum(absl::string_view* in, SumState* state) {
  uint8_t flags;
  uint64_t count;
  int64_t high;
  if (!GetByte(in, &flags) || flags > 1 || !GetVarint(in, &count) || !GetSigned(in, &state->low) ||
      !GetSigned(in, &high))
    return false;
  if (high > std::numeric_limits<int32_t>::max() / 2 || high < std::numeric_limits<int32_t>::min() / 2) return false;
  if (count > INT64_MAX / 2) return false;
  state->count = static_cast<int64_t>(count);
  state->high = static_cast<int32_t>(high);
  state->has_doubles = flags != 0;
  return !state->has_doubles || (GetDouble(in, &state->sum) && GetDouble(in, &state->compensation));
}

void EncodeExtreme(const ExtremeState& state, std::string* out) {
  out->push_back(static_cast<char>(state.tag));
  if (state.tag == ExtremeState::kInteger) PutSigned(state.integer, out);
  if (state.tag == ExtremeState::kDouble) PutDouble(state.number, out);
}

bool MergeEncodedExtreme(absl::string_view* in, bool maximum, ExtremeState* state) {
  uint8_t tag;
  Exact value;
  if (!GetByte(in, &tag) || tag > ExtremeState::kDouble) return false;
  if (tag == ExtremeState::kNone) return true;
  value.is_integer = tag == ExtremeState::kInteger;
  if (value.is_integer ? !GetSigned(in, &value.integer) : !GetDouble(in, &value.number)) return false;
  state->Take(value, maximum);
  return true;
}

void FinishSum(const SumState& state, bool average, MeasureResult* result) {
  if (state.count == 0) return;
  if (average || state.has_doubles) {
    result->kind = MeasureResult::Kind::kNumber;
    result->number = average ? state.Total() / static_cast<double>(state.count) : state.Total();
    if (!std::isfinite(result->number)) {
      result->kind = MeasureResult::Kind::kError;
      result->error = "sum is out of the range of a double";
    }
  } else if (state.high != 0) {
    result->kind = MeasureResult::Kind::kError;
    result->error = "integer sum overflowed";
  } else {
    result->kind = MeasureResult::Kind::kInteger;
    result->integer = state.low;
  }
}

void FinishTopK(const TopKSketch* sketch, int k, MeasureResult* result) {
  result->kind = MeasureResult::Kind::kTop;
  if (sketch == nullptr) return;
  for (const TopKSketch::Item& item : sketch->Top(k)) {
    TopEntry entry;
    absl::string_view key = item.key;
    ReadGroupValue(&key, &entry.key);
    entry.count = item.count;
    entry.max_error = item.max_error;
    result->top.push_back(std::move(entry));
  }
}

}  // namespace

bool FindMeasureKind(absl::string_view agg, MeasureKind* kind) {
  static constexpr struct {
    absl::string_view name;
    MeasureKind kind;
  } kKinds[] = {{"count", MeasureKind::kCount}, {"sum", MeasureKind::kSum},
                {"min", MeasureKind::kMin},     {"max", MeasureKind::kMax},
                {"avg", MeasureKind::kAvg},     {"count_distinct", MeasureKind::kCountDistinct},
                {"top_k", MeasureKind::kTopK}};
  for (const auto& known : kKinds) {
    if (known.name != agg) continue;
    *kind = known.kind;
    return true;
  }
  return false;
}

absl::string_view SupportedAggregations() { return "count, sum, min, max, avg, count_distinct, top_k"; }

double MeasureResult::SortValue() const {
  switch (kind) {
    case Kind::kInteger:
      return static_cast<double>(integer);
    case Kind::kNumber:
      return number;
    case Kind::kTop:
      return top.empty() ? 0 : static_cast<double>(top[0].count);
    case Kind::kNull:
    case Kind::kError:
      break;
  }
  return -std::numeric_limits<double>::infinity();
}

CellLayout::CellLayout(std::vector<MeasureShape> shapes) : shapes_(std::move(shapes)) {
  for (const MeasureShape& shape : shapes_) {
    offsets_.push_back(static_cast<uint32_t>(size_));
    size_ += (StateSize(shape.kind) + 7) / 8 * 8;
    has_sketches_ = has_sketches_ || shape.kind == MeasureKind::kCountDistinct || shape.kind == MeasureKind::kTopK;
  }
}

void CellLayout::Init(char* cell) const {
  for (size_t i = 0; i < shapes_.size(); ++i) {
    char* state = cell + offsets_[i];
    switch (shapes_[i].kind) {
      case MeasureKind::kCount:
        new (state) int64_t(0);
        break;
      case MeasureKind::kSum:
      case MeasureKind::kAvg:
        new (state) SumState;
        break;
      case MeasureKind::kMin:
      case MeasureKind::kMax:
        new (state) ExtremeState;
        break;
      case MeasureKind::kCountDistinct:
        new (state) DistinctSketch*(nullptr);
        break;
      case MeasureKind::kTopK:
        new (state) TopKSketch*(nullptr);
        break;
    }
  }
}

void CellLayout::Destroy(char* cell) const {
  if (!has_sketches_) return;
  for (size_t i = 0; i < shapes_.size(); ++i) {
    if (shapes_[i].kind == MeasureKind::kCountDistinct) delete At<DistinctSketch*>(cell, offsets_[i]);
    if (shapes_[i].kind == MeasureKind::kTopK) delete At<TopKSketch*>(cell, offsets_[i]);
  }
}

bool CellLayout::Update(size_t i, char* cell, const cel::Value& value) const {
  const MeasureShape& shape = shapes_[i];
  if (shape.kind == MeasureKind::kCount) {
    Increment(i, cell);
    return true;
  }
  if (value.is_null()) return true;
  if (value.is_error()) return false;
  if (shape.kind == MeasureKind::kCountDistinct || shape.kind == MeasureKind::kTopK) {
    return UpdateSketch(shape, cell, offsets_[i], value);
  }
  Exact exact;
  if (!ToExact(value, &exact)) return false;
  if (shape.kind == MeasureKind::kMin || shape.kind == MeasureKind::kMax) {
    At<ExtremeState>(cell, offsets_[i]).Take(exact, shape.kind == MeasureKind::kMax);
    return true;
  }
  SumState& sum = At<SumState>(cell, offsets_[i]);
  ++sum.count;
  if (exact.is_integer) {
    sum.AddInteger(exact.integer);
  } else {
    sum.AddDouble(exact.number);
  }
  return true;
}

void CellLayout::Merge(const char* from, char* to) const {
  for (size_t i = 0; i < shapes_.size(); ++i) {
    const uint32_t offset = offsets_[i];
    switch (shapes_[i].kind) {
      case MeasureKind::kCount:
        At<int64_t>(to, offset) += At<int64_t>(from, offset);
        break;
      case MeasureKind::kSum:
      case MeasureKind::kAvg:
        At<SumState>(to, offset).Merge(At<SumState>(from, offset));
        break;
      case MeasureKind::kMin:
      case MeasureKind::kMax: {
        const ExtremeState& other = At<ExtremeState>(from, offset);
        if (other.tag == ExtremeState::kNone) break;
        At<ExtremeState>(to, offset).Take(other.ToExactValue(), shapes_[i].kind == MeasureKind::kMax);
        break;
      }
      case MeasureKind::kCountDistinct:
        if (const DistinctSketch* other = At<DistinctSketch*>(from, offset)) Distinct(to, offset).Merge(*other);
        break;
      case MeasureKind::kTopK:
        if (const TopKSketch* other = At<TopKSketch*>(from, offset)) TopK(to, offset, shapes_[i].k).Merge(*other);
        break;
    }
  }
}

void CellLayout::Encode(const char* cell, std::string* out) const {
  std::string sketch;
  for (size_t i = 0; i < shapes_.size(); ++i) {
    const uint32_t offset = offsets_[i];
    switch (shapes_[i].kind) {
      case MeasureKind::kCount:
        PutVarint(At<int64_t>(cell, offset), out);
        break;
      case MeasureKind::kSum:
      case MeasureKind::kAvg:
        EncodeSum(At<SumState>(cell, offset), out);
        break;
      case MeasureKind::kMin:
      case MeasureKind::kMax:
        EncodeExtreme(At<ExtremeState>(cell, offset), out);
        break;
      case MeasureKind::kCountDistinct:
      case MeasureKind::kTopK:
        sketch.clear();
        if (shapes_[i].kind == MeasureKind::kCountDistinct) {
          if (const DistinctSketch* state = At<DistinctSketch*>(cell, offset)) state->Encode(&sketch);
        } else if (const TopKSketch* state = At<TopKSketch*>(cell, offset)) {
          state->Encode(&sketch);
        }
        PutBytes(sketch, out);
        break;
    }
  }
}

bool CellLayout::MergeEncoded(absl::string_view* in, char* cell) const {
  for (size_t i = 0; i < shapes_.size(); ++i) {
    const uint32_t offset = offsets_[i];
    uint64_t count;
    SumState sum;
    absl::string_view sketch;
    bool ok = true;
    switch (shapes_[i].kind) {
      case MeasureKind::kCount:
        ok = GetVarint(in, &count) && count <= INT64_MAX / 2;
        if (ok) At<int64_t>(cell, offset) += static_cast<int64_t>(count);
        break;
      case MeasureKind::kSum:
      case MeasureKind::kAvg:
        ok = DecodeSum(in, &sum);
        if (ok) At<SumState>(cell, offset).Merge(sum);
        break;
      case MeasureKind::kMin:
      case MeasureKind::kMax:
        ok = MergeEncodedExtreme(in, shapes_[i].kind == MeasureKind::kMax, &At<ExtremeState>(cell, offset));
        break;
      case MeasureKind::kCountDistinct:
        ok = GetBytes(in, &sketch) && (sketch.empty() || Distinct(cell, offset).MergeEncoded(sketch));
        break;
      case MeasureKind::kTopK:
        ok = GetBytes(in, &sketch) && (sketch.empty() || TopK(cell, offset, shapes_[i].k).MergeEncoded(sketch));
        break;
    }
    if (!ok) return false;
  }
  return true;
}

void CellLayout::Finish(size_t i, const char* cell, MeasureResult* result) const {
  *result = MeasureResult();
  const uint32_t offset = offsets_[i];
  switch (shapes_[i].kind) {
    case MeasureKind::kCount:
      result->kind = MeasureResult::Kind::kInteger;
      result->integer = At<int64_t>(cell, offset);
      break;
    case MeasureKind::kSum:
    case MeasureKind::kAvg:
      FinishSum(At<SumState>(cell, offset), shapes_[i].kind == MeasureKind::kAvg, result);
      break;
    case MeasureKind::kMin:
    case MeasureKind::kMax: {
      const ExtremeState& state = At<ExtremeState>(cell, offset);
      if (state.tag == ExtremeState::kNone) break;
      const bool integer = state.tag == ExtremeState::kInteger;
      result->kind = integer ? MeasureResult::Kind::kInteger : MeasureResult::Kind::kNumber;
      result->integer = integer ? state.integer : 0;
      result->number = integer ? 0 : state.number;
      break;
    }
    case MeasureKind::kCountDistinct: {
      const DistinctSketch* state = At<DistinctSketch*>(cell, offset);
      result->kind = MeasureResult::Kind::kInteger;
      result->integer = state == nullptr ? 0 : state->Estimate();
      result->relative_error = state == nullptr || state->exact() ? 0 : DistinctSketch::kRelativeError;
      break;
    }
    case MeasureKind::kTopK:
      FinishTopK(At<TopKSketch*>(cell, offset), shapes_[i].k, result);
      break;
  }
}

size_t CellLayout::HeapBytes(const char* cell) const {
  size_t bytes = 0;
  for (size_t i = 0; has_sketches_ && i < shapes_.size(); ++i) {
    if (shapes_[i].kind == MeasureKind::kCountDistinct) {
      const DistinctSketch* state = At<DistinctSketch*>(cell, offsets_[i]);
      if (state != nullptr) bytes += sizeof(DistinctSketch) + state->HeapBytes();
    } else if (shapes_[i].kind == MeasureKind::kTopK) {
      const TopKSketch* state = At<TopKSketch*>(cell, offsets_[i]);
      if (state != nullptr) bytes += sizeof(TopKSketch) + state->HeapBytes();
    }
  }
  return bytes;
}

}  // namespace naru::aggregator
