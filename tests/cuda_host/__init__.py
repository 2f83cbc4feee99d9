"""Runs the CUDA kernels on the host, through the very code that launches them on a GPU.

`installed(Host())` puts numpy in the place of CuPy, and kernels built by g++ in the place of compiled ones, into
`gpumask.cuda`: then `gpumask._gpu` works on numpy arrays.
"""

import contextlib
import ctypes
import functools
import hashlib
import mmap
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import scipy.fft

from gpumask import cuda

SHIM = Path(__file__).with_name("shim.h")
CACHE = Path(tempfile.gettempdir()) / "gpumask-cuda-host"
COMPILER = shutil.which("g++")
FLAGS = ["-std=c++20", "-O2", "-g1", "-fPIC", "-shared", "-fopenmp", "-ffp-contract=off", "-w"]
BUILDS = {
    "plain": ("-fwrapv",),  # so that 32-bit indices overflow as they do on a GPU
    "address": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-fsanitize=thread", "-DTHREADS_AS_THREADS"),
}
MAXIMUM_SHARED = 48 * 1024
LARGE = 2**28  # bytes from which memory is reserved, not filled


class Host:
    """numpy and g++ standing in for CuPy and NVRTC.

    build    "plain", "address" (with UndefinedBehaviorSanitizer) or "thread"
    macros   added to those of each kernel, such as another TAP
    last     function -> how many blocks to run, the last ones: the corner of a volume too large to compute; else all
    """

    def __init__(self, build="plain", macros=None, last=None):
        self.build, self.macros, self.last = build, macros or {}, last or {}
        same = {name: getattr(np, name) for name in ("asarray", "ascontiguousarray", "cumsum", "zeros")}
        self.numpy = SimpleNamespace(**same, asnumpy=np.asarray, empty=_empty)

    def kernel(self, name, variant, function):
        source, options = cuda.program(name, {**cuda.VARIANTS[name][variant], **self.macros})
        return functools.partial(self.launch, library(source, options, self.build), function)

    def launch(self, library, function, grid, block, arguments, shared_mem=0):
        assert len(grid) == len(block) == 1
        assert grid[0] < 2**31
        assert block[0] <= 1024
        assert shared_mem <= MAXIMUM_SHARED
        sizes = getattr(library, f"argument_sizes_{function}")
        sizes.restype = ctypes.POINTER(ctypes.c_int)
        expected = list(iter(iter(sizes()).__next__, -1))
        given = [0 if isinstance(a, np.ndarray) else a.itemsize for a in arguments]
        assert given == expected, f"{function} takes arguments of {expected} bytes (0: a pointer), not {given}"
        slots = [np.array(a.ctypes.data) if isinstance(a, np.ndarray) else np.array(a) for a in arguments]
        pointers = (ctypes.c_void_p * len(slots))(*(slot.ctypes.data for slot in slots))
        first = max(0, grid[0] - self.last.get(function, grid[0]))
        launch = getattr(library, f"launch_{function}")
        launch.restype = None
        launch(grid[0], block[0], ctypes.c_size_t(shared_mem), first, grid[0], pointers)


@contextlib.contextmanager
def installed(host):
    """`gpumask.cuda` on `host` for a while."""
    saved = cuda.cupy, cuda.kernel, cuda.transforms
    cuda.cupy, cuda.kernel = (lambda: host.numpy), host.kernel
    cuda.transforms = lambda kept: contextlib.nullcontext(scipy.fft)
    try:
        yield
    finally:
        cuda.cupy, cuda.kernel, cuda.transforms = saved


def _empty(shape, dtype):
    """Memory full of rubbish; where it would be too much, only reserved (and zero)."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size >= LARGE:
        return reserved(shape, dtype)
    return np.full(size, 0xCD, np.uint8).view(dtype).reshape(shape)


def reserved(shape, dtype):
    """An array of zeros that takes memory only where it is touched."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    return np.frombuffer(mmap.mmap(-1, size, flags), dtype).reshape(shape)


@functools.cache
def library(source, options, build):
    """A kernel source as a shared library, compiled once for each content; of `options` only macros matter here."""
    defines = [option for option in options if option.startswith("-D")]
    command = [COMPILER, *FLAGS, *BUILDS[build], *defines]
    kernels = re.findall(r'extern "C" __global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(', source)
    exports = "\n".join(f"EXPORT({kernel})" for kernel in kernels)
    text = f'#include "{SHIM.name}"\n{source}\n{exports}\n'
    key = hashlib.sha256("\0".join([*command, text, SHIM.read_text()]).encode()).hexdigest()[:24]
    path = CACHE / f"{key}.so"
    if not path.exists():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            code = Path(folder, "kernel.cpp")
            code.write_text(text)
            built = Path(folder, "kernel.so")
            subprocess.run([*command, f"-I{SHIM.parent}", "-o", built, code], check=True)
            built.replace(path)
    return ctypes.CDLL(str(path))
