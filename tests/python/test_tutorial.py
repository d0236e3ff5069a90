"""The tutorial: dask on the reference, on our files and on our server, and SQL, give the same answers."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

QUESTIONS = {"everything": 4 * 10 * 36 * 72, "a point": 4 * 10, "a level": 4 * 36 * 72, "a band": 4 * 10 * 4 * 72}
WAYS = ["dask on tensogram-xarray", "dask on millibar", "dask on a server", "SQL"]


def agree(found, expected):
    assert found[0] == expected[0]
    assert np.float32(found[1]) == np.float32(expected[1])
    assert np.float32(found[2]) == np.float32(expected[2])
    assert math.isclose(found[3], expected[3], rel_tol=1e-12)
    assert math.isclose(found[4], expected[4], rel_tol=1e-12)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes", "distributed"])
def test_four_ways_agree(scheduler, server):
    done = subprocess.run(
        [sys.executable, "examples/dask_tutorial.py", "--scheduler", scheduler, "--server", server.location],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 0, done.stderr
    table = {}
    for line in done.stdout.splitlines()[1:]:
        table.setdefault(line[:12].strip(), {})[line[12:38].strip()] = [float(text) for text in line[38:].split()]
    assert list(table) == list(QUESTIONS)
    for question, ways in table.items():
        assert list(ways) == WAYS
        assert ways["SQL"][0] == QUESTIONS[question]
        for way in WAYS[1:]:
            agree(ways[way], ways[WAYS[0]])


def test_its_sql_runs_in_the_shell(millibar):
    out = millibar.run("sql", "-q", "--format", "ndjson", "-f", "examples/tutorial.sql").stdout
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["count"] for row in rows] == list(QUESTIONS.values())
