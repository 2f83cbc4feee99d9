"""A page of HTML in one file: texts, tables and figures, nothing that has to be fetched."""

from base64 import b64encode
from html import escape

WIDE = 1.6  # widths to a height
STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; font: 1rem/1.5 system-ui, sans-serif; color: #111;
  background: #fff; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #bbb; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .2rem 1rem; margin: 0; }
dt { color: #444; } dd { margin: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; overflow-wrap: normal; }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top; }
th { border-bottom: 2px solid #888; vertical-align: bottom; }
.text { text-align: left; min-width: 4rem; }
.text:last-child { min-width: 14rem; }
.marked td { background: #fdf0e6; font-weight: 600; }
pre { background: #f4f4f4; padding: .7rem; overflow-x: auto; font-size: .88rem; }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 46rem; width: 100%; min-width: 32rem; height: auto; }
figure img.wide { max-width: none; width: auto; }
figcaption { color: #333; font-size: .92rem; max-width: 46rem; }
.warning { border-left: .3rem solid #d55e00; padding-left: .7rem; }
ul.warning { padding-left: 1.8rem; }
@media print { body { max-width: none; } figure img { min-width: 0; } h2, figure { break-inside: avoid; } }
"""


def document(title, parts):
    """The bytes of a page; `parts` are HTML, one after another."""
    head = '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    head += f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>'
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'.encode()


def section(title, *parts):
    """Parts under a title."""
    return "\n".join(["<section>", f"<h2>{escape(title)}</h2>", *parts, "</section>"])


def paragraph(text, warning=False):
    """A paragraph; a warning stands out."""
    return f'<p class="warning">{escape(text)}</p>' if warning else f"<p>{escape(text)}</p>"


def items(texts, warning=False):
    """A list."""
    listed = "".join(f"<li>{escape(text)}</li>\n" for text in texts)
    return f'<ul class="warning">\n{listed}</ul>' if warning else f"<ul>\n{listed}</ul>"


def terms(pairs):
    """Names and what they are."""
    return "<dl>\n" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>\n" for name, text in pairs) + "</dl>"


def verbatim(text):
    """A text whose lines are kept: a command, a file."""
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'


def table(heads, rows, texts=(), marked=()):
    """A table that scrolls sideways where it is wider than the page.

    Parameters
    ----------
    heads : list of str
    rows : list of list of str
    texts : collection of int
        Columns of words; the others are of numbers.
    marked : collection of int
        Rows that stand out.
    """

    def cells(tag, values, scope=""):
        looks = [' class="text"' if i in texts else "" for i in range(len(values))]
        return "".join(f"<{tag}{scope}{look}>{escape(v)}</{tag}>" for look, v in zip(looks, values, strict=True))

    head = cells("th", heads, ' scope="col"')
    lines = [f"<thead><tr>{head}</tr></thead>", "<tbody>"]
    for i, row in enumerate(rows):
        look = ' class="marked"' if i in marked else ""
        lines.append(f"<tr{look}>{cells('td', row)}</tr>")
    return "\n".join(['<div class="scroll" tabindex="0"><table>', *lines, "</tbody></table></div>"])


def figure(png, alternative, caption):
    """A picture with its caption; `alternative` says what it shows to those who do not see it. One that is much wider
    than tall keeps its size and scrolls: fitted to the page, its words would be too small."""
    source = b64encode(png).decode("ascii")
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))  # of the PNG's header
    look = ' class="wide"' if width > WIDE * height else ""
    image = f'<img{look} alt="{escape(alternative)}" src="data:image/png;base64,{source}">'
    caption = f"<figcaption>{escape(caption)}</figcaption>"
    return f'<figure><div class="scroll" tabindex="0">{image}</div>{caption}</figure>'
