"""dask: arrays that are read from a server, one task for each endpoint."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pyarrow import flight

from . import _arrays, _remote

if TYPE_CHECKING:
    import dask.array

__all__ = ["from_flight"]


def from_flight(
    location: str, table: str, variable: str, *, chunks: Mapping[str, int] | None = None
) -> dask.array.Array:
    """A variable on the server at ``location`` as a ``dask.array``, of the shape and the chunks that it is stored in.

    ``chunks`` asks for others: positions along each dim that it names, -1 for all of them. Where there are very many
    stored chunks, one of the array is a few of them. Tasks hold the location and a ticket, so they run on any worker
    that reaches the server; workers have one connection each. Missing cells are NaN.

    Raises :class:`millibar.QueryError` for tables, variables and dims that there aren't, and for variables of integers
    of which chunks are missing: there is no NaN among integers.
    """
    from dask.delayed import delayed

    arrays: Any = importlib.import_module("dask.array")  # untyped

    if chunks is None:
        descriptor = flight.FlightDescriptor.for_path(table, variable)
    else:
        request = {"table": table, "variable": variable, "chunks": dict(chunks)}
        descriptor = flight.FlightDescriptor.for_command(json.dumps(request).encode())
    with _remote._errors():
        info = _remote.client(location).get_flight_info(descriptor)
    about = json.loads(info.schema.metadata[_remote._KEY])
    dtype = _arrays.stored_dtype(about["dtype"])
    blocks: dict[tuple[int, ...], Any] = {}
    for endpoint in info.endpoints:
        block = json.loads(endpoint.app_metadata)
        task = delayed(_remote.read_slab)(location, endpoint.ticket.ticket)
        blocks[tuple(block["start"])] = arrays.from_delayed(task, block["shape"], dtype)
    starts = [sorted(set(along)) for along in zip(*blocks)]
    nested = np.empty([len(along) for along in starts], dtype=object)
    for start, block in blocks.items():
        nested[tuple(along.index(at) for along, at in zip(starts, start))] = block
    whole: dask.array.Array = arrays.block(nested.tolist())
    return whole
