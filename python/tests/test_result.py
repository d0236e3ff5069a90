"""Results: what they become, and when they run."""

import pathlib

import duckdb
import millibar
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import xarray as xr

ROOT = pathlib.Path(__file__).resolve().parents[2]
FORECAST = str(ROOT / "examples/data/temperature_{time:%Y%m%d}.tgm")
DAY = str(ROOT / "examples/data/temperature_20260401.tgm")


@pytest.fixture(scope="module")
def session():
    session = millibar.connect()
    session.register("forecast", FORECAST, variables="temperature_{level}hPa")
    return session


def test_every_use_runs_anew(session):
    result = session.sql("SELECT value FROM generate_series(1, 100000)")
    assert result.schema == pa.schema([pa.field("value", pa.int64(), nullable=False)])
    for _ in range(2):
        assert pa.table(result).num_rows == 100_000
        assert sum(batch.num_rows for batch in result) == 100_000
        assert result.to_arrow().num_rows == 100_000


def test_streams_are_not_collected(session):
    endless = session.sql("SELECT value FROM generate_series(1, 1000000000000)")
    assert next(iter(endless)).num_rows > 0
    reader = pa.RecordBatchReader.from_stream(endless)
    assert reader.read_next_batch().num_rows > 0
    reader.close()


def test_batches_are_shared_not_copied(session):
    batch = next(iter(session.sql("SELECT value FROM generate_series(1, 1000)")))
    before = pa.total_allocated_bytes()
    table = pa.table({"value": batch.column(0)})
    frame = pl.from_arrow(table)
    assert pa.total_allocated_bytes() < before + batch.nbytes // 2
    assert frame["value"].to_numpy().ctypes.data == batch.column(0).to_numpy().ctypes.data


def test_others_take_a_result(session):
    result = session.sql("SELECT time, mean(temperature) AS mean FROM forecast GROUP BY time")
    frame = pl.DataFrame(result)
    assert frame.shape == (4, 2)
    assert frame.sort("time").equals(result.to_polars().sort("time").with_columns(frame.sort("time")["mean"]))
    assert duckdb.sql("SELECT count(*), count(DISTINCT time) FROM result").fetchall() == [(4, 4)]
    assert list(result.to_pandas().columns) == ["time", "mean"]
    assert result.to_pandas()["time"].dt.day.tolist() == [1, 2, 3, 4]


def test_a_reader_is_used_once():
    table = pa.table({"x": [1, 2]})
    result = millibar.Result.from_reader(table.to_reader())
    assert result.schema == table.schema
    with pytest.raises(NotImplementedError):
        repr(result)
    assert result.to_arrow() == table
    with pytest.raises(millibar.Error, match="used already"):
        result.to_arrow()
    assert pa.table(millibar.Result.from_reader(table.to_reader())) == table


def test_text_and_html_show_some_rows(session):
    few = session.sql("SELECT 1 AS one, '<b>' AS text, NULL AS nothing")
    assert repr(few) == "one  text  nothing\n1    <b>   NULL\n1 row"
    assert "<td>&lt;b&gt;</td>" in few._repr_html_()
    assert "1 row" in few._repr_html_()
    many = session.sql("SELECT value, repeat('x', 100) AS long FROM generate_series(1, 1000000000000)")
    assert repr(many).splitlines()[-1] == "the first 20 rows; there are more"
    assert len(repr(many).splitlines()) == 22
    assert max(map(len, repr(many).splitlines())) < 60
    assert many._repr_html_().count("<tr>") == 22
    assert repr(session.sql("SELECT 1 AS x WHERE false")) == "x\n0 rows"
    assert repr(session.sql("SET datafusion.execution.time_zone = '+00:00'")) == "no columns"


def test_explain(session):
    result = session.sql("SELECT mean(temperature) FROM forecast WHERE level = 500")
    assert "GridAggregateExec" in result.explain()
    assert "elapsed" in result.explain(analyze=True)


def test_whole_tables_become_labelled_arrays(session):
    got = session.sql("SELECT * FROM forecast").to_xarray()
    assert dict(got.sizes) == {"time": 4, "level": 10, "latitude": 36, "longitude": 72}
    assert got.temperature.dims == ("time", "level", "latitude", "longitude")
    assert got.temperature.dtype == np.float32
    day = xr.open_dataset(DAY, engine="tensogram")
    np.testing.assert_array_equal(got.latitude, day.latitude)
    np.testing.assert_array_equal(got.temperature.sel(time="2026-04-01", level=500).squeeze(), day.temperature_500hPa)
    assert "millibar.role" not in got.temperature.attrs
    assert got.temperature.attrs


def test_groups_become_labelled_arrays(session):
    got = session.sql("SELECT level, time, mean(temperature) AS mean FROM forecast GROUP BY level, time").to_xarray(["time", "level"])
    assert got["mean"].dims == ("time", "level")
    one = session.sql("SELECT mean(temperature) AS m FROM forecast WHERE level = 500 AND time = '2026-04-02'").to_arrow()
    assert float(got["mean"].sel(time="2026-04-02", level=500).squeeze()) == pytest.approx(one["m"][0].as_py(), rel=1e-12)
    scalar = session.sql("SELECT mean(temperature) AS m, 'x' AS text FROM forecast").to_xarray([])
    assert scalar["m"].shape == () and scalar["text"].item() == "x"


ROWS = pa.table(
    {
        "y": pa.array([2, 1, 2], pa.int32()),
        "x": ["b", "a", "a"],
        "f": pa.array([1.5, 2.5, None], pa.float32()),
        "i": pa.array([7, 8, 9], pa.int16()),
        "s": ["p", None, "r"],
        "t": pa.array([0, 1, 2], pa.timestamp("s")),
        "b": [True, False, True],
        "c": pa.array([{"re": 1.0, "im": float("inf")}, {"re": 2.0, "im": 0.0}, None], pa.struct([("re", pa.float32()), ("im", pa.float32())])),
    }
)


def test_missing_combinations_are_nan():
    got = millibar.Result.from_reader(ROWS.to_reader()).to_xarray(["y", "x"])
    assert got.y.values.tolist() == [2, 1], "as the rows have them, where that is in order"
    assert got.x.values.tolist() == ["b", "a"]
    nan = np.nan
    np.testing.assert_array_equal(got.f, np.array([[1.5, nan], [nan, 2.5]], np.float32))
    assert got.f.dtype == np.float32
    np.testing.assert_array_equal(got.i, [[7, 9], [nan, 8]])
    assert got.s.isnull().values.tolist() == [[False, False], [True, True]]
    assert got.s.values[0].tolist() == ["p", "r"]
    assert np.isnat(got.t.values).tolist() == [[False, False], [True, False]]
    assert got.b.values.tolist() == [[True, True], [pytest.approx(nan, nan_ok=True), False]]
    assert got.c.dtype == np.complex64
    assert got.c.values[0, 0] == complex(1, np.inf)
    assert np.isnan(got.c.values[1, 0])


def test_labels_out_of_order_are_sorted():
    rows = pa.table({"x": [3, 1, 2], "v": [30, 10, 20]})
    got = millibar.Result.from_reader(rows.to_reader()).to_xarray(["x"])
    assert got.v.to_dict()["data"] == [10, 20, 30]
    assert got.x.values.tolist() == [1, 2, 3]
    assert got.v.dtype == np.int64


@pytest.mark.parametrize(
    ("columns", "dims", "words"),
    [
        ({"x": [1, 1], "v": [1, 2]}, ["x"], "several rows have the labels x = 1"),
        ({"x": [1, None], "v": [1, 2]}, ["x"], "`x` has rows without a label"),
        ({"x": [1], "v": [1]}, ["z"], "`z` is no column"),
        ({"x": [1], "v": [1]}, ["x", "x"], "named twice"),
        ({"v": [1, 2]}, [], "2 rows without dims"),
        ({"x": [1, 2], "v": [2**60 + 1, None]}, ["x"], "`v`: an integer beside missing cells is too large"),
    ],
)
def test_what_has_no_labelled_form_says_why(columns, dims, words):
    with pytest.raises(ValueError, match=words):
        millibar.Result.from_reader(pa.table(columns).to_reader()).to_xarray(dims)
