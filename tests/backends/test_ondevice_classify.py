"""The trained head on real messages: right often enough, honest about how sure it is, quick, and safe to store."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.backends.ondevice import embedder as embedder_module
from pointsman.backends.ondevice.calibrate import (
    BetaMap,
    accept_threshold,
    expected_calibration_error,
    fit_temperature,
    softmax,
    with_confidence,
)
from pointsman.backends.ondevice.classify import (
    Head,
    HeadShelf,
    Verdict,
    ZeroShot,
    load_head,
    read_examples,
)
from pointsman.backends.ondevice.embedder import WordLlamaEmbeddings
from pointsman.configs.errors import ConfigError
from scipy.optimize import minimize

DESK = Path(__file__).parents[2] / "examples" / "support_desk"
EMBEDDER = WordLlamaEmbeddings()
SMALL = [
    ("where is my parcel", "delivery"),
    ("the parcel has not come", "delivery"),
    ("when will my order arrive", "delivery"),
    ("I want my money back", "refund"),
    ("please refund this purchase", "refund"),
    ("return the money to my card", "refund"),
]


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.train(read_examples(DESK / "intents.csv"), EMBEDDER)


@pytest.fixture(scope="module")
def judged(head: Head) -> tuple[list[Verdict], np.ndarray]:
    messages = read_examples(DESK / "messages.csv")
    verdicts = [head.decide(text) for text, _ in messages]
    right = [verdict.label == label for verdict, (_, label) in zip(verdicts, messages, strict=True)]
    return verdicts, np.array(right)


@pytest.mark.slow
def test_at_least_85_of_100_new_messages_get_the_right_one_of_77_intents(judged) -> None:
    _, right = judged
    assert len(right) >= 231
    assert right.mean() >= 0.85


@pytest.mark.slow
def test_confidence_is_calibrated_on_new_messages(judged) -> None:
    verdicts, right = judged
    assert expected_calibration_error(np.array([v.confidence for v in verdicts]), right) <= 0.08


@pytest.mark.slow
def test_declining_the_unsure_makes_the_accepted_more_often_right(judged) -> None:
    verdicts, right = judged
    accepted = np.array([v.accepted for v in verdicts])
    assert 0.7 <= accepted.mean() < 1
    assert right[accepted].mean() >= 0.9
    assert right[accepted].mean() > right.mean() > right[~accepted].mean()


@pytest.mark.slow
def test_leaving_each_example_out_predicts_how_new_messages_fare(head: Head, judged) -> None:
    _, right = judged
    assert abs(head.report.accuracy - right.mean()) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("text", ["Write a poem about spring", "What is 17 times 23?", "", "zzzz qqqq", "😀😀"])
def test_text_unlike_every_example_is_declined(head: Head, text: str) -> None:
    assert not head.decide(text).accepted


@pytest.mark.slow
def test_the_same_text_gets_the_same_verdict(head: Head) -> None:
    assert head.decide("My card was swallowed") == head.decide("My card was swallowed")


@pytest.mark.parametrize("name", ["urgency", "sentiment"])
def test_tone_is_told_from_a_few_dozen_examples_a_label(name: str) -> None:
    report = Head.train(read_examples(DESK / f"{name}.csv"), EMBEDDER).report
    assert report.accuracy >= 0.78
    assert report.ece <= 0.1
    assert report.accepted_accuracy >= 0.88


def test_a_stored_head_decides_like_the_one_it_was_stored_from(tmp_path: Path) -> None:
    trained = load_head(SMALL, EMBEDDER, cache=tmp_path)
    (stored,) = tmp_path.iterdir()
    loaded = Head.load(stored, EMBEDDER)
    assert loaded.report == trained.report
    for text in ("my parcel", "money back please", "something else"):
        assert loaded.decide(text) == trained.decide(text)


def test_a_stored_head_holds_no_pickled_objects(tmp_path: Path) -> None:
    load_head(SMALL, EMBEDDER, cache=tmp_path)
    with np.load(next(tmp_path.iterdir()), allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)


def test_other_examples_get_another_file_and_a_broken_file_is_learned_again(tmp_path: Path) -> None:
    load_head(SMALL, EMBEDDER, cache=tmp_path)
    load_head([*SMALL, ("parcel lost", "delivery")], EMBEDDER, cache=tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    for file in files:
        file.write_bytes(b"PK\x03\x04 not an archive")
    assert load_head(SMALL, EMBEDDER, cache=tmp_path).decide("where is the parcel").label == "delivery"
    assert sorted(tmp_path.iterdir()) == files


def test_a_changed_file_of_examples_is_learned_again(tmp_path: Path) -> None:
    file = tmp_path / "examples.csv"
    write_csv(file, SMALL)
    shelf = HeadShelf(EMBEDDER)
    first = shelf.head(file)
    assert shelf.head(file) is first
    write_csv(file, [*SMALL, ("close my account", "closing"), ("end the contract", "closing")])
    assert shelf.head(file).labels == ("closing", "delivery", "refund")
    assert shelf.head(file, ["delivery", "refund"]).labels == ("delivery", "refund")


def test_examples_of_labels_that_are_not_to_choose_from_are_left_out_and_said_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "examples.csv"
    write_csv(file, [*SMALL, ("close my account", "closing"), ("end the contract", "closing")])
    shelf = HeadShelf(EMBEDDER)
    assert shelf.head(file, ["delivery", "refund"]).labels == ("delivery", "refund")
    assert shelf.head(file, ["delivery", "refund"]).labels == ("delivery", "refund")
    [record] = caplog.records
    assert record.getMessage() == (
        f"{file}:{len(SMALL) + 2}: 2 examples are left out: the labels to choose from, which are 'delivery', 'refund', "
        "do not have 'closing'"
    )


def test_a_label_that_no_example_has_is_said_never_to_be_chosen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "examples.csv"
    write_csv(file, SMALL)
    assert HeadShelf(EMBEDDER).head(file, ["delivery", "refund", "other"]).labels == ("delivery", "refund")
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}: has no example of 'other', so that is never chosen"
    ]


@pytest.mark.parametrize("slip", ["Late refund", "late refund ", "late_refund", "LATE-REFUND", "late  refund"])
def test_a_label_that_is_one_to_choose_from_but_for_how_it_is_written_is_refused(tmp_path: Path, slip: str) -> None:
    file = tmp_path / "examples.csv"
    write_csv(file, [*SMALL, ("my money comes late", slip)])
    where = re.escape(f"examples.csv:{len(SMALL) + 2}: the label {slip!r} is not one to choose from")
    with pytest.raises(ConfigError, match=f"{where}: write it 'late refund'"):
        HeadShelf(EMBEDDER).head(file, ["delivery", "refund", "late refund"])


@pytest.mark.parametrize("other", ["C++", "refunds", "👎"])
def test_another_label_is_no_slip(tmp_path: Path, other: str) -> None:
    file = tmp_path / "examples.csv"
    write_csv(file, [*SMALL, ("something else", other)])
    wanted = ["delivery", "refund", "C", "👍"]
    assert HeadShelf(EMBEDDER).head(file, wanted).labels == ("delivery", "refund")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,2\n", "text,label"),
        ("text,label\nhello,\n", "empty"),
        ("text,label\nhello,x\nthere,x\n", "fewer than two"),
        (None, "cannot read"),
    ],
)
def test_a_file_of_examples_that_cannot_be_used_is_the_users_to_mend(
    tmp_path: Path, content: str | None, said: str
) -> None:
    file = tmp_path / "examples.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=said) as raised:
        HeadShelf(EMBEDDER).head(file)
    assert str(file) in str(raised.value)


def test_a_file_of_examples_as_a_spreadsheet_saves_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "examples.csv"
    file.write_bytes(b"\xef\xbb\xbftext,label\r\nhello,x\r\n")
    assert read_examples(file) == [("hello", "x")]


def test_a_text_longer_than_a_cell_may_be_is_the_users_to_mend(tmp_path: Path) -> None:
    file = tmp_path / "examples.csv"
    write_csv(file, [("word " * 300_000, "x")])
    with pytest.raises(ConfigError, match="field larger than field limit"):
        read_examples(file)


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u3000"])
def test_a_blank_text_has_no_likeliest_label_and_is_never_accepted(text: str) -> None:
    head = Head.train([*SMALL, *[(f"{text} again", label) for text, label in SMALL]], EMBEDDER)
    assert head.probabilities(text) == pytest.approx([0.5, 0.5])
    assert not head.decide(text, threshold=0.0).accepted


@pytest.mark.parametrize("most", [1, 2, 3])
def test_so_few_examples_that_nothing_can_be_checked_are_learned_but_not_believed(most: int) -> None:
    examples = [pair for place, pair in enumerate(SMALL) if place % 3 < most]
    head = Head.train(examples, EMBEDDER)
    assert all(head.decide(text).label == label for text, label in examples)
    assert not any(head.decide(text).accepted for text, _ in examples)
    assert max(head.decide(text).confidence for text, _ in examples) < 0.999


def test_one_label_cannot_be_told_apart() -> None:
    for examples in ([], [("a", "x")], [("a", "x"), ("b", "x")]):
        with pytest.raises(ConfigError, match="at least two labels"):
            Head.train(examples, EMBEDDER)


def test_of_a_text_with_two_labels_the_more_frequent_wins_whatever_the_order() -> None:
    told = [("close it", "refund"), ("Close it!", "delivery"), ("close  it", "delivery")]
    for order in (told, told[::-1], [told[1], told[0], told[2]]):
        assert Head.train([*SMALL, *order], EMBEDDER).decide("close it").label == "delivery"


def test_an_example_beyond_those_that_texts_are_compared_with_is_learned_too(monkeypatch) -> None:
    for limit in ("_ALL_ARE_CENTRES", "_MOST_CENTRES"):
        monkeypatch.setattr(f"pointsman.backends.ondevice.classify.{limit}", 4)
    text = "zebra crossing"
    shares = [Head.train([*SMALL, (text, label)], EMBEDDER).probabilities(text)[0] for label in ("delivery", "refund")]
    assert shares[0] > shares[1] + 0.01


def test_copies_weigh_in_the_head_but_are_no_evidence_of_how_good_it_is() -> None:
    once, often = Head.train(SMALL, EMBEDDER).report, Head.train(SMALL * 200, EMBEDDER).report
    assert often.threshold == once.threshold == 1.0
    assert often.accuracy <= 1.0


@pytest.mark.parametrize(
    ("examples", "asked"),
    [
        ([("👍", "yes"), ("👎", "no"), ("👍👍", "yes"), ("👎👎", "no")], {"👍": "yes", "👎": "no"}),
        ([("की", "f"), ("का", "m"), ("की की", "f"), ("का का", "m")], {"की": "f", "का": "m"}),
        ([("我要退款", "r"), ("包裹在哪里", "d"), ("申请退款", "r"), ("包裹丢了", "d")], {"退款": "r", "包裹": "d"}),
        ([("где посылка", "d"), ("верните деньги", "r"), ("посылка потерялась", "d")], {"посылка": "d", "деньги": "r"}),
        ([("أين طردي", "d"), ("أريد استرداد المال", "r"), ("لم يصل طردي", "d")], {"طردي": "d", "المال": "r"}),
    ],
)
def test_texts_of_every_script_are_told_apart(examples: list[tuple[str, str]], asked: dict[str, str]) -> None:
    head = Head.train(examples, EMBEDDER)
    assert {text: head.decide(text).label for text in asked} == asked


@pytest.mark.slow
def test_the_order_of_words_is_learned_where_the_examples_turn_on_it() -> None:
    sides = [("pounds to euros", "buy"), ("euros to pounds", "sell")]
    sentences = [text for text, _ in read_examples(DESK / "intents.csv")][::5]
    told = [(f"{text} {sides[place % 2][0]}", sides[place % 2][1]) for place, text in enumerate(sentences)]
    head = Head.train(told[:300], EMBEDDER)
    assert np.mean([head.decide(text).label == label for text, label in told[300:]]) > 0.9


def test_half_a_surrogate_pair_is_read_as_an_unknown_sign() -> None:
    head = Head.train([*SMALL, ("\ud83d broken", "refund")], EMBEDDER)
    assert head.decide("refund \ud83d").label == "refund"
    assert EMBEDDER.count_tokens("\ud83d") > 0


@pytest.mark.slow
def test_a_very_long_text_is_learned_from_and_decided_on() -> None:
    head = Head.train([*SMALL, ("the parcel " * 5_000, "delivery")], EMBEDDER)
    assert head.decide("where is the parcel? " * 5_000).label == "delivery"


def test_nobody_waits_for_a_head_that_another_is_learning(tmp_path: Path) -> None:
    entered, go_on = threading.Event(), threading.Event()

    class Slow(WordLlamaEmbeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            if any("slow" in text for text in texts):
                entered.set()
                assert go_on.wait(300)
            return super().embed_documents(texts)

    write_csv(tmp_path / "known.csv", SMALL)
    write_csv(tmp_path / "new.csv", [(f"slow {text}", label) for text, label in SMALL])
    shelf = HeadShelf(Slow())
    known = shelf.head(tmp_path / "known.csv")
    with ThreadPoolExecutor(2) as pool:
        learning = pool.submit(shelf.head, tmp_path / "new.csv")
        try:
            assert entered.wait(300)
            assert pool.submit(shelf.head, tmp_path / "known.csv").result(300) is known
        finally:
            go_on.set()
        assert learning.result(300).labels == known.labels


def test_label_names_alone_are_used_with_caution() -> None:
    topics = ZeroShot({"card_delivery": "", "exchange_rate": "", "lost_phone": ""}, EMBEDDER)
    verdict = topics.decide("When will my card be delivered?")
    assert (verdict.label, verdict.accepted) == ("card_delivery", True)
    assert verdict.confidence <= 0.75
    assert not topics.decide("Please sing a song for my grandmother").accepted


def test_label_names_that_say_nothing_are_mostly_declined() -> None:
    urgency = ZeroShot(dict.fromkeys(("low", "normal", "high"), ""), EMBEDDER)
    verdicts = [urgency.decide(text) for text, _ in read_examples(DESK / "urgency.csv")]
    assert np.mean([verdict.accepted for verdict in verdicts]) < 0.1


def test_embedding_alone_or_among_others_gives_the_same_unit_vector() -> None:
    texts = ["Where is my card?", "a much longer sentence about something quite different", "", "x"]
    together = EMBEDDER.embed_documents(texts)
    assert [EMBEDDER.embed_query(text) for text in texts] == together
    assert np.linalg.norm(together, axis=1) == pytest.approx([1, 1, 0, 1], abs=1e-5)
    assert len(together[0]) == EMBEDDER.dimensions


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1), st.floats(0.5, 0.99))
def test_what_a_threshold_accepts_reaches_its_target(pairs: list[tuple[float, bool]], target: float) -> None:
    confidence, right = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    threshold = accept_threshold(confidence, right, target)
    assert 0.5 <= threshold <= 1
    if threshold < 1 and threshold not in (0.5, 0.999) and len(set(confidence)) == len(confidence):
        assert right[confidence >= threshold].mean() >= target


def test_temperature_mends_scores_that_are_too_bold() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 4, 2000)
    scores = rng.normal(size=(2000, 4))
    scores[np.arange(2000), truth] += 1.0
    bold = scores * 8
    temperature = fit_temperature(bold, truth)
    for used, low, high in ((1.0, 0.2, 1.0), (temperature, 0.0, 0.05)):
        chances = softmax(bold / used)
        gap = expected_calibration_error(chances.max(axis=1), chances.argmax(axis=1) == truth)
        assert low <= gap <= high


def test_a_few_scores_that_are_all_right_do_not_make_everything_certain() -> None:
    scores = np.eye(3) * 0.5
    for rows in (1, 4, 100):
        truth = np.tile(np.arange(3), rows)
        chances = softmax(np.tile(scores, (rows, 1)) / fit_temperature(np.tile(scores, (rows, 1)), truth))
        assert chances.max() == pytest.approx((3 * rows + 1) / (3 * rows + 2), abs=0.01)


def test_no_message_to_measure_on_is_among_the_examples() -> None:
    def plain(text: str) -> str:
        return re.sub(r"[\W_]+", " ", text.casefold()).strip()

    examples = {plain(text) for text, _ in read_examples(DESK / "intents.csv")}
    messages = read_examples(DESK / "messages.csv")
    assert not examples & {plain(text) for text, _ in messages}
    assert len({label for _, label in messages}) == 77


def write_csv(file: Path, pairs: list[tuple[str, str]]) -> None:
    file.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in pairs))


@given(
    confidence=st.lists(st.floats(0.01, 0.99), min_size=20, max_size=60),
    slant=st.floats(0.2, 3.0),
)
def test_a_beta_map_rises_and_keeps_within_bounds(confidence: list[float], slant: float) -> None:
    told = np.array(confidence)
    right = np.random.default_rng(1).random(len(told)) < told**slant
    calibrated = BetaMap.fit(told, right)(np.sort(told))
    assert ((calibrated > 0) & (calibrated < 1)).all()
    assert (np.diff(calibrated) >= 0).all()


@pytest.mark.parametrize("seed", range(12))
def test_no_beta_map_is_likelier_than_the_one_fitted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Near both ends, even, high or low; told rightly, the wrong way round, or without a meaning.
    told = rng.beta(*((0.05, 0.05), (1, 1), (20, 1), (1, 8))[seed % 4], 30 + 300 * (seed % 3))
    right = rng.random(len(told)) < (told, 1 - told, np.full(len(told), 0.5))[seed // 4]
    inside = np.clip(told, 1e-6, 1 - 1e-6)
    rows = np.column_stack([np.log(inside), -np.log(1 - inside), np.ones(len(told))])
    wanted = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))

    def loss(weights: np.ndarray) -> float:
        odds, away = rows @ weights, weights - np.array([1.0, 1.0, 0.0])
        return float((np.logaddexp(0, odds) - wanted * odds).sum() + 5 * away @ away)

    fitted = BetaMap.fit(told, right)
    bounds = [(1e-6, None), (1e-6, None), (None, None)]
    best = minimize(loss, [fitted.a, fitted.b, fitted.c], method="L-BFGS-B", bounds=bounds)
    also = minimize(loss, [1.0, 1.0, 0.0], method="L-BFGS-B", bounds=bounds)
    least = min(best.fun, also.fun)
    assert loss(np.array([fitted.a, fitted.b, fitted.c])) <= least + 1e-6 * abs(least)
    assert min(fitted.a, fitted.b) >= 1e-6


def test_a_beta_map_mends_what_one_temperature_cannot() -> None:
    rng = np.random.default_rng(3)
    worth = rng.uniform(0.05, 0.95, 4000)
    right = rng.random(4000) < worth
    # Too sure of the sure ones, and too unsure of the others.
    told = 1 / (1 + np.exp(-1.8 * np.log(worth / (1 - worth)) - 0.5))
    mended = BetaMap.fit(told[:2000], right[:2000])(told[2000:])
    before = expected_calibration_error(told[2000:], right[2000:])
    after = expected_calibration_error(mended, right[2000:])
    assert before > 0.08
    assert after < 0.04


@pytest.mark.parametrize("power", [2, 3, 5])
def test_a_beta_map_mends_confidences_nearly_all_of_which_are_far_too_high(power: int) -> None:
    rng = np.random.default_rng(0)
    worth = rng.beta(8, 0.6, 6000)
    right = rng.random(6000) < worth
    told = worth**power / (worth**power + (1 - worth) ** power)
    mended = BetaMap.fit(told, right)(told)
    assert expected_calibration_error(told, right) > 0.05
    assert expected_calibration_error(mended, right) < 0.015


def test_too_few_rows_leave_a_confidence_nearly_as_it_was() -> None:
    told = np.array([0.6, 0.7, 0.9])
    assert BetaMap.fit(told, np.array([True, True, True]))(told) == pytest.approx(told, abs=0.05)


@given(
    shares=st.lists(st.floats(0.001, 1), min_size=2, max_size=8, unique=True).map(lambda p: np.array(p) / sum(p)),
    confidence=st.floats(0.55, 0.999),
)
def test_probabilities_are_sharpened_to_a_confidence_in_their_order(shares: np.ndarray, confidence: float) -> None:
    made = with_confidence(shares, confidence)
    assert made.sum() == pytest.approx(1)
    assert np.diff(made[np.argsort(shares)]).min() > -1e-12
    # Two that are nearly alike cannot be told apart by any power that is tried.
    first, second = sorted(shares)[-1], sorted(shares)[-2]
    if first / second > 1.01:
        assert made.max() == pytest.approx(confidence, abs=0.01)


def test_a_word_without_weight_does_not_count_and_one_alone_is_itself() -> None:
    embedder = WordLlamaEmbeddings()
    assert embedder.embed_weighted(["card"], [2.0]) == pytest.approx(embedder.embed_query("card"), abs=1e-6)
    assert embedder.embed_weighted(["the", "card"], [0.0, 1.0]) == embedder.embed_weighted(["card"], [1.0])
    assert embedder.embed_weighted([], []) == [0.0] * embedder.dimensions


def test_words_of_like_meaning_are_near_each_other_and_none_is_near_itself() -> None:
    picture, sound, nothing = WordLlamaEmbeddings().near(["picture", "sound", ""])
    assert {"image", "photograph"} <= {word for word, _ in picture}
    assert "picture" not in dict(picture)
    assert "noise" in dict(sound)
    assert nothing == ()
    shares = [share for _, share in picture]
    assert shares == sorted(shares, reverse=True)
    assert 0 < min(shares) <= max(shares) <= 1


class Counted(np.ndarray):
    """An array that counts the products in which it is a factor."""

    products = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        Counted.products += ufunc is np.matmul
        return getattr(ufunc, method)(*map(np.asarray, inputs), **options)


def test_new_words_are_compared_with_the_vocabulary_together_and_find_what_each_finds_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed, vectors, short = embedder_module._vocabulary()
    monkeypatch.setattr(embedder_module, "_vocabulary", lambda: (listed, vectors, short.view(Counted)))
    monkeypatch.setattr(embedder_module, "_met", {})
    monkeypatch.setattr(Counted, "products", 0)
    embedder, asked = WordLlamaEmbeddings(), [*listed[::100], "qwrtz", "", "picture", "picture"]
    together = embedder.near(asked[-12:])
    assert Counted.products == 1
    assert embedder.near(asked[-12:]) == together
    assert Counted.products == 1
    # Thousands of words, as a question of megabytes has, are not compared in one array of gigabytes.
    many = embedder.near(asked)
    assert Counted.products == 1 + -(-(len(set(asked)) - 11) // 64)
    alone = []
    for word in asked:
        embedder_module._met.clear()
        alone += embedder.near([word])
    assert many == alone
    assert together == alone[-12:]


def test_no_more_words_are_kept_than_so_many_and_what_is_near_each_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder_module, "_met", {})
    monkeypatch.setattr(embedder_module, "_CACHED", 20)
    embedder, asked = WordLlamaEmbeddings(), embedder_module._vocabulary()[0][:70]
    once = embedder.near(asked)
    assert len(embedder_module._met) <= 20
    assert [found for word in asked for found in embedder.near([word])] == once
    assert len(embedder_module._met) <= 20
