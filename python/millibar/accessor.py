"""``ds.millibar`` and ``da.millibar``: reductions and SQL that run in the engine, on Datasets that Millibar opened.

    variables -> stored arrays and positions -> one query for each grid -> labelled arrays, attributes kept

What can be pushed down is what is stored, and selections of it. A variable that was computed, changed or loaded isn't
stored any more: it is refused, and xarray's own methods are there for it.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, Union

import numpy as np
import pyarrow as pa
import xarray as xr
from xarray.core import indexing

from . import _millibar
from ._errors import Error, FileError, InternalError
from .result import Result
from .xarray import ArraySource, FileArray, LazyArray

Dims = Union[Hashable, Iterable[Hashable], None]
T = TypeVar("T", xr.Dataset, xr.DataArray)

_HOW = {"mean": "avg", "std": "std", "min": "min", "max": "max", "sum": "sum", "count": "count"}


class PushdownError(Error, ValueError):
    """What was asked for can't run in the engine; the text says why, and what does instead."""


@dataclass(frozen=True)
class Stored:
    """A variable as it is stored, and the positions of it that are selected."""

    source: Any
    """An :class:`ArraySource`: a ``FileArray`` or a ``RemoteArray``."""
    positions: tuple[int | np.ndarray[Any, Any], ...]
    """For each axis of ``source`` the positions that are there, or the one that was chosen, whose dim is gone."""

    @property
    def rows(self) -> Hashable:
        """What is the same for two variables whose cells are in the same rows of one table."""
        chosen = tuple(at if isinstance(at, int) else at.tobytes() for at in self.positions)
        if isinstance(self.source, FileArray):
            return (self.source.items, self.source.options, self.source.at[0], chosen)
        return (self.source.location, self.source.table, chosen)


def stored(name: Hashable, variable: xr.Variable) -> Stored:
    """What ``variable`` is a selection of. Raises :class:`PushdownError` if it isn't one."""
    lazy = lazily(variable)
    if lazy is None:
        raise PushdownError(
            f"{name!r} isn't what is stored: it was computed, changed or loaded, or sliced after it was cut into dask "
            f"chunks. Use xarray's own methods, or select by ds.millibar.sel() of the Dataset that was opened"
        )
    source = lazy.array.source
    positions: list[int | np.ndarray[Any, Any]] = []
    for key, size in zip(lazy.key.tuple, source.shape):
        if isinstance(key, slice):
            positions.append(np.arange(size)[key])
        elif np.ndim(key) == 0:
            positions.append(int(key))
        else:
            positions.append(np.where(np.less(key, 0), np.add(key, size), key))
    return Stored(source, tuple(positions))


def lazily(variable: xr.Variable) -> indexing.LazilyIndexedArray | None:
    """The lazily indexed array of ours that ``variable`` holds, if it holds one."""
    data: Any = variable._data
    if hasattr(data, "dask"):
        data = _in_graph(data)
    while isinstance(
        data,
        (indexing.MemoryCachedArray, indexing.CopyOnWriteArray, indexing.ImplicitToExplicitIndexingAdapter),
    ):
        data = data.array
    if isinstance(data, indexing.LazilyIndexedArray) and isinstance(data.array, LazyArray):
        return data
    return None


def _in_graph(array: Any) -> Any:
    """What a dask array was made of, if it is nothing but this, cut into chunks."""
    layers = array.dask.layers
    if set(layers) - {array.name, f"original-{array.name}"}:
        return None
    for layer in layers.values():
        for task in dict(layer).values():
            for part in _parts(task):
                if isinstance(part, indexing.ImplicitToExplicitIndexingAdapter) and part.shape == array.shape:
                    return part
    return None


def _parts(task: Any) -> Iterable[Any]:
    if isinstance(task, tuple):
        return task
    return (task, getattr(task, "value", None), *getattr(task, "args", ()))


def literal(label: Any) -> str:
    """A label in SQL."""
    if isinstance(label, np.datetime64):
        return f"TIMESTAMP '{np.datetime_as_string(label, unit='ns')}'"
    if isinstance(label, str):
        return "'" + label.replace("'", "''") + "'"
    if isinstance(label, (np.bool_, bool)):
        return "true" if label else "false"
    return str(label)


def quoted(name: Hashable) -> str:
    """A name in SQL."""
    return '"' + str(name).replace('"', '""') + '"'


class Grid:
    """The table of a stored array: its columns in SQL, and how it is asked."""

    def __init__(self, source: ArraySource) -> None:
        self.source = source

    def column(self, source: ArraySource) -> str:
        """That of another variable of the same grid."""
        raise NotImplementedError

    @property
    def dims(self) -> list[str]:
        """Columns of the dims."""
        raise NotImplementedError

    def labels(self, axis: int) -> np.ndarray[Any, Any]:
        """What is in the column of a dim."""
        raise NotImplementedError

    def ask(self, text: str) -> Result:
        """The answer to ``text``, in which the table is called ``{this}``; it is to be taken at once."""
        raise NotImplementedError

    def order(self, axis: int, positions: np.ndarray[Any, Any]) -> tuple[str, np.ndarray[Any, Any]]:
        """What puts one row for each of ``positions``, which ascend, in order, and which row is whose then."""
        labels, column = self.labels(axis)[positions], self.dims[axis]
        if len(np.unique(labels)) < len(labels):
            raise PushdownError(f"the labels of {column} repeat, so its positions can't be told apart in SQL")
        if len(labels) > 1 and np.all(labels[1:] < labels[:-1]):
            return f"{column} DESC", np.arange(len(labels))
        return column, np.argsort(np.argsort(labels, kind="stable"))

    def where(self, axis: int, positions: int | np.ndarray[Any, Any]) -> str | None:
        """The condition that holds at ``positions``; ``None`` if it always holds."""
        size, column, at = self.source.shape[axis], self.dims[axis], np.unique(positions)
        if len(at) == size:
            return None
        labels = self.labels(axis)
        if len(np.unique(labels)) < size or (labels.dtype.kind == "f" and np.isnan(labels).any()):
            raise PushdownError(f"the labels of {column} repeat, so none of them can be selected in SQL")
        ordered = labels.dtype.kind in "iufM" and (np.all(labels[1:] > labels[:-1]) or np.all(labels[1:] < labels[:-1]))
        if ordered and at[-1] - at[0] + 1 == len(at) > 1:
            ends = sorted((labels[at[0]], labels[at[-1]]))
            return f"{column} BETWEEN {literal(ends[0])} AND {literal(ends[1])}"
        return f"{column} IN ({', '.join(literal(label) for label in labels[at])})"


_BATCH = str(1 << 17)
"""Rows of a batch: results are as long as maps, and handing a batch over takes a while."""

_numbers = itertools.count()
_engines: dict[int, _millibar.Session] = {}


def _engine() -> _millibar.Session:
    """The session of this process that tables of arrays belong to."""
    process = os.getpid()
    if process not in _engines:
        _engines.clear()  # a forked child leaves its parent's alone
        _engines[process] = _millibar.Session(settings={"datafusion.execution.batch_size": _BATCH})
    return _engines[process]


class FileGrid(Grid):
    """A grid in files, asked in this process. Dims are ``d0``, ``d1``, ... with positions as labels."""

    source: FileArray

    def column(self, source: FileArray) -> str:  # type: ignore[override]
        return f"v{source.at[1]}"

    @property
    def dims(self) -> list[str]:
        return [f"d{axis}" for axis in range(len(self.source.shape))]

    def labels(self, axis: int) -> np.ndarray[Any, Any]:
        return np.arange(self.source.shape[axis])

    def ask(self, text: str) -> Result:
        return _ask_files(self.source, text, True)

    def order(self, axis: int, positions: np.ndarray[Any, Any]) -> tuple[str, np.ndarray[Any, Any]]:
        return self.dims[axis], np.arange(len(positions))


class NamedFileGrid(FileGrid):
    """The same with the names and labels of the files."""

    def column(self, source: FileArray) -> str:  # type: ignore[override]
        return quoted(source.name)

    @property
    def dims(self) -> list[str]:
        return [quoted(name) for name in self.source.columns]

    def labels(self, axis: int) -> np.ndarray[Any, Any]:
        labels, kind = _millibar.dim_labels(self.source, axis)
        values = np.array(labels, object) if kind == "str" else np.asarray(labels)
        return values.view(kind) if kind.startswith("datetime64") else values

    def ask(self, text: str) -> Result:
        return _ask_files(self.source, text, False)


def _ask_files(source: FileArray, text: str, positions: bool) -> Result:
    session, name = _engine(), f"this{next(_numbers)}"
    _millibar.register_grid(session, name, source, positions)
    try:
        return Result(session.sql(text.replace("{this}", name)))
    finally:
        _millibar.deregister_grid(session, name)  # the planned query has the table


class RemoteGrid(Grid):
    """A table of a server."""

    def __init__(self, source: Any) -> None:
        from ._remote import RemoteTable

        super().__init__(source)
        self._table = RemoteTable.open(f"{source.location}/{source.table}")

    def column(self, source: Any) -> str:
        now = self._table.arrays.get(source.name)
        if now is None or now.identity != source.identity:
            raise FileError(f"{source.location}: the data of {source.table}.{source.name} has changed since it was opened")
        return quoted(source.name)

    @property
    def dims(self) -> list[str]:
        return [quoted(name) for name in self._table.dims]

    def labels(self, axis: int) -> np.ndarray[Any, Any]:
        return np.asarray(self._table.coords[list(self._table.dims)[axis]])

    def ask(self, text: str) -> Result:
        from ._remote import RemoteSession

        return RemoteSession(self._table.location).sql(text.replace("{this}", quoted(self._table.table)))


def grid_of(source: ArraySource, named: bool) -> Grid:
    """The table of ``source``; where ``named``, with the names that users know."""
    if isinstance(source, FileArray):
        return NamedFileGrid(source) if named else FileGrid(source)
    return RemoteGrid(source)


def reduce_all(
    wanted: Mapping[Hashable, tuple[Stored, tuple[int, ...]]], how: str
) -> dict[Hashable, np.ndarray[Any, Any]]:
    """Reduces variables, each over some axes of its source; those of one table and selection by one query."""
    queries: dict[Hashable, list[Hashable]] = {}
    for name, (item, over) in wanted.items():
        queries.setdefault((item.rows, over), []).append(name)
    results: dict[Hashable, np.ndarray[Any, Any]] = {}
    for names in queries.values():
        item, over = wanted[names[0]]
        sources = [wanted[name][0].source for name in names]
        results.update(zip(names, _reduce(item.positions, over, sources, how)))
    return results


def _reduce(
    positions: Sequence[int | np.ndarray[Any, Any]], over: Sequence[int], sources: Sequence[ArraySource], how: str
) -> list[np.ndarray[Any, Any]]:
    """The query has values only, in C order of the kept positions: there is one for each of them."""
    grid = grid_of(sources[0], named=False)
    for axis in over:
        at = positions[axis]
        if isinstance(at, np.ndarray) and len(np.unique(at)) < len(at):
            raise PushdownError(f"a position of {grid.dims[axis]} is there several times: SQL has each cell once")
    text = f"SELECT {', '.join(f'{_HOW[how]}({grid.column(source)})' for source in sources)} FROM {{this}}"
    conditions = [grid.where(axis, at) for axis, at in enumerate(positions)]
    filters = [condition for condition in conditions if condition]
    if filters:
        text += f" WHERE {' AND '.join(filters)}"
    kept = {axis: at for axis, at in enumerate(positions) if axis not in over and isinstance(at, np.ndarray)}
    unique = {axis: np.unique(at, return_inverse=True) for axis, at in kept.items()}
    orders = {axis: grid.order(axis, there) for axis, (there, _) in unique.items()}
    if kept:
        text += f" GROUP BY {', '.join(grid.dims[axis] for axis in kept)}"
        text += f" ORDER BY {', '.join(term for term, _ in orders.values())}"
    shape = [len(there) for there, _ in unique.values()]
    cells = _columns(grid.ask(text), [_dtype(how, source.dtype) for source in sources], math.prod(shape), how)
    results = [values.reshape(shape) for values in cells]
    for at, axis in enumerate(kept):
        rows = orders[axis][1][unique[axis][1]]
        if not np.array_equal(rows, np.arange(len(rows))):
            results = [values.take(rows, axis=at) for values in results]
    return results


def _columns(
    answer: Iterable[pa.RecordBatch], dtypes: Sequence[np.dtype[Any]], rows: int, how: str
) -> list[np.ndarray[Any, Any]]:
    """The ``rows`` values of each column, with what xarray has in the place of NULL."""
    results = [np.empty(rows, dtype) for dtype in dtypes]
    end = 0
    for batch in answer:
        start, end = end, end + batch.num_rows
        if end > rows:
            break
        for values, column in zip(results, batch.columns):
            part = values[start:end]
            if column.null_count:
                part[:] = np.nan if part.dtype.kind == "f" and how not in ("sum", "count") else 0
                part[column.is_valid().to_numpy(zero_copy_only=False)] = column.drop_null().to_numpy(zero_copy_only=False)
            else:
                part[:] = column.to_numpy(zero_copy_only=False)
    if end != rows:
        raise InternalError(f"expected {rows} groups, got {end}")
    return results


def _dtype(how: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that xarray gives to the reduction of a ``dtype``."""
    if how == "count":
        return np.dtype(np.int64)
    if how in ("mean", "std"):
        return dtype if dtype.kind == "f" else np.dtype(np.float64)
    if how == "sum" and dtype.kind in "iu":
        return np.dtype(np.int64 if dtype.kind == "i" else np.uint64)
    return dtype


class Accessor(Generic[T]):
    """Reductions and SQL in the engine; ``ds.millibar``, ``da.millibar``."""

    def __init__(self, data: T) -> None:
        self._data: T = data

    def isel(self, indexers: Mapping[Any, Any] | None = None, **indexers_kwargs: Any) -> Accessor[T]:
        """As ``isel`` of xarray; what follows runs in the engine."""
        return type(self)(self._lazy().isel(indexers, **indexers_kwargs))

    def sel(
        self,
        indexers: Mapping[Any, Any] | None = None,
        method: str | None = None,
        tolerance: Any = None,
        **indexers_kwargs: Any,
    ) -> Accessor[T]:
        """As ``sel`` of xarray: labels, lists of them, slices, ``method="nearest"``; what follows runs in the engine."""
        return type(self)(self._lazy().sel(indexers, method=method, tolerance=tolerance, **indexers_kwargs))

    def mean(self, dim: Dims = None) -> T:
        """Means over ``dim`` (all dims if none is named); NaN is skipped."""
        return self._reduce("mean", dim)

    def std(self, dim: Dims = None) -> T:
        """Standard deviations (``ddof=0``) over ``dim``; NaN is skipped."""
        return self._reduce("std", dim)

    def min(self, dim: Dims = None) -> T:
        """Least values over ``dim``; NaN is skipped."""
        return self._reduce("min", dim)

    def max(self, dim: Dims = None) -> T:
        """Greatest values over ``dim``; NaN is skipped."""
        return self._reduce("max", dim)

    def sum(self, dim: Dims = None) -> T:
        """Sums over ``dim``; NaN is skipped. Sums of integers are exact, or raise ``OverflowError``."""
        return self._reduce("sum", dim)

    def count(self, dim: Dims = None) -> T:
        """Numbers of values over ``dim`` that aren't NaN."""
        return self._reduce("count", dim)

    def sql(self, text: str) -> Result:
        """The result of a statement in which ``this`` is the table of the variables, as far as it is selected.

        Columns are called as in the files or on the server. Variables of several grids are no table: choose some first,
        as in ``ds[["t", "u"]].millibar.sql("SELECT ...")``.
        """
        items: dict[Hashable, Stored] = {name: stored(name, variable) for name, variable in self._variables().items()}
        tables = len({found.rows for found in items.values()})
        if tables != 1:
            raise PushdownError(f"{', '.join(map(repr, items))} are {tables} tables: choose variables of one grid")
        first: Stored = next(iter(items.values()))
        grid: Grid = grid_of(first.source, named=True)
        conditions = [grid.where(axis, at) for axis, at in enumerate(first.positions)]
        filters = [condition for condition in conditions if condition]
        names = [*grid.dims, *(grid.column(found.source) for found in items.values())]
        this = f"SELECT {', '.join(names)} FROM {{this}}" + (f" WHERE {' AND '.join(filters)}" if filters else "")
        own = re.match(r"\s*with\s+", text, re.IGNORECASE)
        rest = f", {text[own.end() :]}" if own else f" {text}"
        return Result(_Rows(grid.ask(f"WITH this AS ({this}){rest}").to_arrow()))

    def _lazy(self) -> T:
        """The data with lazily indexed arrays in place of dask's."""
        raise NotImplementedError

    def _variables(self) -> dict[Hashable, xr.Variable]:
        raise NotImplementedError

    def _reduce(self, how: str, dim: Dims) -> T:
        raise NotImplementedError


class _Rows:
    """Rows that are there, as a query."""

    def __init__(self, rows: pa.Table) -> None:
        self.schema = rows.schema
        self._rows = rows

    def run(self, limit: int | None = None) -> pa.RecordBatchReader:
        """All rows, or the first ones."""
        return (self._rows if limit is None else self._rows.slice(0, limit)).to_reader()

    def explain(self, analyze: bool) -> str:
        """Nothing is left to run."""
        return f"{self._rows.num_rows} rows that are there"


def _undasked(variable: xr.Variable) -> xr.Variable:
    lazy = lazily(variable)
    if lazy is None:
        return variable
    return xr.Variable(variable.dims, lazy, variable.attrs, variable.encoding)


@xr.register_dataset_accessor("millibar")  # type: ignore[no-untyped-call]
class DatasetAccessor(Accessor[xr.Dataset]):
    """``ds.millibar``."""

    def _lazy(self) -> xr.Dataset:
        lazy: xr.Dataset = self._data.assign(
            {name: _undasked(variable) for name, variable in self._variables().items()}
        )
        return lazy

    def _variables(self) -> dict[Hashable, xr.Variable]:
        return {name: array.variable for name, array in self._data.data_vars.items()}

    def _reduce(self, how: str, dim: Dims) -> xr.Dataset:
        data = self._data
        over = _over(dim, data.sizes)
        results = _reduced({name: data[name] for name in data.data_vars}, over, how)
        coords = {name: coord for name, coord in data.coords.items() if not over & set(coord.dims)}
        return xr.Dataset(results, coords, data.attrs)


@xr.register_dataarray_accessor("millibar")  # type: ignore[no-untyped-call]
class DataArrayAccessor(Accessor[xr.DataArray]):
    """``da.millibar``."""

    def _lazy(self) -> xr.DataArray:
        lazy: xr.DataArray = self._data.copy(data=_undasked(self._data.variable)._data)
        return lazy

    def _variables(self) -> dict[Hashable, xr.Variable]:
        return {self._data.name: self._data.variable}

    def _reduce(self, how: str, dim: Dims) -> xr.DataArray:
        data = self._data
        over = _over(dim, data.dims)
        variable = _reduced({data.name: data}, over, how)[data.name]
        coords = {name: coord for name, coord in data.coords.items() if not over & set(coord.dims)}
        return xr.DataArray(variable, coords, name=data.name)


def _over(dim: Dims, dims: Iterable[Hashable]) -> set[Hashable]:
    there = set(dims)
    if dim is None or dim is ...:
        return there
    over = {dim} if isinstance(dim, (str, bytes)) or not isinstance(dim, Iterable) else set(dim)
    if over - there:
        raise ValueError(f"no such dims: {sorted(map(str, over - there))}; there are {sorted(map(str, there))}")
    return over


def _reduced(arrays: Mapping[Hashable, xr.DataArray], over: set[Hashable], how: str) -> dict[Hashable, xr.Variable]:
    wanted: dict[Hashable, tuple[Stored, tuple[int, ...]]] = {}
    results: dict[Hashable, xr.Variable] = {}
    for name, array in arrays.items():
        if array.dtype.kind not in "iuf":
            raise PushdownError(f"{name!r} is of {array.dtype}: integers and floats are reduced in the engine")
        variable = array.variable
        item = stored(name, variable)
        if not array.size or not over & set(variable.dims):
            # nothing to push down; read apart, so that the variable isn't loaded
            reduced = getattr(_undasked(variable), how)([dim for dim in variable.dims if dim in over])
            results[name] = xr.Variable(reduced.dims, reduced.data, variable.attrs)
            continue
        axes = [axis for axis, at in enumerate(item.positions) if isinstance(at, np.ndarray)]
        wanted[name] = (item, tuple(axis for axis, dim in zip(axes, variable.dims) if dim in over))
    for name, values in reduce_all(wanted, how).items():
        array = arrays[name]
        dims = [dim for dim in array.dims if dim not in over]
        results[name] = xr.Variable(dims, values, array.attrs)
    return {name: results[name] for name in arrays}
