"""Sessions: tables, settings, and statements about them."""

from __future__ import annotations

import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from types import TracebackType
from typing import Any, Union, cast

import pyarrow as pa

from . import _millibar
from ._errors import OptionError, UnknownOptionError
from .result import Result

Option = Union[str, bool, int, float, Sequence[Union[str, int]], Mapping[str, Any], None]
"""Value of an option: lists are written with commas between, mappings as ``key=value`` with commas between
(``storage_options`` as JSON).
"""

_FORMATS = {
    ".parquet": "PARQUET",
    ".csv": "CSV",
    ".json": "JSON",
    ".ndjson": "JSON",
    ".arrow": "ARROW",
    ".avro": "AVRO",
}
SCHEMES = ("grpc://", "grpc+tcp://", "grpc+tls://")
"""What locations of servers begin with."""

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


class Session(ABC):
    """Tables, and statements about them; :func:`connect` makes one, here or on a server.

    Sessions may be used from several threads. They close at the end of a ``with`` block.
    """

    @abstractmethod
    def sql(self, text: str) -> Result:
        """Runs a script up to its last statement, whose :class:`Result` is returned.

        Statements that only read run when rows are asked for; others (``CREATE EXTERNAL TABLE``, ``SET``, ``COPY``, ...)
        at once. Statements are separated by ``;``.

        Raises :class:`millibar.QueryError` where the text doesn't parse or plan, and what opening files raises.
        """

    @abstractmethod
    def register(
        self, name: str, source: Any, *, format: str | None = None, replace: bool = False, **options: Option
    ) -> list[str]:
        """Makes ``source`` a table called ``name``; see the class of the session for what may be registered."""

    @abstractmethod
    def deregister(self, name: str) -> None:
        """Forgets the table ``name``."""

    def close(self) -> None:
        """Gives back what the session holds; it isn't used afterwards."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class LocalSession(Session):
    """A session whose queries run in this process, on threads that all sessions share."""

    def __init__(
        self,
        *,
        memory_limit: int | str | None = None,
        threads: int | None = None,
        settings: Mapping[str, str | bool | int | float] | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise OptionError(f"threads = {threads}: expected a number from 1")
        limit = None if memory_limit is None else _bytes(memory_limit)
        texts = {key: _text(value) for key, value in (settings or {}).items()}
        self._native = _millibar.Session(limit, threads, texts)

    def sql(self, text: str) -> Result:
        return Result(self._native.sql(text))

    def register(
        self, name: str, source: Any, *, format: str | None = None, replace: bool = False, **options: Option
    ) -> list[str]:
        """Makes ``source`` a table called ``name`` and returns the names of the tables that came of it.

        ``source`` is one of

        - a path, glob, ``{pattern}`` or URL of tensor files, or a list of them, with ``options`` as in
          ``CREATE EXTERNAL TABLE ... OPTIONS`` (``variables="temperature_{level}hPa"``; ``millibar.OPTIONS`` has all);
          ``storage_options={"key": ..., "secret": ..., "region": ...}`` is how their stores are reached.
          Variables on several grids become several tables, ``name_<dims>``;
        - a path of a ``.parquet``, ``.csv``, ``.json``, ``.arrow`` or ``.avro`` file, or anything with ``format="parquet"``
          and the like, with DataFusion's options of that format (``has_header=False``);
        - a pyarrow dataset, which is read anew by each query, and only its columns that are needed;
        - a pandas or polars frame, a pyarrow table, or whatever else has ``__arrow_c_stream__``: its rows as they are now,
          shared where the types allow it. An index of pandas is columns, unless it just counts.

        A table of that name is an error, or goes away with ``replace``.

        Raises :class:`millibar.FileError`, :class:`millibar.FormatError` and :class:`millibar.GridError` for tensor files
        that can't be opened as one dataset, :class:`millibar.OptionError` (an unknown one is a ``TypeError``, too) for
        options, ``TypeError`` for a source of another kind.
        """
        locations = _locations(source)
        if locations is not None:
            chosen = _format(locations, format)
            if chosen is not None:
                self._native.register_files(name, chosen, locations, _texts(options), replace)
                return [name]
            unknown = [key for key in options if key not in _millibar.OPTIONS]
            if unknown:
                raise UnknownOptionError(f"there is no option `{unknown[0]}`; there are {', '.join(_millibar.OPTIONS)}")
            return self._native.register_tensors(name, locations, _texts(options), replace)
        if options or format is not None:
            raise UnknownOptionError(f"options are for files, not for a {type(source).__name__}")
        scanner = getattr(source, "scanner", None)
        if scanner is not None and isinstance(getattr(source, "schema", None), pa.Schema):
            self._native.register_scan(name, source.schema, lambda columns: scanner(columns=columns).to_reader(), replace)
        else:
            self._native.register_stream(name, _stream(source), replace)
        return [name]

    def deregister(self, name: str) -> None:
        self._native.deregister(name)


def connect(
    location: str | None = None,
    *,
    memory_limit: int | str | None = None,
    threads: int | None = None,
    settings: Mapping[str, str | bool | int | float] | None = None,
) -> Session:
    """A new session: in this process, or on the server at ``location`` (``grpc://host:port``).

    ``memory_limit`` (bytes, or a text such as ``"4G"``) is what queries of the session may use, beyond a little for each
    reader; operators that can spill do. ``threads`` is how many threads a query uses, by default one for each core.
    ``settings`` are those of ``SET``, such as ``{"millibar.range_threshold": 0.2}``. All three are for sessions in this
    process.

    Raises :class:`millibar.OptionError` for settings that don't exist and values that aren't accepted.
    """
    if location is None:
        return LocalSession(memory_limit=memory_limit, threads=threads, settings=settings)
    if not location.startswith(SCHEMES):
        raise OptionError(f"`{location}`: expected grpc://host:port")
    if memory_limit is not None or threads is not None or settings:
        raise OptionError("memory_limit, threads and settings are for sessions in this process: a server has its own")
    from ._remote import RemoteSession

    return RemoteSession(location)


_sessions: dict[int, Session] = {}


def sql(text: str) -> Result:
    """``Session.sql`` of the session of this process, which the first call makes."""
    process = os.getpid()
    session = _sessions.get(process)
    if session is None:
        _sessions.clear()  # a forked child leaves its parent's alone
        session = _sessions.setdefault(process, connect())
    return session.sql(text)


def _locations(source: Any) -> list[str] | None:
    """The paths that ``source`` is, if it is paths."""
    if isinstance(source, (str, os.PathLike)):
        return [os.fspath(cast("str | os.PathLike[str]", source))]
    if isinstance(source, (list, tuple)) and source and all(isinstance(item, (str, os.PathLike)) for item in source):
        return [os.fspath(item) for item in source]
    return None


def _format(locations: Iterable[str], format: str | None) -> str | None:
    """DataFusion's name of the format, ``None`` for tensors."""
    if format is not None:
        return None if format.upper() == "TENSOGRAM" else format.upper()
    endings = {_FORMATS.get(PurePath(location).suffix.lower()) for location in locations}
    if len(endings) > 1:
        raise OptionError("the paths are of several formats: register each as a table of its own")
    return endings.pop()


def _stream(source: Any) -> Any:
    """``source`` as something with ``__arrow_c_stream__``."""
    module = type(source).__module__.partition(".")[0]
    if module == "pandas":
        return pa.Table.from_pandas(source).replace_schema_metadata(None)
    if module == "polars" and hasattr(source, "collect"):
        source = source.collect()
    if not hasattr(source, "__arrow_c_stream__"):
        raise TypeError(f"a {type(source).__name__} is no table: expected paths, a frame, or Arrow data")
    return source


def _texts(options: Mapping[str, Option]) -> dict[str, str]:
    return {
        key: as_json(value) if key == "storage_options" and isinstance(value, Mapping) else _text(value)
        for key, value in options.items()
        if value is not None
    }


def as_json(options: Mapping[str, Any]) -> str:
    """Options of stores as one text."""
    try:
        return json.dumps(dict(options), sort_keys=True)
    except TypeError as error:
        raise OptionError(f"storage_options: {error}") from None


def _text(value: Option) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def _bytes(size: int | str) -> int:
    """``size`` in bytes; texts may have a unit, in powers of 1024."""
    found = re.fullmatch(r"\s*(\d+)\s*([KMGT]?)(?:i?B)?\s*", str(size), re.IGNORECASE)
    if not found or int(found[1]) == 0:
        raise OptionError(f"memory_limit = {size!r}: expected a number of bytes, or a text such as 512M or 4G")
    return int(found[1]) << _UNITS[found[2].upper()]
