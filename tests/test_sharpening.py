"""Guinier plots and sharpening: RELION's own numbers, laws, and what is refused."""

import gzip
import json
import math
import shutil
import subprocess

import numpy as np
import pytest

import gpumask as gm
from gpumask import backend, filters, fourier, io, sharpening, star
from gpumask.errors import GpumaskWarning, InputRefused, UsageError

HALF_ULP = 2.0**-24  # relative: float32
SHAPE, VOXEL = (24, 27, 30), (1.2, 1.1, 1.0)
FSC_TEXT = 5e-7  # half of RELION's sixth decimal; values that carry a weight are positive
LOG_TEXT = 5e-6  # half of the fifth decimal of a logarithm
RAYLEIGH = math.sqrt(4 / math.pi - 1)  # standard deviation of |F| over its mean, F complex Gaussian


def noise(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def flat(shape=SHAPE, voxel_size=VOXEL):
    """An FSC of 1 to the corners of the box."""
    return np.ones(fourier.shells(shape, voxel_size).count)


def largest(array):
    return float(np.abs(array).max())


# RELION


def column(block, label):
    return np.array([float(value) for value in block[label]])


@pytest.fixture(scope="module")
def halves(data):
    """The voxel size is the one that RELION was told; the header's is its float32 neighbour."""
    return [io.read(data / "halves" / f"sim_iso_half{i}_unfil.mrc.gz", voxel_size=1.05) for i in (1, 2)]


def relion_columns(text):
    found = star.loads(text)
    return found["general"], column(found["fsc"], "rlnFourierShellCorrelationCorrected"), found["guinier"]


def weight_text(fsc):
    """How far the logarithm of each weight may be off when the FSC comes from text: ``d ln sqrt(2F/(1 + F))``."""
    kept = np.where(sharpening.fsc_weights(fsc) > 0, fsc, np.inf)
    return FSC_TEXT / (2 * kept * (1 + kept))


def b_text(made, fsc):
    """How far a fitted B-factor may be off then, the errors of all points adding up; five decimals of its own."""
    x = made.inverse_squared - made.inverse_squared[made.fitted].mean()
    return 4 * (np.abs(x) * weight_text(fsc))[made.fitted].sum() / (x[made.fitted] ** 2).sum() + 5e-6


def check_columns(made, wanted, fsc, b_error):
    """Logarithms against RELION's text, as close as the text of its FSC and an error in the B-factor allow."""
    weighted = weight_text(fsc)
    bend = b_error / 4 * made.inverse_squared
    allowed = {"Original": LOG_TEXT, "Weighted": LOG_TEXT + weighted, "Sharpened": LOG_TEXT + weighted + bend}
    for label, tolerance in allowed.items():
        ours, theirs = getattr(made, label.lower()), column(wanted, f"rlnLogAmplitudes{label}")
        shown = theirs > star.EMPTY
        assert np.array_equal(shown, np.isfinite(ours))
        # 1.01: first order only
        assert (np.abs(ours - theirs)[shown] <= 1.01 * np.broadcast_to(tolerance, len(ours))[shown]).all(), label
    assert made.inverse_squared == pytest.approx(column(wanted, "rlnResolutionSquared"), abs=5e-7)
    return float(weighted.max())


def test_a_fitted_b_factor_as_relion(data, halves):
    folder = data / "relion_postprocess"
    general, fsc, table = relion_columns((folder / "iso_pp1.star").read_text())
    mask = io.read(folder / "iso_mask_lp15_t0012_e3_s6.mrc.gz", voxel_size=1.05)
    made = gm.sharpen(*halves, mask, fsc=fsc, low=8, high="2.1A", convention="relion")
    guinier = made.guinier
    error = b_text(guinier, fsc)
    worst = check_columns(guinier, table, fsc, error)
    assert error < 1e-3 * abs(made.b_factor)
    assert made.b_factor == pytest.approx(float(general["rlnBfactorUsedForSharpening"]), abs=error)
    assert guinier.slope == made.b_factor / 4
    assert guinier.intercept == pytest.approx(float(general["rlnFittedInterceptGuinierPlot"]), abs=worst + LOG_TEXT)
    assert guinier.correlation**2 == pytest.approx(float(general["rlnCorrelationFitGuinierPlot"]), abs=1e-6)
    for volume, name in ((made.volume, "iso_pp1"), (made.masked, "iso_pp1_masked")):
        wanted = io.read(folder / f"{name}.mrc.gz").data
        # by Parseval a map whose shells are off by `worst` at the most is off by that share of its rms
        assert (volume.data - wanted).std() <= (worst + HALF_ULP) * made.volume.data.std()
    assert made.volume.header == halves[0].header


def test_hermitian_means_give_the_same_b_factor_to_a_percent(data, halves):
    general, fsc, _ = relion_columns((data / "relion_postprocess" / "iso_pp1.star").read_text())
    found = gm.sharpen(*halves, fsc=fsc, low=8, high=2.1).b_factor
    assert found == pytest.approx(float(general["rlnBfactorUsedForSharpening"]), rel=0.01)


def test_a_given_b_factor_as_relion(data, halves):
    text = (data / "relion_postprocess" / "iso_pp2_tight.star").read_text()
    general, fsc, table = relion_columns(text)
    made = gm.sharpen(*halves, fsc=fsc, b_factor=-30, convention="relion")
    check_columns(made.guinier, table, fsc, 0)
    assert made.b_factor == float(general["rlnBfactorUsedForSharpening"])
    assert (made.guinier.slope, made.masked) == (None, None)


def test_mtf_ends_of_the_fit_and_low_pass_as_relion(data, halves, tmp_path):
    """A straight MTF, so fine that RELION's interpolation is exact: it does not interpolate in the first interval, and
    elsewhere goes on along the line of an interval beside the right one."""
    if shutil.which("relion_postprocess") is None:
        pytest.skip("relion_postprocess is not installed")
    for path in (*(data / "halves").glob("*half?_unfil.mrc.gz"),
                 data / "relion_postprocess" / "iso_mask_lp15_t0012_e3_s6.mrc.gz"):  # fmt: skip
        (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    frequency = np.linspace(0, 0.5, 2001)
    mtf = {"rlnResolutionInversePixel": frequency, "rlnMtfValue": 1 - frequency}
    (tmp_path / "mtf.star").write_text(star.dumps({"": mtf}))
    words = (
        "--i sim_iso_half1_unfil.mrc --i2 sim_iso_half2_unfil.mrc --mask iso_mask_lp15_t0012_e3_s6.mrc --angpix 1.05"
    )
    words += " --mtf mtf.star --mtf_angpix 0.9 --auto_bfac --autob_lowres 4.5 --autob_highres 3.2 --low_pass 4 --o made"
    # it ends in a failure to join its plots where Ghostscript is not installed; all else is written before
    subprocess.run(["relion_postprocess", *words.split()], cwd=tmp_path, capture_output=True, timeout=120)
    general, fsc, table = relion_columns((tmp_path / "made.star").read_text())
    made = gm.sharpen(
        *halves, fsc=fsc, low=4.5, resolution=3.2, lowpass="4A", convention="relion",
        mtf=sharpening.parse_mtf((tmp_path / "mtf.star").read_text()), mtf_pixel_size=0.9,
    )  # fmt: skip
    error = b_text(made.guinier, fsc)
    worst = check_columns(made.guinier, table, fsc, error)
    inside = slice(50)  # RELION divides below Nyquist only, which halves the last shell
    wanted = column(table, "rlnLogAmplitudesMTFCorrected")
    assert np.abs(made.guinier.mtf_corrected - wanted)[inside].max() <= LOG_TEXT
    assert made.b_factor == pytest.approx(float(general["rlnBfactorUsedForSharpening"]), abs=error)
    volume = io.read(tmp_path / "made.mrc").data
    assert (made.volume.data - volume).std() <= (worst + HALF_ULP) * volume.std()


# Laws


@pytest.mark.parametrize("options", [{"weight": False}, {"fsc": flat()}], ids=["no weight", "FSC of 1"])
def test_nothing_to_do_gives_the_mean(xp, options):
    a, b = noise(seed=1), noise(seed=2)
    made = gm.sharpen(xp.asarray(a), xp.asarray(b), b_factor=0, voxel_size=VOXEL, **options)
    mean = (a.astype(float) + b) / 2
    assert isinstance(made.volume, xp.ndarray)
    assert made.volume.dtype == np.float32
    assert largest(backend.to_numpy(made.volume) - mean) <= HALF_ULP * largest(mean)


def test_symmetric_in_the_halves_to_the_bit(xp):
    a, b, mask = (xp.asarray(array) for array in (noise(seed=1), noise(seed=2), np.clip(noise(seed=3), 0, 1)))
    fsc = np.linspace(1, 0.2, len(flat()))
    made = [gm.sharpen(*pair, mask, fsc=fsc, resolution=2.5, low=12, voxel_size=VOXEL) for pair in ((a, b), (b, a))]
    assert bool((made[0].volume == made[1].volume).all())
    assert made[0].b_factor == made[1].b_factor
    assert bool((made[0].masked == made[0].volume * mask).all())


def test_linear_with_a_given_b_factor():
    # multiples of 1/64: their sums are exact
    a, b, c, d = (np.round(64 * noise(seed=seed)) / np.float32(64) for seed in range(4))
    fsc = np.linspace(1, 0.1, len(flat()))

    def sharpened(*pair):
        return gm.sharpen(*pair, fsc=fsc, b_factor=-20, lowpass=3, voxel_size=VOXEL).volume.astype(float)

    parts = [sharpened(a, b), 2 * sharpened(c, d)]
    whole = sharpened(a + 2 * c, b + 2 * d)
    rounding = HALF_ULP * sum(largest(part) for part in (*parts, whole))
    assert largest(whole - sum(parts)) <= rounding


@pytest.mark.parametrize("b_factor", [15.0, 40.0])
def test_a_blur_is_undone(xp, b_factor):
    nyquist = 0.5 / max(VOXEL)
    sharp = fourier.apply_radial(noise(), VOXEL, lambda f: f <= nyquist)
    blurred = fourier.apply_radial(sharp, VOXEL, lambda f: np.exp(-b_factor / 4 * f**2))
    twice, nothing = xp.asarray(2 * blurred), xp.zeros(SHAPE, xp.float32)  # their mean is exact
    made = gm.sharpen(twice, nothing, b_factor=-b_factor, weight=False, voxel_size=VOXEL)
    gain = math.exp(b_factor / 4 * nyquist**2)  # of the rounding of `blurred`
    # rounding to float32 is white and of at most half an ulp; 6 standard deviations of it, and the result's own
    allowed = 6 * HALF_ULP * largest(blurred) * gain + HALF_ULP * largest(sharp)
    assert largest(backend.to_numpy(made.volume) - sharp) <= allowed
    assert allowed < 1e-4 * sharp.std()


def test_nothing_is_left_beyond_nyquist():
    made = gm.sharpen(noise(seed=1), noise(seed=2), b_factor=-10, weight=False, voxel_size=VOXEL).volume
    spectrum = fourier.rfftn(made)
    power = fourier.shell_sums(spectrum, spectrum, SHAPE, VOXEL)
    shells = fourier.shells(SHAPE, VOXEL)
    last = int(0.5 / (max(VOXEL) * shells.step) + 0.5)
    assert power[last + 1 :].sum() <= HALF_ULP**2 * power.sum()
    assert (power[1:last] > 0.5 * shells.coefficients[1:last]).all()


def test_a_strong_b_factor_where_little_has_a_weight():
    """e^400 at Nyquist, and more than float64 holds in the corners: neither has a weight."""
    fsc = np.where(np.arange(len(flat())) < 3, 1.0, 0.0)
    b_factor = -400 * 4 * (2 * max(VOXEL)) ** 2
    made = gm.sharpen(noise(seed=1), noise(seed=2), fsc=fsc, b_factor=b_factor, voxel_size=VOXEL)
    assert np.isfinite(made.volume).all()
    assert np.isfinite(made.guinier.sharpened[:3]).all()


@pytest.mark.parametrize(("shape", "voxel_size"), [((48, 48, 48), 1.3), ((40, 51, 45), (1.4, 1.1, 1.2))])
@pytest.mark.parametrize("b_factor", [60.0, 150.0])
def test_the_b_factor_of_a_blurred_white_map(xp, shape, voxel_size, b_factor):
    size = np.broadcast_to(voxel_size, 3)
    blurred = fourier.apply_radial(noise(shape, seed=5), tuple(size), lambda f: np.exp(-b_factor / 4 * f**2))
    found = sharpening.guinier(xp.asarray(blurred), voxel_size, low=15, high=4)
    shells = fourier.shells(shape, voxel_size)
    x = found.inverse_squared[found.fitted]
    pairs = shells.coefficients[: len(found.fitted)][found.fitted] / 2  # mates are one draw
    lever = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    error = 4 * math.sqrt((lever**2 * RAYLEIGH**2 / pairs).sum())
    # a shell's mean of exp(-B/4·s²) over its width is not the value in its middle: second order in B/4·width·s
    curvature = (
        4 * (np.abs(lever) * ((b_factor / 2 * np.sqrt(x) * shells.step) ** 2 + b_factor * shells.step**2)).sum() / 24
    )
    assert abs(found.b_factor + b_factor) <= 4 * error + curvature
    assert 4 * error + curvature < 0.2 * b_factor
    assert found.correlation < -0.9


def test_the_amplitudes_of_a_point():
    """|F| is 1/N everywhere, in any convention."""
    point = np.zeros(SHAPE, np.float32)
    point[3, 4, 5] = 1
    for convention in ("hermitian", "relion"):
        found = sharpening.guinier(point, VOXEL, b_factor=0, convention=convention)
        assert found.original == pytest.approx(np.full(len(found.original), -math.log(point.size)), abs=1e-12)
        assert np.array_equal(found.sharpened, found.original)


def test_a_map_of_nothing():
    empty = np.zeros(SHAPE, np.float32)
    found = sharpening.guinier(empty, VOXEL, b_factor=-30)
    assert np.isneginf(found.original).all()
    assert np.isneginf(found.sharpened).all()
    with pytest.raises(UsageError, match="there are 0"):
        sharpening.guinier(empty, VOXEL, high=3)


def test_the_steps_of_the_table():
    a, fsc = noise(seed=4), np.linspace(1, 0.3, len(flat()))
    fsc[12:] = 0
    mtf = [0, 0.3, 0.5], [1, 0.8, 0.4]
    found = sharpening.guinier(a, VOXEL, fsc=fsc, b_factor=-25, mtf=mtf)
    shown = slice(len(found.original))
    assert found.weighted[:12] == pytest.approx(
        found.mtf_corrected[:12] + np.log(sharpening.fsc_weights(fsc)[:12]), abs=1e-12
    )
    assert (found.mtf_corrected[1:] > found.original[1:]).all()
    assert np.isneginf(found.weighted[12:]).all()
    assert np.isneginf(found.sharpened[12:]).all()
    width = fourier.shells(SHAPE, VOXEL).step
    gain = found.sharpened[:12] - found.weighted[:12]
    inner, outer = ((np.maximum(np.arange(12) + side / 2, 0) * width) ** 2 * 25 / 4 for side in (-1, 1))
    assert ((inner <= gain) & (gain <= outer)).all()
    made = gm.sharpen(2 * a, np.zeros_like(a), fsc=fsc, b_factor=-25, mtf=mtf, voxel_size=VOXEL).guinier
    assert np.array_equal(made.sharpened, found.sharpened)
    rows = json.loads(json.dumps(found.to_dict(), allow_nan=False))["shells"]
    assert len(rows) == len(found.original[shown])
    assert (rows[12]["weighted"], rows[3]["original"]) == (None, found.original[3])


def test_the_mtf_is_divided_by():
    a = noise(seed=6)
    pixel = 0.8
    frequency, value = np.array([0.05, 0.2, 0.6]), np.array([0.9, 0.7, 0.2])
    dimmed = fourier.apply_radial(a, VOXEL, lambda f: np.interp(f * pixel, frequency, value))
    made = gm.sharpen(
        2 * dimmed, np.zeros_like(a), b_factor=0, weight=False, mtf=(frequency, value), mtf_pixel_size=pixel,
        voxel_size=VOXEL,
    ).volume  # fmt: skip
    assert largest(made - a) <= (6 / value.min() + 1) * HALF_ULP * largest(a)


def test_the_low_pass_is_that_of_filters():
    a, b = noise(seed=1), noise(seed=2)
    plain, filtered = (
        gm.sharpen(a, b, b_factor=-10, weight=False, lowpass=lowpass, voxel_size=VOXEL).volume
        for lowpass in (None, "5A")
    )
    assert largest(filtered - filters.lowpass(plain, 5.0, VOXEL)) <= 6 * HALF_ULP * largest(plain)


def test_weights_end_where_the_fsc_is_lost():
    assert sharpening.fsc_weights([1, 0.143, 2e-4, 9e-5, 0.5]) == pytest.approx(
        [1, math.sqrt(0.286 / 1.143), math.sqrt(4e-4 / 1.0002), 0, 0], abs=1e-12
    )
    assert sharpening.fsc_weights([-1, 1, math.nan, 1]).tolist() == [1, 1, 0, 0]
    assert sharpening.fsc_weights([math.nan, 1, None]).tolist() == [1, 1, 0]


def test_inputs_stay_and_volumes_give_volumes(xp):
    arrays = [noise(seed=1), noise(seed=2), np.clip(noise(seed=3), 0, 1)]
    header = gm.Header(nstart=(1, 2, 3), origin=(4.0, 5.0, 6.0))
    volumes = [gm.Volume(xp.asarray(array), VOXEL, header) for array in arrays]
    made = gm.sharpen(*volumes, fsc=flat(), b_factor=-30, mtf=([0, 0.5], [1, 0.5]), lowpass=4)
    for volume, array in zip(volumes, arrays, strict=True):
        assert np.array_equal(backend.to_numpy(volume.data), array)
    for volume in (made.volume, made.masked):
        assert (volume.voxel_size, volume.header, volume.shape) == (VOXEL, header, SHAPE)
        assert isinstance(volume.data, xp.ndarray)
    plain = gm.sharpen(*(v.data for v in volumes), fsc=flat(), b_factor=-30, mtf=([0, 0.5], [1, 0.5]), lowpass=4,
                       voxel_size=VOXEL)  # fmt: skip
    assert bool((plain.volume == made.volume.data).all())


def test_a_rising_plot_is_told():
    rising = fourier.apply_radial(noise(), VOXEL, lambda f: np.exp(10 * f**2))
    with pytest.warns(GpumaskWarning, match="rises, so that B = .* damps"):
        made = gm.sharpen(2 * rising, 0 * rising, weight=False, resolution=2.5, low=12, voxel_size=VOXEL)
    assert made.b_factor > 0


# The detector


@pytest.mark.parametrize(
    "text",
    [
        "\ndata_\n\nloop_\n_rlnMtfValue #1\n_rlnResolutionInversePixel #2\n1 0\n0.5 0.25 # half\n0.1 0.5\n",
        "data_a\n_b 1\ndata_mtf\nloop_\n_rlnResolutionInversePixel\n_rlnMtfValue\n0 1\n0.25 5e-1\n'0.5' 0.1",
        "frequency,mtf\n0,1\n0.25,0.5\n0.5,0.1\n",
        "# K3\n0 1\n\n 0.25\t0.5 \n0.5  0.1  # end\n",
        "0; 1\r\n0.25 ;0.5\r\n0.5;0.1",
    ],
    ids=["star", "star with blocks", "csv with headings", "white space", "semicolons"],
)
def test_an_mtf_is_read(text):
    assert [column.tolist() for column in sharpening.parse_mtf(text)] == [[0, 0.25, 0.5], [1, 0.5, 0.1]]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "two points or more, got 0"),
        ("0,1\n", "two points or more, got 1"),
        ("0,1\n0.5\n", "two columns, line 2 has 1"),
        ("0,1,2\n", "two columns, line 1 has 3"),
        ("f,v\n0,1\nhalf,0.5\n", "numbers, got 'half' in line 3"),
        ("f,v\ng,w\nx\n", "two points or more, got 0"),
        ("0,1\n0.5,0.5\n0.25,0.7\n", "must rise"),
        ("0,1\n0,0.9\n", "must rise"),
        ("-0.1,1\n0.5,0.5\n", "must rise"),
        ("0,1\n0.25,0\n0.5,-0.2\n", "above 0, .* got -0.2 at 0.5"),
        ("0,1\n0.5,nan\n", "above 0, .* got nan at 0.5"),
        ("data_\nloop_\n_rlnResolutionInversePixel\n_rlnValue\n0 1\n", "got rlnResolutionInversePixel, rlnValue"),
        ("data_\n_rlnResolutionInversePixel 0\n_rlnMtfValue 1\n", "needs a loop"),
        ("data_\n", "got no labels"),
        ("data_\nloop_\n_rlnResolutionInversePixel\n_rlnMtfValue\n0 one\n", "got 'one' in rlnMtfValue"),
    ],
)
def test_what_cannot_be_an_mtf_is_refused(text, why):
    with pytest.raises(InputRefused, match=why) as caught:
        sharpening.parse_mtf(text)
    assert "\n" not in str(caught.value)


# What is refused

A, B = noise(seed=1), noise(seed=2)
HOLED = A.copy()
HOLED[1, 2, 3] = np.nan


@pytest.mark.parametrize(
    ("halves", "options", "error", "why"),
    [
        ((A, B), {"weight": False}, UsageError, "give resolution or high"),
        ((A, B), {"fsc": flat()[:5], "b_factor": 0}, UsageError, "for each shell .* 13 for this box, got 5"),
        ((A, B), {"fsc": np.ones(999), "b_factor": 0}, UsageError, "got 999"),
        ((A, B), {"weight": False, "resolution": 12}, UsageError, "must end at a higher resolution than 10 Å"),
        ((A, B), {"weight": False, "resolution": 9}, UsageError, "at least 3 shells"),
        ((A, B), {"weight": False, "resolution": "9px"}, UsageError, "must be in Å"),
        ((A, B), {"weight": False, "b_factor": "-80"}, UsageError, "a B-factor must be a number"),
        ((A, B), {"weight": False, "b_factor": math.nan}, UsageError, "a B-factor must be a number"),
        ((A, B), {"weight": False, "b_factor": -1e6}, UsageError, "too strong"),
        ((A, B), {"weight": False, "b_factor": 0, "lowpass": 0}, UsageError, "low-pass resolution must be > 0"),
        ((A, B), {"weight": False, "b_factor": 0, "convention": "xmipp"}, UsageError, "hermitian, relion"),
        ((A, B), {"weight": False, "b_factor": 0, "mtf_pixel_size": 1}, UsageError, "without an MTF"),
        ((A, B), {"weight": False, "b_factor": 0, "mtf": ([0, 1], [1, 0])}, InputRefused, "above 0"),
        ((A, A.copy()), {"weight": False, "b_factor": 0}, InputRefused, "both half maps are the same"),
        ((A, HOLED), {"weight": False, "b_factor": 0}, InputRefused, "the second half map has NaN"),
        ((A, B[1:]), {"weight": False, "b_factor": 0}, InputRefused, "one box, got 30 x 27 x 24 and 30 x 27 x 23"),
        ((A, B, 2 * np.abs(A)), {"weight": False, "b_factor": 0}, InputRefused, "a mask has values from 0 to 1"),
        ((A, B, A[:, 1:]), {"weight": False, "b_factor": 0}, InputRefused, "the mask must have one box"),
    ],
)
def test_what_cannot_be_sharpened(halves, options, error, why):
    with pytest.raises(error, match=why) as caught:
        gm.sharpen(*halves, voxel_size=VOXEL, **options)
    assert "\n" not in str(caught.value)


def test_grids():
    with pytest.raises(TypeError, match="voxel_size="):
        gm.sharpen(A, B, weight=False, b_factor=0)
    volume = gm.Volume(A, VOXEL)
    with pytest.raises(UsageError, match="has its own voxel size"):
        gm.sharpen(volume, volume, voxel_size=1, weight=False, b_factor=0)
    with pytest.raises(InputRefused, match="voxel sizes differ by"):
        gm.sharpen(volume, gm.Volume(B, 1.5), weight=False, b_factor=0)
    with pytest.warns(GpumaskWarning, match="voxel sizes differ by 0.2"):
        gm.sharpen(volume, gm.Volume(B, (1.2, 1.1, 1.002)), weight=False, b_factor=0)


def test_the_fsc_is_found_where_none_is_given():
    """The corrected curve of gm.fsc under the mask, and its resolution as the end of the fit."""
    rng = np.random.default_rng(5)
    grid = np.indices((48,) * 3) - 24.0
    ball = (np.sqrt((grid**2).sum(0)) < 15).astype(np.float32)
    signal = fourier.apply_radial(rng.standard_normal(ball.shape).astype(np.float32), (1.5,) * 3, lambda f: f < 0.2)
    halves = [(9 * signal * ball + rng.standard_normal(ball.shape)).astype(np.float32) for _ in range(2)]
    curve = gm.fsc(*halves, ball, voxel_size=1.5)
    found = gm.sharpen(*halves, ball, voxel_size=1.5, low=20)
    told = gm.sharpen(*halves, ball, voxel_size=1.5, low=20, fsc=curve.curve(curve.headline), resolution=curve.reported)
    assert np.array_equal(found.volume, told.volume)
    assert np.array_equal(found.volume, gm.sharpen(*halves, ball, voxel_size=1.5, low=20, fsc=curve).volume)
