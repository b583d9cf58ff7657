// What the kernel says about this process, under Prometheus' usual names.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace naru {

/// One number about the process.
struct ProcessMetric {
  std::string name;
  std::string help;
  bool is_counter;
  std::function<double()> read;  ///< thread-safe; 0 where the kernel does not say
};

/// process_resident_memory_bytes and its like.
std::vector<ProcessMetric> ProcessMetrics();

}  // namespace naru
