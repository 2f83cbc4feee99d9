"""The spectrum of a mask against closed forms, oracles and laws. Numbers without a name are analytic values."""

import math

import numpy as np
import pytest
from scipy.signal.windows import dpss

import gpumask as gm
from gpumask import fourier, mask, spectrum
from gpumask.errors import InputRefused, UsageError

CLOSED = 1e-6  # relative: the analytic values are given to seven digits or more


def hann_cube(box):
    """The product of three raised cosines that fall from the middle to the faces."""
    line = 0.5 + 0.5 * np.cos(np.pi * (np.arange(box) - box // 2) / (box // 2))
    return (line[:, None, None] * line[:, None] * line).astype(np.float32)


def ball(box, radius, width=0.0, centre=None):
    middle = box // 2 if centre is None else centre
    grid = np.indices((box,) * 3).astype(float)
    distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, np.broadcast_to(middle, 3), strict=True)))
    if not width:
        return (distance <= radius).astype(np.float32)
    return (0.5 + 0.5 * np.cos(np.pi * np.clip((distance - radius) / width, 0, 1))).astype(np.float32)


# Closed forms


def test_hard_sphere():
    assert spectrum.sphere_volume(20, 0) == pytest.approx(33510.3216, rel=CLOSED)
    assert spectrum.sphere_transform(1e-6, 20, 0) == pytest.approx(33510.3216, rel=CLOSED)
    assert spectrum.sphere_transform(0.05, 20, 0) == pytest.approx(-2546.479089, rel=CLOSED)
    assert spectrum.sphere_transform(0.05, 20, 0) == pytest.approx(-(20**3) / math.pi, rel=1e-12)
    zero = 0.7151483 / 20
    assert spectrum.sphere_transform(zero * (1 - 1e-6), 20, 0) > 0 > spectrum.sphere_transform(zero * (1 + 1e-6), 20, 0)


@pytest.mark.parametrize(
    ("radius", "width", "volume", "energy"),
    [
        (20, 10, 66937.630860, 57068.831595),
        (30, 5, 144276.843520, 135974.660141),
        (0, 20, 6569.244461, 3017.074029),
    ],
)
def test_sphere_with_a_cosine_edge(radius, width, volume, energy):
    assert spectrum.sphere_volume(radius, width) == pytest.approx(volume, rel=CLOSED)
    assert spectrum.sphere_energy(radius, width) == pytest.approx(energy, rel=CLOSED)
    assert spectrum.sphere_transform(1e-7, radius, width) == pytest.approx(volume, rel=1e-4)


@pytest.mark.parametrize(
    ("k", "radius", "width", "value"),
    [
        (0.05, 20, 10, 1500 / math.pi),  # the removable pole q = π/w
        (0.05 / (2 * math.pi), 30, 5, 109369.076411),
        (0.1 / (2 * math.pi), 30, 5, 38993.513751),
    ],
)
def test_transform_of_a_sphere_with_a_cosine_edge(k, radius, width, value):
    assert spectrum.sphere_transform(k, radius, width) == pytest.approx(value, rel=CLOSED)


def test_raised_cosine_edge():
    wanted = [0.6168503, 1 / 9, 0, 1 / 225, 1.0203041e-4]
    assert spectrum.half_sine_transform([0.5, 1, 1.5, 2, 5]) ** 2 == pytest.approx(wanted, rel=CLOSED, abs=1e-12)
    kw = np.linspace(0, 2000, 4_000_001)
    area = np.trapezoid(spectrum.half_sine_transform(kw) ** 2, kw)
    assert area == pytest.approx(math.pi**2 / 16, rel=CLOSED)
    t = np.linspace(0, 1, 1_000_001)
    edge = mask.edge_profile(t)
    slope = -np.gradient(edge, t)
    middle = np.trapezoid(t * slope, t)
    assert np.trapezoid((t - middle) ** 2 * slope, t) == pytest.approx(0.0473576, abs=1e-6)
    assert np.interp(0.9, 1 - edge, t) - np.interp(0.1, 1 - edge, t) == pytest.approx(0.5903345, abs=1e-6)
    assert np.trapezoid(edge * (1 - edge), t) == pytest.approx(1 / 8, abs=1e-6)


@pytest.mark.parametrize(("bandwidth", "decibel"), [(1, -17.22), (1.5, -29.56), (2, -42.42), (3, -68.70), (4, -95.30)])
def test_slepian_windows_are_that_concentrated(bandwidth, decibel):
    _, ratios = dpss(2048, bandwidth, Kmax=1, return_ratios=True)
    assert 10 * math.log10(1 - ratios[0]) == pytest.approx(decibel, abs=0.01)


# On the grid


@pytest.mark.parametrize(("radius", "width", "error"), [(20, 0, 0.5), (20, 10, 0.02), (30, 5, 0.02)])
def test_shell_power_is_the_closed_form(radius, width, error):
    """rms in dB over the shells from 0.05 to 0.25 cycles/px; beyond it aliasing rules."""
    data = ball(128, radius, width)
    axis = np.fft.fftfreq(128) ** 2
    k = np.sqrt(axis[:, None, None] + axis[None, :, None] + (np.fft.rfftfreq(128) ** 2)[None, None, :])
    k[0, 0, 0] = 1e-7
    closed = spectrum.sphere_transform(k, radius, width).astype(complex)
    wanted = fourier.shell_sums(closed, closed, data.shape, 1.0)
    shells = slice(math.ceil(0.05 * 128), math.floor(0.25 * 128) + 1)
    off = 10 * np.log10(fourier.shell_power(data, 1.0)[shells] / wanted[shells])
    assert math.sqrt((off**2).mean()) <= error


def test_porod():
    k = np.linspace(0.25, 0.25 + 10 / 20, 20001)[:-1]  # whole fringes of R = 20: their mean at k⁴ is Porod's law
    mean = (spectrum.sphere_transform(k, 20, 0) ** 2 * k**4).mean()
    assert mean == pytest.approx(5187.644602 * 0.25**4, rel=1e-3)  # the next term is 1/(qR)² of it: 1e-3 at k = 0.25
    found = spectrum.mask_spectrum(ball(128, 20), voxel_size=1.0)
    assert found.porod_ratio == pytest.approx(1.0, abs=0.1)
    assert found.falloff_exponent == pytest.approx(-4, abs=0.4)


def test_a_cosine_edge_falls_as_the_eighth_power():
    found = spectrum.mask_spectrum(ball(128, 20, 10), voxel_size=1.0)
    assert found.falloff_exponent < -7.5
    assert abs(found.edge_excess_db) < 3
    assert found.equivalent_edge_px == pytest.approx(10, abs=0.05)


def test_a_box_is_its_product_of_sines():
    """A cuboid of 9 x 11 x 13 voxels in 32³: power of every shell from the closed form."""
    data = np.zeros((32, 32, 32), np.float32)
    data[3:12, 4:15, 5:18] = 1
    axes = []
    for length, k in zip((9, 11, 13), (np.fft.fftfreq(32), np.fft.fftfreq(32), np.fft.rfftfreq(32)), strict=True):
        safe = np.where(k == 0, 1, k)
        axes.append(np.where(k == 0, length, np.sin(np.pi * safe * length) / np.sin(np.pi * safe)))
    closed = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    phase = [
        np.exp(-2j * np.pi * k * c)
        for k, c in zip((np.fft.fftfreq(32), np.fft.fftfreq(32), np.fft.rfftfreq(32)), (7, 9, 11), strict=True)
    ]
    placed = closed * phase[0][:, None, None] * phase[1][None, :, None] * phase[2][None, None, :]
    assert np.abs(fourier.rfftn(data) - placed).max() < 1e-9
    shells = fourier.shells(data.shape, 1.0)
    wanted = fourier.shell_sums(closed.astype(complex), closed.astype(complex), data.shape, 1.0)
    assert fourier.shell_power(data, 1.0) == pytest.approx(wanted, rel=1e-6, abs=1e-9 * wanted[0])
    assert shells.coefficients.sum() == data.size


def test_the_volume_metrics_of_a_gaussian():
    grid = np.indices((96,) * 3) - 48.0
    data = np.exp(-(grid**2).sum(0) / (2 * 8**2)).astype(np.float32)
    found = spectrum.mask_spectrum(data, voxel_size=1.0)
    assert found.volume_angstrom3 == pytest.approx(8063.800292, rel=1e-6)
    assert (data.astype(float) ** 2).sum() == pytest.approx(2850.983934, rel=1e-6)
    assert found.effective_voxels == pytest.approx(8063.800292, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "data", "wanted"),
    [
        ("no mask", np.ones((64,) * 3, np.float32), 1.0),
        ("hard, D/L = 1/2", ball(64, 16), 0.186),
        ("hard, D/L = 0.31", ball(64, 10), 0.070),
        ("cosine", ball(64, 12, 8), 0.176),
        ("Hann ball", ball(64, 0, 32), 0.255),
        ("Hann cube", hann_cube(64), 0.288),
        ("Gaussian", ball(64, 0, 1), None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_effective_coefficients(name, data, wanted):
    """Shells 10 to 30 of 64³ against the exact sum over the grid, to the 5 % that the spherical mean may cost."""
    if name == "Gaussian":
        grid = np.indices((64,) * 3) - 32.0
        data, wanted = np.exp(-(grid**2).sum(0) / (2 * 8.0**2)).astype(np.float32), 0.1024
    rows = spectrum.mask_spectrum(data, voxel_size=1.0).shells[10:31]
    found = np.mean([row["n_effective"] / row["n_coefficients"] for row in rows])
    assert found == pytest.approx(wanted, rel=0.05)


def on_the_grid(data):
    """``(n·E)²`` over ``Σ A(x)·v(x)²``, A the autocorrelation of m² and v the transform of the shell's own voxels."""
    correlation = np.fft.ifftn(np.abs(np.fft.fftn(data.astype(float) ** 2)) ** 2).real
    axes = np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in data.shape), indexing="ij")
    shell_of = (np.sqrt(sum(axis**2 for axis in axes)) + 0.5).astype(int)
    found = []
    for shell in range(1, data.shape[0] // 2 + 1):
        v = np.fft.fftn(shell_of == shell).real
        n = (shell_of == shell).sum()
        found.append((n * (data.astype(float) ** 2).sum()) ** 2 / (correlation * v * v).sum())
    return np.array(found)


@pytest.mark.parametrize(
    "data",
    [np.ones((48,) * 3, np.float32), ball(48, 12), ball(48, 9, 6), ball(48, 6, 6), hann_cube(48)],
    ids=["no mask", "hard", "soft", "small", "Hann cube"],
)
def test_effective_coefficients_of_each_shell(data):
    """Bins of 1/8 shell put a distance off by up to 1/16, where pairs grow fewer by half a shell's worth a shell. Of
    the first three shells a volume says too little, and the last three also have pairs across the end of the axes."""
    rows = spectrum.mask_spectrum(data, voxel_size=1.0).shells
    found = np.array([row["n_effective"] for row in rows[1:]])
    assert (np.abs(found / on_the_grid(data) - 1) <= 1 / 32)[3:-3].all()


@pytest.mark.parametrize(
    "data",
    [np.ones((48,) * 3, np.float32), ball(48, 12), ball(48, 9, 6), hann_cube(48)],
    ids=["no mask", "hard", "soft", "Hann cube"],
)
def test_masked_noise_scatters_as_n_effective_says(data):
    """Independent noise under one mask: the FSC is 0 on average, and its spread is 1/sqrt(n_effective), to 5 %. The
    variance of 400 draws in 15 shells is known to 1.8 % where shells are independent."""
    rng = np.random.default_rng(0)
    shells = slice(8, 23)
    effective = np.array([row["n_effective"] for row in spectrum.mask_spectrum(data, voxel_size=1.0).shells[shells]])
    draws = []
    for _ in range(400):
        a, b = (fourier.rfftn(rng.standard_normal(data.shape, np.float32) * data) for _ in range(2))
        cross, first, second = (fourier.shell_sums(x, y, data.shape, 1.0) for x, y in ((a, b), (a, a), (b, b)))
        draws.append((cross / np.sqrt(first * second))[shells])
    normed = np.array(draws) * np.sqrt(effective)
    assert abs(normed.mean()) <= 4 / math.sqrt(normed.size)
    assert (normed**2).mean() == pytest.approx(1.0, rel=0.05)


# Laws


def test_power_does_not_care_where_the_mask_is():
    here, there = (ball(64, 9, 6, centre) for centre in ((20, 22, 24), (31, 30, 29)))
    assert fourier.shell_power(here, 1.0) == pytest.approx(fourier.shell_power(there, 1.0), rel=1e-5, abs=1e-3)


def test_parseval():
    data = ball(48, 9, 6)
    assert fourier.shell_power(data, 1.4).sum() == pytest.approx((data.astype(float) ** 2).sum() * data.size, rel=1e-6)


def test_leakage_falls_with_width_and_frequency():
    found = [spectrum.mask_spectrum(ball(96, 16, width), voxel_size=1.0).leakage for width in (0, 4, 10)]
    for rows in found:
        fractions = [row["fraction"] for row in rows]  # from 20 Å to 3 Å
        assert fractions == sorted(fractions, reverse=True)
        assert all(0 <= f <= 1 for f in fractions)
    for hard, soft in zip(found[0], found[2], strict=True):
        assert soft["fraction"] < hard["fraction"]


def test_units_scale_with_the_voxel():
    """The same voxels at 1 and at 2 Å: frequencies halve, decibels stay."""
    one, two = (spectrum.mask_spectrum(ball(48, 9, 6), voxel_size=v) for v in (1.0, 2.0))
    for a, b in zip(one.shells, two.shells, strict=True):
        assert b["frequency"] == pytest.approx(a["frequency"] / 2)
        assert b["power_db"] == pytest.approx(a["power_db"])
        assert b["hann_power_db"] == pytest.approx(a["hann_power_db"])
    assert two.volume_angstrom3 == pytest.approx(8 * one.volume_angstrom3)
    assert two.equivalent_edge_px == pytest.approx(one.equivalent_edge_px)


def test_anisotropy_points_along_the_flat_face():
    """A slab's power lies along its normal."""
    for axis, direction in ((0, (0, 0, 1)), (1, (0, 1, 0)), (2, (1, 0, 0))):
        data = np.zeros((64,) * 3, np.float32)
        cut = [slice(16, 48)] * 3
        cut[axis] = slice(29, 35)
        data[tuple(cut)] = 1
        found = spectrum.mask_spectrum(data, resolution=4, voxel_size=1.0).anisotropy
        assert found["max_db"] > 6
        assert abs(np.dot(found["direction"], direction)) > math.cos(math.radians(20))
    assert spectrum.mask_spectrum(ball(64, 16, 8), resolution=6, voxel_size=1.0).anisotropy["max_db"] < 3


def test_asymmetric_units_divide_n_effective():
    one, four = (spectrum.mask_spectrum(ball(48, 9, 6), voxel_size=1.0, asymmetric_units=n) for n in (1, 4))
    assert four.shells[9]["n_effective"] == pytest.approx(one.shells[9]["n_effective"] / 4)


@pytest.mark.parametrize(
    ("width", "resolution", "verdict"),
    [(0, None, "hard"), (0, 4, "hard"), (10, None, None), (10, 4, "narrow"), (20, 4, "ok")],
)
def test_verdict(width, resolution, verdict):
    found = spectrum.mask_spectrum(ball(96, 16, width), resolution, voxel_size=1.0)
    assert found.verdict == verdict
    assert found.minimum_soft_edge_px == (None if resolution is None else 5 * resolution)


def test_a_mask_made_here_knows_its_edge():
    data = np.zeros((40, 40, 40), np.float32)
    data[18:22, 18:22, 18:22] = 1
    made = gm.create_mask(gm.Volume(data, 1.4), threshold=0.5, dilation="2px", soft_edge="9.8A")
    found = gm.mask_spectrum(made, resolution=4)
    assert found.soft_edge_px == 7
    assert found.box == [40, 40, 40]


@pytest.mark.parametrize(
    ("data", "options", "text"),
    [
        (np.full((8, 8, 8), 1.2), {}, "values from 0 to 1"),
        (np.zeros((8, 8, 8)), {}, "values from 0 to 1"),
        (ball(16, 4), {"resolution": 1.5}, "beyond Nyquist"),
        (ball(16, 4), {"asymmetric_units": 0}, "asymmetric units"),
    ],
)
def test_what_cannot_be_is_refused(data, options, text):
    with pytest.raises(UsageError if options else InputRefused, match=text):
        spectrum.mask_spectrum(data, voxel_size=1.0, **options)


def test_a_plain_array_needs_a_voxel_size():
    with pytest.raises(TypeError, match="voxel_size"):
        spectrum.mask_spectrum(ball(8, 2))


def test_anisotropic_voxels_measure_the_same_ball():
    """A linear edge of 12 Å on a ball of 16 Å, on voxels of 1 Å and of 2 x 1 x 0.5 Å; each px is the smallest edge."""

    def sampled(shape, size):
        axes = [(np.arange(n) - n // 2) * v for n, v in zip(shape, size, strict=True)]
        distance = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))
        return np.clip((28 - distance) / 12, 0, 1).astype(np.float32)

    cubes = spectrum.mask_spectrum(sampled((64,) * 3, (1.0,) * 3), voxel_size=1.0)
    bricks = spectrum.mask_spectrum(sampled((32, 64, 128), (2.0, 1.0, 0.5)), voxel_size=(2.0, 1.0, 0.5))
    assert bricks.equivalent_edge_px * 0.5 == pytest.approx(cubes.equivalent_edge_px, rel=0.03)  # differences over 4 Å
    assert bricks.volume_angstrom3 == pytest.approx(cubes.volume_angstrom3, rel=1e-3)
    for here, there in zip(bricks.shells[1:12], cubes.shells[1:12], strict=True):
        assert here["hann_power_db"] == pytest.approx(there["hann_power_db"], abs=0.02)
        assert here["power_db"] == pytest.approx(there["power_db"], abs=0.5)


def test_the_hann_ball_by_quadrature():
    """``M(k) = (4π/q)·∫ m(r)·r·sin(qr) dr`` by Simpson's rule, its square averaged over each shell."""
    from scipy.integrate import simpson

    found = spectrum.mask_spectrum(ball(64, 12, 8), voxel_size=1.5)
    width = (found.volume_angstrom3 / (2 * math.pi * (1 / 3 - 2 / math.pi**2))) ** (1 / 3)
    r = np.linspace(0, width, 4001)
    profile = 0.5 + 0.5 * np.cos(math.pi * r / width)
    for i in (1, 3, 6, 12):
        k = np.linspace(i - 0.5, i + 0.5, 201) / (64 * 1.5)
        q = 2 * math.pi * k[:, None]
        transform = simpson(4 * math.pi * profile * r * np.sin(q * r) / q, x=r, axis=1)
        mean = simpson(transform**2 * k**2, x=k) / simpson(k**2, x=k)
        assert found.shells[i]["hann_power_db"] == pytest.approx(
            10 * math.log10(mean / found.volume_angstrom3**2), abs=0.01
        )


@pytest.mark.parametrize("size", [1.0, (1.0, 1.2, 0.9)])
def test_leakage_is_the_power_beyond(size):
    """Against every coefficient of the transform; only the shell that holds the limit is shared out by volume."""
    data = ball(48, 10, 5)
    found = spectrum.mask_spectrum(data, 7.3, voxel_size=size)
    edges = np.broadcast_to(size, 3)
    frequency = np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(48, v) for v in edges], indexing="ij")))
    power = np.abs(np.fft.fftn(data)) ** 2
    step = fourier.shells(data.shape, size).step
    assert 7.3 in [row["resolution"] for row in found.leakage]
    for row in found.leakage:
        limit = 1 / row["resolution"]
        total = power.sum()
        inner, outer = (power[frequency > limit + side * step].sum() / total for side in (0.5, -0.5))
        assert inner <= row["fraction"] <= outer
        exact = power[frequency > limit].sum() / total
        assert abs(row["fraction"] - exact) <= 0.5 * (outer - inner)  # half of what the shell holds


def test_anisotropy_is_the_mean_in_the_cone_of_20_degrees():
    rng = np.random.default_rng(2)
    data = fourier.apply_radial(rng.standard_normal((32,) * 3).astype(np.float32), (1.0,) * 3, lambda f: f < 0.1) > 0.1
    found = spectrum.mask_spectrum(data.astype(np.float32), 4, voxel_size=1.0).anisotropy
    k = np.stack(np.meshgrid(*[np.fft.fftfreq(32, 1 / 32)] * 3, indexing="ij"), axis=-1)
    radius = np.sqrt((k**2).sum(axis=-1))
    power = np.abs(np.fft.fftn(data.astype(float))) ** 2
    shell = np.round(radius) == 8
    axis = np.array(found["direction"][::-1])
    cone = shell & (np.abs(k @ axis) >= radius * math.cos(math.radians(20)))
    assert 10 * math.log10(power[cone].mean() / power[shell].mean()) == pytest.approx(found["max_db"], abs=0.05)


def test_masks_of_every_kind_of_number():
    made = ball(24, 6, 4)
    wanted = spectrum.mask_spectrum(made, voxel_size=1.0).to_dict()
    for kind in (np.float64, ">f4"):
        assert spectrum.mask_spectrum(made.astype(kind), voxel_size=1.0).to_dict() == wanted
    assert spectrum.mask_spectrum(made >= 0.5, voxel_size=1.0).verdict == "hard"
    assert spectrum.mask_spectrum(made.astype(np.float16), voxel_size=1.0).equivalent_edge_px == pytest.approx(
        4, abs=0.1
    )
    with pytest.raises(InputRefused, match="complex"):
        spectrum.mask_spectrum(made.astype(complex), voxel_size=1.0)


def test_a_flat_box_has_no_resolution():
    flat = np.zeros((1, 32, 32), np.float32)
    flat[0, 10:20, 10:20] = 1
    assert spectrum.mask_spectrum(flat, voxel_size=1.0).anisotropy is None
    with pytest.raises(UsageError, match="flat"):
        spectrum.mask_spectrum(flat, 6, voxel_size=1.0)


@pytest.mark.parametrize("box", [11, 24, 49, 53])
def test_nyquist_itself_is_a_resolution(box):
    found = spectrum.mask_spectrum(ball(box, 3, 1), 2 * 1.05, voxel_size=1.05)
    assert found.leakage[-1]["resolution"] == 2.1
    with pytest.raises(UsageError, match="beyond Nyquist"):
        spectrum.mask_spectrum(ball(box, 3, 1), 2.05, voxel_size=1.05)


def test_a_mask_that_is_nowhere_one_is_told():
    assert any("nowhere 1" in text for text in spectrum.mask_spectrum(ball(32, 8, 4) / 2, voxel_size=1.0).warnings)
    assert not spectrum.mask_spectrum(ball(32, 8, 4), voxel_size=1.0).warnings
