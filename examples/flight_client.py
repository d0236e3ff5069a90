"""Asks a Millibar server one question with plain pyarrow: python flight_client.py grpc://HOST:PORT [SQL]"""

import sys

import pyarrow.flight as flight


def query(location, sql):
    """The answer to `sql` as a pyarrow table."""
    with flight.connect(location) as client:
        info = client.get_flight_info(flight.FlightDescriptor.for_command(sql.encode()))
        return client.do_get(info.endpoints[0].ticket).read_all()


if __name__ == "__main__":
    sql = sys.argv[2] if len(sys.argv) > 2 else "SELECT mean(temperature) FROM forecast WHERE level = 500"
    print(sql)
    for row in query(sys.argv[1], sql).to_pylist():
        print("  ".join(f"{name} = {value}" for name, value in row.items()))
