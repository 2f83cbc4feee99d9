"""Values of a map between its voxels, on a grid whose axes are parallel to its own; numpy or CuPy in, the same kind
out."""

import math

import numpy

from gpumask import backend

LATTICE = 1e-3  # px: origins are float32, good to 1e-4 px in a box of 1000 Å


def trilinear(array, positions):
    """Linear along z, y and x, in float64; 0 beyond the first and last voxel centres, as ChimeraX ``volume resample``.

    Parameters
    ----------
    array : array of float, shape (z, y, x)
        numpy or CuPy.
    positions : three numpy arrays
        Ascending, px from the corner along z, y and x; the values are those at their product.

    Returns
    -------
    array of float32
    """
    xp = backend.xp(array)
    out = xp.zeros([len(p) for p in positions], xp.float32)
    kept = [numpy.flatnonzero(inside(p, n)) for p, n in zip(positions, array.shape, strict=True)]
    if not all(map(len, kept)):
        return out
    nodes = [_nodes(p[k], n) for p, k, n in zip(positions, kept, array.shape, strict=True)]
    (rows, across, wy), (columns, beyond, wx) = ([xp.asarray(part) for part in axis] for axis in nodes[1:])
    window = tuple(slice(k[0], k[-1] + 1) for k in kept[1:])
    for z, below, above, weight in zip(kept[0].tolist(), *(part.tolist() for part in nodes[0]), strict=True):
        plane = _between(array[below].astype(xp.float64), array[above].astype(xp.float64), weight)
        plane = _between(plane[rows], plane[across], wy[:, None])
        out[(z, *window)] = _between(plane.take(columns, axis=1), plane.take(beyond, axis=1), wx)
    return out


def _between(a, b, weight):
    return a * (1 - weight) + b * weight


def inside(position, length):
    """Which positions lie between the first and the last voxel centre; float32 headers may put one a little outside."""
    return (position >= -LATTICE) & (position <= length - 1 + LATTICE)


def _nodes(position, length):
    """The voxels on both sides of each position, and the weight of the second."""
    position = position.clip(0, length - 1)
    first = numpy.minimum(numpy.floor(position).astype(int), max(length - 2, 0))
    return first, numpy.minimum(first + 1, length - 1), position - first


def trigonometric(array, positions, within=False):
    """The Fourier series of a periodic array, in float64: exact for what the array samples without aliasing.

    Parameters
    ----------
    array, positions
        As for :func:`trilinear`; positions at equal distances. Frequencies beyond what that distance can hold are
        dropped.
    within : bool
        0 beyond the first and last voxel centres, instead of the next period.

    Returns
    -------
    array of float32
    """
    xp = backend.xp(array)
    along_z, along_y, along_x = (
        xp.asarray(_series(position, length, within)) for position, length in zip(positions, array.shape, strict=True)
    )
    made = array.astype(xp.float64)
    for series in (
        along_x,
        along_y,
    ):  # two large products, with the other axis last in between: many small ones are slow
        made = (made.reshape(-1, made.shape[2]) @ series.T).reshape(*made.shape[:2], -1).swapaxes(1, 2)
        made = xp.ascontiguousarray(made)
    made = (along_z @ made.reshape(len(made), -1)).reshape(len(along_z), *made.shape[1:])
    return made.astype(xp.float32)


def _series(position, length, within):
    """The matrix that takes `length` samples to the values of their Fourier series at `position`.

    ``M[j, i] = Σ_k w_k·cos(2π·k·(p_j - i)/n)/n`` with w = 1 for k = 0 and for the Nyquist frequency of an even length,
    else 2; k goes as far as the spacing of the positions can hold.
    """
    step = position[1] - position[0] if len(position) > 1 else 1.0
    last = min(length // 2, math.floor(length / (2 * max(step, 1.0)) * (1 + 1e-9)))
    wave = numpy.arange(last + 1)
    weights = numpy.where((wave == 0) | (2 * wave == length), 1.0, 2.0) / length
    new, old = (2 * math.pi / length * numpy.outer(p, wave) for p in (position, numpy.arange(length)))
    found = (numpy.cos(new) * weights) @ numpy.cos(old).T + (numpy.sin(new) * weights) @ numpy.sin(old).T
    return found * inside(position, length)[:, None] if within else found
