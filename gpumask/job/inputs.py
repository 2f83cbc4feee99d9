"""Files that a job reads together: half maps found by their names, masks, and what must lie on one grid."""

import json
import math
from dataclasses import replace
from pathlib import Path

from gpumask import backend, grids, io, mask, units
from gpumask.errors import InputNotFound, InputRefused, OutOfMemory, UsageError
from gpumask.recipe import loads

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
                    raise InputNotFound(
                        f"{other}: is not there, the other half of {path} by its name; name it (HALF2, in lists half2)"
                    )
                return other
    words = ", ".join(word for pair in HALVES for word in pair)
    raise UsageError(
        f"{path}: the other half map cannot be found by this name (none of {words} in it); name it (HALF2, in lists "
        "half2)"
    )


def grid(like, box, voxel_size):
    """The grid of a file, or of a box with the origin 0, as a Volume without data; None without both. And notes."""
    if like is not None and box is not None:
        raise UsageError("give like or box, not both: a file has a box of its own")
    if like is not None:
        header = io.Slabs(like, voxel_size=voxel_size)
        return grids.empty(header.shape, header.voxel_size, header.header), header.notes
    if box is None:
        return None, []
    if voxel_size is None:
        raise UsageError("a box needs a voxel size in Å; give both, or a map to be like")
    if len(box) != 3 or not all(type(n) is int for n in box):
        raise UsageError(f"box must be one or three whole numbers of voxels, got {box}")
    return grids.empty(box, voxel_size), []


def check_room(shape, bytes_per_voxel=4):
    """Refuse a box that is larger than what is free, before it is reserved page by page."""
    needed, available = bytes_per_voxel * math.prod(max(n, 0) for n in shape), backend.available_memory()
    if available is not None and needed > available:
        raise OutOfMemory(
            f"a box of {units.by(shape, 'g')} voxels needs {needed / 2**30:.1f} GiB, {available / 2**30:.1f} GiB are "
            "free; choose a smaller one"
        )


def recipe_document(path):
    """A recipe in JSON or TOML, or in the provenance JSON of what was made by it.

    Returns
    -------
    fields : dict
        Of the recipe.
    document : dict
        The JSON around it, empty for a bare recipe.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputNotFound(f"{path}: cannot be read as a recipe: {error}") from error
    if path.suffix == ".toml":
        return loads(text, "toml"), {}
    fields, document = loads(text), json.loads(text)
    return fields, document if isinstance(document.get("options"), dict) else {}


def text_options(path, options, names):
    """The options of those names from a :func:`recipe_document`, text or None; refused where they are neither."""
    for name in names:
        if not isinstance(options.get(name), str | None):
            raise UsageError(f"{path}: {name} must be text, got {options[name]!r}; correct it or leave it out")
    return {name: options.get(name) for name in names}


def triple_option(path, options, name):
    """The option of that name, [x, y, z], as (z, y, x) or None; its numbers are checked where they are used."""
    triple = options.get(name)
    if triple is not None and not isinstance(triple, list):
        what = name.removesuffix("_angstrom").replace("_", " ")
        raise UsageError(f"{path}: the {what} must be a list of three numbers, got {triple!r}")
    return triple and tuple(reversed(triple))


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
