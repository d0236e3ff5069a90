"""The peers: each makes a function of a question, or None where it has no answer."""

import importlib.metadata

import blosc2
import dask
import dask.array
import datafusion
import make_field
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import tiledb
import xarray as xr
import xarray_sql
from questions import T
from tensogram_xarray import open_datasets

# Peers that answer in less than a second, so that many runs of them cost nothing.
QUICK = ["numpy in memory, 1 thread", "TileDB", "python-blosc2"]
COORDS = dict(time=make_field.TIMES.astype("datetime64[ns]"), level=make_field.LEVELS,
              latitude=make_field.LATITUDE, longitude=make_field.LONGITUDE)
# One stored object.
CHUNK = (1, 1, len(make_field.LATITUDE), len(make_field.LONGITUDE))


def versions():
    packages = ["numpy", "dask", "xarray", "xarray-sql", "datafusion", "tiledb", "blosc2"]
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)


def peers(folder, values):
    """What makes each peer, by name; data that isn't there yet is written then. `values` makes the array."""
    dask.config.set(scheduler="threads")
    return {
        "numpy in memory, 1 thread": lambda: over(values(), lambda question: question.numpy),
        "reference + dask, none": lambda: reference(folder, "none"),
        "reference + dask, blosc2": lambda: reference(folder, "blosc2"),
        "xarray-sql on zarr": lambda: xarray_sql_on_zarr(folder, values),
        "DataFusion on Parquet": lambda: datafusion_on_parquet(folder, values),
        "TileDB": lambda: over(tiledb_array(folder, values), lambda question: question.tiledb),
        "python-blosc2": lambda: over(blosc2_array(values()), lambda question: question.blosc2),
    }


def over(array, function):
    def peer(question):
        run = function(question)
        return run and (lambda: run(array))

    return peer


def reference(folder, variant):
    """The cube as a user of the reference gets it: lazy, one dask chunk for each stored object."""
    cube = open_datasets(str(folder / f"{variant}.tgm"))[0][T].chunk({"time": 1, "level": 1})
    cube = cube.assign_coords(time=cube.time.values.astype("datetime64[ns]"))  # texts, as they come

    def compute(lazy):
        # The data alone: the reference's coords can't be computed after a scalar `sel`.
        arrays = lazy.values() if isinstance(lazy, xr.Dataset) else [lazy]
        return dask.compute(*(array.data for array in arrays))

    return lambda question: lambda: compute(question.xarray(cube))


def xarray_sql_on_zarr(folder, values):
    store = folder / "field.zarr"
    if not store.exists():
        dataset = xr.Dataset({T: (list(COORDS), values())}, COORDS)
        dataset.chunk(dict(time=1, level=1)).to_zarr(store)
    context = xarray_sql.XarrayContext()
    context.from_dataset("t", xr.open_zarr(store), chunks=dict(time=6))
    return lambda question: lambda: context.sql(question.plain_sql).to_pandas()


def datafusion_on_parquet(folder, values):
    """One row group for each time."""
    path = folder / "field.parquet"
    if not path.exists():
        array, names = values(), list(COORDS)
        schema = pa.schema([("time", pa.timestamp("ns")), ("level", pa.int64()), ("latitude", pa.float64()),
                            ("longitude", pa.float64()), (T, pa.float32())])
        with pa.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            for i, at in enumerate(COORDS["time"]):
                labels = np.meshgrid(*(COORDS[name] for name in names[1:]), indexing="ij")
                columns = [np.full(labels[0].size, at), *(label.ravel() for label in labels), array[i].ravel()]
                writer.write_table(pa.table(columns, schema=schema))
    context = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(2))
    context.register_parquet("t", str(path))
    return lambda question: lambda: context.sql(question.plain_sql).collect()


def tiledb_array(folder, values):
    path = str(folder / "field.tiledb")
    if not tiledb.object_type(path):
        field = values()
        dims = [tiledb.Dim(name, domain=(0, size - 1), tile=tile, dtype=np.int64)
                for name, size, tile in zip(COORDS, field.shape, CHUNK, strict=True)]
        filters = tiledb.FilterList([tiledb.ByteShuffleFilter(), tiledb.ZstdFilter(5)])
        schema = tiledb.ArraySchema(tiledb.Domain(*dims), [tiledb.Attr(T, dtype=np.float32, filters=filters)])
        tiledb.Array.create(path, schema)
        with tiledb.open(path, "w") as array:
            array[:] = field
    return tiledb.open(path, attr=T)


def blosc2_array(values):
    """In memory, compressed."""
    blosc2.set_nthreads(2)
    return blosc2.asarray(values, chunks=CHUNK, cparams=dict(codec=blosc2.Codec.ZSTD, clevel=5))
