"""gpumask combine: what it writes and prints, what it refuses, and RELION's boolean masks reproduced."""

import functools
import gzip
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import gpumask as gm
from gpumask import algebra, filters, mask, symmetry
from gpumask.cli import main
from gpumask.errors import UsageError
from gpumask.job import Combination
from gpumask.volume import Header

BOX, VOXEL = 40, 2.0
ORIGIN = (30.0, 20.0, 10.0)  # Å, (z, y, x)
FLOAT32 = 2**-23
SUM = 1e-6  # SPEC §6.6
RELION = shutil.which("relion_mask_create")
SOFT_RELION = 1e-6  # both compute the cosine in float64 and store float32
COMMON = {
    *("verb", "files", "recipe", "recipe_hash", "inputs", "options", "application", "version"),
    *("voxel_size_angstrom", "box", "device", "device_reason", "seconds", "warnings"),
}
OF_A_MASK = {
    *("output", "dilation_px", "soft_edge_px", "base_voxels", "volume_angstrom3", "equivalent_edge_px"),
    *("minimum_soft_edge_px", "components", "faces_touched", "verdict", "warnings"),
}


def ball(at, radius):
    grid = np.indices((BOX,) * 3) - BOX // 2
    return ((grid - np.array(at)[:, None, None, None]) ** 2).sum(axis=0) <= radius * radius


@functools.cache
def volumes():
    """Two balls that overlap, the particle that holds both and a tail, a map."""
    head, body = ball((0, 0, -4), 5), ball((0, 0, 4), 6)
    tail = ball((0, 7, 4), 4)
    noise = np.random.default_rng(0).standard_normal((BOX,) * 3)
    whole = head | body | tail
    return {
        "head": head,
        "body": body,
        "whole": whole,
        "map": whole + 0.2 * noise,
        "head_mask": mask.soft_mask(head, 1, 5),
        "body_mask": mask.soft_mask(body, 0, 5),
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with the volumes in it."""
    monkeypatch.setattr("gpumask.cli.terminal.PATIENCE", float("inf"))  # no progress on a slow machine
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUMASK_DEVICE", "cpu")
    for name, data in volumes().items():
        gm.write(f"{name}.mrc", gm.Volume(data.astype(np.float32), VOXEL, Header(origin=ORIGIN)))
    return tmp_path


def run(capsys, *words):
    """Exit code, what was printed, and on stderr."""
    code = main(["combine", *map(str, words)])
    return code, *capsys.readouterr()


def made(capsys, *words):
    """The document of a run that succeeds."""
    code, out, err = run(capsys, *words, "--json")
    assert code == 0, err
    return json.loads(out)


def read(name):
    return gm.read(name).data


def refused(capsys, code, text, *words):
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    got, out, err = run(capsys, *words)
    assert (got, out) == (code, ""), err
    assert text in err
    assert len([line for line in err.splitlines() if not line.startswith("warning")]) == 1, err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


# masks


@pytest.mark.parametrize("operation", algebra.OPERATIONS)
def test_bases_are_combined_then_softened(folder, capsys, operation):
    head, body = volumes()["head"], volumes()["body"]
    words = ["body.mrc", "head.mrc", f"--{operation}", "--threshold", 0.5, "--dilate", "1px", "--soft-edge", "8A"]
    made(capsys, *words, "-o", "out.mrc")
    base = algebra.combined(operation, body, head)
    assert np.array_equal(read("out.mrc"), mask.soft_mask(base, 1, 4))


@pytest.mark.parametrize("soft", algebra.SOFT)
@pytest.mark.parametrize("operation", algebra.OPERATIONS)
def test_masks_are_combined_as_they_are(folder, capsys, operation, soft):
    done = made(capsys, "body_mask.mrc", "head_mask.mrc", f"--{operation}", "--soft", soft, "-o", "out.mrc")
    a, b = volumes()["body_mask"], volumes()["head_mask"]
    assert np.array_equal(read("out.mrc"), algebra.combined(operation, a, b, soft=soft))
    assert done["masks"][0]["soft_edge_px"] is None
    assert [one["level"] for one in done["inputs"]] == [None, None]


def test_three_files_and_a_threshold_each(folder, capsys):
    words = ["whole.mrc", "map.mrc", "head.mrc", "--and", "--threshold", "0.5,0.3max,0.9", "--soft-edge", 0]
    done = made(capsys, *words, "-o", "out.mrc")
    noisy = read("map.mrc")
    wanted = volumes()["whole"] & (noisy >= np.float32(0.3 * float(noisy.max()))) & volumes()["head"]
    assert np.array_equal(read("out.mrc"), wanted)
    assert [one["threshold"] for one in done["inputs"]] == ["0.5", "0.3max", "0.9"]
    assert any("binary" in text for text in done["warnings"])


def test_inverted_and_with_a_weight_outside(folder, capsys):
    both = np.maximum(volumes()["body_mask"], volumes()["head_mask"])
    made(capsys, "body_mask.mrc", "head_mask.mrc", "--or", "--invert", "-o", "inverted.mrc")
    assert np.array_equal(read("inverted.mrc"), 1 - both)
    done = made(capsys, "body_mask.mrc", "head_mask.mrc", "--or", "--outside", 0.25, "-o", "outside.mrc")
    volume = read("outside.mrc").sum(dtype=float) * VOXEL**3
    assert done["masks"][0]["volume_angstrom3"] == pytest.approx(volume, rel=1e-6)
    assert np.array_equal(read("outside.mrc"), np.float32(0.25) + np.float32(0.75) * both)
    made(capsys, "head_mask.mrc", "--invert", "-o", "alone.mrc")
    assert np.array_equal(read("alone.mrc"), 1 - volumes()["head_mask"])


def test_the_particle_is_shared_out(folder, capsys):
    words = ["body.mrc", "head.mrc", "--partition", "--threshold", 0.5, "--dilate", 2, "--soft-edge", 6]
    done = made(capsys, *words, "--interface", "8A", "--particle", "whole.mrc", "-o", "part.mrc")
    soft = mask.soft_mask(volumes()["whole"], 2, 6)
    one, two = read("part_1.mrc"), read("part_2.mrc")
    assert abs(one.astype(float) + two - soft).max() < SUM
    labels = np.where(volumes()["body"], 1, 2 * volumes()["head"]).astype(np.uint8)
    for got, wanted in zip((one, two), algebra.partition(labels, soft, 4), strict=True):
        assert np.array_equal(got, wanted)
    assert done["interface_px"] == 4
    assert [Path(m["output"]).name for m in done["masks"]] == ["part_1.mrc", "part_2.mrc"]
    total = sum(m["volume_angstrom3"] for m in done["masks"])
    assert total == pytest.approx(done["particle_volume_angstrom3"], rel=1e-6)
    shared = int((volumes()["body"] & volumes()["head"]).sum())
    assert f"{shared} voxels are in more than one body; each goes to the first file that has it" in done["warnings"]


def test_the_rest_is_a_body(folder, capsys):
    words = ["head.mrc", "--partition", "--rest", "--threshold", 0.5, "--soft-edge", 4, "--particle", "whole.mrc"]
    done = made(capsys, *words, "-o", "part.mrc")
    assert len(done["masks"]) == 2
    head, whole = volumes()["head"], volumes()["whole"]
    parts = algebra.partition(np.where(head, 1, 2 * whole).astype(np.uint8), mask.soft_mask(whole, 0, 4), 4)
    for number, part in enumerate(parts, 1):
        assert np.array_equal(read(f"part_{number}.mrc"), part)


def test_a_soft_particle_mask_is_shared_out_as_it_is(folder, capsys):
    made(capsys, "head_mask.mrc", "body_mask.mrc", "--or", "-o", "m.mrc")
    words = ["head_mask.mrc", "body_mask.mrc", "--partition", "--particle", "m.mrc", "--interface", 5]
    made(capsys, *words, "-o", "part.mrc")
    assert abs(read("part_1.mrc").astype(float) + read("part_2.mrc") - read("m.mrc")).max() < SUM


def test_subtraction_tells_its_overlap(folder, capsys):
    words = ["whole.mrc", "head.mrc", "--subtraction", "--threshold", 0.5, "--resolution", "2.4A", "-o", "sub.mrc"]
    done = made(capsys, *words, "--kept", "head_mask.mrc")
    soft = mask.soft_mask(volumes()["whole"] & ~volumes()["head"], 0, 6)  # 5 x 2.4 Å / 2 Å
    assert np.array_equal(read("sub.mrc"), soft)
    shared = np.minimum(soft, volumes()["head_mask"]).sum(dtype=float)
    assert done["overlap"]["volume_angstrom3"] == pytest.approx(shared * VOXEL**3)
    of_kept = shared / volumes()["head_mask"].sum(dtype=float)
    assert done["overlap"]["percent_of_kept"] == pytest.approx(100 * of_kept)
    code, out, _ = run(capsys, *words, "--force")
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("overlap"))
    with_base = np.minimum(soft, volumes()["head"]).sum(dtype=float)  # without --kept: with the base itself
    assert f"{with_base * VOXEL**3:.0f} Å³ with head.mrc" in line
    assert f"{100 * with_base / volumes()['head'].sum():.1f} % of it" in line


def test_head_and_body_of_the_simulated_particle(tmp_path, capsys, monkeypatch):
    """The tutorial's route: the head's mask, what is subtracted for it, and bodies for a multi-body refinement."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUMASK_DEVICE", "cpu")
    particle = gm.simulation.particle(box=120, voxel_size=2.0)
    base = np.zeros_like(particle.density)
    base[tuple(slice(o, o + n) for o, n in zip(particle.offset, particle.head_base.shape, strict=True))] = (
        particle.head_base
    )
    gm.write("map.mrc", gm.Volume((particle.labels > 0).astype(np.float32), 2.0))
    gm.write("head_base.mrc", gm.Volume(base, 2.0))
    words = ["create", "head_base.mrc", "--threshold", "0.1", "--dilate", "5px", "--soft-edge", "12px"]
    assert main([*words, "-o", "head_mask.mrc"]) == 0
    capsys.readouterr()
    words = ["map.mrc", "head_base.mrc", "--subtraction", "--threshold", "0.5,0.1", "--soft-edge", "12px"]
    done = made(capsys, *words, "--kept", "head_mask.mrc", "-o", "rest_mask.mrc")
    rest, head = read("rest_mask.mrc"), read("head_mask.mrc")
    others = np.isin(particle.labels, [gm.simulation.LABELS[n] for n in ("body", "foot", "arm")])
    assert rest[others].min() == 1
    assert rest[mask.erode(base >= 0.1, 12)].max(initial=0) == 0
    assert 0 < done["overlap"]["percent_of_kept"] < 100
    words = ["head_base.mrc", "--partition", "--rest", "--particle", "map.mrc", "--threshold", "0.1,0.5"]
    made(capsys, *words, "--dilate", "3px", "--soft-edge", "10px", "-o", "bodies.mrc")
    whole = mask.soft_mask(particle.labels > 0, 3, 10)
    total = read("bodies_1.mrc").astype(float) + read("bodies_2.mrc")
    assert abs(total - whole).max() < SUM
    assert (read("bodies_1.mrc") > 0.5)[particle.labels == gm.simulation.LABELS["arm"]].sum() == 0
    assert head[read("bodies_1.mrc") == 1].min() > 0


# symmetry


def test_symmetrised(folder, capsys):
    words = ["head.mrc", "--threshold", 0.5, "--soft-edge", 4, "--symmetry", "C4"]
    done = made(capsys, *words, "-o", "c4.mrc")
    head = volumes()["head"]
    assert np.array_equal(read("c4.mrc"), mask.soft_mask(symmetry.symmetrised(head, "C4"), 0, 4))
    assert done["symmetry"]["asymmetric_units"] == 4
    assert not done["symmetry"]["symmetric"]
    made(capsys, "head_mask.mrc", "--symmetry", "C3", "--symmetrise", "mean", "-o", "mean.mrc")
    assert np.array_equal(read("mean.mrc"), symmetry.symmetrised(volumes()["head_mask"], "C3", "mean"))
    again = made(capsys, "c4.mrc", "--symmetry", "C4", "--test")
    assert again["symmetry"]["symmetric"]
    assert again["symmetry"]["score"] == 1


def test_a_test_of_symmetry_writes_nothing(folder, capsys):
    before = sorted(Path().iterdir())
    code, out, err = run(capsys, "head_mask.mrc", "--symmetry", "D2", "--test")
    assert (code, err) == (0, "")
    assert "D2: no, 0." in out
    assert sorted(Path().iterdir()) == before


def test_copies_of_one_unit_are_the_symmetric_mask(folder, capsys):
    words = ["body.mrc", "--threshold", 0.5, "--soft-edge", 5, "--symmetry", "C4"]
    made(capsys, *words, "-o", "whole_c4.mrc")
    done = made(capsys, *words, "--unit", "1,0.3,0", "--interface", 6, "-o", "unit.mrc")
    unit, whole = read("unit.mrc"), read("whole_c4.mrc")
    assert np.array_equal(unit, symmetry.asymmetric_mask(whole, "C4", 6, (0, 0.3, 1)))
    copies = sum(symmetry.rotated(unit, one) for one in symmetry.rotations("C4"))
    assert abs(copies - whole).max() < SUM
    assert done["symmetry"]["asymmetric_units"] == 1
    assert done["symmetry"]["toward"] == [1, 0.3, 0]
    assert unit[BOX // 2, BOX // 2, BOX // 2 + 7] > 0.9
    assert unit[BOX // 2, BOX // 2, BOX // 2 - 7] == 0


# maps


def test_a_map_under_the_mask(folder, capsys):
    noisy, soft = read("map.mrc"), volumes()["head_mask"]
    words = ["head_mask.mrc", "head_mask.mrc", "--or", "--apply", "map.mrc", "--force", "-o", "out.mrc"]
    for extra, wanted in (
        ([], noisy * soft),
        (["--fill", "mean"], algebra.filled(noisy, soft, "mean")),
        (["--fill", "noise", "--seed", 3], algebra.filled(noisy, soft, "noise", seed=3)),
        (["--fill", "lowpass:20A"], algebra.filled(noisy, soft, "lowpass", resolution=20, voxel_size=VOXEL)),
        (
            ["--lowpass-mask", "body_mask.mrc", "--lowpass", "20A"],
            noisy * soft + filters.lowpass(noisy * volumes()["body_mask"], 20, VOXEL),
        ),
    ):
        done = made(capsys, *words, *extra)
        assert np.array_equal(read("out_applied.mrc"), wanted)
        assert "out_applied.mrc" in done["files"]
        assert np.array_equal(read("out.mrc"), soft)
        assert gm.read("out_applied.mrc").origin == ORIGIN


# files


def test_provenance_lies_beside(folder, capsys):
    done = made(capsys, "body.mrc", "head.mrc", "--or", "--threshold", 0.5, "--resolution", "2A", "-o", "out.mrc")
    written = json.loads(Path("out.json").read_text())
    assert set(done) == COMMON | {"masks"}
    assert set(written) == COMMON | OF_A_MASK
    assert set(done["masks"][0]) == OF_A_MASK
    assert written["recipe"]["operation"] == "or"
    assert written["inputs"][1] == {
        "role": "file",
        "path": "head.mrc",
        "sha256": hashlib.sha256(Path("head.mrc").read_bytes()).hexdigest(),
        "threshold": "0.5",
        "level": 0.5,
    }
    assert written["minimum_soft_edge_px"] == written["soft_edge_px"] == 5
    assert written["verdict"] == "ok"
    assert written["box"] == [BOX] * 3
    volume = gm.read("out.mrc")
    assert volume.origin == ORIGIN
    assert "combine or, recipe " + written["recipe_hash"] in volume.header.labels[-1]
    # the same request gives the same bytes
    made(capsys, "body.mrc", "head.mrc", "--or", "--threshold", 0.5, "--resolution", "2A", "-o", "again.mrc")
    assert Path("again.mrc").read_bytes() == Path("out.mrc").read_bytes()


def test_every_body_has_its_provenance(folder, capsys):
    done = made(capsys, "body.mrc", "head.mrc", "--partition", "--threshold", 0.5, "--soft-edge", 5, "-o", "part.mrc")
    for number, one in enumerate(done["masks"], 1):
        written = json.loads(Path(f"part_{number}.json").read_text())
        assert set(written) == COMMON | OF_A_MASK | {"interface_px", "particle_volume_angstrom3"}
        assert (written["output"], written["volume_angstrom3"]) == (one["output"], one["volume_angstrom3"])
        assert written["recipe"]["operation"] == "partition"


def test_the_table(folder, capsys):
    code, out, err = run(
        capsys, "body.mrc", "head.mrc", "--or", "--threshold", 0.5, "--dilate", "2A", "--soft-edge", 5, "-o", "out.mrc"
    )
    assert (code, err) == (0, "")
    rows = dict(line.split("  ", 1) for line in out.splitlines() if not line.startswith(" "))
    assert rows["files"].strip() == "body.mrc, head.mrc: 40 x 40 x 40 voxels of 2 Å"
    assert rows["operation"].strip() == "or"
    assert rows["wrote"].strip() == "out.mrc, out.json"
    assert "dilation   1 px = 2.0 Å" in out
    assert "soft edge  5 px = 10.0 Å, style euclidean" in out


@pytest.mark.parametrize(("one", "other"), [
    ({"threshold": ".5"}, {"threshold": 0.5}),
    ({"threshold": "max:0.2, 3e-1"}, {"threshold": "0.2max,0.3"}),
    ({"dilation": "5"}, {"dilation": "5px"}),
    ({"soft_edge": 8}, {"soft_edge": "8.0px"}),
    ({"edge": "slepian"}, {"edge": "slepian:2.0"}),
    ({"resolution": 3.5}, {"resolution": "3.50Å"}),
    ({"symmetry": "c4", "unit": "1, 0,0.50", "interface": "6"},
     {"symmetry": "C04", "unit": "1.0,0,.5", "interface": "6px"}),
    ({"symmetry": "I"}, {"symmetry": "I2"}),
    ({"outside": 0}, {"outside": 0.0}),
])  # fmt: skip
def test_equal_combinations_have_equal_hashes(one, other):
    one, other = Combination(**one), Combination(**other)
    assert one == other
    assert one.hash == other.hash
    assert one.hash != Combination(threshold="7").hash


@pytest.mark.parametrize(("fields", "text"), [
    ({"threshold": "foo"}, "threshold must be"),
    ({"threshold": "0.5,"}, "threshold must be"),
    ({"threshold": True}, "threshold must be"),
    ({"outside": "0.5"}, "weight outside must be"),
    ({"invert": 1}, "invert must be true or false"),
    ({"rest": 1, "operation": "partition"}, "rest must be true or false"),
    ({"symmetry": "C2", "unit": 5}, "direction x,y,z"),
    ({"dilation": ""}, "dilation must be a length"),
])  # fmt: skip
def test_a_combination_is_checked_as_it_is_made(fields, text):
    with pytest.raises(UsageError, match=text):
        Combination(**fields)


# what is refused

PLAIN = ["head_mask.mrc", "body_mask.mrc", "-o", "out.mrc"]
BASES = [*PLAIN, "--threshold", "0.5"]


@pytest.mark.parametrize(("words", "text"), [
    (PLAIN, "what is to be done"),
    (["head_mask.mrc", "-o", "out.mrc"], "nothing to be combined with; give two or more"),
    (["head_mask.mrc", "--and", "-o", "out.mrc"], "needs two or more files on one grid"),
    (["head_mask.mrc", "--partition", "-o", "out.mrc"], "a partition needs 2 to 255 bodies"),
    (["head_mask.mrc", "--partition", "--rest", "-o", "out.mrc"], "give it with --particle"),
    ([*PLAIN, "--or", "--rest"], "give --partition too"),
    ([*PLAIN, "--or", "--particle", "map.mrc"], "--particle is for --partition"),
    ([*PLAIN, "--or", "--kept", "head_mask.mrc"], "--kept is for --subtraction"),
    ([*PLAIN, "--or", "--dilate", "3px"], "give --threshold"),
    ([*PLAIN, "--or", "--style", "relion"], "give --threshold"),
    ([*PLAIN, "--or", "--soft", "mean"], "extremes, product"),
    ([*PLAIN, "--or", "--outside", "1"], "0 to below 1"),
    ([*PLAIN, "--or", "--interface", "3px"], "leave it out"),
    ([*BASES, "--or", "--soft-edge", "5nm"], "5px or 7A"),
    ([*BASES, "--or", "--threshold", "half"], "threshold must be"),
    ([*BASES, "--or", "--threshold", "1,2,3"], "one for all or 2"),
    ([*BASES, "--or", "--symmetry", "E5"], "symmetry must be C1"),
    ([*BASES, "--or", "--symmetry", "C3", "--symmetrise", "sum"], "max, mean"),
    ([*BASES, "--or", "--unit", "auto"], "needs a symmetry"),
    ([*BASES, "--or", "--symmetry", "C3", "--unit", "1,2"], "direction x,y,z"),
    ([*BASES, "--or", "--symmetry", "C3", "--unit", "0,0,1"], "lies on a symmetry axis of C3"),
    ([*BASES, "--or", "--test"], "needs a symmetry"),
    ([*BASES, "--partition", "--symmetry", "C3"], "not for partition"),
    ([*BASES, "--subtraction", "--invert"], "not for subtraction"),
    ([*BASES, "--subtraction", "--dilate", "3px"], "is not dilated"),
    ([*BASES, "--partition", "--interface=-3px"], "interface must be >= 0"),
    ([*PLAIN, "--or", "--fill", "mean"], "give the map with --apply"),
    ([*PLAIN, "--or", "--seed", "3"], "a seed is one of noise: give --apply MAP --fill noise"),
    ([*PLAIN, "--or", "--apply", "map.mrc", "--fill", "mean", "--seed", "0"], "leave --seed out"),
    ([*PLAIN, "--or", "--apply", "map.mrc", "--fill", "median"], "zero, mean, noise, lowpass"),
    ([*PLAIN, "--or", "--apply", "map.mrc", "--fill", "lowpass"], "--fill lowpass:20A"),
    ([*PLAIN, "--or", "--apply", "map.mrc", "--lowpass-mask", "head.mrc"], "belong together"),
    ([*BASES, "--partition", "--apply", "map.mrc"], "leave --apply out"),
    (["head_mask.mrc", "body_mask.mrc", "--or"], "give it with -o"),
    ([*PLAIN[:-1], "out.json", "--or"], "needs a name of its own"),
    ([*PLAIN[:-1], "head_mask.mrc", "--or", "--force"], "is an input"),
])  # fmt: skip
def test_usage_that_is_refused(folder, capsys, words, text):
    refused(capsys, 2, text, *words)


def test_exclusive_operations_are_argparses_to_refuse(folder, capsys):
    code, out, err = run(capsys, *PLAIN, "--or", "--and")
    assert (code, out) == (2, "")
    assert "not allowed with" in err


def test_other_grids_are_refused_with_the_remedy(folder, capsys):
    small = np.zeros((20, 20, 20), np.float32)
    small[8:12, 8:12, 8:12] = 1
    gm.write("small.mrc", gm.Volume(small, VOXEL))
    refused(capsys, 3, "small.mrc: has a box of 20 x 20 x 20 voxels, head.mrc of 40 x 40 x 40", "head.mrc", "small.mrc",
            "--and", "-o", "out.mrc")  # fmt: skip
    gm.write("other.mrc", gm.Volume(read("head.mrc"), 2.1))
    refused(capsys, 3, "voxel sizes differ by 5 %", "head.mrc", "other.mrc", "--and", "-o", "out.mrc")
    gm.write("moved.mrc", gm.Volume(read("head.mrc"), VOXEL))
    done = made(capsys, "head.mrc", "moved.mrc", "--and", "-o", "out.mrc")
    assert any("moved.mrc: its origin is -5 x -10 x -15 voxels" in text for text in done["warnings"])


def test_maps_and_empty_masks_are_refused(folder, capsys):
    out = ["-o", "out.mrc"]
    gm.write("empty.mrc", gm.Volume(np.zeros((BOX,) * 3, np.float32), VOXEL))
    gm.write("full.mrc", gm.Volume(np.ones((BOX,) * 3, np.float32), VOXEL))
    gm.write("far.mrc", gm.Volume(ball((15, 15, 15), 2).astype(np.float32), VOXEL))
    refused(capsys, 3, "a mask has 0 to 1", "map.mrc", "head.mrc", "--and", *out)
    refused(capsys, 3, "empty.mrc: is an empty mask", "empty.mrc", "head.mrc", "--and", *out)
    refused(capsys, 3, "full.mrc: is a mask of everything", "full.mrc", "head.mrc", "--and", *out)
    refused(capsys, 3, "nothing is left after and", "far.mrc", "head.mrc", "--and", *out)
    refused(capsys, 3, "nothing is left after and", "far.mrc", "head.mrc", "--and", "--threshold", 0.5, *out)
    for operation, base in (("and-not", []), ("and-not", ["--threshold", 0.5]), ("xor", []), ("complement", [])):
        text = f"nothing is left after {operation}, no voxel"
        refused(capsys, 3, text, "head.mrc", "head.mrc", f"--{operation}", *base, *out)
    refused(capsys, 3, "nothing reaches 2", "far.mrc", "head.mrc", "--partition", "--threshold", "0.5,2", *out)
    refused(capsys, 3, "nothing of it is left", "head.mrc", "whole.mrc", "--subtraction", *out)
    refused(capsys, 3, "head.mrc: leaves no voxel", "whole.mrc", "head.mrc", "--partition", *out)
    refused(capsys, 3, "the mask is everything", "head.mrc", "whole.mrc", "--or", "--threshold", "-1", *out)


def test_soft_masks_on_anisotropic_voxels_need_their_interface_in_angstrom(folder, capsys):
    for name in ("head", "body", "whole"):
        volume = gm.Volume(volumes()[name].astype(np.float32), (3.0, 2.0, 2.0))
        gm.write(f"{name}.mrc", volume, overwrite=True)
    advice = "the voxels are 2 x 2 x 3 Å (x, y, z): give it in Å, such as --interface 8A"
    for words in (
        ["head.mrc", "body.mrc", "--partition", "--particle", "whole.mrc"],
        ["whole.mrc", "--symmetry", "C2", "--unit", "auto"],
    ):
        refused(capsys, 2, advice, *words, "-o", "out.mrc")
        refused(capsys, 2, "interface 4px is in pixels", *words, "--interface", 4, "-o", "out.mrc")
        made(capsys, *words, "--interface", "8A", "-o", "out.mrc")
        made(capsys, *words, "--resolution", "2A", "-o", "out.mrc", "--force")


def test_damaged_files_are_refused(folder, capsys):
    whole = Path("head.mrc").read_bytes()
    Path("cut.mrc").write_bytes(whole[:-1000])
    Path("garbage.mrc").write_bytes(b"no map" * 500)
    Path("cut.mrc.gz").write_bytes(gzip.compress(whole)[:-100])
    Path("nan.mrc").write_bytes(whole[:1024] + np.float32(np.nan).tobytes() + whole[1028:])
    for name in ("cut.mrc", "garbage.mrc", "cut.mrc.gz", "nan.mrc", "missing.mrc"):
        refused(capsys, 3, name, "body.mrc", name, "--or", "-o", "out.mrc")
        refused(capsys, 3, name, "body.mrc", "head.mrc", "--or", "--apply", name, "-o", "out.mrc")
    made(capsys, "body.mrc", "nan.mrc", "--or", "--nan-to", "0", "-o", "out.mrc")


def test_existing_files_are_kept_unless_forced(folder, capsys):
    words = ["body_mask.mrc", "head_mask.mrc", "--or", "-o"]
    made(capsys, *words, "out.mrc")
    refused(capsys, 3, "--force", *words, "out.mrc")
    made(capsys, *words, "out.mrc", "--force")
    Path("part_2.mrc").write_bytes(b"mine")
    refused(capsys, 3, "part_2.mrc", "body.mrc", "head.mrc", "--partition", "--threshold", 0.5, "-o", "part.mrc")
    refused(capsys, 5, "none", *words, "none/out.mrc")


def test_a_device_that_is_not_there(folder, capsys, monkeypatch):
    from gpumask import cuda

    monkeypatch.setattr(cuda, "missing", lambda: "no CUDA device")
    refused(capsys, 4, "no CUDA device", *PLAIN, "--or", "--device", "cuda")


# RELION


@pytest.mark.skipif(RELION is None, reason="RELION is not installed")
@pytest.mark.parametrize("operation", ["and", "or", "and-not", "or-not"])
@pytest.mark.parametrize(("extend", "width", "level"), [
    (0, 0, 0.25), (0, 0, 0.1), (0, 0, 0.3), (0, 0, 0.35), (2, 0, 0.25), (3, 4, 0.25), (-1, 3, 0.25)
])  # fmt: skip
def test_boolean_masks_are_those_of_relion(tmp_path, capsys, monkeypatch, operation, extend, width, level):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUMASK_DEVICE", "cpu")
    random = np.random.default_rng(4)
    for name in ("a", "b"):
        # values of few steps, so that many voxels lie at the threshold itself
        blurred = filters.gaussian(random.standard_normal((30, 30, 30)).astype(np.float32), 2.0, 1.0)
        blurred = np.round(blurred / blurred.max() * 20) / np.float32(20)
        blurred[[0, -1]] = 0
        gm.write(f"{name}.mrc", gm.Volume(blurred.astype(np.float32), 1.0))
    options = ["--ini_threshold", str(level), "--extend_inimask", str(extend), "--width_soft_edge", str(width)]
    flag = "--" + operation.replace("-", "_")
    subprocess.run([RELION, "--i", "a.mrc", flag, "b.mrc", "--o", "relion.mrc", *options], check=True,
                   capture_output=True, timeout=120)  # fmt: skip
    words = ["a.mrc", "b.mrc", f"--{operation}", "--style", "relion", "--threshold", level, f"--dilate={extend}px"]
    made(capsys, *words, "--soft-edge", width, "-o", "ours.mrc")
    wanted, got = read("relion.mrc"), read("ours.mrc")
    assert 0 < wanted.mean() < 1
    assert (read("a.mrc") == np.float32(level)).any()
    if width == 0:
        assert np.array_equal(got, wanted)
    else:
        assert abs(got - wanted).max() < SOFT_RELION
