"""Segger's files: what is read of a real one, of made ones, and what is refused."""

import sys
from io import BytesIO

import numpy as np
import pytest

import gpumask as gm
from gpumask import segger
from gpumask.errors import InputRefused, MissingExtra
from gpumask.volume import Header

h5py = pytest.importorskip("h5py", reason="the extra `segger` is not installed")

SHAPE, VOXEL, ORIGIN = (6, 7, 8), (2.0, 2.0, 2.0), (-8.0, -6.0, -4.0)
LABELS = np.zeros(SHAPE, np.uint32)
LABELS[2, 3, 1:4], LABELS[2, 3, 4:6], LABELS[4, 1, 1] = 1, 2, 3
TREE = {1: 7, 2: 7, 3: 0, 7: 0}
SMOOTHING = {1: 0.0, 2: 0.0, 3: 0.0, 7: 2.0}
PLACE = np.array([[2, 0, 0, -4], [0, 2, 0, -6], [0, 0, 2, -8]], np.float32)  # x, y, z


def volume(**changes):
    data = np.where(LABELS > 0, np.float32(1), np.float32(0.25))
    return gm.Volume(data, VOXEL, Header(origin=ORIGIN)).with_data(data, **changes)


def made(labels=LABELS, tree=TREE, attributes=None, leave=(), names=None, smoothing=SMOOTHING, kind=np.int32):
    """The bytes of such a file."""
    facts = {"format": b"segger", "format_version": 2, "map_size": SHAPE[::-1], "map_level": 0.5,
             "map_path": b"/maps/it.mrc", "ijk_to_xyz_transform": PLACE}  # fmt: skip
    held = {
        "mask": labels,
        "region_ids": np.array(list(tree), kind),
        "parent_ids": np.array(list(tree.values()), kind),
        "smoothing_levels": np.array([smoothing.get(n, 0.0) for n in tree], np.float32),
    }
    stream = BytesIO()
    with h5py.File(stream, "w") as file:
        for name, value in (facts | (attributes or {})).items():
            if value is not None:
                file.attrs[name] = value
        for name, value in held.items():
            if name not in leave:
                file[name] = value
        if names:
            group = file.create_group("Segment name string")
            group.attrs["attribute_name"] = b"Segment name"
            group["ids"], group["values"] = np.array(list(names), np.uint32), np.array(list(names.values()), "S20")
    return stream.getvalue()


def read(data, given=None):
    return segger.read(data, "it.seg", volume() if given is None else given, "it.mrc")


def test_the_real_file_is_read_whole(data):
    given = gm.read(data / "maps" / "emd_1832.map.gz")
    found, notes = segger.read((data / "segger" / "emd_1832.seg").read_bytes(), "emd_1832.seg", given)
    assert notes == []
    assert len(found.leaves) == 28
    assert len(found.leaves) + len(found.groups) == 45
    assert np.array_equal(found.labels.data > 0, given.data >= np.float32(0.42))
    assert found.leaves.voxels.sum() == 5910
    assert sorted(found.state.top) == [85, 93, 97, 101, 103, 104]
    names = {region.number: region.name for region in found.regions}
    assert names[85] == "GINS + Cdc45"
    assert names[103] == "DNA replication licensing factor MCM6"
    assert {group.number: (group.children, group.smoothing) for group in found.groups}[70] == ((15, 25), 1.0)
    assert found.facts["level"] == 0.42
    with h5py.File(data / "segger" / "emd_1832.seg") as file:  # the maxima that the file itself names
        pairs = zip(file["region_ids"][()].tolist(), file["ref_points"][()].tolist(), strict=True)
    points = {number: tuple(map(int, point[::-1])) for number, point in pairs}
    assert [tuple(peak) for peak in found.leaves.peak.tolist()] == [points[n] for n in range(1, 29)]


def test_the_tree_is_walked_as_in_segger(data):
    given = gm.read(data / "maps" / "emd_1832.map.gz")
    found, _ = segger.read((data / "segger" / "emd_1832.seg").read_bytes(), "emd_1832.seg", given)
    sizes = [sorted(found.state.top)]
    while found._widest():
        found = found.ungroup()
        sizes.append(sorted(found.state.top))
    # 85 was made at 4 px, 78 and 79 at 2, 70 and 73 at 1
    assert sizes == [
        [85, 93, 97, 101, 103, 104],
        [78, 79, 93, 97, 101, 103, 104],
        [8, 9, 11, 21, 24, 28, 70, 73, 93, 97, 101, 103, 104],
        [8, 9, 11, 12, 15, 21, 24, 25, 26, 28, 93, 97, 101, 103, 104],
    ]


def test_made_files_are_read():
    found, notes = read(made(names={7: b"head", 3: b"tail"}))
    assert notes == []
    assert np.array_equal(found.labels.data, LABELS)
    assert found.labels.data.dtype == np.int32
    assert [(r.number, r.name, r.voxels, r.leaves, r.smoothing) for r in found.regions] == [
        (7, "head", 5, (1, 2), 2.0),
        (3, "tail", 1, (3,), 0.0),
    ]
    assert (found.facts["segger_map_path"], found.facts["level"]) == ("/maps/it.mrc", 0.5)


def test_numbers_with_gaps_are_told():
    found, notes = read(made(LABELS * 10, {10: 70, 20: 70, 30: 0, 70: 0}, names={70: b"head"}))
    assert notes == ["it.seg: its numbers 10, 20, 30 are 1 to 3 now, in their order; those of groups, 70, are 4"]
    assert [(r.number, r.name) for r in found.regions] == [(4, "head"), (3, None)]


def test_regions_without_voxels_are_left_out():
    found, notes = read(made(tree=TREE | {5: 8, 6: 8, 8: 0}))
    assert sorted(found.state.top) == [3, 7]
    assert notes == []


def test_smoothing_and_place_may_be_missing():
    found, notes = read(made(leave=["smoothing_levels"], attributes={"ijk_to_xyz_transform": None, "map_level": None}))
    assert notes == []
    assert (found.groups[0].smoothing, found.facts["level"]) == (0.0, None)


def test_another_place_is_told():
    moved = PLACE.copy()
    moved[:, 3] = (0, -6, -8)
    _, notes = read(made(attributes={"ijk_to_xyz_transform": moved}))
    assert len(notes) == 1
    assert "2 x 0 x 0 voxels" in notes[0]
    assert "it.mrc" in notes[0]


def test_a_turned_grid_is_told():
    turned = PLACE.copy()
    turned[0, 1] = 0.5
    _, notes = read(made(attributes={"ijk_to_xyz_transform": turned}))
    assert notes == ["it.seg: says its grid is turned or sheared; the voxels are taken as they are"]


def test_names_are_one_printable_line():
    found, _ = read(made(names={7: b"he\x1b[31mad\n\x07s", 3: b"tail"}))
    assert found.regions[0].name == "he[31mad s"


def test_another_map_is_told():
    _, notes = read(made(), volume().with_data(np.where(LABELS == 2, np.float32(0.25), volume().data)))
    assert len(notes) == 1
    assert "2 of its 6 voxels are below its level 0.5" in notes[0]


@pytest.mark.parametrize(("data", "text"), [
    (b"", "cannot be read"),
    (b"MAP " * 1000, "cannot be read"),
    (made()[:2000], "cannot be read"),
    (made(attributes={"format": b"other"}), "format 'other'"),
    (made(attributes={"format": None}), "format 'none'"),
    (made(leave=["mask"]), "no mask"),
    (made(leave=["region_ids"]), "cannot be read"),
    (made(LABELS.astype(float)), "float64"),
    (made(LABELS[1:]), "8 x 7 x 5 voxels, it.mrc has 8 x 7 x 6"),
    (made(attributes={"ijk_to_xyz_transform": PLACE * 1.5}), "voxel sizes differ"),
    (made(tree={1: 0, 2: 0}), "regions 3 are used and not listed"),
    (made(tree={1: 9, 2: 0, 3: 0}), "regions 9 are used and not listed"),
    (made(tree={1: 7, 2: 7, 3: 0, 7: 8, 8: 7}), "no tree"),
    (made(tree={1: 2, 2: 0, 3: 0}), "voxels of its own"),
    (made(LABELS * 0), "no region"),
    (made(smoothing={7: np.nan}), "smoothing_levels"),
    (made(smoothing={7: np.inf}), "smoothing_levels"),
    (made(smoothing={7: -3.0}), "smoothing_levels"),
    (made(attributes={"map_level": np.nan}), "map_level is nan"),
    (made(attributes={"map_level": np.inf}), "map_level is inf"),
    (made(kind=np.float32), "region_ids are float32"),
])  # fmt: skip
def test_what_cannot_be_used_is_refused_in_one_line(data, text):
    with pytest.raises(InputRefused, match=text) as caught:
        read(data)
    assert "it.seg" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_h5py_the_extra_is_named(monkeypatch):
    data = made()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"gpumask\[segger\]"):
        read(data)
