"""Files with holes: pieces of zeros are not written, the file system makes them up when they are read."""

import os

import numpy as np

from gpumask import uncached


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
    image : array of uint8
        Memory for the file, see :func:`gpumask.uncached.write`. The data may lie in it already, in their place.

    Attributes
    ----------
    bytes : int
        What was handed to the system.
    """

    def __init__(self, header, data, filled, piece, image):
        self.header, self.data, self.image, self.bytes = header, np.frombuffer(data, np.uint8), image, 0
        self.size = len(header) + len(data)
        self.runs = blocks(filled, piece, len(header), self.size)

    def __call__(self, stream):
        handle, offset = stream.fileno(), len(self.header)
        self.image[:offset] = np.frombuffer(self.header, np.uint8)
        if not np.may_share_memory(self.data, self.image):
            for first, last in self.runs:
                part = slice(max(first, offset), min(last, self.size))
                self.image[part] = self.data[part.start - offset : part.stop - offset]
        os.ftruncate(handle, self.size)
        self.bytes = uncached.write(handle, memoryview(self.image), self.runs)
        os.ftruncate(handle, self.size)  # of the last block


def blocks(filled, piece, offset, size):
    """Runs of whole blocks, first <= byte < last, that hold the `offset` bytes before the pieces and those filled,
    of a file of `size` bytes."""
    found = [[0, uncached.blocks(offset)]]
    for first, last in runs(filled):
        start = (offset + first * piece) // uncached.BLOCK * uncached.BLOCK
        stop = uncached.blocks(min(offset + last * piece, size))
        if start <= found[-1][1]:
            found[-1][1] = max(found[-1][1], stop)
        else:
            found.append([start, stop])
    return found


def runs(filled):
    """(first, last + 1) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], filled, [False]])))
    return edges.reshape(-1, 2).tolist()
