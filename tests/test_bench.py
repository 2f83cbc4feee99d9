"""The benchmarks of bases and grids: peers agree, and the help names every word."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from gpumask import cli
from gpumask.benchmarks import WORDS, create, regions, resampling

BOX = 64
LARGEST = 32  # above every |v| of the particle
ROUNDING = LARGEST * 2.0**-25 * (1 + 1e-6)  # computed in float64, then half a unit in the last place of float32


def cases(tables):
    return [(table.title, case) for table in tables for case in table.cases if case.error is not None]


def test_labels_counts_and_filled_holes_agree():
    found = cases(regions.tables(BOX))
    assert len(found) >= 2 * (4 + 2)
    assert {name: case.error for name, case in found if case.error} == {}


def test_resampled_values_agree():
    errors = {case.name: case.error for _, case in cases(resampling.tables(BOX))}
    assert errors.pop("gpumask, exact paste") == errors.pop("scipy.ndimage.shift, order 0") == 0
    assert len(errors) == 4
    assert abs(create.particle(BOX)).max() < LARGEST
    assert max(errors.values()) <= ROUNDING


def test_help_names_every_word(capsys):
    assert cli.main(["bench", "--help"]) == 0
    assert set(WORDS) <= set(re.findall(r"\w+", capsys.readouterr().out))


def test_bench_takes_what_the_module_takes(capsys):
    assert cli.main(["bench", "--help"]) == 0
    verb = capsys.readouterr().out
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])}
    command = [sys.executable, "-m", "gpumask.benchmarks", "--help"]
    module = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"--[a-z]+", verb)) == set(re.findall(r"--[a-z]+", module))
    assert "--form" in verb


def test_bench_hands_on_what_it_takes(tmp_path, capsys, monkeypatch):
    taken = []
    monkeypatch.setattr(create, "FORMS", ("short", "long"), raising=False)
    monkeypatch.setattr(create, "tables", lambda *given: taken.append(given) or [])
    path = tmp_path / "found.json"
    assert cli.main(["bench", "create", "--box", "48", "--form", "long", "--save", str(path), "--json"]) == 0
    assert taken == [(48, "long")]
    assert json.loads(capsys.readouterr().out)["benchmark"] == "create"
