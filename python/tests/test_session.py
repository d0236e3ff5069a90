"""Sessions and results."""

import millibar
import pyarrow as pa
import pytest


def test_a_first_query():
    assert millibar.sql("SELECT 1 AS one").to_arrow().to_pydict() == {"one": [1]}
    assert millibar.__version__ == "0.1.0"


def test_a_result_is_an_arrow_stream_that_runs_anew():
    result = millibar.connect().sql("SELECT value FROM generate_series(1, 100000)")
    assert result.schema == pa.schema([pa.field("value", pa.int64(), nullable=False)])
    for _ in range(2):
        assert pa.table(result).num_rows == 100_000
        assert sum(batch.num_rows for batch in result) == 100_000


def test_errors_are_exceptions_of_two_kinds():
    with pytest.raises(millibar.QueryError, match="nope"):
        millibar.sql("SELECT nope(1)")
    with pytest.raises(FileNotFoundError, match="nowhere.tgm"):
        millibar.sql("SELECT * FROM 'nowhere.tgm'")
