"""What a batch may use of this machine: CPUs, memory, GPUs. The one place that reads the environment of a batch."""

import math
import os
from pathlib import Path
from typing import NamedTuple

from gpumask import backend, cuda
from gpumask.errors import UsageError

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
MEMORY_SHARE = 0.8  # of what is free


class Environment(NamedTuple):
    """The variables that count, as numbers and names; None where they are not set."""

    cpus: int | None  # SLURM_CPUS_PER_TASK
    gpus: list | None  # CUDA_VISIBLE_DEVICES
    array: tuple | None  # SLURM's array: this task's id, the least, the largest, their step, how many
    task: tuple | None  # SLURM's tasks: this one's rank, how many


def environment():
    """Read the variables of SLURM and CUDA."""
    names = ("ID", "MIN", "MAX", "STEP", "COUNT")
    array = [_number(f"SLURM_ARRAY_TASK_{name}") for name in names]
    # of the step alone: in a script without srun SLURM_NTASKS counts tasks that no one has started
    task = [_number("SLURM_PROCID"), _number("SLURM_STEP_NUM_TASKS")]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = None
    if visible is not None:
        gpus = list(dict.fromkeys(name.strip() for name in visible.split(",") if name.strip()))
        if "-1" in gpus:  # CUDA itself sees what stands before it
            gpus = gpus[: gpus.index("-1")]
    return Environment(
        _number("SLURM_CPUS_PER_TASK"),
        gpus,
        None if array[0] is None else tuple(array),
        None if None in task else tuple(task),
    )


def _number(name):
    text = os.environ.get(name)
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name} must be a whole number, got {text!r}; unset it or give --shard I/N") from None


def cpus():
    """CPUs that may be used: this process's affinity, the quota of its cgroups, what SLURM gave its task."""
    from gpumask._cpu import threads

    limits = [threads.count(), _quota(), environment().cpus]
    return max(1, min(limit for limit in limits if limit))


def memory():
    """Bytes of host memory that may be used now: 80 % of what is free here and in this process's cgroups; None where
    the system does not say."""
    limits = [limit for limit in (backend.available_memory(), _cgroup_memory()) if limit is not None]
    return int(MEMORY_SHARE * min(limits)) if limits else None


def devices(asked):
    """The devices of a batch.

    Parameters
    ----------
    asked : str or None
        See :func:`gpumask.backend.choose`.

    Returns
    -------
    devices : list of str
        ``["cpu"]``, or what CUDA_VISIBLE_DEVICES is to be for each process with a GPU of its own.
    reason : str
    """
    device, reason = backend.choose(asked)
    if device == "cpu":
        return ["cpu"], reason
    visible = environment().gpus or [str(index) for index in range(cuda.cupy().cuda.runtime.getDeviceCount())]
    index = (asked or "").partition(":")[2]
    return ([visible[int(index)]] if index else visible), reason


def _groups():
    """Folders of the cgroups that this process is in, up to the root: ``{controller: [folder, …]}``; v2 is ''."""
    try:
        lines = OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        number, *rest = line.split(":", 2)
        if not number.isdigit() or len(rest) != 2:
            continue
        controllers, path = rest
        for controller in controllers.split(","):
            root = CGROUPS / controller if controller else CGROUPS
            inside = root / path.lstrip("/")
            within = [inside, *inside.parents]
            found[controller] = [folder for folder in within if folder == root or root in folder.parents]
    return found


def _read(path):
    """The words of a small file; none where it is not there."""
    try:
        return path.read_text().split()
    except OSError:
        return []


def _quota():
    """CPUs by the quota of the cgroups, rounded up; None without one."""
    groups, quotas = _groups(), []
    for folder in groups.get("", []):
        words = _read(folder / "cpu.max")
        if len(words) == 2 and words[0] != "max":
            quotas.append(int(words[0]) / int(words[1]))
    for folder in groups.get("cpu", []):
        quota, period = (_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        if quota and period and int(quota[0]) > 0:
            quotas.append(int(quota[0]) / int(period[0]))
    return max(1, math.ceil(min(quotas))) if quotas else None


def _cgroup_memory():
    """Bytes that may still be taken in the cgroups; None without a limit. Cached files count as free: the system drops
    them, those in use lately too, before it kills."""
    groups, left = _groups(), []
    names = [("", "memory.max", "memory.current", "")]
    names += [("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")]
    for controller, limit, usage, prefix in names:
        for folder in groups.get(controller, []):
            most, used = _read(folder / limit), _read(folder / usage)
            if most and used and most[0] != "max":
                words = _read(folder / "memory.stat")
                facts = dict(zip(words[::2], words[1::2], strict=False))
                cached = sum(int(facts.get(f"{prefix}{kind}active_file", 0)) for kind in ("", "in"))
                left.append(int(most[0]) - int(used[0]) + cached)
    return max(0, min(left)) if left else None
