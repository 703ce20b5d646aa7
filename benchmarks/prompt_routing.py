"""Prompt routing, measured: which of two models a prompt needs, against plain length and chance.

Run ``python benchmarks/prompt_routing.py FOLDER``. FOLDER holds tables of prompts with each model's score, one
``<table>.parquet`` each, with the columns ``prompt``, ``category`` and ``model_<name>_score``. Reading them needs
pandas and pyarrow, which Pointsman itself does not: ``pip install pandas pyarrow``.

Every table is measured twice: on prompts like those trained on (5 folds over prompts) and on unseen categories (5
folds over categories); then across tables, on a table of a family that was not trained on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pointsman.backends.ondevice import WordLlamaEmbeddings
from pointsman.configs.errors import ConfigError
from pointsman.evaluation.metrics import apgr, bootstrap, pair_scores
from pointsman.evaluation.train_router import grouped_folds, train
from pointsman.routing.scorers.learned import Learned, RouterFile
from stage import count, existing, parser

# Table -> strong model, weak model, family. Tables of one family share questions, so one cannot test another.
PAIRS = {
    "routellm_mmlu": ("gpt-4-1106-preview", "mixtral-8x7b-instruct", "mmlu"),
    "routellm_gsm8k": ("gpt-4-1106-preview", "mixtral-8x7b-instruct", "gsm8k"),
    "mmlu_pro": ("gemini-1.5-pro-002", "Mixtral-8x7B-v0.1", "mmlu"),
    "zeroeval_crux": ("gpt-4o-2024-05-13", "Mixtral-8x7B-Instruct-v0.1", "crux"),
    "bfcl_v1": ("gpt-4-1106-preview", "open-mixtral-8x7b", "bfcl"),
    "intercode": ("gpt-4", "gpt-3.5", "intercode"),
    "llmrouter_fusion": ("llama-3.1-nemotron-51b-instruct", "qwen2.5-7b-instruct", "fusion"),
}
# Categories of the mixed table that belong to a family of their own or to that of another table.
FAMILIES = {"gsm8k": "gsm8k", "agentverse-mgsm": "gsm8k", "mmlu": "mmlu"}

Floats = NDArray[np.float64]


def read_table(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the prompts of a table that both models answered, without those known to be contaminated."""
    try:
        import pandas as pd
        import pyarrow  # noqa: F401 - pandas reads parquet with it
    except ImportError:
        sys.exit("reading the tables needs pandas and pyarrow, which Pointsman does not: pip install pandas pyarrow")
    strong, weak, family = PAIRS[name]
    table = pd.read_parquet(folder / f"{name}.parquet")
    both = table[f"model_{strong}_score"].notna() & table[f"model_{weak}_score"].notna()
    if "contaminated" in table:
        both &= ~table["contaminated"].astype(bool)
    table = table[both]
    columns = (
        table["prompt"],
        table["category"].astype(str),
        table[f"model_{strong}_score"],
        table[f"model_{weak}_score"],
    )
    rows = []
    for prompt, category, high, low in zip(*columns, strict=True):
        home = FAMILIES.get(category, f"{family}/{category}") if family == "fusion" else family
        rows.append(
            {"prompt": prompt, "category": category, "strong": float(high), "weak": float(low), "benchmark": home}
        )
    return rows


class Vectors:
    """Embeds every text once."""

    def __init__(self) -> None:
        self._embed = WordLlamaEmbeddings().vectors
        self._known: dict[str, NDArray[np.float32]] = {}

    def __call__(self, texts: list[str]) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._embed(new), strict=True))
        return np.array([self._known[text] for text in texts], dtype=np.float32)


def scored(model: RouterFile, rows: Sequence[dict[str, Any]], embed: Vectors) -> Floats:
    """Return how much each prompt needs the strong model."""
    learned = Learned(model, embed)
    return np.array([learned.score_prompt(found) for found in learned.read_prompts([row["prompt"] for row in rows])])


def report(name: str, rows: Sequence[dict[str, Any]], score: Floats, draws: int) -> None:
    """Print the figures of a score next to those of length."""
    strong, weak = (np.array([row[side] for row in rows]) for side in ("strong", "weak"))
    length = np.log1p([len(row["prompt"]) for row in rows])
    try:
        plain = pair_scores(strong, weak, length)
    except ConfigError:
        print(f"{name:<44} the two models are equally good here: nothing to recover")
        return
    found = pair_scores(strong, weak, score)
    value = bootstrap(lambda weights: apgr(strong, weak, score, weights), len(rows), draws=draws)
    gained = bootstrap(
        lambda weights: apgr(strong, weak, score, weights) - apgr(strong, weak, length, weights), len(rows), draws=draws
    )
    print(
        f"{name:<44} {len(rows):5d}  {value}  {plain.apgr:.3f}   "
        f"{gained.value:+.3f} [{gained.low:+.3f}, {gained.high:+.3f}]"
        f"   {found.cpt50:.2f} {found.cpt80:.2f}   {found.aiq:.3f} ({found.aiq_gain:+.3f})   {found.best_fixed:.3f}"
    )


def within(name: str, rows: list[dict[str, Any]], embed: Vectors, draws: int) -> None:
    """Report on prompts like those trained on, and on unseen categories."""
    categories = np.unique([row["category"] for row in rows], return_inverse=True)[1]
    for what, groups in (("in distribution", np.arange(len(rows))), ("unseen categories", categories)):
        if groups.max() < 4:
            continue
        score = np.zeros(len(rows))
        for inside, outside in grouped_folds(groups, 0):
            model = train([rows[row] for row in inside], embed=embed)
            score[outside] = scored(model, [rows[row] for row in outside], embed)
        report(f"{name}, {what}", rows, score, draws)


def across(tables: dict[str, list[dict[str, Any]]], embed: Vectors, draws: int) -> None:
    """Report on each table, scored by a router trained on no table of its family."""
    for name, rows in tables.items():
        family = PAIRS[name][2]
        if family == "fusion":
            continue
        others = [row for kin in tables.values() for row in kin if row["benchmark"] != family]
        score = scored(train(others, embed=embed), rows, embed)
        report(f"{name}, trained on other benchmarks", rows, score, draws)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("folder", type=existing, help="holds the tables")
    arguments.add_argument("--draws", type=count, default=300, help="bootstrap resamples (default 300)")
    given = arguments.parse_args()
    present = [name for name in PAIRS if (given.folder / f"{name}.parquet").is_file()]
    if not present:
        sys.exit(f"{given.folder} holds none of the tables ({', '.join(PAIRS)}), so there is nothing to measure")
    tables = {name: read_table(given.folder, name) for name in present}
    embed = Vectors()
    start = time.perf_counter()
    print("APGR with its 95 % interval (0.5 is chance), beside plain length; CPT(50) and CPT(80) are shares of strong")
    print("calls; AIQ at 25 : 1 in price, in brackets over mixing blindly; best is the quality of the better model.\n")
    print(f"{'':<44} {'n':>5}  {'learned':<21}  length  {'learned - length':<23}  CPT50 80   AIQ             best")
    for name, rows in tables.items():
        within(name, rows, embed, given.draws)
    across(tables, embed, given.draws)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
