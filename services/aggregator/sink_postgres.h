// Rows in PostgreSQL, for SQL and dashboards: a table for each metric, named as catalog::SinkTableName says, in a
// schema.
//
//   window_start, window_end   timestamptz; the table is partitioned by window_start, by day or month
//   naru_group                 uuid, the hash of the group; with the window the primary key
//   one for each dimension     text (null: the null group)
//   one for each measure       bigint (counts), numeric (sum, min, max), jsonb (first, last, top_k, histogram), else
//                              double precision
//   final, revision, truncated
//   naru_metric_version, naru_epoch, naru_position   the row's version
//   naru_expire_time           when the metric's retention is over for the row
//   naru_errors                jsonb: measures that have an error instead of a value
//   naru_valid_from            where the log no longer reached back to the window's beginning
//
// A metric that changes keeps its table: new measures become new columns, columns of measures that are gone stay and
// are null. The rows of the new version replace all rows of the old one in one transaction. A partition is dropped when
// the last of its rows has expired. The table `naru_sinks` of the schema says who writes what, and how far.
#pragma once

#include <memory>
#include <string>

#include "common/clock/clock.h"
#include "common/postgres/postgres_connection.h"
#include "services/aggregator/sink_writer.h"

namespace naru::aggregator {

/// `schema` is made where it is missing; empty: public.
std::unique_ptr<SinkWriter> MakePostgresSinkWriter(const postgres::PostgresOptions& options, const std::string& schema);

}  // namespace naru::aggregator
