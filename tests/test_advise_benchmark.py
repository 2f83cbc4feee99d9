"""The simulated local refinement against its truth, and the advisor's figures against what comes of a refinement."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.transform import Rotation

from gpumask import choices, mask, spectrum
from gpumask.benchmarks import Findings, advise, run, show_findings
from gpumask.benchmarks import local_refinement as simulated
from gpumask.errors import UsageError

DEGREES, SHIFT = simulated.STEPS[-1]  # the last turn's grid
ALONE = replace(simulated.GEOMETRIES[0], body_axes=(3, 3, 3), chains=0, sugars=0)  # next to no body, no sugars
ROUNDING = 2e-6  # of float32 sums, relative


def around(particles, width=6):
    """A mask of the domain at rest that cuts nothing of it."""
    return mask.soft_mask(particles.domain >= 0.05 * particles.domain.max(), 2, width)


# Points, volumes, coefficients


def test_a_volume_holds_its_points():
    rng = np.random.default_rng(0)
    points, weights = rng.uniform(-6, 6, (20, 3)), rng.uniform(0.5, 2, 20)
    made = simulated.volume(points, weights)
    assert made.sum(dtype=float) == pytest.approx(weights.sum(), rel=ROUNDING)
    centre = [(made * axis).sum() / made.sum() for axis in np.indices(made.shape) - simulated.BOX // 2]
    assert np.allclose(centre, (weights @ points) / weights.sum(), atol=1e-3)
    moved = simulated.volume(points + [3, -2, 1], weights)
    assert np.allclose(np.roll(made, (3, -2, 1), (0, 1, 2)), moved, atol=ROUNDING * made.max() * 20)


@pytest.fixture(scope="module")
def few():
    return simulated.Particles(ALONE, 2)


def test_a_turned_grid_is_the_transform_of_turned_points(few):
    """Linear interpolation of a wave at r px from the fulcrum, between points PADDING·BOX to a period, is wrong by
    1 - cos(π·r/(PADDING·BOX)) at the most, along each of three axes."""
    farthest = 8
    offset = np.subtract(few.fulcrum, simulated.BOX // 2)
    points = np.random.default_rng(1).uniform(-1, 1, (30, 3)) * farthest / math.sqrt(3)
    poses = simulated.Poses(Rotation.from_rotvec([[0.2, -0.3, 0.1]]), np.zeros((1, 3)))
    (turn,), count = poses.turns.as_matrix(), len(simulated.WAVE.k)
    still, moved = (few.fine(simulated.volume(p + offset)) for p in (points, points @ turn.T))
    wrong = 3 * (1 - math.cos(math.pi * farthest / (simulated.PADDING * simulated.BOX)))
    for found, wanted in (
        (simulated.turned(still, turn.T, count), simulated.turned(moved, np.eye(3), count)),
        (simulated.aligned(moved[None], poses, count)[0], simulated.turned(still, np.eye(3), count)),
    ):
        agreement = np.vdot(found, wanted).real / np.linalg.norm(found) / np.linalg.norm(wanted)
        assert agreement > math.sqrt(1 - wrong**2)


def test_true_poses_bring_every_particle_back(few):
    """What is left is the interpolation's error, as above, and the little body."""
    evaluation = around(few)
    for half in (0, 1):
        rows = simulated.aligned(few.noisy(0)[half], few.true[half], len(simulated.WAVE.k))
        for row in rows:
            curve = simulated.fsc(evaluation * few.map(row), evaluation * few.domain)
            assert curve[1:11].min() > 0.95
    apart = few.true[0].turns.magnitude().max()
    assert apart > math.radians(DEGREES)  # or there would be nothing to bring back


def test_what_a_half_shares_is_no_error():
    rng = np.random.default_rng(0)
    true = simulated.Poses(Rotation.random(5, random_state=0), rng.standard_normal((5, 3)))
    common, drift = Rotation.from_rotvec([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 3.0])
    found = simulated.Poses(true.turns * common, true.shifts + true.turns.apply(drift))
    turn, shift, corrected = simulated.errors(true, found)
    assert turn < 1e-5 and shift < 1e-12
    assert (corrected.turns.inv() * true.turns).magnitude().max() < 1e-7
    assert np.allclose(corrected.shifts, true.shifts, atol=1e-12)
    one = np.where(np.arange(5) == 0, math.radians(10), 0)[:, None] * [1, 0, 0]
    turn, _, _ = simulated.errors(true, simulated.Poses(true.turns * Rotation.from_rotvec(one), true.shifts))
    assert turn == pytest.approx(10 * math.sqrt(0.2 - 0.04), rel=1e-2)  # the mean has taken a fifth of it


# The refinement


def test_poses_are_recovered_to_the_last_grid():
    """Half a step of the last grid along each of three axes, with next to no noise and nothing but the domain."""
    particles = simulated.Particles(ALONE, 40)
    noisy = particles.noisy(0.02)
    poses, resolution = simulated.refine(particles, noisy, around(particles))
    start = simulated.errors(particles.true[0], simulated.Poses.rest(40))
    result = simulated.judge(particles, noisy, poses, resolution, around(particles), (4, simulated.LIMIT))
    assert start[0] > 8 and start[1] > 1.5
    assert result.turn_error < DEGREES / 2 * math.sqrt(3)
    assert result.shift_error < SHIFT / 2 * math.sqrt(3)
    assert result.area > 0.98
    assert result.resolution == simulated.BOX * simulated.VOXEL / simulated.LIMIT


def test_nothing_moves_where_nothing_moved():
    still = simulated.Particles(replace(ALONE, turn=0, shift=0), 4)
    poses, _ = simulated.refine(still, still.noisy(0), around(still))
    for pose in poses:
        assert pose.turns.magnitude().max() == 0
        assert np.abs(pose.shifts).max() == 0


def test_beside_a_body_all_particles_move_alike():
    """A mask that cuts the body draws the reference towards it: a choice of frame, not of poses."""
    still = simulated.Particles(replace(simulated.GEOMETRIES[0], chains=0, sugars=0, turn=0, shift=0), 4)
    poses, resolution = simulated.refine(still, still.noisy(0), mask.soft_mask(still.base, 2, 6))
    for half in (0, 1):
        turn, shift, _ = simulated.errors(still.true[half], poses[half])
        assert turn < 1e-4 and shift < 1e-4


def test_halves_of_noise_have_nothing_in_common():
    """However their poses were refined under one mask: the noise of the halves is independent, and neither holds the
    domain. The standard deviation of an FSC of 0 is 1/sqrt(n_effective)."""
    particles = simulated.Particles(ALONE, 12)
    evaluation = around(particles)
    poses, resolution = simulated.refine(particles, particles.noise, evaluation)
    result = simulated.judge(particles, particles.noise, poses, resolution, evaluation, (1, simulated.LIMIT))
    table = spectrum.mask_spectrum(evaluation, voxel_size=simulated.VOXEL).shells[1 : simulated.LIMIT + 1]
    deviation = math.sqrt(sum(1 / row["n_effective"] for row in table)) / len(table)
    assert abs(result.area) < 4 * deviation
    assert abs(result.noise_correlation) < 4 * deviation
    moved = simulated.errors(particles.true[0], poses[0])[0]
    assert moved > simulated.errors(particles.true[0], simulated.Poses.rest(12))[0]  # noise was followed


# Ranks and rules


def test_rank_correlation_is_scipys():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, (2, 20))  # with ties
    assert advise.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert advise.spearman(np.array([x, x]), np.array([y, x]))[1] == pytest.approx(1, abs=1e-12)


def row(geometry, noise, leak, detectability, loss, noise_correlation, picked_by=(), name="grid", resolution=12.0):
    return {
        "geometry": geometry,
        "noise": noise,
        "mask": name,
        "dilation_px": -1 if leak > 0.02 else 1,
        "leak_mean": leak,
        "detectability": detectability,
        "loss": loss,
        "noise_correlation": noise_correlation,
        "turn_error": 10 * loss,
        "shift_error": loss,
        "resolution": resolution,
        "picked_by": list(picked_by),
    }


def made_rows():
    """Two geometries where every policy takes the second mask, but the fifth the third, which is the best."""
    others = [n for n in range(len(advise.POLICIES)) if n != 5]
    names = simulated.GEOMETRIES[0].name, simulated.GEOMETRIES[1].name
    return [
        made
        for name in names
        for made in (
            row(name, 1, 0.5, 3, 0.3, 0.4, resolution=10.0),
            row(name, 1, 0.01, 2, 0.1, 0.1, others),
            row(name, 1, 0.04, 2.5, 0.0, 0.05, [5]),
            row(name, 1, 0.001, 1, 0.2, 0.02),
            row(name, 1, 0.2, 2.2, 0.25, 0.3, name="RELION's default, 3 + 3"),
        )
    ]


def test_thresholds_are_chosen_on_the_first_geometry_and_scored_on_the_others():
    rows = made_rows()
    assert advise.frozen(rows) == 5
    for one in rows:
        if one["geometry"] == simulated.GEOMETRIES[1].name:
            one["loss"] += 0.5
    assert advise.frozen(rows) == 5
    table = {found["name"]: found for found in advise.losses(rows).rows}
    first = f"loss of FSC, {simulated.GEOMETRIES[0].name}"
    assert table["advisor as shipped"][first] == [0.1, 0.1, 0.1]
    assert table["advisor, thresholds of the first geometry"][first] == [0.0, 0.0, 0.0]
    assert table["best nominal resolution"][first] == [0.3, 0.3, 0.3]
    assert table["greatest d′"][first] == [0.3, 0.3, 0.3]
    assert table["least Λ"][first] == [0.2, 0.2, 0.2]
    assert table["RELION's default, 3 + 3"][first] == [0.25, 0.25, 0.25]
    assert table["any mask of the grid"][first] == pytest.approx([0.15, 0.15, 0.15])
    assert table["advisor, thresholds of the first geometry"]["loss of FSC, others"] == [0.5, 0.5, 0.5]
    near = f"near the best, {simulated.GEOMETRIES[0].name}"
    assert table["advisor as shipped"][near] == "0 of 1"
    assert table["advisor, thresholds of the first geometry"][near] == "1 of 1"


def test_of_equal_policies_the_shipped_one_stays():
    rows = [row(simulated.GEOMETRIES[0].name, 1, 0.01, 2, 0, 0, range(len(advise.POLICIES)))]
    assert advise.frozen(rows) == 0
    assert advise.POLICIES[0] == choices.POLICY


def test_an_interval_holds_its_value():
    table = advise.ranks(made_rows())
    assert [found["name"] for found in table.rows][-3:] == ["mean, all", "mean, those that erode", "mean, the others"]
    for found in table.rows:
        for column in table.columns:
            rho, low, high = found[column]
            assert -1 <= low <= high <= 1 and abs(rho) <= 1


# The benchmark


@pytest.fixture(scope="module")
def short():
    return advise.runs(advise.FORMS["short"])


def test_the_leak_ranks_what_a_refinement_makes_of_noise(short):
    """Λ, told before, against the correlation of the noise after, over the masks of the short form: beyond the
    one-sided 5 % point of no correlation, from Student's t with n - 2 degrees of freedom."""
    grid = [found for found in short if found["mask"] == "grid"]
    t = stats.t.ppf(0.95, len(grid) - 2)
    bound = t / math.sqrt(len(grid) - 2 + t * t)
    leak, *after = np.array([(r["leak_mean"], r["noise_correlation"], r["turn_error"]) for r in grid]).T
    assert len(grid) == 12 and bound == pytest.approx(0.497, abs=1e-3)
    assert advise.spearman(leak, after[0]) > bound
    assert advise.spearman(leak, after[1]) > bound


def test_cutting_hard_is_worse_than_cutting_softly(short):
    hard, soft = (
        next(r for r in short if (r["mask"], r["dilation_px"], r["soft_edge_px"]) == ("grid", -2, edge))
        for edge in (0, 4)
    )
    assert hard["leak_mean"] > soft["leak_mean"]
    assert hard["noise_correlation"] > soft["noise_correlation"]
    assert hard["turn_error"] > soft["turn_error"] and hard["shift_error"] > soft["shift_error"]
    assert hard["area"] < soft["area"]
    assert hard["resolution"] <= soft["resolution"]  # and yet it claims as much


def test_the_finest_nominal_resolution_is_no_good_rule(short):
    """The mean over the masks that reach it has more correlated noise than the advisor's pick."""
    rules = advise.chosen(short, 0)
    noise = {name: np.mean([r["noise_correlation"] for r in picked]) for name, picked in rules.items()}
    assert len(rules["advisor as shipped"]) == 1
    assert noise["best nominal resolution"] > noise["advisor as shipped"]


def test_tables_are_printed_and_kept(short, capsys):
    for table in (advise.what_came(short), advise.ranks(short)):
        show_findings(vars(table))
        printed = capsys.readouterr().out
        assert table.title in printed
        assert all(found["name"] in printed for found in table.rows)
        assert all(f"[{i}] {column}" in printed for i, column in enumerate(table.columns, 1))


def test_a_cell_may_be_text_or_nothing(capsys):
    show_findings(vars(Findings("title", ("a", "b", "c"), [{"name": "x", "a": "word", "b": [1.0, 0.5, 2.0]}])))
    assert "x  word  1.00 (0.50 to 2.00)    -" in capsys.readouterr().out


def test_forms_and_boxes_that_cannot_be():
    with pytest.raises(UsageError, match="a box of its own"):
        run("advise", box=64)
    with pytest.raises(UsageError, match="short, long"):
        run("advise", form="tiny")
    with pytest.raises(UsageError, match="one form"):
        run("create", form="short")
