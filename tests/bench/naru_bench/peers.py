"""Peers from PyPI and Maven. They are fetched when something is measured against them, once, into the cache that
tests/servers uses; nobody else needs them. A peer that cannot be had raises RuntimeError, saying why."""
import glob
import os
import shutil
import subprocess
import sys

from naru_bench.processes import ROOT, last_json

CHDB = "chdb==4.4.0"  # ClickHouse in the process
PYSPARK = "pyspark==4.2.0"  # the newest of which Maven has the jars below
SPARK_JARS = ["spark-sql-kafka-0-10_2.13", "spark-token-provider-kafka-0-10_2.13", "kafka-clients", "commons-pool2"]
HERE = os.path.dirname(os.path.abspath(__file__))


def cached(name, make):
    """The folder `name` of the cache, made by make(folder) where it is not complete."""
    cache = os.environ.get("NARU_CACHE") or os.path.expanduser("~/.cache/naru")
    folder = os.path.join(cache, f"bench-{name}")
    if not os.path.exists(f"{folder}/complete"):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        print(f"fetching {name}", file=sys.stderr, flush=True)
        make(folder)
        with open(f"{folder}/complete", "w"):
            pass
    return folder


def fetch(what, *command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except OSError as error:
        raise RuntimeError(f"{what} cannot be had: {error}") from error
    if done.returncode != 0:
        lines = done.stdout.strip().splitlines() or ["no output"]
        raise RuntimeError(f"{what} cannot be had: {lines[-1]}")


def python_with(requirement):
    """The interpreter of an environment that has this package."""
    def make(folder):
        fetch(requirement, sys.executable, "-m", "venv", f"{folder}/venv")
        fetch(requirement, f"{folder}/venv/bin/pip", "install", "--disable-pip-version-check", "--quiet", requirement)

    version = f"python-{sys.version_info.major}.{sys.version_info.minor}"
    return f"{cached(requirement.replace('==', '-') + '-' + version, make)}/venv/bin/python"


def spark_jars():
    """Paths of the jars with which Spark reads Kafka."""
    def make(folder):
        fetch("spark-sql-kafka", "mvn", "-B", "-q", "-f", f"{ROOT}/tests/bench/spark-jars-pom.xml",
              "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies", "-DincludeScope=runtime",
              f"-DincludeArtifactIds={','.join(SPARK_JARS)}", f"-DoutputDirectory={folder}")

    return sorted(glob.glob(f"{cached('spark-jars-' + PYSPARK.partition('==')[2], make)}/*.jar"))


def clickhouse(*args):
    """The last line of clickhouse_peer.py."""
    return last_json([python_with(CHDB), f"{HERE}/clickhouse_peer.py", *map(str, args)])


def spark(*args):
    """The last line of spark_peer.py."""
    if not shutil.which("java"):
        raise RuntimeError("java was not found; scripts/setup --test installs it")
    return last_json([python_with(PYSPARK), f"{HERE}/spark_peer.py", ",".join(spark_jars()), *map(str, args)],
                     stderr=subprocess.DEVNULL)
