"""gpumask segment: what it writes and prints, imports, refusals."""

import gzip
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import gpumask as gm
from gpumask import io, job, watershed
from gpumask.cli import demo, main
from gpumask.volume import Header

SHAPE, VOXEL, ORIGIN = (24, 26, 30), 2.0, (30.0, 20.0, 10.0)
FACTS = {
    *("verb", "output", "files", "level", "threshold", "why", "gaussian_angstrom", "lowpass_angstrom", "steps"),
    *("step_px", "style", "warnings", "map", "source", "options", "made_by", "version", "box", "voxel_size_angstrom"),
    *("voxels", "volume_angstrom3", "mass_kda", "regions", "leaves", "device", "device_reason", "seconds"),
    *("segger_map_path", "names"),
}
REGION = {
    *("number", "name", "voxels", "volume_angstrom3", "mass_kda", "mean", "highest", "centre_px", "centre_angstrom"),
    *("bounding_box_px", "neighbours", "hidden", "selected", "leaves", "smoothing"),
}


def blobs():
    index = np.indices(SHAPE, float)
    centres = ((6, 6, 6), (6, 18, 8), (16, 12, 22), (17, 16, 12))
    square = [((index - np.array(c)[:, None, None, None]) ** 2).sum(axis=0) for c in centres]
    return sum(np.exp(-0.5 * d / 6.0) for d in square).astype(np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with map.mrc in it."""
    monkeypatch.setattr("gpumask.cli.terminal.PATIENCE", float("inf"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUMASK_DEVICE", "cpu")
    gm.write("map.mrc", gm.Volume(blobs(), VOXEL, Header(origin=ORIGIN)))
    return tmp_path


def run(capsys, *words):
    code = main(["segment", *map(str, words)])
    return code, *capsys.readouterr()


def made(capsys, *words):
    """The document of a run that succeeds, without a picture unless asked for."""
    code, out, err = run(capsys, *words, *([] if "--plot" in words else ["--no-plot"]), "--json")
    assert code == 0, err
    return json.loads(out)


def refused(capsys, code, text, *words):
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    got, out, err = run(capsys, *words)
    assert (got, out) == (code, ""), err
    assert text in err
    assert len([line for line in err.splitlines() if not line.startswith("warning")]) == 1, err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def label_map(name="map"):
    """The name of the label map that the file names."""
    return json.loads(Path(f"{name}.regions.json").read_text())["labels"]["path"]


def opened(name="map"):
    """The Segmentation that the files hold."""
    labels = gm.read(label_map(name))
    return gm.Segmentation.from_dict(json.loads(Path(f"{name}.regions.json").read_text()), labels)


def test_files_hold_what_the_library_makes(folder, capsys):
    done = made(capsys, "map.mrc", "--gaussian", "2A", "--level", 0.3, "--steps", 2, "--step", 1.5)
    wanted = gm.segment(gm.read("map.mrc"), "0.3", gaussian="2A", steps=2, step=1.5)
    found = opened()
    assert np.array_equal(found.labels.data, wanted.labels.data)
    assert (found.groups, found.regions) == (wanted.groups, wanted.regions)
    labels = gm.read("map.labels.mrc")
    assert (labels.header.mode, labels.origin, labels.voxel_size) == (6, ORIGIN, (VOXEL,) * 3)
    assert done["files"] == ["map.regions.json", "map.labels.mrc"]
    assert sorted(path.name for path in Path().iterdir()) == ["map.labels.mrc", "map.mrc", "map.regions.json"]
    assert done.keys() == FACTS
    assert all(region.keys() == REGION for region in done["regions"])
    assert found.facts["map"] == {"path": "map.mrc", "sha256": io.sha256("map.mrc")}
    assert done["leaves"] == len(found.leaves)
    first = done["regions"][0]
    assert first["centre_angstrom"] == pytest.approx(
        [c * VOXEL + o for c, o in zip(first["centre_px"], ORIGIN[::-1], strict=True)]
    )


@pytest.mark.parametrize(("words", "options"), [
    (["--lowpass", "9A"], {"lowpass": "9A"}),
    (["--style", "segger"], {"style": "segger"}),
    (["--steps", "0"], {"steps": 0}),
    ([], {}),
])  # fmt: skip
def test_every_option_does_what_the_library_does(folder, capsys, words, options):
    made(capsys, "map.mrc", "--level", "0.2max", *words, "-o", "it.regions.json")
    wanted = gm.segment(gm.read("map.mrc"), "0.2max", **options)
    found = opened("it")
    assert np.array_equal(found.labels.data, wanted.labels.data)
    assert found.groups == wanted.groups


def test_the_same_from_python(folder):
    done = job.segment("map.mrc", level=0.3, overwrite=True)
    again = job.segment(Path("map.mrc"), "map.regions.json", level="0.3", overwrite=True)
    assert done["regions"] == again["regions"]


def test_the_name_of_the_map_names_the_files(folder, capsys):
    Path("sub").mkdir()
    Path("sub/it.v2.map.gz").write_bytes(gzip.compress(Path("map.mrc").read_bytes()))
    done = made(capsys, "sub/it.v2.map.gz", "--level", 0.3)
    assert done["files"] == ["it.v2.regions.json", "it.v2.labels.mrc"]


def test_a_picture_comes_of_itself_where_it_can_be_drawn(folder, capsys, monkeypatch):
    monkeypatch.setattr("gpumask.cli.options.can_draw", lambda: False)
    code, out, err = run(capsys, "map.mrc", "--level", 0.3)
    assert (code, err) == (0, "")
    assert "picture  none: needs matplotlib" in " ".join(out.split("\n")).replace("   ", "  ")
    assert not Path("map.png").exists()
    monkeypatch.undo()
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    code, out, err = run(capsys, folder / "map.mrc", "-o", folder / "it.regions.json", "--level", 0.3)
    assert (code, err) == (0, "")
    assert (folder / "it.png").read_bytes()[:4] == b"\x89PNG"
    assert "needs matplotlib" not in out


def test_a_person_reads_the_table(folder, capsys):
    code, out, err = run(capsys, "map.mrc", "--level", 0.3, "--gaussian", "2A", "--steps", 0)
    assert (code, err) == (0, "")
    for text in ("gaussian  2 Å", "level     0.3", "4 leaves in 4 regions", "kDa of protein", "map.labels.mrc",
                 "region    Å³"):  # fmt: skip
        assert text in out
    rows = [line.split() for line in out.splitlines()[-4:]]
    sizes = [float(row[1]) for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert {int(row[0]) for row in rows} == {1, 2, 3, 4}


def test_long_tables_are_cut_and_noise_is_warned_of(folder, capsys):
    noise = np.random.default_rng(0).standard_normal((40, 40, 40)).astype(np.float32)
    gm.write("noise.mrc", gm.Volume(noise, 1))
    code, out, err = run(capsys, "noise.mrc", "--level", 0, "--steps", 0)
    count = int(watershed.label(noise, 0).max())
    assert code == 0
    assert count > job.segmentation.MANY
    assert f"… and {count - 20} more; gpumask regions noise.regions.json" in out
    assert f"warning: {count} regions" in err
    assert "smooth the map first" in err


def test_many_leaves_are_stored_as_float32(folder, capsys, monkeypatch):
    monkeypatch.setattr(job.segmentation, "LABEL_BITS", 4)
    made(capsys, "map.mrc", "--level", 0.3)
    assert gm.read("map.labels.mrc").header.mode == 2
    assert np.array_equal(opened().labels.data, gm.segment(gm.read("map.mrc"), 0.3).labels.data)


def test_a_level_in_words_is_explained(folder, capsys):
    code, out, _ = run(capsys, "map.mrc", "--level", "3sigma")
    assert code == 0
    assert "= 3sigma: mean" in out


def test_figures_are_drawn(folder, capsys):
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    assert made(capsys, "map.mrc", "--level", 0.3, "--plot")["files"][-1] == "map.png"
    assert Path("map.png").read_bytes().startswith(b"\x89PNG")
    made(capsys, "map.mrc", "--level", 0.3, "-o", "it.regions.json", "--plot", "other.svg")
    assert b"<svg" in Path("other.svg").read_bytes()[:500]
    refused(capsys, 2, "a figure is written as", "map.mrc", "--level", 0.3, "--force", "--plot", "other.txt")


def test_the_demo_prints_commands_that_can_be_pasted(folder, capsys, monkeypatch):
    particle = SimpleNamespace(half1=blobs(), half2=blobs(), voxel_size=VOXEL, masses={})
    monkeypatch.setattr("gpumask.simulation.particle", lambda box: particle)
    monkeypatch.setattr("gpumask.simulation.model_text", lambda _: "END\n")
    monkeypatch.setattr("gpumask.cli.main", lambda _: 1)
    arguments = SimpleNamespace(output="my demo", box=24, device=None, force=False)
    assert demo.run(arguments) == 1
    command = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("$"))
    assert shlex.split(command)[:4] == ["$", "gpumask", "segment", "my demo/map.mrc"]


# imports


def test_label_maps_are_imported(folder, capsys):
    labels = np.zeros(SHAPE, np.float32)
    labels[4:8, 4:8, 4:8], labels[4:8, 15:20, 5:9] = 7, 40
    gm.write("theirs.mrc", gm.Volume(labels, VOXEL, Header(origin=ORIGIN)), mode="labels")
    done = made(capsys, "map.mrc", "--from", "theirs.mrc")
    found = opened()
    assert np.array_equal(found.labels.data, np.select([labels == 7, labels == 40], [1, 2]))
    assert done["warnings"] == ["theirs.mrc: its numbers 7, 40 are 1, 2 now, in their order"]
    assert found.facts["source"] == {"path": "theirs.mrc", "sha256": io.sha256("theirs.mrc")}
    assert found.regions[0].mean == pytest.approx(gm.read("map.mrc").data[labels == 40].mean(), rel=1e-6)
    code, out, _ = run(capsys, "map.mrc", "--from", "theirs.mrc", "--force")
    assert code == 0
    assert "theirs.mrc" in out


def test_facts_that_an_import_lacks_are_null(folder, capsys):
    gm.write("theirs.mrc", gm.Volume((blobs() > 0.5).astype(np.float32), VOXEL, Header(origin=ORIGIN)), mode="labels")
    done = made(capsys, "map.mrc", "--from", "theirs.mrc")
    assert done.keys() == FACTS
    assert [done[key] for key in ("level", "steps", "gaussian_angstrom", "style")] == [None] * 4


def test_a_voxel_size_is_that_of_both_files(folder, capsys):
    gm.write("theirs.mrc", gm.Volume((blobs() > 0.5).astype(np.float32), VOXEL, Header(origin=ORIGIN)), mode="labels")
    done = made(capsys, "map.mrc", "--from", "theirs.mrc", "--voxel-size", 3)
    assert (done["voxel_size_angstrom"], done["warnings"]) == ([3, 3, 3], [])


def test_noise_is_counted_in_regions_not_in_leaves(folder, capsys, monkeypatch):
    monkeypatch.setattr(job.segmentation, "MANY", 2)
    assert len(made(capsys, "map.mrc", "--level", 0.3, "--steps", 0)["warnings"]) == 1
    done = made(capsys, "map.mrc", "--level", 0.1, "--step", 2, "-o", "it.regions.json")
    assert (done["leaves"], len(done["regions"]), done["warnings"]) == (4, 1, [])


def test_label_maps_elsewhere_are_told(folder, capsys):
    gm.write("theirs.mrc", gm.Volume((blobs() > 0.5).astype(np.float32), VOXEL), mode="labels")
    done = made(capsys, "map.mrc", "--from", "theirs.mrc")
    assert len(done["warnings"]) == 1
    assert "theirs.mrc begins at 0, 0, 0" in done["warnings"][0]


def test_seggers_file_is_imported(data, folder, capsys):
    pytest.importorskip("h5py", reason="the extra `segger` is not installed")
    shutil.copy(data / "maps" / "emd_1832.map.gz", ".")
    shutil.copy(data / "segger" / "emd_1832.seg", "theirs.seg")
    done = made(capsys, "emd_1832.map.gz", "--from", "theirs.seg")
    assert done["warnings"] == []
    assert done["leaves"] == 28
    assert done["voxels"] == 5910
    assert [region["number"] for region in done["regions"]] == [85, 104, 103, 101, 97, 93]
    refused(capsys, 3, "theirs.seg: is for a box of 64 x 64 x 64 voxels, map.mrc has 30 x 26 x 24",
            "map.mrc", "--from", "theirs.seg")  # fmt: skip
    Path("cut.seg").write_bytes(Path("theirs.seg").read_bytes()[:9000])
    refused(capsys, 3, "cut.seg: cannot be read as one of Segger's files",
            "emd_1832.map.gz", "--from", "cut.seg", "-o", "it.regions.json")  # fmt: skip


def test_segger_finds_the_same_voxels(data, folder, capsys):
    shutil.copy(data / "maps" / "emd_1832.map.gz", ".")
    done = made(capsys, "emd_1832.map.gz", "--level", "0.42", "--style", "segger")
    assert (done["voxels"], done["leaves"]) == (5910, 28)


# refusals


@pytest.mark.parametrize(("code", "text", "words"), [
    (2, "give a level", ["map.mrc"]),
    (2, "threshold", ["map.mrc", "--level", "lots"]),
    (2, "one filter", ["map.mrc", "--level", "1", "--gaussian", "2A", "--lowpass", "9A"]),
    (2, "style", ["map.mrc", "--level", "0.3", "--style", "other"]),
    (2, "steps", ["map.mrc", "--level", "0.3", "--steps", "-2"]),
    (2, "steps must be a whole number from 0 to 1000", ["map.mrc", "--level", "0.3", "--steps", "1000000000"]),
    (2, "smoothing step must be", ["map.mrc", "--level", "0.3", "--steps", "0", "--step", "-4"]),
    (2, "NAME.regions.json; call it it.regions.json", ["map.mrc", "--level", "0.3", "-o", "it.mrc"]),
    (2, "NAME.regions.json", ["map.mrc", "--level", "0.3", "-o", ".regions.json"]),
    (2, "brings its own regions; leave level, gaussian out", ["map.mrc", "--from", "map.mrc", "--level", "1",
                                                                "--gaussian", "2A"]),
    (3, "map.mrc: level 9", ["map.mrc", "--level", "9"]),
    (5, "is not there", ["map.mrc", "--level", "9", "-o", "nowhere/it.regions.json"]),
    (3, "cannot be read", ["gone.mrc", "--level", "9"]),
    (3, "cannot be read", ["map.mrc", "--from", "gone.mrc"]),
    (3, "map.mrc: a label map holds whole numbers", ["map.mrc", "--from", "map.mrc"]),
    (3, "whole.seg: cannot be read", ["map.mrc", "--from", "whole.seg"]),
    (4, "cuda", ["map.mrc", "--level", "1", "--device", "cuda:99"]),
])  # fmt: skip
def test_refusals_leave_nothing(folder, capsys, code, text, words):
    pytest.importorskip("h5py", reason="the extra `segger` is not installed")
    shutil.copy("map.mrc", "whole.seg")
    refused(capsys, code, text, *words)


def test_existing_files_are_kept_without_force(folder, capsys):
    made(capsys, "map.mrc", "--level", 0.3)
    refused(capsys, 3, "already there", "map.mrc", "--level", 0.4)
    first, before = opened(), {path.name for path in Path().iterdir()}
    for level in (0.4, 0.5, 0.3, 0.3):
        done = made(capsys, "map.mrc", "--level", level, "--force")
        found = opened()
        assert np.array_equal(found.labels.data, gm.segment(gm.read("map.mrc"), level).labels.data)
        assert done["files"] == ["map.regions.json", label_map()]
        assert {path.name for path in Path().iterdir()} == before - {"map.labels.mrc"} | {label_map()}
    assert found.state == first.state


def test_a_map_is_not_written_over(folder, capsys):
    shutil.copy("map.mrc", "it.labels.mrc")
    refused(capsys, 2, "is an input", "it.labels.mrc", "--level", 0.3, "-o", "it.regions.json", "--force")


KILLED = """
import os
from gpumask import io
from gpumask.cli import main
publish, left = io._publish, {}
def kill(*what):
    global left
    if not left:
        os._exit(9)
    left -= 1
    publish(*what)
io._publish = kill
main(["segment", "map.mrc", "--level", "0.6", "--steps", "0", "--force"])
"""


@pytest.mark.parametrize(("renamed", "leaves"), [(0, 4), (1, 4)])
def test_a_killed_run_leaves_the_old_regions_and_what_was_done_to_them(folder, capsys, renamed, leaves):
    made(capsys, "map.mrc", "--level", 0.3, "--steps", 0)
    job.regions("map.regions.json", verb="hide", what="1")
    environment = os.environ | {"PYTHONPATH": str(Path(gm.__file__).parents[1])}
    command = [sys.executable, "-c", KILLED.format(renamed)]
    assert subprocess.run(command, env=environment, timeout=60).returncode == 9
    found = job.regions("map.regions.json")
    assert [region["number"] for region in found["regions"] if region["hidden"]] == [1]
    assert np.array_equal(opened().labels.data > 0, gm.read("map.mrc").data >= np.float32(0.3))
    made(capsys, "map.mrc", "--level", 0.6, "--steps", 0, "--force")
    assert np.array_equal(opened().labels.data > 0, gm.read("map.mrc").data >= np.float32(0.6))
    assert len(list(Path().glob("map.labels*"))) == 1


def test_a_failing_write_leaves_the_old_files(folder, capsys, monkeypatch):
    made(capsys, "map.mrc", "--level", 0.3)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gpumask.io.os.fsync", fail)
    refused(capsys, 5, "No space left", "map.mrc", "--level", 0.4, "--force")
