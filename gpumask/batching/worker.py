"""What runs in a worker process: tasks come as lines of JSON on standard input, results go back the same way.

Three threads, with a queue of one between them, so that an item is read and another written while one is computed.
"""

import ctypes
import json
import os
import queue
import signal
import sys
import threading
import traceback

PARENT_DIES = 1  # PR_SET_PDEATHSIG


def begin(parent, device, most, handles):
    """Be a worker from here on, in a process that has just been forked.

    Parameters
    ----------
    parent : int
        The process to die with.
    device : str
        ``cpu``, or what CUDA_VISIBLE_DEVICES is to be.
    most : int
        The threads to use.
    handles : tuple of int
        What standard input and output are to be.
    """
    die_with(parent)
    os.setsid()
    if device != "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    for handle, stream in zip(handles, (sys.stdin, sys.stdout), strict=True):
        os.dup2(handle, stream.fileno())
        os.close(handle)
    _or_end(lambda: serve(most))


def serve(most):
    """Do tasks until standard input ends."""
    results = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no result
    from gpumask._cpu import threads
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
    while (one := read.get()) is not None:
        one[1].step("compute")
        made.put(one)
        del one
    made.put(None)
    writing.join()
    os._exit(0)  # all is said; to take Python apart first takes as long as two maps


def _or_end(function):
    """Run a thread; where it fails, so does the process, instead of waiting for it for ever."""
    try:
        function()
    except BrokenPipeError:  # there is no one to be told any more
        os._exit(1)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def die_with(parent):
    """End with the process that started this one, however that ends: its work has no one to be told to any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DIES, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def told(code):
    """How a process ended, in words."""
    if code is None:
        return "it went with the process that it was forked from"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
