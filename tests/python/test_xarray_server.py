"""Datasets of a server: the same as from its files, read and reduced through it."""

import pickle

import numpy as np
import pytest
import xarray as xr
from conftest import FORECAST, ROOT


@pytest.fixture
def files():
    path = str(ROOT / FORECAST)
    return xr.open_dataset(path, engine="millibar", variables="temperature_{level}hPa", chunks={})


@pytest.fixture(params=[None, {}], ids=["lazy", "dask"])
def remote(request, server):
    return xr.open_dataset(f"{server.location}/forecast", engine="millibar", chunks=request.param)


def test_a_table_is_the_dataset_of_its_files(remote, files):
    assert remote.temperature.dims == files.temperature.dims
    assert dict(remote.temperature.encoding["preferred_chunks"]) == dict(files.temperature.encoding["preferred_chunks"])
    xr.testing.assert_identical(remote.temperature.drop_attrs().load(), files.temperature.drop_attrs().load())


def test_selections_are_fetched(remote, files):
    for indexers in (dict(level=3), dict(level=[4, 1], time=slice(None, None, -1)), dict(latitude=slice(3, 30, 4), longitude=-1)):
        xr.testing.assert_equal(remote.temperature.isel(indexers).compute(), files.temperature.isel(indexers).compute())


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_dask_reads_a_server(server, files, scheduler):
    remote = xr.open_dataset(f"{server.location}/forecast", engine="millibar", chunks={})
    got = remote.temperature.mean("time").compute(scheduler=scheduler)
    xr.testing.assert_allclose(got, files.temperature.mean("time").compute())


def test_pickles_are_locations(server):
    remote = xr.open_dataset(f"{server.location}/forecast", engine="millibar")
    pickled = pickle.dumps(remote.temperature.variable)
    np.testing.assert_array_equal(pickle.loads(pickled)[0, 2], remote.temperature[0, 2])


@pytest.mark.parametrize("how", ["mean", "std", "min", "max", "sum", "count"])
def test_reductions_run_on_the_server(remote, files, how):
    plain = files.compute().astype("f8")
    part = dict(level=[500, 850], latitude=slice(60, -20), time=files.time.values[[0, 1, 3]])
    ours = getattr(remote.millibar.sel(part), how)(["time", "longitude"])
    want = getattr(plain.sel(part), how)(["time", "longitude"])
    np.testing.assert_allclose(ours.temperature, want.temperature, rtol=1e-6)
    assert ours.temperature.dims == want.temperature.dims
    np.testing.assert_allclose(getattr(remote.millibar, how)().temperature, getattr(plain, how)().temperature, rtol=1e-6)


def test_sql_runs_on_the_server(remote):
    rows = remote.millibar.sel(level=500).sql("SELECT count(*) AS n FROM this").to_arrow()
    assert rows["n"].to_pylist() == [remote.temperature.sel(level=500).size]
