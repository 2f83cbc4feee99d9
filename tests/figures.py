"""Figures as they are drawn, and whether they can be read."""

import importlib
import itertools

import pytest


def recorder(monkeypatch):
    """A function that calls a drawing function and gives back the figure that was made; its `words` are the texts that
    were drawn."""
    figure = pytest.importorskip("matplotlib.figure").Figure
    text = importlib.import_module("matplotlib.text").Text
    made, words = [], {}  # by text object: the layout draws a figure more than once
    save, draw_text = figure.savefig, text.draw

    def keep(self, *arguments, **options):
        made.append(self)
        words.clear()
        save(self, *arguments, **options)

    def note(self, renderer):
        if self.get_visible() and self.get_text().strip():
            words[id(self)] = (self.get_text(), self.get_window_extent(renderer))
        draw_text(self, renderer)

    monkeypatch.setattr(figure, "savefig", keep)
    monkeypatch.setattr(text, "draw", note)

    def drawn(function, *arguments, **options):
        assert function(*arguments, **options).startswith(b"\x89PNG")
        made[-1].words = list(words.values())
        return made[-1]

    return drawn


def assert_readable(figure):
    """No word lies on another or over the rim."""
    width, height = figure.get_size_inches() * 200  # dots per inch of the file
    for text, box in figure.words:
        assert box.x0 >= 0 <= box.y0 and box.x1 <= width and box.y1 <= height, f"{text!r} is cut at the rim"
    for (first, a), (second, b) in itertools.combinations(figure.words, 2):
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1  # a pixel is not seen
        assert apart, f"{first!r} lies on {second!r}"
