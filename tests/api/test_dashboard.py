"""The dashboard and the page of calls, as far as no browser is needed to judge them.

What a job said is shown as text: the pages have no way to make markup of it, and a policy under
which none would run.
"""

import re
from importlib.resources import files

import pytest

STATIC = {
    path.name: path.read_text("utf-8") for path in (files("outlast.api") / "static").iterdir()
}
PAGES = ["/", "/docs"]
SCRIPTS = sorted(name for name in STATIC if name.endswith(".js"))
REFERENCE = re.compile(r"""(?:src|href)="([^"#]*)["#]|from "\./([^"]+)";""")


def sources(name, text):
    return [a or f"static/{b}" for a, b in REFERENCE.findall(text) if a or b]


@pytest.mark.parametrize("path", [*PAGES, *(f"/static/{name}" for name in STATIC)])
async def test_every_page_runs_under_a_policy_that_lets_no_foreign_thing_in(api, path):
    answer = await api.get(path)

    assert answer.status_code == 200
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    for name in ("script-src", "style-src", "connect-src", "img-src"):
        assert policy[name] == "'self'"
    for name in ("base-uri", "form-action", "frame-ancestors"):
        assert policy[name] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", PAGES)
async def test_all_that_a_page_loads_is_served_here_with_its_type(api, path):
    seen, left = set(), [path]
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        answer = await api.get(name)
        assert answer.status_code == 200, name
        left += [f"/{source}" for source in sources(name, answer.text) if source.startswith("st")]
        kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
        expected = kind.get(name.rpartition(".")[2], "text/html")
        assert answer.headers["content-type"].startswith(expected)

    assert len(seen) > 4


def test_no_file_lies_around_unused():
    used = {
        source.rpartition("/")[2] for name, text in STATIC.items() for source in sources(name, text)
    }

    assert set(STATIC) - used == {"index.html", "docs.html"}


@pytest.mark.parametrize("name", STATIC)
def test_nothing_comes_from_elsewhere(name):
    text = STATIC[name].replace("http://www.w3.org/2000/svg", "")

    assert not re.search(r"https?:|[\"'(]//|@import|url\(", text)


@pytest.mark.parametrize("name", ["index.html", "docs.html"])
def test_a_page_has_no_script_or_style_in_itself(name):
    text = STATIC[name]

    assert re.findall(r"<script(?! type=\"module\" src=\"static/\w+\.js\"></script>)", text) == []
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)


MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment"
    r"|setHTML|srcdoc|\beval\b|new Function|javascript:|createPolicy"
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_can_make_markup_of_a_text(name):
    assert MARKUP.findall(STATIC[name]) == []


def test_the_law_against_markup_has_teeth():
    assert MARKUP.search("cell.innerHTML = job.error.message")
    assert MARKUP.search("body.insertAdjacentHTML('beforeend', tag)")


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_key_stays_in_this_tab_and_out_of_addresses(name):
    text = STATIC[name]

    assert not re.search(r"localStorage|document\.cookie|indexedDB|[?&](api_)?key=", text)
    if name != "api.js":
        assert "sessionStorage" not in text
        assert "Authorization" not in text


def test_every_name_that_a_script_imports_is_exported():
    for text in (STATIC[name] for name in SCRIPTS):
        for names, source in re.findall(r"import \{([^}]*)\} from \"\./([^\"]+)\"", text):
            for name in filter(None, (part.strip() for part in names.split(","))):
                exported = rf"export (?:async )?(?:function|const|class) {name}\b"
                assert re.search(exported, STATIC[source]), f"{source} exports no {name}"
                assert len(re.findall(rf"\b{name}\b", text)) > 1, f"{name} is imported in vain"


async def test_what_the_job_page_shows_is_there(api, worker):
    hostile = "<img src=x onerror=alert(1)>"
    made = (await api.post("/v1/jobs", json={"task": "fail", "args": {"why": hostile}})).json()
    await api.get(f"/v1/jobs/{made['id']}", headers={"Prefer": "wait=20"})

    job = (await api.get(f"/v1/jobs/{made['id']}")).json()
    listed = (await api.get("/v1/jobs")).json()["jobs"]

    assert job["args"] == {"why": hostile}  # as it came: escaping is for whoever shows it
    assert "args" not in listed[0]
    assert job["error"]["message"] == hostile
