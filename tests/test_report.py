"""Figures show the right planes at the right scale."""

import importlib
import subprocess
import sys

import numpy as np
import pytest

from gpumask.errors import MissingExtra, UsageError
from gpumask.report import slices

SHAPE = (12, 20, 30)
EDGES = (2.0, 1.0, 0.5)  # Å, (z, y, x)


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Draw, and give back the figure that was made."""
    figure = pytest.importorskip("matplotlib.figure")
    made = []
    save = figure.Figure.savefig

    def keep(self, *arguments, **options):
        made.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(figure.Figure, "savefig", keep)

    def drawn(*arguments, **options):
        write(tmp_path / "figure.png", *arguments, **options)
        return made[-1]

    return drawn


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


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_same_input_same_bytes(tmp_path, suffix):
    pytest.importorskip("matplotlib")
    files = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for file in files:
        write(file, ball(), voxel_size=1.4, title="same")
    assert files[0].read_bytes() == files[1].read_bytes()


def test_svg_and_capitals(tmp_path):
    pytest.importorskip("matplotlib")
    write(tmp_path / "figure.SVG", ball(), voxel_size=1.4)
    assert b"<svg" in (tmp_path / "figure.SVG").read_bytes()[:2000]


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"gpumask\[plot\]"):
        write(tmp_path / "figure.png", ball(), voxel_size=1.4)
    assert not list(tmp_path.iterdir())


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
        "slices.draw(numpy.ones((4, 4, 4)), voxel_size=1.0)\n"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
