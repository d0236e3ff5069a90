"""Every command and snippet of the README and of docs/ is run, and says what the page says it does.

A fence tagged `console` holds `$ command` lines and what they print, `sql` holds statements (those of one page run in one
session, in order), `python` runs as it is, with `location` naming a running server of the forecast. Other tags are not run.
"""

import os
import pathlib
import re
import subprocess

import pytest
from conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def fences(page, tag):
    return [body for found, body in FENCE.findall(page.read_text()) if found == tag]


def pages_with(tag):
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES if fences(page, tag)]


def environment(millibar):
    folder = str(pathlib.Path(millibar.path).parent)
    return {**os.environ, "PATH": folder + os.pathsep + os.environ["PATH"]}


def commands(body):
    """`[(command, printed)]` of a console fence; a command goes on after a trailing backslash."""
    found = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append([line[2:], ""])
        elif found and found[-1][0].endswith("\\"):
            found[-1][0] += "\n" + line
        else:
            assert found, f"printed before any command: {line}"
            found[-1][1] += line + "\n"
    return found


def comparable(text):
    """What must be equal: not times, nor the space at the end of lines."""
    text = re.sub(r"in [0-9.]+ seconds", "in ... seconds", text)
    text = re.sub(r"\b[0-9.]+(ns|µs|ms|s)\b", "...", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


@pytest.mark.parametrize("page", pages_with("console"))
def test_commands_print_what_the_page_says(page, millibar):
    for body in fences(page, "console"):
        for command, printed in commands(body):
            if command.startswith(("make ", "git ", "cd ")):
                continue  # this very run is `make test`; the demo has a test of its own
            done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment(millibar), capture_output=True, text=True, timeout=300)
            assert comparable(done.stdout + done.stderr) == comparable(printed), command


@pytest.mark.parametrize("page", pages_with("sql"))
def test_statements_run(page, millibar):
    script = ";\n".join(body.strip().rstrip(";") for body in fences(page, "sql")) + ";\n"
    done = subprocess.run([millibar.path, "sql", "-q", "-f", "/dev/stdin"], cwd=ROOT, input=script, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_runs(page, server):
    names = {"location": server.location}
    for body in fences(page, "python"):
        exec(compile(body, str(page), "exec"), names)  # noqa: S102


def test_demo(millibar):
    done = subprocess.run([str(ROOT / "scripts" / "demo")], cwd=ROOT, env={**environment(millibar), "MILLIBAR": millibar.path},
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("mean(forecast.temperature)") + done.stdout.count("avg(forecast.temperature)") >= 3, done.stdout
    assert "listening" not in done.stdout


def test_help_names_every_command(millibar):
    out = millibar.run("--help").stdout
    for command in ("sql", "serve", "info", "export"):
        assert command in out
        assert millibar.run(command, "--help").stdout.startswith(("Usage", "Run", "Serve", "Show", "Write", "Ask", "Answer", "Describe", "Export"))
