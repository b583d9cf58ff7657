"""What this machine is."""
import datetime
import os
import platform
import re
import subprocess

from naru_bench.processes import BIN, ROOT, last_json, scratch


def first_line(*command):
    try:
        out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout
        return out.strip().splitlines()[0] if out.strip() else ""
    except OSError:
        return ""


def machine():
    """What this machine is, as (name, text)."""
    def field(path, pattern, default="?"):
        try:
            with open(path) as f:
                match = re.search(pattern, f.read(), re.M)
        except OSError:
            return default
        return match.group(1).strip() if match else default

    memory = int(field("/proc/meminfo", r"^MemTotal:\s+(\d+)", "0")) / 2**20
    with scratch() as directory:
        disk = last_json([f"{BIN}/bench_peers", "fdatasync", directory, "1"])
        file_system = first_line("stat", "-f", "-c", "%T", directory)
    model = field("/proc/cpuinfo", r"^model name\s*:\s*(.*)$")
    system = field("/etc/os-release", r'^PRETTY_NAME="?([^"\n]*)')
    return [
        ("processor", f"{os.cpu_count()} x {model}"),
        ("memory", f"{memory:.0f} GiB"),
        ("disk", f"{file_system}; fdatasync of 4 KiB: p50 {disk['p50_ms']:.2f} ms, p99 {disk['p99_ms']:.2f} ms"),
        ("system", f"{system}, Linux {platform.release()}"),
        ("load before", field("/proc/loadavg", r"^(\S+ \S+ \S+)")),
        ("compiler", first_line("c++", "--version")),
        ("commit", first_line("git", "-C", ROOT, "describe", "--always", "--dirty")),
        ("date", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
    ]


