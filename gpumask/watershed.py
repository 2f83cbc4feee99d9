"""Regions of a map: watershed by steepest ascent, grouping by smoothing, and what is known of each region.

The method of Segger (Pintilie et al., J. Struct. Biol. 170 (2010) 427), which ChimeraX's Segment Map is. Arrays are
(z, y, x), numpy or CuPy; positions and lengths are in voxels, corner-origin. Labels are 0 outside all regions.
"""

import itertools
import math
import sys
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple

from gpumask import backend, filters, mask, regions, units
from gpumask.errors import InputRefused, UsageError

STYLES = ("gpumask", "segger")
MOST_STEPS = 1000  # rounds of smoothing
HIGHEST = 3_037_000_498  # label: pairs of labels up to here are told apart as one int64
MARGIN = 4  # voxels around the points in which a climb is tried first


class Group(NamedTuple):
    """Regions that became one when the map was smoothed.

    Attributes
    ----------
    number : int
        n + 1 and on, after the n leaves and the groups before it.
    children : tuple of int
        Numbers of the leaves and groups that it joins, ascending.
    smoothing : float
        Standard deviation of the Gaussian, voxels.
    """

    number: int
    children: tuple
    smoothing: float


@dataclass(frozen=True, eq=False)
class Leaves:
    """What is known of each leaf; numpy arrays, index i is leaf i + 1.

    Attributes
    ----------
    voxels : array of int64, shape (n,)
    total, highest : array of float64, shape (n,)
        Sum and maximum of the map.
    peak : array of int64, shape (n, 3)
        (z, y, x) of the maximum, the first in scan order of equal ones.
    centre : array of float64, shape (n, 3)
        (z, y, x), the mean position of the voxels.
    low, high : array of int64, shape (n, 3)
        Bounding box [low, high).
    """

    voxels: Any
    total: Any
    highest: Any
    peak: Any
    centre: Any
    low: Any
    high: Any

    def __len__(self):
        return len(self.voxels)


def label(array, level, style="gpumask"):
    """Number the regions of a map at a level.

    Each voxel with ``v >= level`` points to the highest of its 26 neighbours if that is higher than itself; of equally
    high neighbours to the first in scan order. All voxels that end at the same maximum are one region.

    Parameters
    ----------
    array : array, shape (z, y, x)
        The map, taken as float32.
    level : float
        Rounded to float32, as :func:`mask.threshold` does.
    style : str
        What becomes of plateaus: voxels without a higher neighbour that touch (26) and have one value.
        ``gpumask``: a plateau is one maximum; but where an equal voxel that has a higher neighbour borders it, all of
        it goes where the first such voxel in scan order goes. ``segger``: each voxel of a plateau is a region of its
        own, as in Segger, so that a binary map falls into single voxels.

    Returns
    -------
    array of int32, shape (z, y, x)
        0 below the level, 1…n in scan order (z, y, x) of each region's first voxel, as Segger numbers them; the same
        to the bit on every device and number of threads.

    Raises
    ------
    UsageError
        The level is no finite number, the style is unknown, or the array has not three axes.
    InputRefused
        NaN or infinity in the map, or no voxel at or above the level.

    Examples
    --------
    >>> import numpy
    >>> label(numpy.array([[[1, 3, 2, 1, 4, 4, 0]]]), 1).tolist()
    [[[1, 1, 1, 2, 2, 2, 0]]]
    """
    if isinstance(level, bool) or not isinstance(level, Real) or not abs(level) <= sys.float_info.max:
        raise UsageError(f"level must be a finite number, got {level!r:.40}")
    if style not in STYLES:
        raise UsageError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
    xp = backend.xp(array)
    highest = _highest(array)
    array = xp.ascontiguousarray(array, xp.float32)
    foreground = mask.threshold(array, level)
    box = regions.bounding_box(foreground)
    if box is None:
        raise InputRefused(f"level {level:.6g} gives no region: the map's maximum is {highest:.6g}; lower it")
    labels = xp.zeros(array.shape, xp.int32)
    inside = (xp.ascontiguousarray(part[box]) for part in (array, foreground))
    labels[box], _ = backend.of(array).watershed(*inside, style == "gpumask")
    return labels


def group(array, labels, steps=4, step=1.0):
    """Group regions by smoothing: scale space.

    In round i = 1…steps the map is smoothed by a Gaussian of ``i·step`` voxels (:func:`filters.gaussian`). From the
    point of each region on the top level, its maximum, one climbs to the highest of 26 neighbours of the smoothed map
    and on, as in :func:`label`. Regions that come to one voxel become a group, whose point is that voxel; others keep
    theirs. The rounds end when one region is left. As in Segger, where N is `steps` and M is `step`.

    Parameters
    ----------
    array : array, shape (z, y, x)
        The map that was segmented, not smoothed.
    labels : array of int, shape (z, y, x)
        1…n for its regions.
    steps : int
        Rounds, at most; 0 for no groups.
    step : float
        Voxels.

    Returns
    -------
    tuple of Group
        By round, then by least child; empty where nothing joins.

    Raises
    ------
    UsageError
        `steps` is no whole number from 0 to 1000, or `step` none > 0; labels that are none, or of another shape.
    InputRefused
        NaN or infinity in the map, labels with gaps, or without any region.
    """
    if isinstance(steps, bool) or not isinstance(steps, Integral) or not 0 <= steps <= MOST_STEPS:
        raise UsageError(f"number of smoothing steps must be a whole number from 0 to {MOST_STEPS}, got {steps!r}")
    finest, coarsest = units.RESOLUTIONS[0], units.RESOLUTIONS[1] / max(steps, 1)
    if isinstance(step, bool) or not isinstance(step, Real) or not finest <= step <= coarsest:
        raise UsageError(f"smoothing step must be a number > 0 voxels ({finest:g} to {coarsest:g}), got {step!r}")
    import numpy

    _highest(array)
    if not steps:
        return ()
    points = leaves(labels, array).peak
    numbers = numpy.arange(1, len(points) + 1)
    groups, following = [], len(points) + 1
    for sigma in (turn * step for turn in range(1, steps + 1)):
        if len(numbers) == 1:
            break
        ends, place = numpy.unique(_climbed(array, points, sigma), axis=0, return_inverse=True)
        place = place.reshape(-1)
        members = [numbers[place == end] for end in numpy.flatnonzero(numpy.bincount(place) > 1)]
        alone = numpy.bincount(place)[place] == 1
        made = []
        for children in sorted(map(sorted, (m.tolist() for m in members))):
            made.append(Group(following + len(made), tuple(children), float(sigma)))
        points = numpy.concatenate([points[alone], *(ends[place[numbers == g.children[0]]] for g in made)])
        numbers = numpy.concatenate([numbers[alone], [g.number for g in made]]).astype(int)
        following += len(made)
        groups += made
    return tuple(groups)


def leaves(labels, array):
    """Voxels, sum, maximum, place and bounding box of each region.

    Parameters
    ----------
    labels : array of int, shape (z, y, x)
        1…n for the regions, 0 outside.
    array : array, shape (z, y, x)
        The map.

    Returns
    -------
    Leaves
        In host memory. Sums are added in scan order in float64, wherever the arrays are.

    Raises
    ------
    UsageError
        `labels` are no whole numbers >= 0, or not of the map's shape.
    InputRefused
        No region, or a number from 1 to the largest that no voxel has; NaN or infinity in a region.
    """
    import numpy
    from scipy import ndimage

    box = _box(labels, array)
    start = numpy.array([axis.start for axis in box])
    labels, array = (backend.to_numpy(part[box]) for part in (labels, array))
    count, found = int(labels.max()), numpy.flatnonzero(labels)
    region = labels.reshape(-1)[found].astype(numpy.intp) - 1
    voxels = numpy.bincount(region) if count <= len(found) else numpy.zeros(1, int)
    if not voxels.all():
        raise InputRefused(
            f"regions must have the numbers 1 to {count} without gaps, some have no voxel; renumber them"
        )
    values = _real(array).reshape(-1)[found].astype(numpy.float64)
    if not numpy.isfinite(values).all():
        raise InputRefused("the map holds NaN or infinity; replace them first")
    highest = numpy.full(len(voxels), -numpy.inf)
    numpy.maximum.at(highest, region, values)
    tops = numpy.flatnonzero(values == highest[region])
    first = tops[numpy.unique(region[tops], return_index=True)[1]]
    boxes = ndimage.find_objects(labels)
    return Leaves(
        voxels,
        numpy.bincount(region, values),
        highest,
        numpy.stack(numpy.unravel_index(found[first], labels.shape), axis=1) + start,
        numpy.stack(
            [numpy.bincount(region, axis) / voxels for axis in numpy.unravel_index(found, labels.shape)], axis=1
        )
        + start,
        numpy.array([[axis.start for axis in each] for each in boxes]) + start,
        numpy.array([[axis.stop for axis in each] for each in boxes]) + start,
    )


def contacts(labels):
    """Which regions share faces of voxels.

    Parameters
    ----------
    labels : array of int, shape (z, y, x)
        1…n for the regions, 0 outside.

    Returns
    -------
    array of int64, shape (m, 3)
        Rows (a, b, faces), a < b, sorted: how many faces of voxels lie between a and b. numpy.

    Raises
    ------
    UsageError
        `labels` are no whole numbers >= 0 in three axes, or above 3037000498.
    InputRefused
        No region.
    """
    import numpy

    xp, box = backend.xp(labels), _box(labels)
    labels = labels[box]
    base = int(labels.max()) + 1
    if base > HIGHEST + 1:
        raise UsageError(f"labels must be at most {HIGHEST}, got {base - 1}; renumber them")
    pairs = []
    for axis in range(3):
        along = xp.moveaxis(labels, axis, 0)
        a, b = along[:-1], along[1:]
        touching = (a != b) & (a > 0) & (b > 0)
        a, b = a[touching].astype(xp.int64), b[touching].astype(xp.int64)
        pairs.append(xp.minimum(a, b) * base + xp.maximum(a, b))
    pairs, faces = numpy.unique(backend.to_numpy(xp.concatenate(pairs)), return_counts=True)
    return numpy.stack([pairs // base, pairs % base, faces], axis=1).astype(numpy.int64)


def _map(array):
    if getattr(array, "ndim", None) != 3 or not array.size:
        raise UsageError(f"a map has three axes (z, y, x) and some voxels, got {getattr(array, 'shape', array)!r}")
    return array


def _real(array):
    if array.dtype.kind not in "biuf":
        raise UsageError(f"a map holds real numbers, got {array.dtype}")
    return array


def _highest(array):
    """The greatest value of a map as float32; refused where that holds NaN or infinity."""
    import numpy

    with numpy.errstate(over="ignore"):  # then it is infinity
        low, high = (float(numpy.float32(float(end))) for end in (_real(_map(array)).min(), array.max()))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputRefused("the map holds NaN or infinity; replace them first")
    return high


def _box(labels, array=None):
    """The bounding box of all regions."""
    if _map(labels).dtype.kind not in "iu" or int(labels.min()) < 0:
        raise UsageError(f"labels are whole numbers >= 0, got {labels.dtype} from {labels.min()}")
    if array is not None and array.shape != labels.shape:
        raise UsageError(
            f"labels and map must have one shape, got {units.by(labels.shape)} and {units.by(array.shape)} voxels"
        )
    box = regions.bounding_box(labels != 0)
    if box is None:
        raise InputRefused("there is no region: all labels are 0")
    return box


def _climbed(array, points, sigma):
    """Where the points (n, 3) come to in the map smoothed by `sigma` voxels; only its part around them is smoothed."""
    import numpy

    kernels = filters.gaussian_kernels(array.shape, sigma, 1)
    reach = numpy.array([len(kernel) // 2 for kernel in kernels])
    margin = MARGIN
    while True:
        low = numpy.maximum(points.min(axis=0) - margin, 0)
        high = numpy.minimum(points.max(axis=0) + 1 + margin, array.shape)
        outer = numpy.maximum(low - reach, 0)
        smooth = filters.convolve(array[_slices(outer, high + reach)], kernels)[_slices(low - outer, high - outer)]
        unknown = [(low > 0), (high < array.shape)]  # whether there is more of the map beyond the part's faces
        ends = _ascended(smooth, points - low, *unknown)
        if ends is not None:
            return ends + low
        margin *= 2


def _ascended(smooth, points, more_below, more_above):
    """Where the points climb to, or None where one came to a face beyond which there is more."""
    import numpy

    xp = backend.xp(smooth)
    around = xp.pad(smooth, 1, constant_values=-xp.inf)
    flat = around.reshape(-1)
    shape = numpy.array(around.shape)
    strides = numpy.array([shape[1] * shape[2], shape[2], 1])
    steps = [int(strides @ step) for step in itertools.product((-1, 0, 1), repeat=3)]
    at = xp.asarray((points + 1) @ strides)
    moving = xp.arange(len(points))
    while len(moving):
        here = at[moving]
        on_face = xp.zeros(len(here), bool)
        for axis in range(3):
            place = here // int(strides[axis]) % int(shape[axis])
            on_face |= (place == 1) & bool(more_below[axis]) | (place == int(shape[axis]) - 2) & bool(more_above[axis])
        if bool(on_face.any()):
            return None
        target, highest = here, flat[here]
        for step in steps:
            there = flat[here + step]
            higher = there > highest
            target, highest = xp.where(higher, here + step, target), xp.where(higher, there, highest)
        at[moving] = target
        moving = moving[target != here]
    return numpy.stack(numpy.unravel_index(backend.to_numpy(at), around.shape), axis=1) - 1


def _slices(low, high):
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
