"""gpumask sweep: files in, a table out, and a sweep that goes on where it was stopped."""

import contextlib
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import gpumask as gm
from gpumask import job, sweeps
from gpumask.cli import main, terminal
from gpumask.cli.sweep import spread
from gpumask.job import sweeping

BOX, SIZE = 48, 2.0
GRID = ["--threshold", "0.3", "--dilate", "0:4:2", "--soft-edge", "4,8", "--resolution", "6A", "--onset", "16A"]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr("gpumask.cli.terminal.PATIENCE", float("inf"))
    monkeypatch.setenv("GPUMASK_DEVICE", "cpu")


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """map.mrc, its half maps and a region, by name."""
    folder = tmp_path_factory.mktemp("maps")
    rng = np.random.default_rng(0)
    grid = np.ogrid[[slice(-BOX // 2, BOX // 2)] * 3]
    ball = np.sqrt(sum(g * g for g in grid)) <= 9
    texture = ndimage.gaussian_filter(rng.standard_normal((BOX,) * 3), 1)
    density = ndimage.gaussian_filter(ball * (1 + texture / texture.std()), 1.2).astype(np.float32)
    made = {"map": density, "region": ball.astype(np.float32)}
    made |= {f"half{i}": (density + rng.normal(0, 0.6, density.shape)).astype(np.float32) for i in (1, 2)}
    for name, array in made.items():
        gm.write(folder / f"{name}.mrc", gm.Volume(array, SIZE))
    return {name: str(folder / f"{name}.mrc") for name in made}


def command(maps, folder, *more, grid=GRID):
    return ["sweep", maps["map"], "--half1", maps["half1"], *grid, "-o", str(folder), *more]


def state(folder):
    return json.loads((folder / "sweep.json").read_text())


def test_the_table_is_that_of_the_library(maps, tmp_path, capsys):
    assert main(command(maps, tmp_path, "--half2", maps["half2"])) == 0
    printed = capsys.readouterr()
    rows = state(tmp_path)["rows"]
    volumes = [gm.read(maps[name]) for name in ("map", "half1", "half2")]
    given = {"thresholds": 0.3, "dilations": [0, 2, 4], "soft_edges": [4, 8], "resolution": 6, "onset": "16A"}
    assert rows == gm.sweep(*volumes, **given).rows
    assert "6.5 a mask (spectrum 1, leak 3.5, masked 2)" in printed.out
    assert "by d' where Λ <= 0.05" in printed.out
    with (tmp_path / "sweep.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert tuple(table[0]) == sweeps.COLUMNS
    for row, cells in zip(rows, table, strict=True):
        assert cells["flags"].split() == row["flags"]
        assert float(cells["leak_mean"]) == row["leak_mean"]
        assert float(cells["dilation_px"]) == row["dilation_px"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweep.csv", "sweep.json"]


def test_without_half_maps(maps, tmp_path, capsys):
    grid = ["--threshold", "0.3", "--dilate", "2", "--soft-edge", "4:8:2", "--resolution", "6A"]
    assert main(["sweep", maps["map"], *grid, "-o", str(tmp_path)]) == 0
    with (tmp_path / "sweep.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert len(table) == 3
    assert all(row["leak_mean"] == "" and float(row["db_at_resolution"]) < 0 for row in table)
    assert "1 a mask (spectrum 1)" in capsys.readouterr().out


def test_a_stopped_sweep_goes_on(maps, tmp_path, monkeypatch):
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert main(command(maps, whole)) == 0
    measured = []
    true = sweeps._Run._measure

    def failing(run, cell, soft):
        if len(measured) == 4:
            raise KeyboardInterrupt
        measured.append(cell)
        return true(run, cell, soft)

    monkeypatch.setattr(sweeps._Run, "_measure", failing)
    assert main(command(maps, part)) == 130
    held = state(part)
    assert len(held["rows"]) == 4
    assert not held["complete"]
    seen = []

    def counted(run, cell, soft):
        seen.append(cell)
        return true(run, cell, soft)

    monkeypatch.setattr(sweeps._Run, "_measure", counted)
    assert main(command(maps, part)) == 0
    assert len(seen) == 2
    assert not set(seen) & set(measured)
    assert (part / "sweep.csv").read_bytes() == (whole / "sweep.csv").read_bytes()
    assert state(part)["rows"] == state(whole)["rows"]
    assert state(part)["details"] == state(whole)["details"]
    assert state(part)["complete"]
    assert main(command(maps, part)) == 0
    assert len(seen) == 2


def test_the_state_is_on_disk_while_the_sweep_runs(maps, tmp_path, monkeypatch):
    monkeypatch.setattr(sweeping, "INTERVAL", 0.0)
    counts = []
    true = sweeps._Run._measure

    def looking(run, cell, soft):
        counts.append(len(state(tmp_path)["rows"]) if (tmp_path / "sweep.json").exists() else 0)
        return true(run, cell, soft)

    monkeypatch.setattr(sweeps._Run, "_measure", looking)
    assert main(command(maps, tmp_path)) == 0
    assert counts == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (["--resolution", "7A"], "resolution"),
        (["--dilate", "0:2:2"], "dilations"),
        (["--lowpass", "9A"], "lowpass"),
        (["--keep"], "keep"),
        (["--half2", "MAP"], "half2"),
        (["--region", "REGION"], "region"),
    ],
)
def test_another_sweep_is_refused(maps, tmp_path, capsys, more, what):
    assert main(command(maps, tmp_path)) == 0
    before = (tmp_path / "sweep.json").read_bytes()
    more = [{"MAP": maps["map"], "REGION": maps["region"]}.get(word, word) for word in more]
    assert main(command(maps, tmp_path, *more)) == 3
    said = capsys.readouterr().err
    assert f"a sweep with another {what}" in said
    assert "--force" in said
    assert (tmp_path / "sweep.json").read_bytes() == before
    assert main(command(maps, tmp_path, *more, "--force")) == 0
    assert (tmp_path / "sweep.json").read_bytes() != before


def test_kept_masks_are_named_and_can_be_made_again(maps, tmp_path):
    folder = tmp_path / "sweep"
    grid = [
        "--threshold",
        "0.3",
        "--dilate=-1,2",
        "--soft-edge",
        "4",
        "--edge",
        "cosine,slepian:2",
        "--resolution",
        "6",
    ]
    assert main(command(maps, folder, "--keep", grid=grid)) == 0
    masks = sorted(path.name for path in folder.glob("mask_*.mrc"))
    assert masks == [f"mask_t0.3_d{d}_w4_{edge}.mrc" for d in (-1, 2) for edge in ("cosine", "slepian-2")]
    for name in masks:
        again = tmp_path / name
        provenance = folder / name.replace(".mrc", ".json")
        assert main(["create", maps["map"], "--recipe", str(provenance), "-o", str(again)]) == 0
        assert np.array_equal(gm.read(again).data, gm.read(folder / name).data)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("mask_*")}
    assert main(command(maps, folder, "--keep", grid=grid)) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.glob("mask_*")} == before


KEPT = [*GRID[:2], "--dilate", "0,2", "--soft-edge", "4", "--resolution", "6A", "--keep"]
KILLED = """
import os, shutil, sys
from pathlib import Path
from gpumask import io
from gpumask.cli import main
publish, start, folder, words = io._publish, sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
def kill(*what):
    global left
    if not left:
        os._exit(9)
    left -= 1
    publish(*what)
io._publish = kill
for left in range(99):
    here = folder / str(left)
    if start:
        shutil.copytree(start, here)
    child = os.fork()
    if not child:
        os._exit(main([*words, "-o", str(here)]))
    if not os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        break
"""


def kept(folder):
    """The bytes of the masks of a folder, and what their JSON says but for where they are."""
    masks = {path.name: path.read_bytes() for path in folder.glob("mask_*.mrc")}
    told = [json.loads(path.read_text()) for path in sorted(folder.glob("mask_*.json"))]
    return masks, [{name: value for name, value in facts.items() if name != "output"} for facts in told]


def environment():
    return os.environ | {"PYTHONPATH": str(Path(gm.__file__).parents[1])}


@pytest.mark.parametrize("start", ["", "the sweep of another map"])
def test_a_sweep_that_is_killed_at_any_rename_goes_on(maps, tmp_path, capsys, start):
    words, whole = ["sweep", maps["map"], *KEPT], tmp_path / "whole"
    assert main([*words, "-o", str(whole)]) == 0
    if start:
        start = tmp_path / "start"
        assert main(["sweep", maps["half1"], *KEPT, "--threshold", "0.3", "-o", str(start)]) == 0
        words.append("--force")
    runs = tmp_path / "runs"
    runs.mkdir()
    command = [sys.executable, "-c", KILLED, str(start), str(runs), *words]
    subprocess.run(command, env=environment(), timeout=120, check=True, capture_output=True)
    stopped = sorted(runs.iterdir(), key=lambda path: int(path.name))
    assert len(stopped) == 2 * 4 + 2 + 1  # the state, the table, a mask and its JSON, twice; both again; and none
    for folder in stopped:
        code = main(["sweep", maps["map"], *KEPT, "-o", str(folder)])
        if start and folder.name == "0":  # nothing has happened to the other sweep
            assert code == 3
            continue
        assert code == 0, capsys.readouterr().err
        assert (folder / "sweep.csv").read_bytes() == (whole / "sweep.csv").read_bytes()
        assert state(folder)["complete"]
        assert kept(folder) == kept(whole)


def test_masks_that_have_gone_are_made_again(maps, tmp_path, monkeypatch):
    words = ["sweep", maps["map"], *KEPT, "-o", str(tmp_path)]
    assert main(words) == 0
    before, made = kept(tmp_path), []
    true = sweeps._Run._measure

    def counted(run, cell, soft):
        made.append(cell.dilation_px)
        return true(run, cell, soft)

    monkeypatch.setattr(sweeps._Run, "_measure", counted)
    (tmp_path / "mask_t0.3_d2_w4_cosine.mrc").unlink()
    assert main(words) == 0
    (tmp_path / "mask_t0.3_d0_w4_cosine.json").unlink()
    assert main(words) == 0
    assert made == [2, 0]
    assert kept(tmp_path) == before


@pytest.mark.parametrize("suffix", ["mrc", "json"])
def test_a_file_that_no_sweep_has_written_is_not_replaced(maps, tmp_path, capsys, suffix):
    path = tmp_path / f"mask_t0.3_d2_w4_cosine.{suffix}"
    path.write_bytes(b"{}")
    words = ["sweep", maps["map"], *KEPT, "-o", str(tmp_path)]
    for _ in range(2):
        assert main(words) == 3
        assert f"{path}: is already there" in capsys.readouterr().err
        assert path.read_bytes() == b"{}"
    assert main([*words, "--force"]) == 0
    assert path.read_bytes() != b"{}"


@pytest.fixture(scope="module")
def held(maps, tmp_path_factory):
    """What sweep.json holds of the sweep of ``SMALL``."""
    folder = tmp_path_factory.mktemp("held")
    job.sweep(maps["map"], folder, thresholds=["0.3"], dilations=["0px", "2px"], soft_edges=["4px"], device="cpu")
    return state(folder)


SMALL = ["--threshold", "0.3", "--dilate", "0,2", "--soft-edge", "4"]


def put(values, *path, value):
    for key in path[:-1]:
        values = values[key]
    values[path[-1]] = value


@pytest.mark.parametrize(("path", "value", "says"), [
    (["rows", 0], {}, "row 1 the columns are not those of a sweep"),
    (["rows", 1], None, "row 2 the columns are not"),
    (["rows", 0, "volume_angstrom3"], "large", "volume_angstrom3 is 'large'"),
    (["rows", 0, "threshold"], None, "threshold is 'None'"),
    (["rows", 0, "kept"], [0.5], "kept is '[0.5]'"),
    (["rows", 0, "cut"], True, "cut is 'True'"),
    (["rows", 0, "leakage"], float("nan"), "leakage is 'nan'"),
    pytest.param(["rows", 0, "leakage"], 10**400, "leakage is '1000", id="a number of 401 digits"),
    (["rows", 0, "edge"], 3, "edge is '3'"),
    (["rows", 0, "flags"], "hard", "flags is 'hard'"),
    (["rows", 0, "flags"], [["hard"]], "flags is"),
    (["details", 0], {}, "row 1 the curves are not"),
    (["details", 0, "power_db"], [1.0], "power_db is no curve of 25 shells"),
    (["details", 1, "power_db", 3], "x", "row 2 power_db is no curve"),
    (["details", 1, "masked"], 7, "row 2 masked is no curve"),
    (["details", 0, "subtraction_error"], "x", "subtraction_error is 'x'"),
    (["details"], [], "is no sweep that could go on"),
    (["rows"], 3, "is no sweep that could go on"),
    (["frequency"], None, "is no sweep that could go on"),
    (["asked"], [], "is no sweep that could go on"),
    (["version"], "0.0.9", "is a sweep of gpumask 0.0.9, this is "),
])  # fmt: skip
def test_a_damaged_state_is_said_to_be(maps, held, tmp_path, capsys, path, value, says):
    damaged = json.loads(json.dumps(held))
    put(damaged, *path, value=value)
    text = json.dumps(damaged)
    (tmp_path / "sweep.json").write_text(text)
    words = ["sweep", maps["map"], *SMALL, "-o", str(tmp_path)]
    assert main(words) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gpumask: {tmp_path / 'sweep.json'}: ")
    assert says in line
    assert "--force" in line
    assert (tmp_path / "sweep.json").read_text() == text
    assert main([*words, "--force"]) == 0
    assert state(tmp_path)["rows"] == held["rows"]


def test_a_whole_state_is_taken_up(maps, held, tmp_path, capsys):
    (tmp_path / "sweep.json").write_text(json.dumps(held))
    assert main(["sweep", maps["map"], *SMALL, "-o", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["known"] == 2


ANOTHER = """
import sys
from gpumask import job
def told(name, share=None):
    if name.startswith("wait"):
        print(name, flush=True)
given = {"thresholds": ["0.3"], "dilations": ["0", "2", "4"], "soft_edges": ["4"], "progress": told}
print(job.sweep(*sys.argv[1:], **given)["known"])
"""


def test_another_sweep_waits_for_the_folder(maps, tmp_path, monkeypatch):
    """One that comes meanwhile finds all masks measured."""
    measured, others = sweeps._Run._measure, []

    def meanwhile(run, cell, soft):
        if cell.dilation_px == 2:
            command = [sys.executable, "-c", ANOTHER, maps["map"], str(tmp_path)]
            other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
            others.append(other)
            assert other.stdout.readline() == "wait for the folder\n"
            with contextlib.suppress(subprocess.TimeoutExpired):
                other.wait(timeout=1)  # where nothing holds it, that is long enough to measure
        return measured(run, cell, soft)

    monkeypatch.setattr(sweeps._Run, "_measure", meanwhile)
    job.sweep(maps["map"], tmp_path, thresholds=["0.3"], dilations=["0", "2", "4"], soft_edges=["4"])
    told, _ = others[0].communicate(timeout=60)
    assert others[0].returncode == 0
    assert told == "3\n"


def test_other_files_are_not_written_over(maps, tmp_path, capsys):
    (tmp_path / "sweep.csv").write_text("mine")
    assert main(command(maps, tmp_path)) == 3
    assert (tmp_path / "sweep.csv").read_text() == "mine"
    (tmp_path / "sweep.json").write_text("{}")
    assert main(command(maps, tmp_path)) == 3
    assert "is no sweep that could go on" in capsys.readouterr().err
    assert main(command(maps, tmp_path, "--force")) == 0


def test_no_folder_is_left_where_it_fails(maps, tmp_path, capsys):
    folder = tmp_path / "new"
    grid = ["--threshold", "99", "--dilate", "0", "--soft-edge", "4"]
    assert main(command(maps, folder, grid=grid)) == 3
    assert maps["map"] in capsys.readouterr().err
    assert not folder.exists()
    assert main(["sweep", maps["map"], "--half1", maps["half1"], "--half2", maps["half1"], "-o", str(folder)]) == 3
    assert not folder.exists()


def test_json_is_one_document(maps, tmp_path, capsys):
    assert main(command(maps, tmp_path, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sweep"]["rows"] == state(tmp_path)["rows"]
    assert found["known"] == 0
    assert set(found["inputs"]) == {"map", "half1", "half2"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0:16:2", [f"{n}px" for n in range(0, 17, 2)]),
        ("0A:14A:7A", ["0A", "7A", "14A"]),
        ("-2:1:1", ["-2px", "-1px", "0px", "1px"]),
        ("0:1:0.1", [f"{n / 10:g}px" for n in range(11)]),
        ("0:5:2", ["0px", "2px", "4px"]),
        ("3,6A,12px", ["3px", "6A", "12px"]),
        ("4", ["4px"]),
    ],
)
def test_ranges_hold_both_ends(text, wanted):
    assert spread(text, "dilation") == wanted


@pytest.mark.parametrize("text", ["0:16", "0:16:0", "16:0:2", "0px:14A:2", "0:16:2:1", "a:b:c", ""])
def test_what_is_no_range(text):
    with pytest.raises(gm.errors.UsageError):
        spread(text, "dilation")


def test_an_empty_region_is_named(maps, tmp_path, capsys):
    empty = tmp_path / "empty.mrc"
    gm.write(empty, gm.Volume(np.zeros((BOX,) * 3, np.float32), SIZE))
    folder = tmp_path / "sweep"
    assert main(command(maps, folder, "--region", str(empty))) == 3
    said = capsys.readouterr().err
    assert f"{empty}: the region is empty" in said
    assert not folder.exists()


def test_the_job_takes_numbers(maps, tmp_path):
    done = job.sweep(maps["map"], tmp_path, thresholds=[0.3], dilations=[0, 2], soft_edges=[4])
    assert [row["dilation_px"] for row in done["sweep"].rows] == [0, 2]
    assert done["options"]["dilations"] == ["0", "2"]
    with pytest.raises(gm.errors.UsageError, match="half1"):
        job.sweep(maps["map"], tmp_path, half2=maps["half2"], thresholds=[0.3], dilations=[0], soft_edges=[4])


def test_long_work_in_a_log_tells_what_is_left(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "PATIENCE", 0.0)
    monkeypatch.setattr(terminal, "AGAIN", 0.0)
    with terminal.Progress() as progress:
        progress.timer.cancel()
        for share in (0, 0.25, 0.5):
            progress("masks", share)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("masks")
    assert lines[1].endswith(" s left")
    assert "masks 25%, " in lines[1]
    assert "masks 50%, " in lines[2]
