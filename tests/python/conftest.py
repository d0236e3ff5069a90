"""Fixtures: the built binary, the corpus, and a running server."""

import json
import os
import pathlib
import signal
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = ROOT.parent / "shared" / "corpus"
FORECAST = "examples/data/temperature_{time:%Y%m%d}.tgm"


class Millibar:
    """The command, run from the top of the project."""

    def __init__(self, path):
        self.path = str(path)

    def run(self, *args, check=True, **kwargs):
        return subprocess.run([self.path, *args], cwd=ROOT, check=check, capture_output=True, text=True, timeout=300, **kwargs)

    def rows(self, sql, *tables, options=()):
        """The rows that `millibar sql` answers, as dicts."""
        flags = [f for option in options for f in ("--option", option)]
        out = self.run("sql", "-q", "--format", "ndjson", "-c", sql, *flags, *map(str, tables)).stdout
        return [json.loads(line) for line in out.splitlines() if line]

    def serve(self, *tables, options=()):
        flags = [f for option in options for f in ("--option", option)]
        return Server(self.path, flags + [str(t) for t in tables])


class Server:
    """A `millibar serve` on a port of the system's choice; stopped by SIGTERM."""

    def __init__(self, path, args):
        self.process = subprocess.Popen(
            [path, "serve", "--listen", "127.0.0.1:0", *args], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        assert line.startswith("listening on grpc://127.0.0.1:"), line + self.process.stderr.read()
        self.location = line.removeprefix("listening on ").strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0
        assert self.process.stdout.read() == "", "one line when ready, and nothing else"


@pytest.fixture(scope="session")
def millibar():
    default = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "millibar"
    path = pathlib.Path(os.environ.get("MILLIBAR", default))
    assert path.is_file(), f"no binary at {path}: run `make build`"
    return Millibar(path)


@pytest.fixture(scope="session")
def corpus():
    if not (CORPUS / "manifest.json").is_file():
        pytest.skip(f"no conformance corpus at {CORPUS}")
    return CORPUS


@pytest.fixture(scope="module")
def server(millibar):
    """Serves the forecast of the examples as `forecast`."""
    with millibar.serve(f"forecast={FORECAST}", options=["variables=temperature_{level}hPa"]) as server:
        yield server
