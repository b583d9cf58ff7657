"""Zigbang's real-time job in Spark Structured Streaming; naru_bench.peers runs it in the environment of pyspark.

    spark_peer.py JARS BROKERS TOPIC PASSES ROWS_FILE

Reads the lines of a topic from its beginning to its end: five-minute windows of events, distinct users and sessions,
the ten most frequent event types and screens. The first pass warms the virtual machine up and is not counted. The
windows of the last pass go to ROWS_FILE. The last line of output is JSON: medians of the passes, and the most memory
of the JVM.
"""
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time

from pyspark.sql import SparkSession  # pylint: disable=import-error
from pyspark.sql import functions as f  # pylint: disable=import-error

TICKS = os.sysconf("SC_CLK_TCK")
NOBODY = ["", "null", "None", "-"]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mib(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1)) / 1024


def open_spark(jars, directory):
    """Two threads, as many partitions; the rest as Spark comes."""
    return (SparkSession.builder.master("local[2]").appName("zigbang-realtime")
            .config("spark.jars", jars).config("spark.sql.shuffle.partitions", "2")
            .config("spark.ui.enabled", "false").config("spark.local.dir", directory)
            .config("spark.sql.session.timeZone", "UTC").getOrCreate())


def windows(spark, brokers, topic):
    lines = (spark.readStream.format("kafka").option("kafka.bootstrap.servers", brokers).option("subscribe", topic)
             .option("startingOffsets", "earliest").option("maxOffsetsPerTrigger", "500000").load())
    column = f.split(f.col("value").cast("string"), r"\|", 10)

    def somebody(index):
        return f.when(~column[index].isin(NOBODY), column[index])

    events = lines.select(f.timestamp_millis(column[0].cast("bigint")).alias("time"), somebody(1).alias("user"),
                          somebody(2).alias("session"), column[3].alias("type"),
                          f.from_json(column[9], "screen_name string").screen_name.alias("screen"))
    # An hour of patience, so that nothing is dropped because one partition is read ahead of another.
    return (events.withWatermark("time", "1 hour").groupBy(f.window("time", "5 minutes").start.alias("start"))
            .agg(f.count("*").alias("events"), f.approx_count_distinct("user").alias("active_users"),
                 f.approx_count_distinct("session").alias("sessions"),
                 f.expr("approx_top_k(type, 10)").alias("event_types"),
                 f.expr("approx_top_k(screen, 10) FILTER (WHERE screen IS NOT NULL)").alias("screens")))


def run(spark, pid, brokers, topic, name, directory):
    """One pass; returns its cost. The rows are in the table `name`, a row each time that its window changed."""
    start, cpu_s = time.monotonic(), cpu_seconds(pid)
    query = (windows(spark, brokers, topic).writeStream.outputMode("update").format("memory").queryName(name)
             .option("checkpointLocation", f"{directory}/{name}").trigger(availableNow=True).start())
    query.awaitTermination()
    seconds, cpu_s = time.monotonic() - start, cpu_seconds(pid) - cpu_s
    events = sum(progress["numInputRows"] for progress in query.recentProgress)
    return {"events": events, "events_per_s": events / seconds, "events_per_cpu_s": events / cpu_s}


def write_rows(spark, table, path):
    last = spark.sql(f"SELECT start, max_by(struct(*), events) AS row FROM {table} GROUP BY start").select("row.*")
    with open(path, "w") as file:
        for row in last.collect():
            values = {name: row[name] for name in ("events", "active_users", "sessions")}
            for name in ("event_types", "screens"):
                values[name] = {entry["item"]: entry["count"] for entry in row[name]}
            file.write(json.dumps({"start": int(row["start"].timestamp()), **values}) + "\n")


def main():
    jars, brokers, topic, passes, rows_path = sys.argv[1:6]
    directory = tempfile.mkdtemp(prefix="naru-bench-spark-")
    try:
        spark = open_spark(jars, directory)
        pid = spark._jvm.java.lang.ProcessHandle.current().pid()  # pylint: disable=protected-access
        samples = [run(spark, pid, brokers, topic, f"pass{i}", directory) for i in range(int(passes) + 1)]
        write_rows(spark, f"pass{passes}", rows_path)
        medians = {name: statistics.median(sample[name] for sample in samples[1:]) for name in samples[0]}
        cold = samples[0]["events_per_cpu_s"]
        print(json.dumps({**medians, "cold_events_per_cpu_s": cold, "peak_mib": peak_mib(pid)}))
        spark.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
