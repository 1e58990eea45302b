"""The documentation: its commands, links and messages are those of the program, and its site is whole by itself."""

import re
import shlex
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import click
import pytest
from docs import messages, reference, site
from ruamel.yaml import YAML

from wcsup.cli.app import app

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


ENTRY = re.compile(r"^(`+)(.+?)\1\n:   ", re.MULTILINE)
"""A message, above what it means."""


# Commands


def shown(text: str) -> Iterator[str]:
    """Yield the commands behind a prompt, with continued lines, as `$ command`, and those in backticks as such."""
    whole = ENTRY.sub("", text.replace("\\\n", " "))
    yield from re.findall(r"^\s*(\$ .*)$", whole, re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", whole, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`((?:[^`\n]*\| )?wcsup [a-z-][^`\n]*)`", prose)


def calls(command: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of wcsup in a line of shell."""
    for part in re.split(r"[|;]|&&", re.sub(r"\s#.*", "", command)):
        words = shlex.split(re.sub(r"<.*|>.*", "", part))
        # Before it may stand an assignment, or a program that runs the command elsewhere.
        starts = [at for at, word in enumerate(words) if word == "wcsup"]
        if starts and starts[-1] + 1 < len(words):
            yield words[starts[-1] + 1 :]


COMMANDS = [
    (page, ("$ wcsup " if command.startswith("$") else "wcsup ") + " ".join(arguments), arguments)
    for page in PAGES
    for command in shown((DOCS / page).read_text())
    for arguments in calls(command)
]


class AnyPath(click.Path):
    """Takes a path of the documentation's, which is not on this machine."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        return Path(value)


@pytest.mark.parametrize(("page", "line", "arguments"), COMMANDS, ids=[f"{page}: {line}" for page, line, _ in COMMANDS])
def test_every_command_is_accepted_by_the_command_line(
    page: str, line: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(click.Path, "convert", AnyPath.convert)
    group: click.Command = app
    context = click.Context(app, info_name="wcsup", auto_envvar_prefix="WCSUP_NONE")
    rest = list(arguments)
    while isinstance(group, click.Group) and rest and not rest[0].startswith("-"):
        found = group.get_command(context, rest[0])
        assert found is not None, f"{page}: {line}: there is no command {rest[0]}"
        group = found
        rest.pop(0)
    if not rest or rest == ["--version"]:
        return  # the name of a command, in a sentence
    try:
        group.make_context(line, rest, parent=context)
    except (click.MissingParameter, click.BadOptionUsage) as error:
        # A sentence may name an option without its value, or a command without its argument.
        assert not line.startswith("$"), f"{page}: {line}: {error.format_message()}"
    except click.UsageError as error:
        pytest.fail(f"{page}: {line}: {error.format_message()}")
    except click.exceptions.Exit:
        pass  # --help


# Messages


def test_every_message_has_an_entry_and_every_entry_is_a_message() -> None:
    entries = [found[2] for found in ENTRY.finditer((DOCS / "guides" / "messages.md").read_text())]
    said = {message.text: message.place for message in messages.messages()}
    without = [f"{place}: {text}" for text, place in said.items() if text not in entries]
    assert not without, "docs/guides/messages.md lacks an entry for:\n" + "\n".join(without)
    assert sorted(entries) == sorted(said), "docs/guides/messages.md has entries for what nobody says any more"


# Other names


def named(pattern: str) -> dict[str, str]:
    """What a pattern finds in the pages, with the page where it was found last."""
    return {name: page for page in PAGES for name in re.findall(pattern, (DOCS / page).read_text())}


def test_every_metric_that_is_named_exists() -> None:
    exist = {row.split("`")[1] for row in reference.metrics().splitlines()[2:]}
    for name, page in named(r"\bwcsup_[a-z_]+[a-z]\b(?!/)").items():
        assert name in exist, f"{page} names {name}"


def test_every_variable_that_is_named_exists() -> None:
    made = reference.commands() + reference.shared_options()
    exist = {"WCSUP_CONFIG", *re.findall(r"`(WCSUP_\w+)`", made)}
    for name, page in named(r"\bWCSUP_(?!CRASH|KILLS|FAILOVERS)\w+[A-Z]\b").items():
        assert name in exist, f"{page} names {name}"


def test_every_test_that_is_named_exists() -> None:
    for name, page in named(r"\b(?:fast|kafka|faults)/test_\w+\.py(?:::test_\w+)?").items():
        file, _, test = name.partition("::")
        assert f"def {test}" in (DOCS.parent / "tests" / file).read_text(), f"{page} names {name}"


def test_every_alert_has_what_to_do() -> None:
    rules = YAML(typ="safe").load(DOCS.parent / "deploy" / "prometheus" / "alerts.yml")["groups"][0]["rules"]
    rows = re.findall(r"^\| `(Wcsup\w+)` \|", (DOCS / "guides" / "watching.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(rule["alert"] for rule in rules)


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^)#]+)", (DOCS.parent / "README.md").read_text())
    assert len(links) > 20
    assert not [link for link in links if not (DOCS.parent / link).exists()]


# The reference


def test_every_marker_has_a_part_and_every_part_is_used() -> None:
    used = [name for page in PAGES for name in reference.MARKER.findall((DOCS / page).read_text())]
    assert sorted(used) == sorted(reference.PARTS)


def test_the_reference_has_every_command_and_every_option() -> None:
    made = reference.commands() + reference.shared_options()
    for words, command in reference.leaves():
        assert f"### wcsup {words}\n" in made
        for option in command.params:
            if isinstance(option, click.Option):
                assert all(f"`{name}" in made for name in option.opts if name not in {"-h", "--help"}), option.opts


def test_the_reference_has_every_metric_of_a_run() -> None:
    rows = {row.split("`")[1] for row in reference.metrics().splitlines()[2:]}
    assert len(rows) == len(reference.families())
    assert {"wcsup_info", "wcsup_lines_total", "wcsup_lag_records", "wcsup_commit_step_duration_seconds"} <= rows


# The site


class Seen(HTMLParser):
    """What a page links to, what it loads, and the names that links to it may have."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.names |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a":
            self.links += [given["href"]] if "href" in given else []
        else:
            self.loads += [given[name] for name in ("src", "href", "data", "poster") if name in given]
            self.loads += re.findall(r"url\(([^)]*)\)", given.get("style", ""))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site."""
    return site.build(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="module")
def seen(built: Path) -> dict[Path, Seen]:
    return {page: Seen(page) for page in built.rglob("*.html")}


def test_every_page_has_its_place_in_the_order() -> None:
    def pages(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for below in entry.values() if isinstance(entry, dict) else entry:
                yield from pages(below)

    order = list(pages(YAML(typ="safe").load(DOCS.parent / "mkdocs.yml")["nav"]))
    assert sorted(order) == PAGES


def test_links_lead_somewhere(built: Path, seen: dict[Path, Seen]) -> None:
    assert {page.relative_to(built).with_suffix(".md").as_posix() for page in seen} >= set(PAGES)
    for page, found in seen.items():
        if page.name == "404.html":
            continue  # it is shown at any address, so its links are from the root
        for link in found.links:
            to = urlsplit(link)
            if to.scheme or to.netloc:
                continue
            target = (page.parent / unquote(to.path)).resolve() if to.path else page
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{page.relative_to(built)} links to {link}"
            if to.fragment and target.suffix == ".html":
                assert unquote(to.fragment) in seen[target].names, f"{page.relative_to(built)} links to {link}"


def test_the_site_loads_nothing_from_elsewhere(built: Path, seen: dict[Path, Seen]) -> None:
    for page, found in seen.items():
        outside = [address for address in found.loads if re.match(r"(https?:)?//", address)]
        assert not outside, f"{page.relative_to(built)} loads {outside}"
    for style in built.rglob("*.css"):
        text = style.read_text()
        assert not re.findall(r"@import|url\(\s*[\"']?(?:https?:)?//[^)]*", text), style
    for script in built.rglob("*.js"):
        # Addresses in scripts are names of XML and links in comments; what would be fetched is not among them.
        text = script.read_text()
        assert not re.findall(r"(?:fetch|importScripts|import)\(\s*[\"'`](?:https?:)?//", text), script
