"""How many CPU threads there are to use, and chunks of planes run on them."""

import os
from concurrent.futures import ThreadPoolExecutor

_most = None


def count():
    """CPUs this process may run on, and no more than :func:`limit` said."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cpus if _most is None else min(cpus, _most)


def limit(most):
    """Use at most so many threads from now on, where other processes share the CPUs; None for no limit."""
    global _most
    _most = most


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
