"""What a list says, which outputs follow from it, and what is refused before anything is begun."""

import _thread
import json
import os
import threading
from pathlib import Path

import pytest
from batches import MASK, maps

import gpumask as gm
from gpumask import star
from gpumask.batching import lists, operations, plans
from gpumask.errors import InputNotFound, UsageError


def planned(source, folder, do="create", **parameters):
    """(input, output) of each item, by a dry run."""
    parameters = parameters or (MASK if do == "create" else {})
    done = gm.batch(source, folder, do, dry_run=True, **parameters)
    return [(item["input"], item["output"]) for item in done["items"]]


def items(source, folder="out", do="create", **parameters):
    operation = operations.of(do)
    return plans.items(lists.read(source, operation.columns), operation, parameters, folder)


def test_text_csv_star_glob_folder_and_python_name_the_same_items(tmp_path):
    paths = maps(tmp_path / "maps")
    (tmp_path / "list.txt").write_text("# maps of today\n\n" + "".join(f"  {path}\n" for path in paths))
    (tmp_path / "list.csv").write_text("input\n" + "".join(f'"{path}"\n' for path in paths))
    (tmp_path / "list.star").write_text("data_\nloop_\n_rlnReferenceImage\n" + "\n".join(map(str, paths)) + "\n")
    (tmp_path / "maps" / "notes.txt").write_text("no map")
    (tmp_path / "maps" / ".hidden.mrc").write_text("no map either")
    wanted = [(str(path), f"map00{number}_mask.mrc") for number, path in enumerate(paths)]
    for source in ("list.txt", "list.csv", "list.star", "maps", "maps/*.mrc"):
        assert planned(str(tmp_path / source), tmp_path / "out") == wanted, source
    assert planned(paths, tmp_path / "out") == wanted
    assert planned([{"input": path} for path in paths], tmp_path / "out") == wanted
    assert not (tmp_path / "out").exists()


def test_a_row_has_parameters_and_an_output_of_its_own(tmp_path):
    paths = maps(tmp_path)
    (tmp_path / "list.csv").write_text(
        "map,output,threshold,soft-edge,fill_holes,largest,erode\n"
        f"{paths[0]},deep/one.mrc,0.7,,,,\n"
        f"{paths[1]},,,8A,yes,2,1px\n"
        f"{paths[2]},,,,,,\n"
    )
    found = items(tmp_path / "list.csv", threshold=0.5, dilate="2px")
    recipes = [item.settings["recipe"] for item in found]
    assert [item.output for item in found] == ["deep/one.mrc", "map001_mask.mrc", "map002_mask.mrc"]
    assert [recipe["threshold"] for recipe in recipes] == ["0.7", "0.5", "0.5"]
    assert [recipe["dilation"] for recipe in recipes] == ["2px", "-1px", "2px"]
    assert [recipe["soft_edge"] for recipe in recipes] == [None, "8A", None]
    assert [(recipe["fill_holes"], recipe["largest"]) for recipe in recipes] == [
        (False, None),
        (True, 2),
        (False, None),
    ]
    assert len({item.recipe_hash for item in found}) == 3


def test_a_threshold_may_come_with_the_rows_alone(tmp_path):
    paths = maps(tmp_path, 1)
    assert items([{"input": paths[0], "threshold": 0.3}], dilate="2px")[0].settings["recipe"]["threshold"] == "0.3"
    with pytest.raises(UsageError, match="^a mask needs a threshold"):
        items(paths, dilate="2px")


@pytest.mark.parametrize("given, said", [
    ({"threshold": "foo"}, "^threshold must be"),
    ({}, "^a mask needs a threshold"),
    ({**MASK, "treshold": 1}, "^treshold is no parameter"),
    ({**MASK, "like": "a\0b.mrc"}, "^input .* is no name of a file"),
])  # fmt: skip
def test_a_fault_of_what_all_are_given_is_not_that_of_a_map(tmp_path, given, said):
    maps(tmp_path / "maps", 2)
    with pytest.raises(UsageError, match=said):
        items(tmp_path / "maps", **given)


def test_a_row_that_lacks_what_others_have_is_named(tmp_path):
    rows = [{"input": path} for path in maps(tmp_path, 2)]
    with pytest.raises(UsageError, match="^item 2, without parameters of its own: a mask needs a threshold"):
        items([rows[0] | {"threshold": 1}, rows[1]])
    with pytest.raises(UsageError, match="^item 2: threshold must be"):
        items([rows[0], rows[1] | {"threshold": "foo"}], **MASK)


def test_a_pair_of_a_row_takes_the_place_of_what_all_have(tmp_path):
    paths = maps(tmp_path, 1)
    (one,) = items([{"input": paths[0], "near": "6A", "far": "14A"}], **MASK)
    assert (one.settings["recipe"]["near"], one.settings["recipe"]["dilation"]) == ("6A", "0px")


def test_a_recipe_counts_as_for_create(tmp_path):
    paths = maps(tmp_path, 1)
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"recipe": {"threshold": "0.4", "soft_edge": "5px"}, "options": {"mode": "float16"}}))
    (one,) = items(paths, recipe=recipe, soft_edge="7px")
    assert one.settings["recipe"]["threshold"] == "0.4"
    assert one.settings["recipe"]["soft_edge"] == "7px"
    assert one.settings["mode"] == "float16"


def test_relion_tables_name_half_maps_and_masks(tmp_path):
    text = (
        "data_job\nloop_\n_rlnUnfilteredMapHalf1\n_rlnUnfilteredMapHalf2\n_rlnMaskName\n_rlnFinalResolution\n"
        f"{tmp_path}/a_half1.mrc {tmp_path}/b.mrc {tmp_path}/m.mrc 3.4\n"
    )
    (tmp_path / "job.star").write_text(text)
    (one,) = items(tmp_path / "job.star", do="fsc")
    assert (one.input, one.output) == (f"{tmp_path}/a_half1.mrc", "a_half1_fsc")
    assert one.settings == {"half2": f"{tmp_path}/b.mrc", "mask": f"{tmp_path}/m.mrc"}


def write_star(path, blocks):
    path.write_text(star.dumps(blocks))
    return path


def test_the_pairs_of_a_postprocess_star_are_one_row(tmp_path):
    blocks = star.postprocess(0.01, [1.0, 0.9, 0.1], half1="/1_half1.mrc", half2="/2.mrc", mask="/m.mrc", onset=1)
    table = write_star(tmp_path / "postprocess.star", blocks)
    (one,) = items(table, do="fsc")
    assert (one.input, one.output) == ("/1_half1.mrc", "1_half1_fsc")
    assert one.settings == {"half2": "/2.mrc", "mask": "/m.mrc"}
    (one,) = items(table, do="spectrum")
    assert (one.input, one.settings) == ("/m.mrc", {"half1": "/1_half1.mrc", "half2": "/2.mrc"})
    with pytest.raises(UsageError, match="no loop and no single value with the name _input or _map or _rlnRef"):
        items(table, **MASK)


def test_a_loop_goes_before_pairs(tmp_path):
    pair = {"rlnMaskName": "/pair.mrc"}
    loop = {"rlnMaskName": ["/a.mrc", "/b.mrc"]}
    for blocks in ({"general": pair, "masks": loop}, {"general": pair | {"mask": loop["rlnMaskName"]}}):
        found = items(write_star(tmp_path / "both.star", blocks), do="spectrum")
        assert [one.input for one in found] == ["/a.mrc", "/b.mrc"]
    (one,) = items(write_star(tmp_path / "pairs.star", {"one": {"input": "/c.mrc", "seeds": 3}}), do="spectrum")
    assert (one.input, one.settings) == ("/c.mrc", {"seeds": 3})


def test_tables_have_comments_above_their_names_and_tabs_in_tsv(tmp_path):
    (tmp_path / "a.csv").write_text("# of today, and\n\n  # of yesterday\r\ninput,threshold\na.mrc,0.4\n")
    (tmp_path / "a.tsv").write_text("# of today\nmap\tthreshold\na.mrc\t0.4\n")
    for name in ("a.csv", "a.tsv"):
        (one,) = items(tmp_path / name)
        assert (Path(one.input).name, one.settings["recipe"]["threshold"]) == ("a.mrc", "0.4")


def test_half_maps_that_are_found_are_done_once_a_pair(tmp_path):
    for name in ("a_half1", "a_half2", "b_half_A", "b_half_B", "c_half_map_1", "c_half_map_2", "d_half2", "mask"):
        maps(tmp_path, 1)[0].rename(tmp_path / f"{name}.mrc")
    once = ["a_half1_fsc", "b_half_A_fsc", "c_half_map_1_fsc", "d_half2_fsc", "mask_fsc"]
    for source in (tmp_path, str(tmp_path / "*.mrc"), str(tmp_path / "**" / "*.mrc")):
        assert [one.output for one in items(source, do="fsc")] == once, source
    assert [one.output for one in items(str(tmp_path / "a*2.mrc"), do="fsc")] == ["a_half2_fsc"]
    paths = sorted(tmp_path.glob("*.mrc"))
    (tmp_path / "list.txt").write_text("\n".join(map(str, paths)))
    for source in (paths, tmp_path / "list.txt"):
        assert [one.output for one in items(source, do="fsc")] == [f"{path.stem}_fsc" for path in paths]
    assert len(items(tmp_path, do="fsc", half2=paths[-1])) == len(items(tmp_path, **MASK)) == len(paths)


def test_relative_names_count_from_here_or_from_the_list(tmp_path, monkeypatch):
    maps(tmp_path / "maps", 1)
    (tmp_path / "maps" / "list.txt").write_text("map000.mrc\n")
    (tmp_path / "list.txt").write_text("maps/map000.mrc\n")
    monkeypatch.chdir(tmp_path)
    wanted = str(tmp_path / "maps" / "map000.mrc")
    assert [one.input for one in items("maps/list.txt", **MASK)] == [wanted]
    assert [one.input for one in items("list.txt", **MASK)] == [wanted]


def test_all_files_of_a_list_count_from_one_folder(tmp_path, monkeypatch):
    folder = tmp_path / "lists"
    maps(folder, 2)
    (folder / "recipe.json").write_text(json.dumps({"recipe": {"threshold": "0.4"}}))
    (folder / "fsc.csv").write_text("half1,half2,mask,reference\nmap000.mrc,map001.mrc,m.mrc,r.mrc\n")
    (folder / "create.csv").write_text("input,like,recipe\nmap000.mrc,map001.mrc,recipe.json\n")
    monkeypatch.chdir(tmp_path)
    (pair,) = items("lists/fsc.csv", do="fsc")
    assert pair.settings == {
        "half2": str(folder / "map001.mrc"),
        "mask": str(folder / "m.mrc"),
        "reference": str(folder / "r.mrc"),
    }
    (one,) = items("lists/create.csv")
    assert (one.input, one.settings["like"]) == (str(folder / "map000.mrc"), str(folder / "map001.mrc"))
    assert one.settings["recipe"]["threshold"] == "0.4"


def test_every_parameter_that_names_a_file_is_known_to_lists():
    of_all = {name for operation in operations.OPERATIONS.values() for name in operation.paths}
    assert set(lists.PATHS) == of_all | {"recipe"}


def test_columns_of_relion_that_a_verb_has_no_use_for_are_passed_over(tmp_path):
    columns = ["rlnReferenceImage", "rlnMaskName", "rlnUnfilteredMapHalf1", "rlnUnfilteredMapHalf2", "rlnClassNumber"]
    head = "data_\nloop_\n" + "".join(f"_{name}\n" for name in columns)
    (tmp_path / "all.star").write_text(f"{head}/r.mrc /m.mrc /1.mrc /2.mrc 7\n")
    found = {do: items(tmp_path / "all.star", do=do, **given) for do, given in
             (("create", MASK), ("spectrum", {}), ("fsc", {}))}  # fmt: skip
    assert {do: one.input for do, (one,) in found.items()} == {
        "create": "/r.mrc",
        "spectrum": "/m.mrc",
        "fsc": "/1.mrc",
    }
    assert found["spectrum"][0].settings == {"half1": "/1.mrc", "half2": "/2.mrc"}
    assert found["fsc"][0].settings == {"half2": "/2.mrc", "mask": "/m.mrc"}


def test_lines_of_a_text_end_where_those_of_a_file_do(tmp_path):
    names = ["a\u2028b.mrc", "c\x85d.mrc", "e\x0bf.mrc", "g\x0ch.mrc", "i\rj.mrc", "k.mrc\u2028"]
    (tmp_path / "list.txt").write_bytes("\r\n".join(names).encode())
    assert [Path(one.input).name for one in items(tmp_path / "list.txt", **MASK)] == names


def test_inputs_of_one_name_take_the_name_of_their_folder(tmp_path):
    first, second = maps(tmp_path / "a", 2), maps(tmp_path / "b", 1)
    names = [name for _, name in planned([*first, *second], tmp_path / "out")]
    assert names == ["a_map000_mask.mrc", "map001_mask.mrc", "b_map000_mask.mrc"]
    packed = [{"input": first[0]}, {"input": first[0].with_suffix(".mrc.gz")}]
    with pytest.raises(UsageError, match=r"item 2: the output a_map000_mask\.mrc is that of item 1 too; name outp"):
        items(packed, **MASK)


def test_an_input_that_is_named_twice_is_called_that(tmp_path, monkeypatch):
    maps(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("map000.mrc\n./map000.mrc\n")
    said = r"^list.txt, line 2: the input \S*map000\.mrc is that of list.txt, line 1 too; name it once, or name outputs"
    with pytest.raises(UsageError, match=said):
        items("list.txt", **MASK)
    Path("list.csv").write_text("input,threshold,output\nmap000.mrc,1,a.mrc\nmap000.mrc,2,b.mrc\n")
    assert [one.output for one in items("list.csv")] == ["a.mrc", "b.mrc"]


def test_maps_of_a_folder_that_differ_in_their_suffix_alone_are_told(tmp_path):
    (path,) = maps(tmp_path, 1)
    path.with_suffix(".map").write_bytes(path.read_bytes())
    said = r"^\S*map000.mrc: the output \S*_map000_mask\.mrc is that of \S*map000.map too; name outputs in a column"
    with pytest.raises(UsageError, match=said):
        items(tmp_path, **MASK)


def test_outputs_do_not_meet_where_only_their_provenance_would(tmp_path):
    paths = maps(tmp_path, 2)
    rows = [{"input": paths[0], "output": "one.mrc"}, {"input": paths[1], "output": "one.map"}]
    with pytest.raises(UsageError, match=r"item 2: the output one\.json is that of item 1 too"):
        items(rows, **MASK)


@pytest.mark.parametrize("output, said", [
    ("../one.mrc", "inside the folder"),
    ("deep/../../one.mrc", "inside the folder"),
    ("/tmp/one.mrc", "inside the folder"),
    ("one.png", "must end in"),
    ("results.mrc", "a file of the batch itself"),
    ("summary.mrc", "a file of the batch itself"),
    ("out/one.mrc", "where a link leads"),
    ("link.mrc", "where a link leads"),
    ("one\0.mrc", "no name of a file"),
])  # fmt: skip
def test_outputs_stay_in_the_folder(tmp_path, output, said):
    (path,) = maps(tmp_path / "maps", 1)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path)
    (folder / "link.mrc").symlink_to(tmp_path / "elsewhere.mrc")
    with pytest.raises(UsageError, match=f"item 1: .*{said}"):
        gm.batch([{"input": path, "output": output}], folder, **MASK)
    assert {path.name for path in folder.iterdir()} == {"out", "link.mrc"}


@pytest.mark.parametrize("name", ["n" * 300 + ".mrc", "deep/" * 1000 + "one.mrc"])
def test_names_that_no_system_takes_are_refused(tmp_path, name):
    (path,) = maps(tmp_path / "maps", 1)
    with pytest.raises(UsageError, match="item 1: the output .* is too long; systems take 255 bytes"):
        gm.batch([{"input": path, "output": name}], tmp_path / "out", **MASK)
    with pytest.raises(UsageError, match="is too long"):
        gm.batch([path], tmp_path / ("d" * 300), **MASK)


def test_an_output_does_not_lie_in_another(tmp_path):
    first, second = maps(tmp_path, 2)
    rows = [{"input": first, "output": "deep/x.mrc/y.mrc"}, {"input": second, "output": "deep/x.mrc"}]
    for pair in (rows, rows[::-1]):
        with pytest.raises(UsageError, match=r"the output deep/x\.mrc/y\.(mrc|json) lies in what is an output of item"):
            gm.batch(pair, tmp_path / "out", **MASK)


def test_an_output_is_never_an_input(tmp_path):
    (path,) = maps(tmp_path, 1)
    with pytest.raises(UsageError, match="is the input"):
        gm.batch([{"input": path, "output": path.name}], tmp_path, overwrite=True, **MASK)
    with pytest.raises(UsageError, match="is the input"):
        gm.batch([{"input": path, "output": "like.mrc"}], tmp_path, like=tmp_path / "like.mrc", **MASK)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is the input"):
        gm.batch([{"input": tmp_path / "link" / path.name, "output": path.name}], tmp_path, **MASK)


@pytest.mark.parametrize("text, name, said", [
    ("input,treshold\na.mrc,1\n", "a.csv", "treshold is no parameter of create"),
    ("threshold\n1\n", "a.csv", "one input is wanted in a column input or map, got the columns 'threshold'$"),
    ("Input,Threshold\na.mrc,1\n", "a.csv", "got the columns 'Input', 'Threshold'$"),
    ("input;threshold\na.mrc;1\n", "a.csv", "'input;threshold'; fields are divided by commas in .csv"),
    ("input\tdust\na.mrc\t1\n", "a.csv", r"'input\\tdust'; fields are divided by commas in .csv"),
    ("input,dust\na.mrc,1\n", "a.tsv", "'input,dust'; fields are divided by tabs in .tsv"),
    ("input,dust\n,1\n", "a.csv", "row 1: one input is wanted .* got 0; given are dust"),
    ('# above\ninput\n"a.mrc\n', "a.csv", "line 3: not CSV"),
    ('input\n"a.mrc\n', "a.tsv", "line 2: not TSV"),
    ("input,map\na.mrc,b.mrc\n", "a.csv", "one input is wanted .* got 2; given are input, map"),
    ("input,dust\na.mrc,much\n", "a.csv", "dust cannot be 'much'"),
    ("input,invert\na.mrc,perhaps\n", "a.csv", "invert cannot be 'perhaps'"),
    ("input,dilate\na.mrc,5 apples\n", "a.csv", "row 1: .*5 apples"),
    ("input,erode\na.mrc,-1px\n", "a.csv", "erode must be >= 0"),
    ("input,dilate\na.mrc\n", "a.csv", "more or fewer fields"),
    ("input\n", "a.csv", "names no input"),
    ("", "a.txt", "names no input"),
    ("a\0b", "a.txt", "is no list"),
    ("data_\nloop_\n_rlnImageName\n1@a.mrcs\n", "a.star", "has no loop"),
    ("data_a\nloop_\n_map\na.mrc\nloop_\n_dust\n1 2\n", "a.star", "data_a has loops of different lengths"),
    ('input\n"a.mrc\n', "a.csv", "not CSV"),
    ("input,input\na.mrc,b.mrc\n", "a.csv", "more than one column input"),
    ("input,soft-edge,soft_edge\na.mrc,1,2\n", "a.csv", "more than one column soft_edge"),
    ("input,dilate,dilation\na.mrc,1,2\n", "a.csv", "row 1: give dilate or dilation, not both"),
    ("data_\nloop_\n_map\n_rlnReferenceImage\na.mrc b.mrc\n", "a.star", "more than one column map"),
])  # fmt: skip
def test_a_list_that_cannot_be_used_is_refused_by_its_line(tmp_path, text, name, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=said):
        items(tmp_path / name, threshold=1)


def test_lists_that_are_not_there(tmp_path):
    with pytest.raises(InputNotFound, match="cannot be read as a list"):
        items(tmp_path / "none.txt", threshold=1)
    with pytest.raises(UsageError, match="holds no map"):
        items(str(tmp_path / "*.mrc"), threshold=1)
    with pytest.raises(UsageError, match="item 1: must be a path or a dict"):
        items([7], threshold=1)
    with pytest.raises(UsageError, match="create, spectrum, fsc, got 'sharpen'"):
        gm.batch([], tmp_path, "sharpen")


def test_one_file_has_one_spelling(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "data")
    first, second, other = (maps(tmp_path / "data" / name, 1)[0] for name in "abc")
    monkeypatch.chdir(tmp_path / "data" / "a")
    for spelled in (tmp_path / "link", Path("..")):
        for a, b, like in ((first, second, other), *[[spelled / x / "map000.mrc" for x in "abc"]]):
            found = items([a, b], like=like, **MASK)
            assert [one.output for one in found] == ["a_map000_mask.mrc", "b_map000_mask.mrc"]
            assert found[0].settings["like"] == str(other)
    assert items(["map000.mrc", second], **MASK)[0].output == "a_map000_mask.mrc"


def test_what_is_no_file_is_refused(tmp_path):
    (path,) = maps(tmp_path, 1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="item 2: .*pipe: is a pipe or a device"):
        gm.batch([path, tmp_path / "pipe"], tmp_path / "out", **MASK)
    with pytest.raises(UsageError, match="^[^:]*pipe: is a pipe or a device"):
        gm.batch([path], tmp_path / "out", like=tmp_path / "pipe", **MASK)
    with pytest.raises(UsageError, match=r"item 1: input 'a\\x00b\.mrc' is no name of a file"):
        gm.batch(["a\0b.mrc"], tmp_path / "out", **MASK)


def test_an_interrupt_does_not_wait_for_a_file_system_that_hangs():
    answer, asked = threading.Event(), threading.Event()

    def hang(_):
        if not asked.is_set():
            asked.set()
            _thread.interrupt_main()
        answer.wait()

    try:
        with pytest.raises(KeyboardInterrupt):
            plans._each(hang, range(3))
    finally:
        answer.set()


def test_names_that_are_not_utf8_survive(tmp_path):
    name = os.fsdecode(b"caf\xe9.mrc")
    try:
        maps(tmp_path, 1)[0].rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (tmp_path / "list.txt").write_bytes(os.fsencode(str(tmp_path / name)) + b"\n")
    assert [Path(one.input).name for one in items(tmp_path / "list.txt", **MASK)] == [name]


@pytest.mark.parametrize("name, stem", [
    ("a.mrc", "a"), ("a.mrc.gz", "a"), ("a.MAP.BZ2", "a"), ("run_1.5A.ccp4", "run_1.5A"), ("class1.5", "class1.5"),
])  # fmt: skip
def test_the_stem_of_a_map(name, stem):
    assert lists.stem(f"/some/where/{name}") == stem


def test_the_hash_knows_all_that_the_result_depends_on(tmp_path):
    (path,) = maps(tmp_path, 1)

    def digest(do="create", **given):
        return items([path], do=do, **given)[0].recipe_hash

    assert digest(**MASK) == digest(threshold="0.5", dilate="2 px", soft_edge=3)
    others = ({"mode": "float16"}, {"nan_to": 0}, {"like": "a.mrc"}, {"voxel_size": 2})
    verbs = digest("spectrum"), digest("fsc"), digest("spectrum", seeds=2)
    assert len({digest(**MASK), *(digest(**MASK, **other) for other in others), *verbs}) == 8


def test_the_text_of_a_voxel_size_is_x_y_z(tmp_path):
    (path,) = maps(tmp_path, 1)
    (one,) = items([{"input": path, "voxel_size": "1,2,3"}], threshold=1)
    assert one.settings["voxel_size"] == [3, 2, 1]
