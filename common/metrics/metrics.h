// Counters, gauges and histograms, served as Prometheus text.
//
// Take a handle once (it looks the metric up, under a lock) and keep it: using a handle costs an atomic operation.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace naru {

/// Label names and values of one time series. Values come from a small, closed set: never a user, an id or a time.
using Labels = std::map<std::string, std::string>;

/// A number that only grows. A handle: cheap to copy, valid as long as its registry; the default one does nothing.
/// Thread-safe.
class Counter {
 public:
  Counter() = default;
  void Increment() { Increment(1); }
  /// `by` is 0 or more; less is ignored.
  void Increment(double by);
  double Value() const;

 private:
  friend class MetricRegistry;
  explicit Counter(prometheus::Counter* counter) : counter_(counter) {}
  prometheus::Counter* counter_ = nullptr;
};

/// A number that goes up and down. A handle, as Counter.
class Gauge {
 public:
  Gauge() = default;
  void Set(double value);
  void Add(double by);
  double Value() const;

 private:
  friend class MetricRegistry;
  explicit Gauge(prometheus::Gauge* gauge) : gauge_(gauge) {}
  prometheus::Gauge* gauge_ = nullptr;
};

/// How values are distributed. A handle, as Counter; Observe takes a short lock.
class Histogram {
 public:
  Histogram() = default;
  void Observe(double value);

 private:
  friend class MetricRegistry;
  explicit Histogram(prometheus::Histogram* histogram) : histogram_(histogram) {}
  prometheus::Histogram* histogram_ = nullptr;
};

/// Bucket limits in seconds from 100 microseconds to 60 seconds, for how long things take.
std::vector<double> LatencyBuckets();
/// Bucket limits in bytes from 64 bytes to 16 MiB, by factors of four.
std::vector<double> SizeBuckets();

/// All metrics of a process (or of a test). Thread-safe.
///
/// Names begin with `naru_`, are snake_case, carry the unit (`_seconds`, `_bytes`) and end in `_total` for counters; a
/// name has one kind, one help text and one set of label names. Breaking this is a mistake in the program: it stops.
class MetricRegistry {
 public:
  MetricRegistry();
  ~MetricRegistry();
  MetricRegistry(const MetricRegistry&) = delete;
  MetricRegistry& operator=(const MetricRegistry&) = delete;

  /// The same name and labels give the same time series again.
  Counter AddCounter(absl::string_view name, absl::string_view help, const Labels& labels = {});
  Gauge AddGauge(absl::string_view name, absl::string_view help, const Labels& labels = {});
  Histogram AddHistogram(absl::string_view name, absl::string_view help, const std::vector<double>& buckets,
                         const Labels& labels = {});

  /// While it lives, a callback is asked at each scrape. Destroying it waits for a running scrape.
  class Registration {
   public:
    Registration() = default;
    Registration(Registration&&) noexcept = default;
    Registration& operator=(Registration&& other) noexcept;
    ~Registration() { Reset(); }
    void Reset();

   private:
    friend class MetricRegistry;
    std::shared_ptr<void> token_;
  };
  enum class Kind { kCounter, kGauge };
  /// A value that is known elsewhere. `read` is called from the scraping thread; it must not block.
  [[nodiscard]] Registration AddCallback(Kind kind, absl::string_view name, absl::string_view help,
                                         const Labels& labels, std::function<double()> read);
  /// The same for series whose labels change: `read` returns all of them.
  struct Sample {
    Labels labels;
    double value;
  };
  [[nodiscard]] Registration AddCallbacks(Kind kind, absl::string_view name, absl::string_view help,
                                          std::function<std::vector<Sample>()> read);

  /// Adds `process_*`: resident and virtual memory, processor seconds, open files, threads, start time.
  void AddProcessMetrics();

  /// All metrics in Prometheus' text format 0.0.4.
  std::string Scrape() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace naru
