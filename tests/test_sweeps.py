"""Sweeps against what each mask gives by itself, and the quadratic form of the edge against transforms."""

import itertools
import warnings

import numpy as np
import pytest
import scipy.fft
from scipy import ndimage

import gpumask as gm
from gpumask import backend, correlation, coverage, fourier, mask, regions, sweeps
from gpumask._cpu import threads

BOX, SIZE, RESOLUTION, ONSET = 48, 2.0, 6.0, "16A"
# Sums over a shell of coefficients of float32 transforms, each good to a few 1e-7 of the largest one
FLOAT32 = 1e-5
EXACT = 1e-6  # of the quadratic form, from transforms in float64
FSC_ROUNDING = 1e-6  # of an FSC from float32 transforms, whose sums are in float64


def blob(shape, centre, radius):
    grid = np.ogrid[[slice(n) for n in shape]]
    return np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))) <= radius


def particle(shape=(BOX,) * 3, seed=0):
    """Two touching lumps with texture, and two noisy half maps of them."""
    rng = np.random.default_rng(seed)
    scale = np.array(shape) / BOX
    target = blob(shape, (24, 20, 24) * scale, 8)
    other = blob(shape, (24, 33, 24) * scale, 6) & ~target
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), 1)
    density = ndimage.gaussian_filter((target | other) * (1 + texture / texture.std()), 1.2).astype(np.float32)
    halves = [(density + rng.normal(0, 0.6, shape)).astype(np.float32) for _ in range(2)]
    return density, halves, target, other


@pytest.fixture(scope="module")
def made():
    return particle()


def swept(made, **changes):
    density, halves, *_ = made
    given = {
        "thresholds": 0.3,
        "dilations": [-2, 0, 3],
        "soft_edges": [0, 4, 8],
        "resolution": RESOLUTION,
        "onset": ONSET,
        "voxel_size": SIZE,
    }
    given |= changes
    pair = halves if given.pop("halves", True) else ()
    if not pair:
        given["onset"] = None
    return gm.sweep(density, *pair, **given)


# Masks


@pytest.mark.parametrize("shape", [(30, 26, 33), (24, 25, 24)])
def test_masks_have_the_bytes_of_soft_mask(xp, shape):
    rng = np.random.default_rng(1)
    volume = ndimage.gaussian_filter(rng.standard_normal(shape), 2).astype(np.float32)
    given = {"dilations": [-3, -1, 0, 1.5, 4], "soft_edges": [0, 1, 5.5], "edges": ["cosine", "gaussian", "convolved"]}
    seen = {}

    def each(_, row, soft):
        key = tuple(row[name] for name in ("threshold", "dilation_px", "soft_edge_px", "edge"))
        seen[key] = backend.to_numpy(soft)

    gm.sweep(xp.asarray(volume), thresholds=[0.02, 0.06], **given, voxel_size=2, each=each)
    assert len(seen) == 2 * 5 * 3 * 3
    for (level, radius, width, edge), soft in seen.items():
        base = xp.asarray(mask.threshold(volume, level))
        alone = mask.soft_mask(base, radius, width, edge)
        assert np.array_equal(soft, backend.to_numpy(alone)), (level, radius, width, edge)


def test_masks_of_anisotropic_voxels_have_the_bytes_of_soft_mask(xp):
    volume, size = ndimage.gaussian_filter(np.random.default_rng(2).standard_normal((20, 22, 24)), 2), (3.0, 2.0, 2.5)
    seen = []
    given = {"dilations": ["-4A", "0A", "5A"], "soft_edges": ["0A", "7A"], "voxel_size": size}
    done = gm.sweep(
        xp.asarray(volume, xp.float32), thresholds=0.03, **given, each=lambda _, row, soft: seen.append((row, soft))
    )
    base = volume.astype(np.float32) >= np.float32(0.03)
    for row, soft in seen:
        lengths = row["dilation_px"], row["soft_edge_px"]
        alone = mask.soft_mask(xp.asarray(base), *lengths, "cosine", sampling=(1.5, 1.0, 1.25))
        assert np.array_equal(backend.to_numpy(soft), backend.to_numpy(alone)), lengths
    assert done.recipe(done.rows[-1]).dilation == "5A"


def test_a_row_tells_how_to_make_its_mask_again(made):
    seen = []
    done = swept(made, halves=False, lowpass="8A", largest=1, each=lambda _, row, soft: seen.append((row, soft)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gm.GpumaskWarning)
        for row, soft in seen:
            assert np.array_equal(gm.create_mask(made[0], done.recipe(row), voxel_size=SIZE), soft)


def test_erosion_by_a_known_field(xp):
    base = xp.asarray(blob((20, 21, 22), (10, 4, 11), 6))
    field = mask.squared_distance(base, 5, inverted=True)
    for radius in (0, 0.5, 1, 2, 5):
        assert bool((mask.erode(base, radius) == mask.erode(base, radius, squares=field)).all())
    everything = xp.ones((4, 4, 4), bool)
    field = mask.squared_distance(everything, 20, inverted=True)
    assert bool(mask.erode(everything, 20, squares=field).all())


# Columns


def test_columns_are_those_of_the_contract(made):
    done = swept(made)
    names = (
        "threshold, dilation_px, soft_edge_px, edge, volume_angstrom3, mass_kda, kept, in_edge, cut, db_at_resolution, "
        "leakage, effective_voxels, detectability, leak_mean, fsc_predicted_at_resolution, k_leak, "
        "resolution_unmasked, resolution_masked, resolution_corrected, anisotropy_db, flags"
    )
    assert all(list(row) == names.split(", ") for row in done.rows)
    order = [(row["dilation_px"], row["soft_edge_px"]) for row in done.rows]
    assert order == list(itertools.product((-2, 0, 3), (0, 4, 8)))


def test_spectra_and_leak_are_those_of_mask_spectrum(made):
    density, halves, *_ = made
    halves = correlation.half_maps(*halves, SIZE, ONSET)
    seen = []
    swept(made, each=lambda done, row, soft: seen.append((done, row, soft)))
    for done, row, soft in seen:
        alone = gm.mask_spectrum(soft, RESOLUTION, halves=halves, voxel_size=SIZE, seeds=0)
        shell = alone.shells[round(BOX * SIZE / RESOLUTION)]
        assert row["db_at_resolution"] == pytest.approx(shell["power_db"], abs=1e-2)  # far down, 1e-3 of an amplitude
        leakage = next(one["fraction"] for one in alone.leakage if one["resolution"] == RESOLUTION)
        assert row["leakage"] == pytest.approx(leakage, rel=1e-3)
        assert row["effective_voxels"] == pytest.approx(alone.effective_voxels, rel=FLOAT32)
        assert row["anisotropy_db"] == pytest.approx(alone.anisotropy["max_db"], abs=1e-2)
        assert row["k_leak"] == alone.k_leak
        assert row["leak_mean"] == pytest.approx(alone.leak_mean, abs=FSC_ROUNDING)
        assert row["volume_angstrom3"] == pytest.approx(alone.volume_angstrom3, rel=FLOAT32)
        index = done.rows.index(row)
        predicted = np.array(done.details[index]["predicted"])
        assert predicted == pytest.approx(np.array(alone.predicted_fsc), abs=FSC_ROUNDING)
        assert row["fsc_predicted_at_resolution"] == predicted[shell["index"]]


def test_resolutions_are_those_of_fsc(made):
    density, halves, *_ = made
    seen = []
    swept(made, dilations=[0, 3], soft_edges=[4], each=lambda done, row, soft: seen.append((done, row, soft)))
    for done, row, soft in seen:
        alone = gm.fsc(*halves, soft, onset=ONSET, voxel_size=SIZE)
        reached = alone.resolution["0.143"]
        assert row["resolution_unmasked"] == reached["unmasked"]
        assert row["resolution_masked"] == reached["masked"]
        assert row["resolution_corrected"] == reached["corrected_predicted"]
        detail = done.details[done.rows.index(row)]
        for name, same in (("masked", "masked"), ("predicted", "predicted"), ("corrected", "corrected_predicted")):
            ours = np.array(detail[name], float)
            assert ours == pytest.approx(alone.curve(same), abs=FSC_ROUNDING, nan_ok=True)


def oracle_predicted(halves, soft, onset):
    """FSC_n by its definition: whole complex transforms in float64."""
    shape = soft.shape
    squares = sum(f**2 for f in np.meshgrid(*(np.fft.fftfreq(n, 1 / max(shape)) for n in shape), indexing="ij"))
    index = (np.sqrt(squares) + 0.5).astype(int)
    low = squares < onset**2 * (1 - 1e-9)
    transforms = [scipy.fft.fftn(half.astype(float)) for half in halves]
    leaked = [scipy.fft.fftn(scipy.fft.ifftn(t * low).real * soft) for t in transforms]
    power = np.abs(scipy.fft.fftn(soft.astype(float))) ** 2
    spread = [scipy.fft.fftn(scipy.fft.ifftn(np.abs(t * ~low) ** 2) * scipy.fft.ifftn(power)).real for t in transforms]

    def over_shells(values):
        return np.bincount(index.reshape(-1), values.reshape(-1))

    cross = over_shells((leaked[0] * leaked[1].conj()).real)
    powers = [over_shells(np.abs(one) ** 2) + over_shells(r) / soft.size for one, r in zip(leaked, spread, strict=True)]
    return cross / np.sqrt(powers[0] * powers[1])


@pytest.mark.parametrize("shape", [(24, 24, 24), (25, 25, 25), (27, 24, 26)])
def test_predicted_fsc_is_its_definition(xp, shape):
    density, halves, target, _ = particle(shape)
    soft = mask.soft_mask(target, 1, 4)
    prepared = correlation.half_maps(*(xp.asarray(half) for half in halves), 2.0, "12A")
    wanted = oracle_predicted(halves, soft, prepared.onset)
    given = xp.asarray(soft)
    for found in (prepared.predicted(given), prepared.predicted(given, fourier.rfftn(given, "float32"))):
        assert found == pytest.approx(wanted[: len(found)], abs=FSC_ROUNDING)


class Work:
    """scipy.fft that adds up its work: complex numbers that go through along each axis, of which a transform of the
    last real box that came takes 3·voxels/2."""

    def __init__(self):
        self.done = self.voxels = 0.0

    def __getattr__(self, name):
        true = getattr(scipy.fft, name)

        def counted(array, *given, **options):
            made = true(array, *given, **options)
            axes = options.get("axes", (0, 1, 2)) if name.endswith("n") else (0,)
            if name == "rfftn":
                self.voxels = array.size
                complex_numbers = array.size / 2 + made.size * (len(axes) - 1)
            elif name in ("fft", "ifft", "fftn", "ifftn"):
                complex_numbers = made.size * len(axes)
            else:
                assert name in ("rfft", "irfft", "hfft", "ihfft"), name
                complex_numbers = (array if name in ("rfft", "ihfft") else made).size / 2
            self.done += complex_numbers / (3 * self.voxels / 2)
            return made

        return counted


@pytest.mark.parametrize(("edge", "own_box"), [("cosine", {}), ("convolved", {"mask": 3.0})])
@pytest.mark.parametrize("halves", [True, False])
def test_transforms_are_counted_as_they_are_made(made, monkeypatch, edge, own_box, halves):
    """At most 4 for the leak beside the mask's own spectrum, and 2 for the masked curve; the work that scipy is given
    is what is told, but for the column at 0 and at Nyquist of halved axes, two of them at the most."""
    work, before = Work(), []
    monkeypatch.setattr(fourier, "_fft", lambda array: work)
    monkeypatch.setattr(threads, "over_planes", lambda function, count: function(0, count))  # one plane after the other
    given = {"dilations": [0, 3], "soft_edges": [4, 8], "edges": edge, "halves": halves}
    told = swept(made, **given, each=lambda *_: before.append(work.done)).transforms
    leak = {"leak": 3.5, "masked": 2.0} if halves else {}
    assert told == {**own_box, "spectrum": 1.0, **leak}
    shortest = 24  # of the boxes that are transformed
    for took in np.diff(before):
        assert sum(told.values()) <= took <= sum(told.values()) * (1 + 2 / shortest) ** 2


def test_detectability_is_its_formula(made):
    density, pair, target, other = made
    halves = correlation.half_maps(*pair, SIZE, ONSET)
    power, particle_ = halves.signal()
    shell = round(BOX * SIZE / RESOLUTION)
    difference = np.fft.fftn(pair[0].astype(float) - pair[1])
    squares = sum(f**2 for f in np.meshgrid(*(np.fft.fftfreq(BOX, 1 / BOX),) * 3, indexing="ij"))
    variance = (np.abs(difference[np.sqrt(squares) < shell + 0.5]) ** 2).sum() / BOX**6 / 2
    seen = []
    swept(made, region=target.astype(np.float32), each=lambda done, row, soft: seen.append((done, row, soft)))
    for done, row, soft in seen:
        m, p_t, p_o = soft.astype(float), power * target, power * (particle_ & ~target)
        below = (m * m * (p_t + p_o)).sum() + variance * (m * m).sum()
        wanted = ((m * p_t).sum() - (m * p_o).sum()) / np.sqrt(below)
        assert row["detectability"] == pytest.approx(wanted, rel=FLOAT32)
        error = (((1 - m) ** 2 * p_t).sum() + (m * m * p_o).sum()) / p_t.sum()
        found = done.details[done.rows.index(row)]["subtraction_error"]
        assert found == pytest.approx(error, rel=FLOAT32, abs=FLOAT32)


def test_the_hard_mask_of_the_target_subtracts_without_error(made):
    density, pair, target, _ = made
    base = target.astype(np.float32)
    done = gm.sweep(base, *pair, thresholds=0.5, dilations=0, soft_edges=0, region=base, onset=ONSET, voxel_size=SIZE)
    assert done.details[0]["subtraction_error"] == pytest.approx(0, abs=1e-12)


def test_kept_edge_and_cut_are_shares_of_the_density_in_the_lowest_base(made):
    density = made[0]
    seen = []
    given = {"thresholds": [0.5, 0.3], "each": lambda _, row, soft: seen.append((row, soft))}
    swept(made, halves=False, **given)
    for row, soft in seen:
        share = coverage.shares(soft, density * (density >= np.float32(0.3)))
        assert (row["kept"], row["in_edge"], row["cut"]) == pytest.approx(share[:3], rel=1e-12)
        assert row["kept"] + row["in_edge"] + row["cut"] == pytest.approx(1, rel=1e-12)


# Thresholds


def specks(made):
    """The map, and beside it a ball that no mask of the largest component holds."""
    return np.maximum(made[0], made[0].max() * blob((BOX,) * 3, (8, 8, 8), 3)).astype(np.float32)


@pytest.mark.parametrize(("more", "islands"), [({}, 1), ({"largest": 2}, 2)])
def test_all_thresholds_of_a_sweep_are_cleaned_alike(made, more, islands):
    seen = []
    given = {"dilations": 0, "soft_edges": 4, "voxel_size": SIZE, "each": lambda _, row, soft: seen.append((row, soft))}
    done = gm.sweep(specks(made), thresholds=["auto", 0.3, "0.5max"], **given, **more)
    assert len(seen) == 3
    assert {regions.component_count(soft >= 0.5) for _, soft in seen} == {islands}
    told = any("all thresholds of this sweep do" in note for note in done.notes)
    assert told == (not more)
    lowest = mask.threshold(specks(made), min(done.recipes))
    density = specks(made) * regions.largest(lowest, islands)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gm.GpumaskWarning)
        for row, soft in seen:
            share = coverage.shares(soft, density)
            assert (row["kept"], row["in_edge"], row["cut"]) == pytest.approx(share[:3], rel=1e-12)
            assert np.array_equal(gm.create_mask(specks(made), done.recipe(row), voxel_size=SIZE), soft)


def test_without_auto_nothing_is_cleaned(made):
    done = gm.sweep(specks(made), thresholds=[0.3, 0.5], dilations=0, soft_edges=4, voxel_size=SIZE)
    assert done.notes == []
    assert all("islands" in row["flags"] for row in done.rows)


def test_thresholds_of_one_level_are_one_and_said_to_be(made):
    top = float(made[0].max())
    level = float(str(np.float32(0.5 * top)))
    found = swept(made, halves=False, thresholds=["0.5max", level, 0.3, 0.3])
    assert [row["threshold"] for row in found.rows] == [level] * 9 + [0.3] * 9
    assert [note for note in found.notes if "are one level" in note] == [
        f"thresholds 0.5max and {level!r} are one level, {level:g}; its masks are made once",
        "thresholds 0.3 and 0.3 are one level, 0.3; its masks are made once",
    ]


# Laws


def test_volume_grows_with_dilation_and_width_and_falls_with_the_threshold(made):
    axes = {"thresholds": [0.25, 0.4], "dilations": [-1, 0, 2, 4], "soft_edges": [0, 3, 6]}
    rows = swept(made, halves=False, **axes).rows
    volumes = np.array([row["volume_angstrom3"] for row in rows]).reshape(2, 4, 3)
    assert (np.diff(volumes, axis=0) < 0).all()
    assert (np.diff(volumes, axis=1) > 0).all()
    assert (np.diff(volumes, axis=2) > 0).all()


def test_leak_falls_with_the_width_of_an_edge_that_cuts(made):
    rows = swept(made, dilations=[-3, -2, 0], soft_edges=[0, 3, 6, 9, 12]).rows
    leaks = np.array([row["leak_mean"] for row in rows]).reshape(3, 5)
    assert (np.diff(leaks, axis=1) < 0).all()


def test_softer_is_farther_down(made):
    rows = swept(made, halves=False, dilations=[0], soft_edges=[0, 4, 8, 16]).rows
    assert (np.diff([row["db_at_resolution"] for row in rows]) < 0).all()
    assert (np.diff([row["leakage"] for row in rows]) < 0).all()


# What is left out


def test_without_half_maps_or_a_resolution_nothing_is_made_up(made):
    row = swept(made, halves=False).rows[0]
    leak = ("detectability", "leak_mean", "fsc_predicted_at_resolution", "k_leak")
    reached = ("resolution_unmasked", "resolution_masked", "resolution_corrected")
    assert all(row[name] is None for name in (*leak, *reached))
    assert row["db_at_resolution"] < -20
    row = swept(made, resolution=None).rows[0]
    target = ("db_at_resolution", "leakage", "anisotropy_db", "leak_mean", "fsc_predicted_at_resolution")
    assert all(row[name] is None for name in target)
    assert all(row[name] is not None for name in ("detectability", "k_leak", "resolution_corrected"))


def test_masked_half_maps_tell_no_leak(made):
    density, pair, target, other = made
    around = mask.soft_mask(target | other, 2, 3)
    given = {"thresholds": 0.3, "dilations": 0, "soft_edges": 4, "resolution": RESOLUTION, "voxel_size": SIZE}
    done = gm.sweep(density, *(half * around for half in pair), **given)
    assert done.onset is None
    assert any("seem to be masked" in note for note in done.notes)
    row = done.rows[0]
    assert row["leak_mean"] is row["detectability"] is row["resolution_corrected"] is None
    assert row["resolution_masked"] > 0


def test_flags():
    volume = np.zeros((32, 32, 32), np.float32)
    volume[4:12, 10:20, 10:20] = 1
    volume[20:28, 10:20, 10:20] = 1
    volume[4:12, 14, 14] = 2
    given = {"dilations": [-9, -2, 0, 3], "soft_edges": [0, 2, 10], "resolution": 6, "voxel_size": 2}
    rows = gm.sweep(volume, thresholds=0.5, **given).rows
    flags = {(row["dilation_px"], row["soft_edge_px"]): set(row["flags"]) for row in rows}
    assert flags[-9, 0] == {"empty"}
    assert {"hard", "islands", "cuts_density"} <= flags[-2, 0]
    assert {"hard", "narrow", "cuts_density", "touches_border"} & flags[0, 2] == {"narrow"}
    assert "islands" in flags[0, 2]
    assert "touches_border" in flags[3, 2] | flags[3, 10]
    assert set().union(*flags.values()) <= set(sweeps.FLAGS)
    empty = rows[0]
    assert empty["volume_angstrom3"] == 0
    assert empty["kept"] is empty["db_at_resolution"] is None


@pytest.mark.parametrize("width", [48, 84, 300])
def test_an_erosion_that_leaves_nothing_is_told_at_any_width(width):
    """Also where the edge is wider than the box: then what stands for no distance is below the reach."""
    volume = np.zeros((48, 48, 48), np.float32)
    volume[16:32, 16:32, 16:32] = 1
    given = {"dilations": [-24, 0], "soft_edges": [4, width], "voxel_size": 1}
    rows = {(row["dilation_px"], row["soft_edge_px"]): row for row in gm.sweep(volume, thresholds=0.5, **given).rows}
    for soft_edge in (4, width):
        assert rows[-24, soft_edge]["flags"] == ["empty"]
        assert rows[-24, soft_edge]["volume_angstrom3"] == 0
        assert rows[0, soft_edge]["volume_angstrom3"] > 16**3
    with pytest.raises(gm.errors.InputRefused, match="nothing is left after erosion"):
        gm.create_mask(volume, voxel_size=1, threshold=0.5, dilation=-24, soft_edge=width)


@pytest.mark.parametrize(("radius", "width"), [(0, 40), (3, 5), (50, 4), (50, 0), (20, 14), (0, 33)])
def test_a_field_that_reaches_farther_gives_the_same_mask(xp, radius, width):
    """Of a base, of nothing and of everything, beyond the diagonal of the box too: 33 px."""
    ball = blob((20, 19, 21), (8, 4, 11), 4)
    for base in (ball, np.zeros_like(ball), np.ones_like(ball)):
        alone = backend.to_numpy(mask.soft_mask(xp.asarray(base), radius, width))
        assert alone.any() == base.any()
        for farther in (0, 7, 90):
            field = mask.squared_distance(xp.asarray(base), radius + width + farther)
            assert np.array_equal(backend.to_numpy(mask.from_distance(field, radius, width)), alone)


def test_prepared_half_maps_give_the_same_rows(made, monkeypatch):
    density, pair, target, _ = made
    prepared = sweeps.prepare(*pair, onset=ONSET, voxel_size=SIZE)
    given = {"dilations": [0, 3], "soft_edges": [4], "resolution": RESOLUTION}
    for more in ({}, {"region": target.astype(np.float32)}):
        for level in (0.3, 0.4):
            alone = swept(made, thresholds=level, **given, **more)
            with monkeypatch.context() as patch:
                patch.setattr(sweeps, "prepare", None)  # nothing is prepared again
                shared = gm.sweep(density, prepared, thresholds=level, **given, **more)
            assert (shared.rows, shared.details, shared.notes) == (alone.rows, alone.details, alone.notes)
            assert shared.transforms == alone.transforms
            assert shared.transforms_once == alone.transforms_once == prepared.transforms == 13
    for wrong in ({"onset": ONSET}, {"assume_unmasked": True}):
        with pytest.raises(gm.errors.UsageError, match="prepared half maps have their onset"):
            gm.sweep(density, prepared, thresholds=0.3, **given, **wrong)


def test_an_empty_region_is_refused(made):
    for region in (np.zeros((BOX,) * 3, np.float32), np.full((BOX,) * 3, 0.4, np.float32)):
        with pytest.raises(gm.errors.InputRefused, match="^the region is empty: .* >= 0.5; give a mask"):
            swept(made, region=region)


def test_known_rows_are_taken_over(made):
    whole = swept(made, dilations=[0, 3])
    seen = []
    known = list(zip(whole.rows[:4], whole.details[:4], strict=True))
    again = swept(made, dilations=[0, 3], known=known, each=lambda done, row, _: seen.append((row, len(done.rows))))
    assert again.rows == whole.rows
    assert again.details == whole.details
    assert [row for row, _ in seen] == whole.rows[4:]
    assert [count for _, count in seen] == [5, 6]
    nothing = swept(made, dilations=[0, 3], known=list(zip(whole.rows, whole.details, strict=True)))
    assert nothing.transforms == {}
    assert nothing.rows == whole.rows


def test_a_base_on_another_grid_is_laid_on_that_of_the_half_maps(made):
    density, pair, *_ = made
    corner = (6, 4, 6)
    part = np.ascontiguousarray(density[6:44, 4:46, 6:44])
    header = gm.Header(origin=tuple(SIZE * c for c in corner))
    halves = [gm.Volume(half, SIZE) for half in pair]
    given = {"thresholds": 0.3, "dilations": [0, 3], "soft_edges": 4, "resolution": RESOLUTION, "onset": ONSET}
    there = gm.sweep(gm.Volume(part, SIZE, header), *halves, **given)
    here = gm.sweep(gm.Volume(density, SIZE), *halves, **given)
    assert there.rows == here.rows
    assert there.box == [BOX] * 3


def test_same_on_any_number_of_threads(made, monkeypatch):
    found = []
    for count in (1, 3):
        monkeypatch.setattr(threads, "count", lambda count=count: count)
        found.append(swept(made, dilations=[0], soft_edges=[4]))
    assert found[0].rows == found[1].rows


def test_to_dict_is_json(made):
    import json

    found = swept(made, dilations=[0], soft_edges=[4])
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["rows"] == found.rows


# Refusals


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"resolution": 3.9}, "beyond Nyquist"),
        ({"soft_edges": [-1]}, "soft edge must be >= 0"),
        ({"dilations": []}, "at the least"),
        ({"thresholds": []}, "needs a threshold"),
        ({"edges": "wave"}, "edge must be one of"),
        ({"dilation": 3}, "sweep has its own dilation"),
        ({"style": "relion"}, "sweep has its own style"),
    ],
)
def test_what_cannot_be_swept(made, changes, says):
    with pytest.raises(gm.errors.UsageError, match=says):
        swept(made, **changes)


def test_a_base_is_called_one(made):
    base = np.zeros_like(made[0])
    base[:4, :4, :4] = 1
    given = {"thresholds": 0.5, "dilations": 0, "soft_edges": 4, "voxel_size": SIZE}
    with pytest.raises(gm.errors.InputRefused, match="no voxel of the base has density above 0"):
        gm.sweep(base, density=np.minimum(made[0], 1 - base), **given)
    with pytest.raises(gm.errors.InputRefused, match="the base has 1 voxels that are NaN"):
        gm.sweep(np.where(np.arange(base.size).reshape(base.shape), base, np.nan), density=made[0], **given)


def test_half_maps_come_in_pairs(made):
    given = {"thresholds": 0.3, "dilations": 0, "soft_edges": 4, "voxel_size": SIZE}
    with pytest.raises(gm.errors.UsageError, match="both half maps"):
        gm.sweep(made[0], made[1][0], **given)
    with pytest.raises(gm.errors.UsageError, match="without half maps"):
        gm.sweep(made[0], region=made[0], **given)
    with pytest.raises(gm.errors.InputRefused, match="no density above 0"):
        gm.sweep(-np.abs(made[0]) - 1, **{**given, "thresholds": -1.5})
    with pytest.raises(gm.errors.InputRefused, match="empty mask"):
        gm.sweep(made[0], **{**given, "thresholds": 99})
    with pytest.raises(TypeError, match="voxel_size"):
        gm.sweep(made[0], **{**given, "voxel_size": None})


# Even transforms


@pytest.mark.parametrize("shape", [(8, 8, 8), (7, 9, 11), (6, 9, 10), (9, 6, 5)])
def test_even_transforms_are_those_of_the_whole_array(xp, shape):
    values = np.random.default_rng(3).standard_normal(shape)
    even = values + np.roll(values[::-1, ::-1, ::-1], (1, 1, 1), (0, 1, 2))
    half = xp.asarray(even[: shape[0] // 2 + 1])
    with fourier.counting() as count:
        found = fourier.even_transform(half, shape)
        back = fourier.even_inverse(found, shape)
    assert backend.to_numpy(found) == pytest.approx(scipy.fft.rfftn(even).real, abs=1e-10)
    assert backend.to_numpy(back) == pytest.approx(backend.to_numpy(half), abs=1e-12)
    assert count.made == 1
