"""A server from Python: sessions, arrays that are read from it, dask, and many clients at a time."""

import os
import pathlib
import pickle
import signal
import subprocess
import threading

import millibar
import numpy as np
import pyarrow as pa
import pytest
from millibar import _remote

ROOT = pathlib.Path(__file__).resolve().parents[2]
MEANS = "SELECT level, mean(temperature) AS mean FROM forecast GROUP BY level ORDER BY level"


@pytest.fixture(scope="module")
def server():
    """The process and the location of a server of the forecast of the examples."""
    default = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "millibar"
    args = ["serve", "--listen", "127.0.0.1:0", "--log", "error", "--option", "variables=temperature_{level}hPa"]
    table = "forecast=examples/data/temperature_{time:%Y%m%d}.tgm"
    process = subprocess.Popen(
        [os.environ.get("MILLIBAR", default), *args, table], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    yield process, process.stdout.readline().removeprefix("listening on ").strip()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


@pytest.fixture
def location(server):
    return server[1]


@pytest.fixture(scope="module")
def cells():
    """All cells, as the engine in this process reads them."""
    session = millibar.connect()
    session.register(
        "forecast", str(ROOT / "examples/data/temperature_{time:%Y%m%d}.tgm"), variables="temperature_{level}hPa"
    )
    sql = "SELECT temperature FROM forecast ORDER BY time, level DESC, latitude DESC, longitude"
    return session.sql(sql).to_arrow()["temperature"].to_numpy().reshape(4, 10, 36, 72)


def test_a_session_on_a_server_is_one_like_any_other(location):
    with millibar.connect(location) as session:
        assert session.tables() == ["forecast"]
        result = session.sql(MEANS)
        assert result.schema.names == ["level", "mean"]
        assert result.to_arrow().num_rows == 10
        assert pa.table(result) == result.to_arrow(), "it runs anew"
        assert "10 rows" in repr(result)
        assert "GridAggregateExec" in result.explain()
        assert sum(batch.num_rows for batch in session.sql("SELECT * FROM forecast")) == 4 * 10 * 36 * 72
        with pytest.raises(NotImplementedError):
            session.register("t", "nowhere.tgm")


@pytest.mark.parametrize(
    ("sql", "kind", "words"),
    [
        ("SELEC 1", millibar.QueryError, "SELEC"),
        ("SELECT * FROM nope", millibar.QueryError, "no table named `nope`"),
        ("DROP TABLE forecast", millibar.Error, "can only read"),
    ],
)
def test_what_a_server_refuses_is_one_of_our_errors(location, sql, kind, words):
    with pytest.raises(kind, match=words) as error:
        millibar.connect(location).sql(sql).to_arrow()
    assert "gRPC" not in str(error.value)


def test_no_server_is_an_oserror():
    with pytest.raises(OSError, match="connect"):
        millibar.connect("grpc://127.0.0.1:9").sql("SELECT 1")


def test_a_table_has_labels_and_arrays(location, cells):
    table = _remote.RemoteTable.open(f"{location}/forecast")
    assert dict(table.dims) == {"time": 4, "level": 10, "latitude": 36, "longitude": 72}
    assert table.coords["time"].dtype == "datetime64[ns]"
    assert table.coords["level"].tolist() == sorted(table.coords["level"].tolist(), reverse=True)
    array = pickle.loads(pickle.dumps(table.arrays["temperature"]))
    assert (array.shape, array.chunks, array.dtype) == ((4, 10, 36, 72), (1, 1, 36, 72), np.float32)
    pytest.importorskip("millibar.xarray")
    for key in [
        (slice(None),) * 4,
        (1, 2, slice(3, 9, 2), slice(None, None, -1)),
        (np.array([3, 0, 0]), slice(8, None), -1, slice(5, 5)),
        (slice(None), np.array([9, 1]), np.array([-1, 0, 7]), np.array([2, 2])),
    ]:
        wanted = cells
        for axis in reversed(range(4)):
            wanted = wanted.take(np.arange(wanted.shape[axis])[key[axis]], axis=axis)
        got = array.read(key)
        assert got.shape == wanted.shape and np.array_equal(got, wanted), key
    with pytest.raises(millibar.Error, match="no table named `nope`"):
        _remote.RemoteTable.open(f"{location}/nope")


def test_an_array_of_other_data_is_refused(location):
    from dataclasses import replace

    pytest.importorskip("millibar.xarray")
    array = _remote.RemoteTable.open(f"{location}/forecast").arrays["temperature"]
    with pytest.raises(OSError, match="changed"):
        replace(array, identity="0" * 16).read((0, 0, 0, 0))


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_dask_reads_chunks_with_any_scheduler(location, cells, scheduler):
    pytest.importorskip("dask.array")
    import millibar.dask

    array = millibar.dask.from_flight(location, "forecast", "temperature")
    assert (array.shape, array.dtype, array.chunksize) == ((4, 10, 36, 72), np.float32, (1, 1, 36, 72))
    assert np.array_equal(array[1:3, 4].compute(scheduler=scheduler), cells[1:3, 4])
    wide = millibar.dask.from_flight(location, "forecast", "temperature", chunks={"time": -1, "latitude": 20})
    assert wide.numblocks == (1, 10, 2, 1)
    assert np.array_equal(wide.sum(axis=(0, 3)).compute(scheduler="synchronous"), wide.compute().sum(axis=(0, 3)))
    assert np.array_equal(wide.compute(), cells)


def test_a_fork_is_refused_and_does_not_hang(location):
    millibar.connect(location).sql(MEANS).to_arrow()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            millibar.connect(location).sql(MEANS)
            os.write(write, b"it ran")
        except BaseException as e:  # noqa: BLE001 -- whatever it is, the parent looks at it
            os.write(write, f"{type(e).__name__}: {e}".encode())
        os._exit(0)
    os.close(write)
    said = os.read(read, 1000).decode()
    os.waitpid(child, 0)
    os.close(read)
    assert said.startswith("UnsupportedError") and "forkserver" in said
    assert millibar.connect(location).sql(MEANS).to_arrow().num_rows == 10, "the parent goes on"


def resident(process):
    """Resident bytes of a process."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) << 10


def test_workers_read_while_others_ask(server, cells):
    """Two processes of dask.distributed and 16 SQL clients at one server."""
    distributed = pytest.importorskip("distributed")
    import millibar.dask

    process, location = server
    expected = millibar.connect(location).sql(MEANS).to_arrow()
    before, stop = resident(process), threading.Event()
    wrong, asked = [], [0] * 16

    def ask(number):
        try:
            session = millibar.connect(location)
            while not stop.is_set() or asked[number] == 0:
                got = session.sql(MEANS).to_arrow()
                if not np.allclose(got["mean"], expected["mean"], rtol=1e-12):
                    wrong.append(got)
                asked[number] += 1
        except Exception as e:  # noqa: BLE001 -- whatever it is, the test shows it
            wrong.append(e)

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for client in clients:
        client.start()
    try:
        cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None)
        with cluster, distributed.Client(cluster):
            for _ in range(3):
                array = millibar.dask.from_flight(location, "forecast", "temperature")
                assert np.allclose(array.mean(axis=0).compute(), cells.mean(axis=0), rtol=1e-6)
                assert np.array_equal(array[:, :, 3, 5].compute(), cells[:, :, 3, 5])
    finally:
        stop.set()
        for client in clients:
            client.join(timeout=60)
    assert wrong == [] and min(asked) > 0
    assert resident(process) - before < 256 << 20
