"""Lazy reads and reductions from xarray: our backend beside the reference's, in one run.

    python xarray_reads.py [--write]      --write: the table goes into docs/performance.md

One object of 16 times, 4 levels and 181 x 360 cells (float64, 33 MB; szip: float32) in files of codec none, blosc2, szip and
zfp (of that, 4 times and 1 level); and the files of 48 messages of make_field.py, merged by both. (With szip the reference can't merge: its offsets differ
from object to object.) The best of several runs, threads scheduler.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time
import warnings

import numpy as np
import tensogram
import tensogram_xarray
import xarray as xr

from millibar.xarray import open_datasets

ROOT = pathlib.Path(__file__).resolve().parents[1]
BENCH = pathlib.Path(os.environ.get("MILLIBAR_BENCH", pathlib.Path.home() / ".cache/millibar/bench"))
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- xarray -->", "<!-- end of xarray -->"
SHAPE = (16, 4, 181, 360)
SMALL = (4, 1, 181, 360)
CODECS = {
    "none": ("float64", {}),
    "blosc2": ("float64", dict(compression="blosc2", blosc2_codec="zstd", blosc2_clevel=5)),
    "szip": ("float32", dict(compression="szip", szip_rsi=128, szip_block_size=16, szip_flags=8)),
    "zfp": ("float64", dict(compression="zfp", zfp_mode="fixed_rate", zfp_rate=16)),
}
SLICES = {
    "point series": dict(latitude=slice(90, 91), longitude=slice(10, 11)),
    "box": dict(latitude=slice(40, 80), longitude=slice(100, 180)),
    "one level": dict(level=slice(0, 1)),
    "everything": {},
}


def write(path, dtype, codec):
    """One object and the coordinates of its last dims. The reference decodes all of a zfp object for each run of cells."""
    shape = SMALL if codec.get("compression") == "zfp" else SHAPE
    lat, lon = np.linspace(90, -90, shape[2]), np.arange(float(shape[3]))
    waves = 20 * np.sin(np.radians(lat))[:, None] * np.cos(np.radians(lon))
    noise = np.random.default_rng(1).normal(0, 0.1, shape)
    values = np.round(280 + waves + np.arange(shape[0])[:, None, None, None] + noise, 2).astype(dtype)
    meta = [{"name": "t", "dim_names": ["time", "level", "latitude", "longitude"]}, {"name": "latitude"}, {"name": "longitude"}]
    codecs = [codec, {}, {}]
    described = [
        (dict(type="ntensor", shape=list(v.shape), dtype=v.dtype.name, **c), v) for v, c in zip((values, lat, lon), codecs)
    ]
    path.write_bytes(tensogram.encode({"base": meta}, described))


def best(work, make=lambda: None, budget=1.0, least=3):
    """Seconds of the fastest run of `work` on what `make` makes anew for each, and what it gave."""
    times, until, result = [], time.perf_counter() + budget, None
    while len(times) < least or time.perf_counter() < until and len(times) < 50:
        made = make()
        start = time.perf_counter()
        result = work(made)
        times.append(time.perf_counter() - start)
    return min(times), result


def ours(path):
    return open_datasets(path)[0]


def theirs(path):
    return tensogram_xarray.open_datasets(str(path))[0]


def read(engine, path, key):
    """As dask arrays of one chunk for each time; dask's graph is made anew, as it is for every question."""
    dataset = xr.open_dataset(path, engine=engine).chunk(time=1)
    return best(lambda _: dataset.t.isel(key).compute(scheduler="threads").values)


def ms(seconds):
    return f"{1000 * seconds:.2f}" if seconds < 0.1 else f"{1000 * seconds:.0f}"


def slices(folder):
    rows = []
    for codec, (dtype, options) in CODECS.items():
        path = folder / f"{codec}.tgm"
        write(path, dtype, options)
        for name, key in SLICES.items():
            (a, got), (b, want) = read("millibar", path, key), read("tensogram", path, key)
            np.testing.assert_array_equal(got, want)
            rows.append((f"{codec}: {name}", a, b, 1.0))
    return rows


def reductions(folder):
    rows = []
    for codec in CODECS:
        if codec in ("none", "blosc2"):
            path = BENCH / f"{codec}.tgm"
            name, reference = "48 messages, " + codec, theirs(path).temperature.chunk(level=1, time=1)
            fresh = lambda: ours(path).temperature  # noqa: B023, E731
        else:
            path = folder / f"{codec}.tgm"
            name, reference = codec, xr.open_dataset(path, engine="tensogram").t.chunk(time=1)
            fresh = lambda: xr.open_dataset(path, engine="millibar").t  # noqa: B023, E731
        for how, dim in (("mean", "time"), ("mean", None), ("std", ["latitude", "longitude"]), ("max", "time")):
            # opened anew, for statistics of chunks are kept with a dataset and would answer the second run
            a, got = best(lambda opened: getattr(opened.millibar, how)(dim), fresh)
            b, want = best(lambda _: getattr(reference, how)(dim).compute(scheduler="threads"))
            if got.dtype != np.float32 or how == "max":  # xarray adds float32 up as float32
                np.testing.assert_allclose(got.transpose(*want.dims), want, rtol=1e-12)
            over = "everything" if dim is None else dim if isinstance(dim, str) else " and ".join(dim)
            rows.append((f"{name}: {how} over {over}", a, b, 10.0))
    return rows


def opening():
    path = BENCH / "none.tgm"
    rows = []
    for name, options in (("one message", {}), ("merged", dict(merge_objects=True))):
        a, _ = best(lambda _: xr.open_dataset(path, engine="millibar", **options))
        b, _ = best(lambda _: xr.open_dataset(path, engine="tensogram", **options))
        rows.append((f"opening 48 messages, {name}", a, b, 5.0))
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        rows = slices(folder) + reductions(folder) + opening()
    lines = ["| what | millibar, ms | reference, ms | times faster | wanted | |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    for name, a, b, bar in rows:
        verdict = "" if b / a >= bar else "missed"
        lines.append(f"| {name} | {ms(a)} | {ms(b)} | {b / a:.1f} | {bar:g} | {verdict} |")
    print("\n".join(lines))
    if args.write:
        text = PAGE.read_text()
        begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
        PAGE.write_text(text[:begin] + "\n" + "\n".join(lines) + "\n" + text[end:])
    return any(b / a < bar for _, a, b, bar in rows)


if __name__ == "__main__":
    sys.exit(main())
