"""gpumask fsc: what it prints and writes, what it refuses, and that files say what the library says."""

import contextlib
import csv
import functools
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import ndimage

import gpumask as gm
from gpumask import backend, correlation, local_resolution, resolution
from gpumask.cli import main, terminal
from gpumask.job import inputs, outputs
from gpumask.volume import Header

BOX, VOXEL = 32, 2.0
ORIGIN = (30.0, 20.0, 10.0)  # Å, (z, y, x)
KEYS = [
    *("box", "voxel_size_angstrom", "shells", "onset", "resolution", "crossings", "a_gap", "k_catch", "bases", "mask"),
    *("flags", "map_model"),
]
COLUMNS = [
    *("index", "frequency", "resolution", "unmasked", "masked", "randomized", "predicted", "corrected"),
    *("corrected_predicted", "band_low", "band_high", "spherical", "loose", "tight", "prewhitened", "mfsc", "ssnr"),
    *("n_coefficients", "n_effective"),
]
FILES = ["fsc.csv", "fsc.json", "fsc.xml", "noise.csv", "postprocess.star", "provenance.json"]
STAR_TEXT = 1e-5  # six decimals, and what float32 transforms differ by
PAIR = ["half1.mrc", "half2.mrc"]


def ball(radius, width, box=BOX):
    """1 up to `radius` px from the centre, a raised cosine of `width` px outside."""
    grid = np.indices((box,) * 3) - box // 2
    position = np.clip((np.sqrt((grid**2).sum(axis=0)) - radius) / width, 0, 1)
    return (0.5 + 0.5 * np.cos(np.pi * position)).astype(np.float32)


@functools.cache
def halves(box=BOX):
    """A particle of blobs in noise: the same at low resolution, independent at high."""
    random = np.random.default_rng(0)
    signal = ndimage.gaussian_filter(random.standard_normal((box,) * 3), 1.2) * ball(8, 4, box)
    signal /= signal.std()
    return tuple((signal + 0.5 * random.standard_normal((box,) * 3)).astype(np.float32) for _ in range(2))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with two half maps, a mask and a map in it."""
    monkeypatch.setattr("gpumask.cli.terminal.PATIENCE", float("inf"))  # no progress on a slow machine
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUMASK_DEVICE", "cpu")
    header = Header(origin=ORIGIN)
    for number, half in enumerate(halves(), 1):
        gm.write(f"half{number}.mrc", gm.Volume(half, VOXEL, header))
    gm.write("mask.mrc", gm.Volume(ball(9, 6), VOXEL))
    gm.write("map.mrc", gm.Volume(halves()[0] + halves()[1], VOXEL))
    return tmp_path


def tree():
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


def found(capsys, *words):
    """The document of ``--json``, which is alone on stdout and holds no NaN."""
    assert main(["fsc", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def printed(capsys, *words):
    assert main(["fsc", *words]) == 0
    return capsys.readouterr().out


def rows_of(text):
    """The table's rows; the resolutions below it have their own names."""
    return dict(re.split(r"  +", line.strip(), maxsplit=1) for line in text.splitlines() if "  " in line.strip())


def refused(capsys, code, words, *texts):
    """Exit code, one line on stderr, nothing on stdout, and every file and folder as it was."""
    before, folders = tree(), sorted(Path().rglob("*"))
    assert main(["fsc", *words]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[:9]) == ("", 1, "gpumask: "), err
    for text in texts:
        assert text in err, err
    assert tree() == before
    assert sorted(Path().rglob("*")) == folders


# JSON


def test_json_is_the_contracts_document_and_the_librarys(folder, capsys):
    words = ["--mask", "mask.mrc", "--onset", "16A", "--seed", "3", "--asymmetric-units", "2", "--base-lowpass", "24A"]
    one = found(capsys, *PAIR, *words)
    assert list(one) == KEYS
    assert all(list(row) == COLUMNS for row in one["shells"])
    assert len(one["shells"]) == BOX // 2 + 1
    assert one["mask"] == {"path": "mask.mrc", "sha256": hashlib.sha256(Path("mask.mrc").read_bytes()).hexdigest()}
    wanted = gm.fsc(*(gm.read(name) for name in (*PAIR, "mask.mrc")), onset="16A", seed=3, asymmetric_units=2,
                    base_lowpass="24A")  # fmt: skip
    assert one == wanted.to_dict() | {"mask": one["mask"]}
    assert one["onset"] == 4
    assert found(capsys, *PAIR)["mask"] is None


@pytest.mark.parametrize("style", resolution.STYLES)
def test_styles_are_those_of_the_library(folder, capsys, style):
    one = found(capsys, *PAIR, "--mask", "mask.mrc", "--style", style)
    wanted = gm.fsc(*(gm.read(name) for name in (*PAIR, "mask.mrc")), style=style)
    assert (one["resolution"], one["onset"]) == (wanted.resolution, wanted.onset)
    text = printed(capsys, *PAIR, "--mask", "mask.mrc", "--style", style)
    assert rows_of(text)["resolution"] == f"{wanted.reported:.2f} Å: FSC corrected for the mask at 0.143"
    assert f"(style {style})" in rows_of(text)["read as"]


def test_columns_that_are_asked_for(folder, capsys):
    one = found(capsys, *PAIR, "--mass", "20", "--reference", "map.mrc", "--cross-checks")
    assert list(one["shells"][0]) == [*COLUMNS, "part", "reference"]
    wanted = gm.fsc(*(gm.read(name) for name in PAIR), mass=20, reference=gm.read("map.mrc"), cross_checks=True)
    assert one["shells"] == wanted.shells
    for name in ("part", "reference", "mfsc"):
        assert any(row[name] is not None for row in one["shells"])


def test_json_stays_alone_on_stdout_in_a_process(folder):
    code = "import sys; from gpumask.cli import main; sys.exit(main())"
    environment = os.environ | {"PYTHONPATH": str(Path(gm.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, "fsc", *PAIR, "--json", "-o", "out"], capture_output=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(Path("out/fsc.json").read_text())


# files


def test_the_folder_holds_the_files_and_each_says_the_same(folder, capsys):
    words = ["--mask", "mask.mrc", "-o", "made/deep", "--mass", "20"]
    out = printed(capsys, *PAIR, *words)
    assert sorted(path.name for path in Path("made/deep").iterdir()) == FILES
    wrote = rows_of(out)["wrote"].split(", ")
    assert sorted(Path(name) for name in wrote) == [Path("made/deep") / name for name in FILES]
    one = json.loads(Path("made/deep/fsc.json").read_text())
    assert one == found(capsys, *PAIR, "--mask", "mask.mrc", "--mass", "20")
    with open("made/deep/fsc.csv", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert list(table[0]) == [*COLUMNS, "part"]
    assert [{name: None if text == "" else float(text) for name, text in row.items()} for row in table] == one["shells"]
    with open("made/deep/noise.csv", newline="") as stream:
        powers = list(csv.DictReader(stream))
    noise, signal = (np.array([float(row[name]) for row in powers]) for name in ("noise_power", "signal_power"))
    masked = np.array([row["masked"] for row in one["shells"]])
    assert signal / (signal + 2 * noise) == pytest.approx(masked, abs=0.02)  # F·F over power, to the halves' difference
    blocks = gm.star.loads(Path("made/deep/postprocess.star").read_text())
    assert list(blocks) == ["general", "fsc", "guinier"]
    general, curves = blocks["general"], blocks["fsc"]
    assert (general["rlnUnfilteredMapHalf1"], general["rlnMaskName"]) == ("half1.mrc", "mask.mrc")
    assert float(general["rlnFinalResolution"]) == pytest.approx(
        one["resolution"]["0.143"]["corrected_predicted"], rel=1e-8
    )
    assert float(general["rlnRandomiseFrom"]) == pytest.approx(one["shells"][one["onset"]]["resolution"], rel=1e-8)
    fraction = 0.476 / float((gm.read("mask.mrc").data > 0.5).mean())
    assert float(general["rlnParticleBoxFractionSolventMask"]) == pytest.approx(fraction, rel=1e-8)
    unmasked = np.array([row["unmasked"] for row in one["shells"]])
    part = fraction * unmasked / (1 + (fraction - 1) * unmasked)
    found_part = np.array(curves["rlnFourierShellCorrelationParticleMaskFraction"], float)
    assert found_part[1:] == pytest.approx(part[1:], rel=1e-6, abs=1e-6)
    for label, name in (
        ("rlnFourierShellCorrelationCorrected", "corrected_predicted"),
        ("rlnFourierShellCorrelationUnmaskedMaps", "unmasked"),
        ("rlnFourierShellCorrelationMaskedMaps", "masked"),
        ("rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps", "predicted"),
    ):
        # nine digits are written
        assert [float(text) for text in curves[label]] == pytest.approx([r[name] for r in one["shells"]], rel=1e-8)
    assert len(blocks["guinier"]["rlnLogAmplitudesWeighted"]) == len(one["shells"])
    root = ElementTree.parse("made/deep/fsc.xml").getroot()
    points = [(float(point.find("x").text), float(point.find("y").text)) for point in root]
    assert points == [pytest.approx((r["frequency"], r["corrected_predicted"]), rel=1e-8) for r in one["shells"]]
    assert "masked-corrected" in root.get("title")


def test_provenance_lies_beside_and_says_what_was_done(folder, capsys):
    printed(capsys, "half1.mrc", "--mask", "mask.mrc", "--reference", "map.mrc", "-o", "out", "--onset", "16A",
            "--voxel-size", "1.5,2,2.5", "--nan-to", "0")  # fmt: skip
    done = json.loads(Path("out/provenance.json").read_text())
    assert {name: one["path"] for name, one in done["inputs"].items()} == {
        "half1": "half1.mrc", "half2": "half2.mrc", "mask": "mask.mrc", "reference": "map.mrc"
    }  # fmt: skip
    for one in done["inputs"].values():
        assert one["sha256"] == hashlib.sha256(Path(one["path"]).read_bytes()).hexdigest()
    assert (done["version"], done["verb"], done["device"]) == (gm.__version__, "fsc", "cpu")
    assert done["device_reason"] == "from GPUMASK_DEVICE"
    assert (done["options"]["onset"], done["options"]["style"]) == ("16A", "gpumask")
    assert (done["options"]["voxel_size_angstrom"], done["options"]["nan_to"]) == ([1.5, 2, 2.5], 0)
    assert {"read", "fsc"} <= done["seconds"].keys()
    names = ("fsc.json", "fsc.csv", "noise.csv", "postprocess.star", "fsc.xml", "provenance.json")
    assert done["files"] == [f"out/{name}" for name in names]
    assert json.loads(Path("out/fsc.json").read_text())["voxel_size_angstrom"] == [1.5, 2, 2.5]


def test_without_a_mask_the_star_holds_the_tight_one(folder, capsys):
    one = found(capsys, *PAIR, "-o", "out")
    blocks = gm.star.loads(Path("out/postprocess.star").read_text())
    assert "rlnMaskName" not in blocks["general"]
    masked = [float(text) for text in blocks["fsc"]["rlnFourierShellCorrelationMaskedMaps"]]
    assert masked == pytest.approx([row["tight"] for row in one["shells"]], rel=1e-8)
    found(capsys, *PAIR, "-o", "relion", "--style", "relion")  # judges no mask, and writes none
    blocks = gm.star.loads(Path("relion/postprocess.star").read_text())
    assert list(blocks["fsc"]) == ["rlnSpectralIndex", "rlnResolution", "rlnAngstromResolution",
                                   "rlnFourierShellCorrelationUnmaskedMaps"]  # fmt: skip
    assert "unmasked" in ElementTree.parse("relion/fsc.xml").getroot().get("title")


def test_by_direction(folder, capsys):
    out = printed(capsys, *PAIR, "--mask", "mask.mrc", "--directional", "-o", "out")
    assert sorted(path.name for path in Path("out").iterdir()) == sorted([*FILES, "3dfsc.mrc", "directional.json"])
    first, second, mask = (gm.read(name).data for name in (*PAIR, "mask.mrc"))
    wanted = gm.directional.conical_fsc(first, second, VOXEL, mask)
    volume = gm.directional.fsc_volume(first, second, VOXEL, mask)
    assert json.loads(Path("out/directional.json").read_text()) == wanted.to_dict() | {"fsc_volume": volume.to_dict()}
    assert np.array_equal(gm.read("out/3dfsc.mrc").data, volume.volume)
    rows = rows_of(out)
    assert rows["cFAR"].startswith(f"{wanted.cfar:.3f} (256 axes, cones of 20°); weakest ")
    assert rows["sphericity"].startswith(f"{volume.sphericity:.3f} ")


def test_by_direction_without_a_mask_it_is_the_tight_one(folder, capsys):
    """And without a folder."""
    first, second = (gm.read(name).data for name in PAIR)
    mean = gm.filters.lowpass((first + second) / 2, 24.0, (VOXEL,) * 3)
    tight = gm.mask.soft_mask(mean >= 0.5 * mean.max(), 3.0, 3.0)  # 1 within 6 Å, 0 beyond 12
    wanted = gm.directional.conical_fsc(first, second, VOXEL, tight)
    rows = rows_of(printed(capsys, *PAIR, "--directional", "--base-lowpass", "24A"))
    assert rows["cFAR"].startswith(f"{wanted.cfar:.3f} ")
    assert wanted.cfar != gm.directional.conical_fsc(first, second, VOXEL).cfar


def test_by_place(folder, capsys):
    words = ["--local-resolution", "--window", "24A", "--step", "8A", "--filter", "--b-factor", "-50"]
    out = printed(capsys, *PAIR, "--mask", "mask.mrc", *words, "--seed", "5", "-o", "out")
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(
        [*FILES, "locres.json", "locres.mrc", "locres_filtered.mrc"]
    )
    first, second, mask = (gm.read(name).data for name in (*PAIR, "mask.mrc"))
    wanted = local_resolution.measure(first, second, VOXEL, mask, window="24A", step="8A", seed=5)
    assert json.loads(Path("out/locres.json").read_text()) == wanted.to_dict()
    made = gm.read("out/locres.mrc")
    assert np.array_equal(made.data, wanted.volume)
    assert (made.origin, made.voxel_size) == (ORIGIN, (VOXEL,) * 3)
    filtered = local_resolution.filtered((first + second) / 2, wanted.volume, VOXEL, bfactor=-50)
    assert np.array_equal(gm.read("out/locres_filtered.mrc").data, filtered)
    assert rows_of(out)["local resolution"].startswith(f"median {wanted.median:.2f} Å, quartiles ")
    assert "local resolution" in printed(capsys, *PAIR, "--local-resolution", "--window", "24A")


def test_figures_are_drawn_where_they_are_asked_for(folder, capsys):
    pytest.importorskip("matplotlib")
    printed(capsys, *PAIR, "--plot", "-o", "out")
    assert sorted(path.name for path in Path("out").iterdir()) == sorted([*FILES, "fsc.png"])
    words = ["--directional", "--local-resolution", "--window", "24A", "--mask", "mask.mrc"]
    out = printed(capsys, *PAIR, "--plot", *words, "-o", "all")
    drawn = {path.name for path in Path("all").glob("*.png")}
    assert drawn == {"fsc.png", "directional.png", "locres.png"}
    for name in drawn:
        assert Path("all", name).read_bytes().startswith(b"\x89PNG")
        assert f"all/{name}" in rows_of(out)["wrote"]


def test_without_matplotlib_figures_are_refused_before_the_work(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(resolution, "fsc", pytest.fail)
    refused(capsys, 2, [*PAIR, "--plot", "-o", "out"], "pip install 'gpumask[plot]'")


# what people read


def test_the_table(folder, capsys):
    out = printed(capsys, *PAIR, "--mask", "mask.mrc", "--mass", "20")
    one = gm.fsc(*(gm.read(name) for name in (*PAIR, "mask.mrc")), mass=20)
    rows = rows_of(out)
    assert out.startswith(f"resolution           {one.reported:.2f} Å: FSC corrected for the mask at 0.143\n")
    assert rows["read as"] == "the last shell before the FSC first falls below 0.143 (style gpumask)"
    assert rows["half maps"] == "half1.mrc, half2.mrc: 32 x 32 x 32 voxels of 2 Å"
    assert (rows["mask"], rows["device"]) == ("mask.mrc", "cpu (from GPUMASK_DEVICE)")
    assert rows["onset"] == f"phases random from shell {one.onset} = {64 / one.onset:.3g} Å on"
    row = one.shells[round(64 / one.reported)]
    assert rows["gap"].startswith(f"{one.a_gap:.3f}: ")
    assert rows["k_catch"].startswith("none" if one.k_catch is None else f"{one.k_catch:.4f} 1/Å")
    assert rows[f"FSC at {row['resolution']:.3g} Å"] == (
        f"{row['corrected_predicted']:.3f}, 95 % band {row['band_low']:.3f} to {row['band_high']:.3f}; "
        f"{row['n_effective']:.0f} of {row['n_coefficients']} coefficients count"
    )
    assert rows["of the mask alone"] == f"{row['predicted']:.4f} predicted, {row['randomized']:.4f} drawn"
    assert rows["part"] == f"{row['part']:.3f}"
    assert out.split("resolution in Å\n")[1].split()[:4] == list(one.resolution)
    for name, label in (("corrected_predicted", "corrected, predicted"), ("masked", "under the mask"),
                        ("unmasked", "unmasked"), ("tight", "tight mask"), ("spherical", "spherical")):  # fmt: skip
        numbers = [one.resolution[criterion][name] for criterion in one.resolution]
        assert rows[label].split() == ["-" if n is None else f"{n:.2f}" for n in numbers]


def test_flags_are_warnings_with_their_codes(folder, capsys):
    one = gm.fsc(*(gm.read(name) for name in (*PAIR, "mask.mrc")))
    assert main(["fsc", *PAIR, "--mask", "mask.mrc"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"warning: {flag['code']}: {flag['message']}" for flag in one.flags]
    random = np.random.default_rng(9)
    same = ndimage.gaussian_filter(random.standard_normal((48,) * 3), 3) * ball(12, 6, 48) * 60
    same += 0.33 * random.standard_normal(same.shape)  # noise in both halves: an FSC of 0.1 to the end
    for number in (1, 2):
        half = (same + random.standard_normal(same.shape)).astype(np.float32)
        gm.write(f"half{number}.mrc", gm.Volume(half, VOXEL), overwrite=True)
    assert main(["fsc", *PAIR, "--onset", "16A", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "not_zero" in {flag["code"] for flag in json.loads(out)["flags"]}
    assert re.search(r"(?m)^warning: not_zero: the FSC does not reach zero: .*duplicated particles", err)


def test_masked_half_maps_are_correlated_and_not_corrected(folder, capsys):
    for number, half in enumerate(halves(), 1):
        gm.write(f"half{number}.mrc", gm.Volume(half * ball(8, 4), VOXEL), overwrite=True)
    words = [*PAIR, "--mask", "mask.mrc", "-o", "out"]
    assert main(["fsc", *words]) == 0
    out, err = capsys.readouterr()
    (line,) = [line for line in err.splitlines() if line.startswith("warning: masked_half_maps: ")]
    assert line.endswith("say that they are (--assume-unmasked)")
    assert rows_of(out)["onset"] == "none: nothing is corrected"
    assert rows_of(out)["resolution"].endswith("FSC under the mask, not corrected at 0.143")
    one = json.loads(Path("out/fsc.json").read_text())
    assert one["onset"] is None
    assert all(row[name] is None for row in one["shells"] for name in ("corrected", "randomized", "predicted"))
    assert any(row["masked"] is not None for row in one["shells"])
    curves = gm.star.loads(Path("out/postprocess.star").read_text())["fsc"]
    assert "rlnFourierShellCorrelationCorrected" not in curves
    assert [float(t) for t in curves["rlnFourierShellCorrelationMaskedMaps"]] == pytest.approx(
        [row["masked"] for row in one["shells"]], rel=1e-8
    )
    assert "corrected" not in ElementTree.parse("out/fsc.xml").getroot().get("title")
    assert found(capsys, *PAIR, "--mask", "mask.mrc", "--assume-unmasked", "--onset", "16A")["onset"] == 4


# the other half map


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc"),
        ("run_half2.mrc", "run_half1.mrc"),
        ("half1_half1.mrc", "half2_half2.mrc"),
        ("J7_map_half_A.mrc", "J7_map_half_B.mrc"),
        ("emd_1_half_map_2.map", "emd_1_half_map_1.map"),
        ("half1.d/x_half1.mrc", "half1.d/x_half2.mrc"),
    ],
)
def test_the_other_half_is_found_by_its_name(folder, capsys, first, second):
    Path("half1.d").mkdir()
    Path("half1.mrc").rename(first)
    Path("half2.mrc").rename(second)
    assert inputs.other_half(first) == Path(second)
    assert rows_of(printed(capsys, first))["half maps"].startswith(f"{first}, {second}: ")


def test_the_other_half_that_cannot_be_found(folder, capsys):
    Path("half2.mrc").unlink()
    refused(capsys, 3, ["half1.mrc", "-o", "out"], "half2.mrc: is not there, the other half of half1.mrc", "HALF2")
    refused(capsys, 3, ["none.mrc", "-o", "out"], "none.mrc: is not there; check the name")
    refused(capsys, 2, ["map.mrc", "-o", "out"], "map.mrc: the other half map cannot be found by this name", "HALF2")


# what is refused


def test_the_same_half_twice(folder, capsys):
    Path("copy.mrc").write_bytes(Path("half1.mrc").read_bytes())
    Path("half1.mrc.gz").write_bytes(gzip.compress(Path("half1.mrc").read_bytes()))
    Path("link.mrc").symlink_to("half1.mrc")
    refused(capsys, 3, ["half1.mrc", "half1.mrc"], "half1.mrc, half1.mrc: are one file; give the two independent")
    refused(capsys, 3, ["half1.mrc", "link.mrc", "-o", "out"], "half1.mrc, link.mrc: are one file")
    refused(capsys, 3, ["half1.mrc", "copy.mrc", "-o", "out"], "half1.mrc, copy.mrc: hold the same bytes")
    refused(capsys, 3, ["half1.mrc", "half1.mrc.gz", "-o", "out"], "both half maps are the same map")


def test_other_grids(folder, capsys):
    gm.write("small.mrc", gm.Volume(halves()[1][:30, :30, :30], VOXEL))
    gm.write("coarse.mrc", gm.Volume(halves()[1], VOXEL * 1.05))
    gm.write("small_mask.mrc", gm.Volume(ball(6, 4, 30), VOXEL))
    gm.write("fine_mask.mrc", gm.Volume(ball(6, 4), VOXEL * 0.9))
    box = "has a box of 30 x 30 x 30 voxels, half1.mrc of 32 x 32 x 32; they must be on one grid"
    refused(capsys, 3, ["half1.mrc", "small.mrc", "-o", "out"], f"small.mrc: {box}", "--like")
    refused(capsys, 3, ["half1.mrc", "coarse.mrc"], "voxel sizes differ by 5 %: coarse.mrc", "resample")
    refused(capsys, 3, [*PAIR, "--mask", "small_mask.mrc", "-o", "out"], f"small_mask.mrc: {box}")
    refused(capsys, 3, [*PAIR, "--mask", "fine_mask.mrc", "-o", "out"], "voxel sizes differ", "fine_mask.mrc")
    refused(capsys, 3, [*PAIR, "--reference", "small.mrc"], f"small.mrc: {box}")
    gm.write("half2.mrc", gm.Volume(halves()[1], VOXEL * 1.005), overwrite=True)
    assert main(["fsc", *PAIR]) == 0
    assert capsys.readouterr().err.startswith("warning: voxel sizes differ by 0.5 %: half2.mrc")


def test_masks_that_are_none(folder, capsys):
    for name, data, text in (
        ("bad", ball(9, 6) * 3 - 1, "has values from -1 to 2, a mask has 0 to 1"),
        ("empty", ball(9, 6) * 0, "is an empty mask"),
        ("full", ball(9, 6) * 0 + 1, "is a mask of everything"),
    ):
        gm.write(f"{name}.mrc", gm.Volume(data.astype(np.float32), VOXEL))
        refused(capsys, 3, [*PAIR, "--mask", f"{name}.mrc", "-o", "out"], f"{name}.mrc: {text}")


def test_nan_is_refused_or_replaced(folder, capsys):
    raw = bytearray(Path("half2.mrc").read_bytes())
    raw[1024:1028] = np.float32(np.nan).tobytes()
    Path("half2.mrc").write_bytes(raw)
    refused(capsys, 3, [*PAIR, "-o", "out"], "half2.mrc: 1 voxels are NaN or Inf", "--nan-to 0")
    assert main(["fsc", *PAIR, "--nan-to", "0"]) == 0
    assert capsys.readouterr().err.startswith("warning: half2.mrc: 1 NaN or Inf voxels set to 0")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--style", "eman"], "style must be one of gpumask, relion, cryosparc, cryodrgn, got 'eman'"),
        (["--onset", "1A"], "onset must"),
        (["--onset", "0"], "onset must be an FSC above 0"),
        (["--base-lowpass", "5px"], "base low-pass must be in Å"),
        (["--asymmetric-units", "0"], "asymmetric units must be a whole number >= 1"),
        (["--mass=-3"], "the mass must be > 0 kDa"),
        (["--device", "gpu"], "device must be auto, cpu, cuda or cuda:N"),
        (["--voxel-size", "0"], "voxel size must be"),
        (["--nan-to", "nan"], "NaN can be replaced by a finite number only"),
        (["--window", "30A"], "--window, --step and --filter are for --local-resolution"),
        (["--filter"], "--window, --step and --filter are for --local-resolution"),
        (["--b-factor", "-50"], "--b-factor is for the map of --filter"),
        (["--local-resolution", "--window", "500A"], "is larger than the box"),
    ],
)
def test_options_that_cannot_be(folder, capsys, words, text):
    refused(capsys, 2, [*PAIR, "-o", "out", *words], text)


@pytest.mark.parametrize("words", [["--plot"], ["--local-resolution", "--filter"]])
def test_what_needs_a_folder(folder, capsys, words):
    refused(capsys, 2, [*PAIR, *words], "needs a folder to be written into: give one with -o")


@pytest.mark.parametrize("words", [[], ["half1.mrc", "--seed", "x"], ["a", "b", "c"], ["half1.mrc", "--nothing"]])
def test_usage_that_argparse_refuses(folder, capsys, words):
    assert main(["fsc", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: gpumask")


@pytest.mark.parametrize("role", ["half1", "half2", "mask", "reference"])
def test_files_that_cannot_be_read(folder, capsys, role):
    words = {"half1": ["none.mrc", "half2.mrc"], "half2": ["half1.mrc", "none.mrc"]}.get(
        role, [*PAIR, f"--{role}", "none.mrc"]
    )
    refused(capsys, 3, [*words, "-o", "out"], "none.mrc: cannot be read")


# what is not written over


def test_existing_files_are_kept_unless_forced(folder, capsys):
    Path("out").mkdir()
    Path("out/fsc.xml").write_text("mine")
    refused(capsys, 3, [*PAIR, "-o", "out"], "out/fsc.xml: is already there", "--force")
    printed(capsys, *PAIR, "-o", "out", "--force")
    assert Path("out/fsc.xml").read_text().startswith("<fsc")
    Path("file").write_text("mine")
    refused(capsys, 5, [*PAIR, "-o", "file"], "file: cannot be made")
    refused(capsys, 5, [*PAIR, "-o", "file/out"], "file/out: cannot be made")


@pytest.mark.parametrize("link", [os.link, os.symlink, os.rename])
@pytest.mark.parametrize(("role", "output"), [("half1.mrc", "3dfsc.mrc"), ("half2.mrc", "3dfsc.mrc"),
                                              ("mask.mrc", "locres.mrc"), ("map.mrc", "3dfsc.mrc")])  # fmt: skip
def test_an_input_is_never_written_over(folder, capsys, link, role, output):
    Path("out").mkdir()
    link(Path(role).resolve(), f"out/{output}")
    words = [f"out/{output}" if link is os.rename and name == role else name for name in (*PAIR, "mask.mrc", "map.mrc")]
    words = [*words[:2], "--mask", words[2], "--reference", words[3], "--directional", "--local-resolution"]
    refused(capsys, 2, [*words, "-o", "out", "--force"], f"out/{output}: is an input; give the output another name")


def test_nothing_is_left_where_writing_fails(folder, capsys, monkeypatch):
    def full(rows):
        raise MemoryError("no room for a table")

    monkeypatch.setattr(outputs, "table", full)
    refused(capsys, 5, [*PAIR, "-o", "new/out"], "no room for a table")
    Path("out").mkdir()
    refused(capsys, 5, [*PAIR, "-o", "out"], "no room for a table")


def test_a_folder_that_others_have_used_meanwhile_stays(tmp_path):
    with pytest.raises(ValueError, match="planted"), outputs.folder(tmp_path / "a" / "b") as made:
        (made.parent / "theirs").write_text("kept")
        raise ValueError("planted")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["theirs"]


# devices


def test_out_of_memory_on_the_device_goes_on_on_the_cpu_unless_it_was_demanded(folder, capsys, monkeypatch):
    place = backend.place

    def full(volume, device):
        if device != "cpu":
            raise MemoryError("the device is full")
        return place(volume, device)

    reason = ["a GPU"]
    monkeypatch.setattr(backend, "choose", lambda device=None: ("cuda:0", reason[0]))
    monkeypatch.setattr(backend, "current", lambda where: contextlib.nullcontext())
    monkeypatch.setattr(backend, "free_memory", lambda device: None)
    monkeypatch.setattr(backend, "place", full)
    printed(capsys, *PAIR, "-o", "out")
    done = json.loads(Path("out/provenance.json").read_text())
    assert (done["device"], done["warnings"]) == ("cpu", ["out of memory on cuda:0; computed on the CPU"])
    reason[0] = f"{backend.ASKED}: a GPU"
    refused(capsys, 5, [*PAIR, "-o", "again"], "out of memory: the device is full")


# words


def test_parameters_are_named_as_flags_but_not_in_names_of_files():
    assert terminal.in_flags("say so (assume_unmasked)") == "say so (--assume-unmasked)"
    assert terminal.in_flags("read it with nan_to=0") == "read it with --nan-to 0"
    assert terminal.in_flags("or give a b_factor") == "or give a --b-factor"
    for name in ("b_factor.mrc: is empty", "maps/b_factor is empty", "my_b_factor", "b_factor_2"):
        assert terminal.in_flags(name) == name


# RELION


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("iso_pp1", "iso_mask_lp15_t0012_e3_s6"),
        ("iso_pp2_tight", "iso_mask_tight_lp6_t008_e0_s3"),
        ("iso_pp6_nomask", None),
    ],
)
def test_the_star_is_that_of_relion(data, tmp_path, capsys, name, mask):
    """Deterministic curves to the digits of the text, the same shells; what is drawn within the spread of 20 seeds."""
    masks = data / "relion_postprocess"
    words = [str(data / "halves" / "sim_iso_half1_unfil.mrc.gz"), "-o", str(tmp_path / "out"), "--style", "relion"]
    words += ["--mask", str(masks / f"{mask}.mrc.gz")] if mask else []
    assert main(["fsc", *words, "--device", "cpu"]) == 0
    ours, wanted = (
        gm.star.loads(path.read_text()) for path in (tmp_path / "out/postprocess.star", masks / f"{name}.star")
    )
    resolutions = [float(one["general"]["rlnFinalResolution"]) for one in (ours, wanted)]
    assert resolutions[0] == pytest.approx(resolutions[1], rel=1e-5)

    def columns(label):
        return [np.array([float(text) for text in one["fsc"][label]]) for one in (ours, wanted)]

    for label in ("rlnFourierShellCorrelationUnmaskedMaps", "rlnFourierShellCorrelationMaskedMaps"):
        if label in wanted["fsc"]:
            one, two = columns(label)
            assert np.abs(one - two).max() <= STAR_TEXT
    if mask is None:
        return
    one, two = columns("rlnFourierShellCorrelationParticleMaskFraction")
    fraction = float(wanted["general"]["rlnParticleBoxFractionSolventMask"])  # the slope of the part-FSC, at the most
    assert np.abs(one - two).max() <= fraction * STAR_TEXT
    onsets = [float(one["general"]["rlnRandomiseFrom"]) for one in (ours, wanted)]
    assert onsets[0] == pytest.approx(onsets[1], rel=1e-5)
    relions = columns("rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps")
    volumes = [gm.read(data / "halves" / f"sim_iso_half{number}_unfil.mrc.gz") for number in (1, 2)]
    soft = gm.read(masks / f"{mask}.mrc.gz").data
    halves = correlation.half_maps(*(volume.data for volume in volumes), volumes[0].voxel_size, convention="relion")
    seeds = np.array([halves.measured(soft, seed) for seed in range(20)])
    judged = slice(halves.onset - 3, None)
    off = (np.array(relions) - seeds.mean(axis=0))[:, judged] / seeds.std(axis=0, ddof=1)[judged]
    assert np.abs(off).max() < 5  # standard deviations; by chance once in 35 000, two curves of 35 shells
    judged = slice(halves.onset + correlation.SKIPPED, None)
    corrected = columns("rlnFourierShellCorrelationCorrected")
    spread = correlation.corrected(columns("rlnFourierShellCorrelationMaskedMaps")[1], seeds).std(axis=0, ddof=1)
    assert (np.abs(corrected[0] - corrected[1])[judged] <= 5 * spread[judged]).all()
