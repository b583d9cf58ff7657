"""Windows: the kernel, from the log, from NDJSON, growth, answers."""
import json
import os
import re
import shutil
import subprocess
import time
from datetime import datetime

from naru_bench import peers
from naru_bench.processes import BIN, ROOT, Naru, all_json, cpu_seconds, last_json, scratch, turns
from naru_bench.results import human

# A day that is over: the same events whenever it is run. None late, twice or broken: the peers know none of that.
SIMULATED = ["--from", "2026-01-05", "--days", "1", "--late_share", "0", "--duplicate_share", "0",
             "--broken_share", "0"]


def first_metric(pack):
    """The first metric of a pack, without its tests, as YAML."""
    with open(f"{ROOT}/deploy/packs/{pack}/metrics.yaml") as f:
        return f.read().partition("\n---\n")[0].partition("\ntests:\n")[0] + "\n"


def thirteen_sums_tumbling():
    """The 13 sums of Ciao laBella, each window for itself, as a GROUP BY has them."""
    hopping, tumbling = "{type: hopping, size: 60m, slide: 5m}", "{type: tumbling, size: 5m}"
    text = first_metric("ciao_labella")
    if hopping not in text:
        raise RuntimeError("the first metric of ciao_labella is not the one that was measured before")
    return text.replace(hopping, tumbling)


def make_pack(directory, pack, **files):
    """A pack of the event types and formats of `pack` and of the documents given, by name of the file."""
    os.makedirs(directory)
    for name in ("event_types.yaml", "input_format.yaml"):
        shutil.copy(f"{ROOT}/deploy/packs/{pack}/{name}", directory)
    for name, text in files.items():
        with open(f"{directory}/{name}.yaml", "w") as f:
            f.write(text)
    return directory


def simulate(path, *args):
    """Writes what `naru simulate` prints."""
    with open(path, "w") as f:
        subprocess.run([f"{BIN}/naru", "simulate", *args, *SIMULATED], stdout=f, check=True)


def must_agree(what, ours, theirs):
    """A faster wrong answer is no measurement."""
    if ours != theirs:
        raise RuntimeError(f"the sides disagree on {what}: {ours} and {theirs}")


# --- The kernel ------------------------------------------------------------------------------------------------------

def bench_kernel(options, results):
    del options
    for name in ("event_log_bench", "aggregator_bench"):
        with scratch() as directory:
            answers = all_json([f"{BIN}/{name}", "--dir", f"{directory}/data"])
        for answer in answers:
            rates = [f"{human(value)} {field.replace('_', ' ')}" for field, value in answer.items()
                     if re.search("_per_(s|second|cpu_second)$", field)]
            what = " ".join(filter(None, [answer.get("bench", "event_log").replace("_", " "), answer.get("case")]))
            results.plain(what, ", ".join(rates))


def bench_windows(options, results):
    agreed = ("groups", "count", "sum", "check")
    for keys in (5_000, 100_000):
        with scratch() as directory:
            path = f"{directory}/rows"
            subprocess.run([f"{BIN}/window_bench", "make", path, str(options.rows), str(keys)], check=True)

            count = [f"{BIN}/window_bench", "count", path, "5"]
            medians = turns(options.rounds, naru=lambda count=count: last_json(count),
                            clickhouse=lambda path=path: peers.clickhouse("group_by", path, 5))
        must_agree("the windows", *[[side[field] for field in agreed] for side in medians.values()])
        results.ratio(f"window kernel alone, tumbling count + sum over {keys:,} keys, one core", "rows/s",
                      medians["naru"]["rows_per_s"], "ClickHouse", medians["clickhouse"]["rows_per_s"], 1, 0.3)

    def from_log():
        with scratch() as directory:
            answers = all_json([f"{BIN}/aggregator_bench", "--dir", f"{directory}/data", "--part", "log", "--events",
                                str(options.log_events)])
        return {answer["case"].split()[2]: answer["events_per_cpu_second"] for answer in answers}

    ours = turns(options.rounds, naru=from_log)["naru"]
    results.value("event bytes in the log -> 13 sums of Ciao laBella (hopping), one core", "events/s", ours["hopping"],
                  3e6, 1e6)
    results.ratio("hopping 60 min / 5 min against tumbling 5 min, from the log", "events/s", ours["hopping"],
                  "tumbling", ours["tumbling"], 0.8, 0.4)


# --- NDJSON ----------------------------------------------------------------------------------------------------------

def windows_of_naru(rows, dimensions, measures):
    """Rows of `naru query` by (start, group), measures that nothing was counted in left out."""
    windows = {}
    for row in rows:
        start = datetime.fromisoformat(row["window_start"].replace("Z", "+00:00")).timestamp()
        group = tuple(row["group"].get(name) for name in dimensions)
        windows[(int(start), *group)] = {name: row["measures"][name] for name in measures if row["measures"][name]}
    return windows


def windows_of_clickhouse(path, dimensions, measures):
    windows = {}
    with open(path) as f:
        for row in map(json.loads, f):
            group = tuple(row[name] for name in dimensions)
            windows[(row["start"], *group)] = {name: row[name] for name in measures if row[name]}
    return windows


def bench_ndjson(options, results):
    lines, threads = options.import_lines, os.cpu_count()
    dimensions = ("gender", "age_band", "region")
    answers = {}
    with scratch() as directory:
        path = f"{directory}/events.ndjson"
        simulate(path, "--pack", "ciao_labella", "--print", "--events", str(lines))
        pack = make_pack(f"{directory}/pack", "ciao_labella", metrics=thirteen_sums_tumbling())

        def naru_side():
            with scratch() as data, Naru(data, "--pack", pack) as naru:
                start, cpu_s = time.monotonic(), cpu_seconds(naru.pid)
                answer = last_json([f"{BIN}/naru", "import", path, "--format", "ndjson", "--address", naru.address,
                                    "--output", "json"])
                naru.naru("query", "hot-activity", "--limit", "1")  # waits until all is counted
                seconds, cpu_s = time.monotonic() - start, cpu_seconds(naru.pid) - cpu_s
                must_agree("the number of lines", lines, answer["accepted"])
                answers["naru"] = naru.naru("query", "hot-activity")
                return {"lines_per_s": lines / seconds, "us": cpu_s / lines * 1e6}

        def clickhouse_side():
            sample = peers.clickhouse("ndjson", path, threads, f"{directory}/rows.ndjson")
            return {"lines_per_s": lines / sample["seconds"], "us": sample["cpu_s"] / lines * 1e6}

        medians = turns(options.rounds, naru=naru_side, clickhouse=clickhouse_side)
        measures = list(answers["naru"][0]["measures"])
        must_agree_by_window(windows_of_naru(answers["naru"], dimensions, measures),
                             windows_of_clickhouse(f"{directory}/rows.ndjson", dimensions, measures))
    ours, theirs = medians["naru"], medians["clickhouse"]
    what = f"NDJSON -> validated, de-duplicated, durable, windowed, against ClickHouse's GROUP BY, {threads} threads"
    results.ratio(what, "lines/s", ours["lines_per_s"], "ClickHouse", theirs["lines_per_s"], 0.7, 0.25)
    results.plain("the same, processor time a line",
                  f"Naru {ours['us']:.2f} us without the client, ClickHouse {theirs['us']:.2f} us", ours["us"])


def must_agree_by_window(ours, theirs):
    must_agree("the number of rows", len(ours), len(theirs))
    for key, measures in ours.items():
        must_agree(f"the row {key}", measures, theirs.get(key))


# --- Growth and answers ----------------------------------------------------------------------------------------------

def bench_growth(options, results):
    def run():
        with scratch() as directory:
            answers = all_json([f"{BIN}/aggregator_bench", "--dir", f"{directory}/data", "--part", "growth", "--events",
                                str(options.log_events // 2)])
        return {answer["case"]: answer["cpu_s"] for answer in answers}

    cpu_s = turns(options.rounds, naru=run)["naru"]
    for case in ("10x events", "10x groups", "10x metrics"):
        # A tenth more may be the noise of the shorter run.
        results.ratio(f"growth, from the log: {case}", "s of processor time", cpu_s[case], "1x", cpu_s["base"], 10, 11,
                      lower=True)


def bench_query(options, results):
    def run():
        with scratch() as directory:
            answers = all_json([f"{BIN}/query_bench", "--dir", f"{directory}/data", "--groups", "100000"])
        return {f"{answer['case']} {field}": answer[field] for answer in answers for field in ("p50_ms", "p99_ms")}

    ours = turns(options.rounds, naru=run)["naru"]
    results.value("p99 of a page of 100 rows out of 100,000 groups, fast", "ms", ours["by group p99_ms"], 20, 20,
                  lower=True)
    for case in sorted({name.rpartition(" ")[0] for name in ours}):
        p50_ms, p99_ms = ours[f"{case} p50_ms"], ours[f"{case} p99_ms"]
        results.plain(f"page of 100 rows out of 100,000 groups, {case}", f"p50 {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms",
                      p99_ms)
