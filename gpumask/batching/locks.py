"""One run at a time on a folder: a lock file that says who holds it, and is flocked as long as it is held.

The flock tells on one host whether the holder lives, whatever process ids mean to whom asks. Where it says nothing,
which may be on a network's disk, the process id and the start of its process do.
"""

import contextlib
import json
import os
import re
import secrets
import socket
import time
from pathlib import Path

from gpumask.errors import WriteFailed

try:
    import fcntl
except ImportError:  # not a Unix system: process ids alone have to do
    fcntl = None

PROC = Path("/proc")
TAKEN = ".taken"  # the ending of a lock on its way out
PATIENCE, PAUSE = 1.0, 0.02  # s to wait for a flock that another may hold only to see whether the lock's process lives


def me():
    """Who this process is: host, its boot, process id, and its start in ticks since the boot, by which a process id
    that was given away again is told; no clock that can be set is asked."""
    return {"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "start": _start(os.getpid())}


@contextlib.contextmanager
def held(path, others=lambda: ()):
    """Hold the lock `path` in the block.

    The file is written, flocked and fsynced under a name of its own, and linked, which is atomic on NFS too. Only then
    are other locks looked at: of two runs that exclude each other and begin at once on two hosts, at least one sees the
    other and withdraws. A lock whose process is gone is removed; on another host that cannot be known, and the user is
    told what to remove.

    Parameters
    ----------
    path : str or Path
    others : callable
        Gives the locks that exclude this one.

    Yields
    ------
    bool
        Whether a run was killed here: one of the locks was left behind.

    Raises
    ------
    WriteFailed
        Another run has the folder, or the lock cannot be written.
    """
    path = Path(path)
    fresh = _beside(path, "")
    handle = None
    try:
        try:
            crashed = _clear(path)
            handle = _publish(fresh, path)
            for other in (*path.parent.glob(f"{path.name}-*{TAKEN}"), *others()):
                crashed |= not _is(handle, other) and _clear(other)
            _clear_litter(path)
        except FileExistsError:
            raise _refusal(path) from None
        except OSError as error:
            if isinstance(error, WriteFailed):
                raise
            raise WriteFailed(f"{path}: cannot be written: {error.strerror}; give a folder of yours") from error
        yield crashed
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        if handle is not None:
            for name in (path, *path.parent.glob(f"{path.name}-*{TAKEN}")):
                with contextlib.suppress(OSError):
                    if _is(handle, name):
                        name.unlink()
            os.close(handle)


def holder_of(path):
    """What a lock file says; None where there is none, {} where it says nothing."""
    try:
        found = json.loads(Path(path).read_text())
    except OSError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _publish(fresh, path):
    """Make the lock `path`, whole from the first; its open file, flocked where that is possible."""
    handle = _written(fresh)
    try:
        os.link(fresh, path)
    except FileExistsError:
        os.close(handle)
        raise
    except OSError:  # a file system without hard links
        os.close(handle)
        handle = _written(path)
    fresh.unlink()
    return handle


def _written(path):
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        _flock(handle)
        os.write(handle, (json.dumps(me()) + "\n").encode())
        os.fsync(handle)  # a crash of the machine leaves no lock that says nothing
    except OSError:
        os.close(handle)
        raise
    return handle


def _clear(path):
    """Remove a lock whose process is gone, and say whether there was one; refuse where it may be running.

    Of several that find it gone one alone removes it. Without a flock another may have made a lock of its own in
    between: that one then lies under the name by which it was taken away, where it still counts.
    """
    try:
        handle = _opened(path)
    except FileNotFoundError:
        return False
    try:
        if not _is_gone(path, handle):
            raise _refusal(path)
        if not _is(handle, path):
            return False
        taken = path if path.name.endswith(TAKEN) else _beside(path, TAKEN)
        if taken != path:
            path.rename(taken)
        if _is(handle, taken):
            taken.unlink()
        return True
    except FileNotFoundError:
        return False
    finally:
        os.close(handle)


def _clear_litter(path):
    """Remove what processes that were killed before they had the lock have written for it."""
    for litter in path.parent.glob(f"{path.name}-*"):
        made = re.fullmatch(r"(\d+)-[0-9a-f]+", litter.name[len(path.name) + 1 :])
        if made and (holder_of(litter) or not is_alive(int(made[1]))):  # one that says nothing may just be written
            with contextlib.suppress(WriteFailed):
                _clear(litter)


def _opened(path):
    try:
        return os.open(path, os.O_RDWR)  # an NFS disk flocks what can be written
    except PermissionError:
        return os.open(path, os.O_RDONLY)


def _is_gone(path, handle):
    """Whether the process that a lock names is known to run no more."""
    free, holder = _flock(handle), holder_of(path)
    here = bool(holder) and holder.get("host") == socket.gethostname()
    lives = here and _runs(holder)
    end = time.monotonic() + PATIENCE
    while free is False and not lives and time.monotonic() < end:
        time.sleep(PAUSE)
        free = _flock(handle)
    return free is not False and not lives and (here or (free and not holder))


def _runs(holder):
    """Whether a process of this host runs that is that of a lock."""
    pid = holder.get("pid")
    return (
        holder.get("boot") == _boot() and isinstance(pid, int) and is_alive(pid) and _start(pid) == holder.get("start")
    )


def is_alive(pid):
    """Whether a process of that number runs on this host; one that has ended and only was not waited for does not."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):  # another system, or it has just ended
        return True


def _flock(handle):
    """Take the flock of an open file: True, False where another has it, None where there are none."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _refusal(path):
    holder = holder_of(path) or {}
    if not holder:
        return WriteFailed(f"{path}: does not say which run works in this folder; where there is none, remove the file")
    more = "wait for it"
    if holder.get("host") != socket.gethostname():
        more = f"{socket.gethostname()} cannot tell whether it still runs; where it does not, remove the file"
    return WriteFailed(f"{path}: process {holder.get('pid')} on {holder.get('host')} works in this folder; {more}")


def _is(handle, path):
    """Whether a name is that of an open file."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _beside(path, ending):
    return path.with_name(f"{path.name}-{os.getpid()}-{secrets.token_hex(4)}{ending}")


def _boot():
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _start(pid):
    """Start of a process in ticks since the boot; None where the system does not say."""
    try:
        return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None
