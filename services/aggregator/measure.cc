#include "services/aggregator/measure.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <utility>

#include "services/aggregator/distinct_sketch.h"
#include "services/aggregator/event_pick.h"
#include "services/aggregator/number_states.h"
#include "services/aggregator/percentile_sketch.h"
#include "services/aggregator/sketch_bytes.h"
#include "services/aggregator/top_k_sketch.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace naru::aggregator {
namespace {

constexpr uint8_t kHistogramVersion = 1;

constexpr struct {
  absl::string_view name;
  MeasureKind kind;
} kKinds[] = {{"count", MeasureKind::kCount},
              {"sum", MeasureKind::kSum},
              {"min", MeasureKind::kMin},
              {"max", MeasureKind::kMax},
              {"avg", MeasureKind::kAvg},
              {"variance", MeasureKind::kVariance},
              {"stddev", MeasureKind::kStddev},
              {"first", MeasureKind::kFirst},
              {"last", MeasureKind::kLast},
              {"count_distinct", MeasureKind::kCountDistinct},
              {"percentile", MeasureKind::kPercentile},
              {"top_k", MeasureKind::kTopK},
              {"ratio", MeasureKind::kRatio},
              {"histogram", MeasureKind::kHistogram}};

size_t TopKCapacity(int k) { return std::max(1000, k * 10); }

EventPick::Which WhichOf(MeasureKind kind) {
  return kind == MeasureKind::kFirst ? EventPick::Which::kFirst : EventPick::Which::kLast;
}

// Calls fn(T*) with a pointer of the type that a measure keeps in the cell, for what is done to all of them alike.
template <typename Fn>
void WithType(MeasureKind kind, Fn&& fn) {
  switch (kind) {
    case MeasureKind::kCount:
      return fn(static_cast<int64_t*>(nullptr));
    case MeasureKind::kSum:
    case MeasureKind::kAvg:
      return fn(static_cast<SumState*>(nullptr));
    case MeasureKind::kMin:
    case MeasureKind::kMax:
      return fn(static_cast<ExtremeState*>(nullptr));
    case MeasureKind::kVariance:
    case MeasureKind::kStddev:
      return fn(static_cast<MomentsState*>(nullptr));
    case MeasureKind::kFirst:
    case MeasureKind::kLast:
      return fn(static_cast<EventPick**>(nullptr));
    case MeasureKind::kCountDistinct:
      return fn(static_cast<DistinctSketch**>(nullptr));
    case MeasureKind::kPercentile:
      return fn(static_cast<PercentileSketch**>(nullptr));
    case MeasureKind::kTopK:
      return fn(static_cast<TopKSketch**>(nullptr));
    case MeasureKind::kHistogram:
    case MeasureKind::kRatio:
      return;
  }
}

bool IsOnHeap(MeasureKind kind) {
  bool on_heap = false;
  WithType(kind, [&on_heap](auto* type) { on_heap = std::is_pointer_v<std::remove_pointer_t<decltype(type)>>; });
  return on_heap;
}

size_t StateSize(const MeasureShape& shape) {
  if (shape.kind == MeasureKind::kHistogram) return (shape.bounds.size() + 1) * sizeof(int64_t);
  size_t size = 0;
  WithType(shape.kind, [&size](auto* type) { size = sizeof(*type); });
  return size;
}

template <typename T>
T& At(char* cell, uint32_t offset) {
  return *reinterpret_cast<T*>(cell + offset);
}
template <typename T>
const T& At(const char* cell, uint32_t offset) {
  return *reinterpret_cast<const T*>(cell + offset);
}

// A state on the heap, made when it is first needed.
template <typename T>
T& Made(char* cell, uint32_t offset) {
  T*& state = At<T*>(cell, offset);
  if (state == nullptr) state = new T;
  return *state;
}

TopKSketch& TopK(char* cell, uint32_t offset, int k) {
  TopKSketch*& sketch = At<TopKSketch*>(cell, offset);
  if (sketch == nullptr) sketch = new TopKSketch(TopKCapacity(k));
  return *sketch;
}

bool UpdateKeys(const MeasureShape& shape, char* cell, uint32_t offset, const cel::Value& value) {
  thread_local std::string key;
  key.clear();
  if (!AppendGroupValue(value, &key)) {
    // Long texts are still different values: their hash stands for them.
    if (!value.is_string() || shape.kind != MeasureKind::kCountDistinct) return false;
    Made<DistinctSketch>(cell, offset)
        .Add(XXH3_64bits_withSeed(value.string_value().data(), value.string_value().size(), 1));
    return true;
  }
  if (shape.kind == MeasureKind::kCountDistinct) {
    Made<DistinctSketch>(cell, offset).Add(XXH3_64bits(key.data(), key.size()));
  } else {
    TopK(cell, offset, shape.k).Add(key);
  }
  return true;
}

void CountIn(const std::vector<double>& bounds, double value, int64_t* counts) {
  ++counts[std::lower_bound(bounds.begin(), bounds.end(), value) - bounds.begin()];
}

void EncodeHistogram(const int64_t* counts, size_t size, std::string* out) {
  out->push_back(static_cast<char>(kHistogramVersion));
  PutVarint(size, out);
  for (size_t i = 0; i < size; ++i) PutVarint(counts[i], out);
}

bool MergeEncodedHistogram(absl::string_view* in, int64_t* counts, size_t size) {
  uint8_t version;
  uint64_t stored, count;
  if (!GetByte(in, &version) || version != kHistogramVersion || !GetVarint(in, &stored) || stored != size) return false;
  for (size_t i = 0; i < size; ++i) {
    if (!GetVarint(in, &count) || count > INT64_MAX / 2) return false;
    counts[i] += static_cast<int64_t>(count);
  }
  return true;
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

void FinishPercentile(const PercentileSketch* sketch, double percentile, MeasureResult* result) {
  if (sketch == nullptr || sketch->count() == 0) return;
  result->kind = MeasureResult::Kind::kNumber;
  result->number = sketch->Percentile(percentile);
  result->relative_error = sketch->exact() ? 0 : PercentileSketch::kRelativeError;
}

bool IsNumber(const MeasureResult& result) {
  return result.kind == MeasureResult::Kind::kInteger || result.kind == MeasureResult::Kind::kNumber;
}

}  // namespace

bool FindMeasureKind(absl::string_view agg, MeasureKind* kind) {
  for (const auto& known : kKinds) {
    if (known.name != agg) continue;
    *kind = known.kind;
    return true;
  }
  return false;
}

absl::string_view SupportedAggregations() {
  static const std::string* const all = [] {
    auto* text = new std::string;
    for (const auto& known : kKinds) {
      if (!text->empty()) text->append(", ");
      text->append(known.name.data(), known.name.size());
    }
    return text;
  }();
  return *all;
}

double MeasureResult::SortValue() const {
  switch (kind) {
    case Kind::kInteger:
    case Kind::kBool:
      return static_cast<double>(integer);
    case Kind::kNumber:
      return number;
    case Kind::kTop:
      return top.empty() ? 0 : static_cast<double>(top[0].count);
    case Kind::kHistogram: {
      double all = 0;
      for (const int64_t count : counts) all += static_cast<double>(count);
      return all;
    }
    case Kind::kNull:
    case Kind::kError:
    case Kind::kText:
      break;
  }
  return -std::numeric_limits<double>::infinity();
}

bool MeasureResult::Less(const MeasureResult& a, const MeasureResult& b) {
  if (a.kind == Kind::kInteger && b.kind == Kind::kInteger) return a.integer < b.integer;
  if (a.kind == Kind::kText || b.kind == Kind::kText) {
    return a.kind == b.kind ? a.text < b.text : b.kind == Kind::kText;
  }
  return a.SortValue() < b.SortValue();
}

CellLayout::CellLayout(std::vector<MeasureShape> shapes) : shapes_(std::move(shapes)) {
  for (const MeasureShape& shape : shapes_) {
    offsets_.push_back(static_cast<uint32_t>(size_));
    size_ += (StateSize(shape) + 7) / 8 * 8;
    has_sketches_ = has_sketches_ || IsOnHeap(shape.kind);
  }
}

void CellLayout::Init(char* cell) const {
  for (size_t i = 0; i < shapes_.size(); ++i) {
    char* state = cell + offsets_[i];
    if (shapes_[i].kind == MeasureKind::kHistogram)
      std::fill_n(reinterpret_cast<int64_t*>(state), shapes_[i].bounds.size() + 1, 0);
    WithType(shapes_[i].kind, [state](auto* type) { new (state) std::remove_pointer_t<decltype(type)>(); });
  }
}

void CellLayout::Destroy(char* cell) const {
  if (!has_sketches_) return;
  for (size_t i = 0; i < shapes_.size(); ++i) {
    WithType(shapes_[i].kind, [state = cell + offsets_[i]](auto* type) {
      using State = std::remove_pointer_t<decltype(type)>;
      if constexpr (std::is_pointer_v<State>) delete *reinterpret_cast<State*>(state);
    });
  }
}

bool CellLayout::Update(size_t i, char* cell, const cel::Value& value, const EventIdentity& event) const {
  const MeasureShape& shape = shapes_[i];
  if (shape.kind == MeasureKind::kCount) {
    Increment(i, cell);
    return true;
  }
  if (value.is_null()) return true;
  if (value.is_error()) return false;
  const uint32_t offset = offsets_[i];
  if (shape.kind == MeasureKind::kCountDistinct || shape.kind == MeasureKind::kTopK)
    return UpdateKeys(shape, cell, offset, value);
  if (shape.kind == MeasureKind::kFirst || shape.kind == MeasureKind::kLast)
    return Made<EventPick>(cell, offset).Take(WhichOf(shape.kind), value, event);
  Exact exact;
  if (!ToExact(value, &exact)) return false;
  switch (shape.kind) {
    case MeasureKind::kMin:
    case MeasureKind::kMax:
      At<ExtremeState>(cell, offset).Take(exact, shape.kind == MeasureKind::kMax);
      break;
    case MeasureKind::kVariance:
    case MeasureKind::kStddev:
      At<MomentsState>(cell, offset).Add(exact.AsDouble());
      break;
    case MeasureKind::kPercentile:
      Made<PercentileSketch>(cell, offset).Add(exact.AsDouble());
      break;
    case MeasureKind::kHistogram:
      CountIn(shape.bounds, exact.AsDouble(), &At<int64_t>(cell, offset));
      break;
    default:
      At<SumState>(cell, offset).Add(exact);
      break;
  }
  return true;
}

void CellLayout::Merge(const char* from, char* to) const {
  for (size_t i = 0; i < shapes_.size(); ++i) {
    const MeasureShape& shape = shapes_[i];
    const uint32_t offset = offsets_[i];
    switch (shape.kind) {
      case MeasureKind::kCount:
        At<int64_t>(to, offset) += At<int64_t>(from, offset);
        break;
      case MeasureKind::kSum:
      case MeasureKind::kAvg:
        At<SumState>(to, offset).Merge(At<SumState>(from, offset));
        break;
      case MeasureKind::kMin:
      case MeasureKind::kMax:
        At<ExtremeState>(to, offset).Merge(At<ExtremeState>(from, offset), shape.kind == MeasureKind::kMax);
        break;
      case MeasureKind::kVariance:
      case MeasureKind::kStddev:
        At<MomentsState>(to, offset).Merge(At<MomentsState>(from, offset));
        break;
      case MeasureKind::kFirst:
      case MeasureKind::kLast:
        if (const EventPick* other = At<EventPick*>(from, offset))
          Made<EventPick>(to, offset).Merge(WhichOf(shape.kind), *other);
        break;
      case MeasureKind::kCountDistinct:
        if (const DistinctSketch* other = At<DistinctSketch*>(from, offset))
          Made<DistinctSketch>(to, offset).Merge(*other);
        break;
      case MeasureKind::kPercentile:
        if (const PercentileSketch* other = At<PercentileSketch*>(from, offset))
          Made<PercentileSketch>(to, offset).Merge(*other);
        break;
      case MeasureKind::kTopK:
        if (const TopKSketch* other = At<TopKSketch*>(from, offset)) TopK(to, offset, shape.k).Merge(*other);
        break;
      case MeasureKind::kHistogram:
        for (size_t b = 0; b <= shape.bounds.size(); ++b)
          (&At<int64_t>(to, offset))[b] += (&At<int64_t>(from, offset))[b];
        break;
      case MeasureKind::kRatio:
        break;
    }
  }
}

void CellLayout::Encode(const char* cell, std::string* out) const {
  std::string sketch;
  for (size_t i = 0; i < shapes_.size(); ++i) {
    const uint32_t offset = offsets_[i];
    if (shapes_[i].kind == MeasureKind::kHistogram) {
      EncodeHistogram(&At<int64_t>(cell, offset), shapes_[i].bounds.size() + 1, out);
      continue;
    }
    WithType(shapes_[i].kind, [&](auto* type) {
      using State = std::remove_pointer_t<decltype(type)>;
      const State& state = At<State>(cell, offset);
      if constexpr (std::is_same_v<State, int64_t>) {
        PutVarint(state, out);
      } else if constexpr (std::is_pointer_v<State>) {
        // Their length first; nothing where nothing was added.
        sketch.clear();
        if (state != nullptr) state->Encode(&sketch);
        PutBytes(sketch, out);
      } else {
        state.Encode(out);
      }
    });
  }
}

bool CellLayout::MergeEncoded(absl::string_view* in, char* cell) const {
  for (size_t i = 0; i < shapes_.size(); ++i) {
    const MeasureShape& shape = shapes_[i];
    const uint32_t offset = offsets_[i];
    uint64_t count;
    absl::string_view sketch;
    bool ok = !IsOnHeap(shape.kind) || GetBytes(in, &sketch);
    if (!ok) return false;
    switch (shape.kind) {
      case MeasureKind::kCount:
        ok = GetVarint(in, &count) && count <= INT64_MAX / 2;
        if (ok) At<int64_t>(cell, offset) += static_cast<int64_t>(count);
        break;
      case MeasureKind::kSum:
      case MeasureKind::kAvg:
        ok = At<SumState>(cell, offset).MergeEncoded(in);
        break;
      case MeasureKind::kMin:
      case MeasureKind::kMax:
        ok = At<ExtremeState>(cell, offset).MergeEncoded(in, shape.kind == MeasureKind::kMax);
        break;
      case MeasureKind::kVariance:
      case MeasureKind::kStddev:
        ok = At<MomentsState>(cell, offset).MergeEncoded(in);
        break;
      case MeasureKind::kHistogram:
        ok = MergeEncodedHistogram(in, &At<int64_t>(cell, offset), shape.bounds.size() + 1);
        break;
      case MeasureKind::kFirst:
      case MeasureKind::kLast:
        ok = sketch.empty() || Made<EventPick>(cell, offset).MergeEncoded(WhichOf(shape.kind), sketch);
        break;
      case MeasureKind::kCountDistinct:
        ok = sketch.empty() || Made<DistinctSketch>(cell, offset).MergeEncoded(sketch);
        break;
      case MeasureKind::kPercentile:
        ok = sketch.empty() || Made<PercentileSketch>(cell, offset).MergeEncoded(sketch);
        break;
      case MeasureKind::kTopK:
        ok = sketch.empty() || TopK(cell, offset, shape.k).MergeEncoded(sketch);
        break;
      case MeasureKind::kRatio:
        break;
    }
    if (!ok) return false;
  }
  return true;
}

void CellLayout::FinishRatio(const MeasureShape& shape, const char* cell, MeasureResult* result) const {
  MeasureResult above, below;
  Finish(static_cast<size_t>(shape.numerator), cell, &above);
  Finish(static_cast<size_t>(shape.denominator), cell, &below);
  for (MeasureResult* part : {&above, &below}) {
    if (part->kind != MeasureResult::Kind::kError) continue;
    *result = std::move(*part);
    return;
  }
  if (!IsNumber(above) || !IsNumber(below) || below.SortValue() == 0) return;
  result->kind = MeasureResult::Kind::kNumber;
  result->number = above.SortValue() / below.SortValue();
  result->relative_error = above.relative_error + below.relative_error;
  if (std::isfinite(result->number)) return;
  result->kind = MeasureResult::Kind::kError;
  result->error = "ratio is out of the range of a double";
}

void CellLayout::Finish(size_t i, const char* cell, MeasureResult* result) const {
  *result = MeasureResult();
  const MeasureShape& shape = shapes_[i];
  const uint32_t offset = offsets_[i];
  switch (shape.kind) {
    case MeasureKind::kCount:
      result->kind = MeasureResult::Kind::kInteger;
      result->integer = At<int64_t>(cell, offset);
      break;
    case MeasureKind::kSum:
    case MeasureKind::kAvg:
      At<SumState>(cell, offset).Finish(shape.kind == MeasureKind::kAvg, result);
      break;
    case MeasureKind::kMin:
    case MeasureKind::kMax:
      At<ExtremeState>(cell, offset).Finish(result);
      break;
    case MeasureKind::kVariance:
    case MeasureKind::kStddev:
      At<MomentsState>(cell, offset).Finish(shape.kind == MeasureKind::kStddev, result);
      break;
    case MeasureKind::kFirst:
    case MeasureKind::kLast:
      if (const EventPick* state = At<EventPick*>(cell, offset)) state->Finish(result);
      break;
    case MeasureKind::kCountDistinct: {
      const DistinctSketch* state = At<DistinctSketch*>(cell, offset);
      result->kind = MeasureResult::Kind::kInteger;
      result->integer = state == nullptr ? 0 : state->Estimate();
      result->relative_error = state == nullptr || state->exact() ? 0 : DistinctSketch::kRelativeError;
      break;
    }
    case MeasureKind::kPercentile:
      FinishPercentile(At<PercentileSketch*>(cell, offset), shape.percentile, result);
      break;
    case MeasureKind::kTopK:
      FinishTopK(At<TopKSketch*>(cell, offset), shape.k, result);
      break;
    case MeasureKind::kHistogram:
      result->kind = MeasureResult::Kind::kHistogram;
      result->counts.assign(&At<int64_t>(cell, offset), &At<int64_t>(cell, offset) + shape.bounds.size() + 1);
      break;
    case MeasureKind::kRatio:
      FinishRatio(shape, cell, result);
      break;
  }
}

size_t CellLayout::HeapBytes(const char* cell) const {
  size_t bytes = 0;
  for (size_t i = 0; has_sketches_ && i < shapes_.size(); ++i) {
    WithType(shapes_[i].kind, [&bytes, state = cell + offsets_[i]](auto* type) {
      using State = std::remove_pointer_t<decltype(type)>;
      if constexpr (std::is_pointer_v<State>) {
        const State held = *reinterpret_cast<const State*>(state);
        if (held != nullptr) bytes += sizeof(*held) + held->HeapBytes();
      }
    });
  }
  return bytes;
}

}  // namespace naru::aggregator
