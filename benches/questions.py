"""The questions of the benchmark, in the language of each peer.

Arrays have dims time, level, latitude, longitude. A peer that has no short way to a question answers None.
"""

import dataclasses
from collections.abc import Callable

import make_field
import numpy as np
import xarray as xr

T = "temperature"
AT = make_field.LEVELS.index(500)
DAYS = [slice(i, i + 4) for i in range(0, len(make_field.TIMES), 4)]


@dataclasses.dataclass
class Question:
    name: str
    sql: str
    # Of the whole cube, of one level of it, or of one point.
    reads: str
    numpy: Callable | None
    xarray: Callable
    tiledb: Callable | None
    blosc2: Callable | None

    @property
    def plain_sql(self):
        """In the words of plain DataFusion."""
        return self.sql.replace("mean(", "avg(").replace("std(", "stddev_pop(")


def wide(v):
    return v.astype("f8")


def level(v):
    """One level, its dim kept: the reference's arrays keep it in what they read, whatever the index was."""
    return v.sel(level=[500])


def by_day(means):
    """Means of means, since all have the same number of cells."""
    return means.reshape(-1, 4).mean(axis=1)


def aggregate(functions):
    return lambda a: a.query(attrs=[T]).agg({T: functions})


MEAN = aggregate(["mean"])

QUESTIONS = [
    Question(
        "mean at level 500", f"SELECT mean({T}) FROM t WHERE level = 500", "level",
        lambda a: a[:, AT].mean(dtype="f8"),
        lambda v: wide(level(v)).mean(),
        lambda a: MEAN(a)[:, AT],
        lambda b: b[:, AT].mean(dtype="f8"),
    ),
    Question(
        "mean of all", f"SELECT mean({T}) FROM t", "all",
        lambda a: a.mean(dtype="f8"),
        lambda v: wide(v).mean(),
        lambda a: MEAN(a)[:],
        lambda b: b.mean(dtype="f8"),
    ),
    Question(
        "mean, std, min, max of all", f"SELECT mean({T}), std({T}), min({T}), max({T}) FROM t", "all",
        lambda a: (a.mean(dtype="f8"), a.std(dtype="f8"), a.min(), a.max()),
        lambda v: xr.Dataset(dict(mean=wide(v).mean(), std=wide(v).std(), min=v.min(), max=v.max())),
        lambda a: aggregate(["mean", "min", "max"])(a)[:],
        lambda b: (b.mean(dtype="f8"), b.std(dtype="f8"), b.min(), b.max()),
    ),
    Question(
        "mean by time", f"SELECT time, mean({T}) FROM t GROUP BY time", "all",
        lambda a: a.mean(axis=(1, 2, 3), dtype="f8"),
        lambda v: wide(v).mean(["level", "latitude", "longitude"]),
        lambda a: a[:].mean(axis=(1, 2, 3), dtype="f8"),
        lambda b: b.mean(axis=(1, 2, 3), dtype="f8"),
    ),
    Question(
        "zonal mean by latitude", f"SELECT latitude, mean({T}) FROM t GROUP BY latitude", "all",
        lambda a: a.mean(axis=(0, 1, 3), dtype="f8"),
        lambda v: wide(v).mean(["time", "level", "longitude"]),
        lambda a: a[:].mean(axis=(0, 1, 3), dtype="f8"),
        lambda b: b.mean(axis=(0, 1, 3), dtype="f8"),
    ),
    Question(
        "time-mean map at level 500",
        f"SELECT latitude, longitude, mean({T}) FROM t WHERE level = 500 GROUP BY latitude, longitude", "level",
        lambda a: a[:, AT].mean(axis=0, dtype="f8"),
        lambda v: wide(level(v)).mean(["time", "level"]),
        lambda a: a[:, AT].mean(axis=0, dtype="f8"),
        lambda b: b[:, AT].mean(axis=0, dtype="f8"),
    ),
    Question(
        "point series", f"SELECT time, {T} FROM t WHERE level = 500 AND latitude = 45 AND longitude = 100", "point",
        None,
        lambda v: v.sel(level=500, latitude=45, longitude=100),
        lambda a: a[:, AT, 45, 100],
        lambda b: b[:, AT, 45, 100],
    ),
    Question(
        "count where temperature > 290", f"SELECT count(*) FROM t WHERE {T} > 290", "all",
        lambda a: np.count_nonzero(a > 290),
        lambda v: (v > 290).sum(),
        lambda a: np.count_nonzero(a[:] > 290),
        lambda b: (b > 290).sum(),
    ),
    Question(
        "mean by day of year", f"SELECT date_part('doy', time) AS day, mean({T}) FROM t GROUP BY day", "all",
        lambda a: [a[day].mean(dtype="f8") for day in DAYS],
        lambda v: wide(v).groupby("time.dayofyear").mean(...),
        lambda a: [a[day].mean(dtype="f8") for day in DAYS],
        lambda b: by_day(b.mean(axis=(1, 2, 3), dtype="f8")),
    ),
]
