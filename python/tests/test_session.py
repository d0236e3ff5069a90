"""Sessions: statements, registration, settings, errors."""

import os
import pathlib
import subprocess
import sys
import textwrap

import millibar
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FORECAST = str(ROOT / "examples/data/temperature_{time:%Y%m%d}.tgm")
DAY = str(ROOT / "examples/data/temperature_20260401.tgm")


@pytest.fixture
def session():
    with millibar.connect() as session:
        session.register("forecast", FORECAST, variables="temperature_{level}hPa")
        yield session


def one(result):
    (row,) = result.to_arrow().to_pylist()
    return next(iter(row.values()))


def test_the_module_asks_files():
    assert millibar.__version__ == millibar._millibar.__version__
    assert one(millibar.sql(f"SELECT count(*) FROM '{DAY}'")) == 36 * 72


def test_tensors_are_registered_by_path_pattern_and_list(session):
    assert one(session.sql("SELECT count(temperature) FROM forecast")) == 4 * 10 * 36 * 72
    days = [ROOT / f"examples/data/temperature_2026040{day}.tgm" for day in (1, 2)]
    assert session.register("two", days, stack=["file"], variables=["temperature_500hPa"]) == ["two"]
    assert one(session.sql('SELECT count("temperature_500hPa") FROM two')) == 2 * 36 * 72


def test_names_are_taken_once_unless_replaced(session):
    with pytest.raises(millibar.QueryError, match="already a table `forecast`"):
        session.register("forecast", DAY)
    assert session.register("forecast", DAY, replace=True) == ["forecast"]
    assert "temperature" not in session.sql("SELECT * FROM forecast").schema.names
    frame = pd.DataFrame({"x": [1]})
    with pytest.raises(millibar.QueryError, match="already"):
        session.register("forecast", frame)
    session.register("forecast", frame, replace=True)
    assert one(session.sql("SELECT x FROM forecast")) == 1
    session.deregister("forecast")
    with pytest.raises(millibar.QueryError, match="forecast"):
        session.sql("SELECT * FROM forecast")
    with pytest.raises(millibar.QueryError, match="no table `forecast`"):
        session.deregister("forecast")


STATIONS = {"name": ["a", "b", None], "latitude": [2.5, 47.5, 87.5], "longitude": [5.0, 15.0, 355.0]}


@pytest.mark.parametrize("kind", ["arrow", "pandas", "polars", "lazy", "dataset", "parquet", "csv", "result", "reader"])
def test_tables_join_with_tensors(session, tmp_path, kind):
    arrow = pa.table(STATIONS)
    pa.parquet.write_table(arrow, tmp_path / "s.parquet")
    pl.DataFrame(STATIONS).write_csv(tmp_path / "s.csv")
    other = millibar.connect()
    other.register("s", arrow)
    source = {
        "arrow": lambda: arrow,
        "pandas": lambda: pd.DataFrame(STATIONS),
        "polars": lambda: pl.DataFrame(STATIONS),
        "lazy": lambda: pl.LazyFrame(STATIONS),
        "dataset": lambda: pa.dataset.dataset(tmp_path / "s.parquet"),
        "parquet": lambda: tmp_path / "s.parquet",
        "csv": lambda: str(tmp_path / "s.csv"),
        "result": lambda: other.sql("SELECT * FROM s"),
        "reader": lambda: arrow.to_reader(),
    }[kind]()
    assert session.register("stations", source) == ["stations"]
    for _ in range(2):
        assert one(session.sql("SELECT count(*) FROM stations")) == 3
        assert one(session.sql("SELECT count(name) FROM stations")) == 2
    joined = session.sql(
        "SELECT name, mean(temperature) AS mean FROM forecast JOIN stations USING (latitude, longitude) "
        "WHERE level = 500 GROUP BY name ORDER BY name"
    ).to_arrow()
    assert joined.column("name").to_pylist() == ["a", "b", None]
    expected = session.sql("SELECT mean(temperature) FROM forecast WHERE level = 500 AND latitude = 47.5 AND longitude = 15")
    assert joined.column("mean")[1].as_py() == pytest.approx(one(expected), rel=1e-12)


def test_a_dataset_is_asked_for_the_columns_that_are_needed_only():
    asked = []

    class Watched:
        schema = pa.schema([("x", pa.int64()), ("y", pa.string())])

        def scanner(self, columns):
            asked.append(columns)
            return pa.dataset.dataset(pa.table({"x": [1, 2], "y": ["a", "b"]})).scanner(columns=columns)

    session = millibar.connect()
    session.register("t", Watched())
    assert one(session.sql("SELECT sum(x) FROM t")) == 3
    assert asked == [["x"]]
    assert one(session.sql("SELECT count(*) FROM t")) == 2


def test_an_index_of_pandas_is_kept_unless_it_counts(session):
    session.register("named", pd.DataFrame({"x": [1, 2]}, index=pd.Index(["a", "b"], name="key")))
    assert session.sql("SELECT * FROM named").schema.names == ["x", "key"]
    session.register("plain", pd.DataFrame({"x": [1, 2]}))
    assert session.sql("SELECT * FROM plain").schema.names == ["x"]


def test_csv_takes_options(session, tmp_path):
    (tmp_path / "t.csv").write_text("1;2\n3;4\n")
    session.register("t", tmp_path / "t.csv", has_header=False, delimiter=";")
    assert session.sql("SELECT * FROM t").to_arrow().num_rows == 2
    (tmp_path / "t.data").write_text("x\n1\n")
    session.register("u", tmp_path / "t.data", format="csv")
    assert one(session.sql("SELECT x FROM u")) == 1


@pytest.mark.parametrize(
    ("source", "options", "kinds", "words"),
    [
        ("nowhere.tgm", {}, (millibar.FileError, FileNotFoundError), "nowhere.tgm"),
        (DAY, {"nope": 1}, (millibar.OptionError, TypeError, ValueError), "no option `nope`; there are variables"),
        (DAY, {"missing": "maybe"}, (millibar.OptionError, ValueError), "expected error or null"),
        (DAY, {"message_index": 7}, (millibar.OutOfRangeError, ValueError), "temperature_20260401.tgm, message 7"),
        (DAY, {"dim_names": ["a"]}, (millibar.OptionError, ValueError), "dim_names"),
        (pa.table({"x": [1]}), {"variables": "x"}, (millibar.OptionError, TypeError), "options are for files"),
        (3, {}, (TypeError,), "int is no table"),
        (["a.csv", "b.parquet"], {}, (millibar.OptionError,), "several formats"),
        ("x.csv", {"nope": True}, (millibar.OptionError, ValueError), "nope"),
    ],
)
def test_what_cant_be_registered_says_why(session, source, options, kinds, words):
    with pytest.raises(kinds[0], match=words) as caught:
        session.register("t", source, **options)
    for kind in kinds:
        assert isinstance(caught.value, kind)


def test_errors_say_where(tmp_path, session):
    whole = pathlib.Path(DAY).read_bytes()
    broken = tmp_path / "broken.tgm"
    broken.write_bytes(whole[:24] + b"\xff" * 64 + whole[88:])
    with pytest.raises(millibar.FormatError) as caught:
        session.register("t", broken)
    assert caught.value.file == str(broken)
    assert caught.value.message == 0
    assert str(caught.value).startswith(f"{broken}, message 0")
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT nope(1)", "SELECT x FROM forecast", "", "SELECT 1; SELEC"])
def test_bad_sql(session, sql):
    with pytest.raises(millibar.QueryError):
        session.sql(sql)
    with pytest.raises(ValueError):
        session.sql(sql)


def test_values_that_dont_compute(session):
    result = session.sql("SELECT 1 / (value - 5) FROM generate_series(1, 10)")
    for use in (lambda: result.to_arrow(), lambda: list(result), lambda: repr(result), lambda: result.to_pandas()):
        with pytest.raises(millibar.QueryError, match="[Dd]ivide by zero"):
            use()
    with pytest.raises(Exception, match="[Dd]ivide by zero"):
        pa.table(result)
    with pytest.raises(OverflowError, match="overflows"):
        session.sql("SELECT sum(x) FROM (VALUES (9223372036854775807), (1)) t(x)").to_arrow()


def test_scripts_run_up_to_their_last_statement(session, tmp_path):
    out = tmp_path / "out.parquet"
    rows = session.sql(f"SET datafusion.execution.batch_size = 100; COPY (SELECT * FROM forecast) TO '{out}'")
    assert pa.parquet.read_metadata(out).num_rows == 4 * 10 * 36 * 72
    out.unlink()
    assert rows.to_arrow().to_pydict() == {"count": [4 * 10 * 36 * 72]}
    assert not out.exists(), "done once"
    assert max(batch.num_rows for batch in session.sql("SELECT * FROM forecast")) == 100


def test_ddl_as_in_the_shell(session):
    session.sql((ROOT / "examples/forecast.sql").read_text().replace("examples/data", str(ROOT / "examples/data")).replace("forecast ", "other "))


def test_settings():
    session = millibar.connect(threads=1, settings={"millibar.nan_as_null": False, "datafusion.execution.batch_size": 7})
    shown = {row["name"]: row["value"] for row in session.sql("SHOW ALL").to_arrow().to_pylist()}
    assert shown["millibar.nan_as_null"] == "false"
    assert shown["datafusion.execution.target_partitions"] == "1"
    assert shown["datafusion.execution.batch_size"] == "7"
    for bad in ({"millibar.nope": 1}, {"millibar.range_threshold": 2}, {"datafusion.execution.batch_size": "x"}):
        with pytest.raises(millibar.Error):
            millibar.connect(settings=bad)
    with pytest.raises(millibar.OptionError, match="threads"):
        millibar.connect(threads=0)


def test_the_memory_limit_is_a_memory_error():
    session = millibar.connect(memory_limit="1M", threads=1)
    with pytest.raises(MemoryError) as caught:
        session.sql("SELECT array_agg(value) FROM generate_series(1, 10000000)").to_arrow()
    assert isinstance(caught.value, millibar.MemoryLimitError)
    for bad in ("", "4X", "-1", 0, "0"):
        with pytest.raises(millibar.OptionError, match="memory_limit"):
            millibar.connect(memory_limit=bad)


def run(script, **options):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120, **options)


@pytest.mark.parametrize("use", ["to_arrow()", "to_pandas()", "explain(analyze=True)", "__repr__()"])
def test_ctrl_c_stops_a_query_and_the_session_lives(use):
    done = run(f"""
        import millibar, os, signal, threading, time
        session = millibar.connect()
        slow = session.sql(
            "SELECT count(*) FROM generate_series(1, 2000000) a(x), generate_series(1, 2000000) b(y) WHERE x * y % 7 = 3"
        )
        threading.Timer(0.7, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        start = time.monotonic()
        try:
            slow.{use}
        except KeyboardInterrupt:
            took = time.monotonic() - start
            assert took < 3, took
            assert session.sql("SELECT 1 AS x").to_arrow().to_pydict() == {{"x": [1]}}
            print("stopped")
    """)
    assert done.stdout == "stopped\n", done.stderr


def test_ctrl_c_reaches_readers_of_the_stream():
    done = run("""
        import millibar, os, pyarrow, signal, threading
        slow = millibar.sql(
            "SELECT count(*) FROM generate_series(1, 2000000) a(x), generate_series(1, 2000000) b(y) WHERE x * y % 7 = 3"
        )
        threading.Timer(0.7, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        try:
            pyarrow.table(slow)
        except pyarrow.ArrowInvalid as e:
            print(e)
        assert millibar.sql("SELECT 1 AS x").to_arrow().to_pydict() == {"x": [1]}
    """)
    assert done.stdout == "External error: interrupted by Ctrl-C\n", done.stderr


def test_other_threads_run_meanwhile():
    done = run("""
        import millibar, threading, time
        counted = 0
        def count():
            global counted
            while not over:
                counted += 1
                time.sleep(0.001)
        over = False
        thread = threading.Thread(target=count); thread.start()
        millibar.sql("SELECT count(*) FROM generate_series(1, 3000) a(x), generate_series(1, 30000) b(y) WHERE x * y % 7 = 3").to_arrow()
        over = True; thread.join()
        print(counted > 20)
    """)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_children_make_threads_of_their_own():
    done = run(f"""
        import millibar, multiprocessing, os, sys, warnings
        warnings.simplefilter("ignore")
        session = millibar.connect()
        session.register("t", {DAY!r})
        ask = 'SELECT sum("temperature_500hPa") AS s FROM t'
        here = session.sql(ask).to_arrow()
        module = millibar.sql("SELECT 1 AS x").to_arrow()
        left = iter(session.sql("SELECT * FROM generate_series(1, 100000000)"))
        next(left)  # a run that the children inherit

        def child(_):
            try:
                next(left)
            except millibar.Error as error:
                assert "forked" in str(error)
            else:
                raise AssertionError
            assert session.sql(ask).to_arrow().schema == here.schema
            assert millibar.sql("SELECT 1 AS x").to_arrow() == module
            return millibar.sql('SELECT sum("temperature_500hPa") AS s FROM \\'{DAY}\\'').to_arrow().to_pydict()["s"][0]

        with multiprocessing.get_context("fork").Pool(2) as pool:
            sums = pool.map_async(child, range(1), chunksize=1).get(timeout=60)
        assert all(abs(s - here.to_pydict()["s"][0]) < 1e-6 for s in sums), sums
        assert session.sql(ask).to_arrow().num_rows == 1
        print("done")
    """)
    assert done.stdout == "done\n", done.stderr


def test_logging_says_which_reads_were_partial(caplog):
    session = millibar.connect()
    session.register("t", DAY)
    point = 'SELECT "temperature_500hPa" FROM t WHERE latitude = 2.5 AND longitude = 5'
    session.sql(point).to_arrow()
    assert not caplog.records
    with caplog.at_level("DEBUG", logger="millibar"):
        session.sql(point).to_arrow()
        session.sql('SELECT "temperature_500hPa" FROM t').to_arrow()
    said = [record.getMessage() for record in caplog.records]
    assert any("partial read: 1 of 2592 elements" in text for text in said), said
    assert any("full read: 2592 of 2592 elements" in text for text in said), said
    assert all(record.name.startswith("millibar") for record in caplog.records)
    caplog.clear()
    session.sql(point).to_arrow()
    assert not caplog.records
