"""Files read and written past the system's cache, where the file system has a way.

Maps that are read once and masks that are written once gain nothing from the cache, and filling it costs processors
many times what the disk's own transfer does. Such a transfer asks for memory and places in the file that are a whole
number of blocks from the start. Where the file system refuses, all goes through the cache as usual.
"""

import errno
import os

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

BLOCK = 4096  # bytes; no disk asks for more
CHUNK = 16 << 20  # bytes of one transfer: larger ones are no faster
SMALL = 1 << 20  # bytes; what a smaller file costs is not its transfer
PROBED = 1 << 15  # bytes in the cache by which the rest of a chunk is taken to be there
DIRECT = getattr(os, "O_DIRECT", 0)


def blocks(size):
    """`size` bytes rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


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


def write(handle, memory, runs):
    """Write parts of a file.

    Parameters
    ----------
    handle : int
    memory : memoryview
        The file's bytes and more, as :func:`read` takes it.
    runs : list of (first, last)
        Bytes first <= place < last, whole blocks.

    Returns
    -------
    int
        Bytes handed to the system.
    """
    way = _Way(handle)
    way.past(True)
    for first, last in runs:
        place = first
        while place < last:
            place += way.go(os.pwritev, memory[place:last], place)
    way.past(False)
    return sum(last - first for first, last in runs)


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
