"""The correlation of a map with a model: laws, a noise of known strength, a published map, and the verb."""

import csv
import functools
import json
from pathlib import Path

import glycoprotein
import numpy as np
import pytest
from figures import assert_readable, recorder

import gpumask as gm
from gpumask import correlation, fourier, mask, model_fit, models
from gpumask.cli import main
from gpumask.errors import InputRefused, UsageError
from gpumask.report import fsc as fsc_figure
from gpumask.volume import Header

gemmi = pytest.importorskip("gemmi", reason="the extra `model` is not installed")

BOX, VOXEL = 48, 2.0
ORIGIN = (10.0, -20.0, 30.0)  # Å, (z, y, x)
MIDDLE = [o + BOX // 2 * VOXEL for o in reversed(ORIGIN)]  # x, y, z
TRANSFORM = 1e-5  # of an FSC by float32 transforms of densities that fall to a tenth at Nyquist
NOISE = 1.0  # standard deviations of the density, in a half map
LAST = 0.01  # of the FSC of the last shell, whose coefficients on the Nyquist planes are real: half is lost


@functools.cache
def text():
    return glycoprotein.text(MIDDLE)


@functools.cache
def model():
    return models.parse(text(), "model.pdb")


def empty(xp=np):
    return gm.Volume(xp.zeros((BOX,) * 3, xp.float32), VOXEL, Header(origin=ORIGIN))


def exact(resolution=3 * VOXEL):
    """The half transform of the Gaussians themselves, in float64, not folded at Nyquist."""
    sigma = resolution / (np.pi * np.sqrt(2)) / VOXEL
    places = (model().positions - ORIGIN) / VOXEL
    waves = [
        np.exp(-2j * np.pi * np.outer(along, f) - 2 * (np.pi * sigma * f) ** 2)
        for along, f in zip(places.T, (np.fft.fftfreq(BOX), np.fft.fftfreq(BOX), np.fft.rfftfreq(BOX)), strict=True)
    ]
    return np.einsum("a,az,ay,ax->zyx", model().numbers.astype(float), *waves, optimize=True)


def correlated(one, two):
    return correlation.curve(*fourier.shell_products(one, two, (BOX,) * 3, VOXEL))[: BOX // 2 + 1]


@functools.cache
def halves():
    """The model's density, with noise, as half maps."""
    random = np.random.default_rng(4)
    signal = model_fit.density(model(), empty())
    scale = NOISE * signal.std()
    return [(signal + scale * random.standard_normal(signal.shape)).astype(np.float32) for _ in range(2)]


# the density


def test_the_density_is_the_transform_of_the_gaussians_to_the_last_shell():
    made = fourier.rfftn(model_fit.density(model(), empty()))
    found = 1 - correlated(made, exact())
    assert found[:-1].max() < TRANSFORM
    assert found[-1] < LAST
    sampled = 1 - correlated(fourier.rfftn(models.density(model(), 3 * VOXEL, empty())), exact())
    assert sampled[-1] > 0.05  # what folds back at Nyquist where the grid is read once
    assert sampled[-3] > 100 * found[-3]


def test_it_is_three_voxels_unless_told(xp):
    assert model_fit.density_resolution((2.0, 2.0, 2.0)) == 6
    assert model_fit.density_resolution((3.0, 2.0, 1.0)) == 9
    assert model_fit.density_resolution((2.0, 2.0, 2.0), "5A") == 5
    made = model_fit.density(model(), empty(xp), "8A")
    assert isinstance(made, xp.ndarray)
    assert correlated(fourier.rfftn(made), xp.asarray(exact(8.0)))[1:-1] == pytest.approx(1, abs=TRANSFORM)


# laws of the curve


def test_a_map_made_of_the_model_agrees_with_it_to_nyquist(xp):
    signal = gm.Volume(xp.asarray(model_fit.density(model(), empty())), VOXEL)
    around = signal.with_data(model_fit.own_mask(model(), empty(xp)))
    found = model_fit.map_model(signal, signal, around)
    for name in model_fit.CURVES:
        assert found.curve(name) == pytest.approx(1, abs=TRANSFORM)
    assert {one for of in found.resolution.values() for one in of.values()} == {2 * VOXEL}  # nowhere below
    other = models.density(model(), 8.0, empty())  # another width is another factor a shell: the same FSC
    wide = model_fit.map_model(signal, xp.asarray(other))
    assert wide.curve("map_model_unmasked")[:20] == pytest.approx(1, abs=1e-3)
    assert wide.curve("map_model")[1:] == pytest.approx(np.nan, nan_ok=True)


def test_noise_of_known_strength_gives_the_relation_of_rosenthal_and_henderson():
    first, second = halves()
    density = model_fit.density(model(), empty())
    found = model_fit.map_model((first + second) / 2, density, voxel_size=VOXEL).curve("map_model_unmasked")
    transform = fourier.rfftn(density)
    signal = fourier.shell_sums(transform, transform, density.shape, VOXEL)[: len(found)]
    count = fourier.shells(density.shape, VOXEL).coefficients[: len(found)]
    noise = count * density.size * (NOISE * density.std()) ** 2 / 2  # of the mean of both
    expected = np.sqrt(signal / (signal + noise))
    half = signal / (signal + 2 * noise)
    assert expected == pytest.approx(correlation.figure_of_merit(half), rel=1e-12)
    # of the correlation of a fixed signal with itself in noise, half the coefficients being mates of the others
    error = (1 - expected**2) / np.sqrt(count / 2)
    judged = slice(1, None)
    assert (np.abs(found - expected)[judged] < 4 * error[judged] + TRANSFORM).all()
    assert expected[judged].min() < 0.3  # noise rules at the end: there is something to be seen
    assert (
        np.abs(found - correlation.figure_of_merit(correlated(*map(fourier.rfftn, (first, second)))))[
            expected > 0.7
        ].max()
        < 0.05
    )


def test_the_sign_and_the_scale_of_a_map():
    first = halves()[0]
    density = model_fit.density(model(), empty())
    plain = model_fit.map_model(first, density, voxel_size=VOXEL)
    scaled = model_fit.map_model(-4 * first, density, voxel_size=VOXEL)
    assert np.array_equal(scaled.curve("map_model_unmasked"), -plain.curve("map_model_unmasked"))


def test_resolutions_are_read_as_those_of_half_maps():
    first, second = halves()
    density = model_fit.density(model(), empty())
    found = model_fit.map_model((first + second) / 2, density, voxel_size=VOXEL)
    curve, step = found.curve("map_model_unmasked"), 1 / (BOX * VOXEL)
    assert list(found.resolution) == ["0", "0.143", "0.5"]
    below = int(np.flatnonzero(curve[1:] < 0.5)[0]) + 1
    assert found.resolution["0.5"]["map_model_unmasked"] == 1 / ((below - 1) * step)
    between = below - 1 + (curve[below - 1] - 0.5) / (curve[below - 1] - curve[below])
    told = found.crossings["0.5"]["map_model_unmasked"]["interpolated"]
    assert told == pytest.approx(1 / (between * step), rel=1e-12)
    style = model_fit.map_model((first + second) / 2, density, style="cryosparc", voxel_size=VOXEL)
    assert style.resolution["0.5"]["map_model_unmasked"] == told
    assert found.resolution["0.5"]["map_model"] is None


def test_the_models_own_mask_is_that_of_the_verb(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("model.pdb").write_text(text())
    gm.write("map.mrc", empty())
    words = ["--select", "all", "-o", "mask.mrc", "--device", "cpu"]
    assert main(["model", "model.pdb", "--like", "map.mrc", *words]) == 0
    assert np.array_equal(gm.read("mask.mrc").data, model_fit.own_mask(model(), empty()))


def test_what_cannot_be_compared():
    good = model_fit.density(model(), empty())
    with pytest.raises(InputRefused, match="no density in the box of the map"):
        model_fit.map_model(good, 0 * good, voxel_size=VOXEL)
    with pytest.raises(InputRefused, match="the map is 0 everywhere"):
        model_fit.map_model(0 * good, good, voxel_size=VOXEL)
    with pytest.raises(InputRefused, match="the map has NaN or Inf"):
        model_fit.map_model(np.where(good > good.mean(), np.nan, good), good, voxel_size=VOXEL)
    with pytest.raises(InputRefused, match="must have one box"):
        model_fit.map_model(good, good[:40], voxel_size=VOXEL)
    with pytest.raises(UsageError, match="style must be one of"):
        model_fit.map_model(good, good, style="imagic", voxel_size=VOXEL)
    with pytest.raises(InputRefused, match="values from 0 to 1, and some above 0; got 0 to 2"):
        model_fit.map_model(good, good, 2 * model_fit.own_mask(model(), empty()), voxel_size=VOXEL)
    with pytest.raises(TypeError, match="voxel_size"):
        model_fit.map_model(good, good)


def test_a_published_map_and_its_model(data):
    volume = gm.read(data / "maps" / "emd_3488.mrc.gz")
    atoms = models.read(data / "models" / "5ni1_updated.cif")
    around = model_fit.own_mask(atoms, volume)
    found = model_fit.map_model(volume, volume.with_data(model_fit.density(atoms, volume)), volume.with_data(around))
    assert 3.2 < found.crossings["0.5"]["map_model"]["interpolated"] < 3.4  # the entry says 3.2 Å
    assert 2.9 < found.crossings["0.143"]["map_model"]["interpolated"] < 3.2
    assert found.curve("map_model")[1:20].min() > 0.8
    assert abs(found.curve("map_model")[40:]).max() < 0.07


# the verb


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("gpumask.cli.terminal.PATIENCE", float("inf"))  # no progress on a slow machine
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUMASK_DEVICE", "cpu")
    for number, half in enumerate(halves(), 1):
        gm.write(f"half{number}.mrc", gm.Volume(half, VOXEL, Header(origin=ORIGIN)))
    own = model_fit.own_mask(model().select("protein"), empty())
    gm.write("mask.mrc", gm.Volume(own, VOXEL, Header(origin=ORIGIN)))
    Path("model.pdb").write_text(text())
    return tmp_path


def test_the_document_and_the_table_have_the_curves(folder, capsys):
    assert main(["fsc", "half1.mrc", "--model", "model.pdb", "-o", "out", "--json"]) == 0
    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert json.loads(Path("out/fsc.json").read_text()) == told
    mean, density = sum(halves()) / 2, model_fit.density(model(), empty())
    found = model_fit.map_model(mean, density, model_fit.own_mask(model(), empty()), voxel_size=VOXEL)
    for row, own in zip(told["shells"], found.shells, strict=True):
        assert (row["map_model"], row["map_model_unmasked"]) == (own["map_model"], own["map_model_unmasked"])
    facts = told["map_model"]
    assert facts["resolution"] == found.resolution
    assert facts["crossings"] == found.crossings
    assert (facts["path"], facts["atoms"], facts["select"]) == ("model.pdb", len(model()), None)
    assert (facts["mask"], facts["density_resolution"]) == ("model", 6)
    with open("out/fsc.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["map_model"] for row in rows] == ["" if r["map_model"] is None else repr(r["map_model"])
                                                  for r in told["shells"]]  # fmt: skip
    kept = json.loads(Path("out/provenance.json").read_text())
    assert kept["inputs"]["model"] == {"path": "model.pdb", "sha256": facts["sha256"]}


def test_without_a_model_nothing_of_it_is_there(folder, capsys):
    assert main(["fsc", "half1.mrc", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["map_model"] is None
    assert "map_model" not in told["shells"][0]


def test_atoms_are_selected_and_the_given_mask_counts(folder, capsys):
    words = ["--select", "protein", "--model-resolution", "7A", "--mask", "mask.mrc"]
    assert main(["fsc", "half1.mrc", "--model", "model.pdb", *words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    protein = model().select("protein")
    density = model_fit.density(protein, empty(), 7)
    found = model_fit.map_model(sum(halves()) / 2, density, gm.read("mask.mrc").data, voxel_size=VOXEL)
    assert told["map_model"]["resolution"] == found.resolution
    assert (told["map_model"]["atoms"], told["map_model"]["select"]) == (len(protein), "protein")
    assert (told["map_model"]["mask"], told["map_model"]["density_resolution"]) == ("given", 7)


def test_what_a_person_reads(folder, capsys):
    assert main(["fsc", "half1.mrc", "--model", "model.pdb", "--select", "protein"]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("map and model, model.pdb: 646 atoms (protein)"))
    assert lines[start + 1].split() == ["0", "0.143", "0.5"]
    assert [line[:20].strip() for line in lines[start + 2 : start + 4]] == ["under its own mask", "without a mask"]


def test_what_the_verb_refuses(folder, capsys):
    def refused(code, *words):
        assert main(["fsc", "half1.mrc", "-o", "out", *words]) == code
        assert not Path("out").exists()
        return capsys.readouterr().err

    assert "give it with --model" in refused(2, "--select", "protein")
    assert "none.pdb: cannot be read" in refused(3, "--model", "none.pdb")
    assert "holds no 'nucleic'" in refused(3, "--model", "model.pdb", "--select", "nucleic")
    Path("far.pdb").write_text(glycoprotein.text([900.0] * 3))
    assert "lies off the grid" in refused(3, "--model", "far.pdb")


def test_the_model_is_not_written_over(folder, capsys):
    Path("out").mkdir()
    Path("out/fsc.csv").write_text(text())
    assert main(["fsc", "half1.mrc", "--model", "out/fsc.csv", "-o", "out", "--force"]) == 2
    assert "fsc.csv: is an input" in capsys.readouterr().err
    assert Path("out/fsc.csv").read_text() == text()


def test_atoms_off_the_map_are_told(folder, capsys):
    moved = glycoprotein.text([MIDDLE[0] + 40, *MIDDLE[1:]]).replace("END\n", "")
    Path("model.pdb").write_text("".join(f"MODEL {number:8}\n{moved}ENDMDL\n" for number in (1, 2)))
    assert main(["fsc", "half1.mrc", "--model", "model.pdb"]) == 0
    atoms = models.read("model.pdb")
    outside = models.outside(atoms, empty())
    assert 0 < outside < len(atoms)
    said = capsys.readouterr().err
    assert f"model.pdb: {outside} of {len(atoms)} selected atoms" in said
    assert "model.pdb: the first of 2 models is used" in said


def test_small_differences_of_the_voxel_size_are_noted():
    density = model_fit.density(model(), empty())
    found = model_fit.map_model(gm.Volume(density, VOXEL), gm.Volume(density, 1.005 * VOXEL))
    assert len(found.notes) == 1 and "voxel sizes differ by 0.5 %" in found.notes[0]
    assert model_fit.map_model(density, density, voxel_size=VOXEL).notes == []


def test_what_falls_nowhere_is_limited_by_nyquist(folder, capsys):
    density = model_fit.density(model(), empty())
    found = model_fit.map_model(density, density, voxel_size=VOXEL)
    assert found.nyquist_limited == dict.fromkeys(("0", "0.143", "0.5"), ["map_model_unmasked"])
    over = model_fit.map_model(-density, density, voxel_size=VOXEL)
    assert over.nyquist_limited == dict.fromkeys(("0", "0.143", "0.5"), [])
    for number in (1, 2):
        noise = 1e-3 * np.random.default_rng(number).standard_normal(density.shape)
        gm.write(f"half{number}.mrc", gm.Volume((density + noise * density.std()).astype(np.float32), VOXEL,
                                                Header(origin=ORIGIN)), overwrite=True)  # fmt: skip
    assert main(["fsc", "half1.mrc", "--model", "model.pdb", "--assume-unmasked", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["map_model"]
    assert told["nyquist_limited"]["0.5"] == list(model_fit.CURVES)
    assert main(["fsc", "half1.mrc", "--model", "model.pdb", "--assume-unmasked"]) == 0
    said = capsys.readouterr().out
    assert "4.00 Å is Nyquist: the FSC falls nowhere below 0.5 under its own mask and without a mask" in said


def test_the_figure_has_both_curves_and_their_resolutions(monkeypatch):
    drawn = recorder(monkeypatch)
    found = gm.fsc(*halves(), voxel_size=VOXEL, assume_unmasked=True)
    own = model_fit.own_mask(model(), empty())
    made = model_fit.map_model(sum(halves()) / 2, model_fit.density(model(), empty()), own, voxel_size=VOXEL)
    figure = drawn(fsc_figure.draw, model_fit.joined(found, made, mask="model"))
    lines = {tuple(line.get_ydata()) for line in figure.axes[0].lines}
    for name in model_fit.CURVES:
        assert tuple(made.curve(name)[1:]) in lines
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    reached = made.resolution["0.5"]
    named = "map (mean of both halves) against the model"
    assert f"{named}, its own mask: {reached['map_model']:.3g} Å at 0.5" in texts
    assert f"{named}, no mask: {reached['map_model_unmasked']:.3g} Å at 0.5" in texts
    marks = {tuple(line.get_xydata()[0]) for line in figure.axes[0].lines if line.get_marker() == "o"}
    assert marks == {(1 / reached[name], 0.5) for name in model_fit.CURVES}
    colours = {
        line.get_color() for line in figure.axes[0].lines if tuple(line.get_ydata()) == tuple(found.curve("loose")[1:])
    }
    assert colours.isdisjoint(("black", fsc_figure.canvas.GREY))  # those of the model's curves and of the onset
    assert_readable(figure)


def test_the_own_mask_holds_the_atoms():
    own = model_fit.own_mask(model(), empty())
    places = np.round((model().positions - ORIGIN) / VOXEL).astype(int)
    assert (own[tuple(places.T)] == 1).all()
    assert mask.equivalent_edge(own) == pytest.approx(12, abs=1)  # the staircase of distances between voxels
