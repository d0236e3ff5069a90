"""Files in an object store: a local server that speaks the protocol of S3, and the command with its usual environment."""

import json
import logging
import os

import boto3
import pytest
from conftest import ROOT
from moto.server import ThreadedMotoServer

DAYS = ["20260401", "20260402", "20260403", "20260404"]
OPTIONS = ["variables=temperature_{level}hPa"]


class Requests(logging.Handler):
    """Notes what the server was asked."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())

    def take(self):
        lines, self.lines = self.lines, []
        return lines


@pytest.fixture(scope="module")
def store():
    """A bucket `weather` with the files of the examples in `2026/`; its environment, client, and what it is asked."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    requests = Requests()
    log = logging.getLogger("werkzeug")
    log.setLevel(logging.INFO)
    log.addHandler(requests)
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    client.create_bucket(Bucket="weather")
    for day in DAYS:
        name = f"temperature_{day}.tgm"
        client.upload_file(str(ROOT / "examples" / "data" / name), "weather", f"2026/{name}")
    client.put_object(Bucket="weather", Key="2026/note.txt", Body=b"not a message")
    environment = {**os.environ, **keys, "AWS_REGION": "us-east-1", "AWS_ENDPOINT": endpoint, "AWS_ALLOW_HTTP": "true"}
    requests.take()
    yield environment, client, requests
    log.removeHandler(requests)
    server.stop()


@pytest.fixture
def rows(millibar, store):
    """Rows of a query on a location, in the store's environment."""

    def rows(sql, location, *options):
        flags = [flag for option in options for flag in ("--option", option)]
        out = millibar.run("sql", "-q", "--format", "ndjson", "-c", sql, *flags, f"t={location}", env=store[0]).stdout
        return [json.loads(line) for line in out.splitlines() if line]

    return rows


def local(text):
    return text.replace("s3://weather/2026/", "examples/data/")


@pytest.mark.parametrize(
    "location",
    [
        "s3://weather/2026/temperature_20260402.tgm",
        "s3://weather/2026/temperature_{time:%Y%m%d}.tgm",
        "s3://weather/2026/temperature_{day}.tgm",
        "s3://weather/20?6/temperature_{time:%Y%m%d}.tgm",
    ],
)
def test_queries_answer_as_on_disk(rows, location):
    sql = "SELECT level, count(*) AS n, min(temperature) AS low, max(temperature) AS high FROM t GROUP BY level ORDER BY level"
    there = rows(sql, location, *OPTIONS)
    assert there == rows(sql, local(location.replace("20?6", "2026")), *OPTIONS)
    assert len(there) == 10


def test_folders_and_lists(rows, store):
    for key in ("folder/a.tgm", "folder/deeper/b.tgm"):
        store[1].upload_file(str(ROOT / "examples/data/temperature_20260401.tgm"), "weather", key)
    sql = 'SELECT count("temperature_500hPa") AS n FROM t'
    one = rows(sql, "examples/data/temperature_20260401.tgm")
    assert rows(sql, "s3://weather/folder/") == one
    both = "s3://weather/folder/a.tgm, s3://weather/folder/deeper/b.tgm"
    for location in (both, "s3://weather/folder/**/*.tgm"):
        assert rows(sql, location, "stack=file")[0]["n"] == 2 * one[0]["n"]


def test_tables_are_made_in_sql(millibar, store):
    sql = """
    CREATE EXTERNAL TABLE forecast STORED AS TENSOGRAM
    LOCATION 's3://weather/2026/temperature_{time:%Y%m%d}.tgm' OPTIONS (variables 'temperature_{level}hPa');
    SELECT count(DISTINCT time) AS days FROM forecast;
    """
    out = millibar.run("sql", "-q", "--format", "ndjson", "-c", sql, env=store[0]).stdout
    assert json.loads(out) == {"days": 4}
    info = json.loads(millibar.run("info", "--json", "s3://weather/2026/temperature_20260401.tgm", env=store[0]).stdout)
    assert info == json.loads(millibar.run("info", "--json", "examples/data/temperature_20260401.tgm").stdout) | {
        "path": info["path"], "files": info["files"]
    }


def test_an_index_in_the_store_spares_walking(millibar, store, rows):
    environment, client, requests = store
    location = "s3://weather/2026/temperature_20260403.tgm"
    sql = "SELECT count(*) AS n FROM t WHERE latitude > 0"
    before = rows(sql, location)
    requests.take()
    out = millibar.run("index", location, env=environment).stdout
    assert out.startswith(location + ".mbx: ")
    assert client.head_object(Bucket="weather", Key="2026/temperature_20260403.tgm.mbx")["ContentLength"] > 0
    requests.take()
    assert rows(sql, location, "index=require") == before
    assert len(requests.take()) == 2, "the index, and the state of the file"
    point = 'SELECT "temperature_500hPa" AS v FROM t LIMIT 1'
    assert rows(point, location, "index=require") == rows(point, local(location))
    # Another version: the index is stale.
    client.upload_file(str(ROOT / "examples/data/temperature_20260404.tgm"), "weather", "2026/temperature_20260403.tgm")
    failed = millibar.run("sql", "-c", sql, "--option", "index=require", f"t={location}", env=environment, check=False)
    assert failed.returncode == 1 and "has changed" in failed.stderr
    client.upload_file(str(ROOT / "examples/data/temperature_20260403.tgm"), "weather", "2026/temperature_20260403.tgm")
    client.delete_object(Bucket="weather", Key="2026/temperature_20260403.tgm.mbx")


@pytest.mark.parametrize(
    "location, said",
    [
        ("s3://weather/none.tgm", "there is no such file"),
        ("s3://weather/nothing/", "no file matches"),
        ("s3://weather/2026/x_{time:%Y}.tgm", "no file matches"),
        ("s3://nowhere/a.tgm", "s3://nowhere/a.tgm"),
        ("s3://weather/2026/note.txt", "no Tensogram message"),
        ("http://127.0.0.1:9/*.tgm", "web servers don't list"),
    ],
)
def test_what_is_wrong_is_said(millibar, store, location, said):
    failed = millibar.run("info", location, env=store[0], check=False)
    assert failed.returncode == 1 and said in failed.stderr, failed.stderr


def test_variables_of_the_environment_are_checked(millibar, store):
    environment = {**store[0], "MILLIBAR_REMOTE_TIMEOUT": "soon"}
    failed = millibar.run("info", "s3://weather/2026/temperature_20260401.tgm", env=environment, check=False)
    assert failed.returncode == 1 and "MILLIBAR_REMOTE_TIMEOUT" in failed.stderr


def test_options_stand_in_for_the_environment(millibar, store):
    bare = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    said = {"access_key_id": "test", "secret_access_key": "test", "region": "us-east-1", "endpoint": store[0]["AWS_ENDPOINT"]}
    flags = [flag for key, value in said.items() for flag in ("--option", f"aws.{key}={value}")]
    location = "s3://weather/2026/temperature_20260401.tgm"
    out = millibar.run("info", "--json", *flags, location, env=bare).stdout
    assert json.loads(out) == json.loads(millibar.run("info", "--json", location, env=store[0]).stdout)
    failed = millibar.run("info", *flags, "--option", "aws.regoin=x", location, env=bare, check=False)
    assert failed.returncode == 1 and "aws.regoin" in failed.stderr and "region" in failed.stderr
