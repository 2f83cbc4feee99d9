"""Files of regions: a Segmentation as a JSON document, and such documents checked before they are used."""

import math
from numbers import Real

import numpy
from scipy import ndimage

from gpumask import region_tree, units, watershed
from gpumask.errors import InputRefused, UsageError

FORMAT, VERSION = "gpumask regions", 1
HIGHEST = 1 << 24  # number of a region: label maps are read as float32, which holds whole numbers up to here
COLUMNS = {"voxels": (), "total": (), "highest": (), "peak": (3,), "centre": (3,), "low": (3,), "high": (3,)}
BROKEN = KeyError, TypeError, ValueError, OverflowError, AttributeError  # what nonsense in a document ends in


def document(segmentation):
    """All of a Segmentation but its label map, for JSON; triples are x, y, z."""
    leaves = {name: getattr(segmentation.leaves, name) for name in COLUMNS}
    return {
        "format": FORMAT,
        "version": VERSION,
        "box": units.xyz(segmentation.labels.shape),
        "voxel_size_angstrom": units.xyz(segmentation.labels.voxel_size),
        "facts": segmentation.facts,
        "leaves": {name: (v[:, ::-1] if v.ndim == 2 else v).tolist() for name, v in leaves.items()},
        "contacts": segmentation.contacts.tolist(),
        "groups": [{**group._asdict(), "children": list(group.children)} for group in segmentation.groups],
        "operations": list(segmentation.operations),
        "done": segmentation.done,
    }


def fields(values, labels):
    """The fields of a Segmentation from a document and its label map, a Volume.

    Raises
    ------
    InputRefused
        Not such a document, or one that does not fit the label map or itself; the text says what is wrong.
    """
    try:
        return _fields(values, labels)
    except BROKEN as error:
        if isinstance(error, InputRefused):
            raise
        text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputRefused(f"not a file of regions that can be used: {text}") from error


def whole(data):
    """Labels (numpy) as int32; refused (InputRefused) where they are not whole numbers >= 0 that float32 holds."""
    low, high = float(data.min()), float(data.max())
    if low < 0 or high > HIGHEST or not (data == numpy.floor(data)).all():
        raise InputRefused(
            f"a label map holds whole numbers from 0 to {HIGHEST}, this one has values from {low:.6g} to {high:.6g}"
            + ("" if low < 0 or high > HIGHEST else ", not all whole")
        )
    return data.astype(numpy.int32)


def _fields(values, labels):
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise InputRefused("not a file of regions; gpumask segment makes one")
    if isinstance(values["version"], bool) or values["version"] != VERSION:
        raise InputRefused(f"regions of version {values['version']!r:.20}; this gpumask reads version {VERSION}")
    if values["box"] != units.xyz(labels.shape):
        raise InputRefused(f"regions of a box {values['box']!r:.60}, the label map has {units.xyz(labels.shape)}")
    data = whole(labels.data)
    count = len(values["leaves"]["voxels"])
    if not 0 < count <= HIGHEST:
        raise InputRefused(f"a file of {count} regions")
    voxels = numpy.bincount(data.reshape(-1))[1:]
    columns = {name: _column(name, values["leaves"][name], count, labels.shape) for name in COLUMNS}
    if not numpy.array_equal(voxels, columns["voxels"]) or not voxels.all():
        raise InputRefused("the label map has other regions than the file says, or of other sizes")
    if not all(
        numpy.array_equal(columns[name], found) for name, found in zip(("low", "high"), _boxes(data), strict=True)
    ):
        raise InputRefused("its leaves have bounding boxes (low, high) that are not those of the label map")
    if not (columns["low"] <= columns["peak"]).all() or not (columns["peak"] < columns["high"]).all():
        raise InputRefused("its leaves have peaks outside their bounding boxes")
    contacts = numpy.array(values["contacts"])
    if contacts.size and (contacts.dtype.kind != "i" or contacts.shape[1:] != (3,)):
        raise InputRefused("its contacts are not rows of three whole numbers")
    contacts = contacts.astype(numpy.int64).reshape(-1, 3)
    if len(contacts) and not (
        contacts.min() >= 1 and contacts[:, :2].max() <= count and (contacts[:, 0] < contacts[:, 1]).all()
    ):
        raise InputRefused("its contacts name regions that are not there")
    groups = _groups(values["groups"], count)
    operations, done, facts = values["operations"], values["done"], values["facts"]
    if not (isinstance(operations, list) and all(isinstance(operation, dict) for operation in operations)):
        raise InputRefused("its operations are not a list of what was done")
    if isinstance(done, bool) or not isinstance(done, int) or not 0 <= done <= len(operations):
        raise InputRefused(f"{done!r:.20} of its {len(operations)} operations are said to be in force")
    names = facts.get("names", {})
    if not all(isinstance(text, str) for text in names.values()):
        raise InputRefused("its names are not texts")
    for name in ("gaussian_angstrom", "lowpass_angstrom"):
        if facts.get(name) is not None and not _is_number(facts[name]):
            raise InputRefused(f"its {name} is no number: {facts[name]!r:.60}")
        if facts.get(name) is not None:
            units.angstrom(facts[name], name)
    state = region_tree.start(count, groups)
    for place, operation in enumerate(operations, 1):
        try:
            state = region_tree.applied(state, operation)
        except UsageError as error:
            raise InputRefused(f"its operation {place} cannot be: {error}") from error
    return {
        "labels": labels.with_data(data),
        "leaves": watershed.Leaves(**columns),
        "contacts": contacts,
        "groups": groups,
        "operations": tuple(operations),
        "done": done,
        "facts": facts,
    }


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool)


def _boxes(labels):
    """Low and high corners (n, 3) of the regions 1…n."""
    boxes = numpy.array([[(side.start, side.stop) for side in box] for box in ndimage.find_objects(labels)])
    return boxes[..., 0], boxes[..., 1]


def _column(name, values, count, shape):
    integers = name not in ("total", "highest", "centre")
    if not isinstance(values, list):
        raise InputRefused(f"its leaves have no list of {name}")
    column = numpy.array(values)
    if column.shape != (count, *COLUMNS[name]) or column.dtype.kind not in ("i" if integers else "if"):
        raise InputRefused(f"its leaves have {name} that are not {count} numbers" + " x, y, z" * bool(COLUMNS[name]))
    if not numpy.isfinite(column).all():
        raise InputRefused(f"its leaves have {name} that are not finite")
    if not COLUMNS[name]:
        return column if integers else column.astype(float)
    column = column[:, ::-1]
    if (column < 0).any() or (column > shape).any():
        raise InputRefused(f"its leaves have {name} outside the box")
    return column if integers else column.astype(float)


def _groups(values, count):
    """Groups from JSON, refused where they are not a tree over leaves 1…count."""
    groups = []
    for value in values:
        number, children, smoothing = value["number"], value["children"], value["smoothing"]
        if isinstance(number, bool) or not isinstance(number, int) or not count < number <= HIGHEST:
            raise InputRefused(f"it has a group of number {number!r:.20}; groups have numbers above {count}")
        if not (isinstance(smoothing, Real) and 0 <= smoothing < math.inf):
            raise InputRefused(f"its group {number} has a smoothing {smoothing!r:.20}")
        groups.append(watershed.Group(number, tuple(sorted(region_tree.listed(children))), float(smoothing)))
    filled = region_tree.filled(groups, range(1, count + 1))
    if sum(len(g.children) for g in filled) != sum(len(g.children) for g in groups) or len(filled) != len(groups):
        raise InputRefused("its groups name regions that are not there")
    return tuple(groups)
