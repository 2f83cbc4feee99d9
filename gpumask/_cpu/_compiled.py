"""The loops of ``distance`` compiled by numba, released from the GIL so that Python threads share the planes.

Sums are wrapped in the array's own type: numba widens uint16 + uint16 to 64 bits, which costs the vector units three
quarters of their width.
"""

import numpy as np
from numba import njit

_NO_TABLE = np.zeros(0, np.float32)


def _jit(function):
    """Compile on first call; keep the machine code on disk where the package or the home folder can be written."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no folder that it could cache in
        return njit(nogil=True)(function)


@_jit
def sweep(foreground, count, far, y0, y1):
    planes, _, width = foreground.shape
    for z in range(planes):
        for y in range(y0, y1):
            for x in range(width):
                count[z, y, x] = 0 if foreground[z, y, x] else far
    for z in range(1, planes):
        for y in range(y0, y1):
            _step(count[z, y], count[z - 1, y])
    for z in range(planes - 2, -1, -1):
        for y in range(y0, y1):
            _step(count[z, y], count[z + 1, y])


@_jit
def _step(here, neighbour):
    for x in range(here.size):
        here[x] = min(here[x], here.dtype.type(neighbour[x] + 1))


@_jit
def _lower(nearest, source, cost):
    for x in range(nearest.size):
        nearest[x] = min(nearest[x], nearest.dtype.type(source[x] + cost))


@_jit
def _highest(row):
    high = row[0]
    for x in range(row.size):
        high = max(high, row[x])
    return high


@_jit
def _minima_y(plane, lows, y, y_cost, nearest):
    """Row y of the minima along y into `nearest`; returns its largest value."""
    nearest[:] = plane[y]
    high = _highest(nearest)
    for k in range(1, y_cost.size):
        cost = y_cost[k]
        if cost >= high:
            break
        lowered = False
        if y >= k and lows[y - k] < high - cost:
            _lower(nearest, plane[y - k], cost)
            lowered = True
        if y + k < plane.shape[0] and lows[y + k] < high - cost:
            _lower(nearest, plane[y + k], cost)
            lowered = True
        if lowered:
            high = _highest(nearest)
    return high


@_jit
def _minima_x(padded, high, x_cost, nearest):
    """Minima along a row that has as many far voxels added on each side as the window is wide."""
    reach = x_cost.size - 1
    width = nearest.size
    nearest[:] = padded[reach : reach + width]
    for k in range(1, x_cost.size):
        cost = x_cost[k]
        if cost >= high:
            break
        _lower(nearest, padded[reach - k : reach - k + width], cost)
        _lower(nearest, padded[reach + k : reach + k + width], cost)
        if k % 4 == 0:
            high = _highest(nearest)


@_jit
def _planes(count, cost_of_count, y_cost, x_cost, cap, table, out, corner, z0, z1):
    _, height, width = count.shape
    reach = x_cost.size - 1
    plane = np.empty((height, width), cost_of_count.dtype)
    lows = np.empty(height, cost_of_count.dtype)
    padded = np.full(width + 2 * reach, cap, cost_of_count.dtype)
    middle = padded[reach : reach + width]
    nearest = np.empty(width, cost_of_count.dtype)
    for z in range(z0, z1):
        for y in range(height):
            low = cost_of_count[-1]
            for x in range(width):
                value = cost_of_count[count[z, y, x]]
                plane[y, x] = value
                low = min(low, value)
            lows[y] = low
        for y in range(height):
            high = _minima_y(plane, lows, y, y_cost, middle)
            _minima_x(padded, high, x_cost, nearest)
            row = out[z + corner[0], y + corner[1], corner[2] : corner[2] + width]
            if table.size:
                for x in range(width):
                    row[x] = table[int(nearest[x])]
            else:
                row[:] = nearest


def planes(count, cost_of_count, y_cost, x_cost, cap, table, out, corner, z0, z1):
    table = _NO_TABLE if table is None else table
    _planes(count, cost_of_count, y_cost, x_cost, cap, table, out, corner, z0, z1)


@_jit
def shell_sums(a, b, z, y, x, weights, partial, start, stop):
    shells = np.empty(x.size, np.int64)
    for plane in range(start, stop):
        sums = partial[plane]
        for row in range(y.size):
            for column in range(x.size):
                shells[column] = int(np.sqrt((y[row] + x[column]) + z[plane]) + 0.5)
            first, second = a[plane, row], b[plane, row]
            for column in range(x.size):
                here, there = first[column], second[column]
                product = np.float64(here.real) * there.real + np.float64(here.imag) * there.imag
                sums[shells[column]] += product * weights[column]
