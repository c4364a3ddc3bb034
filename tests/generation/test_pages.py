from fitbot.generation.pages import PAGE, Pages


def test_pages_are_given_away_in_a_row_and_not_beyond_their_number() -> None:
    pages = Pages(6)

    assert pages.take(2, near=3) == [3, 4]
    assert pages.take(2, near=5) == [5, 0]
    assert pages.take(3) is None
    assert pages.available == 2

    pages.give_back([3, 4])
    assert pages.take(4) == [1, 2, 3, 4]
    assert pages.available == 0


def test_prompts_that_begin_alike_share_pages_of_one_version() -> None:
    pages, ids = Pages(9), list(range(2 * PAGE + 5))
    own = pages.take(3)
    assert own is not None
    assert pages.share("a", ids) == []
    pages.remember("a", ids, own)

    assert pages.share("a", ids) == own[:2]
    assert pages.share("a", [*ids[:PAGE], 999, *ids[PAGE:]]) == own[:1]
    assert pages.share("a", ids[: 2 * PAGE]) == own[:1]  # one token at least is left to be read
    assert pages.share("b", ids) == []
    assert pages.share("a", ids[1:]) == []

    for shared in (own[:2], own[:1], own[:1], own):
        pages.give_back(shared)
    assert pages.available == 9
    assert pages.share("a", ids) == own[:2]


def test_remembered_pages_are_given_away_last_and_forgotten_with_it() -> None:
    pages, ids = Pages(4), list(range(2 * PAGE))
    own = pages.take(2)
    assert own is not None
    pages.remember(None, ids, own)
    pages.give_back(own)

    assert pages.take(2) == [2, 3]
    assert pages.share(None, [*ids, 1]) == own
    pages.give_back(own)
    assert pages.take(1) == [own[1]]  # the end of a prompt goes before its beginning
    assert pages.share(None, [*ids, 1]) == own[:1]
    pages.give_back(own[:1])
    assert pages.take(1) == own[:1]
    assert pages.share(None, [*ids, 1]) == []
