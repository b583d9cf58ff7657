// States of the measures of numbers: sums, extremes, moments. Fixed in size; they live in the cell.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "services/aggregator/exact_number.h"

namespace naru::aggregator {

struct MeasureResult;

/// The sum of integers exactly (96 bits, so whether it overflows does not depend on the order) and of other numbers
/// with Neumaier's compensation: within 1e-12 of the sum of absolute values, whatever the order and the merges.
struct SumState {
  int64_t low = 0;
  double sum = 0;
  double compensation = 0;
  int64_t count = 0;
  int32_t high = 0;  ///< times 2^64
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
  void Add(const Exact& value) {
    ++count;
    if (value.is_integer) {
      AddInteger(value.integer);
    } else {
      AddDouble(value.number);
    }
  }
  void Merge(const SumState& other);
  double Total() const;
  void Encode(std::string* out) const;
  bool MergeEncoded(absl::string_view* in);
  /// The sum, or with `average` the mean; an error beyond the range.
  void Finish(bool average, MeasureResult* result) const;
};

/// The least or the greatest number, compared exactly.
struct ExtremeState {
  enum Tag : uint8_t { kNone, kInteger, kDouble };
  union {
    int64_t integer = 0;
    double number;
  };
  Tag tag = kNone;

  void Take(const Exact& value, bool maximum);
  void Merge(const ExtremeState& other, bool maximum) {
    if (other.tag != kNone) Take(other.ToExactValue(), maximum);
  }
  void Encode(std::string* out) const;
  bool MergeEncoded(absl::string_view* in, bool maximum);
  void Finish(MeasureResult* result) const;

 private:
  Exact ToExactValue() const { return {tag == kInteger, tag == kInteger ? integer : 0, tag == kDouble ? number : 0}; }
};

/// Count, mean and sum of squared distances from it (Welford; merged as Chan, Golub and LeVeque do): stable where the
/// values are large and lie close together.
struct MomentsState {
  int64_t count = 0;
  double mean = 0;
  double squares = 0;

  void Add(double value) {
    ++count;
    const double before = value - mean;
    mean += before / static_cast<double>(count);
    squares += before * (value - mean);
  }
  void Merge(const MomentsState& other);
  void Encode(std::string* out) const;
  bool MergeEncoded(absl::string_view* in);
  /// The variance of a sample, or with `root` its standard deviation; null below two values.
  void Finish(bool root, MeasureResult* result) const;
};

}  // namespace naru::aggregator
