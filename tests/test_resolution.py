"""The curves of two half maps against RELION's, laws, and a constructed case for every flag."""

import json
import math
import re

import numpy as np
import pytest

import gpumask as gm
from gpumask import backend, correlation, fourier, io, resolution
from gpumask.errors import InputRefused, UsageError

STAR_TEXT = 1e-5  # the last digit of RELION's tables is 1e-6, and its half maps are float32
KEYS = (
    "box voxel_size_angstrom shells onset resolution crossings a_gap k_catch bases mask flags map_model",
    "index frequency resolution unmasked masked randomized predicted corrected corrected_predicted band_low band_high "
    "spherical loose tight prewhitened mfsc ssnr n_coefficients n_effective",
)
DETERMINISTIC = (
    "unmasked masked predicted corrected_predicted band_low band_high spherical loose tight prewhitened mfsc"
)


def ball(box, radius, width=0.0, centre=None):
    grid = np.indices((box,) * 3) - float(box // 2 if centre is None else centre)
    distance = np.sqrt((grid**2).sum(axis=0))
    if not width:
        return (distance <= radius).astype(np.float32)
    return (0.5 + 0.5 * np.cos(np.pi * np.clip((distance - radius) / width, 0, 1))).astype(np.float32)


def halves(ratio, box=64, radius=16, shared=0.0, seed=0):
    """White noise of variance 1 in each half and a signal in a ball, its power over the noise's in the ball ratio(f);
    `shared` is the variance of noise that both halves have."""
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((box,) * 3).astype(np.float32)
    signal = fourier.apply_radial(signal, (1.0,) * 3, lambda f: np.sqrt(ratio(f))) * ball(box, radius, 3)
    signal = signal + math.sqrt(shared) * rng.standard_normal((box,) * 3)
    return [(signal + rng.standard_normal((box,) * 3)).astype(np.float32) for _ in range(2)]


def fading(f):
    """Strong at low frequency, lost near 0.3 cycles/px."""
    return 300 * np.exp(-((f / 0.12) ** 2))


def measured(pair, mask=None, **options):
    return gm.fsc(*pair, mask, voxel_size=1.0, **options)


def codes(found):
    return {flag["code"] for flag in found.flags}


# RELION


def postprocess(data, name):
    """The table data_fsc of a STAR file of relion_postprocess: label → column; and data_general."""
    text = (data / "relion_postprocess" / f"{name}.star").read_text()
    block = text.split("data_fsc")[1].split("data_guinier")[0]
    labels = re.findall(r"^_rln(\w+) #", block, re.M)
    rows = [line.split() for line in block.splitlines() if re.match(r"\s*\d+\s", line)]
    general = dict(re.findall(r"^_rln(\w+)\s+(\S+)", text.split("data_fsc")[0], re.M))
    return dict(zip(labels, np.array(rows, float).T, strict=True)), general


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("iso_pp1", "iso_mask_lp15_t0012_e3_s6"),
        ("iso_pp2_tight", "iso_mask_tight_lp6_t008_e0_s3"),
        ("iso_pp6_nomask", None),
    ],
)
def test_relion_postprocess(data, name, mask):
    pair = [io.load(data / "halves" / f"sim_iso_half{i}_unfil.mrc.gz")[0] for i in (1, 2)]
    around = None if mask is None else io.load(data / "relion_postprocess" / f"{mask}.mrc.gz")[0]
    found = gm.fsc(*pair, around, style="relion")
    wanted, general = postprocess(data, name)
    assert np.abs(found.curve("unmasked") - wanted["FourierShellCorrelationUnmaskedMaps"]).max() <= STAR_TEXT
    assert found.reported == pytest.approx(float(general["FinalResolution"]), rel=1e-5)
    if mask is None:
        assert found.curve("corrected") == pytest.approx(found.curve("unmasked"))
        return
    assert np.abs(found.curve("masked") - wanted["FourierShellCorrelationMaskedMaps"]).max() <= STAR_TEXT
    assert 105 / found.onset == pytest.approx(float(general["RandomiseFrom"]), rel=1e-5)
    prepared = correlation.half_maps(*(half.data for half in pair), pair[0].voxel_size, convention="relion")
    seeds = [prepared.measured(around.data, seed) for seed in range(20)]
    spread = np.std(seeds, axis=0, ddof=1)
    judged = slice(found.onset - 3, None)  # RELION's one draw among ours: its deviation is one seed's, and the mean's
    off = (wanted["CorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps"] - np.mean(seeds, axis=0))[judged]
    assert ((off / spread[judged]) ** 2).mean() / (1 + 1 / 20) < 2.0
    assert np.abs(off / spread[judged]).max() < 5
    judged = slice(found.onset + 2, None)
    seeded = gm.fsc(*pair, around, style="relion", seed=0)
    corrected = correlation.corrected(seeded.curve("masked"), seeded.curve("randomized"))
    assert seeded.curve("corrected")[judged] == pytest.approx(corrected[judged])
    assert np.array_equal(seeded.curve("corrected")[: found.onset + 2], seeded.curve("masked")[: found.onset + 2])


# Laws


def test_a_map_and_itself():
    """gm.fsc refuses twice the same map; the curve of a map and its negative is -1 in each shell."""
    first, second = halves(fading)
    found = measured((first, -first), ball(64, 14, 6))
    for name in ("unmasked", "masked", "spherical"):
        assert found.curve(name) == pytest.approx(-1, abs=1e-6)
    transform = fourier.rfftn(first, "float32")
    same = correlation.curve(*fourier.shell_products(transform, transform, first.shape, 1.0))
    assert same == pytest.approx(1, abs=1e-12)


def test_shift_scale_and_flips_change_nothing():
    first, second = halves(fading)
    mask = ball(64, 14, 6)
    reference = measured((first, second), mask)
    for change in (
        lambda a: np.roll(a, (3, -5, 7), (0, 1, 2)),
        lambda a: a[::-1].copy(),
        lambda a: a.transpose(2, 0, 1).copy(),
    ):
        other = measured((change(first), change(second)), change(mask))
        for name in ("unmasked", "masked", "predicted", "corrected_predicted"):
            assert other.curve(name) == pytest.approx(reference.curve(name), abs=1e-5)
    scaled = measured((first * np.float32(1000), second * np.float32(0.001)), mask)
    assert scaled.curve("masked") == pytest.approx(reference.curve("masked"), abs=1e-6)
    assert scaled.resolution["0.143"]["masked"] == reference.resolution["0.143"]["masked"]


def test_the_halves_are_alike_to_the_bit():
    pair = halves(fading)
    one, two = (measured(p, ball(64, 14, 6), cross_checks=True) for p in (pair, pair[::-1]))
    for name in DETERMINISTIC.split():
        assert np.array_equal(one.curve(name), two.curve(name), equal_nan=True), name
    assert one.resolution["0.143"]["corrected_predicted"] == two.resolution["0.143"]["corrected_predicted"]
    spread = np.std([measured(pair, ball(64, 14, 6), seed=s).curve("randomized") for s in range(6)], axis=0)
    off = np.abs(one.curve("randomized") - two.curve("randomized"))[one.onset :]
    assert (off <= 6 * spread[one.onset :] + 1e-6).all()


@pytest.mark.parametrize("mask", [ball(48, 14), ball(48, 10, 8)], ids=["hard", "soft"])
@pytest.mark.parametrize("ratio", [0, 1])
def test_the_band_covers_what_it_says(mask, ratio):
    """Independent noise, without and with one fixed signal, under a mask: 95 ± 1.5 %, and mean 0 without."""
    from gpumask import spectrum

    rng = np.random.default_rng(3)
    effective = spectrum.effective_coefficients(mask, 1.0)
    signal = math.sqrt(ratio) * rng.standard_normal(mask.shape) if ratio else 0
    shells = slice(8, 24)
    draws = []
    for _ in range(150):
        pair = [fourier.rfftn(((signal + rng.standard_normal(mask.shape)) * mask), "float32") for _ in range(2)]
        draws.append(correlation.curve(*fourier.shell_products(*pair, mask.shape, 1.0))[: len(effective)][shells])
    draws = np.array(draws)
    if ratio:  # the truth of this one signal: its power over the noise's in each shell
        power = fourier.shell_power((signal * mask).astype(np.float32), 1.0)[: len(effective)][shells]
        noise = float((mask.astype(float) ** 2).sum()) * fourier.shells(mask.shape, 1.0).coefficients[: len(effective)]
        truth = power / (power + noise[shells])
    else:
        truth = np.zeros(draws.shape[1])
        assert abs((draws * np.sqrt(effective[shells])).mean()) < 4 / math.sqrt(draws.size)
    low, high = correlation.band(draws, effective[shells])
    assert ((low <= truth) & (truth <= high)).mean() == pytest.approx(0.95, abs=0.015)


def test_correction_is_undefined_where_the_mask_makes_everything():
    total, randomized = np.array([0.9, 0.5, 1.0]), np.array([1 - 1e-7, 0.2, 1.0])
    assert np.isnan(correlation.corrected(total, randomized)[[0, 2]]).all()


def test_relions_counting_is_the_stored_half():
    rng = np.random.default_rng(0)
    a, b = (np.fft.rfftn(rng.standard_normal((12, 12, 12))) for _ in range(2))
    index = np.round(
        np.sqrt(
            sum(
                np.meshgrid(
                    *[
                        f**2
                        for f in (np.fft.fftfreq(12, 1 / 12), np.fft.fftfreq(12, 1 / 12), np.fft.rfftfreq(12, 1 / 12))
                    ],
                    indexing="ij",
                )
            )
        )
    ).astype(int)
    wanted = np.bincount(index.ravel(), (a * b.conj()).real.ravel())
    assert fourier.shell_sums(a, b, (12,) * 3, 1.0, "relion") == pytest.approx(wanted, rel=1e-12)


# What is found


def test_the_document():
    found = measured(halves(fading), ball(64, 14, 6), cross_checks=True, mass=5)
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert list(document) == KEYS[0].split()
    assert list(document["shells"][0]) == [*KEYS[1].split(), "part"]
    assert document["resolution"]["0.143"]["corrected"] > document["voxel_size_angstrom"][0] * 2
    assert set(document["resolution"]) == {"0.143", "0.5", "half-bit", "1-bit"}
    assert set(document["crossings"]["0.5"]["masked"]) == {"first", "interpolated", "last"}
    assert set(document["bases"]) == {"spherical", "loose", "tight"}
    assert document["mask"] == {"path": None, "sha256": None}


def test_no_mask_given():
    found = measured(halves(fading))
    assert found.mask is None
    assert np.isnan(found.curve("masked")).all()
    judged = slice(found.onset + 2, None)
    wanted = correlation.corrected(found.curve("tight"), found.curve("predicted"))[judged]
    assert found.curve("corrected_predicted")[judged] == pytest.approx(wanted)
    assert np.array_equal(found.curve("corrected")[: found.onset + 2], found.curve("tight")[: found.onset + 2])


def test_a_mask_finds_the_signal_that_solvent_hides():
    found = measured(halves(fading), ball(64, 16, 6))
    order = [found.resolution["0.143"][name] for name in ("masked", "tight", "loose", "unmasked")]
    assert order == sorted(order)
    assert order[0] < order[-1]
    assert found.reported == found.resolution["0.143"]["corrected_predicted"]
    assert found.curve("prewhitened")[10:20] == pytest.approx(found.curve("masked")[10:20], abs=0.1)
    assert not codes(found) & {"nyquist_limited", "not_zero", "rises_again", "mask_fsc_high"}


def test_filter_then_mask_has_no_leak():
    """A hard mask through density: the FSC of random phases is high past the onset, that of mFSC is not."""
    pair = halves(lambda f: 1e4 * (f < 0.12), radius=60)  # nothing of the signal is beyond
    found = measured(pair, ball(64, 8), cross_checks=True, onset="8A")
    past = slice(12, 18)
    assert found.curve("masked")[past].mean() > 0.3
    assert abs(found.curve("mfsc")[past].mean()) < 0.15
    assert found.curve("mfsc")[2:6] == pytest.approx(1, abs=0.05)


def test_part_and_reference():
    pair = halves(fading)
    mask = ball(64, 20, 4)
    kilodalton = float(mask.sum()) * 0.81 / 1000 / 3  # a third of the mask
    found = measured(pair, mask, mass=kilodalton, reference=(pair[0] + pair[1]) / 2)
    wanted = correlation.of_the_part(found.curve("corrected_predicted"), 3.0)
    assert found.curve("part") == pytest.approx(wanted, nan_ok=True)
    assert found.curve("reference") == pytest.approx(1, abs=1e-6)


def test_crossings():
    shells = fourier.shells((40,) * 3, 1.0)
    curve = np.array([1, 0.9, 0.6, 0.3, 0.1, 0.2, 0.05, *([0.0] * 14)])
    found = resolution.crossing(curve, 0.143, shells)
    assert found["first"] == pytest.approx(40 / 3)
    assert found["interpolated"] == pytest.approx(40 / (3 + (0.3 - 0.143) / 0.2))
    assert found["last"] == pytest.approx(40 / 5)
    assert resolution.crossing(np.ones(21), 0.143, shells) == {"first": 2, "interpolated": 2, "last": 2}
    assert resolution.crossing(np.full(21, np.nan), 0.143, shells) == dict.fromkeys(("first", "interpolated", "last"))
    assert resolution.crossing(np.zeros(21), 0.143, shells) == dict.fromkeys(("first", "interpolated", "last"))


@pytest.mark.parametrize("style", list(resolution.STYLES))
def test_styles(style):
    found = measured(halves(fading), ball(64, 16, 6), style=style)
    rule = resolution.STYLES[style].rule
    for criterion, curves in found.resolution.items():
        assert curves == {name: value[rule] for name, value in found.crossings[criterion].items()}
    if style == "cryodrgn":
        corrected = found.curve("corrected")[found.onset + 1 :]
        assert corrected.min() >= 0
        shell = round(64 / found.crossings["0.143"]["tight"]["first"]) + 1
        assert found.onset == int(0.75 * shell)
    if style == "cryosparc":
        assert found.onset == int(np.flatnonzero(found.curve("unmasked") < 0.143)[0])


def test_devices_agree(xp):
    pair, mask = halves(fading, box=32, radius=8), ball(32, 8, 4)
    host = measured(pair, mask, cross_checks=True)
    there = gm.fsc(*(xp.asarray(p) for p in pair), xp.asarray(mask), voxel_size=1.0, cross_checks=True)
    for name in (*DETERMINISTIC.split(), "randomized"):
        assert there.curve(name) == pytest.approx(host.curve(name), abs=1e-5, nan_ok=True), name
    assert backend.is_cupy(xp.asarray(mask)) == (xp is not np)


# Flags: each with a case made for it


def test_nyquist_limited():
    found = measured(halves(lambda f: 20 + 0 * f), ball(64, 16, 6))
    assert codes(found) & {"nyquist_limited", "not_zero"} == {"nyquist_limited"}
    assert found.reported == pytest.approx(2)


def test_not_zero_names_duplicated_particles():
    found = measured(halves(fading, shared=0.15), ball(64, 16, 6))
    flag = next(flag for flag in found.flags if flag["code"] == "not_zero")
    assert "duplicated particles" in flag["message"]
    assert flag["value"] == pytest.approx(0.15 / 1.15, abs=0.03)


def test_rises_again():
    def dipping(f):
        return fading(f) * (np.abs(f - 0.15) > 0.03)

    found = measured(halves(dipping, radius=60), ball(64, 24, 4))
    assert "rises_again" in codes(found)


def test_corrected_leaves_tight_and_mask_fsc_high():
    pair = halves(lambda f: 1e4 * (f < 0.1) + 0.7 * (f < 0.25), radius=24)
    found = measured(pair, ball(64, 8), onset="9A")
    assert "corrected_leaves_tight" in codes(found)
    assert found.a_gap > 0
    soft = measured(pair, ball(64, 8, 16), onset="9A")
    assert soft.a_gap < found.a_gap
    flag = next(flag for flag in found.flags if flag["code"] == "corrected_leaves_tight")
    judged = slice(found.onset + 3, round(64 / found.reported) + 1)
    assert flag["value"] == pytest.approx((found.curve("masked") - found.curve("corrected_predicted"))[judged].max())


def test_mask_fsc_high():
    """Signal that ends where the leak of a hard cut does not."""
    found = measured(halves(lambda f: 1e5 * (f < 0.1) + 0.3 * (f < 0.2), radius=24), ball(64, 8), onset="9A")
    flag = next(flag for flag in found.flags if flag["code"] == "mask_fsc_high")
    assert flag["value"] == found.curve("predicted")[round(64 / found.reported)] > 0.1


def test_unmasked_beyond_corrected():
    away = np.roll(ball(64, 4, 2), 26, axis=0)
    found = measured(halves(fading), away)
    assert "unmasked_beyond_corrected" in codes(found)


def test_never_drops():
    found = measured(halves(lambda f: 1000 + 0 * f, radius=40))
    assert {"never_drops", "nyquist_limited"} <= codes(found)
    assert found.onset is None
    assert np.isnan(found.curve("corrected")).all()
    assert found.reported == found.resolution["0.143"]["tight"]


def test_masked_half_maps():
    soft = ball(64, 20, 4)
    pair = [half * soft for half in halves(fading)]
    found = measured(pair, ball(64, 14, 6))
    assert "masked_half_maps" in codes(found)
    assert np.isnan(found.curve("corrected")).all()
    assert np.isfinite(found.curve("masked")).all()
    assert "masked_half_maps" not in codes(measured(pair, ball(64, 14, 6), assume_unmasked=True))
    window = [half * ball(64, 32, 1) for half in halves(fading)]
    noted = measured(window, ball(64, 14, 6))
    assert "masked_half_maps" not in codes(noted)
    assert "window" in noted.notes[0]
    assert "notes" not in noted.to_dict()


# What is refused


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda a, b, m: ((a, a.copy()), m), InputRefused, "the same map"),
        (lambda a, b, m: ((a, b[:-1]), m), InputRefused, "box"),
        (lambda a, b, m: ((a, np.where(b == b.max(), np.nan, b)), m), InputRefused, "NaN"),
        (lambda a, b, m: ((a[:1], b[:1]), m[12:13]), InputRefused, "at least 8 voxels along each axis"),
        (lambda a, b, m: ((a - 9, b - 9), None), InputRefused, "no positive density"),
        (lambda a, b, m: ((a, b), m[1:]), InputRefused, "the mask must have one box"),
        (lambda a, b, m: ((a, b), m * 2), InputRefused, "values from 0 to 1"),
        (lambda a, b, m: ((a, b), m * 0), InputRefused, "values from 0 to 1"),
        (lambda a, b, m: ((gm.Volume(a, 1.0), b), m), UsageError, "a Volume has its own voxel size"),
    ],
)
def test_refusals(change, error, text):
    pair, mask = change(*halves(fading, box=24, radius=6), ball(24, 6, 3))
    with pytest.raises(error, match=text):
        measured(pair, mask)


@pytest.mark.parametrize(
    "options", [{"style": "eman"}, {"asymmetric_units": 0}, {"mass": 0}, {"onset": "0.5A"}, {"base_lowpass": "3px"}]
)
def test_parameters_that_cannot_be(options):
    with pytest.raises(UsageError):
        measured(halves(fading, box=24, radius=6), **options)


def test_voxel_sizes_must_agree():
    first, second = halves(fading, box=24, radius=6)
    with pytest.raises(InputRefused, match="voxel sizes differ"):
        gm.fsc(gm.Volume(first, 1.0), gm.Volume(second, 1.1))
    assert "voxel sizes differ by 0.2 %" in gm.fsc(gm.Volume(first, 1.0), gm.Volume(second, 1.002)).notes[0]


def test_arrays_need_a_voxel_size():
    with pytest.raises(TypeError, match="voxel_size"):
        gm.fsc(*halves(fading, box=24, radius=6))


def test_flags_and_numbers_are_never_nan():
    """A mask in solvent that someone has flattened to zero: nothing is defined under it, and nothing is made up."""
    soft = ball(48, 12, 4)
    pair = [half * soft for half in halves(fading, box=48, radius=8)]
    away = np.roll(ball(48, 3, 2), 20, axis=0)
    for options in ({}, {"assume_unmasked": True}):
        found = measured(pair, away, **options)
        json.dumps(found.to_dict(), allow_nan=False)
        assert "nyquist_limited" not in codes(found)
    rng = np.random.default_rng(0)
    smooth = fourier.apply_radial(rng.standard_normal((48,) * 3).astype(np.float32), (1.0,) * 3, lambda f: f < 0.1)
    other = smooth + np.float32(1e-3) * np.roll(smooth, 11, axis=2)
    json.dumps(measured((smooth, other), ball(48, 12), assume_unmasked=True).to_dict(), allow_nan=False)


def test_every_curve_has_its_key():
    """Null, not absent, where there is no mask or no correction."""
    names = {"corrected", "corrected_predicted", "masked", "unmasked", "spherical", "loose", "tight"}
    for found in (measured(halves(fading)), measured([h * ball(64, 20, 4) for h in halves(fading)])):
        for nested in (found.resolution, found.crossings):
            assert all(set(curves) == names for curves in nested.values())
        assert found.resolution["0.143"]["masked"] is None
        assert found.reported is not None


def test_each_curve_is_judged_by_its_own_count():
    """Half-bit of the loose curve does not move with the mask that is given."""
    pair = halves(fading)
    none, small = (measured(pair, mask) for mask in (None, ball(64, 8, 3)))
    for name in ("spherical", "loose", "tight", "unmasked"):
        assert none.resolution["half-bit"][name] == small.resolution["half-bit"][name]


def test_no_alarm_about_the_mask_before_the_onset():
    found = measured(halves(fading), ball(64, 16, 6), onset="2.4A")
    assert "mask_fsc_high" not in codes(found)
    assert found.reported > 2.4


@pytest.mark.parametrize("seed", range(6))
def test_ordinary_half_maps_raise_no_flag(seed):
    for mask in (None, ball(64, 17, 8)):
        assert not codes(measured(halves(fading, seed=seed), mask)), (seed, mask is None)


@pytest.mark.parametrize("seed", range(6))
def test_noise_does_not_rise_again(seed):
    rng = np.random.default_rng(100 + seed)
    pair = rng.standard_normal((2, 48, 48, 48)).astype(np.float32)
    assert "rises_again" not in codes(measured(pair, ball(48, 14, 4)))


def test_a_reference_with_holes_is_refused():
    pair = halves(fading, box=24, radius=6)
    with pytest.raises(InputRefused, match="reference has NaN"):
        measured(pair, reference=np.full((24,) * 3, np.nan, np.float32))


def test_relions_style_needs_no_base_without_a_mask():
    first, _ = halves(fading, box=24, radius=6)
    assert measured((first, -first), style="relion").curve("unmasked") == pytest.approx(-1, abs=1e-6)
