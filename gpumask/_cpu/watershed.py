"""Regions of steepest ascent: each foreground voxel goes to its highest neighbour of 26, on and on, to a maximum.

Of equally high neighbours the first in scan order counts. A voxel without a higher neighbour is flat. Where plateaus
are merged, flat voxels of one value that touch are one, and where an equal voxel that climbs borders them, all go
where the first such voxel in scan order goes. Every choice is a minimum, so that no thread changes it.
"""

import itertools

import numpy as np
import scipy

from gpumask._cpu import loops, threads


def watershed(array, foreground, merged):
    """Labels 1…n in scan order of each region's first voxel, int32, 0 for background, and n."""
    compiled = loops.compiled()
    return _compiled_loops(compiled, array, foreground, merged) if compiled else _numpy(array, foreground, merged)


def _compiled_loops(compiled, array, foreground, merged):
    parent = np.empty(array.size, np.int32 if array.size < 2**31 else np.int64)
    ties = np.zeros(len(array), bool)
    threads.over_planes(lambda start, stop: compiled.ascend(array, foreground, parent, ties, start, stop), len(array))
    if merged and ties.any():
        compiled.merge_plateaus(array, parent, ties)
    labels = np.zeros(array.shape, np.int32)
    return labels, compiled.number_regions(parent, labels.reshape(-1))


def _numpy(array, foreground, merged):
    """On the foreground's voxels alone, in a box with a rim that nothing climbs to."""
    around = np.pad(array, 1, constant_values=-np.inf)
    voxels = np.flatnonzero(np.pad(foreground, 1))
    _, height, width = around.shape
    steps = [
        (z * height + y) * width + x for z, y, x in itertools.product((-1, 0, 1), repeat=3) if (z, y, x) != (0, 0, 0)
    ]
    flat = around.reshape(-1)
    values = flat[voxels]
    target, highest = voxels.copy(), values.copy()
    for step in steps:
        there = flat[voxels + step]
        higher = there > highest
        target[higher] = voxels[higher] + step
        highest[higher] = there[higher]
    place = np.zeros(around.size, np.intp)  # of a voxel among the foreground's
    place[voxels] = np.arange(len(voxels))
    parent = place[target]
    if merged:
        _merge_plateaus(parent, values, highest > values, voxels, flat, place, steps)
    while True:
        further = parent[parent]
        if np.array_equal(further, parent):
            break
        parent = further
    _, first, region = np.unique(parent, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int32)
    number[np.argsort(first)] = np.arange(1, len(first) + 1)
    labels = np.zeros(array.shape, np.int32)
    labels[foreground] = number[region]
    return labels, len(first)


def _merge_plateaus(parent, values, climbs, voxels, flat, place, steps):
    """Plateaus are joined along one step after another: most pairs are of one plateau by then."""
    plateaus = np.flatnonzero(~climbs)
    component, count = np.full(len(voxels), -1), len(plateaus)
    component[plateaus] = np.arange(count)
    goal = np.full(len(voxels), len(voxels))  # of a voxel on a plateau: the first that it borders and that climbs
    for step in steps:
        here = plateaus[flat[voxels[plateaus] + step] == values[plateaus]]
        there = place[voxels[here] + step]
        leaves = climbs[there]
        goal[here[leaves]] = np.minimum(goal[here[leaves]], there[leaves])
        ends = component[here[~leaves]], component[there[~leaves]]
        apart = ends[0] != ends[1]
        if apart.any():
            graph = scipy.sparse.coo_array((apart[apart], (ends[0][apart], ends[1][apart])), (count, count))
            count, joined = scipy.sparse.csgraph.connected_components(graph, directed=False)
            component[plateaus] = joined[component[plateaus]]
    first = np.full(count, len(voxels))
    np.minimum.at(first, component[plateaus], goal[plateaus])
    stays = plateaus[first[component[plateaus]] == len(voxels)]
    np.minimum.at(first, component[stays], stays)
    parent[plateaus] = first[component[plateaus]]
