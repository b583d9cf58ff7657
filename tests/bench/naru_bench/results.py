"""The table that a run of scripts/bench fills, and how it is written."""
import os

BEGIN, END = "<!-- results: written by scripts/bench --markdown -->", "<!-- end of results -->"


class Results:
    """Rows of the table, in the order they were measured."""

    def __init__(self):
        self.rows, self.failed = [], []

    def _add(self, what, measured, reach, defect, value, lower):
        beats = (lambda a, b: a <= b) if lower else (lambda a, b: a >= b)
        if reach is None:
            verdict = ""
        else:
            verdict = "reached" if beats(value, reach[0]) else "defect" if not beats(value, defect[0]) else "between"
        row = {"what": what, "reach": reach[1] if reach else "", "defect": defect[1] if defect else "",
               "measured": measured, "value": value, "verdict": verdict}
        self.rows.append(row)
        print(f"{what}: {measured}  (reach {row['reach']}, defect {row['defect']}: {verdict})" if reach
              else f"{what}: {measured}", flush=True)

    def ratio(self, what, unit, ours, peer_name, peer, reach, defect, lower=False):
        """A measurement that counts as a multiple of a peer's."""
        side = ">" if lower else "<"
        self._add(what, f"{ours / peer:.2f}x ({human(ours)} {unit}; {peer_name} {human(peer)})",
                  (reach, f"{reach:g}x"), (defect, f"{side} {defect:g}x"), ours / peer, lower)

    def value(self, what, unit, ours, reach, defect, lower=False):
        """A measurement that counts as it is."""
        side = ">" if lower else "<"
        self._add(what, f"{human(ours)} {unit}", (reach, f"{human(reach)} {unit}"),
                  (defect, f"{side} {human(defect)} {unit}"), ours, lower)

    def plain(self, what, text, value=None):
        """A measurement that no goal was set for."""
        self._add(what, text, None, None, value, False)


def human(value):
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    if value >= 1e4:
        return f"{value / 1e3:.0f} k"
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def table(results, facts, options):
    lines = [f"Medians of {options.rounds} rounds of {options.seconds:g} s each.", ""]
    lines += ["| machine | |", "|---|---|"] + [f"| {name} | {text} |" for name, text in facts] + [""]
    lines += ["| what | reach | defect | measured | |", "|---|---|---|---|---|"]
    for row in results.rows:
        verdict = f"**{row['verdict']}**" if row["verdict"] == "defect" else row["verdict"]
        lines.append(f"| {row['what']} | {row['reach']} | {row['defect']} | {row['measured']} | {verdict} |")
    for name, why in results.failed:
        lines.append(f"| {name} | | | not measured: {why} | |")
    return "\n".join(lines) + "\n"


def write_markdown(path, text):
    """Puts the table between the marks of `path`, or makes the file."""
    old = ""
    if os.path.exists(path):
        with open(path) as f:
            old = f.read()
    before, mark, rest = old.partition(BEGIN)
    after = rest.partition(END)[2] if mark else ""
    if old and not mark:
        before = old.rstrip("\n") + "\n\n"
    with open(path, "w") as f:
        f.write(f"{before}{BEGIN}\n\n{text}\n{END}{after or chr(10)}")
