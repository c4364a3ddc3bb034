"""What persons chose: one SQLite file of events that are only ever added, or forgotten.

    with Store(DEFAULT_STORE) as store:
        one, other = (store.add_answer(answer) for answer in answers)
        store.add_choice(author="anna", kind="pair", chosen=one, rejected=other)
        store.pairs(held_out=False)

What a call has returned from is on the disk, whatever is killed then. Many processes may write at
once, and the threads of one may share a Store; a fork may not. Nothing here knows about models.
"""

import hashlib
import hmac
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Self

from fitbot.errors import BusyError, DataError
from fitbot.learning.events import (
    COLUMNS,
    GIVEN,
    KINDS,
    Answer,
    Choice,
    Counts,
    Kind,
    LearnPair,
    as_json,
    check_text,
    conversation_of,
)
from fitbot.learning.queries import (
    AUTHORS,
    EDITS,
    JUDGED,
    OUTDATED,
    PAIRS,
    TAKE_BACK,
    THUMBS,
    VERSIONS_OF,
    WHOLE,
)
from fitbot.learning.schema import check_version, copies_of, open_database, telling
from fitbot.pairs.formats import Message, shorten

DEFAULT_STORE = Path("checkpoints/learning/feedback.sqlite")
HELD_OUT = 0.2
_UNFINISHED = "unfinished erasing"


class Store:
    """The file, open."""

    def __init__(self, path: str | Path = DEFAULT_STORE, *, held_out: float = HELD_OUT):
        """Open or make it.

        Args:
            path: The file; its folder is made if missing.
            held_out: Share of conversations that are never learned from, for a new file.

        Raises:
            BusyError, ConfigError: It cannot be opened; the message says what to do.
        """
        self.path = Path(path)
        self._lock = threading.RLock()
        self._db = open_database(self.path, held_out)
        with telling(self.path):
            facts = dict(self._db.execute("SELECT name, value FROM facts"))
        self._key: bytes = facts["key"]
        self._share: float = facts["held_out"]
        if _UNFINISHED in facts:
            with suppress(BusyError):  # the next one to open it tries again
                self._erase()

    def close(self) -> None:
        """Close it. The last process that does so removes the files beside it."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    # -- writing -----------------------------------------------------------------------------------

    @contextmanager
    def together(self) -> Iterator[None]:
        """Store all that is added inside at once, or nothing of it."""
        with self._transaction("BEGIN IMMEDIATE"):
            check_version(self._db, self.path)
            yield

    def add_answer(self, answer: Answer) -> int:
        """Store an answer that was shown; return its id.

        Raises:
            DataError: It is none that could be learned from: no user turn, no author.
        """
        columns = answer.to_columns()
        columns["digest"] = self._digest(columns["conversation"])
        columns["time"] = columns["time"] or _now()
        return self._insert("answers", columns)

    def add_choice(
        self,
        *,
        author: str,
        kind: Kind,
        chosen: int | str | None = None,
        rejected: int | str | None = None,
        conversation: Sequence[Message] = (),
        usable: bool = True,
        time: str = "",
    ) -> int:
        """Store a choice; return its id.

        Args:
            author: Pseudonym of who chose.
            kind: "thumb_up" has no `rejected`, "thumb_down" no `chosen`, all others both.
            chosen: Id of an answer; or a text that no model wrote, as a person's edit.
            rejected: The same.
            conversation: What was answered, where no side is an id.
            usable: False where the health layer spoke up; answers that it touched have that too.
            time: UTC, ISO 8601; now by default.

        Raises:
            DataError: It is no choice: a side is missing, unknown, empty or the same as the other.
        """
        check_text("author", author)
        one_sided = {"thumb_up": (True, False), "thumb_down": (False, True)}
        if kind not in KINDS or (
            (chosen is not None, rejected is not None) != one_sided.get(kind, (True, True))
        ):
            raise DataError(f"no choice of kind {kind!r}: chosen {chosen!r}, rejected {rejected!r}")
        with self.together():
            given = [side for side in (chosen, rejected) if isinstance(side, int)]
            if given:
                conversation = self._answers(given[:1])[given[0]].conversation
            sides = [
                self._side(side, author, conversation, time)
                for side in (chosen, rejected)
                if side is not None
            ]
            texts = {answer.text for answer in sides}
            if any(answer.conversation != tuple(conversation) for answer in sides):
                raise DataError("the two answers are of two conversations")
            if len(texts) < len(sides) or not all(text.strip() for text in texts):
                raise DataError(f"must be two texts that differ, got {shorten(sorted(texts))}")
            usable = usable and not any(answer.health_touched for answer in sides)
            ids: list[int | None] = [answer.id for answer in sides]
            digest = self._digest(as_json(conversation))
            if len(sides) == 1:
                other = self._other_side(kind, author, digest, sides[0]) if usable else None
                ids = [ids[0], other] if kind == "thumb_up" else [other, ids[0]]
            columns = {
                **{"time": time or _now(), "author": author, "kind": kind, "digest": digest},
                **{"chosen": ids[0], "rejected": ids[1], "usable": usable},
                "held_out": self._is_held_out(conversation),
            }
            return self._insert("choices", columns)

    def learned(self, version: str, choices: Iterable[int]) -> list[int]:
        """Record what a version has learned from.

        Returns:
            Those of them that were forgotten meanwhile. If there are any, do not use the version.
        """
        with self.together():
            rows = [(version, choice, _now()) for choice in choices]
            self._db.executemany("INSERT OR IGNORE INTO learned VALUES (?, ?, ?)", rows)
            gone = "SELECT choice FROM learned WHERE version = ? AND choice NOT IN ("
            return [row[0] for row in self._db.execute(f"{gone}SELECT id FROM choices)", [version])]

    def take_back(self, choice: int) -> list[str]:
        """Remove a choice, but not the answers; return the versions that learned from it.

        Raises:
            DataError: There is none of that id.
        """
        with self.together():
            if not self._column("SELECT 1 FROM choices WHERE id = ?", choice):
                raise DataError(f"there is no choice {choice}")
            for statement in TAKE_BACK:
                self._db.execute(statement, {"id": choice})
            return self._column("SELECT DISTINCT version FROM learned WHERE choice = ?", choice)

    def forget(self, author: str) -> list[str]:
        """Remove what an author asked, wrote and chose, and what others chose of these answers.

        No byte of it stays in the file or beside it; copies of former schemas go, too.

        Returns:
            The versions that have learned from it.

        Raises:
            BusyError: It is removed, but another process still reads the old state: call it again.
        """
        with self.together():
            versions = self.versions_of(author)
            do, of = self._db.execute, {"author": author}
            # An edit of another author's has this one's conversation, too.
            edits = do(EDITS, of).fetchall()
            self._db.executemany("DELETE FROM answers WHERE id = ?", edits)
            do("DELETE FROM answers WHERE author = :author", of)
            do(
                """DELETE FROM choices WHERE author = :author
                OR chosen NOT IN (SELECT id FROM answers)
                OR rejected NOT IN (SELECT id FROM answers)""",
                of,
            )
            do(f"INSERT OR REPLACE INTO facts VALUES ('{_UNFINISHED}', 1)")
        self._erase()
        return versions

    # -- reading -----------------------------------------------------------------------------------

    def answer(self, number: int) -> Answer:
        """Return an answer.

        Raises:
            DataError: There is none of that id.
        """
        with self._transaction():
            return self._answers([number])[number]

    def answer_of(self, completion: str) -> Answer:
        """Return the latest answer that a server has given by this name.

        Raises:
            DataError: None was kept.
        """
        query = "SELECT max(id) FROM answers WHERE completion = ?"
        with self._transaction():
            if (number := self._column(query, completion)[0]) is None:
                raise DataError("no answer of that id was kept")
            return self.answer(number)

    def questions(self, limit: int) -> list[tuple[Message, ...]]:
        """Return the latest conversations that were answered, each once, the newest first."""
        query = """SELECT conversation FROM answers WHERE NOT health_touched
            GROUP BY digest ORDER BY max(id) DESC LIMIT ?"""
        return [conversation_of(text) for text in self._column(query, limit)]

    def choices(
        self,
        *,
        author: str | None = None,
        kind: Kind | None = None,
        learned_by: str | None = None,
        before: int | None = None,
        limit: int | None = 50,
    ) -> list[Choice]:
        """Return choices, the newest first.

        Args:
            author: Only this one's.
            kind: Only these.
            learned_by: Only those that this version learned from.
            before: Only those with a smaller id, for the next page.
            limit: So many at most; None for all.
        """
        wanted = {
            "author = ?": author,
            "kind = ?": kind,
            "id IN (SELECT choice FROM learned WHERE version = ?)": learned_by,
            "id < ?": before,
        }
        given = {term: value for term, value in wanted.items() if value is not None}
        query = f"""SELECT id, time, author, kind, chosen, rejected, held_out, usable FROM choices
            WHERE {" AND ".join(given) or 1} ORDER BY id DESC LIMIT ?"""
        with self._transaction():
            most = -1 if limit is None else limit
            rows = self._db.execute(query, (*given.values(), most)).fetchall()
            ids = chain.from_iterable((row["chosen"], row["rejected"]) for row in rows)
            sides = self._answers(ids)
        return [Choice.from_columns(row, sides) for row in rows]

    def pairs(self, held_out: bool | None = None) -> list[LearnPair]:
        """Return the pairs that may be used, the oldest first.

        A thumb makes one with the other side's, if the same author gave both to answers of one
        conversation; not if one of them was turned since.

        Args:
            held_out: False for those to learn from, True for those to measure on, None for all.
        """
        parts = (False, True) if held_out is None else (held_out, held_out)
        with self._transaction():
            rows = self._db.execute(PAIRS, parts).fetchall()
        return [LearnPair.from_columns(row) for row in rows]

    def has(
        self,
        conversation: Sequence[Message],
        chosen: str | None,
        rejected: str | None,
        author: str | None = None,
    ) -> bool:
        """Say whether such a choice was stored, of this author or of any."""
        terms = {
            "c.digest = ?": self._digest(as_json(conversation)),
            "(SELECT text FROM answers WHERE id = c.chosen) = ?": chosen,
            "(SELECT text FROM answers WHERE id = c.rejected) = ?": rejected,
            "c.author = ?": author,
        }
        given = {term: value for term, value in terms.items() if value is not None}
        with self._transaction():
            query = f"SELECT 1 FROM choices c WHERE {' AND '.join(given)}"
            return self._db.execute(query, tuple(given.values())).fetchone() is not None

    def learned_ids(self, version: str) -> list[int]:
        """Return the choices that a version learned from, forgotten ones included."""
        return self._column("SELECT choice FROM learned WHERE version = ? ORDER BY 1", version)

    def versions_of(self, author: str) -> list[str]:
        """Return the versions that learned from what `forget` would remove."""
        return self._column(VERSIONS_OF, {"author": author})

    def counts(self) -> Counts:
        """Count everything."""
        with self._transaction():
            whole = self._db.execute(WHOLE).fetchone()
            parts = [pair.held_out for pair in self.pairs()]
            return Counts(
                **dict(whole),
                pairs=parts.count(False),
                held_out=parts.count(True),
                kinds=self._count("SELECT kind FROM choices"),
                authors=dict(self._db.execute(AUTHORS).fetchall()),
                versions=self._count(JUDGED),
                outdated=self._column(OUTDATED),
            )

    def pseudonym(self, name: str) -> str:
        """Return what stands for a name in this file, and says nothing elsewhere."""
        return f"p-{self._digest(name)[:12]}"

    def data_version(self) -> int:
        """Return a number that changes once another Store has written; it costs nothing."""
        return int(self._column("PRAGMA data_version")[0])

    # -- inside ------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, begin: str = "BEGIN") -> Iterator[None]:
        """Have several statements see one state, or make one; may stand in another one."""
        with self._lock, telling(self.path):
            end, undo = "COMMIT", "ROLLBACK"
            if self._db.in_transaction:
                begin, end, undo = "SAVEPOINT inner", "RELEASE inner", "ROLLBACK TO inner"
            self._db.execute(begin)
            try:
                yield
                self._db.execute(end)
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite may have undone it by itself
                    self._db.execute(undo)
                raise

    def _column(self, query: str, *values: Any) -> list[Any]:
        named = values[0] if values and isinstance(values[0], dict) else values
        with self._lock, telling(self.path):
            return [row[0] for row in self._db.execute(query, named)]

    def _count(self, query: str) -> dict[str, int]:
        counted = f"SELECT *, count(*) FROM ({query}) GROUP BY 1 ORDER BY 2 DESC, 1"
        return dict(self._db.execute(counted).fetchall())

    def _insert(self, table: str, columns: Mapping[str, Any]) -> int:
        names, places = ", ".join(columns), ", ".join(f":{name}" for name in columns)
        with self.together():
            done = self._db.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", columns)
        assert done.lastrowid is not None
        return done.lastrowid

    def _side(
        self, side: int | str, author: str, conversation: Sequence[Message], time: str
    ) -> Answer:
        """Return the answer of an id, or store a text as one."""
        if isinstance(side, str):
            answer = Answer(
                conversation=tuple(conversation), text=side, author=author, policy=GIVEN, time=time
            )
            side = self.add_answer(answer)
        return self._answers([side])[side]

    def _answers(self, wanted: Iterable[int | None]) -> dict[int, Answer]:
        found: dict[int, Answer] = {}
        query = f"SELECT id, {', '.join(COLUMNS)} FROM answers WHERE id = ?"
        for number in {number for number in wanted if number is not None}:
            row = self._db.execute(query, [number]).fetchone()
            if row is None:
                raise DataError(f"{self.path}: there is no answer {number}")
            found[number] = Answer.from_columns(row)
        return found

    def _other_side(self, kind: Kind, author: str, digest: str, answer: Answer) -> int | None:
        """Find the latest answer that the author has given the other thumb, and not turned since.

        A thumb that is given a second time makes no second pair.
        """
        last: dict[str, tuple[str, int]] = {}
        for found, number, text in self._db.execute(THUMBS, [author, digest]):
            last.pop(text, None)
            last[text] = found, number
        if last.pop(answer.text, ("", 0))[0] == kind:
            return None
        others = [number for found, number in last.values() if found != kind]
        return others[-1] if others else None

    def _erase(self) -> None:
        """Write the file anew, so that no page has bytes of what was removed; empty the WAL."""
        with self._lock, telling(self.path):
            for copy in copies_of(self.path):
                copy.unlink()
            self._db.execute("VACUUM")
            self._empty_wal()
            self._db.execute("DELETE FROM facts WHERE name = ?", [_UNFINISHED])
            self._empty_wal()

    def _empty_wal(self) -> None:
        (busy, _, _) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise BusyError(
                f"{self.path}: what was to be forgotten is removed, but another process still "
                "reads the old state, and the disk keeps it until then; try again"
            )

    def _digest(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:32]

    def _is_held_out(self, conversation: Sequence[Message]) -> bool:
        """Say it by a keyed hash of the words alone, so that a question stays on one side."""
        turns = [m for m in conversation if m.role != "system"]
        words = [" ".join(turn.content.casefold().split()) for turn in turns]
        drawn = self._digest(as_json(["held out", *words]))
        return bool(int(drawn, 16) < self._share * 16 ** len(drawn))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
