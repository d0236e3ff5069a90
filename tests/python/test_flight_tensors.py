"""Tensors over Flight to real pyarrow: every array of the corpus, bit by bit, and what a client sees of the protocol."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.flight as flight
import pytest
import tensogram

FOLDERS = ("codecs", "dtypes", "masks", "packing", "shapes", "shuffle")


@pytest.fixture
def client(server):
    with flight.connect(server.location) as client:
        yield client


def described(schema):
    return json.loads(schema.metadata[b"millibar"])


def slab(client, ticket):
    """The values behind a ticket, as they travelled."""
    reader = client.do_get(ticket if isinstance(ticket, flight.Ticket) else flight.Ticket(ticket))
    shape = described(reader.schema)["shape"]
    pieces = [chunk.data.column(0).to_numpy_ndarray().ravel() for chunk in reader]
    flat = np.concatenate(pieces) if pieces else np.empty(0)
    pair = [2] if flat.size == 2 * math.prod(shape) > 0 else []
    return flat.reshape(shape + pair)


def variable(client, table, name):
    """A whole variable, put together from its endpoints."""
    info = client.get_flight_info(flight.FlightDescriptor.for_path(table, name))
    said = described(info.schema)
    whole = None
    for endpoint in info.endpoints:
        block = json.loads(endpoint.app_metadata)
        values = slab(client, endpoint.ticket)
        assert list(values.shape[: len(block["shape"])]) == block["shape"]
        if whole is None:
            whole = np.empty(said["shape"] + list(values.shape[len(block["shape"]) :]), values.dtype)
        whole[tuple(slice(at, at + size) for at, size in zip(block["start"], block["shape"]))] = values
    return whole


def objects(corpus):
    manifest = json.loads((corpus / "manifest.json").read_text())
    for file in manifest["files"]:
        if file.get("strict") and file.get("message_count") == 1 and file["path"].split("/")[0] in FOLDERS:
            for found in file["messages"][0]["objects"]:
                if found.get("expected", {}).get("npy") and found.get("tolerance") == 0:
                    yield file["path"], found


def test_every_dtype_of_the_corpus_arrives_bit_by_bit(millibar, corpus):
    """Files of one exact object, each under a name of its own on one server; what the reference decoded is the measure."""
    single = {}
    for path, found in objects(corpus):
        single.setdefault(path, []).append(found)
    single = {path: found[0] for path, found in single.items() if len(found) == 1 and 0 not in found[0]["shape"]}
    wanted = {f"t{number}": (path, found) for number, (path, found) in enumerate(sorted(single.items()))}
    dtypes = set()
    with millibar.serve(*(f"{table}={corpus / path}" for table, (path, _) in wanted.items())) as server:
        with flight.connect(server.location) as client:
            for table, (path, found) in wanted.items():
                about = described(client.get_flight_info(flight.FlightDescriptor.for_path(table)).schema)
                if not about["variables"]:
                    continue  # a coordinate alone
                got = variable(client, table, about["variables"][0]["name"])
                expected = np.load(corpus / found["expected"]["npy"])
                if found["dtype"] == "bitmask":
                    bits = np.unpackbits(expected.view(np.uint8).ravel())[: math.prod(found["shape"])]
                    assert np.array_equal(got.ravel(), bits), path
                else:
                    assert got.tobytes() == expected.astype(expected.dtype.newbyteorder("<")).tobytes(), path
                dtypes.add(found["dtype"])
    assert len(dtypes) == 15, dtypes


def test_a_block_is_lent_to_numpy(client):
    info = client.get_flight_info(flight.FlightDescriptor.for_path("forecast", "temperature"))
    batch = client.do_get(info.endpoints[0].ticket).read_all().combine_chunks()
    column = batch.column(0).chunk(0)
    assert column.type == pa.fixed_shape_tensor(pa.float32(), [1, 1, 36, 72], dim_names=["time", "level", "latitude", "longitude"])
    values = column.to_numpy_ndarray()
    assert values.shape == (1, 1, 1, 36, 72)
    assert values.ctypes.data == column.storage.flatten().buffers()[1].address, "it was copied"


def test_the_cells_are_those_of_sql(client):
    got = variable(client, "forecast", "temperature")
    info = client.get_flight_info(flight.FlightDescriptor.for_path("forecast"))
    coords = client.do_get(info.endpoints[0].ticket).read_all()
    sql = b"SELECT temperature FROM forecast ORDER BY time, level, latitude, longitude"
    info = client.get_flight_info(flight.FlightDescriptor.for_command(sql))
    rows = client.do_get(info.endpoints[0].ticket).read_all()["temperature"].to_numpy()
    for axis, dim in enumerate(coords.column_names):
        got = got.take(np.argsort(coords[dim].combine_chunks().flatten().to_numpy()), axis=axis)
    assert got.shape == (4, 10, 36, 72)
    assert np.array_equal(got.ravel(), rows)


def test_coords_and_descriptions(client):
    info = client.get_flight_info(flight.FlightDescriptor.for_path("forecast"))
    about = described(info.schema)
    table = client.do_get(info.endpoints[0].ticket).read_all()
    for dim in about["dims"]:
        labels = pa.compute.list_flatten(table[dim["name"]])
        assert len(labels) == dim["size"]
        assert labels.type == pa.type_for_alias(dim["type"])
    assert [v["name"] for v in about["variables"]] == ["temperature"]


def test_a_request_is_a_ticket_too(client):
    request = {
        "table": "forecast",
        "variable": "temperature",
        "select": {"level": {"index": [3]}, "latitude": {"from": -30, "to": 30}, "longitude": {"step": 10}},
    }
    got = slab(client, json.dumps(request).encode())
    info = client.get_flight_info(flight.FlightDescriptor.for_command(json.dumps({**request, "chunks": "whole"}).encode()))
    assert len(info.endpoints) == 1
    assert np.array_equal(got, slab(client, info.endpoints[0].ticket))
    assert np.array_equal(got, variable(client, "forecast", "temperature")[:, 3:4, 12:24, ::10])


@pytest.mark.parametrize(
    ("ticket", "words"),
    [
        (b"{", "EOF"),
        (b'{"table": "forecast", "variable": "temperature", "step": 2}', "unknown field `step`"),
        (b'{"table": "forecast", "variable": "temperature", "select": {"level": {"start": 1, "index": [1]}}}', "level"),
        (b"\xa1\x67version\x09", "version 9"),
        (b"nonsense", "the ticket"),
    ],
)
def test_what_is_wrong_is_an_argument(client, ticket, words):
    with pytest.raises(pa.ArrowInvalid, match=words):
        client.do_get(flight.Ticket(ticket)).read_all()


def test_an_error_ends_a_message_that_was_begun(millibar, tmp_path):
    """Two files in one message, the second of which is gone when its values are read: the first are on their way."""
    for time in range(2):
        described = dict(type="ntensor", shape=[400, 256], dtype="float32")
        values = np.full((400, 256), time, np.float32)
        (tmp_path / f"{time}.tgm").write_bytes(tensogram.encode({"base": [{"name": "v", "time": time}]}, [(described, values)]))
    with millibar.serve(f"t={tmp_path}/*.tgm") as server, flight.connect(server.location) as client:
        ticket = json.dumps({"table": "t", "variable": "v"})
        assert np.array_equal(slab(client, ticket)[:, 7, 7], [0, 1])
        (tmp_path / "1.tgm").unlink()
        with pytest.raises(pa.ArrowInvalid, match="removed since it was opened"):
            slab(client, ticket)
        (cost,) = [chunk.app_metadata for chunk in client.do_get(flight.Ticket(json.dumps({"table": "t", "variable": "v", "select": {"time": {"index": [0]}}})))]
        assert json.loads(cost.to_pybytes())["objects_opened"] == 1
