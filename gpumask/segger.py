"""Segger's files, .seg: HDF5 with the label map, the tree of regions and what they were made of (extra ``segger``)."""

import math
from io import BytesIO

import numpy

from gpumask import backend, grids, region_tree, segmentation, units, watershed
from gpumask.errors import InputRefused, MissingExtra
from gpumask.volume import Volume

NAMES = "Segment name"  # the attribute of regions that people fill in
SHIFTED = 1e-3  # voxels by which the places of a file and a map may differ; they hold float32


def read(data, name, volume, volume_name="the map"):
    """A Segmentation from Segger's file and its map.

    Parameters
    ----------
    data : bytes
        Of the file.
    name, volume_name : str
        What messages call the two.
    volume : Volume
        The map that was segmented.

    Returns
    -------
    segmentation : Segmentation
        The tree with its levels of smoothing and, in ``facts``, the names of regions and what the file says of its
        map. Regions keep their numbers where the leaves are 1…n, see :func:`gpumask.segmentation.from_labels`.
    notes : list of str
        Where file and map lie at different places, or do not seem to belong together.

    Raises
    ------
    InputRefused
        Not such a file, a damaged one, or one for another box.
    MissingExtra
        h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtra("Segger's files need h5py: pip install 'gpumask[segger]'") from error
    try:
        with h5py.File(BytesIO(data), "r") as file:
            labels, groups, facts, notes = _contents(file, name, volume, volume_name)
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputRefused):
            raise
        raise InputRefused(
            f"{name}: cannot be read as one of Segger's files ({_text(error)[:100]}); copy it again, or save it anew"
        ) from error
    try:
        made, more = segmentation.from_labels(labels, volume, groups, facts)
    except InputRefused as error:
        raise InputRefused(f"{name}: {error}") from error
    below = 0
    if facts["level"] is not None:
        outside = backend.to_numpy(volume.data) < numpy.float32(facts["level"])
        below = int((outside & (labels > 0)).sum())
    if below:
        notes.append(
            f"{name}: {below} of its {int((labels > 0).sum())} voxels are below its level {facts['level']:.6g} in "
            f"{volume_name}; is it the map that was segmented, unfiltered?"
        )
    return made, [*notes, *(f"{name}: {text}" for text in more)]


def _contents(file, name, volume, volume_name):
    """Label map (int64, z, y, x), groups, facts and notes."""
    form = _text(file.attrs.get("format", b"none"))
    if form != "segger":
        raise InputRefused(f"{name}: an HDF5 file of format {form!r:.40}, not segger")
    if "mask" not in file:
        raise InputRefused(f"{name}: has no mask, the label map of one of Segger's files; save it anew")
    box = tuple(int(n) for n in file["mask"].shape)
    if box != tuple(volume.shape):
        raise InputRefused(
            f"{name}: is for a box of {units.by(box)} voxels, {volume_name} has {units.by(volume.shape)}; give the map "
            "that was segmented"
        )
    if file["mask"].dtype.kind not in "iu":
        raise InputRefused(f"{name}: its mask holds {file['mask'].dtype}, not numbers of regions")
    notes = _place(file, name, volume, volume_name)
    labels = file["mask"][()].astype(numpy.int64)
    for key in ("region_ids", "parent_ids"):
        if file[key].dtype.kind not in "iu":
            raise InputRefused(f"{name}: its {key} are {file[key].dtype}, not numbers of regions")
    numbers, parents = (file[key][()].astype(numpy.int64).tolist() for key in ("region_ids", "parent_ids"))
    if len(numbers) != len(parents):
        raise InputRefused(f"{name}: has {len(numbers)} regions and {len(parents)} parents")
    smoothing = file["smoothing_levels"][()].tolist() if "smoothing_levels" in file else [0.0] * len(numbers)
    if not all(0 <= level < math.inf for level in smoothing):
        raise InputRefused(f"{name}: its smoothing_levels are not all finite and >= 0; the file is damaged")
    unknown = sorted((set(numpy.unique(labels).tolist()) | set(parents)) - {0} - set(numbers))
    if unknown:
        raise InputRefused(f"{name}: regions {region_tree.told(unknown)} are used and not listed; the file is damaged")
    members = {}
    for number, parent in zip(numbers, parents, strict=True):
        if parent:
            members.setdefault(parent, []).append(number)
    levels = dict(zip(numbers, smoothing, strict=True))
    groups = [watershed.Group(n, tuple(sorted(inside)), float(levels[n])) for n, inside in sorted(members.items())]
    level = file.attrs.get("map_level")
    if level is not None and not math.isfinite(level):
        raise InputRefused(f"{name}: its map_level is {level}, not a finite number; the file is damaged")
    facts = {
        "style": "segger",
        "level": None if level is None else float(level),
        "segger_map_path": _text(file.attrs.get("map_path", b"")),
    }
    names = _names(file)
    return labels, groups, facts | ({"names": names} if names else {}), notes


def _place(file, name, volume, volume_name):
    """Notes where the file's grid lies elsewhere than the map's; other voxel sizes are refused."""
    transform = file.attrs.get("ijk_to_xyz_transform")
    if transform is None:
        return []
    transform = numpy.array(transform, float).reshape(3, 4)
    size = tuple(float(v) for v in transform.diagonal()[::-1])
    if not all(units.SMALLEST_VOXEL <= v <= units.LARGEST_VOXEL for v in size):
        return [f"{name}: says its voxels are {units.by(size, '.4g')} Å; those of {volume_name} are taken"]
    like = Volume(volume.data, size)
    note = grids.check_same_voxel_size(name, like, volume_name, volume, "give the map that was segmented")
    notes = [note] if note else []
    turned = numpy.abs(transform[:, :3] - numpy.diag(transform.diagonal()))
    if turned.max() > SHIFTED * min(size):
        notes.append(f"{name}: says its grid is turned or sheared; the voxels are taken as they are")
    origin = tuple(transform[:, 3][::-1].tolist())
    apart = units.angstrom_to_corner_px(origin, volume.voxel_size, volume.origin)
    if max(map(abs, apart)) > SHIFTED:
        notes.append(
            f"{name}: its origin is {units.by(apart, '.4g')} voxels (x, y, z) from that of {volume_name}; the voxels "
            "are taken as they are"
        )
    return notes


def _names(file):
    """Number of each region that has a name → the name."""
    for group in file.values():
        if _text(getattr(group, "attrs", {}).get("attribute_name", b"")) == NAMES and {"ids", "values"} <= set(group):
            return {str(int(n)): _text(v) for n, v in zip(group["ids"][()], group["values"][()], strict=True)}
    return {}


def _text(value):
    text = bytes(value).decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
