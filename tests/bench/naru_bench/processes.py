"""Naru's processes and the servers beside them, and runs that are measured in turns."""
import json
import os
import re
import signal
import statistics
import subprocess
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BIN = os.path.join(ROOT, "build/release/bin")
SERVERS = os.path.join(ROOT, "tests/servers")
TICKS = os.sysconf("SC_CLK_TCK")


def last_json(command, **options):
    """Runs a command and reads the last line that it prints."""
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout
    return json.loads(out.strip().splitlines()[-1])


def all_json(command, **options):
    """Runs a command and reads every line that it prints."""
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout
    return [json.loads(line) for line in out.splitlines()]


def scratch():
    return tempfile.TemporaryDirectory(prefix="naru-bench-", dir=os.environ.get("NARU_BENCH_DIR"),
                                       ignore_cleanup_errors=True)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mib(pid, field="VmRSS"):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(rf"{field}:\s+(\d+)", f.read()).group(1)) / 1024


class Service:
    """A program of Naru that serves, ready; use as a context."""

    def __init__(self, program, *args):
        self.program = program
        self.command = [f"{BIN}/{program}", *args, "--listen", "127.0.0.1:0", "--metrics_listen", "127.0.0.1:0",
                        "--log_level", "error"]

    def __enter__(self):
        start = time.monotonic()
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        line = self.process.stdout.readline()
        self.ready_s = time.monotonic() - start
        addresses = dict(re.findall(r"(grpc|metrics)=(\S+)", line))
        if len(addresses) < 2:
            self.kill()
            raise RuntimeError(f"{self.program} did not start: {line!r}")
        self.address, self.metrics_url = addresses["grpc"], f"http://{addresses['metrics']}/metrics"
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(120)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def memory_mib(self, field="VmRSS"):
        return memory_mib(self.pid, field)

    def naru(self, *args):
        """What `naru ARGS` says of it: a list of JSON lines."""
        return all_json([f"{BIN}/naru", *args, "--address", self.address, "--output", "jsonl"])

    def metric(self, name):
        """The sum of all that its metrics page has under this name."""
        with urllib.request.urlopen(self.metrics_url, timeout=10) as page:
            text = page.read().decode()
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M))


class Naru(Service):
    """`naru up` on a directory."""

    def __init__(self, directory, *args):
        super().__init__("naru", "up", "--data_dir", directory, *args)


class PeerServer:
    """A server of tests/servers, ready; use as a context."""

    def __init__(self, kind, directory, *args):
        self.kind, self.directory, self.args = kind, directory, args

    def __enter__(self):
        subprocess.run([f"{SERVERS}/{self.kind}/start", self.directory, "0", *self.args], check=True,
                       stdout=subprocess.DEVNULL, env={**os.environ, "NARU_SERVER_OWNER": str(os.getpid())})
        with open(f"{self.directory}/pid") as f:
            self.pid = int(f.read())
        with open(f"{self.directory}/port") as f:
            self.port = int(f.read())
        return self

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGTERM)
        for _ in range(300):
            if not os.path.exists(f"/proc/{self.pid}"):
                return
            time.sleep(0.1)
        os.kill(self.pid, signal.SIGKILL)


def turns(rounds, **sides):
    """Runs the sides in turns; returns the median of each, field by field where a side gives several."""
    samples = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            samples[name].append(run())
    medians = {}
    for name, values in samples.items():
        if isinstance(values[0], dict):
            medians[name] = {field: statistics.median(v[field] for v in values) for field in values[0]}
        else:
            medians[name] = statistics.median(values)
    return medians


def load(address, seconds, *args, pid=None):
    """Runs the load client; with `pid` also the processor time that this server spent on an event."""
    before = cpu_seconds(pid) if pid else 0
    answer = last_json([f"{BIN}/ingest_bench", "--address", address, "--seconds", str(seconds), *args])
    sample = {"events_per_s": answer["events_per_s"], "p50_ms": answer["p50_ms"], "p99_ms": answer["p99_ms"],
              "client_us": answer["cpu_us_per_event"]}
    if answer["not_accepted"] > 0:
        raise RuntimeError(f"{answer['not_accepted']} events were not accepted")
    if pid:
        time.sleep(0.5)  # what was acknowledged may still be on its way to the windows
        sample["server_us"] = (cpu_seconds(pid) - before) / max(1, answer["events"]) * 1e6
    return sample
