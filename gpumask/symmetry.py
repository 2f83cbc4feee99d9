"""Point groups C, D, T, O and I about the box centre ``n // 2``: rotations, symmetric masks, asymmetric units.

The axes are RELION's. With x, y, z as in the map: the n-fold axis of C and D lies along z, a two-fold axis of D along
x; T has a three-fold axis along z and a two-fold one along (0, √2, 1); O has its four-fold axes along x, y and z.
``I`` is ``I2``: two-fold axes along x, y and z, a five-fold one along (1, 0, φ), φ the golden ratio; ``I1`` is I2
turned by 90° about y, ``I3`` has a five-fold axis along z and a two-fold one along y, ``I4`` is I3 turned by 180°
about z.

Vectors and matrices are (z, y, x), as everything in Python here. ``sampling`` are the voxel edges (z, y, x) in units
of the smallest where voxels are anisotropic (:func:`gpumask.units.sampling`).
"""

import math
import re
from dataclasses import dataclass
from numbers import Real

import numpy

from gpumask import backend, units
from gpumask.errors import InputRefused, UsageError

GOLDEN = (1 + math.sqrt(5)) / 2
HIGHEST = 60  # fold of C and D
# fold and axis (x, y, z) of the rotations that the others are products of
GENERATORS = {
    "T": ((3, (0, 0, 1)), (2, (0, math.sqrt(2), 1))),
    "O": ((4, (0, 0, 1)), (3, (1, 1, 1))),
    "I1": ((2, (1, 0, 0)), (5, (GOLDEN, 0, -1))),
    "I2": ((2, (0, 0, 1)), (5, (1, 0, GOLDEN))),
    "I3": ((5, (0, 0, 1)), (2, (-1, 0, GOLDEN))),
    "I4": ((5, (0, 0, 1)), (2, (1, 0, GOLDEN))),
}
ORDERS = {"T": 12, "O": 24, "I": 60, "I1": 60, "I2": 60, "I3": 60, "I4": 60}
ROUNDING = 1e-9  # of products of a few rotations; different rotations differ by more than 0.01
SYMMETRIC = 0.95  # agreement from which a mask counts as symmetric
HOW = ("max", "mean")
ON_AXIS = 1e-3  # a unit vector this close to a copy of itself lies on an axis
ON_SIDE = 1e-6  # px, within which a voxel lies on the side of a unit; distances in a box of 1e4 px are good to 1e-10
CHUNK = 2**16  # voxels whose distances to all units exist at a time
DIRECTIONS = 1000  # to choose the middle of an asymmetric unit from


def order(name):
    """Number of rotations in a point group, and of asymmetric units that it makes equal: the `asymmetric_units` of
    :func:`gpumask.mask_spectrum` and :func:`gpumask.fsc`.

    Parameters
    ----------
    name : str
        ``C1``, ``C2``, …, ``D1``, …, ``T``, ``O``, ``I`` (= ``I2``), ``I1`` to ``I4``.
    """
    kind, fold = _parsed(name)
    return ORDERS[kind] if kind in ORDERS else fold * (2 if kind == "D" else 1)


def spelled(name):
    """The one spelling of a point group: ``C4`` for ``c04``, ``I2`` for ``I``."""
    kind, fold = _parsed(name)
    return f"{kind}{fold}" if kind in ("C", "D") else {"I": "I2"}.get(kind, kind)


def rotations(name):
    """The rotations of a point group, the identity first.

    Returns
    -------
    numpy array of float64, shape (order, 3, 3)
        They turn column vectors (z, y, x).
    """
    kind, fold = _parsed(name)
    if kind in ("C", "D"):
        generators = [(fold, (0, 0, 1))] + [(2, (1, 0, 0))] * (kind == "D")
    else:
        generators = GENERATORS["I2" if kind == "I" else kind]
    steps = [_rotation(2 * math.pi / n, axis) for n, axis in generators]
    found = [numpy.eye(3)]
    for one in found:  # which grows until every product is in it
        for step in steps:
            product = _exact(step @ one)
            if not any(abs(product - other).max() < ROUNDING for other in found):
                found.append(product)
    return numpy.array(found)


def axis_and_angle(rotation):
    """Axis, a unit vector (z, y, x), and angle in degrees, above 0 up to 180, of a rotation; z and 0 for the identity.

    Of the two axes of a half turn the one whose first component that is not 0 is positive.
    """
    angle = math.degrees(math.acos(min(1.0, max(-1.0, (float(numpy.trace(rotation)) - 1) / 2))))
    if angle < 1e-6:
        return (1.0, 0.0, 0.0), 0.0
    values, vectors = numpy.linalg.eigh((rotation + rotation.T) / 2)
    axis = vectors[:, values.argmax()]
    # The other half of the matrix is sin(angle) times the axis; mirrored, since (z, y, x) is a left-handed order.
    turn = numpy.array([rotation[1, 2], rotation[2, 0], rotation[0, 1]])
    turn -= [rotation[2, 1], rotation[0, 2], rotation[1, 0]]
    if 180 - angle < 1e-6:
        turn = axis[abs(axis) > ROUNDING][0] * axis
    return tuple(float(a) for a in (axis if axis @ turn > 0 else -axis)), angle


def rotated(array, rotation, sampling=None):
    """A map turned about the box centre ``n // 2``; zero where the turned box has no data.

    Parameters
    ----------
    array : array, shape (z, y, x)
        numpy or CuPy; bool counts as 0 and 1.
    rotation : array, shape (3, 3)
        Turns vectors (z, y, x), see :func:`rotations`.
    sampling : tuple of float, optional

    Returns
    -------
    array of float32
        Trilinear between voxels. Rotations that take the voxels onto voxels move them and change no value.
    """
    xp = backend.xp(array)
    edges = numpy.array(sampling or (1.0, 1.0, 1.0))
    matrix = _exact(numpy.asarray(rotation).T * edges[None, :] / edges[:, None])  # from the new voxels to the old
    centre = numpy.array([n // 2 for n in array.shape])
    array = xp.ascontiguousarray(array, xp.float32)
    if numpy.isin(matrix, (-1, 0, 1)).all():
        return _permuted(array, matrix.astype(int), centre)
    return backend.ndimage(array).affine_transform(
        array, xp.asarray(matrix), centre - matrix @ centre, order=1, mode="grid-constant"
    )


def symmetrised(array, name, how="max", sampling=None):
    """The maximum or the mean over the copies that a point group makes of a mask.

    Parameters
    ----------
    array : array, shape (z, y, x)
        A base (bool) or a soft mask; numpy or CuPy.
    name : str
        See :func:`order`.
    how : str
        ``max``: what any copy covers; ``mean``: of a base what half of the copies cover.
    sampling : tuple of float, optional

    Returns
    -------
    array
        bool for a base, else float32. Exactly symmetric under rotations that take voxels onto voxels, but for the
        first plane of an even axis, which has no counterpart in the box.
    """
    if how not in HOW:
        raise UsageError(f"symmetrise by one of {', '.join(HOW)}, got {how!r}")
    xp = backend.xp(array)
    copies = (rotated(array, one, sampling) for one in rotations(name))
    if how == "max":
        merged = next(copies)
        for copy in copies:
            xp.maximum(merged, copy, out=merged)
    else:
        total = xp.zeros(array.shape, xp.float64)
        for copy in copies:
            total += copy
        merged = (total / order(name)).astype(xp.float32)
    return merged >= 0.5 if array.dtype == bool else merged


@dataclass(frozen=True)
class Agreement:
    """How far a mask has a symmetry.

    Attributes
    ----------
    name : str
        The point group.
    operators : list of dict
        Of each rotation but the identity, ``axis`` (x, y, z), ``angle`` in degrees and ``score``: the share
        ``2·Σmin(a, b)/(Σa + Σb)`` of the mask a and its copy b that coincides.
    """

    name: str
    operators: list

    @property
    def score(self):
        """The lowest score; 1 for C1."""
        return min((one["score"] for one in self.operators), default=1.0)

    @property
    def symmetric(self):
        """Whether every score is at least 0.95.

        Interpolation and the steps of the lattice cost a symmetric base some 0.02 where its parts are balls of 6 px
        radius, 0.01 of 10 px and up to 0.06 of 3 px: judge small parts on a finer grid.
        """
        return self.score >= SYMMETRIC

    def answer(self):
        """One line for people."""
        if not self.operators:
            return f"{self.name}: yes, as everything"
        worst = min(self.operators, key=lambda one: one["score"])
        axis = ", ".join(f"{a:.3g}" for a in worst["axis"])
        verdict = "yes" if self.symmetric else "no"
        return (
            f"{self.name}: {verdict}, {self.score:.3f} of the mask coincides with its copy at the worst "
            f"({worst['angle']:.4g}° about {axis}); {SYMMETRIC} or more is symmetric"
        )


def agreement(array, name, sampling=None):
    """Compare a base or a soft mask with the copies that a point group makes of it.

    Returns
    -------
    Agreement

    Raises
    ------
    InputRefused
        An empty mask.
    """
    xp = backend.xp(array)
    total = float(array.sum(dtype=xp.float64))
    if not total > 0:
        raise InputRefused("an empty mask has any symmetry; make it anew with a lower threshold")
    operators = []
    for one in rotations(name)[1:]:
        copy = rotated(array, one, sampling)
        if array.dtype == bool:
            copy = copy >= 0.5
        both = float(xp.minimum(array, copy).sum(dtype=xp.float64))
        axis, angle = axis_and_angle(one)
        score = 2 * both / (total + float(copy.sum(dtype=xp.float64)))
        operators.append({"axis": units.xyz(axis), "angle": angle, "score": score})
    return Agreement(name, operators)


def middle(name):
    """Direction (z, y, x) of the middle of an asymmetric unit: of many, spread evenly over the sphere, the one whose
    copies lie farthest from it."""
    heights = 1 - (2 * numpy.arange(DIRECTIONS) + 1) / DIRECTIONS
    turns = math.pi * (3 - math.sqrt(5)) * numpy.arange(DIRECTIONS)
    flat = numpy.sqrt(1 - heights**2)
    directions = numpy.stack([heights, flat * numpy.sin(turns), flat * numpy.cos(turns)])
    nearest = numpy.full(DIRECTIONS, 2.0)
    for one in rotations(name)[1:]:
        nearest = numpy.minimum(nearest, numpy.linalg.norm(one @ directions - directions, axis=0))
    return tuple(float(d) for d in directions[:, nearest.argmax()])


def asymmetric_units(shape, name, toward=None, sampling=None, xp=numpy):
    """Share a box out among the asymmetric units of a point group: each voxel goes to the copy of one direction that
    it lies nearest to, seen from the box centre.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x).
    name : str
        See :func:`order`.
    toward : tuple of float, optional
        Direction (z, y, x) from the box centre that the first unit is about, as of the domain in focus; by default
        :func:`middle`.
    sampling : tuple of float, optional
    xp : module
        numpy or cupy.

    Returns
    -------
    array of uint8, shape (z, y, x)
        k where a voxel belongs to the copy of unit 0 that ``rotations(name)[k]`` makes.

    Raises
    ------
    UsageError
        A direction on an axis of symmetry, which several units share.
    """
    copies = _copies(name, toward)
    offsets = [(xp.arange(n) - n // 2) * edge for n, edge in zip(shape, sampling or (1.0, 1.0, 1.0), strict=True)]
    unit = xp.zeros(shape, xp.uint8)
    nearest = xp.full(shape, -math.inf)
    for k, (z, y, x) in enumerate(copies.tolist()):
        along = (z * offsets[0])[:, None, None] + (y * offsets[1])[:, None] + x * offsets[2]
        nearer = along > nearest
        unit[nearer] = k
        nearest[nearer] = along[nearer]
    return unit


def asymmetric_mask(array, name, width_px, toward=None, sampling=None):
    """The part of a symmetric mask in one asymmetric unit, with soft sides.

    Units are those of :func:`asymmetric_units`. With s the signed distance to the nearest of the planes around a unit,
    negative inside, its weight is ``0.5 - 0.5·sin(π·s/width)`` for ``|s| < width/2``, divided by the sum over all
    units: the copies of the mask add up to the symmetric mask, but for the interpolation of turned voxels. Without a
    width the weight is 1 inside, 0 outside, and on a side or an axis one part for each of the units that meet there.

    Parameters
    ----------
    array : array of float32, shape (z, y, x)
        A soft mask with the symmetry; numpy or CuPy.
    name : str
        See :func:`order`.
    width_px : float
        Width of the blend across a side; 0 cuts.
    toward, sampling
        See :func:`asymmetric_units`.

    Returns
    -------
    array of float32
    """
    if not (isinstance(width_px, Real) and 0 <= width_px < math.inf):
        raise UsageError(f"width of the blend between units must be >= 0 px, got {width_px!r}")
    xp = backend.xp(array)
    copies = _copies(name, toward)
    if len(copies) == 1:
        return array.copy()
    apart = numpy.linalg.norm(copies[:, None] - copies, axis=2)
    edges = sampling or (1.0, 1.0, 1.0)
    places, values = array.nonzero(), array[array != 0]
    made = xp.zeros_like(array)
    for first in range(0, len(values), CHUNK):
        here = slice(first, first + CHUNK)
        at = [(p[here] - n // 2) * edge for p, n, edge in zip(places, array.shape, edges, strict=True)]
        along = xp.asarray(copies) @ xp.stack(at)
        total = own = 0
        for k in range(len(copies)):
            others = [i for i in range(len(copies)) if i != k]
            signed = ((along[others] - along[k]) / xp.asarray(apart[k, others])[:, None]).max(axis=0)
            if width_px == 0:
                weight = (signed < ON_SIDE).astype(xp.float64)
            else:
                weight = 0.5 - 0.5 * xp.sin(xp.clip(signed * (math.pi / width_px), -math.pi / 2, math.pi / 2))
            total = total + weight
            own = weight if k == 0 else own
        made[tuple(p[here] for p in places)] = own / total * values[here]
    return made


def _copies(name, toward):
    """Unit vectors (z, y, x) of the middles of all units, the first along `toward`, by default :func:`middle`."""
    direction = numpy.array(middle(name) if toward is None else toward, float)
    length = numpy.linalg.norm(direction)
    if direction.shape != (3,) or not 0 < length < math.inf:
        raise UsageError(f"a direction needs three numbers, not all of them 0; got {toward!r}")
    copies = rotations(name) @ (direction / length)
    if len(copies) > 1 and numpy.linalg.norm(copies[1:] - copies[0], axis=1).min() < ON_AXIS:
        x, y, z = units.xyz(direction)
        raise UsageError(
            f"the direction {x:g}, {y:g}, {z:g} (x, y, z) lies on a symmetry axis of {name}, which several units "
            "share; give one inside the domain"
        )
    return copies


def _parsed(name):
    """Kind (``C``, ``D`` or a key of ORDERS) and fold."""
    match = re.fullmatch(r"([CD])(\d{1,3})|(T|O|I[1-4]?)", str(name).upper())
    fold = int(match[2]) if match and match[2] else 1
    if not match or not 1 <= fold <= HIGHEST:
        raise UsageError(f"symmetry must be C1, C2 … C{HIGHEST}, D1 … D{HIGHEST}, T, O, I or I1 to I4; got {name!r}")
    return match[1] or match[3], fold


def _rotation(angle, axis):
    """The rotation by `angle` (radians, right-handed) about `axis` (x, y, z), for vectors (z, y, x)."""
    x, y, z = numpy.array(axis) / numpy.linalg.norm(axis)
    cross = numpy.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned = numpy.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return _exact(turned[::-1, ::-1])


def _exact(matrix):
    """Entries that are a multiple of a half but for rounding are that."""
    halves = numpy.round(2 * matrix) / 2
    return numpy.where(abs(matrix - halves) < ROUNDING, halves, matrix) + 0.0


def _permuted(array, matrix, centre):
    """`array` turned by a matrix of one 1 or -1 in each row, new voxels to old: voxels are moved."""
    xp = backend.xp(array)
    old = [int(abs(matrix[:, new]).argmax()) for new in range(3)]  # the old axis along each new one
    source = array.transpose(old)
    result = xp.zeros(array.shape, array.dtype)
    into, out_of = [], []
    for new, axis in enumerate(old):
        n, length = array.shape[new], array.shape[axis]
        if matrix[axis, new] > 0:
            shift = int(centre[axis] - centre[new])
            first, last = max(0, -shift), min(n, length - shift)
            out_of.append(slice(first + shift, last + shift))
        else:
            total = int(centre[axis] + centre[new])
            first, last = max(0, total - length + 1), min(n, total + 1)
            stop = total - last
            out_of.append(slice(total - first, None if stop < 0 else stop, -1))
        into.append(slice(first, last))
    result[tuple(into)] = source[tuple(out_of)]
    return result
