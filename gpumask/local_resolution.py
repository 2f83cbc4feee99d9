"""Local resolution: the FSC of two half maps in a window that moves over the box, and filtering by what it finds.

The method is that of Cardone et al. 2013 with the numbers of RELION's ``--locres``, but each window is cut out before
it is transformed, so that the work goes with the window and not with the box.
"""

import math
from dataclasses import dataclass, field
from numbers import Real

import numpy

from gpumask import backend, correlation, fourier, phases, spectrum, units
from gpumask.errors import InputRefused, UsageError
from gpumask.mask import edge_profile

WINDOW = 50.0  # Å across at half height: RELION's core of 12.5 Å radius with an edge of 25 Å
NARROWEST = 7  # times the Nyquist resolution, 14 voxels (Cardone et al. 2013)
SMALLEST = 8.0  # px, of a window that is asked for
THRESHOLD = 0.143
INSIDE = 0.5  # of a mask, from which on a voxel counts
MEMORY = 2**26  # bytes of the windows that are in work at a time; 2**28 is a quarter slower on two cores
PLANS = 2**26  # bytes of cuFFT's work areas that may stay
LANES = 64  # coefficients that are added up at a time

COPIES = 24  # low-passed maps, at the most
EDGE = 2  # shells, of their edges at the least: RELION's
SNAP = 1e-3  # shells, so that float32 resolutions meet the shells they stand for
BINS = 50  # of the histogram


@dataclass(frozen=True, eq=False)
class LocalResolution:
    """What :func:`measure` finds.

    Attributes
    ----------
    volume : array of float32, shape (z, y, x)
        Å. Between the points 1/resolution is interpolated linearly along z, y and x; where there are none, so outside
        the mask, the value is that of the nearest ones: good for colouring a surface, no measurement.
    points : numpy array of int, shape (n, 3)
        Centres of the windows (z, y, x), corner-origin px.
    values : numpy array of float64, shape (n,)
        Å at the points, within `bounds`; NaN where a half map has no signal at all. In `volume` those are at the
        coarsest bound.
    bounds : tuple of float
        (coarsest, finest) Å: the window's own size, since it cannot hold longer waves, and Nyquist.
    voxel_size : tuple of float
        Å (z, y, x).
    window_px, window : float
        Width of the window at half height: px (of the smallest voxel edge, where they differ) and Å.
    step_px : tuple of int
        Between points (z, y, x).
    box_px : tuple of int
        What is cut out and transformed (z, y, x).
    threshold : float
    onset : float or None
        1/Å, from where on phases were randomised; None where nothing was corrected, and `warnings` say why.
    seed : int
    n_effective : numpy array
        Independent coefficients under the window in each shell of `box_px`, 1 / (longest edge) wide.
    fsc_sd : float
        Standard deviation of the FSC at the threshold, at the median resolution (fixed signal, from n_effective).
    quartiles : tuple of float
        25, 50 and 75 % of the voxels in the mask, Å.
    histogram : dict
        ``edges`` (Å, one more) and ``counts`` of the voxels in the mask.
    warnings : list of str
    """

    volume: object = field(repr=False)
    points: numpy.ndarray = field(repr=False)
    values: numpy.ndarray = field(repr=False)
    bounds: tuple
    voxel_size: tuple
    window_px: float
    window: float
    step_px: tuple
    box_px: tuple
    threshold: float
    onset: float | None
    seed: int
    n_effective: numpy.ndarray = field(repr=False)
    fsc_sd: float
    quartiles: tuple
    histogram: dict = field(repr=False)
    warnings: list

    @property
    def median(self):
        """Of the voxels in the mask, Å."""
        return self.quartiles[1]

    @property
    def at_coarsest(self):
        """Points whose FSC is under the threshold at the coarsest bound already."""
        return int((self.values == self.bounds[0]).sum())

    @property
    def at_finest(self):
        """Points whose FSC never falls below the threshold: their resolution is limited by the voxel size."""
        return int((self.values == self.bounds[1]).sum())

    @property
    def undefined(self):
        """Points without signal."""
        return int(numpy.isnan(self.values).sum())

    def to_dict(self):
        """What JSON holds: everything but the map, the points and the shells; triples are x,y,z."""
        return {
            "voxel_size_angstrom": units.xyz(self.voxel_size),
            "box": units.xyz(self.volume.shape),
            "window_px": self.window_px,
            "window_angstrom": self.window,
            "window_box": units.xyz(self.box_px),
            "step_px": units.xyz(self.step_px),
            "bounds": {"coarsest": self.bounds[0], "finest": self.bounds[1]},
            "threshold": self.threshold,
            "onset": None if self.onset is None else 1 / self.onset,
            "seed": self.seed,
            "points": {
                "count": len(self.points),
                "at_coarsest": self.at_coarsest,
                "at_finest": self.at_finest,
                "undefined": self.undefined,
            },
            "median": self.median,
            "quartiles": list(self.quartiles),
            "fsc_sd": self.fsc_sd,
            "histogram": self.histogram,
            "warnings": self.warnings,
        }


def measure(
    half1,
    half2,
    voxel_size,
    mask=None,
    *,
    window=None,
    step=None,
    threshold=THRESHOLD,
    onset=None,
    seed=0,
    assume_unmasked=False,
    progress=None,
    memory=MEMORY,
):
    """Local resolution of two half maps.

    Around each point of a grid both half maps are multiplied by a soft sphere and transformed, and so are the half maps
    with random phases from the onset on. With t and n their FSC, a curve is t up to the onset and two shells on, and
    ``(t - n)/(1 - n)`` from there. The resolution is where it first falls below the threshold, on the straight line
    between two shells. A shell without power counts as below.

    Parameters
    ----------
    half1, half2 : array of float, shape (z, y, x)
        Unmasked, unfiltered half maps; numpy or CuPy. Outside the box is nothing.
    voxel_size : float or tuple of float
        Å (z, y, x); anisotropic voxels are measured in Å, lengths must be given so.
    mask : array of float, shape (z, y, x), optional
        Points where it is below 0.5 are skipped. Without one those count whose window has its core in the inscribed
        sphere.
    window : str or float, optional
        Width of the sphere at half height, ``"50A"`` or px: 1 up to a radius of window/4, 0 from 3/4 window on, a
        raised cosine between. 50 Å (RELION's), or 14 voxels where that is more. A wide one is precise, a narrow one is
        local: it should be 7 times the resolution (Cardone et al. 2013). It smears the FSC over about 1/window, so that
        a steep one seems to fall later: 8 Å reads as 7.7 Å under 50 Å where the FSC falls
        smoothly, and as 5.5 to 6.7 Å where a low-pass cuts it off, as with ``relion_postprocess --locres``.
    step : str or float, optional
        Between points, rounded to whole voxels; window/2 (RELION's 25 Å). The grid is laid through the box centre.
    threshold : float
        Of the FSC, above 0 and below 1.
    onset : float or str, optional
        Where phases are randomised from, see :func:`gpumask.correlation.onset_shell`; window/2 (RELION's 25 Å): it
        has to be coarser than the worst resolution that is of interest.
    seed : int
        Of the random phases.
    assume_unmasked : bool
        Take the half maps to be unmasked, whatever they look like; masked ones are measured without a correction.
    progress : callable, optional
        Called with the name of each step, and its share done.
    memory : int
        Bytes that the windows in work may take. It changes no byte of the result.

    Returns
    -------
    LocalResolution

    Raises
    ------
    UsageError
        A window that is larger than the box or under 8 px, a threshold outside (0, 1), an onset beyond Nyquist, a mask
        that holds no point.
    InputRefused
        Different boxes, values that are not finite, or twice the same map.
    """
    progress = progress or (lambda name, share=None: None)
    if not (isinstance(threshold, Real) and 0 < threshold < 1):
        raise UsageError(f"threshold must be an FSC above 0 and below 1, got {threshold!r}")
    size = units.voxel_edges(voxel_size)
    if window is None:
        window = units.Length(max(WINDOW, 2 * NARROWEST * max(size)), "A")
    across = units.to_px(window, size, "window")
    if not across >= SMALLEST:
        raise UsageError(f"window must be at least {SMALLEST:g} px across, got {window}")
    wide = units.to_angstrom(across, size)
    half_window = units.Length(wide / 2, "A")
    scale = units.sampling(size) or (1.0, 1.0, 1.0)
    step_px = _whole_steps(half_window if step is None else step, size, scale)
    progress("half maps")
    onset = half_window if onset is None else onset
    halves = correlation.half_maps(half1, half2, size, onset, assume_unmasked=assume_unmasked, keep=False)
    xp, shape = backend.xp(half1), half1.shape
    if any(across > n * s for n, s in zip(shape, scale, strict=True)):
        raise UsageError(f"window {units.both(across, size)} is larger than the box; give a smaller one")
    if mask is not None and mask.shape != shape:
        raise InputRefused(
            f"mask and half maps must have one box, got {units.by(mask.shape)} and {units.by(shape)} voxels; "
            "put the mask on their grid (resample --like)"
        )
    inside = _core_in_sphere(half1, scale, across / 4) if mask is None else xp.asarray(mask) >= INSIDE
    first = tuple(n // 2 % s for n, s in zip(shape, step_px, strict=True))
    on_grid = tuple(slice(f, None, s) for f, s in zip(first, step_px, strict=True))
    measured = backend.to_numpy(inside[on_grid])
    if not measured.any():
        raise UsageError(f"no grid point is in the mask; give a finer step than {units.both(step_px[0], size)}")
    points = numpy.argwhere(measured) * step_px + first
    sphere = _sphere(across, scale)
    windows = _Windows(sphere, size)
    maps = [half1, half2]
    corrected_from = None
    if not halves.refusal:
        progress("random phases")
        maps += [_randomized(halves, half, array, seed) for half, array in enumerate((half1, half2))]
        corrected_from = math.ceil(halves.onset * halves.shells.step / windows.shells.step) + correlation.SKIPPED
    curves, signal = windows.curves(maps, points, corrected_from, memory, progress)
    bounds = wide, 2 * max(size)
    values = numpy.clip(_first_below(curves, threshold, windows.shells), *bounds[::-1])
    values[~signal] = numpy.nan
    progress("map")
    grid = numpy.zeros(measured.shape)
    grid[measured] = 1 / numpy.where(signal, values, bounds[0])
    volume = _interpolated(_filled(grid, measured, step_px, scale), first, step_px, half1)
    found = backend.to_numpy(volume[inside])
    quartiles = tuple(float(q) for q in numpy.percentile(found.astype(float), (25, 50, 75)))
    counts, edges = numpy.histogram(found, BINS)
    effective = spectrum.effective_coefficients(sphere, size)
    there = min(round(1 / (quartiles[1] * windows.shells.step)), windows.shells.nyquist)
    return LocalResolution(
        volume=volume,
        points=points,
        values=values,
        bounds=bounds,
        voxel_size=size,
        window_px=across,
        window=wide,
        step_px=step_px,
        box_px=sphere.shape,
        threshold=float(threshold),
        onset=None if halves.refusal else halves.onset * halves.shells.step,
        seed=seed,
        n_effective=effective,
        fsc_sd=math.sqrt(correlation.variance(threshold, effective[there])),
        quartiles=quartiles,
        histogram={"edges": [float(e) for e in edges], "counts": [int(c) for c in counts]},
        warnings=halves.notes + ([f"nothing is corrected: {halves.refusal}"] if halves.refusal else []),
    )


def _whole_steps(step, size, scale):
    """A step in whole voxels along z, y and x."""
    length = units.to_px(step, size, "step")
    if not length > 0:
        raise UsageError(f"step must be > 0, got {step}")
    return tuple(max(1, round(length / s)) for s in scale)


def _squared_distance(shape, scale, xp):
    """From the centre ``n // 2``, px²."""
    z, y, x = (((xp.arange(n) - n // 2) * s) ** 2.0 for n, s in zip(shape, scale, strict=True))
    return z[:, None, None] + y[:, None] + x


def _core_in_sphere(array, scale, core):
    """Where a ball of radius `core` px stays within the sphere inscribed in the box."""
    radius = min(n * s for n, s in zip(array.shape, scale, strict=True)) / 2 - core
    return _squared_distance(array.shape, scale, backend.xp(array)) <= radius**2


def _sphere(across, scale):
    """The window in a box that its transform is fast in; numpy float32, the centre at ``n // 2``."""
    shape = tuple(fourier.fast_length(2 * math.ceil(0.75 * across / s) - 1) for s in scale)
    distance = numpy.sqrt(_squared_distance(shape, scale, numpy))
    return edge_profile((distance - across / 4) / (across / 2)).astype(numpy.float32)


def _randomized(halves, half, array, seed):
    """A half map with random phases from the onset on, float32."""
    transform = fourier.rfftn(array, "float32")
    turned = phases.randomized(transform, halves.shape, halves.voxel_size, halves.onset, seed, half)
    del transform
    return fourier.irfftn(turned, halves.shape)


class _Windows:
    """FSC curves in one window at many places.

    Coefficients are gathered shell by shell, those that stand for themselves apart from those that have a mate, in
    blocks of 64 that are filled up with zeros: a block is summed on the device, in float64, the blocks of a shell are
    summed on the host. Neither depends on how many windows are in work.
    """

    def __init__(self, sphere, size):
        self.sphere = sphere
        self.shells = fourier.shells(sphere.shape, size)
        z, y, x = self.shells.squares
        shell = (numpy.sqrt(y[:, None] + x + z[:, None, None]) + 0.5).astype(int)
        kind = (2 * shell + (self.shells.weights == 2)).reshape(-1)
        self.kinds = 2 * (self.shells.nyquist + 1)
        order = numpy.argsort(kind, kind="stable")
        counts = numpy.bincount(kind)[: self.kinds]
        order = order[: counts.sum()]
        blocks = -(-counts // LANES)
        self.first = numpy.cumsum(blocks) - blocks
        shift = self.first * LANES - (numpy.cumsum(counts) - counts)
        place = numpy.arange(len(order)) + numpy.repeat(shift, counts)
        self.index = numpy.zeros(blocks.sum() * LANES, numpy.intp)
        self.index[place] = order
        empty = numpy.ones(len(self.index), bool)
        empty[place] = False
        self.padding = numpy.flatnonzero(empty)
        self.filled = numpy.flatnonzero(counts)

    def curves(self, maps, points, corrected_from, memory, progress):
        """The curve at each point, and whether both half maps have any power there.

        Windows are scaled by powers of two, so that squares of any map are within float32.
        """
        xp = backend.xp(maps[0])
        spheres = [xp.asarray(self.sphere * 2.0 ** -_exponent(array), xp.float32) for array in maps]
        index, padding = xp.asarray(self.index), xp.asarray(self.padding)
        each = 16 * len(maps) * self.sphere.size
        count = int(min(max(1, memory // each), len(points)))
        batch = xp.empty((count, len(maps), *self.sphere.shape), xp.float32)
        found = numpy.empty((len(points), self.shells.nyquist + 1))
        signal = numpy.empty(len(points), bool)
        for start in range(0, len(points), count):
            progress("windows", start / len(points))
            here = points[start : start + count]
            for one, point in zip(batch, here, strict=False):
                _cut_out(maps, spheres, point, one)
            transforms = _transform(batch[: len(here)]).reshape(len(here), len(maps), -1)
            gathered = [xp.take(transforms[:, i], index, axis=1) for i in range(len(maps))]
            del transforms
            for values in gathered:
                values[:, padding] = 0
            pairs = [self._curve(*gathered[i : i + 2]) for i in range(0, len(maps), 2)]
            curve, signal[start : start + count] = pairs[0]
            if corrected_from is not None:
                later = slice(corrected_from, None)
                curve[:, later] = correlation.corrected(curve[:, later], pairs[1][0][:, later])
            found[start : start + count] = curve
        return found, signal

    def _curve(self, a, b):
        cross, first, second = (self._sums(*pair) for pair in ((a, b), (a, a), (b, b)))
        flat = [values.reshape(-1) for values in (cross, first, second)]
        signal = (first.sum(axis=1) > 0) & (second.sum(axis=1) > 0)
        return correlation.curve(*flat).reshape(cross.shape), signal

    def _sums(self, a, b):
        """``Σ Re(a·b*)`` over shells; numpy, float64."""
        xp = backend.xp(a)
        product = a.view(xp.float32) * b.view(xp.float32)
        blocks = product.reshape(len(a), -1, 2 * LANES).sum(axis=-1, dtype=xp.float64)
        sums = numpy.zeros((len(a), self.kinds))
        sums[:, self.filled] = numpy.add.reduceat(backend.to_numpy(blocks), self.first[self.filled], axis=1)
        return sums[:, 0::2] + 2 * sums[:, 1::2]


def _exponent(array):
    return math.frexp(max(float(array.max()), -float(array.min())))[1]


def _cut_out(maps, spheres, point, out):
    """Each map times its window around `point`, into the boxes of `out`; outside the maps is 0."""
    low = [int(p) - n // 2 for p, n in zip(point, out.shape[1:], strict=True)]
    source = tuple(slice(max(0, a), a + n) for a, n in zip(low, out.shape[1:], strict=True))
    target = tuple(
        slice(max(0, -a), min(n, length - a)) for a, n, length in zip(low, out.shape[1:], maps[0].shape, strict=True)
    )
    if any(t != slice(0, n) for t, n in zip(target, out.shape[1:], strict=True)):
        out[...] = 0
    for array, sphere, box in zip(maps, spheres, out, strict=True):
        box[target] = array[source] * sphere[target]


def _transform(batch):
    """Half transforms of the last three axes, complex64."""
    if backend.is_cupy(batch):
        from gpumask import cuda

        with cuda.transforms(PLANS) as fft:
            return fft.rfftn(batch, axes=(2, 3, 4))
    import scipy.fft

    from gpumask._cpu import threads

    return scipy.fft.rfftn(batch, axes=(2, 3, 4), workers=threads.count())


def _first_below(curves, threshold, shells):
    """Å where each curve first falls below the threshold, 0 where one never does."""
    curves = numpy.where(numpy.isfinite(curves), curves, 0.0)[:, : shells.nyquist + 1]
    below = curves[:, 1:] < threshold
    found = below.any(axis=1)
    shell = below.argmax(axis=1) + 1
    row = numpy.arange(len(curves))
    before, after = curves[row, shell - 1], curves[row, shell]
    crossed = found & (before > threshold)
    back = numpy.where(crossed, (threshold - after) / numpy.where(crossed, before - after, 1.0), 0.0)
    return 1 / (numpy.where(found, shell - back, numpy.inf) * shells.step)


def _filled(grid, measured, step_px, scale):
    """The grid with the nearest measured point where there was none."""
    import scipy.ndimage

    sampling = [a * b for a, b in zip(step_px, scale, strict=True)]
    nearest = scipy.ndimage.distance_transform_edt(~measured, sampling, return_distances=False, return_indices=True)
    return grid[tuple(nearest)]


def _interpolated(grid, first, step_px, like):
    """Resolution at every voxel from 1/resolution at the points; constant beyond the outermost."""
    xp = backend.xp(like)
    grid = xp.asarray(grid)
    for axis in (2, 1):
        low, high, share = _neighbours(grid.shape[axis], first[axis], step_px[axis], like.shape[axis])
        share = xp.asarray(share.reshape(-1, *[1] * (2 - axis)))
        grid = xp.take(grid, xp.asarray(low), axis) * (1 - share) + xp.take(grid, xp.asarray(high), axis) * share
    volume = xp.empty(like.shape, xp.float32)
    for z, (low, high, share) in enumerate(
        zip(*_neighbours(len(grid), first[0], step_px[0], len(volume)), strict=True)
    ):
        volume[z] = 1 / (grid[int(low)] * (1 - share) + grid[int(high)] * share)
    return volume


def _neighbours(count, first, step, length):
    """For each voxel of an axis the points before and after it, and the share of the one after."""
    place = numpy.clip((numpy.arange(length) - first) / step, 0, count - 1)
    low = numpy.minimum(place.astype(int), max(0, count - 2))
    return low, numpy.minimum(low + 1, count - 1), place - low


def filtered(volume, resolution, voxel_size, *, bfactor=0.0, progress=None):
    """Low-pass every voxel at its own resolution.

    The map is low-passed at up to 24 shells, and in each voxel the two next to its resolution are mixed in proportion
    to 1/resolution. Edges are raised cosines (:func:`gpumask.filters.lowpass`), as wide as the shells are apart and no
    less than two shells.

    Parameters
    ----------
    volume : array of float, shape (z, y, x)
        numpy or CuPy. One filtered copy exists at a time.
    resolution : array of float, shape (z, y, x)
        Å, such as :attr:`LocalResolution.volume`. One resolution throughout is a plain low-pass there; a voxel at or
        beyond Nyquist is not low-passed.
    voxel_size : float or tuple of float
        Å (z, y, x).
    bfactor : float
        Å²; the transform is multiplied by ``exp(-bfactor·f²/4)``, so that a negative one sharpens.
    progress : callable, optional
        Called with the name of the step and its share done.

    Returns
    -------
    array of float32

    Raises
    ------
    UsageError
        A B-factor that is not a number.
    InputRefused
        Different boxes, or resolutions that are not finite and above 0.
    """
    progress = progress or (lambda name, share=None: None)
    if not (isinstance(bfactor, Real) and math.isfinite(bfactor)):
        raise UsageError(f"B-factor must be a number, Å², got {bfactor!r}")
    xp, size = backend.xp(volume), units.voxel_edges(voxel_size)
    if volume.shape != resolution.shape:
        raise InputRefused(
            f"map and resolution must have one box, got {units.by(volume.shape)} and {units.by(resolution.shape)} "
            "voxels; measure the resolution on the map's grid"
        )
    if not bool((xp.isfinite(resolution) & (resolution > 0)).all()):
        raise InputRefused("resolutions must be finite and above 0 Å; fill the others first")
    shells = fourier.shells(volume.shape, size)
    place = 1 / (xp.asarray(resolution, xp.float32) * xp.float32(shells.step))
    nearest = xp.rint(place)
    place = xp.clip(xp.where(xp.abs(place - nearest) <= SNAP, nearest, place), 1, shells.nyquist)
    low, high = math.floor(float(place.min())), math.ceil(float(place.max()))
    apart = max(1, math.ceil((high - low) / (COPIES - 1)))
    nodes = [*range(low, high, apart), high]
    transform = fourier.rfftn(volume)
    result = xp.zeros(volume.shape, xp.float32)
    for i, node in enumerate(nodes):
        progress("local filter", i / len(nodes))
        before, after = [node - 1, *nodes][i], [*nodes, node + 1][i + 1]
        share = xp.minimum((place - before) / (node - before), (after - place) / (after - node))
        share = xp.clip(share, 0, 1)
        if not bool(share.any()):
            continue
        if node < shells.nyquist or bfactor:
            share *= _low_passed(transform, volume.shape, node, max(EDGE, apart), bfactor, shells)
        else:
            share *= volume
        result += share
    return result


def _low_passed(transform, shape, node, edge, bfactor, shells):
    """The map up to shell `node`, or all of it from Nyquist on, with a B-factor; float32."""
    xp = backend.xp(transform)
    z, y, x = (xp.asarray(s) for s in shells.squares)
    across = y[:, None] + x
    low = max(0.0, node - edge / 2)
    product = xp.empty_like(transform)
    for plane in range(shape[0]):
        square = across + z[plane]
        factor = xp.exp(-bfactor / 4 * shells.step**2 * square) if bfactor else 1.0
        if node < shells.nyquist:
            fall = xp.clip((xp.sqrt(square) - low) / (node + edge / 2 - low), 0, 1)
            factor = factor * (0.5 + 0.5 * xp.cos(math.pi * fall))
        product[plane] = transform[plane] * factor
    return fourier.irfftn(product, shape).astype(xp.float32)
