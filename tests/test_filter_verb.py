"""gpumask filter: files, provenance, RELION's outputs, refusals."""

import json
from pathlib import Path

import numpy as np
import pytest

import gpumask as gm
from gpumask import backend, filters, io, job
from gpumask.cli import main
from gpumask.errors import UsageError
from gpumask.volume import Header

SHAPE, VOXEL, ORIGIN = (20, 24, 22), 1.4, (10.0, -20.0, 5.5)
MAP = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
FLOAT32 = 2.0**-23


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with map.mrc in it, off the origin."""
    monkeypatch.setattr("gpumask.cli.terminal.PATIENCE", float("inf"))
    monkeypatch.chdir(tmp_path)
    gm.write("map.mrc", gm.Volume(MAP, VOXEL, Header(ORIGIN, (1, 2, 3), labels=("made before",))))
    return tmp_path


def run(*words, source="map.mrc", output="out.mrc"):
    return main(["filter", str(source), "-o", output, "--device", "cpu", *words])


def names():
    return sorted(path.name for path in Path().iterdir())


def refused(capsys, code, *texts):
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    for text in texts:
        assert text in err, err
    return code


@pytest.mark.parametrize(("words", "wanted"), [
    (["--lowpass", "8A"], lambda a, v: filters.lowpass(a, 8, v)),
    (["--highpass", "15"], lambda a, v: filters.highpass(a, 15, v)),
    (["--bandpass", "15A:5Å"], lambda a, v: filters.bandpass(a, 15, 5, v)),
    (["--butterworth", "8A:4"], lambda a, v: filters.butterworth(a, 8, v, 4)),
    (["--butterworth", "8A"], lambda a, v: filters.butterworth(a, 8, v, 8)),
    (["--rect", "8A"], lambda a, v: filters.rect(a, 8, v)),
    (["--bfactor", "-50"], lambda a, v: filters.bfactor(a, -50, v)),
    (["--b-factor", "50"], lambda a, v: filters.bfactor(a, 50, v)),
    (["--gaussian", "2A"], lambda a, v: filters.gaussian(a, 2, v)),
    (["--gaussian", "2A", "--highpass", "15A"], lambda a, v: filters.combined(a, v, gaussian=2, highpass=15)),
])  # fmt: skip
def test_each_filter_writes_what_the_library_makes(folder, words, wanted):
    assert run(*words) == 0
    made, given = gm.read("out.mrc"), gm.read("map.mrc")
    assert np.array_equal(made.data, wanted(MAP, given.voxel_size))
    assert (made.voxel_size, made.header.origin, made.header.nstart) == (given.voxel_size, ORIGIN, (1, 2, 3))
    assert made.header.labels[0] == "made before"
    assert made.header.labels[1].startswith(f"gpumask {gm.__version__} filter ")
    assert names() == ["map.mrc", "out.json", "out.mrc"]


def test_what_is_printed_and_recorded(folder, capsys):
    assert run("--gaussian", "2A", "--bfactor", "-50", "--lowpass", "6") == 0
    out, err = capsys.readouterr()
    for text in (
        "map.mrc: 22 x 24 x 20 voxels of 1.4 Å",
        "lowpass   6A",
        "bfactor   -50 Å²",
        "gaussian  2A",
        "out.json",
    ):
        assert text in out, out
    assert out.index("lowpass") < out.index("bfactor") < out.index("gaussian")
    assert err == ""
    assert run("--gaussian", "2A", "--bfactor", "-50", "--lowpass", "6", "--force", "--json") == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document == json.loads(Path("out.json").read_text())
    assert document["filters"] == {"lowpass": "6A", "bfactor": -50, "gaussian": "2A"}
    assert list(document["filters"]) == ["lowpass", "bfactor", "gaussian"]
    assert document["input"] == {"path": "map.mrc", "sha256": io.sha256("map.mrc")}
    assert document["box"] == [22, 24, 20]
    data = gm.read("out.mrc").data
    assert document["statistics"]["max"] == data.max()
    assert document["statistics"]["standard_deviation"] == pytest.approx(data.std(dtype=float), rel=1e-12)
    assert err == ""


@pytest.mark.parametrize(("name", "words"), [
    ("h_lowpass20", ["--lowpass", "20A"]),
    ("h_highpass80", ["--highpass", "80A"]),
    ("h_bfac-300", ["--bfactor", "-300"]),
])  # fmt: skip
def test_relions_outputs(folder, data, name, words):
    """relion_image_handler --angpix 5.7; both transform in float64 and store float32. NSTART stays here."""
    source = data / "maps" / "emd_1832.map.gz"
    assert run(*words, "--voxel-size", "5.7", source=source) == 0
    wanted = io.load(data / "relion_filters" / f"{name}.mrc.gz")[0].data
    made = gm.read("out.mrc")
    assert np.abs(made.data - wanted).max() <= FLOAT32 * np.abs(wanted).max()
    assert made.header.nstart == io.load(source)[0].header.nstart == (-32, -32, -32)


def test_anisotropic_voxels_and_nan(folder):
    holed = MAP.copy()
    holed[3, 4, 5] = np.nan
    raw = bytearray(Path("map.mrc").read_bytes())
    raw[1024:] = holed.tobytes()
    Path("holed.mrc").write_bytes(raw)
    assert run("--lowpass", "8A", "--nan-to", "0", "--voxel-size", "1,1.5,2", source="holed.mrc") == 0
    made = gm.read("out.mrc")
    assert np.array_equal(made.data, filters.lowpass(np.nan_to_num(holed), 8, made.voxel_size))
    assert made.voxel_size == pytest.approx((2, 1.5, 1), rel=2**-23)
    document = json.loads(Path("out.json").read_text())
    assert document["options"]["voxel_size_angstrom"] == [1, 1.5, 2]
    assert document["warnings"] == ["holed.mrc: 1 NaN or Inf voxels set to 0"]


def test_float16(folder):
    assert run("--lowpass", "8A", "--mode", "float16") == 0
    made = gm.read("out.mrc")
    assert made.header.mode == 12
    assert np.array_equal(made.data, filters.lowpass(MAP, 8, made.voxel_size).astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(("words", "code", "texts"), [
    ([], 2, ["name a filter: highpass, lowpass"]),
    (["--lowpass", "5px"], 2, ["lowpass must be in Å", "5px"]),
    (["--lowpass", "0A"], 2, ["lowpass must be > 0 Å"]),
    (["--bandpass", "15A"], 2, ["bandpass must be two resolutions such as 80A:15A"]),
    (["--bandpass", "5A:15A"], 2, ["from a coarse to a fine resolution"]),
    (["--butterworth", "15A:0"], 2, ["order must be >= 1"]),
    (["--bfactor", "nan"], 2, ["a B-factor must be a number of Å²"]),
    (["--bfactor", "-100000"], 2, ["multiplies the Nyquist frequency"]),
    (["--mode", "float16", "--bfactor", "-400"], 3, ["float16 reaches ±65504"]),
])  # fmt: skip
def test_refusals_leave_nothing_behind(folder, capsys, words, code, texts):
    assert run(*words) == refused(capsys, code, *texts) == code
    assert names() == ["map.mrc"]


def test_bad_inputs(folder, capsys):
    raw = Path("map.mrc").read_bytes()
    nan = np.float32(np.nan).tobytes()
    for content, text in (
        (raw[:-100], "truncated"),
        (raw[:500], "not an MRC file"),
        (raw[:1024] + nan + raw[1028:], "1 voxels are NaN or Inf"),
        (raw[:12] + np.int32(4).tobytes() + raw[16:], "complex data"),
        (raw[:40] + bytes(12) + raw[52:], "--voxel-size"),
        (raw[:52] + np.float32([90, 90, 120]).tobytes() + raw[64:], "a crystal's grid"),
    ):
        Path("bad.mrc").write_bytes(content)
        assert run("--lowpass", "8A", source="bad.mrc") == refused(capsys, 3, "bad.mrc", text)
        assert names() == ["bad.mrc", "map.mrc"]
    assert run("--lowpass", "8A", source="none.mrc") == refused(capsys, 3, "none.mrc", "check the name")


def test_outputs_are_not_overwritten_and_an_input_never_is(folder, capsys):
    assert run("--lowpass", "8A") == 0
    written = Path("out.mrc").read_bytes(), Path("out.json").read_bytes()
    capsys.readouterr()
    assert run("--lowpass", "9A") == refused(capsys, 3, "out.mrc: is already there", "--force")
    assert (Path("out.mrc").read_bytes(), Path("out.json").read_bytes()) == written
    before = Path("map.mrc").read_bytes()
    assert run("--lowpass", "9A", "--force", output="map.mrc") == refused(capsys, 2, "map.mrc: is an input")
    assert Path("map.mrc").read_bytes() == before
    assert run("--lowpass", "9A", output="none/out.mrc") == refused(capsys, 5, "the folder none is not there")
    assert run("--lowpass", "9A", output="map.json") == refused(capsys, 2, "a name of its own")
    assert run("--lowpass", "9A", "--force") == 0


def test_a_box_that_does_not_fit_is_refused_with_the_number(folder, capsys, monkeypatch):
    """28 bytes a voxel where there is a transform, 12 with a Gaussian alone."""
    monkeypatch.setattr(backend, "available_memory", lambda: 20 * MAP.size)
    assert run("--lowpass", "8A") == refused(capsys, 5, "map.mrc: filtering 22 x 24 x 20 voxels needs", "GiB are free")
    assert names() == ["map.mrc"]
    assert run("--gaussian", "2A") == 0


def test_a_map_that_float32_could_not_hold_is_refused(folder, capsys):
    gm.write("large.mrc", gm.Volume(MAP * np.float32(1e37), VOXEL))
    assert run("--bfactor", "-200", source="large.mrc") == refused(capsys, 3, "large.mrc", "beyond float32")
    assert names() == ["large.mrc", "map.mrc"]


def test_the_label_says_what_was_done(folder):
    assert run("--gaussian", "2A", "--highpass", "15A", "--bfactor", "-50") == 0
    label = f"gpumask {gm.__version__} filter highpass 15A bfactor -50.0 gaussian 2A"
    assert gm.read("out.mrc").header.labels == ("made before", label)


def test_the_job_takes_no_other_filter(folder):
    with pytest.raises(UsageError, match="no such filter: notch"):
        job.filter("map.mrc", "out.mrc", notch=5)


def test_names_of_the_command_line_are_those_of_the_job():
    from gpumask.cli.filter import FILTERS
    from gpumask.job.filtering import ORDER

    assert FILTERS == ORDER
