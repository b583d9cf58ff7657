// The rules of each kind; see validate.h.
#pragma once

#include "common/catalog/problem_list.h"
#include "common/catalog/test_runners.h"

namespace naru::catalog::v1 {
class EventType;
class Funnel;
class InputFormat;
class Metric;
class Retention;
class Sink;
class Source;
class Window;
}  // namespace naru::catalog::v1

namespace naru::catalog {

void ValidateEventType(const v1::EventType& type, ProblemList* problems);
void ValidateInputFormat(const v1::InputFormat& format, ProblemList* problems);
void ValidateMetric(const v1::Metric& metric, const ResourceLookup& lookup, ProblemList* problems);
void ValidateWindow(const v1::Window& window, ProblemList* problems);
void ValidateFunnel(const v1::Funnel& funnel, const ResourceLookup& lookup, ProblemList* problems);
void ValidateRetention(const v1::Retention& retention, const ResourceLookup& lookup, ProblemList* problems);
void ValidateSource(const v1::Source& source, const ResourceLookup& lookup, ProblemList* problems);
void ValidateSink(const v1::Sink& sink, const ResourceLookup& lookup, ProblemList* problems);

/// Adds what `next` would refuse that `current` accepted.
void CheckEventTypeChange(const v1::EventType& current, const v1::EventType& next, ProblemList* problems);

/// Most dimensions of a metric or a funnel.
inline constexpr int kMaxDimensions = 16;

/// Most panes that one window may be made of.
inline constexpr int kMaxPanesAWindow = 2000;

}  // namespace naru::catalog
