"""Recipes: one spelling, one hash; text in and out; presets; and that a mask's JSON makes the mask again."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpumask as gm
from gpumask import pipeline, recipe, thresholds, units
from gpumask.cli import main
from gpumask.errors import UsageError
from gpumask.recipe import MaskRecipe

EVERY_FIELD = {
    "threshold": "0.2max",
    "lowpass": "15A",
    "absolute_value": True,
    "clip_radius": "60A",
    "clip_centre": "10,11.5,-12A",
    "hysteresis": "0.4max",
    "opening": "2px",
    "dust": 500.0,
    "seed": "9,11,13px",
    "largest": 2,
    "closing": "3A",
    "fill_holes": True,
    "dilation": "-2px",
    "soft_edge": "7A",
    "edge": "slepian:2.5",
    "style": "relion",
    "resolution": "3.5A",
    "invert": True,
}


@pytest.mark.parametrize("spellings", [
    {"dilation": ["5px", "5.0px", 5, 5.0, "5", " 5 px", "5pix", "+5px", "0.5e1px", np.int64(5), units.length("5px")]},
    {"soft_edge": ["7A", "7.0A", "7Å", " 7 Å ", "70e-1A"]},
    {"dilation": ["0px", 0, "-0px", "0"]},
    {"threshold": ["3sigma", "3.0sigma", " 3 sigma", "+3sigma"]},
    {"threshold": [0.05, "0.05", ".05", "5e-2", np.float32(0.05)]},
    {"lowpass": ["15A", 15, "15", 15.0, "15Å"]},
    {"butterworth": ["15A", "15A:8", "15:8", 15, "15.0Å:08"]},
    {"resolution": ["3.5A", 3.5, "3.50"]},
    {"dust": [500, 500.0, np.float32(500)]},
    {"threshold": ["mass:64", "mass:64.0", " mass: 6.4e1 "]},
    {"threshold": ["0.2max", "max:0.2", "max: .2"]},
    {"hysteresis": ["3sigma", "sigma:3", "sigma:3.0"]},
    {"seed": ["9,11,13", "9, 11, 13 px", "9.0,11,+13px"]},
    {"seed": ["1,2,3A", "1,2,3Å", "1,2,3 \u212b"]},
    {"seed": ["1,2,-3centre", "1, 2, -3 center"]},
    {"opening": ["2px", 2, "2"]},
])  # fmt: skip
def test_one_meaning_has_one_hash(spellings):
    ((name, texts),) = spellings.items()
    assert len({MaskRecipe(**{"threshold": 1, name: text}) for text in texts}) == 1
    assert len({MaskRecipe(**{"threshold": 1, name: text}).hash for text in texts}) == 1


def test_hashes_in_older_files_hold():
    """Written before clip, hysteresis, opening, seed and closing were fields."""
    assert MaskRecipe(threshold="0.2max", lowpass="15A").hash == "7936928c1c73b336"
    made = MaskRecipe(threshold=0.05, dilation="5px", soft_edge="17px", largest=1)
    assert made.hash == "7b830f17a00bc4f1"
    older = {name: value for name, value in made.to_dict().items() if name not in recipe.LATER}
    assert MaskRecipe.from_dict(older) == made


@pytest.mark.parametrize(
    "spellings",
    [
        [{"edge": "slepian"}, {"edge": "slepian:2"}, {"edge": "slepian:2.0"}],
        [{"largest": 2}, {"largest": np.int64(2)}],
    ],
)
def test_one_meaning_has_one_hash_for_edge_and_largest_too(spellings):
    assert len({MaskRecipe(threshold=1, **values).hash for values in spellings}) == 1


def test_another_meaning_has_another_hash():
    base = {"threshold": 1}
    others = [{"dilation": "5px"}, {"dilation": "5A"}, {"dilation": "-5px"}, {"soft_edge": "5px"}, {"soft_edge": "0px"}]
    others += [
        {"near": 3, "far": 5},
        {"near": 3, "far": 6},
        {"threshold": "1max"},
        {"threshold": "1sigma"},
        {"dust": 0},
    ]
    others += [
        {name: value} for name, value in EVERY_FIELD.items() if name not in ("dilation", "soft_edge", "clip_centre")
    ]
    others += [{"clip_radius": "60A", "clip_centre": "1,2,3px"}, {"clip_radius": "60A", "clip_centre": "1,2,3A"}]
    others += [{"threshold": text} for text in ("otsu", "auto", "mass:1", "volume:1", "percentile:1", "fdr:0.1")]
    others += [{"rect": 15}, {"gaussian": 15}, {"butterworth": 15}, {"butterworth": "15:4"}, {"edge": "linear"}]
    hashes = [MaskRecipe(**base | other).hash for other in [{}, *others]]
    assert len(set(hashes)) == len(hashes)
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in hashes)


def test_text_is_canonical():
    made = MaskRecipe(threshold="0.050", dilation="5.0 px", soft_edge="7.0Å", lowpass=15, butterworth=None)
    assert (made.threshold, made.dilation, made.soft_edge, made.lowpass) == ("0.05", "5px", "7A", "15A")


numbers = st.floats(0.01, 1e4)
levels = st.one_of(
    st.floats(-1e6, 1e6),
    *(numbers.map(form.format) for form in ("{}max", "{}sigma", "max:{}", "sigma:{}", "volume:{}", "mass:{}")),
    st.floats(0.01, 99.9).map("percentile:{}".format),
    st.floats(1e-9, 0.5).map("fdr:{}".format),
    st.sampled_from(["otsu", "auto"]),
)
triples = st.tuples(*[st.floats(-1e3, 1e3)] * 3).map(lambda xyz: ",".join(map(str, xyz)))
places = st.tuples(triples, st.sampled_from(["", "px", "A", "centre"])).map("".join)
recipes = st.fixed_dictionaries(
    {"threshold": levels},
    optional={
        "absolute_value": st.booleans(),
        "largest": st.integers(1, 9),
        "dust": numbers,
        "clip_radius": numbers.map("{}A".format),
        "hysteresis": levels,
        "opening": numbers,
        "seed": places,
        "closing": numbers,
        "fill_holes": st.booleans(),
        "dilation": st.one_of(st.floats(-1e3, 1e3), numbers.map("{}A".format)),
        "soft_edge": st.one_of(numbers, numbers.map("{}A".format)),
        "lowpass": numbers,
        "edge": st.sampled_from(recipe.EDGES),
        "style": st.sampled_from(recipe.STYLES),
        "resolution": numbers,
        "invert": st.booleans(),
    },
)


@given(recipes)
def test_json_and_dict_give_the_recipe_back(values):
    made = MaskRecipe(**values)
    assert MaskRecipe.from_dict(made.to_dict()) == made
    again = MaskRecipe.from_dict(recipe.loads(made.to_json()))
    assert again == made
    assert again.hash == made.hash


@given(recipes)
def test_toml_gives_the_recipe_back(values):
    pytest.importorskip("tomllib", reason="TOML needs Python 3.11")
    made = MaskRecipe(**values)
    assert MaskRecipe.from_dict(recipe.loads(made.to_toml(), "toml")) == made


def test_json_holds_every_field():
    made = MaskRecipe(**EVERY_FIELD)
    assert json.loads(made.to_json()) == made.to_dict()
    assert made.to_dict().items() >= EVERY_FIELD.items()


@pytest.mark.parametrize("key", ["treshold", "Threshold", "soft-edge", "device", "recipe"])
def test_an_unknown_key_is_named(key, tmp_path, capsys):
    with pytest.raises(UsageError, match=f"unknown key in recipe: {key}"):
        MaskRecipe.from_dict({"threshold": 1, key: 1})
    with pytest.raises(UsageError, match=f"unknown key in recipe: {key}"):
        pipeline.build_recipe({"threshold": 1, key: 1})
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"threshold": 1, key: 1}))
    assert main(["create", "none.mrc", "-o", str(tmp_path / "m.mrc"), "--recipe", str(path)]) == 2
    assert f"unknown key in recipe: {key}" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", '"threshold"', "null", "threshold: 1"])
def test_what_is_no_recipe_is_refused_in_one_line(text, tmp_path, capsys):
    path = tmp_path / "recipe.json"
    path.write_text(text)
    assert main(["create", "none.mrc", "-o", str(tmp_path / "m.mrc"), "--recipe", str(path)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "recipe" in err


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_bytes(b"\xff\xfe{}")])
def test_a_recipe_that_cannot_be_read_is_an_input_refused(make, tmp_path, capsys):
    path = tmp_path / "recipe.json"
    make(path)
    assert main(["create", "none.mrc", "-o", str(tmp_path / "m.mrc"), "--recipe", str(path)]) == 3
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert str(path) in err


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"threshold": None}, "threshold"),
        ({"threshold": "many"}, "threshold must be a number"),
        ({"threshold": "3 sigmas"}, "threshold must be"),
        ({"threshold": "max"}, "threshold must be"),
        ({"threshold": "nan"}, "threshold must be"),
        ({"threshold": float("inf")}, "threshold must be"),
        ({"threshold": True}, "threshold must be"),
        ({"threshold": [1]}, "threshold must be"),
        ({"lowpass": 15, "gaussian": 2}, "one filter before the threshold at the most, got lowpass and gaussian"),
        ({"rect": 15, "butterworth": 15}, "one filter"),
        ({"lowpass": 0}, "lowpass must be > 0 Å"),
        ({"lowpass": "15px"}, "lowpass must be in Å"),
        ({"gaussian": "2px"}, "gaussian must be in Å"),
        ({"butterworth": "15A:0"}, "order must be >= 1"),
        ({"butterworth": "15A:2.5"}, "15A:8"),
        ({"butterworth": "15A:"}, "15A:8"),
        ({"near": 6}, "near and far belong together"),
        ({"far": 6}, "near and far belong together"),
        ({"near": 6, "far": 14, "dilation": 1}, "one pair or the other"),
        ({"near": 6, "far": 14, "soft_edge": 0}, "one pair or the other"),
        ({"near": 6, "far": 14, "style": "relion"}, "not for style relion"),
        ({"near": -1, "far": 14}, "near must be >= 0, got -1px"),
        ({"soft_edge": -3}, "soft edge must be >= 0, got -3px"),
        ({"soft_edge": "-3A"}, "soft edge must be >= 0, got -3A"),
        ({"soft_edge": "wide"}, "soft edge must be a length"),
        ({"dilation": "nan"}, "dilation must be a length"),
        ({"edge": "cos"}, "edge must be one of cosine"),
        ({"edge": "cosine:2"}, "edge must be one of"),
        ({"edge": "slepian:9"}, "between 1 and 3"),
        ({"edge": "slepian:x"}, "between 1 and 3"),
        ({"edge": "slepian:nan"}, "between 1 and 3"),
        ({"style": "Relion"}, "style must be one of euclidean, relion, cryodrgn, got 'Relion'"),
        ({"largest": 0}, "must be >= 1"),
        ({"largest": 1.5}, "must be >= 1"),
        ({"largest": True}, "must be >= 1"),
        ({"dust": -1}, "must be a volume >= 0"),
        ({"dust": float("nan")}, "must be a volume >= 0"),
        ({"dust": "5"}, "must be a volume >= 0"),
        ({"threshold": "mass"}, "threshold must be a number, 0.2max, 3sigma, otsu, percentile:99"),
        ({"threshold": "otsu:2"}, "threshold must be"),
        ({"threshold": "mass:64kDa"}, "threshold must be"),
        ({"threshold": "Otsu"}, "threshold must be"),
        ({"threshold": "mass:0"}, "threshold mass must be > 0, got 'mass:0'"),
        ({"threshold": "volume:-1"}, "threshold volume must be > 0"),
        ({"threshold": "percentile:100"}, "threshold percentile must be between 0 and 100"),
        ({"threshold": "fdr:1"}, "threshold fdr must be between 0 and 1, got 'fdr:1'"),
        ({"threshold": "fdr:0"}, "threshold fdr must be between 0 and 1"),
        ({"hysteresis": "lots"}, "threshold must be"),
        ({"hysteresis": True}, "threshold must be"),
        ({"opening": -1}, "opening must be >= 0, got -1px"),
        ({"closing": "-1A"}, "closing must be >= 0, got -1A"),
        ({"clip_radius": "-1A"}, "clip radius must be >= 0"),
        ({"clip_centre": "1,2,3"}, "clip centre needs a clip radius"),
        ({"clip_radius": 5, "clip_centre": "1,2"}, "clip centre must be x,y,zpx from the corner"),
        ({"seed": "1,2,3nm"}, "seed must be x,y,zpx from the corner, x,y,zA in the header's frame or x,y,zcentre"),
        ({"seed": "1,2,1e999"}, "seed must be"),
        ({"seed": [1, 2, 3]}, "seed must be"),
        ({"seed": "nan,2,3"}, "seed must be"),
        ({"invert": 1}, "invert must be true or false"),
        ({"fill_holes": "no"}, "fill holes must be true or false"),
        ({"resolution": "-3A"}, "resolution must be > 0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(values, text):
    with pytest.raises(UsageError, match=text) as caught:
        MaskRecipe.from_dict({"threshold": 1} | values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "parsed"), [
    (0.05, ("value", 0.05)), ("-1e-3", ("value", -0.001)), (0, ("value", 0)), ("0.2max", ("max", 0.2)),
    ("3sigma", ("sigma", 3)), ("-2 sigma", ("sigma", -2)), ("sigma:3", ("sigma", 3)), ("max:0.2", ("max", 0.2)),
    ("otsu", ("otsu", None)), (" auto ", ("auto", None)), ("percentile:99.5", ("percentile", 99.5)),
    ("volume:1e5", ("volume", 1e5)), ("mass: 64", ("mass", 64)), ("fdr:0.01", ("fdr", 0.01)),
])  # fmt: skip
def test_thresholds(text, parsed):
    assert recipe.parse_threshold(text) == parsed


@pytest.mark.parametrize(("text", "parsed"), [
    ("1,2,3", ((3, 2, 1), "px")), ("-1.5, 2e1, .5A", ((0.5, 20, -1.5), "A")), ("1,2,3Å", ((3, 2, 1), "A")),
    ("4,-3,2centre", ((2, -3, 4), "centre")),
])  # fmt: skip
def test_positions(text, parsed):
    assert recipe.parse_position(text) == parsed


def test_auto_is_of_one_component_unless_told_otherwise():
    assert MaskRecipe(threshold="auto").largest == 1
    assert MaskRecipe(threshold="auto", largest=3).largest == 3
    for other in ({"dust": 0}, {"seed": "1,2,3"}):
        assert MaskRecipe(threshold="auto", **other).largest is None
    assert MaskRecipe(threshold="otsu").largest is None


def test_levels_of_thresholds(xp):
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 5
    array = xp.asarray(values)
    assert thresholds.level(array, "0.5max").value == 9
    expected = values.mean(dtype=np.float64) + 2 * values.std(dtype=np.float64)
    assert thresholds.level(array, "2sigma").value == pytest.approx(expected, rel=2**-24)  # stored as float32
    assert thresholds.level(array, 0.05).value == float(np.float32(0.05))


# presets

PRESETS = {
    "cryosparc-v4": {"threshold": "0.2max", "near": "6A", "far": "14A"},
    "cryosparc-v5:3.5A": {"threshold": "0.2max", "near": "7A", "far": "17.5A"},
    "subtraction": {"dilation": "0px"},
    "glycoprotein": {"dilation": "6px", "soft_edge": "25px"},
}


def test_every_preset_is_described_and_tested():
    assert {name.partition(":")[0] for name in recipe.PRESETS} == {name.partition(":")[0] for name in PRESETS}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_their_values_and_are_recorded_in_full(name, tmp_path, capsys):
    values = {"threshold": "0.5"} | PRESETS[name]
    assert recipe.preset(name) == PRESETS[name]
    made = pipeline.build_recipe(None, name, threshold=None if "threshold" in PRESETS[name] else 0.5)
    assert made == MaskRecipe(**values)

    path = tmp_path / "map.mrc"
    gm.write(path, gm.Volume(blob(), 1.4))
    words = ["create", str(path), "-o", str(tmp_path / "mask.mrc"), "--preset", name, "--device", "cpu"]
    words += [] if "threshold" in PRESETS[name] else ["--threshold", "0.5"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    radius, width = recipe.lengths(made, (1.4,) * 3)
    for line in (made.threshold, units.both(radius, (1.4,) * 3), units.both(width, (1.4,) * 3)):
        assert line in printed
    assert json.loads((tmp_path / "mask.json").read_text())["recipe"] == made.to_dict()


@pytest.mark.parametrize("name", ["", "cryosparc", "cryosparc-v5", "cryosparc-v5:", "cryosparc-v4:3A", "subtraction:1"])
def test_unknown_presets_list_the_known(name):
    with pytest.raises(UsageError, match="preset must be one of cryosparc-v4, cryosparc-v5:RES"):
        recipe.preset(name)
    with pytest.raises(UsageError, match="preset resolution"):
        recipe.preset("cryosparc-v5:0A")


def test_flags_override_presets_and_presets_recipes():
    base = MaskRecipe(threshold=0.3, dilation="2px", soft_edge="5px", lowpass="20A", edge="linear")
    assert pipeline.build_recipe(base) == base
    over = pipeline.build_recipe(base, "cryosparc-v4")
    assert (over.threshold, over.near, over.far, over.dilation, over.soft_edge) == ("0.2max", "6A", "14A", "0px", None)
    assert (over.lowpass, over.edge) == ("20A", "linear")
    over = pipeline.build_recipe(base, "cryosparc-v4", threshold=0.7, dilation="3px", gaussian=2)
    assert (over.threshold, over.near, over.far, over.dilation, over.soft_edge) == ("0.7", None, None, "3px", None)
    assert (over.lowpass, over.gaussian) == (None, "2A")
    over = pipeline.build_recipe(None, "cryosparc-v4", far="20A")
    assert (over.near, over.far) == ("6A", "20A")
    assert pipeline.build_recipe({"threshold": 1, "invert": True}, invert=False).invert is False


# reproduction


def blob():
    grid = np.indices((20, 24, 28)) - np.array([9, 11, 13])[:, None, None, None]
    return np.exp(-(grid**2).sum(axis=0) / 12).astype(np.float32)


RUNS = {
    "plain": ["--threshold", "0.5", "--dilate", "2px", "--soft-edge", "4A"],
    "everything": ["--threshold", "0.3max", "--lowpass", "6A", "--largest", "1", "--dust", "20", "--fill-holes",
                   "--erode", "1.4A", "--soft-edge", "4px", "--edge", "slepian:2.5", "--resolution", "4A", "--invert"],
    "preset": ["--preset", "cryosparc-v4", "--butterworth", "8A:4"],
    "relion": ["--threshold", "2sigma", "--absolute-value", "--style", "relion", "--dilate", "2", "--soft-edge", "3"],
    "convolved": ["--threshold", "0.4", "--edge", "convolved", "--soft-edge", "5px"],
    "auto": ["--threshold", "auto", "--soft-edge", "4px"],
    "cleaned": ["--threshold", "mass:0.5", "--hysteresis", "0.7max", "--opening", "1.4A", "--closing", "1px", "--seed",
                "13,11,9", "--clip-radius", "9A", "--clip-centre=-1,-1,-1centre", "--soft-edge", "4px"],
}  # fmt: skip


@pytest.fixture
def map_path(tmp_path):
    gm.write(tmp_path / "map.mrc", gm.Volume(blob(), 1.4))
    return tmp_path / "map.mrc"


def create(map_path, name, *words):
    output = map_path.with_name(name)
    assert main(["create", str(map_path), "-o", str(output), "--device", "cpu", *words]) == 0
    return output.read_bytes(), json.loads(output.with_suffix(".json").read_text())


@pytest.mark.parametrize("words", RUNS.values(), ids=RUNS)
def test_the_json_of_a_mask_makes_the_mask_again(map_path, words):
    first, made = create(map_path, "first.mrc", *words)
    again, remade = create(map_path, "again.mrc", "--recipe", str(map_path.with_name("first.json")))
    assert again == first
    assert remade["recipe_hash"] == made["recipe_hash"] == MaskRecipe(**made["recipe"]).hash
    assert remade["recipe"] == made["recipe"]
    assert remade["input"]["sha256"] == made["input"]["sha256"]


@pytest.mark.parametrize(
    ("text", "method"),
    [("0.5", "value"), ("0.3max", "max"), ("2sigma", "sigma"), ("otsu", "otsu"), ("percentile:98", "percentile"),
     ("volume:600", "volume"), ("mass:0.5", "mass"), ("auto", "auto")],
)  # fmt: skip
def test_the_json_explains_the_threshold(map_path, capsys, text, method):
    _, made = create(map_path, "first.mrc", "--threshold", text, "--soft-edge", "4px")
    volume = gm.read(map_path)
    wanted = gm.thresholds.level(volume.data, text, volume.voxel_size)
    assert made["threshold"] == {"method": method, "value": wanted.value, "why": wanted.why}
    assert set(wanted.warnings) <= set(made["warnings"])
    printed = capsys.readouterr().out
    assert f"{wanted.value:.6g}" in printed
    assert (f" = {text}" in printed) == (wanted.why in printed) == (method != "value")


def test_a_file_from_before_the_clean_up_grew_makes_its_mask_again(map_path):
    first, made = create(map_path, "first.mrc", *RUNS["plain"])
    path = map_path.with_name("first.json")
    made["recipe"] = {name: value for name, value in made["recipe"].items() if name not in recipe.LATER}
    made["threshold"] = made["threshold"]["value"]
    path.write_text(json.dumps(made))
    again, remade = create(map_path, "again.mrc", "--recipe", str(path))
    assert again == first
    assert remade["recipe_hash"] == made["recipe_hash"]


def test_a_toml_recipe_makes_the_mask_too(map_path):
    pytest.importorskip("tomllib", reason="TOML needs Python 3.11")
    first, made = create(map_path, "first.mrc", *RUNS["plain"])
    path = map_path.with_name("recipe.toml")
    path.write_text(MaskRecipe(**made["recipe"]).to_toml())
    assert create(map_path, "again.mrc", "--recipe", str(path))[0] == first
    path.write_text("threshold = nan")
    assert main(["create", str(map_path), "-o", str(Path(map_path.with_name("n.mrc"))), "--recipe", str(path)]) == 2


def test_the_library_makes_the_bytes_of_the_command_line(map_path):
    _, made = create(map_path, "first.mrc", *RUNS["everything"])
    with pytest.warns(gm.errors.GpumaskWarning, match="is under 5 x resolution"):
        mask = gm.create_mask(gm.read(map_path), MaskRecipe(**made["recipe"]))
    assert mask.recipe.hash == made["recipe_hash"]
    assert np.array_equal(mask.data, gm.read(map_path.with_name("first.mrc")).data)


def test_flags_override_the_recipe_of_a_mask(map_path):
    _, made = create(map_path, "first.mrc", *RUNS["plain"])
    recipe_words = ["--recipe", str(map_path.with_name("first.json"))]
    _, wider = create(map_path, "wider.mrc", *recipe_words, "--soft-edge", "6px")
    assert wider["recipe"] == made["recipe"] | {"soft_edge": "6px"}
    assert wider["recipe_hash"] != made["recipe_hash"]
    assert wider["volume_angstrom3"] > made["volume_angstrom3"]
    _, near = create(map_path, "near.mrc", *recipe_words, "--near", "2px", "--far", "5px")
    assert (near["dilation_px"], near["soft_edge_px"]) == (2, 3)
    assert (near["recipe"]["dilation"], near["recipe"]["soft_edge"]) == ("0px", None)


def test_the_voxel_size_that_was_given_is_in_the_json_but_not_in_the_recipe(map_path):
    _, made = create(map_path, "first.mrc", *RUNS["plain"], "--voxel-size", "1.6")
    assert made["voxel_size_angstrom"] == pytest.approx([1.6] * 3, rel=2**-23)
    assert made["soft_edge_px"] == pytest.approx(2.5, rel=2**-23)
    assert "voxel_size" not in made["recipe"]
