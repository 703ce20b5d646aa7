"""``pointsman init``: write a project that runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from ...configs.errors import ConfigError, disk_errors
from .. import options
from ..io.output import answer, progress

__all__ = ["init"]

TEMPLATE = Path(__file__).parent.parent / "templates" / "desk"

_NEXT = """made {folder}, a support desk that runs without a key

  cd {folder}
  pointsman run            run the sample messages
  pointsman run "How long does delivery take?"
  pointsman graph          see what happens to a message
  pointsman models         see which models can be used, and which keys would open more
  pytest                   run its tests"""


@options.apart
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to make.")], json: options.AsJson = False
) -> None:
    """Write a small support desk into a new folder."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError("is a file: choose another name for the folder", file=folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError("is not empty, and nothing in it is overwritten: choose another folder", file=folder)
    with disk_errors("cannot be written", file=folder):
        shutil.copytree(TEMPLATE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        # Under its real name, .gitignore, it would also hide files when the template is packaged.
        (folder / "gitignore").rename(folder / ".gitignore")
    _trust(folder)
    written = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    answer({"folder": str(folder), "files": written}, _NEXT.format(folder=folder), json=json)


def _trust(folder: Path) -> None:
    """Trust the files just written: they are as the user wants them."""
    from ...configs.loading.loader import environment
    from ...configs.loading.trust import TrustStore
    from ..target.target import DEFAULT, code_of, target_file

    code = target_file(DEFAULT)
    store = TrustStore(environment())
    try:
        for file in (*(folder / "configs").glob("*.yaml"), *([folder / code] if code else ())):
            store.keep(file, code_of(file))
    except ConfigError as error:
        progress(f"note: {error}; until then name what is to run, as pointsman run desk.py:flow")
