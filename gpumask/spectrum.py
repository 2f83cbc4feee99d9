"""What a mask does in Fourier space, told before it is used.

Formulas with M the transform of the mask m, k in cycles/px, q = 2πk. V = Σm, E = Σm²; the surface S = Σ|∇m|.
"""

import math
from dataclasses import dataclass, field
from numbers import Integral

import numpy

from gpumask import correlation, fourier, grids, mask, regions, units
from gpumask.errors import InputRefused, UsageError
from gpumask.recipe import lengths

LEAKAGE_RESOLUTIONS = (20, 15, 10, 8, 6, 5, 4, 3)  # Å
POROD_BAND = (0.2, 0.3)  # cycles/px, where the surface rules and the grid does not yet
FALLOFF_BAND, FALLOFF_BANDS = (0.05, 0.25), 3  # cycles/px
CONE = 20.0  # degrees, half-angle
AXES = 256  # directions on a half sphere
BLOCK = 256  # coefficients that meet all axes at a time
ROUNDING = 1e-6  # relative: a resolution at the limit is within it
FINE = 8  # bins a shell of the power of m²


@dataclass(frozen=True, eq=False)
class MaskSpectrum:
    """What :func:`mask_spectrum` finds; undefined is None.

    Attributes
    ----------
    shells : list of dict
        ``index``, ``frequency`` (1/Å), ``resolution`` (Å), ``power_db`` (mean power over P(0)), ``hard_power_db`` (the
        same base, m >= 0.5, with a hard edge), ``hann_power_db`` (the Hann ball of the same volume, closed form),
        ``n_coefficients``, ``n_effective`` (independent coefficients of masked white noise).
    falloff_exponent : float
        Slope of log P against log k; -4 for a hard edge, -8 for a raised cosine until its nulls.
    porod_ratio : float
        P over ``2πS/q⁴``, the hard surface's, between 0.2 and 0.3 cycles/px.
    edge_excess_db : float
        The same over ``2πS|G|²/q⁴``, G the transform of the raised-cosine edge of the equivalent width.
    leakage : list of dict
        ``resolution`` (Å), ``fraction`` of Σ|M|² beyond it.
    equivalent_edge_px : float
        Width of the raised-cosine edge that the mask amounts to (:func:`gpumask.mask.equivalent_edge`). Every value
        between 0 and 1 counts as edge, a plateau too.
    effective_voxels : float
        ``E²/Σm⁴``.
    anisotropy : dict
        ``max_db``: highest mean power in a cone of 20° over the shell's, ``direction`` (x, y, z) of it; at the target.
    predicted_fsc : list or None
        FSC that the mask makes of the half maps with random phases from the onset on, expected (see
        :meth:`gpumask.correlation.HalfMaps.predicted`); a value a shell. None without half maps, or where `warnings`
        say why.
    measured_fsc : dict or None
        The same by randomising: ``mean`` and ``sd``, a value a shell, of ``seeds`` draws (seeds 0, 1, …).
    k_leak : float or None
        1/Å; the last shell where the predicted FSC is over 0.05. Never before the shell below the onset: nothing is
        random there.
    mask_limited_resolution : float or None
        1 / k_leak, Å: what the mask pretends by itself.
    leak_mean : float or None
        Λ: mean of the predicted FSC from three shells past the onset to the target.
    cut_fraction, hard_cut_index : float or None
        See :meth:`gpumask.correlation.HalfMaps.density`.
    verdict : str or None
        ``hard`` (equivalent edge < 1 px), ``narrow`` (< 5·resolution/voxel - 0.5 px), ``ok``; None without a resolution
        unless hard.
    """

    path: str | None
    voxel_size_angstrom: list
    box: list
    volume_angstrom3: float
    soft_edge_px: float | None
    shells: list = field(repr=False)
    falloff_exponent: float | None
    porod_ratio: float | None
    edge_excess_db: float | None
    leakage: list = field(repr=False)
    effective_voxels: float
    equivalent_edge_px: float
    anisotropy: dict | None
    minimum_soft_edge_px: float | None
    border_max: float
    components: int
    predicted_fsc: list | None = field(repr=False)
    measured_fsc: dict | None = field(repr=False)
    k_leak: float | None
    mask_limited_resolution: float | None
    leak_mean: float | None
    cut_fraction: float | None
    hard_cut_index: float | None
    verdict: str | None
    warnings: list

    def to_dict(self):
        """The object of ``gpumask spectrum --json``."""
        return dict(vars(self))


def half_sine_transform(kw):
    """G of the raised-cosine edge: ``cos(π·kw)/(1 - 4(kw)²)``, π/4 at kw = 1/2."""
    kw = numpy.asarray(kw, numpy.float64)
    pole = numpy.abs(1 - 4 * kw * kw) < 1e-9
    return numpy.where(pole, math.pi / 4, numpy.cos(math.pi * kw) / numpy.where(pole, 1.0, 1 - 4 * kw * kw))


def sphere_volume(radius, width):
    """Σm of a ball of `radius` with a raised-cosine edge of `width`."""
    outer = radius + width
    shell = (outer**3 - radius**3) / 3 - 4 * radius * width**2 / math.pi**2 - 2 * width**3 / math.pi**2
    return 4 * math.pi * (radius**3 / 3 + shell / 2)


def sphere_energy(radius, width):
    """Σm² of a ball of `radius` with a raised-cosine edge of `width`."""
    outer = radius + width
    cube = (outer**3 - radius**3) / 3
    cosine = 4 * radius * width**2 / math.pi**2 + 2 * width**3 / math.pi**2
    return 4 * math.pi * (radius**3 / 3 + 3 / 8 * cube - cosine / 2 + width**3 / (16 * math.pi**2))


def sphere_transform(frequency, radius, width):
    """M(k) of a ball of `radius` px with a raised-cosine edge of `width` px (0: hard), k > 0 in cycles/px.

    ``M = (4π/q)·∫ m(r)·sin(qr)·r dr``, in closed form.
    """
    q = 2 * math.pi * numpy.asarray(frequency, numpy.float64)
    inner = _integral(0.0, radius, q, 0.0)
    if not width:
        return 4 * math.pi / q * inner
    outer, a = radius + width, math.pi / width
    plain = _integral(radius, outer, q, 0.0)
    waves = 0.5 * (_integral(radius, outer, q + a, -a * radius) + _integral(radius, outer, q - a, a * radius))
    return 4 * math.pi / q * (inner + plain / 2 + waves / 2)


def _integral(start, stop, p, phase):
    """``∫ r·sin(p·r + phase) dr`` from start to stop, also where p vanishes."""
    small = numpy.abs(p) < 1e-9
    safe = numpy.where(small, 1.0, p)

    def antiderivative(r):
        regular = numpy.sin(safe * r + phase) / safe**2 - r * numpy.cos(safe * r + phase) / safe
        return numpy.where(small, numpy.sin(phase) * r * r / 2, regular)

    return antiderivative(stop) - antiderivative(start)


def mask_spectrum(
    volume,
    resolution=None,
    half1=None,
    half2=None,
    onset=None,
    *,
    halves=None,
    voxel_size=None,
    asymmetric_units=1,
    seeds=4,
    assume_unmasked=False,
    path=None,
    progress=None,
):
    """Measure a mask in Fourier space, and with half maps the correlation that it would make by itself.

    Parameters
    ----------
    volume : Volume or array of float32, shape (z, y, x)
        The mask; numpy or CuPy data. An array needs `voxel_size`.
    resolution : float or str, optional
        The target, Å or ``"3.5A"``: gives the verdict, and where leakage and anisotropy are judged.
    half1, half2 : Volume or array, shape (z, y, x), optional
        Unmasked half maps on the grid of the mask.
    onset : float or str, optional
        Where phases are randomised from; see :func:`gpumask.correlation.onset_shell`.
    halves : HalfMaps, optional
        Half maps that :func:`gpumask.correlation.half_maps` has prepared, instead of the three above: for many masks.
    voxel_size : float or tuple of float, optional
        Å (z, y, x); only with plain arrays.
    asymmetric_units : int
        Copies that a symmetry enforces: n_effective is divided by it.
    seeds : int
        Draws of random phases for `measured_fsc`; 0 for none.
    assume_unmasked : bool
        Take the half maps to be unmasked, whatever they look like.
    path : str, optional
        Name of the mask in what is returned.
    progress : callable, optional
        Called with the name of each step as it begins, and with its share done where that is known.

    Returns
    -------
    MaskSpectrum

    Raises
    ------
    UsageError
        A resolution beyond Nyquist, one half map without the other.
    InputRefused
        Values outside [0, 1], an empty mask; half maps of another box or voxel size, with NaN, or twice the same.
    TypeError
        A plain array without `voxel_size`.
    """
    progress = progress or (lambda name, share=None: None)
    (volume,), _ = grids.on_one_grid({"the mask": volume}, voxel_size)
    if volume.data.ndim != 3 or volume.data.dtype.kind not in "fbiu":
        raise InputRefused(f"a mask has real values on three axes, got {volume.data.dtype} of {volume.data.ndim} axes")
    volume = volume.with_data(volume.data.astype("float32", copy=False))
    data, size = volume.data, volume.voxel_size
    mask.check_range(data)
    for value, least, what in ((asymmetric_units, 1, "asymmetric units"), (seeds, 0, "seeds")):
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise UsageError(f"{what} must be a whole number >= {least}, got {value!r}")
    if (half1 is None) != (half2 is None) or (half1 is not None and halves is not None):
        raise UsageError("give both half maps, or prepared ones, or none")
    if half1 is None and halves is None and onset is not None:
        raise UsageError("an onset needs half maps; give half1 and half2")
    target = None if resolution is None else units.angstrom(resolution)
    shells = fourier.shells(data.shape, size)
    finest = units.nyquist_resolution(size)
    if target is not None and (target < finest * (1 - ROUNDING) or not shells.nyquist):
        raise UsageError(f"resolution {target:g} Å is beyond Nyquist, {finest:.4g} Å, or the box is flat; give none")
    warnings = []
    if half1 is not None:
        progress("half maps")
        maps = {"the mask": volume, "the first half map": half1, "the second half map": half2}
        (_, *pair), notes = grids.on_one_grid(maps)
        halves = correlation.half_maps(*(half.data for half in pair), size, onset, assume_unmasked=assume_unmasked)
        warnings += notes
    elif halves is not None:
        warnings += grids.check_one_grid({"the mask": volume, "the half maps": halves})
    progress("spectrum")
    shell = shells.nyquist if target is None else shell_of(target, shells)
    occupied = data[regions.bounding_box(data != 0)]  # power does not tell where it is
    occupied_volume = units.volume_angstrom3(float(occupied.sum(dtype="float64")), size)
    power, *coefficients = fourier.on_shell(occupied, size, shell, data.shape)
    hard = fourier.shell_power(occupied >= 0.5, size, data.shape)
    squared = fourier.shell_power(occupied * occupied, size, data.shape, FINE)
    meter = mask.metered(data, units.sampling(size))
    edge = meter.value()
    minimum = None if target is None else units.minimum_soft_edge_px(target, size)
    pixel = units.pixel_edge(size)
    frequency = shells.frequency * pixel  # cycles/px
    mean = power / shells.coefficients
    surface = meter.steepness / math.prod(meter.edges)  # over the voxel's volume: M counts voxels
    porod, excess = _porod(mean, frequency, surface, edge, shells)
    effective = _effective(squared, shells, data.shape, size)
    if mask.faces_touched(data):
        warnings.append(
            f"the mask meets the box faces {', '.join(mask.faces_touched(data))}: its spectrum has the face's"
        )
    highest = float(data.max())
    if highest < 1 - mask.RANGE_SLACK:
        warnings.append(
            f"the mask is nowhere 1, but {highest:.3g} at the most: values between count as edge, so that the verdict "
            "is too good"
        )
    leak = {} if halves is None else _leak(data, halves, target, seeds, warnings, progress)
    return MaskSpectrum(
        path=path,
        voxel_size_angstrom=units.xyz(size),
        box=units.xyz(data.shape),
        volume_angstrom3=occupied_volume,
        soft_edge_px=None if volume.recipe is None else lengths(volume.recipe, size)[1],
        shells=_table(shells, mean, hard, occupied_volume, effective, asymmetric_units),
        falloff_exponent=_falloff(mean, frequency, shells),
        porod_ratio=porod,
        edge_excess_db=excess,
        leakage=_leakage(power, shells, target),
        effective_voxels=float(power.sum() ** 2 / squared.sum() / data.size),  # Parseval
        equivalent_edge_px=edge,
        anisotropy=anisotropy(*coefficients) if shell else None,
        minimum_soft_edge_px=minimum,
        border_max=max(float(data.take(at, axis=axis).max()) for axis in range(3) for at in (0, -1)),
        components=regions.component_count(data >= 0.5),
        verdict=mask.verdict(edge, minimum),
        warnings=warnings,
        **{name: leak.get(name) for name in _LEAK},
    )


_LEAK = (
    "predicted_fsc",
    "measured_fsc",
    "k_leak",
    "mask_limited_resolution",
    "leak_mean",
    "cut_fraction",
    "hard_cut_index",
)


def _leak(data, halves, target, seeds, warnings, progress):
    """What the half maps tell; where they tell nothing the reason goes to `warnings`."""
    warnings += halves.notes
    if halves.refusal:
        warnings.append(f"no leak is told: {halves.refusal}")
        return {}
    shells = halves.shells
    progress("predicted FSC")
    predicted = halves.predicted(data)
    k_leak = leak_limit(predicted, shells)
    found = {
        "predicted_fsc": listed(predicted),
        "k_leak": k_leak,
        "mask_limited_resolution": k_leak and 1 / k_leak,
    }
    if target is not None:
        shell = shell_of(target, shells)
        found["leak_mean"] = leak_mean(predicted, halves.onset, shell)
        if shell > halves.onset + correlation.SKIPPED and predicted[shell] > correlation.LEAK:
            warnings.append(
                f"the mask makes an FSC of {predicted[shell]:.2f} by itself at {target:g} Å "
                f"(want at most {correlation.LEAK}): soften the edge where it cuts density, or let it be wider"
            )
    found["cut_fraction"], found["hard_cut_index"] = halves.density(data)
    draws = []
    for seed in range(seeds):
        progress("random phases", seed / seeds)
        draws.append(halves.measured(data, seed))
    if draws:
        spread = numpy.std(draws, axis=0, ddof=1) if seeds > 1 else numpy.full(len(draws[0]), numpy.nan)
        found["measured_fsc"] = {"mean": listed(numpy.mean(draws, axis=0)), "sd": listed(spread), "seeds": seeds}
    return found


def shell_of(resolution, shells):
    """The shell that a resolution in Å falls into, Nyquist's at the most."""
    return min(round(1 / (resolution * shells.step)), shells.nyquist)


def leak_limit(predicted, shells):
    """k_leak, 1/Å: the last shell where the FSC that a mask makes by itself is over 0.05; None where there is none."""
    over = numpy.flatnonzero(predicted > correlation.LEAK)
    return int(over[-1]) * shells.step if len(over) and over[-1] else None


def leak_mean(predicted, onset, shell):
    """Λ: mean of the FSC that a mask makes by itself from three shells past the onset to `shell`; None where there are
    none."""
    judged = predicted[onset + correlation.SKIPPED + 1 : shell + 1]
    judged = judged[numpy.isfinite(judged)]
    return float(judged.mean()) if len(judged) else None


def listed(values):
    """Numbers as JSON holds them: undefined is None."""
    return [float(v) if math.isfinite(v) else None for v in values]


def _table(shells, mean, hard, volume, effective, asymmetric_units):
    base = hard[0] / shells.coefficients[0]
    hann = _hann_ball(shells, volume)
    rows = []
    for i in range(shells.nyquist + 1):
        rows.append(
            {
                "index": i,
                "frequency": float(shells.frequency[i]),
                "resolution": 1 / float(shells.frequency[i]) if i else None,
                "power_db": decibel(mean[i] / mean[0]),
                "hard_power_db": decibel(hard[i] / shells.coefficients[i] / base) if base else None,
                "hann_power_db": decibel(hann[i]),
                "n_coefficients": int(shells.coefficients[i]),
                "n_effective": float(effective[i]) / asymmetric_units,
            }
        )
    return rows


def _hann_ball(shells, volume, points=16):
    """Mean power over P(0) in each shell of the raised cosine with no core and that `volume`, Å³; closed form."""
    width = (volume / sphere_volume(0.0, 1.0)) ** (1 / 3)
    nodes, weights = numpy.polynomial.legendre.leggauss(points)
    power = numpy.ones(shells.nyquist + 1)
    for i in range(1, shells.nyquist + 1):
        k = (i + nodes / 2) * shells.step
        power[i] = (weights * k * k * sphere_transform(k, 0.0, width) ** 2).sum() / (weights * k * k).sum() / volume**2
    return power


def _porod(mean, frequency, surface, edge, shells):
    band = _band(frequency, POROD_BAND, shells)
    if not band.any() or not surface:
        return None, None
    hard = 2 * math.pi * surface / (2 * math.pi * frequency[band]) ** 4
    ratio = float(mean[band].sum() / hard.sum())
    soft = (hard * half_sine_transform(frequency[band] * edge) ** 2).sum()
    return ratio, decibel(mean[band].sum() / soft)


def _falloff(mean, frequency, shells):
    """Slope through the mean power of bands that are equally wide in log k: averaged over lobes and nulls."""
    edges = numpy.geomspace(*FALLOFF_BAND, FALLOFF_BANDS + 1)
    middles, powers = [], []
    for limits in zip(edges[:-1], edges[1:], strict=True):
        band = _band(frequency, limits, shells)
        if band.sum() < 2 or not mean[band].sum():
            return None
        middles.append(math.log(frequency[band].mean()))
        powers.append(math.log(mean[band].mean()))
    return float(numpy.polyfit(middles, powers, 1)[0])


def _band(frequency, limits, shells):
    inside = (frequency >= limits[0]) & (frequency <= limits[1])
    inside[shells.nyquist + 1 :] = False
    return inside


def _leakage(power, shells, target):
    found = []
    for resolution in sorted({*LEAKAGE_RESOLUTIONS, *([target] if target else [])}, reverse=True):
        beyond = shares_beyond(resolution, shells)
        if beyond is not None:
            found.append({"resolution": float(resolution), "fraction": float((power @ beyond) / power.sum())})
    return found


def shares_beyond(resolution, shells):
    """How much of each shell lies at frequencies beyond 1/resolution, corners of the transform included: of the shell
    that holds the limit the share by volume. None where the limit is beyond Nyquist."""
    limit = 1 / (resolution * shells.step)
    shell = math.floor(limit + 0.5)
    if limit > shells.nyquist + 0.5 or shell >= shells.count:
        return None
    outer, inner = (shell + 0.5) ** 3, max(shell - 0.5, 0) ** 3
    shares = (numpy.arange(shells.count) > shell).astype(float)
    shares[shell] = (outer - limit**3) / (outer - inner)
    return shares


def effective_coefficients(data, voxel_size):
    """Independent coefficients that a mask leaves in each shell of white noise, 0 to Nyquist (see `n_effective`)."""
    size = units.voxel_edges(voxel_size)
    squared = fourier.shell_power(data * data, size, bins=FINE)
    return _effective(squared, fourier.shells(data.shape, size), data.shape, size)


def _effective(squared, shells, shape, size):
    """Independent coefficients of masked white noise in each shell: ``(n·E)²`` over the sum of P(k - k') over all pairs
    of its n frequencies, P the power of m², here in bins of 1/`FINE` shell.

    How many pairs are κ apart is told by the overlap of the shell with itself κ away. A shell of the grid holds a
    little more or less than its volume, and pairs go with the square of that; each frequency is its own mate once.
    Pairs across the end of the axes are left out: they matter in the last shells, under masks a few px wide.
    """
    distance = numpy.arange(len(squared)) / FINE
    density = math.prod(n * v * shells.step for n, v in zip(shape, size, strict=True))
    effective = numpy.ones(shells.nyquist + 1)
    for i in range(1, shells.nyquist + 1):
        outer, inner = i + 0.5, i - 0.5
        apart = slice(1, FINE * (2 * i + 1))
        pairs = sum(
            times * _overlap(distance[apart], *radii)
            for times, radii in ((1, (outer, outer)), (-2, (inner, outer)), (1, (inner, inner)))
        )
        volume = 4 * math.pi / 3 * (outer**3 - inner**3)
        n = shells.coefficients[i]
        others = n / (density * volume) * (pairs / volume * squared[apart]).sum()
        effective[i] = n * squared[0] / (squared[0] + others)
    return effective


def _overlap(distance, inner, outer):
    """Volume that two balls of radius `inner` <= `outer` share, their centres `distance` > 0 apart."""
    d = numpy.clip(distance, outer - inner, outer + inner)
    lens = (outer + inner - d) ** 2 * (d * d + 2 * d * (outer + inner) - 3 * (outer - inner) ** 2)
    return math.pi * lens / (12 * numpy.maximum(d, distance[0]))


def decibel(ratio):
    """``10·log10`` of a ratio of powers; None where it is not above 0."""
    return 10 * math.log10(ratio) if ratio > 0 else None


def anisotropy(directions, power, weights):
    """Where on the shell the power is highest: mean over a double cone of 20° against the mean over the shell.

    Parameters
    ----------
    directions, power, weights : numpy arrays
        Of the shell's coefficients, see :func:`gpumask.fourier.on_shell`.

    Returns
    -------
    dict or None
        ``max_db`` and ``direction`` (x, y, z).
    """
    mean = (power * weights).sum() / weights.sum()
    if not mean:
        return None
    axes = hemisphere(AXES)
    sums = numpy.zeros((AXES, 2))
    for start in range(0, len(power), BLOCK):
        part = slice(start, start + BLOCK)
        inside = numpy.abs(axes @ directions[part].T) >= math.cos(math.radians(CONE))
        sums += inside.astype(float) @ numpy.stack([power[part] * weights[part], weights[part]], axis=1)
    cones = sums[:, 0] / numpy.maximum(sums[:, 1], 1.0)
    best = int(cones.argmax())
    return {"max_db": decibel(cones[best] / mean), "direction": [round(float(c), 4) for c in units.xyz(axes[best])]}


def hemisphere(count):
    """`count` unit vectors (z, y, x) spread evenly over the half sphere z > 0, a Fibonacci spiral."""
    index = numpy.arange(count) + 0.5
    z = 1 - index / count
    turn = math.pi * (1 + math.sqrt(5)) * index
    flat = numpy.sqrt(1 - z * z)
    return numpy.stack([z, flat * numpy.sin(turn), flat * numpy.cos(turn)], axis=1)
