"""The package as a typed program uses it: `make test` has mypy check this file, strictly."""

from __future__ import annotations

import pathlib

import millibar
import numpy as np
import pyarrow as pa

DAY = pathlib.Path(__file__).resolve().parents[2] / "examples/data/temperature_20260401.tgm"


def mean_of(session: millibar.Session, column: str) -> float:
    result: millibar.Result = session.sql(f'SELECT mean("{column}") AS mean FROM day')
    table: pa.Table = result.to_arrow()
    return float(table["mean"][0].as_py())


def test_sessions_are_typed() -> None:
    with millibar.connect(memory_limit="1G", threads=2, settings={"millibar.range_threshold": 0.5}) as session:
        names: list[str] = session.register("day", DAY, variables=["temperature_500hPa"], limits={"axes": 8})
        assert names == ["day"]
        assert 200 < mean_of(session, "temperature_500hPa") < 300
        rows: int = sum(batch.num_rows for batch in session.sql("SELECT * FROM day"))
        dataset = session.sql("SELECT * FROM day").to_xarray(["latitude", "longitude"])
        assert dataset.sizes["latitude"] * dataset.sizes["longitude"] == rows
        assert dataset["temperature_500hPa"].dtype == np.float32
        plan: str = session.sql("SELECT 1").explain(analyze=True)
        assert plan


def test_errors_are_typed() -> None:
    try:
        millibar.sql("SELECT * FROM 'nowhere.tgm'").to_pandas()
    except millibar.FileError as error:
        file: str | None = error.file
        assert file == "nowhere.tgm"
        assert error.message is None
    else:
        raise AssertionError
