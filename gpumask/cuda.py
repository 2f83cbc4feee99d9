"""How a CUDA kernel is found, pasted together, compiled and cached: the only module that knows CuPy's RawModule.

The sources are the package data ``gpumask/kernels/*.cu``. NVRTC compiles them for the device at hand on first use
and CuPy keeps the result on disk. A source is pasted together first, so that a changed header changes the key there.
"""

import contextlib
import ctypes
import functools
import os
import re
import time
from importlib import resources

from gpumask.errors import DeviceNotFound

TILE = {"SLAB": 8, "ROWS": 64}  # planes and rows of a tile of distance.cu

# The macros each kernel is compiled with, by name: what is not listed here is neither shipped nor tested.
VARIANTS = {
    "at_least": {"float32": {}},
    "threshold": {
        "float32": {"VALUE": "float", "THRESHOLD": 1},
        "uint8": {"VALUE": "unsigned char", "THRESHOLD": 0},
    },
    "distance": {
        f"window{window}-{result}": {"WINDOW": window, "TABLE": table, **TILE}
        for window in (32, 64)
        for table, result in enumerate(("distance", "table"))
    },
    "distance_general": {
        "uint16-distance": {"COST": "unsigned short", "TABLE": 0},
        "uint16-table": {"COST": "unsigned short", "TABLE": 1},
        "uint32-distance": {"COST": "unsigned int", "TABLE": 0},
        "uint32-table": {"COST": "unsigned int", "TABLE": 1},
        "float64-distance": {"COST": "double", "TABLE": 0},
    },
    "statistics": {
        "float32": {"DOUBLE": 0, "COLUMNS": 65536},
        "float64": {"DOUBLE": 1, "COLUMNS": 65536},
    },
    "shell_sums": {
        "complex64": {"DOUBLE": 0, "POWER": 0, "TRANSPOSED": 0},
        "complex64-power": {"DOUBLE": 0, "POWER": 1, "TRANSPOSED": 0},
        "complex64-power-transposed": {"DOUBLE": 0, "POWER": 1, "TRANSPOSED": 1},
        "complex128": {"DOUBLE": 1, "POWER": 0, "TRANSPOSED": 0},
        "complex128-power": {"DOUBLE": 1, "POWER": 1, "TRANSPOSED": 0},
    },
    "watershed": {"int32": {"INDEX": "int"}, "int64": {"INDEX": "long long"}},
}

# -fmad=false: a product and a sum round twice, as numpy rounds them. A kernel that wants a fused one writes fma().
OPTIONS = ("--std=c++14", "-fmad=false")

load_seconds = {}  # (kernel, variant, device) -> how long it took to compile it or to find it in CuPy's cache


def program(name, macros):
    """The source of kernel file `name` with its headers pasted in, and the compiler's options for `macros`."""
    options = [f"-D{key}={value}" for key, value in macros.items()]
    return _pasted(f"{name}.cu"), (*OPTIONS, *options)


def _pasted(file):
    lines = [f'#line 1 "{file}"']
    text = (resources.files("gpumask") / "kernels" / file).read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        header = re.fullmatch(r'#include "(.+)"', line)
        lines += [_pasted(header[1]), f'#line {number + 1} "{file}"'] if header else [line]
    return "\n".join(lines)


def kernel(name, variant, function):
    """A kernel to be called as ``kernel(grid, block, arguments, shared_mem=bytes)`` on the current device."""
    return _function(name, variant, function, cupy().cuda.Device().id)


@functools.cache  # RawModule.get_function makes a new kernel, looked up in the driver, each time
def _function(name, variant, function, device):
    return _module(name, variant, device).get_function(function)


@functools.cache
def _module(name, variant, device):
    start = time.perf_counter()
    source, options = program(name, VARIANTS[name][variant])
    module = cupy().RawModule(code=source, options=options)
    module.compile()
    load_seconds[name, variant, device] = time.perf_counter() - start
    return module


@contextlib.contextmanager
def transforms(kept):
    """``cupyx.scipy.fft`` for a while. CuPy keeps a work area with each plan of this thread: at the end those beyond
    `kept` bytes are freed, the least used first, and the limit that the caller may have set stays what it was.
    """
    import cupyx.scipy.fft

    plans = cupy().fft.config.get_plan_cache()
    try:
        yield cupyx.scipy.fft
    finally:
        limit = plans.get_memsize()
        if not 0 <= limit <= kept:
            plans.set_memsize(kept)
            plans.set_memsize(limit)


def available():
    """Whether kernels can be compiled and run here."""
    return missing() is None


@functools.cache
def cupy():
    """The cupy module; DeviceNotFound where it cannot be used."""
    reason = missing()
    if reason:
        raise DeviceNotFound(reason)
    import cupy

    return cupy


def missing():
    """What keeps kernels from running here and what to do about it, in one line; None if nothing does."""
    driver = _driver_version()
    if driver is None:
        return "no NVIDIA driver was found (libcuda); install the driver, or use the CPU"
    major, minor = driver // 1000, driver % 1000 // 10
    extra = f"gpumask[cuda{13 if major >= 13 else 12}"
    try:
        import cupy
    except ImportError as error:
        why = "is not installed" if error.name == "cupy" else f"cannot be imported ({_first_line(error)})"
        return f"the driver supports CUDA {major}.{minor} but CuPy {why}; pip install '{extra}]'"
    found = f"CuPy {cupy.__version__} and a driver for CUDA {major}.{minor} were found"
    try:
        usable = cupy.is_available()
    except Exception as error:  # CuPy 13 raises where the driver is older than its own CUDA
        return f"{found} but no device can be used ({_first_line(error)}); update the driver, or use the CPU"
    if not usable:
        return f"{found} but no usable CUDA device"
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:  # the type depends on CuPy's version
        return f"CuPy {cupy.__version__} cannot load NVRTC ({_first_line(error)}); pip install '{extra}-ctk]'"
    return None


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0]


def _driver_version():
    """1000 major + 10 minor of the newest CUDA the installed driver supports, or None without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    return version.value if driver.cuDriverGetVersion(ctypes.byref(version)) == 0 else None
