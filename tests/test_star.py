"""STAR text and EMDB's XML: what is read, what is written, and that RELION reads it."""

import gzip
import math
import shutil
import subprocess
from decimal import Decimal
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpumask import correlation, emdb, sharpening, star, units
from gpumask.errors import InputRefused

DIGITS = 5e-9  # relative: half a unit of the ninth digit
AWKWARD = """# a comment, and a block without a name
data_

_rlnName 'it''s here'  # after a value
_rlnOther "a 'b' #c"
_rlnText
;first
 second # not a comment
;
loop_
_rlnImageName #1
_rlnValue #2
000001@stack#1.mrcs   1.5
'two words' -2e-3

_rlnAfter 7
DATA_second LOOP_ _a 1
2
"""


def column(block, label):
    return np.array([float(value) for value in block[label]])


def rounding(texts):
    """Half a unit of the last digit of each number; RELION writes six decimals, five where a sign takes the place."""
    return np.array([0.5 * 10.0 ** Decimal(text).as_tuple().exponent for text in texts])


def reference(data, name):
    return star.loads((data / "relion_postprocess" / f"{name}.star").read_text())


# Reading


def test_comments_quotes_and_texts_of_several_lines():
    assert star.loads(AWKWARD) == {
        "": {
            "rlnName": "it''s here",
            "rlnOther": "a 'b' #c",
            "rlnText": "first\n second # not a comment",
            "rlnImageName": ["000001@stack#1.mrcs", "two words"],
            "rlnValue": ["1.5", "-2e-3"],
            "rlnAfter": "7",
        },
        "second": {"a": ["1", "2"]},
    }


def test_a_loop_without_rows_is_empty():
    assert star.loads("data_x\nloop_\n_a #1\n_b #2\n\ndata_y\n_c 1\n") == {"x": {"a": [], "b": []}, "y": {"c": "1"}}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("frequency,value\n0,1\n", "before the first data_ block"),
        ("data_x\nloop_\n_a\n_b\n1 2 3\n", "3 values, which do not fill rows of 2"),
        ("data_x\nloop_\n_a\n_b\n1 2 3\ndata_y\n_c 1", "3 values, which do not fill rows of 2"),
        ("data_x\n_a 1\n_a 2\n", "two _a"),
        ("data_x\n_a 1\ndata_x\n_b 1\n", "two blocks data_x"),
        ("data_x\n_a\n_b 2\n", "_a has no value"),
        ("data_x\n_a", "_a has no value"),
        ("data_x\n_a 1 2\n", "'2' has no label"),
    ],
)
def test_what_is_not_star_is_refused(text, why):
    with pytest.raises(InputRefused, match=why):
        star.loads(text)


# Writing

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z")) | st.sampled_from(" \n'\"#;_"))
BLOCKS = st.fixed_dictionaries(
    {"one": TEXTS, "two": TEXTS, "first": st.lists(TEXTS, min_size=3, max_size=3), "last": st.lists(TEXTS, min_size=3,
     max_size=3)}
)  # fmt: skip


@given(BLOCKS)
def test_what_is_written_is_read(block):
    texts = [block["one"], block["two"], *block["first"], *block["last"]]
    if any("\n;" in text for text in texts):
        with pytest.raises(InputRefused, match="semicolon"):
            star.dumps({"x": block})
        return
    assert star.loads(star.dumps({"x": block, "": block}, "made\nhere")) == {"x": block, "": block}


@pytest.mark.parametrize(
    "text", ["data_x", "Loop_", "_label", ";x", "#x", "$x", "", "a b", "it's", 'say "x"', "'a' \"b\" c"]
)
def test_a_value_is_never_taken_for_a_word_of_the_format(text):
    assert star.loads(star.dumps({"x": {"a": text, "b": [text, "1"]}})) == {"x": {"a": text, "b": [text, "1"]}}


def test_numbers_keep_nine_digits():
    values = [0.1, -1 / 3, 1e-12, 12345678.9, 0.0, np.float32(0.7), np.float64(np.pi)]
    found = star.loads(star.dumps({"x": {"number": 7, "value": values, "index": range(7)}}))["x"]
    assert (found["number"], found["index"]) == ("7", [str(i) for i in range(7)])
    assert [float(text) for text in found["value"]] == pytest.approx([float(v) for v in values], rel=DIGITS)
    assert math.isnan(float(star.loads(star.dumps({"x": {"a": [math.nan]}}))["x"]["a"][0]))


# RELION's postprocess.star


def rebuilt(found, guinier=None):
    """A reference's blocks made anew from its own numbers."""
    general, fsc = found["general"], found["fsc"]

    def curve(label):
        return column(fsc, label) if label in fsc else None

    def number(label):
        return float(general[label]) if label in general else None

    step = column(fsc, "rlnResolution")[1]
    return star.postprocess(
        step,
        curve("rlnFourierShellCorrelationUnmaskedMaps"),
        half1=general["rlnUnfilteredMapHalf1"],
        half2=general["rlnUnfilteredMapHalf2"],
        resolution=number("rlnFinalResolution"),
        masked=curve("rlnFourierShellCorrelationMaskedMaps"),
        randomized=curve("rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps"),
        corrected=curve("rlnFourierShellCorrelationCorrected"),
        part=curve("rlnFourierShellCorrelationParticleMaskFraction"),
        part_fraction=number("rlnParticleBoxFractionSolventMask"),
        mask=general.get("rlnMaskName"),
        onset=round(1 / (number("rlnRandomiseFrom") * step)) if "rlnRandomiseFrom" in general else None,
        guinier=guinier,
    )


def guinier_of(found):
    """The table of a reference as our object."""
    general, table = found["general"], found["guinier"]

    def logarithms(label):
        values = column(table, label)
        return np.where(values > star.EMPTY, values, -np.inf)

    fit = [float(general[f"rln{word}GuinierPlot"]) if f"rln{word}GuinierPlot" in general else None
           for word in ("FittedSlope", "FittedIntercept", "CorrelationFit")]  # fmt: skip
    return sharpening.Guinier(
        inverse_squared=column(table, "rlnResolutionSquared"),
        original=logarithms("rlnLogAmplitudesOriginal"),
        mtf_corrected=None,
        weighted=logarithms("rlnLogAmplitudesWeighted"),
        sharpened=logarithms("rlnLogAmplitudesSharpened"),
        fitted=np.zeros(len(table["rlnResolutionSquared"]), bool),
        slope=fit[0],
        intercept=fit[1],
        correlation=None if fit[2] is None else -math.sqrt(fit[2]),
        b_factor=float(general["rlnBfactorUsedForSharpening"]),
    )


@pytest.mark.parametrize("name", ["iso_pp1", "iso_pp2_tight", "iso_pp6_nomask"])
def test_the_blocks_are_those_of_relion(data, name):
    wanted = reference(data, name)
    made = star.loads(star.dumps(rebuilt(wanted, guinier_of(wanted) if "guinier" in wanted else None)))
    assert list(made) == list(wanted)
    for block in made:
        assert list(made[block]) == list(wanted[block])
    step = column(wanted["fsc"], "rlnResolution")[1]
    # what follows from the width of a shell is as good as the sixth decimal that it is read from
    rebuilt_from_step = dict.fromkeys(("rlnResolution", "rlnAngstromResolution", "rlnRandomiseFrom"), 5e-7 / step)
    for block, labels in made.items():
        for label, value in labels.items():
            rel, absolute = rebuilt_from_step.get(label, DIGITS), 5e-7 if label in rebuilt_from_step else 0
            if isinstance(value, list):
                assert column(made[block], label) == pytest.approx(column(wanted[block], label), rel=rel, abs=absolute)
            elif label.endswith(("Name", "Half1", "Half2")):
                assert value == wanted[block][label]
            else:
                assert float(value) == pytest.approx(float(wanted[block][label]), rel=rel, abs=absolute)


def test_the_part_fsc_is_that_of_relion(data):
    found = reference(data, "iso_pp1")
    fraction = float(found["general"]["rlnParticleBoxFractionSolventMask"])
    made = correlation.of_the_part(column(found["fsc"], "rlnFourierShellCorrelationUnmaskedMaps"), fraction)
    wanted = found["fsc"]["rlnFourierShellCorrelationParticleMaskFraction"]
    unmasked = found["fsc"]["rlnFourierShellCorrelationUnmaskedMaps"]
    slope = fraction / (1 + (fraction - 1) * column(found["fsc"], "rlnFourierShellCorrelationUnmaskedMaps")) ** 2
    # 1.01: the slope changes by less over a rounding, and f has seven digits
    assert (np.abs(made - np.array(wanted, float)) <= 1.01 * slope * rounding(unmasked) + rounding(wanted)).all()


def test_a_curve_that_never_reaches_the_criterion():
    found = star.postprocess(0.01, [1.0, math.nan], half1="a", half2="b")
    assert found["general"]["rlnFinalResolution"] == 999
    assert list(found["fsc"]) == [
        "rlnSpectralIndex", "rlnResolution", "rlnAngstromResolution", "rlnFourierShellCorrelationUnmaskedMaps",
    ]  # fmt: skip


PARTICLES = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
_rlnImageDimensionality #8
1 one 300.0 2.7 0.1 1.05 100 2


data_particles

loop_
_rlnImageName #1
_rlnMicrographName #2
_rlnOpticsGroup #3
_rlnDefocusU #4
_rlnDefocusV #5
_rlnDefocusAngle #6
_rlnAngleRot #7
_rlnAngleTilt #8
_rlnAnglePsi #9
_rlnOriginXAngst #10
_rlnOriginYAngst #11
_rlnRandomSubset #12
000001@none.mrcs none.mrc 1 10000 10000 0 0 0 0 0 0 1

"""


def relion(program, *words, folder):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([program, *words], cwd=folder, capture_output=True, text=True, timeout=120)
    return done.stdout, done.stderr


def test_relion_reads_it(data, tmp_path):
    """`relion_ctf_refine` takes the half maps, the mask and the FSC from it, and goes on to the particles."""
    for name in ("sim_iso_half1_unfil", "sim_iso_half2_unfil"):
        (tmp_path / f"{name}.mrc").write_bytes(gzip.decompress((data / "halves" / f"{name}.mrc.gz").read_bytes()))
    mask = "iso_mask_lp15_t0012_e3_s6.mrc"
    (tmp_path / mask).write_bytes(gzip.decompress((data / "relion_postprocess" / f"{mask}.gz").read_bytes()))
    found = reference(data, "iso_pp1")
    found["general"].update(rlnUnfilteredMapHalf1="sim_iso_half1_unfil.mrc",
                            rlnUnfilteredMapHalf2="sim_iso_half2_unfil.mrc")  # fmt: skip
    made = rebuilt(found, guinier_of(found))
    (tmp_path / "particles.star").write_text(PARTICLES)
    (tmp_path / "out").mkdir()
    for label, told in (("rlnSpectralIndex", "rlnSpectralIndex"), (None, "none.mrcs")):
        blocks = {**made, "fsc": {name: values for name, values in made["fsc"].items() if name != label}}
        (tmp_path / "postprocess.star").write_text(star.dumps(blocks))
        words = ("--i", "particles.star", "--f", "postprocess.star", "--o", "out/", "--fit_defocus")
        printed, refused = relion("relion_ctf_refine", *words, folder=tmp_path)
        assert f"Half map 1: {found['general']['rlnUnfilteredMapHalf1']}" in printed
        assert f"Mask: {mask}" in printed
        assert told in refused  # a missing column is noticed; with all of them the first particle is what is missing


def test_relion_prints_its_tables(data, tmp_path):
    made = rebuilt(found := reference(data, "iso_pp1"), guinier_of(found))
    (tmp_path / "postprocess.star").write_text(star.dumps(made))
    for block, label in (("fsc", "rlnFourierShellCorrelationCorrected"), ("guinier", "rlnLogAmplitudesSharpened")):
        words = ("postprocess.star", f"data_{block}", label)
        printed = relion("relion_star_printtable", *words, folder=tmp_path)[0]
        assert [float(word) for word in printed.split()] == pytest.approx(made[block][label], rel=DIGITS)


# EMDB


def test_xml_is_that_of_relion(data):
    wanted = ElementTree.parse(data / "relion_postprocess" / "iso_pp1_fsc.xml").getroot()
    found = reference(data, "iso_pp1")["fsc"]
    text = emdb.fsc_xml(column(found, "rlnResolution"), column(found, "rlnFourierShellCorrelationCorrected"),
                        title="RELION masked-corrected FSC")  # fmt: skip
    made = ElementTree.fromstring(text)
    assert (made.tag, made.attrib) == (wanted.tag, wanted.attrib)
    assert [[child.tag for child in point] for point in made] == [[child.tag for child in point] for point in wanted]
    for axis in "xy":
        numbers = [[float(point.find(axis).text) for point in root] for root in (made, wanted)]
        label = {"x": "rlnResolution", "y": "rlnFourierShellCorrelationCorrected"}[axis]
        allowed = rounding(found[label]) + rounding([point.find(axis).text for point in wanted])
        assert (np.abs(np.subtract(*numbers)) <= allowed * (1 + 1e-9)).all()


def test_xml_leaves_out_what_is_undefined_and_escapes_the_title():
    made = ElementTree.fromstring(emdb.fsc_xml([0, 0.1, 0.2], [1, np.nan, 0.5], title="a < b"))
    assert made.attrib["title"] == "a < b"
    assert [(float(p.find("x").text), float(p.find("y").text)) for p in made] == [(0, 1), (0.2, 0.5)]
    with pytest.raises(ValueError, match="argument"):
        emdb.fsc_xml([0, 1], [1])


def test_the_shell_width_of_a_reference_is_that_of_its_box(data):
    step = units.shell_frequency_step((100,) * 3, (1.05,) * 3)
    assert column(reference(data, "iso_pp1")["fsc"], "rlnResolution")[1] == pytest.approx(step, abs=5e-7)
