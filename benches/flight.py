"""Slabs over Flight against a bare server: python benches/flight.py [--megabytes N] [--repeat N] [--write]

One float32 variable, stored without a codec, is read to numpy by pyarrow over loopback: all endpoints of its path, one
after the other. The measure is a pyarrow Flight server that does nothing but send the same batches, which lie in its
memory. (Beside it, one that sends a single batch of 4 MB again and again, which stays in the processor's cache: what
the connection can do.) Servers are processes of their own; runs alternate, and what counts are medians: a bare run
takes anything from 0.17 to 0.4 s on the same machine.

--write puts the table into docs/performance.md, between its markers. Ends with an error where a bar is missed.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benches"))

import bars  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.flight as flight  # noqa: E402

FIELD = (721, 1440)
"""A field of a quarter of a degree: 3.96 MiB, one message."""
SHARE = 0.8
MARKS = ("<!-- flight -->\n", "<!-- end of flight -->\n")


class Bare(flight.FlightServerBase):
    """Sends batches that lie in its memory: those that Millibar sends, or the first of them again and again."""

    def __init__(self, path):
        super().__init__("grpc://127.0.0.1:0")
        self.batches = [batch(values) for values in fields_of(path)]

    def do_get(self, context, ticket):
        first, count, same = json.loads(ticket.ticket)
        batches = self.batches[first : first + count] if not same else self.batches[first : first + 1] * count
        return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(batches[0].schema, batches))


def batch(values):
    """One field as a tensor."""
    storage = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), FIELD[0] * FIELD[1])
    tensors = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), (1, *FIELD)), storage)
    return pa.record_batch([tensors], names=["values"])


def fields_of(path):
    """The fields of the file."""
    import tensogram

    file = tensogram.TensogramFile.open(str(path))
    for number in range(file.message_count()):
        yield file.decode_message(number).objects[0][1]


def write_file(path, fields):
    """Fields in one file, a message each, that the reference's package writes."""
    import tensogram

    rng = np.random.default_rng(1)
    partial = path.with_suffix(".partial")
    described = {
        "type": "ntensor", "ndim": 2, "shape": list(FIELD), "strides": [FIELD[1], 1], "dtype": "float32",
        "byte_order": "little", "encoding": "none", "filter": "none", "compression": "none",
    }  # fmt: skip
    with partial.open("wb") as file:
        for number in range(fields):
            file.write(tensogram.encode({"base": [{"name": "t", "step": number}]}, [(described, rng.random(FIELD, np.float32))]))
    partial.rename(path)


def started(args):
    process = subprocess.Popen(args, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    return process, line.removeprefix("listening on ").strip()


def read(client, tickets, out):
    """Seconds of reading all tickets into `out`, a field each."""
    start = time.perf_counter()
    at = 0
    for ticket in tickets:
        for chunk in client.do_get(ticket):
            values = chunk.data.column(0).to_numpy_ndarray()
            out[at] = values.ravel()[0] + values.ravel()[-1]
            at += 1
    assert at == len(out)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bare:
        server = Bare(args.bare)
        print(f"listening on grpc://127.0.0.1:{server.port}", flush=True)
        server.serve()
        return 0
    size = FIELD[0] * FIELD[1] * 4
    fields = max(args.megabytes * 1_000_000 // size, 1)
    folder = pathlib.Path(os.environ.get("MILLIBAR_BENCH", ROOT / "target" / "bench"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"flight-{fields}.tgm"
    if not path.exists():
        write_file(path, fields)
    default = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "millibar"
    binary = os.environ.get("MILLIBAR", str(default))
    ours, location = started([binary, "serve", "--listen", "127.0.0.1:0", "--log", "error", f"t={path}"])
    bare, other = started([sys.executable, __file__, "--bare", str(path)])
    out = np.empty(fields)
    try:
        client, peer = flight.connect(location), flight.connect(other)
        info = client.get_flight_info(flight.FlightDescriptor.for_path("t", "t"))
        assert len(info.endpoints) == fields, len(info.endpoints)
        chunks = [endpoint.ticket for endpoint in info.endpoints]
        whole = [flight.Ticket(json.dumps({"table": "t", "variable": "t"}).encode())]
        ticket = lambda *what: flight.Ticket(json.dumps(what).encode())  # noqa: E731
        runs = {
            "a stream for each chunk": (
                lambda: read(client, chunks, out),
                lambda: read(peer, [ticket(number, 1, False) for number in range(fields)], out),
                lambda: read(peer, [ticket(0, 1, True)] * fields, out),
            ),
            "one stream": (
                lambda: read(client, whole, out),
                lambda: read(peer, [ticket(0, fields, False)], out),
                lambda: read(peer, [ticket(0, fields, True)], out),
            ),
        }
        seconds = {name: [[] for _ in three] for name, three in runs.items()}
        for _ in range(args.repeat):
            for name, three in runs.items():
                for known, run in zip(seconds[name], three):
                    known.append(run())
    finally:
        for process in (ours, bare):
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)
    rate = fields * size / 1e9
    lines = ["| 1 GB of float32 to numpy | millibar | the same from memory | share | one batch again and again |", "| --- | ---: | ---: | ---: | ---: |"]
    checks = []
    for name, runs in seconds.items():
        mine, theirs, cached = map(statistics.median, runs)
        lines.append(f"| {name} | {rate / mine:.2f} GB/s | {rate / theirs:.2f} GB/s | {theirs / mine:.0%} | {rate / cached:.2f} GB/s |")
        checks.append(bars.Check("slabs over Flight", name, f">= {SHARE:.0%}", f"{theirs / mine:.0%}", theirs / mine / SHARE))
    table = "\n".join(lines) + "\n"
    print(table)
    if args.write:
        page = ROOT / "docs" / "performance.md"
        before, rest = page.read_text().split(MARKS[0])
        page.write_text(before + MARKS[0] + table + MARKS[1] + rest.split(MARKS[1])[1])
    missed = [check for check in checks if not check.holds]
    for check in missed:
        print(f"missed: {check.query}: {check.measured}, wanted {check.wanted}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
