"""Sums over shells of a half transform, in float64, in an order that no thread changes."""

import numpy as np
import scipy

from gpumask._cpu import loops, threads

CHUNK = 2**20  # bytes of lines that a thread transforms at a time: what an L2 cache can hold


def shell_sums(a, b, squares, weights, count):
    compiled = loops.compiled()
    body = compiled.shell_sums if compiled else _shell_sums
    partial = np.zeros((len(a), count))
    threads.over_planes(lambda start, stop: body(a, b, *squares, weights, partial, start, stop), len(a))
    return partial.sum(axis=0)


def shell_products(a, b, squares, weights, count):
    compiled = loops.compiled()
    if not compiled:
        return tuple(shell_sums(x, y, squares, weights, count) for x, y in ((a, b), (a, a), (b, b)))
    partial = np.zeros((len(a), 3, count))
    threads.over_planes(
        lambda start, stop: compiled.shell_products(a, b, *squares, weights, partial, start, stop), len(a)
    )
    return tuple(partial.sum(axis=0))


def shell_power(array, shape, squares, weights, count, each=None):
    compiled = loops.compiled()
    fold = compiled.folded_power if compiled else _folded_power
    depth, height, width = shape
    columns = np.empty((depth, array.shape[1], width // 2 + 1), np.complex64)
    partial = np.zeros((depth // 2 + 1, count))
    line = columns.itemsize * columns.shape[2]
    rows_at_once, planes_at_once = max(1, CHUNK // (depth * line)), max(1, CHUNK // (2 * height * line))

    def upward(start, stop):
        for first in range(start, stop, rows_at_once):
            part = slice(first, min(first + rows_at_once, stop))
            rows = scipy.fft.rfft(np.asarray(array[:, part], np.float32), n=width, axis=2)
            columns[:, part] = scipy.fft.fft(rows, n=depth, axis=0, overwrite_x=True)

    def across(start, stop):
        for first in range(start, stop, planes_at_once):
            last = min(first + planes_at_once, stop)
            planes = [
                *range(first, last),
                *(depth - plane for plane in range(first, last) if 0 < plane < depth - plane),
            ]
            block = scipy.fft.fft(columns[planes], n=height, axis=1, overwrite_x=True)
            fold(block, *squares, weights, partial, first, last)
            if each:
                each(planes, range(height), block)

    threads.over_planes(upward, array.shape[1])
    threads.over_planes(across, len(partial))
    return partial.sum(axis=0)


def _shell_sums(a, b, z, y, x, weights, partial, start, stop):
    """Plane by plane into `partial`, for start <= plane < stop."""
    across = y[:, None] + x[None, :]
    for plane in range(start, stop):
        shell = (np.sqrt(across + z[plane]) + 0.5).astype(np.intp)
        here, there = a[plane], b[plane]
        product = here.real.astype(np.float64) * there.real + here.imag.astype(np.float64) * there.imag
        partial[plane] = np.bincount(shell.reshape(-1), (product * weights).reshape(-1), partial.shape[1])


def _folded_power(block, z, y, x, weights, partial, start, stop):
    """Plane by plane into `partial`, for start <= plane < stop; `block` holds these planes, then their mates at -kz."""
    half = len(y) // 2 + 1
    power = block.real.astype(np.float64) ** 2 + block.imag.astype(np.float64) ** 2
    power[:, 1 : (len(y) + 1) // 2] += power[:, : len(y) // 2 : -1]
    across = y[:half, None] + x
    mates = iter(power[stop - start :, :half])
    for plane in range(start, stop):
        values = power[plane - start, :half]
        if 0 < plane < len(z) - plane:
            values = values + next(mates)
        shell = (np.sqrt(across + z[plane]) + 0.5).astype(np.intp)
        partial[plane] = np.bincount(shell.reshape(-1), (values * weights).reshape(-1), partial.shape[1])
