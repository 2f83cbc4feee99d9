"""Memory that is used again and again: fresh pages for every map cost as much as reading it."""

import threading

import numpy as np

from gpumask import uncached


class Ring:
    """A bounded number of slots of memory; who wants one more waits until one is given back.

    Parameters
    ----------
    most : int
        Slots that may be taken at a time.
    allocate : callable
        ``allocate(size)`` gives that many bytes as an array of uint8; by default host memory.
    """

    def __init__(self, most, allocate=None):
        self.most, self.allocate = most, allocate or (lambda size: np.empty(size, np.uint8))
        self._changed, self._taken, self._size, self._free = threading.Condition(), 0, 0, []

    def take(self, size):
        """A slot: an array of uint8, `size` rounded up to whole blocks, whose memory begins on one."""
        size = uncached.blocks(size)
        with self._changed:
            self._changed.wait_for(lambda: self._taken < self.most)
            self._taken += 1
            if size != self._size:  # what is kept would be beyond what the sizes of the maps were planned to take
                self._free.clear()
                self._size = size
            if self._free:
                return self._free.pop()
        try:
            memory = self.allocate(size + uncached.BLOCK)
        except BaseException:
            self.give(None)
            raise
        return uncached.aligned(memory, size)

    def give(self, slot):
        """Give a slot back; nothing may read or write it any more."""
        with self._changed:
            self._taken -= 1
            if slot is not None and slot.size == self._size:
                self._free.append(slot)
            self._changed.notify()
