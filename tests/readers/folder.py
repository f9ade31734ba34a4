"""Reads the folder of a run with what others use: HdrHistogram's Python package, and Python's own csv and json."""

import csv
import json
import sys
from pathlib import Path

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

MS = 1_000_000.0
folder = Path(sys.argv[1])
run = json.loads((folder / "run.json").read_text())


def same(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: {found!r}, expected {expected!r}")


# The log: intervals of a second, in order, that add up to each class.
sums = {}
reader = HistogramLogReader(str(folder / "latency.hlog"), HdrHistogram(1_000, 3_600_000_000_000, 3))
last = 0.0
while (interval := reader.get_next_interval_histogram()) is not None:
    start, end = interval.get_start_time_stamp() / 1e3, interval.get_end_time_stamp() / 1e3
    same("length of an interval in ms", round((end - start) * 1e3), 1_000)
    if start < last:
        sys.exit(f"an interval from {start} follows one from {last}")
    last = start
    sums.setdefault(interval.get_tag(), HdrHistogram(1_000, 3_600_000_000_000, 3)).add(interval)
same("start of the log", reader.get_start_time_sec(), run["about"]["started_unix_secs"])
same("classes", sorted(sums), sorted(path.stem for path in folder.glob("*.hgrm")))
registered = sum(second["registered"] for second in run["seconds"])
same("whole registrations in the log", sums["registration"].get_total_count() if registered else 0, registered)


def percentiles(text):
    """The steps of a percentile text, as numbers, and what it says of the whole."""
    rows = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    same("heads", rows[0], ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"])
    return [[float(field) for field in row[:3]] for row in rows[1:]]


# The percentile texts: each step as the package tells it of the same histogram. The steps themselves it chooses in its own way.
for tag, histogram in sums.items():
    own = percentiles((folder / f"{tag}.hgrm").read_text())
    same(f"{tag}: total", own[-1][1:], [1.0, histogram.get_total_count()])
    total = histogram.get_total_count()
    for value, percentile, count in own:
        # Whether a rank that falls between two samples is the lower or the upper is a matter of taste.
        ranks = [max(percentile * total - 1.5, 0), min(percentile * total + 1.5, total)]
        least, most = (histogram.get_value_at_percentile(rank / total * 100) / MS for rank in ranks)
        if not least * 0.998 - 0.001 <= value <= most * 1.002 + 0.001:
            sys.exit(f"{tag} at {percentile}: {value} ms, the package says {least} to {most} ms")
        if count < percentile * total - 1e-6 * total:
            sys.exit(f"{tag} at {percentile}: {count} are too few")

# The rows: as many as seconds, all of the same width, with the same counts.
with open(folder / "timeseries.csv", newline="") as file:
    rows = list(csv.DictReader(file, strict=True))
same("rows", len(rows), len(run["seconds"]))
for row, second in zip(rows, run["seconds"]):
    if None in row or None in row.values():
        sys.exit(f"a row of another width: {row}")
    same("registered_count", int(row["registered_count"]), second["registered"])
    same("kernel_drops_datagrams", int(row["kernel_drops_datagrams"]), second["kernel_drops"])
    same("at_secs", float(row["at_secs"]), second["at_secs"])
print(f"{len(sums)} classes, {len(rows)} seconds")
