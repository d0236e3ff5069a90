"""Results of queries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import pyarrow as pa


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


class Result:
    """The result of a query, which is run by whatever asks for its rows, each time anew.

    Nothing is kept: ``to_arrow()`` and the like run the query once each, iteration and ``__arrow_c_stream__`` while
    batches are taken.
    """

    def __init__(self, query: Query) -> None:
        self._query = query

    @property
    def schema(self) -> pa.Schema:
        """Columns of the result: dims before variables, with attributes of the files in the fields' metadata."""
        return self._query.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Batches, as they come."""
        return _batches(self._query.run())

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        """A new run, as an Arrow C stream: batches are handed over as they come, without a copy."""
        return self._query.run().__arrow_c_stream__(requested_schema)

    def to_arrow(self) -> pa.Table:
        """All rows, as a ``pyarrow.Table``."""
        run = self._query.run()
        return pa.Table.from_batches(_batches(run), schema=run.schema)


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
