"""How the grids of two volumes lie to each other, and volumes laid on other grids; numpy or CuPy in, the same kind out.

Boxes are cropped and padded, mirrored, moved and resampled so that ORIGIN and NSTART still say where the density lies.
"""

import math
import shlex
from dataclasses import asdict, dataclass, replace
from numbers import Real

import numpy

from gpumask import backend, interpolation, mask, regions, units
from gpumask.errors import InputRefused, UsageError
from gpumask.interpolation import LATTICE
from gpumask.volume import Header, Volume

SAME_VOXEL_ERROR, SAME_VOXEL_NOTE = 1e-2, 1e-3  # relative
METHODS = ("exact", "trilinear", "fourier")
LARGEST_BOX = 1 << 14  # voxels along an axis
COARSER = 1.25  # times as large: from here on aliasing is worth a note


def check_same_voxel_size(name, volume, other_name, other, advice="resample one of them or correct its header"):
    """Refuse voxel sizes that differ by more than 1 %, with `advice`; a note in words where they differ by more than
    0.1 %, else None."""
    worst = _voxel_difference(volume, other)
    if worst <= SAME_VOXEL_NOTE:
        return None
    text = (
        f"voxel sizes differ by {100 * worst:.2g} %: {name} has {units.by(volume.voxel_size, '.5g')} Å, "
        f"{other_name} {units.by(other.voxel_size, '.5g')} Å (x, y, z)"
    )
    if worst > SAME_VOXEL_ERROR:
        raise InputRefused(f"{text}; {advice}")
    return text


def on_one_grid(maps, voxel_size=None):
    """Maps that must share a box and a voxel size, as Volumes.

    Parameters
    ----------
    maps : dict
        What messages call each → Volume, array, or None for one that was not given.
    voxel_size : float or tuple of float, optional
        Å (z, y, x), of plain arrays.

    Returns
    -------
    volumes : list of Volume or None
    notes : list of str
        Small differences of the voxel size.

    Raises
    ------
    InputRefused
        Different boxes, or voxel sizes that differ by more than 1 %.
    UsageError
        A `voxel_size` beside a Volume.
    TypeError
        Arrays alone, without `voxel_size`.
    """
    given = {name: item for name, item in maps.items() if item is not None}
    sizes = [item.voxel_size for item in given.values() if isinstance(item, Volume)]
    if sizes and voxel_size is not None:
        raise UsageError("a Volume has its own voxel size: give voxel_size with plain arrays only")
    if not sizes and voxel_size is None:
        raise TypeError("plain arrays need voxel_size=, in Å")
    size = sizes[0] if sizes else voxel_size
    volumes = {name: item if isinstance(item, Volume) else Volume(item, size) for name, item in given.items()}
    notes = check_one_grid(volumes)
    return [volumes.get(name) for name in maps], notes


def check_one_grid(volumes):
    """Refuse different boxes, and voxel sizes that differ by more than 1 %; notes about smaller differences.

    Parameters
    ----------
    volumes : dict
        What messages call each → anything with ``shape`` and ``voxel_size``.

    Returns
    -------
    list of str
    """
    (first_name, first), *others = volumes.items()
    notes = []
    for name, other in others:
        if tuple(other.shape) != tuple(first.shape):
            raise InputRefused(
                f"{first_name} and {name} must have one box, got {units.by(first.shape)} and {units.by(other.shape)} "
                "voxels; put them on one grid (resample --like)"
            )
        notes.append(check_same_voxel_size(first_name, first, name, other))
    return [note for note in notes if note]


def paste(name, volume, other_name, other, advice="resample it onto that grid first (gpumask resample --like)"):
    """Lay `volume` on the grid of `other`, a map on the same lattice, by an integer shift; data is copied exactly.

    Parameters
    ----------
    name, other_name : str
        What messages call the two.
    volume, other : Volume
    advice : str
        How the refusal of another lattice ends.

    Returns
    -------
    volume : Volume
        Zero where `volume` has no data; voxel size and header of `other`.
    notes : list of str

    Raises
    ------
    InputRefused
        Voxel sizes differ, the shift is not a whole number of voxels, or the two do not overlap.
    """
    note = check_same_voxel_size(name, volume, other_name, other, advice)
    notes = [note] if note else []
    shift = units.angstrom_to_corner_px(volume.origin, other.voxel_size, other.origin)
    if not _is_whole(shift):
        raise InputRefused(
            f"{name} lies {units.by(shift, '.4g')} voxels (x, y, z) from the grid of {other_name}, not a whole number; "
            f"{advice}"
        )
    data = _window(volume.data, [-round(s) for s in shift], other.shape)
    if data is None:
        raise InputRefused(_apart(name, other_name, shift))
    lost = int(backend.xp(data).count_nonzero(volume.data)) - int(backend.xp(data).count_nonzero(data))
    if lost:
        notes.append(f"{lost} non-zero voxels of {name} lie outside the box of {other_name} and are cut off")
    return other.with_data(data, recipe=None), notes


def origin_of(header, position, voxel_size):
    """`header` for a box whose voxel (0, 0, 0) lies at `position`, Å (z, y, x).

    The file's own way to say where it lies is kept: NSTART alone where ORIGIN was 0 and the position is a whole number
    of voxels; else ORIGIN, and beside it the nearest NSTART where the file had one, so that programs that read one or
    the other find the same place.
    """
    steps = units.angstrom_to_corner_px(position, voxel_size)
    nearest = tuple(round(s) for s in steps)
    if not any(header.origin) and max(abs(s - n) for s, n in zip(steps, nearest, strict=True)) <= LATTICE:
        return replace(header, nstart=nearest)
    return replace(header, origin=tuple(map(float, position)), nstart=nearest if any(header.nstart) else (0, 0, 0))


def empty(shape, voxel_size, header=None):
    """A grid without data: a Volume of zeros that take no memory, read-only.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x).
    voxel_size : float or tuple of float
        Å (z, y, x).
    header : Header, optional
        Where it lies.
    """
    return Volume(numpy.broadcast_to(numpy.float32(0), _box(shape)), voxel_size, header or Header())


def crop(volume, low, high):
    """The box from voxel `low` to before `high` (z, y, x); beyond the box of `volume`, where it may reach, it is 0.

    ORIGIN and NSTART move along, so that the density stays where it was.

    Returns
    -------
    Volume
    """
    low, high = _whole(low, "the low corner of a crop"), _whole(high, "the high corner of a crop")
    shape = _box([b - a for a, b in zip(low, high, strict=True)])
    data = _window(volume.data, low, shape)
    if data is None:
        raise UsageError(
            f"the crop from {units.by(low)} to {units.by(high)} (x, y, z) lies outside the box of "
            f"{units.by(volume.shape)} voxels"
        )
    position = units.corner_px_to_angstrom(low, volume.voxel_size, volume.origin)
    return _moved(volume, data, position)


def boxed(volume, shape, centre=None):
    """A box of `shape` (z, y, x) voxels whose centre ``n // 2`` is the voxel `centre`: cropped, or padded with 0.

    Without `centre` that is the centre of the old box, as RELION's ``--new_box``.
    """
    shape = _box(shape)
    centre = [n // 2 for n in volume.shape] if centre is None else _whole(centre, "the centre of a box")
    low = [c - n // 2 for c, n in zip(centre, shape, strict=True)]
    return crop(volume, low, [a + n for a, n in zip(low, shape, strict=True)])


def bounds(array, level=None, margin=0):
    """The smallest box with every voxel >= `level` (without it: that is not 0), and `margin` voxels more on each side
    (one number, or z, y, x), as far as the array goes.

    Returns
    -------
    low, high : tuple of int
        (z, y, x), [low, high).
    """
    box = regions.bounding_box(array != 0 if level is None else array >= level)
    if box is None:
        raise InputRefused(f"no voxel {'differs from 0' if level is None else f'reaches {level:.6g}'}: nothing to box")
    margins = _whole((margin,) * 3 if isinstance(margin, Real) else margin, "a margin")
    if min(margins) < 0:
        raise UsageError(f"a margin must be >= 0 voxels, got {margin!r}")
    low = tuple(max(s.start - m, 0) for s, m in zip(box, margins, strict=True))
    return low, tuple(min(s.stop + m, n) for s, m, n in zip(box, margins, array.shape, strict=True))


def flip(volume, axes):
    """Mirror along each of `axes`, such as ``"x"`` or ``"xy"``: voxel i goes to ``n - 1 - i``, as RELION's ``--flipX``.

    The box stays where it is, and the density is mirrored about its middle, ``(n - 1)/2``. An odd number of flips
    changes the hand.
    """
    if not axes or set(axes) - set("xyz") or len(set(axes)) < len(axes):
        raise UsageError(f"flips are along axes such as x or xy, got {axes!r}")
    data = backend.xp(volume.data).flip(volume.data, tuple("zyx".index(axis) for axis in axes))
    return volume.with_data(_contiguous(data), recipe=None)


def invert_hand(volume):
    """The other hand: mirrored along x about the box centre ``n // 2``, in even boxes as RELION's ``--invert_hand``.

    Where n is even, plane 0 has no partner and stays. Where n is odd, RELION keeps plane 0 all the same, and its result
    lies one voxel further along x. The box stays where it is.
    """
    xp, length = backend.xp(volume.data), volume.shape[2]
    data = xp.roll(volume.data[:, :, ::-1], 1 - length % 2, axis=2)
    return volume.with_data(_contiguous(data), recipe=None)


def permute(volume, order):
    """Exchange axes: `order` names the old axes that become x, y and z, so that ``"xyz"`` changes nothing and
    ``"yxz"`` exchanges x and y. Voxel size, ORIGIN and NSTART go with their axes. Two axes exchanged change the hand;
    ``"yzx"`` and ``"zxy"`` turn the density."""
    if sorted(order) != ["x", "y", "z"]:
        raise UsageError(f"axes must be an order of x, y and z, such as zyx, got {order!r}")
    axes = ["zyx".index(axis) for axis in reversed(order)]

    def permuted(triple):
        return tuple(triple[axis] for axis in axes)

    header = replace(volume.header, origin=permuted(volume.header.origin), nstart=permuted(volume.header.nstart))
    data = _contiguous(volume.data.transpose(axes))
    return volume.with_data(data, voxel_size=permuted(volume.voxel_size), header=header, recipe=None)


def shift(volume, offset, method="trilinear"):
    """Move the density by `offset` voxels (z, y, x) within its box, whose place stays.

    Parameters
    ----------
    volume : Volume
    offset : tuple of float
    method : str
        ``trilinear``: exact for whole numbers of voxels; 0 comes in, as RELION's ``--shift_x``. ``fourier``: exact for
        band-limited densities; the box is periodic, what leaves on one side comes in on the other.

    Returns
    -------
    volume : Volume
    notes : list of str
    """
    offset = _numbers(offset, "a shift")
    positions = [numpy.arange(n) - o for n, o in zip(volume.shape, offset, strict=True)]
    data, notes = _interpolated(volume.data, positions, _known(method, METHODS[1:]))
    return volume.with_data(data, recipe=None), notes


def even_shape(shape, voxel_size, wanted):
    """The even box (z, y, x) that brings the voxels of a box of `shape` near to `wanted` Å, the box of RELION's
    ``--rescale_angpix``: rounded to a whole number, then down to an even one."""
    lengths = units.corner_px_to_angstrom(shape, units.voxel_edges(voxel_size))
    found = [math.floor(n + 0.5) for n in units.angstrom_to_corner_px(lengths, units.voxel_edges(wanted))]
    if not all(2 <= n < LARGEST_BOX + 2 for n in found):
        raise UsageError(
            f"a box of {units.by(lengths, '.5g')} Å (x, y, z) must hold 2 to {LARGEST_BOX} voxels along each axis, "
            f"voxels of {wanted} Å do not; choose another size"
        )
    return tuple(n - n % 2 for n in found)


def rescale(volume, shape):
    """Crop or pad the Fourier transform to `shape` (z, y, x): the same field of view with other voxels.

    Values stay, since the series is evaluated at the new voxels; so does the box centre ``n // 2`` in space. The two
    coefficients at the Nyquist frequency of an even axis are one: padding splits it in halves, cropping adds the
    halves up, so that padding then cropping is the identity.

    RELION's ``--rescale_angpix`` gives the same where an even box is cropped, but for the Nyquist planes, where it
    keeps one coefficient. Its padded boxes differ, and in odd boxes it keeps voxel 0 in place, not the centre.

    Returns
    -------
    volume : Volume
    notes : list of str
        Where the values of a mask (:func:`gpumask.mask.is_mask`) had to be clipped.
    """
    shape = _box(shape)
    scales = [n / m for n, m in zip(volume.shape, shape, strict=True)]
    middles = [(n // 2, m // 2) for n, m in zip(volume.shape, shape, strict=True)]
    positions = [
        old + (numpy.arange(m) - new) * scale for m, scale, (old, new) in zip(shape, scales, middles, strict=True)
    ]
    data, notes = _interpolated(volume.data, positions, "fourier")
    size = tuple(v * scale for v, scale in zip(volume.voxel_size, scales, strict=True))
    low = [p[0] for p in positions]
    position = units.corner_px_to_angstrom(low, volume.voxel_size, volume.origin)
    return _moved(volume, data, position, size), notes


def resample(name, volume, other_name, other, method="auto"):
    """Lay `volume` on the grid of `other`.

    Parameters
    ----------
    name, other_name : str
        What messages call the two.
    volume, other : Volume
    method : str
        ``exact``: see :func:`paste`. ``trilinear``: as ChimeraX ``volume resample onGrid``. ``fourier``: the Fourier
        series of `volume`, up to the Nyquist frequency of `other`. ``auto``: exact where the shift is a whole number of
        voxels of one size, else trilinear.

    Returns
    -------
    volume : Volume
        Zero beyond the voxel centres of `volume`; voxel size and header of `other`. Masks
        (:func:`gpumask.mask.is_mask`) stay in [0, 1].
    method : str
        What was done.
    notes : list of str

    Raises
    ------
    InputRefused
        The two do not overlap, or `method` is ``exact`` and cannot be.
    """
    method = _known(method, ("auto", *METHODS))
    corner = units.angstrom_to_corner_px(volume.origin, other.voxel_size, other.origin)
    if method == "auto":
        exact = _voxel_difference(volume, other) <= SAME_VOXEL_NOTE and _is_whole(corner)
        method = "exact" if exact else "trilinear"
    if method == "exact":
        advice = "use --method trilinear or fourier, or correct a header"
        data, notes = paste(name, volume, other_name, other, advice)
        return data, method, notes
    steps = [numpy.arange(n) for n in other.shape]
    places = units.corner_px_to_angstrom(steps, other.voxel_size, other.origin)
    positions = units.angstrom_to_corner_px(places, volume.voxel_size, volume.origin)
    if not all(interpolation.inside(p, n).any() for p, n in zip(positions, volume.shape, strict=True)):
        raise InputRefused(_apart(name, other_name, corner))
    data, notes = _interpolated(volume.data, positions, method, within=True)
    ratio = max(a / b for a, b in zip(other.voxel_size, volume.voxel_size, strict=True))
    if method == "trilinear" and ratio > COARSER:
        notes.append(
            f"the voxels of {other_name} are {ratio:.3g} times as large as those of {name}: trilinear values alias "
            "what they cannot hold, method fourier drops it"
        )
    if _reaches_beyond(volume.data, positions):
        notes.append(f"part of {name} lies outside the box of {other_name} and is cut off")
    return other.with_data(data, recipe=None), method, notes


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes
    ----------
    same_grid : bool
    differences : list of str
        In what the grids differ, in words; empty where they are one.
    notes : list of str
        What is told differently without making a difference to gpumask.
    mend : list of dict
        ``command``, and ``when`` it is the right one.
    max_difference, rms_difference, correlation : float or None
        Of the values voxel by voxel; None where the boxes differ, and the correlation also where one is constant.
    dice : float or None
        Of two masks at 0.5: ``2·|A and B| / (|A| + |B|)``; None where neither reaches 0.5.
    """

    same_grid: bool
    differences: list
    notes: list
    mend: list
    max_difference: float | None = None
    rms_difference: float | None = None
    correlation: float | None = None
    dice: float | None = None

    def to_dict(self):
        """All of it, for JSON."""
        return asdict(self)


def compare(name, volume, other_name, other):
    """Whether two volumes are on one grid, in words, and how their values differ.

    They are where their boxes are equal, voxel sizes agree to 1 % and they lie at one place to 0.001 voxels, by
    ChimeraX's rule (ORIGIN where it is not 0, else NSTART).

    Parameters
    ----------
    name, other_name : str
        What texts call the two: their paths, so that the commands can be run.
    volume, other : Volume
        `volume` is the reference.

    Returns
    -------
    Comparison
    """
    differences, notes = [], []
    same_box = tuple(volume.shape) == tuple(other.shape)
    if not same_box:
        differences.append(
            f"box: {name} has {units.by(volume.shape)} voxels, {other_name} {units.by(other.shape)} (x, y, z)"
        )
    try:
        note = check_same_voxel_size(name, volume, other_name, other)
        notes += [note] if note else []
    except InputRefused as error:
        differences.append(str(error).partition(";")[0])
    shift = units.angstrom_to_corner_px(other.origin, volume.voxel_size, volume.origin)
    same_place = max(map(abs, shift)) <= LATTICE
    if not same_place:
        whole = "a whole number" if _is_whole(shift) else "not a whole number"
        differences.append(
            f"place: {name} begins at {_triple(volume.origin)} Å ({_told(volume)}), {other_name} at "
            f"{_triple(other.origin)} Å ({_told(other)}): {_triple(shift)} voxels further (x, y, z), {whole}"
        )
    elif not differences and (volume.header.origin, volume.header.nstart) != (other.header.origin, other.header.nstart):
        notes.append(f"one place told in two ways: {name} by {_fields(volume)}; {other_name} by {_fields(other)}")
    found = {}
    if same_box:
        found = _values(volume.data, other.data)
    mend = _mend(name, volume, other_name, other, shift) if differences else []
    return Comparison(not differences, differences, notes, mend, **found)


def _mend(name, volume, other_name, other, shift):
    """The commands that bring `other` onto the grid of `volume`."""
    reference, moved = shlex.quote(str(name)), shlex.quote(str(other_name))
    resampled = {"command": f"gpumask resample {moved} --like {reference} -o OUT"}
    relabelled = {"command": f"gpumask grid {moved} --header {reference} -o OUT"}
    exact = _voxel_difference(volume, other) <= SAME_VOXEL_NOTE and _is_whole(shift)
    resampled["when"] = (
        f"{other_name} lies where its header says: it is {'pasted exactly' if exact else 'interpolated'}"
    )
    relabelled["when"] = f"the header of {other_name} is wrong: its voxels are those of {name}"
    lengths = units.corner_px_to_angstrom(other.shape, other.voxel_size)
    steps = units.angstrom_to_corner_px(lengths, volume.voxel_size)
    apart = any(s >= n or s + m <= 0 for s, m, n in zip(shift, steps, volume.shape, strict=True))
    found = [resampled] if not apart else []
    if volume.shape == other.shape:
        found.insert(0 if not any(other.origin) else len(found), relabelled)  # a file without a place has lost it
    if not found:
        command = f"gpumask grid {moved} --origin X,Y,Z -o OUT"
        found.append({"command": command, "when": f"the two do not overlap: {other_name} needs its true place, in Å"})
    return found


def _values(a, b):
    """Differences of two arrays of one shape, in float64."""
    xp, size = backend.xp(a), a.size
    means = float(a.mean(dtype=xp.float64)), float(b.mean(dtype=xp.float64))
    most, sums = 0.0, numpy.zeros(4)
    for one, two in zip(a, b, strict=True):
        one, two = one.astype(xp.float64), two.astype(xp.float64)
        delta = xp.abs(one - two)
        most = max(most, float(delta.max()))
        one, two = one - means[0], two - means[1]
        sums += [float((x * y).sum()) for x, y in ((delta, delta), (one, two), (one, one), (two, two))]
    squares, product, first, second = sums
    dice = None
    if _is_mask(a) and _is_mask(b):
        inside = [x >= 0.5 for x in (a, b)]
        total = sum(int(x.sum()) for x in inside)
        dice = 2 * int((inside[0] & inside[1]).sum()) / total if total else None
    return {
        "max_difference": most,
        "rms_difference": math.sqrt(squares / size),
        "correlation": product / math.sqrt(first * second) if first > 0 and second > 0 else None,
        "dice": dice,
    }


def _told(volume):
    return "ORIGIN" if any(volume.header.origin) else "NSTART" if any(volume.header.nstart) else "its header says none"


def _fields(volume):
    return f"ORIGIN {_triple(volume.header.origin)} Å, NSTART {_triple(volume.header.nstart)}"


def _triple(numbers):
    return ", ".join(format(round(n, 3) + 0.0, ".7g") for n in units.xyz(numbers))


def _voxel_difference(volume, other):
    return max(max(a, b) / min(a, b) - 1 for a, b in zip(volume.voxel_size, other.voxel_size, strict=True))


def _is_whole(shift):
    return max(abs(s - round(s)) for s in shift) <= LATTICE


def _apart(name, other_name, shift):
    return (
        f"{name} does not overlap the box of {other_name}: its corner is at {units.by(shift, '.6g')} (x, y, z) "
        "of it; correct the header of one of them (gpumask compare says more)"
    )


def _moved(volume, data, position, voxel_size=None):
    size = voxel_size or volume.voxel_size
    header = origin_of(volume.header, position, size)
    return volume.with_data(data, voxel_size=size, header=header, recipe=None)


def _contiguous(array):
    return backend.xp(array).ascontiguousarray(array)


def _window(array, low, shape):
    """`shape` voxels from `low` on, 0 beyond the array; None where they do not overlap."""
    start = [max(a, 0) for a in low]
    stop = [min(a + m, n) for a, m, n in zip(low, shape, array.shape, strict=True)]
    if any(a >= b for a, b in zip(start, stop, strict=True)):
        return None
    data = backend.xp(array).zeros(tuple(shape), array.dtype)
    inside = tuple(slice(a - o, b - o) for a, b, o in zip(start, stop, low, strict=True))
    data[inside] = array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    return data


def _reaches_beyond(array, positions):
    """Whether voxels that are not 0 lie farther out than their values are interpolated."""
    box = regions.bounding_box(array != 0)
    return box is not None and any(
        s.start < math.floor(p[0] + LATTICE) or s.stop - 1 > math.ceil(p[-1] - LATTICE)
        for s, p in zip(box, positions, strict=True)
    )


def _interpolated(array, positions, method, within=False):
    """`array` at the product of three ascending lists of positions, px (z, y, x), and notes; float32.

    The axes of both grids are parallel, so that each method is three interpolations along one axis.
    """
    if method == "trilinear":
        return interpolation.trilinear(array, positions), []
    made = interpolation.trigonometric(array, positions, within)
    if not _is_mask(array):
        return made, []
    overshoot = max(-float(made.min()), float(made.max()) - 1)
    made = backend.xp(made).clip(made, 0, 1)
    if overshoot <= mask.RANGE_SLACK * min(float(array.max()), 1):
        return made, []
    return made, [f"the values of the mask left [0, 1] by up to {overshoot:.3g} and were clipped"]


def _known(method, methods):
    if method not in methods:
        raise UsageError(f"a method of resampling is {', '.join(methods)}, got {method!r}")
    return method


def _numbers(values, what):
    good = len(values) == 3 and all(isinstance(v, Real) and abs(v) <= units.LONGEST for v in values)
    if not good:
        raise UsageError(f"{what} must be three numbers (z, y, x), at most {units.LONGEST:g}, got {values!r}")
    return tuple(float(v) for v in values)


def _whole(values, what):
    if not all(v == round(v) for v in _numbers(values, what)):
        raise UsageError(f"{what} must be three whole numbers of voxels (z, y, x), got {values!r}")
    return tuple(int(v) for v in values)


def _box(shape):
    shape = _whole(shape, "a box")
    if not all(1 <= n <= LARGEST_BOX for n in shape):
        raise UsageError(f"a box must have 1 to {LARGEST_BOX} voxels along each axis, got {units.by(shape)} (x, y, z)")
    return shape


def _is_mask(array):
    return mask.is_mask(float(array.min()), float(array.max()))
