"""The FSC curve as EMDB takes it with a deposition."""

import math
from xml.etree import ElementTree


def fsc_xml(frequency, fsc, title="Masked-corrected FSC"):
    """EMDB's ``fsc.xml``.

    Parameters
    ----------
    frequency : sequence of float
        1/Å, one value a shell.
    fsc : sequence of float
        Undefined shells (NaN) are left out: the format has no word for them.
    title : str

    Returns
    -------
    str
        XML text: a ``coordinate`` with x (1/Å) and y a shell.
    """
    root = ElementTree.Element("fsc", title=title, xaxis="Resolution (A-1)", yaxis="Correlation Coefficient")
    for x, y in zip(frequency, fsc, strict=True):
        if math.isfinite(y):
            coordinate = ElementTree.SubElement(root, "coordinate")
            ElementTree.SubElement(coordinate, "x").text = f"{float(x):.9g}"
            ElementTree.SubElement(coordinate, "y").text = f"{float(y):.9g}"
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"
