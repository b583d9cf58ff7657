// How to reach a Kafka cluster.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>

#include "absl/strings/string_view.h"

namespace naru::kafka {

struct ClientOptions {
  std::string brokers;             ///< `host:port`, comma-separated
  std::string client_id = "naru";  ///< shown in the brokers' logs and quotas
  /// librdkafka's own settings by name (`security.protocol`, `sasl.username`, ...); they win over the defaults here.
  std::map<std::string, std::string> properties;
  /// Gets librdkafka's statistics (JSON) every `statistics_interval`, on a thread of the client; must not block.
  std::function<void(absl::string_view json)> on_statistics;
  std::chrono::milliseconds statistics_interval{0};  ///< 0 = none
};

}  // namespace naru::kafka
