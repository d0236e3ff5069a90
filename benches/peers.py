"""Millibar against its peers, on one field, in one run: python benches/peers.py [--repeat N] [--write]

The field is that of make_field.py. Peers: numpy on the array in memory (one thread), tensogram-xarray with dask (threads)
on the same files, xarray-sql on the same data in zarr. Times are the best of N runs in a warm process, without start-up
and without opening the files; Millibar's are those that `millibar sql` prints for each statement, planning included.
Peak memory is the resident set of a fresh `millibar sql` that opens the file and answers the one query.
--write puts the tables into docs/performance.md, between its markers.
"""

import argparse
import os
import pathlib
import platform
import re
import subprocess
import sys
import time

import dask
import dask.array
import numpy as np
import xarray as xr

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benches"))
import make_field  # noqa: E402

VARIANTS = list(make_field.VARIANTS)
FIVE_HUNDRED = make_field.LEVELS.index(500)


class Query:
    """One question in three languages; `array` has dims time, level, latitude, longitude."""

    def __init__(self, name, sql, numpy, xarray):
        self.name, self.sql, self.numpy, self.xarray = name, sql, numpy, xarray


T = "temperature"
QUERIES = [
    Query("mean at level 500", f"SELECT mean({T}) FROM t WHERE level = 500",
          lambda a: a[:, FIVE_HUNDRED].mean(dtype="f8"), lambda v: v.sel(level=500).astype("f8").mean()),
    Query("mean of all", f"SELECT mean({T}) FROM t", lambda a: a.mean(dtype="f8"), lambda v: v.astype("f8").mean()),
    Query("mean, std, min, max of all", f"SELECT mean({T}), std({T}), min({T}), max({T}) FROM t",
          lambda a: (a.mean(dtype="f8"), a.std(dtype="f8"), a.min(), a.max()),
          lambda v: xr.Dataset(dict(mean=v.astype("f8").mean(), std=v.astype("f8").std(), min=v.min(), max=v.max()))),
    Query("mean by time", f"SELECT time, mean({T}) FROM t GROUP BY time",
          lambda a: a.mean(axis=(1, 2, 3), dtype="f8"), lambda v: v.astype("f8").mean(["level", "latitude", "longitude"])),
    Query("zonal mean by latitude", f"SELECT latitude, mean({T}) FROM t GROUP BY latitude",
          lambda a: a.mean(axis=(0, 1, 3), dtype="f8"), lambda v: v.astype("f8").mean(["time", "level", "longitude"])),
    Query("time-mean map at level 500", f"SELECT latitude, longitude, mean({T}) FROM t WHERE level = 500 GROUP BY latitude, longitude",
          lambda a: a[:, FIVE_HUNDRED].mean(axis=0, dtype="f8"), lambda v: v.sel(level=500).astype("f8").mean("time")),
    Query("point series", f"SELECT time, {T} FROM t WHERE level = 500 AND latitude = 45 AND longitude = 100",
          lambda a: a[:, FIVE_HUNDRED, 45, 100].copy(), lambda v: v.sel(level=500, latitude=45, longitude=100)),
]


def best(repeat, run):
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


class Millibar:
    def __init__(self, folder):
        self.folder = folder
        default = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "millibar"
        self.path = os.environ.get("MILLIBAR", str(default))

    def args(self, variant, *sql, threads=None):
        settings = ["--set", f"datafusion.execution.target_partitions={threads}"] if threads else []
        return [self.path, "sql", *settings, *(part for text in sql for part in ("-c", text)), f"t={self.folder / variant}.tgm"]

    def seconds(self, variant, sql, repeat, threads=None):
        """The best of the times that the shell prints for the statement, repeated in one process."""
        out = subprocess.run(self.args(variant, *[sql] * (repeat + 1), threads=threads), check=True, capture_output=True, text=True).stdout
        times = [float(found) for found in re.findall(r"row\(s\) in ([0-9.]+) seconds", out)]
        assert len(times) == repeat + 1, out[-2000:]
        return min(times[1:])

    def peak_mb(self, variant, sql):
        # By way of a small process: a child's peak counts what it was forked from.
        run = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, "
            "stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        out = subprocess.run([sys.executable, "-c", run, *self.args(variant, sql)], check=True, capture_output=True, text=True).stdout
        return int(out) / 1024


def reference(folder, variant):
    """The cube as a user of the reference gets it: lazy, one dask chunk for each stored object."""
    from tensogram_xarray import open_datasets

    dataset = open_datasets(str(folder / f"{variant}.tgm"))[0]
    array = dataset["temperature"]
    if set(array.dims) != {"time", "level", "latitude", "longitude"}:
        return stacked_by_hand(folder / f"{variant}.tgm")
    return array.chunk({"time": 1, "level": 1})


def stacked_by_hand(path):
    """The reference's merge can't make the cube of packed data, since its codec keys differ: a user stacks it by hand."""
    messages = []
    for index in range(len(make_field.TIMES)):
        message = xr.open_dataset(path, engine="tensogram", message_index=index, variable_key="level", chunks={})
        messages.append(dask.array.stack([message[str(level)].data for level in make_field.LEVELS]))
    coords = dict(time=make_field.TIMES.astype("datetime64[ns]"), level=make_field.LEVELS,
                  latitude=make_field.LATITUDE, longitude=make_field.LONGITUDE)
    return xr.DataArray(dask.array.stack(messages), coords, list(coords))


def compute(lazy):
    """Computes the data alone: the reference's coords can't be computed after a scalar `sel`."""
    arrays = lazy.values() if isinstance(lazy, xr.Dataset) else [lazy]
    return dask.compute(*(array.data for array in arrays))


def zarr_context(folder, values):
    """xarray-sql over the same data in zarr."""
    import xarray_sql

    store = folder / "field.zarr"
    coords = dict(time=make_field.TIMES.astype("datetime64[ns]"), level=make_field.LEVELS,
                  latitude=make_field.LATITUDE, longitude=make_field.LONGITUDE)
    if not store.exists():
        dataset = xr.Dataset({"temperature": (list(coords), values)}, coords)
        dataset.chunk(dict(time=1, level=1)).to_zarr(store)
    context = xarray_sql.XarrayContext()
    context.from_dataset("t", xr.open_zarr(store), chunks=dict(time=6))
    return context


def ms(seconds):
    return f"{seconds * 1e3:.1f}" if seconds < 0.1 else f"{seconds * 1e3:.0f}"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "| --- " + "| ---: " * (len(header) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(os.environ.get("MILLIBAR_BENCH", ROOT / "target" / "bench")))
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    options = parser.parse_args()
    if not all((options.folder / f"{name}.tgm").exists() for name in VARIANTS):
        print(f"writing the field to {options.folder}", file=sys.stderr)
        make_field.write(options.folder)

    dask.config.set(scheduler="threads")
    values = np.load(options.folder / "field.npy")
    millibar = Millibar(options.folder)
    cubes = {variant: reference(options.folder, variant) for variant in VARIANTS}
    context = zarr_context(options.folder, values)

    times, peaks, checks = [], [], []
    for query in QUERIES:
        print(query.name, file=sys.stderr)
        ours = {v: millibar.seconds(v, query.sql, options.repeat) for v in VARIANTS}
        one = millibar.seconds("none", query.sql, options.repeat, threads=1)
        in_memory = best(options.repeat, lambda: query.numpy(values))
        theirs = {v: best(2, lambda v=v: compute(query.xarray(cubes[v]))) for v in VARIANTS}
        sql = best(2, lambda: context.sql(query.sql.replace("mean(", "avg(").replace("std(", "stddev_pop(")).to_pandas())
        times.append([query.name, *(ms(ours[v]) for v in VARIANTS), ms(one), ms(in_memory),
                      *(ms(theirs[v]) for v in VARIANTS), ms(sql)])
        peaks.append([query.name, *(f"{millibar.peak_mb(v, query.sql):.0f}" for v in VARIANTS)])
        checks.append((query.name, ours, in_memory, theirs, sql))

    report = "\n\n".join([
        f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, Python {platform.python_version()}, "
        f"numpy {np.__version__}, dask {dask.__version__}, xarray {xr.__version__}. Milliseconds, best of {options.repeat}.",
        table(["query", *(f"millibar {v}" for v in VARIANTS), "millibar none, 1 thread", "numpy in memory, 1 thread",
               *(f"reference + dask {v}" for v in VARIANTS), "xarray-sql on zarr"], times),
        "Peak resident memory of one `millibar sql` process, MB:",
        table(["query", *VARIANTS], peaks),
    ])
    print(report)

    failed = []
    for name, ours, in_memory, theirs, sql in checks:
        if name == "point series":
            continue
        for variant in VARIANTS:
            need = 10 if variant == "none" else 1
            for peer, seconds in (("reference + dask", theirs[variant]), ("xarray-sql", sql)):
                if seconds < need * ours[variant]:
                    failed.append(f"{name}, {variant}: {ms(ours[variant])} ms against {ms(seconds)} ms of {peer} (bar: {need}x)")
        if name == "mean of all" and ours["none"] > 2 * in_memory:
            failed.append(f"{name}: {ms(ours['none'])} ms against {ms(in_memory)} ms of numpy (bar: within 2x)")
    failed += [f"{row[0]}: peak of {peak} MB (bar: 300)" for row in peaks for peak in row[1:] if float(peak) >= 300]
    for bar in failed:
        print("missed:", bar)
    if options.write:
        page = ROOT / "docs" / "performance.md"
        before, _, rest = page.read_text().partition("<!-- peers -->\n")
        _, _, after = rest.partition("<!-- end of peers -->")
        page.write_text(f"{before}<!-- peers -->\n{report}\n<!-- end of peers -->{after}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
