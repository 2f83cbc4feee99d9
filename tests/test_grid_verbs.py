"""gpumask resample, grid, compare, fulcrum: what they write and print, what they refuse, and that nothing is left."""

import gzip
import json
import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import gpumask as gm
from gpumask import backend, errors, grids, io, job, mask
from gpumask.cli import main
from gpumask.volume import Header

SHAPE = (20, 24, 28)
VOXEL = 1.4
PLACE = Header(nstart=(-10, 5, 3))
CPU = ["--device", "cpu"]
WRITTEN = {"output", "files", "version", "verb", "input", "options", "steps", "before", "box", "voxel_size_angstrom",
           "origin_angstrom", "nstart", "device", "device_reason", "seconds", "warnings"}  # fmt: skip


def noise():
    return np.random.default_rng(5).random(SHAPE).astype(np.float32)


def block():
    values = np.zeros(SHAPE, np.float32)
    values[8:11, 9:13, 10:15] = 1  # centre of mass at 9, 10.5, 12
    return values


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a map, a crop of it and a mask."""
    monkeypatch.setattr("gpumask.cli.terminal.PATIENCE", float("inf"))
    monkeypatch.chdir(tmp_path)
    whole = gm.Volume(noise(), VOXEL, PLACE)
    gm.write("map.mrc", whole)
    gm.write("crop.mrc", grids.crop(whole, (2, 3, 4), (12, 15, 20)))
    gm.write("mask.mrc", gm.Volume(block(), VOXEL, PLACE))
    return tmp_path


def names():
    return sorted(path.name for path in Path().iterdir())


INPUTS = ["crop.mrc", "map.mrc", "mask.mrc"]


def refused(capsys, code, words, *texts):
    before = {name: Path(name).read_bytes() for name in names() if Path(name).is_file()}
    assert main(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("gpumask: ")
    for text in texts:
        assert text in err, err
    assert {name: Path(name).read_bytes() for name in names() if Path(name).is_file()} == before


def grid(*words, source="map.mrc"):
    assert main(["grid", source, "-o", "out.mrc", "--force", *CPU, *words]) == 0
    return gm.read("out.mrc")


# resample


def test_a_crop_is_pasted_back_bit_for_bit(folder, capsys):
    assert main(["resample", "crop.mrc", "--like", "map.mrc", "-o", "back.mrc", *CPU]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for text in (
        "16 x 12 x 10 voxels of 1.4 Å",
        "28 x 24 x 20 voxels of 1.4 Å",
        "method  exact",
        "back.mrc, back.json",
    ):
        assert text in out
    back, whole = gm.read("back.mrc"), gm.read("map.mrc")
    inside = (slice(2, 12), slice(3, 15), slice(4, 20))
    assert np.array_equal(back.data[inside], whole.data[inside])
    assert np.count_nonzero(back.data) == np.count_nonzero(whole.data[inside])
    assert (back.header.nstart, back.header.origin, back.voxel_size) == (PLACE.nstart, (0, 0, 0), whole.voxel_size)
    assert names() == ["back.json", "back.mrc", *INPUTS]
    assert main(["compare", "map.mrc", "back.mrc"]) == 0


def test_json_is_the_provenance(folder, capsys):
    words = ["resample", "crop.mrc", "--like", "map.mrc", "-o", "back.mrc", "--json", "--method", "trilinear", *CPU]
    assert main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(Path("back.json").read_text())
    assert printed.keys() == WRITTEN | {"like", "method"}
    assert (printed["method"], printed["verb"], printed["like"]) == ("trilinear", "resample", {"path": "map.mrc"})
    assert printed["input"] == {"path": "crop.mrc", "sha256": io.sha256("crop.mrc")}
    assert printed["box"] == [28, 24, 20]
    assert printed["before"]["nstart"] == [7, 8, -8]
    label = gm.read("back.mrc").header.labels[-1]
    assert label == f"gpumask {gm.__version__} resample: trilinear"


@pytest.mark.parametrize("method", ["trilinear", "fourier"])
def test_resample_is_the_librarys(folder, method):
    finer = gm.Volume(np.zeros((30, 30, 30), np.float32), 0.9, Header(origin=(-12.0, 8.0, 5.0)))
    gm.write("finer.mrc", finer)
    assert main(["resample", "map.mrc", "--like", "finer.mrc", "-o", "out.mrc", "--method", method, *CPU]) == 0
    wanted, _, _ = grids.resample("a", gm.read("map.mrc"), "b", gm.read("finer.mrc"), method)
    made = gm.read("out.mrc")
    assert np.array_equal(made.data, wanted.data)
    assert made.origin == gm.read("finer.mrc").origin


def test_masks_are_clipped_and_the_overshoot_is_told(folder, capsys):
    finer = gm.Volume(np.zeros((40, 48, 56), np.float32), 0.7, Header(origin=(-14.1, 7.0, 4.2)))
    gm.write("finer.mrc", finer)
    words = ["resample", "mask.mrc", "--like", "finer.mrc", "-o", "out.mrc", *CPU]
    assert main([*words, "--method", "fourier", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["warnings"]
    assert len(told) == 1 and "were clipped" in told[0]
    made = gm.read("out.mrc").data
    assert (made.min(), made.max()) == (0, 1)
    assert main([*words, "--force"]) == 0
    assert capsys.readouterr().err == ""  # trilinear values stay between their neighbours


BELOW_ONE = 0.977  # the maximum of a body of a partition


@pytest.mark.parametrize(
    "words",
    [["--rescale", "2.8A"], ["--fourier-box", "40"], ["--shift=0.5,0,0", "--shift-method", "fourier"]],
    ids=" ".join,
)
def test_a_mask_that_does_not_reach_1_is_clipped_too(folder, capsys, words):
    body = gm.Volume(BELOW_ONE * block(), VOXEL, PLACE)
    gm.write("body.mrc", body)
    made = grid(*words, source="body.mrc").data
    assert made.min() == 0 and made.max() <= 1
    assert "the values of the mask left [0, 1] by up to" in capsys.readouterr().err


def test_a_mask_that_does_not_reach_1_is_a_mask_to_every_verb(folder, capsys):
    gm.write("body.mrc", gm.Volume(BELOW_ONE * block(), VOXEL, PLACE))
    gm.write("finer.mrc", gm.Volume(np.zeros((40, 48, 56), np.float32), 0.7, Header(origin=(-14.1, 7.0, 4.2))))
    words = ["resample", "body.mrc", "--like", "finer.mrc", "-o", "out.mrc", "--method", "fourier", *CPU]
    assert main(words) == 0
    assert "were clipped" in capsys.readouterr().err
    assert gm.read("out.mrc").data.min() == 0
    assert main(["compare", "mask.mrc", "body.mrc"]) == 0
    assert "Dice 1.0000 at 0.5" in capsys.readouterr().out
    grid("--crop", "12,0,0:28,24,20", source="body.mrc")
    assert "24 voxels of the mask" in capsys.readouterr().err
    words = ["grid", "body.mrc", "-o", "new.mrc", *CPU, "--crop"]
    refused(capsys, 3, [*words, "0,0,0:5,5,5"], "nothing of this mask would be left")
    refused(capsys, 3, [*words, "10,9,8:15,13,11"], "0.977 everywhere")


@pytest.mark.parametrize(("value", "text"), [(0, "is an empty mask"), (1, "is a mask of everything")])
@pytest.mark.parametrize("words", [["grid", "--flip", "x"], ["grid", "--box", "40"], ["resample", "--like", "map.mrc"]])
def test_an_empty_and_a_full_file_are_refused_alike(folder, capsys, words, value, text):
    gm.write("flat.mrc", gm.Volume(np.full(SHAPE, value, np.float32), VOXEL, PLACE))
    refused(capsys, 3, [words[0], "flat.mrc", "-o", "out.mrc", *words[1:], *CPU], "flat.mrc", text)


def test_a_map_of_one_value_that_is_no_mask_is_not_refused(folder):
    gm.write("flat.mrc", gm.Volume(np.full(SHAPE, -2, np.float32), VOXEL, PLACE))
    assert (grid("--flip", "x", source="flat.mrc").data == -2).all()


def test_the_size_of_cubic_voxels_is_told_once(folder, capsys):
    grid("--rescale", "2.8A")
    assert "rescale to 2.8 Å\n" in capsys.readouterr().out
    grid("--fourier-box", "14,24,20")
    assert "rescale to 2.8 x 1.4 x 1.4 Å\n" in capsys.readouterr().out


def test_the_header_of_the_reference_is_enough(folder):
    """Its data may be of any kind, since they are not read."""
    bad = noise()
    bad[0, 0, 0] = 1
    gm.write("like.mrc", gm.Volume(bad, VOXEL, PLACE))
    raw = bytearray(Path("like.mrc").read_bytes())
    raw[1024:1028] = np.float32(np.nan).tobytes()
    Path("like.mrc").write_bytes(raw)
    assert main(["resample", "crop.mrc", "--like", "like.mrc", "-o", "out.mrc", *CPU]) == 0


# grid


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ([], lambda v: v),
        (["--axes", "zyx"], lambda v: grids.permute(v, "zyx")),
        (["--flip", "xz"], lambda v: grids.flip(v, "xz")),
        (["--hand"], grids.invert_hand),
        (["--shift=3.5,-2,1"], lambda v: grids.shift(v, (1, -2, 3.5))[0]),
        (["--shift=1.4,0,-2.8A"], lambda v: grids.shift(v, (-2, 0, 1))[0]),
        (["--shift=.5,0,0", "--shift-method", "fourier"], lambda v: grids.shift(v, (0, 0, 0.5), "fourier")[0]),
        (["--rescale", "2A"], lambda v: grids.rescale(v, (14, 16, 20))[0]),
        (["--fourier-box", "30,26,22"], lambda v: grids.rescale(v, (22, 26, 30))[0]),
        (["--crop", "1,2,3:11,22,13"], lambda v: grids.crop(v, (3, 2, 1), (13, 22, 11))),
        (["--box", "16"], lambda v: grids.boxed(v, (16, 16, 16))),
        (["--box", "40,10,30"], lambda v: grids.boxed(v, (30, 10, 40))),
        (
            ["--box", "20", "--rescale", "2", "--flip", "y"],
            lambda v: grids.boxed(grids.rescale(grids.flip(v, "y"), (14, 16, 20))[0], (20, 20, 20)),
        ),
        (["--centre-on", "mask.mrc"], lambda v: grids.boxed(v, v.shape, (9, 10, 12))),
        (["--centre-on", "mask.mrc", "--box", "30"], lambda v: grids.boxed(v, (30, 30, 30), (9, 10, 12))),
    ],
)  # fmt: skip
def test_steps_are_the_librarys_in_their_order(folder, words, change):
    made, wanted = grid(*words), change(gm.read("map.mrc"))
    assert np.array_equal(made.data, wanted.data)
    assert made.voxel_size == pytest.approx(wanted.voxel_size, rel=1e-6)
    assert made.origin == pytest.approx(wanted.origin, abs=1e-4)


def test_tight(folder):
    made = grid("--tight", "1px", source="mask.mrc")
    assert made.shape == (5, 6, 7)
    assert (made.data[1:-1, 1:-1, 1:-1] == 1).all() and made.data.sum() == 60
    made = grid("--tight", "2.8A", source="mask.mrc")
    assert made.shape == (7, 8, 9)
    assert made.header.nstart == (-10 + 6, 5 + 7, 3 + 8)
    made = grid("--tight", "1px", "--level", "0.9999max")
    strongest = np.argwhere(noise() >= 0.9999 * noise().max())
    low, high = strongest.min(axis=0) - 1, strongest.max(axis=0) + 2
    assert made.shape == tuple(np.minimum(high, SHAPE) - np.maximum(low, 0))


def test_a_margin_in_angstrom_is_measured_along_each_axis(folder, capsys):
    gm.write("mask.mrc", gm.Volume(block(), (2.0, 1.0, 0.5)), overwrite=True)
    assert grid("--tight", "2A", source="mask.mrc").shape == (3 + 2, 4 + 4, 5 + 8)
    capsys.readouterr()
    refused(capsys, 2, ["grid", "mask.mrc", "-o", "new.mrc", *CPU, "--tight", "2px"], "give it in Å")


def test_labels_are_those_of_the_file(folder):
    gm.write("crop.mrc", gm.read("crop.mrc"), label="of the crop", overwrite=True)
    gm.write("map.mrc", gm.read("map.mrc"), label="of the map", overwrite=True)
    assert main(["resample", "crop.mrc", "--like", "map.mrc", "-o", "out.mrc", *CPU]) == 0
    assert gm.read("out.mrc").header.labels == ("of the crop", f"gpumask {gm.__version__} resample: exact")


def test_a_mask_in_the_middle_of_its_box(folder, capsys):
    made = grid("--centre-on", "mask.mrc", "--box", "16", source="mask.mrc")
    centre = mask.centre_of_mass(made.data)
    assert np.abs(np.subtract(centre, 8)).max() <= 0.5  # whole voxels
    assert capsys.readouterr().err == ""
    assert made.data.sum() == block().sum()


def test_a_wrong_header_is_replaced_and_the_voxels_stay(folder):
    gm.write("lost.mrc", gm.Volume(noise(), 1.0))
    assert main(["compare", "map.mrc", "lost.mrc"]) == 1
    made = grid("--header", "map.mrc", source="lost.mrc")
    assert np.array_equal(made.data, noise())
    assert main(["compare", "map.mrc", "out.mrc", "--tolerance", "0"]) == 0
    made = grid("--origin", "10,-20,30", source="lost.mrc")
    assert (made.origin, made.header.nstart) == ((30, -20, 10), (0, 0, 0))


def test_axes_of_a_file_are_put_in_order(data, folder, capsys):
    stored = str(data / "awkward" / "derived_emd1832_crs321.mrc.gz")
    assert main(["compare", str(data / "maps" / "emd_1832.map.gz"), stored, "--json"]) == 1  # it has lost its NSTART
    found = json.loads(capsys.readouterr().out)
    assert found["max_difference"] == 0
    assert any("axes 1,2,3" in note and "3,2,1" in note for note in found["notes"])
    made = grid(source=stored)
    assert np.frombuffer(Path("out.mrc").read_bytes()[64:76], np.int32).tolist() == [1, 2, 3]
    assert np.array_equal(made.data, io.load(stored)[0].data)


def test_what_is_worth_a_warning(folder, capsys):
    grid("--flip", "x")
    assert "the hand is now the other one" in capsys.readouterr().err
    grid("--axes", "yxz")
    assert "two axes were exchanged" in capsys.readouterr().err
    grid("--rescale", "1.9")
    assert "the voxel size is" in capsys.readouterr().err
    grid("--crop", "12,0,0:28,24,20", source="mask.mrc")
    assert "24 voxels of the mask" in capsys.readouterr().err
    grid("--flip", "xy")
    grid("--axes", "yzx")
    grid("--rescale", "2.8")
    grid("--crop", "9,0,0:28,24,20", source="mask.mrc")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--crop", "0,0,0:5,5,5", "--tight", "1"], "--crop or --tight"),
        (["--crop", "0,0,0:5,5,5", "--box", "5"], "--crop or --box"),
        (["--rescale", "2", "--fourier-box", "5"], "--rescale or --fourier-box"),
        (["--header", "map.mrc", "--origin", "0,0,0"], "--header or --origin"),
        (["--centre-on", "mask.mrc", "--flip", "x"], "--flip moves the density"),
        (["--shift-method", "fourier"], "for --shift"),
        (["--level", "1"], "for --tight"),
        (["--crop", "0,0,0"], "x,y,z:x,y,z"),
        (["--crop", "0,0,0:5,5,x"], "three numbers"),
        (["--crop", "9,9,9:5,12,12"], "1 to 16384 voxels"),
        (["--crop", "100,0,0:105,5,5"], "lies outside the box"),
        (["--crop", "0.5,0,0:5,5,5"], "whole numbers"),
        (["--box", "0"], "1 to 16384"),
        (["--box", "5,5"], "three numbers"),
        (["--box", "nan"], "three numbers"),
        (["--box=-4"], "1 to 16384"),
        (["--fourier-box", "1.5"], "whole numbers"),
        (["--rescale", "0"], "must be > 0 Å"),
        (["--rescale", "2px"], "must be in Å"),
        (["--rescale", "1000A"], "must hold 2 to 16384 voxels along each axis, voxels of 1000.0 Å do not"),
        (["--rescale", "0.001A"], "must hold 2 to 16384 voxels along each axis, voxels of 0.001 Å do not"),
        (["--crop", "0.5,0,0:4,4,4"], "whole numbers of voxels x,y,z, got '0.5,0,0'"),
        (["--box", "3.5"], "whole numbers of voxels x,y,z, got '3.5,3.5,3.5'"),
        (["--fourier-box", "1e9"], "a box is too large: at most 16384 along each axis"),
        (["--origin", "1e9,0,0"], "an origin is too large: at most 1000000 along each axis"),
        (["--shift", "nan,0,0"], "shift must be x,y,z, x,y,zpx or x,y,zA, got 'nan,0,0'"),
        (["--flip", "w"], "flips"),
        (["--axes", "xy"], "an order of x, y and z"),
        (["--shift", "1,2"], "shift must be"),
        (["--shift", "1,2,3", "--shift-method", "cubic"], "trilinear, fourier"),
        (["--tight=-1px"], "margin must be >= 0"),
        (["--tight", "5nm"], "margin must be a length"),
        (["--origin", "a,b,c"], "an origin must be three numbers"),
    ],
)
def test_steps_that_cannot_be(folder, capsys, words, text):
    refused(capsys, 2, ["grid", "map.mrc", "-o", "out.mrc", *CPU, *words], text)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--crop", "0,0,0:5,5,5"], "nothing of this mask would be left"),
        (["--crop", "10,9,8:15,13,11"], "1 everywhere"),
        (["--header", "crop.mrc"], "has a box of 16 x 12 x 10 voxels"),
        (["--centre-on", "map.mrc"], "make one with gpumask create"),
        (["--tight", "1", "--level", "2"], "no voxel reaches 2"),
    ],
)
def test_inputs_that_do_not_fit(folder, capsys, words, text):
    gm.write("map.mrc", gm.Volume(noise() * 3, VOXEL), overwrite=True)
    refused(capsys, 3, ["grid", "mask.mrc", "-o", "out.mrc", *CPU, *words], text)


# compare


def test_compare_answers_plainly(folder, capsys):
    shutil.copy("map.mrc", "same.mrc")
    assert main(["compare", "map.mrc", "same.mrc"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == ["grid    one grid: 28 x 24 x 20 voxels of 1.4 Å", "values  identical"]
    assert main(["compare", "map.mrc", "crop.mrc"]) == 1
    out = capsys.readouterr().out
    for text in ("not one grid", "box: map.mrc has 28 x 24 x 20 voxels, crop.mrc 16 x 12 x 10",
                 "4, 3, 2 voxels further", "gpumask resample crop.mrc --like map.mrc -o OUT",
                 "pasted exactly", "the boxes differ"):  # fmt: skip
        assert text in out


def test_the_command_that_compare_names_mends_it(folder, capsys):
    shifted = gm.Volume(noise(), 1.5, Header(origin=(1.0, 2.0, 3.0)))
    gm.write("other.mrc", shifted)
    for other in ("crop.mrc", "other.mrc"):
        assert main(["compare", "map.mrc", other, "--json"]) == 1
        for way in json.loads(capsys.readouterr().out)["mend"]:
            words = way["command"].replace("OUT", "mended.mrc").split()
            assert main([*words[1:], "--force", *CPU]) == 0
            assert main(["compare", "map.mrc", "mended.mrc"]) == 0
            capsys.readouterr()


def test_values_count_where_a_tolerance_is_given(folder, capsys):
    assert main(["compare", "map.mrc", "mask.mrc"]) == 0
    assert "differ by up to" in capsys.readouterr().out
    largest = np.abs(noise() - block()).max()
    assert main(["compare", "map.mrc", "mask.mrc", "--tolerance", "0"]) == 1
    assert main(["compare", "map.mrc", "mask.mrc", "--tolerance", str(float(largest))]) == 0
    assert main(["compare", "map.mrc", "crop.mrc", "--tolerance", "9"]) == 1


def test_compare_json(folder, capsys):
    gm.write("other.mrc", gm.Volume(np.roll(block(), 1, 2), VOXEL, PLACE))
    assert main(["compare", "mask.mrc", "other.mrc", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    found = json.loads(out)
    assert found.keys() == {"path", "other", "same", "tolerance", "box", "voxel_size_angstrom", "origin_angstrom",
                            "same_grid", "differences", "notes", "mend", "max_difference", "rms_difference",
                            "correlation", "dice"}  # fmt: skip
    assert (found["same"], found["same_grid"], found["max_difference"]) == (True, True, 1)
    assert found["dice"] == 0.8  # 4 of 5 planes along x are common
    assert found["rms_difference"] == pytest.approx(np.sqrt(24 / block().size), rel=1e-9)


def test_the_command_that_puts_axes_in_order_can_be_run(folder, capsys):
    """Its path is quoted."""
    shutil.copy("map.mrc", "my map.mrc")
    raw = bytearray(Path("my map.mrc").read_bytes())
    raw[64:76] = np.array([3, 2, 1], np.int32).tobytes()
    Path("my map.mrc").write_bytes(raw)
    main(["compare", "map.mrc", "my map.mrc", "--json"])
    (note,) = (note for note in json.loads(capsys.readouterr().out)["notes"] if "axes" in note)
    words = shlex.split(note.partition("do not: ")[2])
    assert words == ["gpumask", "grid", "my map.mrc", "-o", "OUT"]


@pytest.mark.parametrize("tolerance", ["-1", "nan", "inf"])
def test_a_tolerance_that_cannot_be(folder, capsys, tolerance):
    refused(capsys, 2, ["compare", "map.mrc", "map.mrc", f"--tolerance={tolerance}"], "tolerance")


# fulcrum


def test_fulcrum_of_a_mask(folder, capsys):
    assert main(["fulcrum", "mask.mrc"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[0] == "12.0,10.5,9.0"
    for text in ("21.0,21.7,-1.4 Å", "-2.0,-1.5,-1.0 px from the box centre", "1 at this point"):
        assert text in out


def test_the_fulcrum_of_the_tutorial(folder, capsys):
    gm.write("tutorial.mrc", gm.Volume(np.zeros((8, 8, 8), np.float32), 1.4))
    assert main(["fulcrum", "tutorial.mrc", "--at", "249.5,250.1,253.3A"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "178.2,178.6,180.9"
    assert "lies outside the box" in err


@pytest.mark.parametrize(
    ("words", "of", "text"),
    [
        ([], "mask", "12.0,10.5,9.0"),
        (["--of", "mask"], "mask", "12.0,10.5,9.0"),
        (["--of", "box"], "box", "14.0,12.0,10.0"),
        (["--at", "1,2,3"], "at", "1.0,2.0,3.0"),
        (["--at=-14,-12,-10centre"], "at", "0.0,0.0,0.0"),
        (["--map", "rod.mrc", "--level", "0.5"], "interface", "14.5,10.5,9.0"),
        (["--map", "rod.mrc", "--level", "0.5max", "--of", "interface"], "interface", "14.5,10.5,9.0"),
    ],
)
def test_fulcrum_json(folder, capsys, words, of, text):
    rod = block()
    rod[8:11, 9:13, 10:20] = 1  # goes on beyond the mask
    gm.write("rod.mrc", gm.Volume(rod, VOXEL, PLACE))
    assert main(["fulcrum", "mask.mrc", *words, *CPU, "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == ""
    assert (found["of"], found["text"], found["warnings"]) == (of, text, [])
    assert ",".join(f"{n:.1f}" for n in found["corner_px"]) == text
    angstrom = [(p + n) * VOXEL for p, n in zip(found["corner_px"], (3, 5, -10), strict=True)]
    assert found["angstrom"] == pytest.approx(angstrom, abs=1e-5)
    assert found["centre_px"] == pytest.approx(np.subtract(found["corner_px"], (14, 12, 10)), abs=1e-12)
    if of == "interface":
        assert (found["level"], found["interface_voxels"], found["contacts"]) == (0.5, 24, 1)
        assert found["value"] == 0.5  # on the edge of the mask


def test_several_contacts_and_another_place_are_warned_about(folder, capsys):
    rod = block()
    rod[8:11, 9:13, 5:20] = 1
    gm.write("rod.mrc", gm.Volume(rod, VOXEL))
    assert main(["fulcrum", "mask.mrc", "--map", "rod.mrc", "--level", "0.5", *CPU]) == 0
    err = capsys.readouterr().err
    assert "touch in 2 places" in err
    assert "place: mask.mrc begins at" in err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--of", "corner"], 2, "mask, box, interface"),
        (["--of", "interface"], 2, "--map and --level"),
        (["--map", "map.mrc"], 2, "--map and --level"),
        (["--map", "map.mrc", "--level", "x"], 2, "threshold"),
        (["--level", "1"], 2, "for the interface"),
        (["--of", "box", "--map", "map.mrc"], 2, "for the interface"),
        (["--at", "1,2,3", "--of", "box"], 2, "without --of"),
        (["--at", "1,2"], 2, "point must be"),
        (["--map", "crop.mrc", "--level", "0.5"], 3, "16 x 12 x 10"),
        (["--map", "map.mrc", "--level", "5"], 3, "no density inside"),
        (["--map", "mask.mrc", "--level", "0.5"], 3, "no density outside"),
    ],
)
def test_a_fulcrum_that_cannot_be(folder, capsys, words, code, text):
    refused(capsys, code, ["fulcrum", "mask.mrc", *words, *CPU], text)


@pytest.mark.parametrize("of", [[], ["--map", "map.mrc", "--level", "0.5"]])
def test_a_fulcrum_of_what_is_no_mask(folder, capsys, of):
    for values, text in ((noise() * 3, "0 to 1"), (noise() * 0, "empty"), (noise() * 0 + 1, "everything")):
        gm.write("mask.mrc", gm.Volume(values, VOXEL, PLACE), overwrite=True)
        refused(capsys, 3, ["fulcrum", "mask.mrc", *of, *CPU], text, "mask.mrc")


def test_an_interface_needs_a_mask_that_covers_something(folder, capsys):
    """A density that happens to lie in [0, 1]."""
    gm.write("base.mrc", gm.Volume(block() * np.float32(0.375), VOXEL, PLACE))
    words = ["fulcrum", "base.mrc", "--map", "map.mrc", "--level", "0.1", *CPU]
    refused(capsys, 3, words, "base.mrc", "is not a mask: its values end at 0.375 and none reaches 0.5")


# bad inputs of every verb


def spoiled(kind):
    """Write bad.mrc; the word that its refusal holds."""
    raw = bytearray(Path("map.mrc").read_bytes())
    if kind == "absent":
        return "cannot be read"
    if kind == "truncated":
        raw = raw[: len(raw) // 2]
    elif kind == "empty":
        raw = b""
    elif kind == "garbage":
        raw = os.urandom(2000)
    elif kind == "complex":
        raw[12:16] = np.int32(4).tobytes()
    elif kind == "angles":
        raw[52:56] = np.float32(111).tobytes()
    elif kind == "nan":
        raw[1024:1028] = np.float32(np.nan).tobytes()
    elif kind == "no cell":
        raw[40:52] = bytes(12)
    elif kind == "gzip":
        raw = gzip.compress(bytes(raw))[:-2000]
    Path("bad.mrc").write_bytes(raw)
    return {"truncated": "truncated", "empty": "not an MRC file", "garbage": "not an MRC", "complex": "complex data",
            "angles": "cell angles", "nan": "NaN", "no cell": "voxel size", "gzip": "damaged"}[kind]  # fmt: skip


KINDS = ["absent", "truncated", "empty", "garbage", "complex", "angles", "nan", "no cell", "gzip"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "words",
    [
        ["resample", "bad.mrc", "--like", "map.mrc", "-o", "out.mrc"],
        ["resample", "map.mrc", "--like", "bad.mrc", "-o", "out.mrc"],
        ["grid", "bad.mrc", "-o", "out.mrc", "--box", "8"],
        ["grid", "map.mrc", "-o", "out.mrc", "--header", "bad.mrc"],
        ["grid", "map.mrc", "-o", "out.mrc", "--centre-on", "bad.mrc"],
        ["compare", "map.mrc", "bad.mrc"],
        ["compare", "bad.mrc", "map.mrc"],
        ["fulcrum", "bad.mrc"],
        ["fulcrum", "bad.mrc", "--of", "box"],
        ["fulcrum", "mask.mrc", "--map", "bad.mrc", "--level", "0.5"],
    ],
    ids=" ".join,
)
def test_files_that_must_not_be_used(folder, capsys, words, kind):
    word = spoiled(kind)
    if kind in ("nan", "gzip") and ("--header" in words or words[2:4] == ["--like", "bad.mrc"]):
        pytest.skip("only the header is read")
    refused(capsys, 3, words, "bad.mrc", word)


@pytest.mark.parametrize(
    "words", [["resample", "crop.mrc", "--like", "map.mrc"], ["grid", "map.mrc", "--centre-on", "mask.mrc"]]
)
class TestOutputs:
    def test_existing_files_are_kept_unless_forced(self, folder, capsys, words):
        for name in ("out.mrc", "out.json"):
            Path(name).write_bytes(b"old")
            refused(capsys, 3, [*words, "-o", "out.mrc", *CPU], name, "--force")
            assert main([*words, "-o", "out.mrc", "--force", *CPU]) == 0
            Path("out.mrc").unlink()
            Path("out.json").unlink()
            capsys.readouterr()

    @pytest.mark.parametrize("link", [False, True])
    def test_an_input_is_never_written_over(self, folder, capsys, words, link):
        for name in [word for word in words if word.endswith(".mrc")]:
            output = name
            if link:
                output = "link.mrc"
                Path(output).unlink(missing_ok=True)
                Path(output).symlink_to(name)
            refused(capsys, 2, [*words, "-o", output, "--force", *CPU], "is an input")

    @pytest.mark.parametrize(
        ("output", "code", "text"),
        [
            ("none/out.mrc", 5, "is not there"),
            ("out.mrc.gz", 2, "not compressed"),
            (".", 5, "is a folder"),
            ("out.json", 2, "a name of its own"),
        ],
    )
    def test_outputs_that_cannot_be(self, folder, capsys, words, output, code, text):
        refused(capsys, code, [*words, "-o", output, *CPU], text)

    def test_nothing_is_left_where_writing_fails(self, folder, capsys, words, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        refused(capsys, 5, [*words, "-o", "out.mrc", *CPU], "No space left")
        assert names() == INPUTS

    def test_a_mode_that_cannot_hold_it(self, folder, capsys, words):
        refused(capsys, 3, [*words, "-o", "out.mrc", "--mode", "int8", *CPU], "int8 holds binary masks")
        assert main([*words, "-o", "out.mrc", "--mode", "float16", *CPU]) == 0
        assert gm.read("out.mrc").header.mode == 12

    def test_nan_may_be_replaced(self, folder, capsys, words):
        word = spoiled("nan")
        words = ["bad.mrc" if i == 1 else text for i, text in enumerate(words)]
        refused(capsys, 3, [*words, "-o", "out.mrc", *CPU], word)
        assert main([*words, "-o", "out.mrc", "--nan-to", "0", *CPU]) == 0


def test_no_overlap_is_one_line(folder, capsys):
    gm.write("far.mrc", gm.Volume(noise(), VOXEL, Header(origin=(0.5, 5000.0, 0.5))))
    for method in ("auto", "exact", "trilinear", "fourier"):
        words = ["resample", "crop.mrc", "--like", "far.mrc", "-o", "out.mrc", "--method", method, *CPU]
        refused(capsys, 3, words, "whole number" if method == "exact" else "does not overlap", "crop.mrc", "far.mrc")


def test_exact_or_not_at_all(folder, capsys):
    gm.write("half.mrc", gm.Volume(noise(), VOXEL, Header(origin=(0.7, 0.0, 0.0))))
    words = ["resample", "crop.mrc", "--like", "half.mrc", "-o", "out.mrc", *CPU]
    refused(capsys, 3, [*words, "--method", "exact"], "not a whole number", "use --method trilinear or fourier")
    gm.write("coarse.mrc", gm.Volume(noise(), 2 * VOXEL))
    words = ["resample", "crop.mrc", "--like", "coarse.mrc", "-o", "out.mrc", *CPU]
    refused(capsys, 3, [*words, "--method", "exact"], "voxel sizes differ", "use --method trilinear or fourier")
    words = ["resample", "crop.mrc", "--like", "half.mrc", "-o", "out.mrc", *CPU]
    refused(capsys, 2, [*words, "--method", "cubic"], "auto, exact, trilinear, fourier")


def test_a_box_that_no_memory_holds(folder, capsys, monkeypatch):
    monkeypatch.setattr(backend, "available_memory", lambda: 10**6)
    for step in (["--box", "100"], ["--fourier-box", "60"], ["--rescale", "0.5A"], ["--crop", "0,0,0:100,100,100"]):
        refused(capsys, 5, ["grid", "map.mrc", "-o", "out.mrc", *CPU, *step], "voxels needs", "choose a smaller one")


def test_out_of_memory_on_the_device_goes_on_on_the_cpu_unless_it_was_demanded(folder, monkeypatch):
    devices = []

    def place(volume, device):
        devices.append(device)
        if device != "cpu":
            raise MemoryError("no room")
        return volume

    monkeypatch.setattr(backend, "choose", lambda device=None: ("cuda:0", "found a GPU"))
    monkeypatch.setattr(backend, "current", lambda _: open(os.devnull))  # noqa: SIM115
    monkeypatch.setattr(backend, "free_memory", lambda _: None)
    monkeypatch.setattr(backend, "place", place)
    done = job.grid("map.mrc", "out.mrc", box="8")
    assert devices[0] == "cuda:0" and done["device"] == "cpu"
    assert done["warnings"] == ["out of memory on cuda:0; computed on the CPU"]
    monkeypatch.setattr(backend, "choose", lambda device=None: ("cuda:0", "asked for: a GPU"))
    with pytest.raises(MemoryError):
        job.resample("crop.mrc", "two.mrc", like="map.mrc")
    assert not Path("two.mrc").exists()


def test_a_step_that_is_none(folder):
    with pytest.raises(errors.UsageError, match="a step must be one of header"):
        job.grid("map.mrc", "out.mrc", turn="x")


@pytest.mark.parametrize("verb", ["resample", "grid", "compare", "fulcrum"])
def test_help_has_an_example_that_is_read(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert "Example: gpumask " + verb in " ".join(capsys.readouterr().out.split())
    assert main([verb]) == 2


# files of others


def test_relions_outputs_by_verb(data, folder, capsys):
    source = str(data / "maps" / "emd_1832.map.gz")
    for words, name, tolerance in (
        (["--box", "48"], "h_newbox48", 0),
        (["--box", "80"], "h_newbox80", 0),
        (["--flip", "x"], "h_flipX", 0),
        (["--hand"], "h_invhand", 0),
        (["--shift=3.5,-2,1"], "h_shift_3p5_-2_1", 2.0**-22),  # two roundings of values below 4
        (["--rescale", "7.6"], "h_rescale7p6", 0.016),  # the Nyquist planes, see test_grids
    ):
        made = grid(*words, source=source)
        wanted = io.load(data / "relion_filters" / f"{name}.mrc.gz")[0]
        assert made.shape == wanted.shape
        assert np.abs(made.data - wanted.data).max() <= tolerance
