"""STAR text: a reader of blocks and loops, a writer, and the blocks of RELION's ``postprocess.star``.

Blocks are ``{"general": {label: value}, "fsc": {label: [value, …]}}``; labels stand without their underscore.
"""

import math
import re
from numbers import Integral, Real

from gpumask.errors import InputRefused

EMPTY = -99.0  # RELION's logarithm of no amplitude
ORIGIN = 999.0  # Å, RELION's resolution of shell 0, and of a curve that never reaches the criterion

_TOKEN = re.compile(
    r"""^;(?P<lines>.*?)\n;                       # a text of several lines
      | \#[^\n]*                                  # a comment
      | '(?P<single>(?:[^'\n]|'(?=\S))*)'(?!\S)   # a quote ends where white space follows
      | "(?P<double>(?:[^"\n]|"(?=\S))*)"(?!\S)
      | (?P<bare>\S+)""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_PLAIN = re.compile(r"(?!data_|loop_|save_|stop_|global_)[^\s_#$'\";\[\]]\S*", re.IGNORECASE)


def loads(text):
    """Read STAR text.

    Parameters
    ----------
    text : str
        ``data_NAME`` blocks with single values and ``loop_`` tables; comments, quotes and texts of several lines are
        understood.

    Returns
    -------
    dict
        ``{block: {label: str or list of str}}``, in the order of the text; a list is the column of a loop.

    Raises
    ------
    InputRefused
        Not STAR: values outside of blocks, a loop whose values do not fill its rows, a label or block given twice.
    """
    blocks, block, columns, label = {}, None, None, None
    values = 0

    def finish():
        if label is not None:
            raise InputRefused(f"STAR text: _{label} has no value")
        if columns and values % len(columns):
            raise InputRefused(f"STAR text: a loop has {values} values, which do not fill rows of {len(columns)}")

    for match in _TOKEN.finditer(text):
        if match.lastgroup is None:
            continue
        value, bare = match[match.lastgroup], match.lastgroup == "bare"
        word = value.lower() if bare else ""
        if word.startswith("data_"):
            finish()
            if value[5:] in blocks:
                raise InputRefused(f"STAR text: there are two blocks {value}")
            block, columns, label = blocks.setdefault(value[5:], {}), None, None
        elif block is None:
            raise InputRefused(f"not STAR text: {value[:40]!r} stands before the first data_ block")
        elif word == "loop_":
            finish()
            columns, values = [], 0
        elif bare and value.startswith("_"):
            if columns is None or values:  # after the rows of a loop single values may follow
                finish()
                columns, label = None, value[1:]
            if value[1:] in block:
                raise InputRefused(f"STAR text: there are two {value} in one block")
            block[value[1:]] = None if columns is None else []
            if columns is not None:
                columns.append(block[value[1:]])
        elif columns:
            columns[values % len(columns)].append(value)
            values += 1
        elif label is not None:
            block[label], label = value, None
        else:
            raise InputRefused(f"STAR text: the value {value[:40]!r} has no label")
    finish()
    return blocks


def dumps(blocks, comment=None):
    """STAR text of `blocks`, see :func:`loads`; values may be numbers, floats are written with 9 digits.

    RELION's reader takes a blank line for the end of a block, and wants each row on a line of its own.
    """
    lines = [f"# {line}" for line in (comment or "").splitlines()]
    for name, block in blocks.items():
        singles = {label: value for label, value in block.items() if not _is_column(value)}
        columns = {label: value for label, value in block.items() if _is_column(value)}
        lines += ["", f"data_{name}", ""]
        lines += [f"_{label:<50} {_text(value)}" for label, value in singles.items()]
        if columns:
            lines += [*([""] if singles else []), "loop_"]
            lines += [f"_{label} #{number}" for number, label in enumerate(columns, 1)]
            lines += [" ".join(f"{_text(value):>16}" for value in row) for row in zip(*columns.values(), strict=True)]
        lines.append("")
    return "\n".join(lines) + "\n"


def postprocess(
    step,
    unmasked,
    *,
    half1,
    half2,
    resolution=None,
    masked=None,
    randomized=None,
    corrected=None,
    part=None,
    part_fraction=None,
    mask=None,
    onset=None,
    guinier=None,
):
    """The blocks ``general``, ``fsc`` and ``guinier`` as ``relion_postprocess`` 3.1 writes them.

    Parameters
    ----------
    step : float
        Width of a shell, 1/Å.
    unmasked, masked, randomized, corrected, part : sequence of float
        FSC, one value a shell; those that are None are left out. An undefined value is written as ``nan``.
    half1, half2, mask : str
        Names of the files.
    resolution : float, optional
        Å; None where the curve never reaches the criterion.
    part_fraction : float, optional
        f of the part-FSC, see :func:`gpumask.correlation.of_the_part`.
    onset : int, optional
        The shell from which phases were randomised.
    guinier : Guinier, optional
        See :func:`gpumask.sharpening.guinier`.

    Returns
    -------
    dict
        For :func:`dumps`. As RELION has it, shell 0 has the resolution 999 Å, an empty shell the log amplitude -99, and
        the correlation of the fit is squared.
    """
    fit = {} if guinier is None or guinier.slope is None else {
        "rlnFittedSlopeGuinierPlot": guinier.slope,
        "rlnFittedInterceptGuinierPlot": guinier.intercept,
        "rlnCorrelationFitGuinierPlot": (guinier.correlation or 0.0) ** 2,
    }  # fmt: skip
    general = {
        "rlnFinalResolution": ORIGIN if resolution is None else float(resolution),
        "rlnBfactorUsedForSharpening": 0.0 if guinier is None else guinier.b_factor,
        "rlnUnfilteredMapHalf1": half1,
        "rlnUnfilteredMapHalf2": half2,
        "rlnParticleBoxFractionSolventMask": part_fraction,
        "rlnMaskName": mask,
        "rlnRandomiseFrom": None if onset is None else 1 / (onset * step),
        **fit,
    }
    resolutions = [ORIGIN, *(1 / (shell * step) for shell in range(1, len(unmasked)))]
    curves = {
        "rlnSpectralIndex": range(len(unmasked)),
        "rlnResolution": [1 / resolution for resolution in resolutions],
        "rlnAngstromResolution": resolutions,
        "rlnFourierShellCorrelationCorrected": corrected,
        "rlnFourierShellCorrelationParticleMaskFraction": part,
        "rlnFourierShellCorrelationUnmaskedMaps": unmasked,
        "rlnFourierShellCorrelationMaskedMaps": masked,
        "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps": randomized,
    }
    blocks = {"general": _given(general), "fsc": {label: list(values) for label, values in _given(curves).items()}}
    if guinier is not None:
        sharpened = guinier.b_factor or guinier.slope is not None
        table = {
            "rlnResolutionSquared": guinier.inverse_squared,
            "rlnLogAmplitudesOriginal": guinier.original,
            "rlnLogAmplitudesMTFCorrected": guinier.mtf_corrected,
            "rlnLogAmplitudesWeighted": guinier.weighted,
            "rlnLogAmplitudesSharpened": guinier.sharpened if sharpened else None,
            "rlnLogAmplitudesIntercept": [guinier.intercept] * len(guinier.original) if fit else None,
        }
        blocks["guinier"] = {
            label: [value if math.isfinite(value) else EMPTY for value in values]
            for label, values in _given(table).items()
        }
    return blocks


def _given(values):
    return {label: value for label, value in values.items() if value is not None}


def _is_column(value):
    return not isinstance(value, (str, Real))


def _text(value):
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        return f"{float(value):.9g}"
    if "\n" in value or ('"' in value and "'" in value):
        if "\n;" in value:
            raise InputRefused(f"a STAR value cannot hold a line that begins with a semicolon, got {value!r}")
        return f"\n;{value}\n;"
    if '"' in value:
        return f"'{value}'"
    return value if _PLAIN.fullmatch(value) else f'"{value}"'
