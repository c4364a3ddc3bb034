"""Events come back as they were stored; pairs, held-out shares and forgetting are exact."""

import random
import stat
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fitbot.errors import BusyError, DataError
from fitbot.learning.events import KINDS
from fitbot.learning.store import Store
from fitbot.pairs.formats import Message
from tests.learning.given import QUESTION, add, answer, bytes_of, texts_of, thumb


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "learning" / "feedback.sqlite"


@pytest.fixture
def store(path: Path) -> Any:
    with Store(path) as store:
        yield store


def test_an_answer_comes_back_as_it_was(store: Store) -> None:
    given = answer(
        "Yes.\0 \U0001f35a",
        conversation=(Message("system", "Be brief."), *QUESTION),
        policy="a" * 64,
        version="fitbot@7",
        token_ids=(1, 0, 151_645),
        logprobs=(-0.1, -1e-30, float("-inf")),
        sampling={"temperature": 0.7, "top_p": 0.9},
        seed=2**64 - 1,
        health_touched=True,
        time="2026-12-01T08:00:00+00:00",
    )

    number = store.add_answer(given)

    assert store.answer(number) == answer(**{**vars(given), "id": number})
    (plain,) = add(store, "No.")
    assert store.answer(plain).logprobs is None
    assert store.answer(plain).time.endswith("+00:00")


def test_choices_are_read_page_by_page_the_newest_first(store: Store) -> None:
    one, other = add(store, "Yes.", "No.")
    numbers = [
        store.add_choice(author=author, kind="pair", chosen=one, rejected=other)
        for author in ("anna", "ben", "anna")
    ]
    edit = store.add_choice(author="anna", kind="edit", chosen="Mine.", rejected=one)
    assert store.learned("fitbot@1", numbers[:2]) == []

    first = store.choices(limit=2)
    assert [choice.id for choice in first] == [edit, numbers[2]]
    assert [choice.id for choice in store.choices(before=first[-1].id)] == numbers[1::-1]
    assert [choice.id for choice in store.choices(author="ben")] == [numbers[1]]
    assert [choice.id for choice in store.choices(kind="edit")] == [edit]
    assert [choice.id for choice in store.choices(learned_by="fitbot@1")] == numbers[1::-1]
    assert store.learned_ids("fitbot@1") == numbers[:2]
    mine = first[0]
    assert (mine.conversation, mine.usable, mine.kind) == (QUESTION, True, "edit")
    assert mine.chosen is not None
    assert (mine.chosen.text, mine.chosen.policy, mine.chosen.author) == ("Mine.", "given", "anna")
    assert mine.rejected == store.answer(one)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "pair", "chosen": 1}, "no choice of kind 'pair': chosen 1, rejected None"),
        ({"kind": "thumb_up", "chosen": 1, "rejected": 2}, "no choice of kind 'thumb_up'"),
        ({"kind": "thumb_down", "chosen": 1}, "no choice of kind 'thumb_down'"),
        ({"kind": "like", "chosen": 1, "rejected": 2}, "no choice of kind 'like'"),
        ({"kind": "pair", "chosen": 1, "rejected": 9}, "there is no answer 9"),
        ({"kind": "pair", "chosen": 1, "rejected": 3}, "the two answers are of two conversations"),
        ({"kind": "pair", "chosen": 1, "rejected": 1}, "must be two texts that differ"),
        ({"kind": "edit", "chosen": " ", "rejected": 1}, "must be two texts that differ"),
        (
            {"kind": "pair", "chosen": "A", "rejected": "B"},
            "must be a string, a message or messages",
        ),
        ({"kind": "pair", "chosen": 1, "rejected": 2, "author": " "}, "author must not be empty"),
        ({"kind": "edit", "chosen": "\ud800", "rejected": 1}, "holds the lone surrogate"),
    ],
)
def test_what_is_no_choice_is_refused_and_leaves_nothing(
    given: dict[str, Any], said: str, store: Store
) -> None:
    add(store, "Yes.", "No.")
    add(store, "Yes.", conversation=(Message("user", "And bread?"),))

    with store.together():  # as an import has it
        with pytest.raises(DataError, match=said):
            store.add_choice(**{"author": "anna", **given})
        store.add_choice(author="anna", kind="pair", chosen=1, rejected=2)

    counts = store.counts()
    assert (counts.answers, counts.choices) == (3, 1)


def test_what_is_stored_together_is_stored_whole_or_not(store: Store) -> None:
    def both() -> None:
        with store.together():
            one, other = add(store, "Yes.", "No.")
            store.add_choice(author="anna", kind="pair", chosen=one, rejected=other)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        both()

    assert store.counts().answers == 0


# -- thumbs ----------------------------------------------------------------------------------------


def test_thumbs_are_paired_once_the_other_side_comes(store: Store) -> None:
    thumb(store, "Yes.", up=True)
    assert store.pairs() == []

    down = thumb(store, "No.", up=False)
    assert [pair.id for pair in store.pairs()] == [down]
    thumb(store, "Never.", up=False)
    thumb(store, "No.", up=False)  # again
    assert texts_of(store) == [("Yes.", "No."), ("Yes.", "Never.")]
    up = store.choices(kind="thumb_up")[0]
    assert up.rejected is None


def test_thumbs_of_others_of_other_questions_or_that_health_touched_make_no_pair(
    store: Store,
) -> None:
    thumb(store, "Yes.", up=True)
    thumb(store, "No.", up=False, author="ben")
    thumb(store, "No.", up=False, conversation=(Message("user", "And bread?"),))
    thumb(store, "No.", up=False, health_touched=True)
    assert store.pairs() == []

    thumb(store, "Never.", up=False)
    assert texts_of(store) == [("Yes.", "Never.")]


def test_a_thumb_that_was_turned_takes_its_pairs_back(store: Store) -> None:
    thumb(store, "Yes.", up=True)
    thumb(store, "No.", up=False)
    thumb(store, "Yes.", up=False)
    assert texts_of(store) == []

    thumb(store, "No.", up=True)
    assert texts_of(store) == [("No.", "Yes.")]


# -- what is learned from --------------------------------------------------------------------------


def test_what_health_touched_is_kept_and_never_handed_out(store: Store) -> None:
    fine, touched = (
        *add(store, "See a doctor."),
        *add(store, "Push through.", health_touched=True),
    )
    for kind in ("pair", "teach"):
        store.add_choice(author="anna", kind=kind, chosen=fine, rejected=touched)
    store.add_choice(author="anna", kind="edit", chosen="Rest.", rejected=touched)
    store.add_choice(author="anna", kind="edit", chosen="Rest.", rejected=fine, usable=False)

    assert store.pairs() == []
    assert store.counts().not_usable == 4
    assert not any(choice.usable for choice in store.choices())


def conversation(number: int) -> tuple[Message, ...]:
    return (Message("user", f"Question {number}?"),)


def pair(store: Store, number: int, author: str = "anna") -> int:
    one, other = add(store, "Yes.", "No.", conversation=conversation(number), author=author)
    return store.add_choice(author=author, kind="pair", chosen=one, rejected=other)


def test_a_fifth_of_conversations_is_held_out_for_ever(store: Store, path: Path) -> None:
    with store.together():
        for number in [*range(400), *range(400)]:
            pair(store, number)

    learn, measure = store.pairs(held_out=False), store.pairs(held_out=True)

    assert len(learn) + len(measure) == 800
    assert 2 * 40 < len(measure) < 2 * 120  # 80 expected, 8 its deviation
    assert not {p.conversation for p in learn} & {p.conversation for p in measure}
    with Store(path, held_out=0.9) as again:  # the file's own share counts
        assert {p.id for p in again.pairs(held_out=True)} == {p.id for p in measure}
    with Store(path.with_name("other.sqlite")) as other, other.together():
        for number in range(400):
            pair(other, number)
        # Whoever knows the questions alone cannot say which are held out.
        assert texts_and_questions(other) != texts_and_questions(store)


def texts_and_questions(store: Store) -> set[tuple[Message, ...]]:
    return {pair.conversation for pair in store.pairs(held_out=True)}


def test_a_question_stays_on_one_side_however_it_is_written(store: Store) -> None:
    store._key = b"k" * 32  # with a drawn one, all may fall on one side once in ninety times
    told = [
        (*system, Message("user", text))
        for number in range(20)
        for text in (f"Question {number}?", f" question  {number}?\n")
        for system in ((), (Message("system", "Be brief."),))
    ]
    with store.together():
        for conversation in told:
            one, other = add(store, "Yes.", "No.", conversation=conversation)
            store.add_choice(author="anna", kind="pair", chosen=one, rejected=other)

    sides = [pair.held_out for pair in store.pairs()]
    assert set(sides) == {True, False}
    assert all(len(set(sides[at : at + 4])) == 1 for at in range(0, 80, 4))


# -- forgetting ------------------------------------------------------------------------------------


def secret(number: int) -> str:
    return f"my secret knee number {number:02}"


def fill_with_secrets(store: Store) -> None:
    """Enough of two authors to fill pages, and holes in them."""
    draw = random.Random(7)
    with store.together():
        for number in range(60):
            author = ("anna", "ben")[number % 2]
            text = secret(number) * draw.randint(1, 400)  # some longer than a page
            told = (Message("user", f"{author} asks {text}"),)
            one, other = add(store, text, "No.", conversation=told, author=author)
            store.add_choice(author=author, kind="pair", chosen=one, rejected=other)
    asked = store.choices(author="anna")[0].chosen
    assert asked is not None
    store.add_choice(author="ben", kind="edit", chosen="Ben's own words.", rejected=asked.id)


def test_forgetting_leaves_no_byte_and_names_the_versions(store: Store, path: Path) -> None:
    fill_with_secrets(store)
    of_anna, of_ben = (store.choices(author=author, limit=None) for author in ("anna", "ben"))
    store.learned("fitbot@1", [of_ben[-1].id])
    store.learned("fitbot@2", [of_ben[-1].id, of_anna[3].id])
    store.learned("fitbot@3", [of_ben[0].id])  # Ben's edit of Anna's answer
    copy = Path(f"{path}.before-1")
    copy.write_text(secret(0))
    before = bytes_of(path.parent)
    assert all(secret(number).encode() in before for number in range(60))

    assert store.versions_of("anna") == ["fitbot@2", "fitbot@3"]
    assert store.forget("anna") == ["fitbot@2", "fitbot@3"]

    after = bytes_of(path.parent)
    assert b"anna" not in after
    assert b"Ben's own words" not in after
    assert [secret(n).encode() in after for n in range(60)] == [bool(n % 2) for n in range(60)]
    assert store.counts().authors == {"ben": 30}
    assert store.counts().outdated == ["fitbot@2", "fitbot@3"]
    assert store.forget("anna") == []
    # Ids are not used again, so that a version's list never means something else.
    assert pair(store, 1) > of_ben[0].id
    # A lesson that was under way learns that it must not be used.
    assert store.learned("fitbot@4", [of_ben[-1].id, of_anna[5].id]) == [of_anna[5].id]


def test_what_others_chose_of_an_authors_words_goes_with_them(store: Store) -> None:
    one, other = add(store, "Yes.", "No.")
    store.add_choice(author="anna", kind="edit", chosen="My words.", rejected=other)
    (of_ben,) = add(store, "Ben's.", author="ben")
    mine = store.choices()[0].chosen
    assert mine is not None
    for chosen in (one, mine.id):
        store.add_choice(author="ben", kind="pair", chosen=chosen, rejected=of_ben)
    edit = store.add_choice(author="ben", kind="edit", chosen="Ben's words.", rejected=mine.id)
    words = store.choices()[0].chosen
    assert words is not None
    store.add_choice(author="cem", kind="pair", chosen=words.id, rejected=of_ben)
    store.learned("fitbot@1", [edit])

    assert store.forget("anna") == ["fitbot@1"]

    assert store.choices() == []
    assert store.answer(of_ben).text == "Ben's."
    assert store.counts().answers == 1


def test_what_a_reader_still_holds_is_said_and_erased_by_the_next_to_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitbot.learning.schema.BUSY_SECONDS", 0.2)
    with Store(path) as store, Store(path) as reader:
        thumb(store, secret(1), up=True)
        with reader._transaction():
            assert reader._column("SELECT count(*) FROM answers") == [1]
            with pytest.raises(BusyError, match="is removed, but another process still reads"):
                store.forget("anna")
            assert store.counts().choices == 0
            assert secret(1).encode() in bytes_of(path.parent)
            with Store(path) as early:  # while it is read, opening is no error
                assert early.counts().choices == 0

    with Store(path):
        assert secret(1).encode() not in bytes_of(path.parent)


def test_only_its_owner_can_read_it(
    store: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    thumb(store, "Yes.", up=True)
    files = sorted(path.parent.iterdir())

    assert [file.name for file in files] == [
        f"feedback.sqlite{suffix}" for suffix in ("", "-shm", "-wal", ".lock")
    ]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    for file in files[:3]:
        file.chmod(0o644)
    with Store(path):
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert "others could use it (mode 0644); it is 0600 now" in caplog.text


def test_pseudonyms_are_the_files_own(store: Store, path: Path) -> None:
    assert store.pseudonym("anna") == store.pseudonym("anna") != store.pseudonym("ben")
    with Store(path.with_name("other.sqlite")) as other:
        assert other.pseudonym("anna") != store.pseudonym("anna")


def test_another_stores_writing_is_seen(store: Store, path: Path) -> None:
    before = store.data_version()
    assert store.data_version() == before
    with Store(path) as other:
        thumb(other, "Yes.", up=True)
    assert store.data_version() != before
    assert len(store.choices()) == 1


def test_counts(store: Store) -> None:
    assert store.counts().first is None
    one, other = add(store, "Yes.", "No.", version="fitbot@7")
    store.add_choice(author="anna", kind="pair", chosen=one, rejected=other, time="2026-01-02")
    store.add_choice(author="ben", kind="edit", chosen="Mine.", rejected=other, time="2026-01-01")
    thumb(store, "Yes.", up=False)
    add(store, "Yes.", author="cem")

    counts = store.counts()

    assert (counts.answers, counts.choices, counts.not_usable) == (5, 3, 0)
    assert (counts.pairs, counts.held_out) in ((2, 0), (0, 2))
    assert counts.kinds == {"edit": 1, "pair": 1, "thumb_down": 1}
    assert counts.authors == {"anna": 2, "ben": 1, "cem": 0}
    assert counts.versions == {"fitbot@7": 2, "base": 1}
    assert counts.first == "2026-01-01"
    assert counts.last is not None
    assert counts.last > "2026-11"


# -- against a list --------------------------------------------------------------------------------

AUTHORS, TEXTS, QUESTIONS = ("anna", "ben"), ("A.", "B.", "C."), 3
EVENT = st.one_of(
    st.tuples(
        st.sampled_from(KINDS),
        st.sampled_from(AUTHORS),
        st.integers(0, QUESTIONS - 1),
        st.permutations(TEXTS),
        st.integers(0, 9).map(lambda drawn: drawn == 0),  # the health layer
    ),
    st.tuples(st.just("forget"), st.sampled_from(AUTHORS)),
)
Pair = tuple[int, str, str]  # question, chosen, rejected


def model_pairs(events: list[Any]) -> list[Pair]:
    """The pairs of a list of events, by the rules as docs/explanation/feedback.md has them."""
    found: list[tuple[int, Pair | None]] = []
    thumbs: dict[tuple[str, int], dict[str, bool]] = {}
    for place, (kind, author, question, (one, other, _), touched) in enumerate(events):
        if not kind.startswith("thumb"):
            found.append((place, None if touched else (question, one, other)))
            continue
        up, given = kind == "thumb_up", thumbs.setdefault((author, question), {})
        if touched:  # what was judged is not handed out; the thumb still turns an earlier one
            found = turn(found, events, author, question, one, up)
            continue
        before = given.pop(one, None)
        others = [text for text, was_up in given.items() if was_up != up]
        given[one] = up
        found = turn(found, events, author, question, one, up)
        if before != up and others:
            pair = (one, others[-1]) if up else (others[-1], one)
            found.append((place, (question, *pair)))
    return [pair for _, pair in found if pair is not None]


def turn(
    found: list[tuple[int, Pair | None]],
    events: list[Any],
    author: str,
    question: int,
    text: str,
    up: bool,
) -> list[tuple[int, Pair | None]]:
    """Leave out pairs of thumbs in which the text was on the side that it is not on any more."""
    return [
        (place, pair)
        for place, pair in found
        if pair is None
        or not events[place][0].startswith("thumb")
        or (events[place][1], pair[0]) != (author, question)
        or pair[2 if up else 1] != text
    ]


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(events=st.lists(EVENT, max_size=14), data=st.randoms(use_true_random=False))
def test_the_store_is_what_a_plain_list_is(
    events: list[Any], data: random.Random, tmp_path: Path
) -> None:
    path = Path(tempfile.mkdtemp(dir=tmp_path), "feedback.sqlite")
    model: list[Any] = []
    store = Store(path)
    for event in events:
        if event[0] == "forget":
            store.forget(event[1])
            model = [kept for kept in model if kept[1] != event[1]]
            assert event[1].encode() not in path.read_bytes()
            continue
        kind, author, question, (one, other, _), touched = event
        more = {"conversation": conversation(question), "author": author}
        sides = {"chosen": one, "rejected": other}
        if kind.startswith("thumb"):
            sides = {"chosen" if kind == "thumb_up" else "rejected": one}
        with store.together():
            ids = {
                side: add(store, text, health_touched=touched, **more)[0]
                for side, text in sides.items()
            }
            store.add_choice(
                author=author, kind=kind, chosen=ids.get("chosen"), rejected=ids.get("rejected")
            )
        model.append(event)
        if data.randrange(10) == 0:
            store.close()
            store = Store(path)

    stored = store.choices(limit=None)[::-1]
    found = [
        (int(pair.conversation[0].content.split()[1][:-1]), pair.chosen, pair.rejected)
        for pair in store.pairs()
    ]
    counts = store.counts()
    store.close()
    assert [(c.kind, c.author, c.usable) for c in stored] == [
        (kind, author, not touched) for kind, author, *_, touched in model
    ]
    assert found == model_pairs(model)
    assert counts.choices == len(model)
    assert counts.pairs + counts.held_out == len(found)


def test_an_answer_is_found_by_what_a_server_called_it(store: Store) -> None:
    wanted = replace(answer("First."), completion="chatcmpl-1")
    store.add_answer(wanted)
    latest = store.add_answer(replace(wanted, text="Second.", token_ids=(1, 2)))

    assert store.answer_of("chatcmpl-1").id == latest
    assert store.answer_of("chatcmpl-1").token_ids == (1, 2)
    with pytest.raises(DataError, match="no answer of that id was kept"):
        store.answer_of("chatcmpl-2")


def test_a_choice_that_is_taken_back_is_gone_and_its_versions_are_named(store: Store) -> None:
    one, other = add(store, "Yes.", "No.")
    pair = store.add_choice(author="anna", kind="pair", chosen=one, rejected=other)
    edit = store.add_choice(author="anna", kind="edit", chosen="Mine.", rejected=other)
    store.learned("fitbot@1", [pair])

    assert store.take_back(pair) == ["fitbot@1"]
    assert [p.id for p in store.pairs()] == [edit]
    assert store.counts().outdated == ["fitbot@1"]
    assert store.learned("fitbot@2", [pair, edit]) == [pair]
    assert store.take_back(edit) == ["fitbot@2"]
    assert store.counts().answers == 2  # what was written for it is gone
    with pytest.raises(DataError, match=f"no choice {edit}"):
        store.take_back(edit)


@pytest.mark.parametrize("first_up", [True, False])
def test_a_thumb_that_is_taken_back_parts_the_pair_that_it_made(
    first_up: bool, store: Store
) -> None:
    first = thumb(store, "Yes." if first_up else "No.", up=first_up)
    second = thumb(store, "No." if first_up else "Yes.", up=not first_up)
    assert len(store.pairs()) == 1

    store.take_back(first)

    assert [choice.id for choice in store.choices()] == [second]
    assert not store.pairs()
