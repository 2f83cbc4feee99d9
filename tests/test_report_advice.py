"""The page and the figures of advice: every number is the sweep's, and nothing has to be fetched."""

import base64
import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from figures import assert_readable, recorder
from scipy import ndimage

import gpumask as gm
from gpumask import choices, job
from gpumask.cli import main
from gpumask.errors import MissingExtra
from gpumask.report import advice as drawing
from gpumask.report import comparison, page, preview

pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")

BOX, SIZE = 48, 2.0
MAP = 'a<b & "c".mrc'
MOST = 3_000_000  # bytes of a page
FIGURES = ("heat_maps", "front", "filmstrip", "spectra", "fsc")
JUDGED = {"resolution": "6A", "onset": "16A"}


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr("gpumask.cli.terminal.PATIENCE", float("inf"))
    monkeypatch.setenv("GPUMASK_DEVICE", "cpu")


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """A map of two touching lumps, its half maps, and the base of one lump on its own grid."""
    folder = tmp_path_factory.mktemp("maps")
    rng = np.random.default_rng(0)
    grid = np.ogrid[[slice(BOX)] * 3]
    target, other = (
        np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))) <= radius
        for centre, radius in (((24, 20, 24), 8), ((24, 33, 24), 6))
    )
    texture = ndimage.gaussian_filter(rng.standard_normal((BOX,) * 3), 1)
    density = ndimage.gaussian_filter((target | other) * (1 + texture / texture.std()), 1.2).astype(np.float32)
    made = {MAP: density}
    made |= {f"half{i}.mrc": (density + rng.normal(0, 0.6, density.shape)).astype(np.float32) for i in (1, 2)}
    for name, array in made.items():
        gm.write(folder / name, gm.Volume(array, SIZE))
    part = np.ascontiguousarray(target[10:40, 6:36, 10:40], np.float32)
    origin = tuple(SIZE * c for c in (10, 6, 10))
    gm.write(folder / "base.mrc", gm.Volume(part, SIZE, gm.Header(origin=origin)))
    return folder


def advised(maps, folder, **options):
    given = {"half1": maps / "half1.mrc", "device": "cpu", **JUDGED, **options}
    return job.advise(maps / MAP, folder, report=True, **given)


@pytest.fixture(scope="module")
def done(maps, tmp_path_factory):
    """Advice with its report, and the folder."""
    folder = tmp_path_factory.mktemp("advice")
    return advised(maps, folder, threshold=0.3), folder


class Page(HTMLParser):
    """Sections of a page: by title their tables (rows of texts) and what stands verbatim; and every attribute."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.verbatim, self.attributes, self.open, self.title = {}, {}, [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag not in ("meta", "link", "img", "input"):
            self.open.append(tag)
        if tag == "h2":
            self.title = ""
        if tag == "tr":
            self.tables.setdefault(self.title, []).append([])
        if tag in ("td", "th"):
            self.tables[self.title][-1].append("")
        if tag == "code":
            self.verbatim.setdefault(self.title, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] == "h2":
            self.title += text
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[self.title][-1][-1] += text
        if self.open and self.open[-1] == "code":
            self.verbatim[self.title][-1] += text


def read(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_holds_the_figures_beside_it(done):
    found, folder = done
    drawn = [f"{name}.png" for name in FIGURES]
    assert {path.name for path in folder.iterdir()} == {
        *("mask.mrc", "mask.json", "advice.json", "sweep.csv", "sweep.json", "report.html"),
        *drawn,
    }
    assert found["files"] == [str(folder / path.rsplit("/", 1)[1]) for path in found["files"]]
    embedded = re.findall(r'src="data:image/png;base64,([^"]*)"', read(folder))
    assert {base64.b64decode(one) for one in embedded} == {(folder / name).read_bytes() for name in drawn}
    assert (folder / "report.html").stat().st_size < MOST


def test_nothing_is_fetched_or_run(done):
    text = re.sub(r"base64,[^\"]*", "", read(done[1]))
    assert "http" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert "<script" not in text
    places = [value for _, name, value in Page(read(done[1])).attributes if name in ("src", "href")]
    assert places
    assert all(place.startswith("data:") for place in places)


def test_every_number_of_the_table_is_the_sweeps(done):
    found, folder = done
    tables = Page(read(folder)).tables
    with (folder / "sweep.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    heads, *lines = tables["All masks"]
    columns = {head: (name, form) for head, name, form in drawing.TABLE}
    assert len(lines) == len(rows)
    assert set(heads) == {*columns, "flags"}

    def expected(row):
        def text(name, form):
            return row[name] if form == "" else "–" if row[name] == "" else format(float(row[name]), form)

        return [text(*columns[head]) for head in heads[:-1]]

    assert [line[:-1] for line in lines] == [expected(row) for row in rows]
    for line, row in zip(lines, rows, strict=True):
        assert [one.replace(" ", "_") for one in line[-1].split(", ")] == (row["flags"].split(" ") or [""])
    advice = found["advice"]
    assert [line[:-1] for line in tables["The front"][1:]] == [expected(rows[i]) for i in advice.front]
    assert tables["Why its neighbours lose"][1:] == [[one["what"], one["reason"]] for one in advice.neighbours]
    assert [line[0] for line in tables["How much hangs on the threshold"][1:]] == ["0.24", "0.36"]


def test_names_of_files_are_escaped(done, maps):
    text = read(done[1])
    assert "a<b" not in text
    assert Page(text).tables["Made from"][1][1] == str(maps / MAP)
    figure = page.figure(b"", 'a" onload="x', "<b>")
    assert 'alt="a&quot; onload=&quot;x"' in figure
    assert "<figcaption>&lt;b&gt;</figcaption>" in figure


def test_the_command_makes_the_mask(done, maps, tmp_path, monkeypatch):
    """That of a threshold, and that of a base on its own grid that is eroded."""
    based = tmp_path / "based"
    narrow = {"dilations": ["-1px"], "soft_edges": ["6px"], "edges": ["convolved"]}
    advised(maps, based, base=maps / "base.mrc", goal="local", **narrow)
    for folder in (done[1], based):
        command, recipe = Page(read(folder)).verbatim["The recipe"]
        monkeypatch.chdir(tmp_path)
        assert main([*shlex.split(command)[1:], "--force"]) == 0
        expected = gm.read(folder / "mask.mrc").data
        assert np.array_equal(gm.read(tmp_path / "mask.mrc").data, expected)
        wanted = json.loads((folder / "mask.json").read_text())["recipe"]
        assert recipe == gm.MaskRecipe.from_dict(wanted).to_toml()


def test_the_same_input_gives_the_same_bytes(done, maps, tmp_path):
    advised(maps, tmp_path, threshold=0.3)
    for name in ("report.html", *(f"{name}.png" for name in FIGURES)):
        assert (tmp_path / name).read_bytes() == (done[1] / name).read_bytes()


def test_what_the_heat_maps_and_the_front_show(done, monkeypatch):
    advice = done[0]["advice"]
    rows, marked = advice.sweep.rows, [drawing.picked_row(advice), *drawing.compared(advice)]
    drawn = recorder(monkeypatch)
    figure = drawn(comparison.heat_maps, advice.sweep, drawing.picked_row(advice))
    assert_readable(figure)
    panels = [axes for axes in figure.axes if axes.images]
    for axes, name in zip(panels, ("leak_mean", "resolution_corrected", "detectability"), strict=True):
        shown = np.asarray(axes.images[0].get_array().filled(np.nan))
        ticks = ([float(t.get_text()) for t in one.get_ticklabels()] for one in (axes.yaxis, axes.xaxis))
        dilations, edges = ticks
        for row in rows:
            at = dilations.index(row["dilation_px"]), edges.index(row["soft_edge_px"])
            assert shown[at] == row[name]
        (x, y), width = axes.patches[0].get_xy(), axes.patches[0].get_width()
        assert edges[round(x + width / 2)] == advice.row["soft_edge_px"]
        assert dilations[round(y + width / 2)] == advice.row["dilation_px"]
    figure = drawn(comparison.front, advice.sweep, advice.front, marked, limit=advice.policy.leak_mean)
    assert_readable(figure)
    lines = figure.axes[0].lines
    places = {(x, y) for line in lines for x, y in zip(*line.get_data(), strict=True)}
    lowest = comparison.LOGARITHMIC["leak_mean"]
    assert {(max(row["leak_mean"], lowest), row["detectability"]) for row in rows} <= places
    (star,) = [line for line in lines if line.get_marker() == "*"]
    assert [*zip(*star.get_data(), strict=True)] == [(advice.row["leak_mean"], advice.row["detectability"])]
    assert any(set(line.get_xdata()) == {advice.policy.leak_mean} for line in lines)


def test_spectra_and_fsc_are_those_of_the_pick_and_two_neighbours(done, monkeypatch):
    advice = done[0]["advice"]
    shown = [drawing.picked_row(advice), *drawing.compared(advice)]
    assert len(shown) == 3
    beside = [one["row"] for one in advice.neighbours if " instead of " in one["what"]]
    beside.sort(key=lambda i: advice.sweep.rows[i]["leak_mean"])
    assert shown[1:] == [beside[-1], beside[0]]
    drawn = recorder(monkeypatch)
    figure = drawn(comparison.spectra, advice.sweep, shown)
    assert_readable(figure)
    for line, i in zip(figure.axes[0].lines, shown, strict=False):
        assert [*line.get_ydata()] == advice.sweep.details[i]["power_db"][1:]
    figure = drawn(comparison.fsc, advice.sweep, shown, limit=0.05)
    assert_readable(figure)
    curves = [[*line.get_ydata()] for axes in figure.axes for line in axes.lines]
    for i in shown:
        for name in ("corrected", "predicted"):
            wanted = [np.nan if v is None else v for v in advice.sweep.details[i][name][1:]]
            assert any(len(c) == len(wanted) and np.array_equal(c, wanted, equal_nan=True) for c in curves)


def test_the_filmstrip_goes_along_the_front(done, maps, monkeypatch):
    advice = done[0]["advice"]
    rows, picked = advice.sweep.rows, drawing.picked_row(advice)
    shown = drawing.frames(advice)
    assert {advice.front[0], advice.front[-1], picked} <= set(shown)
    leaks = [rows[i]["leak_mean"] for i in shown]
    assert leaks == sorted(leaks)
    assert comparison.frames(rows, list(range(20)), 19) == sorted(
        {0, 5, 10, 14, 19}, key=lambda i: (rows[i]["leak_mean"], i)
    )
    volume = gm.read(maps / MAP)
    masks = [gm.create_mask(volume, recipe=advice.sweep.recipe(rows[i])).data for i in shown]
    given = [rows[i] for i in shown], iter(masks), volume.data, SIZE
    figure = recorder(monkeypatch)(comparison.filmstrip, *given, picked=shown.index(picked))
    assert_readable(figure)
    assert len(figure.axes) == 3 * len(shown)
    texts = [text for text, _ in figure.words]
    assert [text.startswith("pick: ") for text in texts if "dilation" in text] == [i == picked for i in shown]


def test_a_subtraction_is_told_by_its_error(maps, tmp_path, monkeypatch):
    found = advised(maps, tmp_path, base=maps / "base.mrc", goal="subtraction")["advice"]
    errors, picked = [detail["subtraction_error"] for detail in found.sweep.details], drawing.picked_row(found)
    drawn = recorder(monkeypatch)
    figure = drawn(comparison.front, found.sweep, found.front, [picked], error=True)
    assert_readable(figure)
    (star,) = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert star.get_ydata() == [errors[picked]]
    figure = drawn(comparison.heat_maps, found.sweep, picked, error=True)
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images][-1]
    assert sorted(shown.ravel()) == sorted(errors)
    assert "taken of the rest" in read(tmp_path)


def test_thresholds_and_edges_have_panels_of_their_own(maps, monkeypatch):
    volumes = [gm.read(maps / name) for name in (MAP, "half1.mrc", "half2.mrc")]
    grid = {"dilations": [0, 2], "soft_edges": [4, 8, 12], "edges": ["cosine", "convolved"]}
    found = gm.sweep(*volumes, thresholds=[0.3, 0.4], **grid, resolution=6, onset="16A")
    drawn = recorder(monkeypatch)
    figure = drawn(comparison.heat_maps, found)
    assert_readable(figure)
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert titles == 3 * [f"threshold {t}, {e}" for t in (0.3, 0.4) for e in ("cosine", "convolved")]
    assert_readable(drawn(comparison.front, found, choices.front(found)))


def sweep(maps, folder, *more):
    return main(["sweep", str(maps / MAP), "--threshold", "0.3", "--dilate", "0:2:2", "-o", str(folder), *more])


def test_a_sweep_is_drawn_at_its_end(maps, tmp_path, capsys):
    halves = ["--soft-edge", "4,8", "--half1", str(maps / "half1.mrc"), "--resolution", "6A", "--onset", "16A"]
    assert sweep(maps, tmp_path, *halves) == 0
    table = (tmp_path / "sweep.csv").read_bytes()
    assert sweep(maps, tmp_path, *halves, "--plot") == 0
    said = capsys.readouterr().out
    assert "4 of them measured before" in said
    for name in ("heat_maps", "front", "filmstrip"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"{name}.png" in said
    assert (tmp_path / "sweep.csv").read_bytes() == table
    alone = tmp_path / "alone"
    assert sweep(maps, alone, "--soft-edge", "4,8", "--resolution", "6A", "--plot") == 0
    assert sorted(path.name for path in alone.iterdir()) == ["heat_maps.png", "sweep.csv", "sweep.json"]


def test_a_sweep_of_noise_is_drawn_though_no_mask_is_picked(maps, tmp_path):
    rng = np.random.default_rng(0)
    for i in (1, 2):
        noise = rng.standard_normal((BOX,) * 3).astype(np.float32)
        gm.write(tmp_path / f"half{i}.mrc", gm.Volume(noise, SIZE))
    halves = ["--half1", str(tmp_path / "half1.mrc"), "--resolution", "6A", "--onset", "16A"]
    target = gm.Volume(np.pad(gm.read(maps / "base.mrc").data, ((10, 8), (6, 12), (10, 8))), SIZE)
    gm.write(tmp_path / "target.mrc", target)
    region = ["--region", str(tmp_path / "target.mrc"), "--soft-edge", "4,8"]
    folder = tmp_path / "sweep"
    assert sweep(maps, folder, *halves, *region, "--plot") == 0
    assert {"heat_maps.png", "front.png"} <= {path.name for path in folder.iterdir()}
    rows = json.loads((folder / "sweep.json").read_text())["rows"]
    assert all(row["detectability"] <= 0 for row in rows)


def test_half_maps_that_tell_nothing_leave_what_masks_tell(maps, tmp_path, monkeypatch):
    volumes = [gm.read(maps / name) for name in (MAP, "half1.mrc", "half2.mrc")]
    around = gm.create_mask(volumes[0], threshold=0.3, soft_edge="3px").data
    masked = [volume.with_data(volume.data * around) for volume in volumes[1:]]
    grid = {"thresholds": 0.3, "soft_edges": [4, 8], "resolution": 6}
    drawn = recorder(monkeypatch)
    figure = drawn(comparison.heat_maps, gm.sweep(volumes[0], *masked, dilations=[0, 2], **grid))
    assert len([axes for axes in figure.axes if axes.images]) == len(comparison.UNJUDGED)
    with pytest.raises(gm.errors.InputRefused, match="erosion leaves nothing of any"):
        comparison.heat_maps(gm.sweep(*volumes, dilations=["-20px"], **grid))


def test_without_matplotlib_that_is_said_before_the_work(maps, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    folder = tmp_path / "new"
    words = ["advise", str(maps / MAP), "--half1", str(maps / "half1.mrc"), "--report", "-o", str(folder)]
    for run in (lambda: main(words), lambda: sweep(maps, folder, "--plot")):
        assert run() == MissingExtra.exit_code
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "gpumask[plot]" in said
    assert not folder.exists()


def test_a_figure_that_is_there_is_kept(maps, tmp_path, capsys):
    (tmp_path / "front.png").write_bytes(b"mine")
    words = ["advise", str(maps / MAP), "--half1", str(maps / "half1.mrc"), "--threshold", "0.3", "--report"]
    assert main([*words, "--resolution", "6A", "--onset", "16A", "-o", str(tmp_path)]) == 3
    assert "front.png" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["front.png"]


# The preview


@pytest.fixture(scope="module")
def previewed(maps, tmp_path_factory):
    """Advice with least leak and its report, and the folder."""
    folder = tmp_path_factory.mktemp("previewed")
    grid = {"dilations": [-1, 1], "soft_edges": [6, 9]}
    return advised(maps, folder, threshold=0.3, least_leak=True, **grid), folder


def embedded(text):
    """What the page computes from."""
    return json.loads(re.search(r'id="preview-data">(.*?)</script>', text)[1])


def test_the_preview_is_there_where_both_are_asked_for(done, previewed):
    assert "preview" not in read(done[1])
    text = read(previewed[1])
    assert len(text.encode()) < MOST
    told = previewed[0]["advice"].least_leak
    assert told.line() in text
    assert embedded(text)["nodes"] == told.spectra.nodes.tolist()
    without = (
        re.sub(r"base64,[^\"]*", "", text).replace(embedded(text)["roots"], "").replace(embedded(text)["sums"], "")
    )
    for word in ("http", "@import", "fetch(", "import(", "XMLHttp"):
        assert word not in without
    assert re.findall(r"url\((.*?)\)", without) == ["#preview-frame"]
    places = [value for _, name, value in Page(text).attributes if name in ("src", "href")]
    assert all(place.startswith("data:") for place in places)


def test_the_figure_of_spectra_has_the_profile_of_least_leak(previewed, monkeypatch):
    advice = previewed[0]["advice"]
    shown = [drawing.picked_row(advice), *drawing.compared(advice)]
    power = advice.least_leak.spectra.power_db(advice.least_leak.values)
    figure = recorder(monkeypatch)(comparison.spectra, advice.sweep, shown, ("profile of least leak", power))
    assert_readable(figure)
    assert [*figure.axes[0].lines[-1].get_ydata()] == power[1:]
    assert "profile of least leak" in [text for text, _ in figure.words]


def test_roots_are_those_of_the_form(previewed):
    spectra = previewed[0]["advice"].least_leak.spectra
    values = np.linspace(1, 0, len(spectra.nodes)) ** 2
    power = ((spectra.roots() @ values) ** 2).sum(axis=1)
    # the square of a root is good to ε·|G|, and profiles of hats are some 1e-4 of them in power
    assert power == pytest.approx(spectra.power(values), rel=1e-6)
    beyond, whole = (((root @ values) ** 2).sum() for root in spectra.leak_roots(6.0))
    assert beyond / whole == pytest.approx(spectra.leakage(values, 6.0), rel=1e-6)


def test_a_page_that_would_be_too_large_loses_the_preview_first(maps, tmp_path, monkeypatch, previewed):
    most = len(read(previewed[1]).encode()) - 1
    monkeypatch.setattr(drawing, "MOST", most)
    grid = {"dilations": [-1, 1], "soft_edges": [6, 9]}
    found = advised(maps, tmp_path, threshold=0.3, least_leak=True, **grid)
    text = read(tmp_path)
    assert "preview-data" not in text
    assert len(text.encode()) <= most
    (said,) = [line for line in found["warnings"] if "no preview of other edges" in line]
    assert said in json.loads((tmp_path / "advice.json").read_text())["warnings"]
    assert said in text
    assert previewed[0]["advice"].least_leak.line() in text


def test_few_shells_are_kept_where_roots_have_no_room(previewed, monkeypatch):
    least = previewed[0]["advice"].least_leak
    power = least.spectra.power_db(least.values)
    whole = len(embedded(preview.section(least, power))["places"])
    assert whole == BOX // 2 + 1
    size = 4 * len(least.values) * (len(least.values) + 1) // 2
    monkeypatch.setattr(preview, "MOST", 8 * size)
    thin = embedded(preview.section(least, power))
    assert 8 <= len(thin["places"]) <= 8 + 4
    assert thin["coefficients"][thin["shell"]] == least.spectra.shells.coefficients[round(BOX * SIZE / 6)]


# In a browser


def browse(folder, text, measured, width):
    """What an expression gives in the page at that width, and what came on the console. The page is in a frame, since
    the window of a browser has a least width above that of a phone."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    tell = f"<script>onload = () => parent.postMessage({measured}, '*')</script></body>"
    (folder / "page.html").write_text(text.replace("</body>", tell), encoding="utf-8")
    (folder / "frame.html").write_text(
        "<!DOCTYPE html><title></title><link rel=icon href='data:,'>"
        "<script>onmessage = message => { document.title = message.data }</script>"
        f"<iframe src='page.html' style='width: {width}px; height: 2000px; border: 0'></iframe>",
        encoding="utf-8",
    )
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--hide-scrollbars"]
    options += [f"--user-data-dir={folder / 'profile'}", "--window-size=1400,2100", "--virtual-time-budget=5000"]
    command = [chromium, *options, "--dump-dom", (folder / "frame.html").as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in shown.stderr
    return re.search("<title>(.*?)</title>", shown.stdout)[1]


LAID_OUT = "[document.documentElement.scrollWidth, innerWidth, "
LAID_OUT += "[...document.images].every(i => i.complete && i.naturalWidth > 0)].join()"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("which", ["done", "previewed"])
def test_a_browser_shows_the_page(request, tmp_path, which, width):
    """No message on the console, every picture there, and nothing wider than the window but what scrolls."""
    text = read(request.getfixturevalue(which)[1])
    wide, window, complete = browse(tmp_path, text, LAID_OUT, width).split(",")
    assert int(wide) <= int(window) == width
    assert complete == "true"


MOVED = """(() => {
  const get = id => document.getElementById("preview-" + id);
  const told = [];
  const move = (id, value) => {
    get(id).value = value;
    get(id).dispatchEvent(new Event("input"));
    told.push([get("first").value, get("last").value, get("shape").value, get("leakage").textContent,
      get("db").textContent, get("curve").getAttribute("points").length > 99].join());
  };
  move("shape", "least"); move("shape", "linear"); move("first", 2); move("last", 5); move("shape", "cosine");
  move("first", 5); move("first", 0); move("last", 0); move("last", %d); move("shape", "least"); move("first", 1);
  return told.join(";");
})()"""


@pytest.mark.parametrize("width", [1280, 390])
def test_the_preview_tells_the_leakage_of_the_edge_that_is_chosen(previewed, tmp_path, width):
    least = previewed[0]["advice"].least_leak
    nodes, end = least.spectra.nodes, len(least.values) - 1
    told = [one.split(",") for one in browse(tmp_path, read(previewed[1]), MOVED % end, width).split(";")]
    chosen = [(int(first), int(last), shape) for first, last, shape, *_ in told]
    assert chosen == [
        *((0, end, "least"), (0, end, "linear"), (2, end, "linear"), (2, 5, "linear"), (2, 5, "cosine")),
        *((5, 6, "cosine"), (0, 6, "cosine"), (0, 1, "cosine"), (0, end, "cosine"), (0, end, "least")),
        (1, end, "cosine"),  # there the profile of least leak is not known
    ]
    shell = round(BOX * SIZE / 6)
    for first, last, shape, leakage, level, drawn in told:
        position = np.clip((nodes - nodes[int(first)]) / (nodes[int(last)] - nodes[int(first)]), 0, 1)
        values = {
            "least": least.values,
            "linear": 1 - position,
            "cosine": 0.5 + 0.5 * np.cos(np.pi * position),
        }[shape]
        assert leakage == f"{least.spectra.leakage(values, 6.0):.2e}"
        assert level == f"{least.spectra.power_db(values)[shell]:.1f}"
        assert drawn == "true"
