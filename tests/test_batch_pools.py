"""Which items are under way together, on which devices, and what the pages about it say."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from batches import MASK, maps

import gpumask as gm
from gpumask import cli, mask
from gpumask.batching import disks, holes, pools, resources
from gpumask.batching.plans import Item

DOCUMENTS = Path(__file__).resolve().parents[1] / "docs"
GB = 10**9


class Worker:
    """A worker that only takes down what it is sent; `bytes` is that of the real one."""

    bytes = pools._Worker.bytes

    def __init__(self, device, *_):
        self.device, self.items, self.ready = device, {}, True

    def send(self, item, _):
        self.items[item.number] = item

    def end(self, _):
        return "ended"


def pool(monkeypatch, workers, budget):
    monkeypatch.setattr(pools, "_Worker", Worker)
    made = pools.Pool(["cpu"] * workers, 1, budget, None, None)
    made.workers = [Worker("cpu") for _ in range(workers)]
    return made


def items(*sizes):
    """Items that need so many GB, a quarter of it as they wait."""
    return [
        Item(n, "", "", "", {}, "", [], needed=int(size * GB), held=int(size * GB / 4)) for n, size in enumerate(sizes)
    ]


def under_way(made):
    return [sorted(worker.items) for worker in made.workers]


def test_items_go_to_workers_in_order_and_no_more_than_three_each(monkeypatch):
    from collections import deque

    made, waiting = pool(monkeypatch, 2, None), deque(items(*[1] * 10))
    made._hand_out(waiting, deque())
    assert under_way(made) == [[0, 2, 4], [1, 3, 5]]
    made.workers[1].items.pop(1)
    made._hand_out(waiting, deque())
    assert under_way(made) == [[0, 2, 4], [3, 5, 6]]


def test_boxes_of_mixed_sizes_stay_within_the_budget(monkeypatch):
    from collections import deque

    made = pool(monkeypatch, 4, 10 * GB + 4 * pools.PROCESS_BYTES)
    waiting, most, order = deque(items(1, 7, 1, 1, 30, 1, 1, 6, 6, 1)), 0, []
    while waiting or made._under_way():
        made._hand_out(waiting, deque())
        used = sum(worker.bytes() for worker in made.workers)
        busy = [item for worker in made.workers for item in worker.items.values()]
        assert used <= made.budget or len(busy) == 1  # what fits nowhere has the machine for itself
        most = max(most, len(busy))
        order.append(min(item.number for item in busy))
        worker = next(worker for worker in made.workers if order[-1] in worker.items)
        worker.items.pop(order[-1])
    assert order == list(range(10))
    assert most >= 3


def test_what_is_tried_again_has_nothing_beside_it(monkeypatch):
    from collections import deque

    made, waiting, again = pool(monkeypatch, 2, None), deque(items(1, 1, 1)), deque()
    made._hand_out(deque([waiting.popleft()]), again)
    again.append(items(1, 1, 1, 1)[3])
    made._hand_out(waiting, again)
    assert under_way(made) == [[0], []]
    made.workers[0].items.clear()
    made._hand_out(waiting, again)
    made._hand_out(waiting, again)
    assert under_way(made) == [[3], []]
    made.workers[0].items.clear()
    made._hand_out(waiting, again)
    assert under_way(made) == [[1], [2]]


def test_a_process_for_each_gpu_that_is_shown(monkeypatch):
    monkeypatch.setattr(resources.backend, "choose", lambda asked: ("cuda:0", "found"))
    runtime = SimpleNamespace(getDeviceCount=lambda: 3)
    monkeypatch.setattr(resources.cuda, "cupy", lambda: SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert resources.devices(None)[0] == ["0", "1", "2"]
    assert resources.devices("cuda:1")[0] == ["1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-abc,-1,7")
    assert resources.devices("cuda")[0] == ["5", "GPU-abc"]
    assert resources.devices("cuda:1")[0] == ["GPU-abc"]


def test_each_worker_sees_its_gpu_alone_and_its_share_of_threads(tmp_path, monkeypatch):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(
        "import os\nnames = ('CUDA_VISIBLE_DEVICES', 'OMP_NUM_THREADS')\n"
        f"open(os.path.join({str(tmp_path)!r}, f'seen-{{os.getpid()}}'), 'w')"
        ".write(' '.join(os.environ.get(name, '-') for name in names))\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{hooks}:{Path(gm.__file__).parents[1]}")
    monkeypatch.setattr(resources, "devices", lambda asked: (["5", "GPU-abc"], "found"))
    monkeypatch.setattr(resources, "cpus", lambda: 6)
    done = gm.batch(maps(tmp_path / "maps", 2), tmp_path / "out", **MASK)
    assert sorted(path.read_text() for path in tmp_path.glob("seen-*")) == ["5 3", "GPU-abc 3"]
    assert done["done"] == 2  # without a driver `auto` computes on the CPU


def test_rows_of_zeros_are_holes(tmp_path):
    base = np.zeros((9, 10, 1024), bool)
    base[4, 5, 500] = base[4, 7, 3] = True
    soft = mask.soft_mask(base, 1, 0)
    header, data = gm.io.encode(gm.Volume(soft, 1.0))
    write = holes.Write(header, data, 90)
    gm.io.write_files([(tmp_path / "a", write), (tmp_path / "b", [header, data])])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    filled = int(soft.any(axis=2).sum())
    assert write.bytes == 1024 + filled * soft.shape[2] * 4
    assert (tmp_path / "a").stat().st_blocks < (tmp_path / "b").stat().st_blocks


@pytest.mark.parametrize("width", [1, 2, 3, 4, 8, 12])
def test_runs_of_rows(width):
    rows = np.zeros((6, width), np.uint8)
    assert holes.runs(rows) == []
    rows[1, -1] = rows[2, 0] = rows[5, -1] = 1
    assert holes.runs(rows) == [[1, 3], [5, 6]]
    rows[:] = 128  # the sign of -0.0
    assert holes.runs(rows) == [[0, 6]]


def test_the_rate_of_a_disk_is_told_of_files_that_take_time(tmp_path):
    (tmp_path / "small").write_bytes(bytes(4096))
    assert disks.rate(tmp_path / "small") is None
    assert disks.rate(tmp_path / "none") is None
    (tmp_path / "large").write_bytes(bytes(disks.LEAST))
    assert disks.rate(tmp_path / "large") is None or disks.rate(tmp_path / "large") > 1e5


# the pages


def commands():
    """Lines of the pages that run the program."""
    if not DOCUMENTS.is_dir():
        return []
    text = "\n".join(path.read_text() for path in (DOCUMENTS / "batch.md", *sorted((DOCUMENTS / "examples").iterdir())))
    text = re.sub(r'"\n\s*"', "", text)  # the strings of a Snakefile
    lines = [re.search(r"gpumask (batch|slurm) .*", line) for line in text.splitlines()]
    return [match[0].partition("  #")[0].partition(" > ")[0].rstrip('"') for match in lines if match]


FILLED = {
    "{threads}": "2",
    "{config[maps]}": "maps",
    "{config[resolution]}": "3.5A",
    "${number}": "1",
    "${task.cpus}": "2",
    "${params.shards}": "4",
    "${params.recipe}": "--threshold 3sigma",
}


@pytest.mark.parametrize("command", commands())
def test_commands_of_the_pages_are_understood(command):
    for name, value in FILLED.items():
        command = command.replace(name, value)
    _, *argv = shlex.split(command)
    arguments = cli._parser(argv).parse_args(argv)
    assert arguments.output


def test_the_pages_have_commands():
    if DOCUMENTS.is_dir():
        assert len(commands()) >= 7
