"""Sums over shells of a half transform, in float64, in an order that no thread changes."""

import numpy as np
import scipy.fft

from gpumask._cpu import loops, threads
from gpumask._cpu.bounding_box import bounding_box

PLANES = 8  # z planes of the transform that exist at a time, for each thread


def shell_sums(a, b, squares, weights, count):
    body = _body()
    partial = np.zeros((len(a), count))
    threads.over_planes(lambda start, stop: body(a, b, *squares, weights, partial, start, stop), len(a))
    return partial.sum(axis=0)


def shell_power(array, squares, weights, count):
    box = bounding_box(array != 0)
    if box is None:
        return np.zeros(count)
    body = _body()
    depth, height, width = array.shape
    workers = threads.count()
    rows = scipy.fft.rfft(np.ascontiguousarray(array[box], np.float32), n=width, axis=2, workers=workers)
    columns = scipy.fft.fft(rows, n=depth, axis=0, workers=workers, overwrite_x=True)
    partial = np.zeros((depth, count))

    def run(start, stop):
        for first in range(start, stop, PLANES):
            last = min(first + PLANES, stop)
            planes = scipy.fft.fft(columns[first:last], n=height, axis=1)
            z = squares[0][first:last]
            body(planes, planes, z, *squares[1:], weights, partial[first:last], 0, last - first)

    threads.over_planes(run, depth)
    return partial.sum(axis=0)


def _body():
    compiled = loops.compiled()
    return compiled.shell_sums if compiled else _shell_sums


def _shell_sums(a, b, z, y, x, weights, partial, start, stop):
    """Plane by plane into `partial`, for start <= plane < stop."""
    across = y[:, None] + x[None, :]
    for plane in range(start, stop):
        shell = (np.sqrt(across + z[plane]) + 0.5).astype(np.intp)
        here, there = a[plane], b[plane]
        product = here.real.astype(np.float64) * there.real + here.imag.astype(np.float64) * there.imag
        partial[plane] = np.bincount(shell.reshape(-1), (product * weights).reshape(-1), partial.shape[1])
