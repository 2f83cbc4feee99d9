"""gpumask model: masks, densities and lists, their files, provenance, grids, refusals."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpumask as gm
from gpumask import io, job, models, units
from gpumask.cli import main
from gpumask.models import ModelRecipe
from gpumask.volume import Header

pytest.importorskip("gemmi", reason="the extra `model` is not installed")

SHAPE, VOXEL, ORIGIN = (32, 34, 38), 1.4, (10.0, -20.0, 5.5)
ATOM = "{:<6}{:5d} {:<4} {:<3} {}{:4d}    {:8.3f}{:8.3f}{:8.3f}  1.00 10.00          {:>2}\n"
HELIX = [  # x, y, z in the middle of the box
    (30 + 4 * np.cos(step), 4 + 4 * np.sin(step), 24 + 1.5 * step) for step in range(12)
]


def pdb(shift=0.0):
    """A chain of protein and a water, in the middle of ref.mrc where `shift` is 0."""
    text = "".join(ATOM.format("ATOM", i, " CA", "GLY", "A", i, x + shift, y, z, "C")
                   for i, (x, y, z) in enumerate(HELIX, 1))  # fmt: skip
    return text + "TER\n" + ATOM.format("HETATM", 90, " O", "HOH", "W", 1, 14 + shift, -6, 34, "O")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with ref.mrc, off the origin, and x.pdb in it."""
    monkeypatch.setattr("gpumask.cli.terminal.PATIENCE", float("inf"))
    monkeypatch.chdir(tmp_path)
    gm.write("ref.mrc", gm.Volume(np.zeros(SHAPE, np.float32), VOXEL, Header(ORIGIN, (1, 2, 3))))
    Path("x.pdb").write_text(pdb())
    return tmp_path


def model(*words, path="x.pdb", output="mask.mrc", grid=("--like", "ref.mrc")):
    return main(["model", path, *words, *grid, "-o", output, "--device", "cpu"])


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
    assert model("--soft-edge", "4px") == 0
    assert names() == ["mask.json", "mask.mrc", "ref.mrc", "x.pdb"]
    made, reference = gm.read("mask.mrc"), gm.read("ref.mrc")
    assert (made.voxel_size, made.header.origin, made.header.nstart) == (reference.voxel_size, ORIGIN, (1, 2, 3))
    chosen = models.read("x.pdb").select("protein")
    wanted = gm.mask.soft_mask(models.base(chosen, 3, reference), 0, 4)
    assert np.array_equal(made.data, wanted)
    assert made.header.labels[-1].startswith(f"gpumask {gm.__version__} model, recipe ")
    out, err = capsys.readouterr()
    for text in ("not water: 12 atoms (residues: 12 protein)", "2.14 px = 3.0 Å", "4 px = 5.6 Å", "mask.json"):
        assert text in out, out
    assert err == ""


@pytest.mark.parametrize("style", ["euclidean", "relion", "cryodrgn"])
def test_dilation_and_edge_are_those_of_a_map_s_mask(folder, style):
    words = ["--radius", "2.8A", "--dilate", "3px", "--soft-edge", "5px", "--style", style]
    assert model(*words) == 0
    base = models.base(models.read("x.pdb").select("not water"), 2.8, gm.read("ref.mrc"))
    gm.write("base.mrc", gm.Volume(base.astype(np.float32), VOXEL, Header(ORIGIN)))
    create = ["create", "base.mrc", "-o", "same.mrc", "--threshold", "0.5", *words[2:], "--device", "cpu"]
    assert main(create) == 0
    assert np.array_equal(gm.read("mask.mrc").data, gm.read("same.mrc").data)


def test_lengths_in_px_and_angstrom_are_one_mask(folder):
    assert model("--radius", "4.2A", "--dilate", "2.8A", "--soft-edge", "7A") == 0
    assert model("--radius", "3px", "--dilate", "2px", "--soft-edge", "5px", output="px.mrc") == 0
    assert np.array_equal(gm.read("mask.mrc").data, gm.read("px.mrc").data)
    assert model("--radius", "4.2A", "--dilate", "2.8A", "--soft-edge", "7A", output="twice.mrc") == 0
    assert Path("twice.mrc").read_bytes() == Path("mask.mrc").read_bytes()


def test_json_is_one_document_and_that_of_the_file(folder, capsys):
    assert model("--select", "chain A residue 1-6", "--resolution", "1.4A", "--json") == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert json.loads(Path("mask.json").read_text()) == document
    made = gm.read("mask.mrc")
    recipe = ModelRecipe("chain A residue 1-6", resolution="1.4A")
    assert (document["recipe"], document["recipe_hash"]) == (recipe.to_dict(), recipe.hash)
    assert document["input"] == {"path": "x.pdb", "sha256": io.sha256("x.pdb")}
    assert [(row["kind"], row["atoms"]) for row in document["selected"]] == [("protein", 6)]
    assert (document["box"], document["origin_angstrom"]) == ([38, 34, 32], [5.5, -20.0, 10.0])
    assert document["radius_px"] == pytest.approx(3 / made.voxel_size[0])
    assert document["soft_edge_px"] == document["minimum_soft_edge_px"] == 5
    assert document["verdict"] == "ok"
    assert document["volume_angstrom3"] == pytest.approx(made.data.sum(dtype=float) * 1.4**3, rel=1e-6)
    assert document["equivalent_edge_px"] == gm.mask.equivalent_edge(made.data)
    assert document["base_voxels"] == models.base(models.read("x.pdb").select("residue 1-6 protein"), 3, made).sum()
    assert document["atoms_outside"] == 0
    assert document["faces_touched"] == document["warnings"] == []
    assert err == ""


@pytest.mark.parametrize(("words", "grid"), [
    (["--style", "servalcat", "--radius", "3A", "--soft-edge", "5A"], ("--like", "ref.mrc")),
    (["--dilate=-1px", "--edge", "linear", "--invert"], ("--box", "40,50,60", "--voxel-size", "1.1")),
    (["--radius", "4A", "--soft-edge", "6A"], ("--voxel-size", "1.1,1.2,1.5")),
    (["--density", "6A"], ("--voxel-size", "1.5", "--padding", "9A")),
])  # fmt: skip
def test_a_recipe_makes_the_same_bytes_again(folder, words, grid):
    assert model(*words, "--select", "all", grid=grid) == 0
    assert model("--recipe", "mask.json", output="again.mrc", grid=()) == 0
    assert Path("again.mrc").read_bytes() == Path("mask.mrc").read_bytes()


def test_flags_override_a_recipe(folder):
    assert model("--radius", "4A", "--soft-edge", "4px") == 0
    assert model("--recipe", "mask.json", "--radius", "3A", output="small.mrc", grid=()) == 0
    assert model("--soft-edge", "4px", output="plain.mrc") == 0
    assert np.array_equal(gm.read("small.mrc").data, gm.read("plain.mrc").data)
    assert model("--recipe", "mask.json", output="box.mrc", grid=("--voxel-size", "2")) == 0
    assert gm.read("box.mrc").voxel_size == (2, 2, 2)
    Path("plain.toml").write_text('soft_edge = "4px"\n')
    assert model("--recipe", "plain.toml", output="toml.mrc") == 0
    assert np.array_equal(gm.read("toml.mrc").data, gm.read("plain.mrc").data)


@pytest.mark.parametrize(("name", "value", "text"), [
    ("like", 5, "like must be text, got 5"), ("padding", ["9A"], "padding must be text"),
    ("mode", 2, "mode must be text"), ("box", 40, "box must be a list of three numbers"),
    ("voxel_size_angstrom", "1", "voxel size must be a list"),
    ("micelle", "0.03", "a micelle is a threshold and a lowpass"),
    ("micelle", {"threshold": 0.03, "lowpass": 20}, "threshold of a micelle must be text"),
])  # fmt: skip
def test_options_of_a_recipe_that_cannot_be(folder, capsys, name, value, text):
    assert model("--soft-edge", "4px") == 0
    capsys.readouterr()
    document = json.loads(Path("mask.json").read_text())
    document["options"][name] = value
    Path("mask.json").write_text(json.dumps(document))
    assert model("--recipe", "mask.json", output="again.mrc", grid=()) == refused(capsys, 2, text) == 2


def test_a_density_is_that_of_the_library(folder, capsys):
    assert model("--density", "6A", "--select", "protein", output="map.mrc") == 0
    wanted = models.density(models.read("x.pdb").select("protein"), 6, gm.read("ref.mrc"))
    made = gm.read("map.mrc")
    assert np.array_equal(made.data, wanted)
    assert made.header.labels[-1].startswith(f"gpumask {gm.__version__} model density, recipe ")
    document = json.loads(Path("map.json").read_text())
    assert document["recipe"]["density"] == "6A"
    assert "verdict" not in document
    assert "at 6 Å, as molmap" in capsys.readouterr().out


def test_a_box_around_the_atoms_holds_the_mask_and_lies_where_it_does(folder):
    assert model("--soft-edge", "4px", grid=("--voxel-size", "1.4")) == 0
    made, box = gm.read("mask.mrc"), json.loads(Path("mask.json").read_text())
    assert box["faces_touched"] == []
    whole = models.base(models.read("x.pdb").select("protein"), 3, made)
    assert whole.sum() == box["base_voxels"] > 0
    assert model("--density", "4A", output="map.mrc", grid=("--voxel-size", "1")) == 0
    grid = gm.read("map.mrc")
    wanted = models.around(models.read("x.pdb").select("not water"), 1.0, 12.0)
    assert (grid.shape, grid.origin) == (wanted.shape, wanted.origin)


def test_a_box_by_its_numbers_has_the_origin_0(folder):
    Path("at.pdb").write_text(ATOM.format("ATOM", 1, " CA", "GLY", "A", 1, 10, 11, 12, "C"))
    assert model("--radius", "5A", "--soft-edge", "0px", path="at.pdb", grid=("--box", "24", "--voxel-size", "1")) == 0
    made = gm.read("mask.mrc")
    assert made.data.sum() == 515
    assert gm.mask.centre_of_mass(made.data) == (12, 11, 10)
    assert json.loads(Path("mask.json").read_text())["verdict"] == "hard"


def test_inverted_and_binary(folder, capsys):
    assert model("--soft-edge", "0px", "--invert", "--mode", "int8") == 0
    made = gm.read("mask.mrc")
    base = models.base(models.read("x.pdb").select("protein"), 3, made)
    assert np.array_equal(made.data, 1 - base.astype(np.float32))
    assert "a hard edge leaks" in capsys.readouterr().err


def test_warnings(folder, capsys):
    Path("far.pdb").write_text(pdb(shift=28.0))
    assert model("--select", "all", "--soft-edge", "2px", "--resolution", "3A", path="far.pdb") == 0
    err = capsys.readouterr().err
    assert "of 13 selected atoms" in err
    assert "lie outside the box" in err
    assert "meets the box face +x" in err
    assert "the soft edge 2 px = 2.8 Å is under 5 x resolution = 10.71 px = 15.0 Å" in err
    assert "the mask has 2 islands; join them with a larger radius" in err
    assert "--largest" not in err


def test_what_was_left_out_in_reading_is_told(folder, capsys):
    Path("two.pdb").write_text("".join(f"MODEL {number:8}\n{pdb()}ENDMDL\n" for number in (1, 2)))
    assert model("--soft-edge", "4px", path="two.pdb", output="two.mrc") == 0
    told = "two.pdb: the first of 2 models is used"
    assert json.loads(Path("two.json").read_text())["warnings"] == [told]
    assert capsys.readouterr().err == f"warning: {told}\n"


def test_list(folder, capsys):
    assert main(["model", "x.pdb", "--list"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["kind", "residues", "atoms", "kDa", "chains", "what"]
    assert out[1].split() == ["protein", "12", "12", "0.1", "A", "GLY", "12"]
    assert out[2].split() == ["water", "1", "1", "0.0", "W", "HOH", "1"]
    assert out[3].split() == ["all", "13", "13", "0.2"]
    assert len({line.index(word) for line, word in zip(out[:3], ("what", "GLY", "HOH"), strict=True)}) == 1
    assert main(["model", "x.pdb", "--list", "--select", "water", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == job.list_model("x.pdb", "water")
    assert [row["kind"] for row in document["kinds"]] == ["water"]
    assert names() == ["ref.mrc", "x.pdb"]


def test_list_of_a_glycoprotein(data, capsys):
    assert main(["model", str(data / "models" / "5fji.pdb.gz"), "--list"]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[1:6]] == ["protein", "glycan", "ligand", "water", "all"]
    assert "18 sites with glycans" in out
    assert "A ASN 61   MAN×4 NAG×2 BMA" in out.splitlines()
    assert "91 sugars in all" in out
    assert "217 atoms of less occupied conformers" in err


def test_servalcat_s_mask_by_the_verb(data, tmp_path):
    reference = data / "reference_masks" / "serv_modelmask_r3_s5.mrc.gz"
    words = ["--select", "all", "--radius", "3A", "--soft-edge", "5A", "--style", "servalcat", "--device", "cpu"]
    path, like = str(data / "models" / "5ni1_updated.cif"), str(data / "maps" / "emd_3488.mrc.gz")
    assert main(["model", path, "--like", like, *words, "-o", str(tmp_path / "mask.mrc")]) == 0
    made = gm.read(tmp_path / "mask.mrc")
    width = units.to_px("5A", made.voxel_size)
    assert json.loads((tmp_path / "mask.json").read_text())["soft_edge_px"] == width
    # see test_models.test_servalcat_soft_mask
    assert np.abs(made.data - gm.read(reference).data).max() < 7e-6


@pytest.mark.parametrize(("words", "grid", "code", "texts"), [
    ((), (), 2, ["needs a grid"]),
    ((), ("--box", "30"), 2, ["needs a voxel size"]),
    ((), ("--box", "0", "--voxel-size", "1"), 2, ["1 to 16384 voxels"]),
    ((), ("--box", "30", "--voxel-size", "1", "--like", "ref.mrc"), 2, ["not both"]),
    ((), ("--padding", "9A", "--like", "ref.mrc"), 2, ["padding is of a box around the model"]),
    ((), ("--padding=-9A", "--voxel-size", "1"), 2, ["padding must be >= 0"]),
    ((), ("--box", "16000", "--voxel-size", "1"), 5, ["16000 x 16000 x 16000", "GiB are free"]),
    ((), ("--like", "none.mrc"), 3, ["none.mrc", "check the name"]),
    (["--select", "glycan"], ("--like", "ref.mrc"), 3, ["x.pdb: holds no 'glycan'", "12 protein", "1 water"]),
    (["--select", "peptides"], ("--like", "ref.mrc"), 2, ["'peptides', word 1", "known are protein"]),
    (["--radius", "99A"], ("--like", "ref.mrc"), 3, ["the mask is everything", "smaller radius"]),
    (["--dilate=-9px"], ("--like", "ref.mrc"), 3, ["the mask is empty"]),
    (["--radius", "0A"], ("--like", "ref.mrc"), 3, ["no voxel centre lies as near to an atom"]),
    (["--select", "chain A,Z"], ("--like", "ref.mrc"), 3, ["has no chain 'Z'", "it has A,W"]),
    (["--select", "chain A, not water"], ("--like", "ref.mrc"), 2, ["'not' in the list of 'chain'"]),
    (["--mode", "int8"], ("--like", "ref.mrc"), 3, ["binary masks only"]),
    (["--density", "5A", "--soft-edge", "3px"], ("--like", "ref.mrc"), 2, ["a density has no soft edge"]),
    (["--recipe", "none.json"], ("--like", "ref.mrc"), 3, ["none.json: cannot be read as a recipe"]),
    (["--device", "cuda:99"], ("--like", "ref.mrc"), 4, ["cuda"]),
])  # fmt: skip
def test_refusals_leave_nothing_behind(folder, capsys, words, grid, code, texts):
    before = names()
    call = ["model", "x.pdb", *grid, "-o", "mask.mrc", "--device", "cpu", *words]
    assert main(call) == refused(capsys, code, *texts) == code
    assert names() == before


@pytest.mark.parametrize(("name", "content", "texts"), [
    ("ref.mrc", None, ["is a map, not a model"]),
    ("none.pdb", None, ["none.pdb", "check the name"]),
    ("cut.pdb.gz", gzip.compress(pdb().encode(), mtime=0)[:99], ["cut.pdb.gz", "damaged compressed file"]),
    ("empty.pdb", b"", ["empty.pdb", "holds no atoms"]),
    ("noise.pdb", bytes(range(256)) * 9, ["noise.pdb", "neither PDB nor mmCIF"]),
    ("off.pdb", pdb(shift=500).encode(), ["off.pdb: lies off the grid by", "belong together"]),
])  # fmt: skip
def test_models_that_cannot_be_used_are_refused(folder, capsys, name, content, texts):
    if content is not None:
        Path(name).write_bytes(content)
    before = names()
    assert model(path=name) == refused(capsys, 3, *texts) == 3
    assert names() == before


def test_outputs_that_cannot_be(folder, capsys):
    assert model(output="ref.mrc", grid=("--like", "ref.mrc", "--force")) == refused(capsys, 2, "is an input") == 2
    halves = ("half1.mrc", "half2.mrc")
    for name in halves:
        Path(name).write_bytes(b"half")
    for name in halves:
        words = ["--core-soft", "--half1", "half1.mrc", "--force"]
        assert model(*words, output=name) == refused(capsys, 2, f"{name}: is an input") == 2
        assert Path(name).read_bytes() == b"half"
    assert model(output="mask.json") == refused(capsys, 2, "needs a name of its own") == 2
    Path("mask.mrc").write_bytes(b"old")
    assert model() == refused(capsys, 3, "mask.mrc: is already there") == 3
    assert Path("mask.mrc").read_bytes() == b"old"


def test_a_list_makes_no_mask(folder, capsys):
    assert main(["model", "x.pdb"]) == 2
    assert "one of the arguments -o/--output --list is required" in capsys.readouterr().err
    for words in (["--radius", "3A"], ["--core-soft"], ["--half1", "half1.mrc"], ["--assume-unmasked"], ["--invert"],
                  ["--micelle", "0"], ["--lowpass", "20A"], ["--force"], ["--device", "cpu"]):  # fmt: skip
        assert main(["model", "x.pdb", "--list", *words]) == refused(capsys, 2, f"leave {words[0]} out") == 2


def test_help_imports_nothing_third_party():
    code = "import sys; from gpumask.cli import main; main(['model', '--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(gm.__file__).parents[1])  # fmt: skip
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert not loaded & {"numpy", "scipy", "mrcfile", "gemmi"}
