"""Whatever the README and the guides tell to write or to type does work."""

import os
import re

import pytest

from tests.pages import ROOT, BrokenPageError, blocks, check_links, commands, pages, parse, run

PAGES = pages()
# How many Python blocks of a page are not run, each with its reason on its fence.
NOT_RUN = {"docs/frameworks.md": 4, "docs/transactions.md": 4}


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("OUTLAST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", PAGES)
async def test_every_python_block_runs(page):
    await run(page, PAGES[page])


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_one_that_the_command_line_knows(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for place, words in commands(page, PAGES[page]):
        if words[0] == "outlast":
            parse(place, words)
        if words[0] == "make":
            assert targets.issuperset(words[1:]), place


@pytest.mark.parametrize("page", PAGES)
def test_every_link_into_the_repository_leads_somewhere(page):
    check_links(page, PAGES[page])


def test_blocks_that_do_not_run_are_counted():
    idle = {}
    for page, text in PAGES.items():
        number = sum(not b.is_run for b in blocks(page, text) if b.language == "python")
        if number:
            idle[page] = number

    assert idle == NOT_RUN


def page(*lines):
    return "# A page\n\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (page("```python", "x = 1", "assert x == 2", "```"), r"^some\.md:5: AssertionError"),
        (page("```python", "x = = 1", "```"), r"^some\.md:4: SyntaxError"),
        (page("```python", "def f():", "    y", "f()", "```"), r"^some\.md:6: NameError"),
        (page("```python", "x = 1", "```", "", "```python", "z", "```"), r"^some\.md:8: NameError"),
        (page("```python no-run", "z", "```"), r"^some\.md:4: expected `no-run: reason`"),
    ],
)
async def test_a_broken_block_is_told_by_page_and_line(broken, told):
    with pytest.raises(BrokenPageError, match=told):
        await run("some.md", broken)


async def test_jobs_of_a_page_are_done_by_a_real_worker():
    await run(
        "some.md",
        page(
            "```python",
            "from outlast import Outlast",
            "app = Outlast()",
            "@app.task",
            "async def add(a: int, b: int) -> int:",
            "    return a + b",
            "```",
            "```python",
            "handle = await add.submit(a=1, b=2)",
            "assert await handle.result(timeout=20) == 3",
            "```",
            "```python no-run: nobody defines this",
            "undefined()",
            "```",
        ),
    )


@pytest.mark.parametrize(
    "typed",
    [
        "outlast shwo ID",
        "outlast jobs --statsu failed",
        "outlast dead redrive --evry",
        "outlast show",
    ],
)
def test_a_command_that_is_none_is_told_by_page_and_line(typed):
    ((place, words),) = commands("some.md", page("```console", f"$ {typed}  # a comment", "```"))

    with pytest.raises(BrokenPageError, match=r"^some\.md:4: outlast"):
        parse(place, words)


def test_commands_are_found_in_pipes_and_over_several_lines():
    typed = ("$ outlast show \\", "    ID --json | jq .result", "an answer", "$ outlast jobs")

    assert commands("some.md", page("```console", *typed, "```")) == [
        ("some.md:4", ["outlast", "show", "ID", "--json"]),
        ("some.md:4", ["jq", ".result"]),
        ("some.md:7", ["outlast", "jobs"]),
    ]


def test_a_link_to_nothing_is_told():
    with pytest.raises(BrokenPageError, match=r"^README\.md:3: there is no docs/none\.md"):
        check_links("README.md", page("[x](docs/none.md#top) and [y](docs/glossary.md)"))
