"""A process from which workers are forked, so that what they all import and load is read once.

It is started as ``python -c``, has one thread and touches no GPU: a worker begins like a new process that has done its
imports.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from gpumask.batching import worker
from gpumask.errors import GpumaskError

# more would be started before the fork, and workers compute by threads of their own
BLAS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# nothing is imported but what is built in before the folders of the parent are set: -c looks in the current one first
START = "import sys; _, parent, *sys.path[:] = sys.argv; from gpumask.batching import nursery; nursery.run(int(parent))"
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of malloc.h
KEPT = 512 << 20  # bytes that are free in a worker and not given back
MESSAGE = 1 << 12  # bytes; no question or answer is longer


class Nursery:
    """The process as its parent sees it; it is started when it is first asked, and again where it was killed.

    Parameters
    ----------
    threads : int
        CPU threads of each worker.
    """

    def __init__(self, threads):
        self.threads, self.process, self.line = threads, None, None

    def fork(self, device, handles):
        """A worker's process id.

        Parameters
        ----------
        device : str
            ``cpu``, or what CUDA_VISIBLE_DEVICES is to be for it.
        handles : tuple of int
            What its standard input and output are to be.
        """
        for _ in range(2):
            if self.process is None:
                self._start()
            answer = self._ask([device, self.threads], handles)
            if isinstance(answer, int):
                return answer
            reason = answer or worker.told(self.end())
        raise GpumaskError(f"worker processes cannot start: {reason}")

    def reap(self, pid, kill):
        """Wait for a worker's end, or kill it; its exit code, None where it went with this process."""
        return self._ask([pid, kill])

    def end(self):
        """End this process, and with it all workers; its exit code."""
        if self.process is None:
            return None
        self.line.close()
        code, self.process = self.process.wait(), None
        return code

    def _start(self):
        if not hasattr(os, "fork"):
            raise GpumaskError("a batch forks its processes, which this system cannot: use Linux, or a Dask cluster")
        package = str(Path(__file__).resolve().parents[2])
        paths = [path for path in sys.path if isinstance(path, str)]  # Python passes over all else
        self.line, other = socket.socketpair()
        with other:
            self.process = subprocess.Popen(
                [sys.executable, "-c", START, str(os.getpid()), *paths, package],
                stdin=other,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL if sys.stderr is None else None,
                env={**os.environ, **dict.fromkeys(BLAS, "1")},
                start_new_session=True,  # an interrupt from the terminal is for the parent
            )

    def _ask(self, question, handles=()):
        """The answer, None where there is no one to give it."""
        try:
            socket.send_fds(self.line, [json.dumps(question).encode()], handles)
            answer = self.line.recv(MESSAGE)
        except OSError:
            return None
        except BaseException:  # an interrupt: the next answer would be to this question
            self.process.kill()
            raise
        return json.loads(answer) if answer else None


def run(parent):
    """Be that process, of the process `parent`: fork, and wait for what was forked, until no one asks any more."""
    worker.die_with(parent)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, as the caller may do, no one can be waited for
    _keep_memory()
    _load()
    line, own = socket.socket(fileno=sys.stdin.fileno()), os.getpid()
    while True:
        text, handles, *_ = socket.recv_fds(line, MESSAGE, 2)
        if not text:
            os._exit(0)  # all is said; to take Python apart first takes as long as two maps
        question = json.loads(text)
        if handles:
            answer = _fork(own, *question, handles)
            for handle in handles:
                os.close(handle)
        else:
            answer = _reap(*question)
        line.sendall(json.dumps(answer).encode())


def _fork(own, device, threads, handles):
    try:
        pid = os.fork()
    except OSError as error:
        return error.strerror
    if pid == 0:
        worker.begin(own, device, threads, handles)
    return pid


def _reap(pid, kill):
    try:
        ended, status = os.waitpid(pid, os.WNOHANG if kill else 0)
        if not ended:
            os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
        return os.waitstatus_to_exitcode(status)
    except ChildProcessError:  # of a process before this one, which took it along
        return None


def _keep_memory():
    """Have glibc use freed memory again, where it would hand each large array back: fresh pages for the arrays of a
    mask cost a tenth of making it."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_ARENA_MAX, 1)


def _load():
    """Import what workers need, and load the compiled loops of a mask by making a tiny one."""
    import numpy as np

    from gpumask import Volume, pipeline
    from gpumask.batching import lanes, work  # noqa: F401
    from gpumask.recipe import MaskRecipe

    box = np.zeros((8, 8, 8), np.float32)
    box[4, 4, 4] = 1
    pipeline.make(Volume(box, 1.0), MaskRecipe(threshold=0.5, dilation="1px", soft_edge="1px"))
