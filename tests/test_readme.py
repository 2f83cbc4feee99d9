"""The README's examples run as they stand, on the files of the demo."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from gpumask import cli

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    assert cli.main(["demo", "-o", str(folder), "--device", "cpu"]) == 0
    return folder


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_demo_leaves_what_it_names(demo):
    wanted = {"map.mrc", "half1.mrc", "half2.mrc", "head_base.mrc", "head_mask.mrc", "head_mask.json"}
    assert wanted <= {path.name for path in demo.iterdir()}


@pytest.mark.filterwarnings("ignore::gpumask.GpumaskWarning")
def test_python_examples_run(demo, monkeypatch, tmp_path):
    shutil.copy(demo / "map.mrc", tmp_path)
    monkeypatch.chdir(tmp_path)
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "mask.mrc").exists()


def test_shell_examples_run(demo, monkeypatch, tmp_path, capsys):
    for name in ("map.mrc", "head_base.mrc", "half1.mrc", "half2.mrc"):
        shutil.copy(demo / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("gpumask ")]
    assert len(commands) >= 10
    printed = []
    for command in commands:
        assert cli.main(shlex.split(command)[1:]) == 0, command
        printed += capsys.readouterr().out.splitlines()
    quoted = [line for block in blocks("text") for line in block.splitlines()]
    assert len(quoted) >= 20
    assert set(quoted) <= set(printed)


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", README.read_text(encoding="utf-8"))
    assert len(links) >= 10
    assert [link for link in links if "://" not in link and not (README.parent / link).exists()] == []
