"""Closes the files of choices that a test has opened."""

from collections.abc import Iterator

import pytest

from tests.evaluation.blind import answerers


@pytest.fixture(autouse=True)
def closing_logs() -> Iterator[None]:
    yield
    while answerers.OPENED:
        answerers.OPENED.pop().close()
