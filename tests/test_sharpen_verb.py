"""gpumask sharpen: the maps and tables that it writes, what it prints, and what it refuses."""

import csv
import functools
import hashlib
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import gpumask as gm
from gpumask.cli import main
from gpumask.job import outputs
from gpumask.volume import Header

BOX, VOXEL = 32, 2.0
ORIGIN = (30.0, 20.0, 10.0)  # Å, (z, y, x)
KEYS = [
    *("output", "files", "version", "verb", "inputs", "options", "box", "voxel_size_angstrom", "resolution", "judged"),
    *("onset", "b_factor", "fit", "lowpass", "flags", "guinier", "device", "device_reason", "seconds", "warnings"),
]
FLOAT32 = 2**-23  # relative spacing of float32
FIT = ["--low", "30A"]  # a small box has few shells beyond 10 Å
WRITTEN = ["sharp.json", "sharp.mrc", "sharp_guinier.csv"]


def ball(radius, width):
    """1 up to `radius` px from the centre, a raised cosine of `width` px outside."""
    grid = np.indices((BOX,) * 3) - BOX // 2
    position = np.clip((np.sqrt((grid**2).sum(axis=0)) - radius) / width, 0, 1)
    return (0.5 + 0.5 * np.cos(np.pi * position)).astype(np.float32)


@functools.cache
def halves():
    """Blobs that a Gaussian of 1.2 px has blurred (B = 8π²σ² = 455 Å²), in noise of their own."""
    random = np.random.default_rng(0)
    signal = ndimage.gaussian_filter(random.standard_normal((BOX,) * 3), 1.2) * ball(8, 4)
    signal /= signal.std()
    return tuple((signal + 0.3 * random.standard_normal((BOX,) * 3)).astype(np.float32) for _ in range(2))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with two half maps, a mask and an MTF in it."""
    monkeypatch.setattr("gpumask.cli.terminal.PATIENCE", float("inf"))  # no progress on a slow machine
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUMASK_DEVICE", "cpu")
    for number, half in enumerate(halves(), 1):
        gm.write(f"half{number}.mrc", gm.Volume(half, VOXEL, Header(origin=ORIGIN)))
    gm.write("mask.mrc", gm.Volume(ball(9, 6), VOXEL))
    Path("mtf.csv").write_text("frequency,mtf\n0,1\n0.25,0.7\n0.5,0.3\n")
    return tmp_path


def tree():
    return {path.name: path.read_bytes() for path in sorted(Path().iterdir())}


def made(capsys, *words, output="sharp.mrc"):
    """The document of ``--json``, which holds no NaN."""
    assert main(["sharpen", "half1.mrc", "-o", output, *FIT, *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def refused(capsys, code, words, *texts):
    """Exit code, one line on stderr, nothing on stdout, and every file as it was."""
    before = tree()
    assert main(["sharpen", *words]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[:9]) == ("", 1, "gpumask: "), err
    for text in texts:
        assert text in err, err
    assert tree() == before


def library(mask=None, curve="corrected_predicted", fsc=(), **options):
    """The same by the library: the FSC, and what it makes of the half maps."""
    pair = [gm.read(f"half{number}.mrc") for number in (1, 2)]
    around = None if mask is None else gm.read(mask)
    found = gm.fsc(*pair, around, **dict(fsc))
    settings = {"resolution": found.reported, "lowpass": found.reported, "low": "30A"} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gm.GpumaskWarning)
        return found, gm.sharpen(*pair, around, fsc=found.curve(curve), **settings)


# what is written


def test_the_map_and_its_table_are_the_librarys(folder, capsys):
    one = made(capsys, "--mask", "mask.mrc")
    assert sorted(tree()) == sorted(
        ["half1.mrc", "half2.mrc", "mask.mrc", "mtf.csv", "sharp_masked.mrc", *WRITTEN]
    )  # fmt: skip
    found, wanted = library("mask.mrc")
    sharp = gm.read("sharp.mrc")
    assert np.array_equal(sharp.data, wanted.volume.data)
    assert np.array_equal(gm.read("sharp_masked.mrc").data, wanted.masked.data)
    assert (sharp.origin, sharp.voxel_size) == (ORIGIN, (VOXEL,) * 3)
    assert sharp.header.labels[-1] == f"gpumask {gm.__version__} sharpen, B {wanted.b_factor:.4g} A^2"
    assert list(one) == KEYS
    assert json.loads(Path("sharp.json").read_text()) == one
    assert one["files"] == ["sharp.mrc", "sharp_masked.mrc", "sharp_guinier.csv", "sharp.json"]
    assert (one["resolution"], one["judged"], one["onset"]) == (found.reported, "corrected_predicted", found.onset)
    assert (one["b_factor"], one["lowpass"], one["flags"]) == (wanted.b_factor, found.reported, found.flags)
    assert one["guinier"] == wanted.guinier.to_dict()
    fitted = wanted.guinier.inverse_squared[wanted.guinier.fitted]
    assert (one["fit"]["low"], one["fit"]["high"]) == pytest.approx((fitted[0] ** -0.5, fitted[-1] ** -0.5))
    assert (one["fit"]["shells"], one["fit"]["correlation"]) == (len(fitted), wanted.guinier.correlation)
    for name, path in (("half1", "half1.mrc"), ("half2", "half2.mrc"), ("mask", "mask.mrc")):
        assert one["inputs"][name] == {"path": path, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
    with open("sharp_guinier.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    table = [
        {n: text == "True" if n == "fitted" else float(text) if text else None for n, text in r.items()} for r in rows
    ]
    assert table == one["guinier"]["shells"]


def test_without_a_mask_there_is_no_masked_map(folder, capsys):
    one = made(capsys)
    assert "sharp_masked.mrc" not in tree()
    assert one["files"] == ["sharp.mrc", "sharp_guinier.csv", "sharp.json"]
    assert np.array_equal(gm.read("sharp.mrc").data, library()[1].volume.data)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--b-factor", "-80"], {"b_factor": -80.0}),
        (["--b-factor", "auto"], {}),
        (["--b-factor=0", "--lowpass", "none"], {"b_factor": 0.0, "lowpass": None}),
        (["--lowpass", "9A"], {"lowpass": 9.0}),
        (["--high", "7A"], {"high": "7A"}),
        (["--low", "20A"], {"low": "20A"}),
        (["--no-weighting"], {"weight": False}),
        (["--style", "relion"], {"curve": "corrected_predicted", "fsc": {"style": "relion"}, "convention": "relion"}),
        (["--onset", "16A", "--seed", "3"], {"fsc": {"onset": "16A", "seed": 3}}),
    ],
)
def test_options_are_those_of_the_library(folder, capsys, words, options):
    one = made(capsys, *words)
    found, wanted = library(**options)
    assert np.array_equal(gm.read("sharp.mrc").data, wanted.volume.data)
    assert (one["b_factor"], one["resolution"]) == (wanted.b_factor, found.reported)
    assert (one["fit"] is None) == (wanted.guinier.slope is None)
    assert one["options"]["style"] == options.get("fsc", {}).get("style", "gpumask")


def test_an_mtf_is_divided_out(folder, capsys):
    one = made(capsys, "--mtf", "mtf.csv", "--mtf-voxel-size", "1.5")
    mtf = gm.sharpening.parse_mtf(Path("mtf.csv").read_text())
    assert np.array_equal(gm.read("sharp.mrc").data, library(mtf=mtf, mtf_pixel_size=1.5)[1].volume.data)
    assert one["inputs"]["mtf"]["path"] == "mtf.csv"
    assert "mtf_corrected" in one["guinier"]["shells"][0]
    Path("mtf.star").write_text(
        "data_\nloop_\n_rlnResolutionInversePixel\n_rlnMtfValue\n0 1\n0.25 0.7\n0.5 0.3\n", encoding="utf-8"
    )
    made(capsys, "--mtf", "mtf.star", "--mtf-voxel-size", "1.5", output="again.mrc")
    assert np.array_equal(gm.read("again.mrc").data, gm.read("sharp.mrc").data)
    assert made(capsys, "--mtf", "mtf.csv", output="own.mrc")["options"]["mtf_voxel_size_angstrom"] is None


def test_star_and_figure_where_they_are_asked_for(folder, capsys):
    one = made(capsys, "--star", "--mask", "mask.mrc")
    assert "sharp.star" in one["files"]
    blocks = gm.star.loads(Path("sharp.star").read_text())
    assert list(blocks) == ["general", "fsc", "guinier"]
    assert float(blocks["general"]["rlnBfactorUsedForSharpening"]) == pytest.approx(one["b_factor"], rel=1e-8)
    assert float(blocks["general"]["rlnFittedSlopeGuinierPlot"]) == pytest.approx(one["fit"]["slope"], rel=1e-8)
    weighted = [float(text) for text in blocks["guinier"]["rlnLogAmplitudesWeighted"]]
    wanted = [-99 if row["weighted"] is None else row["weighted"] for row in one["guinier"]["shells"]]
    assert weighted == pytest.approx(wanted, rel=1e-8)
    pytest.importorskip("matplotlib")
    made(capsys, "--plot", output="drawn.mrc")
    assert Path("drawn.png").read_bytes().startswith(b"\x89PNG")


# what people read


def test_the_table(folder, capsys):
    words = ["sharpen", "half1.mrc", "--mask", "mask.mrc", "-o", "sharp.mrc", *FIT]
    assert main(words) == 0
    out, err = capsys.readouterr()
    rows = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in out.splitlines())
    one = json.loads(Path("sharp.json").read_text())
    assert rows["half maps"] == "half1.mrc, half2.mrc: 32 x 32 x 32 voxels of 2 Å"
    assert rows["device"] == "cpu (from GPUMASK_DEVICE)"
    assert rows["resolution"] == f"{one['resolution']:.2f} Å: FSC corrected for the mask at 0.143, style gpumask"
    assert rows["B-factor"] == f"{one['b_factor']:.1f} Å² (fitted)"
    fit = one["fit"]
    assert rows["fit"] == (
        f"{fit['shells']} shells, {fit['low']:.3g} to {fit['high']:.3g} Å, correlation {fit['correlation']:.3f}"
    )
    assert rows["low-pass"] == f"{one['lowpass']:.2f} Å"
    assert rows["wrote"] == ", ".join(one["files"])
    told = [f"warning: {text}" for text in one["warnings"]]
    assert err.splitlines() == told + [f"warning: {flag['code']}: {flag['message']}" for flag in one["flags"]]
    assert main([*words, "--force", "--b-factor", "-50", "--lowpass", "none", "--no-weighting"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"(?m)^B-factor +-50\.0 Å² \(given\)$", out)
    assert re.search(r"(?m)^low-pass +none$", out)
    assert re.search(r"(?m)^weights +none$", out)
    assert "fit " not in out


def test_a_rising_plot_is_warned_about(folder, capsys):
    edges = [ndimage.laplace(half) for half in halves()]  # amplitudes rise with the square of the frequency
    for number, half in enumerate(edges, 1):
        gm.write(f"half{number}.mrc", gm.Volume(half.astype(np.float32), VOXEL), overwrite=True)
    assert main(["sharpen", "half1.mrc", "-o", "sharp.mrc", "--low", "60A", "--high", "15A"]) == 0
    assert re.search(r"(?m)^warning: the Guinier plot rises, so that B = \d", capsys.readouterr().err)
    assert json.loads(Path("sharp.json").read_text())["warnings"][0].startswith("the Guinier plot rises")


def test_masked_half_maps_are_sharpened_with_what_there_is(folder, capsys):
    for number, half in enumerate(halves(), 1):
        gm.write(f"half{number}.mrc", gm.Volume(half * ball(8, 4), VOXEL), overwrite=True)
    assert main(["sharpen", "half1.mrc", "--mask", "mask.mrc", "-o", "sharp.mrc", *FIT]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"(?m)^warning: masked_half_maps: .*\(--assume-unmasked\)$", err)
    assert "FSC under the mask, not corrected" in out
    assert np.array_equal(gm.read("sharp.mrc").data, library("mask.mrc", "masked")[1].volume.data)


# what is refused


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--b-factor", "strong"], "--b-factor must be auto or a number of Å², such as -80, got 'strong'"),
        (["--b-factor", "nan"], "a B-factor must be a number of Å²"),
        (["--b-factor", "-1000000"], "B = -1e+06 Å² is too strong"),
        (["--low", "4.2A"], "the fit must end at a higher resolution than 4.2 Å"),
        (["--low", "5px"], "the low end of the fit must be in Å"),
        (["--low", "8A", "--high", "7.9A"], "or give a --b-factor"),
        (["--lowpass", "8px"], "low-pass resolution must be in Å"),
        (["--mtf-voxel-size", "2"], "says nothing without the MTF"),
        (["--style", "eman"], "style must be one of"),
        (["--device", "gpu"], "device must be auto, cpu, cuda or cuda:N"),
        (["-o", "sharp.json"], "sharp.json: needs a name of its own"),
        (["-o", "sharp.mrc.gz"], "outputs are not compressed"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(folder, capsys, words, text):
    refused(capsys, 2, ["half1.mrc", "-o", "sharp.mrc", *words], text)


def test_inputs_that_cannot_be(folder, capsys):
    gm.write("small_mask.mrc", gm.Volume(ball(6, 4)[:30, :30, :30], VOXEL))
    gm.write("map.mrc", gm.Volume(halves()[0], VOXEL * 1.05))
    Path("words.star").write_text("data_\n_rlnMtfValue 1\n")
    Path("zero.csv").write_text("0 1\n0.5 0\n")
    out = ["-o", "sharp.mrc"]
    refused(capsys, 3, ["half1.mrc", "half1.mrc", *out], "are one file")
    refused(capsys, 3, ["half1.mrc", "map.mrc", *out], "voxel sizes differ by 5 %: map.mrc")
    refused(capsys, 3, ["half1.mrc", "--mask", "small_mask.mrc", *out], "small_mask.mrc: has a box of 30 x 30 x 30")
    refused(capsys, 2, ["map.mrc", *out], "the other half map cannot be found by this name")
    refused(capsys, 3, ["half1.mrc", *out, "--mtf", "none.star"], "none.star: cannot be read as an MTF")
    refused(capsys, 3, ["half1.mrc", *out, "--mtf", "words.star"], "words.star: an MTF needs a loop")
    refused(capsys, 3, ["half1.mrc", *out, "--mtf", "zero.csv"], "zero.csv: the values of an MTF must be above 0")
    raw = bytearray(Path("half2.mrc").read_bytes())
    raw[1024:1028] = np.float32(np.nan).tobytes()
    Path("half2.mrc").write_bytes(raw)
    refused(capsys, 3, ["half1.mrc", *out], "half2.mrc: 1 voxels are NaN or Inf", "--nan-to 0")


def test_half_maps_without_a_resolution(folder, capsys):
    random = np.random.default_rng(1)
    pair = [random.standard_normal((BOX,) * 3).astype(np.float32) for _ in range(2)]
    smooth = ndimage.gaussian_filter(random.standard_normal((BOX,) * 3), 9, mode="wrap")
    for number, half in enumerate((pair[0] + smooth, pair[1] - smooth), 1):  # at odds in the first shell
        gm.write(f"half{number}.mrc", gm.Volume((half + 1).astype(np.float32), VOXEL), overwrite=True)
    assert gm.fsc(*(gm.read(f"half{number}.mrc") for number in (1, 2)), style="relion").reported is None
    words = ["half1.mrc", "--style", "relion", "-o", "sharp.mrc"]
    refused(capsys, 2, words, "there is no resolution to go by; give --high or --b-factor, and --lowpass")
    refused(capsys, 2, [*words, "--b-factor", "-50"], "there is no resolution to go by")
    words += ["--b-factor", "-50", "--lowpass", "none", "--no-weighting"]
    assert main(["sharpen", *words]) == 0
    assert "resolution  none: unmasked FSC at 0.143" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["half1.mrc"], ["half1.mrc", "-o", "s.mrc", "--nothing"]])
def test_usage_that_argparse_refuses(folder, capsys, words):
    assert main(["sharpen", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: gpumask")


def test_existing_files_are_kept_unless_forced(folder, capsys):
    for name in ("sharp.mrc", "sharp_masked.mrc", "sharp_guinier.csv", "sharp.json"):
        Path(name).write_text("mine")
        refused(
            capsys, 3, ["half1.mrc", "--mask", "mask.mrc", "-o", "sharp.mrc"], f"{name}: is already there", "--force"
        )
        Path(name).unlink()
    Path("sharp.mrc").write_text("mine")
    assert made(capsys, "--force")["output"] == "sharp.mrc"
    refused(capsys, 5, ["half1.mrc", "-o", "none/sharp.mrc"], "the folder none is not there")
    Path("dir").mkdir()
    assert main(["sharpen", "half1.mrc", "-o", "dir"]) == 5
    assert main(["sharpen", "half1.mrc", "-o", "."]) == 5
    assert capsys.readouterr().err.count("is a folder; give the name of a file") == 2


def test_an_input_is_never_written_over(folder, capsys):
    Path("x.mrc").write_bytes(Path("half1.mrc").read_bytes())
    Path("x_masked.mrc").hardlink_to("mask.mrc")
    Path("link.mrc").symlink_to("half2.mrc")
    is_input = "is an input; give the output another name"
    for name in ("half1.mrc", "half2.mrc", "mask.mrc", "./half1.mrc", "link.mrc"):
        words = ["half1.mrc", "half2.mrc", "--mask", "mask.mrc", "-o", name, "--force"]
        refused(capsys, 2, words, f"{Path(name)}: {is_input}")
    refused(capsys, 2, ["half1.mrc", "--mask", "mask.mrc", "-o", "x.mrc", "--force"], f"x_masked.mrc: {is_input}")
    Path("mtf.csv").rename("y_guinier.csv")
    words = ["half1.mrc", "--mtf", "y_guinier.csv", "-o", "y.mrc", "--force"]
    refused(capsys, 2, words, f"y_guinier.csv: {is_input}")


def test_nothing_is_left_where_writing_fails(folder, capsys, monkeypatch):
    def full(rows):
        raise MemoryError("no room for a table")

    monkeypatch.setattr(outputs, "table", full)
    refused(capsys, 5, ["half1.mrc", "-o", "sharp.mrc", *FIT], "no room for a table")


# RELION


def test_b_and_the_guinier_table_are_relions(data, tmp_path, capsys):
    """relion_postprocess fitted from 8 Å to the last shell with a weight, which one draw of random phases decides.

    So RELION's own table is fitted here up to its resolution, which is what gpumask does unless told.
    """
    masks = data / "relion_postprocess"
    wanted = gm.star.loads((masks / "iso_pp1.star").read_text())
    reached = float(wanted["general"]["rlnFinalResolution"])
    words = [
        str(data / "halves" / "sim_iso_half1_unfil.mrc.gz"),
        "--mask",
        str(masks / "iso_mask_lp15_t0012_e3_s6.mrc.gz"),
    ]
    words += ["-o", str(tmp_path / "sharp.mrc"), "--style", "relion", "--low", "8A", "--star", "--device", "cpu"]
    assert main(["sharpen", *words, "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    ours = gm.star.loads((tmp_path / "sharp.star").read_text())
    assert one["resolution"] == pytest.approx(reached, rel=1e-5)
    columns = [
        {label: np.array([float(text) for text in column]) for label, column in table["guinier"].items()}
        for table in (ours, wanted)
    ]
    x = columns[1]["rlnResolutionSquared"]
    original = np.subtract(*(column["rlnLogAmplitudesOriginal"] for column in columns))
    assert np.abs(original).max() <= 1e-5 + 5e-6  # float32 transforms, and digits of the text
    inside = (x >= 1 / 8**2) & (x <= (1 + 1e-5) / reached**2)
    slope = np.polyfit(x[inside], columns[1]["rlnLogAmplitudesWeighted"][inside], 1)[0]
    spread = 0.01 * abs(float(wanted["general"]["rlnBfactorUsedForSharpening"]))
    assert one["b_factor"] == pytest.approx(4 * slope, abs=spread)
