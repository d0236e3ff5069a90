"""Files in a local store that speaks the protocol of S3, and on a local web server, with nothing in the environment:
``storage_options`` say how they are reached, in SQL, sessions and arrays, here and in other processes.
"""

import functools
import http.server
import logging
import os
import pathlib
import pickle
import subprocess
import sys
import threading
import traceback

import boto3
import dask
import millibar
import numpy as np
import pytest
import xarray as xr
from millibar.xarray import FileArray, open_datasets
from moto.server import ThreadedMotoServer

DATA = pathlib.Path(__file__).resolve().parents[2] / "examples" / "data"
FILE = "temperature_20260401.tgm"
LEVEL = "temperature_500hPa"
SECRET = "hush-this-is-the-secret"


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="me", aws_secret_access_key=SECRET
    )
    client.create_bucket(Bucket="stored")
    client.upload_file(str(DATA / FILE), "stored", f"2026/{FILE}")
    yield address
    server.stop()


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """Nothing of stores is in the environment, nor is there a machine to ask for its role."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MILLIBAR_REMOTE_RETRIES", "0")
    monkeypatch.setenv("MILLIBAR_REMOTE_TIMEOUT", "5")


@pytest.fixture
def options(endpoint):
    return {"key": "me", "secret": SECRET, "client_kwargs": {"endpoint_url": endpoint, "region_name": "us-east-1"}}


@pytest.fixture
def url():
    return f"s3://stored/2026/{FILE}"


@pytest.fixture(scope="module")
def local():
    return xr.open_dataset(DATA / FILE, engine="millibar").load()


def test_tables_in_sql(endpoint, url, local):
    session = millibar.connect()
    session.sql(f"""
        CREATE EXTERNAL TABLE t STORED AS TENSOGRAM LOCATION '{url}' OPTIONS (
            'aws.access_key_id' 'me', 'aws.secret_access_key' '{SECRET}', 'aws.region' 'us-east-1',
            'aws.endpoint' '{endpoint}', variables '{LEVEL}')
    """)
    result = session.sql(f'SELECT count(*) AS n, max("{LEVEL}") AS high FROM t')
    (row,) = result.to_arrow().to_pylist()
    assert row == {"n": local[LEVEL].size, "high": float(local[LEVEL].max())}
    shown = [repr(result), result.explain(analyze=True), str(session.sql("SHOW TABLES").to_arrow())]
    shown.append(str(session.sql("SELECT * FROM information_schema.views").to_arrow()))
    assert not any(SECRET in text for text in shown)


def test_tables_of_a_session(options, url, local):
    session = millibar.connect()
    session.register("t", url, storage_options=options)
    assert session.sql(f'SELECT count("{LEVEL}") AS n FROM t').to_arrow()["n"][0].as_py() == local[LEVEL].size
    own = {"aws_access_key_id": "me", "aws_secret_access_key": SECRET, "aws_region": "us-east-1"}
    own["aws_endpoint"] = options["client_kwargs"]["endpoint_url"]
    session.register("folder", "s3://stored/2026/", storage_options=own)
    assert session.sql("SELECT count(*) AS n FROM folder").to_arrow()["n"][0].as_py() == local[LEVEL].size


def test_arrays_are_read_here_and_elsewhere(options, url, local):
    lazy = xr.open_dataset(url, engine="millibar", storage_options=options)
    xr.testing.assert_identical(lazy.isel(latitude=3, longitude=slice(2, 9)).load(), local.isel(latitude=3, longitude=slice(2, 9)))
    (merged,) = open_datasets(url, storage_options=options)
    xr.testing.assert_equal(merged.load(), local)
    chunked = xr.open_dataset(url, engine="millibar", storage_options=options, chunks={})
    mean = chunked[LEVEL].mean("longitude")
    with dask.config.set({"multiprocessing.context": "spawn"}):
        got = dask.compute(mean, scheduler="processes", num_workers=1)[0]
    xr.testing.assert_allclose(got, local[LEVEL].mean("longitude"), rtol=1e-6)
    # Another process, which has read nothing yet.
    code = "import pickle, sys; print(float(pickle.load(sys.stdin.buffer)[2, 5].values))"
    process = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(chunked[LEVEL]), stdout=subprocess.PIPE, check=True, timeout=60
    )
    assert float(process.stdout) == float(local[LEVEL][2, 5])


def test_reductions_in_the_engine(options, url, local):
    lazy = xr.open_dataset(url, engine="millibar", storage_options=options)
    xr.testing.assert_allclose(lazy[LEVEL].millibar.mean("longitude"), local[LEVEL].mean("longitude"), rtol=1e-6)
    rows = lazy[[LEVEL]].millibar.sql(f'SELECT min("{LEVEL}") AS low FROM this').to_arrow()
    assert rows["low"][0].as_py() == float(local[LEVEL].min())


def test_secrets_are_not_shown(options, url, caplog):
    with caplog.at_level(logging.DEBUG):
        lazy = xr.open_dataset(url, engine="millibar", storage_options=options, chunks={})
        lazy[LEVEL][:2].load()
        source = FileArray((url,), (("storage_options", f'{{"secret": "{SECRET}"}}'),), "t", (0, 0), 0, (), (), (), "", np.dtype("f4"))
        shown = [repr(lazy), repr(lazy[LEVEL].variable), repr(lazy[LEVEL].data.dask), lazy._repr_html_(), repr(source)]
        bad = f"s3://stored/none/{FILE}"
        for location, given in [
            (bad, options),
            (url, {**options, "client_kwargs": {"endpoint_url": "http://127.0.0.1:9"}}),
            (url, {**options, "anon": "perhaps"}),
            (url, {**options, "sekret": SECRET}),
            (url, {**options, "secret": {"a": SECRET}}),
            (url, {"secret": SECRET, "endpoint_url": f"http://me:{SECRET}@127.0.0.1:9"}),
        ]:
            with pytest.raises((OSError, millibar.OptionError)) as failed:
                xr.open_dataset(location, engine="millibar", storage_options=given)
            shown.append("".join(traceback.format_exception_only(failed.type, failed.value)))
    assert not any(SECRET in text for text in [*shown, caplog.text])


def test_unknown_options_are_named(options, url):
    with pytest.raises(millibar.OptionError, match="`sekret`.*secret_access_key"):
        xr.open_dataset(url, engine="millibar", storage_options={**options, "sekret": "x"})
    with pytest.raises(millibar.OptionError, match="`aws.regoin`.*region"):
        millibar.sql(f"CREATE EXTERNAL TABLE t STORED AS TENSOGRAM LOCATION '{url}' OPTIONS ('aws.regoin' 'x')")
    with pytest.raises(millibar.OptionError, match="JSON"):
        xr.open_dataset(url, engine="millibar", storage_options={**options, "session": object()})


def test_other_options_are_another_connection(options, url):
    xr.open_dataset(url, engine="millibar", storage_options=options)
    nowhere = {**options, "client_kwargs": {"endpoint_url": "http://127.0.0.1:9"}}
    with pytest.raises(OSError):
        xr.open_dataset(url, engine="millibar", storage_options=nowhere)
    with pytest.raises(OSError):
        xr.open_dataset(url, engine="millibar")


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Files, and ranges of them."""

    def do_GET(self):
        data = pathlib.Path(self.translate_path(self.path)).read_bytes()
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        part = data[int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Thu, 02 Apr 2026 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_):
        pass


def test_a_web_server(local):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Ranges, directory=DATA))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/{FILE}"
    try:
        lazy = xr.open_dataset(url, engine="millibar", index="off")
        xr.testing.assert_identical(lazy.isel(latitude=[1, 7]).load(), local.isel(latitude=[1, 7]))
        agent = xr.open_dataset(url, engine="millibar", index="off", storage_options={"user_agent": "tests"})
        xr.testing.assert_identical(agent.load(), local)
        with pytest.raises(millibar.OptionError, match="`key`"):
            xr.open_dataset(url, engine="millibar", storage_options={"key": "x"})
    finally:
        server.shutdown()
        server.server_close()
