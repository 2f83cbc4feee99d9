"""docs/science.py runs, and docs/science.md quotes what it prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gpumask

DOCS = Path(__file__).resolve().parents[1] / "docs"
SECTIONS = {"edge": 1, "width": 2, "padding": 3, "noise": 4}
INPUTS = {"0.143", "1.5", "1.4", "3.55", "4.0", "0.02", "0.05", "0.01", "0.5", "0.10", "0.20", "0.30"}
NUMBER = re.compile(r"\d+\.\d+")


def run(*arguments):
    """What the script prints; warnings are errors in it."""
    command = [sys.executable, "-W", "error", str(DOCS / "science.py"), *arguments]
    path = os.pathsep.join([str(Path(gpumask.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def tables(text):
    """Title to the lines of its table, for each table under an italic title."""
    found = re.findall(r"^\*([^*\n]+)\*\n\n((?:\|.*\n)+)", text, re.MULTILINE)
    return {title: lines.splitlines() for title, lines in found}


def sections():
    """The page's sections by number, from 1; 0 is what stands before and after them."""
    parts = re.split(r"^## ", (DOCS / "science.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {0: ""}
    for part in parts:
        number = int(part[0]) if part[0].isdigit() else 0
        found[number] = found.get(number, "") + part
    return found


def alike(quoted, printed):
    """Equal texts whose numbers differ by one unit of the last digit at most: another machine may round otherwise."""
    pattern = re.compile(r"[-+]?\d+(?:\.\d+)?")
    if pattern.sub("#", quoted) != pattern.sub("#", printed):
        return False
    pairs = zip(pattern.findall(quoted), pattern.findall(printed), strict=True)
    return all(abs(float(a) - float(b)) <= 1.001 * 10 ** -len(a.partition(".")[2]) for a, b in pairs)


def test_the_page_names_every_section_and_figure():
    found = sections()
    for name, number in SECTIONS.items():
        assert f"`python docs/science.py {name}`" in found[number]
        assert f"(science_{name}.png)" in found[number]
        assert 0 < (DOCS / f"science_{name}.png").stat().st_size < 150_000


@pytest.mark.parametrize("number", SECTIONS.values())
def test_every_decimal_in_the_prose_stands_in_a_table_of_its_section(number):
    text = sections()[number]
    lines = {line for title, table in tables(text).items() for line in (f"*{title}*", *table)}
    prose = "\n".join(line for line in text.splitlines() if line not in lines)
    told = set(NUMBER.findall(prose)) - INPUTS
    assert told
    assert told <= set(NUMBER.findall("\n".join(lines)))


@pytest.mark.parametrize("names", [("edge", "noise"), ("width", "padding")])
def test_every_step_runs_on_a_small_box(names, tmp_path):
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    text = run(*names, "--small", "--figures", str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {f"science_{name}.png" for name in names}
    assert re.findall("^## (.*)$", text, re.MULTILINE) == list(names)
    assert not re.search(r"\b(nan|inf)\b", text)
    for law, slope in re.findall(r"\| (-\d) \| (-\d\.\d+) \|", text):
        assert float(slope) == pytest.approx(float(law), abs=0.05)  # what is left of the next power of 1/k at k = 0.5


def test_an_unknown_section_is_refused():
    command = [sys.executable, str(DOCS / "science.py"), "edges"]
    env = {**os.environ, "PYTHONPATH": str(Path(gpumask.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 2
    assert "edges" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), SECTIONS.items())
def test_the_page_quotes_what_the_script_prints(name, number):
    printed, quoted = tables(run(name, "--no-figures")), tables(sections()[number])
    assert quoted
    for title, lines in quoted.items():
        assert len(lines) == len(printed[title]), title
        for line, wanted in zip(lines, printed[title], strict=True):
            assert alike(line, wanted), f"{title}: the page has\n{line}\nthe script prints\n{wanted}"
