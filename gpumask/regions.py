"""Clean-up of binary masks: components, dust, holes, clipping. numpy or CuPy bool arrays (z, y, x) in, same kind out.

Foreground is 26-connected and background 6-connected, so that a surface separates inside from outside.
"""

import math
from numbers import Integral, Real

from gpumask import backend, units
from gpumask.errors import InputRefused, UsageError

SLACK = 1e-6  # px², as for every distance: 7 Å / 1.4 Å must reach d = 5


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


def holding(foreground, markers):
    """Keep the components that hold a True voxel of `markers`, an array of the same shape.

    With the sets above two levels of one map, low and high, this is thresholding with hysteresis.
    """
    xp = backend.xp(foreground)
    kept = xp.zeros_like(foreground)
    box = bounding_box(foreground)
    if box is not None:
        labels, sizes = label(foreground[box])
        keep = xp.zeros(len(sizes) + 1, bool)
        keep[labels[markers[box]]] = True
        keep[0] = False
        kept[box] = keep[labels]
    return kept


def flood(foreground, voxel):
    """Keep the component that holds a voxel (z, y, x).

    Raises
    ------
    UsageError
        The voxel lies outside the box.
    InputRefused
        It is background.
    """
    check_inside(voxel, foreground.shape)
    if not bool(foreground[tuple(voxel)]):
        raise background_seed(voxel)
    marker = backend.xp(foreground).zeros_like(foreground)
    marker[tuple(voxel)] = True
    return holding(foreground, marker)


def check_inside(voxel, shape):
    """Refuse a seed (z, y, x) outside the box."""
    if not all(0 <= i < n for i, n in zip(voxel, shape, strict=True)):
        raise UsageError(f"the seed must lie in the box of {units.by(shape)} voxels, got voxel {units.xyz(voxel)}")


def background_seed(voxel):
    """The error of a seed in background."""
    return InputRefused(f"the seed, voxel {units.xyz(voxel)} (x, y, z), is background; move it or lower the threshold")


def clip(foreground, centre_px, radius_px, sampling=None, first=0):
    """Keep foreground within a sphere, ``d <= r``.

    Parameters
    ----------
    foreground : array of bool, shape (z, y, x)
    centre_px : tuple of float
        (z, y, x), corner-origin px.
    radius_px : float
    sampling : tuple of float, optional
        Voxel edges (z, y, x) in units of the smallest, for anisotropic voxels; the radius is in that unit then.
    first : int
        z of the first plane, where `foreground` is part of a box.
    """
    if not (isinstance(radius_px, Real) and 0 <= radius_px < math.inf):
        raise UsageError(f"clip radius must be >= 0 px, got {radius_px!r}")
    xp, starts = backend.xp(foreground), (first, 0, 0)
    z, y, x = (
        ((xp.arange(start, start + n) - centre) * edge) ** 2
        for start, n, centre, edge in zip(starts, foreground.shape, centre_px, sampling or (1, 1, 1), strict=True)
    )
    near = (z[:, None, None] + y[None, :, None]) + x[None, None, :] <= radius_px * radius_px + SLACK
    return foreground & near


def fill_holes(foreground):
    """Fill background that no 6-connected path joins to a face of the box."""
    box = bounding_box(foreground)
    filled = foreground.copy()
    if box is not None:
        around = backend.xp(foreground).pad(~foreground[box], 1, constant_values=True)
        labels, _ = backend.ndimage(foreground).label(around)
        filled[box] = (labels != labels[0, 0, 0])[1:-1, 1:-1, 1:-1]
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
