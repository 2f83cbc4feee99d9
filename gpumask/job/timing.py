"""How long the steps of a job took."""

import time
from contextlib import contextmanager


@contextmanager
def timed(seconds, name):
    """Add the time of a step to the dict `seconds`."""
    start = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
