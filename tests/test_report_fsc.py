"""Figures of the FSC, of its directions, of local resolution and of sharpening show what they were given."""

import dataclasses
import functools
import subprocess
import sys

import numpy as np
import pytest
from figures import assert_readable, recorder

import gpumask as gm
from gpumask import directional as cones
from gpumask import local_resolution, sharpening
from gpumask.errors import MissingExtra, UsageError
from gpumask.report import canvas, planes
from gpumask.report import directional as directional_figure
from gpumask.report import fsc as fsc_figure
from gpumask.report import guinier as guinier_figure
from gpumask.report import local_resolution as local_figure

BOX = (24, 24, 24)
ANISOTROPIC = (2.0, 1.5, 1.0)  # Å, (z, y, x)


@pytest.fixture
def drawn(monkeypatch):
    return recorder(monkeypatch)


@functools.cache
def half_maps(shape=BOX, noise=2.0):
    """Two noisy maps of a ball whose detail fades with frequency."""
    random = np.random.default_rng(7)
    grid = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) // 2
    ball = (grid**2).sum(axis=0) < (min(shape) / 3) ** 2
    transform = np.fft.rfftn(random.standard_normal(shape))
    frequency = np.sqrt(sum(f**2 for f in np.meshgrid(*map(np.fft.fftfreq, shape[:2]), np.fft.rfftfreq(shape[2]),
                                                      indexing="ij")))  # fmt: skip
    signal = ball * np.fft.irfftn(transform * np.exp(-32 * frequency**2), s=shape, axes=(0, 1, 2))
    signal /= signal.std()
    return [(signal + noise * random.standard_normal(shape)).astype(np.float32) for _ in range(2)]


@functools.cache
def soft_mask(shape=BOX):
    grid = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) // 2
    radius = np.sqrt((grid**2).sum(axis=0))
    return np.clip(min(shape) / 3 + 2 - radius, 0, 1).astype(np.float32)


@functools.cache
def correlated(masked=True, shape=BOX, voxel_size=2.0, **options):
    mask = soft_mask(shape) if masked else None
    return gm.fsc(*half_maps(shape), mask, voxel_size=voxel_size, assume_unmasked=True, **options)


def changed(found, **changes):
    return dataclasses.replace(found, **changes)


@functools.cache
def sharpened(**options):
    weights = [row["corrected_predicted"] for row in correlated().shells]
    return sharpening.sharpen(*half_maps(), fsc=weights, low="20A", voxel_size=2.0, **options).guinier


@functools.cache
def conical(axes=64, shape=BOX):
    return cones.conical_fsc(*half_maps(shape), 2.0, axes=np.array(axes) if isinstance(axes, tuple) else axes)


def made_cones(resolutions, directions, areas=None):
    """What conical FSCs find that reach these resolutions (Å) along these axes, on shells of 0.01 1/Å."""
    frequency = np.arange(51) * 0.01
    reached = np.array(resolutions, float)
    curves = np.where(frequency <= np.nan_to_num(1 / reached)[:, None] + 1e-9, 0.9, 0.0)
    curves[:, 0] = np.nan
    areas = np.nan_to_num(1 / reached) if areas is None else np.array(areas)
    cfar = areas.min() / areas.max() if areas.max() > 0 else None
    return cones.DirectionalFSC(
        np.array(directions, float), frequency, curves, areas, reached, cfar, int(areas.argmin()),
        int(areas.argmax()), 20.0, 0.143, [],
    )  # fmt: skip


@functools.cache
def local(masked=True, voxel_size=2.0, silent=False):
    halves = half_maps()
    if silent:
        halves = [half.copy() for half in halves]
        for half in halves:
            half[:, 12:] = 0
    mask = soft_mask() if masked else None
    return local_resolution.measure(*halves, voxel_size, mask, window="18A", step="8A", assume_unmasked=True)


DRAWINGS = {
    "fsc": lambda **options: fsc_figure.draw(correlated(), **options),
    "guinier": lambda **options: guinier_figure.draw(sharpened(resolution=6.0), **options),
    "directional": lambda **options: directional_figure.draw(conical(), **options),
    "local": lambda **options: local_figure.draw(local(), soft_mask(), half_maps()[0], **options),
}


@pytest.mark.parametrize("drawing", DRAWINGS.values(), ids=DRAWINGS)
@pytest.mark.parametrize("format", ["png", "pdf"])
def test_same_input_same_bytes(drawing, format):
    pytest.importorskip("matplotlib")
    assert drawing(format=format, title="same") == drawing(format=format, title="same")


@pytest.mark.parametrize("drawing", DRAWINGS.values(), ids=DRAWINGS)
def test_unknown_formats_and_a_missing_matplotlib_are_told(drawing, monkeypatch):
    with pytest.raises(UsageError, match="png, pdf, svg, got 'mrc'"):
        drawing(format="mrc")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"gpumask\[plot\]"):
        drawing()


@pytest.mark.parametrize("drawing", DRAWINGS.values(), ids=DRAWINGS)
@pytest.mark.parametrize("title", ["my own", "J123/run_it025_half1_class001_unfil_postprocess_$masked_" * 2])
def test_titles_are_shown_whole_and_as_they_are(drawn, drawing, title):
    figure = drawn(drawing, title=title)
    assert [text for text, _ in figure.words if text == title] == [title]
    assert_readable(figure)


def test_matplotlib_is_imported_only_to_draw_and_pyplot_never():
    pytest.importorskip("matplotlib")
    code = (
        "import sys, numpy, gpumask\n"
        "from gpumask.report import directional, fsc, guinier, local_resolution\n"
        "assert not any(m.startswith('matplotlib') for m in sys.modules)\n"
        "halves = [numpy.random.default_rng(i).standard_normal((8, 8, 8)).astype('f4') for i in (1, 2)]\n"
        "fsc.draw(gpumask.fsc(*halves, voxel_size=9.0))\n"
        "from gpumask.directional import conical_fsc\n"
        "directional.draw(conical_fsc(*halves, 1.0, axes=4))\n"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# FSC


def legend(figure):
    """Texts of the legends of a figure and of its axes, in order."""
    owners = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return [text.get_text() for owner in owners if owner is not None for text in owner.get_texts()]


def line(figure, values):
    """The one drawn line that has these values."""
    values = np.asarray(values, float)
    found = [
        one
        for axes in figure.axes
        for one in axes.lines
        if np.shape(one.get_ydata()) == values.shape
        and np.array_equal(np.asarray(one.get_ydata(), float), values, equal_nan=True)
    ]
    assert found
    return found[0]


CURVES = ["corrected_predicted", "corrected", "predicted", "randomized", "unmasked", "spherical", "loose", "tight",
          "masked", "prewhitened", "mfsc"]  # fmt: skip


def test_every_curve_is_drawn_from_the_first_shell_on(drawn):
    found = correlated(cross_checks=True, mass=5.0)
    figure = drawn(fsc_figure.draw, found)
    frequencies = [row["frequency"] for row in found.shells[1:]]
    for name in [*CURVES, "part"]:
        one = line(figure, found.curve(name)[1:])
        assert list(one.get_xdata()) == frequencies
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("frequency (1/Å)", "Fourier shell correlation")
    assert_readable(figure)


def test_the_corrected_curve_that_no_seed_moves_stands_out(drawn):
    found = correlated(cross_checks=True)
    figure = drawn(fsc_figure.draw, found)
    widths = {name: line(figure, found.curve(name)[1:]).get_linewidth() for name in CURVES}
    assert widths["corrected_predicted"] > widths["masked"] > widths["tight"] == widths["mfsc"]
    for name in ("corrected", "randomized"):  # what a seed moves is faint points
        one = line(figure, found.curve(name)[1:])
        assert (one.get_linestyle(), one.get_marker()) == ("None", ".") and one.get_alpha() < 1
    corners = figure.axes[0].collections[0].get_paths()[0].vertices
    for row in found.shells[1:]:
        heights = corners[abs(corners[:, 0] - row["frequency"]) < 1e-12, 1]
        assert (heights.min(), heights.max()) == pytest.approx((row["band_low"], row["band_high"]))


def test_lines_are_told_apart_in_grey(drawn):
    figure = drawn(fsc_figure.draw, correlated(cross_checks=True))
    lines = [one for one in figure.axes[0].lines[: len(CURVES)] if one.get_linestyle() != "None"]
    looks = {(one.get_linewidth(), str(one._unscaled_dash_pattern)) for one in lines}
    assert len(looks) == len(lines) == len(CURVES) - 2  # the two that a seed moves are points


def test_the_legend_says_what_each_curve_reaches(drawn):
    found = correlated()
    reached = found.resolution["0.143"]
    texts = legend(drawn(fsc_figure.draw, found))
    for name, text in (("corrected_predicted", "corrected, n predicted"), ("masked", "mask"), ("unmasked", "no mask")):
        assert f"{text}: {reached[name]:.3g} Å" in texts
    assert f"reported, {found.reported:.3g} Å" in texts
    assert not any("mFSC" in text for text in texts)  # was not measured


def test_onset_criteria_and_resolution_are_marked(drawn):
    found = correlated()
    figure = drawn(fsc_figure.draw, found)
    axes = figure.axes[0]
    places = [tuple(one.get_xydata()[0]) for one in axes.lines if len(one.get_xdata()) == 1]
    assert places == [(pytest.approx(1 / found.reported), 0.143)]
    across = [one.get_ydata()[0] for one in axes.lines if list(one.get_xdata()) == [0, 1]]
    assert across == [0.143, 0.5, 0]
    upright = [one.get_xdata()[0] for one in axes.lines if list(one.get_ydata()) == [0, 1]]
    assert upright == [found.shells[found.onset]["frequency"]]
    levels, above = axes.child_axes
    assert [text.get_text() for text in levels.get_yticklabels()] == ["0.143", "0.5"]
    labels = [float(text.get_text()) for text in above.get_xticklabels()]
    assert len(labels) >= 4 and above.get_xticks() == pytest.approx([1 / label for label in labels])


def headline(drawn, found):
    figure = drawn(fsc_figure.draw, found)
    assert_readable(figure)
    return figure.get_suptitle()


def test_the_title_is_the_headline(drawn):
    found = correlated()
    reached = f"{found.reported:.3g} Å"
    assert headline(drawn, found) == f"{reached} at FSC = 0.143\nunder the mask, corrected"
    named = changed(found, mask={"path": "a/_m$.mrc", "sha256": ""})
    assert headline(drawn, named).endswith("under the mask _m$.mrc, corrected")
    tight = correlated(masked=False)
    assert headline(drawn, tight) == f"{tight.reported:.3g} Å at FSC = 0.143\nunder the tight mask, corrected"
    relion = correlated(masked=False, style="relion")
    assert headline(drawn, relion) == f"{relion.reported:.3g} Å at FSC = 0.143\nwithout a mask, not corrected"
    none = {criterion: dict.fromkeys(row) for criterion, row in found.resolution.items()}
    figure = drawn(fsc_figure.draw, changed(found, resolution=none))
    assert figure.get_suptitle() == "No resolution at FSC = 0.143\nunder the mask, corrected"
    assert not any(len(one.get_xdata()) == 1 for one in figure.axes[0].lines)


def uncorrected(found, code):
    """The same without what phase randomisation gives."""
    lost = ("randomized", "predicted", "corrected", "corrected_predicted")
    shells = [row | dict.fromkeys(lost) for row in found.shells]
    kept = {c: {n: v for n, v in row.items() if n not in lost} for c, row in found.resolution.items()}
    return changed(found, shells=shells, resolution=kept, onset=None, flags=[{"code": code, "message": "", "value": 1}])


def test_without_a_correction_the_curve_under_the_mask_stands_out(drawn):
    found = uncorrected(correlated(), "masked_half_maps")
    figure = drawn(fsc_figure.draw, found)
    assert figure.get_suptitle() == f"{found.reported:.3g} Å at FSC = 0.143\nunder the mask, not corrected"
    masked = line(figure, found.curve("masked")[1:])
    assert (masked.get_color(), masked.get_linewidth()) == (canvas.BLUE, fsc_figure.BOLD)
    texts = legend(figure)
    assert f"mask, not corrected: {found.reported:.3g} Å" in texts
    assert not any("random" in text or "n predicted" in text for text in texts)
    assert_readable(figure)


def test_a_curve_that_never_falls_is_limited_by_nyquist(drawn):
    halves = [half_maps(noise=1e-3)[0] + 1e-6 * n for n in (0, 1)]
    found = gm.fsc(*halves, soft_mask(), voxel_size=2.0, assume_unmasked=True)
    codes = [flag["code"] for flag in found.flags]
    assert "never_drops" in codes
    figure = drawn(fsc_figure.draw, found)
    assert figure.get_suptitle().startswith("4 Å, limited by Nyquist: the FSC stays above 0.143\n")
    assert figure.legends[0].get_title().get_text() == f"flags: {', '.join(codes)}"
    assert_readable(figure)


def test_flags_are_listed_by_their_codes(drawn):
    figure = drawn(fsc_figure.draw, changed(correlated(), flags=[]))
    assert figure.legends[0].get_title().get_text() == "no flags"
    codes = ["not_zero", "rises_again", "corrected_leaves_tight", "mask_fsc_high", "unmasked_beyond_corrected"]
    flags = [{"code": code, "message": "", "value": 1.0} for code in codes]
    figure = drawn(fsc_figure.draw, changed(correlated(cross_checks=True, mass=5.0), flags=flags))
    assert figure.legends[0].get_title().get_text() == f"flags: {', '.join(codes)}"
    assert_readable(figure)


def test_undefined_values_are_gaps_and_deep_ones_are_cut_off(drawn):
    shells = [dict(row) for row in correlated().shells]
    shells[5]["corrected_predicted"] = None
    shells[6]["corrected_predicted"] = -7.0
    for row in shells:
        row["prewhitened"] = None
    figure = drawn(fsc_figure.draw, changed(correlated(), shells=shells))
    values = figure.axes[0].lines[0].get_ydata()
    assert list(np.isnan(values).nonzero()[0]) == [4] and values[5] == -7
    assert figure.axes[0].get_ylim()[0] == fsc_figure.LOWEST
    assert not any("whitened" in text for text in legend(figure))


@pytest.mark.parametrize(
    ("shape", "voxel_size"), [((16, 16, 16), 3.0), ((16, 24, 30), ANISOTROPIC), (BOX, 0.1), (BOX, 37.5)]
)
def test_small_and_anisotropic_boxes_are_readable(drawn, shape, voxel_size):
    for masked in (True, False) if voxel_size != 0.1 else (True,):  # 6 Å around anything is more than the box
        found = correlated(masked, shape=shape, voxel_size=voxel_size)
        figure = drawn(fsc_figure.draw, found)
        assert_readable(figure)
        few = len(found.shells) - 1 <= canvas.FEW
        assert any(one.get_marker() == "o" for one in figure.axes[0].lines) is few


def test_real_half_maps_are_readable(drawn, data):
    halves = [gm.read(data / "halves" / f"sim_iso_half{n}_unfil.mrc.gz") for n in (1, 2)]
    mask = gm.read(data / "relion_postprocess" / "iso_mask_tight_lp6_t008_e0_s3.mrc.gz")
    for around in (mask, None):
        assert_readable(drawn(fsc_figure.draw, gm.fsc(*halves, around)))
    plot = sharpening.guinier(halves[0].data, mask.voxel_size, high=3.3)
    assert_readable(drawn(guinier_figure.draw, plot))
    found = cones.conical_fsc(*(half.data for half in halves), mask.voxel_size, mask.data)
    assert_readable(drawn(directional_figure.draw, found))
    found = local_resolution.measure(*(half.data for half in halves), mask.voxel_size, mask.data, step="10A")
    assert_readable(drawn(local_figure.draw, found, mask.data, halves[0].data))


# Guinier


def test_the_steps_of_sharpening_are_drawn_over_inverse_squares(drawn):
    found = sharpened(resolution=6.0, mtf=((0.0, 0.5), (1.0, 0.3)))
    figure = drawn(guinier_figure.draw, found)
    axes = figure.axes[0]
    for one, name in zip(axes.lines, ("original", "mtf_corrected", "weighted", "sharpened"), strict=False):
        wanted = np.where(np.isfinite(getattr(found, name)), getattr(found, name), np.nan)[1:]
        assert np.array_equal(one.get_ydata(), wanted, equal_nan=True)
        assert list(one.get_xdata()) == list(found.inverse_squared[1:])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("1/d² (1/Å²)", "ln⟨|F|⟩")
    (above,) = axes.child_axes
    labels = [float(text.get_text()) for text in above.get_xticklabels()]
    assert len(labels) >= 4 and above.get_xticks() == pytest.approx([1 / label**2 for label in labels])
    assert len({str(one._unscaled_dash_pattern) for one in axes.lines[:4]}) == 4
    assert_readable(figure)


def test_the_fitted_line_lies_over_the_shells_it_was_fitted_to(drawn):
    found = sharpened(resolution=6.0)
    figure = drawn(guinier_figure.draw, found)
    ends = found.inverse_squared[found.fitted][[0, -1]]
    fit = figure.axes[0].lines[-1].get_xydata()
    assert fit[:, 0] == pytest.approx(ends)
    assert fit[:, 1] == pytest.approx(found.intercept + found.slope * ends)
    coarse, fine = 1 / np.sqrt(ends)
    assert figure.get_suptitle() == (
        f"B = {found.b_factor:.1f} Å², fitted to the shells from {coarse:.3g} to {fine:.3g} Å, "
        f"correlation {found.correlation:.2f}"
    ).replace("-", "−")
    assert "−" in figure.get_suptitle()  # this map fades
    assert not any("MTF" in text for text in legend(figure))


def test_a_given_b_factor_has_no_line(drawn):
    figure = drawn(guinier_figure.draw, sharpened(b_factor=-80))
    assert figure.get_suptitle() == "B = −80.0 Å², as given"
    assert legend(figure) == ["mean of the half maps", "weighted by the FSC", "sharpened"]
    assert len(figure.axes[0].lines) == 3


def test_shells_whose_weight_vanishes_do_not_squeeze_the_plot(drawn):
    found = sharpened(resolution=6.0)
    weighted = found.weighted.copy()
    weighted[-2:] = -50, -np.inf
    figure = drawn(guinier_figure.draw, changed(found, weighted=weighted))
    low, high = figure.axes[0].get_ylim()
    values = np.concatenate([found.original[1:], found.sharpened[1:][np.isfinite(found.sharpened[1:])]])
    deepest = found.original[1:].min() - guinier_figure.DEEPEST
    assert low == pytest.approx(deepest - guinier_figure.HEADROOM * (values.max() - deepest))
    assert high > values.max()
    empty = np.full(len(weighted), -np.inf)
    drawn(guinier_figure.draw, changed(found, original=empty, weighted=empty, sharpened=empty))


def test_a_box_without_shells_is_refused():
    flat = sharpening.guinier(np.ones((1, 8, 8), np.float32), 1.0, b_factor=-10)
    with pytest.raises(UsageError, match="no shell to draw"):
        guinier_figure.draw(flat)


# directions


AXES = ((1, 0, 0), (0, 1, 0), (0, 0, 1))  # x, y, z


def sphere(figure):
    """The map's values, NaN where there is none, and for each pixel x and y within the unit circle."""
    axes = figure.axes[0]
    values = axes.images[0].get_array().filled(np.nan)
    place = np.linspace(-1, 1, len(values))
    return axes, values, place


def test_the_map_has_equal_areas(drawn):
    """Each of x, y and z is the nearest axis for a third of the sphere, so for a third of the map."""
    _, values, place = sphere(drawn(directional_figure.draw, made_cones([4, 5, 10], AXES)))
    within = np.add.outer(place**2, place**2) <= 1
    assert np.isfinite(values).sum() == within.sum()
    shares = [np.isclose(values, 1 / resolution).sum() / within.sum() for resolution in (4, 5, 10)]
    # borders between thirds are under 8 radii long; of their pixels no more than all may be on the wrong side
    assert shares == pytest.approx([1 / 3] * 3, abs=8 * (len(place) / 2) / within.sum())


def test_places_have_the_resolution_of_their_axis(drawn):
    found = conical()
    axes, values, place = sphere(drawn(directional_figure.draw, found))
    for direction, resolution in zip(found.directions, found.resolutions, strict=True):
        up = direction if direction[2] >= 0 else -direction
        x, y = up[:2] / np.sqrt(1 + up[2])
        shown = values[np.abs(place - y).argmin(), np.abs(place - x).argmin()]
        assert shown == pytest.approx(1 / resolution, nan_ok=True)
    dots = axes.lines[0].get_xydata()
    assert (dots**2).sum(axis=1) == pytest.approx(1 - np.abs(found.directions[:, 2]))
    for one, index in zip(axes.lines[1:], (found.weakest, found.strongest), strict=True):
        assert one.get_xydata()[0] == pytest.approx(dots[index])


def test_what_has_no_resolution_is_grey_and_counted(drawn):
    figure = drawn(directional_figure.draw, made_cones([4, np.nan, 10], AXES))
    _, values, place = sphere(figure)
    middle = len(place) // 2
    assert np.isnan(values[-2, middle]) and values[middle, middle] == pytest.approx(0.1)
    assert figure.axes[0].images[0].get_cmap().get_bad() == pytest.approx([0.85, 0.85, 0.85, 1])
    assert figure.axes[2].get_xlabel().endswith("; 1 of 3 axes reach nothing")
    assert "smallest FSC area: nothing along (0.00, 1.00, 0.00)" in legend(figure)
    assert figure.get_suptitle() == "cFAR 0.00: 4 to 10 Å at FSC = 0.143\n3 cones of 20° half-angle, no flags"
    assert_readable(figure)


def test_nothing_anywhere(drawn):
    figure = drawn(directional_figure.draw, made_cones([np.nan] * 3, AXES))
    assert figure.get_suptitle().startswith("cFAR is undefined: no resolution at FSC = 0.143")
    assert_readable(figure)


def test_the_fan_has_every_cone_and_their_extremes(drawn):
    found = conical()
    figure = drawn(directional_figure.draw, found)
    fan = figure.axes[1]
    curves = found.curves[:, 1:]
    for one, curve in zip(fan.lines, curves, strict=False):
        assert np.array_equal(one.get_ydata(), curve, equal_nan=True)
    largest, mean, smallest = (one.get_ydata() for one in fan.lines[len(curves) : len(curves) + 3])
    assert np.array_equal(largest, np.nanmax(curves, axis=0))
    assert np.array_equal(smallest, np.nanmin(curves, axis=0))
    assert mean == pytest.approx(np.nanmean(curves, axis=0))
    assert fan.lines[0].get_linewidth() < fan.lines[-3].get_linewidth()
    levels, _ = fan.child_axes
    assert list(levels.get_yticks()) == [0.143]


def test_axes_are_counted_where_they_end(drawn):
    found = conical()
    bars = drawn(directional_figure.draw, found).axes[2].patches
    for bar in bars:
        middle = bar.get_x() + bar.get_width() / 2
        assert bar.get_height() == (np.abs(1 / found.resolutions - middle) < 1e-9).sum()
    assert sum(bar.get_height() for bar in bars) == np.isfinite(found.resolutions).sum()


@pytest.mark.parametrize(("resolutions", "fewest"), [([3.3, 3.35, 3.4], 2), ([2, 8, 50], 4), ([3, 3, 3], 2)])
def test_colours_are_marked_in_angstrom(drawn, resolutions, fewest):
    figure = drawn(directional_figure.draw, made_cones(resolutions, AXES))
    low, high = figure.axes[0].images[0].get_clim()
    assert low <= 1 / max(resolutions) and 1 / min(resolutions) <= high
    assert high - low >= directional_figure.SPAN / min(resolutions) - 1e-9  # an even map looks even
    bar = figure.axes[3]
    labels = [text.get_text() for text in bar.get_xticklabels()]
    assert len(labels) >= fewest
    assert bar.get_xticks() == pytest.approx([1 / float(label) for label in labels], rel=1e-3)  # four digits
    assert_readable(figure)


@pytest.mark.parametrize("shape", [(2, 2, 2), (16, 16, 16), (10, 16, 20)])
def test_directions_of_small_boxes_are_readable(drawn, shape):
    assert_readable(drawn(directional_figure.draw, conical(shape=shape)))
    assert_readable(drawn(directional_figure.draw, conical(AXES, shape)))


# local resolution


def panels(figure):
    return figure.axes[:3]


def shown(panel):
    """What is drawn last: the resolution, NaN where there is none."""
    return panel.images[-1].get_array().filled(np.nan)


def test_slices_show_the_resolution_in_the_mask_and_nowhere_else(drawn):
    found, mask = local(), soft_mask()
    figure = drawn(local_figure.draw, found, mask, half_maps()[0], centre=(13, 10, 12))
    for panel, (cut, _, _) in zip(panels(figure), planes.PLANES, strict=True):
        index = (13, 10, 12)[cut]
        within = mask.take(index, axis=cut) >= 0.5
        assert np.array_equal(shown(panel)[within], found.volume.take(index, axis=cut)[within])
        assert np.isnan(shown(panel)[~within]).all()
        assert len(panel.images) == 2  # the map behind
        assert panel.images[-1].get_clim() == panels(figure)[0].images[-1].get_clim()
    assert [panel.get_title() for panel in panels(figure)] == [
        "z = 13 px = 26.0 Å",
        "y = 10 px = 20.0 Å",
        "x = 12 px = 24.0 Å",
    ]
    assert_readable(figure)


def test_without_a_mask_what_is_near_a_measured_point_is_shown(drawn):
    found = local(masked=False)
    figure = drawn(local_figure.draw, found)
    step = np.array(found.step_px)
    for panel, (cut, up, across) in zip(panels(figure), planes.PLANES, strict=True):
        voxels = np.zeros((24, 24, 3), int)
        voxels[..., cut] = 12
        voxels[..., up], voxels[..., across] = np.mgrid[:24, :24]
        apart = np.abs(voxels[..., None, :] - found.points) / step
        near, clear = (apart <= 0.5).all(-1).any(-1), ((apart < 0.5).all(-1)).any(-1)
        assert (np.isfinite(shown(panel)) <= near).all()  # between two points, halfway, belongs to either
        assert (np.isfinite(shown(panel)) >= clear).all()
    assert_readable(figure)


def test_where_half_maps_have_no_signal_it_is_hatched(drawn):
    found = local(silent=True)
    assert found.undefined
    figure = drawn(local_figure.draw, found, soft_mask())
    silent = soft_mask()[12] >= 0.5
    panel = panels(figure)[0]
    (hatched,) = panel.collections
    assert hatched.hatches == [local_figure.HATCHED]
    gone = np.isnan(shown(panel)) & silent
    assert gone.any() and (np.isfinite(shown(panel)) & silent).any()
    rows = np.nonzero(gone)[0]
    assert hatched.get_paths()[0].vertices[:, 1].min() == pytest.approx(rows.min() - 0.5)
    assert figure.axes[3].get_xlabel().endswith(f"; {found.undefined} without signal (hatched)")


def test_a_few_extreme_voxels_do_not_set_the_colours(drawn):
    edges = list(np.linspace(3.0, 53.0, 51))
    counts = [5000, 4000, 900] + [0] * 46 + [20]
    found = changed(local(), histogram={"edges": edges, "counts": counts}, quartiles=(3.2, 3.9, 4.4))
    figure = drawn(local_figure.draw, found, soft_mask())
    assert panels(figure)[0].images[-1].get_clim() == (3.0, 6.0)
    even = changed(found, histogram={"edges": [3.99, 4.01], "counts": [100]}, quartiles=(4.0, 4.0, 4.0))
    assert panels(drawn(local_figure.draw, even, soft_mask()))[0].images[-1].get_clim() == pytest.approx((3.8, 4.2))


def test_the_histogram_with_its_quartiles_and_bounds(drawn):
    found = local()
    figure = drawn(local_figure.draw, found, soft_mask())
    axes = figure.axes[3]
    bars = axes.patches[: len(found.histogram["counts"])]
    assert [bar.get_height() for bar in bars] == found.histogram["counts"]
    assert [bar.get_x() for bar in bars] == pytest.approx(found.histogram["edges"][:-1])
    low, median, high = found.quartiles
    assert list(axes.lines[0].get_xdata()) == [median, median]
    span = axes.patches[-1]
    assert (span.get_x(), span.get_x() + span.get_width()) == pytest.approx((low, high))
    assert legend(figure) == [f"median {median:.2f} Å", f"quartiles {low:.2f} to {high:.2f} Å"]
    assert axes.get_xlabel() == (
        f"local resolution (Å)\nbounds: 18 Å (window), {found.at_coarsest} of {len(found.points)} points there; "
        f"{found.bounds[1]:.3g} Å (Nyquist), {found.at_finest} there"
    )
    assert figure.get_suptitle() == (
        f"Local resolution: median {median:.2f} Å, quartiles {low:.2f} and {high:.2f} Å\n"
        f"window 18 Å, FSC = 0.143, corrected from {1 / found.onset:.3g} Å on"
    )
    assert drawn(local_figure.draw, changed(found, onset=None)).get_suptitle().endswith(", not corrected")


def test_anisotropic_voxels_have_one_scale(drawn):
    figure = drawn(local_figure.draw, local(voxel_size=ANISOTROPIC), soft_mask())
    assert_readable(figure)
    for panel, (_, up, across) in zip(panels(figure), planes.PLANES, strict=True):
        inches = panel.get_window_extent()
        wanted = ANISOTROPIC[up] / ANISOTROPIC[across]
        assert inches.height / inches.width == pytest.approx(wanted, rel=0.01)  # a pixel of some hundred


def test_local_resolution_of_other_boxes_or_centres_is_refused():
    with pytest.raises(UsageError, match="box of the resolution, 24 x 24 x 24 px .* got 24 x 24 x 12"):
        local_figure.draw(local(), soft_mask()[:12])
    with pytest.raises(UsageError, match="the centre must lie in the box"):
        local_figure.draw(local(), centre=(3, 40, 3))
