"""Fourier shell correlation of two half maps, and how much of it a mask makes by itself.

F1 and F2 are the transforms of the half maps, m the mask and M its transform; sums run over a shell, both Hermitian
mates counted. Curves are float64 arrays, one value a shell from 0 to Nyquist, NaN where a shell is undefined.
"""

import math
from dataclasses import dataclass, field, replace

import numpy

from gpumask import backend, fourier, phases, units
from gpumask.errors import InputRefused, UsageError

SMALLEST_BOX = 8  # voxels along an axis that leave a few shells
ONSET = 0.8  # unmasked FSC below which phases are randomised, RELION's
NORMAL_95 = 1.959964  # standard deviations of a normal distribution that hold 95 %
LEAK = 0.05  # of FSC that a mask may make by itself
SKIPPED = 2  # shells after the onset that are never judged: randomised power spreads over the edge there

QUIET_BLOCK = 4  # voxels, edge of the cubes whose noise is compared
QUIET = 0.01  # of the loud cubes' variance: noise that something has removed
LOUD = 99  # percentile of the cubes
QUIET_SHARE = 0.05  # of the inscribed sphere that may be quiet in unmasked half maps
QUIET_CORNERS = 0.25  # of what lies outside of it: worth a note

DENSITY_RESOLUTION = 20.0  # Å, low-pass of the mean map that tells the particle from the solvent
DENSITY_LEVEL = 0.2  # of its maximum
DENSE = 0.05  # of the mean signal power in the mask: where an edge cuts density


def curve(cross, first, second):
    """``Σ Re(F1·F2*) / sqrt(Σ|F1|² · Σ|F2|²)`` of sums over shells; NaN where a map has no power."""
    scale = numpy.sqrt(first) * numpy.sqrt(second)
    return numpy.divide(cross, scale, out=numpy.full(len(cross), numpy.nan), where=scale > 0)


def corrected(masked, randomized):
    """``(t - n) / (1 - n)``: the FSC without what the mask makes of randomised phases (Chen et al. 2013); NaN where
    n >= 1 - 1e-6."""
    masked, randomized = numpy.asarray(masked, float), numpy.asarray(randomized, float)
    defined = randomized < 1 - 1e-6
    return numpy.where(defined, (masked - randomized) / numpy.where(defined, 1 - randomized, 1), numpy.nan)


def of_the_part(fsc, fraction):
    """``f·F / (1 + (f - 1)·F)``: the FSC of a particle that fills 1/f of the volume (Rosenthal & Henderson 2003)."""
    fsc = numpy.asarray(fsc, float)
    return fraction * fsc / (1 + (fraction - 1) * fsc)


def figure_of_merit(fsc):
    """``C_ref = sqrt(2F / (1 + F))``: correlation of the mean of two half maps with the noiseless map, 0 where F < 0
    (Rosenthal & Henderson 2003)."""
    fsc = numpy.clip(fsc, 0, None)
    return numpy.sqrt(2 * fsc / (1 + fsc))


def information(count, bits=0.5):
    """The FSC at which a shell of `count` independent coefficients holds `bits` of information each in the mean map.

    ``(s + (2√s + 1)/√n) / (1 + s + 2√s/√n)`` with s = (2^bits - 1)/2, the signal-to-noise of one half (van Heel &
    Schatz 2005).
    """
    snr = (2**bits - 1) / 2
    root = numpy.sqrt(numpy.asarray(count, float))
    return (snr + (2 * math.sqrt(snr) + 1) / root) / (1 + snr + 2 * math.sqrt(snr) / root)


def variance(fsc, count):
    """``(1 - F)²·(1 + 2F - F²) / n``: of the FSC of one fixed signal in two independent noises, n independent
    coefficients."""
    fsc = numpy.asarray(fsc, float)
    return (1 - fsc) ** 2 * (1 + 2 * fsc - fsc * fsc) / count


def band(fsc, count):
    """95 % band of the FSC of one fixed signal from `count` independent coefficients, NaN where there are too few.

    Fisher's z with ``se = sqrt((1 + 2F - F²) / (1 + F)²) / sqrt(n - 3)``; negative values count as 0 in the factor.

    Returns
    -------
    low, high : array
    """
    fsc, count = numpy.asarray(fsc, float), numpy.asarray(count, float)
    signal = numpy.clip(fsc, 0, None)
    enough = (count > 3) & (numpy.abs(fsc) < 1)
    error = numpy.sqrt((1 + 2 * signal - signal**2) / (1 + signal) ** 2 / numpy.where(enough, count - 3, 1))
    z = numpy.arctanh(numpy.where(enough, fsc, 0))
    return tuple(numpy.where(enough, numpy.tanh(z + side * NORMAL_95 * error), numpy.nan) for side in (-1, 1))


def onset_shell(unmasked, shells, rule=None, convention="hermitian"):
    """The shell from which on phases are randomised.

    Parameters
    ----------
    unmasked : array
        FSC of the unmasked half maps.
    shells : Shells
    rule : float or str, optional
        A number below 1 is an FSC: the first shell below it (default 0.8, RELION's rule; 0.143 is CryoSPARC's).
        Else a resolution in Å, ``20`` or ``"20A"``: the first shell at or beyond it.
    convention : str
        ``relion`` takes the last shell at or before that resolution, as ``--randomize_at_A`` does.

    Returns
    -------
    int or None
        None where the curve never drops below the level.

    Raises
    ------
    UsageError
        Neither an FSC from 0 to 1 nor a resolution within the shells.
    """
    level = _number(ONSET if rule is None else rule)
    if level is not None and level < 1:
        if not level > 0:
            raise UsageError(f"onset must be an FSC above 0, or a resolution such as 20A, got {rule!r}")
        below = numpy.flatnonzero(unmasked[1 : shells.nyquist + 1] < level)
        return int(below[0]) + 1 if len(below) else None
    shell = 1 / (units.angstrom(rule, "onset") * shells.step)
    shell = max(1, math.floor(shell + 1e-6)) if convention == "relion" else math.ceil(shell - 1e-6)
    if shell > shells.nyquist:
        raise UsageError(f"onset must not lie beyond Nyquist, {1 / (shells.step * shells.nyquist):.4g} Å, got {rule!r}")
    return shell


def _number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


@dataclass(frozen=True, eq=False)
class HalfMaps:
    """Two unmasked half maps, prepared so that any number of masks can be judged with them; see :func:`half_maps`.

    Attributes
    ----------
    shape, voxel_size : tuple
        (z, y, x); Å.
    shells : Shells
    unmasked : array
        FSC of the half maps as they are.
    onset : int or None
        The frequency, in shell widths, from which on nothing is taken to be shared.
    refusal : str or None
        Why no leak can be told: the half maps are masked already, or the curve never drops.
    notes : list of str
        What is worth a line but changes nothing.
    quiet_share : float or None
        Of the inscribed sphere; see :func:`signs_of_a_mask`. None where it was not looked at.
    convention : str
        See :func:`gpumask.fourier.shell_sums`.
    """

    shape: tuple
    voxel_size: tuple
    shells: fourier.Shells
    unmasked: numpy.ndarray = field(repr=False)
    onset: int | None
    refusal: str | None
    notes: list
    quiet_share: float | None
    convention: str
    _halves: tuple = field(repr=False)
    _kept: dict | None = field(repr=False)

    def with_onset(self, shell):
        """The same half maps with another onset."""
        refusal = None if self.onset is None and not _refusal(self.quiet_share) else self.refusal
        return replace(self, onset=shell, refusal=refusal, _kept=None if self._kept is None else {})

    def predicted(self, mask, transform=None):
        """The FSC that `mask` alone makes of the half maps with all phases from the onset on randomised, as expected
        over all random phases: none are drawn.

        ``FSC_n = X / sqrt((Y1 + R1)·(Y2 + R2))`` with L the transform of mask times the half map below the onset,
        ``X = Σ Re(L1·L2*)``, ``Y = Σ|L|²`` and R the power that the mask spreads of the part from the onset on,
        ``Σ (|H|² ⊛ |M|²)/N²``, a product of autocorrelations in real space. In units of one transform of the box
        (those of autocorrelations, even functions, are half the work) 11.5, or 4.5 where the parts of the half maps
        are kept, or 3.5 where the mask's transform is given too.

        Parameters
        ----------
        mask : array of float32, shape (z, y, x)
        transform : array of complex64, optional
            Its half transform, ``fourier.rfftn(mask, "float32")``.

        Returns
        -------
        numpy array
            One value a shell, 0 to Nyquist.
        """
        leaked = [_transform(self._low(half) * mask) for half in (0, 1)]
        cross, *powers = fourier.shell_products(*leaked, self.shape, self.voxel_size, self.convention)
        del leaked
        around = _autocorrelation(_transform(mask) if transform is None else transform, self.shape)
        for half, power in enumerate(powers):
            power += self._spread(half, around)
        return curve(cross, *powers)[: self.shells.nyquist + 1]

    def measured(self, mask, seed):
        """The same FSC for one draw of random phases: randomised, then masked (Chen et al. 2013).

        Returns
        -------
        numpy array
            One value a shell, 0 to Nyquist.
        """
        masked = []
        for half, array in enumerate(self._halves):
            turned = phases.randomized(_transform(array), self.shape, self.voxel_size, self.onset, seed, half)
            turned = fourier.irfftn(turned, self.shape)
            turned *= mask
            masked.append(_transform(turned))
            del turned
        return curve(*fourier.shell_products(*masked, self.shape, self.voxel_size, self.convention))[
            : self.shells.nyquist + 1
        ]

    def _spread(self, half, around):
        """Power from the onset on that a mask with the autocorrelation `around` spreads over each shell."""
        power = fourier.even_transform(self._high(half) * around, self.shape)
        xp = backend.xp(power)
        ones = xp.broadcast_to(xp.ones(1, xp.complex64), power.shape)
        sums = fourier.shell_sums(power, ones, self.shape, self.voxel_size, self.convention)
        return sums / math.prod(self.shape)

    def prepare(self):
        """Make what is kept for every further mask now rather than with the first one."""
        for half in (0, 1):
            self._low(half)
            self._high(half)

    def _low(self, half):
        """The half map below the onset."""
        return self._part("low", half, fourier.irfftn)

    def _high(self, half):
        """The autocorrelation of the half map from the onset on, half of it."""
        return self._part("high", half, _autocorrelation)

    def _part(self, name, half, back):
        if self._kept is not None and (name, half) in self._kept:
            return self._kept[name, half]
        transform = _transform(self._halves[half])
        xp = backend.xp(transform)
        squares = [xp.asarray(s) for s in self.shells.squares]
        across = squares[1][:, None] + squares[2][None, :]

        def cut(start, stop):
            for z in range(start, stop):
                beyond = across + squares[0][z] >= self.onset**2 * (1 - phases.ROUNDING)
                transform[z][beyond if name == "low" else ~beyond] = 0

        fourier.over_planes(cut, transform)
        part = back(transform, self.shape)
        if self._kept is not None:
            self._kept[name, half] = part
        return part

    def signal(self):
        """The signal's power, and the particle.

        Returns
        -------
        power : array of float32, shape (z, y, x)
            ``p = h1·h2`` of the half maps below the onset: noise is independent in them and averages out.
        particle : array of bool, shape (z, y, x)
            Where their mean, low-passed at 20 Å, is at least 0.2 of its maximum.
        """
        first, second = (self._low(half) for half in (0, 1))
        mean = fourier.apply_radial((first + second) / 2, self.voxel_size, lambda f: f <= 1 / DENSITY_RESOLUTION)
        return first * second, mean >= DENSITY_LEVEL * mean.max()

    def density(self, mask):
        """Where a mask cuts density, of the power and the particle of :meth:`signal`.

        Returns
        -------
        cut_fraction : float or None
            ``1 - Σ m·p / Σ p`` over the particle.
        hard_cut_index : float or None
            Share of ``Σ|∇m|`` at voxels where p is over 5 % of its mean in the mask.
        """
        xp = backend.xp(mask)
        power, inside = self.signal()
        total = float((power * inside).sum(dtype=xp.float64))
        cut = 1 - float((power * inside * mask).sum(dtype=xp.float64)) / total if total > 0 else None
        weight = float(mask.sum(dtype=xp.float64))
        dense = power > DENSE * float((power * mask).sum(dtype=xp.float64)) / weight
        steepness = _steepness(mask, self.voxel_size)
        whole = float(steepness.sum(dtype=xp.float64))
        return cut, float((steepness * dense).sum(dtype=xp.float64)) / whole if whole > 0 else None


def half_maps(half1, half2, voxel_size, onset=None, *, assume_unmasked=False, keep=True, convention="hermitian"):
    """Prepare two half maps to judge masks with.

    Parameters
    ----------
    half1, half2 : array of float, shape (z, y, x)
        Unmasked, unfiltered half maps; numpy or CuPy.
    voxel_size : float or tuple of float
        Å (z, y, x).
    onset : float or str, optional
        See :func:`onset_shell`.
    assume_unmasked : bool
        Do not look for signs of a mask.
    keep : bool
        Keep what every further mask needs, 12 bytes a voxel.
    convention : str
        See :func:`gpumask.fourier.shell_sums`.

    Returns
    -------
    HalfMaps

    Raises
    ------
    InputRefused
        Different boxes, values that are not finite, twice the same map, or one of a single value.
    """
    check_half_maps(half1, half2)
    for name, half in (("first", half1), ("second", half2)):
        if bool(half.min() == half.max()):
            raise InputRefused(f"the {name} half map has one value everywhere; is it the right file?")
    size, shape = units.voxel_edges(voxel_size), half1.shape
    shells = fourier.shells(shape, size)
    share, notes = (None, []) if assume_unmasked else signs_of_a_mask(half1, half2)
    refusal = _refusal(share)
    if refusal:
        notes = []
    sums = fourier.shell_products(_transform(half1), _transform(half2), shape, size, convention)
    unmasked = curve(*sums)[: shells.nyquist + 1]
    if numpy.nanmean(unmasked[1:4]) < -0.5:
        notes.append("the half maps have opposite signs at low resolution; is one of them inverted?")
    first = onset_shell(unmasked, shells, onset, convention)
    if first is None and refusal is None:
        refusal = f"the unmasked FSC never drops below {onset or ONSET}, so that no onset can be told; give one in Å"
    kept = {} if keep else None
    return HalfMaps(shape, size, shells, unmasked, first, refusal, notes, share, convention, (half1, half2), kept)


def check_half_maps(half1, half2):
    """Refuse half maps of different or very small boxes, with NaN or Inf, or twice the same map
    (:class:`InputRefused`)."""
    xp = backend.xp(half1)
    if half1.shape != half2.shape or half1.ndim != 3:
        raise InputRefused(
            f"half maps must have one box, got {units.by(half1.shape)} and {units.by(half2.shape)} voxels"
        )
    if min(half1.shape) < SMALLEST_BOX:
        raise InputRefused(
            f"half maps need at least {SMALLEST_BOX} voxels along each axis, got {units.by(half1.shape)} (x, y, z)"
        )
    for name, half in (("first", half1), ("second", half2)):
        if not bool(xp.isfinite(half).all()):
            raise InputRefused(f"the {name} half map has NaN or Inf; mend it, or read it with nan_to=0")
    if bool((half1 == half2).all()):
        raise InputRefused("both half maps are the same map; give the two independent ones")


def _refusal(share):
    if share is None or share <= QUIET_SHARE:
        return None
    return (
        f"the half maps seem to be masked: {share:.0%} of the inscribed sphere has no noise of its own; "
        "give the unmasked ones, or say that they are (assume_unmasked)"
    )


def noise_spectrum(half1, half2, voxel_size, mask=None):
    """Power of the noise and of the signal in the mean of two half maps.

    Parameters
    ----------
    half1, half2 : array of float, shape (z, y, x)
        Half maps; numpy or CuPy.
    voxel_size : float or tuple of float
        Å (z, y, x).
    mask : array, optional
        Both half maps are multiplied by it.

    Returns
    -------
    noise, signal : numpy array
        One value a shell, 0 to Nyquist: means of ``|(F1 - F2)/2|²`` and of ``Re(F1·F2*)`` over ``Σm²`` (the number of
        voxels without a mask), so that white noise of variance v in the mean map has power v. The signal's is unbiased
        by noise and may come out below 0. Their ratio is the SSNR, ``2·FSC/(1 - FSC)``.
    """
    check_half_maps(half1, half2)
    weight = half1.size if mask is None else float((mask.astype("float64") ** 2).sum())
    pair = (_transform(half if mask is None else half * mask) for half in (half1, half2))
    cross, first, second = fourier.shell_products(*pair, half1.shape, voxel_size)
    shells = fourier.shells(half1.shape, voxel_size)
    noise, signal = (first + second - 2 * cross) / 4, cross
    return tuple((power / shells.coefficients / weight)[: shells.nyquist + 1] for power in (noise, signal))


def _transform(array):
    return fourier.rfftn(array, "float32")


def _autocorrelation(transform, shape):
    """``Σ_x a(x)·a(x + s)``, circular, of the array whose half transform is given; planes 0 to nz // 2 of it."""
    xp = backend.xp(transform)
    power = xp.empty(transform.shape, transform.real.dtype)

    def square(start, stop):
        for z in range(start, stop):
            power[z] = transform[z].real ** 2 + transform[z].imag ** 2

    fourier.over_planes(square, transform)
    return fourier.even_inverse(power, shape)


def _steepness(mask, voxel_size):
    """``|∇m|``, 1/Å, from central differences."""
    xp = backend.xp(mask)
    total = xp.zeros(mask.shape, xp.float32)
    for axis, length in enumerate(mask.shape):
        if length > 1:
            total += xp.gradient(mask, voxel_size[axis], axis=axis) ** 2
    return xp.sqrt(total)


def signs_of_a_mask(half1, half2):
    """Tell whether half maps have been masked, or their solvent flattened.

    A mask leaves voxels of one value, which the first voxel of the box has too; they are counted one by one. The noise,
    the maps' difference, has much the same strength all over an unmasked reconstruction: its variance in cubes of 4
    voxels is compared with the loudest ones (99th percentile), and those with less than 1 % of it are quiet.

    Returns
    -------
    share : float
        Of the inscribed sphere that is of one value or quiet, whichever is more; above 0.05 it is taken for a mask.
    notes : list of str
        The same outside the sphere: a window over the corners, harmless.
    """
    spread = _block_variance((half1 - half2) / 2, QUIET_BLOCK)
    quiet = spread <= QUIET * numpy.percentile(spread, LOUD)
    grid, centre = numpy.indices(quiet.shape), [(n - 1) / 2 for n in quiet.shape]
    inside = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= (min(quiet.shape) / 2) ** 2
    share, corners = (float(quiet[where].mean()) if where.any() else 0.0 for where in (inside, ~inside))
    constant = _constant_shares(half1, half2)
    share, corners = max(share, constant[0]), max(corners, constant[1])
    note = f"{corners:.0%} of the half maps outside the inscribed sphere has no noise: a window, taken to be harmless"
    return share, [note] if corners > QUIET_CORNERS else []


def _constant_shares(half1, half2):
    """Shares of the inscribed sphere, and of the box outside it, where a half map has the value of its first voxel."""
    xp = backend.xp(half1)
    axes = [(xp.arange(n) - (n - 1) / 2) ** 2 for n in half1.shape]
    across, first, second = axes[1][:, None] + axes[2], half1[0, 0, 0], half2[0, 0, 0]
    counts = xp.zeros((half1.shape[0], 4), xp.int64)

    def count(start, stop):
        for z in range(start, stop):
            constant = (half1[z] == first) | (half2[z] == second)
            inside = across + axes[0][z] <= (min(half1.shape) / 2) ** 2
            for i, where in enumerate((inside, ~inside)):
                counts[z, 2 * i], counts[z, 2 * i + 1] = (constant & where).sum(), where.sum()

    fourier.over_planes(count, half1)
    found = backend.to_numpy(counts.sum(axis=0))
    return [int(found[i]) / max(int(found[i + 1]), 1) for i in (0, 2)]


def _block_variance(array, edge):
    """Variance in cubes of `edge` voxels; what is left over at the far faces is not looked at."""
    xp = backend.xp(array)
    counts = [n // edge for n in array.shape]
    found = xp.empty(counts, xp.float64)

    def measure(start, stop):
        for layer in range(start, stop):
            cut = array[layer * edge : (layer + 1) * edge, : counts[1] * edge, : counts[2] * edge]
            cut = cut.reshape(edge, counts[1], edge, counts[2], edge)
            found[layer] = cut.var(axis=(0, 2, 4), dtype=xp.float64)

    fourier.over_planes(measure, found)
    return backend.to_numpy(found)
