"""Guinier analysis and sharpening of the mean of two half maps (Rosenthal & Henderson 2003).

F is the transform divided by the number of voxels, s the frequency in 1/Å, d = 1/s; B is in Å². The order is that of
``relion_postprocess``: MTF, FSC weight, B-factor, low-pass.
"""

import math
import re
import warnings
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy

from gpumask import backend, correlation, filters, fourier, grids, star, units
from gpumask.errors import GpumaskWarning, InputRefused, UsageError
from gpumask.mask import check_range
from gpumask.resolution import FSC
from gpumask.resolution import fsc as correlate
from gpumask.volume import Volume

LOW = "10A"  # from where on a Guinier plot is a line: molecular shape rules at lower resolution
VANISHED = 1e-4  # FSC below which this shell and all beyond have no weight, RELION's
SHELLS = 3  # that a line needs at the least
STRONGEST = 700  # exponent that float64 can take
EDGE = 1e-6  # relative: how close to a limit of the fit a shell still lies on it


@dataclass(frozen=True, eq=False)
class Guinier:
    """Logarithms of the mean amplitude of each shell, 0 to Nyquist, and the line through them.

    Attributes
    ----------
    inverse_squared : array
        1/d², 1/Å².
    original, mtf_corrected, weighted, sharpened : array
        ``ln⟨|F|⟩`` after each step, -inf where a shell is empty; ``mtf_corrected`` and ``weighted`` are None where the
        step is left out. A low-pass comes later and is not in ``sharpened``.
    fitted : array of bool
        The shells that the line is fitted to.
    slope, intercept, correlation : float or None
        Of the straight line by least squares through the column before sharpening; `correlation` is Pearson's.
        None where the B-factor was given.
    b_factor : float
        Å², what is applied: ``4·slope``, or as given. Negative sharpens.
    """

    inverse_squared: numpy.ndarray = field(repr=False)
    original: numpy.ndarray = field(repr=False)
    mtf_corrected: numpy.ndarray | None = field(repr=False)
    weighted: numpy.ndarray | None = field(repr=False)
    sharpened: numpy.ndarray = field(repr=False)
    fitted: numpy.ndarray = field(repr=False)
    slope: float | None
    intercept: float | None
    correlation: float | None
    b_factor: float

    def to_dict(self):
        """For JSON: `shells` is a list with a row a shell, undefined is None."""
        names = ("inverse_squared", "original", "mtf_corrected", "weighted", "sharpened", "fitted")
        columns = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        rows = [
            dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)
        ]
        return {
            **{name: getattr(self, name) for name in ("b_factor", "slope", "intercept", "correlation")},
            "shells": [{name: v if math.isfinite(v) else None for name, v in row.items()} for row in rows],
        }


@dataclass(frozen=True, eq=False)
class Sharpened:
    """What :func:`sharpen` gives.

    Attributes
    ----------
    volume : Volume or array of float32
        The sharpened map; Volume where Volumes were given.
    masked : Volume, array or None
        The same times the mask.
    guinier : Guinier
    """

    volume: Any = field(repr=False)
    masked: Any = field(repr=False)
    guinier: Guinier

    @property
    def b_factor(self):
        """Å², what was applied."""
        return self.guinier.b_factor


def fsc_weights(fsc):
    """``sqrt(2F/(1 + F))`` for each shell, 0 from the first shell on where F < 1e-4 or is undefined.

    Shell 0, the mean of the map, has no noise to be told apart: it keeps the weight 1 where its F is not positive.
    """
    fsc = numpy.asarray(fsc, float)
    weights = correlation.figure_of_merit(fsc)
    lost = numpy.flatnonzero(~(fsc[1:] >= VANISHED))
    if len(lost):
        weights[lost[0] + 1 :] = 0
    if not fsc[0] > 0:
        weights[0] = 1
    return weights


def parse_mtf(text):
    """The modulation transfer function of a detector.

    Parameters
    ----------
    text : str
        STAR with the columns ``rlnResolutionInversePixel`` and ``rlnMtfValue``, or two columns of numbers (comma,
        semicolon or white space between them; a line of headings and ``#`` comments are passed over).

    Returns
    -------
    frequency, value : arrays of float64
        Frequency in 1/pixel of the detector.

    Raises
    ------
    InputRefused
        No such columns, frequencies that do not rise, values that are not above 0.
    """
    is_star = re.search(r"^\s*data_", text, re.MULTILINE)
    return _checked_mtf(*(_star_columns(text) if is_star else _table_columns(text)))


def guinier(
    array,
    voxel_size,
    *,
    fsc=None,
    b_factor=None,
    low=LOW,
    high=None,
    mtf=None,
    mtf_pixel_size=None,
    convention="hermitian",
):
    """The Guinier plot of a map, and the B-factor that it asks for; see :func:`sharpen` for the parameters.

    Parameters
    ----------
    array : array of float, shape (z, y, x)
        The mean of the half maps; numpy or CuPy.
    voxel_size : float or tuple of float
        Å (z, y, x).
    fsc, b_factor, low, high, mtf, mtf_pixel_size, convention
        As for :func:`sharpen`; without `fsc` nothing is weighted.

    Returns
    -------
    Guinier
    """
    plan = _plan(array.shape, voxel_size, fsc, b_factor, low, high, mtf, mtf_pixel_size, convention)
    with backend.current(array):
        return _apply(fourier.rfftn(array), plan)


def sharpen(
    half1,
    half2,
    mask=None,
    *,
    fsc=None,
    resolution=None,
    b_factor=None,
    low=LOW,
    high=None,
    weight=True,
    mtf=None,
    mtf_pixel_size=None,
    lowpass=None,
    convention="hermitian",
    voxel_size=None,
):
    """Sharpen the mean of two half maps.

    In this order: mean of the halves; divided by the MTF; times ``sqrt(2·FSC/(1 + FSC))``, 0 from the first shell on
    where FSC < 1e-4; B = 4·slope of the straight line through ``ln⟨|F|⟩`` over 1/d² between `low` and `high`; times
    ``exp(-B/4·s²)`` up to Nyquist, 0 beyond (left out where B is 0); low-pass.

    Parameters
    ----------
    half1, half2 : Volume or array of float32, shape (z, y, x)
        Unmasked, unfiltered half maps; numpy or CuPy data. Arrays need `voxel_size`.
    mask : Volume or array, optional
        Values in [0, 1], for the masked map; it has no part in the analysis.
    fsc : FSC or sequence of float, optional
        FSC of the half maps, corrected for the mask, a value a shell from 0 to Nyquist at the least, None or NaN where
        it is undefined; shells beyond its end have no weight. Default: what :func:`gpumask.fsc` finds under the mask.
    resolution : float or str, optional
        Of the map, Å or ``"3.5A"``: where the fit ends unless `high` says otherwise. Default: what `fsc` reports.
    b_factor : float, optional
        Å², applied instead of the fitted one; negative sharpens.
    low, high : float or str
        Ends of the fit, Å. A `high` at Nyquist takes in every shell that has a weight, as RELION does unless told.
    weight : bool
        Weight by the FSC.
    mtf : pair of arrays, optional
        Frequency (1/pixel of the detector) and value, see :func:`parse_mtf`; linear in between, constant beyond the
        ends.
    mtf_pixel_size : float, optional
        The detector's pixel on the specimen, Å; the voxel size unless the images were scaled down.
    lowpass : float or str, optional
        Å; raised cosine over two shells, see :func:`gpumask.filters.lowpass`.
    convention : str
        Means are over the coefficients that :func:`gpumask.fourier.shell_sums` counts: ``hermitian`` or ``relion``.
    voxel_size : float or tuple of float, optional
        Å (z, y, x); only with plain arrays.

    Returns
    -------
    Sharpened
        A new map on the grid of `half1`; inputs are left as they are. Symmetric in the half maps to the bit.

    Raises
    ------
    UsageError
        No FSC, no end of the fit, fewer than three shells in it, a parameter that cannot be used.
    InputRefused
        Half maps or a mask on different grids, NaN, twice the same map, a mask outside [0, 1], an impossible MTF.
    TypeError
        Plain arrays without `voxel_size`.

    Warns
    -----
    GpumaskWarning
        Voxel sizes differ by more than 0.1 %; the fitted line rises, so that the map is damped.
    """
    maps = {"the first half map": half1, "the second half map": half2, "the mask": mask}
    (first, second, around), notes = grids.on_one_grid(maps, voxel_size)
    for note in notes:
        warnings.warn(note, GpumaskWarning, stacklevel=2)
    masks = [] if around is None else [around]
    if weight and fsc is None:
        fsc = correlate(first, second, around)
    if isinstance(fsc, FSC):
        resolution = fsc.reported if resolution is None else resolution
        fsc = fsc.curve(fsc.headline)
    cutoff = None if lowpass is None else units.angstrom(lowpass, "low-pass resolution")
    shape, size = first.shape, first.voxel_size
    end = resolution if high is None else high
    plan = _plan(shape, size, fsc if weight else None, b_factor, low, end, mtf, mtf_pixel_size, convention)
    with backend.current(first.data):
        xp = backend.xp(first.data)
        correlation.check_half_maps(first.data, second.data)
        if around is not None:
            check_range(around.data)
        mean = first.data.astype(xp.float64)
        mean += second.data
        mean /= 2
        spectrum = fourier.rfftn(mean)
        del mean
        table = _apply(spectrum, plan)
        data = fourier.irfftn(spectrum, shape)
        data = data.astype(xp.float32) if cutoff is None else filters.lowpass(data, cutoff, size)
        masked = data * masks[0].data.astype(xp.float32) if masks else None
    if table.slope is not None and table.b_factor > 0:
        warnings.warn(
            f"the Guinier plot rises, so that B = {table.b_factor:.3g} Å² damps the map; check the ends of the fit",
            GpumaskWarning,
            stacklevel=2,
        )
    if isinstance(half1, Volume):
        data, masked = (None if array is None else half1.with_data(array) for array in (data, masked))
    return Sharpened(data, masked, table)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is to be done to a transform, checked."""

    shape: tuple
    voxel_size: tuple
    convention: str
    weights: numpy.ndarray | None  # a shell, to the corners of the box
    mtf: tuple | None  # frequency in shells, value
    b_factor: float | None
    ends: tuple | None  # of the fit, 1/Å
    nyquist: float  # shells; half-integer where the box is odd


def _plan(shape, voxel_size, fsc, b_factor, low, high, mtf, mtf_pixel_size, convention):
    size = units.voxel_edges(voxel_size)
    shells = fourier.shells(shape, size)
    if convention not in fourier.CONVENTIONS:
        raise UsageError(f"convention must be one of {', '.join(fourier.CONVENTIONS)}, got {convention!r}")
    number = isinstance(b_factor, Real) and not isinstance(b_factor, bool) and math.isfinite(b_factor)
    if b_factor is not None and not number:
        raise UsageError(f"a B-factor must be a number of Å², such as -80, got {b_factor!r}")
    weights = None
    if fsc is not None:
        fsc = numpy.asarray(fsc, float)
        if fsc.ndim != 1 or not shells.nyquist < len(fsc) <= shells.count:
            raise UsageError(
                f"the FSC must have a value for each shell from 0 to Nyquist, {shells.nyquist + 1} for this box, "
                f"got {fsc.size}"
            )
        weights = numpy.zeros(shells.count)
        weights[: len(fsc)] = fsc_weights(fsc)
    curve = None
    if mtf is not None:
        frequency, value = _checked_mtf(*mtf)
        pixel = units.pixel_edge(size if mtf_pixel_size is None else units.voxel_edges(mtf_pixel_size))
        curve = frequency / (pixel * shells.step), value
    elif mtf_pixel_size is not None:
        raise UsageError("the pixel size of an MTF was given without an MTF; give mtf")
    return _Plan(
        shape=tuple(shape),
        voxel_size=size,
        convention=convention,
        weights=weights,
        mtf=curve,
        b_factor=b_factor,
        ends=_ends(low, high) if b_factor is None else None,
        nyquist=0.5 / (max(size) * shells.step),
    )


def _ends(low, high):
    if high is None:
        raise UsageError("a fitted B-factor needs the end of the fit: give resolution or high in Å, or a b_factor")
    low, high = units.angstrom(low, "the low end of the fit"), units.angstrom(high, "the high end of the fit")
    if not high < low:
        raise UsageError(f"the fit must end at a higher resolution than {low:g} Å, where it begins; got {high:g} Å")
    return 1 / low, 1 / high


def _apply(spectrum, plan):
    """Sharpen a half transform in place; the :class:`Guinier` of it."""
    xp, shells = backend.xp(spectrum), fourier.shells(plan.shape, plan.voxel_size)
    shown = slice(shells.nyquist + 1)
    directions = _directions(spectrum)
    counts = numpy.rint(_sums(directions, directions, plan)) * math.prod(plan.shape)

    def mean():
        return (_sums(spectrum, directions, plan) / counts)[shown]

    original = latest = mean()
    mtf_corrected = weighted = None
    if plan.mtf is not None:
        frequency, value = (xp.asarray(column) for column in plan.mtf)
        _multiply(spectrum, shells, lambda r: 1 / xp.interp(r, frequency, value))
        mtf_corrected = latest = mean()
    if plan.weights is not None:
        weighted = latest = latest * plan.weights[shown]
    inverse_squared = shells.frequency[shown] ** 2
    fitted, line = numpy.zeros(len(latest), bool), (None, None, None)
    b_factor = plan.b_factor
    if b_factor is None:
        fitted = (latest > 0) & _between(shells.frequency[shown], *plan.ends)
        line = _line(inverse_squared[fitted], numpy.log(latest[fitted]), plan.ends)
        b_factor = 4 * line[0]
    if plan.weights is not None:
        fourier.scale_shells(spectrum, plan.weights, plan.shape, plan.voxel_size)
    if b_factor:
        last, exponent = plan.nyquist * (1 + EDGE), -b_factor / 4 * shells.step**2
        if abs(exponent) * last**2 > STRONGEST:
            raise UsageError(f"B = {b_factor:g} Å² is too strong: it scales Nyquist by e^{exponent * last**2:.0f}")
        _multiply(spectrum, shells, lambda r: (r <= last) * xp.exp(exponent * xp.minimum(r, last) ** 2))
    columns = [None if c is None else _logarithm(c) for c in (original, mtf_corrected, weighted, mean())]
    return Guinier(inverse_squared, *columns, fitted, *line, float(b_factor))


def _directions(spectrum):
    """F/|F|, so that a sum of ``Re(F·direction*)`` is one of amplitudes, also after F was multiplied by factors >= 0;
    1 where F is 0."""
    xp = backend.xp(spectrum)
    amplitude = xp.abs(spectrum)
    empty = amplitude == 0
    amplitude[empty] = 1
    directions = spectrum / amplitude
    directions[empty] = 1
    return directions


def _sums(a, b, plan):
    return fourier.shell_sums(a, b, plan.shape, plan.voxel_size, plan.convention)


def _multiply(spectrum, shells, factor):
    """Multiply a half transform in place by ``factor(r)``, r the frequency in shell widths."""
    xp = backend.xp(spectrum)
    z, y, x = (xp.asarray(squares) for squares in shells.squares)
    across = y[:, None] + x[None, :]
    for plane in range(len(spectrum)):
        spectrum[plane] *= factor(xp.sqrt(across + z[plane]))


def _between(frequency, first, last):
    return (frequency >= first * (1 - EDGE)) & (frequency <= last * (1 + EDGE))


def _line(x, y, ends):
    """Slope, intercept and Pearson's correlation of the straight line through points, by least squares."""
    if len(x) < SHELLS:
        low, high = (1 / end for end in ends)
        raise UsageError(
            f"the Guinier fit needs at least {SHELLS} shells with a weight, between {low:g} and {high:g} Å there are "
            f"{len(x)}; let it begin at a lower resolution, or give a b_factor"
        )
    dx, dy = x - x.mean(), y - y.mean()
    xx, xy, yy = float(dx @ dx), float(dx @ dy), float(dy @ dy)
    slope = xy / xx
    return slope, float(y.mean() - slope * x.mean()), xy / math.sqrt(xx * yy) if yy > 0 else None


def _logarithm(values):
    return numpy.log(values, out=numpy.full(len(values), -numpy.inf), where=values > 0)


def _star_columns(text):
    wanted = "rlnResolutionInversePixel", "rlnMtfValue"
    blocks = star.loads(text)
    for block in blocks.values():
        if all(isinstance(block.get(label), list) for label in wanted):
            return [[_number(value, label) for value in block[label]] for label in wanted]
    labels = sorted({label for block in blocks.values() for label in block})
    raise InputRefused(f"an MTF needs a loop of _{wanted[0]} and _{wanted[1]}, got {', '.join(labels) or 'no labels'}")


def _table_columns(text):
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        words = re.split(r"\s*[,;]\s*|\s+", line.partition("#")[0].strip())
        if words == [""]:
            continue
        heading = not rows and not any(_is_number(word) for word in words)
        if len(words) != 2 and not heading:
            raise InputRefused(f"an MTF table has two columns, line {number} has {len(words)}: {line.strip()[:40]!r}")
        if not heading:
            rows.append([_number(word, f"line {number}") for word in words])
    return list(zip(*rows, strict=True)) or [(), ()]


def _is_number(word):
    try:
        float(word)
    except ValueError:
        return False
    return True


def _number(word, where):
    if not _is_number(word):
        raise InputRefused(f"an MTF is made of numbers, got {word[:40]!r} in {where}")
    return float(word)


def _checked_mtf(frequency, value):
    """The two columns as arrays; refused where they cannot be an MTF."""
    frequency, value = numpy.asarray(frequency, float), numpy.asarray(value, float)
    if frequency.ndim != 1 or frequency.shape != value.shape or len(frequency) < 2:
        raise InputRefused(f"an MTF needs two points or more, got {frequency.size} frequencies, {value.size} values")
    if not (frequency[0] >= 0 and numpy.isfinite(frequency).all() and (numpy.diff(frequency) > 0).all()):
        raise InputRefused("the frequencies of an MTF must rise from 0 1/px or more; sort them, and drop doubles")
    if not ((value > 0).all() and numpy.isfinite(value).all()):
        worst = int(numpy.argmin(numpy.where(numpy.isfinite(value), value, -numpy.inf)))
        raise InputRefused(
            f"the values of an MTF must be above 0, since the map is divided by them; got {value[worst]:g} at "
            f"{frequency[worst]:g} 1/px"
        )
    return frequency, value
