"""The documents hold together: links lead somewhere, tests that are named exist, decision records have their sections.

Here:   every Markdown file of the repository, read as text.
Never:  running what the documents show (tests/cluster/test_examples.py).
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from analysis.__main__ import main as raft_analysis
from kv.app.cli import cli as raft_kv

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RECORDS = sorted((ROOT / "docs" / "adr").glob("*.md"))
SECTIONS = ["## Context", "## Decision", "## Consequences", "## What would change our mind"]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?(?:::(\w+))?`")
FILE = re.compile(r"`((?:tests|docs|raft_actors|kv|analysis)/[\w./-]*\w)`")
CODE = re.compile(r"```.*?```|`[^`]+`", re.DOTALL)
PROGRAM = re.compile(r"\b(?:python (docs/[\w/]+\.py)|(make|raft-kv|raft-analysis)((?: --[a-z]+ \S+)*) ([a-z][a-z-]*))")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
FORBIDDEN = {
    "a machine's path": re.compile(r"(?<![\w.~])/(?:work|home|root|tmp|var|mnt|opt|Users)/"),
    "a registry's host": re.compile(
        r"(?:pypi|pythonhosted|npmjs|crates\.io|docker\.io|ghcr\.io|proxy\.golang|artifactory|index-url)"
    ),
    "talk of how it was written": re.compile(
        r"\b(?:sub-?agents?|language model|LLM|prompt|this conversation|helper session|the lead|TODO|FIXME)\b",
        re.IGNORECASE,
    ),
}


def ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(path: Path) -> set[str]:
    """The anchors that a heading gets on the usual hosts."""
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in HEADING.findall(path.read_text())
    }


def missing_links(document: Path) -> list[str]:
    missing = []
    for link in LINK.findall(document.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = document.parent / target if target else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            missing.append(link)
    return missing


@cache
def names_in(path: Path) -> frozenset[tuple[str, str]]:
    """(class, test) of a test file, with "" for what stands outside of classes or is the class itself."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(("", node.name))
        if isinstance(node, ast.ClassDef):
            found.add((node.name, ""))
            found |= {(node.name, each.name) for each in node.body if isinstance(each, ast.FunctionDef)}
    return frozenset(found)


def missing_tests(document: Path) -> list[str]:
    missing = []
    for file, first, second in TEST.findall(document.read_text()):
        path = ROOT / file
        if not path.is_file():
            missing.append(file)
        elif first and not names_in(path) & ({(first, second)} if second else {(first, ""), ("", first)}):
            missing.append(f"{file}::{first}::{second}")
    return missing


def missing_files(document: Path) -> list[str]:
    return [file for file in FILE.findall(document.read_text()) if not (ROOT / file).exists()]


@cache
def commands_of(program: str) -> frozenset[str]:
    if program == "make":
        return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    return frozenset((raft_kv if program == "raft-kv" else raft_analysis).commands)


def missing_commands(document: Path) -> list[str]:
    missing = []
    for script, program, _options, command in PROGRAM.findall("\n".join(CODE.findall(document.read_text()))):
        if not ((ROOT / script).is_file() if script else command in commands_of(program)):
            missing.append(script or f"{program} {command}")
    return missing


def test_there_is_something_to_read() -> None:
    assert {"README.md", "CHANGELOG.md", "docs/ARCHITECTURE.md", "docs/SECURITY.md"} <= {
        ids(each) for each in DOCUMENTS
    }
    assert len(RECORDS) >= 7


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
class TestEveryDocument:
    def test_its_relative_links_lead_somewhere(self, document: Path) -> None:
        assert not missing_links(document)

    def test_the_tests_it_names_exist(self, document: Path) -> None:
        assert not missing_tests(document)

    def test_the_files_it_names_exist(self, document: Path) -> None:
        assert not missing_files(document)

    def test_the_commands_it_names_exist(self, document: Path) -> None:
        assert not missing_commands(document)

    def test_it_speaks_of_the_product_only(self, document: Path) -> None:
        text = document.read_text()
        assert not {what: found.group() for what, pattern in FORBIDDEN.items() if (found := pattern.search(text))}


class TestEveryDecisionRecord:
    @pytest.mark.parametrize("record", RECORDS, ids=ids)
    def test_it_has_its_four_sections_in_order_and_none_is_empty(self, record: Path) -> None:
        text = record.read_text()
        assert re.findall(r"^## .*$", text, re.MULTILINE) == SECTIONS
        assert all(part.strip() for part in re.split(r"^## .*$", text, flags=re.MULTILINE)[1:])

    @pytest.mark.parametrize("record", RECORDS, ids=ids)
    def test_its_title_has_its_number(self, record: Path) -> None:
        assert record.read_text().startswith(f"# {int(record.name[:4])}. ")

    def test_no_number_is_used_twice(self) -> None:
        numbers = [int(record.name[:4]) for record in RECORDS]
        assert numbers == list(range(1, len(numbers) + 1))


class TestTheseTests:
    """Each rule finds what is planted."""

    def test_what_is_missing_is_found(self, tmp_path: Path) -> None:
        document = tmp_path / "x.md"
        document.write_text(
            "# A b, c\n[good](#a-b-c) [no file](nowhere.md) [no anchor](#nothing) [web](https://example.org)\n"
            "`tests/docs/nothing.py` `tests/docs/test_documents.py::TestTheseTests::test_nothing`\n"
            "`tests/docs/test_documents.py::TestTheseTests` `raft_actors/nothing.py` `make nothing` `make test`\n"
            "```sh\nraft-kv --name x status\nraft-kv --name x nothing  # what for\n```\n`raft-analysis summary RUN`\n"
        )
        assert missing_links(document) == ["nowhere.md", "#nothing"]
        assert missing_tests(document) == [
            "tests/docs/nothing.py",
            "tests/docs/test_documents.py::TestTheseTests::test_nothing",
        ]
        assert missing_files(document) == ["tests/docs/nothing.py", "raft_actors/nothing.py"]
        assert missing_commands(document) == ["make nothing", "raft-kv nothing"]

    @pytest.mark.parametrize("text", ["see /" + "home/me/x", "from py" + "pi.org", "a sub" + "agent wrote this"])
    def test_what_does_not_belong_is_found(self, text: str) -> None:
        assert any(pattern.search(text) for pattern in FORBIDDEN.values())

    def test_what_belongs_is_permitted(self) -> None:
        text = "`~/.raft_actors`, sessions of clients, a lead" + "er, the data directory's /group/0, promptly"
        assert not any(pattern.search(text) for pattern in FORBIDDEN.values())
