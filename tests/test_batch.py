"""Many items: what is made, what is told, what a second run does."""

import bz2
import csv
import gzip
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from batches import FLAGS, MASK, block, check, maps, rows

import gpumask as gm
from gpumask import job
from gpumask.batching import fingerprint, ledger, locks, resources, summary
from gpumask.cli import main
from gpumask.errors import UsageError, WriteFailed


def copied(made, folder):
    """What `gpumask create` makes of the same maps, by the name of the batch."""
    folder.mkdir()
    for path in made:
        job.create(
            path, folder / f"{path.stem}_mask.mrc", gm.MaskRecipe(threshold="0.5", dilation="2px", soft_edge="3px")
        )
    return folder


def test_masks_are_those_of_create_byte_for_byte(tmp_path):
    paths = maps(tmp_path / "maps", 5)
    paths += maps(tmp_path / "other", 1, (12, 20, 14))
    paths[-1] = paths[-1].rename(tmp_path / "other" / "brick.mrc")
    done = gm.batch(paths, tmp_path / "out", **MASK)
    assert (done["done"], done["failed"], done["left"], done["stopped"]) == (6, 0, 0, None)
    check(tmp_path / "out", paths)
    alone = copied(paths, tmp_path / "alone")
    for path in alone.glob("*.mrc"):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
        one, other = (json.loads((folder / f"{path.stem}.json").read_text()) for folder in (tmp_path / "out", alone))
        assert one.keys() == other.keys()
        for name in ("seconds", "output", "files", "input", "device_reason"):
            del one[name], other[name]
        assert one == other


def test_packed_inputs_are_read_and_float16_is_written(tmp_path):
    (path,) = maps(tmp_path, 1)
    for suffix, pack in ((".gz", gzip.compress), (".bz2", bz2.compress)):
        (tmp_path / f"packed{suffix[1]}.mrc{suffix}").write_bytes(pack(path.read_bytes()))
    path.unlink()
    done = gm.batch(tmp_path, tmp_path / "out", mode="float16", **MASK)
    assert done["done"] == 2
    masks = [(tmp_path / "out" / f"packed{letter}_mask.mrc").read_bytes() for letter in "gb"]
    assert masks[0] == masks[1]
    assert gm.read(tmp_path / "out" / "packedg_mask.mrc").header.mode == 12


def test_a_second_run_does_what_is_new_changed_or_gone(tmp_path):
    paths = maps(tmp_path / "maps", 4)
    out = tmp_path / "out"
    gm.batch(paths[:3], out, **MASK)
    gm.write(paths[0], gm.Volume(block(shift=3), 1.5), overwrite=True)
    (out / "map001_mask.mrc").unlink()
    done = gm.batch(paths, out, **MASK)
    assert (done["finished"], done["done"]) == (1, 3)
    assert [len([row for row in rows(out) if row["input"] == str(path)]) for path in paths] == [2, 2, 1, 1]
    prints = [row["input_fingerprint"] for row in rows(out) if row["input"] == str(paths[0])]
    assert prints[0] != prints[1]
    before = (out / "results.jsonl").read_bytes()
    again = gm.batch(paths, out, **MASK)
    assert (again["finished"], again["done"], (out / "results.jsonl").read_bytes()) == (4, 0, before)
    wider = gm.batch(paths, out, **{**MASK, "soft_edge": "4px"})
    assert (wider["finished"], wider["done"]) == (0, 4)


def test_failed_items_do_not_stop_the_others_and_are_tried_again_when_asked_or_mended(tmp_path):
    paths = maps(tmp_path / "maps", 6)
    nan = block()
    nan[1, 2, 3] = np.nan
    with paths[1].open("r+b") as stream:
        stream.seek(1024)
        stream.write(nan.tobytes())
    paths[2].write_bytes(paths[2].read_bytes()[:-100])
    lying = bytearray(paths[3].read_bytes())
    lying[0:4] = (10**5).to_bytes(4, "little")
    paths[3].write_bytes(lying)
    paths[4].unlink()
    out = tmp_path / "out"
    done = gm.batch(paths, out, **MASK)
    assert (done["done"], done["failed"]) == (2, 4)
    said = {row["input"]: row["error"] for row in done["not_done"]}
    for path, text in zip(paths[1:5], ("1 voxels are NaN", "truncated", "truncated", "cannot be read"), strict=True):
        assert text in said[str(path)]
        assert str(path) in said[str(path)]
    assert [path.name for path in sorted(out.glob("*.mrc"))] == ["map000_mask.mrc", "map005_mask.mrc"]
    before = (out / "results.jsonl").read_bytes()
    again = gm.batch(paths, out, **MASK)
    assert (again["finished"], again["done"], again["failed"]) == (2, 0, 4)
    assert (out / "results.jsonl").read_bytes() == before
    gm.write(paths[4], gm.Volume(block(), 1.5))
    mended = gm.batch(paths, out, **MASK)
    assert (mended["finished"], mended["done"], mended["failed"]) == (2, 1, 3)
    retried = gm.batch(paths, out, retry_failed=True, **MASK)
    assert (retried["finished"], retried["done"], retried["failed"]) == (3, 0, 3)
    assert len(rows(out)) == 6 + 1 + 3
    assert json.loads((out / "summary.json").read_text())["failed"] == 3
    with (out / "summary.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["status"] for row in table] == ["done", "failed", "failed", "failed", "done", "done"]
    assert float(table[0]["volume_angstrom3"]) > 0


def test_files_that_no_batch_has_written_are_left_alone(tmp_path):
    paths = maps(tmp_path / "maps", 2)
    out = tmp_path / "out"
    out.mkdir()
    (out / "map000_mask.json").write_text("mine")
    done = gm.batch(paths, out, **MASK)
    assert (done["done"], done["skipped"]) == (1, 1)
    assert "was not written by a batch of this folder" in done["not_done"][0]["error"]
    assert (out / "map000_mask.json").read_text() == "mine"
    assert gm.batch(paths, out, **MASK)["skipped"] == 1
    assert len(rows(out)) == 2
    assert gm.batch(paths, out, overwrite=True, **MASK)["done"] == 1
    check(out, paths)


def test_masks_in_the_folder_of_their_maps_are_no_maps(tmp_path):
    paths = maps(tmp_path, 2)
    for count in (2, 0):
        assert gm.batch(tmp_path, tmp_path, **MASK)["done"] == count
    assert gm.batch(str(tmp_path / "*.mrc"), tmp_path, **MASK)["planned"] == 2
    done = gm.batch(str(tmp_path / "*_mask.mrc"), tmp_path, "spectrum")
    assert (done["done"], done["failed"]) == (2, 0)
    assert {row["input"] for row in rows(tmp_path)[:2]} == set(map(str, paths))


def test_a_mask_is_laid_on_the_grid_of_a_reference_and_its_memory_counts(tmp_path):
    paths = maps(tmp_path / "maps", 1)
    large = tmp_path / "like.mrc"
    gm.write(large, gm.Volume(np.zeros((40, 40, 40), np.float32), 1.5))
    events = []
    gm.batch(paths, tmp_path / "out", like=large, progress=events.append, **MASK)
    assert gm.read(tmp_path / "out" / "map000_mask.mrc").shape == (40, 40, 40)
    assert events[0]["largest_bytes"] > 15 * 40**3
    gm.write(large, gm.Volume(np.zeros((41, 40, 40), np.float32), 1.5), overwrite=True)
    assert gm.batch(paths, tmp_path / "out", like=large, **MASK)["done"] == 1
    refused = gm.batch(paths, tmp_path / "low", like=large, memory=(250 << 20) + 10**5, **MASK)
    assert "create needs the whole box" in refused["not_done"][0]["error"]


def test_limit_and_dry_run(tmp_path):
    paths = maps(tmp_path / "maps", 3)
    out = tmp_path / "out"
    dry = gm.batch(paths, out, dry_run=True, **MASK)
    assert (dry["planned"], dry["left"], out.exists()) == (3, 3, False)
    done = gm.batch(paths, out, limit=2, **MASK)
    assert (done["done"], done["left"]) == (2, 1)
    done = gm.batch(paths, out, limit=2, **MASK)
    assert (done["finished"], done["done"], done["left"]) == (2, 1, 0)
    check(out, paths)
    with pytest.raises(UsageError, match="limit must be at least 1"):
        gm.batch(paths, out, limit=0, **MASK)


def test_spectra_and_resolutions_are_those_of_their_verbs(tmp_path):
    paths = maps(tmp_path / "maps", 2, (24, 24, 24))
    gm.batch(paths, tmp_path / "masks", **MASK)
    masks = sorted((tmp_path / "masks").glob("*.mrc"))
    done = gm.batch(masks, tmp_path / "spectra", "spectrum", resolution="6A")
    assert done["done"] == 2
    wanted = job.spectrum(masks, resolution="6A")["spectra"]
    for mask, one in zip(masks, wanted, strict=True):
        found = json.loads((tmp_path / "spectra" / f"{mask.stem}_spectrum.json").read_text())
        assert found == json.loads(json.dumps([one.to_dict()]))
    noise = np.random.default_rng(0).standard_normal((2, 2, 24, 24, 24)).astype(np.float32)
    halves = tmp_path / "halves"
    halves.mkdir()
    for number, pair in enumerate(noise):
        common = gm.filters.gaussian(pair.sum(axis=0), 3.0, 1.5) * 20
        for half, array in zip((1, 2), pair, strict=True):
            gm.write(halves / f"run{number}_half{half}.mrc", gm.Volume(array + common, 1.5))
    done = gm.batch([{"half1": halves / f"run{n}_half1.mrc"} for n in (0, 1)], tmp_path / "fsc", "fsc", mask=masks[0])
    assert (done["done"], done["failed"]) == (2, 0)
    row = rows(tmp_path / "fsc")[0]
    document = json.loads((tmp_path / "fsc" / row["output"] / "fsc.json").read_text())
    assert row["metrics"]["resolution"] == document["resolution"]
    assert sum(row["metrics"]["files"].values()) == row["bytes_written"]
    gm.write(masks[0], gm.read(masks[1]), overwrite=True)  # an input that all share
    again = gm.batch([{"half1": halves / "run0_half1.mrc"}], tmp_path / "fsc", "fsc", mask=masks[0])
    assert (again["finished"], again["done"]) == (0, 1)


def test_events_say_how_it_goes(tmp_path):
    paths = maps(tmp_path / "maps", 3)
    events = []
    gm.batch(paths, tmp_path / "out", workers=1, progress=events.append, **MASK)
    assert [event["event"] for event in events] == ["plan", "item", "item", "item"]
    assert events[0]["to_do"] == 3
    assert events[0]["workers"] == 1
    assert events[0]["largest_box"] == [20, 18, 16]
    assert all(event["of"] == 3 for event in events[1:])
    json.dumps(events, allow_nan=False)


# the command line


def test_the_verb_runs_and_its_exit_code_tells_of_failures(tmp_path, capfd):
    paths = maps(tmp_path / "maps", 2)
    command = ["batch", str(tmp_path / "maps"), "-o", str(tmp_path / "out"), *FLAGS]
    assert main(command) == 0
    told = capfd.readouterr()
    assert "done       2" in told.out
    assert "2/2" in told.err
    check(tmp_path / "out", paths)
    paths[0].write_bytes(b"no map")
    assert main(command) == 1
    told = capfd.readouterr()
    assert f"failed: map000_mask.mrc: {paths[0]}: not an MRC file" in told.err
    assert main([*command, "--json"]) == 1
    assert json.loads(capfd.readouterr().out)["finished"] == 1
    assert main([*command, "--retry-failed", "--progress", "json"]) == 1
    events = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [event["event"] for event in events] == ["plan", "item"]


def test_the_flags_are_those_of_the_verb(tmp_path, capsys):
    for verb, there, absent in (("create", "--butterworth", "--seeds"), ("spectrum", "--seeds", "--butterworth"),
                                ("fsc", "--cross-checks", "--seeds")):  # fmt: skip
        assert main(["batch", "--do", verb, "--help"]) == 0
        said = capsys.readouterr().out
        assert there in said
        assert absent not in said
        assert said.count("--device ") == 2  # in the usage and where it is explained: batch has its own
    (path,) = maps(tmp_path, 1)
    out = str(tmp_path / "out")
    assert main(["batch", str(path), "-o", out, "--seeds", "3"]) == 2
    assert main(["batch", str(tmp_path), "-o", out, "--dilate", "2px"]) == 2
    assert "a mask needs a threshold" in capsys.readouterr().err
    assert main(["batch", "-o", out]) == 2
    assert "needs a LIST" in capsys.readouterr().err


def test_a_dry_run_tells_what_would_be_written(tmp_path, capsys):
    (path,) = maps(tmp_path, 1)
    assert main(["batch", str(tmp_path), "-o", str(tmp_path / "out"), "--dry-run", *FLAGS]) == 0
    assert f"would write  map000_mask.mrc from {path}" in capsys.readouterr().out


# the parts


def test_a_fingerprint_knows_size_time_and_sampled_bytes(tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    data = np.random.default_rng(0).integers(0, 256, 10**6, np.uint8)
    path.write_bytes(data.tobytes())
    os.utime(path, ns=(1, 1))
    digest, size = fingerprint.of([path])
    assert (len(digest), size) == (32, 10**6)
    assert fingerprint.of([path])[0] == digest
    for change in (lambda d: d.__setitem__(5, 1 ^ d[5]), lambda d: d.__setitem__(-1, 1 ^ d[-1])):  # header, last block
        changed = data.copy()
        change(changed)
        path.write_bytes(changed.tobytes())
        os.utime(path, ns=(1, 1))
        assert fingerprint.of([path])[0] != digest
    path.write_bytes(data.tobytes())
    os.utime(path, ns=(2, 2))
    assert fingerprint.of([path])[0] != digest
    other.write_bytes(b"x")
    assert fingerprint.of([path, other])[1] == 10**6 + 1
    assert fingerprint.of([path, other])[0] != fingerprint.of([other, path])[0]


def row(output="a", status="done", **more):
    values = {"input": "i", "output": output, "status": status, "error": None, "recipe_hash": "r",
              "input_fingerprint": "f", "seconds": dict.fromkeys(summary.STEPS, 0.0), "bytes_read": 1,
              "bytes_written": 2, "metrics": {"files": {}}}  # fmt: skip
    return {**values, **more}


def test_a_torn_line_is_cut_off_and_told(tmp_path):
    whole = ledger.line(row())
    (tmp_path / "results.jsonl").write_bytes(whole + whole[:30])
    book = ledger.Ledger(tmp_path)
    book.open([], "", 0)
    book.append(row("b"))
    book.close()
    assert (tmp_path / "results.jsonl").read_bytes() == whole + ledger.line(row("b"))
    assert "was cut short by a crash" in book.notes[0]


def test_lines_that_are_no_rows_do_not_count_and_are_told(tmp_path):
    (tmp_path / "results.jsonl").write_bytes(b"\0\0\0\n" + ledger.line(row()) + b'{"input": 1}\n[]\n')
    book = ledger.Ledger(tmp_path)
    assert list(book.newest) == ["a"]
    assert "3 lines are no rows" in book.notes[0]


def test_a_line_is_whole_or_not_there(tmp_path, monkeypatch):
    book = ledger.Ledger(tmp_path)
    book.open([], "", 0)
    book.append(row())
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:10]))
    with pytest.raises(WriteFailed, match="the disk is full"):
        book.append(row("b"))
    book.close()
    assert (tmp_path / "results.jsonl").read_bytes() == ledger.line(row())


def test_a_folder_is_locked_for_one_run(tmp_path):
    path = tmp_path / "results.lock"
    with locks.held(path):
        assert locks.holder_of(path) == locks.me()
        with (
            pytest.raises(WriteFailed, match=f"process {os.getpid()} on .* works in this folder; wait"),
            locks.held(path),
        ):
            pass
        assert path.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"pid": 2**22 + 1}, {"start": 1}, {"boot": "another"}])
def test_a_lock_of_a_process_that_is_gone_is_taken(tmp_path, change):
    path = tmp_path / "results.lock"
    path.write_text(json.dumps(locks.me() | change))
    with locks.held(path):
        assert locks.holder_of(path) == locks.me()


@pytest.mark.parametrize("text", ["", "[]", "\0\0"])
def test_a_lock_that_a_crash_of_the_machine_has_spoiled_is_taken(tmp_path, monkeypatch, text):
    path = tmp_path / "results.lock"
    path.write_text(text)
    with locks.held(path) as crashed:
        assert crashed
        assert locks.holder_of(path) == locks.me()
    path.write_text(text)
    monkeypatch.setattr(locks, "fcntl", None)
    with pytest.raises(WriteFailed, match="does not say which run .* remove the file"), locks.held(path):
        pass
    assert path.read_text() == text


def test_a_lock_of_another_host_is_left_and_says_how_to_remove_it(tmp_path):
    path = tmp_path / "results.lock"
    text = json.dumps(locks.me() | {"host": "elsewhere"})
    path.write_text(text)
    with pytest.raises(WriteFailed, match=f"{path}: .* remove the file"), locks.held(path):
        pass
    assert path.read_text() == text


def test_two_locks_that_exclude_each_other_are_looked_at_after_ones_own_is_there(tmp_path):
    mine, other = tmp_path / "results.lock", tmp_path / "results.1-of-2.lock"

    def others():
        assert locks.holder_of(mine) == locks.me()
        other.write_text(json.dumps(locks.me()))  # it has come at the same moment
        return [other]

    with pytest.raises(WriteFailed, match="results.1-of-2.lock"), locks.held(mine, others):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [other.name]


@pytest.mark.parametrize(
    "text", [None, json.dumps(locks.me() | {"pid": 2**22 + 1})], ids=["alone", "beside a stale one"]
)
def test_a_run_in_another_namespace_of_process_ids_lives(tmp_path, text):
    path = tmp_path / "results.lock"
    if text is not None:
        path.write_text(text)
    code = "import sys\nfrom gpumask.batching import locks\nwith locks.held(sys.argv[1]): print(flush=True); input()\n"
    inside = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code, str(path)]
    with subprocess.Popen(inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        if not run.stdout.readline():
            pytest.skip("namespaces of process ids cannot be made here")
        with pytest.raises(WriteFailed, match="works in this folder; wait"), locks.held(path):
            pass
        run.communicate(b"\n")
    with locks.held(path) as crashed:
        assert not crashed


RACE = """
import os, sys, time
from pathlib import Path
from gpumask.batching import locks
from gpumask.errors import WriteFailed
if sys.argv[1] == "no flock":
    locks.fcntl = None
for path in map(Path, sys.argv[2:]):
    print("ready", flush=True)
    input()
    try:
        with locks.held(path):
            print("mine", flush=True)
            input()
    except WriteFailed:
        print("refused", flush=True)
        input()
"""


@pytest.mark.parametrize("flock", ["flock", "no flock"])
def test_only_one_of_many_takes_a_stale_lock(tmp_path, flock):
    paths = [tmp_path / str(number) / "results.lock" for number in range(25)]
    for path in paths:
        path.parent.mkdir()
        path.write_text(json.dumps(locks.me() | {"start": 1}))
    command = [sys.executable, "-c", RACE, flock, *map(str, paths)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    runs = [subprocess.Popen(command, **pipes) for _ in range(6)]
    try:
        for wanted in (["ready"] * 6, ["mine", *["refused"] * 5]) * len(paths):
            assert sorted(run.stdout.readline().strip() for run in runs) == wanted
            for run in runs:
                run.stdin.write("\n")
    finally:
        for run in runs:
            run.communicate(timeout=60)
    assert not [name for path in paths for name in path.parent.iterdir()]


def test_a_row_that_comes_again_is_the_newest(tmp_path):
    first, second = ledger.line(row(status="failed")), ledger.line(row(status="skipped"))
    (tmp_path / "results.jsonl").write_bytes(first + second + first)
    assert ledger.Ledger(tmp_path).counting("a") == first
    ledger.merge(tmp_path)
    assert ledger.Ledger(tmp_path).counting("a") == first


def test_of_several_ledgers_the_row_counts_that_is_done_and_whose_files_are_there(tmp_path):
    (tmp_path / "a").write_text("mask")
    there, gone = {"files": {"a": 4}}, {"files": {"a": 5}}
    lines = [ledger.line(row(**one)) for one in (
        {"metrics": there}, {"recipe_hash": "other"}, {"metrics": gone}, {"status": "failed"})]  # fmt: skip
    for number, line in enumerate(lines, 1):
        (tmp_path / f"results.{number}-of-4.jsonl").write_bytes(line)
    book = ledger.Ledger(tmp_path)
    assert book.counting("a") == lines[1]  # without files of its own nothing of it can be gone
    assert book.counting("a", recipe_hash="r") == lines[0]
    (tmp_path / "a").unlink()
    assert book.counting("a", recipe_hash="r") == lines[3]
    assert book.counting("a", recipe_hash="none") is None


def test_what_is_spoiled_on_record_is_left_out(tmp_path):
    paths = maps(tmp_path / "maps", 2)
    out = tmp_path / "out"
    gm.batch(paths, out, **MASK)
    with (out / "results.outputs").open("ab") as stream:
        stream.write(b"\0\0\0\n[half a li")
    assert gm.batch(paths, out, **MASK)["finished"] == 2
    check(out, paths)


def test_a_file_that_took_the_place_of_a_failed_or_of_a_done_item_is_left_alone(tmp_path):
    paths = maps(tmp_path / "maps", 2)
    nan = block()
    nan[0, 0, 0] = np.nan
    with paths[0].open("r+b") as stream:
        stream.seek(1024)
        stream.write(nan.tobytes())
    out = tmp_path / "out"
    assert gm.batch(paths, out, **MASK)["failed"] == 1
    mine = [(out / f"map00{number}_mask.mrc", gm.Volume(block(shift=number + 1), 1.5)) for number in (0, 1)]
    for path, volume in mine:
        gm.write(path, volume, overwrite=True)
    kept = [path.read_bytes() for path, _ in mine]
    done = gm.batch(paths, out, nan_to=0, **MASK)
    assert (done["done"], done["skipped"]) == (0, 2)
    assert [path.read_bytes() for path, _ in mine] == kept
    assert gm.batch(paths, out, nan_to=0, overwrite=True, **MASK)["done"] == 2
    assert gm.batch(paths, out, **{**MASK, "soft_edge": "4px", "nan_to": 1})["done"] == 2  # now they are the batch's


def test_the_summary_tells_of_what_was_not_begun_and_counts_by_the_present_parameters(tmp_path):
    paths = maps(tmp_path / "maps", 4)
    out = tmp_path / "out"
    gm.batch(paths, out, **MASK)
    done = gm.batch(paths, out, limit=1, **{**MASK, "soft_edge": "4px"})
    assert (done["done"], done["left"]) == (1, 3)
    document = json.loads((out / "summary.json").read_text())
    assert (document["items"], document["done"], document["left"]) == (4, 1, 3)
    with (out / "summary.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["status"] for row in table] == ["done", "left", "left", "left"]
    assert [row["input"] for row in table] == list(map(str, paths))


def test_the_limits_of_cgroups_and_slurm_count(tmp_path, monkeypatch):
    root = tmp_path / "cgroup"
    inner = root / "job" / "step"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    (root / "job" / "cpu.max").write_text("150000 100000\n")
    (inner / "memory.max").write_text("max\n")
    (root / "job" / "memory.max").write_text("1000000\n")
    (root / "job" / "memory.current").write_text("600000\n")
    (root / "job" / "memory.stat").write_text("anon 5\ninactive_file 100000\n")
    proc = tmp_path / "self"
    proc.write_text("0::/job/step\n")
    monkeypatch.setattr(resources, "CGROUPS", root)
    monkeypatch.setattr(resources, "OWN_CGROUPS", proc)
    monkeypatch.setattr(resources.backend, "available_memory", lambda: 10**9)
    monkeypatch.setattr("gpumask._cpu.threads.count", lambda: 16)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert resources.cpus() == 2  # 1.5 rounded up
    assert resources.memory() == int(0.8 * 500000)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert resources.cpus() == 1
    (root / "cpu" / "job").mkdir(parents=True)
    (root / "cpu" / "job" / "cpu.cfs_quota_us").write_text("300000\n")
    (root / "cpu" / "job" / "cpu.cfs_period_us").write_text("100000\n")
    (root / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    proc.write_text("4:cpu,cpuacct:/job\n")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    assert resources.cpus() == 3
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "many")
    with pytest.raises(UsageError, match="SLURM_CPUS_PER_TASK must be a whole number"):
        resources.cpus()


def test_workers_share_the_cpus(tmp_path):
    """Each worker is told its threads: numba, scipy and the libraries of linear algebra stay within the CPUs."""
    from gpumask._cpu import threads

    threads.limit(1)
    assert threads.count() == 1
    threads.limit(None)
    assert threads.count() == len(os.sched_getaffinity(0))
