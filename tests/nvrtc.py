"""NVRTC through ctypes: CUDA source to machine code of any architecture, without a driver or a device."""

import ctypes
import functools
import re
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

WHEEL = "nvidia-cuda-nvrtc-cu12"
# What CuPy adds to the options of a RawModule (cupy/cuda/compiler.py).
CUPY_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")


class Usage(NamedTuple):
    registers: int
    spilled: int  # bytes stored and loaded
    stack: int  # bytes of local memory


@functools.cache
def library():
    """The NVRTC library of the wheel, or None where the wheel is not installed."""
    try:
        files = metadata.files(WHEEL)
    except metadata.PackageNotFoundError:
        return None
    path = next(file.locate() for file in files if re.fullmatch(r"libnvrtc\.so\.\d+", file.name))
    # The builtins are looked up by name: they must be loaded before they are asked for.
    for builtins in Path(path).parent.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(path))


def compile_for(architecture, source, options):
    """Resource usage of each kernel of `source` on sm_`architecture`; RuntimeError with the log on failure."""
    nvrtc = library()
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    options = [*options, *CUPY_OPTIONS, f"-arch=sm_{architecture}", "--ptxas-options=-v"]
    array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    status = nvrtc.nvrtcCompileProgram(program, len(options), array)
    log = _text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).decode()
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    if status:
        raise RuntimeError(log)
    return _usage(log)


def _text(get_size, get, program):
    size = ctypes.c_size_t()
    get_size(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    get(program, text)
    return text.value


def _usage(log):
    """Of each kernel, from the assembler's report."""
    pattern = (
        r"Function properties for (\w+)\D+(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers"
    )
    return {
        kernel: Usage(int(registers), int(stores) + int(loads), int(stack))
        for kernel, stack, stores, loads, registers in re.findall(pattern, log, re.DOTALL)
    }
