"""ClickHouse, in a process of its own (PyPI's chdb); naru_bench.peers runs it in its environment.

    clickhouse_peer.py group_by FILE PASSES           rows of window_bench in memory -> GROUP BY, one thread
    clickhouse_peer.py ndjson FILE THREADS ROWS_FILE  NDJSON of Ciao laBella -> the 13 sums; writes the rows too

The last line of output is JSON.
"""
import json
import os
import resource
import statistics
import sys
import time

from chdb import session  # pylint: disable=import-error

SUMS = {
    "login": "countIf(type = 'UserLogin')",
    "logout": "countIf(type = 'UserLogout')",
    "menu_nolabel": "countIf(type = 'UserClickMenu' AND data.selected_menu = 'nolabel')",
    "menu_eco1": "countIf(type = 'UserClickMenu' AND data.selected_menu = 'ecopoint1')",
    "menu_eco2": "countIf(type = 'UserClickMenu' AND data.selected_menu = 'ecopoint2')",
    "menu_lesswaste": "countIf(type = 'UserClickMenu' AND data.selected_menu = 'lesswaste')",
    "ecopoint1_click": "countIf(type = 'UserUsedEcopoint1')",
    "ecopoint2_click": "countIf(type = 'UserUsedEcopoint2')",
    "lesswaste_click": "countIf(type = 'UserSearchLesswaste')",
    "nolabel_search": "countIf(type = 'UserSearchProduct')",
    "nolabel_click": "countIf(type = 'UserClickProduct')",
    "save_ecopoint1": "sumIf(data.save_point, type = 'UserUsedEcopoint1')",
    "save_ecopoint2": "sumIf(data.save_point, type = 'UserUsedEcopoint2')",
}
TYPES = ["UserLogin", "UserLogout", "UserClickMenu", "UserUsedEcopoint1", "UserUsedEcopoint2", "UserSearchProduct",
         "UserClickProduct", "UserSearchLesswaste"]
DATA = ("Tuple(user_gender Nullable(String), user_age Nullable(Float64), user_region Nullable(String), "
        "selected_menu Nullable(String), save_point Nullable(Float64))")


def process_cpu_s():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def group_by(path, passes):
    database = session.Session()
    database.query("CREATE DATABASE bench")
    # Times in seconds, as ClickHouse's users keep them; Naru's are in microseconds.
    database.query(f"""CREATE TABLE bench.rows ENGINE = Memory AS
        SELECT toDateTime(intDiv(time_us, 1000000), 'UTC') AS time, key, value
        FROM file('{path}', 'RowBinary', 'time_us Int64, key UInt32, value Int32')""")
    grouped = """SELECT toStartOfInterval(time, INTERVAL 1 HOUR) AS start, key, count() AS events, sum(value) AS points
        FROM bench.rows GROUP BY start, key"""
    answer = json.loads(database.query(f"""SELECT count() AS groups, sum(events) AS count, sum(points) AS sum,
        sum(events * points) AS check FROM ({grouped}) SETTINGS output_format_json_quote_64bit_integers = 0""",
                                       "JSONEachRow").bytes())
    rates = []
    for _ in range(passes):
        cpu_s = process_cpu_s()
        database.query(f"{grouped} SETTINGS max_threads = 1", "Null")
        rates.append(answer["count"] / (process_cpu_s() - cpu_s))
    return {"rows_per_s": statistics.median(rates), **answer}


def ndjson(path, threads, rows_path):
    database = session.Session()
    query = f"""SELECT toUnixTimestamp(toStartOfInterval(time, INTERVAL 5 MINUTE)) AS start, data.user_gender AS gender,
            
            if(isNull(data.user_age), NULL, least(60, floor(data.user_age / 10) * 10)) AS age_band,
            data.user_region AS region,
            {", ".join(f"{expression} AS {name}" for name, expression in SUMS.items())}
        FROM file('{path}', 'JSONEachRow', 'type LowCardinality(String), time DateTime(\\'UTC\\'), data {DATA}')
        WHERE type IN ({", ".join(f"'{name}'" for name in TYPES)})
        GROUP BY start, gender, age_band, region
        SETTINGS max_threads = {threads}, date_time_input_format = 'best_effort', input_format_skip_unknown_fields = 1,
            input_format_json_defaults_for_missing_elements_in_named_tuple = 1,
            input_format_json_ignore_unknown_keys_in_named_tuple = 1, output_format_json_quote_64bit_integers = 0"""
    start, cpu_s = time.monotonic(), process_cpu_s()
    rows = database.query(query, "JSONEachRow").bytes()
    sample = {"seconds": time.monotonic() - start, "cpu_s": process_cpu_s() - cpu_s}
    with open(rows_path, "wb") as file:
        file.write(rows)
    return sample


def main():
    command, path = sys.argv[1], os.path.abspath(sys.argv[2])
    if command == "group_by":
        print(json.dumps(group_by(path, int(sys.argv[3]))))
    else:
        print(json.dumps(ndjson(path, int(sys.argv[3]), sys.argv[4])))


if __name__ == "__main__":
    main()
