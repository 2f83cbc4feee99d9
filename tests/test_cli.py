"""The command line: exit codes, one line per error, one JSON document, and nothing left behind."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpumask as gm
from gpumask import backend, cuda, job, pipeline, slabs
from gpumask.cli import main
from gpumask.volume import Header

GPUMASK = [sys.executable, "-c", "import sys; from gpumask.cli import main; sys.exit(main())"]
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("GPUMASK_", "PYTHONUNBUFFERED"))
}
ENVIRONMENT["PYTHONPATH"] = str(Path(gm.__file__).parents[1])
LIMITED = ENVIRONMENT | {"PYTHONDONTWRITEBYTECODE": "1"}  # caches of numba and Python are files too
SHAPE = (20, 24, 28)
FLOAT32 = 2**-23  # relative spacing of float32
CREATED = {
    *("output", "recipe", "recipe_hash", "voxel_size_angstrom", "box", "threshold", "dilation_px", "soft_edge_px"),
    *("volume_angstrom3", "device", "device_reason", "seconds", "warnings"),
}
MEASURED = {
    *("min", "max", "volume_angstrom3", "mass_kda", "centre_px", "centre_angstrom", "bounding_box_px"),
    *("equivalent_edge_px", "components", "faces_touched", "binary"),
}
OF_MASKS_ONLY = MEASURED - {"min", "max"}


def block():
    """A solid of 3 x 4 x 5 (z, y, x) voxels off the middle of a box that is not a cube."""
    values = np.zeros(SHAPE, np.float32)
    values[8:11, 9:13, 10:15] = 1
    return values


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with map.mrc in it."""
    monkeypatch.setattr("gpumask.cli.terminal.PATIENCE", float("inf"))  # no progress on a slow machine
    monkeypatch.chdir(tmp_path)
    gm.write("map.mrc", gm.Volume(block(), 1.4))
    return tmp_path


def create(*words, source="map.mrc", output="mask.mrc"):
    return main(["create", source, "-o", output, "--device", "cpu", *words])


def run(*words, **options):
    """`gpumask` as a process of its own."""
    options = {"capture_output": True, "env": ENVIRONMENT} | options
    return subprocess.run([*GPUMASK, *words], timeout=60, **options)


def names():
    return sorted(path.name for path in Path().iterdir())


def one_line(capsys, *texts):
    """stdout is empty, stderr one line with all of `texts`."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gpumask: ")
    assert err.count("\n") == 1
    for text in texts:
        assert text in err, err
    return err


SOFT = ["--threshold", "0.5", "--dilate", "1px", "--soft-edge", "4px"]


# help


VERBS = ["create", "combine", "inspect", "spectrum", "fsc", "sharpen", "sweep", "advise", "segment", "regions",
         "shape", "model", "filter", "resample", "grid", "compare", "fulcrum", "batch", "slurm", "demo", "doctor",
         "bench"]  # fmt: skip


@pytest.mark.parametrize("verb", [[]] + [[verb] for verb in VERBS])
def test_help(verb, capsys):
    assert main([*verb, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: {' '.join(['gpumask', *verb])}")
    assert err == ""


def test_help_lists_the_verbs_that_work_and_no_others(capsys):
    main(["--help"])
    out = capsys.readouterr().out
    listed = re.findall(r"(?m)^    (\w+)", out.partition("verbs:")[2])
    assert [name for name in listed if name != "VERB"] == VERBS


def test_help_of_create_names_every_flag(capsys):
    main(["create", "--help"])
    out = capsys.readouterr().out
    for flag in ("--lowpass", "--butterworth", "--rect", "--gaussian", "--threshold", "--absolute-value", "--largest",
                 "--dust", "--fill-holes", "--dilate", "--erode", "--soft-edge", "--near", "--far", "--edge", "--style",
                 "--resolution", "--invert", "--preset", "--recipe", "--like", "--voxel-size", "--nan-to", "--mode",
                 "--force", "--device", "--plot", "--json", "--output", "--core-soft", "--half1", "--half2",
                 "--onset"):  # fmt: skip
        assert flag in out


SHARED = ["--mask", "--style", "--onset", "--seed", "--base-lowpass", "--asymmetric-units", "--assume-unmasked",
          "--plot", "--voxel-size", "--nan-to", "--device", "--force", "--json", "--output"]  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "flags"),
    [
        ("fsc", ["--mass", "--reference", "--cross-checks", "--directional", "--local-resolution", "--window", "--step",
                 "--filter", "--b-factor", "--model", "--select", "--model-resolution"]),
        ("sharpen", ["--b-factor", "--low", "--high", "--mtf", "--mtf-voxel-size", "--lowpass", "--no-weighting",
                     "--star"]),
    ],
)  # fmt: skip
def test_help_of_half_map_verbs_names_every_flag_and_loads_nothing_third_party(verb, flags):
    code = (
        f"import sys; from gpumask.cli import main; main([{verb!r}, '--help']); "
        "print({name.partition('.')[0] for name in sys.modules} & {'numpy', 'scipy', 'mrcfile', 'numba', 'cupy'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.stdout.splitlines()[-1] == "set()"
    listed = set(re.findall(r"(?<![\w-])--[a-z-]+", done.stdout))
    assert listed == {*SHARED, *flags, "--help"}


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gpumask {gm.__version__}\n"


# what create prints


def test_create_prints_each_length_in_pixels_and_angstrom(folder, capsys):
    assert create(*SOFT) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for text in ("map.mrc", "28 x 24 x 20 voxels of 1.4 Å", "cpu (asked for)", "1 px = 1.4 Å", "4 px = 5.6 Å", "cosine",
                 "mask.mrc", "mask.json", "Å³"):  # fmt: skip
        assert text in out
    assert names() == ["map.mrc", "mask.json", "mask.mrc"]


@pytest.mark.parametrize("output", ["sub.d/mask", "./mask.map", "../mask2.mrc"])
def test_create_names_what_it_wrote(folder, capsys, output):
    Path("sub.d").mkdir()
    Path("here").mkdir()
    os.chdir("here") if output.startswith("..") else None
    assert create(*SOFT, source=str(folder / "map.mrc"), output=output) == 0
    wrote = capsys.readouterr().out.splitlines()[-1].replace(" and ", ", ").removeprefix("wrote").split(", ")
    assert [Path(name.strip()) for name in wrote] == [Path(output), Path(output).with_suffix(".json")]
    assert all(Path(name.strip()).is_file() for name in wrote)


@pytest.mark.parametrize(
    ("words", "source", "edge", "told", "verdict"),
    [
        (["--resolution", "1.2A"], "resolution", 5, "5 px = 7.0 Å, cosine, style euclidean; chosen for 1.2 Å: 5 x "
         "resolution = 4.29 px = 6.0 Å, rounded up", r"ok: edge [\d.]+ px = [\d.]+ Å, 5·resolution asks for 4\.29 px"),
        (["--resolution", "1.2A", "--soft-edge", "2px"], "recipe", 2, "2 px = 2.8 Å, cosine, style euclidean",
         r"narrow: edge [\d.]+ px = [\d.]+ Å, 5·resolution asks for 4\.29 px = 6\.0 Å"),
        (["--near", "1px", "--far", "4px"], "recipe", 3, "3 px = 4.2 Å, cosine, style euclidean",
         r"none without a resolution: edge [\d.]+ px = [\d.]+ Å"),
        (["--soft-edge", "0px"], "recipe", 0, "0 px = 0.0 Å, cosine, style euclidean",
         r"hard: edge 0 px = 0\.0 Å, under 1 px"),
        ([], "default", 12, "12 px = 16.8 Å, cosine, style euclidean; the default, without --soft-edge or --resolution",
         r"none without a resolution: edge"),
    ],
)  # fmt: skip
def test_create_says_where_the_soft_edge_comes_from_and_judges_it(folder, capsys, words, source, edge, told, verdict):
    assert create("--threshold", "0.5", *words) == 0
    rows = dict(
        line.split(maxsplit=1) for line in capsys.readouterr().out.replace("soft edge", "soft-edge").splitlines()
    )
    assert rows["soft-edge"] == told
    assert re.match(verdict, rows["verdict"])
    written = json.loads(Path("mask.json").read_text())
    assert (written["soft_edge_px"], written["soft_edge_source"]) == (edge, source)
    assert written["verdict"] == {"none": None}.get(word := rows["verdict"].split()[0].rstrip(":"), word)


def test_create_json_is_one_document_with_triples_as_x_y_z(folder, capsys):
    words = ["--threshold", "0.5", "--dilate", "2A", "--soft-edge", "5Å", "--voxel-size", "1,1.5,2", "--lowpass", "4A"]
    assert create(*words, "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    made = json.loads(out)
    assert made.keys() >= CREATED
    beside = json.loads(Path("mask.json").read_text())
    assert beside | {"seconds": None} == made | {"seconds": None}  # the file cannot hold how long writing it took
    assert made["output"] == "mask.mrc"
    assert made["box"] == [28, 24, 20]
    assert made["voxel_size_angstrom"] == [1, 1.5, 2]
    assert (made["dilation_px"], made["soft_edge_px"]) == (2, 5)  # of the smallest edge
    assert made["threshold"] == {"method": "value", "value": 0.5, "why": "as given"}
    assert (made["device"], made["device_reason"]) == ("cpu", "asked for")
    assert {"read", "filter", "threshold", "soft edge", "write"} <= made["seconds"].keys()
    assert all(seconds >= 0 for seconds in made["seconds"].values())
    assert made["warnings"] == []
    assert made["recipe_hash"] == gm.MaskRecipe(**made["recipe"]).hash
    mask = gm.read("mask.mrc")
    assert made["volume_angstrom3"] == pytest.approx(mask.data.sum(dtype=float) * 3, rel=FLOAT32)
    assert mask.header.labels[-1].startswith(f"gpumask {gm.__version__}")
    assert made["recipe_hash"] in mask.header.labels[-1]


def test_json_stays_alone_on_stdout_in_a_process(folder):
    done = run("create", "map.mrc", "-o", "mask.mrc", *SOFT[:4], "--soft-edge", "0", "--device", "cpu", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["warnings"]
    assert done.stderr.decode().startswith("warning: the mask is binary")
    assert done.stderr.count(b"\n") == 1


# what inspect prints


def test_inspect_of_a_mask(folder, capsys):
    gm.write("mask.mrc", gm.Volume(block(), (2.0, 1.5, 1.0), Header(origin=(10.0, 20.0, 30.0))))
    assert main(["inspect", "mask.mrc", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == ""
    assert found.keys() >= MEASURED
    assert found["box"] == [28, 24, 20]
    assert found["voxel_size_angstrom"] == [1, 1.5, 2]
    assert (found["min"], found["max"]) == (0, 1)
    assert found["volume_angstrom3"] == 60 * 3
    assert found["mass_kda"] == pytest.approx(180 * 0.81e-3)
    assert found["centre_px"] == [12, 10.5, 9]
    assert found["centre_angstrom"] == [30 + 12, 20 + 15.75, 10 + 18]
    assert found["bounding_box_px"] == [[10, 9, 8], [15, 13, 11]]
    assert found["equivalent_edge_px"] == 0
    assert (found["components"], found["faces_touched"], found["binary"], found["is_mask"]) == (1, [], True, True)


def test_inspect_measures_islands_faces_and_the_edge(folder, capsys):
    values = block()
    values[0, 0, 0] = values[-1, 5, 5] = values[7, 7, -1] = 1
    gm.write("mask.mrc", gm.Volume(values, 1.4))
    main(["inspect", "mask.mrc", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["components"] == 4
    assert sorted(found["faces_touched"]) == ["+x", "+z", "-x", "-y", "-z"]
    slab = np.clip((np.arange(60, dtype=float) - 20) / 10, 0, 1)  # flat faces: the equivalent edge is the width
    slab = (0.5 - 0.5 * np.cos(np.pi * slab)).astype(np.float32)
    gm.write("slab.mrc", gm.Volume(np.broadcast_to(slab, (8, 9, 60)), 1))
    main(["inspect", "slab.mrc", "--json"])
    found = json.loads(capsys.readouterr().out)
    # central differences smooth a half period of 10 px by sinc(π/10): 1.7 %
    assert found["equivalent_edge_px"] == pytest.approx(10, rel=0.02)
    assert found["binary"] is False


def test_inspect_of_a_map_measures_no_mask(folder, capsys):
    gm.write("m.mrc", gm.Volume(block() * 3 - 1, 1.4, Header(nstart=(1, 2, 3), labels=("made by hand",))))
    assert main(["inspect", "m.mrc", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not found.keys() & OF_MASKS_ONLY
    assert (found["is_mask"], found["min"], found["max"], found["mode"]) == (False, -1, 2, 2)
    assert (found["nstart"], found["labels"]) == ([3, 2, 1], ["made by hand"])
    assert found["origin_angstrom"] == pytest.approx([4.2, 2.8, 1.4], rel=FLOAT32)
    assert found["mean"] == pytest.approx((block() * 3 - 1).mean(dtype=float))
    assert main(["inspect", "m.mrc"]) == 0
    assert "made by hand" in capsys.readouterr().out


def test_inspect_judges_the_edge_of_a_mask(folder, capsys):
    """One line with its numbers, which are those of `spectrum`."""
    assert create("--threshold", "0.5", "--soft-edge", "4px") == 0
    capsys.readouterr()
    assert main(["inspect", "mask.mrc", "--resolution", "3A", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    wanted = gm.mask_spectrum(gm.read("mask.mrc"), 3)
    power = wanted.shells[round(28 * 1.4 / 3)]["power_db"]
    assert found["equivalent_edge_px"] == wanted.equivalent_edge_px
    assert found["minimum_soft_edge_px"] == wanted.minimum_soft_edge_px == pytest.approx(15 / 1.4)
    assert (found["resolution"], found["power_db"], found["verdict"]) == (3, power, "narrow")
    edge = gm.units.both(found["equivalent_edge_px"], (1.4,) * 3)
    line = f"narrow: edge {edge}, 5·resolution asks for 10.71 px = 15.0 Å; {power:.0f} dB at 3 Å"
    assert main(["inspect", "mask.mrc", "--resolution", "3A"]) == 0
    assert re.search(rf"(?m)^verdict +{re.escape(line)}$", capsys.readouterr().out)
    assert main(["inspect", "mask.mrc"]) == 0
    line = f"none without a resolution: edge {edge} (give one: --resolution 3.5A)"
    assert re.search(rf"(?m)^verdict +{re.escape(line)}$", capsys.readouterr().out)
    assert main(["inspect", "map.mrc"]) == 0
    assert re.search(r"(?m)^verdict +hard: edge 0 px = 0\.0 Å, under 1 px$", capsys.readouterr().out)


def test_inspect_judges_no_map(folder, capsys):
    gm.write("density.mrc", gm.Volume(block() * 3, 1.4))
    assert main(["inspect", "density.mrc", "--resolution", "3A"]) == 3
    one_line(capsys, "density.mrc: has values from 0 to 3, a mask has 0 to 1")
    for resolution, text in (("1A", "beyond Nyquist"), ("3px", "must be in Å")):
        assert main(["inspect", "map.mrc", "--resolution", resolution]) == 2
        one_line(capsys, text)


def test_doctor_says_what_auto_chooses(folder, capsys, monkeypatch):
    monkeypatch.delenv("GPUMASK_DEVICE", raising=False)
    assert main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    device, reason = backend.choose("auto")
    assert (facts["device"], facts["device_reason"]) == (device, reason)
    assert facts["packages"]["numpy"] == np.__version__
    assert main(["doctor"]) == 0
    assert reason in capsys.readouterr().out


# warnings


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--soft-edge", "12px"], "the mask meets the box faces"),
        (["--soft-edge", "0"], "the mask is binary"),
        (["--soft-edge", "3px", "--resolution", "3A"], "the soft edge 3 px = 4.2 Å is under 5 x resolution = 10.71 px"),
        (["--soft-edge", "2px", "--lowpass", "3A", "--threshold", "0.999max"], None),
    ],
)
def test_warnings_are_one_line_each_and_recorded(folder, capsys, words, text):
    assert create("--threshold", "0.5", *words, "--json") == 0
    out, err = capsys.readouterr()
    made = json.loads(out)
    assert [f"warning: {line}" for line in made["warnings"]] == err.splitlines()
    assert len(made["warnings"]) == (1 if text else 0)
    assert text is None or made["warnings"][0].startswith(text)
    assert gm.read("mask.mrc").recipe is None


def test_islands_are_warned_about_until_one_is_kept(folder, capsys):
    values = block()
    values[2, 3, 4] = 1
    gm.write("map.mrc", gm.Volume(values, 1.4), overwrite=True)
    assert create("--threshold", "0.5", "--soft-edge", "2px") == 0
    assert "warning: the mask has 2 islands" in capsys.readouterr().err
    for words in (["--largest", "1"], ["--dust", "100"]):
        assert create("--threshold", "0.5", "--soft-edge", "2px", *words, "--force") == 0
        assert capsys.readouterr().err == ""


# exit codes


@pytest.mark.parametrize("words", [
    [], ["make"], ["create"], ["create", "map.mrc"], ["create", "-o", "m.mrc"],
    ["create", "map.mrc", "-o", "m.mrc", "--no"],
    ["create", "map.mrc", "-o", "m.mrc", "--largest", "x"], ["create", "map.mrc", "-o", "m.mrc", "--mode", "uint8"],
    ["inspect"], ["inspect", "a", "b"], ["create", "map.mrc", "-o", "m.mrc", "--dilate", "-2px"],
])  # fmt: skip
def test_usage_that_argparse_refuses(folder, capsys, words):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: gpumask" in err
    assert names() == ["map.mrc"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "a mask needs a threshold"),
        (["--threshold", "lots"], "threshold must be"),
        (["--threshold", "0.5", "--soft-edge=-3px"], "soft edge must be >= 0, got -3px"),
        (["--threshold", "0.5", "--soft-edge", "nan"], "soft edge must be a length"),
        (["--threshold", "0.5", "--soft-edge", "5nm"], "soft edge must be a length such as 5px or 7A, got '5nm'"),
        (["--threshold", "0.5", "--style", "eman"], "style must be one of euclidean, relion, cryodrgn"),
        (["--threshold", "0.5", "--edge", "hann"], "edge must be one of cosine, convolved"),
        (["--threshold", "0.5", "--preset", "best"], "preset must be one of cryosparc-v4"),
        (["--threshold", "0.5", "--near", "6A"], "near and far belong together"),
        (["--threshold", "0.5", "--far", "6A"], "near and far belong together"),
        (["--threshold", "0.5", "--near", "6A", "--far", "3A"], "far must be >= near"),
        (["--threshold", "0.5", "--near", "6A", "--far", "9A", "--dilate", "1"], "one pair or the other"),
        (["--threshold", "0.5", "--dilate", "1", "--erode", "1"], "give --dilate or --erode, not both"),
        (["--threshold", "0.5", "--erode=-1"], "--erode must be >= 0"),
        (["--threshold", "0.5", "--erode", ""], "must be a length"),
        (["--threshold", "0.5", "--lowpass", "10A", "--gaussian", "2A"], "one filter"),
        (["--threshold", "0.5", "--largest", "0"], "must be >= 1"),
        (["--threshold", "0.5", "--dust=-1"], "must be a volume >= 0"),
        (["--threshold", "0.5", "--resolution", "0A"], "resolution must be > 0"),
        (["--threshold", "0.5", "--voxel-size", "1,2"], "voxel size must be one or three"),
        (["--threshold", "0.5", "--voxel-size", "0"], "voxel size must be one or three"),
        (["--threshold", "0.5", "--device", "gpu"], "device must be auto, cpu, cuda or cuda:N"),
        (["--threshold", "0.5", "--device", "cuda:x"], "device must be"),
        (["--threshold", "0.5", "--style", "cryodrgn", "--erode", "2"], "no erosion"),
        (["--threshold", "0.5", "--voxel-size", "1,1,2", "--dilate", "5px"], "1 x 1 x 2 Å (x, y, z): give it in Å"),
        (["--threshold", "0.5", "--voxel-size", "1,1,2"], "give it in Å"),  # the default edge is 12 px
    ],
)
def test_parameters_that_cannot_be(folder, capsys, words, text):
    assert create(*words) == 2
    one_line(capsys, text)
    assert names() == ["map.mrc"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--threshold", "2"], "threshold 2 gives an empty mask: the map's maximum is 1; lower it"),
        (["--threshold", "1.5max"], "empty mask"),
        (["--threshold", "100sigma"], "empty mask"),
        (["--threshold", "0"], "the mask is everything"),
        (["--threshold=-1"], "the mask is everything"),
        (["--threshold", "0", "--absolute-value"], "the mask is everything"),
        (["--threshold", "0.5", "--dilate", "60px"], "the mask is everything"),
        (["--threshold", "0.5", "--erode", "5px"], "nothing is left after erosion"),
        (["--threshold", "0.5", "--dust", "1e9"], "every component is dust"),
        (["--threshold", "0.5", "--mode", "int8"], "int8 holds binary masks only"),
    ],
)
def test_masks_that_must_not_be(folder, capsys, words, text):
    assert create(*words) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert text in err.splitlines()[-1]
    assert "Traceback" not in err
    assert names() == ["map.mrc"]


@pytest.mark.parametrize("source", ["missing.mrc", ".", "", "map.mrc/x", "none/map.mrc"])
@pytest.mark.parametrize("words", [["inspect"], ["create", "-o", "mask.mrc", "--threshold", "0.5", "--device", "cpu"]])
def test_inputs_that_are_not_there(folder, capsys, source, words):
    assert main([*words, source]) == 3
    one_line(capsys, "cannot be read")
    assert names() == ["map.mrc"]


@pytest.mark.parametrize(
    ("output", "code", "text"),
    [
        ("map.mrc", 3, "is already there"),
        ("sub", 5, "is a folder"),
        ("none/mask.mrc", 5, "the folder none is not there"),
        ("map.mrc/mask.mrc", 5, "is not there"),
        ("mask.mrc.gz", 2, "not compressed"),
        ("mask.json", 2, "name of its own"),
        ("sub/..", 5, "is a folder"),
        ("/proc/mask.mrc", 5, "could not be written"),
        *(pytest.param(name, 5, "is a folder") for name in (".", "", "/")),
    ],
)
def test_outputs_that_cannot_be(folder, capsys, output, code, text):
    Path("sub").mkdir()
    if output.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("no /proc here")
    before = Path("map.mrc").read_bytes()
    assert create(*SOFT, output=output) == code
    one_line(capsys, text)
    assert names() == ["map.mrc", "sub"]
    assert Path("map.mrc").read_bytes() == before


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_an_input_is_never_overwritten(folder, capsys, link):
    before = Path("map.mrc").read_bytes()
    if link:
        link("map.mrc", "mask.mrc")
    assert create(*SOFT, "--force", output="mask.mrc" if link else "./map.mrc") == 2
    one_line(capsys, "is an input; give the output another name")
    gm.write("crop.mrc", gm.Volume(block(), 1.4))
    assert create(*SOFT, "--force", "--like", "map.mrc", source="crop.mrc", output="map.mrc") == 2
    assert Path("map.mrc").read_bytes() == before


def test_existing_files_are_kept_unless_forced(folder, capsys):
    for name in ("mask.mrc", "mask.json"):
        Path(name).write_bytes(b"old")
        assert create(*SOFT) == 3
        one_line(capsys, f"{name}: is already there", "--force")
        assert Path(name).read_bytes() == b"old"
        assert len(names()) == 2
        Path(name).unlink()
    Path("mask.mrc").write_bytes(b"old")
    assert create(*SOFT, "--force") == 0
    assert gm.read("mask.mrc").shape == SHAPE


def test_a_full_disk_leaves_the_old_mask_and_exit_5(folder):
    pytest.importorskip("resource", reason="no limits on file sizes here")
    for name in ("mask.mrc", "mask.json"):
        Path(name).write_bytes(b"old")
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); "
    words = ["create", "map.mrc", "-o", "mask.mrc", "--force", *SOFT, "--device", "cpu"]
    done = subprocess.run([sys.executable, "-c", limit + GPUMASK[2], *words], env=LIMITED, capture_output=True)
    assert done.returncode == 5
    assert done.stderr.decode().startswith("gpumask: mask.mrc: could not be written: ")
    assert done.stderr.count(b"\n") == 1
    assert names() == ["map.mrc", "mask.json", "mask.mrc"]
    assert Path("mask.mrc").read_bytes() == Path("mask.json").read_bytes() == b"old"


def test_no_memory_is_exit_5(folder, capsys, monkeypatch):
    def no_memory(*_, **__):
        raise MemoryError("Unable to allocate 4 GiB")

    monkeypatch.setattr(pipeline, "make", no_memory)
    monkeypatch.setattr(slabs, "make", no_memory)
    assert create(*SOFT) == 5
    one_line(capsys, "Unable to allocate 4 GiB")
    assert names() == ["map.mrc"]
    monkeypatch.setattr(job, "inspect", no_memory)
    assert main(["inspect", "map.mrc"]) == 5
    one_line(capsys, "out of memory")


def test_no_driver_is_exit_4_in_one_line(folder, capsys, monkeypatch):
    if cuda.missing() is None:
        pytest.skip("this machine has a GPU")
    for words in (["--device", "cuda"], ["--device", "cuda:3"]):
        assert main(["create", "map.mrc", "-o", "mask.mrc", *SOFT, *words]) == 4
        one_line(capsys)
    monkeypatch.setenv("GPUMASK_DEVICE", "cuda")
    assert main(["create", "map.mrc", "-o", "mask.mrc", *SOFT]) == 4
    one_line(capsys)
    assert names() == ["map.mrc"]
    assert create(*SOFT) == 0  # --device goes before the variable


def test_the_variable_names_the_device(folder, capsys, monkeypatch):
    monkeypatch.setenv("GPUMASK_DEVICE", "cpu")
    assert main(["create", "map.mrc", "-o", "mask.mrc", *SOFT, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["device"], made["device_reason"]) == ("cpu", "from GPUMASK_DEVICE")
    monkeypatch.setenv("GPUMASK_DEVICE", "toaster")
    assert main(["create", "map.mrc", "-o", "m.mrc", *SOFT]) == 2
    one_line(capsys, "toaster")


def test_interrupted_is_exit_130_and_leaves_nothing(folder, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    for owner, name in ((pipeline, "make"), (os, "fsync")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, stop)
            assert create(*SOFT) == 130
        assert capsys.readouterr().err == "gpumask: interrupted\n"
        assert names() == ["map.mrc"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_control_c_stops_a_process(folder):
    os.mkfifo("pipe.mrc")
    words = ["create", "pipe.mrc", "-o", "mask.mrc", *SOFT, "--device", "cpu"]
    with subprocess.Popen([*GPUMASK, *words], env=ENVIRONMENT, stderr=subprocess.PIPE) as process:
        with open("pipe.mrc", "wb"):  # opens once the process reads
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        assert process.stderr.read() == b"gpumask: interrupted\n"
    assert names() == ["map.mrc", "pipe.mrc"]


@pytest.mark.parametrize("words", [["inspect", "map.mrc"], ["inspect", "map.mrc", "--json"], ["--help"], ["doctor"]])
@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_has_gone_is_no_error(folder, words, buffered):
    read, write = os.pipe()
    os.close(read)
    environment = ENVIRONMENT if buffered else ENVIRONMENT | {"PYTHONUNBUFFERED": "1"}
    done = run(*words, capture_output=False, stdout=write, stderr=subprocess.PIPE, env=environment)
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == 0


# names


def test_names_with_spaces_and_other_letters(folder, capsys):
    name = "meine Karte é 质粒.mrc"
    Path("map.mrc").rename(name)
    assert create(*SOFT, source=name, output="ma sk é.mrc") == 0
    assert "ma sk é.json" in capsys.readouterr().out
    assert names() == ["ma sk é.json", "ma sk é.mrc", name]
    assert json.loads(Path("ma sk é.json").read_text(encoding="utf-8"))["input"]["path"] == name


NO_UTF8 = os.fsdecode(b"m\xff.mrc")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode here")
@pytest.mark.parametrize("encoding", ["utf-8:surrogateescape", "utf-8:strict"])
@pytest.mark.parametrize(
    "words", [["inspect", NO_UTF8], ["create", NO_UTF8, "-o", "mask.mrc", *SOFT, "--device", "cpu"]]
)
def test_names_that_are_not_utf8(folder, words, encoding):
    Path("map.mrc").rename(NO_UTF8)
    done = run(*words, env=ENVIRONMENT | {"PYTHONIOENCODING": encoding})
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("words", [["inspect", "map.mrc"], ["create", "--help"]])
def test_a_terminal_without_the_letter_angstrom(folder, words):
    done = run(*words, env=ENVIRONMENT | {"PYTHONIOENCODING": "ascii"})
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0


# --like


def crop(volume, start, stop, **header):
    slices = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    header = header or {"nstart": tuple(a + n for a, n in zip(start, volume.header.nstart, strict=True))}
    return gm.Volume(volume.data[slices], volume.voxel_size, Header(**header))


@pytest.fixture
def full(folder):
    values = np.random.default_rng(5).random(SHAPE).astype(np.float32) * 0.3 + block()
    volume = gm.Volume(values, 1.4, Header(nstart=(-10, -12, -14)))
    gm.write("full.mrc", volume)
    return gm.read("full.mrc")


def test_like_puts_a_crop_back_bit_for_bit(full, capsys):
    gm.write("crop.mrc", crop(full, (6, 7, 8), (13, 15, 17)))
    assert create(*SOFT, source="full.mrc", output="one.mrc") == 0
    assert create(*SOFT, "--like", "full.mrc", source="crop.mrc", output="two.mrc") == 0
    one, two = gm.read("one.mrc"), gm.read("two.mrc")
    assert np.array_equal(one.data, two.data)
    assert (
        (one.voxel_size, one.header.nstart) == (two.voxel_size, two.header.nstart) == (full.voxel_size, (-10, -12, -14))
    )
    assert capsys.readouterr().err == ""
    assert json.loads(Path("two.json").read_text())["like"] == "full.mrc"


def test_like_goes_by_the_origin_too(full):
    origin = tuple(o + s * 1.4 for o, s in zip(full.origin, (6, 7, 8), strict=True))
    gm.write("crop.mrc", crop(full, (6, 7, 8), (13, 15, 17), origin=origin))
    assert create(*SOFT, source="full.mrc", output="one.mrc") == 0
    assert create(*SOFT, "--like", "full.mrc", source="crop.mrc", output="two.mrc") == 0
    assert np.array_equal(gm.read("one.mrc").data, gm.read("two.mrc").data)


@pytest.mark.parametrize(
    ("voxel_size", "header", "text"),
    [
        (1.43, {}, "voxel sizes differ by 2.1 %"),
        (2.8, {}, "voxel sizes differ by"),
        (1.4, {"origin": (0.7, 0.0, 0.0)}, "not a whole number"),
        (1.4, {"nstart": (0, 0, 100)}, "does not overlap"),
    ],
)
def test_like_refuses_another_lattice(folder, capsys, voxel_size, header, text):
    gm.write("like.mrc", gm.Volume(block(), 1.4))
    gm.write("map.mrc", gm.Volume(block(), voxel_size, Header(**header)), overwrite=True)
    assert create(*SOFT, "--like", "like.mrc") == 3
    one_line(capsys, text, "map.mrc", "like.mrc")
    assert names() == ["like.mrc", "map.mrc"]


def test_like_warns_of_voxel_sizes_that_differ_a_little_and_of_what_is_cut(folder, capsys):
    gm.write("like.mrc", gm.Volume(block()[:, :, :12], 1.405))
    assert create(*SOFT, "--like", "like.mrc", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert "voxel sizes differ by 0.36 %" in made["warnings"][0]
    assert "36 non-zero voxels of map.mrc lie outside" in made["warnings"][1]
    assert made["box"] == [12, 24, 20]
    assert made["voxel_size_angstrom"] == pytest.approx([1.405] * 3, rel=FLOAT32)


@pytest.mark.parametrize("like", ["missing.mrc", ".", "map.json"])
def test_like_that_cannot_be_read(folder, capsys, like):
    Path("map.json").write_text("{}")
    assert create(*SOFT, "--like", like) == 3
    one_line(capsys)
    assert names() == ["map.json", "map.mrc"]


@pytest.mark.parametrize("threshold", ["1sigma", "-0.5"])
def test_like_thresholds_the_map_and_not_the_padding(full, threshold):
    small = crop(full, (6, 7, 8), (13, 15, 17))
    small = small.with_data(small.data - np.float32(1))
    gm.write("crop.mrc", small)
    assert create(f"--threshold={threshold}", "--soft-edge", "1", source="crop.mrc", output="one.mrc") == 0
    words = [f"--threshold={threshold}", "--soft-edge", "1", "--like", "full.mrc"]
    assert create(*words, source="crop.mrc", output="two.mrc") == 0
    made = [json.loads(Path(name).read_text()) for name in ("one.json", "two.json")]
    assert made[0]["base_voxels"] == made[1]["base_voxels"]


# styles of the mask, seen from outside


def test_flags_do_what_they_say(folder):
    def mask(*words):
        create("--threshold", "0.5", *words, "--force")
        return gm.read("mask.mrc").data

    plain = mask("--soft-edge", "0")
    assert np.array_equal(plain, block())
    assert np.array_equal(mask("--soft-edge", "0", "--invert"), 1 - block())
    assert np.array_equal(mask("--soft-edge", "0", "--dilate=-1px"), mask("--soft-edge", "0", "--erode", "1px"))
    assert mask("--soft-edge", "0", "--erode", "1px").sum() == 1 * 2 * 3
    assert np.array_equal(mask("--near", "2px", "--far", "6px"), mask("--dilate", "2", "--soft-edge", "4"))
    assert np.array_equal(mask("--dilate", "2.8A", "--soft-edge", "5.6A"), mask("--dilate", "2", "--soft-edge", "4"))
    assert np.array_equal(mask("--resolution", "1.12A"), mask("--soft-edge", "4px"))
    assert mask("--soft-edge", "0", "--dilate", "1px").sum() == 60 + 2 * (3 * 4 + 4 * 5 + 3 * 5)
    # d < 1 in style relion, 6 neighbours in style cryodrgn
    assert np.array_equal(mask("--soft-edge", "0", "--dilate", "1px", "--style", "relion"), block())
    assert mask("--soft-edge", "0", "--dilate", "1px", "--style", "cryodrgn").sum() == 154


@pytest.mark.parametrize("mode", ["float32", "float16", "int8"])
def test_modes(folder, mode):
    create("--threshold", "0.5", "--soft-edge", "0", "--mode", mode)
    volume = gm.read("mask.mrc")
    assert volume.header.mode == {"float32": 2, "float16": 12, "int8": 0}[mode]
    assert np.array_equal(volume.data, block())


@pytest.mark.parametrize("words", [
    ["--soft-edge", "1e9"], ["--soft-edge", "70000"], ["--dilate", "1e300"], ["--lowpass", "1e-320"],
    ["--resolution", "1e300"], ["--style", "cryodrgn", "--dilate", "1e300"],
])  # fmt: skip
def test_absurd_lengths_are_masks_or_one_line(folder, capsys, words):
    assert create("--threshold", "0.5", *words) in (0, 2, 3)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_absurd_thresholds_are_one_line(folder, capsys):
    assert create("--threshold", "1e39") == 3
    one_line(capsys, "empty mask")


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_nan_to_nan_is_refused(folder, capsys, value):
    raw = bytearray(Path("map.mrc").read_bytes())
    raw[1024:1028] = np.float32(np.nan).tobytes()
    Path("holes.mrc").write_bytes(raw)
    assert main(["inspect", "holes.mrc", "--json", "--nan-to", value]) == 2
    one_line(capsys, "NaN")


@pytest.mark.parametrize("output", ["map.mrc", "/proc/demo"])
def test_a_demo_folder_that_cannot_be(folder, capsys, output):
    assert main(["demo", "-o", output, "--box", "16"]) == 5
    one_line(capsys, output)


def test_provenance_makes_the_same_mask_again_with_its_options(folder, capsys):
    """--like, --mode and --voxel-size of the first run come from its JSON; a flag overrides them."""
    crop = gm.Volume(block()[4:, 2:, 3:], 1.4, Header(origin=(4 * 1.4, 2 * 1.4, 3 * 1.4)))
    gm.write("crop.mrc", crop)
    words = ["--like", "map.mrc", "--mode", "float16", *SOFT]
    assert create(*words, source="crop.mrc", output="first.mrc") == 0
    assert create("--recipe", "first.json", source="crop.mrc", output="again.mrc") == 0
    assert Path("first.mrc").read_bytes() == Path("again.mrc").read_bytes()
    assert create("--recipe", "first.json", "--mode", "float32", source="crop.mrc", output="other.mrc") == 0
    assert gm.read("other.mrc").header.mode == 2


@pytest.mark.parametrize("options", [[], ["--memory", "0.19MB"]], ids=["whole", "slabs"])
def test_what_was_odd_about_the_input_stands_in_the_provenance(folder, capsys, options):
    with Path("map.mrc").open("ab") as stream:
        stream.write(b"odd")
    assert create(*SOFT, *options) == 0
    assert "3 bytes after the data are ignored" in capsys.readouterr().err
    written = json.loads(Path("mask.json").read_text())["warnings"]
    assert sum("3 bytes after the data are ignored" in text for text in written) == 1
    assert any("made in slabs" in text for text in written) == bool(options)


@pytest.mark.parametrize("change", [{"like": 7}, {"options": {"voxel_size_angstrom": 5}}])
def test_a_provenance_of_other_types_is_refused_in_one_line(tmp_path, capsys, change):
    (tmp_path / "odd.json").write_text(json.dumps({"recipe": {"threshold": 0.5}, "options": {}, **change}))
    gm.write(tmp_path / "map.mrc", gm.Volume(block(), 1.0))
    words = ["create", str(tmp_path / "map.mrc"), "-o", str(tmp_path / "mask.mrc"), "--recipe"]
    assert main([*words, str(tmp_path / "odd.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "mask.mrc").exists()
