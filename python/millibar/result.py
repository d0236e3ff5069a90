"""Results of queries."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from ._errors import Error, UnsupportedError

if TYPE_CHECKING:
    import pandas
    import polars
    import xarray

_SHOWN = 20
"""Rows that are shown of a result."""
_WIDTH = 40
"""Characters that are shown of a cell."""


class BatchReader(Protocol):
    """One run of a query: its batches, in order, once. A ``pyarrow.RecordBatchReader`` is one."""

    @property
    def schema(self) -> pa.Schema:
        """Columns of every batch."""

    def read_next_batch(self) -> pa.RecordBatch:
        """The next batch; raises ``StopIteration`` at the end."""

    def close(self) -> None:
        """Stops the run."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The rest of the run, as an ``arrow_array_stream`` capsule."""


class Query(Protocol):
    """What a :class:`Result` is the result of: something that can be run, each time anew."""

    @property
    def schema(self) -> pa.Schema:
        """Columns of the answer."""

    def run(self, limit: int | None = None) -> BatchReader:
        """Starts a run of at most ``limit`` rows."""

    def explain(self, analyze: bool) -> str:
        """The plan in words; with ``analyze`` it is run, and says what each step took."""


class Result:
    """The result of a query, which is run by whatever asks for its rows, each time anew.

    Nothing is kept: ``to_arrow()``, ``to_pandas()``, ``to_polars()``, ``to_xarray()``, iteration and each use as an Arrow
    stream run the query once, over the files as they are then; a result that is shown runs it for the rows that are shown.
    Statements that do something (``CREATE``, ``COPY``, ...) were done once, by ``Session.sql``.

    Ctrl-C stops the run and leaves the session usable. What goes wrong while rows are made (a broken payload, the memory
    limit) is raised by whatever asked for them.
    """

    def __init__(self, query: Query) -> None:
        self._query = query

    @classmethod
    def from_reader(cls, reader: BatchReader) -> Result:
        """The result that ``reader`` reads. It can be used once; a second use is an error."""
        return cls(_Once(reader))

    @property
    def schema(self) -> pa.Schema:
        """Columns of the result; what files say of a column is in the metadata of its field."""
        return self._query.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The ``pyarrow.RecordBatch``es of a new run, as they come."""
        return _batches(self._query.run())

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """A new run, as an Arrow C stream: pyarrow, polars, duckdb and others take its batches as they come, uncopied."""
        return self._query.run().__arrow_c_stream__(requested_schema)

    def explain(self, *, analyze: bool = False) -> str:
        """How the query is run, in words; with ``analyze`` it is run, and each step says what it did and took."""
        return self._query.explain(analyze)

    def to_arrow(self) -> pa.Table:
        """All rows, as a ``pyarrow.Table``, whose buffers are the engine's."""
        return self._table(None)

    def to_pandas(self, **options: Any) -> pandas.DataFrame:
        """All rows, as a ``pandas.DataFrame``; ``options`` are those of ``pyarrow.Table.to_pandas``.

        NULL becomes NaN, so integers with NULLs become floats, as usual in pandas.
        """
        return self.to_arrow().to_pandas(**options)

    def to_polars(self) -> polars.DataFrame:
        """All rows, as a ``polars.DataFrame``."""
        import polars

        frame = polars.from_arrow(self.to_arrow())
        assert isinstance(frame, polars.DataFrame)
        return frame

    def to_xarray(self, dims: Iterable[str] | None = None) -> xarray.Dataset:
        """All rows, as an ``xarray.Dataset``: columns ``dims`` become its dims, outermost first, the others variables.

        ``dims`` is by default the columns that are dims of a table; ``[]`` makes scalars of a single row. The labels of a
        dim are in the order of the rows where that is ascending or descending, else ascending. A combination of labels
        without a row is NaN (NaT for times), as NULL is; integers become float64 then, truth values and texts objects. Attributes of
        the files are those of the variables.

        Raises ``ValueError`` where two rows have the same labels, where a label is NULL, where ``dims`` names what isn't
        a column, and where an integer beside missing cells is too large for a float64.
        """
        from ._labelled import dataset

        return dataset(self.to_arrow(), None if dims is None else list(dims))

    def __repr__(self) -> str:
        head, more = self._head()
        columns = [[name, *map(_cell, column.to_pylist())] for name, column in zip(head.column_names, head.columns)]
        if not columns:
            return "no columns"
        widths = [max(map(len, column)) for column in columns]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in zip(*columns)]
        return "\n".join([*lines, _footer(head.num_rows, more)])

    def _repr_html_(self) -> str:
        head, more = self._head()
        names = "".join(f"<th>{html.escape(name)}</th>" for name in head.column_names)
        types = "".join(f"<td><small>{html.escape(str(field.type))}</small></td>" for field in head.schema)
        rows = zip(*(map(_cell, column.to_pylist()) for column in head.columns))
        cells = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        footer = html.escape(_footer(head.num_rows, more))
        return f"<table><thead><tr>{names}</tr><tr>{types}</tr></thead><tbody>{body}</tbody></table><p>{footer}</p>"

    def _table(self, limit: int | None) -> pa.Table:
        run = self._query.run(limit)
        return pa.Table.from_batches(_batches(run), schema=run.schema)

    def _head(self) -> tuple[pa.Table, bool]:
        """The rows that are shown, and whether there are more."""
        rows = self._table(_SHOWN + 1)
        return rows.slice(0, _SHOWN), rows.num_rows > _SHOWN


class _Once:
    """A reader as a query, for one run."""

    def __init__(self, reader: BatchReader) -> None:
        self.schema: pa.Schema = reader.schema
        self._reader: BatchReader | None = reader

    def run(self, limit: int | None = None) -> BatchReader:
        if limit is not None:
            raise UnsupportedError("a result that can be read once isn't shown: take its rows with to_arrow()")
        reader, self._reader = self._reader, None
        if reader is None:
            raise Error("this result was used already, and can't be run again")
        return reader

    def explain(self, analyze: bool) -> str:
        raise UnsupportedError("it isn't known how these rows are made")


def _batches(run: BatchReader) -> Iterator[pa.RecordBatch]:
    try:
        while True:
            try:
                batch = run.read_next_batch()
            except StopIteration:
                return
            yield batch
    finally:
        run.close()


def _cell(value: object) -> str:
    text = "NULL" if value is None else str(value).replace("\n", " ")
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def _footer(rows: int, more: bool) -> str:
    return f"the first {rows} rows; there are more" if more else f"{rows} row{'' if rows == 1 else 's'}"
