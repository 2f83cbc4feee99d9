"""What runs in a worker process: tasks come as lines of JSON on standard input, results go back the same way.

Three threads, with a queue of one between them, so that an item is read and another written while one is computed.
"""

import contextlib
import ctypes
import json
import os
import queue
import signal
import sys
import threading
import traceback

PARENT_DIES = 1  # PR_SET_PDEATHSIG
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of malloc.h
KEPT = 512 << 20  # bytes that are free in a worker and not given back


def serve(parent, most):
    """Do tasks until standard input ends; `parent` is the process to die with, `most` the threads to use."""
    results = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no result
    _die_with(parent)
    _keep_memory()
    from gpumask._cpu import loops, threads
    from gpumask.batching import lanes, work

    threads.limit(most)
    results.write(b'"ready"\n')
    read, made = queue.Queue(1), queue.Queue(1)

    def reader():
        shared = None
        for line in sys.stdin.buffer:
            number, task = json.loads(line)
            shared = shared or lanes.of(task["device"])
            item = work.of(task, shared)
            item.step("read")
            read.put((number, item))
        read.put(None)

    def writer():
        while (one := made.get()) is not None:
            number, item = one
            item.step("write")
            results.write((json.dumps([number, item.result()], allow_nan=False) + "\n").encode())

    threading.Thread(target=_or_end, args=(reader,), daemon=True).start()
    writing = threading.Thread(target=_or_end, args=(writer,))
    writing.start()
    loops.compiled()  # while the first map is read
    while (one := read.get()) is not None:
        one[1].step("compute")
        made.put(one)
        del one
    made.put(None)
    writing.join()
    os._exit(0)  # all is said; to take Python apart first takes as long as two maps


def _keep_memory():
    """Have glibc use freed memory again, where it would hand each large array back: fresh pages for the arrays of a
    mask cost a tenth of making it."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_ARENA_MAX, 1)


def _or_end(function):
    """Run a thread; where it fails, so does the process, instead of waiting for it for ever."""
    try:
        function()
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _die_with(parent):
    """End with the process that started this one, however that ends: its work has no one to be told to any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DIES, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
