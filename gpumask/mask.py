"""Masks from binary arrays: threshold, dilation, erosion, soft edge. numpy or CuPy in, the same kind out.

Distances are Euclidean between voxel centres, in pixels, and compared as integers: ``d² <= floor(r² + 1e-6)``. Outside
the box is neither foreground nor background. For anisotropic voxels pass ``sampling``, the voxel edges (z, y, x) in
units of the smallest: *pixel* then means that smallest edge.
"""

import math
from numbers import Real

from gpumask import backend, fourier, regions, units
from gpumask.errors import InputRefused, UsageError
from gpumask.recipe import EDGES, STYLES, parse_edge
from gpumask.units import LONGEST

FACES = ("-x", "+x", "-y", "+y", "-z", "+z")
SLACK = 1e-6  # px²: r = 7 Å / 1.4 Å must count d = 5
NARROW_SLACK = 0.5  # px by which a soft edge may fall short of 5·resolution/voxel
RANGE_SLACK = 1e-6  # how far mask values may leave [0, 1]
_UINT16_LIMIT = 32766  # cap + largest cost of one axis must stay below 2**16


def threshold(array, level, absolute_value=False):
    """``v >= level`` (or ``|v| >= level``), bool. `level` is rounded to float32 before it is compared."""
    return backend.of(array).at_least(array, _float32(level), absolute_value)


def _float32(level):
    """A level in the map's own precision; one beyond float32 is infinite, so that no voxel reaches it."""
    import numpy

    with numpy.errstate(over="ignore"):
        return numpy.float32(level)


def squared_distance(base, reach_px, sampling=None, inverted=False):
    """Squared distance to the nearest foreground voxel, or background voxel where `inverted`, exact up to `reach_px`.

    Parameters
    ----------
    base : array, shape (z, y, x)
        bool, or numbers that count as foreground where >= 0.5.
    reach_px : float
        Distances up to here are exact.
    sampling : tuple of float, optional
        Voxel edges (z, y, x) in units of the smallest.

    Returns
    -------
    array
        uint16 or uint32 (float64 with `sampling`), px². Beyond the reach, and where there is no such voxel, one value
        that is larger than ``reach_px²`` or than any distance in the box.
    """
    foreground = _foreground(base)
    reach = _Reach(_length(reach_px, "reach"), sampling, foreground.shape)
    return backend.of(foreground).distance(foreground, reach.costs, reach.cap, inverted)


def dilate(base, radius_px, sampling=None):
    """Grow the foreground by `radius_px`, ``d <= r``; a negative radius erodes.

    Returns
    -------
    array of bool
    """
    if radius_px < 0:
        return erode(base, -radius_px, sampling)
    return _within(_foreground(base), _length(radius_px, "dilation"), sampling)


def erode(base, radius_px, sampling=None, squares=None):
    """Keep foreground whose distance to the nearest background voxel is > `radius_px`: the complement of the dilated
    complement.

    `squares` are the ``squared_distance(base, reach, sampling, inverted=True)`` of a reach of `radius_px` or more,
    where they are known already.

    Returns
    -------
    array of bool
    """
    foreground, radius = _foreground(base), _length(radius_px, "erosion")
    if squares is None:
        return _eroded(foreground, radius, sampling)
    return foreground & (squares > min(_limit(radius, sampling), _Reach(radius, sampling, foreground.shape).limit))


def edge_profile(position, edge="cosine", xp=None):
    """Value of a soft edge at `position` = (d - r)/w: 1 at 0 and 0 at 1.

    ``cosine`` 0.5 + 0.5·cos(π·t), as RELION · ``quarter-cosine`` cos(π·t/2), as cryoDRGN · ``linear`` 1 - t ·
    ``gaussian`` exp(-4.5·t²), three standard deviations wide and cut there at 1.1 % · ``slepian`` one minus the running
    integral of the discrete prolate spheroidal (DPSS) window, ``slepian:NW`` with 1 <= NW <= 3 (default 2).
    """
    import numpy

    xp = xp or numpy
    position = xp.clip(position, 0.0, 1.0)
    if edge == "cosine":
        value = 0.5 + 0.5 * xp.cos(math.pi * position)
    elif edge == "quarter-cosine":
        value = xp.cos(0.5 * math.pi * position)
    elif edge == "linear":
        value = 1.0 - position
    elif edge == "gaussian":
        value = xp.exp(-4.5 * position * position)
    elif parse_edge(edge)[0] == "slepian":
        nodes, heights = _slepian(parse_edge(edge)[1])
        value = xp.interp(position, xp.asarray(nodes), xp.asarray(heights))
    else:
        raise UsageError(f"edge {edge!r} is not a function of distance; choose one of {', '.join(EDGES)}")
    return xp.where(position >= 1.0, 0.0, value)


def edge_table(radius_px, soft_edge_px, edge="cosine", limit=None):
    """Mask value for every integer squared distance, computed in float64 and rounded once.

    Parameters
    ----------
    radius_px, soft_edge_px : float
        r and w.
    edge : str
        Profile, see :func:`edge_profile`.
    limit : int, optional
        Largest squared distance that occurs; by default ``floor((r + w)² + 1e-6)``.

    Returns
    -------
    numpy array of float32
        ``table[d²]``: 1 up to ``floor(r² + 1e-6)``, then the edge, and 0 in the last entry, which stands for everything
        from r + w on.
    """
    import numpy

    limit = _floor_square(radius_px + soft_edge_px) if limit is None else limit
    squares = numpy.arange(limit + 2, dtype=numpy.float64)
    table = numpy.zeros(len(squares))
    if soft_edge_px > 0:
        table = edge_profile((numpy.sqrt(squares) - radius_px) / soft_edge_px, edge)
    table[squares <= _floor_square(radius_px)] = 1.0
    table[-1] = 0.0
    return table.astype(numpy.float32)


def soft_mask(base, dilation_px=0, soft_edge_px=0, edge=None, style="euclidean", sampling=None):
    """Dilate (or erode) a binary base and give it a soft edge outside.

    Parameters
    ----------
    base : array, shape (z, y, x)
        bool, or numbers that count as foreground where >= 0.5; numpy or CuPy.
    dilation_px : float
        r: the mask is 1 where ``d <= r``, d the distance to the nearest foreground voxel. Negative: erode by -r, and
        measure the edge from what is left.
    soft_edge_px : float
        w: the mask falls from 1 to 0 for ``r < d < r + w``.
    edge : str, optional
        Profile, see :func:`edge_profile`, or ``convolved``: dilate by r + w/2 and convolve with the compact radial
        kernel whose plane marginal is the half-sine, so that the edge is the raised cosine without the staircase of
        the voxel distance transform; 1 for d <= r, 0 for d >= r + w. (A wider edge may then be lower somewhere by a
        few hundredths; all other profiles only grow with r and w.) Default ``cosine`` (``quarter-cosine`` in style
        ``cryodrgn``).
    style : str
        ``euclidean``; ``relion``: dilation ``d < r`` and erosion ``d >= r`` (strict), edge measured from the dilated
        set, as ``relion_mask_create`` does in two passes (whose widths from 100 px on are cut at 99.995 px: not
        followed); ``cryodrgn``: 6-connected dilation by ``int(dilation_px)`` steps, edge from the dilated set
        (cryoDRGN also rounds values to 6 decimals: not followed). Both dilate within the box, as their programs do.
    sampling : tuple of float, optional
        Voxel edges (z, y, x) in units of the smallest, for anisotropic voxels.

    Returns
    -------
    array of float32, shape (z, y, x)
        Values in [0, 1]. An empty base gives zeros, a full one gives ones.

    Raises
    ------
    UsageError
        A negative or non-finite width, an unknown edge or style, erosion in style ``cryodrgn``.
    """
    foreground = _foreground(base)
    width = _length(soft_edge_px, "soft edge")
    radius = _finite(dilation_px, "dilation")
    if style not in STYLES:
        raise UsageError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
    edge = edge or ("quarter-cosine" if style == "cryodrgn" else "cosine")
    parse_edge(edge)
    if style == "relion" and radius:
        foreground = (
            _within(foreground, radius, sampling, strict=True)
            if radius > 0
            else _eroded(foreground, -radius, sampling, strict=True)
        )
        radius = 0.0
    elif style == "cryodrgn":
        foreground, radius = _diamond(foreground, radius), 0.0
    elif radius < 0:
        foreground, radius = _eroded(foreground, -radius, sampling), 0.0
    if edge == "convolved" and width > 0:
        return _convolved(foreground, radius, width, sampling)
    return _by_distance(foreground, radius, width, edge, sampling)


def from_distance(squares, dilation_px=0, soft_edge_px=0, edge="cosine", sampling=None):
    """:func:`soft_mask` of a base whose distances are known, so that many masks cost one distance field.

    Parameters
    ----------
    squares : array
        :func:`squared_distance` of the base, with a reach of `dilation_px` + `soft_edge_px` or more.
    dilation_px : float
        At least 0; an eroded base has distances of its own.
    soft_edge_px, edge, sampling
        See :func:`soft_mask`; not the ``convolved`` edge.

    Returns
    -------
    array of float32, shape (z, y, x)
        The same bytes as from :func:`soft_mask`.
    """
    xp = backend.xp(squares)
    radius, width = _length(dilation_px, "dilation"), _length(soft_edge_px, "soft edge")
    if sampling is None:
        farthest = _Reach(radius + width, sampling, squares.shape).limit
        table = edge_table(radius, width, edge, max(int(squares.max()), farthest))
        table[farthest + 1 :] = 0  # where there is no base, squares are no distance and may be below (r + w)²
        table = xp.asarray(table)
        mask = xp.empty(squares.shape, xp.float32)

        def look_up(start, stop):
            mask[start:stop] = table[squares[start:stop]]

        fourier.over_planes(look_up, mask)
        return mask
    near = squares <= radius * radius + SLACK
    mask = near.astype(xp.float32)
    if width > 0:
        soft = (squares < _Reach(radius + width, sampling, squares.shape).cap) & ~near
        mask[soft] = edge_profile((xp.sqrt(squares[soft]) - radius) / width, edge, xp)
    return mask


def invert(mask):
    """``1 - mask``."""
    return backend.xp(mask).float32(1) - mask


def equivalent_edge(mask, sampling=None):
    """Width in px of the raised-cosine edge that a mask amounts to: ``8·Σm(1 - m) / Σ|∇m|``.

    Exact for flat edges; 0 for a binary mask. The gradient is by central differences; `sampling` are the voxel edges in
    px where voxels are anisotropic (:func:`gpumask.units.sampling`).
    """
    return metered(mask, sampling).value()


def metered(mask, sampling=None):
    """The :class:`EdgeMeter` that has seen every plane of a mask where it changes."""
    meter = EdgeMeter(sampling)
    box = regions.bounding_box(mask != mask[0, 0, 0])
    if box is not None:
        near = mask[tuple(slice(max(s.start - 2, 0), s.stop + 2) for s in box)]  # differences reach further
        meter.take(near, 0, len(near))
    return meter


class EdgeMeter:
    """:func:`equivalent_edge` of a mask that comes plane by plane along z.

    Attributes
    ----------
    softness : float
        ``Σm(1 - m)``.
    steepness : float
        ``Σ|∇m|``; times the volume of a voxel it is the area in px² of the surface that the mask amounts to.
    """

    def __init__(self, sampling=None):
        self.edges = tuple(map(float, sampling or (1, 1, 1)))
        self.planes = []
        self.softness = self.steepness = 0.0

    def add(self, plane):
        """Take the next plane."""
        self.planes = [*self.planes[-2:], plane]
        if len(self.planes) > 1:
            self._last_but(1)

    def finish(self):
        """Call once, after the last plane."""
        self._last_but(0)

    def take(self, planes, first, last):
        """Take planes first <= z < last of an array that may hold their neighbours."""
        for softness, steepness in backend.of(planes).edge_sums(planes, self.edges, first, last):
            self.softness += float(softness)
            self.steepness += float(steepness)

    def _last_but(self, later):
        last = len(self.planes) - later
        self.take(backend.xp(self.planes[0]).stack(self.planes), last - 1, last)

    def value(self):
        """Width in px, after `finish`."""
        return 8 * self.softness / self.steepness if self.steepness else 0.0


def centre_of_mass(mask):
    """Centre of mass of the mask values, corner-origin px (z, y, x); None where the mask is empty."""
    xp = backend.xp(mask)
    rows = mask.sum(axis=2, dtype=xp.float64)
    weights = [rows.sum(axis=1), rows.sum(axis=0), mask.sum(axis=1, dtype=xp.float64).sum(axis=0)]
    total = float(weights[0].sum())
    return tuple(float((w * xp.arange(len(w))).sum()) / total for w in weights) if total else None


def check_range(values):
    """Refuse an array that is no mask: values outside [0, 1] by more than 1e-6, or nothing above 0
    (:class:`InputRefused`)."""
    low, high = float(values.min()), float(values.max())
    if not (low >= -RANGE_SLACK and high <= 1 + RANGE_SLACK and high > RANGE_SLACK):
        raise InputRefused(f"a mask has values from 0 to 1, and some above 0; got {low:g} to {high:g}")


def is_mask(low, high):
    """Whether a map of that minimum and maximum is taken as a mask: values in [0, 1] to 1e-6, some above 0, and the
    least is 0 or the greatest 1.

    One body of a partition need not reach 1, nor the inside of a mask 0. A density that was scaled to [0, 1] is taken
    as a mask too: all that it loses is what resampling takes out of [0, 1].
    """
    slack = RANGE_SLACK * min(high, 1)  # of the values, so that a density of small numbers keeps its negatives
    return high > 0 and low >= -slack and high <= 1 + slack and (low <= slack or high >= 1 - slack)


def faces_touched(mask):
    """Faces of the box where the mask is not 0, such as ``["-x", "+z"]``, in the order of ``FACES``."""
    return [
        face for face in FACES if bool((mask.take(0 if face[0] == "-" else -1, axis="zyx".index(face[1])) != 0).any())
    ]


def verdict(equivalent_edge_px, minimum_soft_edge_px):
    """``hard`` under 1 px; else ``narrow`` under 5·resolution/voxel - 0.5 px, ``ok`` from there on; None without a
    resolution."""
    if equivalent_edge_px < 1:
        return "hard"
    if minimum_soft_edge_px is None:
        return None
    return "narrow" if equivalent_edge_px < minimum_soft_edge_px - NARROW_SLACK else "ok"


def verdict_line(equivalent_edge_px, minimum_soft_edge_px, voxel_size, power_db=None, resolution=None):
    """:func:`verdict` in one line with its numbers, for people.

    Parameters
    ----------
    equivalent_edge_px : float
        See :func:`equivalent_edge`.
    minimum_soft_edge_px : float or None
        5·resolution/voxel; None without a resolution.
    voxel_size : tuple of float
        Å (z, y, x).
    power_db, resolution : float, optional
        Mean power of the mask's spectrum over P(0), dB, at that resolution, Å.

    Returns
    -------
    str
        ``narrow: edge 8.1 px = 8.5 Å, 5·resolution asks for 16.2 px = 17.0 Å; -48 dB at 3.4 Å``
    """
    word = verdict(equivalent_edge_px, minimum_soft_edge_px)
    text = f"{word or 'none without a resolution'}: edge {units.both(equivalent_edge_px, voxel_size)}"
    if minimum_soft_edge_px is not None:
        text += f", 5·resolution asks for {units.both(minimum_soft_edge_px, voxel_size)}"
    elif word == "hard":
        text += ", under 1 px"
    return text if power_db is None else f"{text}; {power_db:.0f} dB at {resolution:.3g} Å"


class _Reach:
    """How far distances are followed in a box: squared-distance costs of steps along each axis, and what stands for
    farther."""

    def __init__(self, radius, sampling, shape):
        import numpy

        if sampling is None:
            self.limit = min(_floor_square(radius), sum((n - 1) ** 2 for n in shape))
            dtype = numpy.uint16 if self.limit <= _UINT16_LIMIT else numpy.uint32
            self.cap = dtype(self.limit + 1)
            self.voxels = (math.isqrt(self.limit),) * 3
            self.costs = (numpy.arange(self.voxels[0] + 1).astype(dtype) ** 2,) * 3
        else:
            self.limit = radius * radius + SLACK
            self.cap = numpy.nextafter(self.limit, numpy.inf)
            self.voxels = tuple(
                min(math.floor(math.sqrt(self.limit) / s), n - 1) for s, n in zip(sampling, shape, strict=True)
            )
            self.costs = tuple(
                numpy.arange(n + 1, dtype=numpy.float64) ** 2 * (s * s)
                for n, s in zip(self.voxels, sampling, strict=True)
            )


def _by_distance(foreground, radius, width, edge, sampling):
    xp, body = backend.xp(foreground), backend.of(foreground)
    reach = _Reach(radius + width, sampling, foreground.shape)
    if sampling is None:
        return body.soft_mask(
            foreground, reach.costs, reach.cap, xp.asarray(edge_table(radius, width, edge, reach.limit))
        )
    return from_distance(body.distance(foreground, reach.costs, reach.cap), radius, width, edge, sampling)


def _convolved(foreground, radius, width, sampling):
    """The base dilated by r + w/2, convolved with ``K(s) = sin(π·s/w)/s`` (s < w/2, unit sum).

    K is the radial function whose integral over a plane at distance s is ``cos(π·s/w)``, the slope of the raised
    cosine. The set is followed beyond the box as far as K reaches, so that a box face does not bend the edge.
    """
    xp = backend.xp(foreground)
    box = regions.bounding_box(foreground)
    mask = xp.zeros(foreground.shape, xp.float32)
    if box is None:
        return mask
    beyond = _kernel_reach(width, sampling)
    reach = _Reach(radius + width, sampling, [n + 2 * b for n, b in zip(foreground.shape, beyond, strict=True)])
    around = [  # the reach on each side of the foreground, but no more than K's reach beyond the box
        (min(r + 1, s.start + b), min(r + 1, n - s.stop + b))
        for r, b, s, n in zip(reach.voxels, beyond, box, foreground.shape, strict=True)
    ]
    grown = xp.pad(foreground[box], around)
    squares = backend.of(grown).distance(grown, reach.costs, reach.cap)
    # One voxel of ramp stands for the part of a voxel that the surface at r + w/2 leaves in: without it the edge of a
    # plane is up to half a voxel off, and the steps of the lattice show in the spectrum.
    dilated = xp.clip(radius + width / 2 + 0.5 - xp.sqrt(squares.astype(xp.float64)), 0.0, 1.0)
    shape = [fourier.fast_length(n + b) for n, b in zip(grown.shape, beyond, strict=True)]
    smooth = fourier.rfftn(_padded(dilated, shape)) * fourier.rfftn(_half_sine_kernel(shape, width, sampling, xp))
    smooth = xp.clip(fourier.irfftn(smooth, shape)[tuple(slice(n) for n in grown.shape)], 0.0, 1.0)
    smooth[squares >= (radius + width) ** 2 - SLACK] = 0.0
    smooth[squares <= _limit(radius, sampling)] = 1.0
    inner, outer = [], []
    for s, (before, after), n in zip(box, around, foreground.shape, strict=True):
        start, stop = max(s.start - before, 0), min(s.stop + after, n)
        outer.append(slice(start, stop))
        inner.append(slice(start - s.start + before, stop - s.start + before))
    mask[tuple(outer)] = smooth[tuple(inner)]
    return mask


def convolved_bytes(shape, soft_edge_px, sampling=None):
    """Most memory that the ``convolved`` edge takes in a box of `shape`, besides the base and the mask."""
    beyond = _kernel_reach(soft_edge_px, sampling)
    return 6 * 8 * math.prod(n + 3 * b for n, b in zip(shape, beyond, strict=True))


def _kernel_reach(width, sampling):
    """Voxels that the kernel of the ``convolved`` edge reaches along each axis."""
    return [math.floor(width / 2 / s) + 1 for s in sampling or (1, 1, 1)]


def _padded(array, shape):
    xp = backend.xp(array)
    return xp.pad(array, [(0, n - have) for n, have in zip(shape, array.shape, strict=True)])


def _half_sine_kernel(shape, width, sampling, xp):
    """``K`` of :func:`_convolved` around index 0 of a periodic array of `shape`, unit sum."""
    offsets = [xp.fft.fftfreq(n, 1 / n) * s for n, s in zip(shape, sampling or (1, 1, 1), strict=True)]
    squares = offsets[0][:, None, None] ** 2 + offsets[1][None, :, None] ** 2 + offsets[2][None, None, :] ** 2
    kernel = xp.where(squares < width * width / 4, math.pi / width * xp.sinc(xp.sqrt(squares) / width), 0.0)
    return kernel / kernel.sum()


def _within(foreground, radius, sampling, strict=False, inverted=False):
    """Voxels within `radius` of the foreground, or of the background where `inverted`: d <= r, or d < r if `strict`."""
    limit = _limit(radius, sampling, strict)
    if limit < 0:
        return ~foreground if inverted else foreground.copy()
    reach = _Reach(math.sqrt(limit) if strict and sampling is None else radius, sampling, foreground.shape)
    # The cap is not a distance: where the box is smaller than the radius it is below the limit.
    squares = backend.of(foreground).distance(foreground, reach.costs, reach.cap, inverted)
    return squares <= min(limit, reach.limit)


def _eroded(foreground, radius, sampling, strict=False):
    """The complement of the dilated complement; one voxel of background around the bounding box is enough of it."""
    box = regions.bounding_box(foreground)
    if box is None:
        return foreground.copy()
    box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
    kept = foreground.copy()
    inside = backend.xp(foreground).ascontiguousarray(foreground[box])
    kept[box] &= ~_within(inside, radius, sampling, strict, inverted=True)
    return kept


def _limit(radius, sampling, strict=False):
    """Largest squared distance that counts as within `radius`."""
    square = radius * radius
    if sampling is not None:
        return square - SLACK if strict else square + SLACK
    return math.ceil(square - SLACK) - 1 if strict else _floor_square(radius)


def _diamond(foreground, radius):
    """Grown by ``int(radius)`` steps to the six neighbours."""
    if radius < 0:
        raise UsageError(f"style cryodrgn has no erosion: dilation must be >= 0, got {radius:g} px")
    steps = min(int(radius), sum(foreground.shape))
    box = regions.bounding_box(foreground)
    if box is None or steps == 0:
        return foreground
    box = tuple(slice(max(s.start - steps, 0), s.stop + steps) for s in box)
    grown = foreground.copy()
    grown[box] = backend.ndimage(foreground).binary_dilation(foreground[box], iterations=steps)
    return grown


def _slepian(bandwidth, samples=8193):
    """Nodes t and values of one minus the running integral of the DPSS window of half bandwidth NW."""
    import numpy
    from scipy.signal.windows import dpss

    window = dpss(samples, bandwidth)
    integral = numpy.concatenate([[0.0], numpy.cumsum(0.5 * (window[1:] + window[:-1]))])
    return numpy.linspace(0, 1, samples), 1 - integral / integral[-1]


def _foreground(base):
    """bool in C order; numbers count where >= 0.5."""
    if getattr(base, "ndim", None) != 3:
        raise UsageError(f"a mask base needs an array of three axes (z, y, x), got {getattr(base, 'shape', base)!r}")
    xp = backend.xp(base)
    return xp.ascontiguousarray(base if base.dtype == bool else base >= 0.5)


def _floor_square(radius):
    return math.floor(radius * radius + SLACK)


def _finite(value, what):
    if isinstance(value, bool) or not isinstance(value, Real) or not abs(value) <= LONGEST:
        raise UsageError(f"{what} must be a number of pixels, at most {LONGEST:g}, got {value!r}")
    return float(value)


def _length(value, what):
    if _finite(value, what) < 0:
        raise UsageError(f"{what} must be >= 0 px, got {value:g} px")
    return float(value)
