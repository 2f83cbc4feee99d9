"""Points of a map in the frames of other programs: what a local refinement turns about.

A position is (z, y, x) in px from the corner, voxel centres being whole numbers (CryoSPARC), unless it says otherwise.
"""

from gpumask import mask, regions, units
from gpumask.errors import InputRefused, UsageError
from gpumask.recipe import parse_position

NEIGHBOURS = 3**0.5  # px: as far as the 26 neighbours of a voxel


def point(text, volume):
    """A point in words as corner-origin px (z, y, x); within 1e-4 px of whole numbers it is those.

    Parameters
    ----------
    text : str
        ``x,y,z`` or ``x,y,zpx`` from the corner (CryoSPARC), ``x,y,zA`` in Å of the header's frame (ChimeraX), or
        ``x,y,zcentre`` in px from the box centre ``n // 2`` (RELION).
    volume : Volume

    Returns
    -------
    tuple of float

    Raises
    ------
    UsageError
        Not three finite numbers, or an unknown unit.
    """
    numbers, unit = parse_position(text, "point")
    if unit == "A":
        numbers = units.angstrom_to_corner_px(numbers, volume.voxel_size, volume.origin)
    if unit == "centre":
        numbers = units.centre_px_to_corner_px(numbers, volume.shape)
    return tuple(map(units.snap, numbers))


def displacement(text, voxel_size):
    """A way to go, ``x,y,z`` in px or ``x,y,zA``, as px (z, y, x); within 1e-4 px of a whole number it is that number.

    Raises
    ------
    UsageError
        Not three finite numbers, or an unknown unit.
    """
    wanted = f"shift must be x,y,z, x,y,zpx or x,y,zA, got {text!r}"
    try:
        numbers, unit = parse_position(text, "shift")
    except UsageError as error:
        raise UsageError(wanted) from error
    if unit == "centre":
        raise UsageError(wanted)
    if unit == "A":
        numbers = units.angstrom_to_corner_px(numbers, voxel_size)
    return tuple(map(units.snap, numbers))


def interface(inside, density):
    """Where a region joins the rest of a map: the centre of mass of the voxels at the contact.

    Parameters
    ----------
    inside : array of bool, shape (z, y, x)
        The region that is kept: the mask at 0.5.
    density : array of bool
        The map at its level.

    Returns
    -------
    position : tuple of float
        Corner-origin px (z, y, x).
    voxels : int
        How many voxels are at the contact: those of the density inside with a neighbour (of 26) in the density
        outside, and those outside with one inside, so that the point of a flat cut lies on the cut.
    contacts : int
        How many connected contacts they form; the point lies between several of them.

    Raises
    ------
    InputRefused
        The region and the rest do not touch.
    """
    kept, rest = density & inside, density & ~inside
    for part, what in ((kept, "inside"), (rest, "outside")):
        if not bool(part.any()):
            raise InputRefused(f"there is no density {what} the mask at this level, so that there is no interface")
    touching = (kept & mask.dilate(rest, NEIGHBOURS)) | (rest & mask.dilate(kept, NEIGHBOURS))
    if not bool(touching.any()):
        raise InputRefused("the density inside the mask and the rest do not touch at this level; lower it")
    return mask.centre_of_mass(touching), int(touching.sum()), regions.component_count(touching)


def frames(position, volume):
    """A position in every frame; lists are x, y, z.

    Returns
    -------
    dict
        ``corner_px`` (CryoSPARC), ``centre_px`` (RELION: from ``n // 2``), ``angstrom`` (ChimeraX: the header's frame).
    """
    return {
        "corner_px": units.xyz(position),
        "centre_px": units.xyz(units.corner_px_to_centre_px(position, volume.shape)),
        "angstrom": units.xyz(units.corner_px_to_angstrom(position, volume.voxel_size, volume.origin)),
    }


def as_text(position):
    """``x,y,z`` with one decimal: what CryoSPARC takes for a fulcrum.

    Examples
    --------
    >>> as_text((180.93, 178.64, 178.21))
    '178.2,178.6,180.9'
    """
    return ",".join(f"{round(p, 1) + 0.0:.1f}" for p in units.xyz(position))


def in_box(position, shape):
    """Whether a position lies between the outermost faces of the voxels of a box."""
    return all(-0.5 <= p <= n - 0.5 for p, n in zip(position, shape, strict=True))
