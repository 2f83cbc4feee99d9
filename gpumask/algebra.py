"""Several masks made into one, one particle shared out among bodies, and masks laid on maps; numpy or CuPy in, the
same kind out.

Bases are bool. Soft masks are float32 from 0 to 1; for them *and*, *or* and *not* are

============ ========================================== =======================================
`soft`       ``extremes`` (default)                     ``product``
============ ========================================== =======================================
a and b      ``min(a, b)``                              ``a·b``
a or b       ``max(a, b)``                              ``a + b - a·b``
a xor b      ``max(min(a, 1 - b), min(1 - a, b))``      ``a + b - 2·a·b``
not a        ``1 - a``                                  ``1 - a``
============ ========================================== =======================================

Both obey De Morgan's laws. With ``extremes`` a mask combined with itself stays what it is and an edge keeps its
profile; with ``product`` edges that cross stay smooth, and get narrower where they coincide.
"""

import math
from numbers import Real

from gpumask import backend, filters, mask, phases, regions
from gpumask.errors import InputRefused, UsageError

OPERATIONS = ("and", "or", "and-not", "or-not", "xor", "complement")
SOFT = ("extremes", "product")
FILLS = ("zero", "mean", "noise", "lowpass")
FIRST_REACH = 16  # px, at which the search for the nearest body begins
NOISE_CHUNK = 2**22  # voxels whose noise exists at a time


def base(array, level, style="euclidean", negated=False):
    """What of a map takes part in a combination, bool.

    ``v >= level`` as :func:`gpumask.mask.threshold`; in style ``relion`` ``v > level``, as the ``--and``, ``--or``,
    ``--and_not`` and ``--or_not`` of ``relion_mask_create`` compare. The level is rounded to float32 in both, as RELION
    reads it. `negated` gives what is outside, ``v < level`` in both styles: a voxel at the level itself is neither
    inside nor outside for RELION.
    """
    if style == "relion" and not negated:
        level = _above(level)
    inside = mask.threshold(array, level)
    return ~inside if negated else inside


def combined(operation, first, *others, soft="extremes"):
    """Combine masks voxel by voxel.

    Parameters
    ----------
    operation : str
        ``and``; ``or``; ``xor``: in an odd number of them; ``and-not``: in the first and in none of the others;
        ``or-not``: in the first or outside one of the others; ``complement``: what the others leave of the first,
        ``max(first - others, 0)`` with the *or* of the others: for bases the same as ``and-not``, for soft masks
        inside a soft particle the sum of the two is the particle.
    first, others : arrays, shape (z, y, x)
        All bool, or all float32 in [0, 1].
    soft : str
        ``extremes`` or ``product``, see the table above.

    Returns
    -------
    array
        bool for bases, else float32.
    """
    if operation not in OPERATIONS:
        raise UsageError(f"masks are combined by one of {', '.join(OPERATIONS)}; got {operation!r}")
    if soft not in SOFT:
        raise UsageError(f"soft masks are combined by one of {', '.join(SOFT)}; got {soft!r}")
    if len({array.dtype == bool for array in (first, *others)}) > 1:
        raise UsageError("bases (bool) and soft masks cannot be combined: give arrays of one kind")
    if any(array.shape != first.shape for array in others):
        shapes = ", ".join(str(tuple(array.shape)) for array in (first, *others))
        raise UsageError(f"masks to be combined must have one shape (z, y, x), got {shapes}")
    rules = _Bases if first.dtype == bool else {"extremes": _Extremes, "product": _Product}[soft]
    xp = backend.xp(first)
    if operation == "complement":
        union = _folded(rules.either, others, xp)
        return first if union is None else rules.without(first, union, xp)
    if operation.endswith("-not"):
        others = [inverted(array) for array in others]
    rule = {"and": rules.both, "or": rules.either, "xor": rules.one}[operation.removesuffix("-not")]
    return _folded(rule, (first, *others), xp)


def inverted(array):
    """``~base`` or ``1 - mask``."""
    return ~array if array.dtype == bool else mask.invert(array)


def partition(labels, particle, width_px, sampling=None):
    """Share a soft particle mask out among bodies, so that their masks add up to it.

    Every voxel under the particle mask belongs to the body it lies nearest to (at equal distances to the lower
    number). The interface between two bodies runs midway between the voxels on its two sides. With s the signed
    distance to the boundary of a body, negative inside, its weight is ``0.5 - 0.5·sin(π·s/width)`` for
    ``|s| < width/2``, a raised cosine centred on the interface; weights are divided by their sum, which only changes
    them where three bodies meet, and multiplied by the particle mask.

    Parameters
    ----------
    labels : array of int, shape (z, y, x)
        0 outside the bodies, 1…n inside.
    particle : array of float32, shape (z, y, x)
        The soft mask M of the whole particle.
    width_px : float
        Width of the blend across an interface; 0 cuts.
    sampling : tuple of float, optional
        Voxel edges (z, y, x) in units of the smallest, for anisotropic voxels.

    Returns
    -------
    list of arrays of float32
        One mask a body; they add up to M, to a few 1e-8.

    Raises
    ------
    UsageError
        Fewer than two bodies, a negative width.
    InputRefused
        A body without a voxel.
    """
    xp = backend.xp(labels)
    if not (isinstance(width_px, Real) and 0 <= width_px < math.inf):
        raise UsageError(f"width of the blend between bodies must be >= 0 px, got {width_px!r}")
    count = int(labels.max())
    if count < 2:
        raise UsageError(f"a partition needs labels of two bodies or more, got {count}")
    for body in range(1, count + 1):
        if not (labels == body).any():
            raise InputRefused(f"body {body} of {count} has no voxel; number the bodies 1 to n without a gap")
    reach = width_px / 2 + 1
    needed = mask.dilate(particle > 0, reach, sampling)  # so that interfaces go on as far as the mask can tell
    box = regions.bounding_box(needed | (labels > 0))
    nearest = _nearest(labels[box], count, needed[box], sampling)
    weights = [_membership(nearest == body, float(width_px), reach, sampling) for body in range(1, count + 1)]
    total = sum(weights)
    total[total == 0] = 1  # far from the mask
    masks = [xp.zeros(labels.shape, xp.float32) for _ in weights]
    for one, weight in zip(masks, weights, strict=True):
        one[box] = weight / total * particle[box]
    return masks


def subtraction(particle, kept, soft_edge_px, edge=None, style="euclidean", sampling=None):
    """The mask to subtract with while `kept` is refined: what the kept base leaves of the base of the particle, not
    dilated, with a soft edge outside. It reaches into the kept part by that edge (see :func:`overlap`).

    Parameters
    ----------
    particle, kept : array of bool, shape (z, y, x)
    soft_edge_px, edge, style, sampling
        See :func:`gpumask.mask.soft_mask`.

    Returns
    -------
    array of float32
    """
    return mask.soft_mask(combined("complement", particle, kept), 0, soft_edge_px, edge, style, sampling)


def overlap(first, second):
    """What two masks share, ``Σ min(a, b)``, in voxels; a float."""
    xp = backend.xp(first)
    return float(xp.minimum(first, second).sum(dtype=xp.float64))


def with_outside(array, weight):
    """A mask that falls to `weight` instead of 0: ``weight + (1 - weight)·m``, float32."""
    if not (isinstance(weight, Real) and 0 <= weight <= 1):
        raise UsageError(f"the weight outside must be from 0 to 1, got {weight!r}")
    outside = backend.xp(array).float32(weight)
    return outside + (1 - outside) * array


def composite(volume, array, low_mask, resolution, voxel_size):
    """``V·M + LP(V·L)``: a map under a mask, with a low-passed part, such as a micelle or glycans, under another.

    As RELION's ``solventFlatten`` with ``--lowpass_mask`` and ``--lowpass``.

    Parameters
    ----------
    volume, array, low_mask : array of float32, shape (z, y, x)
        V, M and L.
    resolution : float
        Å; see :func:`gpumask.filters.lowpass`.
    voxel_size : float or tuple of float
        Å (z, y, x).

    Returns
    -------
    array of float32
    """
    return volume * array + filters.lowpass(volume * low_mask, resolution, voxel_size)


def filled(volume, array, fill="zero", *, resolution=None, voxel_size=None, seed=0):
    """A map under a mask, with a background: ``v·m + (1 - m)·background``.

    Parameters
    ----------
    volume, array : array of float32, shape (z, y, x)
        v and m.
    fill : str
        ``zero``; ``mean``: the mean of the outside, each voxel weighted by ``1 - m`` (RELION's
        ``softMaskOutsideMap``); ``noise``: Gaussian and white, with that mean and the standard deviation of the
        outside, weighted likewise; ``lowpass``: the map itself, low-passed.
    resolution, voxel_size
        Of the low-pass, see :func:`gpumask.filters.lowpass`.
    seed : int
        Of the noise. A voxel's noise depends on it and on the voxel's index alone, on any device.

    Returns
    -------
    array of float32
    """
    xp = backend.xp(volume)
    if fill not in FILLS:
        raise UsageError(f"the background is one of {', '.join(FILLS)}; got {fill!r}")
    if fill == "zero":
        return volume * array
    if fill == "lowpass":
        if resolution is None or voxel_size is None:
            raise UsageError("a low-passed background needs a resolution and a voxel size, in Å")
        background = filters.lowpass(volume, resolution, voxel_size)
    else:
        mean, deviation = _outside(volume, array)
        background = xp.float32(mean)
        if fill == "noise":
            background = _noise(volume.shape, seed, xp)
            background *= xp.float32(deviation)
            background += xp.float32(mean)
    return volume * array + (xp.float32(1) - array) * background


class _Bases:
    both = staticmethod(lambda a, b, xp: a & b)
    either = staticmethod(lambda a, b, xp: a | b)
    one = staticmethod(lambda a, b, xp: a ^ b)
    without = staticmethod(lambda a, b, xp: a & ~b)


class _Extremes:
    both = staticmethod(lambda a, b, xp: xp.minimum(a, b))
    either = staticmethod(lambda a, b, xp: xp.maximum(a, b))
    one = staticmethod(lambda a, b, xp: xp.maximum(xp.minimum(a, 1 - b), xp.minimum(1 - a, b)))
    without = staticmethod(lambda a, b, xp: xp.maximum(a - b, 0))


class _Product(_Extremes):
    both = staticmethod(lambda a, b, xp: a * b)
    either = staticmethod(lambda a, b, xp: a + b * (1 - a))
    one = staticmethod(lambda a, b, xp: a * (1 - b) + b * (1 - a))


def _folded(rule, arrays, xp):
    """``rule`` over arrays from left to right; None of none."""
    result = None
    for array in arrays:
        result = array if result is None else rule(result, array, xp)
    return result


def _above(level):
    """The lowest float32 above `level` rounded to float32."""
    import numpy

    with numpy.errstate(over="ignore"):  # a level beyond float32 is infinite: no voxel reaches it
        return numpy.nextafter(numpy.float32(level), numpy.float32(numpy.inf))


def _nearest(labels, count, needed, sampling):
    """The body that each voxel lies nearest to, at least where `needed`: 1…count, 0 where none was looked for."""
    xp = backend.xp(labels)
    nearest = labels.copy()
    reach = FIRST_REACH
    while bool((needed & (nearest == 0)).any()):
        closest = None
        for body in range(1, count + 1):
            squares = mask.squared_distance(labels == body, reach, sampling)
            if closest is None:
                closest = xp.where(squares <= reach * reach, squares, xp.inf)
                nearest = (closest < xp.inf).astype(labels.dtype)
                continue
            nearer = (squares < closest) & (squares <= reach * reach)
            nearest[nearer], closest[nearer] = body, squares[nearer]
        reach *= 2
    return nearest


def _membership(region, width, reach, sampling):
    """``0.5 - 0.5·sin(π·s/width)`` of the signed distance s to the boundary of a region; the boundary lies half a voxel
    outside its voxels."""
    xp = backend.xp(region)
    if width == 0:
        return region.astype(xp.float64)
    outside, inside = (
        xp.sqrt(mask.squared_distance(foreground, reach, sampling).astype(xp.float64)) - 0.5
        for foreground in (region, ~region)
    )
    turn = xp.where(region, -inside, outside) * (math.pi / width)
    return 0.5 - 0.5 * xp.sin(xp.clip(turn, -math.pi / 2, math.pi / 2))


def _outside(volume, array):
    """Mean and standard deviation of a map outside a mask, each voxel weighted by ``1 - m``."""
    xp = backend.xp(volume)
    weight = xp.float32(1) - array
    total = float(weight.sum(dtype=xp.float64))
    if not total > 0:
        raise InputRefused("the mask is 1 everywhere: nothing lies outside to take a background from; fill with zero")
    mean = float((weight * volume).sum(dtype=xp.float64)) / total
    return mean, math.sqrt(float((weight * (volume - xp.float32(mean)) ** 2).sum(dtype=xp.float64)) / total)


def _noise(shape, seed, xp):
    """Normal numbers, float32: Box and Muller's of two uniform streams at the counter (z, y, x)."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UsageError(f"a seed must be a whole number, got {seed!r}")
    nz, ny, nx = shape
    noise = xp.empty(shape, xp.float32)
    keys = [phases.stream(seed, number) for number in (1, 2)]
    within = (xp.arange(ny) << 21)[:, None] | xp.arange(nx)
    step = max(1, NOISE_CHUNK // (ny * nx))
    for first in range(0, nz, step):
        here = slice(first, min(first + step, nz))
        counter = (xp.arange(here.start, here.stop) << 42)[:, None, None] | within
        radius, turn = (phases.uniform(counter, key, xp) for key in keys)
        noise[here] = xp.sqrt(-2 * xp.log1p(-radius)) * xp.cos(2 * math.pi * turn)
    return noise
