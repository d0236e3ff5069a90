"""Millibar against its peers, on one field, in one run: python benches/peers.py [--repeat N] [--only TEXT] [--write]

The field is that of make_field.py, the questions those of questions.py. Millibar's times are those that `millibar sql`
prints for each statement, planning included, in a warm process that has opened the file; the peers' are taken in warm
processes, too, with their data opened. All are the best of N runs, Millibar's median beside it. Peak memory is the
resident set of a fresh `millibar sql` that opens the file and answers the one question.

Peers: numpy on the array in memory (one thread), tensogram-xarray with dask on the same files, xarray-sql on zarr,
DataFusion on Parquet, TileDB, python-blosc2, and the bare decoding of the same objects by their codecs' libraries
(benches/bare.rs).

--write puts the tables into docs/performance.md, between its markers. Ends with an error where a bar is missed.
"""

import argparse
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
    """Seconds by (file, threads, all or level), as benches/bare.rs prints them."""
    command = ["cargo", "bench", "--locked", "--bench", "bare"]
    env = {**os.environ, "MILLIBAR_BENCH": str(folder)}
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=env).stdout
    lines = [line.split()[1:] for line in out.splitlines() if line.startswith("bare ")]
    return {(name, int(threads), what): float(seconds) for name, threads, what, seconds in lines}


def ms(seconds):
    if seconds is None:
        return "-"
    return f"{seconds * 1e3:.1f}" if seconds < 0.1 else f"{seconds * 1e3:.0f}"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "| --- " + "| ---: " * (len(header) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def measure_ours(millibar, questions, repeat):
    """(best, median) by (question, variant, threads, known)."""
    ours = {}
    statements = [question.sql for question in questions]
    for variant in VARIANTS:
        for threads in THREADS:
            for known in [False, True]:
                print(f"millibar, {variant}, {threads} threads, statistics {'on' if known else 'off'}", file=sys.stderr)
                times = millibar.seconds(variant, statements, repeat, threads, known)
                ours |= {(q.name, variant, threads, known): pair for q, pair in zip(questions, times, strict=True)}
    return ours


def measure_theirs(peers, questions, repeat):
    """Best seconds by (question, peer); None where a peer has no answer."""
    theirs = {}
    for name, peer in peers.items():
        for question in questions:
            run = peer(question)
            print(f"{name}: {question.name}", file=sys.stderr)
            # Peers that take seconds are asked twice.
            times = repeat if name in others.QUICK else 2
            theirs[question.name, name] = best(times, run) if run else None
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
    parser.add_argument("--only", default="", help="questions and peers that have this in their name")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    options = parser.parse_args()
    folder = options.folder
    if not all((folder / f"{name}.tgm").exists() for name in VARIANTS):
        print(f"writing the field to {folder}", file=sys.stderr)
        make_field.write(folder)

    questions = [question for question in QUESTIONS if options.only in question.name]
    millibar = Millibar(folder)
    # Millibar first, before the peers have the array in memory.
    ours = measure_ours(millibar, questions, options.repeat)
    peaks = {(q.name, variant): millibar.peak_mb(variant, q.sql) for q in questions for variant in VARIANTS}
    decoding = bare(folder)
    theirs = measure_theirs(others.peers(folder, np.load(folder / "field.npy")), questions, options.repeat)

    checks = bars.checks(questions, ours, theirs, decoding, peaks)
    text = report(questions, options.repeat, ours, theirs, decoding, peaks, checks)
    print(text)
    if options.write:
        page = ROOT / "docs" / "performance.md"
        before, _, rest = page.read_text().partition("<!-- peers -->\n")
        _, _, after = rest.partition("<!-- end of peers -->")
        page.write_text(f"{before}<!-- peers -->\n{text}\n<!-- end of peers -->{after}")
    missed = [check for check in checks if not check.holds]
    for check in missed:
        print(f"missed: {check.bar}: {check.query}: {check.measured}, wanted {check.wanted}", file=sys.stderr)
    print(f"{len(checks) - len(missed)} of {len(checks)} bars hold", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
