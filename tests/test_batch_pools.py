"""Which items are under way together, on which devices, and what the pages about it say."""

import errno
import fcntl
import itertools
import os
import re
import shlex
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from batches import MASK, maps

import gpumask as gm
from gpumask import cli, mask, uncached
from gpumask.batching import disks, holes, pools, resources, rings
from gpumask.batching.plans import Item

DOCUMENTS = Path(__file__).resolve().parents[1] / "docs"
GB = 10**9


class Worker:
    """A worker that only takes down what it is sent; `bytes` is that of the real one."""

    bytes = pools._Worker.bytes

    def __init__(self, device, *_):
        self.device, self.items, self.ready, self.pid = device, {}, True, 0
        self.listener = threading.Thread(target=int)
        self.listener.start()

    def send(self, item, _):
        self.items[item.number] = item

    def end(self, _):
        self.items = {}
        return "ended"


def pool(monkeypatch, workers, budget):
    monkeypatch.setattr(pools, "_Worker", Worker)
    made = pools.Pool(["cpu"] * workers, 1, budget, None, None, None)
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

    made = pool(monkeypatch, 4, 12 * GB + 4 * pools.PROCESS_BYTES)
    waiting, most, order = deque(items(1, 5, 1, 1, 30, 1, 1, 1, 6, 6)), 0, []
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


def test_as_many_processes_as_memory_has_room_for(monkeypatch):
    """64 idle processes would take 16 GB by themselves."""
    from collections import deque

    count = int(16 * GB // (pools.PROCESS_BYTES + 1.5 * GB))  # an item of 1 GB, and what it holds twice
    some = items(*[1] * 100, 30)
    assert pools.fitting(some, 16 * GB, 64) == count > 1
    assert pools.fitting(some, 16 * GB, 3) == 3
    assert pools.fitting(some, None, 64) == pools.fitting([], 0, 64) == 64
    assert pools.fitting(some, 0, 64) == 1
    made = pool(monkeypatch, 64, 16 * GB)
    made.workers.clear()
    monkeypatch.setattr(made, "_end", lambda worker, kill: None)
    monkeypatch.setattr(made, "_results", lambda waiting: made._hand_out(waiting, deque()) or [under_way(made)])
    (busy,) = made.results(some)
    assert len(busy) == count
    assert all(busy)


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
    assert under_way(made) == [[], [3]]
    made.workers[1].items.clear()
    made._hand_out(waiting, again)
    assert under_way(made) == [[1], [2]]


def test_what_is_tried_again_goes_to_no_worker_that_died_with_the_first(monkeypatch):
    """An idle worker that went with its nursery too is not heard of yet: an item sent to it would be lost twice."""
    from collections import deque

    made = pool(monkeypatch, 2, None)
    idle, busy = made.workers
    (item,) = items(1)
    busy.items[item.number] = item

    class Fresh(Worker):
        def send(self, item, _):
            super().send(item, _)
            made.inbox.put((self, [item.number, {"out_of_memory": False}]))

    monkeypatch.setattr(made, "_start", Fresh)
    made.sweep = made.note = lambda *_: None
    for worker in (busy, idle):
        made.inbox.put((worker, None))
    assert list(made._results(deque())) == [(item, {"out_of_memory": False})]


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
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,0,1")
    assert resources.devices("cuda")[0] == ["0", "1"]


def test_cached_files_are_free_and_odd_lines_of_cgroups_say_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "CGROUPS", tmp_path)
    monkeypatch.setattr(resources, "OWN_CGROUPS", tmp_path / "self")
    monkeypatch.setattr(resources.backend, "available_memory", lambda: 10**9)
    (tmp_path / "self").write_text("\nodd\n3:\n0::/job\n")
    (tmp_path / "job").mkdir()
    for name, text in (("max", "1000000"), ("current", "900000"), ("stat", "active_file 300000\ninactive_file 100000")):
        (tmp_path / "job" / f"memory.{name}").write_text(f"{text}\n")
    assert resources.memory() == int(0.8 * 500000)


SEEN = """
import os, sys
first, told = os.getpid(), []

def tell(event, given):  # at the first map that a worker opens
    if event == "open" and str(given[0]).endswith(".mrc") and os.getpid() != first and not told:
        told.append(True)
        with open(os.path.join({folder!r}, f"seen-{{os.getpid()}}"), "w") as file:
            most = sys.modules["gpumask._cpu.threads"]._most
            file.write(f"{{os.environ.get('CUDA_VISIBLE_DEVICES')}} {{most}}")

sys.addaudithook(tell)
"""


def test_each_worker_sees_its_gpu_alone_and_its_share_of_threads(tmp_path, monkeypatch):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(SEEN.format(folder=str(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", f"{hooks}:{Path(gm.__file__).parents[1]}")
    monkeypatch.setattr(resources, "devices", lambda asked: (["5", "GPU-abc"], "found"))
    monkeypatch.setattr(resources, "cpus", lambda: 6)
    done = gm.batch(maps(tmp_path / "maps", 2), tmp_path / "out", **MASK)
    assert sorted(path.read_text() for path in tmp_path.glob("seen-*")) == ["5 3", "GPU-abc 3"]
    assert done["done"] == 2  # without a driver `auto` computes on the CPU


@pytest.mark.parametrize("mode", ["float32", "float16"])
@pytest.mark.parametrize("shape", [(9, 10, 1024), (9, 10, 1025), (1, 1, 1000), (1, 1, 768), (1, 2, 900)])
@pytest.mark.parametrize("in_place", [True, False])
def test_pieces_of_zeros_are_holes(tmp_path, mode, shape, in_place):
    base = np.zeros(shape, bool)
    base[shape[0] // 2, shape[1] // 2, 500] = base[-1, shape[1] - 1, -1] = True
    soft = mask.soft_mask(base, 1, 0)
    if not in_place:
        memory = uncached.aligned(np.empty(soft.nbytes + uncached.BLOCK, np.uint8), soft.nbytes, offset=4)
        memory[:] = soft.reshape(-1).view(np.uint8)
        soft = memory.view(np.float32).reshape(shape)
    header, data, filled, piece = gm.io.encode_pieces(gm.Volume(soft, 1.0), mode)
    asked = []

    def room(size):
        asked.append(size)
        image = rings.Ring(1).take(size)
        image[:] = 7  # what was in the memory before
        return image

    sparse = holes.Sparse(room, dense=False)
    gm.io.write_files([(tmp_path / "a", sparse.whole(header, data, filled, piece)), (tmp_path / "b", [header, data])])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    if mode == "float32" and soft.nbytes > 2 * uncached.BLOCK:
        assert (asked == []) == in_place
    if soft.size > 50000:
        runs = len(holes.runs(soft.any(axis=2).reshape(-1)))
        filled = int(soft.any(axis=2).sum()) * piece
        # a run may share a piece, and a block, at each end; the header has its own
        assert sparse.bytes <= 1.1 * (uncached.BLOCK + filled + runs * 2 * (piece + uncached.BLOCK))
        assert (tmp_path / "a").stat().st_blocks < (tmp_path / "b").stat().st_blocks


@pytest.mark.parametrize("seed", range(5))
def test_runs_are_joined_over_the_shortest_gaps(seed):
    random = np.random.default_rng(seed)
    filled = np.repeat(random.random(400) < 0.5, random.integers(1, 20, 400))
    size = 1024 + 4096 * filled.size
    apart = [[first, last] for first, last in holes.runs(np.append(True, filled | np.append(filled[1:], False)))]
    joined = np.array(holes.blocks(filled, 4096, 1024, size)) // 4096
    covered = np.zeros(filled.size + 1, int)
    for first, last in joined:
        covered[first:last] += 1
    assert covered.max() == 1
    assert all(covered[first:last].all() for first, last in apart)
    least = sum(last - first for first, last in apart)
    assert least <= covered.sum() <= 1.1 * least
    gaps = [after[0] - before[1] for before, after in itertools.pairwise(apart)]
    left = [after[0] - before[1] for before, after in itertools.pairwise(joined.tolist())]
    assert 0 < len(left) < len(gaps)
    assert sorted(gaps)[-len(left) :] == sorted(left)


def test_runs_of_blocks():
    """Bytes 1024 + 2048 k to 1024 + 2048 (k + 1) lie in blocks of 4096."""
    filled = np.zeros(100, bool)
    assert holes.blocks(filled, 2048, 1024, 1024 + 100 * 2048) == [[0, 4096]]
    filled[[1, 20, 21, 22, 99]] = True
    assert holes.runs(filled) == [[1, 2], [20, 23], [99, 100]]
    assert holes.blocks(filled, 2048, 1024, 1024 + 100 * 2048) == [[0, 8192], [40960, 49152], [200704, 208896]]


@pytest.mark.parametrize("size", [1, 4096, uncached.SMALL + 1, uncached.CHUNK + 4097])
@pytest.mark.parametrize("refusing", [False, True])
def test_files_past_the_cache(tmp_path, monkeypatch, size, refusing):
    """The bytes are the same where a file system refuses at the call, and where the cache has them."""
    values = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    memory = rings.Ring(1).take(size)
    memory[:size] = values
    if refusing:
        for name in ("preadv", "pwritev"):
            monkeypatch.setattr(os, name, refusing_alignment(getattr(os, name)))
    with (tmp_path / "file").open("x+b") as stream:
        assert uncached.write(stream.fileno(), [(memory, 0)]) == memory.size
        os.ftruncate(stream.fileno(), size)
        os.fsync(stream.fileno())
        assert not fcntl.fcntl(stream.fileno(), fcntl.F_GETFL) & uncached.DIRECT
    for cached in (False, True):
        if cached:
            assert (tmp_path / "file").read_bytes() == values.tobytes()
        memory[:] = 0
        with (tmp_path / "file").open("rb") as stream:
            assert uncached.read(stream.fileno(), memoryview(memory), size) == size
        assert np.array_equal(memory[:size], values)
    os.truncate(tmp_path / "file", size // 2)
    with (tmp_path / "file").open("rb") as stream:
        assert uncached.read(stream.fileno(), memoryview(memory), size) == size // 2


def refusing_alignment(call):
    def refuse(handle, *arguments):
        if fcntl.fcntl(handle, fcntl.F_GETFL) & uncached.DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return call(handle, *arguments)

    return refuse


def test_a_ring_is_bounded_and_keeps_memory_of_one_size():
    ring = rings.Ring(2)
    first, second = ring.take(5000), ring.take(5000)
    assert first.size == 8192
    assert not np.may_share_memory(first, second)
    assert all(slot.ctypes.data % uncached.BLOCK == 0 for slot in (first, second))
    taken = []
    waiting = threading.Thread(target=lambda: taken.append(ring.take(5000)))
    waiting.start()
    time.sleep(0.05)
    assert not taken
    ring.give(first)
    waiting.join(10)
    assert taken[0] is first
    ring.give(second)
    other = ring.take(100)
    assert not np.may_share_memory(other, second)
    ring.give(first)
    ring.give(other)
    assert ring.take(100) is other


def test_memory_that_cannot_be_had_does_not_count_as_taken():
    def refuse(size):
        raise MemoryError(size)

    ring = rings.Ring(1, refuse)
    for _ in range(2):
        with pytest.raises(MemoryError):
            ring.take(10)


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
    found = [re.split(r"  #| > | \|\| ", match[0])[0] for match in lines if match]
    return [command.rstrip('"') for command in found]


FILLED = {
    "{threads}": "2",
    "{MAPS}": "maps",
    "{RESOLUTION}": "3.5A",
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
