"""Recipe to mask: order of the steps, defaults, presets, warnings, refusals, kinds of input."""

import math
import warnings

import numpy as np
import pytest

import gpumask as gm
from gpumask import filters, mask, morphology, pipeline, recipe, regions, thresholds
from gpumask.backend import to_numpy

VOXEL = 1.4
ROUNDING = 2.0**-24


def rod(shape=(40, 42, 44)):
    """A block of 10 x 10 x 10 voxels of 1, off the centre."""
    array = np.zeros(shape, np.float32)
    array[13:23, 15:25, 17:27] = 1
    return array


def point(xp=np, n=61):
    array = xp.zeros((n, n, n), np.float32)
    array[n // 2, n // 2, n // 2] = 1
    return array


def noisy():
    """The block in noise, with a speck of its own and a hole in it."""
    array = rod() + np.random.default_rng(0).normal(0, 0.2, (40, 42, 44)).astype(np.float32)
    array[5, 5, 5:8] = 6
    array[17:19, 19:21, 21:23] = -4
    return array


def along_x(made):
    n = made.shape[0] // 2
    return to_numpy(made[n, n, n:]).astype(np.float64)


def lengths(voxel_size=VOXEL, preset=None, **parameters):
    made = pipeline.build_recipe(None, preset, **{"threshold": 1, **parameters})
    return recipe.lengths(made, tuple(np.broadcast_to(voxel_size, 3).tolist()))


# lengths and defaults


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ({}, (0, 12)),
        ({"dilation": 5}, (5, 12)),
        ({"dilation": "7A", "soft_edge": "23.8Å"}, (5, 17)),
        ({"soft_edge": 0}, (0, 0)),
        ({"resolution": "3.5A"}, (0, 13)),
        ({"resolution": 2.8}, (0, 10)),
        ({"resolution": "2.81A"}, (0, 11)),
        ({"resolution": "3.5A", "soft_edge": 4}, (0, 4)),
        ({"dilation": "-2px"}, (-2, 12)),
        ({"near": "7A", "far": "14A"}, (5, 5)),
        ({"near": 3, "far": "14A"}, (3, 7)),
        ({"near": 4, "far": 4}, (4, 0)),
        ({"near": 4, "far": 9, "resolution": "3.5A"}, (4, 5)),
        ({"preset": "subtraction"}, (0, 12)),
        ({"preset": "subtraction", "resolution": "3.5A"}, (0, 13)),
        ({"preset": "glycoprotein"}, (6, 25)),
        ({"preset": "glycoprotein", "soft_edge": "14A"}, (6, 10)),
        ({"preset": "cryosparc-v5:7A"}, (10, 15)),
        ({"preset": "cryosparc-v5:7A", "far": 30}, (10, 20)),
        ({"preset": "cryosparc-v4", "dilation": 3}, (3, 12)),
    ],
)
def test_lengths(parameters, wanted):
    assert lengths(**parameters) == wanted


@pytest.mark.parametrize("voxel_size", [1.4, float(np.float32(1.4)), float(np.float32(1.4 * 380) / np.float32(380))])
def test_resolution_times_five_is_not_rounded_up_by_a_float32_header(voxel_size):
    assert lengths(voxel_size, resolution="2.8A") == (0, 10)
    assert lengths(voxel_size, resolution="4.2A") == (0, 15)


def test_lengths_on_anisotropic_voxels_are_in_the_smallest_edge():
    size = (2.0, 1.4, 1.0)
    assert lengths(size, dilation="7A", soft_edge="10A") == (7, 10)
    assert lengths(size, resolution="3A") == (0, 15)
    for parameters in ({"dilation": 5, "soft_edge": "5A"}, {"soft_edge": "5px"}, {}):
        with pytest.raises(ValueError, match=r"in pixels, but the voxels are 1 x 1.4 x 2 Å \(x, y, z\): give it in Å"):
            lengths(size, **parameters)
    assert lengths((1.4, 1.4, 1.4 * 1.0009), dilation=5) == (5, 12)


@pytest.mark.parametrize(
    ("dilation", "voxel_size", "steps"),
    [("11A", 1.1, 9), ("3A", 5, 0), ("7A", 1.4, 5), ("6.9A", 1.4, 4), (5, 1.1, 5), ("5.9px", 1.1, 5.9)],
)
def test_style_cryodrgn_divides_as_cryodrgn_does(dilation, voxel_size, steps):
    assert lengths(voxel_size, dilation=dilation, style="cryodrgn")[0] == steps


def test_style_cryodrgn_end_to_end(xp):
    made = gm.create_mask(point(xp), voxel_size=1.1, threshold=1, dilation="11A", soft_edge=8, style="cryodrgn")
    assert int((made == 1).sum()) == sum(
        max(2 * (9 - abs(z) - abs(y)) + 1, 0) for z in range(-9, 10) for y in range(-9, 10)
    )
    assert along_x(made)[9:18] == pytest.approx(np.cos(np.pi / 2 * np.arange(9) / 8), abs=ROUNDING + 1e-15)


def test_near_and_far_are_measured_from_the_thresholded_map(xp):
    """CryoSPARC's 6 and 14 Å: 1 up to 6 Å, 0 from 14 Å."""
    by_preset = gm.create_mask(point(xp), voxel_size=VOXEL, preset="cryosparc-v4")
    by_hand = gm.create_mask(point(xp), voxel_size=VOXEL, threshold="0.2max", near="6A", far="14A")
    assert bool((by_preset == by_hand).all())
    distance = np.arange(31) * VOXEL
    wanted = 0.5 + 0.5 * np.cos(np.pi * np.clip((distance - 6) / 8, 0, 1))
    assert along_x(by_preset) == pytest.approx(wanted, abs=ROUNDING + 1e-12)
    assert along_x(by_preset)[[4, 10]].tolist() == [1, 0]


def test_preset_v5_scales_with_resolution(xp):
    made = along_x(gm.create_mask(point(xp), voxel_size=VOXEL, preset="cryosparc-v5:3.5A"))
    assert made[[5, 13]].tolist() == [1, 0]
    assert 0 < made[12] < made[6] < 1


@pytest.mark.parametrize(
    "name", ["cryosparc", "cryosparc-v5", "cryosparc-v5:3px", "cryosparc-v4:3A", "cryosparc-v5:0A"]
)
def test_presets_that_are_none_are_refused(name):
    with pytest.raises(ValueError, match="preset"):
        gm.create_mask(rod(), voxel_size=VOXEL, preset=name)


# order of the steps


@pytest.mark.parametrize(
    ("parameters", "function"),
    [
        ({"lowpass": "10A"}, lambda data: filters.lowpass(data, 10.0, VOXEL)),
        ({"rect": "10A"}, lambda data: filters.rect(data, 10.0, VOXEL)),
        ({"butterworth": "10A:4"}, lambda data: filters.butterworth(data, 10.0, VOXEL, 4)),
        ({"butterworth": "10A"}, lambda data: filters.butterworth(data, 10.0, VOXEL, 8)),
        ({"gaussian": "2A"}, lambda data: filters.gaussian(data, 2.0, VOXEL)),
    ],
)
@pytest.mark.parametrize("threshold", ["3sigma", "0.4max", 0.3])
def test_steps_in_order(xp, parameters, function, threshold):
    """Filter, threshold of the filtered map, dust, largest, holes, dilation and edge, inversion."""
    data = xp.asarray(noisy())
    filtered = function(data)
    base = mask.threshold(filtered, thresholds.level(filtered, threshold).value)
    base = regions.fill_holes(regions.largest(regions.drop_dust(base, 100 / VOXEL**3), 1))
    wanted = mask.invert(mask.soft_mask(base, 2, 6))
    made = gm.create_mask(
        data, voxel_size=VOXEL, threshold=threshold, dust=100, largest=1, fill_holes=True, dilation=2, soft_edge=6,
        invert=True, **parameters,
    )  # fmt: skip
    assert bool((made == wanted).all())


def test_sigma_is_taken_on_the_filtered_map():
    volume = gm.Volume(noisy(), VOXEL)
    made = pipeline.make(volume, pipeline.build_recipe(threshold="3sigma", lowpass="10A", largest=1))
    filtered = filters.lowpass(volume.data, 10.0, VOXEL).astype(np.float64)
    assert made.threshold == pytest.approx(filtered.mean() + 3 * filtered.std(), rel=1e-6)
    raw = volume.data.astype(np.float64)
    assert abs(made.threshold - (raw.mean() + 3 * raw.std())) > 0.05


def test_each_clean_up(xp):
    options = {"voxel_size": VOXEL, "threshold": 0.1, "soft_edge": 4}
    array = rod()
    array[5, 5, 5:8] = 1
    array[18, 20, 22] = 0
    array = xp.asarray(array)
    with pytest.warns(gm.GpumaskWarning, match="2 islands"):
        both = gm.create_mask(array, **options)
    assert float(both[5, 5, 6]) == 1
    assert float(both[18, 20, 22]) < 1
    for clean in ({"largest": 1}, {"dust": 3.5 * VOXEL**3}):
        assert float(gm.create_mask(array, **clean, **options)[5, 5, 6]) == 0
    assert float(gm.create_mask(array, largest=1, fill_holes=True, **options)[18, 20, 22]) == 1


def test_absolute_value(xp):
    array = xp.asarray(rod())
    array[30:33, 30:33, 30:33] = -1
    options = {"voxel_size": VOXEL, "threshold": 0.5, "soft_edge": 4}
    assert float(gm.create_mask(array, **options)[31, 31, 31]) == 0
    with pytest.warns(gm.GpumaskWarning, match="2 islands"):
        assert float(gm.create_mask(array, absolute_value=True, **options)[31, 31, 31]) == 1


def test_erosion(xp):
    made = gm.create_mask(xp.asarray(rod()), voxel_size=VOXEL, threshold=0.5, dilation="-2px", soft_edge=5)
    core = to_numpy(made) == 1
    assert core.sum() == 6**3
    assert core[15:21, 17:23, 19:25].all()
    assert float(made[14, 20, 22]) == np.float32(0.5 + 0.5 * math.cos(math.pi / 5))


def test_inversion_is_last_and_facts_are_of_the_keep_mask():
    volume = gm.Volume(rod(), VOXEL)
    recipe = {"threshold": 0.5, "dilation": 2, "soft_edge": 6}
    made = pipeline.make(volume, pipeline.build_recipe(recipe))
    inverted = pipeline.make(volume, pipeline.build_recipe(recipe, invert=True))
    assert np.array_equal(inverted.volume.data, 1 - made.volume.data)
    assert inverted.volume_angstrom3 + made.volume_angstrom3 == pytest.approx(volume.data.size * VOXEL**3, rel=1e-9)
    assert made.volume_angstrom3 == pytest.approx(made.volume.data.sum(dtype=np.float64) * VOXEL**3, rel=1e-12)
    for fact in ("components", "faces_touched", "equivalent_edge_px", "base_voxels", "threshold", "verdict"):
        assert getattr(made, fact) == getattr(inverted, fact)
    assert made.base_voxels == 1000


def clean_up_map():
    """Two blocks joined by a bridge, a third apart, a hole, specks; the third is dim."""
    array = np.zeros((40, 42, 44), np.float32)
    array[13:23, 15:25, 6:16] = array[13:23, 15:25, 22:32] = 1
    array[17:19, 19:21, 16:22] = 0.8
    array[28:36, 28:36, 34:42] = 0.5
    array[17, 19, 10] = -1
    array[5, 5, 5:8] = 6
    return array + np.random.default_rng(0).normal(0, 0.01, array.shape).astype(np.float32)


def test_clean_up_in_order(xp):
    """Clip, hysteresis, opening, dust, seed, largest, closing, holes."""
    data = xp.asarray(clean_up_map())
    base = data >= np.float32(0.3)
    centre = (17, 19, 19)
    base = regions.clip(base, centre, 24.0)
    base = regions.holding(base, data >= np.float32(0.7))
    base = morphology.opening(base, 2.0)
    base = regions.drop_dust(base, 50)
    base = regions.flood(base, (18, 20, 27))
    base = regions.largest(base, 1)
    base = morphology.closing(base, 1.5)
    base = regions.fill_holes(base)
    made = gm.create_mask(
        data, voxel_size=VOXEL, threshold=0.3, clip_radius="33.6A", clip_centre="19,19,17", hysteresis=0.7,
        opening="2px", dust=50 * VOXEL**3, seed="27.2,19.8,18", largest=1, closing="2.1A", fill_holes=True,
        dilation=1, soft_edge=4,
    )  # fmt: skip
    assert bool((made == mask.soft_mask(base, 1, 4)).all())
    assert 0 < int(base.sum()) < 1000


@pytest.mark.filterwarnings("ignore::gpumask.GpumaskWarning")
@pytest.mark.parametrize(
    ("parameters", "kept"),
    [
        ({}, "left right bridge dim speck"),
        ({"hysteresis": 0.7}, "left right bridge speck"),
        ({"hysteresis": "0.9max"}, "speck"),
        ({"opening": "2px"}, "left right dim"),
        ({"opening": "2px", "seed": "8,20,15px"}, "left"),
        ({"seed": "8,20,15px"}, "left right bridge"),
        ({"seed": "38,32,32"}, "dim"),
        ({"seed": "16,11,12centre"}, "dim"),
        ({"seed": "43.2,34.8,44.8A"}, "dim"),
        ({"clip_radius": 8, "clip_centre": "38,32,32"}, "dim"),
        ({"clip_radius": "21A", "clip_centre": "29,20,18"}, "right bridge"),
        ({"clip_radius": "99A"}, "left right bridge dim speck"),
        ({"clip_radius": "10px"}, "right bridge"),
        ({"dust": 8}, "left right bridge dim speck"),
        ({"dust": 10}, "left right bridge dim"),
    ],
    ids=str,
)
def test_each_clean_up_keeps_what_it_should(xp, parameters, kept):
    points = {
        "left": (15, 20, 8), "right": (18, 20, 27), "bridge": (18, 20, 19), "dim": (32, 32, 38), "speck": (5, 5, 6),
    }  # fmt: skip
    header = gm.Header(origin=(0.0, -10.0, -10.0))
    volume = gm.Volume(xp.asarray(clean_up_map()), VOXEL, header)
    made = to_numpy(gm.create_mask(volume, threshold=0.3, soft_edge=0, **parameters).data)
    assert {name for name, point in points.items() if made[point] == 1} == set(kept.split())


@pytest.mark.parametrize(
    ("parameters", "error", "text"),
    [
        ({"hysteresis": 0.2}, gm.errors.InputRefused, "hysteresis must be at or above the threshold, got 0.2 and 0.3"),
        ({"hysteresis": 99}, gm.errors.InputRefused, "no component reaches the hysteresis level 99; lower it"),
        ({"opening": "9A"}, gm.errors.InputRefused, "the opening by 9A leaves nothing; open less"),
        (
            {"clip_radius": 1, "clip_centre": "0,0,0"},
            gm.errors.InputRefused,
            "nothing above the threshold lies within 1px of the clip centre",
        ),
        ({"seed": "0,0,0"}, gm.errors.InputRefused, r"the seed, voxel \[0, 0, 0\] \(x, y, z\), is background"),
        ({"seed": "44,0,0"}, gm.errors.UsageError, "the seed must lie in the box of 44 x 42 x 40 voxels"),
    ],
    ids=str,
)
def test_clean_up_that_leaves_nothing_is_refused(parameters, error, text):
    with pytest.raises(error, match=text) as refused:
        gm.create_mask(clean_up_map(), voxel_size=VOXEL, threshold=0.3, soft_edge=4, **parameters)
    assert "\n" not in str(refused.value)


def test_lengths_of_clean_up_in_px_need_cubes():
    for parameters in ({"opening": 2}, {"closing": 2}, {"clip_radius": 2}):
        with pytest.raises(gm.errors.UsageError, match="in pixels, but the voxels are 1 x 1.4 x 2 Å"):
            gm.create_mask(clean_up_map(), voxel_size=(2, 1.4, 1), threshold=0.3, soft_edge="4A", **parameters)


# thresholds


@pytest.mark.parametrize("threshold", ["otsu", "percentile:98", "volume:5000", "mass:4", "fdr:0.01", "auto"])
def test_levels_are_of_the_filtered_map(xp, threshold):
    volume = gm.Volume(xp.asarray(noisy()), VOXEL)
    made = pipeline.make(volume, pipeline.build_recipe(threshold=threshold, lowpass="8A", largest=1, soft_edge=3))
    wanted = thresholds.level(filters.lowpass(volume.data, 8.0, VOXEL), threshold, VOXEL)
    assert (made.threshold, made.threshold_why) == (wanted.value, wanted.why)
    assert made.threshold != thresholds.level(volume.data, threshold, VOXEL).value
    assert set(wanted.warnings) <= set(made.warnings)


def test_a_mass_is_the_mass_of_the_base():
    made = pipeline.make(gm.Volume(noisy(), VOXEL), pipeline.build_recipe(threshold="mass:2", soft_edge=3))
    assert made.base_voxels == round(2000 / 0.81 / VOXEL**3)
    assert any("sugars" in text for text in made.warnings)


def test_auto_is_of_one_piece_and_says_what_it_dropped():
    array = np.zeros((60, 60, 60), np.float32)
    array[20:32, 20:40, 20:40] = array[36:44, 22:38, 22:38] = 1
    made = pipeline.make(gm.Volume(array, VOXEL), pipeline.build_recipe(threshold="auto", soft_edge=3))
    assert made.base_voxels == 12 * 20 * 20
    assert any("the largest component holds 70 % of what threshold auto found" in text for text in made.warnings)
    made = pipeline.make(gm.Volume(array, VOXEL), pipeline.build_recipe(threshold="auto", largest=2, soft_edge=3))
    assert made.base_voxels == 12 * 20 * 20 + 8 * 16 * 16
    assert not any("largest component" in text for text in made.warnings)


def test_hysteresis_knows_every_threshold():
    volume = gm.Volume(clean_up_map(), VOXEL)
    made = pipeline.make(volume, pipeline.build_recipe(threshold="volume:9000", hysteresis="volume:2000", soft_edge=3))
    base = volume.data >= np.float32(made.threshold)
    cores = volume.data >= np.float32(thresholds.level(volume.data, "volume:2000", VOXEL).value)
    assert made.base_voxels == regions.holding(base, cores).sum()


# recipes and parameters


def test_parameters_win_over_preset_over_recipe():
    recipe = gm.MaskRecipe(threshold=0.5, dilation="3px", soft_edge="8px", lowpass="10A")
    built = pipeline.build_recipe(recipe, "glycoprotein", soft_edge="9px", rect="12A")
    assert (built.threshold, built.dilation, built.soft_edge) == ("0.5", "6px", "9px")
    assert (built.lowpass, built.rect) == (None, "12A")
    assert pipeline.build_recipe(recipe, near=2, far=8).dilation == "0px"
    assert pipeline.build_recipe(recipe, "cryosparc-v4", threshold=0.3).threshold == "0.3"
    assert pipeline.build_recipe(recipe) == recipe
    assert pipeline.build_recipe(recipe.to_dict()) == recipe
    assert pipeline.build_recipe(recipe, soft_edge=0).soft_edge == "0px"
    assert pipeline.build_recipe(gm.MaskRecipe(threshold=1, invert=True), invert=False).invert is False


def test_a_mask_can_be_made_again_from_its_recipe(xp):
    volume = gm.Volume(xp.asarray(noisy()), VOXEL)
    made = gm.create_mask(volume, lowpass="10A", threshold="3sigma", largest=1, dilation="3A", resolution="2A")
    again = gm.create_mask(volume, made.recipe)
    assert bool((made.data == again.data).all())
    assert made.recipe == again.recipe
    assert made.recipe.hash == again.recipe.hash


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"threshold": "3 Sigma"},
        {"threshold": 1, "soft_edge": -1},
        {"threshold": 1, "near": 3},
        {"threshold": 1, "near": 8, "far": 3},
        {"threshold": 1, "near": 3, "far": 8, "dilation": 2},
        {"threshold": 1, "near": 3, "far": 8, "style": "relion"},
        {"threshold": 1, "lowpass": "10A", "gaussian": "2A"},
        {"threshold": 1, "lowpass": "10px"},
        {"threshold": 1, "dilate": 3},
        {"threshold": 1, "dilation": "3nm"},
        {"threshold": 1, "dilation": True},
        {"threshold": 1, "largest": 0},
        {"threshold": 1, "dust": -1},
        {"threshold": 1, "edge": "hard"},
        {"threshold": 1, "style": "eman"},
        {"threshold": 1, "style": "cryodrgn", "dilation": -1},
        {"threshold": 1, "invert": "no"},
    ],
    ids=str,
)
def test_parameters_that_cannot_be_used(parameters):
    with pytest.raises(gm.errors.UsageError):
        gm.create_mask(rod(), voxel_size=VOXEL, **parameters)


# kinds of input


def test_like_kinds(xp):
    array = xp.asarray(rod())
    options = {"threshold": 0.5, "dilation": 2, "soft_edge": 5}
    header = gm.Header(origin=(1.0, 2.0, 3.0), nstart=(-4, 5, 6))
    made = gm.create_mask(gm.Volume(array, VOXEL, header), **options)
    assert isinstance(made, gm.Volume)
    assert (made.voxel_size, made.header, made.shape) == ((VOXEL,) * 3, header, array.shape)
    plain = gm.create_mask(array, voxel_size=VOXEL, **options)
    assert type(plain) is type(array)
    assert plain.dtype == made.data.dtype == np.float32
    assert bool((plain == made.data).all())
    assert bool((gm.create_mask(array, voxel_size=(VOXEL,) * 3, **options) == plain).all())


def test_where_the_voxel_size_belongs():
    with pytest.raises(TypeError, match="voxel_size"):
        gm.create_mask(rod(), threshold=0.5)
    with pytest.raises(ValueError, match="own voxel size"):
        gm.create_mask(gm.Volume(rod(), VOXEL), threshold=0.5, voxel_size=1.0)
    for size in (0, -1, math.nan, math.inf, (1, 2), (1, 1, 0)):
        with pytest.raises(ValueError, match="voxel size"):
            gm.create_mask(rod(), threshold=0.5, voxel_size=size)
    for data in (rod()[0], [[[1.0]]], 3):
        with pytest.raises(ValueError, match="three axes"):
            gm.create_mask(data, threshold=0.5, voxel_size=1.0)


@pytest.mark.parametrize("options", [{}, {"lowpass": "10A"}, {"gaussian": "2A"}], ids=str)
@pytest.mark.parametrize(
    "kind", ["float64", "int16", "bool", "float16", "fortran", "strided", "reversed", "big-endian"]
)
def test_kind_of_array_does_not_matter_and_it_is_left_alone(kind, options):
    array = rod()
    given = {
        "float64": lambda: array.astype(np.float64),
        "int16": lambda: array.astype(np.int16),
        "bool": lambda: array.astype(bool),
        "float16": lambda: array.astype(np.float16),
        "fortran": lambda: np.asfortranarray(array),
        "strided": lambda: np.repeat(array, 2, axis=2)[:, :, ::2],
        "reversed": lambda: array[:, ::-1].copy()[:, ::-1],
        "big-endian": lambda: array.astype(">f4"),
    }[kind]()
    given.flags.writeable = False
    options = {"voxel_size": VOXEL, "threshold": 0.3, "dilation": 2.5, "soft_edge": 5, **options}
    made = gm.create_mask(given, **options)
    assert made.dtype == np.float32
    assert made.flags.c_contiguous
    assert np.array_equal(made, gm.create_mask(array, **options))


def test_anisotropic_voxels_are_measured_in_angstrom(xp):
    """7 Å are 7, 5 and 3 voxels of 1, 1.4 and 2 Å; the edge ends at 14 Å."""
    made = to_numpy(gm.create_mask(point(xp), voxel_size=(2.0, 1.4, 1.0), threshold=1, dilation="7A", soft_edge="7A"))
    core = np.argwhere(made == 1) - 30
    assert core.max(0).tolist() == [3, 5, 7]
    assert core.min(0).tolist() == [-3, -5, -7]
    edge = np.argwhere(made > 0) - 30
    assert edge.max(0).tolist() == [6, 9, 13]
    assert made[30 + 5, 30, 30] == np.float32(0.5 + 0.5 * math.cos(math.pi * 3 / 7))
    assert made[30, 30 + 6, 30] == pytest.approx(0.5 + 0.5 * math.cos(math.pi * 1.4 / 7), abs=ROUNDING)


# warnings, verdict, refusals


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"dilation": 4, "soft_edge": 12}, "meets the box faces -y, -z, where"),
        ({"dilation": 14, "soft_edge": 3.5}, "meets the box face.*, -z, "),
        ({"soft_edge": 0}, "binary"),
        ({"dilation": 3, "soft_edge": 1}, "binary"),
        ({"soft_edge": 6, "resolution": "3A"}, "soft edge 6 px = 8.4 Å is under 5 x resolution = 10.71 px = 15.0 Å"),
    ],
)
def test_warnings(parameters, text):
    with pytest.warns(gm.GpumaskWarning, match=text) as caught:
        gm.create_mask(rod(), voxel_size=VOXEL, threshold=0.5, **parameters)
    assert all("\n" not in str(w.message) for w in caught)
    assert all(w.filename == __file__ for w in caught)


def test_no_warning_where_there_is_nothing_to_say():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for parameters in (
            {"soft_edge": 12},
            {"resolution": "3A", "soft_edge": 11},
            {"resolution": "3A"},
            {"dilation": -2},
        ):
            gm.create_mask(rod((48, 48, 48)), voxel_size=VOXEL, threshold=0.5, **parameters)


@pytest.mark.parametrize(
    ("edge", "minimum", "word"),
    [
        (0, None, "hard"),
        (0.99, 12.5, "hard"),
        (1, None, None),
        (17, None, None),
        (11.99, 12.5, "narrow"),
        (12, 12.5, "ok"),
        (1, 12.5, "narrow"),
        (40, 12.5, "ok"),
    ],
)
def test_verdict(edge, minimum, word):
    assert mask.verdict(edge, minimum) == word


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"soft_edge": 0}, "hard"),
        ({"soft_edge": 6}, None),
        ({"soft_edge": 6, "resolution": "3A"}, "narrow"),
        ({"resolution": "3A"}, "ok"),
        ({"resolution": "3A", "edge": "convolved"}, "ok"),
    ],
)
def test_verdict_of_a_mask(parameters, word):
    made = pipeline.make(gm.Volume(rod((48, 48, 48)), VOXEL), pipeline.build_recipe(threshold=0.5, **parameters))
    assert made.verdict == word
    if "resolution" in parameters:
        assert made.minimum_soft_edge_px == pytest.approx(15 / VOXEL)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"threshold": 1.001}, "threshold 1.001 gives an empty mask: the map's maximum is 1; lower it"),
        ({"threshold": 0.5, "dilation": "-5px"}, "empty.*erosion"),
        ({"threshold": 0.5, "dust": 1e6}, "dust"),
        ({"threshold": 0}, "everything"),
        ({"threshold": -math.pi}, "everything"),
        ({"threshold": 0.5, "dilation": 99}, "everything"),
        ({"threshold": 0, "invert": True}, "everything"),
        ({"threshold": 1.001, "invert": True}, "empty"),
    ],
)
def test_nothing_and_everything_are_refused(parameters, text):
    with pytest.raises(gm.errors.InputRefused, match=text) as refused:
        gm.create_mask(rod(), voxel_size=VOXEL, **parameters)
    assert refused.value.exit_code == 3


def test_erosion_to_the_last_voxels():
    made = gm.create_mask(rod(), voxel_size=VOXEL, threshold=0.5, dilation="-4px", soft_edge=3)
    assert (made == 1).sum() == 2**3


def test_one_voxel_box_faces():
    """A box one voxel thick is cut at both of its faces."""
    array = np.zeros((1, 40, 40), np.float32)
    array[0, 20, 20] = 1
    with pytest.warns(gm.GpumaskWarning, match="faces -z, \\+z"):
        made = gm.create_mask(array, voxel_size=VOXEL, threshold=0.5, dilation=2, soft_edge=5)
    assert made[0, 20, 20:28] == pytest.approx(
        0.5 + 0.5 * np.cos(np.pi * np.clip((np.arange(8) - 2) / 5, 0, 1)), abs=ROUNDING
    )


def test_steps_are_named_and_timed():
    seen = []
    recipe = pipeline.build_recipe(threshold=0.5, largest=1, lowpass="10A")
    made = pipeline.make(gm.Volume(rod(), VOXEL), recipe, progress=seen.append)
    assert seen == ["filter", "threshold", "clean-up", "soft edge", "checks"]
    assert list(made.seconds) == seen
    assert all(s >= 0 for s in made.seconds.values())


def test_what_clean_up_says_is_said_on_another_grid_too():
    """Two lumps of which `largest` drops one, on the map's own grid and on a larger one."""
    data = np.zeros((24, 24, 24), np.float32)
    data[4:10, 4:10, 4:10] = data[14:19, 14:19, 14:19] = 1
    volume = gm.Volume(data, 1.0)
    like = gm.Volume(np.zeros((40, 40, 40), np.float32), 1.0)
    recipe = pipeline.build_recipe(threshold="auto", soft_edge=2)
    alone, pasted = (pipeline.make(volume, recipe, like=grid).warnings for grid in (None, like))
    told = [text for text in alone if "largest component" in text]
    assert told
    assert set(told) <= set(pasted)


def test_the_level_of_hysteresis_is_explained():
    volume = gm.Volume(np.random.default_rng(0).random((16, 16, 16)).astype(np.float32), 1.0)
    made = pipeline.make(volume, pipeline.build_recipe(threshold=0.5, hysteresis="percentile:99.5", soft_edge=1))
    assert made.hysteresis.method == "percentile"
    assert "highest" in made.hysteresis.why
    tied = gm.Volume(np.round(volume.data * 4), 1.0)
    made = pipeline.make(tied, pipeline.build_recipe(threshold=1, hysteresis="volume:3", soft_edge=1))
    assert any("asked for" in text for text in made.warnings)
