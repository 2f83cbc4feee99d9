"""One run at a time on a folder: a lock file that says who holds it."""

import contextlib
import json
import os
import secrets
import socket
from pathlib import Path

from gpumask.errors import WriteFailed

try:
    import fcntl
except ImportError:  # not a Unix system: the link alone has to do
    fcntl = None

PROC = Path("/proc")


def me():
    """Who this process is: host, its boot, process id, and its start in ticks since the boot, by which a process id
    that was given away again is told; no clock that can be set is asked."""
    return {"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "start": _start(os.getpid())}


def is_running(holder):
    """Whether the process that a lock names runs; None where it is on another host and cannot be asked."""
    if holder.get("host") != socket.gethostname():
        return None
    pid = holder.get("pid")
    if holder.get("boot") != _boot() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _start(pid) == holder.get("start")


@contextlib.contextmanager
def held(path, others=()):
    """Hold the lock `path` in the block; refused while it or one of `others` is held by a process that may be running.

    The file is written under a name of its own and linked, which is atomic on NFS too. What a process that is gone has
    left behind on this host is removed; on another host that cannot be known, and the user is told what to remove.

    Raises
    ------
    WriteFailed
        Another run has the folder, or the lock cannot be written.
    """
    path, mine = Path(path), None
    fresh = path.with_name(f"{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with _alone(path.parent):
            try:
                fresh.write_text(json.dumps(me()) + "\n")
                for other in (path, *others):
                    _clear(other)
                _publish(fresh, path)
                mine = me()
                fresh.unlink()
                for litter in path.parent.glob(f"{path.name}-*"):
                    if is_running(holder_of(litter) or {}) is False:
                        litter.unlink(missing_ok=True)
            except FileExistsError:
                _refuse(path, holder_of(path))
            except OSError as error:
                if isinstance(error, WriteFailed):
                    raise
                raise WriteFailed(f"{path}: cannot be written: {error.strerror}; give a folder of yours") from error
        yield
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
            if mine is not None and holder_of(path) == mine:
                path.unlink()


def _publish(fresh, path):
    try:
        os.link(fresh, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with path.open("x") as stream:
            stream.write(fresh.read_text())


def holder_of(path):
    """What a lock file says; None where there is none, {} where it says nothing."""
    try:
        found = json.loads(Path(path).read_text())
    except OSError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _clear(path):
    """Remove a lock whose process is gone; refuse where it may be running."""
    holder = holder_of(path)
    if holder is None:
        return
    if is_running(holder) is False:
        path.unlink(missing_ok=True)
    else:
        _refuse(path, holder)


def _refuse(path, holder):
    holder = holder or {}
    where = f"process {holder.get('pid')} on {holder.get('host')}"
    more = "wait for it"
    if is_running(holder) is None:
        more = f"{socket.gethostname()} cannot tell whether it still runs; where it does not, remove the file"
    raise WriteFailed(f"{path}: {where} works in this folder; {more}")


@contextlib.contextmanager
def _alone(folder):
    """Only one process of this host at a time looks for a stale lock and takes it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise WriteFailed(f"{folder}: cannot be opened: {error.strerror}; give another folder with -o") from error
    try:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


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
