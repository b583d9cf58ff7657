// How sinks take their time.
#pragma once

#include <chrono>

namespace naru::aggregator {

/// The same for all Sinks.
struct SinkPace {
  std::chrono::milliseconds first_retry{200};  ///< doubled with each failure
  std::chrono::milliseconds max_retry{10'000};
  std::chrono::milliseconds check_interval{5'000};    ///< how often an idle store is asked whether it was emptied
  std::chrono::milliseconds expire_interval{60'000};  ///< how often space is given back
  std::chrono::milliseconds poll{50};                 ///< how often a run looks whether something changed
  std::chrono::milliseconds turn_at_least{1'000};     ///< how often it looks also when nothing changed but the time
  std::chrono::milliseconds update_interval{100};     ///< how often what runs is brought in line with the catalog
  std::chrono::milliseconds max_call{90'000};         ///< longer than any time limit of the stores' own
};

}  // namespace naru::aggregator
