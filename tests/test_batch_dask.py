"""The items of a batch on a Dask cluster of several processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from batches import FLAGS, MASK, check, maps

import gpumask as gm
from gpumask.cli import main
from gpumask.errors import UsageError

distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def cluster():
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(gm.__file__).parents[1])
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    try:
        with distributed.LocalCluster(**options, silence_logs="ERROR") as cluster:
            yield cluster
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def test_a_worker_that_is_killed_loses_nothing(tmp_path, cluster):
    paths = maps(tmp_path / "maps", 40)
    paths[7].write_bytes(b"no map")
    ended = []

    with distributed.Client(cluster) as client:

        def kill(event):
            if event["event"] == "item":
                ended.append(event)
                if len(ended) == 10:
                    os.kill(client.run(os.getpid).popitem()[1], signal.SIGKILL)

        done = gm.batch(paths, tmp_path / "out", client=client, progress=kill, **MASK)
        assert (done["done"], done["failed"], done["left"]) == (39, 1, 0)
        assert "not an MRC file" in done["not_done"][0]["error"]
        check(tmp_path / "out", [path for path in paths if path != paths[7]])
        assert gm.batch(paths, tmp_path / "out", client=client, **MASK)["finished"] == 39


def test_the_flag_takes_an_address(tmp_path, cluster, capsys):
    paths = maps(tmp_path / "maps", 3)
    command = ["batch", str(tmp_path / "maps"), "-o", str(tmp_path / "out"), *FLAGS]
    assert main([*command, "--dask", cluster.scheduler_address]) == 0
    assert "2 threads of the cluster" in capsys.readouterr().err
    check(tmp_path / "out", paths)


def test_a_scheduler_that_is_lost_ends_the_run_and_not_the_items(tmp_path, capsys):
    paths = maps(tmp_path / "maps", 30)
    out, address = tmp_path / "out", tmp_path / "scheduler.json"
    environment = {**os.environ, "PYTHONPATH": str(Path(gm.__file__).parents[1])}
    options = ["--scheduler-file", str(address), "--no-dashboard"]
    commands = (["scheduler", "--host", "127.0.0.1", "--port", "0"], ["worker", "--nthreads", "1", "--no-nanny"])
    daemons = [
        subprocess.Popen([sys.executable, "-m", f"distributed.cli.dask_{name}", *more, *options], env=environment,
                         stderr=subprocess.DEVNULL) for name, *more in commands]  # fmt: skip
    try:
        with distributed.Client(scheduler_file=str(address), timeout="60s", set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            done = gm.batch(paths, out, client=client, progress=lambda event: daemons[0].kill(), **MASK)
    finally:
        for daemon in daemons:
            daemon.kill()
            daemon.wait()
    assert "connection to the Dask scheduler was lost" in done["stopped"]
    assert done["not_done"] == []
    assert done["left"] > 0
    assert json.loads((out / "summary.json").read_text())["left"] == done["left"]
    assert main(["batch", str(tmp_path / "maps"), "-o", str(out), *FLAGS]) == 0
    check(out, paths)


def test_an_address_without_a_scheduler_is_refused(tmp_path, monkeypatch):
    from gpumask.batching import dask

    monkeypatch.setattr(dask, "PATIENCE", "1s")
    with pytest.raises(UsageError, match="no Dask scheduler answers"), dask.connected("tcp://127.0.0.1:1"):
        pass
