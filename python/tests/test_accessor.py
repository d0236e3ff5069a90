"""Reductions and SQL in the engine, beside what xarray makes of the same values itself."""

import numpy as np
import pytest
import tensogram
import xarray as xr

from millibar.accessor import PushdownError

HOW = ["mean", "std", "min", "max", "sum", "count"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Temperature with NaN, pressure in integers and a mask of another grid: four times, three levels."""
    rng = np.random.default_rng(7)
    path = tmp_path_factory.mktemp("accessor") / "fields.tgm"
    lat, lon = np.linspace(90, -90, 19), np.arange(36) * np.float32(10.1)
    with open(path, "wb") as out:
        for t in range(4):
            for level in (850, 500, 250):
                values = rng.normal(280, 10, (19, 36))
                values[rng.random((19, 36)) < 0.1] = np.nan
                values[3] = np.nan
                objects = [
                    ({"name": "latitude", "units": "degrees_north"}, lat),
                    ({"name": "longitude"}, lon),
                    ({"name": "t", "units": "K", "time": t * 6, "level": level}, values),
                    ({"name": "p", "time": t * 6, "level": level}, rng.integers(-9, 99, (19, 36)).astype("int32")),
                ]
                described = [(dict(type="ntensor", shape=list(v.shape), dtype=v.dtype.name), v) for _, v in objects]
                out.write(tensogram.encode({"base": [meta for meta, _ in objects], "centre": "here"}, described, allow_nan=True))
    return path


@pytest.fixture(params=[None, {}], ids=["lazy", "dask"])
def dataset(request, path):
    return xr.open_dataset(path, engine="millibar", merge_objects=True, chunks=request.param)


def same(ours, theirs):
    """The same arrays, with attributes beside what xarray keeps."""
    xr.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=0)
    assert ours.sizes == theirs.sizes and set(ours.coords) == set(theirs.coords)
    both = zip(ours.data_vars.values(), theirs.data_vars.values()) if isinstance(ours, xr.Dataset) else [(ours, theirs)]
    for a, b in both:
        assert a.dims == b.dims and a.dtype == b.dtype


@pytest.mark.parametrize("dim", [None, "time", ["latitude", "longitude"], ["time", "level", "longitude"]], ids=str)
@pytest.mark.parametrize("how", HOW)
def test_reductions_are_xarrays(dataset, how, dim):
    ours = getattr(dataset.millibar, how)(dim)
    same(ours, getattr(dataset.compute(), how)(dim))
    assert ours.t.attrs == dataset.t.attrs and ours.attrs == dataset.attrs
    same(getattr(dataset.t.millibar, how)(dim), getattr(dataset.t.compute(), how)(dim))


SELECTIONS = [
    (dict(level=500), {}),
    (dict(level=[250, 850], time=slice(6, 12)), {}),
    (dict(latitude=slice(42, -15)), {}),
    (dict(longitude=100, latitude=-33.3), dict(method="nearest")),
    (dict(latitude=slice(91, 95)), {}),
]


@pytest.mark.parametrize("labels, how", SELECTIONS, ids=str)
def test_selections_by_label(dataset, labels, how):
    plain = dataset.compute().sel(labels, **how)
    dim = [dim for dim in ("time", "longitude") if dim in plain.dims]
    same(dataset.millibar.sel(labels, **how).mean(dim), plain.mean(dim))
    same(dataset.millibar.sel(labels, **how).sum(), plain.sum())


def test_selections_by_position(dataset):
    plain = dataset.compute()
    for indexers in (dict(time=-1), dict(level=[2, 0]), dict(latitude=slice(None, None, -3), longitude=[5, 5, 1])):
        same(dataset.millibar.isel(indexers).max("time" if "time" not in indexers else "level"),
             plain.isel(indexers).max("time" if "time" not in indexers else "level"))  # fmt: skip
    with pytest.raises(PushdownError, match="several times"):
        dataset.millibar.isel(longitude=[5, 5, 1]).sum("longitude")


def test_selections_of_xarray_are_seen(path):
    lazy = xr.open_dataset(path, engine="millibar", merge_objects=True)
    part = lazy.t.isel(level=1).sel(latitude=slice(60, 0))
    same(part.millibar.mean("time"), part.copy().compute().mean("time"))


def test_what_is_not_stored_is_refused(dataset):
    for changed in (dataset + 1, dataset.compute(), dataset.where(dataset.t > 0), dataset.fillna(0), dataset.astype("f4")):
        with pytest.raises(PushdownError, match="isn't what is stored"):
            changed.millibar.mean()
    written = dataset.copy()
    written["t"] = written.t.copy(data=np.zeros(written.t.shape))
    with pytest.raises(PushdownError, match="'t' isn't what is stored"):
        written.millibar.mean("time")
    with pytest.raises(ValueError, match="no such dims"):
        dataset.millibar.mean("depth")


def test_sql(dataset):
    table = dataset.millibar.sql("SELECT level, mean(t) AS t, max(p) AS p FROM this GROUP BY level ORDER BY level").to_arrow()
    plain = dataset.compute()
    assert table["level"].to_pylist() == [250, 500, 850]
    order = plain.sel(level=[250, 500, 850])
    np.testing.assert_allclose(table["t"], order.t.mean(["time", "latitude", "longitude"]), rtol=1e-12)
    np.testing.assert_array_equal(table["p"], order.p.max(["time", "latitude", "longitude"]))
    own = dataset.millibar.sql("WITH low AS (SELECT * FROM this WHERE level = 850) SELECT count(p) AS n FROM low")
    assert own.to_arrow()["n"].to_pylist() == [plain.p.sel(level=850).size]
    part = dataset.millibar.sel(level=500, time=[0, 18], longitude=slice(50, 120))
    (row,) = part.sql("SELECT count(*) AS n, sum(p) AS p FROM this").to_arrow().to_pylist()
    want = plain.sel(level=500, time=[0, 18], longitude=slice(50, 120)).p
    assert row == {"n": want.size, "p": int(want.sum())}


def test_a_dataset_of_several_grids(tmp_path):
    path = tmp_path / "grids.tgm"
    objects = [({"name": "a"}, np.arange(12.0).reshape(3, 4)), ({"name": "b"}, np.arange(5.0)), ({"name": "x"}, np.arange(5))]
    described = [(dict(type="ntensor", shape=list(v.shape), dtype=v.dtype.name), v) for _, v in objects]
    path.write_bytes(tensogram.encode({"base": [meta for meta, _ in objects]}, described))
    dataset = xr.open_dataset(path, engine="millibar")
    same(dataset.millibar.mean("x"), dataset.compute().mean("x"))
    with pytest.raises(PushdownError, match="2 tables"):
        dataset.millibar.sql("SELECT 1 FROM this")
    assert xr.open_dataset(path, engine="millibar")[["b"]].millibar.sql("SELECT sum(b) AS s FROM this").to_arrow()["s"][0].as_py() == 10


@pytest.mark.parametrize("dim", [None, "dim_1", ["dim_0", "dim_2"]], ids=str)
@pytest.mark.parametrize("how", [*HOW, "any", "all"])
def test_truth_values(tmp_path, how, dim):
    bits = np.random.default_rng(3).random((3, 4, 7)) < [[[0.5]], [[0]], [[1]]]
    described = [(dict(type="ntensor", shape=[3, 4, 7], dtype="bitmask"), np.packbits(bits))]
    path = tmp_path / "bits.tgm"
    path.write_bytes(tensogram.encode({"base": [{"name": "mask", "dim_names": ["dim_0", "dim_1", "dim_2"]}]}, described))
    dataset, plain = xr.open_dataset(path, engine="millibar"), xr.open_dataset(path, engine="millibar").compute()
    assert np.array_equal(plain.mask, bits)
    same(getattr(dataset.millibar, how)(dim), getattr(plain, how)(dim))
    same(getattr(dataset.millibar.isel(dim_0=0), how)(), getattr(plain.isel(dim_0=0), how)())


def test_what_has_no_order_is_refused(tmp_path, dataset):
    path = tmp_path / "complex.tgm"
    values = np.arange(6).astype("complex64")
    path.write_bytes(tensogram.encode({"base": [{"name": "z"}]}, [(dict(type="ntensor", shape=[6], dtype="complex64"), values.tobytes())]))
    with pytest.raises(PushdownError, match=r"'z' is of complex64: mean\(\) of integers, floats and truth values"):
        xr.open_dataset(path, engine="millibar").millibar.mean()
    with pytest.raises(PushdownError, match=r"'t' is of float64: any\(\) of truth values"):
        dataset.millibar.any()
