#include "tests/bench/load.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "common/clock/clock.h"
#include "common/event/event_writer.h"

namespace naru::bench {
namespace {

constexpr const char* kMenus[] = {"ecopoint1", "ecopoint2", "nolabel", "lesswaste"};
constexpr const char* kGenders[] = {"F", "M"};
constexpr const char* kRegions[] = {"11", "26", "27", "28", "29", "30", "31", "41"};

std::string MakeEvent(Random& random, int64_t now_us) {
  const uint64_t bits = random.Next();
  std::string data;
  event::StructWriter writer(&data);
  writer.AddString("selected_menu", kMenus[bits & 3]);
  writer.AddNumber("user_age", 15 + static_cast<double>((bits >> 8) % 60));
  writer.AddString("user_gender", kGenders[(bits >> 2) & 1]);
  writer.AddString("user_region", kRegions[(bits >> 3) & 7]);
  const std::string id = absl::StrFormat("%016x%016x", random.Next(), random.Next());
  const std::string subject = absl::StrFormat("m%d", (bits >> 16) % 100000);
  event::EventFields fields;
  fields.id = id;
  fields.source = "bench";
  fields.type = "UserClickMenu";
  fields.subject = subject;
  fields.has_time = true;
  fields.time_us = now_us - static_cast<int64_t>((bits >> 40) % 1000000);
  fields.data = data;
  std::string out;
  event::AppendEvent(fields, &out);
  return out;
}

}  // namespace

std::vector<std::string> MakeEvents(uint64_t seed, int count) {
  SeededRandom random(seed);
  const int64_t now_us = Clock::System()->NowMicros();
  std::vector<std::string> events;
  events.reserve(count);
  for (int i = 0; i < count; ++i) events.push_back(MakeEvent(random, now_us));
  return events;
}

std::string MakePublishRequest(uint64_t seed, int count) {
  std::string request;
  for (const std::string& event : MakeEvents(seed, count)) event::AppendPublishEntry(event, &request);
  return request;
}

double Quantile(std::vector<double>& samples, double quantile) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  return samples[std::min(samples.size() - 1, static_cast<size_t>(quantile * samples.size()))];
}

}  // namespace naru::bench
