"""The walk-through against the reference: the same files through tensogram-xarray and dask.

Counts, minima and maxima are identical; means and deviations agree within 1e-12 relative.
"""

import json
import math

import dask.array as da
import numpy as np
import pytest
import tensogram
import tensogram_xarray  # noqa: F401  (registers the engine)
import xarray as xr
from conftest import ROOT

LEVELS = [1000, 925, 850, 700, 500, 400, 300, 200, 100, 50]
DAYS = ["20260401", "20260402", "20260403", "20260404"]
DDL = """
CREATE EXTERNAL TABLE forecast STORED AS TENSOGRAM
LOCATION 'examples/data/temperature_{time:%Y%m%d}.tgm'
OPTIONS (variables 'temperature_{level}hPa')
"""
FOUR = "count(temperature) AS n, mean(temperature) AS mean, std(temperature) AS std, min(temperature) AS min, max(temperature) AS max"


def four_statistics(array):
    """What the reference stack says: dask arrays over the reference backend, reduced in float64."""
    wide = array.astype("float64")
    mean, std, low, high = da.compute(wide.mean(), wide.std(), array.min(), array.max())
    return {"n": int(np.prod(array.shape)), "mean": float(mean), "std": float(std), "min": float(low), "max": float(high)}


def agree(ours, theirs):
    assert ours["n"] == theirs["n"]
    for exact in ("min", "max"):
        assert np.float32(ours[exact]) == np.float32(theirs[exact]), exact
    for close in ("mean", "std"):
        assert math.isclose(ours[close], theirs[close], rel_tol=1e-12), (close, ours[close], theirs[close])


@pytest.fixture(scope="module")
def cube():
    """time x level x latitude x longitude, stacked by hand as a dask user would."""
    days = [xr.open_dataset(ROOT / f"examples/data/temperature_{day}.tgm", engine="tensogram", chunks={}) for day in DAYS]
    stack = da.stack([da.stack([day[f"temperature_{level}hPa"].data for level in LEVELS]) for day in days])
    return stack, days[0]["latitude"].values, days[0]["longitude"].values


@pytest.mark.parametrize("grid_aggregate", ["true", "false"])
@pytest.mark.parametrize("question", ["all", "level", "point", "band"])
def test_forecast(millibar, cube, question, grid_aggregate):
    stack, latitude, longitude = cube
    where, expected = {
        "all": ("", stack),
        "level": ("WHERE level = 400", stack[:, LEVELS.index(400)]),
        "point": (f"WHERE latitude = {float(latitude[7])!r} AND longitude = {float(longitude[11])!r}", stack[:, :, 7, 11]),
        "band": (
            "WHERE latitude BETWEEN -10 AND 10",
            stack[:, :, np.flatnonzero((latitude >= -10) & (latitude <= 10))],
        ),
    }[question]
    out = millibar.run(
        "sql", "-q", "--format", "ndjson",
        "-c", f"SET millibar.grid_aggregate = {grid_aggregate}",
        "-c", DDL,
        "-c", f"SELECT {FOUR} FROM forecast {where}",
    ).stdout
    agree(json.loads(out.splitlines()[-1]), four_statistics(expected))


@pytest.mark.parametrize("variant", ["sp16_szip", "f32_blosc2"])
@pytest.mark.parametrize("param", ["t", "u"])
def test_mars_cube(millibar, corpus, variant, param):
    path = corpus / "mars" / f"{variant}.tgm"
    cells = {}
    with tensogram.TensogramFile.open(str(path)) as file:
        for index in range(len(file)):
            meta, objects = file.decode_message(index)
            keys = meta.base[0]["mars"]
            if keys["param"] == param:
                cells[keys["date"], keys["step"], keys["levelist"]] = np.asarray(objects[0][1])
    dates, steps, levels = (sorted({key[i] for key in cells}) for i in range(3))
    stack = da.from_array(
        np.stack([np.stack([np.stack([cells[d, s, l] for l in levels]) for s in steps]) for d in dates]), chunks=(1, 1, 1, -1, -1)
    )
    statistics = f'count({param}) AS n, mean({param}) AS mean, std({param}) AS std, min({param}) AS min, max({param}) AS max'

    def check(where, expected):
        row = millibar.rows(f"SELECT {statistics} FROM cube {where}", f"cube={path}")[0]
        theirs = four_statistics(expected)
        assert row["n"] == theirs["n"]
        assert (row["min"], row["max"]) == (theirs["min"], theirs["max"]) or np.float32(row["min"]) == np.float32(theirs["min"])
        assert math.isclose(row["mean"], theirs["mean"], rel_tol=1e-12)
        assert math.isclose(row["std"], theirs["std"], rel_tol=1e-12)

    check("", stack)
    check("WHERE level = 500", stack[:, :, levels.index(500)])
    check("WHERE step > 0 AND level IN (850, 250)", stack[:, 1:][:, :, [levels.index(250), levels.index(850)]])

    grouped = millibar.rows(f"SELECT step, mean({param}) AS mean FROM cube GROUP BY step ORDER BY step", f"cube={path}")
    assert [row["step"] for row in grouped] == steps
    for row, i in zip(grouped, range(len(steps)), strict=True):
        assert math.isclose(row["mean"], float(stack[:, i].astype("float64").mean().compute()), rel_tol=1e-12)
