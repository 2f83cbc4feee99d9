"""Small maps in folders, and what must hold after any batch, however it ended."""

import json
import sys
from pathlib import Path

import numpy as np

import gpumask as gm
from gpumask import pipeline
from gpumask.batching import ledger

GPUMASK = [sys.executable, "-c", "import sys; from gpumask.cli import main; sys.exit(main())"]
MASK = {"threshold": 0.5, "dilation": "2px", "soft_edge": "3px"}
FLAGS = ["--threshold", "0.5", "--dilate", "2px", "--soft-edge", "3px"]


def block(shape=(16, 18, 20), shift=0):
    """A map of 1 in a block off the middle, 0 elsewhere."""
    values = np.zeros(shape, np.float32)
    values[6:9, 7:11, 7 + shift % 4 : 11 + shift % 4] = 1
    return values


def maps(folder, count=3, shape=(16, 18, 20)):
    """Paths of new maps, each a little different."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"map{number:03}.mrc" for number in range(count)]
    for number, path in enumerate(paths):
        gm.write(path, gm.Volume(block(shape, number), 1.5))
    return paths


def rows(folder, name="results.jsonl"):
    """The rows of a ledger; each line must be whole and have the keys of the contract."""
    found = [json.loads(line) for line in (Path(folder) / name).read_text().splitlines()]
    assert all(tuple(row) == ledger.KEYS for row in found)
    return found


def check(folder, paths, masks=None):
    """Nothing is lost, nothing done twice, nothing half-written: one done row and one whole mask for each map, no file
    besides."""
    done = [row for row in rows(folder) if row["status"] == "done"]
    assert sorted(row["input"] for row in done) == sorted(map(str, paths))
    assert len({row["output"] for row in done}) == len(paths)
    for path, row in zip(sorted(paths), sorted(done, key=lambda row: row["input"]), strict=True):
        made = gm.read(folder / row["output"])
        assert np.array_equal(made.data, expected(path)), path
        assert json.loads((folder / row["output"]).with_suffix(".json").read_text())["output"]
    allowed = {name for row in done for name in row["metrics"]["files"]}
    allowed |= {"results.jsonl", "results.outputs", "summary.json", "summary.csv"}
    assert {path.name for path in folder.iterdir()} - allowed == set()


def check_names(folder):
    """What stands under a final name is whole, whenever one looks."""
    for path in folder.glob("*_mask.mrc"):
        assert gm.io.Slabs(path).trailing == 0
    for path in folder.glob("*_mask.json"):
        json.loads(path.read_text())


def expected(path):
    """The mask of a map, by the library."""
    return pipeline.make(gm.read(path), gm.MaskRecipe(**MASK)).volume.data
