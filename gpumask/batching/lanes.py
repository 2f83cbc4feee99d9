"""How maps and masks of many items move through one process: in memory that is used again, on a GPU by streams of their
own, so that one item comes while another is computed and a third leaves."""

import contextlib

import numpy as np

from gpumask import backend
from gpumask.batching.rings import Ring
from gpumask.errors import GpumaskError
from gpumask.job.creation import Carrier
from gpumask.uncached import HEADER_BYTES

MAPS = 2  # at a time: one read or waiting, one computed; memory touched for the first time is dear
DEVICE_MAPS = 3  # one read, one sent, one computed
DEVICE_MASKS = 3  # one fetched, one that waits, one written


def of(device):
    """The lanes of a process whose items are made on `device`, as :func:`gpumask.backend.choose` understands it."""
    try:
        chosen = backend.choose(device)[0]
    except GpumaskError:  # each item will say so
        chosen = "cpu"
    if chosen == "cpu":
        return Lanes()
    import cupy

    return DeviceLanes(cupy)


class Lanes:
    """Host memory for the maps and the files of all items."""

    def __init__(self):
        self.maps, self.files = Ring(MAPS), Ring(1)

    def passage(self):
        """The way of one item."""
        return Passage(self)

    def computing(self):
        """A context for what computes."""
        return contextlib.nullcontext()


class Passage(Carrier):
    """The way of one item: its slots of the rings, and who may use them when.

    :meth:`send` is called when the map has been read, :meth:`left` when the mask is made, :meth:`arrive` before it is
    written, :meth:`end` when nothing of the item is looked at any more, however far it came.
    """

    def __init__(self, lanes):
        self.lanes, self.map, self.file = lanes, None, None

    def room(self, size):
        """Memory to read the map's file into."""
        self.map = self.lanes.maps.take(size)
        return self.map

    def image(self, size):
        """Memory that the mask's file is put together in."""
        if self.file is None:
            self.file = self.lanes.files.take(size)
        return self.file

    def send(self, volume):
        """Begin to bring a map that has been read to where it is computed."""

    def left(self):
        """The map is not needed any more."""
        if self.map is not None:
            self.lanes.maps.give(self.map)
            self.map = None

    def end(self):
        """Give back what is taken."""
        self.arrive()
        self.left()
        if self.file is not None:
            self.lanes.files.give(self.file)
            self.file = None


class DeviceLanes(Lanes):
    """Pinned memory, and a stream for each direction and for computing.

    CuPy's pool keeps the memory of each stream apart: an array that is freed may be overwritten by what its own stream
    does next. So whatever another stream still does with it is waited for first.
    """

    def __init__(self, cupy):
        self.cupy = cupy
        self.maps, self.files = Ring(DEVICE_MAPS, self._pinned), Ring(DEVICE_MASKS, self._pinned)
        self.up, self.compute, self.down = (cupy.cuda.Stream(non_blocking=True) for _ in range(3))

    def passage(self):
        return DevicePassage(self)

    def computing(self):
        return self.compute

    def _pinned(self, size):
        """Pinned memory of its own: CuPy's pool would keep what the ring lets go of."""
        try:
            memory = self.cupy.cuda.PinnedMemoryPointer(self.cupy.cuda.PinnedMemory(size), 0)
        except self.cupy.cuda.runtime.CUDARuntimeError as error:
            raise MemoryError(f"{size} bytes of host memory could not be pinned: {error}") from error
        return np.frombuffer(memory, np.uint8, size)

    def mark(self, stream):
        """An event that comes when all that `stream` has been given so far is done."""
        event = self.cupy.cuda.Event(disable_timing=True)
        event.record(stream)
        return event


class DevicePassage(Passage):
    """The way of one item over a GPU."""

    def __init__(self, lanes):
        super().__init__(lanes)
        self.sent = self.here = self.fetched = self.there = None

    def send(self, volume):
        cupy, up = self.lanes.cupy, self.lanes.up
        with up, contextlib.suppress(MemoryError):  # then it is placed when its turn comes
            array = cupy.empty(volume.shape, volume.data.dtype)
            array.set(volume.data, stream=up)
            self.here, self.sent = self.lanes.mark(up), volume.with_data(array)

    def place(self, volume, device):
        if self.sent is None or device == "cpu":
            return super().place(volume, device)
        self.lanes.compute.wait_event(self.here)
        return self.sent

    def fetch(self, volume):
        if not backend.is_cupy(volume.data):  # made on the CPU after all
            return volume
        down, size = self.lanes.down, volume.data.nbytes
        part = self.image(HEADER_BYTES + size)[HEADER_BYTES : HEADER_BYTES + size]
        target = part.view(volume.data.dtype).reshape(volume.shape)
        down.wait_event(self.lanes.mark(self.lanes.compute))
        self.fetched = volume.data
        volume.data.get(stream=down, out=target, blocking=False)
        self.there = self.lanes.mark(down)
        return volume.with_data(target)

    def left(self):
        if self.here is not None:
            self.here.synchronize()
        if self.map is not None:
            self.lanes.compute.synchronize()
        self.here = self.sent = None
        super().left()

    def arrive(self):
        if self.there is not None:
            self.there.synchronize()
        self.there = self.fetched = None
