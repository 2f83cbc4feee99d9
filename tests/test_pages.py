"""The pages of docs/: their commands run as they stand on the files of the demo, and print what the pages quote."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from gpumask import cli, positions, simulation, units

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = ("masks.md", "tutorial_head.md", "regions.md", "models.md", "tutorial_glycoprotein.md", "advise.md")
INPUTS = ("map.mrc", "half1.mrc", "half2.mrc", "model.pdb")
EXTRAS = {
    "--plot": "matplotlib",
    "--slices": "matplotlib",
    "--report": "matplotlib",
    ".pdb": "gemmi",
    ".cif": "gemmi",
}  # what commands need


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    assert cli.main(["demo", "-o", str(folder), "--device", "cpu"]) == 0
    return folder


def text(page):
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page):
    """(language, text) of the page's blocks, in order."""
    return re.findall(r"```(sh|python|text)\n(.*?)```", text(page), re.DOTALL)


def missing(quoted, printed):
    """The first quoted line that does not come after the ones before it among the printed ones, or None."""
    rest = iter(printed)
    return next((line for line in quoted if line not in rest), None)


def test_quotes_are_looked_for_in_order():
    assert missing(["a", "c"], ["a", "b", "c"]) is None
    assert missing(["c", "a"], ["a", "b", "c"]) == "a"


@pytest.mark.filterwarnings("ignore::gpumask.GpumaskWarning")
@pytest.mark.parametrize("page", PAGES)
def test_commands_print_what_is_quoted(demo, page, monkeypatch, tmp_path, capsys):
    run = "".join(body for language, body in blocks(page) if language != "text")
    for module in sorted({module for part, module in EXTRAS.items() if part in run}):
        pytest.importorskip(module, reason="an extra that the page uses is not installed")
    for name in INPUTS:
        shutil.copy(demo / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUMASK_DEVICE", "cpu")
    names, printed, counts = {}, [], {"sh": 0, "python": 0, "text": 0}
    for language, body in blocks(page):
        counts[language] += 1
        if language == "text":
            lost = missing(body.splitlines(), printed)
            assert lost is None, f"not printed: {lost}\n\n" + "\n".join(printed)
            continue
        printed = []
        if language == "python":
            exec(compile(body, page, "exec"), names)
            printed = capsys.readouterr().out.splitlines()
            continue
        for line in body.splitlines():
            command, _, expected = line.partition("  # exit code ")
            code = cli.main(shlex.split(command)[1:])
            shown = capsys.readouterr()
            assert code == int(expected or 0), f"{command}\n{shown.err}"
            printed += [*shown.out.splitlines(), *shown.err.splitlines()]
    assert 0 < counts["text"] <= counts["sh"] + counts["python"]


VERBS = {
    "masks.md": "segment regions create shape filter combine resample grid compare fulcrum",
    "tutorial_head.md": "segment regions compare resample create inspect fulcrum spectrum fsc sharpen combine",
    "regions.md": "segment regions",
    "models.md": "model fsc",
    "tutorial_glycoprotein.md": "model create",
    "advise.md": "segment regions create advise sweep",
}


@pytest.mark.parametrize("page", PAGES)
def test_every_verb_of_the_page_is_shown(page):
    shown = {line.split()[1] for language, body in blocks(page) if language == "sh" for line in body.splitlines()}
    assert set(VERBS[page].split()) <= shown


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text(page))
    assert [link for link in links if "://" not in link and not (DOCS / link).exists()] == []


@pytest.mark.parametrize("page", ["masks.md", "tutorial_head.md"])
def test_hinge_of_the_simulated_head(page):
    hinge = units.angstrom_to_corner_px(simulation.DOMAINS["head"].hinge, (1.4,) * 3)
    place = positions.as_text(units.centre_px_to_corner_px(hinge, (160,) * 3))
    assert f"the head hinges at {place}" in text(page)
