"""Sums over shells of a half transform, in float64, in one order of addition on every device and every run.

Bytes per voxel of the box, counted, for an object that takes a share d of each axis: ``shell_power`` moves
20 + 16 d + 16 d² + 8 d³ (33 for d = 1/2), 16 of them in a buffer that an L2 cache of 40 MB holds; it reserves 4 d and
a few times `CHUNK`. A whole transform and its sums would move 28 and reserve 8 to 12. ``shell_sums`` reads each of its
arrays once, or one if both are the same.
"""

import numpy as np

from gpumask import cuda

COLUMNS, THREADS = 32, 256  # as in shell_sums.cu
BAND = 128  # rows of a block, at the most: 32 with their mates for each of its warps
SPAN = 384  # shells that a block holds at a time: 24 KB of shared memory; cubic boxes need 135
WINDOWS = 2**26  # bytes of the blocks' sums that exist at a time
CHUNK = 2**25  # bytes of lines that are transformed at a time: what an L2 cache can hold
PLANS = 2**26  # bytes of cuFFT's work areas that may stay


def shell_sums(a, b, squares, weights, count):
    cupy = cuda.cupy()
    dtype = np.promote_types(a.dtype, b.dtype)
    variant = dtype.name + ("-power" if a is b else "")
    a, b = (cupy.ascontiguousarray(array, dtype) for array in (a, b))
    partial = cupy.empty((len(a), count), np.float64)
    _adder(squares, weights, partial, variant)(a, b, 0)
    return cupy.asnumpy(partial).sum(axis=0)


def shell_products(a, b, squares, weights, count):
    return tuple(shell_sums(x, y, squares, weights, count) for x, y in ((a, b), (a, a), (b, b)))


def shell_power(array, shape, squares, weights, count, each=None):
    cupy = cuda.cupy()
    partial = cupy.empty((shape[0], count), np.float64)
    add = _adder(squares, weights, partial, "complex64-power-transposed")
    with cuda.transforms(PLANS) as fft:
        parts = list(_columns(array, shape, fft))
        for first, lines in _lines(parts, shape):
            lines = fft.fft(lines, axis=2, overwrite_x=True)
            add(lines, lines, first)
            if each:
                each(range(first, first + len(lines)), range(shape[1]), lines.transpose(0, 2, 1))
    return cupy.asnumpy(partial).sum(axis=0)


def _columns(occupied, shape, fft):
    """Transforms along x and z of the occupied rows, some rows at a time: arrays (rows, nx // 2 + 1, nz)."""
    cupy = cuda.cupy()
    nz, _, nx = shape
    half = nx // 2 + 1
    step = max(1, CHUNK // (8 * half * nz))
    for y in range(0, occupied.shape[1], step):
        rows = fft.rfft(occupied[:, y : y + step].astype(np.float32, copy=False), n=nx, axis=2)
        part = cupy.empty((rows.shape[1], half, nz), np.complex64)
        part[:, :, : len(rows)] = rows.transpose(1, 2, 0)
        part[:, :, len(rows) :] = 0
        yield fft.fft(part, axis=2, overwrite_x=True)


def _lines(parts, shape):
    """The same some planes at a time, to be transformed along y: first plane, array (planes, nx // 2 + 1, ny)."""
    cupy = cuda.cupy()
    nz, ny, nx = shape
    half = nx // 2 + 1
    step = max(1, CHUNK // (8 * half * ny))
    for first in range(0, nz, step):
        lines = cupy.empty((min(step, nz - first), half, ny), np.complex64)
        y = 0
        for part in parts:
            lines[:, :, y : y + len(part)] = part[:, :, first : first + step].transpose(2, 1, 0)
            y += len(part)
        lines[:, :, y:] = 0
        yield first, lines


def _adder(squares, weights, partial, variant):
    """``add(a, b, first)``: the sums of planes `first` and on into their rows of `partial`."""
    cupy = cuda.cupy()
    _, y, x = squares
    ny, nxh, count = len(y), len(x), partial.shape[1]
    half = y[: ny // 2 + 1]
    rows, columns = (x, half) if "transposed" in variant else (half, x)
    bands, runs = -(-len(rows) // BAND), -(-len(columns) // COLUMNS)
    band = -(-len(rows) // bands)
    # |k| differs by no more than the distance of two points does, and rounds to one shell more at the most.
    shells = int(np.hypot(_widest(rows, band), _widest(columns, COLUMNS)) + 1e-6) + 2
    passes = -(-shells // SPAN)
    span = -(-shells // passes)
    blocks = bands * runs * passes
    step = max(1, WINDOWS // (8 * blocks * span))
    squares_z, squares_y, squares_x, weights = (cupy.asarray(values) for values in (*squares, weights))
    sizes = tuple(map(np.int32, (ny, nxh, band, bands, runs, passes, span)))

    def add(a, b, first):
        windows = cupy.empty((min(step, len(a)), blocks, span), np.float64)
        lowest = cupy.empty(windows.shape[:2], np.int32)
        for start in range(0, len(a), step):
            here, there = a[start : start + step], b[start : start + step]
            planes = slice(first + start, first + start + len(here))
            arguments = (here, there, squares_z[planes], squares_y, squares_x, weights, windows, lowest, *sizes)
            kernel = cuda.kernel("shell_sums", variant, "shell_sums")
            kernel((len(here) * blocks,), (THREADS,), arguments, shared_mem=THREADS // 32 * span * 8)
            arguments = (windows, lowest, partial[planes], *map(np.int32, (count, blocks, span)))
            cuda.kernel("shell_sums", variant, "join")((len(here),), (THREADS,), arguments)

    return add


def _widest(squares, length):
    """How far the first and the last of `length` neighbours are from each other, in shells, at the most."""
    radii = np.sqrt(squares)
    first = np.arange(0, len(radii), length)
    return (radii[np.minimum(first + length, len(radii)) - 1] - radii[first]).max()
