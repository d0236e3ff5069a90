"""Four days of temperature on ten levels: one 4-D array, four statistics, four questions, asked in four ways.

    python examples/dask_tutorial.py [--scheduler threads|synchronous|processes|distributed] [--server grpc://HOST:PORT]

The files hold one variable for each level, the days are in their names. Stacked by hand they are a dask array over
tensogram-xarray; Millibar's xarray backend does the same from two patterns, or takes the table `forecast` of a server
(`millibar serve --option 'variables=temperature_{level}hPa' 'forecast=examples/data/temperature_{time:%Y%m%d}.tgm'`);
and SQL (examples/tutorial.sql) needs no array at all. Run from the top of the project.
"""

import argparse
import contextlib
import pathlib

import dask
import dask.array as da
import millibar
import pandas as pd
import xarray as xr

FOLDER = pathlib.Path("examples/data")
LEVELS = [1000, 925, 850, 700, 500, 400, 300, 200, 100, 50]
DAYS = ["20260401", "20260402", "20260403", "20260404"]


def on_the_reference():
    """The stack that a dask user makes by hand."""
    days = [xr.open_dataset(FOLDER / f"temperature_{day}.tgm", engine="tensogram", chunks={}) for day in DAYS]
    stack = da.stack([da.stack([day[f"temperature_{level}hPa"].data for level in LEVELS]) for day in days])
    coords = {"time": pd.to_datetime(DAYS), "level": LEVELS, "latitude": days[0].latitude, "longitude": days[0].longitude}
    return xr.DataArray(stack, coords, ["time", "level", "latitude", "longitude"], "temperature")


def on_files():
    """The same from two patterns: a dim from the names of the files, and one from those of the variables."""
    pattern = FOLDER / "temperature_{time:%Y%m%d}.tgm"
    return xr.open_dataset(pattern, engine="millibar", variables="temperature_{level}hPa", chunks={}).temperature


def on_a_server(location):
    """The same from a server, which reads and decodes."""
    return xr.open_dataset(f"{location}/forecast", engine="millibar", chunks={}).temperature


def questions(cube):
    """What is asked about, as slices of the cube."""
    return {
        "everything": cube,
        "a point": cube.sel(latitude=17.5, longitude=115.0),
        "a level": cube.sel(level=400),
        "a band": cube.isel(latitude=(abs(cube.latitude) <= 10).values.nonzero()[0]),
    }


def by_dask(cube):
    """Count, min, max, mean and standard deviation of each question, in one computation."""
    lazy = {}
    for question, part in questions(cube).items():
        wide = part.astype("float64")
        lazy[question] = [part.count(), part.min(), part.max(), wide.mean(), wide.std()]
    (computed,) = dask.compute(lazy)
    return {question: [value.item() for value in values] for question, values in computed.items()}


def by_sql():
    """The same from the statements of examples/tutorial.sql."""
    table, *asked = pathlib.Path("examples/tutorial.sql").read_text().split(";")[:-1]
    session = millibar.connect()
    session.sql(table)
    names = [sql.strip().splitlines()[0].removeprefix("-- ") for sql in asked]
    return {name: list(session.sql(sql).to_arrow().to_pylist()[0].values()) for name, sql in zip(names, asked)}


@contextlib.contextmanager
def scheduler(name):
    """One of dask's schedulers; `distributed` starts two worker processes."""
    if name == "distributed":
        from dask.distributed import Client

        with Client(n_workers=2, threads_per_worker=1, dashboard_address=None):
            yield
    else:
        with dask.config.set(scheduler=name, num_workers=2):
            yield


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scheduler", default="threads")
    parser.add_argument("--server", metavar="grpc://HOST:PORT")
    args = parser.parse_args()
    cubes = {"dask on tensogram-xarray": on_the_reference(), "dask on millibar": on_files()}
    if args.server:
        cubes["dask on a server"] = on_a_server(args.server)
    with scheduler(args.scheduler):
        answers = {way: by_dask(cube) for way, cube in cubes.items()}
    answers["SQL"] = by_sql()
    print(f"{'':12}{'':26}{'count':>6} {'min':>10} {'max':>10} {'mean':>20} {'std':>20}")
    for question in answers["SQL"]:
        for way, found in answers.items():
            count, low, high, mean, std = found[question]
            print(f"{question:12}{way:26}{count:6} {low:10.9g} {high:10.9g} {mean:20.16g} {std:20.16g}")


if __name__ == "__main__":
    main()
