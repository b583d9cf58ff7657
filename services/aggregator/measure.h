// What a metric computes: the states of its measures, packed into one cell of memory for each pane and group, so that
// an event costs one look-up however many measures there are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/cel/value.h"
#include "services/aggregator/group_key.h"

namespace naru::aggregator {

/// Numbers are part of stored states: never re-used.
enum class MeasureKind : uint8_t {
  kCount = 1,
  kSum = 2,
  kMin = 3,
  kMax = 4,
  kAvg = 5,
  kCountDistinct = 6,
  kTopK = 7,
  kVariance = 8,
  kStddev = 9,
  kFirst = 10,
  kLast = 11,
  kPercentile = 12,
  kHistogram = 13,
  kRatio = 14,
};

/// Finds the kind of an `agg`; false if it is not one of SupportedAggregations().
bool FindMeasureKind(absl::string_view agg, MeasureKind* kind);
/// `count, sum, min, ...`.
absl::string_view SupportedAggregations();

/// Shape of one measure.
struct MeasureShape {
  MeasureKind kind = MeasureKind::kCount;
  int k = 0;                   ///< kTopK
  double percentile = 0;       ///< kPercentile: above 0, at most 100
  std::vector<double> bounds;  ///< kHistogram: upper bounds, inclusive, ascending
  int numerator = -1;          ///< kRatio: index of the measure above the line, itself no ratio
  int denominator = -1;        ///< kRatio: below the line
  friend bool operator==(const MeasureShape&, const MeasureShape&) = default;
};

/// One of the most frequent values.
struct TopEntry {
  GroupValue key;
  int64_t count = 0;
  int64_t max_error = 0;
};

/// What a measure says at the end.
struct MeasureResult {
  enum class Kind : uint8_t { kNull, kInteger, kNumber, kTop, kError, kText, kBool, kHistogram } kind = Kind::kNull;
  int64_t integer = 0;  ///< kInteger; kBool: 0 or 1
  double number = 0;
  std::vector<TopEntry> top;
  std::string text;             ///< kText
  std::vector<int64_t> counts;  ///< kHistogram: one for each bound, and what is above the last
  std::string error;
  double relative_error = 0;  ///< 0: exact

  /// As a number, where it stands for one: the value, the largest count of a top_k, all that a histogram counted.
  /// Otherwise below all numbers.
  double SortValue() const;
  /// Orders rows: null and errors first, then bools and numbers by value, then texts.
  static bool Less(const MeasureResult& a, const MeasureResult& b);
};

/// When an event happened and which one it is: what first and last go by. Borrows the event's bytes.
struct EventIdentity {
  int64_t time_us = 0;
  absl::string_view source;
  absl::string_view id;
};

/// Where the states of a metric's measures lie in a cell, and what can be done with them. A cell is `size()` bytes,
/// aligned to 8, between Init and Destroy. Immutable; thread-safe; cells are not.
class CellLayout {
 public:
  explicit CellLayout(std::vector<MeasureShape> shapes);

  size_t size() const { return size_; }
  size_t measure_count() const { return shapes_.size(); }
  const std::vector<MeasureShape>& shapes() const { return shapes_; }

  void Init(char* cell) const;
  /// Frees what the states hold on the heap.
  void Destroy(char* cell) const;

  /// Counts an event whose expression gave `value` (ignored by count) in measure `i`, which is no ratio. Null changes
  /// nothing. Returns false, changing nothing, for values that the measure cannot take. `event` is for first and last.
  bool Update(size_t i, char* cell, const cel::Value& value, const EventIdentity& event = {}) const;
  /// The same for count, which takes no value.
  void Increment(size_t i, char* cell) const { ++*reinterpret_cast<int64_t*>(cell + offsets_[i]); }

  /// Adds the states of `from` to `to`.
  void Merge(const char* from, char* to) const;
  /// Appends all states.
  void Encode(const char* cell, std::string* out) const;
  /// Adds encoded states to `cell`, taking them off the front of `*in`. False for damaged bytes (the cell may then hold
  /// a part of them).
  bool MergeEncoded(absl::string_view* in, char* cell) const;

  /// What measure `i` says. variance and stddev are those of a sample (divided by n - 1, as SQL's var_samp), null below
  /// two values; a ratio is null where its denominator is 0 or either part is null.
  void Finish(size_t i, const char* cell, MeasureResult* result) const;
  /// What the states hold beside the cell; grows with sketches only.
  size_t HeapBytes(const char* cell) const;
  /// Whether any state may hold something beside the cell.
  bool has_sketches() const { return has_sketches_; }

 private:
  void FinishRatio(const MeasureShape& shape, const char* cell, MeasureResult* result) const;

  std::vector<MeasureShape> shapes_;
  std::vector<uint32_t> offsets_;
  size_t size_ = 0;
  bool has_sketches_ = false;
};

/// A cell of its own.
class Cell {
 public:
  explicit Cell(const CellLayout* layout) : layout_(layout), bytes_(new uint64_t[(layout->size() + 7) / 8]) {
    layout_->Init(data());
  }
  Cell(Cell&& other) noexcept = default;
  Cell& operator=(Cell&& other) noexcept {
    if (bytes_ != nullptr) layout_->Destroy(data());
    layout_ = other.layout_;
    bytes_ = std::move(other.bytes_);
    return *this;
  }
  ~Cell() {
    if (bytes_ != nullptr) layout_->Destroy(data());
  }
  char* data() { return reinterpret_cast<char*>(bytes_.get()); }
  const char* data() const { return reinterpret_cast<const char*>(bytes_.get()); }

 private:
  const CellLayout* layout_;
  std::unique_ptr<uint64_t[]> bytes_;
};

}  // namespace naru::aggregator
