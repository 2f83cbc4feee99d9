"""What a batch survives: nothing is lost, nothing done twice, nothing half-written."""

import gzip
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batches import FLAGS, GPUMASK, MASK, block, check, check_names, maps, rows

import gpumask as gm
from gpumask.batching import lanes, locks, operations, work
from gpumask.cli import main
from gpumask.errors import WriteFailed

ROOT = os.geteuid() == 0
MOMENTS = 20
AT_HAND = 3  # files that a process may have open for a moment: an input, a temporary file, a folder to sync
TINY = (10, 12, 14)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(gm.__file__).parents[1])}


def command(source, out, *more):
    return [*GPUMASK, "batch", str(source), "-o", str(out), "--device", "cpu", *FLAGS, *more]


def start(*arguments, **options):
    return subprocess.Popen(
        command(*arguments), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options
    )


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def leaders(pid):
    """Children of a process that are alive and lead a session, as no other process here does."""
    found = []
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        state, _, _, session = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[:4]
        if state != "Z" and int(session) == child:
            found.append(child)
    return found


def workers_of(pid):
    """Workers of a batch that are alive."""
    return [worker for nursery in leaders(pid) for worker in leaders(nursery)]


@pytest.mark.slow
def test_killed_at_random_moments_and_run_again(tmp_path):
    paths = maps(tmp_path / "maps", 160, TINY)
    out, seed = tmp_path / "out", random.Random(9)
    lock, ledger = out / "results.lock", out / "results.jsonl"
    told = []

    def lines():
        return ledger.read_bytes().count(b"\n") if ledger.exists() else 0

    for number in range(MOMENTS):
        run = start(tmp_path / "maps", out)
        wait_for(lambda run=run: (locks.holder_of(lock) or {}).get("pid") == run.pid)
        if number % 2:  # as it starts
            time.sleep(seed.uniform(0, 0.3))
        else:  # as it works
            wanted = lines() + seed.randint(1, 12)
            wait_for(lambda wanted=wanted: lines() >= wanted)
            time.sleep(seed.uniform(0, 0.02))
        run.kill()
        told.append(run.communicate()[1])
        check_names(out)
        if ledger.exists() and seed.random() < 0.3:  # a crash of the machine in the middle of a line
            with ledger.open("ab") as stream:
                stream.write(b'{"input":"' + str(paths[0]).encode())
    run = start(tmp_path / "maps", out)
    told.append(run.communicate(timeout=120)[1])
    assert run.returncode == 0, told[-1]
    check(out, paths)
    assert any("cut short by a crash" in text for text in told)
    assert not lock.exists()
    finished = [int(text.split(" done before")[0].rsplit(" ", 1)[1]) for text in told if " done before" in text]
    assert finished == sorted(finished)
    assert finished[-1] > MOMENTS // 2


def test_a_file_that_a_killed_run_left_without_a_row_is_replaced(tmp_path):
    paths = maps(tmp_path / "maps", 3)
    out = tmp_path / "out"
    gm.batch(paths, out, **MASK)
    # killed before its first row and its end: the record of a run under way, and an output of it
    (out / "results.jsonl").write_bytes(b"".join((out / "results.jsonl").read_bytes().splitlines(keepends=True)[:1]))
    record = (out / "results.outputs").read_text().splitlines(keepends=True)
    (out / "results.outputs").write_text("".join(record[:-1]))
    left = [out / f"map00{number}_mask.mrc" for number in range(3) if not shared(rows(out), number)]
    for path in left:
        path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    assert gm.batch(paths, out, limit=1, **MASK)["left"] == 1
    done = gm.batch(paths, out, **MASK)  # what was not begun by the run in between is still known
    assert (done["finished"], done["done"], done["skipped"]) == (2, 1, 0)
    check(out, paths)


def shared(found, number):
    return any(row["output"] == f"map00{number}_mask.mrc" for row in found)


def test_temporary_files_go_only_where_a_run_was_killed(tmp_path):
    paths = maps(tmp_path / "maps", 1)
    items = [{"input": paths[0], "output": "below/one.mrc"}]
    out = tmp_path / "out"
    gm.batch(items, out, **MASK)
    left = [out / f".gpumask-{2**22 + 1}-00ff00ff.tmp", out / "below" / f".gpumask-{2**22 + 1}-00ff00ff.tmp"]
    for path in left:  # of a program on another host, as far as is known
        path.write_text("half a mask")
    assert gm.batch(items, out, **MASK)["finished"] == 1
    assert all(path.exists() for path in left)
    (out / "results.lock").write_text(json.dumps(locks.me() | {"pid": 2**22 + 1}))
    assert gm.batch(items, out, **MASK)["finished"] == 1
    assert not any(path.exists() for path in left)


def test_an_interrupt_ends_it_cleanly(tmp_path):
    paths = maps(tmp_path / "maps", 100, TINY)
    out = tmp_path / "out"
    for number in (signal.SIGINT, signal.SIGTERM):
        run = start(tmp_path / "maps", out)
        before = len(rows(out)) if (out / "results.jsonl").exists() else 0
        wait_for(lambda before=before: (out / "results.jsonl").exists() and len(rows(out)) > before)
        run.send_signal(number)
        assert run.wait(timeout=30) == 130
        run.stderr.close()
        assert {path.name for path in out.glob(".*")} == set()
        assert not (out / "results.lock").exists()
        assert json.loads((out / "summary.json").read_text())["stopped"] == "interrupted"
        check_names(out)
    assert 0 < len(rows(out)) < 100
    assert gm.batch(paths, out, **MASK)["left"] == 0
    check(out, paths)


@pytest.mark.parametrize("found", [workers_of, leaders], ids=["worker", "nursery"])
def test_a_process_that_is_killed_is_replaced_and_its_items_done(tmp_path, found):
    paths = maps(tmp_path / "maps", 50, (32, 32, 32))
    out, killed, ended, notes = tmp_path / "out", [], [], []

    def kill(event):
        if event["event"] == "note":
            notes.append(event["text"])
            return
        ended.append(event)
        if len(ended) in (5, 25, 45):
            killed.append(found(os.getpid())[0])
            os.kill(killed[-1], signal.SIGKILL)

    done = gm.batch(paths, out, workers=2, progress=kill, **MASK)
    assert done["not_done"] == []
    assert (len(set(killed)), done["done"], done["failed"]) == (3, 50, 0)
    assert notes
    assert all("a worker process died (" in text and "is done again" in text for text in notes)
    assert leaders(os.getpid()) == []
    check(out, paths)


POISON = """
import os, sys
sys.path[:0] = {paths!r}
from gpumask import pipeline
make = pipeline.make
def poisoned(volume, recipe, *rest):
    if volume.data[0, 0, 0] == 7:
        {act}
    return make(volume, recipe, *rest)
pipeline.make = poisoned
"""


def poisoned(folder, monkeypatch, act):
    """Paths of six maps, at the third of which a worker does `act`."""
    paths = maps(folder / "maps", 6)
    poison = block()
    poison[0, 0, 0] = 7
    gm.write(paths[2], gm.Volume(poison, 1.5), overwrite=True)
    hooks = folder / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(POISON.format(paths=[str(Path(gm.__file__).parents[1])], act=act))
    monkeypatch.setenv("PYTHONPATH", f"{hooks}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}")
    return paths


@pytest.mark.parametrize("act, said", [
    ("os.kill(os.getpid(), 9)", "died twice: killed by signal 9"),
    ("os._exit(3)", "died twice: exit code 3"),
    ("raise MemoryError('no memory left')", "does not fit in memory"),
    ("raise ZeroDivisionError('a bug')", "ZeroDivisionError: a bug"),
])  # fmt: skip
def test_an_item_that_ends_its_worker_is_a_failed_row(tmp_path, monkeypatch, act, said):
    paths = poisoned(tmp_path, monkeypatch, act)
    if "Memory" in act:  # slabs, to which a lack of memory leads, are short of it as well
        with (tmp_path / "hooks" / "sitecustomize.py").open("a") as stream:
            stream.write(
                "from gpumask import slabs\ndef none(*_): raise MemoryError('no memory left')\nslabs.make = none\n"
            )
    done = gm.batch(paths, tmp_path / "out", **MASK)
    assert (done["done"], done["failed"]) == (5, 1)
    assert said in done["not_done"][0]["error"]
    assert str(paths[2]) == done["not_done"][0]["input"]
    check(tmp_path / "out", [path for path in paths if path != paths[2]])


def test_how_a_worker_ended_is_told_where_the_caller_ignores_its_children(tmp_path, monkeypatch):
    paths = poisoned(tmp_path, monkeypatch, "os.kill(os.getpid(), 9)")
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        done = gm.batch(paths, tmp_path / "out", **MASK)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert (done["done"], done["failed"]) == (5, 1)
    assert "died twice: killed by signal 9" in done["not_done"][0]["error"]


@pytest.mark.parametrize("seed", range(2))
def test_nothing_is_left_where_the_nursery_dies_as_the_run_is_interrupted(tmp_path, seed):
    paths = maps(tmp_path / "maps", 40, (96, 96, 96))
    out, workers, ended = tmp_path / "out", [], []

    def end(event):
        ended.append(event)
        if len(ended) == 6 + seed:
            workers[:] = workers_of(os.getpid())
            os.kill(leaders(os.getpid())[0], signal.SIGKILL)
            raise KeyboardInterrupt

    done = gm.batch(paths, out, workers=4, progress=end, **MASK)
    assert done["stopped"] == "interrupted"
    assert workers
    assert not any(locks.is_alive(pid) for pid in workers)
    assert not list(out.glob(".*"))
    check_names(out)
    assert gm.batch(paths, out, **MASK)["left"] == 0
    check(out, paths)


def test_a_process_that_was_not_waited_for_is_not_alive():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert not locks.is_alive(ended.pid)
    ended.wait()
    assert locks.is_alive(os.getpid())


def test_a_system_that_forks_no_more_is_told_in_one_line(tmp_path, monkeypatch):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(
        "import errno, os\ndef none(): raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))\nos.fork = none\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{hooks}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}")
    with pytest.raises(gm.GpumaskError, match="cannot start: Resource temporarily unavailable"):
        gm.batch(maps(tmp_path / "maps", 2), tmp_path / "out", **MASK)
    assert leaders(os.getpid()) == []


def test_workers_that_cannot_start_end_the_batch(tmp_path, monkeypatch):
    paths = maps(tmp_path / "maps", 3)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text("import os; os._exit(7)\n")
    monkeypatch.setenv("PYTHONPATH", f"{hooks}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}")
    with pytest.raises(gm.GpumaskError, match="worker processes cannot start: exit code 7"):
        gm.batch(paths, tmp_path / "out", **MASK)
    monkeypatch.undo()
    assert gm.batch(paths, tmp_path / "out", **MASK)["done"] == 3
    check(tmp_path / "out", paths)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if not ROOT or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_the_run_and_not_the_items(tmp_path, small_disk):
    paths = maps(tmp_path / "maps", 20)
    command = ["batch", str(tmp_path / "maps"), "-o", str(small_disk), "--dense", *FLAGS]
    assert main(command) == 5
    found = rows(small_disk)
    assert 0 < len(found) < 20
    assert {row["status"] for row in found} == {"done"}
    check_names(small_disk)
    assert not list(small_disk.glob(".*"))
    subprocess.run(["mount", "-o", "remount,size=10m", str(small_disk)], check=True)
    assert main(command) == 0
    check(small_disk, paths)


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused_by_its_mode(tmp_path):
    maps(tmp_path / "maps", 1)
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(WriteFailed, match="cannot be written"):
        gm.batch(tmp_path / "maps", tmp_path / "out", **MASK)


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    maps(tmp_path / "maps", 1)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(WriteFailed, match="cannot be made"):
        gm.batch(tmp_path / "maps", tmp_path / "out", **MASK)
    if not ROOT:
        return
    (tmp_path / "ro").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path / "ro")]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        return
    try:
        with pytest.raises(WriteFailed, match=f"{tmp_path}/ro.*Read-only"):
            gm.batch(tmp_path / "maps", tmp_path / "ro", **MASK)
    finally:
        subprocess.run(["umount", str(tmp_path / "ro")], check=True)


def test_an_input_that_vanishes_on_the_way_is_a_failed_row(tmp_path):
    paths = maps(tmp_path / "maps", 40)

    def vanish(event):
        if event["event"] == "plan":
            paths[-1].unlink()

    done = gm.batch(paths, tmp_path / "out", workers=1, progress=vanish, **MASK)
    assert (done["done"], done["failed"]) == (39, 1)
    assert "cannot be read" in done["not_done"][0]["error"]
    check(tmp_path / "out", paths[:-1])


def test_an_input_that_changes_while_it_is_read_is_a_failed_row(tmp_path, monkeypatch):
    (path,) = maps(tmp_path / "maps", 1)
    (tmp_path / "out").mkdir()
    settings = operations.of("create").settings(MASK)
    task = {"do": "create", "input": str(path), "output": "one.mrc", "folder": str(tmp_path / "out"), "device": "cpu",
            "settings": settings, "recipe_hash": "x", "slabs": None, "dense": False}  # fmt: skip
    one = work.of(task, lanes.Lanes())
    whole = gm.io.Slabs.whole

    def rewritten(source, room):
        volume = whole(source, room)
        os.utime(path, ns=(5, 5))
        return volume

    monkeypatch.setattr(gm.io.Slabs, "whole", rewritten)
    for step in work.STEPS:
        one.step(step)
    assert "changed while it was read" in one.result()["row"]["error"]
    assert list((tmp_path / "out").iterdir()) == []


def test_two_runs_on_one_folder_exclude_each_other(tmp_path):
    paths = maps(tmp_path / "maps", 60, TINY)
    out = tmp_path / "out"
    first = start(tmp_path / "maps", out)
    wait_for((out / "results.lock").exists)
    second = start(tmp_path / "maps", out)
    assert second.wait(timeout=60) == 5
    assert "works in this folder" in second.communicate()[1]
    assert first.wait(timeout=120) == 0
    first.stderr.close()
    check(out, paths)


def test_clocks_that_jump_do_not_matter(tmp_path, monkeypatch):
    paths = maps(tmp_path / "maps", 4)
    clock = iter(range(10**9, 0, -(10**7)))
    monkeypatch.setattr(time, "time", lambda: next(clock))
    assert gm.batch(paths[:2], tmp_path / "out", **MASK)["done"] == 2
    for path in (tmp_path / "out").iterdir():
        os.utime(path, (10**10, 10**10))  # made in the future
    done = gm.batch(paths, tmp_path / "out", **MASK)
    assert (done["finished"], done["done"]) == (2, 2)
    check(tmp_path / "out", paths)


def test_an_unpacked_bomb_is_refused_by_the_memory_bound(tmp_path):
    """2 GiB of zeros in 2 MB: the header's claim is possible, so that only the bound stands before it."""
    (path,) = maps(tmp_path / "maps", 1)
    header = bytearray(path.read_bytes()[:1024])
    for place in (0, 4, 8, 28, 32, 36):
        header[place : place + 4] = (812).to_bytes(4, "little")
    path.unlink()
    bomb = path.with_suffix(".mrc.gz")
    with gzip.open(bomb, "wb") as stream:
        stream.write(bytes(header))
        for _ in range(812**3 * 4 // 2**24 + 1):
            stream.write(bytes(2**24))
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    done = gm.batch(bomb.parent, tmp_path / "out", memory=2 * 10**9, **MASK)
    assert "a box of 812 x 812 x 812 voxels needs 8.03 GB" in done["not_done"][0]["error"]
    assert "unpack the file" in done["not_done"][0]["error"]
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= max(before, 400 * 2**10)  # kB


def test_a_box_that_does_not_fit_is_made_in_slabs_to_the_same_bytes(tmp_path):
    paths = maps(tmp_path / "maps", 2, (64, 64, 64))
    written = {}
    for dense in (False, True):
        out = tmp_path / f"dense {dense}"
        done = gm.batch(paths, out, workers=1, memory=(250 << 20) + 3 * 10**6, dense=dense, **MASK)
        assert done["done"] == 2
        made = json.loads((out / "map000_mask.json").read_text())
        assert any("made in slabs" in text for text in made["warnings"])
        check(out, paths)
        found = rows(out)[0]
        written[dense] = found["bytes_written"] - sum(found["metrics"]["files"].values())
        disk = (out / found["output"]).stat()
        assert (disk.st_blocks * 512 < disk.st_size / 4) != dense
    assert written[True] == 0
    assert written[False] < -3 * disk.st_size / 4
    low = gm.batch(paths, tmp_path / "low", workers=1, memory=(250 << 20) + 3 * 10**6, lowpass="9A", **MASK)
    assert low["failed"] == 2
    assert "a lowpass needs the whole box" in low["not_done"][0]["error"]


@pytest.mark.slow
def test_ten_thousand_items_take_no_more_memory_or_files_than_a_hundred(tmp_path):
    """Sizes settle after the first hundreds; what a leak of 100 bytes an item would add is 1 MB."""
    paths = maps(tmp_path / "maps", 100, TINY)
    items = [{"input": path, "output": f"{n}/{path.stem}.mrc"} for n in range(100) for path in paths]
    seen = []

    def look(event):
        if event["event"] == "item" and (len(seen) in (1000, 9990)):
            pids = [os.getpid(), *workers_of(os.getpid())]
            seen.append([(resident(pid), len(list(Path(f"/proc/{pid}/fd").iterdir()))) for pid in pids])
        else:
            seen.append(None)

    done = gm.batch(items, tmp_path / "out", progress=look, **MASK)
    assert (done["done"], done["failed"]) == (10000, 0)
    early, late = (one for one in seen if one is not None)
    for (before, files), (after, more) in zip(early[1:], late[1:], strict=True):
        assert after - before < 8 << 20
        assert more <= files + AT_HAND
    assert late[0][1] <= early[0][1] + AT_HAND
    assert late[0][0] - early[0][0] < 9000 * 2048  # the line of each item is kept, of some 900 bytes
    assert len(rows(tmp_path / "out")) == 10000
    shutil.rmtree(tmp_path / "out")


def resident(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
