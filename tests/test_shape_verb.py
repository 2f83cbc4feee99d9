"""gpumask shape: files, provenance, grids, refusals."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import gpumask as gm
from gpumask import backend, io, job, shapes
from gpumask.cli import main
from gpumask.errors import UsageError
from gpumask.shapes import ShapeRecipe
from gpumask.volume import Header

SHAPE, VOXEL, ORIGIN = (30, 34, 38), 1.4, (10.0, -20.0, 5.5)
SPHERE = ["sphere", "--radius", "8px", "--soft-edge", "4px"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with ref.mrc in it, off the origin."""
    monkeypatch.setattr("gpumask.cli.terminal.PATIENCE", float("inf"))
    monkeypatch.chdir(tmp_path)
    gm.write("ref.mrc", gm.Volume(np.zeros(SHAPE, np.float32), VOXEL, Header(ORIGIN, (1, 2, 3))))
    return tmp_path


def shape(*words, output="mask.mrc", grid=("--like", "ref.mrc")):
    return main(["shape", *words, *grid, "-o", output, "--device", "cpu"])


def names():
    return sorted(path.name for path in Path().iterdir())


def refused(capsys, code, *texts):
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    for text in texts:
        assert text in err, err
    return code


def test_the_mask_lies_on_the_grid_of_the_reference(folder, capsys):
    assert shape(*SPHERE, "--centre", "20,15,12") == 0
    assert names() == ["mask.json", "mask.mrc", "ref.mrc"]
    made = gm.read("mask.mrc")
    reference = gm.read("ref.mrc")
    assert (made.voxel_size, made.header.origin, made.header.nstart) == (reference.voxel_size, ORIGIN, (1, 2, 3))
    wanted = shapes.soft_mask(shapes.Sphere(8), SHAPE, 4, centre_px=(12, 15, 20))
    assert np.array_equal(made.data, wanted)
    assert made.header.labels[-1].startswith(f"gpumask {gm.__version__} shape sphere, recipe ")
    out, err = capsys.readouterr()
    for text in ("sphere", "8 px = 11.2 Å", "4 px = 5.6 Å", "20.00,15.00,12.00 px", "33.50,1.00,26.80 Å", "mask.json"):
        assert text in out, out
    assert err == ""


def test_one_centre_in_three_frames_is_one_mask(folder):
    for number, centre in enumerate(("20,15,12", "1,-2,-3centre", "33.5,1,26.8A")):
        assert shape(*SPHERE, "--centre", centre, output=f"{number}.mrc") == 0
    masks = [gm.read(f"{number}.mrc").data for number in range(3)]
    assert np.array_equal(masks[0], masks[1])
    assert np.array_equal(masks[0], masks[2])


def test_a_box_by_its_numbers(folder):
    assert shape(*SPHERE, grid=("--box", "30,32,34", "--voxel-size", "1.1")) == 0
    made = gm.read("mask.mrc")
    assert made.shape == (34, 32, 30)
    assert made.voxel_size == pytest.approx((1.1,) * 3, rel=2**-23)
    assert made.origin == (0, 0, 0)
    assert gm.mask.centre_of_mass(made.data) == pytest.approx((17, 16, 15), abs=1e-6)


def test_json_is_one_document_and_that_of_the_file(folder, capsys):
    assert shape("cuboid", "--size", "20A,10A,15A", "--centre", "15,16,14", "--resolution", "1.4A", "--json") == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert json.loads(Path("mask.json").read_text()) == document
    made = gm.read("mask.mrc").data
    assert document["recipe"]["size"] == "20A,10A,15A"
    assert document["recipe_hash"] == ShapeRecipe.from_dict(document["recipe"]).hash
    assert (document["box"], document["voxel_size_angstrom"]) == ([38, 34, 30], [pytest.approx(1.4)] * 3)
    assert document["centre"]["corner_px"] == [15, 16, 14]
    assert document["centre"]["centre_px"] == [-4, -1, -1]
    assert document["centre"]["angstrom"] == pytest.approx([26.5, 2.4, 29.6], abs=1e-5)
    assert document["soft_edge_px"] == document["minimum_soft_edge_px"] == 5
    assert document["soft_edge_source"] == "resolution"
    assert document["verdict"] == "ok"
    assert document["volume_angstrom3"] == pytest.approx(made.sum(dtype=float) * 1.4**3, rel=1e-6)
    assert document["equivalent_edge_px"] == gm.mask.equivalent_edge(made)
    assert document["faces_touched"] == document["warnings"] == []
    assert err == ""


@pytest.mark.parametrize("grid", [("--like", "ref.mrc"), ("--box", "30", "--voxel-size", "1.1,1.1,1.4")])
def test_a_recipe_makes_the_same_bytes_again(folder, grid):
    words = [
        "cone",
        "--radius",
        "9A",
        "--height",
        "12A",
        "--axis",
        "1,1,0",
        "--centre=2,-1,0centre",
        "--soft-edge",
        "5A",
    ]
    assert shape(*words, grid=grid) == 0
    assert shape("--recipe", "mask.json", output="again.mrc", grid=()) == 0
    assert Path("again.mrc").read_bytes() == Path("mask.mrc").read_bytes()


def test_flags_override_a_recipe(folder):
    assert shape(*SPHERE) == 0
    assert shape("--recipe", "mask.json", "--radius", "6px", output="small.mrc", grid=()) == 0
    assert np.array_equal(gm.read("small.mrc").data, shapes.soft_mask(shapes.Sphere(6), SHAPE, 4))
    assert shape("--recipe", "mask.json", output="box.mrc", grid=("--box", "26", "--voxel-size", "2")) == 0
    assert gm.read("box.mrc").shape == (26, 26, 26)
    assert (
        shape("--recipe", "box.json", output="ref_again.mrc") == 0
    )  # the reference's own voxel size, not the recipe's
    assert gm.read("ref_again.mrc").voxel_size == gm.read("ref.mrc").voxel_size
    Path("plain.toml").write_text('shape = "sphere"\nradius = "8px"\nsoft_edge = "4px"\n')
    assert shape("--recipe", "plain.toml", output="plain.mrc") == 0
    assert np.array_equal(gm.read("plain.mrc").data, gm.read("mask.mrc").data)


def test_a_mask_times_the_shape(folder):
    """RELION's ``--helix --z_percentage 0.3``: planes within 15 % of the middle stay, a cosine beyond."""
    mask = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    gm.write("soft.mrc", gm.Volume(mask, VOXEL, Header(ORIGIN)))
    assert shape("slab", "--thickness", "30%", "--soft-edge", "4px", "--times", "soft.mrc", grid=()) == 0
    made = gm.read("mask.mrc")
    assert made.header.origin == ORIGIN
    for plane in range(SHAPE[0]):
        beyond = max(abs(plane - 15) - 4.5, 0)
        factor = np.float32(0.5 + 0.5 * math.cos(math.pi * beyond / 4) if beyond < 4 else 0)
        assert np.array_equal(made.data[plane], mask[plane] * factor)
    document = json.loads(Path("mask.json").read_text())
    assert document["times"] == {"path": "soft.mrc", "sha256": io.sha256("soft.mrc")}
    assert shape("--recipe", "mask.json", output="again.mrc", grid=()) == 0
    assert np.array_equal(gm.read("again.mrc").data, made.data)


def test_inverted_and_binary(folder, capsys):
    assert shape("sphere", "--radius", "8px", "--soft-edge", "0px", "--invert", "--mode", "int8") == 0
    made = gm.read("mask.mrc")
    assert made.header.mode == 0
    assert np.array_equal(made.data, 1 - shapes.soft_mask(shapes.Sphere(8), SHAPE))
    document = json.loads(Path("mask.json").read_text())
    assert document["verdict"] == "hard"
    assert document["faces_touched"] == []
    assert "hard edge leaks" in capsys.readouterr().err


def test_warnings(folder, capsys):
    assert shape("sphere", "--radius", "8px", "--soft-edge", "3px", "--centre", "2,15,12", "--resolution", "3.5A") == 0
    err = capsys.readouterr().err
    assert "meets the box face -x, where it is cut off hard" in err
    assert "the soft edge 3 px = 4.2 Å is under 5 x resolution = 12.5 px = 17.5 Å" in err
    assert err.count("warning:") == err.count("\n") == 2


def test_only_the_header_of_the_reference_is_read(folder):
    """A reference with NaN in it has a grid all the same."""
    raw = bytearray(Path("ref.mrc").read_bytes())
    raw[1024:1028] = np.float32(np.nan).tobytes()
    Path("ref.mrc").write_bytes(raw)
    assert shape(*SPHERE) == 0


@pytest.mark.parametrize(("words", "grid", "code", "texts"), [
    (["sphere"], ("--like", "ref.mrc"), 2, ["a sphere needs its radius"]),
    ([], ("--like", "ref.mrc"), 2, ["needs a shape"]),
    (SPHERE, (), 2, ["needs a grid"]),
    (SPHERE, ("--box", "30"), 2, ["needs a voxel size"]),
    (SPHERE, ("--box", "30,30", "--voxel-size", "1"), 2, ["one or three"]),
    (SPHERE, ("--box", "0", "--voxel-size", "1"), 2, ["1 to 16384 voxels"]),
    (SPHERE, ("--box", "30", "--voxel-size", "1", "--like", "ref.mrc"), 2, ["not both"]),
    (SPHERE, ("--box", "16000", "--voxel-size", "1"), 5, ["16000 x 16000 x 16000", "GiB are free"]),
    (SPHERE, ("--like", "none.mrc"), 3, ["none.mrc", "check the name"]),
    ([*SPHERE, "--centre", "900,0,0A"], ("--like", "ref.mrc"), 3, ["the mask is empty", "38 x 34 x 30"]),
    (["sphere", "--radius", "99px"], ("--like", "ref.mrc"), 3, ["the mask is everything", "make it smaller"]),
    (["sphere", "--radius", "99px", "--invert"], ("--like", "ref.mrc"), 3, ["the mask is everything"]),
    ([*SPHERE, "--mode", "int8"], ("--like", "ref.mrc"), 3, ["binary masks only"]),
    ([*SPHERE, "--times", "ref.mrc"], (), 3, ["ref.mrc", "is an empty mask"]),
    ([*SPHERE, "--recipe", "none.json"], ("--like", "ref.mrc"), 3, ["none.json: cannot be read as a recipe"]),
])  # fmt: skip
def test_refusals_leave_nothing_behind(folder, capsys, words, grid, code, texts):
    before = names()
    assert shape(*words, grid=grid) == refused(capsys, code, *texts) == code
    assert names() == before


def test_outputs_are_not_overwritten_and_an_input_never_is(folder, capsys):
    assert shape(*SPHERE) == 0
    written = Path("mask.mrc").read_bytes(), Path("mask.json").read_bytes()
    capsys.readouterr()
    assert shape("sphere", "--radius", "5px") == refused(capsys, 3, "mask.mrc: is already there", "--force")
    assert (Path("mask.mrc").read_bytes(), Path("mask.json").read_bytes()) == written
    before = Path("ref.mrc").read_bytes()
    assert shape(*SPHERE, "--force", output="ref.mrc") == refused(capsys, 2, "ref.mrc: is an input")
    assert Path("ref.mrc").read_bytes() == before
    Path("own.json").write_text('{"shape": "sphere", "radius": "8px"}')
    assert shape("--recipe", "own.json", "--force", output="own.mrc") == refused(capsys, 2, "own.json: is an input")
    assert Path("own.json").read_text() == '{"shape": "sphere", "radius": "8px"}'
    assert not Path("own.mrc").exists()
    grid = ("--box", "30", "--voxel-size", "1")
    assert shape(*SPHERE, output="none/mask.mrc", grid=grid) == refused(capsys, 5, "the folder none is not there")
    assert shape(*SPHERE, output="mask.json", grid=grid) == refused(capsys, 2, "a name of its own")
    assert shape("sphere", "--radius", "5px", "--force") == 0


def test_a_mask_on_another_grid_is_not_multiplied(folder, capsys):
    gm.write("other.mrc", gm.Volume(gm.mask.dilate(np.eye(9)[None] * np.eye(9)[:, None], 1).astype(np.float32), VOXEL))
    code = shape(*SPHERE, "--times", "other.mrc")
    assert code == refused(capsys, 3, "other.mrc: has a box of 9 x 9 x 9 voxels", "ref.mrc of 38 x 34 x 30")
    gm.write("far.mrc", gm.Volume((np.indices(SHAPE)[2] < 4).astype(np.float32), VOXEL))
    code = shape(*SPHERE, "--times", "far.mrc", "--centre", "30,15,15", "--radius", "3px")
    assert code == refused(capsys, 3, "far.mrc is 0 wherever the sphere is not", "the mask is empty")
    assert "mask.mrc" not in names()


def test_out_of_memory_on_a_device_goes_on_on_the_cpu(folder, monkeypatch):
    calls = []

    def place(array, device):
        calls.append(device)
        if device != "cpu":
            raise MemoryError("full")
        return array

    monkeypatch.setattr(backend, "choose", lambda device: ("cuda:0", "the first one"))
    monkeypatch.setattr(backend, "current", lambda where: __import__("contextlib").nullcontext())
    monkeypatch.setattr(backend, "free_memory", lambda device: None)
    monkeypatch.setattr(backend, "place_array", place)
    done = job.shape(ShapeRecipe("sphere", radius=5, soft_edge=3), "mask.mrc", like="ref.mrc")
    assert (calls, done["device"]) == (["cuda:0", "cpu"], "cpu")
    assert done["warnings"] == ["out of memory on cuda:0; computed on the CPU"]


def test_names_of_the_command_line_are_those_of_the_library():
    from gpumask.cli.shape import FIELDS, NAMES

    assert tuple(shapes.SHAPES) == NAMES
    assert set(ShapeRecipe("sphere", radius=1).to_dict()) == set(FIELDS)


def test_the_recipe_of_a_mask_from_a_map_is_no_shape(folder, capsys):
    Path("map.json").write_text(json.dumps({"recipe": {"threshold": "0.5"}}))
    assert shape("--recipe", "map.json") == refused(capsys, 2, "unknown key in the recipe of a shape: threshold")
    Path("map.json").write_text(json.dumps({"recipe": {"shape": "sphere", "radius": 5}, "options": {"box": 30}}))
    assert shape("--recipe", "map.json", grid=()) == refused(capsys, 2, "map.json: the box must be a list of three")
    for part, name, value, text in (
        ("options", "like", 7, "like must be text, got 7"),
        ("options", "times", [1], "times must be text, got [1]"),
        ("options", "mode", {}, "mode must be text, got {}"),
        ("options", "box", [True, 30, 30], "whole numbers of voxels"),
        ("options", "voxel_size_angstrom", [1, [], 1], "three numbers > 0 Å"),
        ("recipe", "shape", ["sphere"], "shape must be text, got ['sphere']"),
        ("recipe", "radius", [5], "radius of the sphere must be a length"),
    ):
        document = {
            "recipe": {"shape": "sphere", "radius": 5},
            "options": {"box": [30, 30, 30], "voxel_size_angstrom": [1, 1, 1]},
        }
        document[part][name] = value
        Path("map.json").write_text(json.dumps(document))
        assert shape("--recipe", "map.json", grid=()) == refused(capsys, 2, text)
        assert names() == ["map.json", "ref.mrc"]
    with pytest.raises(UsageError, match="needs a grid"):
        job.shape(ShapeRecipe("sphere", radius=5), "mask.mrc")
