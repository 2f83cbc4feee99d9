"""Clean-up of binary masks: components, dust, holes. numpy or CuPy bool arrays (z, y, x) in, the same kind out.

Foreground is 26-connected and background 6-connected, so that a surface separates inside from outside.
"""

import math
from numbers import Integral, Real

from gpumask import backend
from gpumask.errors import UsageError


def bounding_box(foreground):
    """The smallest box that holds every True voxel, as three slices, [lo, hi) an axis; None where there is none."""
    return backend.of(foreground).bounding_box(foreground)


def label(foreground):
    """Number the 26-connected components.

    Returns
    -------
    labels : array of int32
        0 for background, 1…n in the scan order (z, y, x) of the first voxel of each component.
    sizes : array of int64
        Voxels of components 1…n.
    """
    xp, ndimage = backend.xp(foreground), backend.ndimage(foreground)
    labels, count = ndimage.label(foreground, structure=xp.ones((3, 3, 3), bool))
    return labels, xp.bincount(labels.reshape(-1), minlength=count + 1)[1:]


def largest(foreground, count=1):
    """Keep the `count` largest components; of equal ones the first in scan order."""
    if not (isinstance(count, Integral) and count >= 1):
        raise UsageError(f"number of components to keep must be >= 1, got {count!r}")

    def keep(sizes, xp):
        kept = xp.zeros(len(sizes), bool)
        kept[xp.argsort(-sizes, kind="stable")[:count]] = True
        return kept

    return _select(foreground, keep)


def drop_dust(foreground, voxels):
    """Drop components of fewer than `voxels` voxels."""
    if not (isinstance(voxels, Real) and 0 <= voxels < math.inf):
        raise UsageError(f"dust volume must be >= 0, got {voxels!r}")
    return _select(foreground, lambda sizes, xp: sizes >= voxels)


def fill_holes(foreground):
    """Fill background that no 6-connected path joins to a face of the box."""
    box = bounding_box(foreground)
    if box is None:
        return foreground.copy()
    filled = foreground.copy()
    filled[box] = backend.ndimage(foreground).binary_fill_holes(foreground[box])
    return filled


def component_count(foreground):
    """Number of 26-connected components."""
    box = bounding_box(foreground)
    return 0 if box is None else backend.of(foreground).component_count(foreground[box])


def _select(foreground, keep):
    """The components for which ``keep(sizes)`` is True."""
    xp = backend.xp(foreground)
    selected = xp.zeros_like(foreground)
    box = bounding_box(foreground)
    if box is not None:
        labels, sizes = label(foreground[box])
        selected[box] = xp.concatenate([xp.zeros(1, bool), keep(sizes, xp)])[labels]
    return selected
