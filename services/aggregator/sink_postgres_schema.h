// The statements of the PostgreSQL sink. Only for its .cc files and tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "services/aggregator/sink_writer.h"

namespace naru::aggregator {

/// A column of a metric's table.
struct SinkColumn {
  std::string name;
  std::string type;  ///< as PostgreSQL's format_type says it
};

/// The names and statements of one metric's table.
class SinkTable {
 public:
  SinkTable(const SinkLayout& layout, const std::string& schema);

  const std::string& name() const { return name_; }     ///< without schema and quotes
  std::string Quoted() const { return Quoted(name_); }  ///< with both
  std::string Quoted(absl::string_view table) const;    ///< another table of the schema
  std::string Sinks() const { return Quoted("naru_sinks"); }
  const std::vector<SinkColumn>& columns() const { return columns_; }

  std::string CreateTable() const;
  std::string CreateSinks() const;
  /// Takes the rows as JSON in `$1` (see AppendRowJson).
  std::string Upsert() const;
  /// Takes the rows' places as JSON in `$1` (see AppendPlaceJson), and the version (epoch, metric version, position)
  /// that removes no newer row in `$2` to `$4`.
  std::string Remove() const;

  /// The partition that a window belongs to: its name, and from when (text, or MINVALUE) until when it reaches.
  struct Partition {
    std::string name;
    std::string from;
    std::string to;
  };
  Partition PartitionOf(int64_t window_start_us) const;
  /// The end of a partition of this table, from its name; false: the name is not one.
  bool PartitionEnd(absl::string_view partition, int64_t* end_us) const;

  /// Appends a row as the object that Upsert takes.
  void AppendRowJson(const SinkRow& row, int64_t epoch, int64_t position, std::string* out) const;
  /// Appends where a row is as the object that Remove takes.
  static void AppendPlaceJson(const SinkRow& row, std::string* out);

 private:
  const SinkLayout layout_;
  const std::string schema_;
  const std::string name_;
  const bool by_day_;
  std::vector<SinkColumn> columns_;
};

}  // namespace naru::aggregator
