"""Files with holes: pieces of zeros are not written, the file system makes them up when they are read."""

import os

import numpy as np

from gpumask import uncached
from gpumask.uncached import BLOCK

SPARE = 0.1  # of what is written, that may be zeros: each write costs a processor as much as some 50 kB more


class Write:
    """Chunks for :func:`gpumask.io.write_files`: the header, and the blocks with a byte other than 0, in runs.

    Parameters
    ----------
    header, data : bytes-like
        Of an MRC file.
    filled : array of bool
        Of each of so many equal pieces of the data (the last may be shorter) whether it is to be written.
    piece : int
        Bytes of a piece.
    room : callable
        ``room(size)`` gives memory for the file, see :func:`gpumask.uncached.write`; it is asked for where the data do
        not lie so that they can be written from where they are.

    Attributes
    ----------
    bytes : int
        What was handed to the system.
    """

    def __init__(self, header, data, filled, piece, room):
        self.header, self.data, self.room, self.bytes = header, np.frombuffer(data, np.uint8), room, 0
        self.size = len(header) + len(data)
        self.runs = blocks(filled, piece, len(header), self.size)

    def __call__(self, stream):
        handle = stream.fileno()
        os.ftruncate(handle, self.size)
        in_place = (self.data.ctypes.data - len(self.header)) % BLOCK == 0 and self.size >= 2 * BLOCK
        self.bytes = uncached.write(handle, self._parts_in_place() if in_place else self._parts_copied())
        os.ftruncate(handle, self.size)  # of the last block

    def _parts_in_place(self):
        """The data as they lie; only the first block and the last, which are not whole, from elsewhere."""
        offset, last = len(self.header), self.size // BLOCK * BLOCK
        first_block, last_block = uncached.aligned(np.empty(3 * BLOCK, np.uint8), 2 * BLOCK).reshape(2, BLOCK)
        first_block[:offset] = np.frombuffer(self.header, np.uint8)
        first_block[offset:] = self.data[: BLOCK - offset]
        last_block[: self.size - last] = self.data[last - offset :]
        yield first_block, 0
        for start, stop in self.runs:
            start, inner = max(start, BLOCK), min(stop, last)
            if start < inner:
                yield self.data[start - offset : inner - offset], start
            if stop > last:
                yield last_block, last

    def _parts_copied(self):
        image, offset = self.room(self.size), len(self.header)
        image[:offset] = np.frombuffer(self.header, np.uint8)
        for start, stop in self.runs:
            inner = slice(max(start, offset), min(stop, self.size))
            image[inner] = self.data[inner.start - offset : inner.stop - offset]
            yield image[start:stop], start


def blocks(filled, piece, offset, size):
    """Runs of whole blocks, first <= byte < last, that hold the `offset` bytes before the pieces and those filled,
    of a file of `size` bytes."""
    found = [[0, uncached.blocks(offset)]]
    for first, last in runs(filled):
        start = (offset + first * piece) // BLOCK * BLOCK
        stop = uncached.blocks(min(offset + last * piece, size))
        if start <= found[-1][1]:
            found[-1][1] = max(found[-1][1], stop)
        else:
            found.append([start, stop])
    return _joined(found)


def _joined(found):
    """The same runs, joined where the shortest gaps are, as long as these come to no more than SPARE."""
    found = np.array(found)
    gaps = found[1:, 0] - found[:-1, 1]
    order = np.argsort(gaps, kind="stable")
    apart = np.ones(len(gaps), bool)
    apart[order[np.cumsum(gaps[order]) <= SPARE * np.diff(found).sum()]] = False
    return np.stack([found[np.append(True, apart), 0], found[np.append(apart, True), 1]], axis=1).tolist()


def runs(filled):
    """(first, last + 1) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], filled, [False]])))
    return edges.reshape(-1, 2).tolist()
