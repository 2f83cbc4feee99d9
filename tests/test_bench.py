"""The benchmarks of bases and grids: peers agree, and the help names every word."""

import re

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
