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
    assert gm.batch(paths, out, shard="1/2", **MASK)["finished"] == 4  # the work of other shards counts
    before = b"".join((out / f"results.{number}-of-3.jsonl").read_bytes() for number in (1, 2, 3))
    done = batching.merge(out)
    assert (done["items"], done["done"], done["not_done"]) == (7, 7, [])
    assert (out / "results.jsonl").read_bytes() == before
    check(out, paths)
    batching.merge(out)
    assert (out / "results.jsonl").read_bytes() == before
    assert gm.batch(paths, out, **MASK)["finished"] == 7


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
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "4")
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
            for name, value in (ARRAY | {"SLURM_ARRAY_TASK_ID": task, "SLURM_PROCID": rank, "SLURM_NTASKS": 4}).items():
                monkeypatch.setenv(name, str(value))
            found.add(shards.parse("auto"))
    assert found == {(number, 20) for number in range(1, 21)}


# the script


def script(capsys, *arguments):
    assert main(["slurm", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_the_script_is_good_bash_and_says_all_that_was_given(tmp_path, capsys):
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
    assert set(words[2:]) == {"--output=it's out", "--do=create", "--shard=auto", "--device=cuda", "--memory=8GB",
                              "--threshold=3sigma", "--dilate=-2px", "--no-fill-holes", "--invert"}  # fmt: skip
    without = script(capsys, "maps", "-o", "out", "--tasks", 2, "--do", "spectrum", "--resolution", "4A")
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
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("given, said", [
    ([], "give --gpus N or --tasks N"),
    (["--gpus", "1", "--tasks", "1"], "give --gpus N or --tasks N"),
    (["--gpus", "0"], "each at least 1"),
    (["--gpus", "1", "--time", "1;rm"], "--time must be a word"),
])  # fmt: skip
def test_a_script_that_would_be_wrong_is_refused(capsys, given, said):
    assert main(["slurm", "maps", "-o", "out", "--threshold", "1", *given]) == 2
    assert said in capsys.readouterr().err


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
