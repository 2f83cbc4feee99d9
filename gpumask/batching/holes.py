"""Files with holes: pieces of zeros are not written, the file system makes them up when they are read."""

import os

import numpy as np

from gpumask import uncached
from gpumask.uncached import BLOCK

SPARE = 0.1  # of what is written, that may be zeros: each write costs a processor as much as some 50 kB more


class Sparse:
    """How a mask is put into its file, for :meth:`gpumask.job.creation.Creation.write`.

    Parameters
    ----------
    room : callable
        ``room(size)`` gives memory for the file, see :func:`gpumask.uncached.write`; it is asked for where the data do
        not lie so that they can be written from where they are.
    dense : bool
        Write zeros too.

    Attributes
    ----------
    bytes : int
        What was handed to the system.
    """

    def __init__(self, room, dense):
        self.room, self.dense, self.bytes = room, dense, 0

    def whole(self, header, data, filled, piece):
        """Chunks for :func:`gpumask.io.write_files`: the header, and the blocks with a byte other than 0, in runs.

        Parameters
        ----------
        header, data : bytes-like
            Of an MRC file.
        filled : array of bool
            Of each of so many equal pieces of the data (the last may be shorter) whether it is to be written.
        piece : int
            Bytes of a piece.
        """
        filled = np.ones_like(filled) if self.dense else filled
        image = _Image(
            header, np.frombuffer(data, np.uint8), blocks(filled, piece, len(header), len(header) + len(data))
        )

        def write(stream):
            handle = stream.fileno()
            os.ftruncate(handle, image.size)
            parts = image.in_place() if image.lies_well else image.copied(self.room(image.size))
            self.bytes = uncached.write(handle, parts)
            os.ftruncate(handle, image.size)  # of the last block

        return write

    def slabs(self, stream):
        """``write(data)`` for what follows the header in a stream, which goes on over blocks of zeros."""
        self.bytes = uncached.HEADER_BYTES

        def write(data):
            values, place = np.frombuffer(data, np.uint8), stream.tell()
            starts = np.arange(-(place % BLOCK), len(values), BLOCK).clip(0)
            ends = [*starts[1:], len(values)]
            filled = np.ones(len(starts), bool) if self.dense else np.maximum.reduceat(values, starts) > 0
            for first, last in runs(filled):
                stream.seek(place + starts[first])
                self.bytes += stream.write(values[starts[first] : ends[last - 1]])
            stream.seek(place + len(values))

        return write


class _Image:
    """A file of a header and data, and the runs of blocks of it that are to be written.

    Its parts are what :func:`gpumask.uncached.write` takes.
    """

    def __init__(self, header, data, filled):
        self.header, self.data, self.runs = np.frombuffer(header, np.uint8), data, filled
        self.size = len(header) + len(data)

    @property
    def lies_well(self):
        """Whether the data begin as far behind a block in memory as they do in the file."""
        return (self.data.ctypes.data - len(self.header)) % BLOCK == 0 and self.size >= 2 * BLOCK

    def in_place(self):
        """The data as they lie; only the first block and the last, which are not whole, from elsewhere."""
        offset, last = len(self.header), self.size // BLOCK * BLOCK
        first_block, last_block = uncached.aligned(np.empty(3 * BLOCK, np.uint8), 2 * BLOCK).reshape(2, BLOCK)
        first_block[:offset] = self.header
        first_block[offset:] = self.data[: BLOCK - offset]
        last_block[: self.size - last] = self.data[last - offset :]
        yield first_block, 0
        for start, stop in self.runs:
            start, inner = max(start, BLOCK), min(stop, last)
            if start < inner:
                yield self.data[start - offset : inner - offset], start
            if stop > last:
                yield last_block, last

    def copied(self, image):
        """All put together in `image` first."""
        offset = len(self.header)
        image[:offset] = self.header
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
