"""From rows to labelled arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xarray

from ._errors import GridError, QueryError

ROLE = "millibar.role"
"""Metadata key of a field that says what it is, ``dim`` or ``variable``; the other keys are attributes."""


def dataset(rows: pa.Table, dims: list[str] | None) -> xarray.Dataset:
    """See ``Result.to_xarray``."""
    names = rows.column_names
    if len(set(names)) < len(names):
        raise QueryError(f"columns share a name: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")
    if dims is None:
        dims = [field.name for field in rows.schema if (field.metadata or {}).get(ROLE.encode()) == b"dim"]
    for dim in dims:
        if dim not in names:
            raise QueryError(f"`{dim}` is no column of the result; there are {', '.join(names)}")
    if len(set(dims)) < len(dims):
        raise QueryError("a dim is named twice")
    labels, codes = [], []
    for dim in dims:
        found, code = _labels(dim, rows.column(dim))
        labels.append(found)
        codes.append(code)
    shape = tuple(len(found) for found in labels)
    where = _places(dims, labels, codes, shape, rows.num_rows)
    coords = {dim: (dim, found, _attributes(rows, dim)) for dim, found in zip(dims, labels)}
    variables = {
        name: (dims, _spread(name, rows.column(name), where, shape), _attributes(rows, name))
        for name in names
        if name not in dims
    }
    return xarray.Dataset(variables, coords)


def _attributes(rows: pa.Table, name: str) -> dict[str, str]:
    metadata = rows.schema.field(name).metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items() if key.decode() != ROLE}


def _labels(dim: str, column: pa.ChunkedArray) -> tuple[Any, Any]:
    """The labels of a dim, and which of them each row has."""
    if column.null_count:
        raise GridError(f"dim `{dim}` has rows without a label (NULL)")
    encoded = pc.dictionary_encode(column.combine_chunks())
    found, code = encoded.dictionary, encoded.indices.to_numpy()
    order = pc.array_sort_indices(found).to_numpy()
    count = np.arange(len(order))
    if not (np.array_equal(order, count) or np.array_equal(order, count[::-1])):
        places = np.empty(len(order), dtype=np.int64)
        places[order] = count
        found, code = found.take(pa.array(order)), places[code]
    return _plain(found), code


def _places(dims: list[str], labels: list[Any], codes: list[Any], shape: tuple[int, ...], rows: int) -> Any:
    """The cell of each row in C order; ``None`` if they are all cells, in order."""
    cells = 1
    for size in shape:
        cells *= size
    if not dims and rows != 1:
        raise GridError(f"{rows} rows without dims: name the columns that tell them apart in `dims`")
    if cells > np.iinfo(np.int64).max:
        raise GridError(f"{cells} cells are too many for an array")
    where = np.ravel_multi_index(tuple(codes), shape) if dims and rows else np.zeros(rows, dtype=np.int64)
    if rows == cells and np.array_equal(where, np.arange(cells)):
        return None
    order = np.sort(where)
    twice = np.flatnonzero(order[1:] == order[:-1])
    if len(twice):
        cell = np.unravel_index(order[twice[0]], shape)
        said = ", ".join(f"{dim} = {found[at]}" for dim, found, at in zip(dims, labels, cell))
        raise GridError(f"several rows have the labels {said}: name further columns in `dims`, or aggregate")
    return where


def _plain(array: pa.Array) -> Any:
    """As numpy has it; complex numbers are structs in Arrow."""
    kind = array.type
    if pa.types.is_struct(kind) and [field.name for field in kind] == ["re", "im"]:
        real, imaginary = (_plain(part) for part in array.flatten())
        numbers = np.empty(len(real), dtype=np.result_type(real.dtype, np.complex64))
        numbers.real, numbers.imag = real, imaginary
        return numbers
    if pa.types.is_integer(kind) and array.null_count:
        return _wide(array.drop_null().to_numpy(), array.is_valid().to_numpy(zero_copy_only=False))
    if pa.types.is_date(kind):
        array = array.cast(pa.timestamp("s"))
    values = array.to_numpy(zero_copy_only=False)
    if values.dtype == object and array.null_count:
        values[array.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return values


def _wide(values: Any, valid: Any) -> Any:
    """Integers as float64, NaN where there is none."""
    limit = 1 << np.finfo(np.float64).nmant + 1
    if len(values) and (int(values.max()) > limit or int(values.min()) < -limit):
        raise GridError("an integer beside missing cells is too large for a float64: cast the column in the query")
    wide = np.full(len(valid), np.nan)
    wide[valid] = values
    return wide


def _spread(name: str, column: pa.ChunkedArray, where: Any, shape: tuple[int, ...]) -> Any:
    """A column as an array of ``shape``."""
    try:
        values = _plain(column.combine_chunks())
        if where is None:
            return values.reshape(shape)
        cells = int(np.prod(shape, dtype=np.int64))
        if values.dtype.kind in "iu" and cells > len(values):
            present = np.zeros(cells, dtype=bool)
            present[where] = True
            order = np.argsort(where)
            return _wide(values[order], present).reshape(shape)
    except GridError as error:
        raise GridError(f"`{name}`: {error}") from None
    if values.dtype.kind in "mM":
        spread = np.full(cells, "NaT", dtype=values.dtype)
    elif values.dtype.kind in "fc":
        spread = np.full(cells, np.nan, dtype=values.dtype)
    elif cells == len(values):
        spread = np.empty(cells, dtype=values.dtype)
    else:
        spread = np.full(cells, np.nan, dtype=object)
    spread[where] = values
    return spread.reshape(shape)
