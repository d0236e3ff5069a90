"""Reductions of cells in memory for every layout of kept and reduced axes, Millibar beside numpy, each on one thread.

Runs `cargo bench --bench layouts` and times numpy on a field of the same shape and dtype. numpy sums in float64, as
Millibar does (`mean(dtype="f8")`); its four statistics are four passes. Exits with 1 if anything takes longer than
numpy. Usage: python benches/layouts.py [--write]; --write puts the table into docs/performance.md, between its markers.
"""

import argparse
import pathlib
import subprocess
import sys
import time

import numpy as np
import scaling

SHAPE = (24, 13, 181, 360)
ROOT = pathlib.Path(__file__).resolve().parents[1]
BY_TENS = {
    "[3 // 10]": ((24, 13, 181, 36, 10), (0, 1, 2, 4)),
    "[2 // 10, 3 // 10]": ((24, 13, 18, 10, 36, 10), (0, 1, 3, 5)),
    "[2, 3 // 10]": ((24, 13, 181, 36, 10), (0, 1, 4)),
    "[3 % 10]": ((24, 13, 181, 36, 10), (0, 1, 2, 3)),
}


def best(run, repeat=3):
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def numpy_ms(field, layout):
    """Milliseconds of the mean, and of mean, std, min and max."""
    if layout in BY_TENS:
        shape, axes = BY_TENS[layout]
        cut = field[:, :, :180] if shape[2] == 18 else field
        array = cut.reshape(shape)
    else:
        kept = {int(dim) for dim in layout.strip("[]").split(",") if dim}
        array, axes = field, tuple(dim for dim in range(4) if dim not in kept)
    mean = best(lambda: array.mean(axis=axes, dtype="f8"))
    rest = best(lambda: (array.std(axis=axes, dtype="f8"), array.min(axis=axes), array.max(axis=axes)), 1)
    return mean, mean + rest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    field = np.random.default_rng(1).uniform(250, 300, SHAPE).astype("f4")
    command = ["cargo", "bench", "--quiet", "--locked", "--bench", "layouts"]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    rows, missed = [], []
    for layout, mean, four in (line.split("\t") for line in lines if "\t" in line):
        mean, four = float(mean), float(four)
        numpy_mean, numpy_four = numpy_ms(field, layout)
        ms = [f"{time:.1f}" for time in (mean, numpy_mean, four, numpy_four)]
        rows.append([f"`{layout}`", *ms, f"{four / mean:.2f}"])
        if mean > numpy_mean or four > numpy_four:
            missed.append(layout)
    text = scaling.table(["kept axes", "mean, ms", "numpy", "four statistics, ms", "numpy", "four / mean"], rows)
    print(text)
    if options.write:
        scaling.put("layouts", text)
    if missed:
        sys.exit(f"slower than numpy: {', '.join(missed)}")


if __name__ == "__main__":
    main()
