from __future__ import annotations

import subprocess
import sys

import pointsman.memory
import pytest


def test_importing_the_package_and_its_words_loads_neither_chroma_nor_langgraph() -> None:
    check = (
        "import sys, pointsman.memory as m; m.Provenance; m.Note; m.load_folder; "
        "print(sorted({n.split('.')[0] for n in sys.modules} & {'chromadb', 'langgraph', 'langchain_core', 'numpy'}))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=240)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there_in_order() -> None:
    assert pointsman.memory.__all__ == sorted(pointsman.memory.__all__)
    assert all(getattr(pointsman.memory, name) for name in pointsman.memory.__all__)
    assert set(pointsman.memory.__all__) <= set(dir(pointsman.memory))
    with pytest.raises(AttributeError, match="no attribute 'Chroma'"):
        pointsman.memory.Chroma  # noqa: B018
