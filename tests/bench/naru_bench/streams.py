"""Windows of streams on Kafka: against Spark Structured Streaming, and what transactions cost."""
import itertools
import json
import subprocess
import time

from naru_bench import peers
from naru_bench.processes import BIN, Naru, PeerServer, Service, cpu_seconds, last_json, load, scratch, turns
from naru_bench.results import human
from naru_bench.windows import (first_metric, make_pack, must_agree, simulate, thirteen_sums_tumbling,
                                windows_of_naru)

COUNTED = itertools.count()
REALTIME = ("events", "active_users", "sessions", "event_types", "screens")


def kafka_flags(kafka, prefix):
    return ["--kafka_brokers", f"127.0.0.1:{kafka.port}", "--kafka_topic_prefix", prefix]


def apply(service, path):
    subprocess.run([f"{BIN}/naru", "apply", "-f", path, "--address", service.address], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def count_anew(kafka, pack, fill, events, check, *args):
    """Fills a new topic `events`, then counts it with a new aggregator: one that has counted before, or a metric that
    comes later, would take other ways."""
    prefix = f"count{next(COUNTED)}."
    with scratch() as directory:
        with Service("naru-ingest", *kafka_flags(kafka, prefix), "--state_dir", f"{directory}/ids") as ingest:
            apply(ingest, pack)
            fill(ingest)
        with Service("naru-aggregator", *kafka_flags(kafka, prefix), "--state_dir", f"{directory}/view",
                     *args) as aggregator:
            sample = counting(aggregator, events)
            check(aggregator)
    return sample


def counting(service, events, timeout_s=600):
    """Waits until a service that has just begun has counted so many events. What it cost goes from the start of its
    process for processor time, and from the first events for the rate."""
    end, first = time.monotonic() + timeout_s, None
    while True:
        counted, now = service.metric("naru_aggregator_events_total"), time.monotonic()
        first = first or ((now, counted) if counted else None)
        if counted >= events:
            break
        if now > end or service.process.poll() is not None:
            raise RuntimeError(f"{service.program} counted {counted:.0f} of {events} events")
        time.sleep(0.05)
    rate = (counted - first[1]) / (now - first[0]) if counted > first[1] else 0
    return {"events_per_s": rate, "events_per_cpu_s": events / cpu_seconds(service.pid),
            "peak_mib": service.memory_mib("VmHWM")}


# --- Spark -----------------------------------------------------------------------------------------------------------

def same_windows(ours, theirs):
    """Counts are equal, distinct numbers within what Spark states (5 % standard error)."""
    must_agree("the windows", sorted(ours), sorted(theirs))
    for start, row in ours.items():
        other = theirs[start]
        for name in ("events", "event_types", "screens"):
            must_agree(f"{name} at {start}", tops_of(row[name]), tops_of(other[name]))
        for name in ("active_users", "sessions"):
            if abs(row[name] - other[name]) > 0.2 * max(row[name], 20):
                must_agree(f"{name} at {start}", row[name], other[name])


def tops_of(value):
    """The counts of a top_k: where several keys have the same count, which is the tenth is arbitrary."""
    if isinstance(value, dict):
        return sorted(value.values(), reverse=True)
    return sorted((entry["count"] for entry in value), reverse=True) if isinstance(value, list) else value


def realtime_rows(service):
    rows = windows_of_naru(service.naru("query", "realtime"), (), REALTIME)
    return {start: {name: row.get(name, []) for name in REALTIME} for (start,), row in rows.items()}


def bench_spark(options, results):
    events = options.stream_events
    with scratch() as directory, PeerServer("kafka", f"{directory}/kafka", "num.partitions=2") as kafka:
        brokers = f"127.0.0.1:{kafka.port}"
        simulate(f"{directory}/lines", "--pack", "zigbang", "--as_lines", "--events", str(events))
        last_json([f"{BIN}/bench_peers", "produce", brokers, "app-log", f"{directory}/lines"])
        theirs = peers.spark(brokers, "app-log", options.rounds, f"{directory}/rows.ndjson")
        with open(f"{directory}/rows.ndjson") as f:
            their_rows = {row["start"]: row for row in map(json.loads, f)}
        must_agree("the number of events", events, theirs["events"])
        make_pack(f"{directory}/pack", "zigbang", metrics=first_metric("zigbang"))
        medians = turns(options.rounds, topic=lambda: from_events_topic(kafka, directory, events, their_rows),
                        raw=lambda: from_raw_topic(kafka, directory, events, their_rows))
    job = "Zigbang's real-time job, Spark Structured Streaming local[2] warm, "
    sides = (("topic", "from the `events` topic", 8, 3), ("raw", "from a raw topic", 4, 1.5))
    for side, what, reach, defect in sides:
        ours = medians[side]
        results.ratio(f"{job}{what}", "events per CPU-second", ours["events_per_cpu_s"], "Spark",
                      theirs["events_per_cpu_s"], reach, defect)
        results.ratio(f"the same, memory {what}", "MiB", ours["peak_mib"], "Spark", theirs["peak_mib"], 0.1, 0.2,
                      lower=True)
        results.plain(f"the same, {what}, by the clock", f"{human(ours['events_per_s'])} events/s; Spark "
                      f"{human(theirs['events_per_s'])}", ours["events_per_s"])
    cold = theirs["cold_events_per_cpu_s"]
    results.plain("the same, Spark before it is warm", f"{human(cold)} events per CPU-second", cold)


def from_events_topic(kafka, directory, events, expected):
    """The aggregator alone, from events that ingest has put there."""
    def fill(ingest):
        answer = last_json([f"{BIN}/naru", "import", f"{directory}/lines", "--format", "zigbang-lines", "--address",
                            ingest.address, "--output", "json"])
        must_agree("the number of lines", events, answer["accepted"])

    return count_anew(kafka, f"{directory}/pack", fill, events,
                      lambda aggregator: same_windows(realtime_rows(aggregator), expected))


def from_raw_topic(kafka, directory, events, expected):
    """Everything in one process: the source, ingest with its log on Kafka, windows."""
    with scratch() as data:
        source = json.dumps({"apiVersion": "naru.dev/v1", "kind": "Source", "metadata": {"name": "app-log"},
                             "spec": {"kafka": {"brokers": [f"127.0.0.1:{kafka.port}"], "topics": ["app-log"],
                                                "start": "earliest"}, "format": "zigbang-lines"}})
        pack = make_pack(f"{data}/pack", "zigbang", metrics=first_metric("zigbang"), source=source)
        prefix = f"{data.rpartition('-')[2]}."
        with Naru(f"{data}/data", "--pack", pack, *kafka_flags(kafka, prefix)) as naru:
            sample = counting(naru, events)
            same_windows(realtime_rows(naru), expected)
        return sample


# --- Transactions ----------------------------------------------------------------------------------------------------

def bench_transactions(options, results):
    events = options.stream_events
    with scratch() as directory, PeerServer("kafka", f"{directory}/kafka") as kafka:
        pack = make_pack(f"{directory}/pack", "ciao_labella", metrics=thirteen_sums_tumbling())

        def run(interval):
            return count_anew(kafka, pack, lambda ingest: load(ingest.address, 600, "--events", str(events)), events,
                              lambda aggregator: must_agree("the clicks", events, clicks(aggregator)),
                              "--commit_interval", interval)

        medians = turns(options.rounds, at_200_ms=lambda: run("200ms"), none=lambda: run("60s"))
    ours, none = medians["at_200_ms"], medians["none"]
    results.ratio("transactions on Kafka at 200 ms against none, counting a topic", "events/s", ours["events_per_s"],
                  "none", none["events_per_s"], 0.85, 0.6)
    results.plain("the same, events per CPU-second", f"{human(ours['events_per_cpu_s'])}; none "
                  f"{human(none['events_per_cpu_s'])}", ours["events_per_cpu_s"])


def clicks(service):
    row_sums = (sum(value for name, value in row["measures"].items() if name.startswith("menu_"))
                for row in service.naru("query", "hot-activity", "--group_by", "none"))
    return sum(row_sums)
