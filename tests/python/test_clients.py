"""Real clients of a running server: pyarrow.flight and ADBC."""

from concurrent.futures import ThreadPoolExecutor

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.flight as flight
import pytest

MEAN = "SELECT mean(temperature) AS mean FROM forecast WHERE level = 500"


def ask(client, sql):
    info = client.get_flight_info(flight.FlightDescriptor.for_command(sql.encode()))
    return client.do_get(info.endpoints[0].ticket).read_all()


@pytest.fixture
def client(server):
    with flight.connect(server.location) as client:
        yield client


def test_sql_by_command(client):
    table = ask(client, MEAN)
    assert table.num_rows == 1
    assert 240 < table["mean"][0].as_py() < 270


def test_schema_before_data(client):
    descriptor = flight.FlightDescriptor.for_command(MEAN.encode())
    schema = client.get_schema(descriptor).schema
    assert schema.field("mean").type == pa.float64()
    assert client.get_flight_info(descriptor).schema == schema
    assert ask(client, MEAN + " AND latitude > 100").schema == schema


def test_tickets_serve_twice(client):
    ticket = client.get_flight_info(flight.FlightDescriptor.for_command(MEAN.encode())).endpoints[0].ticket
    assert client.do_get(ticket).read_all() == client.do_get(ticket).read_all()


def test_tables_are_listed_and_described(client):
    listed = {info.descriptor.path[-1]: info for info in client.list_flights()}
    assert b"forecast" in listed
    info = client.get_flight_info(flight.FlightDescriptor.for_path("forecast"))
    assert info.schema.names == ["time", "level", "latitude", "longitude"]
    assert client.do_get(info.endpoints[0].ticket).read_all().num_rows == 1


def test_rows_arrive_as_they_are_made(client):
    """All 103,680 rows in batches that fit gRPC's default limit of 4 MiB a message."""
    info = client.get_flight_info(flight.FlightDescriptor.for_command(b"SELECT * FROM forecast"))
    sizes = [chunk.data.nbytes for chunk in client.do_get(info.endpoints[0].ticket)]
    assert len(sizes) > 1 and max(sizes) < 4 << 20


@pytest.mark.parametrize(
    ("sql", "error", "words"),
    [
        ("SELEC 1", pa.ArrowInvalid, "SELEC"),
        ("SELECT nothing FROM forecast", pa.ArrowInvalid, "nothing"),
        ("SELECT * FROM absent", pa.ArrowKeyError, "absent"),
        ("DROP TABLE forecast", flight.FlightUnauthorizedError, "can only read"),
    ],
)
def test_errors_are_statuses_with_the_words_of_the_engine(client, sql, error, words):
    with pytest.raises(error, match=words):
        ask(client, sql)
    assert ask(client, "SELECT 1 AS one")["one"].to_pylist() == [1], "the server goes on"


def test_a_damaged_ticket_is_refused(client):
    with pytest.raises(pa.ArrowInvalid):
        client.do_get(flight.Ticket(b"\xff\x00garbage")).read_all()


def test_many_clients(server):
    def one(_):
        with flight.connect(server.location) as client:
            return ask(client, MEAN)["mean"][0].as_py()

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(one, range(64)))) == 1


def test_adbc(server):
    with adbc.connect(server.location.replace("grpc://", "grpc+tcp://")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT level, count(*) AS n, mean(temperature) AS mean FROM forecast GROUP BY level ORDER BY level")
        rows = cursor.fetchall()
        assert [row[0] for row in rows] == [50, 100, 200, 300, 400, 500, 700, 850, 925, 1000]
        assert all(row[1] == 4 * 36 * 72 for row in rows)
        cursor.execute("SELECT * FROM forecast WHERE level = 500")
        assert cursor.fetch_arrow_table().num_rows == 4 * 36 * 72
        with pytest.raises(adbc.Error, match="nothing"):
            cursor.execute("SELECT nothing FROM forecast")
