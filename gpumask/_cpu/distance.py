"""Bounded squared distance to the nearest foreground voxel.

Two passes over whole planes give the distance along z, then windowed minima along y and x finish each plane. numba runs
the same algorithm with early exits (``_compiled``); numpy otherwise. Identical results.
"""

import numpy as np

from gpumask._cpu import loops, threads
from gpumask._cpu.bounding_box import bounding_box


def distance(foreground, costs, cap, inverted=False):
    foreground = ~foreground if inverted else foreground
    return by_plane(foreground, costs, cap, np.full(foreground.shape, cap), None)


def by_plane(foreground, costs, cap, out, table):
    """Put ``min(d², cap)``, or ``table[min(d², cap)]`` where a table is given, into `out` within reach of the
    foreground; elsewhere `out` stays as it came."""
    box = bounding_box(foreground)
    if box is None:
        return out
    reaches = [len(cost) - 1 for cost in costs]
    box = tuple(slice(max(s.start - r, 0), s.stop + r) for s, r in zip(box, reaches, strict=True))
    foreground = np.ascontiguousarray(foreground[box])
    corner = tuple(s.start for s in box)
    far = reaches[0] + 1
    count = np.empty(foreground.shape, np.uint8 if far < 255 else np.uint16)
    cost_of_count = np.append(np.minimum(costs[0], cap), cap).astype(costs[0].dtype)
    compiled = loops.compiled()
    sweep = compiled.sweep if compiled else _sweep
    planes = compiled.planes if compiled else _planes
    threads.over_planes(lambda y0, y1: sweep(foreground, count, far, y0, y1), count.shape[1])
    threads.over_planes(
        lambda z0, z1: planes(count, cost_of_count, costs[1], costs[2], cap, table, out, corner, z0, z1), len(count)
    )
    return out


def _sweep(foreground, count, far, y0, y1):
    """count[z, y, x] = steps along z to the nearest foreground voxel, at most `far`, for y0 <= y < y1."""
    foreground, count = foreground[:, y0:y1], count[:, y0:y1]
    np.multiply(~foreground, count.dtype.type(far), out=count)
    one = count.dtype.type(1)
    for z in range(1, len(count)):
        np.minimum(count[z], count[z - 1] + one, out=count[z])
    for z in range(len(count) - 2, -1, -1):
        np.minimum(count[z], count[z + 1] + one, out=count[z])


def _planes(count, cost_of_count, y_cost, x_cost, cap, table, out, corner, z0, z1):
    """Finish planes z0 <= z < z1 of `count`, whose first voxel is at `corner` of `out`."""
    near = out[tuple(slice(c, c + n) for c, n in zip(corner, count.shape, strict=True))]
    for z in range(z0, z1):
        nearest = _window(_window(cost_of_count[count[z]], y_cost, cap, 0), x_cost, cap, 1)
        near[z] = nearest if table is None else table[nearest]


def _window(plane, cost, cap, axis):
    """min over k of plane shifted by k along `axis` + cost[|k|]."""
    plane = plane if axis == 0 else plane.T
    nearest = plane.copy()
    for k in range(1, min(len(cost), len(plane))):
        if cost[k] >= min(cap, nearest.max()):
            break
        np.minimum(nearest[k:], plane[:-k] + cost[k], out=nearest[k:])
        np.minimum(nearest[:-k], plane[k:] + cost[k], out=nearest[:-k])
    return nearest if axis == 0 else nearest.T
