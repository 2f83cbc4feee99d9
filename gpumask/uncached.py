"""Files read and written past the system's cache, where the file system has a way.

Maps that are read once and masks that are written once gain nothing from the cache, and filling it costs processors
many times what the disk's own transfer does. Such a transfer asks for memory and places in the file that are a whole
number of blocks from the start. Where the file system refuses, all goes through the cache as usual.
"""

import errno
import math
import os

import numpy as np

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

HEADER_BYTES = 1024  # before the data of an MRC file
BLOCK = 4096  # bytes; no disk asks for more
CHUNK = 16 << 20  # bytes of one transfer: larger ones are no faster
SMALL = 1 << 20  # bytes; what a smaller file costs is not its transfer
PROBED = 1 << 15  # bytes in the cache by which the rest of a chunk is taken to be there
DIRECT = getattr(os, "O_DIRECT", 0)


def blocks(size):
    """`size` bytes rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def aligned(memory, size, offset=0):
    """The `size` bytes of `memory`, an array of uint8 with BLOCK more than these, from `offset` behind the beginning of
    a block on."""
    start = (offset - memory.ctypes.data) % BLOCK
    return memory[start : start + size]


def empty(shape, dtype):
    """An array like numpy's, in memory from which the data of an MRC file can be written as they lie."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return aligned(np.empty(size + BLOCK, np.uint8), size, HEADER_BYTES).view(dtype).reshape(shape)


def read(handle, memory, size):
    """Read the first `size` bytes of a file; those that the cache has are taken from it.

    Parameters
    ----------
    handle : int
        Of an open file.
    memory : memoryview
        Bytes whose address is a multiple of BLOCK, at least ``blocks(size)`` of them.
    size : int

    Returns
    -------
    int
        How many bytes there were.
    """
    way, done = _Way(handle), 0
    while done < size:
        chunk = memory[done : min(done + CHUNK, blocks(size))]
        way.past(size > SMALL and not _is_cached(handle, done + len(chunk) // 2))
        got = way.go(os.preadv, chunk, done)
        if not got:
            break
        done += got
    way.past(False)
    return min(done, size)


def write(handle, parts):
    """Write parts of a file.

    Parameters
    ----------
    handle : int
    parts : list of (memory, place)
        Bytes, whole blocks that begin on one, and where they go in the file.

    Returns
    -------
    int
        Bytes handed to the system.
    """
    way, total = _Way(handle), 0
    way.past(True)
    for memory, place in parts:
        done = 0
        while done < len(memory):
            done += way.go(os.pwritev, memory[done:], place + done)
        total += done
    way.past(False)
    return total


class _Way:
    """An open file whose transfers go past the cache, or through it."""

    def __init__(self, handle):
        self.handle, self.refused, self.is_past = handle, not DIRECT, False

    def past(self, wanted):
        """From now on past the cache or through it; past it only where that has not been refused."""
        wanted = wanted and not self.refused
        if wanted != self.is_past:
            flags = fcntl.fcntl(self.handle, fcntl.F_GETFL)
            try:
                fcntl.fcntl(self.handle, fcntl.F_SETFL, flags ^ DIRECT)
                self.is_past = wanted
            except OSError:
                self.refused = True

    def go(self, call, chunk, place):
        """One ``preadv`` or ``pwritev``; how many bytes it came to."""
        try:
            return call(self.handle, [chunk], place)
        except OSError as error:
            if not self.is_past or error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
        self.past(False)
        self.refused = True
        return call(self.handle, [chunk], place)


def _is_cached(handle, place):
    """Whether the cache has the file here; the probe is so small that what it reads ahead does not count."""
    try:
        return os.preadv(handle, [bytearray(PROBED)], place, os.RWF_NOWAIT) == PROBED
    except (OSError, AttributeError):  # it has not, or the system does not say
        return False
