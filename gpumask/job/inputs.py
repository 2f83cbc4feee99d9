"""Files that a job reads together: half maps found by their names, masks, and what must lie on one grid."""

from dataclasses import replace
from pathlib import Path

from gpumask import grids, io, mask, units
from gpumask.errors import InputNotFound, InputRefused, UsageError

HALVES = (("half1", "half2"), ("half_A", "half_B"), ("half_map_1", "half_map_2"))  # RELION, CryoSPARC, EMDB


def read_mask(path, reading):
    """A mask from a file, and notes; refused where it is none."""
    volume, notes = io.load(path, **reading)
    low, high = float(volume.data.min()), float(volume.data.max())
    if low < -mask.RANGE_SLACK or high > 1 + mask.RANGE_SLACK:
        raise InputRefused(
            f"{path}: has values from {low:.6g} to {high:.6g}, a mask has 0 to 1; make one with gpumask create"
        )
    check_varied(path, low, high)
    return volume, notes


def check_varied(path, low, high):
    """Refuse an empty mask and a mask of everything, by their least and greatest value."""
    if -mask.RANGE_SLACK <= low <= high <= 0:
        raise InputRefused(f"{path}: is an empty mask, 0 everywhere; make it anew with a lower threshold")
    if low == high and 0 < low <= 1 + mask.RANGE_SLACK:
        raise InputRefused(f"{path}: is a mask of everything, {low:g} everywhere; make it anew with a higher threshold")


def check_grid(name, volume, other_name, other):
    """Refuse another box or voxel size, naming both files; a note about a small difference, or None."""
    if tuple(volume.shape) != tuple(other.shape):
        raise InputRefused(
            f"{name}: has a box of {units.by(volume.shape)} voxels, {other_name} of {units.by(other.shape)}; "
            "they must be on one grid (gpumask resample FILE --like REF lays a file on that of REF)"
        )
    return grids.check_same_voxel_size(str(name), volume, str(other_name), other)


def other_half(path):
    """The other half map by its name, RELION's rule: ``half1`` in the name of the file, not of its folder, becomes
    ``half2``, or the other way round; so do CryoSPARC's ``half_A``, ``half_B`` and EMDB's ``half_map_1``."""
    path = Path(path)
    if not path.exists():
        raise InputNotFound(f"{path}: is not there; check the name")
    for pair in HALVES:
        for one, two in (pair, pair[::-1]):
            if one in path.name:
                other = path.with_name(path.name.replace(one, two))
                if not other.exists():
                    raise InputNotFound(f"{other}: is not there, the other half of {path} by its name; give HALF2")
                return other
    words = ", ".join(word for pair in HALVES for word in pair)
    raise UsageError(f"{path}: the other half map cannot be found by this name (none of {words} in it); give HALF2")


class Maps:
    """Half maps, and maps on their grid.

    Attributes
    ----------
    half1, half2, mask, reference : Volume or None
        All with the voxel size of the first.
    records : dict
        Of each that was given, ``path`` and ``sha256``.
    notes : list of str
    """

    def __init__(self, half1, half2=None, mask=None, reference=None, *, voxel_size=None, nan_to=None):
        half1 = Path(half1)
        half2 = other_half(half1) if half2 is None else Path(half2)
        paths = {"half1": half1, "half2": half2, "mask": mask, "reference": reference}
        self.paths = {name: Path(path) for name, path in paths.items() if path is not None}
        self.reading = {"voxel_size": voxel_size, "nan_to": nan_to}
        self.half1 = self.half2 = self.mask = self.reference = None
        self.records, self.notes = {}, []

    @property
    def names(self):
        """Both half maps, for messages."""
        return f"{self.paths['half1']}, {self.paths['half2']}"

    def read(self):
        """Read them all; refused where they cannot be used together."""
        same = self.paths["half1"].exists() and self.paths["half2"].exists()
        if same and self.paths["half1"].samefile(self.paths["half2"]):
            raise InputRefused(f"{self.names}: are one file; give the two independent half maps")
        for name, path in self.paths.items():
            volume, notes = read_mask(path, self.reading) if name == "mask" else io.load(path, **self.reading)
            self.records[name] = {"path": str(path), "sha256": io.sha256(path)}
            self.notes += notes
            if name != "half1":
                note = check_grid(path, volume, self.paths["half1"], self.half1)
                self.notes += [note] if note else []
                volume = replace(volume, voxel_size=self.half1.voxel_size)  # what is small enough for a note ends here
            setattr(self, name, volume)
        if self.records["half1"]["sha256"] == self.records["half2"]["sha256"]:
            raise InputRefused(f"{self.names}: hold the same bytes; give the two independent half maps")
        return self
