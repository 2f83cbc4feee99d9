"""``gpumask batch`` as a process: its streams, and the folder it is started in."""

import csv
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from batches import FLAGS, GPUMASK, MASK, block, maps, rows

import gpumask as gm
from gpumask.batching import pools, resources
from gpumask.cli import main
from gpumask.errors import OutOfMemory, UsageError

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(gm.__file__).parents[1])}


def shell(words, more, folder):
    """The exit code of `gpumask WORDS MORE`, where MORE is of a shell."""
    command = ["sh", "-c", f'"$@" {more}', "sh", *GPUMASK, *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, timeout=120)
    assert b"Traceback" not in done.stdout + done.stderr
    return done.returncode


@pytest.mark.parametrize("progress", ["auto", "json"])
def test_progress_that_no_one_reads_does_not_end_the_work(tmp_path, progress):
    paths = maps(tmp_path / "maps", 3)
    paths[1].write_bytes(b"no map")
    words = ["batch", "maps", "-o", "out", "--progress", progress, *FLAGS]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as stderr:
        done = subprocess.run([*GPUMASK, *words], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=stderr)
    assert done.returncode == 1  # one failed
    assert sorted(row["status"] for row in rows(tmp_path / "out")) == ["done", "done", "failed"]


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_cost_no_work(tmp_path, closed):
    maps(tmp_path / "maps", 2)
    assert shell(["batch", "maps", "-o", "out", *FLAGS], closed, tmp_path) == 0
    assert [row["status"] for row in rows(tmp_path / "out")] == ["done", "done"]


@pytest.mark.parametrize("words, code", [(["inspect", "maps/map000.mrc"], 0), (["inspect", "maps/none.mrc"], 3)])
def test_exit_codes_hold_where_no_one_listens(tmp_path, words, code):
    maps(tmp_path / "maps", 1)
    assert shell(words, ">&- 2>&-", tmp_path) == code
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as gone:
        done = subprocess.run([*GPUMASK, *words], cwd=tmp_path, env=ENVIRONMENT, stdout=gone, stderr=gone)
    assert done.returncode == code


def test_the_current_folder_holds_no_modules_for_workers(tmp_path):
    maps(tmp_path, 1)
    (tmp_path / "json.py").write_text("raise ImportError('not that of Python')")
    code = "import sys; sys.path.remove(''); from gpumask.cli import main; sys.exit(main())"
    words = ["batch", "*.mrc", "-o", "out", *FLAGS]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, timeout=120
    )
    assert (done.returncode, done.stderr.count(b"Error")) == (0, 0)


def test_a_path_among_the_folders_of_modules(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])
    assert gm.batch(maps(tmp_path / "maps", 1), tmp_path / "out", **MASK)["done"] == 1


def test_a_merge_counts_the_failures_that_it_does_not_list(tmp_path):
    for path in maps(tmp_path / "maps", 25):
        path.write_bytes(b"no map")
    words = ["-o", "out"]
    for shard in ("1/2", "2/2"):
        assert shell(["batch", "maps", *words, "--shard", shard, *FLAGS], "", tmp_path) == 1
    done = subprocess.run([*GPUMASK, "batch", "--merge", *words], cwd=tmp_path, env=ENVIRONMENT, capture_output=True)
    assert done.returncode == 1
    assert done.stdout.count(b"not an MRC file") == 20
    assert b"and 5 more, see summary.csv" in done.stdout


def test_a_shard_without_items_has_a_table(tmp_path):
    maps(tmp_path / "maps", 1)
    words = [*GPUMASK, "batch", "maps", "-o", "out", "--shard", "2/2", "--dry-run", *FLAGS]
    done = subprocess.run(words, cwd=tmp_path, env=ENVIRONMENT, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"planned  0\n")


def test_a_dry_run_names_what_would_be_done_and_what_would_not(tmp_path):
    paths, out = maps(tmp_path / "maps", 5), tmp_path / "out"
    gm.batch(paths[:1], out, **MASK)
    (out / "map001_mask.mrc").write_bytes(b"mine")
    dry = gm.batch(paths, out, dry_run=True, limit=2, **MASK)
    assert [item["output"] for item in dry["items"]] == ["map002_mask.mrc", "map003_mask.mrc"]
    assert [(row["output"], row["status"]) for row in dry["not_done"]] == [("map001_mask.mrc", "skipped")]
    assert (dry["finished"], dry["skipped"], len(rows(out))) == (1, 1, 1)
    assert shell(["batch", "maps", "-o", "out", "--dry-run", *FLAGS], "", tmp_path) == 1
    room = pools.PROCESS_BYTES + 10**5
    tight = gm.batch(paths, tmp_path / "new", dry_run=True, memory=room, like=paths[0], **MASK)
    assert (tight["failed"], tight["items"], (tmp_path / "new").exists()) == (5, [], False)


def test_a_folder_is_one_however_it_is_spelled(tmp_path, monkeypatch):
    maps(tmp_path / "data", 2)
    (tmp_path / "link").symlink_to("data")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    assert gm.batch("../data", tmp_path / "data", **MASK)["done"] == 2
    for source, output in (("../data", "../link"), ("../link", "../data"), (tmp_path / "data", "../there/../data")):
        assert gm.batch(source, output, **MASK)["finished"] == 2


@pytest.mark.parametrize("given", [{"limit": 1.5}, {"workers": 1.5}, {"memory": -5}, {"memory": float("nan")},
                                   {"workers": "2"}])  # fmt: skip
def test_numbers_that_cannot_be_are_refused(tmp_path, given):
    with pytest.raises(UsageError, match="must be at least 1, and whole, got"):
        gm.batch(maps(tmp_path, 1), tmp_path / "out", dry_run=True, **given, **MASK)


def test_the_plan_tells_the_processes_that_memory_has_room_for(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "cpus", lambda: 8)
    paths, events = maps(tmp_path / "maps", 8), []
    room = 3 * pools.PROCESS_BYTES
    gm.batch(paths, tmp_path / "out", dry_run=True, memory=room, progress=events.append, **MASK)
    assert (events[0]["workers"], events[0]["threads"]) == (2, 4)  # each with its map, so not three


def test_what_failed_before_is_told_apart_and_takes_no_time_of_this_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    paths = maps(tmp_path / "maps", 3)
    paths[1].write_bytes(b"no map")
    assert main(["batch", "maps", "-o", "out", *FLAGS]) == 1
    first = capsys.readouterr()
    assert "failed: map001_mask.mrc: " in first.err
    assert "wall time" in first.out
    assert main(["batch", "maps", "-o", "out", *FLAGS]) == 1
    second = capsys.readouterr()
    assert "3 items, 2 done before, 1 failed before (--retry-failed does them again), 0 to do" in second.err
    assert "failed before  1 of these; --retry-failed does them again" in second.out
    assert "wall time" not in second.out
    again = gm.batch("maps", "out", **MASK)
    assert (again["failed"], again["failed_before"], again["bytes_read"]) == (1, 1, 0)
    assert set(again["seconds"].values()) == {0}
    done = gm.batch("maps", "out", retry_failed=True, **MASK)
    assert (done["failed"], done["failed_before"]) == (1, 0)


def test_what_was_refused_for_want_of_memory_is_done_when_there_is_enough(tmp_path):
    (path,) = maps(tmp_path / "maps", 1, (64, 64, 64))
    (tmp_path / "map.mrc.gz").write_bytes(gzip.compress(path.read_bytes()))
    source, low = [tmp_path / "map.mrc.gz"], pools.PROCESS_BYTES + 3 * 10**6
    for _ in range(2):
        done = gm.batch(source, tmp_path / "out", memory=low, **MASK)
        assert "unpack the file" in done["not_done"][0]["error"]
    (row,) = rows(tmp_path / "out")
    assert row["metrics"]["needed_bytes"] > 3 * 10**6
    assert gm.batch(source, tmp_path / "out", memory=2 * low, **MASK)["done"] == 1
    with pytest.raises(OutOfMemory, match="a process by itself takes 262 MB; give more"):
        gm.batch(source, tmp_path / "other", memory=10**8, **MASK)


def test_columns_of_the_summary_and_warnings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    values = np.zeros((16, 18, 20), np.float32)
    values[:5, 7:11, 7:11] = 1  # at the face -z
    (tmp_path / "maps").mkdir()
    gm.write("maps/a.mrc", gm.Volume(values, 1.5))
    gm.write("maps/b.mrc", gm.Volume(block(), 1.5))
    assert main(["batch", "maps", "-o", "out", *FLAGS]) == 0
    assert "warnings   of 1 item, see summary.csv" in capsys.readouterr().out
    with open("out/summary.csv", newline="") as stream:
        first, second = csv.DictReader(stream)
    assert "box face -z" in first["warnings"]
    assert second["warnings"] == ""
    assert float(first["threshold_value"]) == 0.5
    assert (first["box"], first["faces_touched"]) == ("20; 18; 16", "-z")
    assert not {"files", "beginnings"} & set(first)


def test_a_merge_takes_no_other_option(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    maps(tmp_path / "maps", 2)
    assert main(["batch", "maps", "-o", "out", "--shard", "1/1", *FLAGS]) == 0
    for more in (["--dry-run"], ["--limit", "1"], ["--threshold", "2"], ["maps"], ["--force"]):
        assert main(["batch", "--merge", "-o", "out", *more]) == 2
        assert "leave out " + more[0] in capsys.readouterr().err
    assert main(["batch", "--merge", "-o", "out"]) == 0


def test_names_that_a_shell_has_made_of_a_glob(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    maps(tmp_path / "maps", 2)
    assert main(["batch", "maps/map000.mrc", "maps/map001.mrc", "-o", "out", *FLAGS]) == 2
    assert "got 2 names, from maps/map000.mrc on: put a glob in quotes" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_log_that_cannot_be_written_costs_no_work(tmp_path):
    maps(tmp_path / "maps", 2)
    with open("/dev/full", "w") as full:
        words = [*GPUMASK, "batch", "maps", "-o", "out", *FLAGS]
        done = subprocess.run(words, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=full)
    assert done.returncode == 0
    assert len(rows(tmp_path / "out")) == 2


def test_skipped_items_are_events(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    maps(tmp_path / "maps", 2)
    Path("out").mkdir()
    Path("out/map001_mask.mrc").write_text("mine")
    assert main(["batch", "maps", "-o", "out", *FLAGS]) == 1
    assert "skipped: map001_mask.mrc: out/map001_mask.mrc: is there" in capsys.readouterr().err
    assert main(["batch", "maps", "-o", "out", "--progress", "json", *FLAGS]) == 1
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [event["event"] for event in events] == ["plan", "skipped"]
