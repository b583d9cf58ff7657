#include "common/metrics/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/metrics/process_metrics.h"
#include "common/sync/mutex.h"

namespace naru {
namespace {

[[noreturn]] void Refuse(absl::string_view name, absl::string_view why) {
  std::fprintf(stderr, "metric %s: %s\n", std::string(name).c_str(), std::string(why).c_str());
  std::abort();
}

bool IsName(absl::string_view name) {
  for (const char c : name) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) return false;
  }
  return !name.empty() && !(name[0] >= '0' && name[0] <= '9');
}

void CheckName(absl::string_view name, absl::string_view help) {
  if (!IsName(name) || !(absl::StartsWith(name, "naru_") || absl::StartsWith(name, "process_"))) {
    Refuse(name, "names begin with naru_ and are snake_case");
  }
  if (help.empty()) Refuse(name, "every metric has a help text");
}

}  // namespace

void Counter::Increment(double by) {
  if (counter_ != nullptr && by > 0) counter_->Increment(by);
}
double Counter::Value() const { return counter_ == nullptr ? 0 : counter_->Value(); }
void Gauge::Set(double value) {
  if (gauge_ != nullptr) gauge_->Set(value);
}
void Gauge::Add(double by) {
  if (gauge_ != nullptr) gauge_->Increment(by);
}
double Gauge::Value() const { return gauge_ == nullptr ? 0 : gauge_->Value(); }
void Histogram::Observe(double value) {
  if (histogram_ != nullptr) histogram_->Observe(value);
}

std::vector<double> LatencyBuckets() {
  return {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
}
std::vector<double> SizeBuckets() { return {64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216}; }

struct MetricRegistry::State {
  // What a name was first registered as; the same name must stay the same thing.
  struct Definition {
    prometheus::MetricType type;
    std::string help;
    std::vector<std::string> label_names;
    void* family = nullptr;
  };
  struct Callback {
    prometheus::MetricType type;
    std::string name;
    std::string help;
    std::function<std::vector<Sample>()> read;
  };

  prometheus::Registry registry;
  Mutex mu;
  std::map<std::string, Definition, std::less<>> definitions ABSL_GUARDED_BY(mu);
  // Held while callbacks run, so that taking one out waits for them. Never taken together with mu.
  Mutex callbacks_mu;
  std::map<int64_t, Callback> callbacks ABSL_GUARDED_BY(callbacks_mu);
  int64_t next_callback ABSL_GUARDED_BY(callbacks_mu) = 0;

  Definition& Define(prometheus::MetricType type, absl::string_view name, absl::string_view help, const Labels& labels)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
};

MetricRegistry::State::Definition& MetricRegistry::State::Define(prometheus::MetricType type, absl::string_view name,
                                                                 absl::string_view help, const Labels& labels) {
  CheckName(name, help);
  std::vector<std::string> label_names;
  for (const auto& [label, value] : labels) {
    if (!IsName(label)) Refuse(name, absl::StrCat("label ", label, " is not snake_case"));
    label_names.push_back(label);
  }
  const auto [it, added] = definitions.try_emplace(std::string(name), Definition{type, std::string(help), label_names});
  const Definition& known = it->second;
  if (!added && (known.type != type || known.help != help || known.label_names != label_names)) {
    Refuse(name, "registered before with another kind, help text or set of labels");
  }
  return it->second;
}

MetricRegistry::MetricRegistry() : state_(std::make_shared<State>()) {}
MetricRegistry::~MetricRegistry() = default;

Counter MetricRegistry::AddCounter(absl::string_view name, absl::string_view help, const Labels& labels) {
  if (!absl::EndsWith(name, "_total")) Refuse(name, "counters end in _total");
  MutexLock lock(&state_->mu);
  State::Definition& definition = state_->Define(prometheus::MetricType::Counter, name, help, labels);
  if (definition.family == nullptr) {
    definition.family =
        &prometheus::BuildCounter().Name(std::string(name)).Help(definition.help).Register(state_->registry);
  }
  return Counter(&static_cast<prometheus::Family<prometheus::Counter>*>(definition.family)->Add(labels));
}

Gauge MetricRegistry::AddGauge(absl::string_view name, absl::string_view help, const Labels& labels) {
  MutexLock lock(&state_->mu);
  State::Definition& definition = state_->Define(prometheus::MetricType::Gauge, name, help, labels);
  if (definition.family == nullptr) {
    definition.family =
        &prometheus::BuildGauge().Name(std::string(name)).Help(definition.help).Register(state_->registry);
  }
  return Gauge(&static_cast<prometheus::Family<prometheus::Gauge>*>(definition.family)->Add(labels));
}

Histogram MetricRegistry::AddHistogram(absl::string_view name, absl::string_view help,
                                       const std::vector<double>& buckets, const Labels& labels) {
  MutexLock lock(&state_->mu);
  State::Definition& definition = state_->Define(prometheus::MetricType::Histogram, name, help, labels);
  if (definition.family == nullptr) {
    definition.family =
        &prometheus::BuildHistogram().Name(std::string(name)).Help(definition.help).Register(state_->registry);
  }
  return Histogram(&static_cast<prometheus::Family<prometheus::Histogram>*>(definition.family)->Add(labels, buckets));
}

MetricRegistry::Registration MetricRegistry::AddCallback(Kind kind, absl::string_view name, absl::string_view help,
                                                         const Labels& labels, std::function<double()> read) {
  return AddCallbacks(kind, name, help, [labels, read = std::move(read)] {
    return std::vector<Sample>{{labels, read()}};
  });
}

MetricRegistry::Registration MetricRegistry::AddCallbacks(Kind kind, absl::string_view name, absl::string_view help,
                                                          std::function<std::vector<Sample>()> read) {
  CheckName(name, help);
  const auto type = kind == Kind::kCounter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
  int64_t id = 0;
  {
    MutexLock lock(&state_->callbacks_mu);
    id = state_->next_callback++;
    state_->callbacks[id] = {type, std::string(name), std::string(help), std::move(read)};
  }
  Registration registration;
  // The deleter keeps the state alive: a registration may outlive its registry.
  registration.token_ = std::shared_ptr<void>(this, [state = state_, id](void*) {
    MutexLock lock(&state->callbacks_mu);
    state->callbacks.erase(id);
  });
  return registration;
}

MetricRegistry::Registration& MetricRegistry::Registration::operator=(Registration&& other) noexcept {
  token_ = std::move(other.token_);
  return *this;
}
void MetricRegistry::Registration::Reset() { token_.reset(); }

void MetricRegistry::AddProcessMetrics() {
  MutexLock lock(&state_->callbacks_mu);
  for (const ProcessMetric& metric : ProcessMetrics()) {
    const auto type = metric.is_counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
    state_->callbacks[state_->next_callback++] = {type, metric.name, metric.help, [read = metric.read] {
                                                    return std::vector<Sample>{{{}, read()}};
                                                  }};
  }
}

std::string MetricRegistry::Scrape() const {
  std::vector<prometheus::MetricFamily> families = state_->registry.Collect();
  // Several callbacks may feed one name (one a partition, say): the text format wants them together.
  std::map<std::string, prometheus::MetricFamily> called;
  {
    MutexLock lock(&state_->callbacks_mu);
    for (const auto& [id, callback] : state_->callbacks) {
      prometheus::MetricFamily& family = called[callback.name];
      family.name = callback.name;
      family.help = callback.help;
      family.type = callback.type;
      for (const Sample& sample : callback.read()) {
        prometheus::ClientMetric metric;
        for (const auto& [label, value] : sample.labels) metric.label.push_back({label, value});
        (callback.type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = sample.value;
        family.metric.push_back(std::move(metric));
      }
    }
  }
  for (auto& [name, family] : called) families.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace naru
