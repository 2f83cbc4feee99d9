"""Fourier shell correlation by direction: in cones about many axes, and about every coefficient of a volume.

A cone is double: k lies in the cone about the unit vector d where ``|k̂·d| >= cos(half angle)``, since k and -k hold the
same coefficient. Sums run over the coefficients of one shell in one cone, in float64, Hermitian mates counted.
"""

import itertools
import math
from dataclasses import dataclass, field

import numpy

from gpumask import backend, correlation, fourier, units
from gpumask.errors import InputRefused, UsageError
from gpumask.spectrum import hemisphere

CONE = 20.0  # degrees, half-angle; 3DFSC's and CryoSPARC's
AXES = 256  # on the half sphere
LEVEL = 0.143
FEW = 30  # coefficients in a cone whose correlation scatters by 0.2
PREFERRED = 0.5  # cFAR below which views are missing, CryoSPARC's
BOUND = 0.5  # FSC that bounds the region, 3DFSC's
HIGHPASS = 200.0  # Å, what is coarser belongs to the region whatever its FSC, 3DFSC's
NODES = 25  # directions along each edge of a cube's face, 3.75° apart at the most
COEFFICIENTS = 2**11  # of a shell that a CPU thread compares with some axes at a time: what its cache holds
PAIRS_CUDA = 2**26  # of an axis and a coefficient that exist at a time on a GPU
BORDER = 5  # voxels of nothing around the region, more than its smoothing reaches


@dataclass(frozen=True, eq=False)
class DirectionalFSC:
    """What :func:`conical_fsc` finds.

    Attributes
    ----------
    directions : array, shape (axes, 3)
        Unit vectors (x, y, z).
    frequency : array
        1/Å of each shell, 0 to Nyquist.
    curves : array, shape (axes, shells)
        NaN where no coefficient lies in the cone, or none has power; shell 0 has no direction.
    areas : array
        ``Σ FSC·shell²`` of the defined shells before the first one at or below `threshold`.
    resolutions : array
        Å of the last shell before the first one below `threshold` (RELION's rule); NaN where that is the first.
    cfar : float or None
        Conical FSC area ratio, smallest area over largest; None where no axis has any.
    weakest, strongest : int
        The axes with the smallest and the largest area.
    half_angle, threshold : float
        Degrees; FSC.
    flags : list of dict
        ``code``, ``message``, ``value``: ``preferred_orientation`` where cfar < 0.5.
    """

    directions: numpy.ndarray = field(repr=False)
    frequency: numpy.ndarray = field(repr=False)
    curves: numpy.ndarray = field(repr=False)
    areas: numpy.ndarray = field(repr=False)
    resolutions: numpy.ndarray = field(repr=False)
    cfar: float | None
    weakest: int
    strongest: int
    half_angle: float
    threshold: float
    flags: list

    def to_dict(self):
        """The same for JSON: lists, None for undefined; `weakest` and `strongest` with what is known of the axis."""
        return {
            "cfar": self.cfar,
            "half_angle": self.half_angle,
            "threshold": self.threshold,
            "weakest": self._axis(self.weakest),
            "strongest": self._axis(self.strongest),
            "flags": self.flags,
            "frequency": self.frequency.tolist(),
            "directions": self.directions.tolist(),
            "areas": self.areas.tolist(),
            "resolutions": _listed(self.resolutions),
            "curves": [_listed(curve) for curve in self.curves],
        }

    def _axis(self, index):
        return {
            "index": index,
            "direction": self.directions[index].tolist(),
            "area": float(self.areas[index]),
            "resolution": _listed(self.resolutions[index : index + 1])[0],
        }


@dataclass(frozen=True, eq=False)
class FSCVolume:
    """What :func:`fsc_volume` finds.

    Attributes
    ----------
    volume : array of float32, shape (z, y, x)
        FSC at each wave vector, the zero frequency at ``n // 2`` and 1 there; 0 beyond Nyquist and where undefined.
    sphericity : float or None
        Of the region above `threshold`: 1 for a ball, less for anything else; None where there is no such region.
    half_angle, threshold, highpass : float
        Degrees; FSC; Å.
    """

    volume: object = field(repr=False)
    sphericity: float | None
    half_angle: float
    threshold: float
    highpass: float

    def to_dict(self):
        """The numbers without the volume, for JSON."""
        return {name: value for name, value in vars(self).items() if name != "volume"}


def conical_fsc(half1, half2, voxel_size, mask=None, *, axes=AXES, half_angle=CONE, threshold=LEVEL, progress=None):
    """FSC in double cones about axes that cover the half sphere, and how unequal they are (cFAR).

    SIMPLE's definition of cFAR but for one thing: its axes cover the whole sphere, so that double cones about nearly
    opposite ones see the same; ours cover the half sphere, twice as dense. In the last shell of an even box the
    coefficients at -Nyquist along y and z count for that sign only.

    Parameters
    ----------
    half1, half2 : array of float, shape (z, y, x)
        Half maps; numpy or CuPy.
    voxel_size : float or tuple of float
        Å (z, y, x).
    mask : array, optional
        Multiplied with both.
    axes : int or array, shape (n, 3)
        How many axes, on a Fibonacci spiral; or vectors (x, y, z) of any length.
    half_angle : float
        Degrees, above 0 to 90; at 90 every cone is the whole shell.
    threshold : float
        FSC at which a curve ends.
    progress : callable, optional
        ``progress(name, share)`` with share up to 1.

    Returns
    -------
    DirectionalFSC

    Raises
    ------
    InputRefused
        Different boxes, values that are not finite.
    UsageError
        An angle or axes that cannot be used.
    """
    directions = _directions(axes)
    edges, cosine = _check(half1, half2, voxel_size, mask, half_angle)
    shells = fourier.shells(half1.shape, edges)
    placed = backend.xp(half1).asarray(directions)
    curves = numpy.full((len(directions), shells.nyquist + 1), numpy.nan)
    for shell, _, vectors, products in _coefficients(half1, half2, edges, mask):
        sums = backend.to_numpy(_cone_sums(vectors, products, placed, cosine))
        curves[:, shell] = correlation.curve(*sums)
        if progress:
            progress("conical FSC", shell / shells.nyquist)
    areas = _areas(curves, threshold)
    weakest, strongest = int(areas.argmin()), int(areas.argmax())
    cfar = float(areas[weakest] / areas[strongest]) if areas[strongest] > 0 else None
    frequency = shells.frequency[: shells.nyquist + 1]
    resolutions = _resolutions(curves, frequency, threshold)
    directions = directions[:, ::-1].copy()
    flags = []
    if cfar is not None and cfar < PREFERRED:
        reached = [f"{r:.3g} Å" if r == r else "nothing" for r in resolutions[[weakest, strongest]]]
        where = ", ".join(f"{c:.2f}" for c in directions[weakest])
        message = (
            f"cFAR is {cfar:.2f} (< {PREFERRED}): along x, y, z = {where} the FSC reaches {reached[0]}, elsewhere up "
            f"to {reached[1]}; views perpendicular to this axis are missing: tilt the stage or balance the views"
        )
        ended = int((numpy.isfinite(curves[weakest]) & (curves[weakest] > threshold))[1:].argmin()) + 1
        held = shells.coefficients[ended] * (1 - cosine)
        if held < FEW:
            message += (
                f"; but a cone holds only {held:.0f} coefficients in the shell where its curve ends, so that noise can "
                "have ended it: look again under a mask"
            )
        flags.append({"code": "preferred_orientation", "message": message, "value": cfar})
    return DirectionalFSC(
        directions, frequency, curves, areas, resolutions, cfar, weakest, strongest, float(half_angle),
        float(threshold), flags,
    )  # fmt: skip


def fsc_volume(
    half1, half2, voxel_size, mask=None, *, half_angle=CONE, threshold=BOUND, highpass=HIGHPASS, progress=None
):
    """3DFSC: at each wave vector the FSC of its own shell in the double cone about its own direction.

    Shells of up to 1875 pairs of mates, to about the 17th, are exact. On finer ones the sums over cones are taken about
    1875 directions, a grid of 3.75° on the faces of a cube, and interpolated (bilinear) to each coefficient before
    they are divided: that is the FSC of a cone whose edge is not a step but falls off over 1.5° (rms, 5.3° at most).

    *Sphericity* is ``π^(1/3)·(6V)^(2/3)/A`` of the region where this is at least `threshold`, as in 3DFSC: a wave
    vector belongs to it only if its neighbour next to the zero frequency does, what is coarser than `highpass` always,
    and its surface is the 0.5 level of the region smoothed by a Gaussian of one shell width. Unlike in 3DFSC, distances
    are from the zero frequency itself (from half a voxel beside it there, in even boxes), and volume and area are of
    one closed surface (marching tetrahedra), so that the ratio never exceeds 1. 3DFSC divides a count of voxels by the
    area of marching cubes: balls of 6 to 45 px get 1.04 to 0.998 there, 0.993 to 0.995 here.

    Parameters
    ----------
    half1, half2, voxel_size, mask, half_angle, progress
        See :func:`conical_fsc`.
    threshold : float
        FSC that bounds the region.
    highpass : float
        Å.

    Returns
    -------
    FSCVolume

    Raises
    ------
    InputRefused
        Different boxes, values that are not finite.
    UsageError
        An angle or a resolution that cannot be used.
    """
    edges, cosine = _check(half1, half2, voxel_size, mask, half_angle)
    coarsest = 1 / units.angstrom(highpass, "highpass")
    xp, shape = backend.xp(half1), half1.shape
    shells = fourier.shells(shape, edges)
    nodes = xp.asarray(_nodes())
    values = xp.zeros((shape[0], shape[1], shape[2] // 2 + 1), xp.float32)
    values[0, 0, 0] = 1
    for shell, positions, vectors, products in _coefficients(half1, half2, edges, mask):
        if len(vectors) <= len(nodes):
            sums = _cone_sums(vectors, products, vectors, cosine)
        else:
            sums = _interpolated(_cone_sums(vectors, products, nodes, cosine), vectors)
        cross, first, second = sums
        scale = xp.sqrt(first) * xp.sqrt(second)
        values.reshape(-1)[positions] = xp.where(scale > 0, cross / xp.where(scale > 0, scale, 1), 0)
        if progress:
            progress("3DFSC", shell / shells.nyquist)
    volume = _whole(values, shape)
    spacing = [1 / (n * v * shells.step) for n, v in zip(shape, edges, strict=True)]
    region = _region(volume, spacing, threshold, coarsest / shells.step)
    return FSCVolume(volume, _sphericity(region, spacing), float(half_angle), float(threshold), float(highpass))


def _check(half1, half2, voxel_size, mask, half_angle):
    """Voxel edges and the cosine of the half-angle of what can be used."""
    xp = backend.xp(half1)
    if half1.shape != half2.shape or half1.ndim != 3 or min(half1.shape) < 2:
        raise InputRefused(
            f"half maps must have one box of 2 or more voxels an axis, got {units.by(half1.shape)} and "
            f"{units.by(half2.shape)} voxels"
        )
    if mask is not None and mask.shape != half1.shape:
        raise InputRefused(
            f"the mask must have the half maps' box, {units.by(half1.shape)} voxels, got {units.by(mask.shape)}"
        )
    named = [("first half map", half1), ("second half map", half2), *([("mask", mask)] if mask is not None else [])]
    for name, array in named:
        if not bool(xp.isfinite(array).all()):
            raise InputRefused(f"the {name} has NaN or Inf; mend it, or read it with nan_to=0")
    if not 0 < half_angle <= 90:
        raise UsageError(f"half-angle of the cones must be above 0 and at most 90 degrees, got {half_angle!r}")
    return units.voxel_edges(voxel_size), math.cos(math.radians(half_angle)) if half_angle < 90 else 0.0


def _directions(axes):
    """Unit vectors (z, y, x)."""
    if numpy.ndim(axes) == 0:
        if not (int(axes) == axes and axes >= 1):
            raise UsageError(f"axes must be a whole number from 1, or vectors (x, y, z), got {axes!r}")
        return hemisphere(int(axes))
    vectors = numpy.asarray(axes, float)
    length = numpy.sqrt((vectors * vectors).sum(axis=-1, keepdims=True))
    usable = vectors.size and vectors.shape[1:] == (3,) and (numpy.isfinite(length) & (length > 0)).all()
    if not usable:
        raise UsageError(f"axes must be vectors (x, y, z) that are not zero, got {axes!r}")
    return (vectors / length)[:, ::-1]


def _coefficients(half1, half2, edges, mask):
    """Shell by shell, from 1 to Nyquist: the shell, the coefficients' places in the half transform, unit vectors
    (n, 3), and ``Re(F1·F2*)``, ``|F1|²``, ``|F2|²`` times the Hermitian weight (3, n)."""
    xp, shape = backend.xp(half1), half1.shape
    shells = fourier.shells(shape, edges)
    transforms = []
    for half in (half1, half2):
        masked = half if mask is None else xp.multiply(half, mask, dtype=xp.float64)
        transforms.append(fourier.rfftn(masked).reshape(-1))
    frequencies = [numpy.fft.fftfreq(n, v) / shells.step for n, v in zip(shape[:2], edges[:2], strict=True)]
    frequencies.append(numpy.fft.rfftfreq(shape[2], edges[2]) / shells.step)
    fz, fy, fx = (xp.asarray(f) for f in frequencies)
    weights = xp.asarray(shells.weights)
    places, ends = _by_shell(xp, shells)
    for shell in range(1, shells.nyquist + 1):
        here = places[ends[shell - 1] : ends[shell]]
        z, y, x = xp.unravel_index(here, (len(fz), len(fy), len(fx)))
        vectors = xp.stack([fz[z], fy[y], fx[x]], axis=1)
        vectors /= xp.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
        a, b = (transform[here] for transform in transforms)
        products = xp.stack([p.real * q.real + p.imag * q.imag for p, q in ((a, b), (a, a), (b, b))])
        yield shell, here, vectors, products * weights[x]


def _by_shell(xp, shells):
    """Places in the half transform in the order of their shells, and where each shell up to Nyquist ends."""
    z, y, x = (xp.asarray(s) for s in shells.squares)
    across = y[:, None] + x[None, :]
    places, numbers = [], []
    for plane in range(len(z)):
        number = (xp.sqrt(across + z[plane]) + 0.5).reshape(-1).astype(xp.uint16)
        kept = xp.flatnonzero(number <= shells.nyquist)
        places.append(kept + plane * across.size)
        numbers.append(number[kept])
    numbers = xp.concatenate(numbers)
    order = xp.argsort(numbers, kind="stable")
    ends = numpy.cumsum(backend.to_numpy(xp.bincount(numbers, minlength=shells.nyquist + 1)))
    return xp.concatenate(places)[order], ends


def _cone_sums(vectors, products, axes, cosine):
    """Sums of each row of `products` over the vectors in the double cone about each axis, shape (3, axes).

    An axis is summed by one thread and a row by itself, in one order: no result depends on the threads, nor on which
    half map came first. Not by BLAS, whose own threads get in the way of each other on arrays this small.
    """
    xp = backend.xp(vectors)
    totals = xp.zeros((len(products), len(axes)))
    on_gpu = backend.is_cupy(vectors)
    step = max(1, PAIRS_CUDA // len(axes)) if on_gpu else COEFFICIENTS

    def run(start, stop):
        for first in range(0, len(vectors), step):
            here = slice(first, first + step)
            cosines = xp.einsum("ad,dn->an", axes[start:stop], xp.ascontiguousarray(vectors[here].T))
            inside = (xp.abs(cosines, out=cosines) >= cosine).astype(xp.float64)
            for total, row in zip(totals, products, strict=True):
                total[start:stop] += xp.einsum("an,n->a", inside, row[here])

    if on_gpu:
        run(0, len(axes))
    else:
        from gpumask._cpu import threads

        threads.over_planes(run, len(axes))
    return totals


def _areas(curves, threshold):
    shells = numpy.arange(curves.shape[1])
    ended = numpy.logical_or.accumulate(curves <= threshold, axis=1)
    return numpy.where(ended | numpy.isnan(curves), 0, curves * shells.astype(float) ** 2).sum(axis=1)


def _resolutions(curves, frequency, threshold):
    ended = numpy.logical_or.accumulate(curves < threshold, axis=1)
    counted = ~ended & ~numpy.isnan(curves)
    last = curves.shape[1] - 1 - counted[:, ::-1].argmax(axis=1)
    return numpy.where(counted.any(axis=1), 1 / frequency[last], numpy.nan)


def _listed(values):
    return [None if value != value else value for value in values.tolist()]


def _nodes():
    """Unit vectors (z, y, x) of a grid of equal angles on three faces of a cube, one face after the other."""
    slope = numpy.tan(numpy.linspace(-math.pi / 4, math.pi / 4, NODES))
    one, two = (a.reshape(-1) for a in numpy.meshgrid(slope, slope, indexing="ij"))
    face = numpy.stack([numpy.ones_like(one), one, two], axis=1) / numpy.sqrt(1 + one**2 + two**2)[:, None]
    return numpy.concatenate([numpy.roll(face, axis, axis=1) for axis in range(3)])


def _interpolated(sums, vectors):
    """Sums about :func:`_nodes`, interpolated to each vector: rows (3, n)."""
    xp = backend.xp(vectors)
    row = xp.arange(len(vectors))
    face = xp.abs(vectors).argmax(axis=1)
    main = vectors[row, face]
    cells, shares = [], []
    for turn in (1, 2):
        place = (xp.arctan(vectors[row, (face + turn) % 3] / main) * (4 / math.pi) + 1) * ((NODES - 1) / 2)
        cell = xp.clip(xp.floor(place).astype(xp.int64), 0, NODES - 2)
        cells.append(cell)
        shares.append(place - cell)
    total = xp.zeros((len(sums), len(vectors)))
    for one, two in itertools.product((0, 1), repeat=2):
        weight = (shares[0] if one else 1 - shares[0]) * (shares[1] if two else 1 - shares[1])
        total += weight * sums[:, (face * NODES + cells[0] + one) * NODES + cells[1] + two]
    return total


def _whole(values, shape):
    """The even array, ``v(-k) = v(k)``, of which `values` is the half transform; its zero frequency in the middle."""
    xp = backend.xp(values)
    nz, ny, nx = shape
    half = values.shape[2]
    whole = xp.empty(shape, values.dtype)
    whole[:, :, :half] = values
    mates = xp.ix_(-xp.arange(nz) % nz, -xp.arange(ny) % ny, nx - xp.arange(half, nx))
    whole[:, :, half:] = values[mates]
    return xp.fft.fftshift(whole)


def _region(volume, spacing, threshold, coarsest):
    """Where the FSC is at least `threshold` from the zero frequency on, on axes of odd length with it in the middle."""
    xp = backend.xp(volume)
    solid = xp.pad(volume >= threshold, [(0, 1 - n % 2) for n in volume.shape])
    solid |= solid[::-1, ::-1, ::-1]  # on the far side of an even axis, Nyquist is not stored
    z, y, x = (xp.asarray(((numpy.arange(n) - n // 2) * s) ** 2) for n, s in zip(solid.shape, spacing, strict=True))
    solid |= z[:, None, None] + y[:, None] + x < coarsest**2
    _keep_what_hangs_on_the_middle(solid)
    return solid


def _keep_what_hangs_on_the_middle(solid):
    """Drop each voxel whose neighbour one step nearer on every axis is not kept, from the middle outwards."""
    xp = backend.xp(solid)
    middle = [n // 2 for n in solid.shape]
    for radius in range(1, max(middle) + 1):
        for axis in range(3):
            if radius > middle[axis]:
                continue
            view = xp.moveaxis(solid, axis, 0)
            reach = [min(radius, middle[other]) for other in range(3) if other != axis]
            offsets = [numpy.arange(-r, r + 1) for r in reach]
            centres = [middle[other] for other in range(3) if other != axis]
            inner = xp.ix_(*(xp.asarray(c + o - numpy.sign(o)) for c, o in zip(centres, offsets, strict=True)))
            outer = tuple(slice(c - r, c + r + 1) for c, r in zip(centres, reach, strict=True))
            for side in (-1, 1):
                view[middle[axis] + side * radius][outer] &= view[middle[axis] + side * (radius - 1)][inner]


def _sphericity(region, spacing):
    """``π^(1/3)·(6V)^(2/3)/A`` of the surface of a region, smoothed by a Gaussian of one shell width; or None."""
    xp = backend.xp(region)
    soft = backend.ndimage(region).gaussian_filter(
        xp.pad(region, BORDER).astype(xp.float32), [1 / s for s in spacing], mode="constant"
    )
    area, volume = _surface(soft, 0.5, spacing)
    return math.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area if area > 0 else None


def _surface(array, level, spacing):
    """Area and volume of the closed surface at `level` of a piecewise linear function: each cell is six tetrahedra."""
    xp = backend.xp(array)
    scale = xp.asarray(spacing)
    inside = array >= level
    corners = list(itertools.product((0, 1), repeat=3))
    shifted = [tuple(slice(c, n - 1 + c) for c, n in zip(corner, array.shape, strict=True)) for corner in corners]
    count = sum(inside[window].astype(xp.uint8) for window in shifted)
    cells = xp.stack(xp.nonzero((count > 0) & (count < 8)), axis=1)
    area = volume = 0.0
    for order in itertools.permutations(range(3)):
        path = numpy.zeros((4, 3), int)  # from one corner of the cell to the opposite one, an axis at a time
        for step, axis in enumerate(order):
            path[step + 1 :, axis] = 1
        places = cells[:, None, :] + xp.asarray(path)
        values = array[places[..., 0], places[..., 1], places[..., 2]].astype(xp.float64)
        rank = values.argsort(axis=1)
        values = xp.take_along_axis(values, rank, axis=1)
        points = xp.take_along_axis(places * scale, rank[:, :, None], axis=1)
        high = (values >= level).sum(axis=1)
        for number, edges in _CUTS:
            chosen = high == number
            v, p = values[chosen], points[chosen]
            share = [((level - v[:, a]) / (v[:, b] - v[:, a]))[:, None] for a, b in edges]
            cut = [p[:, a] + s * (p[:, b] - p[:, a]) for s, (a, b) in zip(share, edges, strict=True)]
            normal = xp.cross(cut[1] - cut[0], cut[2] - cut[0]) / 2
            outward = xp.sign((normal * (p[:, 0] - cut[0])).sum(axis=1))  # the lowest corner is outside
            area += float(xp.sqrt((normal * normal).sum(axis=1)).sum())
            volume += float((outward * (normal * cut[0]).sum(axis=1)).sum()) / 3
    return area, volume


# corners in the order of their values: edges that a triangle of the surface cuts, with 1, 2 or 3 corners above it
_CUTS = (
    (1, ((3, 0), (3, 1), (3, 2))),
    (2, ((2, 0), (2, 1), (3, 1))),
    (2, ((2, 0), (3, 1), (3, 0))),
    (3, ((0, 1), (0, 2), (0, 3))),
)
