"""The advisor: its criterion on tables made by hand, its word on a simulated particle."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import gpumask as gm
from gpumask import advisor, choices, correlation, mask, pipeline, spectrum, sweeps

BOX, SIZE, RESOLUTION, ONSET = 48, 2.0, 6.0, "16A"
ROW = dict.fromkeys(sweeps.COLUMNS) | {
    "threshold": 0.1,
    "edge": "cosine",
    "volume_angstrom3": 1e5,
    "mass_kda": 81.0,
    "cut": 0.0,
    "leak_mean": 0.01,
    "fsc_predicted_at_resolution": 0.0,
    "anisotropy_db": 1.0,
    "resolution_masked": 6.0,
}


def table(*rows):
    """A sweep of rows (dilation, width, d', Λ) or dicts that say more."""
    made, errors = [], []
    for values in rows:
        more = values[4] if len(values) > 4 else {}
        names = ("dilation_px", "soft_edge_px", "detectability", "leak_mean")
        errors.append(more.get("error", 0.5))
        flags = {"flags": more.get("flags", [])}
        made.append(
            {**ROW, **dict(zip(names, values, strict=False)), **{k: v for k, v in more.items() if k in ROW}} | flags
        )
    details = [{**dict.fromkeys(sweeps.CURVES), "subtraction_error": error} for error in errors]
    return sweeps.Sweep(
        rows=made,
        details=details,
        transforms={},
        transforms_once=0.0,
        box=[BOX] * 3,
        voxel_size_angstrom=[SIZE] * 3,
        resolution=RESOLUTION,
        onset={"shell": 6, "resolution": 16.0},
        frequency=[],
        unmasked=None,
        recipes={0.1: gm.MaskRecipe(threshold=0.1)},
        notes=[],
    )


LEAST = 1e-9  # of the power of a smooth profile, 1e-4 of a hat's, of which the form is good to 4e-15 a node

# The criterion


def test_highest_detectability_that_leaks_little():
    done = table((0, 4, 30, 0.09), (0, 8, 25, 0.04), (2, 8, 20, 0.02))
    chosen = choices.choose(done)
    assert (chosen.index, chosen.passes) == (1, True)
    assert chosen.reasons[1] is None
    assert chosen.reasons[0] == "Λ 0.090 is over 0.05"
    assert chosen.reasons[2] == "d' 20.00 against 25.00 (-20.0%)"


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"fsc_predicted_at_resolution": 0.06}, "its own FSC 0.060 is over 0.05 at 6 Å"),
        ({"anisotropy_db": 6.5}, "6.5 dB in one direction is over 6"),
        ({"flags": ["touches_border"]}, "it meets the faces of the box"),
        ({"flags": ["empty"]}, "nothing is left after erosion"),
        ({"detectability": -2.0}, "d' -2.00 is not above 0: it holds more of the rest than of the target"),
    ],
)
def test_what_a_pick_must_not_do(bad, says):
    chosen = choices.choose(table((0, 8, 30, 0.01, bad), (0, 4, 20, 0.01)))
    assert (chosen.index, chosen.passes) == (1, True)
    assert chosen.reasons[0] == says


def test_limits_are_let_pass():
    at = {"fsc_predicted_at_resolution": 0.05, "anisotropy_db": 6.0}
    assert choices.choose(table((0, 8, 30, 0.05, at), (0, 4, 20, 0.01))).index == 0


@pytest.mark.parametrize(
    ("undefined", "says"),
    [
        ("leak_mean", "Λ is not defined"),
        ("fsc_predicted_at_resolution", "its own FSC is not defined at 6 Å"),
        ("detectability", "its d' is not defined"),
    ],
)
def test_what_is_undefined_is_no_pass(undefined, says):
    chosen = choices.choose(table((0, 8, 30, 0.01, {undefined: None}), (0, 4, 20, 0.01)))
    assert (chosen.index, chosen.passes) == (1, True)
    assert chosen.reasons[0] == says


def test_a_mask_without_power_at_the_resolution_has_no_direction_to_fail():
    assert choices.choose(table((0, 8, 30, 0.01, {"anisotropy_db": None}), (0, 4, 20, 0.01))).index == 0


def test_where_nothing_passes_and_some_have_no_leak_the_least_defined_one_is_taken():
    own = [{"fsc_predicted_at_resolution": value} for value in (0.09, 0.08)]
    done = table((0, 2, 40, None), (0, 4, 30, 0.2, own[0]), (0, 8, 25, 0.2, own[1]), (2, 8, 9, 0.3))
    chosen = choices.choose(done)
    assert (chosen.index, chosen.passes) == (2, False)  # of two equal Λ that with the lower FSC at the resolution
    assert chosen.reasons[0] == "Λ is not defined"
    assert chosen.reasons[1].startswith("Λ 0.200 against 0.200, where no mask does all that is asked")


def test_no_leak_at_all_is_refused_with_the_onset_and_the_resolution():
    done = table((0, 8, 30, None), (0, 4, 20, None))
    with pytest.raises(gm.errors.InputRefused, match=r"the onset, 16 Å, to the resolution, 6 Å.*coarser onset"):
        choices.choose(done)
    assert choices.choose(done, "subtraction").passes  # whose criterion has no Λ
    assert choices.front(done) == []


@pytest.mark.parametrize(
    ("goal", "rows", "says"),
    [
        ("local", [(0, 8, -2.0, 0.01), (0, 4, 0.0, 0.01)], "no mask has a d' above 0, the best has 0:"),
        ("local", [(0, 8, None, 0.01)], "no mask has a d' above 0, it is not defined for any:"),
        ("subtraction", [(0, 8, 9, 0.01, {"error": 1.5})], "an error below 1, .*, the best has 1.5:"),
        ("subtraction", [(0, 8, 9, 0.01, {"error": None})], "an error below 1, .*, it is not defined for any:"),
    ],
)
def test_no_mask_that_is_better_than_none_is_refused(goal, rows, says):
    done = table(*rows)
    with pytest.raises(gm.errors.InputRefused, match=says):
        choices.choose(done, goal)


def test_a_mask_that_adds_more_error_than_it_takes_away_is_no_pick():
    rows = [(0, 4, 9, 0.2, {"error": 1.01}), (0, 8, 5, 0.3, {"error": 0.99})]
    chosen = choices.choose(table(*rows), "subtraction", replace(choices.POLICY, error_tie=0.05))
    assert (chosen.index, chosen.passes) == (1, True)
    assert chosen.reasons[0] == "error 1.010 is not below 1, that of subtracting nothing"


def test_a_sweep_that_judged_nothing_has_no_pick():
    for lost in ({"onset": None}, {"resolution": None}):
        with pytest.raises(gm.errors.InputRefused, match="sweep with unmasked half maps and a resolution"):
            choices.choose(replace(table((0, 8, 30, 0.01)), **lost))


def test_a_tie_goes_to_the_smaller_dilation_then_to_the_lower_leak():
    done = table((4, 4, 100, 0.01), (2, 8, 99.5, 0.03), (2, 9, 99.2, 0.02), (0, 4, 98, 0.01))
    chosen = choices.choose(done)
    assert chosen.index == 2
    assert "with a dilation of 4 px against 2 px" in chosen.reasons[0]
    assert "with Λ 0.030 against 0.020" in chosen.reasons[1]
    assert chosen.reasons[3].startswith("d' 98.00 against 99.20")
    assert choices.choose(done, policy=replace(choices.POLICY, tie=0.0)).index == 0
    assert choices.choose(done, policy=replace(choices.POLICY, tie=0.03)).index == 3


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(2, 20), min_size=4, max_size=4), st.integers(0, 2**32 - 1))
def test_the_resolution_that_is_reached_never_decides(reached, seed):
    rng = np.random.default_rng(seed)
    rows = [(i, 4, float(rng.uniform(1, 9)), float(rng.uniform(0, 0.1))) for i in range(4)]
    names = ("resolution_unmasked", "resolution_masked", "resolution_corrected")
    moved = [(*row, dict.fromkeys(names, value)) for row, value in zip(rows, reached, strict=True)]
    for goal in choices.GOALS:
        one, other = (choices.choose(table(*given), goal) for given in (rows, moved))
        assert (one.index, one.passes, one.front, one.reasons) == (
            other.index,
            other.passes,
            other.front,
            other.reasons,
        )


def test_where_nothing_passes_the_least_leak_is_told_as_such():
    chosen = choices.choose(table((0, 4, 30, 0.3), (0, 8, 25, 0.2), (0, 9, 5, 0.1, {"flags": ["touches_border"]})))
    assert (chosen.index, chosen.passes) == (1, False)
    assert "where no mask does all that is asked" in chosen.reasons[0]
    assert chosen.reasons[2] == "it meets the faces of the box; Λ 0.100 is over 0.05"


def test_a_subtraction_is_judged_by_its_error():
    rows = [(0, 4, 9, 0.2, {"error": 0.100}), (0, 8, 5, 0.1, {"error": 0.104}), (0, 12, 30, 0.01, {"error": 0.2})]
    chosen = choices.choose(table(*rows), "subtraction")
    assert (chosen.index, chosen.passes) == (1, True)  # within 5 % of the least error, and it leaks less
    assert chosen.reasons[0] == "error 0.100 against 0.104, and Λ 0.200 against 0.100"
    assert chosen.reasons[2] == "error 0.200 against 0.104"
    assert choices.choose(table(*rows)).index == 2
    exact = replace(choices.POLICY, error_tie=0.0)
    assert choices.choose(table(*rows), "subtraction", exact).index == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 9), st.floats(0, 0.2)), min_size=1, max_size=12))
def test_the_front_is_what_no_other_beats(points):
    done = table(*((i, 4, merit, leak) for i, (merit, leak) in enumerate(points)))
    front = choices.choose(done).front

    def beats(one, other):
        better = points[one][0] >= points[other][0] and points[one][1] <= points[other][1]
        return better and points[one] != points[other]

    for i in range(len(points)):
        beaten = any(beats(j, i) for j in range(len(points)))
        assert (i in front) == (not beaten and points.index(points[i]) == i)
    assert [points[i][1] for i in front] == sorted(points[i][1] for i in front)


# What is too small


def test_fewest_coefficients_are_where_the_band_leaves_out_0():
    fewest = advisor.fewest_coefficients()
    assert correlation.band(0.143, fewest)[0] > 0
    assert correlation.band(0.143, fewest - 1)[0] <= 0


@pytest.mark.parametrize("resolution", [10.0, 16.0])
def test_a_ball_of_the_smallest_diameter_has_as_many(resolution):
    """The closed form is that of thin shells, 4 to 6 % below a grid's (science page); the ball is of whole voxels."""
    box, diameter = 96, advisor.smallest_diameter(resolution)
    grid = np.ogrid[[slice(-box // 2, box // 2)] * 3]
    ball = (sum(g * g for g in grid) <= (diameter / 2) ** 2).astype(np.float32)
    effective = spectrum.effective_coefficients(ball, 1.0)[round(box / resolution)]
    assert effective == pytest.approx(advisor.fewest_coefficients(), rel=0.15)
    assert advisor.smallest_diameter(2 * resolution, 4) == pytest.approx(4 * diameter)


# On a particle


def blob(centre, radius):
    grid = np.ogrid[[slice(BOX)] * 3]
    return np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))) <= radius


@pytest.fixture(scope="module")
def made():
    """Density, half maps, and the mask base of one of two touching lumps."""
    rng = np.random.default_rng(0)
    target = blob((24, 20, 24), 8)
    particle = target | blob((24, 33, 24), 6)
    texture = ndimage.gaussian_filter(rng.standard_normal((BOX,) * 3), 1)
    density = ndimage.gaussian_filter(particle * (1 + texture / texture.std()), 1.2).astype(np.float32)
    halves = [(density + rng.normal(0, 0.6, density.shape)).astype(np.float32) for _ in range(2)]
    return density, halves, target.astype(np.float32)


def advised(made, **changes):
    density, halves, _ = made
    given = {"threshold": 0.3, "resolution": RESOLUTION, "onset": ONSET, "voxel_size": SIZE} | changes
    return gm.advise(density, *halves, **{name: value for name, value in given.items() if value is not None})


@pytest.fixture(scope="module")
def local(made):
    return advised(made, goal="local", threshold=None, base=made[2])


def test_the_pick_is_that_of_the_criterion_and_is_made(made, local):
    chosen = choices.choose(local.sweep, "local")
    assert local.row is local.sweep.rows[chosen.index]
    assert local.front == chosen.front
    passing = [
        row["detectability"]
        for row in local.sweep.rows
        if row["leak_mean"] <= 0.05
        and row["fsc_predicted_at_resolution"] <= 0.05
        and row["anisotropy_db"] <= 6
        and "touches_border" not in row["flags"]
    ]
    assert local.passes
    assert local.row["detectability"] >= 0.99 * max(passing)
    soft = mask.soft_mask(made[2], local.row["dilation_px"], local.row["soft_edge_px"])
    assert np.array_equal(local.mask, soft)
    assert "≥" not in local.criterion
    assert "Λ <= 0.05" in local.criterion


def test_the_target_of_a_local_mask_is_its_base(made, local):
    explicit = advised(made, goal="local", threshold=None, base=made[2], region=made[2])
    assert explicit.sweep.rows == local.sweep.rows
    whole = advised(made, goal="global", threshold=None, base=made[2], dilations=[0], soft_edges=[6])
    same = next(row for row in local.sweep.rows if (row["dilation_px"], row["soft_edge_px"]) == (0, 6))
    assert whole.row["leak_mean"] == same["leak_mean"]
    assert whole.row["detectability"] > same["detectability"]  # there the other lump belongs to the target


def test_neighbours_are_one_step_away_and_each_has_a_reason(local):
    pick, rows = local.row, local.sweep.rows
    assert len(local.neighbours) >= 2
    for one in local.neighbours:
        assert one["reason"]
        assert rows[one["row"]] is not pick
    beside = {(rows[one["row"]]["dilation_px"], rows[one["row"]]["soft_edge_px"]) for one in local.neighbours}
    widths = sorted({row["soft_edge_px"] for row in rows})
    at = widths.index(pick["soft_edge_px"])
    assert {(pick["dilation_px"], w) for w in widths[max(at - 1, 0) : at + 2]} - {
        (pick["dilation_px"], pick["soft_edge_px"])
    } <= beside


def test_sensitivity_is_told_at_20_percent(made):
    found = advised(made, goal="global", dilations=[0, 2], soft_edges=[6, 10])
    assert [one["threshold"] for one in found.sensitivity] == pytest.approx([0.24, 0.36], rel=1e-6)
    for one in found.sensitivity:
        row = one["row"]
        assert (row["dilation_px"], row["soft_edge_px"]) == (found.row["dilation_px"], found.row["soft_edge_px"])
        assert one["fails"] == (["Λ {:.3f} is over 0.05".format(row["leak_mean"])] if row["leak_mean"] > 0.05 else [])
    low, high = (one["row"]["volume_angstrom3"] for one in found.sensitivity)
    assert low > found.row["volume_angstrom3"] > high


def test_sensitivity_keeps_what_auto_keeps(made):
    """Threshold auto keeps one component; at another level a number stands for it, and a speck stays out."""
    density, halves, _ = made
    speckled = density.copy()
    speckled[6:9, 6:9, 6:9] = density.max()
    found = advised((speckled, halves, None), threshold="auto", dilations=[0], soft_edges=[6])
    assert found.recipe.largest == 1
    assert len(found.sensitivity) == 2
    assert not any("islands" in one["row"]["flags"] for one in found.sensitivity)


def test_what_is_not_known_is_said(made, local):
    mass, band, aligned, start = local.unknowns
    assert f"down to {local.sweep.onset['resolution']:.3g} Å" in start
    assert f"{local.row['mass_kda']:.0f} kDa" in mass
    assert "solvent" in mass
    assert f"{local.n_effective:.0f} of {local.n_coefficients}" in band
    shell = round(BOX * SIZE / RESOLUTION)
    assert local.n_effective == pytest.approx(spectrum.effective_coefficients(local.mask, SIZE)[shell], rel=1e-12)
    assert local.band == pytest.approx([float(b) for b in correlation.band(0.143, local.n_effective)])
    assert aligned.startswith(
        "Whether particles can be aligned on it. Its FSC can be judged" if local.judgeable else "Whether it is any good"
    )
    assert local.sensitivity == []


def test_a_domain_too_small_to_judge(made):
    small = blob((24, 20, 24), 2).astype(np.float32)
    found = advised(made, goal="local", threshold=None, base=small, dilations=[0], soft_edges=[1])
    assert found.n_effective < advisor.fewest_coefficients()
    assert not found.judgeable
    assert found.band[0] < 0
    assert any("too small to judge" in text for text in found.unknowns)
    fourfold = advised(
        made, goal="local", threshold=None, base=made[2], dilations=[0], soft_edges=[3], asymmetric_units=4
    )
    single = advised(made, goal="local", threshold=None, base=made[2], dilations=[0], soft_edges=[3])
    assert fourfold.n_effective == pytest.approx(single.n_effective / 4)
    assert fourfold.smallest_diameter_angstrom == pytest.approx(2 * single.smallest_diameter_angstrom)


def test_the_resolution_is_that_of_the_half_maps_where_none_is_given(made):
    found = advised(made, resolution=None, dilations=[0], soft_edges=[6])
    alone = gm.fsc(*made[1], voxel_size=SIZE)
    assert found.resolution == alone.reported
    assert found.resolution_source.startswith("FSC 0.143 of the half maps")
    assert advised(made, dilations=[0], soft_edges=[6]).resolution_source == "given"


def test_volumes_give_a_volume(made):
    density, halves, _ = made
    volumes = [gm.Volume(array, SIZE) for array in (density, *halves)]
    given = {"threshold": 0.3, "resolution": RESOLUTION, "onset": ONSET, "dilations": [0], "soft_edges": [6]}
    found = gm.advise(*volumes, **given)
    assert isinstance(found.mask, gm.Volume)
    assert found.mask.recipe == found.recipe
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gm.GpumaskWarning)
        assert np.array_equal(gm.create_mask(volumes[0], found.recipe).data, found.mask.data)
    assert np.array_equal(pipeline.make(volumes[0], found.recipe).volume.data, found.mask.data)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["row"] == found.row


def test_each_goal_searches_its_own_multiples_of_the_resolution(made):
    for goal, wanted in choices.GOALS.items():
        found = advised(made, goal=goal)
        pixels = RESOLUTION / SIZE
        for name, multiples in (("dilation_px", wanted.dilations), ("soft_edge_px", wanted.soft_edges)):
            there = {row[name] for row in found.sweep.rows}
            assert all(abs(value - m * pixels) <= 0.5 for value, m in zip(sorted(there), multiples, strict=True))


def test_masked_half_maps_are_refused_before_the_work(made):
    density, halves, target = made
    around = mask.soft_mask(target, 8, 3)
    seen = []
    with pytest.raises(gm.errors.InputRefused, match="no mask can be advised: the half maps seem to be masked"):
        gm.advise(
            density,
            *(half * around for half in halves),
            threshold=0.3,
            resolution=RESOLUTION,
            voxel_size=SIZE,
            progress=lambda name, share=None: seen.append((name, share)),
        )
    assert [share for name, share in seen if name == "masks"] == [0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "given",
    [
        {"goal": "local", "resolution": RESOLUTION, "onset": ONSET},
        {"goal": "subtraction", "resolution": RESOLUTION},
        {"goal": "local"},
        {"threshold": 0.5},
    ],
)
def test_noise_alone_is_refused(seed, given):
    """Noise has d' and Λ too: by chance some masks pass."""
    rng = np.random.default_rng(seed)
    halves = [rng.standard_normal((BOX,) * 3).astype(np.float32) for _ in range(2)]
    base = {} if "threshold" in given else {"base": blob((24, 20, 24), 8).astype(np.float32)}
    with pytest.raises(gm.errors.InputRefused, match="the half maps share no signal, .* above 0.143"):
        gm.advise(sum(halves) / 2, *halves, voxel_size=SIZE, **given, **base)


def test_signal_beyond_the_onset_alone_judges_no_mask(made):
    """Half maps whose first shells are noise: what is shared begins past the onset."""
    density, halves, _ = made
    rng = np.random.default_rng(0)
    waves = (ndimage.gaussian_filter(rng.standard_normal(density.shape), 8, mode="wrap") for _ in halves)
    cut = [half + (wave / wave.std()).astype(np.float32) for half, wave in zip(halves, waves, strict=True)]
    with pytest.raises(gm.errors.InputRefused, match="share no signal below the onset, 96 Å"):
        advised((density, cut, None), onset=None)
    assert advised((density, cut, None), onset="10A", dilations=[0], soft_edges=[6]).row["detectability"] > 0


def test_an_onset_that_leaves_no_shell_is_refused_with_the_first_mask(made):
    seen = []

    def progress(name, share=None):
        seen.append((name, share))

    with pytest.raises(gm.errors.InputRefused, match="the onset, 6.4 Å, to the resolution, 6 Å"):
        advised(made, onset="6.4A", progress=progress)
    assert [share for name, share in seen if name == "masks"] == [0]
    found = advised(made, onset="6.4A", goal="subtraction", dilations=[0], soft_edges=[6])
    assert any("no shell to judge" in text for text in found.unknowns)


def test_a_region_has_to_hold_something_that_masks_meet(made):
    nothing, corner, box = np.zeros((3, *(BOX,) * 3), np.float32)
    corner[:4, :4, :4] = 1
    box += 1
    for region, says in ((nothing, "the region is empty"), (corner, "meets the region"), (0.4 * box, "is empty")):
        with pytest.raises(gm.errors.InputRefused, match=says):
            advised(made, goal="local", threshold=None, base=made[2], region=region, dilations=[0], soft_edges=[4])
    reached = {"dilations": 2, "soft_edges": [30], "goal": "local", "threshold": None, "base": made[2]}
    with pytest.raises(gm.errors.InputRefused, match="no mask has a d' above 0"):
        advised(made, region=corner, **reached)  # which a mask meets, but there is no signal in it


def test_a_base_is_told_as_one(made):
    density, halves, target = made
    volumes = [gm.Volume(array, SIZE) for array in (density, *halves)]
    low = gm.Volume(np.full((8, 8, 8), 0.4, np.float32), SIZE)
    beside = np.zeros((8, 8, 60), np.float32)
    beside[..., -4:] = 1
    for goal in ("global", "local"):
        given = {"goal": goal, "resolution": RESOLUTION, "onset": ONSET}
        for base, says in (
            (low, "^the base is empty: a base is where it is >= 0.5, and its maximum is 0.4; give another$"),
            (gm.Volume(beside, SIZE), "^the base has nothing in the box of the half maps; give another$"),
            (gm.Volume(beside, 3 * SIZE), "the base .* the half maps"),
        ):
            with pytest.raises(gm.errors.InputRefused, match=says):
                gm.advise(*volumes, base=base, **given)
        with pytest.raises(gm.errors.InputRefused, match="^the base is empty"):
            advised(made, goal=goal, threshold=None, base=0.4 * target)


@pytest.fixture(scope="module")
def least(made):
    return advised(made, goal="local", threshold=None, base=made[2], soft_edges=[8], least_leak=True)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_profile_between_the_same_ends_leaks_less(least, data):
    """Power beyond the resolution, of any that only falls, and of the raised cosine."""
    found = least.least_leak
    nodes = found.spectra.nodes
    start = max(least.row["dilation_px"], 0)
    assert (nodes[0], nodes[-1]) == (start, start + least.row["soft_edge_px"])
    share = spectrum.shares_beyond(RESOLUTION, found.spectra.shells)
    inner = data.draw(st.lists(st.floats(0, 1), min_size=len(nodes) - 2, max_size=len(nodes) - 2))
    falling = np.array([1, *sorted(inner, reverse=True), 0])
    cosine = mask.edge_profile((nodes - nodes[0]) / (nodes[-1] - nodes[0]))
    leaked = found.spectra.power(found.values) @ share
    near = found.values + data.draw(st.floats(0, 1)) * (falling - found.values)
    for other in (falling, near, cosine):
        assert leaked <= found.spectra.power(other) @ share * (1 + LEAST)


def test_least_leak_only_where_it_is_asked_for(made, least, local):
    assert local.least_leak is None
    assert least.to_dict()["least_leak"]["nodes_px"] == least.least_leak.spectra.nodes.tolist()
    assert json.loads(json.dumps(least.to_dict(), allow_nan=False))["least_leak"]["worth_it"] in (True, False)
    hard = advised(made, dilations=[2], soft_edges=[0], least_leak=True)
    assert hard.least_leak is None


def test_least_leak_needs_cubes(made):
    with pytest.raises(gm.errors.UsageError, match="these voxels are no cubes"):
        advised(made, voxel_size=(2.0, 2.0, 2.2), least_leak=True)


@pytest.mark.parametrize(
    ("rows", "end"),
    [
        ([(0, 8, 30), (2, 8, 20)], "smallest dilation that was searched, 0 px"),
        ([(-2, 8, 30), (0, 8, 20)], "smallest dilation that was searched, -2 px"),
        ([(-4, 8, 20), (-2, 8, 30)], "largest dilation that was searched, -2 px"),
        ([(0, 8, 20), (2, 8, 30)], "largest dilation that was searched, 2 px"),
        ([(0, 4, 30), (0, 8, 20)], "smallest soft edge that was searched, 4 px"),
        ([(0, 4, 20), (0, 8, 30)], "largest soft edge that was searched, 8 px"),
        ([(0, 0, 30), (0, 8, 20)], None),
        ([(0, 8, 30)], None),
        ([(-2, 8, 20), (0, 8, 30), (2, 8, 20)], None),
    ],
)
def test_a_pick_at_an_end_of_what_was_searched_is_told(rows, end):
    """But no edge is narrower than 0, and a single value is no range."""
    done = table(*((*row, 0.01) for row in rows))
    notes = advisor._notes(done, choices.choose(done), [], choices.GOALS["local"])
    assert notes == ([] if end is None else [f"the pick has the {end}; search beyond it"])


def test_no_dilation_is_no_end_for_a_goal_that_does_not_erode():
    done = table((0, 8, 30, 0.01), (2, 8, 20, 0.01))
    assert advisor._notes(done, choices.choose(done), [], choices.GOALS["global"]) == []


def test_what_a_pick_fails_is_told_and_so_is_what_the_others_fail():
    done = table((0, 8, 30, 0.2), (2, 8, 20, 0.3))
    chosen = choices.choose(done)
    assert (chosen.passes, chosen.fails) == (False, ["Λ 0.200 is over 0.05"])
    assert chosen.reasons[1].endswith("no mask does all that is asked; this one: Λ 0.300 is over 0.05")
    notes = advisor._notes(done, chosen, [], choices.GOALS["global"])
    assert notes[0].endswith("this one leaks least, but Λ 0.200 is over 0.05")


def test_erosions_that_leave_nothing_of_any_mask_are_named(made):
    with pytest.raises(gm.errors.InputRefused, match="nothing is left of any mask after erosion"):
        advised(made, dilations=[-30], soft_edges=[6])


def test_a_base_that_fills_the_box_is_named(made):
    with pytest.raises(gm.errors.InputRefused, match="the base fills its box"):
        advisor.check_base(np.ones_like(made[0]), made[1][0])


def test_a_threshold_that_leaves_nothing_is_told_and_the_other_is_measured(made):
    density, halves, target = made
    flat = (target * 0.3).astype(np.float32)  # 20 % more leaves nothing
    found = advised((flat, halves, None), threshold=0.28, dilations=[0], soft_edges=[6])
    less, more = found.sensitivity
    assert less["row"]["threshold"] == less["threshold"] == pytest.approx(0.224)
    assert more["row"] is None
    assert more["threshold"] == pytest.approx(0.336)
    assert "empty mask" in more["fails"][0]


def test_the_half_maps_are_prepared_once_for_both_thresholds(made, monkeypatch):
    prepared = []
    prepare = correlation.HalfMaps.prepare
    monkeypatch.setattr(correlation.HalfMaps, "prepare", lambda self: prepared.append(prepare(self)))
    found = advised(made, dilations=[0], soft_edges=[6])
    assert len(prepared) == 1  # for the sweep, and for the thresholds beside it
    assert found.sensitivity[0]["row"] is not None
    assert found.sweep.transforms_once == 13


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"goal": "best"}, "goal must be one of global, local"),
        ({"base": np.ones((BOX,) * 3, np.float32)}, "base or a threshold"),
        ({"resolution": 2.0}, "beyond Nyquist"),
    ],
)
def test_what_cannot_be_advised(made, changes, says):
    with pytest.raises(gm.errors.UsageError, match=says):
        advised(made, **changes)


def test_advice_needs_half_maps(made):
    with pytest.raises(gm.errors.UsageError, match="both half maps"):
        gm.advise(made[0], made[1][0], None, voxel_size=SIZE)
