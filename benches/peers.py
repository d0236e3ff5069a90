"""Millibar against its peers, on one field: python benches/peers.py [--repeat N] [--only TEXT] [--portion TEXT] [--write]

The field is that of make_field.py, the questions those of questions.py. Millibar's times are those that `millibar sql`
prints for each statement, planning included, in a warm process that has opened the file; the peers' are taken in warm
processes, too, with their data opened. All are the best of N runs, Millibar's median beside it. Peak memory is the
resident set of a fresh `millibar sql` that opens the file and answers the one question.

Peers: numpy on the array in memory (one thread), tensogram-xarray with dask on the same files, xarray-sql on zarr,
DataFusion on Parquet, TileDB, python-blosc2, and the bare decoding of the same objects by their codecs' libraries
(benches/bare.rs).

What was measured is kept in measured.json beside the data, portion by portion (a peer; a variant of Millibar with its
threads and statistics), so that a run that was cut short goes on where it stopped; --portion measures some of them,
anew. Portions of Millibar are measured again when its binary has changed, and everything with --fresh.

--write puts the tables into docs/performance.md, between its markers. Ends with an error where a bar is missed.
"""

import argparse
import functools
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benches"))

import bars  # noqa: E402
import make_field  # noqa: E402
import numpy as np  # noqa: E402
import others  # noqa: E402
import scaling  # noqa: E402
from questions import QUESTIONS  # noqa: E402

VARIANTS = list(make_field.VARIANTS)
THREADS = [1, 2]


def best(repeat, run):
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


class Millibar:
    """The shell, run with a list of statements."""

    def __init__(self, folder):
        self.folder = folder
        default = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "millibar"
        self.path = os.environ.get("MILLIBAR", str(default))

    def state(self):
        """Tells one build from another."""
        stat = os.stat(self.path)
        return f"{stat.st_size} {stat.st_mtime_ns}"

    def args(self, variant, statements, threads, known):
        """`known`: with statistics of all chunks; else they are neither collected nor there."""
        settings = {"datafusion.execution.target_partitions": threads}
        if not known:
            settings["millibar.collect_statistics"] = "off"
        sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        asked = [part for sql in statements for part in ("-c", sql)]
        return [self.path, "sql", *sets, *asked, f"t={self.folder / variant}.tgm"]

    def seconds(self, variant, statements, repeat, threads, known):
        """For each statement, (best, median) of its runs."""
        asked = ["ANALYZE TABLE t"] if known else []
        asked += [sql for sql in statements for _ in range(repeat + 1)]
        out = subprocess.run(self.args(variant, asked, threads, known), check=True, capture_output=True, text=True).stdout
        times = [float(found) for found in re.findall(r"row\(s\) in ([0-9.]+) seconds", out)][-len(statements) * (repeat + 1):]
        assert len(times) == len(statements) * (repeat + 1), out[-2000:]
        runs = [times[i + 1 : i + repeat + 1] for i in range(0, len(times), repeat + 1)]
        return [(min(run), statistics.median(run)) for run in runs]

    def peak_mb(self, variant, sql):
        # By way of a small process: a child's peak counts what it was forked from.
        run = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, "
            "stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        command = [sys.executable, "-c", run, *self.args(variant, [sql], 2, False)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


def bare(folder):
    """[file, threads, all or level, seconds], as benches/bare.rs prints them."""
    command = ["cargo", "bench", "--locked", "--bench", "bare"]
    env = {**os.environ, "MILLIBAR_BENCH": str(folder)}
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=env).stdout
    return [line.split()[1:] for line in out.splitlines() if line.startswith("bare ")]


def ms(seconds):
    if seconds is None:
        return "-"
    return f"{seconds * 1e3:.1f}" if seconds < 0.1 else f"{seconds * 1e3:.0f}"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "| --- " + "| ---: " * (len(header) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


class Measured:
    """Measurements by portion, kept in a file. Each belongs to a state of what it was measured with."""

    def __init__(self, path, fresh, portion):
        self.path, self.portion = path, portion
        self.kept = json.loads(path.read_text()) if path and path.exists() and not fresh else {}

    def of(self, portion, state, measure):
        """What `measure` yields for a portion, or did before; None of portions that aren't asked for."""
        known = self.kept.get(portion)
        asked = self.portion is not None and self.portion in portion
        if not asked and known and known["state"] == state:
            return known["values"]
        if not asked and self.portion is not None:
            return None
        print(portion, file=sys.stderr)
        values = measure()
        self.kept[portion] = {"state": state, "values": values}
        if self.path:
            self.path.write_text(json.dumps(self.kept, indent=1))
        return values


def measure_ours(measured, millibar, questions, repeat):
    """(best, median) by (question, variant, threads, known)."""
    ours = {}
    statements = [question.sql for question in questions]
    for variant in VARIANTS:
        for threads in THREADS:
            for known in [False, True]:
                portion = f"millibar, {variant}, {threads} threads, statistics {'on' if known else 'off'}"
                run = functools.partial(millibar.seconds, variant, statements, repeat, threads, known)
                times = measured.of(portion, millibar.state(), run) or []
                ours |= {(q.name, variant, threads, known): pair for q, pair in zip(questions, times)}
    return ours


def measure_peaks(measured, millibar, questions):
    """Megabytes by (question, variant)."""
    peaks = {}
    for variant in VARIANTS:
        run = lambda: {q.name: millibar.peak_mb(variant, q.sql) for q in questions}  # noqa: B023, E731
        found = measured.of(f"millibar, {variant}, peak memory", millibar.state(), run) or {}
        peaks |= {(name, variant): peak for name, peak in found.items()}
    return peaks


def measure_theirs(measured, peers, questions, repeat):
    """Best seconds by (question, peer); None where a peer has no answer."""
    theirs = {}
    for name, make in peers.items():

        def run():
            peer, times = make(), {}  # noqa: B023
            for question in questions:
                # Peers that take seconds are asked twice.
                asked = peer(question)
                times[question.name] = best(repeat if name in others.QUICK else 2, asked) if asked else None  # noqa: B023
            return times

        found = measured.of(name, others.versions(), run) or {}
        theirs |= {(question, name): seconds for question, seconds in found.items()}
    return theirs


def report(questions, repeat, ours, theirs, decoding, peaks, checks):
    columns = [(variant, threads) for variant in VARIANTS for threads in THREADS]
    heads = ["query", *(f"{variant}, {threads} thr." for variant, threads in columns)]
    both = lambda pair: f"{ms(pair[0])} ({ms(pair[1])})"  # noqa: E731
    own = lambda known: table(heads, [  # noqa: E731
        [q.name, *(both(ours[q.name, variant, threads, known]) for variant, threads in columns)] for q in questions
    ])
    names = list(dict.fromkeys(peer for _, peer in theirs))
    files = [variant for variant in VARIANTS if variant != "none"]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return "\n\n".join([
        f"{machine}, {others.versions()}. Milliseconds: best of {repeat}, in brackets the median.",
        "Millibar, without statistics:",
        own(False),
        "Millibar, with statistics of all chunks (`ANALYZE TABLE`):",
        own(True),
        "Peers:",
        table(["query", *names], [[q.name, *(ms(theirs[q.name, name]) for name in names)] for q in questions]),
        "Bare decoding by the codecs' libraries:",
        table(["objects", *(f"{name}, {threads} thr." for name in files for threads in THREADS)],
              [[what, *(ms(decoding.get((name, threads, key))) for name in files for threads in THREADS)]
               for what, key in [("the whole cube", "all"), ("level 500", "level")]]),
        "Peak resident memory of one `millibar sql` process that answers the question, MB:",
        table(["query", *VARIANTS], [[q.name, *(f"{peaks[q.name, v]:.0f}" for v in VARIANTS)] for q in questions]),
        "Bars, each for all questions that it speaks of:",
        table(["bar", "holds for", "closest or worst", "measured", "wanted"], [bar_row(group) for group in by_bar(checks)]),
    ])


def by_bar(checks):
    groups = {}
    for check in checks:
        groups.setdefault(check.bar, []).append(check)
    return groups.values()


def bar_row(group):
    worst = min(group, key=lambda check: check.room)
    held = sum(check.holds for check in group)
    held = f"{held} of {len(group)}" if held == len(group) else f"**{held} of {len(group)}**"
    return [worst.bar, held, worst.query, worst.measured, worst.wanted]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = pathlib.Path(os.environ.get("MILLIBAR_BENCH", ROOT / "target" / "bench"))
    parser.add_argument("--folder", type=pathlib.Path, default=default)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--only", default="", help="questions that have this in their name")
    parser.add_argument("--portion", help="measure the portions that have this in their name, whatever is known")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    options = parser.parse_args()
    folder = options.folder
    if not all((folder / f"{name}.tgm").exists() for name in VARIANTS):
        print(f"writing the field to {folder}", file=sys.stderr)
        make_field.write(folder)

    questions = [question for question in QUESTIONS if options.only in question.name]
    # Some of the questions are nothing to keep.
    measured = Measured(None if options.only else folder / "measured.json", options.fresh, options.portion)
    millibar = Millibar(folder)
    # Millibar first, before the peers have the array in memory.
    ours = measure_ours(measured, millibar, questions, options.repeat)
    peaks = measure_peaks(measured, millibar, questions)
    lines = measured.of("bare", "", lambda: bare(folder)) or []
    decoding = {(name, int(threads), what): float(seconds) for name, threads, what, seconds in lines}
    peers = others.peers(folder, functools.cache(lambda: np.load(folder / "field.npy")))
    theirs = measure_theirs(measured, peers, questions, options.repeat)
    if options.portion is not None:
        return 0

    checks = bars.checks(questions, ours, theirs, decoding, peaks)
    text = report(questions, options.repeat, ours, theirs, decoding, peaks, checks)
    print(text)
    if options.write:
        scaling.put("peers", text)
    missed = [check for check in checks if not check.holds]
    for check in missed:
        print(f"missed: {check.bar}: {check.query}: {check.measured}, wanted {check.wanted}", file=sys.stderr)
    print(f"{len(checks) - len(missed)} of {len(checks)} bars hold", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
