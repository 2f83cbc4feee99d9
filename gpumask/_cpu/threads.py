"""How many CPU threads there are to use, and chunks of planes run on them."""

import os
from concurrent.futures import ThreadPoolExecutor


def count():
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def over_planes(function, planes):
    """Run ``function(start, stop)`` over chunks that cover ``range(planes)``, and wait for all of them.

    Chunks are smaller than planes / threads, since planes near the particle take longer than empty ones.
    """
    workers = count()
    step = max(1, -(-planes // (8 * workers)))
    chunks = [(start, min(start + step, planes)) for start in range(0, planes, step)]
    if workers == 1 or len(chunks) == 1:
        for start, stop in chunks:
            function(start, stop)
        return
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(function, *chunk) for chunk in chunks]:
            done.result()
