"""Cubes of awkward shapes, and files that aren't cached: python benches/shapes.py [--folder FOLDER] [--write]

one object      100 x 100,000 of float32 (40 MB) in one blosc2 frame
many objects    100,000 objects of 400 cells, zstd

Both on one thread and on two. Then the files of peers.py, dropped from the page cache before each process: the time of a
query that decodes everything, beside that of reading the file alone (also dropped before) and of the same query on the
cached file. Reading overlaps decoding as far as the first is less than the sum of the other two. --write puts the tables
into docs/performance.md, between their markers.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import time

import make_field
import numpy as np
import scaling
import tensogram

ROOT = pathlib.Path(__file__).resolve().parents[1]
REPEAT = 5
MEAN = "SELECT mean(t) FROM t"


def one_object(path):
    rng = np.random.default_rng(3)
    rows = np.cumsum(rng.normal(0, 0.1, (100, 100_000)), axis=1).astype("f4") + 280
    codec = dict(compression="blosc2", blosc2_codec="zstd", blosc2_clevel=5)
    description = dict(type="ntensor", shape=list(rows.shape), dtype="float32", **codec)
    path.write_bytes(tensogram.encode({"base": [{"name": "t"}]}, [(description, rows)]))


def many_objects(path):
    scaling.make(path, 1000, 100, 20, "zstd")


SHAPES = {
    "one object, 40 MB": (one_object, {"mean of all": MEAN, "mean by row": "SELECT dim_0, mean(t) FROM t GROUP BY dim_0",
                                       "mean by column": "SELECT dim_1, mean(t) FROM t GROUP BY dim_1"}),
    "100,000 objects of 400 cells": (many_objects, {"mean of all": MEAN, "mean by time": "SELECT time, mean(t) FROM t GROUP BY time",
                                                    "mean by cell": "SELECT dim_0, dim_1, mean(t) FROM t GROUP BY dim_0, dim_1"}),
}


def best(path, sql, threads):
    times, _ = scaling.run([sql] * (REPEAT + 1), path, threads)
    return min(times[1:]) * 1e3


def drop(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def reading(path):
    drop(path)
    start = time.perf_counter()
    subprocess.run(["cat", str(path)], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1e3


def first(path, sql, cold):
    """The first query of a process."""
    if cold:
        drop(path)
    return scaling.run([sql], path)[0][0] * 1e3


def shapes(folder):
    rows = []
    for name, (make, queries) in SHAPES.items():
        path = folder / "shape.tgm"
        make(path)
        for query, sql in queries.items():
            rows.append([name, query, *(f"{best(path, sql, threads):.1f}" for threads in [1, 2])])
            print(*rows[-1], sep="\t", file=sys.stderr)
        path.unlink()
    return scaling.table(["cube", "query", "1 thread, ms", "2 threads, ms"], rows)


def cold(folder):
    rows, sql = [], "SELECT mean(temperature) FROM t"
    for variant in make_field.VARIANTS:
        path = folder / f"{variant}.tgm"
        runs = [reading, lambda path: first(path, sql, False), lambda path: first(path, sql, True)]
        times = [min(run(path) for _ in range(3)) for run in runs]
        rows.append([variant, f"{path.stat().st_size / 1e6:.0f} MB", *(f"{ms:.0f}" for ms in times)])
        print(*rows[-1], sep="\t", file=sys.stderr)
    return scaling.table(["file", "size", "reading alone, ms", "query, cached, ms", "query, not cached, ms"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = pathlib.Path(os.environ.get("MILLIBAR_BENCH", ROOT / "target" / "bench"))
    parser.add_argument("--folder", type=pathlib.Path, default=default)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    options = parser.parse_args()
    for name, run in [("shapes", shapes), ("cold", cold)]:
        text = run(options.folder)
        print(text)
        if options.write:
            scaling.put(name, text)


if __name__ == "__main__":
    main()
