"""Foreground as bits, 32 planes to a word: what the distance kernels read."""

from typing import Any, NamedTuple

import numpy as np

from gpumask import cuda

THREADS = 128
INFINITY = 0x7F800000  # the bits of float32 infinity


class Bits(NamedTuple):
    words: Any  # (ceil(nz / 32), ny, pitch) uint32, pitch = nx rounded up to 64
    occupancy: Any  # (ceil(nz / 32), ny, pitch / 32) uint8: 1 some foreground, 2 some background
    shape: tuple  # (nz, ny, nx) of the volume


def pack(foreground, inverted=False):
    """Bits of a bool or uint8 array, or of its complement."""
    return _launch("uint8", foreground, inverted, ())


def threshold(array, level, absolute=False, inverted=False):
    """Bits of ``array >= level``, or of ``|array| >= level``, for float32, or of the complement."""
    return _launch("float32", array, inverted, comparison(level, absolute))


def comparison(level, absolute):
    """``lowest, span, kept`` of threshold.cu."""
    lowest = _ordered(level)
    kept = 0x7FFFFFFF if absolute else 0xFFFFFFFF
    return np.int32(lowest), np.uint32(INFINITY - lowest), np.uint32(kept)


def _ordered(level):
    """An integer that compares with those of other floats as `level` does; -0 stands for both zeros."""
    bits = int(np.float32(level).view(np.int32)) if level != 0 else -(2**31)
    return bits if bits >= 0 else bits ^ 0x7FFFFFFF


def _launch(variant, array, inverted, scalars):
    cupy = cuda.cupy()
    nz, ny, nx = array.shape
    words, pitch = -(-nz // 32), -(-nx // 64) * 64
    bits = cupy.empty((words, ny, pitch), np.uint32)
    occupancy = cupy.empty((words, ny, pitch // 32), np.uint8)
    blocks = -(-bits.size // THREADS)
    arguments = (array, bits, occupancy, *map(np.int32, (nz, ny, nx, pitch)))
    arguments += (np.uint32(0xFFFFFFFF if inverted else 0), *scalars)
    if blocks:
        cuda.kernel("threshold", variant, "pack")((blocks,), (THREADS,), arguments)
    return Bits(bits, occupancy, array.shape)
