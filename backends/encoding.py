"""How a sentence encoder makes a vector of a text, as the files of sentence-transformers beside a model say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ..configs.errors import ConfigError, disk_errors

__all__ = ["Encoding", "prompt_of_passages"]

_Read = TypeVar("_Read", bound=BaseModel)

_LONGEST: Final = 512  # tokens of a text that a small encoder reads
_FLAG: Final = "pooling_mode_"
_POOLINGS: Final = MappingProxyType({"mean_tokens": "mean", "cls_token": "cls"})  # the name of a flag -> of its pooling


class Encoding(NamedTuple):
    """How a text becomes a vector; the defaults stand where a folder says nothing.

    Attributes:
        pooling: ``mean``, the average of the token vectors, or ``cls``, the vector of the first token.
        longest: How many tokens are read.
        question: What is put before a question.
        passage: What is put before any other text.
    """

    pooling: str = "mean"
    longest: int = _LONGEST
    question: str = ""
    passage: str = ""

    @classmethod
    def of(cls, folder: Path) -> Encoding:
        """Read what the files in a model's folder say.

        Raises:
            ConfigError: One of them cannot be read, or requires what is not computed here.
        """
        if later := sorted(folder.glob("*_Dense")):
            raise ConfigError("is a layer after the pooling, which is not computed: use another model", file=later[0])
        told = _read(folder / "config_sentence_transformers.json", _Prompts)
        by_default = told.prompts.get(told.default_prompt_name or "", "")
        return cls(
            _pooling(folder / "1_Pooling" / "config.json"),
            min(_read(folder / "sentence_bert_config.json", _Length).max_seq_length or _LONGEST, _LONGEST),
            told.prompts.get("query", by_default),
            prompt_of_passages(told.prompts, by_default),
        )

    def named(self, model: str) -> str:
        """Return the name to store with a model's vectors, which differs wherever the vectors of passages differ."""
        pooling = "" if self.pooling == "mean" else self.pooling
        longest = "" if self.longest == _LONGEST else str(self.longest)
        return "@".join([model, *filter(None, [pooling, longest, self.passage])])


def prompt_of_passages(prompts: Mapping[str, str], by_default: str = "") -> str:
    """Return what is put before a passage: the first of the prompts that sentence-transformers would take for one."""
    return next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), by_default)


class _Prompts(BaseModel):
    prompts: dict[str, str] = {}
    default_prompt_name: str | None = None


class _Length(BaseModel):
    max_seq_length: int | None = None


class _Pooling(BaseModel):
    """Since version 5.4 the pooling is named; before, each kind of pooling was a flag of its own."""

    model_config = ConfigDict(extra="allow")

    pooling_mode: str | list[str] = []


def _pooling(file: Path) -> str:
    told = _read(file, _Pooling)
    flags = [name.removeprefix(_FLAG) for name, on in (told.model_extra or {}).items() if name.startswith(_FLAG) and on]
    named = told.pooling_mode or [_POOLINGS.get(flag, flag) for flag in flags] or "mean"
    kinds = [named] if isinstance(named, str) else named
    if len(kinds) > 1 or kinds[0] not in _POOLINGS.values():
        raise ConfigError(f"requires the pooling {' and '.join(kinds)}: only mean or cls is computed", file=file)
    return kinds[0]


def _read(file: Path, kind: type[_Read]) -> _Read:
    if not file.exists():
        return kind()
    with disk_errors("cannot be read", file=file):
        text = file.read_bytes()
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"cannot be read: {'.'.join(map(str, first['loc']))}: {first['msg']}", file=file) from error
