"""The reviewer's pack says what the records say, and its files agree with the package's own settings."""
import configparser
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from builder.cards import FILES, blocks, read_references, write_cards

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS = configparser.ConfigParser()
SETTINGS.read(REPOSITORY / "settings.ini", encoding="utf-8")
SETTINGS = SETTINGS["DEFAULT"]


def test_every_block_is_what_the_records_give():
    assert write_cards(REPOSITORY, check=True) == [], "run `make cards`"


def test_every_block_is_shown_and_none_is_empty():
    written = blocks(read_references(REPOSITORY))
    shown = {name for file in FILES for name in re.findall(r"<!-- records: ([\w-]+) -->", (REPOSITORY / file).read_text("utf-8"))}
    assert shown == set(written) and all(text.strip() for text in written.values())


def test_a_changed_record_makes_the_cards_stale(tmp_path):
    for folder in ("results/quick", "nbs/profiles", "nbs/paper"):
        for path in (REPOSITORY / folder).rglob("*.*"):
            if path.suffix in (".json", ".csv", ".toml"):
                (tmp_path / path.relative_to(REPOSITORY)).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path.relative_to(REPOSITORY)).write_bytes(path.read_bytes())
    (tmp_path / "docs").mkdir()
    for file in FILES:
        (tmp_path / file).write_bytes((REPOSITORY / file).read_bytes())
    write_cards(tmp_path)
    assert write_cards(tmp_path) == []
    table = tmp_path / "results/quick/table2.csv"
    lines = table.read_text("utf-8").splitlines()
    macro = next(number for number, line in enumerate(lines) if line.startswith("macro"))
    names = lines[0].split(",")
    cells = lines[macro].split(",")
    cells[names.index("joint_pcc_a")] = "0.987654"
    lines[macro] = ",".join(cells)
    table.write_text("\n".join(lines) + "\n", "utf-8")
    assert write_cards(tmp_path, check=True) == ["ARTIFACT.md", "docs/model_card.md"]


@pytest.mark.parametrize("file", FILES)
def test_links_lead_somewhere(file):
    text = (REPOSITORY / file).read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    for link in links:
        path, _, anchor = link.partition("#")
        target = ((REPOSITORY / file).parent / path).resolve()
        assert target.exists(), link
        if anchor:
            heads = [re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.M)]
            assert anchor in heads, link


def test_commands_in_the_pack_exist():
    words = " ".join((REPOSITORY / file).read_text("utf-8") for file in FILES)
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.M))
    assert set(re.findall(r"`make ([a-z]+)", words)) <= targets


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


def test_conda_gets_the_set_that_is_tested():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text("utf-8"))
    python, _, pip = environment["dependencies"]
    assert environment["name"] == SETTINGS["lib_name"] and python == f"python >={SETTINGS['min_python']}"
    assert pip == {"pip": ["-r locks/cpu.txt", "-e ."]} and (REPOSITORY / "locks/cpu.txt").is_file()


def test_no_badge_is_shown_that_was_not_tested():
    words = (REPOSITORY / "README.md").read_text("utf-8")
    assert "mybinder.org" not in words and "colab.research.google.com" not in words
