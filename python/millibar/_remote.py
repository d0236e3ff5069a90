"""Servers: sessions whose queries run on one, and arrays whose cells are fetched from it, over pyarrow.flight.

    location -> client (one for each process) -> rows of statements, tables described, slabs of variables

The protocol is that of ``docs/flight.md``. Arrays hold the location, what the server said of them, and nothing else: they
can be pickled, and are read through the client of whichever process they come to.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import compute, flight

from ._arrays import Axis, arrange, of_bits, stored_dtype, with_nan
from ._errors import (
    Error,
    FileError,
    IntegrityError,
    InternalError,
    MemoryLimitError,
    OptionError,
    QueryError,
    UnsupportedError,
)
from .result import BatchReader, Result
from .session import Session

if TYPE_CHECKING:
    from .session import Option

logger = logging.getLogger(__name__)

_KEY = b"millibar"
"""Schema metadata that describes tables and slabs."""

_clients: dict[str, flight.FlightClient] = {}
_lock = threading.Lock()
_forked = False
"""Whether this process is a fork of one that had clients: gRPC doesn't work here, a call would wait forever."""


def client(location: str) -> flight.FlightClient:
    """The client of this process for the server at ``location``."""
    if _forked:
        raise UnsupportedError(
            f"{location}: this process was forked from one that had connections to a server, which gRPC doesn't allow: "
            'start it by "spawn" or "forkserver", as dask does'
        )
    with _lock:
        if location not in _clients:
            with _errors():
                _clients[location] = flight.connect(location)
        return _clients[location]


def _in_child() -> None:
    global _forked
    _forked = bool(_clients) or _forked
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_in_child)


@contextmanager
def _errors() -> Iterator[None]:
    """What a server refuses, as this package's exceptions."""
    try:
        yield
    except flight.FlightCancelledError as e:
        raise KeyboardInterrupt from e
    except flight.FlightUnavailableError as e:
        raise FileError(_words(e)) from e
    except (pa.ArrowKeyError, pa.ArrowInvalid) as e:
        # pyarrow has one exception for what is wrong with a request and with the state of the data
        stale = str(e).startswith("gRPC returned precondition failed")
        raise (FileError if stale else QueryError)(_words(e)) from e
    except pa.ArrowNotImplementedError as e:
        raise UnsupportedError(_words(e)) from e
    except (MemoryError, pa.ArrowCapacityError) as e:
        raise MemoryLimitError(_words(e)) from e
    except flight.FlightInternalError as e:
        raise InternalError(_words(e)) from e
    except OSError as e:
        raise (IntegrityError if "hash" in str(e) else FileError)(_words(e)) from e
    except pa.ArrowException as e:
        raise Error(_words(e)) from e


def _words(error: BaseException) -> str:
    """What the server said, without what pyarrow and gRPC put around it."""
    text = str(error)
    text = text.split(". Detail: ")[0].split(". gRPC client debug context")[0].split(". Client context")[0]
    for prefix in ("Flight returned ", "Flight error: "):
        text = text.removeprefix(prefix)
    _, status, rest = text.partition("error, with message: ")
    return rest if status else text


class RemoteSession(Session):
    """A session whose queries run on a server, over the tables that it serves."""

    def __init__(self, location: str) -> None:
        self._location = location
        client(location)

    def sql(self, text: str) -> Result:
        """The :class:`Result` of one statement, which can only read; it runs on the server."""
        query = _Query(self._location, text)
        query.schema  # noqa: B018 -- planned now, so that mistakes show here
        return Result(query)

    def tables(self) -> list[str]:
        """The names of the tables that the server has."""
        with _errors():
            infos = list(client(self._location).list_flights())
        return [b".".join(info.descriptor.path).decode() for info in infos]

    def register(
        self, name: str, source: Any, *, format: str | None = None, replace: bool = False, **options: Option
    ) -> list[str]:
        """Not for servers, which have the tables that they were started with."""
        raise UnsupportedError(f"`{self._location}` serves the tables that it was started with")

    def deregister(self, name: str) -> None:
        """Not for servers, which have the tables that they were started with."""
        raise UnsupportedError(f"`{self._location}` serves the tables that it was started with")

    def __repr__(self) -> str:
        return f"<millibar session on {self._location}>"


class _Query:
    """A statement on a server."""

    def __init__(self, location: str, text: str) -> None:
        self._location = location
        self._text = text
        self._info: flight.FlightInfo | None = None

    @property
    def info(self) -> flight.FlightInfo:
        if self._info is None:
            with _errors():
                descriptor = flight.FlightDescriptor.for_command(self._text)
                self._info = client(self._location).get_flight_info(descriptor)
        return self._info

    @property
    def schema(self) -> pa.Schema:
        return self.info.schema

    def run(self, limit: int | None = None) -> BatchReader:
        with _errors():
            stream = client(self._location).do_get(self.info.endpoints[0].ticket)
        return _Run(stream, limit)

    def explain(self, analyze: bool) -> str:
        words = "EXPLAIN ANALYZE" if analyze else "EXPLAIN"
        run = _Query(self._location, f"{words} {self._text}").run()
        plans = []
        while True:
            try:
                plans.extend(run.read_next_batch().to_pylist())
            except StopIteration:
                return "\n".join(f"{row['plan_type']}\n{row['plan']}" for row in plans)


class _Run:
    """A stream of rows from a server, up to a limit; closing it stops the query."""

    def __init__(self, stream: flight.FlightStreamReader, limit: int | None) -> None:
        self.schema: pa.Schema = stream.schema
        self._stream = stream
        self._left = limit

    def read_next_batch(self) -> pa.RecordBatch:
        if self._left == 0:
            self.close()
            raise StopIteration
        with _errors():
            batch: pa.RecordBatch = self._stream.read_chunk().data
        if self._left is not None:
            batch = batch.slice(0, self._left)
            self._left -= batch.num_rows
        return batch

    def close(self) -> None:
        self._stream.cancel()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        def batches() -> Iterator[pa.RecordBatch]:
            while True:
                try:
                    batch = self.read_next_batch()
                except StopIteration:
                    return
                yield batch

        return pa.RecordBatchReader.from_batches(self.schema, batches()).__arrow_c_stream__(requested_schema)


def split(location: str) -> tuple[str, str]:
    """The server and the table of ``grpc://host:port/table``."""
    scheme, _, rest = location.partition("://")
    host, _, table = rest.partition("/")
    if not table:
        raise OptionError(f"`{location}`: expected grpc://host:port/table")
    return f"{scheme}://{host}", table


@dataclass(frozen=True)
class RemoteArray:
    """A variable on a server. What ``read`` gives has NaN where cells are missing."""

    location: str
    table: str
    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    """Shape of a stored chunk; those at the end of a dim may be smaller."""
    stored: str
    """The dtype on the server; ``dtype`` holds NaN beside its values where there are holes."""
    dtype: np.dtype[Any]
    identity: str
    """Of the state that the data was in; if it is another, reading is an error."""
    holes: bool
    attrs: Mapping[str, Any] = field(compare=False)

    def read(self, key: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        """The elements at the product of positions: an integer drops its dim, a slice may have any step, a list of positions
        any order.

        Raises ``OSError`` if the server can't be reached, or serves other data by now.
        """
        axes = [Axis.of(index, size) for index, size in zip(key, self.shape)]
        select = {dim: _positions(axis.positions) for dim, axis in zip(self.dims, axes)}
        request = {
            "table": self.table,
            "variable": self.name,
            "select": select,
            "missing": "null" if self.holes and np.dtype(_WIRE.get(self.stored, self.stored)).kind in "iub" else "nan",
            "identity": self.identity,
        }
        return arrange(read_slab(self.location, json.dumps(request).encode(), self.dtype), axes)


def _positions(positions: tuple[int, int, int] | list[int]) -> dict[str, Any]:
    if isinstance(positions, list):
        return {"index": positions}
    start, stop, step = positions
    return {"start": start, "stop": stop, "step": step}


_WIRE = {"bfloat16": "uint16", "bitmask": "uint8", "complex64": "float32", "complex128": "float64"}
"""The dtypes that travel as others."""


def read_slab(location: str, ticket: bytes, dtype: np.dtype[Any] | None = None) -> np.ndarray[Any, Any]:
    """The slab of ``ticket`` (which may be a slab request) from the server at ``location``.

    As ``dtype``; by default as it is stored, with NaN where cells are missing. Values in one message aren't copied: what
    is given back is read-only then.
    """
    with _errors():
        reader = client(location).do_get(flight.Ticket(ticket))
        about = json.loads(reader.schema.metadata[_KEY])
        shape = tuple(about["shape"])
        stored = stored_dtype(about["dtype"])
        pieces = []
        values: np.ndarray[Any, Any] | None = None
        at = 0
        for chunk in reader:
            piece = _values(chunk.data.column(0), about["dtype"], stored)
            if chunk.app_metadata is not None:
                read = json.loads(chunk.app_metadata.to_pybytes())
                logger.debug(
                    "%s: %s of %s: %d ranges decoded, %d objects decoded as a whole",
                    location, about["variable"], shape, read["ranges_decoded"], read["full_decodes"],
                )  # fmt: skip
            if values is None and piece.size == math.prod(shape):
                pieces.append(piece)
                continue
            if values is None:
                values = np.empty(math.prod(shape), piece.dtype)
            values[at : at + piece.size] = piece
            at += piece.size
    if pieces:
        values = pieces[0]
    if values is None:
        values = np.empty(0, stored)
    values = values.reshape(shape)
    return values if dtype is None or values.dtype == dtype else values.astype(dtype)


def _values(column: pa.ExtensionArray, name: str, stored: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The cells of a column of tensors, flat; without a copy where none is missing."""
    flat = column.storage.flatten()
    missing = flat.null_count > 0
    valid = flat.is_valid().to_numpy(zero_copy_only=False) if missing else None
    if missing:
        raw = np.frombuffer(flat.buffers()[1], np.dtype(_WIRE.get(name, name)))[flat.offset : flat.offset + len(flat)]
    else:
        raw = flat.to_numpy()
    if name == "bfloat16":
        values = of_bits(raw, stored)
    else:
        values = raw.view(stored)
    if valid is None:
        return values
    if values.dtype != raw.dtype and name.startswith("complex"):
        valid = valid[::2]
    values = values.astype(with_nan(values.dtype))
    values[~valid] = math.nan
    return values


@dataclass(frozen=True)
class RemoteTable:
    """A table of tensors on a server: its labels, and arrays that read its variables."""

    location: str
    table: str
    dims: Mapping[str, int]
    """Sizes, outermost dim first; all variables have all dims."""
    coords: Mapping[str, np.ndarray[Any, Any]]
    """The labels of each dim."""
    coord_attrs: Mapping[str, Mapping[str, Any]]
    arrays: Mapping[str, RemoteArray]
    attrs: Mapping[str, Any]

    @classmethod
    def open(cls, location: str) -> RemoteTable:
        """The table at ``grpc://host:port/table``. Fetches what it is and the labels, no other payload.

        Raises :class:`millibar.QueryError` if there is no such table, or it isn't one of tensors.
        """
        server, table = split(location)
        with _errors():
            info = client(server).get_flight_info(flight.FlightDescriptor.for_path(table))
            said = (info.schema.metadata or {}).get(_KEY)
            if said is None:
                raise QueryError(f"table `{table}` of {server} is not one of tensors: it has rows only")
            labels = client(server).do_get(info.endpoints[0].ticket).read_all()
        about = json.loads(said)
        dims = {dim["name"]: dim["size"] for dim in about["dims"]}
        arrays = {}
        for variable in about["variables"]:
            stored = stored_dtype(variable["dtype"])
            arrays[variable["name"]] = RemoteArray(
                location=server, table=table, name=variable["name"], dims=tuple(dims), shape=tuple(dims.values()),
                chunks=tuple(variable["chunks"]), stored=variable["dtype"],
                dtype=with_nan(stored) if variable["holes"] else stored, identity=variable["identity"],
                holes=variable["holes"] > 0, attrs=_attributes(variable["attributes"]),
            )  # fmt: skip
        return cls(
            location=server,
            table=table,
            dims=dims,
            coords={dim: _labels(labels.column(dim)) for dim in dims},
            coord_attrs={dim["name"]: _attributes(dim["attributes"]) for dim in about["dims"]},
            arrays=arrays,
            attrs=_attributes(about["attributes"]),
        )


def _labels(lists: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    flat = compute.list_flatten(lists)
    if pa.types.is_string(flat.type):
        return np.array(flat.to_pylist(), dtype=np.str_)
    return np.asarray(flat.to_numpy())


def _attributes(said: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _attribute(value) for key, value in said.items()}


def _attribute(value: Any) -> Any:
    """A metadata value from its JSON, where ``$`` keys spell what JSON lacks."""
    if isinstance(value, dict):
        if set(value) == {"$float"}:
            return float(value["$float"])
        if set(value) == {"$bytes"}:
            return bytes.fromhex(value["$bytes"])
        if set(value) == {"$integer"}:
            return int(value["$integer"])
        if set(value) == {"$tag", "value"}:
            return _attribute(value["value"])
        return _attributes(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_attribute(item) for item in value]
    return value
