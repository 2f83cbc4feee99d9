"""Files with holes: rows of zeros are not written, the file system makes them up when they are read."""

import os

import numpy as np


class Write:
    """Chunks for :func:`gpumask.io.write_files`: the header, and the rows with a byte other than 0, in runs.

    Parameters
    ----------
    header, data : bytes-like
        Of an MRC file, see :func:`gpumask.io.encode`.
    rows : int
        In how many rows of one length the data lie.

    Attributes
    ----------
    bytes : int
        What was handed to the system.
    """

    def __init__(self, header, data, rows):
        self.header, self.data, self.rows, self.bytes = header, data, rows, 0

    def __call__(self, stream):
        handle, size = stream.fileno(), len(self.data) // self.rows
        os.ftruncate(handle, len(self.header) + len(self.data))
        self._put(handle, memoryview(self.header), 0)
        for first, last in runs(np.frombuffer(self.data, np.uint8).reshape(self.rows, size)):
            self._put(handle, self.data[first * size : last * size], len(self.header) + first * size)

    def _put(self, handle, data, place):
        while len(data):
            done = os.pwrite(handle, data, place)
            self.bytes += done
            data, place = data[done:], place + done


def runs(rows):
    """(first, last + 1) of each run of rows that have a byte other than 0."""
    width = next(word for word in (8, 4, 2, 1) if rows.shape[1] % word == 0)
    words = rows.view(f"u{width}")
    filled = np.concatenate([[False], np.bitwise_or.reduce(words, axis=1) != 0, [False]])
    ends = np.flatnonzero(filled[1:] != filled[:-1])
    return ends.reshape(-1, 2).tolist()
