"""``Σm(1 - m)`` and ``Σ|∇m|`` of each plane first <= z < last; central differences over the voxel `edges`, float64."""

import numpy as np

from gpumask._cpu import loops, threads


def edge_sums(planes, edges, first, last):
    compiled = loops.compiled()
    if not compiled:
        return plane_by_plane(planes, edges, first, last)
    planes = np.ascontiguousarray(planes)
    sums = np.empty((last - first, 2))
    threads.over_planes(
        lambda start, stop: compiled.edge_sums(planes, edges, sums, first, first + start, first + stop), last - first
    )
    return sums


def plane_by_plane(planes, edges, first, last):
    """The same by functions of whole arrays, which CuPy's arrays have too."""
    sums = np.empty((last - first, 2))
    for z in range(first, last):
        below, above = max(z - 1, 0), min(z + 1, len(planes) - 1)
        plane = planes[z].astype(np.float64)
        squares = ((planes[above].astype(np.float64) - planes[below]) / (max(above - below, 1) * edges[0])) ** 2
        for axis in (0, 1):
            if plane.shape[axis] > 1:
                squares += np.gradient(plane, edges[axis + 1], axis=axis) ** 2
        sums[z - first] = float((plane * (1 - plane)).sum()), float(np.sqrt(squares).sum())
    return sums
