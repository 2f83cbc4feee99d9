"""docs/masks.md: its commands run as they stand, and print what it quotes."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from gpumask import cli, positions, simulation, units

PAGE = Path(__file__).resolve().parents[1] / "docs" / "masks.md"
INPUTS = ("map.mrc", "half1.mrc", "half2.mrc", "head_base.mrc")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    assert cli.main(["demo", "-o", str(folder), "--device", "cpu"]) == 0
    return folder


def blocks():
    """(language, text) of the page's blocks, in order."""
    return re.findall(r"```(sh|python|text)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def missing(quoted, printed):
    """The first quoted line that does not come after the ones before it among the printed ones, or None."""
    rest = iter(printed)
    return next((line for line in quoted if line not in rest), None)


def test_quotes_are_looked_for_in_order():
    assert missing(["a", "c"], ["a", "b", "c"]) is None
    assert missing(["c", "a"], ["a", "b", "c"]) == "a"


@pytest.mark.filterwarnings("ignore::gpumask.GpumaskWarning")
def test_commands_print_what_is_quoted(demo, monkeypatch, tmp_path, capsys):
    for name in INPUTS:
        shutil.copy(demo / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUMASK_DEVICE", "cpu")
    names, printed, counts = {}, None, {"sh": 0, "python": 0, "text": 0}
    for language, text in blocks():
        counts[language] += 1
        if language == "text":
            lost = missing(text.splitlines(), printed)
            assert lost is None, f"not printed: {lost}\n\n" + "\n".join(printed)
            continue
        printed = []
        if language == "python":
            exec(compile(text, "docs/masks.md", "exec"), names)
            printed = capsys.readouterr().out.splitlines()
            continue
        for line in text.splitlines():
            command, _, expected = line.partition("  # exit code ")
            code = cli.main(shlex.split(command)[1:])
            shown = capsys.readouterr()
            assert code == int(expected or 0), f"{command}\n{shown.err}"
            printed += [*shown.out.splitlines(), *shown.err.splitlines()]
    assert counts["text"] == counts["sh"] + counts["python"]


def test_every_verb_of_the_page_is_shown():
    shown = {line.split()[1] for language, text in blocks() if language == "sh" for line in text.splitlines()}
    assert {"create", "shape", "filter", "combine", "resample", "grid", "compare", "fulcrum"} <= shown


def test_hinge_of_the_simulated_head():
    hinge = units.angstrom_to_corner_px(simulation.DOMAINS["head"].hinge, (1.4,) * 3)
    text = positions.as_text(units.centre_px_to_corner_px(hinge, (160,) * 3))
    assert f"the head hinges at {text}" in PAGE.read_text(encoding="utf-8")
