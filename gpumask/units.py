"""Å, pixels, 1/Å and coordinate frames: the only place that multiplies or divides by a voxel size.

Lengths are written ``5px``, ``7A`` (or ``7Å``) or as a bare number, which means pixels. Voxel sizes and positions are
(z, y, x) in Python and x,y,z in text.
"""

import math
import re
from collections import namedtuple
from numbers import Real

from gpumask.errors import UsageError

SNAP = 1e-4  # px: headers hold float32 cells, so a quotient this close to an integer is that integer
ISOTROPY = 1e-3  # relative difference of voxel edges up to which voxels count as cubes
SMALLEST_VOXEL, LARGEST_VOXEL = 1e-6, 1e6  # Å: beyond these a header is damaged
DALTON_PER_ANGSTROM3 = 0.81  # protein; sugars are denser

LONGEST = 1e6  # px: beyond any box
RESOLUTIONS = 1e-3, 1e6  # Å: what can be meant

_ANGSTROM = ("A", "\u00c5", "\u212b")  # the letter, and the sign that looks like it
_LENGTH = re.compile(rf"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(px|pix|{'|'.join(_ANGSTROM)}|)\s*")


class Length(namedtuple("Length", "value unit")):
    """A number with its unit, ``"px"`` or ``"A"``; ``str`` gives the text that parses back to it."""

    __slots__ = ()

    def __str__(self):
        return f"{plain(self.value)}{self.unit}"


def length(text, what="length"):
    """Parse a length.

    Parameters
    ----------
    text : str, float or Length
        ``"5px"``, ``"7A"``, ``"7Å"``; a number without a unit means pixels (as in Volume Tools and RELION).
    what : str
        Name used in the error.

    Returns
    -------
    Length

    Raises
    ------
    UsageError
        Not a finite number, or an unknown unit.
    """
    if isinstance(text, Length):
        return text
    if isinstance(text, bool):
        raise UsageError(f"{what} must be a length such as 5px or 7A, got {text!r}")
    match = _LENGTH.fullmatch(str(text))
    if not match or not math.isfinite(float(match[1])):
        raise UsageError(f"{what} must be a length such as 5px or 7A, got {text!r}")
    return Length(float(match[1]), "A" if match[2] in _ANGSTROM else "px")


def angstrom(text, what="resolution"):
    """Parse a length that only makes sense in Å, such as a resolution: ``"3.5A"``, ``"3.5Å"`` or ``3.5``; float.

    Raises
    ------
    UsageError
        Given in pixels, or not a positive finite number.
    """
    parsed = length(text, what)
    if parsed.unit == "px" and (isinstance(text, Length) or "p" in str(text)):
        raise UsageError(f"{what} must be in Å, such as 15A, got {text!r}")
    if not RESOLUTIONS[0] <= parsed.value <= RESOLUTIONS[1]:
        raise UsageError(f"{what} must be > 0 Å ({RESOLUTIONS[0]:g} to {RESOLUTIONS[1]:g}), got {text!r}")
    return parsed.value


def voxel_edges(voxel_size):
    """Voxel edges (z, y, x) in Å as three floats, from one number or three.

    Raises
    ------
    UsageError
        Not one or three positive numbers that a header can hold.
    """
    try:
        edges = (voxel_size,) * 3 if isinstance(voxel_size, Real) else tuple(voxel_size)
        good = len(edges) == 3 and all(SMALLEST_VOXEL <= v <= LARGEST_VOXEL for v in edges)
    except TypeError:  # not a number, or not of numbers
        good = False
    if not good or isinstance(voxel_size, bool):
        raise UsageError(f"voxel size must be one or three numbers > 0 Å, got {voxel_size!r}")
    return tuple(float(v) for v in edges)


def snap(pixels):
    """`pixels`, or the nearest integer where that is within 1e-4 px."""
    nearest = round(pixels)
    return float(nearest) if abs(pixels - nearest) <= SNAP else float(pixels)


def is_isotropic(voxel_size):
    """True where the voxel edges (z, y, x) in Å differ by at most 0.1 %."""
    return max(voxel_size) <= min(voxel_size) * (1 + ISOTROPY)


def pixel_edge(voxel_size):
    """The edge in Å that one *pixel* of distance stands for: the mean edge, or the smallest where voxels are
    anisotropic (distances are then measured in units of it, see :func:`sampling`)."""
    return sum(voxel_size) / 3 if is_isotropic(voxel_size) else min(voxel_size)


def sampling(voxel_size):
    """Voxel edges (z, y, x) in units of :func:`pixel_edge` for distances between anisotropic voxels, else None."""
    if is_isotropic(voxel_size):
        return None
    edge = min(voxel_size)
    return tuple(v / edge for v in voxel_size)


def to_px(text, voxel_size, what="length"):
    """A length in pixels.

    Parameters
    ----------
    text : str, float or Length
        See :func:`length`.
    voxel_size : tuple of float
        Voxel edges (z, y, x) in Å.
    what : str
        Name used in the error.

    Returns
    -------
    float
        ``Å / voxel size``, never floored; a quotient within 1e-4 px of an integer is that integer. On anisotropic
        voxels the unit is the smallest voxel edge.

    Raises
    ------
    UsageError
        A non-zero length in pixels on voxels whose edges differ by more than 0.1 %.
    """
    parsed = length(text, what)
    if parsed.unit == "A":
        return snap(parsed.value / pixel_edge(voxel_size))
    if parsed.value and not is_isotropic(voxel_size):
        z, y, x = voxel_size
        raise UsageError(
            f"{what} {parsed} is in pixels, but the voxels are {x:.4g} x {y:.4g} x {z:.4g} Å (x, y, z): give it in Å"
        )
    return snap(parsed.value)


def along_axes(text, voxel_size, what="length"):
    """A length in voxels along each axis (z, y, x): what a box grows by, or how far a face is.

    Parameters
    ----------
    text, voxel_size, what
        See :func:`to_px`.

    Returns
    -------
    tuple of float
        ``Å / voxel edge`` of each axis, within 1e-4 of an integer that integer; in pixels as many voxels of each axis,
        on anisotropic voxels too, where such a length is another in Å along each.

    Raises
    ------
    UsageError
        Not a finite number, or an unknown unit.
    """
    parsed = length(text, what)
    steps = (parsed.value,) * 3
    return tuple(map(snap, angstrom_to_corner_px(steps, voxel_size) if parsed.unit == "A" else steps))


def to_angstrom(pixels, voxel_size):
    """Pixels of distance as Å."""
    return pixels * pixel_edge(voxel_size)


def both(pixels, voxel_size):
    """A length as people read it: ``5 px = 7.0 Å``; on anisotropic voxels ``7.0 Å``."""
    text = f"{to_angstrom(pixels, voxel_size):.1f} Å"
    return f"{plain(round(pixels, 2))} px = {text}" if is_isotropic(voxel_size) else text


def volume_angstrom3(voxels, voxel_size):
    """A number of voxels (may be fractional) as Å³."""
    return float(voxels) * math.prod(voxel_size)


def voxels_in(volume, voxel_size):
    """Å³ as a number of voxels; within 1e-6 of a whole number it is that number, since headers hold float32 cells."""
    voxels = volume / math.prod(voxel_size)
    return float(round(voxels)) if abs(voxels - round(voxels)) <= 1e-6 * voxels else voxels


def mass_kda(volume):
    """Mass in kDa of `volume` Å³ of protein, 0.81 Da/Å³."""
    return volume * DALTON_PER_ANGSTROM3 / 1000


def angstrom3_of_kda(mass):
    """Volume in Å³ of `mass` kDa of protein, 0.81 Da/Å³."""
    return mass * 1000 / DALTON_PER_ANGSTROM3


def minimum_soft_edge_px(resolution, voxel_size):
    """The field's rule for the narrowest soft edge: ``5 · resolution / voxel size``, px (CryoSPARC's guide)."""
    return snap(5 * resolution / pixel_edge(voxel_size))


def nyquist_resolution(voxel_size):
    """The finest resolution in Å that all three axes hold: two of the largest voxel edge."""
    return 2 * max(voxel_edges(voxel_size))


def shell_frequency_step(shape, voxel_size):
    """Bin width in 1/Å of resolution shells: 1 / (longest box edge in Å)."""
    return 1 / max(n * v for n, v in zip(shape, voxel_size, strict=True))


def corner_px_to_angstrom(position, voxel_size, origin=(0.0, 0.0, 0.0)):
    """Corner-origin pixels (z, y, x; CryoSPARC) as Å in the header's frame (ChimeraX)."""
    return tuple(p * v + o for p, v, o in zip(position, voxel_size, origin, strict=True))


def angstrom_to_corner_px(position, voxel_size, origin=(0.0, 0.0, 0.0)):
    """Å in the header's frame (z, y, x; ChimeraX) as corner-origin pixels (CryoSPARC)."""
    return tuple((p - o) / v for p, v, o in zip(position, voxel_size, origin, strict=True))


def corner_px_to_centre_px(position, shape):
    """Corner-origin pixels (z, y, x; CryoSPARC) as pixels from the box centre ``n // 2`` (RELION)."""
    return tuple(p - n // 2 for p, n in zip(position, shape, strict=True))


def centre_px_to_corner_px(position, shape):
    """Pixels from the box centre ``n // 2`` (z, y, x; RELION) as corner-origin pixels (CryoSPARC)."""
    return tuple(p + n // 2 for p, n in zip(position, shape, strict=True))


def xyz(triple):
    """A (z, y, x) tuple as the [x, y, z] list that text and JSON hold."""
    return list(triple)[::-1]


def by(triple, form=""):
    """(z, y, x) numbers as ``x x y x z`` text."""
    return " x ".join(format(n, form) for n in xyz(triple))


def of_bytes(size):
    """A number of bytes as text, in the decimal unit that suits it."""
    unit, scale = next((u, s) for u, s in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1)) if size >= s or s == 1)
    return f"{size / scale:.3g} {unit}"


def plain(value):
    """A float without a needless ``.0`` or exponent, that parses back to itself."""
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
