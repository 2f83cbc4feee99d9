"""What a file is, and what it measures where it is a mask."""

from gpumask import backend, io, mask, regions, units
from gpumask.errors import InputRefused
from gpumask.job.spectra import shell_at
from gpumask.spectrum import mask_spectrum


def inspect(path, *, resolution=None, device=None, voxel_size=None, nan_to=None):
    """Header and statistics of a file, and what it measures where it is a mask; computed on `device`.

    Parameters
    ----------
    path : str or Path
    resolution : float or str, optional
        What the edge of a mask is judged for, Å or ``"3.5A"``.
    device : str, optional
        See :func:`gpumask.backend.choose`.
    voxel_size, nan_to
        See :func:`gpumask.read`.

    Returns
    -------
    dict
        What ``gpumask inspect --json`` prints; triples are x, y, z.
    """
    target = None if resolution is None else units.angstrom(resolution)
    device, reason = backend.choose(device)
    volume, notes = io.load(path, voxel_size=voxel_size, nan_to=nan_to)
    with backend.current(device):
        return _inspected(path, backend.place(volume, device), target, notes, device, reason)


def _inspected(path, volume, target, notes, device, reason):
    low, high, mean, deviation = backend.of(volume.data).statistics(volume.data)
    document = {
        "path": str(path),
        "box": units.xyz(volume.shape),
        "voxel_size_angstrom": units.xyz(volume.voxel_size),
        "origin_angstrom": units.xyz(volume.origin),
        "nstart": units.xyz(volume.header.nstart),
        "mode": volume.header.mode,
        "labels": list(volume.header.labels),
        "is_mask": mask.is_mask(low, high),
        "min": low,
        "max": high,
        "mean": mean,
        "standard_deviation": deviation,
        "device": device,
        "device_reason": reason,
        "warnings": notes,
    }
    if document["is_mask"]:
        document |= _measures(volume, target)
    elif target is not None:
        raise InputRefused(
            f"{path}: has values from {low:.6g} to {high:.6g}, a mask has 0 to 1: there is no edge to judge at "
            f"{target:g} Å; leave the resolution out"
        )
    return document


def _measures(volume, target):
    data = volume.data
    size = units.volume_angstrom3(float(data.sum(dtype="float64")), volume.voxel_size)
    centre = mask.centre_of_mass(data)
    box = regions.bounding_box(data > 0)
    edge = mask.equivalent_edge(data, units.sampling(volume.voxel_size))
    minimum = None if target is None else units.minimum_soft_edge_px(target, volume.voxel_size)
    return {
        "volume_angstrom3": size,
        "mass_kda": units.mass_kda(size),
        "centre_px": units.xyz(centre),
        "centre_angstrom": units.xyz(units.corner_px_to_angstrom(centre, volume.voxel_size, volume.origin)),
        "bounding_box_px": [units.xyz(s.start for s in box), units.xyz(s.stop for s in box)],
        "equivalent_edge_px": edge,
        "components": regions.component_count(data >= 0.5),
        "faces_touched": mask.faces_touched(data),
        "binary": bool(((data == 0) | (data == 1)).all()),
        "resolution": target,
        "minimum_soft_edge_px": minimum,
        "power_db": None if target is None else shell_at(mask_spectrum(volume, target), target)["power_db"],
        "verdict": mask.verdict(edge, minimum),
    }
