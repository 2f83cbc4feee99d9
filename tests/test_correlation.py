"""Fourier shell correlation: analytic values, laws of the random phases, and the predicted leak against draws."""

import math

import numpy as np
import pytest

import gpumask as gm
from gpumask import backend, correlation, fourier, io, phases, spectrum
from gpumask import mask as mask_module
from gpumask.errors import InputRefused, UsageError

CLOSED = 1e-6  # relative: the analytic values are given to six digits or more
DRAWS = 40


def ball(box, radius, width=0.0):
    grid = np.indices((box,) * 3) - float(box // 2)
    distance = np.sqrt((grid**2).sum(axis=0))
    if not width:
        return (distance <= radius).astype(np.float32)
    return (0.5 + 0.5 * np.cos(np.pi * np.clip((distance - radius) / width, 0, 1))).astype(np.float32)


def halves(box=48, noise=0.3, seed=0):
    """A lump of structure that fades at high frequency, and independent white noise in each half."""
    rng = np.random.default_rng(seed)
    lump = rng.standard_normal((box,) * 3) * ball(box, box // 4, 2)
    lump = fourier.apply_radial(lump.astype(np.float32), (1.0,) * 3, lambda f: np.exp(-((f / 0.06) ** 2)))
    lump /= lump.std()
    return [(lump + noise * rng.standard_normal(lump.shape)).astype(np.float32) for _ in range(2)]


# Closed forms


def test_half_bit():
    wanted = [0.306692, 0.216453, 0.185995, 0.171573]
    assert correlation.information(np.array([100, 1000, 1e4, np.inf])) == pytest.approx(wanted, abs=1e-6)
    n = 400  # the constants of van Heel & Schatz, to the four digits they gave
    half, one = (0.2071 + 1.9102 / 20) / (1.2071 + 0.9102 / 20), (0.5 + 2.4142 / 20) / (1.5 + 1.4142 / 20)
    assert correlation.information(n) == pytest.approx(half, abs=1e-4)
    assert correlation.information(n, bits=1) == pytest.approx(one, abs=1e-4)


def test_correction():
    assert correlation.corrected(0.5, 0.2) == pytest.approx(0.375, rel=1e-12)
    assert 0.5 - correlation.corrected(0.5, 0.2) == pytest.approx(0.2 * (1 - 0.5) / (1 - 0.2), rel=1e-12)
    assert np.isnan(correlation.corrected(0.9, 1.0))
    assert np.array_equal(correlation.corrected([0.3, -0.2], [0, 0]), [0.3, -0.2])


def test_part_and_figure_of_merit():
    assert correlation.of_the_part(0.1, 5) == pytest.approx(0.3571429, rel=CLOSED)
    assert correlation.figure_of_merit(0.143) == pytest.approx(0.5002187, rel=CLOSED)
    assert correlation.figure_of_merit(-0.1) == 0


@pytest.mark.parametrize(("rho", "wanted"), [(0.5, 0.4375), (0.9, 0.0199)])
def test_variance_of_the_fsc_of_one_fixed_signal(rho, wanted):
    assert correlation.variance(rho, 1) == pytest.approx(wanted, rel=CLOSED)
    rng, n, draws = np.random.default_rng(1), 2000, 4000
    signal = rng.standard_normal(n)
    signal *= math.sqrt(rho * n / (1 - rho) / (signal**2).sum())
    a, b = (signal + rng.standard_normal((draws, n)) for _ in range(2))
    found = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    # the variance of a variance from 4000 draws: 2/4000, so 4 standard errors are 9 %
    assert n * found.var() == pytest.approx(wanted, rel=4 * math.sqrt(2 / draws))


def slope_of(edge, t, step=1e-5):
    """-d/dt of an edge profile of gpumask.mask, by differences that stay within it."""
    low, high = np.clip(t - step, 0, 1), np.clip(t + step, 0, 1)
    return (mask_module.edge_profile(low, edge) - mask_module.edge_profile(high, edge)) / (high - low)


@pytest.mark.parametrize(
    ("kernel", "slope"),
    [
        (lambda t: slope_of("linear", t), -6),
        (lambda t: slope_of("cosine", t), -8),
        (lambda t: 30 * (t * (1 - t)) ** 2, -10),  # quintic smoothstep
        (lambda t: 140 * (t * (1 - t)) ** 3, -12),  # septic
    ],
    ids=["linear", "cosine", "quintic", "septic"],
)
def test_tail_slopes(kernel, slope):
    """Shell power of a soft surface, ``k⁻⁴·|G|²``, averaged over lobes: two bands an octave and a half apart."""
    nodes, weights = np.polynomial.legendre.leggauss(1200)
    t, weights = (nodes + 1) / 2, weights / 2

    def band(first):
        kw = np.linspace(first, first + 10, 2001)[:-1]  # whole lobes
        power = np.abs(np.exp(-2j * np.pi * np.outer(kw, t - 0.5)) @ (weights * kernel(t))) ** 2
        return (power * kw**-4.0 * (kw / first) ** -slope).mean()

    assert math.log(band(60.0) / band(20.0)) / math.log(3) == pytest.approx(slope, abs=0.05)


def test_the_flat_faces_of_a_cube():
    """Power along an axis over the mean of the shell is ``a²·q²/(6π)`` once fringes are averaged."""
    box, side = 192, 48
    data = np.zeros((box,) * 3, np.float32)
    data[:side, :side, :side] = 1
    transform = np.abs(np.fft.rfftn(data)) ** 2
    shells = fourier.shells(data.shape, 1.0)
    mean = fourier.shell_power(data, 1.0) / shells.coefficients
    band = np.arange(box // side * 2, box // side * 5)  # three whole fringes
    q = 2 * np.pi * band / box
    ratio = (transform[0, 0, band] * q**2).mean() / (mean[band] * q**4).mean()
    assert ratio == pytest.approx(side**2 / (6 * np.pi), rel=0.05)


def test_the_flat_side_of_an_oblate_ellipsoid():
    """The power along the short axis over that along the long one is ``(a/c)⁴``, 16, to the 15 % of the grid."""
    grid = np.indices((128,) * 3) - 64.0
    data = ((grid[0] / 18) ** 2 + (grid[1] / 36) ** 2 + (grid[2] / 36) ** 2 <= 1).astype(np.float32)
    transform = np.abs(np.fft.rfftn(data)) ** 2
    band = np.arange(8, 30)
    q4 = band.astype(float) ** 4
    assert (transform[band, 0, 0] * q4).mean() / (transform[0, 0, band] * q4).mean() == pytest.approx(16, rel=0.15)
    found = spectrum.mask_spectrum(data, 6, voxel_size=1.0).anisotropy
    assert abs(found["direction"][2]) > math.cos(math.radians(20))


# The onset


def test_onset():
    shells = fourier.shells((100,) * 3, 1.05)
    curve = np.concatenate([np.linspace(1, 0.9, 10), np.linspace(0.85, 0.1, 16), np.full(25, 0.02)])
    first = int(np.flatnonzero(curve < 0.8)[0])
    assert correlation.onset_shell(curve, shells) == first
    assert correlation.onset_shell(curve, shells, "0.143") == int(np.flatnonzero(curve < 0.143)[0])
    assert correlation.onset_shell(curve, shells, "10.5A") == 10
    assert correlation.onset_shell(curve, shells, 10.4) == 11
    assert correlation.onset_shell(curve, shells, 10.4, "relion") == 10
    assert correlation.onset_shell(np.ones(51), shells) is None


@pytest.mark.parametrize("rule", ["1.9A", 0, "-0.5", "5px", "soon"])
def test_an_onset_that_cannot_be(rule):
    with pytest.raises(UsageError, match="onset"):
        correlation.onset_shell(np.ones(51), fourier.shells((100,) * 3, 1.05), rule)


# Random phases


@pytest.mark.parametrize(("shape", "size"), [((16, 16, 16), 1.0), ((15, 12, 14), 1.0), ((9, 11, 13), (1.0, 1.2, 0.9))])
def test_random_phases_keep_amplitudes_and_hermitian_mates(xp, shape, size):
    noise = np.random.default_rng(0).standard_normal(shape)
    transform = fourier.rfftn(xp.asarray(noise))
    turned = phases.randomized(transform, shape, size, 3, seed=5, half=0)
    before, after = backend.to_numpy(transform), backend.to_numpy(turned)
    assert np.abs(np.abs(after) - np.abs(before)).max() <= 1e-12 * np.abs(before).max()
    shells = fourier.shells(shape, size)
    z, y, x = shells.squares
    inside = (y[:, None] + x) + z[:, None, None] < 9 - 1e-6
    assert np.array_equal(after[inside], before[inside])
    assert np.isclose(after[~inside], before[~inside]).mean() < 0.05  # but for the few real ones that keep their sign
    # a round trip through the real array changes nothing: every mate is its mate's conjugate, all power stays
    again = backend.to_numpy(fourier.rfftn(fourier.irfftn(turned.copy(), shape)))
    assert np.abs(again - after).max() <= 1e-12 * np.abs(before).max()
    plane = [(np.abs(t[:, :, 0]) ** 2).sum() for t in (again, before)]
    assert plane[0] == pytest.approx(plane[1], rel=1e-12)


def test_random_phases_are_uniform_and_differ_with_seed_half_and_wave_vector():
    shape = (64,) * 3
    ones = np.ones((64, 64, 33), complex)
    draws = [phases.randomized(ones, shape, 1.0, 1, *key) for key in ((0, 0), (1, 0), (0, 1))]
    inner = [d[:, :, 1:32].reshape(-1) for d in draws]
    limit = 4 / math.sqrt(len(inner[0]))  # standard errors of a mean of unit phasors
    for values in inner:
        for power in (1, 2, 3):  # moments of a uniform phase vanish
            assert abs((values**power).mean()) < limit
        assert abs((values[1:] * values[:-1].conj()).mean()) < limit
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert abs((inner[a] * inner[b].conj()).mean()) < limit


def test_random_phases_belong_to_the_wave_vector():
    """The same in a larger box, wherever both have the coefficient; any chunk of planes gives the same."""
    small, large = (phases.randomized(np.ones((n, n, n // 2 + 1), complex), (n,) * 3, 1.0, 1, 3, 1) for n in (12, 20))
    index = list(range(-5, 6))
    assert np.array_equal(small[np.ix_(index, index, range(1, 6))], large[np.ix_(index, index, range(1, 6))])


def test_random_phases_do_not_depend_on_chunks(monkeypatch):
    ones = np.ones((12, 10, 8), complex)
    whole = phases.randomized(ones, (12, 10, 14), 1.0, 2, 7, 0)
    monkeypatch.setattr(phases, "CHUNK", 1)
    assert np.array_equal(phases.randomized(ones, (12, 10, 14), 1.0, 2, 7, 0), whole)


# The leak


@pytest.mark.parametrize("mask", [ball(48, 12), ball(48, 10, 6), ball(48, 6, 4)], ids=["hard", "soft", "cutting"])
def test_the_predicted_leak_is_the_mean_of_the_draws(mask):
    """The scatter of their mean is the measure; shells under one mask are correlated, so that it is loose."""
    prepared = correlation.half_maps(*halves(), 1.0)
    predicted = prepared.predicted(mask)
    draws = np.array([prepared.measured(mask, seed) for seed in range(DRAWS)])
    judged = slice(prepared.onset, None)
    off = (predicted - draws.mean(axis=0))[judged]
    error = draws.std(axis=0, ddof=1)[judged] / math.sqrt(DRAWS)
    assert ((off / error) ** 2).mean() < 2.0
    assert predicted[prepared.onset + 1] > 0.2  # there is something to predict


def test_a_mask_of_everything_leaks_nothing():
    prepared = correlation.half_maps(*halves(), 1.0)
    predicted = prepared.predicted(np.ones((48,) * 3, np.float32))
    # white noise is white after the mask: the part below the onset stays there, to the rounding of float32 maps
    # (half of the onset's own shell lies before it)
    assert np.abs(predicted[prepared.onset + 1 :]).max() < 1e-6


def test_masking_before_randomising_would_hide_the_leak():
    """The wrong order is told apart: it gives zero where the right one does not."""
    first, second = halves()
    mask = ball(48, 6)
    prepared = correlation.half_maps(first, second, 1.0)
    wrong = []
    for half, array in enumerate((first, second)):
        transform = fourier.rfftn(array * mask)
        wrong.append(phases.randomized(transform, mask.shape, 1.0, prepared.onset, 0, half))
    judged = slice(prepared.onset + 1, prepared.onset + 6)
    sums = [
        fourier.shell_sums(a, b, mask.shape, 1.0) for a, b in ((wrong[0], wrong[1]), (wrong[0],) * 2, (wrong[1],) * 2)
    ]
    assert abs(correlation.curve(*sums)[judged].mean()) < 0.1
    assert prepared.measured(mask, 0)[judged].mean() > 0.3


def test_a_softer_edge_leaks_less():
    prepared = correlation.half_maps(*halves(), 1.0)
    leaks = [prepared.predicted(ball(48, 8, width))[prepared.onset + 3 :].mean() for width in (0, 3, 6, 12)]
    assert leaks == sorted(leaks, reverse=True)


def test_the_halves_are_alike():
    first, second = halves()
    mask = ball(48, 8, 4)
    one, two = (correlation.half_maps(*pair, 1.0) for pair in ((first, second), (second, first)))
    assert np.array_equal(one.unmasked, two.unmasked)
    assert np.array_equal(one.predicted(mask), two.predicted(mask))


def test_devices_agree(xp):
    first, second = halves()
    mask = ball(48, 8, 4)
    host = correlation.half_maps(first, second, 1.0)
    there = correlation.half_maps(xp.asarray(first), xp.asarray(second), 1.0)
    assert there.onset == host.onset
    assert there.predicted(xp.asarray(mask)) == pytest.approx(host.predicted(mask), abs=1e-5)
    assert there.measured(xp.asarray(mask), 3) == pytest.approx(host.measured(mask, 3), abs=1e-5)
    assert there.density(xp.asarray(mask)) == pytest.approx(host.density(mask), abs=1e-4)


def test_density_that_is_cut():
    first, second = halves(noise=0.05)
    prepared = correlation.half_maps(first, second, 1.0)
    cut = [prepared.density(ball(48, radius, 2)) for radius in (20, 12, 8, 5)]
    assert [c[0] for c in cut] == sorted(c[0] for c in cut)
    assert cut[0][0] == pytest.approx(0, abs=0.01)
    assert cut[0][1] < 0.05 < 0.5 < cut[3][1]


@pytest.mark.parametrize("name", ["iso_mask_lp15_t0012_e3_s6", "iso_mask_tight_lp6_t008_e0_s3"])
def test_prediction_on_reconstructed_half_maps(data, name):
    """Simulated particles, reconstructed by RELION, under RELION's masks: the issue's 0.01."""
    first, second = (io.load(data / "halves" / f"sim_iso_half{i}_unfil.mrc.gz")[0] for i in (1, 2))
    mask = io.load(data / "relion_postprocess" / f"{name}.mrc.gz")[0].data
    prepared = correlation.half_maps(first.data, second.data, first.voxel_size)
    predicted = prepared.predicted(mask)
    draws = np.array([prepared.measured(mask, seed) for seed in range(DRAWS)])
    off = (predicted - draws.mean(axis=0))[prepared.onset :]
    error = draws.std(axis=0, ddof=1)[prepared.onset :] / math.sqrt(DRAWS)
    assert math.sqrt((off**2).mean()) <= 0.01
    assert abs(off.mean()) <= 0.01
    assert 0.7 < ((off / error) ** 2).mean() < 2.0


# Half maps that are not to be trusted


def test_masked_half_maps_are_told():
    first, second = halves()
    soft = ball(48, 15, 4)
    for a, b in ((first * soft, second * soft), (first * soft, second)):
        assert correlation.signs_of_a_mask(a, b)[0] > 0.2
    flattened = [half * (0.05 + 0.95 * soft) for half in (first, second)]  # solvent scaled down, nowhere zero
    assert correlation.signs_of_a_mask(*flattened)[0] > 0.2
    assert correlation.signs_of_a_mask(first, second) == (0, [])
    window = ball(48, 24, 1)  # over the corners alone
    share, notes = correlation.signs_of_a_mask(first * window, second * window)
    assert share <= 0.05
    assert len(notes) == 1
    assert "masked" in correlation.half_maps(*flattened, 1.0).refusal


def test_real_maps_are_told_apart(data):
    first, second = (io.load(data / "halves" / f"sim_iso_half{i}_unfil.mrc.gz")[0] for i in (1, 2))
    assert correlation.signs_of_a_mask(first.data, second.data)[0] <= 0.05
    mask = io.load(data / "relion_postprocess" / "iso_mask_lp15_t0012_e3_s6.mrc.gz")[0].data
    assert correlation.signs_of_a_mask(first.data * mask, second.data * mask)[0] > 0.2


def test_what_masked_half_maps_leave_undefined():
    soft = ball(48, 15, 4)
    first, second = (half * soft for half in halves())
    found = gm.mask_spectrum(ball(48, 10, 5), 4, first, second, voxel_size=1.0)
    assert found.predicted_fsc is None
    assert found.k_leak is None
    assert any("masked" in text for text in found.warnings)
    told = gm.mask_spectrum(ball(48, 10, 5), 4, first, second, voxel_size=1.0, assume_unmasked=True, seeds=1)
    assert told.predicted_fsc is not None
    assert told.measured_fsc["sd"][10] is None  # of one draw


def test_leak_metrics_follow_the_curve():
    first, second = halves()
    found = gm.mask_spectrum(ball(48, 8), 4, first, second, voxel_size=1.0, seeds=3)
    prepared = correlation.half_maps(first, second, 1.0)
    curve = np.array(found.predicted_fsc)
    last = int(np.flatnonzero(curve > 0.05)[-1])
    assert found.k_leak == pytest.approx(last / 48)
    assert found.mask_limited_resolution == pytest.approx(48 / last)
    assert found.leak_mean == pytest.approx(curve[prepared.onset + 3 : 13].mean())
    assert found.measured_fsc["seeds"] == 3
    assert len(found.measured_fsc["mean"]) == len(found.measured_fsc["sd"]) == len(found.shells) == len(curve)
    shared = gm.mask_spectrum(ball(48, 8), 4, halves=prepared, voxel_size=1.0, seeds=3)
    assert shared.to_dict() == found.to_dict()


@pytest.mark.parametrize("box", [32, 64, 100])
@pytest.mark.parametrize(("radius", "masked"), [(0.80, True), (0.90, True), (0.95, True), (1.0, False), (1.1, False)])
def test_thin_rims_count(box, radius, masked):
    """Noise that a hard ball cuts: 0.95 of the inscribed sphere leaves 14 % of it empty."""
    rng = np.random.default_rng(box)
    cut = ball(box, radius * box / 2 + 0.5)
    share, _ = correlation.signs_of_a_mask(*(rng.standard_normal((2, *cut.shape)).astype(np.float32) * cut))
    assert (share > 0.05) == masked
    if masked and box > 32:
        assert share == pytest.approx(1 - radius**3, abs=0.06)  # centres half a voxel apart, a rim half a voxel wide


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda a, b: (a, b * 0), "one value everywhere"),
        (lambda a, b: (a, b[:-1]), "one box"),
        (lambda a, b: (a, np.where(b == b.max(), np.nan, b)), "second half map has NaN"),
        (lambda a, b: (a, a.copy()), "the same map"),
    ],
)
def test_half_maps_that_are_refused(change, text):
    with pytest.raises(InputRefused, match=text):
        correlation.half_maps(*change(*halves(24)), 1.0)


def test_a_curve_that_never_drops():
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal((24,) * 3).astype(np.float32) for _ in range(2))
    prepared = correlation.half_maps(first, first + second / 100, 1.0, onset=0.5)
    assert prepared.onset is None
    assert "never drops below 0.5" in prepared.refusal
    found = gm.mask_spectrum(ball(24, 6), halves=prepared, voxel_size=1.0)
    assert found.k_leak is None
    assert any("never drops" in text for text in found.warnings)


def test_half_maps_need_the_grid_of_the_mask():
    first, second = halves(24)
    with pytest.raises(InputRefused, match="one box"):
        gm.mask_spectrum(ball(32, 8), 6, first, second, voxel_size=1.0)
    with pytest.raises(InputRefused, match="voxel sizes differ"):
        gm.mask_spectrum(gm.Volume(ball(24, 6), 1.1), 6, gm.Volume(first, 1.0), gm.Volume(second, 1.0))
    for options in ({"half1": first}, {"onset": 0.8}, {"half1": first, "half2": second, "halves": object()}):
        with pytest.raises(UsageError):
            gm.mask_spectrum(ball(24, 6), voxel_size=1.0, **options)


def test_noise_and_signal_of_the_mean_map(xp):
    """White noise of variance v in each half leaves v/2 in the mean; the signal's power is that of the signal."""
    rng = np.random.default_rng(4)
    mask = ball(48, 14, 6)
    signal = fourier.apply_radial(rng.standard_normal((48,) * 3).astype(np.float32), (1.0,) * 3, lambda f: f < 0.2)
    pair = [(signal + 2 * rng.standard_normal(signal.shape)).astype(np.float32) for _ in range(2)]
    for around in (None, mask):
        there = None if around is None else xp.asarray(around)
        noise, power = correlation.noise_spectrum(*(xp.asarray(half) for half in pair), 1.0, there)
        effective = fourier.shells(mask.shape, 1.0).coefficients[: len(noise)]
        if around is not None:
            effective = spectrum.effective_coefficients(mask, 1.0)
        judged = slice(6, 24)
        scatter = np.sqrt(2 / effective[judged])  # of a mean of squares
        assert (np.abs(noise[judged] / 2 - 1) <= 5 * scatter).all()
        alone = signal if around is None else signal * around
        truth = fourier.shell_power(alone, 1.0) / fourier.shells(mask.shape, 1.0).coefficients
        truth = truth[: len(noise)] / (mask.size if around is None else (mask.astype(float) ** 2).sum())
        error = np.sqrt(2 * (4 * truth + 8) / effective)[judged]  # (s·n1 + s·n2 + n1·n2) over n
        assert (np.abs(power - truth)[judged] <= 5 * error).all()
        if around is None:
            fsc = correlation.half_maps(*pair, 1.0, "20A").unmasked[judged]
            assert (power / noise)[judged] == pytest.approx(2 * fsc / (1 - fsc), rel=0.2, abs=0.2)


def test_density_by_hand():
    """Cut fraction and hard-cut index from their definitions, float64."""
    first, second = halves(box=64, noise=0.05)
    first, second = (half + 3 * ball(64, 14, 6) for half in (first, second))
    mask = ball(64, 10, 4)
    prepared = correlation.half_maps(first, second, 1.0, "8A")
    frequency = np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(64)] * 3, indexing="ij")))
    index = frequency * 64 + 1e-9
    low = [np.fft.ifftn(np.fft.fftn(half) * (index < prepared.onset)).real for half in (first, second)]
    power, mean = low[0] * low[1], (low[0] + low[1]) / 2
    mean = np.fft.ifftn(np.fft.fftn(mean) * (frequency <= 1 / 20)).real
    particle = mean >= 0.2 * mean.max()
    cut = 1 - (power * mask)[particle].sum() / power[particle].sum()
    steep = np.sqrt(sum(g**2 for g in np.gradient(mask.astype(float))))
    hard = steep[power > 0.05 * (power * mask).sum() / mask.sum()].sum() / steep.sum()
    found = prepared.density(mask)
    assert 0.05 < cut < 0.9
    assert found == pytest.approx((cut, hard), abs=2e-3)  # a voxel or two at the levels, by rounding


def test_hard_cuts_are_measured_in_angstrom():
    """Voxels of 4 x 1 x 1 Å: the gradient across a face is per Å, whichever the axis."""
    first, second = halves(box=48, noise=0.05)
    size = (4.0, 1.0, 1.0)
    prepared = correlation.half_maps(first, second, size, "20A")
    mask = np.zeros((48,) * 3, np.float32)
    mask[20:28, 12:36, 12:36] = 1
    steep = np.sqrt(sum(g**2 for g in np.gradient(mask.astype(float), *size)))
    power = prepared._low(0).astype(float) * prepared._low(1)
    hard = steep[power > 0.05 * (power * mask).sum() / mask.sum()].sum() / steep.sum()
    assert prepared.density(mask)[1] == pytest.approx(hard, abs=1e-3)


def test_no_alarm_below_the_onset():
    """A target that is coarser than the onset: the FSC there is the map's own."""
    first, second = halves()
    found = gm.mask_spectrum(ball(48, 12, 6), 20, first, second, onset=0.143, voxel_size=1.0, seeds=0)
    assert not any("by itself" in text for text in found.warnings)
    assert found.measured_fsc is None
    cutting = gm.mask_spectrum(ball(48, 5), 3.5, first, second, onset="8A", voxel_size=1.0, seeds=0)
    assert any("by itself" in text for text in cutting.warnings)


def test_an_inverted_half_map_is_told():
    first, second = halves()
    assert any("inverted" in text for text in correlation.half_maps(first, -second, 1.0).notes)
