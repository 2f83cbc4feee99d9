"""How fast a disk gives what it holds, by reading a little of it past the system's cache."""

import mmap
import os
import time

SECONDS, LEAST, BLOCK = 0.3, 16 << 20, 4 << 20


def rate(path):
    """Bytes per second of reading `path`, for at most 0.3 s; None where it is too small to tell, or where the file
    system has no way past its cache."""
    if not hasattr(os, "O_DIRECT"):
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        return None
    with mmap.mmap(-1, BLOCK) as buffer:
        try:
            done, start = 0, time.perf_counter()
            while time.perf_counter() - start < SECONDS and (count := os.preadv(handle, [buffer], done)):
                done += count
                if count % mmap.PAGESIZE:
                    break
            seconds = time.perf_counter() - start
        except OSError:
            return None
        finally:
            os.close(handle)
    return done / seconds if done >= LEAST else None
