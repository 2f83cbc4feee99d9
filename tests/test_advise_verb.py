"""gpumask advise: the mask, and beside it why."""

import json

import numpy as np
import pytest
from scipy import ndimage

import gpumask as gm
from gpumask import edges, fourier, job, mask, spectrum
from gpumask.cli import main

BOX, SIZE = 48, 2.0
FILES = ["advice.json", "mask.json", "mask.mrc", "sweep.csv", "sweep.json"]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr("gpumask.cli.terminal.PATIENCE", float("inf"))
    monkeypatch.setenv("GPUMASK_DEVICE", "cpu")


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """A map of two touching lumps, its half maps, the base of one lump on its own grid, and masked half maps."""
    folder = tmp_path_factory.mktemp("maps")
    rng = np.random.default_rng(0)
    grid = np.ogrid[[slice(BOX)] * 3]
    target, other = (
        np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))) <= radius
        for centre, radius in (((24, 20, 24), 8), ((24, 33, 24), 6))
    )
    texture = ndimage.gaussian_filter(rng.standard_normal((BOX,) * 3), 1)
    density = ndimage.gaussian_filter((target | other) * (1 + texture / texture.std()), 1.2).astype(np.float32)
    made = {"map": density}
    made |= {f"half{i}": (density + rng.normal(0, 0.6, density.shape)).astype(np.float32) for i in (1, 2)}
    around = mask.soft_mask(target, 8, 3)
    made |= {f"masked_half{i}": made[f"half{i}"] * around for i in (1, 2)}
    made |= {f"noise_half{i}": rng.standard_normal(density.shape).astype(np.float32) for i in (1, 2)}
    made |= {"nothing": np.zeros_like(density)}
    for name, array in made.items():
        gm.write(folder / f"{name}.mrc", gm.Volume(array, SIZE))
    part = np.ascontiguousarray(target[10:40, 6:36, 10:40], np.float32)
    origin = tuple(SIZE * c for c in (10, 6, 10))
    gm.write(folder / "base.mrc", gm.Volume(part, SIZE, gm.Header(origin=origin)))
    return {name: str(folder / f"{name}.mrc") for name in (*made, "base")}


def command(maps, folder, *more):
    given = ["--resolution", "6A", "--onset", "16A", "-o", str(folder)]
    return ["advise", maps["map"], "--half1", maps["half1"], *given, *more]


def test_the_mask_is_written_with_the_reason(maps, tmp_path, capsys):
    folder = tmp_path / "advice"
    assert main(command(maps, folder, "--threshold", "0.3", "--goal", "global")) == 0
    printed = capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == FILES
    facts = json.loads((folder / "mask.json").read_text())
    told = json.loads((folder / "advice.json").read_text())
    assert facts["advice"]["criterion"] == told["criterion"]
    assert facts["advice"]["neighbours"] == told["neighbours"]
    assert facts["row"] == told["row"]
    assert all(one["reason"] for one in told["neighbours"])
    assert {one["change"] for one in told["sensitivity"]} == {-0.2, 0.2}
    rows = json.loads((folder / "sweep.json").read_text())["rows"]
    assert told["row"] in rows
    again = tmp_path / "again.mrc"
    assert main(["create", maps["map"], "--recipe", str(folder / "mask.json"), "-o", str(again)]) == 0
    assert np.array_equal(gm.read(again).data, gm.read(folder / "mask.mrc").data)
    for text in told["unknowns"]:
        assert text in printed
    assert "what is not known" in printed
    assert told["criterion"] in printed


def test_a_base_on_its_own_grid(maps, tmp_path):
    folder = tmp_path / "advice"
    assert main(command(maps, folder, "--base", maps["base"], "--goal", "local")) == 0
    soft = gm.read(folder / "mask.mrc")
    assert soft.shape == (BOX,) * 3
    facts = json.loads((folder / "mask.json").read_text())
    assert facts["input"]["path"] == maps["base"]
    assert facts["like"] == maps["half1"]
    again = tmp_path / "again.mrc"
    assert main(["create", maps["base"], "--recipe", str(folder / "mask.json"), "-o", str(again)]) == 0
    assert np.array_equal(gm.read(again).data, soft.data)
    told = json.loads((folder / "advice.json").read_text())
    assert told["sensitivity"] == []
    subtraction = tmp_path / "subtraction"
    assert main(command(maps, subtraction, "--base", maps["base"], "--goal", "subtraction")) == 0
    assert json.loads((subtraction / "advice.json").read_text())["criterion"].startswith("least error")


def test_the_grid_can_be_given(maps, tmp_path, capsys):
    more = ["--threshold", "0.3", "--dilate", "0:2:2", "--soft-edge", "4,8", "--edge", "cosine,convolved", "--json"]
    assert main(command(maps, tmp_path, *more)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["advice"]["row"]["dilation_px"] in (0, 2)
    rows = json.loads((tmp_path / "sweep.json").read_text())["rows"]
    assert len(rows) == 8


def test_masked_half_maps_are_refused(maps, tmp_path, capsys):
    folder = tmp_path / "advice"
    words = ["advise", maps["map"], "--half1", maps["masked_half1"], "--threshold", "0.3", "--resolution", "6A"]
    assert main([*words, "-o", str(folder)]) == 3
    assert "seem to be masked" in capsys.readouterr().err
    assert not folder.exists()
    assert main([*words, "-o", str(folder), "--assume-unmasked", "--dilate", "0", "--soft-edge", "6"]) == 0


def test_noise_alone_is_refused(maps, tmp_path, capsys):
    folder = tmp_path / "advice"
    words = ["advise", maps["map"], "--half1", maps["noise_half1"], "--threshold", "0.3", "-o", str(folder)]
    for more in ([], ["--resolution", "6A"], ["--resolution", "6A", "--onset", "16A", "--report"]):
        assert main([*words, *more]) == 3
        said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning: ")]
        assert len(said) == 1
        assert "the half maps share no signal" in said[0]
        assert not folder.exists()


def test_the_profile_of_least_leak_is_written(maps, tmp_path, capsys):
    """With nodes from end to end of the pick's edge, which an eroded base has too; and only where it is asked for."""
    for name, dilate in (("grown", "2"), ("eroded", "-2")):
        folder = tmp_path / name
        more = ["--threshold", "0.3", "--least-leak", f"--dilate={dilate}", "--soft-edge", "9.5"]
        assert main(command(maps, folder, *more)) == 0
        assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "least_leak.json", "least_leak.mrc"])
        facts = json.loads((folder / "least_leak.json").read_text())
        told = json.loads((folder / "advice.json").read_text())["least_leak"]
        assert told == json.loads((folder / "mask.json").read_text())["advice"]["least_leak"]
        assert {one: facts[one] for one in told} == told
        start = max(int(dilate), 0)
        assert told["nodes_px"] == [start + px for px in (*range(10), 9.5)]
        assert told["values"][0] == 1
        soft, pick = (gm.read(folder / f"{one}.mrc").data for one in ("least_leak", "mask"))
        assert np.array_equal(soft == 1, pick == 1)  # the same core
        assert ((pick > 0) | (soft < 1e-6)).all()  # and the same outer end
        assert told["least"]["leakage"] < told["own"]["leakage"]
        assert told["worth_it"] == (told["gain_db"] >= edges.WORTH)
        shell = round(BOX * SIZE / 6)
        power = fourier.shell_power(pick, SIZE)
        mean = power / fourier.shells(pick.shape, SIZE).coefficients
        share = power @ spectrum.shares_beyond(6.0, fourier.shells(pick.shape, SIZE)) / power.sum()
        assert told["own"]["leakage"] == pytest.approx(share, rel=1e-3)  # a transform in float32
        assert told["own"]["db_at_resolution"] == pytest.approx(10 * np.log10(mean[shell] / mean[0]), abs=1e-2)
        said = capsys.readouterr().out
        assert f"{told['least']['leakage']:.3g}" in said
        assert f"{told['gain_db']:.1f} dB less beyond 6 Å, {'worth' if told['worth_it'] else 'not worth'} it" in said


def test_no_edge_has_no_profile(maps, tmp_path, capsys):
    more = ["--threshold", "0.3", "--least-leak", "--dilate", "2", "--soft-edge", "0"]
    assert main(command(maps, tmp_path, *more)) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    assert "the pick has no soft edge" in capsys.readouterr().err


def test_no_room_for_least_leak_is_said_before_the_work(maps, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gpumask.backend.available_memory", lambda: 2**20)
    folder = tmp_path / "advice"
    assert main(command(maps, folder, "--threshold", "0.3", "--soft-edge", "4,12", "--least-leak")) == 5
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    needed = 8 * (13 + edges.BESIDE) * BOX**3 / 2**30
    assert f"edge spectra of 13 nodes in a box of 48 x 48 x 48 voxels need {needed:.1f} GiB, 0.0 GiB are free" in said
    assert "search edges narrower than 12 px" in said
    assert not folder.exists()


def test_existing_files_are_kept(maps, tmp_path, capsys):
    (tmp_path / "mask.mrc").write_bytes(b"mine")
    more = ["--threshold", "0.3", "--dilate", "0", "--soft-edge", "6"]
    assert main(command(maps, tmp_path, *more)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["mask.mrc"]
    assert main(command(maps, tmp_path, *more, "--force")) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    capsys.readouterr()


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--goal", "best"], 2, "goal must be one of"),
        (["--threshold", "0.3", "--base", "BASE"], 2, "base or a threshold"),
        (["--dilate", "0:9"], 2, "must be a range"),
        (["--threshold", "99"], 3, "empty mask"),
        (["--threshold", "0.3", "--region", "NOTHING"], 3, "the region is empty"),
    ],
)
def test_what_is_refused_leaves_nothing(maps, tmp_path, capsys, more, code, says):
    folder = tmp_path / "advice"
    more = [maps.get(word.lower(), word) for word in more]
    assert main(command(maps, folder, *more)) == code
    assert says in capsys.readouterr().err
    assert not folder.exists()


def test_half_maps_are_needed(maps, tmp_path, capsys):
    assert main(["advise", maps["map"], "-o", str(tmp_path)]) == 2
    assert "--half1" in capsys.readouterr().err
    with pytest.raises(gm.errors.UsageError, match="half maps"):
        job.advise(maps["map"], tmp_path, half1=None)


@pytest.mark.parametrize("goal", ["global", "local"])
def test_a_bad_base_is_named(maps, tmp_path, capsys, goal):
    half = 0.49 * gm.read(maps["map"]).data / gm.read(maps["map"]).data.max()
    beside = np.zeros((8, 8, BOX + 8), np.float32)
    beside[..., -4:] = 1
    corner = np.zeros((BOX,) * 3, np.float32)
    corner[:3, :3, :3] = 1
    dark = gm.read(maps["map"]).data * (1 - corner)
    for name, array in {"low": half, "beside": beside, "corner": corner, "dark": dark}.items():
        gm.write(tmp_path / f"{name}.mrc", gm.Volume(array.astype(np.float32), SIZE))
    for name, says in (
        ("low", f"{tmp_path / 'low.mrc'} is empty: a base is where it is >= 0.5, and its maximum is 0.49"),
        ("beside", f"{tmp_path / 'beside.mrc'} has nothing in the box of {maps['half1']}"),
        ("corner", "no voxel of the base has density above 0"),
    ):
        given = ["advise", str(tmp_path / "dark.mrc"), "--half1", maps["half1"], "--resolution", "6A", "--onset", "16A"]
        words = [*given, "--base", str(tmp_path / f"{name}.mrc"), "--goal", goal]
        assert main([*words, "-o", str(tmp_path / "advice")]) == 3
        said = capsys.readouterr().err
        assert says in said
        assert "threshold" not in said


def test_what_an_earlier_pick_left_is_named(maps, tmp_path, capsys):
    given = ["--threshold", "0.3", "--goal", "global", "--dilate", "0", "--soft-edge", "6"]
    assert main(command(maps, tmp_path, *given, "--least-leak")) == 0
    assert main(command(maps, tmp_path, *given, "--least-leak", "--force")) == 0
    assert "earlier pick" not in capsys.readouterr().err
    assert main(command(maps, tmp_path, *given, "--force")) == 0
    assert f"least_leak.mrc, least_leak.json in {tmp_path}: of an earlier pick" in capsys.readouterr().err


def test_a_subtraction_is_told_by_its_error(maps, tmp_path, capsys):
    given = ["--threshold", "0.3", "--goal", "subtraction", "--dilate", "0", "--soft-edge", "4,6"]
    assert main(command(maps, tmp_path, *given)) == 0
    printed = capsys.readouterr().out
    told = json.loads((tmp_path / "advice.json").read_text())
    assert f"  error      {told['subtraction_error']:.3f}" in printed
    assert "front of the error against Λ" in printed
    for one in told["sensitivity"]:
        assert f"error {one['subtraction_error']:.3f}" in printed
