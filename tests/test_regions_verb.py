"""gpumask regions: listing, operations, exports, what is kept when something goes wrong, refusals."""

import contextlib
import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpumask as gm
from gpumask import io, job
from gpumask.cli import main
from gpumask.errors import InputRefused, UsageError
from gpumask.volume import Header

SHAPE, VOXEL, ORIGIN = (24, 26, 30), 2.0, (30.0, 20.0, 10.0)
CENTRES = ((6, 6, 6), (6, 18, 8), (16, 12, 22), (17, 16, 12))  # of leaves 1, 2, 3, 4; 3 and 4 touch
LEVEL = 0.2
FACTS = {
    *("verb", "path", "files", "actions", "undo", "redo", "box", "voxel_size_angstrom", "voxels", "volume_angstrom3"),
    *("mass_kda", "regions", "version", "warnings"),
}
OF_EXPORTS = {
    *("output", "export", "exported", "exported_voxels", "exported_volume_angstrom3", "exported_mass_kda", "crop"),
    "mode",
}
PDB = "ATOM  {:5d}  CA  GLY A{:4d}    {:8.3f}{:8.3f}{:8.3f}  1.00  0.00           C  \n"


def blobs():
    index = np.indices(SHAPE, float)
    square = [((index - np.array(c)[:, None, None, None]) ** 2).sum(axis=0) for c in CENTRES]
    heights = (1, 0.9, 0.95, 0.85)
    return sum(h * np.exp(-0.5 * d / 7.0) for h, d in zip(heights, square, strict=True)).astype(np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with map.mrc and it.regions.json of four leaves in it."""
    monkeypatch.setattr("gpumask.cli.terminal.PATIENCE", float("inf"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUMASK_DEVICE", "cpu")
    gm.write("map.mrc", gm.Volume(blobs(), VOXEL, Header(origin=ORIGIN)))
    job.segment("map.mrc", "it.regions.json", level=LEVEL, steps=0, step=None)
    return tmp_path


def run(capsys, *words, file="it.regions.json"):
    code = main(["regions", file, *map(str, words)])
    return code, *capsys.readouterr()


def done(capsys, *words, **options):
    """The document of a run that succeeds."""
    code, out, err = run(capsys, *words, "--json", **options)
    assert code == 0, err
    return json.loads(out)


def everything():
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def refused(capsys, code, text, *words, **options):
    before = everything()
    got, out, err = run(capsys, *words, **options)
    assert (got, out) == (code, ""), err
    assert text in err, err
    assert len([line for line in err.splitlines() if not line.startswith("warning")]) == 1, err
    assert everything() == before


def marked(document, mark):
    return sorted(region["number"] for region in document["regions"] if region[mark])


def numbers(document):
    return sorted(region["number"] for region in document["regions"])


def opened():
    values = json.loads(Path("it.regions.json").read_text())
    return gm.Segmentation.from_dict(values, gm.read(values["labels"]["path"]))


# listing


def test_listing_changes_nothing(folder, capsys):
    before = everything()
    listed = done(capsys)
    assert listed.keys() == FACTS
    assert (listed["files"], listed["actions"], listed["undo"], listed["redo"]) == ([], [], 0, 0)
    assert numbers(listed) == [1, 2, 3, 4]
    assert {r["number"]: r["neighbours"] for r in listed["regions"]} == {1: [], 2: [], 3: [4], 4: [3]}
    for region in listed["regions"]:
        at = [round(c) for c in region["centre_px"]]
        assert at == pytest.approx(list(CENTRES[region["number"] - 1][::-1]), abs=1)  # touching ones are cut off
    code, out, _ = run(capsys)
    assert code == 0
    assert out.startswith("4 regions: ")
    assert "0 changes can be undone, 0 redone" in out
    assert len(out.splitlines()) == 6
    assert everything() == before


def test_marks_are_listed(folder, capsys):
    run(capsys, "--select", "1", "--hide", "1")
    _, out, _ = run(capsys)
    assert next(line for line in out.splitlines() if line.split()[0] == "1").endswith("selected, hidden")
    assert "2 changes can be undone" in out


# operations


def test_a_selection_and_a_group_are_told_and_kept(folder, capsys):
    code, out, err = run(capsys, "--select", "3,4", "--group")
    assert (code, err) == (0, "")
    size = int((gm.read("it.labels.mrc").data >= 3).sum()) * VOXEL**3
    assert 1 < size * 0.81e-3 < 10  # kDa: three digits, not one
    assert out.splitlines() == [
        "select 3, 4",
        "group 3, 4 into 5",
        f"selected 1 region: {size:.0f} Å³ = {size * 0.81e-3:.3g} kDa of protein",
        "undo with: gpumask regions it.regions.json --undo 2",
        "wrote it.regions.json",
    ]
    listed = done(capsys)
    assert numbers(listed) == [1, 2, 5]
    assert marked(listed, "selected") == [5]
    assert listed["undo"] == 2


@pytest.mark.parametrize(("verb", "hidden", "selected", "left"), [
    ("hide", [1, 2], [1, 2], [1, 2, 3, 4]),
    ("only", [3, 4], [1, 2], [1, 2, 3, 4]),
    ("delete", [], [], [3, 4]),
    ("group", [], [5], [3, 4, 5]),
])  # fmt: skip
def test_each_verb_is_of_the_selection_or_of_words(folder, capsys, verb, hidden, selected, left):
    found = done(capsys, "--select", "1", "--select", "2", f"--{verb}")
    assert (marked(found, "hidden"), marked(found, "selected"), numbers(found)) == (hidden, selected, left)
    done(capsys, "--undo", 2)
    found = done(capsys, f"--{verb}", "1-2")
    picked = selected if verb == "group" else []
    assert (marked(found, "hidden"), marked(found, "selected"), numbers(found)) == (hidden, picked, left)


def test_show_and_ungroup(folder, capsys):
    done(capsys, "--hide", "all")
    assert marked(done(capsys, "--show", "1,2"), "hidden") == [3, 4]
    assert marked(done(capsys, "--show", "all"), "hidden") == []
    done(capsys, "--group", "1,2")
    found = done(capsys, "--ungroup")
    assert (numbers(found), marked(found, "selected")) == ([1, 2, 3, 4], [1, 2])


def test_selections_are_added_to_taken_from_and_inverted(folder, capsys):
    assert marked(done(capsys, "--select", "1"), "selected") == [1]
    assert marked(done(capsys, "--select", "3", "--add"), "selected") == [1, 3]
    assert marked(done(capsys, "--select", "1", "--remove"), "selected") == [3]
    assert marked(done(capsys, "--invert"), "selected") == [1, 2, 4]
    assert marked(done(capsys, "--select", "1", "--invert"), "selected") == [2, 3, 4]


def test_steps_are_done_in_their_order(folder, capsys):
    done(capsys, "--select", "1")
    done(capsys, "--hide", "2")
    found = done(
        capsys, "--export", "labels", "-o", "out.mrc", "--delete", "--invert", "--select", "3", "--undo", "--add"
    )
    assert [action["did"] for action in found["actions"]] == [
        "undo: hide 2", "select 1, 3", "select 2, 4", "delete 2, 4",
    ]  # fmt: skip
    assert numbers(found) == [1, 3]
    assert found["exported"] == [1, 3]  # nothing is selected, so what is visible


def test_undo_and_redo_go_across_calls(folder, capsys):
    for words in (["--select", "1"], ["--hide"], ["--group", "2,3"], ["--delete", "4"]):
        done(capsys, *words)
    last = opened()
    assert (last.done, sorted(last.state.top)) == (4, [1, 5])
    code, out, _ = run(capsys, "--undo")
    assert (code, out.splitlines()[0]) == (0, "undo: delete 4")
    found = done(capsys, "--undo", 3)
    assert (found["undo"], found["redo"], numbers(found)) == (0, 4, [1, 2, 3, 4])
    assert opened().state == opened()._start
    found = done(capsys, "--redo", 4)
    assert opened().state == last.state
    refused(capsys, 2, "nothing can be done again", "--redo")
    refused(capsys, 2, "only 4 operations can be undone, wanted 5", "--undo", 5)
    refused(capsys, 2, ">= 1", "--undo", 0)
    refused(capsys, 2, ">= 1", "--redo", -1)


def test_what_changes_nothing_is_told_and_not_written(folder, capsys):
    done(capsys, "--hide", "1")
    before = Path("it.regions.json").stat().st_mtime_ns
    code, out, _ = run(capsys, "--hide", "1")
    assert (code, out) == (0, "hide: nothing changes\n")
    assert Path("it.regions.json").stat().st_mtime_ns == before


def test_masks_select(folder, capsys):
    inside = np.zeros(SHAPE, np.float32)
    inside[:12, :12] = 1
    gm.write("mask.mrc", gm.Volume(inside, VOXEL, Header(origin=ORIGIN)))
    assert marked(done(capsys, "--select", "mask:mask.mrc"), "selected") == [1]
    gm.write("moved.mrc", gm.Volume(inside, VOXEL))
    found = done(capsys, "--select", "mask:moved.mrc")
    assert "place: moved.mrc begins at" in found["warnings"][0]
    gm.write("other.mrc", gm.Volume(inside[1:], VOXEL))
    refused(capsys, 3, "other.mrc", "--select", "mask:other.mrc")
    gm.write("none.mrc", gm.Volume(2 * inside, VOXEL, Header(origin=ORIGIN)))
    refused(capsys, 3, "none.mrc: has values from 0 to 2", "--select", "mask:none.mrc")
    refused(capsys, 3, "gone.mrc", "--hide", "mask:gone.mrc")


def test_models_select(folder, capsys):
    pytest.importorskip("gemmi", reason="the extra `model` is not installed")
    atoms = [[c * VOXEL + o for c, o in zip(CENTRES[i], ORIGIN, strict=True)] for i in (0, 2)]
    lines = [PDB.format(i, i, *place[::-1]) for i, place in enumerate(atoms, 1)]
    lines[1] = lines[1].replace("GLY A", "GLY B")
    Path("it.pdb").write_text("".join([*lines, "END\n"]))
    assert marked(done(capsys, "--select", "model:it.pdb:9A"), "selected") == [1, 3]
    assert marked(done(capsys, "--select", "model:it.pdb:9A:chain B"), "selected") == [3]
    assert marked(done(capsys, "--select", "model:it.pdb:chain A", "--share", 0.02), "selected") == [1]
    assert marked(done(capsys, "--select", "model:it.pdb"), "selected") == []  # 3 Å are less than half of each
    refused(capsys, 2, "radius", "--select", "model:it.pdb:wide:chain B")
    refused(capsys, 3, "gone.pdb", "--select", "model:gone.pdb")


@pytest.mark.parametrize(("share", "wanted"), [(0.2, [1, 2]), (0.9, [])])
def test_shares_count(folder, capsys, share, wanted):
    assert marked(done(capsys, "--select", "box:0,0,0:30,26,6", "--share", share), "selected") == wanted


def test_shares_count_for_verbs_too(folder, capsys):
    assert marked(done(capsys, "--hide", "box:0,0,0:30,26,6", "--share", 0.2), "hidden") == [1, 2]


def test_words_that_name_nothing_are_told(folder, capsys):
    found = done(capsys, "--select", "1", "--select", "sphere:2,2,22:2px", "--select", "hidden")
    assert found["warnings"] == ["sphere:2,2,22:2px names no region", "hidden names no region"]
    assert done(capsys, "--select", "none")["warnings"] == []


def test_without_a_selection_all_that_is_visible_is_exported(folder, capsys):
    done(capsys, "--select", "1")
    assert done(capsys, "--select", "none", "--export", "binary", "-o", "out.mrc")["exported"] == [1, 2, 3, 4]


def test_what_a_new_change_forgets_is_told(folder, capsys):
    for words in (["--select", "1"], ["--hide"], ["--hide", "2"]):
        done(capsys, *words)
    assert done(capsys, "--undo", 3)["warnings"] == []
    assert done(capsys, "--hide", "4")["warnings"] == ["3 undone changes are forgotten"]
    assert done(capsys, "--undo", "--hide", "3")["warnings"] == ["1 undone change is forgotten"]
    assert done(capsys, "--hide", "3")["warnings"] == []


def test_the_hint_takes_back_what_was_done_and_can_be_pasted(folder, capsys):
    Path("my folder").mkdir()
    for name in ("it.regions.json", "it.labels.mrc"):
        shutil.move(name, "my folder")
    file = "my folder/it.regions.json"
    _, out, _ = run(capsys, "--select", "1", "--hide", file=file)
    assert "undo with: gpumask regions 'my folder/it.regions.json' --undo 2" in out
    done(capsys, "--undo", 2, file=file)
    _, out, _ = run(capsys, "--redo", 2, file=file)
    assert "undo with: gpumask regions 'my folder/it.regions.json' --undo 2" in out
    before = Path(file).stat().st_mtime_ns
    _, out, _ = run(capsys, "--undo", "--redo", file=file)
    assert "undo with" not in out
    assert Path(file).stat().st_mtime_ns == before


def test_everything_from_python_too(folder):
    found = job.regions("it.regions.json", select=["3,4"], verb="group")
    assert numbers(found) == [1, 2, 5]
    found = job.regions("it.regions.json", undo=1, verb="hide", what="1")
    assert (numbers(found), marked(found, "hidden")) == ([1, 2, 3, 4], [1])
    with pytest.raises(UsageError, match="regions can group"):
        job.regions("it.regions.json", verb="explode")


# exports


def test_density_is_exported_on_the_full_grid_and_cropped(folder, capsys):
    found = done(capsys, "--select", "1", "--export", "density", "-o", "head.mrc")
    assert found.keys() == FACTS | OF_EXPORTS
    assert found["files"] == ["it.regions.json", "head.mrc", "head.json"]
    head, given, labels = gm.read("head.mrc"), gm.read("map.mrc"), gm.read("it.labels.mrc").data
    assert np.array_equal(head.data, np.where(labels == 1, given.data, 0))
    assert (head.origin, head.header.nstart) == (given.origin, given.header.nstart)
    done(capsys, "--export", "density", "-o", "small.mrc", "--crop")
    where = np.argwhere(labels == 1)
    low, high = where.min(axis=0) - 2, where.max(axis=0) + 3
    small = gm.read("small.mrc")
    assert np.array_equal(small.data, head.data[tuple(map(slice, np.maximum(low, 0), high))])
    assert small.origin == tuple(o + VOXEL * max(a, 0) for o, a in zip(ORIGIN, low.tolist(), strict=True))
    back, notes = gm.grids.paste("small", small, "map", given)
    assert (np.array_equal(back.data, head.data), notes) == (True, [])
    done(capsys, "--export", "density", "-o", "wide.mrc", "--crop", "7A")
    assert gm.read("wide.mrc").shape == tuple(np.minimum(high + 2, SHAPE) - np.maximum(low - 2, 0))


def test_density_is_filtered_and_unfiltered_is_not(folder, capsys):
    job.segment("map.mrc", "smooth.regions.json", level=LEVEL, gaussian="3A")
    given = gm.read("map.mrc")
    inside = gm.read("smooth.labels.mrc").data > 0
    smooth = gm.filters.gaussian(given.data, 3.0, given.voxel_size)
    for kind, wanted in (("density", smooth), ("unfiltered", given.data)):
        done(capsys, "--export", kind, "-o", f"{kind}.mrc", file="smooth.regions.json")
        assert np.array_equal(gm.read(f"{kind}.mrc").data, np.where(inside, wanted, 0))


def test_margins_in_angstrom_follow_the_voxels_of_each_axis(folder, capsys):
    gm.write("bricks.mrc", gm.Volume(blobs(), (4.0, 2.0, 1.0)))
    job.segment("bricks.mrc", level=0.5, steps=0)
    done(capsys, "--select", "4", "--export", "binary", "--crop", "4A", "-o", "a.mrc", file="bricks.regions.json")
    done(capsys, "--export", "binary", "--crop", "0px", "-o", "tight.mrc", file="bricks.regions.json")
    assert np.subtract(gm.read("a.mrc").shape, gm.read("tight.mrc").shape).tolist() == [2, 4, 8]


def test_exports_sum_to_the_density_above_the_level(folder, capsys):
    total = 0
    for number in (1, 2, 3, 4):
        done(capsys, "--select", number, "--export", "density", "-o", f"{number}.mrc")
        total = total + gm.read(f"{number}.mrc").data
    array = gm.read("map.mrc").data
    assert np.array_equal(total, np.where(array >= np.float32(LEVEL), array, 0))


def test_labels_and_binary_bases(folder, capsys):
    done(capsys, "--group", "3,4")
    labels = gm.read("it.labels.mrc").data
    wanted = np.select([labels == 2, labels >= 3], [2, 5])
    found = done(capsys, "--select", "2,5", "--export", "labels", "-o", "labels.mrc")
    exported = gm.read("labels.mrc")
    assert np.array_equal(exported.data, wanted)
    assert (exported.header.mode, found["mode"]) == (6, "labels")
    found = done(capsys, "--export", "labels", "-o", "sequential.mrc", "--sequential")
    assert np.array_equal(gm.read("sequential.mrc").data, np.select([wanted == 2, wanted == 5], [1, 2]))
    assert json.loads(Path("sequential.json").read_text())["sequential"] == {"1": 2, "2": 5}
    done(capsys, "--export", "binary", "-o", "base.mrc")
    assert np.array_equal(gm.read("base.mrc").data, wanted > 0)
    again = job.segment("map.mrc", "again.regions.json", source="labels.mrc")
    assert [r["voxels"] for r in again["regions"]] == sorted([(wanted == 5).sum(), (wanted == 2).sum()], reverse=True)


def test_what_is_hidden_is_not_exported_unless_selected(folder, capsys):
    found = done(capsys, "--hide", "1,2", "--export", "binary", "-o", "rest.mrc")
    assert found["exported"] == [3, 4]
    found = done(capsys, "--select", "hidden", "--export", "binary", "-o", "head.mrc")
    assert found["exported"] == [1, 2]
    both = gm.read("rest.mrc").data + gm.read("head.mrc").data
    assert np.array_equal(both, gm.read("it.labels.mrc").data > 0)


def test_many_numbers_are_stored_as_float32(folder, capsys, monkeypatch):
    monkeypatch.setattr(job.segmentation, "LABEL_BITS", 4)
    assert done(capsys, "--export", "labels", "-o", "out.mrc")["mode"] == "float32"
    assert np.array_equal(gm.read("out.mrc").data, gm.read("it.labels.mrc").data)


def test_provenance_says_what_was_exported(folder, capsys):
    found = done(capsys, "--select", "1", "--export", "density", "-o", "head.mrc", "--crop")
    document = json.loads(Path("head.json").read_text())
    assert document["input"] == {
        "path": "it.regions.json",
        "labels": {"path": "it.labels.mrc", "sha256": io.sha256("it.labels.mrc")},
        "operations": [{"do": "select", "regions": [1]}],
    }
    assert document["map"] == {"path": "map.mrc", "sha256": io.sha256("map.mrc")}
    how = {
        "level": float(np.float32(LEVEL)),
        "threshold": str(LEVEL),
        "gaussian_angstrom": None,
        "style": "gpumask",
        "steps": 0,
    }
    assert document["segmentation"] | how == document["segmentation"]
    assert document["segmentation"]["source"] is None
    done(capsys, "--hide", "2")
    done(capsys, "--undo", "--export", "binary", "-o", "base.mrc")
    other = json.loads(Path("base.json").read_text())
    assert [other[key] for key in ("map", "segmentation", "input")] == [
        document[key]
        for key in ("map", "segmentation", "input")  # with the operations that are in force
    ]
    assert {key: document[key] for key in OF_EXPORTS} == {key: found[key] for key in OF_EXPORTS}
    assert document["origin_angstrom"] == pytest.approx(list(gm.read("head.mrc").origin[::-1]))
    label = gm.read("head.mrc").header.labels[-1]
    assert label == f"gpumask {gm.__version__} regions density, 1"


def test_an_export_makes_a_mask(folder, capsys):
    done(capsys, "--select", "1", "--export", "binary", "-o", "base.mrc")
    assert main(["create", "base.mrc", "-o", "mask.mrc", "--threshold", "0.5", "--soft-edge", "6A"]) == 0
    assert gm.read("mask.mrc").data.max() == 1


def test_figures_are_drawn(folder, capsys):
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    assert done(capsys, "--hide", "1", "--plot", "it.png")["files"] == ["it.regions.json", "it.png"]
    assert Path("it.png").read_bytes().startswith(b"\x89PNG")
    refused(capsys, 3, "already there", "--plot", "it.png")


def test_a_map_that_has_moved_is_found_or_named(folder, capsys):
    Path("sub").mkdir()
    for name in ("it.regions.json", "it.labels.mrc", "map.mrc"):
        shutil.move(name, "sub")
    done(capsys, "--export", "density", "-o", "a.mrc", file="sub/it.regions.json")
    shutil.move("sub/map.mrc", "sub/other.mrc")
    refused(capsys, 3, "give it with --map", "--export", "density", "-o", "b.mrc", file="sub/it.regions.json")
    done(capsys, "--export", "density", "-o", "b.mrc", "--map", "sub/other.mrc", file="sub/it.regions.json")
    assert np.array_equal(gm.read("a.mrc").data, gm.read("b.mrc").data)


def test_the_right_map_is_found_from_any_folder(folder, capsys, monkeypatch):
    """Beside the file of regions, although the current folder has another map of this name."""
    Path("other").mkdir()
    gm.write("other/map.mrc", gm.Volume(blobs()[::-1].copy(), VOXEL, Header(origin=ORIGIN)))
    Path("made").mkdir()
    job.segment("map.mrc", "made/far.regions.json", level=LEVEL)
    assert json.loads(Path("made/far.regions.json").read_text())["facts"]["map"]["path"] == "../map.mrc"
    monkeypatch.chdir("other")
    wanted = gm.read("../map.mrc").data
    for file in ("../it.regions.json", "../made/far.regions.json"):
        done(capsys, "--export", "density", "-o", "out.mrc", "--force", file=file)
        assert np.array_equal(gm.read("out.mrc").data, np.where(wanted >= np.float32(LEVEL), wanted, 0))
        assert Path(json.loads(Path("out.json").read_text())["map"]["path"]).samefile("../map.mrc")
    shutil.copy("map.mrc", "../made/map.mrc")  # beside the file, and another: known by its contents
    done(capsys, "--export", "density", "-o", "out.mrc", "--force", file="../made/far.regions.json")
    Path("../map.mrc").unlink()
    refused(capsys, 3, "made/map.mrc: is not the map that", "--export", "density", "-o", "out.mrc", "--force",
            file="../made/far.regions.json")  # fmt: skip


def test_links_lead_to_the_files(folder, capsys):
    Path("links").mkdir()
    Path("links/l.regions.json").symlink_to("../it.regions.json")
    done(capsys, "--hide", "1", "--export", "density", "-o", "out.mrc", file="links/l.regions.json")
    assert opened().state.hidden == {1}
    assert Path("links/l.regions.json").is_symlink()
    job.segment("map.mrc", "links/l.regions.json", level=0.3, overwrite=True)
    assert opened().facts["threshold"] == "0.3"
    assert [path.name for path in Path("links").iterdir()] == ["l.regions.json"]


def test_packed_files_are_listed_and_not_changed(folder, capsys):
    Path("z.regions.json.gz").write_bytes(gzip.compress(Path("it.regions.json").read_bytes()))
    assert numbers(done(capsys, file="z.regions.json.gz")) == [1, 2, 3, 4]
    refused(capsys, 2, "is packed, so that it can be listed but not changed", "--hide", "1", file="z.regions.json.gz")


def test_a_map_is_read_as_it_was(folder, capsys):
    array = blobs()
    array[0, 0, 0] = np.nan
    gm.write("plain.mrc", gm.Volume(np.nan_to_num(array), 1))
    raw = bytearray(Path("plain.mrc").read_bytes())
    raw[1024:1028] = np.float32(np.nan).tobytes()
    Path("broken.mrc").write_bytes(raw)
    job.segment("broken.mrc", level=LEVEL, nan_to=0.0, voxel_size=3.0)
    done(capsys, "--export", "density", "-o", "out.mrc", file="broken.regions.json")
    assert gm.read("out.mrc").voxel_size == (3.0, 3.0, 3.0)


# what goes wrong


def test_a_failing_write_leaves_everything(folder, capsys, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gpumask.io.os.fsync", fail)
    refused(capsys, 5, "No space left", "--hide", "1")
    refused(capsys, 5, "No space left", "--hide", "1", "--export", "binary", "-o", "out.mrc")


KILLED = """
import os, sys
from gpumask import io
from gpumask.cli import main
{}
main(["regions", "it.regions.json", "--hide", "1"])
"""


@pytest.mark.parametrize(("where", "hidden"), [
    ("os.fsync = lambda _: os._exit(9)", frozenset()),
    ("io._publish = lambda *_: os._exit(9)", frozenset()),
    ("io._sync_folder = lambda _: os._exit(9)", frozenset([1])),
])  # fmt: skip
def test_a_killed_run_leaves_the_old_state_or_the_new(folder, capsys, where, hidden):
    code = KILLED.format(where)
    environment = os.environ | {"PYTHONPATH": str(Path(gm.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60).returncode == 9
    assert opened().state.hidden == hidden
    assert marked(done(capsys, "--hide", "2"), "hidden") == sorted(hidden | {2})


def test_a_failing_rename_leaves_everything(folder, capsys, monkeypatch):
    publish = io._publish

    def fail(temporary, path, overwrite):
        if path.name == "it.regions.json":
            raise OSError(5, "Input/output error")
        publish(temporary, path, overwrite)

    monkeypatch.setattr("gpumask.io._publish", fail)
    refused(capsys, 5, "Input/output error", "--hide", "1", "--export", "binary", "-o", "out.mrc")


def test_what_another_program_did_is_not_lost(folder, capsys, monkeypatch):
    load = job.segmentation._Opened.act

    def meanwhile(self, state, word):
        monkeypatch.setattr(job.segmentation._Opened, "act", load)
        job.regions("it.regions.json", verb="delete", what="4")
        load(self, state, word)

    monkeypatch.setattr(job.segmentation._Opened, "act", meanwhile)
    code, out, err = run(capsys, "--hide", "1", "--export", "binary", "-o", "out.mrc")
    assert (code, out) == (3, "")
    assert "has been changed by another program" in err
    assert not Path("out.mrc").exists()
    assert opened().state.deleted == {4}
    assert sorted(path.name for path in Path().iterdir()) == ["it.labels.mrc", "it.regions.json", "map.mrc"]


ANOTHER = """
from gpumask import job
write = job.segmentation._Opened.write
def told(*what):
    print("writes", flush=True)
    return write(*what)
job.segmentation._Opened.write = told
job.regions("it.regions.json", verb="hide", what="2")
"""


def test_another_program_waits_while_the_file_is_replaced(folder, monkeypatch):
    """One that comes between the comparison and the renaming would believe that it had saved its change."""
    publish, others = io._publish, []
    environment = os.environ | {"PYTHONPATH": str(Path(gm.__file__).parents[1])}

    def meanwhile(*what):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
        other = subprocess.Popen([sys.executable, "-c", ANOTHER], **options)
        others.append(other)
        other.stdout.readline()
        with contextlib.suppress(subprocess.TimeoutExpired):
            other.wait(timeout=1)  # where nothing holds it, that is long enough to write
        publish(*what)

    monkeypatch.setattr(io, "_publish", meanwhile)
    job.regions("it.regions.json", verb="hide", what="1")
    (other,) = others
    _, err = other.communicate(timeout=60)
    assert opened().state.hidden == {1}
    assert "has been changed by another program" in err
    assert other.returncode == 1


def change(values, *path, value):
    for key in path[:-1]:
        values = values[key]
    values[path[-1]] = value


@pytest.mark.parametrize(("path", "value", "text"), [
    (["done"], 7, "7 of its 0 operations"),
    (["operations"], [{"do": "explode", "regions": []}], "unknown operation"),
    (["operations"], [{"do": "hide", "regions": [77]}], "operation 1 cannot be"),
    (["leaves", "voxels", 0], 1, "other regions"),
    (["leaves", "mean"], 1, None),  # what is not known is left alone
    (["labels", "path"], "../it.labels.mrc", "another folder"),
    (["labels", "path"], "gone.mrc", "gone.mrc: is not there"),
    (["labels"], None, "not a file of regions"),
    (["labels", "sha256"], "0", "truncated, changed or another's"),
    (["facts", "map"], "map.mrc", "which map"),
    (["facts", "options"], {"voxel_size_angstrom": 3}, "which map"),
    (["facts", "options"], {"voxel_size_angstrom": [1, 2]}, "it.regions.json: voxel size must be"),
    (["facts", "options"], {"voxel_size_angstrom": ["2", "2", "2"]}, "it.regions.json: voxel size must be"),
    (["facts", "options"], {"nan_to": "zero"}, "NaN was replaced by 'zero'"),
    (["facts", "options"], [1], "which map"),
    (["facts", "gaussian_angstrom"], "2A", "it.regions.json: its gaussian_angstrom is no number"),
    (["labels", "path"], "", "another folder"),
    (["labels", "path"], "..", "another folder"),
    (["labels", "path"], ".", "another folder"),
    (["labels", "path"], "x" * 300, "is not there"),
    (["labels", "path"], "a\0b", "is not there"),
    (["labels", "path"], "sub", "sub: is not there"),
    (["version"], 2, "version 2"),
])  # fmt: skip
def test_edited_documents(folder, capsys, path, value, text):
    Path("sub").mkdir()
    values = json.loads(Path("it.regions.json").read_text())
    change(values, *path, value=value)
    Path("it.regions.json").write_text(json.dumps(values))
    if text is None:
        assert numbers(done(capsys)) == [1, 2, 3, 4]
    else:
        refused(capsys, 3, text)


@pytest.mark.parametrize("named", ["", ".", "..", "x" * 300, "a\0b", "/", "sub"])
def test_names_of_maps_that_are_no_files(folder, capsys, named):
    Path("sub").mkdir()
    values = json.loads(Path("it.regions.json").read_text())
    change(values, "facts", "map", "path", value=named)
    Path("it.regions.json").write_text(json.dumps(values))
    assert numbers(done(capsys)) == [1, 2, 3, 4]
    refused(capsys, 3, "give it with --map", "--export", "density", "-o", "out.mrc")
    done(capsys, "--export", "density", "-o", "out.mrc", "--map", "map.mrc")


@pytest.mark.parametrize("spoil", [
    lambda b: b[:-20], lambda b: b"", lambda b: b"[]", lambda b: b"\xff\xfe", lambda b: b"[" * 100_000,
    lambda b: b.replace(b'"done":0', b'"done":NaN'), lambda b: b.replace(b"gpumask regions", b"something else"),
])  # fmt: skip
def test_damaged_documents(folder, capsys, spoil):
    Path("it.regions.json").write_bytes(spoil(Path("it.regions.json").read_bytes()))
    refused(capsys, 3, "it.regions.json: not a file of regions")


def test_truncated_and_foreign_label_maps(folder, capsys):
    whole = Path("it.labels.mrc").read_bytes()
    Path("it.labels.mrc").write_bytes(whole[:-100])
    refused(capsys, 3, "it.labels.mrc: is not the label map that it.regions.json was written with")
    job.segment("map.mrc", "other.regions.json", level=0.3)
    shutil.copy("other.labels.mrc", "it.labels.mrc")
    refused(capsys, 3, "another's", "--hide", "1")
    Path("it.labels.mrc").unlink()
    refused(capsys, 3, "keep the two together")


def test_another_map_is_refused(folder, capsys):
    gm.write("other.mrc", gm.Volume(blobs()[::-1].copy(), VOXEL, Header(origin=ORIGIN)))
    refused(capsys, 3, "other.mrc: is not the map that it.regions.json was made of, map.mrc",
            "--export", "density", "-o", "out.mrc", "--map", "other.mrc", "--hide", "1")  # fmt: skip


@pytest.mark.parametrize(("code", "text", "words"), [
    (2, "there is no region 99; regions are 1 to 4", ["--select", "99"]),
    (2, "regions are selected by", ["--hide", "everything"]),
    (2, "no region is selected", ["--group"]),
    (2, "two or more", ["--group", "1"]),
    (2, "no step of smoothing", ["--ungroup"]),
    (2, "give --select", ["--add"]),
    (2, "not allowed with", ["--hide", "1", "--show", "2"]),
    (2, "not allowed with", ["--select", "1", "--add", "--remove"]),
    (2, "share", ["--select", "all", "--share", "2"]),
    (2, "a kind and a name", ["--export", "density"]),
    (2, "a kind and a name", ["-o", "out.mrc"]),
    (2, "exported as density, unfiltered, labels, binary", ["--export", "mask", "-o", "out.mrc"]),
    (2, "are for exports", ["--crop"]),
    (2, "only labels are numbered", ["--export", "binary", "-o", "out.mrc", "--sequential"]),
    (2, "leave --map out", ["--map", "map.mrc"]),
    (2, "margin", ["--export", "binary", "-o", "out.mrc", "--crop", "x"]),
    (2, "margin must be >= 0", ["--export", "binary", "-o", "out.mrc", "--crop=-1px"]),
    (2, "nothing to export", ["--hide", "all", "--export", "binary", "-o", "out.mrc"]),
    (2, "nothing to export", ["--select", "sphere:2,2,22:2px", "--export", "binary", "-o", "out.mrc"]),
    (2, "nothing to export", ["--select", "all", "--invert", "--export", "density", "-o", "out.mrc"]),
    (2, "nothing to export", ["--select", "all", "--remove", "--export", "density", "-o", "out.mrc"]),
    (2, "two outputs have this name", ["--export", "binary", "-o", "out.png", "--plot", "out.png"]),
    (2, "two outputs have this name", ["--export", "binary", "-o", "out.png", "--plot", "link.png", "--force"]),
    (2, "hidden names no region", ["--show", "hidden"]),
    (2, "from the lower to the higher number", ["--select", "4-1"]),
    (2, "is an input", ["--export", "binary", "-o", "map.mrc", "--force"]),
    (2, "is an input", ["--export", "binary", "-o", "it.labels.mrc", "--force"]),
    (2, "use .mrc", ["--export", "binary", "-o", "it.regions.json", "--force"]),
    (3, "already there", ["--export", "binary", "-o", "there.mrc"]),
    (5, "is not there", ["--hide", "1", "--export", "binary", "-o", "nowhere/out.mrc"]),
])  # fmt: skip
def test_refusals_leave_everything(folder, capsys, code, text, words):
    Path("there.mrc").write_text("")
    Path("link.png").symlink_to("out.png")
    before = everything()
    got, out, err = run(capsys, *words)
    assert (got, out) == (code, ""), err
    assert text in err
    assert everything() == before


def test_a_file_that_is_none_or_not_there(folder, capsys):
    refused(capsys, 3, "map.mrc: not a file of regions", file="map.mrc")
    refused(capsys, 3, "gone.regions.json: cannot be read", file="gone.regions.json")


def test_errors_name_the_file(folder):
    with pytest.raises(InputRefused, match="map.mrc"):
        job.regions("map.mrc")
