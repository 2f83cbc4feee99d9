"""Whether an input is still the file that it was, without reading all of it."""

import hashlib
import os

from gpumask.errors import InputNotFound

HEADER, BLOCKS, BLOCK = 1024, 64, 4096


def of(paths):
    """Fingerprint of the files that an item is made from.

    BLAKE2b over the size, the time of change and the bytes of the header and of 64 blocks of 4 KiB, evenly spread, of
    each file in turn.

    Parameters
    ----------
    paths : list of str or Path

    Returns
    -------
    digest : str
        32 hex digits.
    size : int
        Bytes of all files together.

    Raises
    ------
    InputNotFound
        A file cannot be opened or read.
    """
    digest, total = hashlib.blake2b(digest_size=16), 0
    for path in paths:
        try:
            with open(path, "rb", buffering=0) as stream:
                facts = os.fstat(stream.fileno())
                digest.update(f"{facts.st_size} {facts.st_mtime_ns};".encode())
                for start, length in _samples(facts.st_size):
                    digest.update(os.pread(stream.fileno(), length, start))
        except OSError as error:
            raise InputNotFound(f"{path}: cannot be read: {error.strerror or error}; check the name") from error
        total += facts.st_size
    return digest.hexdigest(), total


def brief(path):
    """Size of a file, and BLAKE2b (16 hex digits) of its first 4 KiB: whether it is still what a batch wrote. A mask's
    header and its provenance begin there; a copy of the file has the same."""
    with open(path, "rb", buffering=0) as stream:
        start = os.pread(stream.fileno(), BLOCK, 0)
        return os.fstat(stream.fileno()).st_size, hashlib.blake2b(start, digest_size=8).hexdigest()


def _samples(size):
    """(start, length) of what is read of a file."""
    if size <= HEADER + BLOCKS * BLOCK:
        return [(0, size)]
    last = size - BLOCK
    return [(0, HEADER), *((round(number * last / (BLOCKS - 1)), BLOCK) for number in range(BLOCKS))]
