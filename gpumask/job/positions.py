"""The point that a local refinement turns about, from a mask."""

import numpy as np

from gpumask import backend, grids, interpolation, io, mask, positions, thresholds, units
from gpumask.errors import InputRefused, UsageError
from gpumask.job import devices, inputs

KINDS = ("mask", "box", "interface", "at")
INSIDE = 0.5  # a mask covers the voxels where it reaches this


def fulcrum(path, *, of=None, at=None, map_path=None, level=None, device=None, voxel_size=None, nan_to=None):
    """The fulcrum of a mask in every frame.

    Parameters
    ----------
    path : str or Path
        The mask; any map will do for the box centre and for a given point.
    of : str, optional
        ``mask``: its centre of mass (default) · ``box``: the box centre ``n // 2`` · ``interface``: where the map
        inside joins the rest of it, see :func:`gpumask.positions.interface` (default with a map).
    at : str, optional
        The point itself, instead: see :func:`gpumask.positions.point`.
    map_path : str or Path, optional
        The map on the grid of the mask, for the interface.
    level : str or float, optional
        What of the map is density: a number, ``0.2max``, ``3sigma``.
    device : str, optional
        See :func:`gpumask.backend.choose`.
    voxel_size, nan_to
        See :func:`gpumask.read`; for every file.

    Returns
    -------
    dict
        What ``gpumask fulcrum --json`` prints: ``text`` as CryoSPARC takes it, the frames of
        :func:`gpumask.positions.frames`, the mask's value there; triples are x, y, z.
    """
    of = _kind(of, at, map_path, level)
    device, reason = backend.choose(device)
    reading = {"voxel_size": voxel_size, "nan_to": nan_to}
    volume, notes = inputs.read_mask(path, reading) if of in ("mask", "interface") else io.load(path, **reading)
    more = {}
    if of == "interface" and float(volume.data.max()) < INSIDE:
        raise InputRefused(
            f"{path}: is not a mask: its values end at {float(volume.data.max()):.4g} and none reaches {INSIDE}; make "
            "one with gpumask create"
        )
    if of == "mask":
        found = mask.centre_of_mass(volume.data)
    elif of == "box":
        found = tuple(float(n // 2) for n in volume.shape)
    elif of == "at":
        found = positions.point(at, volume)
    else:
        density, further = io.load(map_path, **reading)
        note = inputs.check_grid(map_path, density, path, volume)
        notes = [*notes, *further, *([note] if note else []), *_places(path, volume, map_path, density)]

        def work(device):
            with backend.current(device):
                data = backend.place_array(density.data, device)
                threshold = thresholds.level(data, str(level), density.voxel_size).value
                inside = backend.place_array(volume.data, device) >= INSIDE
                return positions.interface(inside, mask.threshold(data, threshold)), threshold

        try:
            ((found, voxels, contacts), threshold), device, steps_down = devices.run(work, device, reason)
        except InputRefused as error:
            raise InputRefused(f"{path}, {map_path}: {error}") from error
        notes += steps_down
        more = {"map": str(map_path), "level": threshold, "interface_voxels": voxels, "contacts": contacts}
        if contacts > 1:
            notes.append(f"the mask and the rest of the map touch in {contacts} places; the point lies between them")
    if not positions.in_box(found, volume.shape):
        notes.append(f"the point {positions.as_text(found)} px lies outside the box of {units.by(volume.shape)} voxels")
    return {
        "path": str(path),
        "of": of,
        "text": positions.as_text(found),
        **positions.frames(found, volume),
        "value": float(interpolation.trilinear(volume.data, [np.array([p]) for p in found])[0, 0, 0]),
        **more,
        "box": units.xyz(volume.shape),
        "voxel_size_angstrom": units.xyz(volume.voxel_size),
        "origin_angstrom": units.xyz(volume.origin),
        "device": device,
        "device_reason": reason,
        "warnings": notes,
    }


def _kind(of, at, map_path, level):
    """What is asked for; options that do not go together are refused."""
    if at is not None:
        if of is not None or map_path is not None or level is not None:
            raise UsageError("--at is the point itself: give it without --of, --map and --level")
        return "at"
    of = of or ("mask" if map_path is None else "interface")
    if of not in KINDS[:-1]:
        raise UsageError(f"a fulcrum is of {', '.join(KINDS[:-1])}, got {of!r}")
    if of == "interface" and (map_path is None or level is None):
        raise UsageError("the interface needs --map and --level: what of the map is density")
    if of != "interface" and (map_path is not None or level is not None):
        raise UsageError(f"--map and --level are for the interface, not for the {of} centre; leave them out")
    return of


def _places(path, volume, map_path, density):
    """A note where headers put two files of one box at different places."""
    found = grids.compare(str(path), volume, str(map_path), density)
    return [f"{text}; their voxels are taken as they are" for text in found.differences if text.startswith("place")]
