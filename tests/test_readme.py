"""The README says what is true: its table is the committed one, its notebooks, files and commands exist."""
import re
import tomllib
from pathlib import Path

import pytest

from builder.gone import splice_speed
from builder.gone import splice_readme

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text("utf-8")


def test_table_is_the_committed_one():
    table = (REPOSITORY / "results/quick/table2.md").read_text("utf-8")
    assert splice_readme(README, table) == README, "run `make readme`"


def test_the_performance_table_is_the_committed_one():
    table = (REPOSITORY / "results/quick/speed/speed.md").read_text("utf-8")
    assert splice_speed(README, table) == README, "run `make readme`"


def test_every_notebook_is_on_the_map():
    assert [path.stem for path in sorted((REPOSITORY / "nbs").glob("*.ipynb")) if f"(nbs/{path.name})" not in README] == []


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links and [link for link in links if not (REPOSITORY / link).exists()] == []


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`make ([a-z]+)", README)) <= targets


@pytest.mark.parametrize("profile", ["smoke", "quick", "laptop", "paper"])
def test_profiles_are_described_as_they_are(profile):
    settings = tomllib.loads((REPOSITORY / f"nbs/profiles/{profile}.toml").read_text())["parameters"]
    row = next(line for line in README.splitlines() if line.startswith(f"| `{profile}` |")).lower().replace("-", " ")
    for name in (settings["31_train_coarse"]["model"], settings["33_train_encoder"]["base"]):
        words = name.rsplit("/", 1)[-1].lower().replace("-", " ").replace("xlmr", "xlm r")
        assert all(word in row for word in words.split()), (profile, words)
