"""Fourier shell correlation of half maps under masks: the curves, what they cross, and what to distrust.

t is the FSC under the mask, n what the mask makes of random phases (:mod:`gpumask.correlation`), c = (t - n)/(1 - n).
"""

import math
from dataclasses import dataclass, field

import numpy

from gpumask import backend, correlation, filters, fourier, grids, mask, spectrum, units
from gpumask.errors import InputRefused, UsageError

CRITERIA = ("0.143", "0.5", "half-bit", "1-bit")
BASE_LOWPASS = 20.0  # Å
BASE_LEVEL = 0.5  # of the low-passed map's maximum
NEAR_FAR = {"loose": (25.0, 40.0), "tight": (6.0, 12.0)}  # Å, CryoSPARC's
SPHERE = 0.85  # inner over outer radius, CryoSPARC's

CAUGHT_UP = 0.03  # gap between t and c that no longer matters
MASK_FSC = 0.10  # n at the resolution above which RELION warns
RISE = 0.10  # of a curve after a dip
SURE = 3.0  # standard errors
TAIL = 0.1  # of the shells, the last ones, where a curve should be 0
NOISE_FLOOR = 0.05  # FSC that no one would call a correlation
FLAT = 0.6  # of the shells before: a tail that no longer falls
LEAVES = 0.10  # gap between t and c that shows
DIP = 5.0  # standard errors of a rise, one of many pairs of shells
FROM_TIGHT = "0.75tight"
SHELL_WIDTH = 1.0  # standard deviation in shells of the Gaussian of mFSC


@dataclass(frozen=True)
class Style:
    """How a program reads a resolution.

    Attributes
    ----------
    onset : float or str
        Rule for the first randomised shell.
    convention : str
        See :func:`gpumask.fourier.shell_sums`.
    rule : str
        ``first``: the last shell before the first value below the criterion. ``interpolated``: where the straight line
        between shells crosses it. ``last``: the last shell at or above it.
    clipped : bool
        Corrected values are kept in [0, 1].
    """

    onset: float | str
    convention: str
    rule: str
    clipped: bool


STYLES = {
    "gpumask": Style(0.8, "hermitian", "first", False),
    "relion": Style(0.8, "relion", "first", False),
    "cryosparc": Style(0.143, "hermitian", "interpolated", False),
    "cryodrgn": Style(FROM_TIGHT, "hermitian", "last", True),
}


@dataclass(frozen=True, eq=False)
class FSC:
    """What :func:`fsc` finds; undefined is None.

    Attributes
    ----------
    box, voxel_size_angstrom : list
        x, y, z; Å.
    shells : list of dict
        ``index``, ``frequency`` (1/Å), ``resolution`` (Å) and the curves ``unmasked``, ``masked`` (given mask),
        ``randomized`` (n, one draw), ``predicted`` (n, expected), ``corrected`` and ``corrected_predicted`` (c with
        either n), ``band_low`` and ``band_high`` (95 % band of the latter), ``spherical``, ``loose``, ``tight``,
        ``prewhitened``, ``mfsc`` (cross-checks), ``ssnr`` of the mean map, ``n_coefficients``, ``n_effective``; with a
        mass ``part``, with a reference map ``reference``, with a model ``map_model`` and ``map_model_unmasked``.
    onset : int or None
        First shell whose phases are randomised.
    resolution : dict
        Criterion → curve → Å by the rule of the style.
    crossings : dict
        Criterion → curve → ``first``, ``interpolated``, ``last``, Å.
    a_gap : float or None
        Mean of t - c over the shells from the third past the onset to the resolution.
    k_catch : float or None
        1/Å; from there on t - c stays below 0.03.
    bases : dict
        Of the masks made here: level and volume, distances in Å.
    mask : dict or None
        ``path`` and ``sha256`` of the given mask.
    flags : list of dict
        ``code``, ``message``, ``value``.
    notes : list of str
        What is worth a line but changes nothing: a window over the corners, voxel sizes that differ a little. Not in
        the document.
    map_model : dict or None
        With a model, see :func:`gpumask.model_fit.joined`.
    """

    box: list
    voxel_size_angstrom: list
    shells: list = field(repr=False)
    onset: int | None
    resolution: dict
    crossings: dict = field(repr=False)
    a_gap: float | None
    k_catch: float | None
    bases: dict = field(repr=False)
    mask: dict | None
    flags: list
    notes: list = field(repr=False)
    map_model: dict | None = field(default=None, repr=False)

    def curve(self, name):
        """One column of `shells` as an array, NaN where undefined."""
        return numpy.array([numpy.nan if row[name] is None else row[name] for row in self.shells])

    @property
    def headline(self):
        """Name of the curve that counts: the corrected one that no seed moves; without a correction the masked one, or
        else the tight one."""
        names = ("corrected_predicted", "masked", "tight")
        return next((name for name in names if any(row[name] is not None for row in self.shells)), names[-1])

    @property
    def reported(self):
        """The resolution of that curve at 0.143, Å or None."""
        return self.resolution["0.143"][self.headline]

    def to_dict(self):
        """The document of ``gpumask fsc --json``."""
        return {name: value for name, value in vars(self).items() if name != "notes"}


def fsc(
    half1,
    half2,
    mask=None,
    *,
    style="gpumask",
    onset=None,
    base_lowpass=BASE_LOWPASS,
    seed=0,
    asymmetric_units=1,
    mass=None,
    reference=None,
    cross_checks=False,
    assume_unmasked=False,
    voxel_size=None,
    progress=None,
):
    """Correlate two half maps shell by shell, under no mask, a sphere, a loose and a tight mask, and a given one.

    ``FSC(i) = Σ Re(F1·F2*) / sqrt(Σ|F1|²·Σ|F2|²)``. The loose and the tight mask have 1 within 25 (6) Å of the region
    where the mean of the half maps, low-passed at 20 Å, is at least half its maximum, and 0 beyond 40 (12) Å
    (CryoSPARC's definitions). The correction is made for the given mask, or else the tight one.

    Parameters
    ----------
    half1, half2 : Volume or array of float32, shape (z, y, x)
        Unmasked, unfiltered half maps; numpy or CuPy data.
    mask : Volume or array of float32, optional
        Values in [0, 1], on the same grid.
    style : str
        ``gpumask``; ``relion`` (the stored half of the transform is counted, the unmasked curve decides where there is
        no mask; the last shell before the first value below the criterion); ``cryosparc`` (onset where the unmasked FSC
        is below 0.143, interpolated crossing); ``cryodrgn`` (onset at 0.75 of the tight curve's 0.143, correction in
        [0, 1], last shell at or above the criterion; its shells are rounded up, ours to the nearest).
    onset : float or str, optional
        See :func:`gpumask.correlation.onset_shell`; also ``"0.75tight"``. Default: the style's.
    base_lowpass : float or str
        Å.
    seed : int
        Of the random phases.
    asymmetric_units : int
        Copies that a symmetry enforces: n_effective is divided by it.
    mass : float, optional
        kDa; gives ``part``, the FSC of the particle without the solvent in the mask, as if it filled the mask
        (``f·F/(1 + (f - 1)·F)`` with f the mask's volume over the particle's at 0.81 Da/Å³).
    reference : Volume or array, optional
        A map that the mean of the half maps is correlated with, under the mask.
    cross_checks : bool
        Also ``mfsc``, two transforms a shell: slow.
    assume_unmasked : bool
        Take the half maps to be unmasked, whatever they look like.
    voxel_size : float or tuple of float, optional
        Å (z, y, x); only with plain arrays.
    progress : callable, optional
        Called with the name of each step as it begins, and with its share done where that is known.

    Returns
    -------
    FSC

    Raises
    ------
    InputRefused
        Different boxes or voxel sizes, NaN, twice the same half map, a mask with values outside [0, 1] or of nothing.
    UsageError
        An unknown style, an onset that cannot be.
    TypeError
        Plain arrays without `voxel_size`.
    """
    progress = progress or (lambda name, share=None: None)
    if style not in STYLES:
        raise UsageError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
    if not (isinstance(asymmetric_units, int) and asymmetric_units >= 1):
        raise UsageError(f"asymmetric units must be a whole number >= 1, got {asymmetric_units!r}")
    if mass is not None and not mass > 0:
        raise UsageError(f"the mass must be > 0 kDa, got {mass!r}")
    maps = {"the first half map": half1, "the second half map": half2, "the mask": mask, "the reference": reference}
    (first, second, given, reference), notes = grids.on_one_grid(maps, voxel_size)
    if reference is not None and not bool(backend.xp(reference.data).isfinite(reference.data).all()):
        raise InputRefused("the reference has NaN or Inf; mend it, or read it with nan_to=0")
    made = _Measurement(first, second, given, STYLES[style], progress, notes)
    made.unmasked(onset, assume_unmasked)
    made.masked(base_lowpass, judge_unmasked=style == "relion" and given is None)
    made.leak(seed)
    made.band(asymmetric_units)
    made.checked(cross_checks)
    made.compared(mass, reference)
    return made.found()


class _Measurement:
    """The curves of one pair of half maps, made step by step; `total` is t, under the mask `judged` (None: no mask)."""

    def __init__(self, first, second, given, style, progress, notes):
        self.notes = notes
        self.first, self.second, self.style, self.progress = first.data, second.data, style, progress
        self.shape, self.size = first.shape, first.voxel_size
        self.shells = fourier.shells(self.shape, self.size)
        self.count = self.shells.nyquist + 1
        self.curves, self.bases, self.counts = dict.fromkeys(_COLUMNS), {}, {}
        self.given = None
        if given is not None:
            mask.check_range(given.data)
            self.given = given.data

    def unmasked(self, onset, assume_unmasked):
        self.progress("unmasked")
        self.rule = self.style.onset if onset is None else onset
        self.halves = correlation.half_maps(
            self.first,
            self.second,
            self.size,
            correlation.ONSET if self.rule == FROM_TIGHT else self.rule,
            assume_unmasked=assume_unmasked,
            keep=False,
            convention=self.style.convention,
        )
        self.curves["unmasked"] = self.halves.unmasked
        self.notes += self.halves.notes

    def masked(self, base_lowpass, judge_unmasked):
        self.progress("masks")
        curves = self.curves
        curves["spherical"] = self._under("spherical", self._sphere())
        base, level = self._base(base_lowpass)
        if base is not None:
            curves["loose"] = self._under("loose", self._near_far("loose", base, level))
            tight = self._near_far("tight", base, level)
            curves["tight"] = self._under("tight", tight)
        elif (self.given is None and not judge_unmasked) or self.rule == FROM_TIGHT:
            raise InputRefused(
                f"the mean of the half maps has no positive density at {base_lowpass} Å to make a tight mask from; "
                "give a mask, or a base low-pass that the box can hold"
            )
        if self.given is not None:
            curves["masked"] = self._under("masked", self.given)
            self.judged, self.total = self.given, curves["masked"]
        elif judge_unmasked:
            self.judged, self.total = None, curves["unmasked"]
        else:
            self.judged, self.total = tight, curves["tight"]
        if self.rule == FROM_TIGHT:
            below = numpy.flatnonzero(curves["tight"][1:] < 0.143) + 1
            last = below[0] if len(below) else self.count - 1
            self.halves = self.halves.with_onset(max(1, int(0.75 * last)))

    def leak(self, seed):
        curves = self.curves
        if self.judged is not None and not self.halves.refusal:
            self.progress("random phases")
            curves["randomized"] = self.halves.measured(self.judged, seed)
            self.progress("predicted FSC")
            curves["predicted"] = self.halves.predicted(self.judged)
        curves["corrected"] = self._corrected(self.total, curves["randomized"])
        curves["corrected_predicted"] = self._corrected(self.total, curves["predicted"])

    def band(self, asymmetric_units):
        """The 95 % band of t, carried through the correction."""
        self.counts["unmasked"] = self.shells.coefficients[: self.count]
        self.counts = {name: count / asymmetric_units for name, count in self.counts.items()}
        judged = "unmasked" if self.judged is None else "tight" if self.given is None else "masked"
        self.effective = self.counts["corrected"] = self.counts["corrected_predicted"] = self.counts[judged]
        predicted = self.curves["predicted"]
        for name, limit in zip(("band_low", "band_high"), correlation.band(self.total, self.effective), strict=True):
            self.curves[name] = limit if predicted is None else self._corrected(limit, predicted)

    def checked(self, cross_checks):
        if self.judged is not None:
            self.progress("cross-checks")
            self.curves["prewhitened"] = self._prewhitened()
            if cross_checks:
                self.curves["mfsc"] = self._filtered_then_masked()

    def compared(self, mass, reference):
        best = self.best
        self.curves["ssnr"] = numpy.where(best < 1, 2 * best / numpy.where(best < 1, 1 - best, 1), numpy.nan)
        if mass is not None:
            weight = math.prod(self.shape) if self.judged is None else float(self.judged.sum(dtype="float64"))
            share = units.volume_angstrom3(weight, self.size) / units.angstrom3_of_kda(mass)
            self.curves["part"] = correlation.of_the_part(best, share)
        if reference is not None:
            maps = (self.first + self.second) / 2, reference.data
            if self.judged is not None:
                maps = [array * self.judged for array in maps]
            self.curves["reference"] = self._curve(*(fourier.rfftn(array, "float32") for array in maps))

    @property
    def best(self):
        """The corrected curve that no seed moves; t where there is no correction."""
        corrected = self.curves["corrected_predicted"]
        return self.total if corrected is None else corrected

    # Masks

    def _sphere(self):
        xp = backend.xp(self.first)
        outer = min(n * v for n, v in zip(self.shape, self.size, strict=True)) / 2
        axes = [(xp.arange(n) - n // 2) * v for n, v in zip(self.shape, self.size, strict=True)]
        across = axes[1][:, None] ** 2 + axes[2][None, :] ** 2
        made = xp.empty(self.shape, xp.float32)

        def fill(start, stop):
            for z in range(start, stop):
                edge = (xp.sqrt(across + axes[0][z] ** 2) - SPHERE * outer) / ((1 - SPHERE) * outer)
                made[z] = mask.edge_profile(xp.clip(edge, 0, 1), "cosine", xp)

        fourier.over_planes(fill, made)
        self._note("spherical", made, near_angstrom=SPHERE * outer, far_angstrom=outer)
        return made

    def _base(self, lowpass):
        lowpass = units.angstrom(lowpass, "base low-pass")
        mean = filters.lowpass((self.first + self.second) / 2, lowpass, self.size)
        highest = float(mean.max())
        if not highest > 0:
            return None, None
        return mean >= BASE_LEVEL * highest, BASE_LEVEL * highest

    def _near_far(self, name, base, level):
        near, far = NEAR_FAR[name]
        edge = units.pixel_edge(self.size)
        made = mask.soft_mask(base, near / edge, (far - near) / edge, sampling=units.sampling(self.size))
        self._note(name, made, level=level, near_angstrom=near, far_angstrom=far)
        return made

    def _note(self, name, made, **facts):
        volume = units.volume_angstrom3(float(made.sum(dtype="float64")), self.size)
        self.bases[name] = {**facts, "volume_angstrom3": volume}

    # Curves

    def _products(self, a, b):
        return fourier.shell_products(a, b, self.shape, self.size, self.style.convention)

    def _curve(self, a, b):
        return correlation.curve(*self._products(a, b))[: self.count]

    def _under(self, name, around):
        self.counts[name] = spectrum.effective_coefficients(around, self.size)
        return self._curve(*(fourier.rfftn(half * around, "float32") for half in (self.first, self.second)))

    def _corrected(self, total, randomized):
        if self.judged is None:
            return total
        if randomized is None:
            return None
        start = self.halves.onset + (1 if self.style.clipped else correlation.SKIPPED)
        found = total.copy()
        found[start:] = correlation.corrected(total[start:], randomized[start:])
        return numpy.clip(found, 0, 1) if self.style.clipped else found

    def _prewhitened(self):
        """Both half maps divided by the same radial amplitude, then masked."""
        transforms = [fourier.rfftn(half, "float32") for half in (self.first, self.second)]
        _, one, two = fourier.shell_products(*transforms, self.shape, self.size)
        power = (one + two) / 2 / self.shells.coefficients
        factor = numpy.divide(1, numpy.sqrt(power), out=numpy.zeros_like(power), where=power > 0)
        masked = []
        while transforms:
            flat = fourier.scale_shells(transforms.pop(0), factor, self.shape, self.size)
            flat = fourier.irfftn(flat, self.shape)
            flat *= self.judged
            masked.append(fourier.rfftn(flat, "float32"))
            del flat
        return self._curve(*masked)

    def _filtered_then_masked(self):
        """``Σ m·a·b / sqrt(Σ m·a² · Σ m·b²)`` of the half maps in a Gaussian band around each shell (Penczek 2020)."""
        transforms = [fourier.rfftn(half, "float32") for half in (self.first, self.second)]
        index = numpy.arange(self.shells.count)
        found = numpy.full(self.count, numpy.nan)
        for shell in range(self.count):
            self.progress("filter, then mask", shell / self.count)
            band = numpy.exp(-((index - shell) ** 2) / (2 * SHELL_WIDTH**2))
            a, b = (
                fourier.irfftn(fourier.scale_shells(t.copy(), band, self.shape, self.size), self.shape)
                for t in transforms
            )
            cross, one, two = (float((self.judged * (x * y)).sum(dtype="float64")) for x, y in ((a, b), (a, a), (b, b)))
            if one > 0 and two > 0:
                found[shell] = cross / (math.sqrt(one) * math.sqrt(two))
        return found

    # What follows from them

    def found(self):
        crossings = {criterion: {name: self._crossing(name, criterion) for name in _CROSSED} for criterion in CRITERIA}
        resolution = {
            criterion: {name: found[self.style.rule] for name, found in crossings[criterion].items()}
            for criterion in CRITERIA
        }
        gap, a_gap, k_catch = self._gap(resolution["0.143"]["corrected_predicted"])
        rows = []
        for i in range(self.count):
            row = {"index": i, "frequency": i * self.shells.step}
            row["resolution"] = 1 / row["frequency"] if i else None
            row |= {name: _number(self.curves[name], i) for name in _COLUMNS}
            row |= {"n_coefficients": int(self.shells.coefficients[i]), "n_effective": float(self.effective[i])}
            row |= {name: _number(self.curves[name], i) for name in ("part", "reference") if name in self.curves}
            rows.append(row)
        return FSC(
            box=units.xyz(self.shape),
            voxel_size_angstrom=units.xyz(self.size),
            shells=rows,
            onset=None if self.curves["predicted"] is None else self.halves.onset,
            resolution=resolution,
            crossings=crossings,
            a_gap=a_gap,
            k_catch=k_catch,
            bases=self.bases,
            mask=None if self.given is None else {"path": None, "sha256": None},
            flags=self._flags(resolution["0.143"], crossings["0.143"], gap, k_catch),
            notes=self.notes,
        )

    def _crossing(self, name, criterion):
        values = self.curves[name]
        if values is None:
            return dict.fromkeys(("first", "interpolated", "last"))
        return crossing(values, _level(criterion, self.counts[name]), self.shells)

    def _shell_at(self, angstrom):
        return None if angstrom is None else round(1 / (angstrom * self.shells.step))

    def _gap(self, reached):
        """t - c, its mean from three shells past the onset to the resolution, and where it is closed for good."""
        if self.curves["predicted"] is None:
            return None, None, None
        gap = self.total - self.curves["corrected_predicted"]
        start, stop = self.halves.onset + correlation.SKIPPED + 1, self._shell_at(reached)
        if stop is None or stop < start:
            return gap, None, None
        wide = numpy.flatnonzero(numpy.nan_to_num(gap[start : stop + 1], nan=1.0) >= CAUGHT_UP)
        caught = start + (int(wide[-1]) + 1 if len(wide) else 0)
        k_catch = caught * self.shells.step if caught <= stop else None
        within = gap[start : stop + 1]
        within = within[numpy.isfinite(within)]
        return gap, float(within.mean()) if len(within) else None, k_catch

    def _flags(self, resolution, crossings, gap, k_catch):
        flags = []

        def flag(code, message, value):
            flags.append({"code": code, "message": message, "value": value})

        best, halves = self.best, self.halves
        told = numpy.flatnonzero(numpy.isfinite(best[1:])) + 1
        if not len(told):
            return flags
        error = numpy.sqrt(correlation.variance(numpy.clip(numpy.nan_to_num(best), 0, 1), self.effective))
        nyquist = 1 / (self.shells.step * self.shells.nyquist)
        if halves.refusal and halves.onset is None and (halves.quiet_share or 0) <= correlation.QUIET_SHARE:
            flag("never_drops", f"{halves.refusal}; there is no correction", float(numpy.nanmin(halves.unmasked[1:])))
        elif halves.refusal:
            flag("masked_half_maps", f"no correction: {halves.refusal}", halves.quiet_share)
        limited = told[-1] == self.shells.nyquist and not (best[told] < 0.143).any()
        if limited:
            flag(
                "nyquist_limited",
                f"the FSC is still {best[-1]:.2f} at Nyquist, {nyquist:.3g} Å: use a smaller voxel (less binning) to "
                "see the end of the signal; if that was not expected, look for noise that both halves share",
                float(best[-1]),
            )
        length = max(3, round(TAIL * self.count))
        tail, before = told[-length:], told[-2 * length : -length]
        mean = float(best[tail].mean())
        limit = SURE * math.sqrt(float((error[tail] ** 2).sum())) / len(tail)
        level = len(before) and mean > FLAT * float(best[before].mean())  # else the curve is still on its way down
        if not limited and level and mean > max(NOISE_FLOOR, limit):
            flag(
                "not_zero",
                f"the FSC does not reach zero: {mean:.3f} over the last shells, where noise would give "
                f"± {limit / SURE:.3f}; look for duplicated particles (the same noise in both halves), half maps that "
                "were not refined apart, or a mask made from the same noise",
                mean,
            )
        self._rise(flag, error)
        if gap is not None:
            self._mask_flags(flag, gap, resolution["corrected_predicted"], k_catch)
        unmasked, corrected = (crossings[name]["first"] for name in _COMPARED)
        if gap is not None and unmasked is not None and (corrected is None or unmasked < corrected * (1 - 1e-9)):
            told = "none" if corrected is None else f"{corrected:.3g} Å"
            flag(
                "unmasked_beyond_corrected",
                f"the unmasked FSC reaches {unmasked:.3g} Å, beyond the corrected ({told}): the mask cuts signal, or "
                "solvent is correlated; look at the mask on the map",
                unmasked,
            )
        return flags

    def _rise(self, flag, error):
        """The largest rise after a dip of the uncorrected curve: the correction makes a dip at the onset."""
        curve, lowest, found = self.total, 1, (0.0, None, None)
        for i in numpy.flatnonzero(numpy.isfinite(curve))[2:]:
            rise = curve[i] - curve[lowest]
            if rise > max(RISE, DIP * math.hypot(error[i], error[lowest]), found[0]):
                found = (rise, lowest, i)
            if rise < 0:
                lowest = i
        if found[1] is not None:
            dip, top = (1 / (self.shells.step * i) for i in found[1:])
            flag(
                "rises_again",
                f"the FSC rises by {found[0]:.2f} after a dip at {dip:.3g} Å, to {curve[found[2]]:.2f} at {top:.3g} Å; "
                "look for a wrong CTF or symmetry, strong anisotropy, or shared noise; trust the first crossing",
                float(found[0]),
            )

    def _mask_flags(self, flag, gap, reached, k_catch):
        start, stop = self.halves.onset + correlation.SKIPPED + 1, self._shell_at(reached)
        judged = gap[start : stop + 1] if stop is not None and stop >= start else gap[:0]
        judged = numpy.nan_to_num(judged, nan=0.0)
        if len(judged) and judged.max() >= LEAVES:
            shell = start + int(judged.argmax())
            remedy = "soften or widen the mask where it cuts density"
            if self.given is None:
                remedy = "the tight mask that was made here cuts density: give a softer one"
            first = start + int(numpy.flatnonzero(judged >= CAUGHT_UP)[0])
            caught = (
                "it does not catch up before the resolution"
                if k_catch is None
                else f"it catches up at {1 / k_catch:.3g} Å"
            )
            flag(
                "corrected_leaves_tight",
                f"the corrected FSC leaves the masked one at {1 / (first * self.shells.step):.3g} Å, by up to "
                f"{judged.max():.2f} at {1 / (shell * self.shells.step):.3g} Å; {caught}; {remedy}",
                float(judged.max()),
            )
        if stop is not None and stop >= start and self.curves["predicted"][stop] > MASK_FSC:
            made = float(self.curves["predicted"][stop])
            flag(
                "mask_fsc_high",
                f"the mask makes an FSC of {made:.2f} by itself at {reached:.3g} Å: use a softer or wider mask",
                made,
            )


_COLUMNS = (
    "unmasked",
    "masked",
    "randomized",
    "predicted",
    "corrected",
    "corrected_predicted",
    "band_low",
    "band_high",
    "spherical",
    "loose",
    "tight",
    "prewhitened",
    "mfsc",
    "ssnr",
)


_CROSSED = ("corrected", "corrected_predicted", "masked", "unmasked", "spherical", "loose", "tight")
_COMPARED = ("unmasked", "corrected_predicted")


def crossing(values, level, shells):
    """Where a curve falls below a criterion.

    Parameters
    ----------
    values : array
        One value a shell; NaN counts as not below.
    level : float or array
    shells : Shells

    Returns
    -------
    dict
        Å or None. ``first``: the last shell before the first value below (RELION's rule). ``interpolated``: where the
        straight line between these two crosses. ``last``: the last shell at or above (cryoDRGN's rule). Nyquist for
        all three where nothing is below, None where nothing comes before or no value is a number.
    """
    over = numpy.asarray(values, float) - level
    if not numpy.isfinite(over[1:]).any():
        return dict.fromkeys(("first", "interpolated", "last"))
    below = numpy.flatnonzero(over[1:] < 0) + 1
    if not len(below):
        return dict.fromkeys(("first", "interpolated", "last"), 1 / (shells.step * shells.nyquist))
    first, above = int(below[0]), numpy.flatnonzero(over[1:] >= 0) + 1
    before = float(over[first - 1])
    found = {"first": first - 1 or None, "interpolated": None, "last": int(above[-1]) if len(above) else None}
    if first > 1 and math.isfinite(before):
        found["interpolated"] = first - 1 + before / (before - float(over[first]))
    return {name: 1 / (shell * shells.step) if shell else None for name, shell in found.items()}


def _level(criterion, effective):
    if criterion.endswith("bit"):
        return correlation.information(numpy.maximum(effective, 1), 0.5 if criterion == "half-bit" else 1.0)
    return float(criterion)


def _number(values, i):
    return None if values is None or not math.isfinite(values[i]) else float(values[i])
