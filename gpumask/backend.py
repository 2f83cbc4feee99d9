"""Which device, which body: the array decides; `choose` decides where a volume is placed."""

import contextlib
import os
import re
import sys
from pathlib import Path

from gpumask.errors import DeviceNotFound, UsageError

VARIABLE = "GPUMASK_DEVICE"
ASKED, FROM_VARIABLE = "asked for", f"from {VARIABLE}"


def is_cupy(array):
    """True for a CuPy array; never imports CuPy."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(array, cupy.ndarray)


def of(array):
    """The package with the bodies for `array`: ``_gpu`` for a CuPy array, else ``_cpu``."""
    if is_cupy(array):
        from gpumask import _gpu

        _check_device(array)
        return _gpu
    from gpumask import _cpu

    return _cpu


def xp(array):
    """cupy for a CuPy array, else numpy."""
    if is_cupy(array):
        _check_device(array)
        return sys.modules["cupy"]
    import numpy

    return numpy


def ndimage(array):
    """``cupyx.scipy.ndimage`` for a CuPy array, else ``scipy.ndimage``."""
    if is_cupy(array):
        import cupyx.scipy.ndimage

        return cupyx.scipy.ndimage
    import scipy.ndimage

    return scipy.ndimage


def to_numpy(array):
    """`array` in host memory."""
    return array.get() if is_cupy(array) else array


def current(where):
    """A context in which the device of an array, or ``cpu`` or ``cuda:N``, is the current one."""
    if isinstance(where, str):
        index = None if where == "cpu" else int(where.partition(":")[2] or 0)
    else:
        index = where.device.id if is_cupy(where) else None
    if index is None:
        return contextlib.nullcontext()
    import cupy

    return cupy.cuda.Device(index)


def _check_device(array):
    """Refuse an array of another GPU than the current one: a kernel would read its address on the wrong device."""
    there, here = array.device.id, sys.modules["cupy"].cuda.Device().id
    if there != here:
        raise UsageError(
            f"the array is on cuda:{there} but the current device is cuda:{here}; "
            f"call inside `with cupy.cuda.Device({there}):`"
        )


def synchronize(array):
    """Wait for what is under way on the device of a CuPy array, so that it can be timed."""
    if is_cupy(array):
        xp(array).cuda.get_current_stream().synchronize()


def choose(device=None):
    """Decide where volumes are placed.

    Parameters
    ----------
    device : str, optional
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. Without it the variable GPUMASK_DEVICE counts, else ``auto``.

    Returns
    -------
    device : str
        ``cpu`` or ``cuda:N``.
    reason : str
        Why, in a few words.

    Raises
    ------
    UsageError
        None of the words above.
    DeviceNotFound
        A CUDA device was demanded and cannot be used; ``auto`` falls back to the CPU, a demand never does.
    """
    source = ASKED
    if device is None:
        device = os.environ.get(VARIABLE) or "auto"
        source = FROM_VARIABLE
    match = re.fullmatch(r"(auto|cpu|cuda)(?::(\d+))?", device)
    kind, index = match.groups() if match else (None, None)
    if match is None or (index and kind != "cuda"):
        raise UsageError(f"device must be auto, cpu, cuda or cuda:N, got {device!r}")
    if kind == "cpu":
        return "cpu", source
    missing, found = _cuda_device(int(index or 0))
    if missing and kind == "cuda":
        raise DeviceNotFound(missing)
    if missing:
        return "cpu", missing
    return f"cuda:{int(index or 0)}", f"{source}: {found}" if kind == "cuda" else found


def _cuda_device(index):
    """``(why it cannot be used or None, its name)`` of a CUDA device."""
    from gpumask import cuda

    missing = cuda.missing()
    if missing:
        return missing, None
    runtime = cuda.cupy().cuda.runtime
    count = runtime.getDeviceCount()
    if index >= count:
        return f"cuda:{index} was asked for, the devices here are cuda:0 to cuda:{count - 1}", None
    return None, runtime.getDeviceProperties(index)["name"].decode()


def place(volume, device):
    """The same Volume with its data on `device` (``cpu`` or ``cuda:N``)."""
    return volume.with_data(place_array(volume.data, device))


def place_array(array, device):
    """`array` on `device` (``cpu`` or ``cuda:N``)."""
    if device == "cpu":
        return to_numpy(array)
    import cupy

    with current(device):
        return cupy.asarray(array)


def is_demanded(reason):
    """Whether the reason that :func:`choose` gave says that the device was demanded, so that nothing else will do."""
    return reason.startswith((ASKED, FROM_VARIABLE))


def device_memory(device):
    """Bytes that can still be taken on ``cuda:N``, its pool's free blocks included."""
    import cupy

    with current(device) as used:
        return used.mem_info[0] + cupy.get_default_memory_pool().free_bytes()


def free_memory(device):
    """Give back what CuPy keeps for later on ``cuda:N``: memory pools and plans of transforms."""
    import cupy

    with current(device):
        cupy.fft.config.get_plan_cache().clear()
        cupy.get_default_memory_pool().free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()


def available_memory():
    """Bytes of host memory that can be used now, or None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def first_call_seconds(device):
    """What the first mask of a process costs before it computes: loading, compiling or finding compiled code."""
    import time

    import numpy

    start = time.perf_counter()
    with current(device):
        base = place_array(numpy.ones((2, 2, 2), bool), device)
        costs = (numpy.arange(2, dtype=numpy.uint16),) * 3
        table = place_array(numpy.ones(3, numpy.float32), device)
        bodies = of(base)
        soft = bodies.soft_mask(base, costs, numpy.uint16(2), table)
        bodies.survey(soft)
        bodies.edge_sums(soft, (1.0, 1.0, 1.0), 0, 2)
        bodies.component_count(base)
        synchronize(base)
    return time.perf_counter() - start


def facts():
    """What this machine has: CPU threads, memory, versions, and what was found of a GPU; a dict for ``doctor``."""
    import platform
    from importlib import metadata

    from gpumask._cpu import threads

    versions = {}
    for package in ("numpy", "scipy", "mrcfile", "numba", "matplotlib", "cupy-cuda12x", "cupy-cuda13x"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    try:
        device, reason = choose()
    except DeviceNotFound as error:
        device, reason = "none", str(error)
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpu_threads": threads.count(),
        "memory_available_bytes": available_memory(),
        "packages": versions,
        "device": device,
        "device_reason": reason,
    }
