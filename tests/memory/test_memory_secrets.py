"""No secret stays in the memory's files, whoever asked to have it remembered, and nobody else can read them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Note, Provenance

Secrets = dict[str, tuple[str, str]]


def found_in(folder: Path, secrets: Secrets) -> list[str]:
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert files
    return [
        kind
        for kind, (_, secret) in secrets.items()
        if any(form.encode() in data for data in files for form in (secret, json.dumps(secret)[1:-1]))
    ]


def test_no_secret_is_kept_and_what_stands_beside_it_is(tmp_path: Path, fake_secrets: Secrets) -> None:
    texts = [f"remember for {kind}: {text}" for kind, (text, _) in fake_secrets.items()]
    source = "https://ann:p4ssW0rd!x@host.example/notes"
    by_ann = Provenance(source, "desk", "run-1", Trust.USER)
    with ChromaStore(tmp_path / "memory", HashingEmbedder()) as store:
        store.remember_all(("kb",), [Note(text, by_ann, metadata={"also": [text]}) for text in texts])
        for place, text in enumerate(texts):
            store.put(("plain",), str(place), {"said": text, "deep": {"in": [{"a": text}]}})
        (found,) = store.recall(("kb",), "remember for github", limit=1)
        assert found.text == "remember for github: [redacted]"
        assert found.source == "https://ann:[redacted]@host.example/notes"
        assert store.get(("plain",), "0").value["deep"] == {"in": [{"a": "remember for openai: [redacted]"}]}  # type: ignore[union-attr]  # it is there
        assert found_in(tmp_path, fake_secrets) == []
        assert store.forget(source=source) == 2 * len(texts)  # the plain puts say the same
    assert found_in(tmp_path, fake_secrets) == []


def test_what_the_process_had_in_memory_does_not_get_into_the_index_files(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    for place in range(3):
        with ChromaStore(folder, HashingEmbedder()) as store:
            store.put(("kb",), str(place), {"text": f"text {place}"})
        for name in ("data_level0.bin", "length.bin"):
            (file,) = folder.rglob(name)
            assert not any(file.read_bytes())
            # As Chroma writes the places that are not used: whatever was in that memory.
            file.write_bytes((b"sk-proj-Ab3dEf6hIj9kLm" * 10_000)[: file.stat().st_size])
    with ChromaStore(folder, HashingEmbedder()) as store:
        store.put(("kb",), "last", {"text": "one more"})
        # From a thousand items on it writes what is used alone.
        by_ann = Provenance("", "ann", "", Trust.USER)
        store.remember_all(("kb",), [Note(f"note {place}", by_ann) for place in range(1200)])
        assert len(store.recall(("kb",), "note 7", limit=3)) == 3
    assert [path for path in folder.rglob("*.bin") if b"sk-proj" in path.read_bytes()] == []
    with ChromaStore(folder, HashingEmbedder()) as store:
        assert store.recall(("kb",), "note 7", limit=1)[0].text == "note 7"


def test_its_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "memory"

    def modes() -> set[int]:
        return {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}

    with ChromaStore(folder, HashingEmbedder()) as store:
        assert modes() == {0o600}
        store.put(("kb",), "a", {"text": "one"})
        assert modes() == {0o600}
    assert (folder / "chroma" / "chroma.sqlite3").exists()
    assert modes() == {0o600}
    (folder / "memory.db").chmod(0o644)
    with ChromaStore(folder, HashingEmbedder()):
        assert modes() == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
