"""Maps and masks on their way through a process: slots, streams, and who waits for what.

The stand-in for CuPy does the work of a stream at once, or only when it is waited for, in all combinations, and gives
the memory of a freed array to the next one of the same stream: whatever is not waited for is read too early or written
over in one of them.
"""

import itertools
import queue
import threading
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from batches import MASK, block, maps

import gpumask as gm
from gpumask import backend
from gpumask.batching import lanes, work

SHAPE = (4, 5, 6)
ITEMS = 12
TRIES = 50  # of what three threads do in an order of their own


class Stream:
    """Work in order, done at once where `eager`, else when it is waited for."""

    current = threading.local()
    turn = threading.RLock()

    def __init__(self, non_blocking=False):
        assert non_blocking  # the default stream would wait for all others
        self.waiting, self.done, self.eager = [], 0, False

    def __enter__(self):
        self.before = getattr(Stream.current, "stream", None)
        Stream.current.stream = self

    def __exit__(self, *_):
        Stream.current.stream = self.before

    def add(self, function):
        with Stream.turn:
            self.waiting.append(function)
            if self.eager:
                self.synchronize()

    def run_to(self, place):
        with Stream.turn:
            while self.done < place:
                function = self.waiting[self.done]
                self.done += 1
                function()

    def synchronize(self):
        self.run_to(len(self.waiting))

    def wait_event(self, event):
        self.add(event.synchronize)


class Event:
    def __init__(self, disable_timing=False):
        self.stream = None

    def record(self, stream):
        with Stream.turn:
            self.stream, self.place = stream, len(stream.waiting)

    def synchronize(self):
        self.stream.run_to(self.place)


class Array:
    """An array whose memory is its stream's: freed, it is the next array's."""

    pools = {}

    def __init__(self, shape, dtype):
        free = Array.pools.setdefault(Stream.current.stream, [])
        with Stream.turn:
            self.values = free.pop() if free else np.empty(shape, dtype)
        weakref.finalize(self, free.append, self.values)

    shape, dtype, ndim, nbytes = (
        property(lambda self, name=name: getattr(self.values, name)) for name in ("shape", "dtype", "ndim", "nbytes")
    )

    def set(self, source, stream):
        values = self.values
        stream.add(lambda: np.copyto(values, source))

    def get(self, stream, out, blocking):
        assert not blocking
        values = self.values
        stream.add(lambda: np.copyto(out, values))


def stand_in():
    Array.pools = {}
    cuda = SimpleNamespace(
        Stream=Stream,
        Event=Event,
        PinnedMemory=lambda size: bytearray(size),
        PinnedMemoryPointer=lambda memory, offset: memory,
        runtime=SimpleNamespace(CUDARuntimeError=RuntimeError),
    )
    return SimpleNamespace(cuda=cuda, empty=Array, ndarray=Array)


def doubled(array):
    """What stands for the kernels: it is enqueued on the current stream, as they are."""
    made, stream = Array(array.shape, array.dtype), Stream.current.stream
    source, target = array.values, made.values
    stream.add(lambda: np.multiply(source, 2, out=target))
    return made


def item(number):
    return np.full(SHAPE, number, np.float32)


def streams():
    """Lanes whose streams work at once, or when waited for."""
    for eager in itertools.product((False, True), repeat=3):
        shared = lanes.DeviceLanes(stand_in())
        shared.up.eager, shared.compute.eager, shared.down.eager = eager
        yield shared


def through(shared, monkeypatch):
    """Items by three threads, as a worker has them; whether each arrives as it should."""
    monkeypatch.setattr(backend, "is_cupy", lambda array: isinstance(array, Array))
    read, made, arrived = queue.Queue(1), queue.Queue(1), []
    size = lanes.HEADER_BYTES + item(0).nbytes

    def reader():
        for number in range(ITEMS):
            way = shared.passage()
            memory = way.room(size)
            data = memory[lanes.HEADER_BYTES : size].view(np.float32).reshape(SHAPE)
            data[:] = item(number)
            volume = gm.Volume(data, 1.0)
            way.send(volume)
            read.put((way, volume))
        read.put(None)

    def writer():
        while (one := made.get()) is not None:
            way, volume = one
            way.arrive()
            arrived.append(volume.data.copy())
            way.end()

    threads = [threading.Thread(target=reader, daemon=True), threading.Thread(target=writer, daemon=True)]
    for thread in threads:
        thread.start()
    while (one := read.get(timeout=20)) is not None:
        way, volume = one
        with shared.computing():
            there = way.place(volume, "cuda:0")
            mask = way.fetch(there.with_data(doubled(there.data)))
        del there
        way.left()
        made.put((way, mask))
        del way, volume, mask, one
    made.put(None)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return [np.array_equal(data, 2 * item(number)) for number, data in enumerate(arrived)]


def test_each_item_comes_computes_and_leaves_in_order(monkeypatch):
    for shared in streams():
        assert through(shared, monkeypatch) == [True] * ITEMS
        for ring in (shared.maps, shared.files):
            assert ring._taken == 0
            assert 1 <= len(ring._free) <= ring.most


def nothing(*_):
    """In the place of a wait."""


FORGOTTEN = {
    "computing, and fetching, before its turn": (Stream, "wait_event", nothing),
    "a slot given back before its copy is over": (lanes.DevicePassage, "left", lambda self: lanes.Passage.left(self)),
    "writing before the mask has come": (lanes.DevicePassage, "arrive", nothing),
}


@pytest.mark.parametrize("wait", FORGOTTEN)
def test_a_wait_that_is_left_out_shows(monkeypatch, wait):
    """That the stand-in finds what it is for."""
    monkeypatch.setattr(*FORGOTTEN[wait])
    assert any(not all(through(shared, monkeypatch)) for _ in range(TRIES) for shared in streams())


def test_a_device_without_room_for_the_next_map_gets_it_in_its_turn(monkeypatch):
    shared = lanes.DeviceLanes(stand_in())

    def full(shape, dtype):
        raise MemoryError

    shared.cupy.empty = full
    way, volume = shared.passage(), gm.Volume(item(1), 1.0)
    way.send(volume)
    monkeypatch.setattr(backend, "place", lambda volume, device: (volume, device))
    assert way.place(volume, "cuda:0") == (volume, "cuda:0")
    assert way.place(volume, "cpu") == (volume, "cpu")
    way.end()


def test_memory_that_cannot_be_pinned_is_out_of_memory():
    shared = lanes.DeviceLanes(stand_in())

    def refuse(size):
        raise RuntimeError("cudaErrorMemoryAllocation")

    shared.cupy.cuda.PinnedMemory = refuse
    with pytest.raises(MemoryError, match="could not be pinned"):
        shared.passage().room(10)
    assert shared.maps._taken == 0


def done(shared, task):
    one = work.of(task, shared)
    for step in work.STEPS:
        one.step(step)
    return one.result()


def tasks(folder, out, device, **more):
    out.mkdir()
    settings = {"recipe": gm.MaskRecipe(**MASK).to_dict(), "like": None, "voxel_size": None, "nan_to": None}
    settings |= {"mode": "float32", **more}
    return [
        {"do": "create", "input": str(path), "output": f"{path.stem}.mrc", "folder": str(out), "settings": settings,
         "recipe_hash": "", "device": device, "slabs": None, "dense": False}
        for path in folder
    ]  # fmt: skip


def test_slots_come_back_however_an_item_ends(tmp_path):
    paths = maps(tmp_path / "maps", 5)
    paths[1].write_bytes(paths[1].read_bytes()[:-4])  # the reading fails
    gm.write(paths[2], gm.Volume(block() * 0, 1.5), overwrite=True)  # the mask is empty
    shared = lanes.Lanes()
    found = tasks(paths, tmp_path / "out", "cpu")
    found[3]["output"] = "none/there/../../../x.gz"  # the writing fails
    states = [done(shared, task)["row"]["status"] for task in found]
    assert states == ["done", "failed", "failed", "failed", "done"]
    assert (shared.maps._taken, shared.files._taken) == (0, 0)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["float32", "float16"])
def test_masks_of_a_gpu_are_those_of_the_cpu_byte_for_byte(tmp_path, mode):
    """Items of two sizes, several under way at a time."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.is_available():
        pytest.skip("no CUDA device")
    paths = maps(tmp_path / "small", 8, (48, 52, 56)) + maps(tmp_path / "large", 8, (96, 100, 104))
    outs = {device: tmp_path / device for device in ("cpu", "cuda")}
    for device, out in outs.items():
        assert gm.batch([*paths[::2], *paths[1::2]], out, device=device, mode=mode, **MASK)["done"] == len(paths)
    for path in outs["cpu"].glob("*.mrc"):
        assert path.read_bytes() == (outs["cuda"] / path.name).read_bytes(), path.name


@pytest.mark.gpu
def test_items_overlap_on_a_gpu(tmp_path):
    """Real streams, and boxes so large that copies are still under way as the next one begins."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.is_available():
        pytest.skip("no CUDA device")
    shared = lanes.DeviceLanes(cupy)
    box = (256, 256, 256)
    size = lanes.HEADER_BYTES + 4 * 256**3
    leaving = queue.Queue(1)
    wrong = []

    def writer():
        while (one := leaving.get()) is not None:
            way, mask, number = one
            way.arrive()
            wrong.extend([number] if not (mask.data == 2 * number).all() else [])
            way.end()

    thread = threading.Thread(target=writer, daemon=True)
    thread.start()
    for number in range(ITEMS):
        way = shared.passage()
        data = way.room(size)[lanes.HEADER_BYTES : size].view(np.float32).reshape(box)
        data[:] = number
        volume = gm.Volume(data, 1.0)
        way.send(volume)
        with shared.computing():
            there = way.place(volume, "cuda:0")
            mask = way.fetch(there.with_data(there.data * 2))
        del there
        way.left()
        leaving.put((way, mask, number))
    leaving.put(None)
    thread.join(60)
    assert not thread.is_alive()
    assert wrong == []
