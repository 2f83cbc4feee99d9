"""A list in several runs: shards by number and by SLURM's variables, the script for sbatch, a real SLURM, merging."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batches import FLAGS, GPUMASK, MASK, check, maps, rows

import gpumask as gm
from gpumask import batching
from gpumask.batching import ledger, locks, shards
from gpumask.cli import main
from gpumask.errors import UsageError, WriteFailed

ARRAY = {"SLURM_ARRAY_TASK_ID": 7, "SLURM_ARRAY_TASK_MIN": 3, "SLURM_ARRAY_TASK_MAX": 11, "SLURM_ARRAY_TASK_STEP": 2,
         "SLURM_ARRAY_TASK_COUNT": 5}  # fmt: skip


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch):
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


def test_shards_are_disjoint_and_complete_and_merge_to_one(tmp_path):
    paths = maps(tmp_path / "maps", 7)
    out = tmp_path / "out"
    counts = [gm.batch(paths, out, shard=f"{number}/3", workers=1, **MASK)["done"] for number in (1, 2, 3)]
    assert counts == [3, 2, 2]
    assert not (out / "results.jsonl").exists()
    assert json.loads((out / "summary.2-of-3.json").read_text())["done"] == 2
    again = gm.batch(paths, out, shard="2/3", **MASK)
    assert (again["finished"], again["done"]) == (2, 0)
    before = b"".join((out / f"results.{number}-of-3.jsonl").read_bytes() for number in (1, 2, 3))
    done = batching.merge(out)
    assert (done["items"], done["done"], done["not_done"]) == (7, 7, [])
    assert (out / "results.jsonl").read_bytes() == before
    check(out, paths)
    batching.merge(out)
    assert (out / "results.jsonl").read_bytes() == before
    assert gm.batch(paths, out, **MASK)["finished"] == 7


def test_the_work_of_shards_of_another_number_counts(tmp_path):
    paths = maps(tmp_path / "maps", 5)
    out = tmp_path / "out"
    gm.batch(paths, out, shard="1/3", **MASK)
    assert gm.batch(paths, out, shard="1/2", **MASK)["finished"] == 1
    with pytest.raises(UsageError, match="shard 2 of 2 has not been run"):
        batching.merge(out)
    gm.batch(paths, out, shard="2/2", **MASK)
    assert batching.merge(out)["done"] == 5
    check(out, paths)


def test_what_failed_in_a_shard_and_was_done_since_is_done(tmp_path):
    paths = maps(tmp_path / "maps", 3)
    out = tmp_path / "out"
    full = {"lowpass": "4A", **MASK}
    short = {"memory": (250 << 20) + 10**4, **full}  # for which a box does not fit
    assert gm.batch(paths, out, shard="1/2", **short)["failed"] == 2
    assert gm.batch(paths, out, shard="2/2", **full)["done"] == 1
    assert gm.batch(paths, out, retry_failed=True, **full)["done"] == 2
    for _ in range(2):
        again = gm.batch(paths, out, **full)
        summary = json.loads((out / "summary.json").read_text())
        assert (again["finished"], summary["done"], summary["failed"]) == (3, 3, 0)
        merged = batching.merge(out)
        assert (merged["done"], merged["failed"]) == (3, 0)


def test_a_row_of_another_ledger_counts_though_it_is_not_the_last(tmp_path):
    """Shards run again with another list may each have a row of an item: one failed, the other done."""
    paths = maps(tmp_path / "maps", 4)
    out = tmp_path / "out"
    gm.batch(paths, out, shard="1/2", **MASK)
    gm.batch(paths, out, shard="2/2", **MASK)
    ledgers = [out / f"results.{number}-of-2.jsonl" for number in (1, 2)]
    row = json.loads(ledgers[0].read_text().splitlines()[0])
    with ledgers[1].open("ab") as stream:
        stream.write(ledger.line({**row, "status": "failed", "error": "no room", "metrics": {}}))
    assert gm.batch(paths, out, shard="1/2", **MASK)["finished"] == 2
    assert batching.merge(out)["failed"] == 0
    assert gm.batch(paths, out, **MASK)["finished"] == 4


def test_shards_that_saw_different_lists_are_not_merged(tmp_path):
    paths = maps(tmp_path / "maps", 6)
    late = paths[0].rename(tmp_path / "late.mrc")
    out = tmp_path / "out"
    gm.batch(tmp_path / "maps", out, shard="1/2", **MASK)
    late.rename(paths[0])  # which moves every item to the other shard
    notes = gm.batch(tmp_path / "maps", out, shard="2/2", **MASK)["notes"]
    assert "shard 1 of 2 saw another list or other parameters (5 items, here 6); run every shard" in notes[0]
    with pytest.raises(UsageError, match=r"saw different lists or parameters \(5, 6 items\); run every shard"):
        batching.merge(out)
    assert gm.batch(tmp_path / "maps", out, shard="1/2", **MASK)["notes"] == []
    assert batching.merge(out)["done"] == 6
    assert {row["input"] for row in rows(out)} == set(map(str, paths))


def test_a_merge_tells_of_what_was_not_begun_and_forgets_what_is_no_longer_listed(tmp_path, capsys):
    paths = maps(tmp_path / "maps", 4)
    paths[2].write_bytes(b"no map")
    out = tmp_path / "out"
    for number in (1, 2):
        gm.batch(tmp_path / "maps", out, shard=f"{number}/2", **MASK)
    assert batching.merge(out)["failed"] == 1
    paths[2].unlink()
    gm.batch(tmp_path / "maps", out, shard="1/2", **MASK)
    gm.batch(tmp_path / "maps", out, shard="2/2", limit=1, **MASK)
    assert main(["batch", "--merge", "-o", str(out)]) == 0
    gm.batch(tmp_path / "maps", out, shard="1/2", limit=1, **{**MASK, "soft_edge": "4px"})
    gm.batch(tmp_path / "maps", out, shard="2/2", limit=1, **{**MASK, "soft_edge": "4px"})
    done = batching.merge(out)
    assert (done["items"], done["done"], done["failed"], done["left"]) == (3, 2, 0, 1)
    assert main(["batch", "--merge", "-o", str(out)]) == 1


def test_shards_of_different_numbers_exclude_each_other(tmp_path):
    paths = maps(tmp_path / "maps", 2)
    out = tmp_path / "out"
    out.mkdir()
    with locks.held(ledger.names(out, (1, 3))[1]):
        for shard in ("1/1", "1/2", None):
            with pytest.raises(WriteFailed, match="results.1-of-3.lock"):
                gm.batch(paths, out, shard=shard, **MASK)
        assert gm.batch(paths, out, shard="2/3", **MASK)["done"] == 1
    assert not list(out.glob("*.lock*"))


def test_a_merge_that_was_cut_short_counts_no_row_twice(tmp_path):
    paths = maps(tmp_path / "maps", 4)
    out = tmp_path / "out"
    for number in (1, 2):
        gm.batch(paths, out, shard=f"{number}/2", workers=1, **MASK)
    kept = (out / "results.1-of-2.jsonl").read_bytes()
    batching.merge(out)
    (out / "results.1-of-2.jsonl").write_bytes(kept)  # killed before it was removed
    batching.merge(out)
    check(out, paths)


def test_a_merge_waits_for_shards_and_sweeps_what_killed_ones_left(tmp_path):
    paths = maps(tmp_path / "maps", 2)
    out = tmp_path / "out"
    gm.batch(paths, out, shard="1/1", **MASK)
    (out / f".gpumask-{2**22 + 1}-00ff00ff.tmp").write_text("half a mask")
    _, lock, _ = ledger.names(out, (2, 2))
    with locks.held(lock):
        with pytest.raises(WriteFailed, match="results.2-of-2.lock"):
            batching.merge(out)
        with pytest.raises(WriteFailed, match="results.2-of-2.lock"):
            gm.batch(paths, out, **MASK)
    with locks.held(ledger.names(out)[1]), pytest.raises(WriteFailed, match="results.lock"):
        gm.batch(paths, out, shard="1/2", **MASK)
    batching.merge(out)
    check(out, paths)
    with pytest.raises(UsageError, match="holds no results"):
        batching.merge(tmp_path)


def test_a_shard_is_told_by_numbers_or_by_slurm(monkeypatch):
    assert shards.parse(None) is None
    assert shards.parse("2/8") == (2, 8)
    for text in ("0/2", "3/2", "1", "a/b", "1/0"):
        with pytest.raises(UsageError, match="shard must be I/N"):
            shards.parse(text)
    with pytest.raises(UsageError, match="needs a SLURM array or srun"):
        shards.parse("auto")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    with pytest.raises(UsageError, match="needs a SLURM array or srun"):  # a script without srun is one task alone
        shards.parse("auto")
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert shards.parse("auto") == (2, 4)
    for name, value in ARRAY.items():
        monkeypatch.setenv(name, str(value))
    assert shards.parse("auto") == (2 * 4 + 1 + 1, 5 * 4)
    monkeypatch.delenv("SLURM_PROCID")
    assert shards.parse("auto") == (3, 5)
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "4")  # --array=3,5,7,11
    with pytest.raises(UsageError, match="array tasks without gaps"):
        shards.parse("auto")


def test_every_task_of_an_array_of_srun_tasks_has_a_shard_of_its_own(monkeypatch):
    found = set()
    for task in range(3, 12, 2):
        for rank in range(4):
            for name, value in (
                ARRAY | {"SLURM_ARRAY_TASK_ID": task, "SLURM_PROCID": rank, "SLURM_STEP_NUM_TASKS": 4}
            ).items():
                monkeypatch.setenv(name, str(value))
            found.add(shards.parse("auto"))
    assert found == {(number, 20) for number in range(1, 21)}


# the script


def script(capsys, *arguments):
    assert main(["slurm", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_the_script_is_good_bash_and_says_all_that_was_given(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    maps(tmp_path / "my maps", 1)
    flags = ["--threshold", "3sigma", "--dilate=-2px", "--no-fill-holes", "--invert", "--memory", "8GB"]
    task = ["--gpus", 4, "--cpus", 3, "--time", "2:00:00", "--mem", "32G"]
    text = script(capsys, "my maps/*.mrc", "-o", "it's out", *task, *flags)
    (tmp_path / "job.sh").write_text(text)
    subprocess.run(["bash", "-n", str(tmp_path / "job.sh")], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(tmp_path / "job.sh")], check=True)
    for line in ("#!/bin/bash", "#SBATCH --array=1-4", "#SBATCH --gres=gpu:1", "#SBATCH --cpus-per-task=3",
                 "#SBATCH --time=2:00:00", "#SBATCH --mem=32G"):  # fmt: skip
        assert line in text.splitlines()
    words = bash_words(tmp_path, text)
    assert words[:2] == ["batch", "my maps/*.mrc"]
    assert set(words[2:]) == {"--output=it's out", "--do=create", "--shard=3/4", "--device=cuda", "--memory=8GB",
                              "--threshold=3sigma", "--dilate=-2px", "--no-fill-holes", "--invert"}  # fmt: skip
    without = script(capsys, "my maps", "-o", "out", "--tasks", 2, "--do", "spectrum", "--resolution", "4A")
    assert "gres" not in without
    assert "--device=cpu" in without
    assert "--resolution=4A" in without


def bash_words(folder, text):
    """What the program is given when bash runs the script."""
    program = folder / "gpumask"
    program.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    program.chmod(0o755)
    run = next(line for line in text.splitlines() if line.startswith("exec ")).split()[1]
    text = text.replace(f"exec {run} ", f"exec {program} ").replace('cd "${SLURM_SUBMIT_DIR:-.}"', "")
    task = {**os.environ, "SLURM_ARRAY_TASK_ID": "3"}
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True, env=task)
    return json.loads(done.stdout)


@pytest.mark.parametrize("given, said", [
    ([], "give --gpus N or --tasks N"),
    (["--gpus", "1", "--tasks", "1"], "give --gpus N or --tasks N"),
    (["--gpus", "0"], "each at least 1"),
    (["--gpus", "1", "--time", "1;rm"], "--time must be a word"),
    (["--gpus", "2", "--device", "cpu"], "--gpus wants --device auto or cuda, got cpu"),
    (["--tasks", "2", "--device", "cuda"], "--tasks wants --device auto or cpu, got cuda"),
    (["--tasks", "2", "--threshold", "wrong"], "threshold"),
    (["--tasks", "2", "--memory", "much"], "memory must be a size"),
    (["--tasks", "2", "-o", "a\ntouch PWNED"], "cannot stand in a script"),
])  # fmt: skip
def test_a_script_that_would_be_wrong_is_refused(tmp_path, capsys, given, said):
    maps(tmp_path / "maps", 1)
    assert main(["slurm", str(tmp_path / "maps"), "-o", "out", "--threshold", "1", *given]) == 2
    assert said in capsys.readouterr().err


def test_a_script_for_a_list_that_is_not_there_is_refused(capsys):
    assert main(["slurm", "nolist.csv", "-o", "out", "--tasks", "2", "--threshold", "1"]) == 3
    said = capsys.readouterr()
    assert "nolist.csv: cannot be read" in said.err
    assert said.out == ""


# SLURM itself

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A cluster of this one machine."""
    if os.geteuid() or not all(map(shutil.which, ("munged", "slurmctld", "slurmd", "sbatch"))):
        pytest.skip("SLURM (slurmctld, slurmd, munge) is not installed, or this is not root")
    folder = tmp_path / "slurm"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    text = CONFIGURATION.format(folder=folder, host=host, ports=free_ports(2), cpus=os.cpu_count())
    (folder / "slurm.conf").write_text(text)
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    munge = [f"--key-file={key}", *(f"--{name}-file={folder}/munged.{name}" for name in ("pid", "log", "seed"))]
    daemons = ["munged", "--force", f"--socket={folder}/munge.sock", *munge], ["slurmctld"], ["slurmd"]
    try:
        for command in daemons:
            subprocess.run(command, check=True, capture_output=True, timeout=30)
        end = time.monotonic() + 30
        while "idle" not in subprocess.run(["sinfo"], capture_output=True, text=True, check=False).stdout:
            if time.monotonic() > end:
                pytest.skip("SLURM does not come up here")
            time.sleep(0.3)
        yield folder
    except subprocess.SubprocessError as error:
        pytest.skip(f"SLURM does not start here: {error}")
    finally:
        for name in ("slurmd", "slurmctld", "munged"):
            if (folder / f"{name}.pid").exists():
                os.kill(int((folder / f"{name}.pid").read_text()), 15)


@pytest.mark.slow
def test_the_script_runs_under_slurm(tmp_path, slurm, monkeypatch, capsys):
    paths = maps(tmp_path / "maps", 5)
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "gpumask"
    root = Path(gm.__file__).parents[1]
    program.write_text(f"#!/bin/sh\nexport PYTHONPATH={root}\nexec {sys.executable} -c '{GPUMASK[2]}' \"$@\"\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    tasks = min(2, os.cpu_count())
    text = script(capsys, "maps", "-o", "out", "--tasks", tasks, "--cpus", 1, *FLAGS)
    text = text.replace(str(Path(sys.executable).with_name("gpumask")), "gpumask")
    (tmp_path / "job.sh").write_text(text)
    for _ in range(2):  # submitted again there is nothing to do
        done = subprocess.run(["sbatch", "--wait", "job.sh"], capture_output=True, text=True, timeout=120, check=False)
        logs = "".join(path.read_text() for path in tmp_path.glob("gpumask-*.log"))
        assert done.returncode == 0, done.stderr + logs
    assert f"{len(paths[::tasks])} done before" in logs
    assert main(["batch", "--merge", "-o", "out"]) == 0
    check(tmp_path / "out", paths)
    assert len(rows(tmp_path / "out")) == 5
