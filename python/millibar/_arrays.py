"""What arrays in files and on servers share: positions that are asked for, and numpy's types for what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Union

import numpy as np

Index = Union[int, slice, "np.ndarray[Any, np.dtype[np.integer[Any]]]"]
"""Positions along one dim."""


@dataclass(frozen=True)
class Axis:
    """An index of one dim as ascending positions, and what becomes of them."""

    positions: tuple[int, int, int] | list[int]
    """Start, stop and step, or a list."""
    then: int | slice | np.ndarray[Any, Any] | None
    """How the axis that was read is indexed to be the one that was asked for."""

    @classmethod
    def of(cls, index: Index, size: int) -> Axis:
        """Of an index of a dim of ``size``."""
        if isinstance(index, slice):
            steps = range(*index.indices(size))
            if not steps:
                return cls((0, 0, 1), None)
            if steps.step > 0:
                return cls((steps[0], steps[-1] + 1, steps.step), None)
            return cls((steps[-1], steps[0] + 1, -steps.step), slice(None, None, -1))
        if np.ndim(index) == 0:
            at = int(index)
            at += size if at < 0 else 0
            if not 0 <= at < size:
                raise IndexError(f"index {index} leaves a dim of {size}")
            return cls((at, at + 1, 1), 0)
        wanted = np.where(np.less(index, 0), np.add(index, size), index)
        if wanted.size and not (0 <= wanted.min() and wanted.max() < size):
            raise IndexError(f"an index in {index} leaves a dim of {size}")
        if np.all(np.diff(wanted) > 0):
            return cls(wanted.tolist(), None)
        positions, inverse = np.unique(wanted, return_inverse=True)
        return cls(positions.tolist(), inverse)


def arrange(values: np.ndarray[Any, Any], axes: Sequence[Axis]) -> np.ndarray[Any, Any]:
    """The elements that were asked for, of those that were read."""
    for at, axis in enumerate(axes):
        if isinstance(axis.then, np.ndarray):
            values = values.take(axis.then, axis=at)
    basic = tuple(axis.then if isinstance(axis.then, (int, slice)) else slice(None) for axis in axes)
    return values[basic] if any(index != slice(None) for index in basic) else values


def stored_dtype(name: str) -> np.dtype[Any]:
    """The numpy type of a stored dtype: ``bfloat16`` is that of ``ml_dtypes`` where this is installed, else ``float32``;
    a bitmask is ``bool``.
    """
    if name == "bitmask":
        return np.dtype(bool)
    if name == "bfloat16":
        try:
            found: np.dtype[Any] = np.dtype(import_module("ml_dtypes").bfloat16)
        except ImportError:
            return np.dtype(np.float32)
        return found
    return np.dtype(name)


def with_nan(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that holds the values of ``dtype`` and NaN, as xarray chooses it."""
    if dtype.kind in "fc" or dtype.name == "bfloat16":
        return dtype
    return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)


def of_bits(bits: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The numbers of the bits of ``bfloat16``: as that type, or as ``float32``."""
    return bits.view(dtype) if dtype.itemsize == 2 else (bits.astype(np.uint32) << 16).view(np.float32)
