"""Events taken in: durable ingest, imports, latency, memory, starting."""
import json
import os
import random
import shutil
import subprocess
import time

from naru_bench.processes import BIN, ROOT, Naru, PeerServer, Service, cpu_seconds, last_json, load, scratch, turns
from naru_bench.results import human

LOAD = ["--streams", "4", "--batch", "500"]


def types_alone():
    """A pack of the event types and no metric, for what is compared with a peer that counts nothing."""
    pack = os.path.join(ROOT, "build/bench_types")
    os.makedirs(pack, exist_ok=True)
    shutil.copy(os.path.join(ROOT, "deploy/packs/ciao_labella/event_types.yaml"), pack)
    return pack


def naru_ingest(options, pack):
    with scratch() as directory, Naru(directory, "--pack", pack) as naru:
        return load(naru.address, options.seconds, *LOAD, pid=naru.pid)


def redis_ingest(options, window):
    durable = ["--appendonly", "yes", "--appendfsync", "always"]
    with scratch() as directory, PeerServer("redis", directory, *durable) as redis:
        return last_json([f"{BIN}/bench_peers", "redis", "127.0.0.1", str(redis.port), str(options.seconds),
                          str(window)])["events_per_s"]


def grpc_drop_ingest(options):
    server = subprocess.Popen([f"{BIN}/bench_peers", "grpc_drop"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True)
    try:
        port = json.loads(server.stdout.readline())["port"]
        return load(f"127.0.0.1:{port}", options.seconds, *LOAD, pid=server.pid)
    finally:
        server.stdin.close()
        server.wait()


def bench_ingest(options, results):
    medians = turns(options.rounds, naru=lambda: naru_ingest(options, types_alone()),
                    windows=lambda: naru_ingest(options, "ciao_labella"), redis=lambda: redis_ingest(options, 1),
                    redis_deep=lambda: redis_ingest(options, 4), grpc_drop=lambda: grpc_drop_ingest(options))
    ours, drop = medians["naru"], medians["grpc_drop"]
    what = "durable ingest, embedded, against "
    results.ratio(what + "Redis Streams", "events/s", ours["events_per_s"], "Redis", medians["redis"], 6, 2.5)
    results.ratio(what + "a gRPC server that parses and drops", "events/s", ours["events_per_s"], "it",
                  drop["events_per_s"], 1, 0.5)
    results.plain("the same, Redis with four batches under way on each connection, as Naru has",
                  f"{ours['events_per_s'] / medians['redis_deep']:.2f}x (Redis {human(medians['redis_deep'])})")
    windows = medians["windows"]
    results.plain("the same, with all metrics of the pack counted beside",
                  f"{human(windows['events_per_s'])} events/s; {windows['events_per_s'] / medians['redis']:.2f}x Redis",
                  windows["events_per_s"])
    results.plain("the same, processor time an event",
                  f"Naru {ours['server_us']:.2f} us, with the metrics {windows['server_us']:.2f} us; parse and drop "
                  f"{drop['server_us']:.2f} us; the client {ours['client_us']:.2f} us", ours["server_us"])
    results.plain("the same, from sending a batch to its answer",
                  f"p50 {ours['p50_ms']:.1f} ms, p99 {ours['p99_ms']:.1f} ms", ours["p99_ms"])


def bench_kafka(options, results):
    with scratch() as directory, PeerServer("kafka", directory) as kafka:
        brokers = f"127.0.0.1:{kafka.port}"

        def peer_side():
            topic = f"peer{random.randrange(1 << 30)}"
            return last_json([f"{BIN}/bench_peers", "rdkafka", brokers, topic, str(options.seconds)])["events_per_s"]

        def naru_side(alone):
            topics = ["--kafka_brokers", brokers, "--kafka_topic_prefix", f"bench{random.randrange(1 << 30)}."]
            with scratch() as state:
                naru = (Service("naru-ingest", "--state_dir", state, *topics) if alone
                        else Naru(state, "--pack", "ciao_labella", *topics))
                with naru:
                    if alone:
                        naru.naru("apply", "-f", types_alone())
                    # As much under way as the peer has.
                    return load(naru.address, options.seconds, *LOAD, "--window", "32", pid=naru.pid)

        medians = turns(options.rounds, rdkafka=peer_side, naru=lambda: naru_side(True),
                        windows=lambda: naru_side(False))
        ours, windows = medians["naru"], medians["windows"]
        results.ratio("durable ingest on Kafka, against librdkafka's producer", "events/s", ours["events_per_s"],
                      "librdkafka", medians["rdkafka"], 0.7, 0.35)
        results.plain("the same, `naru up` with all metrics of the pack counted beside",
                      f"{human(windows['events_per_s'])} events/s; "
                      f"{windows['events_per_s'] / medians['rdkafka']:.2f}x librdkafka", windows["events_per_s"])
        results.plain("the same, processor time an event",
                      f"naru-ingest {ours['server_us']:.2f} us, `naru up` {windows['server_us']:.2f} us",
                      ours["server_us"])


def write_import_file(path, lines):
    generator = random.Random(1)
    menus, regions = ["ecopoint1", "ecopoint2", "nolabel", "lesswaste"], ["11", "26", "27", "28"]
    with open(path, "w") as f:
        for i in range(lines):
            f.write(json.dumps({
                "id": f"{generator.getrandbits(128):032x}", "source": "bench", "type": "UserClickMenu",
                "subject": f"m{generator.randrange(100000)}",
                "time": "2026-01-01T%02d:%02d:%02dZ" % (i // 3600 % 24, i // 60 % 60, i % 60),
                "data": {"selected_menu": generator.choice(menus), "user_age": 15 + i % 60,
                         "user_region": generator.choice(regions)}}, separators=(",", ":")) + "\n")


def bench_import(options, results):
    lines = options.import_lines
    with scratch() as directory:
        path = f"{directory}/events.ndjson"
        write_import_file(path, lines)

        def run(pack):
            with scratch() as data, Naru(data, "--pack", pack) as naru:
                start, cpu = time.monotonic(), cpu_seconds(naru.pid)
                answer = last_json([f"{BIN}/naru", "import", path, "--format", "ndjson", "--address", naru.address,
                                    "--output", "json"])
                if answer["accepted"] != lines:
                    raise RuntimeError(f"the import took {answer}")
                return {"lines_per_s": lines / (time.monotonic() - start),
                        "server_us": (cpu_seconds(naru.pid) - cpu) / lines * 1e6}

        medians = turns(options.rounds, naru=lambda: run(types_alone()), windows=lambda: run("ciao_labella"))
        ours, windows = medians["naru"], medians["windows"]
        results.value("import of NDJSON", "lines/s", ours["lines_per_s"], 1.2e6, 0.4e6)
        results.plain("the same, with all metrics of the pack counted beside", f"{human(windows['lines_per_s'])} lines/s",
                      windows["lines_per_s"])
        results.plain("the same, processor time a line", f"{ours['server_us']:.2f} us", ours["server_us"])


def bench_latency(options, results):
    with scratch() as directory, Naru(directory, "--pack", types_alone()) as naru:
        load(naru.address, 1, "--unary", "--rate", "1000")  # connections, caches and the write-ahead log are warm

        def sync():
            return last_json([f"{BIN}/bench_peers", "fdatasync", directory, str(options.seconds)])["p99_ms"]

        medians = turns(options.rounds, naru=lambda: load(naru.address, options.seconds, "--unary", "--rate", "1000"),
                        fdatasync=sync)
        results.ratio("p99 of a unary publish at 1,000/s", "ms", medians["naru"]["p99_ms"], "fdatasync",
                      medians["fdatasync"], 3, 8, lower=True)
        results.plain("the same, p50", f"{medians['naru']['p50_ms']:.2f} ms", medians["naru"]["p50_ms"])


def bench_memory(options, results):
    count = f"{options.memory_events / 1e6:g} M events"
    with scratch() as directory:
        with Naru(directory, "--pack", "ciao_labella") as naru:
            time.sleep(3)
            results.value("memory, idle", "MiB", naru.memory_mib(), 64, 128, lower=True)
            load(naru.address, 600, *LOAD, "--events", str(options.memory_events))
            peak = naru.memory_mib("VmHWM")
            results.value(f"memory, most while ingesting {count}", "MiB", peak, 256, 512, lower=True)
            client = subprocess.Popen([f"{BIN}/ingest_bench", "--address", naru.address, "--seconds", "30"],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(3)
            naru.kill()
            client.wait()
        with Naru(directory, "--pack", "ciao_labella") as naru:
            results.value("ready after kill -9 under load", "s", naru.ready_s, 2, 3, lower=True)
        with Naru(directory, "--pack", "ciao_labella") as naru:
            results.value(f"ready with {count}", "s", naru.ready_s, 1.5, 3, lower=True)


def bench_ready(options, results):
    def run():
        with scratch() as directory, Naru(directory) as naru:
            return naru.ready_s

    results.value("ready, empty", "s", turns(max(5, options.rounds), naru=run)["naru"], 0.3, 3, lower=True)
