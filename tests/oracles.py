"""Obvious and slow: what the fast code is compared with."""

import numpy as np
from scipy import ndimage


def squared_distance(foreground):
    """Integer squared distance to the nearest True voxel, by scipy's unbounded transform; a huge number if none."""
    if not foreground.any():
        return np.full(foreground.shape, np.iinfo(np.int64).max)
    distance = ndimage.distance_transform_edt(~foreground)
    return np.rint(distance * distance).astype(np.int64)


def brute_squared_distance(foreground, voxel_size=(1.0, 1.0, 1.0)):
    """Squared distance by trying every foreground voxel; the sum is associated as (z + y) + x."""
    grid = np.indices(foreground.shape).astype(np.float64)
    best = np.full(foreground.shape, np.inf)
    wz, wy, wx = (v * v for v in voxel_size)
    for z, y, x in np.argwhere(foreground):
        d2 = ((grid[0] - z) ** 2 * wz + (grid[1] - y) ** 2 * wy) + (grid[2] - x) ** 2 * wx
        best = np.minimum(best, d2)
    return best


def within(foreground, radius):
    """Voxels whose centre lies within `radius` of a foreground voxel's centre, d <= r."""
    return squared_distance(foreground) <= np.floor(radius * radius + 1e-6)


def eroded(foreground, radius):
    """Voxels whose distance to the nearest background voxel is > r."""
    return ~within(~foreground, radius)


def cosine_mask(foreground, radius, width):
    """The default style in float64: dilation by `radius` (< 0 erodes), raised-cosine edge of `width` outside."""
    if radius < 0:
        foreground, radius = eroded(foreground, -radius), 0.0
    d2 = squared_distance(foreground)
    mask = (d2 <= np.floor(radius * radius + 1e-6)).astype(np.float64)
    d = np.sqrt(d2.astype(np.float64))
    edge = (mask == 0) & (d < radius + width)
    mask[edge] = 0.5 + 0.5 * np.cos(np.pi * (d[edge] - radius) / width)
    return mask


def relion_mask(foreground, extend, width):
    """RELION's autoMask in two passes: strict dilation, edge from the dilated set."""
    if extend > 0:
        foreground = squared_distance(foreground) < extend * extend
    elif extend < 0:
        foreground = squared_distance(~foreground) >= extend * extend
    d2 = squared_distance(foreground)
    mask = foreground.astype(np.float64)
    edge = ~foreground & (d2 < width * width)
    mask[edge] = 0.5 + 0.5 * np.cos(np.pi * np.sqrt(d2[edge]) / width)
    return mask


def watershed(array, level, merged):
    """Labels of steepest ascent, voxel by voxel; plateaus by flood."""
    around = {tuple(v): box(v, array.shape) for v in np.argwhere(array >= level).tolist()}
    goal = {v: max([v, *near], key=array.__getitem__) for v, near in around.items()}  # the first of equal ones
    climbs = {v for v in goal if goal[v] != v}
    for start in sorted(goal.keys() - climbs) if merged else ():
        if goal[start] != start:  # its plateau was met before
            continue
        plateau, border, todo = {start}, [], [start]
        while todo:
            equal = [n for n in around[todo.pop()] if array[n] == array[start]]
            border += [n for n in equal if n in climbs]
            todo += [n for n in equal if n not in climbs and n not in plateau]
            plateau.update(todo)
        goal.update(dict.fromkeys(plateau, min(border) if border else start))
    labels, number = np.zeros(array.shape, np.int32), {}
    for voxel in sorted(goal):
        end = voxel
        while goal[end] != end:
            end = goal[end]
        labels[voxel] = number.setdefault(end, len(number) + 1)
    return labels


def box(voxel, shape):
    """The neighbours of a voxel, 26 or fewer, in scan order."""
    steps = np.argwhere(np.ones((3, 3, 3))) - 1 + voxel
    return [
        tuple(n) for n in steps.tolist() if n != list(voxel) and all(0 <= i < s for i, s in zip(n, shape, strict=True))
    ]
