"""The level that a threshold in words stands for: of a map, whole or in pieces. numpy or CuPy, the same level.

Levels that are ranks (``percentile``, ``volume``, ``mass``, and the limit of ``fdr``) are found by counting the bits of
the floats, in two passes and without sorting: exact, of bounded memory, and the same in every order of the voxels.
"""

import math
from dataclasses import dataclass

import numpy

from gpumask import backend, filters, mask, units
from gpumask.errors import InputRefused, UsageError
from gpumask.recipe import parse_threshold

WHOLE_BOX = ("fdr", "auto")  # what needs neighbours of voxels, so that the map cannot come in pieces
SMOOTHING = 3.0  # Å, standard deviation: joins what sharpening has torn apart, and leaves maps of 15 Å as they are
FRACTION = 0.6  # of the mean density inside; measured, see docs/thresholds.md
AROUND = 10.0  # Å from the particle, within which voxels do not count as noise
BANDS = (0.7, 0.8, 0.9, 1.0, math.inf)  # of the distance to the box centre; 1 at the middle of a face
FEWEST_FOUND = 30  # voxels that auto may find before it doubts itself
FEWEST = 1000  # voxels that a median of noise is taken over
FILL_SHARE = 0.01  # of the box; as many equal voxels are no measurement but what a program filled in
SCATTER = 1.482602218505602  # standard deviation over median absolute deviation of normal noise
BINS = 65536
PIECE = 1 << 22  # voxels that are counted at a time
SIGN, MAGNITUDE = 0x80000000, 0x7FFFFFFF


@dataclass(frozen=True)
class Level:
    """A threshold of one map.

    Attributes
    ----------
    method : str
        ``value``, ``max``, ``sigma``, ``otsu``, ``percentile``, ``volume``, ``mass``, ``fdr`` or ``auto``.
    value : float
        ``v >= value`` is foreground; rounded to float32, the map's own precision.
    why : str
        How the value came about, with its numbers, in one line.
    warnings : tuple of str
        What the user should know about it.
    """

    method: str
    value: float
    why: str
    warnings: tuple = ()


def level(array, threshold, voxel_size=None, absolute_value=False):
    """The level of a (filtered) map.

    Parameters
    ----------
    array : array of float32, shape (z, y, x)
        numpy or CuPy.
    threshold : str or float
        A number · ``0.2max`` of the maximum · ``3sigma``: mean + 3 standard deviations over the box · ``otsu``: least
        variance within the two classes (Otsu 1979) · ``percentile:99``: the highest 1 % of the box ·
        ``volume:Å³``, ``mass:kDa``: as many of the highest voxels (0.81 Da/Å³) · ``fdr:0.01``: share of noise among the
        voxels found, in the manner of Beckers, Jakobi & Sachse 2019 · ``auto``: 0.6 of the mean density of what
        lies above it, in the map smoothed by 3 Å. docs/thresholds.md has each in full.
    voxel_size : float or tuple of float, optional
        Å (z, y, x); for ``volume``, ``mass``, ``fdr`` and ``auto``.
    absolute_value : bool
        The level is compared with \\|v\\|; not for ``fdr`` and ``auto``, which know noise and particle by their sign.

    Returns
    -------
    Level

    Raises
    ------
    UsageError
        None of these forms, or no voxel size where one is needed.
    InputRefused
        A map that the method cannot judge: of one value, without noise around the particle, smaller than the volume.
    """
    kind, number = parse_threshold(threshold)
    if kind in WHOLE_BOX:
        if absolute_value:
            raise UsageError(f"threshold {kind} tells particle from noise by its sign: not with absolute value")
        size = units.voxel_edges(_needed(voxel_size, kind))
        array = backend.xp(array).ascontiguousarray(array, "float32")
        return _auto(array, size) if kind == "auto" else _false_discovery_rate(array, number, size)
    return level_of_pieces(
        lambda: [array], threshold, voxel_size, absolute_value, lambda: backend.of(array).statistics(array)
    )


def level_of_pieces(pieces, threshold, voxel_size=None, absolute_value=False, statistics=None):
    """:func:`level` of a map that comes in arrays; every threshold but ``fdr`` and ``auto``.

    Parameters
    ----------
    pieces : callable
        Gives the arrays of the map one after another, each time it is called.
    statistics : callable
        Gives min, max, mean and standard deviation, for ``max`` and ``sigma``.
    """
    kind, number = parse_threshold(threshold)
    if kind in ("value", "max", "sigma"):
        return _of_statistics(kind, number, statistics)
    if kind == "otsu":
        return _otsu(pieces, absolute_value)
    if kind == "percentile":
        size = sum(piece.size for piece in pieces())
        wanted = max(1, round(size * (100 - number) / 100))
        found = _nth_highest(pieces, wanted, absolute_value)
        why = f"the highest {wanted} of {size} voxels: {units.plain(number)} % of the box lie below"
        return Level(kind, found.value, why + found.ties(wanted), found.warnings(wanted))
    if kind in ("volume", "mass"):
        return _of_volume(kind, number, pieces, units.voxel_edges(_needed(voxel_size, kind)), absolute_value)
    raise UsageError(f"threshold {kind} needs the whole box")


def smoothed(array, voxel_size):
    """What ``auto`` looks at: the map over its background, smoothed by 3 Å, and that background.

    Voxels that a program filled in (at least 1 % of the box have the value of the first voxel) count as background.
    """
    background, filled = _background(array)
    over = array - backend.xp(array).float32(background)
    if filled is not None:
        over[filled] = 0
    return filters.gaussian(over, SMOOTHING, voxel_size), background


def self_consistent_level(array):
    """The level t that is 0.6 of the mean of the values v >= t: where ``Σv / n^0.6`` of those n values is largest.

    Only what is above 0 counts, so that the size of the box does not. The mean of a blurred particle is less than the
    plateau in its middle; 0.6 of that mean is about half the plateau, where the surface of a blurred body lies.

    Raises
    ------
    InputRefused
        Nothing is above 0.
    """
    high = float(array.max())
    if not high > 0:
        raise InputRefused("threshold auto finds nothing above the background of the map; is its contrast inverted?")
    counts = _counts(lambda: [array], lambda piece, xp: _bins(piece[piece > 0], 0.0, high, xp))[::-1]
    number = numpy.cumsum(counts)
    total = numpy.cumsum(counts * (numpy.arange(BINS)[::-1] + 0.5)) * (high / BINS)
    best = int(numpy.argmax(total / numpy.maximum(number, 1) ** FRACTION))
    return FRACTION * float(total[best]) / float(number[best])


def _auto(array, voxel_size):
    smooth, background = smoothed(array, voxel_size)
    over = self_consistent_level(smooth)
    value = _float32(background + over)
    why = (
        f"background {background:.4g} + {over:.4g}, which is {FRACTION:g} of the mean of what lies above it, "
        f"in the map smoothed by {SMOOTHING:g} Å"
    )
    few = int((array >= value).sum())
    warnings = ()
    if few < FEWEST_FOUND:
        warnings = (f"threshold auto finds only {few} voxels: a few very high ones hide the particle; give a level",)
    return Level("auto", value, why, warnings)


def _of_statistics(kind, number, statistics):
    if kind == "value":
        return Level(kind, _float32(number), "as given")
    _, high, mean, deviation = statistics()
    value = _float32(number * high if kind == "max" else mean + number * deviation)
    if kind == "max":
        return Level(kind, value, f"{units.plain(number)} of the maximum {high:.6g}")
    why = f"mean {mean:.4g} + {units.plain(number)} standard deviations of {deviation:.4g}, over the box"
    return Level(kind, value, why)


def _of_volume(kind, number, pieces, voxel_size, absolute):
    volume = units.angstrom3_of_kda(number) if kind == "mass" else number
    size = sum(piece.size for piece in pieces())
    wanted = max(1, round(units.voxels_in(volume, voxel_size)))
    if wanted > size:
        raise InputRefused(
            f"{kind} {units.plain(number)} is {wanted} voxels and the box has {size}; is the voxel size right?"
        )
    found = _nth_highest(pieces, wanted, absolute)
    asked = f"{units.plain(number)} kDa of protein at {units.DALTON_PER_ANGSTROM3:g} Da/Å³ = " if kind == "mass" else ""
    why = f"{asked}{volume:.6g} Å³ = the highest {wanted} voxels{found.ties(wanted)}"
    notes = found.warnings(wanted)
    if kind == "mass":
        notes = (
            f"mass is taken as protein, {units.DALTON_PER_ANGSTROM3:g} Da/Å³; sugars and nucleic acids are denser, "
            "detergent is lighter: give their volume instead",
            *notes,
        )
    return Level(kind, found.value, why, notes)


def _otsu(pieces, absolute):
    low, high = math.inf, -math.inf
    for piece in pieces():
        values = abs(piece) if absolute else piece
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    if not low < high:
        raise InputRefused(f"threshold otsu needs a map of more than one value, all are {low:g}")
    counts = _counts(pieces, lambda piece, xp: _bins(xp.abs(piece) if absolute else piece, low, high, xp))
    position = numpy.arange(BINS) + 0.5
    below, moment = numpy.cumsum(counts)[:-1], numpy.cumsum(counts * position)[:-1]
    size, total = int(counts.sum()), float((counts * position).sum())
    between = (total * below - size * moment) ** 2 / (below * (size - below).astype(float))
    # A gap between the classes holds many cuts that are equally good: the one in its middle.
    best = numpy.flatnonzero(between == between.max())
    cut = (best[0] + best[-1]) / 2 + 1
    value = _float32(low + cut * ((high - low) / BINS))
    return Level("otsu", value, f"least variance within the two classes, over the box ({low:.4g} to {high:.4g})")


def _false_discovery_rate(array, rate, voxel_size):
    centre, deviation, where = _noise(array, voxel_size)
    _, filled = _background(array)
    tested = array.reshape(-1) if filled is None else array[~filled]
    counts = _counts(lambda: [tested], lambda piece, xp: _keys(piece, False, xp) >> 16)
    above = counts[::-1].cumsum()[::-1]  # tested voxels in this bin and in all above it
    value = None
    for top in map(int, numpy.flatnonzero(counts)):
        # Benjamini-Hochberg takes the longest list whose last p value is at most rate · length / tests
        if _tail(_value((top << 16) | 0xFFFF), centre, deviation) > rate * above[top] / tested.size:
            continue
        within = _counts(lambda: [tested], lambda piece, xp: _low_bits(piece, top, False, xp))  # noqa: B023
        remaining = above[top] - counts[top] + within[::-1].cumsum()[::-1]
        for low in numpy.flatnonzero(within):
            candidate = _value((top << 16) | int(low))
            if _tail(candidate, centre, deviation) <= rate * remaining[low] / tested.size:
                value, number = candidate, int(remaining[low])
                break
        if value is not None:
            break
    if value is None:
        raise InputRefused(f"no voxel stands out of the noise at a false discovery rate of {rate:g}; low-pass the map")
    notes = ()
    if filled is not None:
        notes = ("the map is masked in part, where noise cannot be seen: fdr may find too much; give an unmasked map",)
    why = (
        f"{number} of {tested.size} voxels at a false discovery rate of {units.plain(rate)} (Benjamini-Hochberg), "
        f"noise {centre:.4g} with standard deviation {deviation:.4g} from {where}"
    )
    return Level("fdr", value, why, notes)


def _tail(value, centre, deviation):
    """One-sided p value of normal noise."""
    return 0.5 * math.erfc((value - centre) / (deviation * math.sqrt(2)))


def _noise(array, voxel_size):
    """Median and robust standard deviation of the noise around the particle, and where they were taken.

    Programs mask or damp the corners of their maps, so that noise differs from shell to shell: the noisiest counts.
    """
    smooth, background = smoothed(array, voxel_size)
    particle = smooth >= backend.xp(array).float32(self_consistent_level(smooth))
    del smooth
    reach = units.to_px(units.Length(AROUND, "A"), voxel_size)
    free = ~mask.dilate(particle, reach, units.sampling(voxel_size))
    _, filled = _background(array)
    if filled is not None:
        free &= ~filled
    distance = _squared_distance_to_centre(array)
    noisiest = None
    for low, high in zip(BANDS, BANDS[1:], strict=False):
        values = array[free & (distance >= low * low) & (distance < high * high)]
        if values.size < FEWEST:
            continue
        centre = _median(values)
        deviation = SCATTER * _median(abs(values - backend.xp(array).float32(centre)))
        if deviation > 0 and (noisiest is None or deviation > noisiest[1]):
            beyond = "beyond the inscribed sphere" if low == 1 else f"{low:g} to {high:g} of the way to a face"
            noisiest = centre, deviation, f"{values.size} voxels {beyond}, {AROUND:g} Å off the particle"
    if noisiest is None:
        raise InputRefused(
            "threshold fdr needs noise around the particle, and the map has none: give an unmasked map, or use auto"
        )
    return noisiest


def _background(array):
    """The value around the particle, and where a program filled in a constant (None: nowhere)."""
    first = array[0, 0, 0]
    filled = array == first
    filled = filled if float(filled.mean()) >= FILL_SHARE else None
    outside = _squared_distance_to_centre(array) > 1
    if filled is not None:
        outside &= ~filled
    if int(outside.sum()) >= FEWEST:
        return _median(array[outside]), filled
    return (_median(array) if filled is None else float(first)), filled


def _squared_distance_to_centre(array):
    """From the box centre, 1 at the middle of a face; of the shape of the array."""
    xp = backend.xp(array)
    z, y, x = (((xp.arange(n) - n // 2) / (n / 2)) ** 2 for n in array.shape)
    return z[:, None, None] + y[None, :, None] + x[None, None, :]


def _median(values):
    """The middle value, the higher of the two of an even number."""
    return _nth_highest(lambda: [values], (values.size + 1) // 2, False).value


@dataclass(frozen=True)
class _Rank:
    value: float
    reached: int  # voxels at the value or above

    def ties(self, wanted):
        if self.reached == wanted:
            return ""
        return f"; {self.reached} reach the level, since {self.reached - wanted} more have its very value"

    def warnings(self, wanted):
        if self.reached <= 1.01 * wanted:
            return ()
        return (f"{wanted} voxels were asked for, but {self.reached} reach the level: the map has many equal values",)


def _nth_highest(pieces, number, absolute):
    """The value of that rank, counted from the highest."""
    counts = _counts(pieces, lambda piece, xp: _keys(piece, absolute, xp) >> 16)
    top, above = _bin_of_rank(counts, number)
    within = _counts(pieces, lambda piece, xp: _low_bits(piece, top, absolute, xp))
    low, higher = _bin_of_rank(within, number - above)
    return _Rank(_value((top << 16) | low), above + higher + int(within[low]))


def _bin_of_rank(counts, number):
    """The bin that holds the voxel of that rank from the top, and how many voxels lie in the bins above it."""
    above = counts[::-1].cumsum()
    place = int(numpy.searchsorted(above, number))
    return len(counts) - 1 - place, int(above[place] - counts[::-1][place])


def _low_bits(piece, top, absolute, xp):
    """The low half of the keys whose high half is `top`."""
    keys = _keys(piece, absolute, xp)
    return keys[(keys >> 16) == top] & 0xFFFF


def _keys(piece, absolute, xp):
    """Integers in the order of the floats; of -0 and 0 the same."""
    bits = xp.ascontiguousarray(piece, xp.float32).view(xp.uint32).astype(xp.int64)
    if absolute:
        bits &= MAGNITUDE
    return xp.where(bits <= MAGNITUDE, bits + SIGN, 2 * SIGN - bits)


def _value(key):
    """The float of a key."""
    bits = key - SIGN if key >= SIGN else 2 * SIGN - key
    return float(numpy.array(bits, numpy.uint32).view(numpy.float32))


def _bins(values, low, high, xp):
    """Which of BINS equal parts of [low, high] each value lies in."""
    return xp.minimum(((values.astype(xp.float64) - low) * (BINS / (high - low))).astype(xp.int64), BINS - 1)


def _counts(pieces, index):
    """How often each of BINS numbers occurs in ``index(values, xp)``; int64, numpy."""
    counts = numpy.zeros(BINS, numpy.int64)
    for piece in pieces():
        xp, flat = backend.xp(piece), piece.reshape(-1)
        for start in range(0, flat.size, PIECE):
            found = index(flat[start : start + PIECE], xp)
            if found.size:
                counts += backend.to_numpy(xp.bincount(found, minlength=BINS))
    return counts


def _float32(value):
    with numpy.errstate(over="ignore"):
        return float(numpy.float32(value))


def _needed(voxel_size, kind):
    if voxel_size is None:
        raise UsageError(f"threshold {kind} is a matter of Å: give voxel_size=")
    return voxel_size
