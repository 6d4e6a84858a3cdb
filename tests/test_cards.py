"""Blocks of README, ARTIFACT and docs are what the records give; the package's files agree with its settings."""
import configparser
import gzip
import json
import re
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from builder.blocks import blocks, pages_with_blocks, stale, stale_pages, write_pages
from builder.cards import read_reference, result, seeds, with_interval
from builder.claims import FIGURES, codecheck, command_for, ledger, stages_for
from builder.results import committed_records, reference_profiles
from builder.templates import BLOCK, differing, rebased, render, without_comments

from dimabsa_nb.core import UserError, file_sha256

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS = configparser.ConfigParser()
SETTINGS.read(REPOSITORY / "settings.ini", encoding="utf-8")
SETTINGS = SETTINGS["DEFAULT"]
PAGES = pages_with_blocks(REPOSITORY)


@pytest.fixture
def copy(tmp_path):
    """What `make pages` and `make check` read."""
    for name in ("results", "figures", "nbs", "docs", "dimabsa_nb"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("_build", "__pycache__"))
    for name in ("README.md", "ARTIFACT.md", "CITATION.cff", "codecheck.yml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    write_pages(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def quick():
    return read_reference(REPOSITORY, "quick")


# --- the template syntax --------------------------------------------------------------------------------------------------
def test_a_block_is_rendered_in_place():
    text = "a\n<!-- begin x 1 -->\nold\n<!-- end x -->\nb"
    once = render(text, {"x": lambda n: f"new {n}\n"}, "page.md")
    assert once == "a\n<!-- begin x 1 -->\nnew 1\n<!-- end x -->\nb"
    assert render(once, {"x": lambda n: f"new {n}\n"}, "page.md") == once
    assert render(text, {"x": lambda n: ""}, "page.md") == "a\n<!-- begin x 1 -->\n<!-- end x -->\nb"


def test_a_block_within_a_line_stays_there():
    text = "it is <!-- begin n 2 -->old<!-- end n --> here"
    made = render(text, {"n": lambda n: "3.14"}, "page.md")
    assert made == "it is <!-- begin n 2 -->3.14<!-- end n --> here"
    assert without_comments(made) == "it is 3.14 here" and differing(text, made) == ["n 2"]


@pytest.mark.parametrize("text, message", [
    ("<!-- begin y -->\n<!-- end y -->", "page.md: no block is called 'y'; there are: x"),
    ("<!-- begin x -->\n", "page.md: 1 block comments, not all of them in pairs"),
    ("<!-- begin x 1 2 -->\n<!-- end x -->", "page.md: <!-- begin x 1 2 --> cannot be rendered")])
def test_a_broken_block_is_refused_by_its_name(text, message):
    with pytest.raises(UserError, match=re.escape(message)):
        render(text, {"x": lambda word: word}, "page.md")


def test_links_follow_the_page():
    text = "[a](nbs/a.ipynb#b) ![c](d.png) [e](https://e.org) [f](#f)"
    assert rebased(text, "", "docs") == "[a](../nbs/a.ipynb#b) ![c](../d.png) [e](https://e.org) [f](#f)"
    assert rebased("[a](speed.md)", "results/quick", "") == "[a](results/quick/speed.md)"


def test_no_line_begins_with_an_inline_block():
    """Markdown reads such a line as HTML, its text unformatted."""
    for page in PAGES:
        lines = (REPOSITORY / page).read_text("utf-8").splitlines()
        assert [line for line in lines if re.match(r"<!-- begin [^>]*-->.", line)] == [], page


# --- what is committed ----------------------------------------------------------------------------------------------------
def test_what_is_committed_is_what_its_records_say():
    assert stale(REPOSITORY) == []


def test_every_block_is_shown_somewhere():
    shown = {name for page in PAGES for _, name, *_ in BLOCK.findall((REPOSITORY / page).read_text("utf-8"))}
    assert shown == set(blocks(REPOSITORY))


@pytest.mark.parametrize("name", ["results/quick/table1.csv", "results/quick/table2.md", "results/quick/comparisons.tex", "figures/quick/ablation_pairs.svg",
                                  "figures/quick/coarse_confusion.png", "figures/quick/captions.json"])
def test_a_changed_table_or_figure_is_found(copy, name):
    path = copy / name
    path.write_bytes(path.read_bytes() + b" ")
    assert any(problem.startswith(f"{name}: is not what") for problem in stale(copy))
    path.unlink()
    assert any(problem.startswith(f"{name}: is not what") for problem in stale(copy))


def test_a_file_that_no_record_names_is_found(copy):
    (copy / "figures/quick/extra.svg").write_text("")
    (copy / "results/quick/notebooks").mkdir(exist_ok=True)
    (copy / "results/quick/notebooks/92_main_results.ipynb").write_text("{}")
    assert stale(copy) == ["figures/quick/extra.svg: no record names it; remove it"]


def test_published_numbers_are_those_of_their_record(copy):
    folder = "results/laptop/outputs/32_extract_guidance"
    for content in (b"", b"arousal", gzip.compress(b"1\n")):
        (copy / folder / "arousal.jsonl.gz").write_bytes(content)
        assert [problem.split(": ")[:2] for problem in stale(copy)] == [[f"{folder}/arousal.jsonl.gz", "is not what 32_extract_guidance of profile laptop recorded; `dimabsa run laptop --publish` writes it anew"]]
    (copy / folder / "arousal.jsonl.gz").unlink()
    shutil.copytree(copy / folder, copy / "results/laptop/outputs/99_other")
    assert stale(copy) == ["results/laptop/outputs/99_other/valence.jsonl.gz: no record names it; remove it"]


def test_a_typed_number_is_found_and_mended(copy):
    readme = copy / "README.md"
    changed, count = re.subn(r"\| (\d)\.(\d{3}) ", r"| 1.\g<2>1 ", readme.read_text("utf-8"), count=1)
    readme.write_text(changed, "utf-8")
    assert count == 1 and stale(copy) == ["README.md: block 'result' is not up to date; run `make pages`"]
    assert write_pages(copy) == ["README.md"] and stale(copy) == []


def test_fresh_results_bring_fresh_pages(copy):
    """What `make reproduce` leaves where its numbers are not the committed ones; the text around the blocks stays."""
    for path in [*(copy / "results/quick/records").glob("*.json"), *(copy / "results/laptop/records").glob("*.json")]:
        record = json.loads(path.read_text("utf-8"))
        for name in record["outputs"]:
            file = copy / name.replace("/", f"/{record['profile']}/", 1)
            if name.endswith(("table2.md", "table2.csv", "comparisons.csv", "speed.md")) and file.exists():
                file.write_text(re.sub(r"\b([01]\.)(\d)", lambda found: f"{found[1]}{9 - int(found[2])}", file.read_text("utf-8")), "utf-8")
                record["outputs"][name] = file_sha256(file)
        path.write_text(json.dumps(record), "utf-8")
    problems = stale_pages(copy)
    assert {"README.md", "ARTIFACT.md", "docs/model_card.md", "docs/findings.md"} <= {problem.split(":")[0] for problem in problems}
    assert all(problem.endswith("run `make pages`") for problem in problems)
    write_pages(copy)
    assert stale(copy) == []


# --- the cards ------------------------------------------------------------------------------------------------------------
def test_missing_records_are_said(tmp_path):
    with pytest.raises(UserError, match="holds no records of paper, laptop, quick"):
        reference_profiles(tmp_path)


def test_intervals_are_printed_where_there_are_any():
    assert with_interval({"a": 1.25, "a_low": 1, "a_high": 2}, "a") == "1.250 [1.00, 2.00]"
    assert with_interval({"a": float("nan")}, "a") == "–"


def test_the_result_shows_its_spread_over_runs(quick):
    line = {"table": "table2.csv", "label": "macro", "column": "joint_rmse_va", "mean": 1.5, "sd": 0.25}
    runs = [{"dtype": ["float32"]}] * 7 + [{"dtype": ["bfloat16"]}]
    shown = result(replace(quick, tables=quick.tables | {"spread": pd.DataFrame([line])}, runs=runs))
    assert "1.500 ± 0.250" in shown and "of 8 runs with other seeds, in bfloat16 and float32." in shown
    changing = {"table": "comparisons.csv", "label": "a - b", "column": "verdict", "texts": "lower|higher"}
    noted = replace(quick, tables=quick.tables | {"spread": pd.DataFrame([line, changing])}, runs=runs)
    assert seeds(noted).endswith("depends on the run: a against b (lower, higher).") and "joint has 1.500 ± 0.250" in seeds(noted)
    without = {name: table for name, table in quick.tables.items() if name != "spread"}
    assert "±" not in result(replace(quick, tables=without, runs=[]))
    assert seeds(replace(quick, runs=[])) == ""


def test_seeds_of_the_encoders_alone_are_shown(quick):
    again = pd.DataFrame([{"system": name, "runs": 3, "rmse_va": 1.25, "rmse_va_sd": 0.5} for name in ("joint", "separate")])
    gap = pd.DataFrame([{"comparison": "joint - separate, 3 seeds", "difference": -0.25, "low": -0.5, "high": -0.125}])
    tables = {name: table for name, table in quick.tables.items() if name != "spread"} | {"seeds": again, "comparisons": gap}
    shown = replace(quick, tables=tables, runs=[])
    assert result(shown).count("1.250 ± 0.500") == 2 and result(shown).endswith("of 3 trainings of the encoders with other seeds.")
    assert seeds(shown).startswith("Over 3 seeds of the encoders joint has 1.250 ± 0.500") and seeds(shown).endswith("-0.250 [-0.500, -0.125].")


def test_a_block_without_a_profile_takes_the_largest_that_has_it(copy):
    shutil.copytree(copy / "results/quick/records", copy / "results/laptop/records", dirs_exist_ok=True)
    (copy / "results/laptop/summary.md").write_text("Larger.")
    known = blocks(copy)
    assert known["summary"]() == "Larger." and known["summary"]("quick").startswith("The joint encoder")
    assert known["summary"]("speed") == known["summary"]("quick", "speed")
    assert known["number"]("30_prepare_rows", "test_rows", ",") == known["number"]("quick", "30_prepare_rows", "test_rows", ",")


def test_every_claim_stands_with_the_verdict_of_the_ledger(copy):
    lines, known = ledger(copy), blocks(copy)
    asked = lines[(lines.paper == "RPI") & (lines.counted == "no") & (lines.kind != "parameter")]
    shown = known["claims"]().splitlines()[2:]
    assert len(shown) == len(asked) > 20
    for line, text in zip(asked.itertuples(), shown):
        assert f"[{line.verdict}](docs/ledger.md)" in text and line.found.replace("|", "\\|") in text
    assert len(known["release"]().splitlines()) == 2 + (lines.paper == "release").sum()
    path = copy / "results/claims/ledger.csv"
    path.write_text(path.read_text("utf-8").replace("coarse bins of the LLMs", "another statement"), "utf-8")
    with pytest.raises(UserError, match="other statements than nbs/paper/statements.csv; run `dimabsa run claims --publish`"):
        ledger(copy)


def test_numbers_and_figures_of_the_paper_carry_verdicts():
    lines, known = ledger(REPOSITORY), blocks(REPOSITORY)
    for column, number in (("joint_rmse_va", "1.097"), ("kimi_k2_rmse_va", "1.800")):
        verdict = lines.verdict[f"table2_macro_{column}"]
        assert known["printed"]("table2", "macro", column, "3") == f"{number} ([{verdict}](docs/ledger.md))"
    assert "(" not in known["printed-mean"]("official_best", "teleai_rmse_va", "3")
    for name in ("ablation_pairs", "system"):
        shown = known["figure"](*(("claims", name) if name == "system" else (name,)))
        assert all(f"{lines.statement[id]}" in shown and lines.verdict[id] in shown for id in FIGURES[name])
    assert {id for ids in FIGURES.values() for id in ids} <= set(lines.index)


def test_codecheck_lists_what_the_records_hold():
    found = yaml.safe_load((REPOSITORY / "codecheck.yml").read_text("utf-8"))
    files = [entry["file"] for entry in found["manifest"]]
    assert len(set(files)) == len(files) > 10 and all((REPOSITORY / name).is_file() for name in files)
    assert all(len(entry["comment"]) > 10 for entry in found["manifest"]) and found["paper"]["title"].startswith("RPI Team at SemEval")
    for profile in ("claims", "quick"):
        outputs = {name for stage, record in committed_records(REPOSITORY, profile).items() if stage[:2] in ("91", "92", "93", "96") for name in record.outputs}
        assert {name.replace("/", f"/{profile}/", 1) for name in outputs if re.match(r"results/[^/]*csv|figures/[^/]*svg", name)} <= set(files)
    assert codecheck(REPOSITORY) == (REPOSITORY / "codecheck.yml").read_text("utf-8")


def test_a_claim_names_its_shortest_command(quick):
    assert stages_for(quick, "91_dataset") == ["30_prepare_rows", "91_dataset"]
    assert command_for(quick, "91_dataset") == "`dimabsa run quick --only 30_prepare_rows --only 91_dataset`"
    assert command_for(quick, "92_main_results") == "`dimabsa run quick`"
    assert command_for(read_reference(REPOSITORY, "claims"), "96_claims") == "`dimabsa run claims`"


# --- links, commands, citation --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```|`[^`]*`", "", (REPOSITORY / page).read_text("utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = ((REPOSITORY / page).parent / path).resolve() if path else REPOSITORY / page
        assert target.exists(), link
        if anchor:
            heads = [re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.M)]
            assert anchor in heads, link


def test_make_targets_exist():
    words = " ".join((REPOSITORY / page).read_text("utf-8") for page in [*PAGES, "CONTRIBUTING.md"])
    targets = " ".join(re.findall(r"^([a-z -]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.M)).split()
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", words, re.M)) <= set(targets)


def test_citation_agrees_with_the_settings():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert (citation["title"], citation["version"], citation["abstract"]) == (SETTINGS["title"], SETTINGS["version"], SETTINGS["description"])
    assert citation["license"] == tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["license"] == {"apache2": "Apache-2.0"}[SETTINGS["license"]]
    assert citation["repository-code"] == SETTINGS["git_url"] and citation["keywords"] == SETTINGS["keywords"].split()
    assert [author["name"] for author in citation["authors"]] == [SETTINGS["author"]]


def test_citation_has_what_its_format_requires():
    """The required keys of CFF 1.2.0, and of its references and persons; no others than the schema knows."""
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    known = "abstract authors cff-version commit contact date-released doi identifiers keywords license license-url message preferred-citation references repository " \
        "repository-artifact repository-code title type url version"
    assert set(citation) <= set(known.split())
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)
    for person in [*citation["authors"], *[author for reference in citation["references"] for author in reference["authors"]]]:
        assert "name" in person or {"given-names", "family-names"} <= set(person)


def test_conda_brings_python_and_pip():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text("utf-8"))
    python, pip = environment["dependencies"]
    assert environment["name"] == SETTINGS["lib_name"] and python.startswith(f"python >={SETTINGS['min_python']}") and pip == "pip"


def test_no_badge_is_shown_that_was_not_tested():
    words = (REPOSITORY / "README.md").read_text("utf-8")
    assert "mybinder.org" not in words and "colab.research.google.com" not in words
