"""A preview of other edges on a page: their power spectra, computed in the browser from roots of the quadratic form."""

import json
import math
from base64 import b64encode
from html import escape

import numpy as np

from gpumask.report import canvas

MOST = 1_000_000  # bytes of the roots; shells are thinned to that
WIDE, TALL = 720, 400  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 40, 44  # of its margins
SHAPES = {"least": "least leak, between the outermost ends", "cosine": "raised cosine", "linear": "linear"}
MARKS = 24  # units of a word's half width, apart from its neighbours
STYLE = """
.preview { max-width: 46rem; }
.preview label { display: grid; grid-template-columns: 9.5rem 1fr 4rem; gap: .6rem; align-items: center;
  margin: .3rem 0; }
.preview select, .preview input { font: inherit; max-width: 100%; min-width: 0; }
.preview .scroll svg { display: block; width: 100%; min-width: 32rem; height: auto; }
.preview text { font: 13px system-ui, sans-serif; fill: #111; }
.preview table { margin-top: .4rem; }
@media (max-width: 34rem) { .preview label { grid-template-columns: 1fr; gap: 0; margin: .6rem 0; } }
"""
SCRIPT = r"""
(() => {
  const told = JSON.parse(document.getElementById("preview-data").textContent);
  const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer;
  const count = told.nodes.length, size = count * (count + 1) / 2;
  const roots = new Float32Array(bytes(told.roots));
  const sums = new Float64Array(bytes(told.sums));
  const get = id => document.getElementById("preview-" + id);
  const first = get("first"), last = get("last"), shape = get("shape");
  const least = shape.querySelector("[value=least]");
  // |R·w|², R upper triangular, row after row
  const power = (root, start, w) => {
    let total = 0;
    for (let i = 0, at = start; i < count; i++) {
      let sum = 0;
      for (let j = i; j < count; j++) sum += root[at++] * w[j];
      total += sum * sum;
    }
    return total;
  };
  const values = (from, to) => told.nodes.map((px, i) => {
    const t = Math.min(Math.max((px - told.nodes[from]) / (told.nodes[to] - told.nodes[from]), 0), 1);
    if (shape.value === "least") return told.least[i];
    return shape.value === "linear" ? 1 - t : 0.5 + 0.5 * Math.cos(Math.PI * t);
  });
  const draw = moved => {
    let from = +first.value, to = +last.value;
    if (from >= to) {
      if (moved === first) to = from + 1; else from = to - 1;
      first.value = from;
      last.value = to;
    }
    const whole = from === 0 && to === count - 1;
    least.disabled = !whole;
    if (!whole && shape.value === "least") shape.value = "cosine";
    const w = values(from, to);
    const mean = told.places.map((_, i) => power(roots, i * size, w) / told.coefficients[i]);
    const level = i => 10 * Math.log10(Math.max(mean[i] / mean[0], 1e-30));
    const up = db => told.top + (told.high - db) * told.scale;
    get("curve").setAttribute("points", told.places.slice(1)
      .map((x, i) => x + "," + Math.min(up(level(i + 1)), 9999).toFixed(1)).join(" "));
    const px = told.nodes[from], end = told.nodes[to];
    get("first-px").textContent = px + " px";
    get("last-px").textContent = end + " px";
    get("leakage").textContent = (power(sums, 0, w) / power(sums, size, w)).toExponential(2)
      .replace(/e([+-])(\d)$/, (_, sign, digit) => "e" + sign + "0" + digit);
    get("db").textContent = level(told.shell).toFixed(1);
  };
  for (const one of [first, last, shape]) one.addEventListener("input", () => draw(one));
  draw(last);
})();
"""


def section(least, power_db):
    """HTML of the preview.

    Parameters
    ----------
    least : LeastLeak
        Of :mod:`gpumask.edges`.
    power_db : list of float or None
        Spectrum of the pick, a value a shell from 0 to Nyquist.

    Returns
    -------
    str
    """
    spectra, nodes = least.spectra, least.spectra.nodes.tolist()
    shells, count = spectra.shells, len(nodes)
    kept = _kept(shells, least.resolution, count)
    levels = np.array([power_db, spectra.power_db(least.values)], float)[:, kept[1:]]
    low = 10 * math.floor(np.nanmin(levels) / 10)
    high, last = 3.0, shells.nyquist * shells.step
    scale = (TALL - TOP - BOTTOM) / (high - low)
    places = [round(LEFT + (WIDE - LEFT - RIGHT) * shell / shells.nyquist, 1) for shell in kept]
    triangle = np.triu_indices(count)
    at = round(1 / (least.resolution * shells.step))
    data = {
        "nodes": nodes,
        "least": least.values.tolist(),
        "roots": _text(spectra.roots()[kept][:, triangle[0], triangle[1]], "<f4"),
        "sums": _text([root[triangle] for root in spectra.leak_roots(least.resolution)], "<f8"),
        "coefficients": shells.coefficients[kept].tolist(),
        "places": places,
        "shell": kept.index(min(at, shells.nyquist)),
        "top": TOP,
        "high": high,
        "scale": round(scale, 6),
    }
    drawn = _frame(last, low, high, least.resolution)
    points = " ".join(
        f"{x},{TOP + (high - db) * scale:.1f}" for x, db in zip(places[1:], levels[0], strict=True) if np.isfinite(db)
    )
    drawn += f'<g clip-path="url(#preview-frame)" fill="none"><polyline stroke="{canvas.BLUE}" stroke-width="2.6" '
    drawn += f'points="{points}"/><polyline id="preview-curve" stroke="{canvas.VERMILLION}" stroke-width="2" '
    drawn += 'stroke-dasharray="6 3"/></g>'
    options = "".join(f'<option value="{shape}">{escape(text)}</option>' for shape, text in SHAPES.items())
    words = "Power spectrum of the pick and of the edge that is chosen"
    svg = f'<svg viewBox="0 0 {WIDE} {TALL}" role="img" aria-label="{words}">{drawn}</svg>'
    return "\n".join(
        [
            f'<div class="preview"><style>{STYLE}</style>',
            _slider("first", "edge begins at", 0, count - 2, 0),
            _slider("last", "edge ends at", 1, count - 1, count - 1),
            f'<label><span>shape</span><select id="preview-shape">{options}</select><span></span></label>',
            f'<div class="scroll" tabindex="0">{svg}</div>',
            _table(least),
            "<noscript><p>The preview needs JavaScript; all else on this page does not.</p></noscript>",
            f'<script type="application/json" id="preview-data">{json.dumps(data, allow_nan=False)}</script>',
            f"<script>{SCRIPT}</script></div>",
        ]
    )


def _kept(shells, resolution, count):
    """Shells that are drawn: as many as their roots have room for, and always that of zero frequency, the first, that
    at the resolution and the last."""
    most = max(MOST // (4 * count * (count + 1) // 2), 2)
    step = math.ceil(shells.nyquist / most)
    at = min(round(1 / (resolution * shells.step)), shells.nyquist)
    return sorted({0, 1, at, shells.nyquist, *range(0, shells.nyquist + 1, step)})


def _text(values, kind):
    return b64encode(np.asarray(values).astype(kind).tobytes()).decode("ascii")


def _slider(name, text, low, high, value):
    slider = f'<input type="range" id="preview-{name}" min="{low}" max="{high}" step="1" value="{value}">'
    return f'<label><span>{escape(text)}</span>{slider}<output id="preview-{name}-px"></output></label>'


def _table(least):
    """Leakage and power at the resolution of the pick and of what is chosen."""
    heads = "", f"leakage beyond {least.resolution:.3g} Å", f"dB at {least.resolution:.3g} Å"
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    own, level = least.own, least.own["db_at_resolution"]
    lines = [
        ("━ the pick", canvas.BLUE, f"{own['leakage']:.2e}", "–" if level is None else f"{level:.1f}", ("", "")),
        ("╍ this edge", canvas.VERMILLION, "", "", (' id="preview-leakage"', ' id="preview-db"')),
    ]
    body = "".join(
        f'<tr><td class="text"><b style="color: {colour}">{what[0]}</b>{what[1:]}</td><td{marks[0]}>{first}</td>'
        f"<td{marks[1]}>{second}</td></tr>"
        for what, colour, first, second, marks in lines
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _frame(last, low, high, resolution):
    """Axes of the drawing, and a line at the resolution."""
    right, bottom = WIDE - RIGHT, TALL - BOTTOM
    scale = (bottom - TOP) / (high - low)

    def across(frequency):
        return LEFT + (right - LEFT) * frequency / last

    def line(x1, y1, x2, y2, look='stroke="#e0e0e0"'):
        return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {look}/>'

    def word(x, y, text, anchor="middle", more=""):
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'

    parts = [
        f'<clipPath id="preview-frame"><rect x="{LEFT}" y="{TOP}" width="{right - LEFT}" '
        f'height="{bottom - TOP}"/></clipPath>'
    ]
    steps = 20 if high - low > 70 else 10
    for level in range(0, int(low) - 1, -steps):
        y = TOP + (high - level) * scale
        parts += [line(LEFT, y, right, y), word(LEFT - 6, y + 4, f"{level:d}".replace("-", "−"), "end")]
    for angstrom in canvas.resolutions(last, apart=2 * MARKS / (right - LEFT)):
        x = across(1 / angstrom)
        parts += [line(x, TOP, x, bottom), word(x, TOP - 8, f"{angstrom:g}")]
    step = 10.0 ** math.floor(math.log10(last))
    step = next(step * part for part in (0.1, 0.2, 0.5, 1) if last / (step * part) <= 8)
    for n in range(int(last / step) + 1):
        parts.append(word(across(n * step), bottom + 17, f"{n * step:g}"))
    parts.append(
        line(across(1 / resolution), TOP, across(1 / resolution), bottom, 'stroke="#595959" stroke-dasharray="8 3"')
    )
    parts.append(
        f'<rect x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}" fill="none" stroke="#111"/>'
    )
    middle = (LEFT + right) / 2, (TOP + bottom) / 2
    turned = f' transform="rotate(-90 14 {middle[1]:.0f})"'
    parts += [
        word(middle[0], 14, "resolution (Å)"),
        word(middle[0], TALL - 8, "frequency (1/Å)"),
        word(14, middle[1], "mean power (dB, zero frequency = 0)", more=turned),
    ]
    return "".join(parts)
