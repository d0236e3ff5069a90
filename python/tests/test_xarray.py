"""The xarray backend beside the reference's: the same Dataset for every file of the corpus, but where the reference is wrong."""

import logging
import pathlib
import pickle
import warnings
from fnmatch import fnmatch

import numpy as np
import pytest
import tensogram
import xarray as xr

from millibar import GridError, HashMismatchError
from millibar.xarray import Axis, arrange, open_datasets

CORPUS = pathlib.Path(__file__).resolve().parents[3] / "shared" / "corpus"
needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no conformance corpus at {CORPUS}")
MESSAGES = 4  # of each file; what comes after is like what went before

# Where the reference is wrong, the files that show it, and what differs then. docs/xarray.md has the same list in words.
DIFFERENT = [
    (
        "a bitmask is bool in its shape; the reference claims uint8, and mostly can't read it",
        ["*/bitmask_*", "dtypes/all_in_one_message.tgm", "framing/five_objects.tgm"],
        ["dtype bool and uint8", "theirs can't be read: IndexError"],
    ),
    (
        "bfloat16 is float32 where ml_dtypes isn't installed; the reference hands out its bits as uint16",
        ["*bfloat16*", "dtypes/all_in_one_message.tgm"],
        ["dtype float32 and uint16"],
    ),
    (
        "metadata in preceders and footers counts; the reference sees that of the header only",
        ["framing/preceder*", "quirks/header_and_footer_metadata_differ.tgm"],
        ["variables", "attributes", "a coordinate has one axis"],
    ),
    (
        "what the reference packed to other widths than whole bytes before szip is lost; its numbers are wrong, and we refuse it",
        ["quirks/packing*_szip.tgm"],
        ["only 8, 16, 24 and 32 bits do"],
    ),
    ("a tagged value is the value; the reference gives how Rust prints it", ["quirks/tagged_values.tgm"], ["Tag(0, Text("]),
]


def wrong(path):
    """What may differ for this file."""
    relative = str(path.relative_to(CORPUS))
    matching = [parts for _, globs, parts in DIFFERENT if any(fnmatch(relative, glob) for glob in globs)]
    return [part for parts in matching for part in parts]


def files():
    found = sorted(path for path in CORPUS.glob("**/*.tgm") if "bad" not in path.relative_to(CORPUS).parts)
    return [pytest.param(path, id=str(path.relative_to(CORPUS))) for path in found]


def opened(engine, path, **options):
    """The Dataset, or the error that opening it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return xr.open_dataset(path, engine=engine, **options)
        except Exception as error:
            return error


def loaded(variable):
    try:
        return variable.load()
    except Exception as error:
        return error


def same_value(a, b):
    """Whether two attributes are the same, NaN included."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_value(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same_value, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def differences(ours, theirs):
    """What differs between two Datasets, in words."""
    if isinstance(theirs, Exception) or isinstance(ours, Exception):
        if isinstance(theirs, Exception) and isinstance(ours, Exception):
            kinds = (OSError, ValueError, TypeError)
            same = any(isinstance(theirs, kind) and isinstance(ours, kind) for kind in kinds)
            return [] if same else [f"errors {ours!r} and {theirs!r}"]
        return [f"one error: ours {ours!r}, theirs {theirs!r}"]
    found = []
    if set(ours.variables) != set(theirs.variables):
        found.append(f"variables {sorted(ours.variables)} and {sorted(theirs.variables)}")
    if set(ours.coords) != set(theirs.coords):
        found.append(f"coords {sorted(ours.coords)} and {sorted(theirs.coords)}")
    if not same_value(ours.attrs, theirs.attrs):
        found.append(f"attributes {ours.attrs} and {theirs.attrs}")
    for name in set(ours.variables) & set(theirs.variables):
        a, b = ours.variables[name], theirs.variables[name]
        if a.dims != b.dims or a.shape != b.shape:
            found.append(f"{name}: dims {a.dims} {a.shape} and {b.dims} {b.shape}")
        if a.dtype != b.dtype:
            found.append(f"{name}: dtype {a.dtype} and {b.dtype}")
        if not same_value(a.attrs, b.attrs):
            found.append(f"{name}: attributes {a.attrs} and {b.attrs}")
        values, wanted = loaded(a), loaded(b)
        if isinstance(wanted, Exception):
            found.append(f"{name}: theirs can't be read: {type(wanted).__name__}")
        elif isinstance(values, Exception):
            found.append(f"{name}: ours can't be read: {values}")
        elif values.shape == wanted.shape and values.dtype == wanted.dtype:
            if values.values.tobytes() != wanted.values.tobytes():
                found.append(f"{name}: values")
    return found


@pytest.mark.parametrize("path", files())
def test_every_file_of_the_corpus_is_the_same_dataset(path):
    count = len(tensogram.TensogramFile.open(str(path)))
    found = []
    for index in range(min(count, MESSAGES)):
        ours, theirs = (opened(engine, path, message_index=index) for engine in ("millibar", "tensogram"))
        found += [f"message {index}: {what}" for what in differences(ours, theirs)]
    parts = wrong(path)
    assert not [what for what in found if not any(part in what for part in parts)]


@needs_corpus
@pytest.mark.parametrize("reason, globs, parts", DIFFERENT, ids=range(len(DIFFERENT)))
def test_what_is_listed_as_wrong_is_wrong(reason, globs, parts):
    paths = sorted({path for glob in globs for path in CORPUS.glob(glob if "/" in glob else f"*/{glob}")})
    shown = [path for path in paths if differences(opened("millibar", path), opened("tensogram", path))]
    assert shown, reason


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/bitmask_*.tgm")), ids=lambda path: path.name)
def test_bits_are_those_of_the_file(path):
    _, descriptor, stored = tensogram.decode_object(tensogram.TensogramFile.open(str(path)).read_message(0), 0)
    bits = np.unpackbits(stored)[: int(np.prod(descriptor.shape))].reshape(descriptor.shape)
    (variable,) = xr.open_dataset(path, engine="millibar").data_vars.values()
    np.testing.assert_array_equal(variable, bits.astype(bool))


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*bfloat16*.tgm")), ids=lambda path: path.name)
def test_bfloat16_are_numbers(path):
    (bits,) = xr.open_dataset(path, engine="tensogram").data_vars.values()
    (variable,) = xr.open_dataset(path, engine="millibar").data_vars.values()
    np.testing.assert_array_equal(variable, (bits.values.astype(np.uint32) << 16).view(np.float32))


@needs_corpus
def test_messages_beyond_the_last_and_below_zero():
    path = CORPUS / "shapes" / "zero_objects.tgm"
    for index in (-1, 1):
        with pytest.raises(ValueError, match=str(index)):
            xr.open_dataset(path, engine="millibar", message_index=index)
    with pytest.raises(FileNotFoundError):
        xr.open_dataset(CORPUS / "nothing.tgm", engine="millibar")
    with pytest.raises(ValueError, match="dim_names"):
        xr.open_dataset(CORPUS / "mars" / sorted(p.name for p in (CORPUS / "mars").glob("*.tgm"))[0], engine="millibar", dim_names=["a"])
    with pytest.raises(TypeError):
        xr.open_dataset(path, engine="millibar", no_such_option=1)


@pytest.fixture
def field(tmp_path):
    """A file with one message: 12 levels of a field, named, hinted, in one object."""
    values = np.random.default_rng(1).normal(280, 10, (12, 20, 30))
    path = tmp_path / "field.tgm"
    write(path, [({"name": "t", "dim_names": ["level", "y", "x"], "units": "K"}, values, {"compression": "blosc2"})])
    return path, values


def write(path, objects, mode="wb", extra=None):
    """Appends a message of `(metadata, values, codec)`."""
    described = [
        (dict(type="ntensor", shape=list(values.shape), dtype=values.dtype.name, **codec), np.ascontiguousarray(values))
        for _, values, codec in objects
    ]
    with open(path, mode) as out:
        out.write(tensogram.encode({"base": [meta for meta, _, _ in objects], **(extra or {})}, described))


KEYS = [
    (), (3,), (-1, slice(None)), (slice(2, 9, 3), 4), (slice(None, None, -1), slice(15, 2, -4), slice(5, 6)),
    ([3, 1, 1, -2], slice(None), [0, 29]), (np.array([5, 2]), np.array([1, 1]), np.array([7])), (slice(4, 4),), (0, 0, 0),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_indexing_is_numpys(field, key):
    path, values = field
    variable = xr.open_dataset(path, engine="millibar").t.variable
    want = xr.Variable(("level", "y", "x"), values)
    np.testing.assert_array_equal(variable[key].values, want[key].values)


def test_vectorized_indexing(field):
    path, values = field
    lazy = xr.open_dataset(path, engine="millibar").t
    points = {"level": xr.DataArray([0, 5, 5], dims="p"), "y": xr.DataArray([19, 0, 3], dims="p")}
    np.testing.assert_array_equal(lazy.isel(points).values, values[[0, 5, 5], [19, 0, 3]])


def test_axes_are_put_in_order():
    values = np.arange(20)
    for index in (slice(None, None, -3), slice(18, 1, -2), np.array([4, 4, 0, -1]), 7, slice(9, 3)):
        axis = Axis.of(index, 20)
        steps = values[slice(*axis.positions)] if isinstance(axis.positions, tuple) else values[axis.positions]
        np.testing.assert_array_equal(arrange(steps, [axis]), values[index])
    with pytest.raises(IndexError):
        Axis.of(20, 20)


def test_opening_decodes_nothing_and_errors_of_payloads_come_at_compute(tmp_path):
    path = tmp_path / "t.tgm"
    write(path, [({"name": "t"}, np.arange(64.0 * 64).reshape(64, 64), {"compression": "zstd"})])
    raw = bytearray(path.read_bytes())
    at = raw.index(b"\x28\xb5\x2f\xfd") + 4
    raw[at : at + 16] = bytes([255]) * 16
    path.write_bytes(raw)
    for chunks in (None, {}):
        dataset = xr.open_dataset(path, engine="millibar", chunks=chunks)
        assert dataset.t.shape == (64, 64)
        with pytest.raises(ValueError, match="t.tgm, message 0, object 0"):
            dataset.t.compute(scheduler="synchronous") if chunks is not None else dataset.t.load()
    with pytest.raises(HashMismatchError):
        xr.open_dataset(path, engine="millibar", verify_hash=True).t.load()


def test_arrays_are_pickled_as_paths(field, tmp_path, monkeypatch):
    path, values = field
    monkeypatch.chdir(tmp_path)
    dataset = xr.open_dataset("field.tgm", engine="millibar")
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 5000
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(pickle.loads(pickled).t[2].values, values[2])


def test_a_file_that_changed_is_an_error(field):
    path, values = field
    dataset = xr.open_dataset(path, engine="millibar", cache=False)
    assert dataset.t[0, 0, 0].values == values[0, 0, 0]
    write(path, [({"name": "t", "dim_names": ["level", "y", "x"]}, values + 1, {})])
    with pytest.raises(OSError, match="changed"):
        dataset.t[0, 0, 0].load()
    again = xr.open_dataset(path, engine="millibar")
    assert again.t[0, 0, 0].values == values[0, 0, 0] + 1


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_schedulers(field, scheduler):
    path, values = field
    dataset = xr.open_dataset(path, engine="millibar", chunks={"level": 3})
    got = dataset.t.sel(y=slice(5, 15)).mean("x").compute(scheduler=scheduler)
    np.testing.assert_allclose(got, values[:, 5:15].mean(2), rtol=1e-12)


def test_distributed(cube):
    distributed = pytest.importorskip("distributed")
    path, values = cube
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster, distributed.Client(cluster):
        dataset = xr.open_dataset(path, engine="millibar", merge_objects=True, chunks={})
        np.testing.assert_allclose(dataset.t.mean().compute(), values.mean(), rtol=1e-12)


@pytest.fixture
def cube(tmp_path):
    """Six messages: three times, two levels, one field each."""
    values = np.random.default_rng(2).normal(280, 10, (3, 2, 20, 30))
    path = tmp_path / "cube.tgm"
    lat, lon = np.linspace(90, -90, 20), np.arange(30.0) * 12
    coords = [({"name": "latitude"}, lat, {}), ({"name": "longitude"}, lon, {})]
    for t, time in enumerate(("2026-04-01T00:00:00", "2026-04-01T06:00:00", "2026-04-01T12:00:00")):
        for k, level in enumerate((850, 500)):
            meta = {"name": "t", "units": "K", "time": time, "level": level}
            write(path, [*coords, (meta, values[t, k], {})], "wb" if t == k == 0 else "ab")
    return path, values


def test_merging_stacks_objects_and_gives_a_dask_chunk_for_each(cube):
    path, values = cube
    dataset = xr.open_dataset(path, engine="millibar", merge_objects=True, chunks={})
    assert dataset.t.dims == ("time", "level", "latitude", "longitude")
    assert dataset.t.chunks == ((1, 1, 1), (1, 1), (20,), (30,))
    assert dataset.time.dtype == "datetime64[ns]" and list(dataset.level.values) == [850, 500]
    np.testing.assert_array_equal(dataset.t, values)
    assert dataset.t.attrs == {"name": "t", "units": "K"}
    assert xr.open_dataset(path, engine="millibar").t.dims == ("latitude", "longitude")
    pattern = xr.open_dataset(path.parent / "c*.tgm", engine="millibar")
    np.testing.assert_array_equal(pattern.t, values)


def test_cubes_with_holes_lose_nothing(tmp_path):
    path = tmp_path / "holes.tgm"
    for t, k in ((0, 0), (0, 1), (1, 1)):
        write(path, [({"name": "t", "time": t, "level": k}, np.full((2, 2), 10 * t + k, "int16"), {})], "ab")
    (dataset,) = open_datasets(path)
    want = np.array([[0, 1], [np.nan, 11]])[..., None, None] * np.ones((2, 2))
    np.testing.assert_array_equal(dataset.t.transpose("time", "level", ...), want)
    assert dataset.t.dtype == np.float32
    with pytest.raises(GridError, match="missing"):
        open_datasets(path, missing="error")


def test_grids_that_differ_are_datasets_of_their_own(tmp_path):
    path = tmp_path / "grids.tgm"
    write(path, [({"name": "a"}, np.zeros((3, 4)), {}), ({"name": "b"}, np.zeros((5, 4)), {})])
    write(path, [({"name": "a"}, np.ones((3, 2)), {})], "ab")
    assert [list(dataset.data_vars) for dataset in open_datasets(path)] == [["a"], ["b"], ["a"]]
    assert xr.open_dataset(path, engine="millibar").b.dims == ("obj_1_dim_0", "dim_1")


def test_the_log_says_what_was_read(field, caplog):
    path, _ = field
    dataset = xr.open_dataset(path, engine="millibar", cache=False)
    with caplog.at_level(logging.DEBUG, "millibar"):
        dataset.t[0].load()
        dataset.t.load()
    assert "1 objects read in part, 0 as a whole" in caplog.messages[0]
    assert "0 objects read in part, 1 as a whole" in caplog.messages[1]
