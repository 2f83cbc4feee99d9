"""Figures show the right planes at the right scale, the right lines, and words that can be read."""

import dataclasses
import functools
import importlib
import itertools
import subprocess
import sys

import numpy as np
import pytest
from figures import assert_readable, recorder

import gpumask as gm
from gpumask import fourier
from gpumask.errors import MissingExtra, UsageError
from gpumask.report import planes, slices, spectrum

SHAPE = (12, 20, 30)
EDGES = (2.0, 1.0, 0.5)  # Å, (z, y, x)


@pytest.fixture
def figure_of(monkeypatch):
    return recorder(monkeypatch)


@pytest.fixture
def draw(figure_of):
    return functools.partial(figure_of, slices.draw)


@pytest.fixture
def draw_both(figure_of):
    return functools.partial(figure_of, slices.draw_both)


@pytest.fixture
def draw_spectra(figure_of):
    return functools.partial(figure_of, spectrum.draw)


def write(path, *arguments, **options):
    path.write_bytes(slices.draw(*arguments, format=path.suffix[1:].lower(), **options))


def ball(shape=SHAPE, centre=(5.0, 8.0, 17.0), radius=2.0, edge=4.0):
    grid = np.indices(shape, dtype=float)
    distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)))
    return np.clip((radius + edge - distance) / edge, 0, 1).astype(np.float32)


def colours(path):
    """Number of pixels near vermillion, blue and green."""
    pixels = importlib.import_module("matplotlib.image").imread(path)[..., :3]
    wanted = np.array([[0xD5, 0x5E, 0x00], [0x00, 0x72, 0xB2], [0x00, 0x9E, 0x73]]) / 255
    return [int((abs(pixels - w).max(axis=-1) < 0.02).sum()) for w in wanted]


def test_a_soft_mask_is_drawn_with_its_three_contours(tmp_path):
    pytest.importorskip("matplotlib")
    write(tmp_path / "soft.png", ball(), voxel_size=1.4)
    write(tmp_path / "empty.png", np.zeros(SHAPE), voxel_size=1.4)
    assert (tmp_path / "soft.png").read_bytes().startswith(b"\x89PNG\r\n")
    soft, legend_only = colours(tmp_path / "soft.png"), colours(tmp_path / "empty.png")
    assert all(s > 3 * e > 0 for s, e in zip(soft, legend_only, strict=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty.png", "soft.png"]


def test_the_planes_are_xy_xz_yz_through_the_centre(draw):
    volume = np.zeros(SHAPE, np.float32)
    volume[3, 7, 22] = 1
    panels = draw(ball(), volume, voxel_size=EDGES, centre=(3.2, 7.4, 21.6)).axes
    bright = [np.unravel_index(np.argmax(p.images[0].get_array()), p.images[0].get_array().shape) for p in panels]
    assert bright == [(7, 22), (3, 22), (3, 7)]  # rows upwards, columns to the right
    assert [p.get_title() for p in panels] == ["z = 3 px = 6.0 Å", "y = 7 px = 7.0 Å", "x = 22 px = 11.0 Å"]
    crosses = [tuple(p.lines[1].get_xydata()[0]) for p in panels]
    assert crosses == [(21.6, 7.4), (21.6, 3.2), (7.4, 3.2)]  # where asked, not where cut


def test_axes_say_which_way_and_which_unit(draw):
    panels = draw(ball(), voxel_size=EDGES).axes
    assert [(p.get_xlabel(), p.get_ylabel()) for p in panels] == [
        ("x (px)", "y (px)"),
        ("x (px)", "z (px)"),
        ("y (px)", "z (px)"),
    ]
    for panel, (across, up) in zip(panels, (("x", "y"), ("x", "z"), ("y", "z")), strict=True):
        top, right = panel.child_axes
        assert (top.get_xlabel(), right.get_ylabel()) == (f"{across} (Å)", f"{up} (Å)")
        edge = EDGES["zyx".index(across)]
        assert np.array(top.get_xlim()) == pytest.approx(np.array(panel.get_xlim()) * edge)


def test_lengths_in_angstrom_have_one_scale(draw):
    """30 x 0.5, 20 x 1 and 12 x 2 Å: not the number of voxels but their size sets the shape of a panel."""
    panels = draw(ball(), voxel_size=EDGES).axes
    inches = [p.get_window_extent() for p in panels]
    lengths = ((15, 20), (15, 24), (20, 24))
    scales = [(i.width / w, i.height / h) for i, (w, h) in zip(inches, lengths, strict=True)]
    assert np.ptp(scales) < 0.01 * np.mean(scales)


def test_contours_lie_where_the_mask_has_their_value(draw):
    mask = ball(edge=5.0)
    panels = draw(mask, voxel_size=1.0).axes
    # Linear between voxels: r of the levels 0.999, 0.5, 0.001 is 2 + 5 * (1 - level).
    for collection, radius in zip(panels[0].collections, (2.005, 4.5, 6.995), strict=True):
        points = np.concatenate([p.vertices for p in collection.get_paths()])
        along_x = points[abs(points[:, 1] - 8) < 1e-6]
        assert abs(along_x[:, 0] - 17).max() == pytest.approx(radius, abs=0.01)


def test_the_default_centre_is_the_centre_of_mass(draw):
    panels = draw(ball(), voxel_size=1.0).axes
    assert [p.get_title()[:7].strip() for p in panels] == ["z = 5 p", "y = 8 p", "x = 17"]
    panels = draw(np.zeros(SHAPE, bool), voxel_size=1.0).axes  # nothing has weight: n // 2
    assert [p.get_title()[:7].strip() for p in panels] == ["z = 6 p", "y = 10", "x = 15"]


@pytest.mark.parametrize(("voxel_size", "text"), [(1.0, "5 Å"), (1.4, "10 Å"), (12.0, "50 Å")])
def test_the_scale_bar_has_the_length_it_says(draw, voxel_size, text):
    panel = draw(ball(), voxel_size=voxel_size).axes[0]
    assert [t.get_text() for t in panel.texts] == [text]
    drawn = np.ptp(panel.lines[-1].get_xdata()) * voxel_size
    assert drawn == pytest.approx(float(text.split()[0]))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 60, 60), (90, 20, 20), (8, 8, 8)])
@pytest.mark.parametrize("value", [0, 1])
def test_odd_boxes_and_flat_masks_are_drawn_without_a_warning(draw, shape, value):
    draw(np.full(shape, value, np.int8), np.zeros(shape, np.float32), voxel_size=1.0, title="flat")


DRAWINGS = {
    "slices": lambda **options: slices.draw(ball(), voxel_size=1.4, **options),
    "both": lambda **options: slices.draw_both(ball(), ball(), voxel_size=1.4, resolution=4, **options),
    "spectrum": lambda **options: spectrum.draw(made(leaking=True), **options),
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


def test_svg_and_capitals(tmp_path):
    pytest.importorskip("matplotlib")
    write(tmp_path / "figure.SVG", ball(), voxel_size=1.4)
    assert b"<svg" in (tmp_path / "figure.SVG").read_bytes()[:2000]


@pytest.mark.parametrize(
    ("name", "volume", "centre", "text"),
    [
        ("figure.mrc", None, None, "png, pdf, svg, got 'mrc'"),
        ("figure.png", np.zeros((12, 20, 31)), None, "12 x 20 x 30 and 12 x 20 x 31"),
        ("figure.png", None, (3, 40, 5), r"box of 30 x 20 x 12 px \(x, y, z\), got 5, 40, 3"),
        ("figure.png", None, (3, float("nan"), 5), "got 5, nan, 3"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, name, volume, centre, text):
    with pytest.raises(UsageError, match=text):
        write(tmp_path / name, ball(), volume, voxel_size=1.4, centre=centre)
    assert not list(tmp_path.iterdir())


def test_pyplot_is_never_imported_and_matplotlib_only_to_draw():
    pytest.importorskip("matplotlib")
    code = (
        "import sys, numpy\n"
        "from gpumask.report import slices\n"
        "assert not any(m.startswith('matplotlib') for m in sys.modules)\n"
        "from gpumask.report import spectrum\n"
        "slices.draw(numpy.ones((4, 4, 4)), voxel_size=1.0)\n"
        "slices.draw_both(numpy.ones((4, 4, 4)), voxel_size=1.0)\n"
        "import gpumask\n"
        "spectrum.draw(gpumask.mask_spectrum(numpy.ones((4, 4, 4)), voxel_size=1.0))\n"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


BOXES = [(1, 1, 1), (2, 2, 2), (3, 60, 60), (90, 20, 20), (8, 8, 8), (40, 60, 100)]


@pytest.mark.parametrize(
    ("shape", "voxel_size"), [*((shape, 1.0) for shape in BOXES), (SHAPE, EDGES), (SHAPE, 0.1), (SHAPE, 37.5)]
)
def test_words_of_both_spaces_never_meet(draw_both, shape, voxel_size):
    mask = np.ones(shape, np.float32)
    assert_readable(draw_both(mask, mask, voxel_size=voxel_size, resolution=2.5, title="a title"))


@pytest.mark.parametrize("title", ["", "J123/run_it025_half1_class001_unfil_postprocess_masked_local_" * 2, "$x_$"])
@pytest.mark.parametrize("function", [slices.draw, slices.draw_both])
def test_titles_are_shown_whole_and_as_they_are(figure_of, function, title):
    figure = figure_of(function, ball(), voxel_size=1.4, title=title)
    assert [text for text, _ in figure.words if text == title] == [title] * bool(title)
    assert_readable(figure)


# both spaces


def spaces(figure, row):
    """The three panels of a row of :func:`slices.draw_both`, counted from above."""
    panels = [axes for axes in figure.axes if axes.images]
    return panels[3 * row : 3 * row + 3]


def row_names(figure):
    return [text.get_text() for text in figure.texts if "space" in text.get_text()]


def test_map_and_mask_have_a_row_in_each_space(draw_both):
    names = ["map, real space", "map, Fourier space", "mask, real space", "mask, Fourier space"]
    with_map = draw_both(ball(), ball(), voxel_size=EDGES)
    assert row_names(with_map) == names
    assert len([axes for axes in with_map.axes if axes.images]) == 12
    without = draw_both(ball(), voxel_size=EDGES)
    assert row_names(without) == names[2:]
    assert len([axes for axes in without.axes if axes.images]) == 6


def test_a_wave_stands_at_its_frequency(draw_both):
    """cos(2π·3x/30) on voxels of 0.5 Å: 3 periods in 15 Å, ±0.2 1/Å along x, nothing in the plane across x."""
    wave = np.broadcast_to(np.cos(2 * np.pi * 3 * np.arange(30) / 30), SHAPE)
    panels = spaces(draw_both(ball(), wave, voxel_size=EDGES), 1)
    for panel, up in zip(panels[:2], "yz", strict=True):
        assert (panel.get_xlabel(), panel.get_ylabel()) == ("$k_x$ (1/Å)", f"$k_{up}$ (1/Å)")
        values = panel.images[0].get_array()
        rows, columns = np.nonzero(values > -20)
        left, right, bottom, top = panel.images[0].get_extent()
        assert left + (columns + 0.5) * (right - left) / values.shape[1] == pytest.approx([-0.2, 0.2])
        assert bottom + (rows + 0.5) * (top - bottom) / values.shape[0] == pytest.approx([0, 0], abs=1e-12)
    assert [panel.get_title() for panel in panels] == ["$k_z$ = 0", "$k_y$ = 0", "$k_x$ = 0"]
    assert panels[2].images[0].get_array().max() == slices.FAINTEST


def test_fourier_space_is_in_decibel_of_the_largest(draw_both):
    mask = ball()
    figure = draw_both(mask, voxel_size=EDGES)
    for panel, plane in zip(spaces(figure, 1), fourier.central_planes(mask), strict=True):
        shown = panel.images[0].get_array()
        assert shown.max() == 0
        deep = np.maximum(20 * np.log10(plane / mask.sum(dtype=float)), slices.FAINTEST)
        assert abs(shown - deep).max() < 1e-9  # 20·log10 of float64 values that differ by rounding
        assert panel.images[0].get_clim() == spaces(figure, 1)[0].images[0].get_clim()
    assert figure.axes[-1].get_ylabel() == "power (dB, largest = 0)"


def test_a_ring_marks_the_resolution(draw_both):
    figure = draw_both(ball(), ball(), voxel_size=EDGES, resolution="4A")
    for row in (1, 3):
        for panel in spaces(figure, row):
            assert [ring.radius for ring in panel.patches] == [0.25, 0.25]  # black on white
    assert "ring at 4 Å" in [text for text, _ in figure.words]
    without = draw_both(ball(), voxel_size=EDGES)
    assert not any(panel.patches for panel in spaces(without, 1))
    with pytest.raises(UsageError, match="resolution must be in Å"):
        slices.draw_both(ball(), voxel_size=1.0, resolution="4px")


@pytest.mark.parametrize("voxel_size", [EDGES, 1.0])
def test_the_panels_of_a_row_have_one_scale(draw_both, voxel_size):
    figure = draw_both(ball(), ball(), voxel_size=voxel_size)
    edges = np.broadcast_to(voxel_size, 3)
    for row, sizes in enumerate([SHAPE * edges, 1 / edges] * 2):
        scales = []
        for panel, (_, up, across) in zip(spaces(figure, row), planes.PLANES, strict=True):
            inches = panel.get_window_extent()
            scales += [inches.width / sizes[across], inches.height / sizes[up]]
        assert np.ptp(scales) < 1e-6 * np.mean(scales)


def test_the_cross_is_in_real_space_only(draw_both):
    figure = draw_both(ball(), ball(), voxel_size=EDGES, centre=(3.2, 7.4, 21.6))
    for row in (0, 2):
        crosses = [tuple(panel.lines[1].get_xydata()[0]) for panel in spaces(figure, row)]
        assert crosses == [(21.6, 7.4), (21.6, 3.2), (7.4, 3.2)]
    assert not any(panel.lines for row in (1, 3) for panel in spaces(figure, row))


def test_nothing_at_all_is_drawn_as_nothing(draw_both):
    figure = draw_both(np.zeros(SHAPE), np.zeros(SHAPE), voxel_size=1.0)
    assert all((panel.images[0].get_array() == slices.FAINTEST).all() for panel in spaces(figure, 1))


# spectra


@functools.cache
def measured(resolution=4.0, path="a/mask.mrc", edge=4.0):
    grid = ball((32, 32, 32), (16, 16, 16), 6.0, edge)
    return gm.mask_spectrum(grid, resolution, voxel_size=1.4, path=path)


def made(leaking=False, **changes):
    """A spectrum, with what half maps would tell where `leaking`: FSC 1 up to shell 5, then down by 0.2 a shell."""
    found = measured()
    if leaking:
        fsc = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2] + [0.0] * (len(found.shells) - 10)
        leak = found.shells[9]["frequency"]
        found = dataclasses.replace(
            found,
            predicted_fsc=fsc,
            measured_fsc={"mean": [v - 0.01 for v in fsc], "sd": [0.02] * len(fsc), "seeds": 4},
            k_leak=leak,
            mask_limited_resolution=1 / leak,
        )
    return dataclasses.replace(found, **changes)


def column(found, key):
    return [row[key] for row in found.shells[1:]]


def words(figure):
    return [text for text, _ in figure.words]


def test_a_mask_is_drawn_with_its_hard_twin_and_the_hann_ball(draw_spectra):
    found = made()
    figure = draw_spectra([found])
    axes = figure.axes[0]
    for line, key in zip(axes.lines, ("power_db", "hard_power_db", "hann_power_db"), strict=False):
        assert list(line.get_xdata()) == column(found, "frequency")
        assert list(line.get_ydata()) == column(found, key)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("frequency (1/Å)", "mean power (dB, zero frequency = 0)")
    assert len(figure.axes) == 1
    assert_readable(figure)
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["mask", "the same base with a hard edge", "Hann ball of equal volume", "target, 4 Å"]
    styles = {(line.get_color(), str(line.get_linestyle())) for line in axes.lines[:3]}
    assert len(styles) == 3


def test_the_title_gives_the_verdict(draw_spectra):
    found = made()
    power = min(found.shells, key=lambda row: abs(row["frequency"] - 0.25))["power_db"]
    line = gm.mask.verdict_line(found.equivalent_edge_px, 5 * 4 / 1.4, (1.4,) * 3, power, 4)
    assert line.startswith("narrow: edge ") and line.endswith(" dB at 4 Å")
    assert draw_spectra(found).get_suptitle() == f"mask.mrc\n{line}"
    undecided = measured(resolution=None)
    line = gm.mask.verdict_line(undecided.equivalent_edge_px, None, (1.4,) * 3)
    assert draw_spectra(undecided).get_suptitle() == f"mask.mrc\n{line}"
    assert draw_spectra(found, title="my own").get_suptitle() == "my own"


@pytest.mark.parametrize("resolution", [3.0, 3.37, 4.0, 8, 20])
def test_the_target_is_marked_where_it_was_asked(draw_spectra, resolution):
    axes = draw_spectra(measured(resolution)).axes[0]
    assert axes.lines[3].get_xdata() == pytest.approx([1 / resolution] * 2)
    assert len(draw_spectra(measured(None)).axes[0].lines) == 3


def test_several_masks_are_told_apart_by_colour_style_and_name(draw_spectra):
    spectra = [made(path=f"{i}.mrc") for i in range(35)]
    figure = draw_spectra(spectra)
    lines = figure.axes[0].lines[:35]
    assert len({(line.get_color(), str(line.get_linestyle()), line._unscaled_dash_pattern) for line in lines}) == 35
    assert all(line.get_linestyle() != other.get_linestyle() or line._unscaled_dash_pattern !=
               other._unscaled_dash_pattern for line, other in itertools.combinations(lines[:5], 2))  # fmt: skip
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    line = gm.mask.verdict_line(spectra[0].equivalent_edge_px, 5 * 4 / 1.4, (1.4,) * 3)
    assert legend == [f"{i}.mrc: {line}" for i in range(35)] + ["target, 4 Å"]
    assert figure.get_suptitle() == "Power spectra of 35 masks"
    assert_readable(figure)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["_a.mrc", "$b$.mrc"], ["_a.mrc", "$b$.mrc"]),
        (["1/mask.mrc", "2/mask.mrc"], ["1/mask.mrc", "2/mask.mrc"]),
        ([None, "x/mask.mrc"], ["mask 1", "mask.mrc"]),
        (["a" * 60 + ".mrc", "b.mrc"], ["a" * 24 + "…" + "a" * 20 + ".mrc", "b.mrc"]),
    ],
)
def test_names_are_shown_as_they_are(draw_spectra, paths, names):
    figure = draw_spectra([made(path=path, leaking=True) for path in paths])
    assert [text.get_text().split(":")[0] for text in figure.legends[0].get_texts()[:2]] == names
    assert_readable(figure)


def test_a_deep_null_does_not_squeeze_the_picture(draw_spectra):
    found = made()
    lowest = min(column(found, "power_db") + column(found, "hard_power_db"))
    wanted = max(spectrum.LOWEST, 10 * np.floor((lowest - spectrum.HEADROOM) / 10))
    assert draw_spectra(found).axes[0].get_ylim()[0] == wanted
    assert len(column(found, "power_db")) == 16  # of which 5 % are none: all count; of twice as many one is left aside
    shells = [dict(row) for _ in range(2) for row in measured().shells]
    shells[5]["power_db"] = -400.0
    assert draw_spectra(made(shells=shells)).axes[0].get_ylim()[0] == wanted
    for row in shells:
        row["power_db"] = -400.0
    assert draw_spectra(made(shells=shells)).axes[0].get_ylim()[0] == spectrum.LOWEST


def test_what_is_undefined_is_a_gap(draw_spectra):
    shells = [dict(row) for row in measured().shells]
    shells[4]["power_db"] = None
    for row in shells:
        row["hard_power_db"] = None
    axes = draw_spectra(made(shells=shells)).axes[0]
    assert list(np.isnan(axes.lines[0].get_ydata()).nonzero()[0]) == [3]
    assert np.isnan(axes.lines[1].get_ydata()).all()
    for row in shells:
        row["power_db"] = row["hann_power_db"] = None
    draw_spectra(made(shells=shells))


def test_half_maps_add_the_fsc_of_the_mask(draw_spectra):
    found = made(leaking=True)
    figure = draw_spectra(found)
    leak = figure.axes[1]
    predicted, dots, tip, level = leak.lines[:4]
    frequencies = column(found, "frequency")
    assert list(predicted.get_xdata()) == list(dots.get_xdata()) == frequencies
    assert list(predicted.get_ydata()) == found.predicted_fsc[1:]
    assert list(dots.get_ydata()) == found.measured_fsc["mean"][1:]
    assert tip.get_xydata().tolist() == [[found.k_leak, 0.05]]
    assert list(level.get_ydata()) == [0.05, 0.05]
    corners = leak.collections[0].get_paths()[0].vertices
    for frequency, value in zip(frequencies, found.measured_fsc["mean"][1:], strict=True):
        heights = corners[abs(corners[:, 0] - frequency) < 1e-12, 1]
        assert (heights.min(), heights.max()) == pytest.approx((value - 0.02, value + 0.02))
    assert figure.axes[0].get_xlim() == leak.get_xlim()
    assert leak.get_ylabel() == "FSC of the mask alone"
    assert "measured, mean and standard deviation of 4 draws" in words(figure)
    assert f"k_leak = {found.k_leak:.3f} 1/Å ({1 / found.k_leak:.1f} Å), the last shell above" in words(figure)
    assert_readable(figure)


def test_one_draw_has_no_spread_and_none_no_points(draw_spectra):
    found = made(leaking=True)
    one = {"mean": found.measured_fsc["mean"], "sd": [None] * len(found.shells), "seeds": 1}
    assert "measured, 1 draw" in words(draw_spectra(dataclasses.replace(found, measured_fsc=one)))
    none = draw_spectra(dataclasses.replace(found, measured_fsc=None, k_leak=None, mask_limited_resolution=None))
    assert not any("measured" in text or "k_leak" in text for text in words(none))


def test_resolutions_are_marked_above_where_they_are(draw_spectra):
    for found in (made(), measured(None), gm.mask_spectrum(ball((8, 8, 8), (4, 4, 4), 2, 1), voxel_size=37.5),
                  gm.mask_spectrum(ball(), voxel_size=EDGES)):  # fmt: skip
        figure = draw_spectra([found, found])
        (above,) = figure.axes[0].child_axes
        marks, labels = above.get_xticks(), [float(label.get_text()) for label in above.get_xticklabels()]
        assert marks == pytest.approx([1 / label for label in labels])
        assert len(marks) >= 4
        assert (np.array(marks) <= found.shells[-1]["frequency"]).all()
        assert above.get_xlabel() == "resolution (Å)"
        assert_readable(figure)


def test_spectra_that_cannot_be_drawn_are_refused():
    with pytest.raises(UsageError, match="one spectrum or more, got none"):
        spectrum.draw([])
    flat = gm.mask_spectrum(np.ones((1, 8, 8), np.float32), voxel_size=1.0)
    with pytest.raises(UsageError, match="8 x 8 x 1 px .* no shell to draw"):
        spectrum.draw(flat)
