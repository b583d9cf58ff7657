// Where events went, as numbers.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/strings/string_view.h"

namespace naru::ingest {

/// One more than the largest RejectReason that there can be; unknown ones are counted under 0.
inline constexpr int kMaxReasons = 64;
/// Types beyond these are counted together, under `__other__`.
inline constexpr size_t kMaxCountedTypes = 1000;

/// Counts of events; accepted are the stored ones. Received = accepted + duplicate + rejected + filtered, by the way
/// they are kept: there is no fifth number.
struct Counts {
  using ByType = std::map<std::string, int64_t, std::less<>>;
  ByType stored_by_type;
  ByType filtered_by_type;  ///< left out on purpose (`exclude`): stored nowhere
  std::array<int64_t, kMaxReasons> rejected_by_reason{};
  int64_t duplicate = 0;
  int64_t replayed = 0;  ///< dead letters that were taken later; part of rejected, and of nothing else

  int64_t filtered() const;
  int64_t accepted() const;
  int64_t rejected() const;
  int64_t received() const { return accepted() + duplicate + rejected() + filtered(); }
  bool empty() const;

  void AddStored(absl::string_view type, int64_t n);
  void AddFiltered(absl::string_view type, int64_t n);
  void AddRejected(int reason, int64_t n);
  void Add(const Counts& other);

  /// A versioned, compact form.
  void AppendTo(std::string* out) const;
  /// Reads one from the front of `*bytes` and steps over it; false if there is none.
  static bool Parse(absl::string_view* bytes, Counts* counts);
};

}  // namespace naru::ingest
