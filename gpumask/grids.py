"""How the grids of two volumes lie to each other."""

from gpumask import backend, units
from gpumask.errors import InputRefused, UsageError
from gpumask.volume import Volume

SAME_VOXEL_ERROR, SAME_VOXEL_NOTE = 1e-2, 1e-3  # relative
LATTICE = 1e-3  # px: origins are float32, good to 1e-4 px in a box of 1000 Å


def check_same_voxel_size(name, volume, other_name, other):
    """Refuse voxel sizes that differ by more than 1 %; a note in words where they differ by more than 0.1 %, else
    None."""
    worst = max(abs(a / b - 1) for a, b in zip(volume.voxel_size, other.voxel_size, strict=True))
    if worst <= SAME_VOXEL_NOTE:
        return None
    text = (
        f"voxel sizes differ by {100 * worst:.2g} %: {name} has {units.by(volume.voxel_size, '.5g')} Å, "
        f"{other_name} {units.by(other.voxel_size, '.5g')} Å (x, y, z)"
    )
    if worst > SAME_VOXEL_ERROR:
        raise InputRefused(f"{text}; resample one of them or correct its header")
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
                "voxels; put them on one grid (create --like)"
            )
        notes.append(check_same_voxel_size(first_name, first, name, other))
    return [note for note in notes if note]


def paste(name, volume, other_name, other):
    """Lay `volume` on the grid of `other`, a map on the same lattice, by an integer shift; data is copied exactly.

    Parameters
    ----------
    name, other_name : str
        What messages call the two.
    volume, other : Volume

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
    note = check_same_voxel_size(name, volume, other_name, other)
    notes = [note] if note else []
    shift = [(a - b) / v for a, b, v in zip(volume.origin, other.origin, other.voxel_size, strict=True)]
    start = [round(s) for s in shift]
    if max(abs(s - i) for s, i in zip(shift, start, strict=True)) > LATTICE:
        raise InputRefused(
            f"{name} lies {units.by(shift, '.4g')} voxels (x, y, z) from the grid of {other_name}, not a whole number; "
            "resample it onto that grid first (ChimeraX: volume resample #a onGrid #b)"
        )
    low = [max(s, 0) for s in start]
    high = [min(s + n, m) for s, n, m in zip(start, volume.shape, other.shape, strict=True)]
    if any(a >= b for a, b in zip(low, high, strict=True)):
        raise InputRefused(
            f"{name} does not overlap the box of {other_name}: its corner is at {units.by(start)} (x, y, z)"
        )
    inside = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
    xp = backend.xp(volume.data)
    data = xp.zeros(other.shape, volume.data.dtype)
    data[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = volume.data[inside]
    lost = int(xp.count_nonzero(volume.data)) - int(xp.count_nonzero(data))
    if lost:
        notes.append(f"{lost} non-zero voxels of {name} lie outside the box of {other_name} and are cut off")
    return other.with_data(data, recipe=None), notes
