"""xarray: ``xr.open_dataset(source, engine="millibar")``, and :func:`open_datasets` for files of several grids.

    source -> arrays described (names, dims, dtypes, stored chunks) -> lazy arrays -> xarray.Dataset

Opening reads framing, metadata and coordinates, no other payload. Arrays hold paths and options, never handles, so they
can be pickled and read in any process; reads of several threads run side by side. The page ``docs/xarray.md`` says how
files become Datasets, and where that differs from ``engine="tensogram"``.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Union

import numpy as np
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from . import _millibar
from ._arrays import Axis, Index, arrange, of_bits, stored_dtype, with_nan
from ._errors import OptionError
from .session import SCHEMES, as_json

logger = logging.getLogger(__name__)

Source = Union[str, "os.PathLike[str]", Sequence[Union[str, "os.PathLike[str]"]]]


class ArraySource(Protocol):
    """A stored array, wherever it is: in files or on a server. It can be pickled."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Elements along each dim."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements that ``read`` gives."""

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a stored chunk; those at the end of a dim may be smaller."""

    def read(self, key: tuple[Index, ...]) -> np.ndarray[Any, Any]:
        """The elements at the product of positions: integers drop their dim; steps may be negative, lists unsorted."""


class LazyArray(BackendArray):
    """What xarray indexes: an :class:`ArraySource` behind the interface of a backend."""

    def __init__(self, source: ArraySource) -> None:
        self.source = source
        self.shape = source.shape
        self.dtype = source.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self.source.read
        )


@dataclass(frozen=True)
class FileArray:
    """A variable in files: how to open them, and which variable it is."""

    items: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = field(repr=False)
    """As in SQL. Credentials may be among them: they aren't shown, but pickled."""
    name: str
    at: tuple[int, int]
    """Its table among those that the files make, and its column."""
    identity: int
    """Of the state that the data was in; if it is another, reading is an error."""
    columns: tuple[str, ...]
    """What its dims are called in SQL."""
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    stored: str
    """The dtype in the files; ``dtype`` holds NaN beside its values where there are holes."""
    dtype: np.dtype[Any]

    def read(self, key: tuple[Index, ...]) -> np.ndarray[Any, Any]:
        """See :class:`ArraySource`. Raises ``OSError`` for files that are gone or have changed since they were opened, and
        what is wrong with payloads that are broken.
        """
        axes = [Axis.of(index, size) for index, size in zip(key, self.shape)]
        positions = [axis.positions for axis in axes]
        buffer, valid, (parts, whole) = _millibar.read_array(self, positions)
        values = np.asarray(buffer)
        if self.stored == "bfloat16":
            values = of_bits(values, self.dtype)
        elif values.dtype != self.dtype:
            values = values.astype(self.dtype)
        if valid is not None:
            values[~np.asarray(valid)] = math.nan
        logger.debug(
            "%s: %s of %s: %d objects read in part, %d as a whole",
            ",".join(self.items), self.name, values.shape, parts, whole,
        )  # fmt: skip
        return arrange(values, axes)


def absolute(source: Source) -> tuple[list[str], bool]:
    """Paths that mean the same in every working directory, and whether they are one file.

    A list, a folder, a glob and a pattern are several, however many files there are.
    """
    items = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    if not items:
        raise OptionError("no files: the list is empty")
    paths = []
    for item in items:
        text = os.fspath(item)
        if not isinstance(text, str):
            raise TypeError(f"expected paths as text, got {text!r}")
        text = text.removeprefix("file://")
        paths.append(text if "://" in text else os.path.abspath(os.path.expanduser(text)))
    path = paths[0]
    several = (
        not isinstance(source, (str, os.PathLike))
        or os.path.isdir(path)
        or path.endswith("/")
        or (any(mark in path for mark in "*?[{") and not os.path.exists(path))
    )
    return paths, not several


def _pairs(options: Mapping[str, object]) -> list[tuple[str, str]]:
    """Options as SQL spells them; those that are ``None`` aren't given."""

    def text(value: object) -> str:
        if isinstance(value, Mapping):
            return as_json(value)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (str, int, float)):
            return str(value)
        if isinstance(value, Iterable):
            return ",".join(str(item) for item in value)
        return str(value)

    return [(name, text(value)) for name, value in options.items() if value is not None]


def _variables(
    described: Mapping[str, Any],
    items: Sequence[str],
    options: Sequence[tuple[str, str]],
    drop: Iterable[str],
) -> dict[str, xr.Variable]:
    dropped = set(drop)
    variables = {}
    for said in described["variables"]:
        if said["name"] in dropped:
            continue
        dtype = stored_dtype(said["dtype"])
        dtype = with_nan(dtype) if said["holes"] else dtype
        source = FileArray(
            tuple(items), tuple(options), said["name"], said["at"], said["identity"], tuple(said["columns"]),
            tuple(said["shape"]), tuple(said["chunks"]), said["dtype"], dtype,
        )  # fmt: skip
        variables[said["name"]] = lazy_variable(said["dims"], source, said["attrs"])
    return variables


def lazy_variable(dims: Sequence[str], source: ArraySource, attrs: Mapping[str, Any]) -> xr.Variable:
    """A variable that reads ``source``; by default dask cuts it as it is stored."""
    data = indexing.LazilyIndexedArray(LazyArray(source))
    variable = xr.Variable(dims, data, attrs)
    variable.encoding = {"preferred_chunks": {dim: max(size, 1) for dim, size in zip(dims, source.chunks)}}
    return variable


def _coords(described: Mapping[str, Any], drop: Iterable[str]) -> dict[Hashable, xr.Variable]:
    dropped = set(drop)
    coords: dict[Hashable, xr.Variable] = {}
    for name, (labels, kind), attrs in described["coords"]:
        if name in dropped:
            continue
        values = np.array(labels) if kind == "str" else np.asarray(labels)
        if kind.startswith("datetime64"):
            values = values.view(kind)
        coords[name] = xr.Variable((name,), values, attrs)
    return coords


def open_datasets(
    source: Source,
    *,
    drop_variables: str | Iterable[str] | None = None,
    dim_names: Sequence[str] | None = None,
    variable_key: str | None = None,
    message_index: int | None = None,
    range_threshold: float = 0.5,
    verify_hash: bool | str = False,
    storage_options: Mapping[str, Any] | None = None,
    decode_times: bool = False,
    variables: str | Sequence[str] | None = None,
    stack: str | Sequence[str] | None = None,
    raw_keys: bool | None = None,
    missing: str = "null",
    skip_broken: bool | None = None,
    index: str | None = None,
    limits: str | None = None,
) -> list[xr.Dataset]:
    """Every variable of files, merged: as few Datasets as the grids allow; ``[]`` where there are no tensors.

    The objects of a variable are stacked along the metadata that tells them apart. Options are those of
    ``xr.open_dataset(source, engine="millibar")``.
    """
    merged = _Request.of(
        source, dim_names=dim_names, variable_key=variable_key, message_index=message_index,
        range_threshold=range_threshold, verify_hash=verify_hash, storage_options=storage_options,
        decode_times=decode_times, variables=variables, stack=stack, raw_keys=raw_keys, missing=missing,
        skip_broken=skip_broken, index=index, limits=limits,
    )  # fmt: skip
    return merged.datasets(_names(drop_variables))


def _names(names: str | Iterable[str] | None) -> set[str]:
    return {names} if isinstance(names, str) else set(names or ())


@dataclass(frozen=True)
class _Request:
    items: list[str]
    single: bool
    options: list[tuple[str, str]] = field(repr=False)

    @classmethod
    def of(cls, source: Source, **options: Any) -> _Request:
        items, single = absolute(source)
        verify = options["verify_hash"]
        options["storage_options"] = options["storage_options"] or None
        options["verify_hash"] = ("full" if verify else None) if isinstance(verify, bool) else verify
        options["decode_times"] = None if options["decode_times"] else False
        options["missing"] = None if options["missing"] == "error" else options["missing"]
        return cls(items, single, _pairs(options))

    def dataset(self, drop: set[str]) -> xr.Dataset:
        """All variables in one Dataset."""
        (described,) = _millibar.open_arrays(self.items, self.options, False)
        attrs = {**described["attrs"], "tensogram_wire_version": 3}
        return self._dataset(described, attrs, drop)

    def datasets(self, drop: set[str]) -> list[xr.Dataset]:
        """As few Datasets as the grids allow."""
        sets = _millibar.open_arrays(self.items, self.options, True)
        if not sets[0]["variables"] and not sets[0]["coords"]:
            return []
        if not sets[0]["variables"]:
            sets[0]["attrs"] = {"source": ",".join(self.items)}
        return [self._dataset(described, described["attrs"], drop) for described in sets]

    def _dataset(self, described: Mapping[str, Any], attrs: Mapping[str, Any], drop: set[str]) -> xr.Dataset:
        variables = _variables(described, self.items, self.options, drop)
        return xr.Dataset(variables, _coords(described, drop), attrs)


class MillibarBackendEntrypoint(BackendEntrypoint):
    """``engine="millibar"``: ``.tgm`` files, sets of them, and tables of a server."""

    description = "Open Tensogram files (.tgm) and tables of Millibar servers"
    url = "https://github.com/millibar/millibar"

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: Source,
        *,
        drop_variables: str | Iterable[str] | None = None,
        dim_names: Sequence[str] | None = None,
        variable_key: str | None = None,
        message_index: int | None = None,
        merge_objects: bool | None = None,
        range_threshold: float = 0.5,
        storage_options: Mapping[str, Any] | None = None,
        verify_hash: bool | str = False,
        decode_times: bool = False,
        variables: str | Sequence[str] | None = None,
        stack: str | Sequence[str] | None = None,
        raw_keys: bool | None = None,
        missing: str = "null",
        skip_broken: bool | None = None,
        index: str | None = None,
        limits: str | None = None,
    ) -> xr.Dataset:
        """Opens a source as a Dataset of lazy arrays.

        Parameters
        ----------
        filename_or_obj
            A ``.tgm`` path or URL; a folder, glob, pattern (``t_{time:%Y%m%d}.tgm``) or list of them; or a table of a
            server, ``grpc://host:port/table``, which takes ``drop_variables`` only.
        drop_variables
            Names that are left out.
        dim_names
            Names of the axes of every object, outermost first.
        variable_key
            Dotted metadata key that names variables, such as ``mars.shortName``.
        message_index
            The message to open; of a single file the first one if nothing is said.
        merge_objects
            Whether all messages are merged, the objects of a variable stacked along the metadata that tells them
            apart: the first Dataset of :func:`open_datasets`. By default, whether ``filename_or_obj`` stands for several
            files.
        range_threshold
            The largest share of an object that is read in part, 0 to 1; above it, it is decoded as a whole.
        storage_options
            How the stores of remote files are reached, where that isn't left to the environment: names of their clients
            (``aws_access_key_id``, ``region``) or of fsspec (``key``, ``secret``, ``endpoint_url``, ``anon``). They travel
            with the arrays to other processes. Ignored for other files.
        verify_hash
            ``True``: objects that are decoded as a whole have to have the hash that is stored; ``"always"``: those that
            are read in part, too.
        decode_times
            Whether a coordinate ``time`` in CF units becomes ``datetime64[ns]``.
        variables, stack, raw_keys, missing, skip_broken, index, limits
            As in SQL (``docs/tables.md``), but ``missing`` is ``"null"`` unless said otherwise: holes are NaN.

        Raises
        ------
        OSError
            A file is missing or can't be read.
        ValueError
            Broken framing or metadata; no such message; objects that don't make up a grid; options that don't fit.
        """
        if isinstance(filename_or_obj, str) and filename_or_obj.startswith(SCHEMES):
            given = dict(
                dim_names=dim_names, variable_key=variable_key, message_index=message_index, variables=variables,
                stack=stack, raw_keys=raw_keys, skip_broken=skip_broken, index=index, limits=limits,
            )  # fmt: skip
            for name, value in given.items():
                if value is not None:
                    raise OptionError(f"{name}: how a server's tables are made of files was said when it was started")
            return open_table(filename_or_obj, _names(drop_variables))
        if message_index is not None and message_index < 0:
            raise OptionError(f"message_index must be >= 0, got {message_index}")
        request = _Request.of(
            filename_or_obj, dim_names=dim_names, variable_key=variable_key, message_index=message_index,
            range_threshold=range_threshold, verify_hash=verify_hash, storage_options=storage_options,
            decode_times=decode_times, variables=variables, stack=stack, raw_keys=raw_keys, missing=missing,
            skip_broken=skip_broken, index=index, limits=limits,
        )  # fmt: skip
        drop = _names(drop_variables)
        if merge_objects is None:
            merge_objects = not request.single
        if not merge_objects:
            if message_index is None:
                request.options.append(("message_index", "0"))
            return request.dataset(drop)
        datasets = request.datasets(drop)
        if len(datasets) > 1:
            others = [str(name) for dataset in datasets[1:] for name in dataset.data_vars]
            logger.warning("left out, as their grids differ: %s; open_datasets() gives all", ", ".join(others))
        return datasets[0] if datasets else xr.Dataset()

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether it ends in ``.tgm``, or is a table of a server."""
        if not isinstance(filename_or_obj, (str, os.PathLike)):
            return False
        text = os.fspath(filename_or_obj)
        return isinstance(text, str) and (text.lower().endswith(".tgm") or text.startswith(SCHEMES))


def open_table(location: str, drop: set[str]) -> xr.Dataset:
    """A table of a server, ``grpc://host:port/table``."""
    from ._remote import RemoteTable

    table = RemoteTable.open(location)
    variables = {
        name: lazy_variable(array.dims, array, array.attrs)
        for name, array in table.arrays.items()
        if name not in drop
    }
    coords = {
        name: xr.Variable((name,), labels, table.coord_attrs.get(name, {}))
        for name, labels in table.coords.items()
        if name not in drop
    }
    return xr.Dataset(variables, coords, table.attrs)


from . import accessor as accessor  # noqa: E402  # registers ds.millibar
