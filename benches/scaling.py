"""What size costs: python benches/scaling.py [size] [chunks] [--small] [--folder FOLDER]

One run, or both, on cubes of make_cube.py, which are removed again:

size    10 MB to 20 GB of float32 in objects of 4 MB, uncompressed and sparse on disk; one query over all cells, one by
        time, one of a single point
chunks  1 to 1,000,000 objects of 16 cells, opened by their index; planning (EXPLAIN), one chunk, and all of them

Times are those that `millibar sql` prints, the best of several; opening is the time of a process that answers `SELECT 1`,
less that of one without tables. Writes docs/scaling-size.svg and docs/scaling-chunks.svg, and the tables between the
markers of docs/performance.md. --small stops at 1 GB and 100,000 chunks, and writes nothing.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import time

import plot

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEFAULT = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "millibar"
MILLIBAR = os.environ.get("MILLIBAR", str(DEFAULT))
REPEAT = 5
# Times, levels, and rows and columns of an object: 10 MB to 20 GB.
SIZES = [(2, 2, 790), (4, 2, 1000), (5, 5, 1000), (10, 8, 1000), (25, 10, 1000), (75, 10, 1000), (250, 10, 1000), (500, 10, 1000)]
# Times and levels.
CHUNKS = [(1, 1), (2, 5), (10, 10), (10, 100), (100, 100), (100, 1000), (1000, 1000)]
PLAN_MS = 200


def make(path, times, levels, rows, codec):
    script = str(ROOT / "benches" / "make_cube.py")
    sizes = ["--times", times, "--levels", levels, "--rows", rows, "--columns", rows, "--codec", codec]
    subprocess.run([sys.executable, script, str(path), *map(str, sizes)], check=True, stdout=subprocess.DEVNULL)


def run(statements, path=None, threads=None):
    """Seconds that the shell prints for each statement, and those of the whole process."""
    asked = [part for sql in statements for part in ("-c", sql)]
    tables = [f"t={path}"] if path else []
    start = time.perf_counter()
    # Nothing is answered from what an earlier run of the statement has seen.
    settings = ["--set", "millibar.collect_statistics=off"]
    settings += ["--set", f"datafusion.execution.target_partitions={threads}"] if threads else []
    command = [MILLIBAR, "sql", *settings, *asked, *tables]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    whole = time.perf_counter() - start
    times = [float(found) for found in re.findall(r"row\(s\) in ([0-9.]+) seconds", out)]
    assert len(times) == len(statements), out[-2000:]
    return times, whole


def best(sql, path, repeat=REPEAT):
    times, _ = run([sql] * (repeat + 1), path)
    return max(min(times[1:]), 1e-4)  # the shell prints tenths of a millisecond


def opening(path):
    whole = min(run(["SELECT 1"], path)[1] for _ in range(3))
    return max(whole - min(run(["SELECT 1"])[1] for _ in range(3)), 1e-4)


def peak_mb(path, sql):
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, MILLIBAR, "sql", "-c", sql, f"t={path}"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


def by_size(folder, sizes):
    all_cells, by_time = "SELECT mean(t) FROM t", "SELECT time, mean(t) FROM t GROUP BY time"
    point = "SELECT time, t FROM t WHERE level = 0 AND dim_0 = 500 AND dim_1 = 500"
    queries = {"mean of all": all_cells, "mean by time": by_time, "point series": point}
    series, rows = {name: [] for name in queries}, []
    for times, levels, rows_of_one in sizes:
        path, size = folder / "size.tgm", times * levels * rows_of_one**2 * 4
        make(path, times, levels, rows_of_one, "none")
        for name, sql in queries.items():
            series[name].append((size / 1e6, best(sql, path, REPEAT if size < 2e9 else 2) * 1e3))
        rows.append([f"{size / 1e6:,.0f} MB", *(f"{line[-1][1]:.1f}" for line in series.values()), f"{peak_mb(path, all_cells):.0f}"])
        print(*rows[-1], sep="\t", file=sys.stderr)
        path.unlink()
    return series, rows


def by_chunks(folder, chunks):
    series, rows = {name: [] for name in ["opening", "planning", "one chunk", "all chunks"]}, []
    for times, levels in chunks:
        path, count = folder / "chunks.tgm", times * levels
        # What doesn't vary is no dim.
        where = " WHERE level = 0 AND time = 0" if count > 1 else ""
        queries = {
            "planning": "EXPLAIN SELECT mean(t) FROM t",
            "one chunk": f"SELECT mean(t) FROM t{where}",
            "all chunks": "SELECT mean(t) FROM t",
        }
        make(path, times, levels, 4, "constant")
        subprocess.run([MILLIBAR, "index", str(path)], check=True, stdout=subprocess.DEVNULL)
        series["opening"].append((count, opening(path) * 1e3))
        for name, sql in queries.items():
            series[name].append((count, best(sql, path) * 1e3))
        rows.append([f"{count:,}", *(f"{line[-1][1]:.1f}" for line in series.values())])
        print(*rows[-1], sep="\t", file=sys.stderr)
        for written in folder.glob("chunks.tgm*"):
            written.unlink()
    return series, rows


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "| ---: " * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def put(name, text):
    """Puts a text into docs/performance.md, between its markers."""
    page = ROOT / "docs" / "performance.md"
    before, _, rest = page.read_text().partition(f"<!-- {name} -->\n")
    _, _, after = rest.partition(f"<!-- end of {name} -->")
    page.write_text(f"{before}<!-- {name} -->\n{text}\n<!-- end of {name} -->{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = pathlib.Path(os.environ.get("MILLIBAR_BENCH", ROOT / "target" / "bench"))
    parser.add_argument("runs", nargs="*", help="size, chunks; both if none is named")
    parser.add_argument("--folder", type=pathlib.Path, default=default)
    parser.add_argument("--small", action="store_true", help="stop at 1 GB and 100,000 chunks, and write nothing")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    missed = False
    for name in options.runs or ["size", "chunks"]:
        if name == "size":
            series, rows = by_size(options.folder, SIZES[:5] if options.small else SIZES)
            image = plot.log_log("Cost against size", "megabytes of float32, codec none", "ms", series, "mean of all")
            head = ["cube", *(f"{line}, ms" for line in series), "peak memory, MB"]
        else:
            series, rows = by_chunks(options.folder, CHUNKS[:6] if options.small else CHUNKS)
            image = plot.log_log("Cost against chunks", "chunks of 16 cells", "ms", series, "all chunks")
            head = ["chunks", *(f"{line}, ms" for line in series)]
            count, planning = series["planning"][-1]
            print(f"planning over {count:,} chunks: {planning:.1f} ms (bar: {PLAN_MS} ms)", file=sys.stderr)
            missed = planning > PLAN_MS
        text = f"![{head[0]}: cost](scaling-{name}.svg)\n\n{table(head, rows)}"
        print(text)
        if not options.small:
            (ROOT / "docs" / f"scaling-{name}.svg").write_text(image)
            put(name, text)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
