"""``pointsman memory``: showing, moving, counting, forgetting and serving what the agents remember."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Note, Provenance
from pointsman.memory.default import default_embedder

Run = Callable[..., Any]
PAGE = Provenance("https://a.example", "browser", "", Trust.UNTRUSTED, tool="fetch_url", span=(3, 9))


@pytest.fixture(autouse=True)
def _named_state(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Filled by the tests themselves, so that it has no mark of the user's.
    monkeypatch.setenv("POINTSMAN_STATE", str(project / ".pointsman"))


def filled(project: Path) -> dict[str, str]:
    """Fill the project's memory with one item of every sort."""
    with ChromaStore.open(project / ".pointsman" / "memory") as store:
        page = store.remember(("team", "facts"), "The office opens at nine, odd \ud800.", provenance=PAGE)
        note = store.remember(
            ("team", "facts"),
            "Call after nine.",
            provenance=Provenance("", "desk", "run-1", Trust.USER, (page,), "m", "s"),
            key="slot",
            metadata={"nested": {"a": [1, None]}},
            ttl=60,
        )
        store.put(("team", "plain"), "indexed", {"a": "needle in a part", "b": "hay"}, index=["a"])
        store.put(("team", "plain"), "bare", {"n": 1.5}, index=False)
        user = store.remember(("team", "facts"), "A person said so.", provenance=Provenance("", "p", "", Trust.USER))
    return {"page": page, "note": note, "user": user}


def everything(project: Path) -> list[dict[str, Any]]:
    with ChromaStore.open(project / ".pointsman" / "memory") as store:
        return [{name: value for name, value in item.items() if name != "seq"} for item in store.exported()]


def emptied(project: Path) -> None:
    subprocess.run(["rm", "-r", project / ".pointsman" / "memory"], check=True)


@pytest.mark.slow
def test_what_is_exported_comes_back_whole_and_again_changes_nothing(pointsman: Run, project: Path) -> None:
    filled(project)
    before = everything(project)
    assert json.loads(pointsman("memory", "export", "all.jsonl", "--json").stdout) == {"items": 5, "file": "all.jsonl"}
    assert stat.S_IMODE((project / "all.jsonl").stat().st_mode) == 0o600
    emptied(project)

    first = json.loads(pointsman("memory", "import", "all.jsonl", "--json").stdout)
    assert (first["added"], first["embedded"], first["trusted"]) == (5, 0, True)
    assert everything(project) == before
    with ChromaStore.open(project / ".pointsman" / "memory") as store:
        assert store.search(("team",), query="needle", limit=1)[0].key == "indexed"
    again = json.loads(pointsman("memory", "import", "all.jsonl", "--json").stdout)
    assert (again["added"], again["replaced"], again["unchanged"]) == (0, 0, 5)
    assert everything(project) == before
    assert "5 unchanged" in pointsman("memory", "import", "all.jsonl").stdout


@pytest.mark.slow
def test_an_import_never_raises_trust(pointsman: Run, project: Path) -> None:
    ids = filled(project)
    pointsman("memory", "export", "all.jsonl")
    lines = (project / "all.jsonl").read_text().splitlines(keepends=True)
    (project / "changed.jsonl").write_text("".join(lines).replace('"untrusted"', '"user"'))
    with ChromaStore.open(project / ".pointsman" / "memory") as store:
        store.remember(("team", "facts"), "A person said so.", provenance=Provenance("", "b", "", Trust.UNTRUSTED))
    assert pointsman("memory", "import", "all.jsonl").exit_code == 0

    with ChromaStore.open(project / ".pointsman" / "memory") as store:
        assert store.item(ids["user"]).trust is Trust.UNTRUSTED  # type: ignore[union-attr]
    emptied(project)
    ended = pointsman("memory", "import", "changed.jsonl")
    assert "changed since" in ended.stderr
    with ChromaStore.open(project / ".pointsman" / "memory") as store:
        assert store.stats()["trust"] == {"untrusted": 5, "tool": 0, "user": 0}
        assert store.search(("team",), query="needle", limit=1)[0].score is not None


@pytest.mark.slow
def test_what_was_forgotten_does_not_come_back_with_an_old_export(pointsman: Run, project: Path) -> None:
    ids = filled(project)
    pointsman("memory", "export", "all.jsonl")
    gone = json.loads(pointsman("memory", "forget", "--id", ids["page"], "--json").stdout)
    assert (gone["forgotten"], gone["runs"], gone["waiting"]) == (1, [], [])
    back = json.loads(pointsman("memory", "import", "all.jsonl", "--json").stdout)
    assert (back["forgotten"], back["added"]) == (1, 0)
    assert json.loads(pointsman("memory", "forget", "--all", "--json").stdout)["forgotten"] == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is no file of 'pointsman memory export'"),
        ("nonsense\n", "is no file of 'pointsman memory export'"),
        ('{"pointsman_memory": 99}\n', "newer version"),
        ('{"pointsman_memory": 1}\n{"items": 1}\n', "is cut off"),
        ('{"pointsman_memory": 1}\n{"key": 1}\n{"items": 1, "signature": "x"}\n', "in lines 2 to 2: is no item"),
        ('{"pointsman_memory": 1}\n[' + "[" * 99_999 + '\n{"items": 1, "signature": "x"}\n', "in lines 2 to 2"),
    ],
)
def test_a_file_that_is_no_export_is_refused_in_one_line(
    pointsman: Run, project: Path, content: str, said: str
) -> None:
    (project / "bad.jsonl").write_text(content)
    ended = pointsman("memory", "import", "bad.jsonl")
    assert (ended.exit_code, ended.stderr.splitlines()[-1].startswith("error: bad.jsonl: ")) == (2, True)
    assert said in ended.stderr


def test_an_export_overwrites_nothing_and_leaves_nothing_half_written(pointsman: Run, project: Path) -> None:
    filled(project)
    (project / "there.jsonl").write_text("mine")
    ended = pointsman("memory", "export", "there.jsonl")
    assert (ended.exit_code, "is there already" in ended.stderr) == (2, True)
    assert (project / "there.jsonl").read_text() == "mine"
    assert pointsman("memory", "export", "no/such/folder.jsonl").exit_code == 2


@pytest.mark.slow
def test_an_item_is_shown_whole_and_the_memory_counted(pointsman: Run, project: Path) -> None:
    ids = filled(project)
    shown = json.loads(pointsman("memory", "show", ids["note"], "--json").stdout)
    assert (shown["key"], shown["value"]["nested"], shown["trust"]) == ("slot", {"a": [1, None]}, "untrusted")
    assert shown["writers"][0]["model"] == "m"
    assert "tool fetch_url" in pointsman("memory", "show", ids["page"]).stdout
    missing = pointsman("memory", "show", "nothing")
    assert (missing.exit_code, "holds no item nothing" in missing.stderr) == (2, True)
    held = json.loads(pointsman("memory", "stats", "--json").stdout)
    assert (held["items"], held["namespaces"], held["vectors"]) == (5, 2, 4)
    assert held["trust"] == {"untrusted": 4, "tool": 0, "user": 1}
    assert "5 items in 2 namespaces" in pointsman("memory", "stats").stdout


@pytest.mark.slow
def test_what_an_item_said_before_is_shown_and_an_answer_is_explained(pointsman: Run, project: Path) -> None:
    with ChromaStore.open(project / ".pointsman" / "memory") as store:
        for text in ("The depot opens at six.", "The depot opens at seven."):
            item = store.remember(("team",), text, provenance=PAGE, key="slot")
    shown = json.loads(pointsman("memory", "show", item, "--json").stdout)
    assert [(version["value"]["text"], version["trust"]) for version in shown["history"]] == [
        ("The depot opens at six.", "untrusted")
    ]
    assert "The depot opens at six." in pointsman("memory", "show", item).stdout
    assert "1 texts that items said before" in pointsman("memory", "stats").stdout
    (found,) = json.loads(pointsman("memory", "search", "depot", "--when", "today", "--explain", "--json").stdout)
    assert (found["text"], found["parts"]["matched"]) == ("The depot opens at seven.", ["depot"])
    assert "words depot" in pointsman("memory", "search", "depot", "--explain").stdout
    assert json.loads(pointsman("memory", "search", "depot", "--when", "last year", "--json").stdout) == []
    ended = pointsman("memory", "search", "depot", "--when", "whenever")
    assert (ended.exit_code, "names no time" in ended.stderr) == (2, True)


@pytest.mark.slow
def test_a_memory_of_another_embedder_is_embedded_anew_and_what_was_forgotten_stays_so(
    pointsman: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "The merger with Contoso closes on Friday."
    folder = project / ".pointsman" / "memory"
    with ChromaStore(folder, HashingEmbedder()) as store:
        store.remember(("team",), text, provenance=PAGE)
        store.forget(source=PAGE.source)
        store.remember_all(("team",), [Note(f"Signal {n} is tested.", PAGE, f"slot {n % 2}") for n in range(4)])
        before = store.exported()
    refused = pointsman("memory", "stats")
    assert (refused.exit_code, "'pointsman memory reindex'" in refused.stderr) == (2, True)
    made = json.loads(pointsman("memory", "reindex", "--json").stdout)
    assert (made["items"], made["dimensions"]) == (2, default_embedder().dimensions)
    assert "2 items are found by" in pointsman("memory", "reindex").stdout
    assert "Signal 3" in pointsman("memory", "search", "signal 3").stdout
    with ChromaStore.open(folder) as store:
        made_anew = ("seq", "vectors", "words")
        assert [{**item, **dict.fromkeys(made_anew)} for item in store.exported()] == [
            {**item, **dict.fromkeys(made_anew)} for item in before
        ]
        assert store.was_forgotten([text]) == [True]
        again = Provenance("", "reader", "run-9", Trust.TOOL)
        assert store.item(store.remember(("team",), text, provenance=again)) is None
    monkeypatch.setenv("POINTSMAN_MEMORY", "http://127.0.0.1:9")
    refused = pointsman("memory", "reindex")
    assert (refused.exit_code, "where its folder is" in refused.stderr) == (2, True)


@pytest.mark.slow
def test_the_embedder_of_the_configuration_fills_and_searches_the_memory(
    pointsman: Run, project: Path, own: Path, serve: Callable[..., str]
) -> None:
    asked: list[list[str]] = []
    sent = Counter[str]()

    def answer(request: Any) -> tuple[int, dict[str, str], bytes]:
        asked.append(request.json()["input"])
        sent["requests"] += 1
        data = [
            {"object": "embedding", "index": i, "embedding": [float("depot" in text), 1.0, 0.0]}
            for i, text in enumerate(asked[-1])
        ]
        reply = {"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        return 200, {"content-type": "application/json"}, json.dumps(reply).encode()

    (project / "rules.md").write_text("The depot opens at six.\n")
    assert pointsman("memory", "add", "rules.md").exit_code == 0
    lab = f"lab: {{backend: openai_compatible, base_url: '{serve(answer)}/v1', local: true}}"
    (own / "models.yaml").write_text(f"providers: {{{lab}}}\nembedder: {{model: lab/m}}\n")
    refused = pointsman("memory", "search", "depot")
    assert (refused.exit_code, "'pointsman memory reindex'" in refused.stderr) == (2, True)
    made = json.loads(pointsman("memory", "reindex", "--json").stdout)
    assert made == {"items": 1, "embedder": "openai_compatible/m", "dimensions": 3}
    asked.clear()
    assert "The depot opens" in pointsman("memory", "search", "which depot").stdout
    assert asked == [["which depot"]]
    assert json.loads(pointsman("memory", "stats", "--json").stdout)["embedder"] == "openai_compatible/m"
    found = {each["what"]: each["said"] for each in json.loads(pointsman("doctor", "--json").stdout)}
    assert found["embedder"] == "the memory is searched by openai_compatible/m, 3 dimensions"
    questions = project / "asked.jsonl"
    lines = [{"key": "a", "text": "depot"}, {"question": "which depot", "answers": ["a"]}]
    questions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked.clear()
    assert json.loads(pointsman("memory", "eval", str(questions), "--json").stdout)["recall@5"] == 1
    assert ["depot"] in asked
    # Of all commands, each request is booked.
    booked = json.loads(pointsman("report", "--json").stdout)
    assert [(tier["name"], tier["totals"]["failed"], tier["totals"]["cost"]) for tier in booked["tiers"]] == [
        ("embedding", 0, 0)
    ]
    assert booked["totals"]["calls"] == sent["requests"]


@pytest.mark.slow
def test_a_folder_cannot_have_the_memory_sent_to_a_host_of_its_choosing(
    pointsman: Run, project: Path, serve: Callable[..., str]
) -> None:
    asked: list[Any] = []
    url = serve(lambda request: (asked.append(request), (500, {}, b""))[1])
    filled(project)
    lab = f"lab: {{backend: openai_compatible, base_url: '{url}/v1', local: true}}"
    for text in (
        f"providers: {{{lab}}}\nembedder: {{model: lab/m}}\n",
        f"providers: {{openai: {{base_url: '{url}/v1'}}}}\nembedder: {{model: openai/m}}\n",
        "embedder: {model: ollama/m}\n",
    ):
        (project / "models.yaml").write_text(text)
        for command in (["search", "office"], ["reindex"], ["add", "models.yaml"], ["eval", "models.yaml"]):
            refused = pointsman("memory", *command)
            assert (refused.exit_code, "which takes your trust" in refused.stderr) == (2, True)
        assert "pointsman trust" in pointsman("doctor").stdout
    assert asked == []


@pytest.mark.slow
def test_an_edited_document_that_is_added_again_replaces_its_earlier_version(pointsman: Run, project: Path) -> None:
    rules, other = project / "kb" / "rules.md", project / "old" / "rules.md"
    for file in (rules, other):
        file.parent.mkdir()
        file.write_text(f"## hours\nThe {file.parent.name} depot opens at six.\n## food\nThe canteen serves soup.\n")
        assert json.loads(pointsman("memory", "add", str(file), "--json").stdout)["superseded"] == 0

    def found() -> dict[str, str]:
        shown = json.loads(pointsman("memory", "search", "depot canteen", "--limit", "20", "--json").stdout)
        return {item["text"]: item["id"] for item in shown}

    before = found()
    assert len(before) == 3
    rules.write_text("## hours\nThe kb depot opens at seven.\n## food\nThe canteen serves soup.\n")
    added = pointsman("memory", "add", "kb/rules.md").stdout
    assert "2 passages from 1 files are in knowledge; 1 that they no longer have are superseded" in added
    after = found()
    assert after.keys() == {"The kb depot opens at seven.", "The old depot opens at six.", "The canteen serves soup."}
    old = before["The kb depot opens at six."]
    shown = json.loads(pointsman("memory", "show", old, "--json").stdout)
    assert (shown["text"], shown["created"], shown["replaced"] > 0) == ("The kb depot opens at six.", None, True)
    assert "no search finds it any more" in pointsman("memory", "show", old).stdout
    assert "superseded" in pointsman("memory", "why", old).stdout
    # The folder is the same place as its files.
    rules.rename(rules.with_name("hours.md"))
    assert json.loads(pointsman("memory", "add", "kb", "--json").stdout)["superseded"] == 0
    assert found() == after
    shown = json.loads(pointsman("memory", "show", after["The kb depot opens at seven."], "--json").stdout)
    assert shown["source"] == "hours.md#hours"


@pytest.mark.parametrize("left", ["", "# Hours\n"])
def test_a_document_that_was_emptied_is_no_longer_found(pointsman: Run, project: Path, left: str) -> None:
    file = project / "hours.md"
    file.write_text(left)
    refused = pointsman("memory", "add", "hours.md")
    assert (refused.exit_code, "has no text to keep but headings" in refused.stderr) == (2, True)
    file.write_text("# Hours\nThe depot opens at six.\n")
    pointsman("memory", "add", "hours.md")
    file.write_text(left)
    added = pointsman("memory", "add", "hours.md").stdout
    assert "0 passages from 0 files are in knowledge; 1 that they no longer have are superseded" in added
    assert json.loads(pointsman("memory", "search", "depot", "--json").stdout) == []
    # Nothing says of a folder without any text whether it was emptied, or is not there.
    (project / "kb").mkdir()
    assert "holds no text" in pointsman("memory", "add", "kb").stderr


def test_there_is_nothing_to_embed_anew_where_no_memory_is(pointsman: Run, project: Path) -> None:
    ended = pointsman("memory", "reindex")
    assert (ended.exit_code, "there is no memory" in ended.stderr) == (2, True)
    assert not (project / ".pointsman" / "memory").exists()


@pytest.mark.slow
def test_a_served_memory_is_used_like_the_projects_own(
    pointsman: Run, programs: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = filled(project)
    command = ["-c", "from pointsman.cli.main import main; main()", "memory", "serve", "--port", "0", "--json"]
    with programs.start(command, stdout=subprocess.PIPE, text=True, cwd=project) as server:
        try:
            said = json.loads(server.stdout.readline())
            other = project.parent / "other"
            other.mkdir()
            monkeypatch.chdir(other)
            monkeypatch.setenv("POINTSMAN_STATE", str(other / ".pointsman"))
            monkeypatch.setenv("POINTSMAN_MEMORY", said["url"])
            assert "needs a token" in pointsman("memory", "stats").stderr
            monkeypatch.setenv("POINTSMAN_MEMORY_TOKEN", said["token"])
            assert json.loads(pointsman("memory", "stats", "--json").stdout)["items"] == 5
            assert json.loads(pointsman("memory", "why", ids["note"], "--json").stdout)[1]["id"] == ids["page"]
            (other / "new.txt").write_text("Lunch is at noon.")
            assert pointsman("memory", "add", "new.txt").exit_code == 0
            assert not (other / ".pointsman" / "memory").exists()
            again = pointsman("memory", "serve", "--port", "0")
            assert (again.exit_code, "is itself served at" in again.stderr) == (2, True)
            assert "offline" not in pointsman("memory", "stats", "--json").stdout
        finally:
            os.kill(server.pid, signal.SIGTERM)
        assert server.wait() == 0
    monkeypatch.delenv("POINTSMAN_MEMORY")
    with ChromaStore.open(project / ".pointsman" / "memory") as store:
        assert [item.text for item in store.recall(("knowledge",), "lunch")] == ["Lunch is at noon."]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "can be reached from other machines: set POINTSMAN_MEMORY_TOKEN"),
        (["--host", "memory.example"], "can be reached from other machines"),
        (["--tls-key", "key.pem"], "go together"),
        (["--tls-certificate", "no.pem", "--tls-key", "key.pem"], "is no certificate"),
        (["--host", "127.0.0.1", "--port", "1"], "cannot listen on 127.0.0.1:1"),
    ],
)
def test_a_memory_is_not_served_where_it_must_not(pointsman: Run, words: list[str], said: str) -> None:
    if words[-1] == "1" and os.geteuid() == 0:
        pytest.skip("root may listen on any port")
    ended = pointsman("memory", "serve", *words)
    assert (ended.exit_code, said in ended.stderr) == (2, True)


@pytest.mark.slow
def test_many_items_go_through_an_export(pointsman: Run, project: Path) -> None:
    with ChromaStore.open(project / ".pointsman" / "memory") as store:
        store.remember_all(("n",), [Note(f"fact {n}", PAGE) for n in range(1203)])
    pointsman("memory", "export", "all.jsonl")
    emptied(project)
    assert json.loads(pointsman("memory", "import", "all.jsonl", "--json").stdout)["added"] == 1203


def _pdf(*pages: str) -> bytes:
    """A PDF without a table of its objects, which readers make by themselves."""
    kids = " ".join(f"{4 + 2 * place} 0 R" for place in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for place, text in enumerate(pages):
        content = f"BT /F1 12 Tf 72 770 Td ({text}) Tj ET"
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> "
            f"/Contents {5 + 2 * place} 0 R >>"
        )
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
    body = "".join(f"{number} 0 obj\n{text}\nendobj\n" for number, text in enumerate(objects, 1))
    return f"%PDF-1.4\n{body}trailer << /Root 1 0 R >>\n".encode()


@pytest.mark.slow
def test_a_pdf_is_recalled_with_its_page(pointsman: Run, project: Path) -> None:
    (project / "terms.pdf").write_bytes(_pdf("Cards are lost.", "", "The depot opens at six."))
    ended = pointsman("memory", "add", "terms.pdf")
    assert "2 passages from 1 files" in ended.stdout
    assert "1 of 3 pages have no text" in ended.stderr
    (found, *_) = json.loads(pointsman("memory", "search", "when does the depot open", "--json").stdout)
    assert (found["text"], found["source"]) == ("The depot opens at six.", "terms.pdf#page-3")
    shown = json.loads(pointsman("memory", "show", found["id"], "--json").stdout)
    assert (shown["value"]["page"], shown["value"]["lines"], found["trust"]) == (3, [1, 1], "untrusted")
    folder = project / "kb"
    folder.mkdir()
    (folder / "terms.pdf").write_bytes(_pdf("The canteen serves soup."))
    (folder / "hours.md").write_text("The office opens at nine.")
    assert "2 passages from 2 files" in pointsman("memory", "add", "kb").stdout


@pytest.mark.parametrize(("data", "told"), [(b"words", "does not begin as one"), (_pdf(""), "has no text")])
def test_a_pdf_without_text_is_refused_in_one_line(pointsman: Run, project: Path, data: bytes, told: str) -> None:
    (project / "terms.pdf").write_bytes(data)
    ended = pointsman("memory", "add", "terms.pdf")
    assert (ended.exit_code, told in ended.stderr) == (2, True)
