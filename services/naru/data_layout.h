// What lies where in a data directory.
#pragma once

#include <string>

namespace naru::cli {

/// The event log and what is written together with it.
inline std::string LogDirectory(const std::string& data_dir) { return data_dir + "/log"; }
/// Ids seen, for de-duplication; can be read back from the log.
inline std::string IngestDirectory(const std::string& data_dir) { return data_dir + "/ingest"; }
/// The aggregator's serving view; can be rebuilt from the log.
inline std::string AggregatorDirectory(const std::string& data_dir) { return data_dir + "/aggregator"; }

}  // namespace naru::cli
