"""Core-soft masks and micelles of a simulated glycoprotein: what they keep, that they leak less, and what is said."""

import functools
import json
from pathlib import Path

import glycoprotein
import numpy as np
import pytest

import gpumask as gm
from gpumask import coverage, mask, models
from gpumask.cli import main
from gpumask.errors import UsageError
from gpumask.job import core_soft
from gpumask.recipe import MaskRecipe
from gpumask.volume import Header

gemmi = pytest.importorskip("gemmi", reason="the extra `model` is not installed")

BOX, VOXEL = 64, 2.0
ORIGIN = (10.0, -20.0, 30.0)  # Å, (z, y, x)
RESOLUTIONS = {"protein": 5.0, "glycan": 14.0}  # Å: glycans sway
NOISE = 0.1  # of the highest density, in a half map
CREATE = ["map.mrc", "-o", "mask.mrc", "--lowpass", "8A", "--threshold", "0.12", "--largest", "1"]
NARROW = ["--dilate", "1px", "--soft-edge", "18px"]  # so that masks end inside so small a box
BOTH_HALVES = ["--half1", "half1.mrc", "--resolution", "5A"]
LEVEL = 0.12


@functools.cache
def text():
    return glycoprotein.text([o + BOX // 2 * VOXEL for o in reversed(ORIGIN)])


@functools.cache
def bodies():
    """Density of the protein and of its glycans; the highest voxel of both is 1."""
    grid = gm.Volume(np.zeros((BOX,) * 3, np.float32), VOXEL, Header(origin=ORIGIN))
    model = models.parse(text(), "model.pdb")
    made = [models.density(model.select(kind), resolution, grid) for kind, resolution in RESOLUTIONS.items()]
    highest = sum(made).max()
    return [part / highest for part in made]


@functools.cache
def halves():
    random = np.random.default_rng(2)
    return [(sum(bodies()) + NOISE * random.standard_normal((BOX,) * 3)).astype(np.float32) for _ in range(2)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with half maps, their mean and the mean of a box of its own in it."""
    monkeypatch.setattr("gpumask.cli.terminal.PATIENCE", float("inf"))  # no progress on a slow machine
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUMASK_DEVICE", "cpu")
    header = Header(origin=ORIGIN)
    for number, half in enumerate(halves(), 1):
        gm.write(f"half{number}.mrc", gm.Volume(half, VOXEL, header))
    Path("model.pdb").write_text(text())
    gm.write("map.mrc", gm.Volume(sum(halves()) / 2, VOXEL, header))
    return tmp_path


def document(capsys, verb, *words):
    """The document of ``--json``, which is what lies beside the mask."""
    assert main([verb, *words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    written = json.loads(Path("mask.json").read_text(), parse_constant=pytest.fail)
    assert written["core_soft"] == told["core_soft"]
    return told


def refused(capsys, code, words, *texts):
    assert main(words) == code
    said = capsys.readouterr().err
    assert all(text in said for text in texts), said
    assert not Path("mask.mrc").exists()


def test_the_bonds_of_the_simulated_file_are_read():
    """Of each sugar one, to the one before it or to the asparagine."""
    structure = gemmi.read_pdb_string(text())
    links = structure.connections
    assert len(links) == glycoprotein.SITES * glycoprotein.SUGARS
    for link in links:
        one, other = (structure[0].find_cra(end).atom for end in (link.partner1, link.partner2))
        assert one.pos.dist(other.pos) == pytest.approx(link.reported_distance, abs=2e-3)  # coordinates of three digits
        assert (link.reported_distance, link.type) == (glycoprotein.BOND, gemmi.ConnectionType.Covale)


# from a map


def test_the_core_is_kept_and_the_leak_is_lower_than_of_a_mask_that_covers_all(folder, capsys):
    found = document(capsys, "create", *CREATE, *NARROW, "--core-soft", *BOTH_HALVES)
    assert not any("reaches the faces" in text for text in found["warnings"])
    made = found["core_soft"]
    soft, cover, wide = made["masks"].values()
    assert wide["leak_mean"] < soft["leak_mean"]  # it is the edge that leaks less
    assert soft["core"]["kept"] == cover["core"]["kept"] == 1  # density under a mask of its own base
    assert cover["weak"]["kept"] == 1
    assert 0.3 < soft["weak"]["edge"] < 0.5
    assert soft["weak"]["cut"] == 0
    assert soft["leak_mean"] < cover["leak_mean"] / 2
    assert soft["predicted_fsc"] < cover["predicted_fsc"]
    assert soft["mask_limited_resolution"] >= cover["mask_limited_resolution"]
    assert [Path(one["path"]).name for one in made["half_maps"].values()] == ["half1.mrc", "half2.mrc"]


def test_the_shares_and_the_leak_are_those_of_the_library(folder, capsys):
    made = document(capsys, "create", *CREATE, *NARROW, "--core-soft", *BOTH_HALVES)["core_soft"]
    low = gm.filters.lowpass(sum(halves()) / 2, 8, VOXEL)
    core = gm.regions.largest(low >= np.float32(LEVEL))
    both = gm.regions.holding((low >= np.float32(LEVEL / 2)) | core, core)
    masks = {
        "core_soft": mask.soft_mask(core, 1, 18),
        "cover": mask.soft_mask(both, 1, 12),
        "cover_same_edge": mask.soft_mask(both, 1, 18),
    }
    assert list(masks) == list(made["masks"])
    assert np.array_equal(gm.read("mask.mrc").data, masks["core_soft"])
    for name, soft in masks.items():
        told = made["masks"][name]
        assert told["core"] == coverage.shares(soft, low * core)._asdict()
        assert told["weak"] == coverage.shares(soft, low * (both & ~core))._asdict()
        found = gm.mask_spectrum(soft, 5, *halves(), voxel_size=VOXEL, seeds=0)
        assert (told["leak_mean"], told["k_leak"]) == (found.leak_mean, found.k_leak)
        assert told["predicted_fsc"] == found.predicted_fsc[round(BOX * VOXEL / 5)]


def test_it_is_the_preset_and_nothing_else_is_changed(folder, capsys):
    small = CREATE
    made = document(capsys, "create", *small, "--core-soft")
    written = Path("mask.mrc").read_bytes()
    assert main(["create", *small, "--preset", "glycoprotein", "--force"]) == 0
    assert Path("mask.mrc").read_bytes() == written
    preset = json.loads(Path("mask.json").read_text())
    assert preset["recipe_hash"] == made["recipe_hash"]
    assert "core_soft" not in preset
    assert (made["dilation_px"], made["soft_edge_px"], made["recipe"]["soft_edge"]) == (6, 25, "25px")
    assert made["core_soft"]["half_maps"] is None
    assert made["core_soft"]["masks"]["cover"]["leak_mean"] is None
    assert main(["create", "map.mrc", "-o", "again.mrc", "--recipe", "mask.json"]) == 0
    assert Path("again.mrc").read_bytes() == written


@pytest.mark.parametrize(
    ("words", "dilation", "width"),
    [
        (["--resolution", "8A"], 6, 25),  # 5 x 8 Å are 20 px
        (["--resolution", "12.3A"], 6, 31),  # 30.75 px
        (["--resolution", "12.3A", "--soft-edge", "20px"], 6, 20),
        (["--dilate", "2px"], 2, 25),
        (["--erode", "1px"], -1, 25),
        (["--near", "4A", "--far", "24A"], 2, 10),
    ],
)
def test_resolution_widens_the_edge_and_lengths_that_are_given_hold(folder, capsys, words, dilation, width):
    made = document(capsys, "create", *CREATE, "--core-soft", *words)
    assert (made["dilation_px"], made["soft_edge_px"]) == (dilation, width)
    assert made["core_soft"]["masks"]["cover"]["soft_edge_px"] == 12
    assert made["core_soft"]["masks"]["cover"]["dilation_px"] == dilation


def test_on_the_grid_of_a_reference_the_shares_are_of_what_lies_in_it(folder, capsys):
    whole = gm.read("map.mrc")
    gm.write("crop.mrc", gm.grids.crop(whole, (4, 8, 0), (60, 64, 64)))
    made = document(capsys, "create", *CREATE, "--dilate", "1px", "--soft-edge", "6px", "--core-soft", "--like",
                    "crop.mrc")["core_soft"]["masks"]  # fmt: skip
    Path("mask.mrc").unlink()
    other = document(capsys, "create", *CREATE, "--dilate", "1px", "--soft-edge", "6px", "--core-soft",
                     "--force")["core_soft"]["masks"]  # fmt: skip
    for name in made:
        for body in ("core", "weak"):
            assert made[name][body] == pytest.approx(other[name][body], rel=BOX**3 * np.finfo(float).eps)


def test_what_a_person_reads(folder, capsys):
    assert main(["create", *CREATE, *NARROW, "--core-soft", *BOTH_HALVES]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("") + 1
    table = lines[start:]
    assert [head.strip() for head in table[0].split("  ") if head] == ["core-soft", "covering both", "both, same edge"]
    assert [line.split("  ")[0] for line in table[1:4]] == ["dilation", "soft edge", "density >= 0.12"]
    assert sum(line.strip().startswith("kept") for line in table) == 2
    assert any(line.startswith("leak Λ  ") for line in table)
    assert any(line.startswith("FSC it makes at 5 Å") for line in table)
    places = [[at for at in range(len(line)) if line[at - 2 : at] == "  " and line[at] != " "] for line in table[:3]]
    assert len(places[0]) == 3 and places[0] == places[1] == places[2]  # columns
    assert main(["create", *CREATE, *NARROW, "--core-soft", "--force"]) == 0
    bare = capsys.readouterr().out.splitlines()
    first, across = len("  mean of the mask"), len("both, same edge")
    assert f"{'leak':<{first}}  not told: give the half maps, --half1 (and --half2)" in bare
    assert f"{'':<{first}}  {'core-soft':<{across}}  {'covering both':<{across}}  both, same edge" in bare
    assert main(["create", *CREATE, *NARROW, "--core-soft", "--half1", "half1.mrc", "--force"]) == 0
    assert "not told: it is a mean up to a resolution, --resolution" in capsys.readouterr().out


def test_half_maps_that_are_masked_tell_no_leak_and_why(folder, capsys):
    ball = mask.soft_mask(bodies()[0] > 0.3, 2, 2)
    for number, half in enumerate(halves(), 1):
        gm.write(f"half{number}.mrc", gm.Volume(half * ball, VOXEL, Header(origin=ORIGIN)), overwrite=True)
    made = document(capsys, "create", *CREATE, *NARROW, "--core-soft", *BOTH_HALVES)
    assert made["core_soft"]["masks"]["core_soft"]["leak_mean"] is None
    assert any(text.startswith("no leak is told: the half maps seem to be masked") for text in made["warnings"])


def test_noise_at_half_the_threshold_is_told(folder, capsys):
    noisy = ["map.mrc", "-o", "mask.mrc", "--threshold", "0.16", "--largest", "1", *NARROW]
    made = document(capsys, "create", *noisy, "--core-soft")
    assert any("half the threshold, 0.08, reaches the faces of the box: that is noise" in t for t in made["warnings"])


def test_nothing_weak_around_the_core_leaves_one_mask(folder, capsys):
    gm.write("ball.mrc", gm.Volume((bodies()[0] > 0.3).astype(np.float32), VOXEL))
    words = ["ball.mrc", "-o", "mask.mrc", "--threshold", "0.5", *NARROW, "--core-soft"]
    made = document(capsys, "create", *words)
    assert made["core_soft"]["masks"]["cover"] is None
    assert made["core_soft"]["masks"]["core_soft"]["weak"] is None
    assert any("no weaker density around the core" in text for text in made["warnings"])
    assert main(["create", *words, "--force"]) == 0
    assert "no mask to compare with" in capsys.readouterr().out


def test_what_is_clipped_is_no_weak_density(folder, capsys):
    """A neighbour that touches the core at half the threshold and lies outside the clip sphere is not counted."""
    z, y, x = np.indices((48, 48, 48))
    heights = [np.exp(-((z - 24) ** 2 + (y - 24) ** 2 + (x - centre) ** 2) / 50) for centre in (16, 30)]
    clip = ["--clip-centre", "16,24,24", "--clip-radius", "9px"]
    gm.write("both.mrc", gm.Volume(sum(heights).astype(np.float32), VOXEL))
    words = ["both.mrc", "-o", "mask.mrc", "--threshold", "0.6", *clip, *NARROW, "--core-soft"]
    told = document(capsys, "create", *words)["core_soft"]["masks"]["core_soft"]
    inside = (x - 16) ** 2 + (y - 24) ** 2 + (z - 24) ** 2 <= 81
    density = np.where(inside & (sum(heights) < 0.6), sum(heights), 0)
    cover = gm.regions.holding(inside & (sum(heights) >= 0.3), inside & (sum(heights) >= 0.6))
    wanted = coverage.shares(gm.read("mask.mrc").data, (density * cover).astype(np.float32))
    assert told["weak"] == pytest.approx(wanted._asdict(), rel=1e-5)


def test_weak_density_of_both_signs(folder, capsys):
    """Of the map turned over the same is told, with --absolute-value."""
    gm.write("over.mrc", gm.Volume(-gm.read("map.mrc").data, VOXEL, Header(origin=ORIGIN)))
    words = [*CREATE[1:], *NARROW, "--absolute-value", "--core-soft", "--force"]
    made, over = (document(capsys, "create", name, *words)["core_soft"] for name in ("map.mrc", "over.mrc"))
    assert over == made


def test_inputs_are_not_written_over(folder, capsys):
    for number in (1, 2):
        name, before = f"half{number}.mrc", Path(f"half{number}.mrc").read_bytes()
        words = ["create", "map.mrc", "-o", name, *CREATE[3:], "--core-soft", "--half1", "half1.mrc", "--force"]
        refused(capsys, 2, words, f"{name}: is an input")
        assert Path(name).read_bytes() == before
    assert main(["create", *CREATE, *NARROW]) == 0
    recipe = Path("mask.json").read_bytes()
    assert main(["create", "map.mrc", "-o", "mask.mrc", "--recipe", "mask.json", "--force"]) == 2
    assert "mask.json: is an input" in capsys.readouterr().err
    assert Path("mask.json").read_bytes() == recipe


def test_what_is_refused(folder, capsys):
    asked = ["create", *CREATE]
    refused(capsys, 2, [*asked, "--half1", "half1.mrc"], "--half1: for the leak of a core-soft mask; give --core-soft")
    refused(capsys, 2, [*asked, "--core-soft", "--half2", "half2.mrc"], "give the first with --half1")
    refused(capsys, 2, [*asked, "--core-soft", "--preset", "glycoprotein"], "leave --preset out")
    refused(capsys, 2, [*asked, "--core-soft", "--invert"], "leave --invert out")
    below = [
        "create",
        "map.mrc",
        "-o",
        "mask.mrc",
        "--threshold=-0.1",
        "--core-soft",
        "--dilate",
        "0",
        "--soft-edge",
        "0",
    ]
    refused(capsys, 3, below, "the threshold is -0.1: give one above 0")
    gm.write("small_half1.mrc", gm.Volume(halves()[0][:32], VOXEL))
    gm.write("small_half2.mrc", gm.Volume(halves()[1][:32], VOXEL))
    refused(capsys, 3, [*asked, "--core-soft", "--half1", "small_half1.mrc"], "has a box of 64 x 64 x 32 voxels")
    slabs = ["--core-soft", "--memory", "3MB"]
    refused(capsys, 2, ["create", "map.mrc", "-o", "mask.mrc", "--threshold", "0.25", *slabs], "drop --core-soft")


def test_the_soft_edge_is_filled_in_only_where_it_is_left_open():
    def width(**fields):
        return core_soft.completed(MaskRecipe(0.1, **fields), (1.0, 1.0, 1.0)).soft_edge

    assert [width(), width(soft_edge=3), width(resolution="6A"), width(near="1A", far="2A")] == [
        *("25px", "3px", "30px", None)
    ]
    with pytest.raises(UsageError, match="leave --invert out"):
        width(invert=True)
    with pytest.raises(UsageError, match="give it in Å"):
        core_soft.completed(MaskRecipe(0.1), (1.0, 1.0, 2.0))


# from a model

MODEL = ["model.pdb", "--like", "map.mrc", "-o", "mask.mrc"]


def test_of_a_model_the_protein_is_kept_and_the_glycans_lie_in_the_edge(folder, capsys):
    made = document(capsys, "model", *MODEL, "--core-soft", *BOTH_HALVES)
    soft, cover = made["core_soft"]["masks"]["core_soft"], made["core_soft"]["masks"]["cover"]
    assert (made["recipe"]["select"], made["recipe"]["dilation"], made["recipe"]["soft_edge"]) == (
        *("protein or nucleic", "3A", "25px"),
    )
    assert soft["core"]["kept"] >= 0.99
    assert soft["weak"]["edge"] > 0.5 > soft["weak"]["kept"]
    assert cover["weak"]["kept"] >= 0.99
    assert soft["leak_mean"] < cover["leak_mean"] / 10
    assert soft["predicted_fsc"] < cover["predicted_fsc"]


def test_of_a_model_shares_are_of_its_densities(folder, capsys):
    words = ["--resolution", "6A", "--dilate", "4A", "--soft-edge", "20A", "--radius", "2A"]
    made = document(capsys, "model", *MODEL, "--core-soft", *words)
    model, grid = models.parse(text(), "model.pdb"), gm.read("map.mrc")
    protein, glycans = model.select("protein"), model.select("glycan")
    base = models.base(protein, 2, grid)
    expected = {
        "core_soft": mask.soft_mask(base, 2, 10),
        "cover": mask.soft_mask(base | models.base(glycans, 2, grid), 2, 12),
        "cover_same_edge": mask.soft_mask(base | models.base(glycans, 2, grid), 2, 10),
    }
    assert np.array_equal(gm.read("mask.mrc").data, expected["core_soft"])
    for name, soft in expected.items():
        told = made["core_soft"]["masks"][name]
        assert told["core"] == coverage.shares(soft, models.density(protein, 6, grid))._asdict()
        assert told["weak"] == coverage.shares(soft, models.density(glycans, 6, grid))._asdict()
    assert made["core_soft"]["core"] == "protein or nucleic: density of 646 atoms at 6 Å"
    assert made["core_soft"]["weak"] == "glycans: density of 112 atoms at 6 Å"


def test_a_model_without_glycans_beside_the_core_has_nothing_to_cover(folder, capsys):
    made = document(capsys, "model", *MODEL, "--core-soft", "--select", "protein or glycan")
    assert made["core_soft"]["masks"]["cover"] is None
    assert any("has no glycans beside what is selected" in text for text in made["warnings"])


def test_a_core_soft_model_needs_a_map_to_be_like(folder, capsys):
    alone = ["model", "model.pdb", "--voxel-size", "2", "-o", "mask.mrc"]
    refused(capsys, 2, [*alone, "--core-soft"], "--core-soft needs --like MAP")
    refused(capsys, 2, [*alone, "--micelle", "0.1"], "--micelle needs --like MAP")
    refused(capsys, 2, ["model", *MODEL, "--lowpass", "20A"], "give its level with --micelle")
    refused(capsys, 2, ["model", *MODEL, "--half1", "half1.mrc"], "give --core-soft too")
    refused(capsys, 2, ["model", *MODEL, "--micelle", "0.1", "--invert"], "leave --density and --invert out")


# a low-passed outside

OUTSIDE = ["--select", "protein", "--soft-edge", "6px", "--micelle", "0.03", "--lowpass", "12A"]


def test_the_outside_and_the_mask_are_the_particle_and_make_the_composite(folder, capsys):
    assert main(["model", *MODEL, *OUTSIDE, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [Path(name).name for name in told["files"]] == [
        *("mask.mrc", "mask.json", "mask_outside.mrc", "mask_applied.mrc")
    ]
    volume = gm.read("map.mrc")
    soft, outside = (gm.read(name).data for name in ("mask.mrc", "mask_outside.mrc"))
    base = models.base(models.parse(text(), "model.pdb").select("protein"), 3, volume)
    low = gm.filters.lowpass(volume.data, 12, VOXEL)
    labels = [gm.read(f"mask{name}.mrc").header.labels[-1] for name in ("", "_outside", "_applied")]
    assert [label.partition(", recipe")[0].split()[2:] for label in labels] == [
        *(["model"], ["model", "outside"], ["model", "applied"])
    ]
    particle = mask.soft_mask(gm.regions.holding((low >= np.float32(0.03)) | base, base), 0, 6)
    assert np.array_equal(soft, mask.soft_mask(base, 0, 6))
    assert np.abs(soft + outside - particle).max() <= np.finfo(np.float32).eps  # one sum of two float32 up to 1
    assert (particle - soft).min() >= 0
    applied = volume.data * soft + gm.filters.lowpass(volume.data * outside, 12, VOXEL)
    assert np.array_equal(gm.read("mask_applied.mrc").data, applied)
    facts = told["micelle"]
    assert facts["map"] == {"path": "map.mrc", "sha256": gm.io.sha256("map.mrc")}
    assert told["options"]["micelle"] == {"threshold": "0.03", "lowpass": 12.0}
    assert facts["overlap_angstrom3"] == pytest.approx(np.minimum(soft, outside).sum(dtype=float) * VOXEL**3, rel=1e-12)
    assert facts["particle_volume_angstrom3"] == pytest.approx(particle.sum(dtype=float) * VOXEL**3, rel=1e-12)
    assert facts["threshold"]["value"] == np.float32(0.03)
    # the glycans are what lies around this protein
    glycans = models.density(models.parse(text(), "model.pdb").select("glycan"), 6, volume)
    assert coverage.shares(soft, glycans).weighted < 0.35
    assert coverage.shares(np.minimum(soft + outside, 1), glycans).weighted > 0.75
    assert gm.read("mask_outside.mrc").origin == ORIGIN


def test_the_dilation_of_a_recipe_file_goes_before_the_default(folder):
    Path("recipe.toml").write_text('threshold = "0.12"\nlargest = 1\ndilation = "3px"\nsoft_edge = "4px"\n')
    given = ["create", "map.mrc", "-o", "mask.mrc", "--core-soft", "--force"]
    assert main([*given, "--recipe", "recipe.toml"]) == 0
    assert json.loads(Path("mask.json").read_text())["recipe"]["dilation"] == "3px"
    assert main([*given, "--recipe", "recipe.toml", "--dilate", "2px"]) == 0
    assert json.loads(Path("mask.json").read_text())["recipe"]["dilation"] == "2px"


def test_a_recipe_makes_the_outside_again(folder, capsys):
    assert main(["model", *MODEL, *OUTSIDE]) == 0
    again = ["model", "model.pdb", "--recipe", "mask.json"]
    assert main([*again, "-o", "again.mrc"]) == 0
    for name in ("", "_outside", "_applied"):
        assert Path(f"again{name}.mrc").read_bytes() == Path(f"mask{name}.mrc").read_bytes()
    assert main([*again, "-o", "other.mrc", "--lowpass", "16A"]) == 0
    assert json.loads(Path("other.json").read_text())["options"]["micelle"] == {"threshold": "0.03", "lowpass": 16.0}
    assert main([*again, "-o", "higher.mrc", "--micelle", "0.04"]) == 0
    assert json.loads(Path("higher.json").read_text())["options"]["micelle"] == {"threshold": "0.04", "lowpass": 12.0}


def test_an_edge_that_is_measured_from_the_atoms_has_an_outside_too(folder, capsys):
    """It reaches further than the one from voxels, and so does the particle's."""
    assert main(["model", *MODEL, *OUTSIDE, "--style", "servalcat"]) == 0
    soft, outside = (gm.read(name).data for name in ("mask.mrc", "mask_outside.mrc"))
    volume = gm.read("map.mrc")
    base = models.base(models.parse(text(), "model.pdb").select("protein"), 3, volume)
    low = gm.filters.lowpass(volume.data, 12, VOXEL)
    particle = mask.soft_mask(gm.regions.holding((low >= np.float32(0.03)) | base, base), 0, 6)
    assert (soft > particle).any()
    particle = np.maximum(particle, soft)
    assert np.abs(soft + outside - particle).max() <= np.finfo(np.float32).eps  # one sum of two float32 up to 1
    told = json.loads(Path("mask.json").read_text())["micelle"]["particle_volume_angstrom3"]
    assert told == pytest.approx(particle.sum(dtype=float) * VOXEL**3, rel=1e-12)


def test_a_level_that_takes_the_box(folder, capsys):
    around = ["model", *MODEL, *OUTSIDE[:4], "--lowpass", "12A"]
    refused(
        capsys, 3, [*around, "--micelle=-1"], "the particle at -1 in the map at 12 Å is the whole box: raise --micelle"
    )
    assert main([*around, "--micelle", "0.01", "--json"]) == 0  # noise
    told = json.loads(capsys.readouterr().out)
    assert any(
        text.startswith("the outside at 0.01 in the map at 12 Å meets the box faces -x") for text in told["warnings"]
    )
    assert told["faces_touched"] == []


def test_from_bases_the_same_is_made_by_combine(folder, capsys):
    """Protein and particle as bases, such as regions export them."""
    assert main(["model", *MODEL, *OUTSIDE]) == 0
    volume = gm.read("map.mrc")
    base = models.base(models.parse(text(), "model.pdb").select("protein"), 3, volume)
    low = gm.filters.lowpass(volume.data, 12, VOXEL)
    rest = gm.regions.holding((low >= np.float32(0.03)) | base, base) & ~base
    for name, array in (("protein_base.mrc", base), ("micelle_base.mrc", rest)):
        gm.write(name, volume.with_data(array.astype(np.float32)), mode="int8")
    edge = ["--threshold", "0.5", "--soft-edge", "6px"]
    for words in (
        ["create", "protein_base.mrc", *edge, "-o", "protein.mrc"],
        ["combine", "protein_base.mrc", "micelle_base.mrc", "--or", *edge, "-o", "particle.mrc"],
        ["combine", "particle.mrc", "protein.mrc", "--complement", "-o", "micelle.mrc"],
        ["combine", "protein.mrc", "--apply", "map.mrc", "--lowpass-mask", "micelle.mrc", "--lowpass", "12A", "-o",
         "both.mrc"],
    ):  # fmt: skip
        assert main(words) == 0
    assert np.array_equal(gm.read("micelle.mrc").data, gm.read("mask_outside.mrc").data)
    assert np.array_equal(gm.read("both_applied.mrc").data, gm.read("mask_applied.mrc").data)


def test_the_level_of_the_outside_is_told_and_one_that_finds_nothing_is_refused(folder, capsys):
    assert main(["model", *MODEL, *OUTSIDE[:4], "--micelle", "2sigma"]) == 0
    said = capsys.readouterr().out
    assert " in the map at 20 Å" in said
    assert "shared" in said
    for path in list(Path().glob("mask*")):
        path.unlink()
    refused(capsys, 3, ["model", *MODEL, *OUTSIDE[:4], "--micelle", "9"], "nothing lies around the model at 9")
    refused(capsys, 2, ["model", *MODEL, *OUTSIDE[:4], "--micelle", "much"], "threshold must be")


def test_a_voxel_size_that_is_given_holds_for_the_half_maps_too(folder, capsys):
    for name in ("half1.mrc", "half2.mrc"):
        gm.write(name, gm.Volume(gm.read(name).data, 1.0), overwrite=True)
    refused(capsys, 3, ["create", *CREATE, *NARROW, "--core-soft", *BOTH_HALVES], "half1.mrc", "voxel sizes differ")
    made = document(capsys, "create", *CREATE, *NARROW, "--core-soft", *BOTH_HALVES, "--voxel-size", "2")
    assert made["core_soft"]["masks"]["core_soft"]["leak_mean"] > 0
