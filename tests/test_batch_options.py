"""Core-soft masks, figures and models in a batch: what the verbs make of one file, of many."""

import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import glycoprotein
import numpy as np
import pytest
from batches import rows

import gpumask as gm
from gpumask.batching import lanes, lists, operations, plans, work
from gpumask.cli import main, options
from gpumask.errors import MissingExtra, UsageError
from gpumask.job import core_soft
from gpumask.report import slices

N, VOXEL = 40, 2.0
FLAGS = ["--threshold", "0.6", "--dilate", "1px", "--soft-edge", "6px"]
MASK = {"threshold": 0.6, "dilation": "1px", "soft_edge": "6px"}
OWN = ("seconds", "output", "files", "input", "device_reason")  # of a document that tells of one run

plot = pytest.mark.skipif(not options.can_draw(), reason="the extra `plot` is not installed")


def ball(shift):
    """Density of 1 in a ball, of 0.4 in an arm out of it: the core, and what is soft."""
    z, y, x = (axis - N // 2 + shift for axis in np.ogrid[:N, :N, :N])
    density = np.where(z**2 + y**2 + x**2 <= 36, 1.0, 0.0)
    density[(abs(z) <= 2) & (abs(y) <= 2) & (x > 0) & (x <= 11) & (density == 0)] = 0.4
    return density.astype(np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with two maps and the half maps of each."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUMASK_DEVICE", "cpu")
    random = np.random.default_rng(0)
    Path("maps").mkdir()
    for number, name in enumerate("ab"):
        halves = ball(number) + 0.03 * random.standard_normal((2, N, N, N)).astype(np.float32)
        gm.write(f"maps/{name}.mrc", gm.Volume(halves.mean(axis=0), VOXEL))
        for half, array in enumerate(halves, 1):
            gm.write(f"maps/{name}_half{half}.mrc", gm.Volume(array, VOXEL))
    return tmp_path


def alone(verb, *words):
    """The verb of one file."""
    assert main([verb, *map(str, words)]) == 0


def listed(*lines):
    Path("list.csv").write_text("\n".join([*lines, ""]))
    return "list.csv"


def same_documents(one, other):
    found = [json.loads(Path(path).read_text()) for path in (one, other)]
    for document in found:
        for name in OWN:
            del document[name]
        halves = document["core_soft"]["half_maps"]
        document["core_soft"]["half_maps"] = halves and {name: half["sha256"] for name, half in halves.items()}
    assert found[0] == found[1]
    return found[0]


@plot
def test_core_soft_masks_and_their_figures_are_those_of_create_byte_for_byte(folder, capfd):
    source = listed(
        "map,half1,half2,onset,assume_unmasked,plot,dilate",
        "maps/a.mrc,maps/a_half1.mrc,,,,yes,",
        "maps/b.mrc,maps/b_half1.mrc,maps/b_half2.mrc,20A,true,no,2px",
    )
    words = ["--threshold", "0.6", "--soft-edge", "6px", "--core-soft", "--resolution", "8A"]
    assert main(["batch", source, "-o", "out", *words]) == 0
    Path("alone").mkdir()
    alone("create", "maps/a.mrc", "-o", "alone/a_mask.mrc", *words, "--half1", "maps/a_half1.mrc", "--plot")
    alone("create", "maps/b.mrc", "-o", "alone/b_mask.mrc", *words, "--half1", "maps/b_half1.mrc", "--onset", "20A",
          "--assume-unmasked", "--dilate", "2px")  # fmt: skip
    assert sorted(path.name for path in Path("out").glob("?_mask.*")) == sorted(
        path.name for path in Path("alone").iterdir()
    )
    told = {row["output"]: row["metrics"] for row in rows("out")}
    for path in Path("alone").iterdir():
        if path.suffix != ".json":
            assert (Path("out") / path.name).read_bytes() == path.read_bytes()
            continue
        document = same_documents(path, Path("out") / path.name)
        leak = document["core_soft"]["masks"]["core_soft"]
        metrics = told[path.with_suffix(".mrc").name]
        assert {name: metrics[name] for name in core_soft.LEAK} == {name: leak[name] for name in core_soft.LEAK}
        assert metrics["k_leak"] is not None
    assert list(told["a_mask.mrc"]["files"]) == ["a_mask.mrc", "a_mask.json", "a_mask.png"]


def test_the_dilation_of_a_core_soft_mask_is_that_of_create(folder):
    """Its own default, but not beside a near and a far, wherever each is given."""
    create = operations.of("create")
    for every, own in (({}, {"core_soft": "yes"}), ({"core_soft": True}, {}), ({"core_soft": True}, {"largest": "1"})):
        assert create.settings({"threshold": 1, **every}, own)["recipe"]["dilation"] == "6px"
    apart = create.settings({"threshold": 1, "dilation": "3px"}, {"core_soft": "1", "near": "2px", "far": "9px"})
    assert (apart["recipe"]["near"], apart["recipe"]["dilation"]) == ("2px", gm.MaskRecipe(threshold="1").dilation)
    assert create.settings({"threshold": 1, "core_soft": True}, {"core_soft": "no"}) == create.settings(
        {"threshold": 1}
    )


def test_an_item_is_done_again_when_a_half_map_changes_or_comes(folder):
    source = [
        {"map": "maps/a.mrc", "half1": "maps/a_half1.mrc"},
        {"map": "maps/b.mrc", "half1": "maps/b_half1.mrc"},
    ]
    Path("maps/b_half2.mrc").rename("away.mrc")
    given = {"core_soft": True, **MASK}
    done = gm.batch(source, "out", **given)
    assert (done["done"], done["failed"]) == (1, 1)
    assert "b_half2.mrc: is not there, the other half of" in done["not_done"][0]["error"]
    again = gm.batch(source, "out", **given)
    assert (again["finished"], again["done"], again["failed"], len(rows("out"))) == (1, 0, 1, 2)
    Path("away.mrc").rename("maps/b_half2.mrc")
    assert gm.batch(source, "out", **given)["done"] == 1
    assert gm.batch(source, "out", **given)["finished"] == 2
    half = gm.read("maps/a_half2.mrc")
    gm.write("maps/a_half2.mrc", half.with_data(half.data[::-1].copy()), overwrite=True)
    done = gm.batch(source, "out", **given)
    assert (done["finished"], done["done"]) == (1, 1)
    prints = [row["input_fingerprint"] for row in rows("out") if row["output"] == "a_mask.mrc"]
    assert len(set(prints)) == 2


def test_a_second_half_map_is_found_by_the_name_of_a_link(folder):
    for half in (1, 2):
        Path(f"maps/a_half{half}.mrc").rename(f"{half}.mrc")
        Path(f"maps/a_half{half}.mrc").symlink_to(folder / f"{half}.mrc")
    assert gm.batch(["maps/a.mrc"], "out", **MASK, core_soft=True, half1="maps/a_half1.mrc")["done"] == 1


def task(folder, settings):
    found = plans.items(lists.read(["maps/a.mrc"], ("map",)), operations.of("create"), settings, folder)
    (item,) = found
    return {"do": "create", "input": item.input, "output": item.output, "folder": str(folder / "out"),
            "settings": item.settings, "recipe_hash": item.recipe_hash, "device": "cpu", "slabs": None,
            "dense": False}  # fmt: skip


def test_a_half_map_that_changes_while_it_is_read_makes_no_row_that_is_done(folder, monkeypatch):
    read = core_soft.Leaks.read

    def changed(leaks, name, grid):
        read(leaks, name, grid)
        half = gm.read("maps/a_half2.mrc")
        gm.write("maps/a_half2.mrc", half.with_data(2 * half.data), overwrite=True)

    monkeypatch.setattr(core_soft.Leaks, "read", changed)
    settings = {"core_soft": True, "half1": "maps/a_half1.mrc", **MASK}
    row = work.through(task(folder, settings))["row"]
    assert row["status"] == "failed"
    assert "changed while it was read" in row["error"]
    assert not list(Path("out").iterdir())


class Late(lanes.Passage):
    """A mask comes as from a GPU: its values are there when one has waited for them."""

    there = None

    def fetch(self, volume):
        self.there, self.late = volume.data, np.zeros_like(volume.data)
        return volume.with_data(self.late)

    def arrive(self):
        if self.there is not None:
            self.late[:] = self.there


@plot
def test_what_is_told_and_drawn_of_a_mask_waits_for_it(folder, monkeypatch):
    settings = {"core_soft": True, "plot": True, **MASK}
    wanted, found = [], []
    for files in (wanted, found):
        assert work.through(task(folder, settings))["row"]["error"] is None
        files += [(folder / "out/a_mask.png").read_bytes(), json.loads((folder / "out/a_mask.json").read_text())]
        monkeypatch.setattr(lanes.Lanes, "passage", lambda shared: Late(shared))
    assert wanted[0] == found[0]
    assert wanted[1]["core_soft"] == found[1]["core_soft"]


def test_the_memory_of_a_core_soft_mask_is_counted_and_there_are_no_slabs(folder):
    create, events = operations.of("create"), []
    for more in ({}, {"core_soft": True}, {"core_soft": True, "half1": "maps/a_half1.mrc"}):
        gm.batch(["maps/a.mrc"], "out", dry_run=True, progress=events.append, **MASK, **more)
    plain, soft, leak = (event["largest_bytes"] for event in events)
    assert soft - plain == create.per_voxel_of_core_soft * N**3
    assert leak - soft == create.per_voxel_of_halves * N**3
    low = (250 << 20) + 10**5
    refused = gm.batch(["maps/a.mrc"], "low", memory=low, core_soft=True, **MASK)
    assert (
        "2.5 MB, 100 kB may be used, and create needs the whole box for --core-soft;"
        in (refused["not_done"][0]["error"])
    )
    assert gm.batch(["maps/a.mrc"], "slabs", memory=low, dry_run=True, **MASK)["not_done"] == []


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"half1": "maps/a_half1.mrc"}, "--half1: for the leak of a core-soft mask; give --core-soft too"),
        ({"core_soft": "yes", "half2": "maps/a_half2.mrc"}, "give the first with --half1"),
        ({"core_soft": "yes", "half1": "maps/a.mrc"}, "cannot be found by this name"),
        ({"core_soft": "yes", "preset": "subtraction"}, "leave --preset out"),
        ({"core_soft": "perhaps"}, "core soft cannot be 'perhaps'"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_anything_begins(folder, given, text):
    for every, own, where in ((given, {}, "^"), ({}, given, "^item 1: ")):
        with pytest.raises(UsageError, match=f"{where}.*{text}"):
            gm.batch([{"map": "maps/a.mrc", **own}], "out", **MASK, **every)
    assert not Path("out").exists()


@pytest.mark.parametrize("verb", ["create", "spectrum", "fsc"])
def test_figures_without_matplotlib_are_refused_before_anything_begins(folder, capsys, monkeypatch, verb):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"gpumask\[plot\]"):
        gm.batch(["maps/a_half1.mrc"], "out", verb, plot=True, **(MASK if verb == "create" else {}))
    words = FLAGS if verb == "create" else []
    assert main(["batch", "maps/a_half1.mr[c]", "-o", "out", "--do", verb, "--plot", *words]) == 2
    assert "gpumask[plot]" in capsys.readouterr().err
    assert not Path("out").exists()


def test_models_without_gemmi_are_refused_before_anything_begins(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "gemmi", None)
    with pytest.raises(MissingExtra, match=r"gpumask\[model\]"):
        gm.batch(["maps/a_half1.mrc"], "out", "fsc", model="model.pdb")
    assert not Path("out").exists()


@plot
def test_figures_of_spectra_are_those_of_spectrum_byte_for_byte(folder, capfd):
    gm.batch(["maps/a.mrc", "maps/b.mrc"], "masks", **MASK)
    source = listed("mask,plot", "masks/a_mask.mrc,", "masks/b_mask.mrc,no")
    words = ["--resolution", "8A"]
    assert main(["batch", source, "-o", "out", "--do", "spectrum", "--plot", *words]) == 0
    alone("spectrum", "masks/a_mask.mrc", *words, "--plot", "a.png")
    assert Path("out/a_mask_spectrum.png").read_bytes() == Path("a.png").read_bytes()
    assert not Path("out/b_mask_spectrum.png").exists()
    row = next(row for row in rows("out") if row["output"] == "a_mask_spectrum.json")
    assert list(row["metrics"]["files"]) == ["a_mask_spectrum.json", "a_mask_spectrum.png"]
    Path("out/a_mask_spectrum.png").unlink()
    done = gm.batch(source, "out", "spectrum", plot=True, resolution="8A")
    assert (done["finished"], done["done"]) == (1, 1)
    assert Path("out/a_mask_spectrum.png").read_bytes() == Path("a.png").read_bytes()


@plot
def test_figures_are_the_same_when_several_threads_draw():
    """Threads of a Dask worker do."""
    mask = np.clip(ball(0), 0, 1)
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: slices.draw(mask, voxel_size=VOXEL), range(8)))
    assert len(set(drawn)) == 1


def test_resolutions_with_models_are_those_of_fsc(folder, capfd):
    pytest.importorskip("gemmi", reason="the extra `model` is not installed")
    Path("maps/model.pdb").write_text(glycoprotein.text([N // 2 * VOXEL] * 3))
    source = listed("half1,model,select", "maps/a_half1.mrc,maps/model.pdb,protein", "maps/b_half1.mrc,,")
    assert main(["batch", source, "-o", "out", "--do", "fsc", "--assume-unmasked"]) == 0
    alone("fsc", "maps/a_half1.mrc", "-o", "alone", "--model", "maps/model.pdb", "--select", "protein",
          "--assume-unmasked")  # fmt: skip
    assert Path("out/a_half1_fsc/fsc.csv").read_bytes() == Path("alone/fsc.csv").read_bytes()
    wanted = json.loads(Path("alone/fsc.json").read_text())["map_model"]["resolution"]
    told = {row["output"]: row["metrics"] for row in rows("out")}
    assert told["a_half1_fsc"]["map_model"] == wanted
    assert "map_model" not in told["b_half1_fsc"]
    with Path("maps/model.pdb").open("a") as stream:
        stream.write("\n")
    assert gm.batch(source, "out", "fsc", assume_unmasked=True)["done"] == 1


def test_the_sha256_of_a_map_is_kept_on_request(folder):
    assert main(["batch", "maps/a.mr[c]", "-o", "out", "--sha256", *FLAGS]) == 0
    plain = gm.batch(["maps/a.mrc"], "plain", **MASK)
    assert plain["done"] == 1
    with_sum, without = (json.loads(Path(name, "a_mask.json").read_text())["input"] for name in ("out", "plain"))
    assert with_sum["sha256"] == hashlib.sha256(Path("maps/a.mrc").read_bytes()).hexdigest()
    assert "sha256" not in without
    assert with_sum["fingerprint"] == without["fingerprint"]
