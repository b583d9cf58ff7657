#include "services/aggregator/percentile_sketch.h"

#include <algorithm>
#include <cmath>

#include "services/aggregator/sketch_bytes.h"

namespace naru::aggregator {
namespace {

constexpr uint8_t kVersion = 1;
enum Form : uint8_t { kExactForm = 0, kBucketForm = 1 };

// A little finer than what is stated, so that rounding at the edge of a bucket does not break the promise.
constexpr double kAccuracy = 0.0099;
constexpr double kGrowth = (1 + kAccuracy) / (1 - kAccuracy);
const double kLogGrowth = std::log(kGrowth);
constexpr int32_t kMaxIndex = 40'000;  // beyond the logarithm of every double
constexpr int32_t kSlack = 32;         // buckets made in advance below the lowest
constexpr int64_t kMaxCount = INT64_MAX / 4;

int32_t IndexOf(double magnitude) { return static_cast<int32_t>(std::ceil(std::log(magnitude) / kLogGrowth)); }

// The number whose relative distance from both ends of the bucket is the same.
double ValueOf(int32_t index) { return std::exp(index * kLogGrowth) * 2 / (kGrowth + 1); }

}  // namespace

template <typename Fn>
void PercentileSketch::Buckets::ForEach(Fn&& fn) const {
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] != 0) fn(lowest + static_cast<int32_t>(i), counts[i]);
  }
}

// Makes room for an index; what falls out of the span at the low end is put into its lowest bucket.
void PercentileSketch::Buckets::Extend(int32_t index) {
  const int32_t highest = lowest + static_cast<int32_t>(counts.size()) - 1;
  if (index < lowest) {
    const int32_t floor = std::max(index - kSlack, highest - kMaxBuckets + 1);
    counts.insert(counts.begin(), static_cast<size_t>(lowest - floor), 0);
    lowest = floor;
    return;
  }
  const int32_t floor = index - kMaxBuckets + 1;
  if (floor > lowest) {
    const int32_t drop = std::min<int32_t>(floor - lowest, static_cast<int32_t>(counts.size()));
    int64_t folded = 0;
    for (int32_t i = 0; i < drop; ++i) folded += counts[static_cast<size_t>(i)];
    counts.erase(counts.begin(), counts.begin() + drop);
    lowest = floor;
    counts.resize(kMaxBuckets, 0);
    counts[0] += folded;
    return;
  }
  counts.resize(static_cast<size_t>(index - lowest) + 1, 0);
}

void PercentileSketch::Buckets::Add(int32_t index, int64_t count) {
  if (counts.empty()) {
    lowest = index;
    counts.assign(1, 0);
  }
  const int32_t highest = lowest + static_cast<int32_t>(counts.size()) - 1;
  index = std::max(index, highest - kMaxBuckets + 1);
  if (index < lowest || index > highest) Extend(index);
  counts[static_cast<size_t>(index - lowest)] += count;
}

void PercentileSketch::AddToBuckets(double value) {
  if (value == 0) {
    ++zeros_;
  } else if (value > 0) {
    positive_.Add(IndexOf(value), 1);
  } else {
    negative_.Add(IndexOf(-value), 1);
  }
}

void PercentileSketch::LeaveExact() {
  for (const double value : values_) AddToBuckets(value);
  values_ = {};
}

void PercentileSketch::Add(double value) {
  min_ = count_ == 0 ? value : std::min(min_, value);
  max_ = count_ == 0 ? value : std::max(max_, value);
  ++count_;
  if (exact()) {
    values_.push_back(value);
    return;
  }
  if (!values_.empty()) LeaveExact();
  AddToBuckets(value);
}

void PercentileSketch::Merge(const PercentileSketch& other) {
  if (other.exact()) {
    // Not by reference: a sketch may be merged with itself.
    for (const double value : std::vector<double>(other.values_)) Add(value);
    return;
  }
  min_ = count_ == 0 ? other.min_ : std::min(min_, other.min_);
  max_ = count_ == 0 ? other.max_ : std::max(max_, other.max_);
  count_ += other.count_;
  LeaveExact();
  zeros_ += other.zeros_;
  const Buckets positive = other.positive_, negative = other.negative_;
  positive.ForEach([this](int32_t index, int64_t count) { positive_.Add(index, count); });
  negative.ForEach([this](int32_t index, int64_t count) { negative_.Add(index, count); });
}

double PercentileSketch::Percentile(double percentile) const {
  const double wanted = std::ceil(percentile * static_cast<double>(count_) / 100);
  const int64_t rank = std::clamp<int64_t>(static_cast<int64_t>(wanted), 1, count_);
  if (exact()) {
    std::vector<double> values = values_;
    std::nth_element(values.begin(), values.begin() + (rank - 1), values.end());
    return values[static_cast<size_t>(rank - 1)];
  }
  if (rank == count_) return max_;
  int64_t seen = 0;
  // From the most negative number up.
  for (size_t i = negative_.counts.size(); i-- > 0;) {
    seen += negative_.counts[i];
    if (seen >= rank) return std::clamp(-ValueOf(negative_.lowest + static_cast<int32_t>(i)), min_, max_);
  }
  seen += zeros_;
  if (seen >= rank) return 0;
  for (size_t i = 0; i < positive_.counts.size(); ++i) {
    seen += positive_.counts[i];
    if (seen >= rank) return std::clamp(ValueOf(positive_.lowest + static_cast<int32_t>(i)), min_, max_);
  }
  return max_;
}

void PercentileSketch::Encode(const Buckets& buckets, std::string* out) {
  uint64_t used = 0;
  buckets.ForEach([&used](int32_t, int64_t) { ++used; });
  PutVarint(used, out);
  int32_t next = 0;
  bool first = true;
  buckets.ForEach([&](int32_t index, int64_t count) {
    if (first) {
      PutSigned(index, out);
    } else {
      PutVarint(static_cast<uint64_t>(index - next), out);
    }
    first = false;
    next = index + 1;
    PutVarint(static_cast<uint64_t>(count), out);
  });
}

void PercentileSketch::Encode(std::string* out) const {
  out->push_back(static_cast<char>(kVersion));
  if (exact()) {
    out->push_back(kExactForm);
    PutVarint(values_.size(), out);
    // Sorted, so that equal states are equal bytes.
    std::vector<double> values = values_;
    std::sort(values.begin(), values.end());
    for (const double value : values) PutDouble(value, out);
    return;
  }
  out->push_back(kBucketForm);
  PutDouble(min_, out);
  PutDouble(max_, out);
  PutVarint(static_cast<uint64_t>(zeros_), out);
  Encode(positive_, out);
  Encode(negative_, out);
}

bool PercentileSketch::MergeEncodedValues(absl::string_view* in) {
  uint64_t size;
  if (!GetVarint(in, &size) || size > kExactLimit || in->size() != size * 8) return false;
  for (uint64_t i = 0; i < size; ++i) {
    double value;
    if (!GetDouble(in, &value) || !std::isfinite(value)) return false;
    Add(value);
  }
  return true;
}

bool PercentileSketch::MergeEncodedBuckets(absl::string_view* in, Buckets* buckets) {
  uint64_t used;
  if (!GetVarint(in, &used) || used > kMaxBuckets) return false;
  int64_t index = 0;
  for (uint64_t i = 0; i < used; ++i) {
    uint64_t gap = 0, count;
    if (i == 0 ? !GetSigned(in, &index) : !GetVarint(in, &gap)) return false;
    if (gap > 2 * kMaxIndex) return false;
    index += static_cast<int64_t>(gap);
    if (index < -kMaxIndex || index > kMaxIndex || !GetVarint(in, &count) || count == 0) return false;
    if (count > static_cast<uint64_t>(std::max<int64_t>(0, kMaxCount - count_))) return false;
    buckets->Add(static_cast<int32_t>(index), static_cast<int64_t>(count));
    count_ += static_cast<int64_t>(count);
    ++index;
  }
  return true;
}

bool PercentileSketch::MergeEncoded(absl::string_view in) {
  uint8_t version, form;
  if (!GetByte(&in, &version) || version != kVersion || !GetByte(&in, &form)) return false;
  if (form == kExactForm) return MergeEncodedValues(&in);
  double min, max;
  uint64_t zeros;
  if (form != kBucketForm || !GetDouble(&in, &min) || !GetDouble(&in, &max) || !GetVarint(&in, &zeros)) return false;
  if (!std::isfinite(min) || !std::isfinite(max) || min > max) return false;
  if (zeros > static_cast<uint64_t>(std::max<int64_t>(0, kMaxCount - count_))) return false;
  min_ = count_ == 0 ? min : std::min(min_, min);
  max_ = count_ == 0 ? max : std::max(max_, max);
  LeaveExact();
  zeros_ += static_cast<int64_t>(zeros);
  count_ += static_cast<int64_t>(zeros);
  return MergeEncodedBuckets(&in, &positive_) && MergeEncodedBuckets(&in, &negative_) && in.empty() && !exact();
}

size_t PercentileSketch::HeapBytes() const {
  return values_.capacity() * 8 + (positive_.counts.capacity() + negative_.counts.capacity()) * 8;
}

}  // namespace naru::aggregator
