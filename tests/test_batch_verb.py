"""``gpumask batch`` as a process: its streams, and the folder it is started in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from batches import FLAGS, GPUMASK, MASK, maps, rows

import gpumask as gm
from gpumask.batching import pools, resources
from gpumask.errors import UsageError

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
