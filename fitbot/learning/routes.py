"""The routes of `fitbot serve --learn`: choices, versions, state, export, forgetting."""

import asyncio
import json
import logging
import random
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial, wraps
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from fitbot.errors import BusyError, ConfigError, DataError, FitbotError
from fitbot.health.layer import HealthLayer
from fitbot.learning import http_models as models
from fitbot.learning.events import Answer, Choice, Counts
from fitbot.learning.formats import FORMATS, export_records
from fitbot.learning.importing import import_choices, touched_by
from fitbot.learning.live import LiveVersions
from fitbot.learning.questions import EARLIER, least_certain, sampling_of, some_questions
from fitbot.learning.records import CUT_OFF, Drawn, Records, recorded
from fitbot.learning.state import entry_of, name_of, state_of
from fitbot.learning.store import Store
from fitbot.serving.answer_routes import PING_SECONDS, EventStream
from fitbot.serving.http_errors import HttpError, JsonResponse
from fitbot.serving.jobs import GenerationTask
from fitbot.serving.learning_side import LEARNING, Answers, Given, Route
from fitbot.serving.openai_format import event_of
from fitbot.serving.shared_state import SERVING, SharedState

_LOOK_SECONDS = 0.25
_TELL_SECONDS = 1.0  # of a state in which nothing but the time has changed
_STREAMS = 16  # clients that may follow at once
_PARTS = {"all": None, "train": False, "held-out": True}
_FORMS = (*FORMATS, "kto")

Endpoint = Callable[..., Awaitable[Response]]
log = logging.getLogger(__name__)


class Side(Protocol):
    """What of `LearningSide` the routes use."""

    live: LiveVersions
    records: Records
    health: HealthLayer | None

    def author(self, client: str) -> str:
        """Name who asks."""

    async def store(self, given: Given, drawn: Drawn) -> None:
        """Store an answer."""


def _plainly(endpoint: Endpoint) -> Endpoint:
    """Answer what the store or the versions refuse with a status; details are for the log."""

    @wraps(endpoint)
    async def served(*given: Any, **more: Any) -> Response:
        try:
            return await endpoint(*given, **more)
        except DataError as error:
            raise HttpError(
                422, "no_choice", "the two texts must differ, and answer one question"
            ) from error
        except BusyError as error:
            raise HttpError(503, "busy", "the store is in use; try again", retry_after=1) from error
        except FitbotError as error:
            log.error("learning: %s", error)
            problem = "the store or a version cannot be used; the server's log says why"
            raise HttpError(503, "learning_failed", problem, retry_after=5) from error

    return served


class LearningRoutes:
    """What a client may do besides asking."""

    def __init__(self, side: Side, answers: Answers, shared: SharedState):
        """Take what it works with."""
        self._side, self._live, self._records = side, side.live, side.records
        self._answers, self._shared = answers, shared
        self._touched = touched_by(side.health) if side.health else None
        self._streams = 0
        self._counted: tuple[Any, Counts] | None = None

    def all(self) -> list[Route]:
        """Return the routes."""
        choices, imports = LEARNING + "/choices", LEARNING + "/import"
        version = LEARNING + "/versions/{number}"
        current = version + "/current"
        query = [
            {"name": name, "in": "query", "schema": {"type": "string", "enum": list(values)}}
            for name, values in (("format", _FORMS), ("part", _PARTS))
        ]
        routes = [
            Route("GET", LEARNING, self.state, models.LearningState),
            Route("GET", LEARNING + "/events", self.events, "text/event-stream"),
            Route("POST", choices, self.choose, models.ChoiceAnswer, models.ChoiceRequest),
            Route("DELETE", choices + "/{number}", self.take_choice_back, models.TakenBack),
            Route("POST", LEARNING + "/question", self.question, models.Question, models.Nothing),
            Route("GET", LEARNING + "/versions", self.versions, models.VersionList),
            Route("POST", current, self.make_current, models.VersionEntry, models.Nothing),
            Route("DELETE", version, self.take_version_back, models.VersionTakenBack),
            Route("GET", LEARNING + "/export", self.export, "application/jsonl", query=query),
            Route("POST", imports, self.import_, models.ImportAnswer, models.ImportRequest),
            Route("DELETE", LEARNING + "/authors/{name}", self.forget, models.Forgotten),
        ]
        return [replace(route, endpoint=_plainly(route.endpoint)) for route in routes]

    # -- state -------------------------------------------------------------------------------------

    async def state(self, request: Request) -> Response:
        """Say which version answers, what the learner does, and how much was chosen."""
        self._answers.limit_rate(request)
        return JsonResponse((await self._state(request)).model_dump())

    async def events(self, request: Request) -> Response:
        """Send the state whenever it changes."""
        self._answers.limit_rate(request)
        if self._streams >= _STREAMS:
            raise HttpError(429, "too_many_streams", "too many clients follow", retry_after=10)
        request.state.has_place = True  # its connection is in use
        return EventStream(self._follow(request), headers={})

    async def _follow(self, request: Request) -> AsyncIterator[str]:
        self._streams += 1
        sent, sent_at = None, 0.0
        try:
            while self._shared.phase == SERVING:
                state = (await self._state(request)).model_dump()
                works, now = state["learner"]["seconds"] is not None, time.monotonic()
                key = json.dumps({**state, "learner": {**state["learner"], "seconds": 0}})
                if key != sent or (works and now - sent_at > _TELL_SECONDS):
                    sent, sent_at = key, now
                    yield event_of(state)
                elif now - sent_at > PING_SECONDS:
                    sent_at = now
                    yield ": ping\n\n"
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            self._streams -= 1

    async def _state(self, request: Request) -> models.LearningState:
        author = self._side.author(request.state.client)

        def read(store: Store) -> tuple[Counts, str]:
            key = store.data_version(), self._records.writes
            if self._counted is None or self._counted[0] != key:
                self._counted = key, store.counts()
            return self._counted[1], store.pseudonym(author)

        counts, pseudonym = await self._records.read(read)
        versions, current = self._live.versions, self._live.current
        tell = partial(state_of, versions, current, counts, store=self._records.path)
        return await asyncio.to_thread(tell, author=pseudonym)

    # -- choices -----------------------------------------------------------------------------------

    async def choose(self, request: Request) -> Response:
        """Store a choice between two answers, a better text, or a thumb."""
        asked = await self._answers.read(request, models.ChoiceRequest)
        author, usable = self._side.author(request.state.client), True
        if asked.text is not None and self._touched:
            answered = await self._records.read(
                lambda store: _answer(store, asked.answer, "answer")
            )
            texts = [asked.text]
            usable = not await asyncio.to_thread(self._touched, answered.conversation, texts)

        def write(store: Store) -> tuple[Choice, bool]:
            chosen, rejected, is_whole = _sides(store, asked)
            number = store.add_choice(
                author=store.pseudonym(author),
                kind=asked.kind,
                chosen=chosen,
                rejected=rejected,
                usable=usable and is_whole,
            )
            return store.choices(before=number + 1, limit=1)[0], is_whole

        choice, is_whole = await self._records.write(write)
        is_pair = choice.chosen is not None and choice.rejected is not None
        reason = None
        if not is_whole:
            reason = (
                "The chosen answer was cut off at its token budget, so it is never learned from."
            )
        elif not choice.usable:
            reason = "The health layer had a say in it, so it is never learned from."
        elif not is_pair:
            reason = "It is kept until the other thumb is given to another answer."
        found = {name: getattr(choice, name) for name in ("id", "usable", "held_out")}
        return JsonResponse(
            models.ChoiceAnswer(**found, is_pair=is_pair, reason=reason).model_dump()
        )

    async def take_choice_back(self, number: str, request: Request) -> Response:
        """Take a choice back; versions that learned from it are named."""
        self._answers.limit_rate(request)
        missing = HttpError(404, "choice_not_found", "there is no such choice")
        choice = _whole(number, missing)

        def write(store: Store) -> list[str]:
            try:
                return store.take_back(choice)
            except DataError as error:
                raise missing from error

        versions = await self._records.write(write)
        return JsonResponse(models.TakenBack(id=choice, versions=versions).model_dump())

    async def question(self, request: Request) -> Response:
        """Ask a person: two answers of which fitbot is least certain which one is better."""
        await self._answers.read(request, models.Nothing)
        earlier = await self._records.read(lambda store: store.questions(EARLIER))
        chance = random.Random()
        questions = await asyncio.to_thread(some_questions, earlier, chance)
        model = self._live.model(None, request.state.cleanup)
        sampling = sampling_of(self._answers.sampling)
        twice = [one for one in questions for _ in "ab"]
        tasks = [recorded(GenerationTask(one, sampling, model.key)) for one in twice]
        drawn = await self._answers.draw(request, tasks)
        pairs = list(zip(drawn[::2], drawn[1::2], strict=True))
        best = least_certain(pairs)
        if best is None:
            problem = "no two answers differed; try again"
            raise HttpError(503, "no_question", problem, retry_after=1)
        candidates = []
        for task, answer in zip(tasks[2 * best :], pairs[best], strict=False):
            assert answer is not None  # least_certain has looked
            text, record = answer
            given = Given(
                f"chatcmpl-{secrets.token_hex(16)}", model.name, task, request.state.client, False
            )
            is_cut = len(record.token_ids) == sampling.max_new_tokens
            await self._side.store(given, Drawn(text, record, is_cut))
            candidates.append(models.Candidate(id=given.completion, text=text))
        chance.shuffle(candidates)
        turns = [models.Turn(**turn._asdict()) for turn in questions[best]]
        return JsonResponse(models.Question(messages=turns, answers=candidates).model_dump())

    # -- versions ----------------------------------------------------------------------------------

    async def versions(self, request: Request) -> Response:
        """List the versions with their figures, the newest first."""
        self._answers.limit_rate(request)
        outdated = (await self._state(request)).counts.outdated
        versions = self._live.versions
        found = await asyncio.to_thread(lambda: [*reversed(versions.all()), versions.get(0)])
        entries = [entry_of(one, self._live.current, outdated) for one in found]
        return JsonResponse(models.VersionList(data=entries).model_dump())

    async def make_current(self, number: str, request: Request) -> Response:
        """Have a version answer from now on, whatever its state."""
        await self._answers.read(request, models.Nothing)
        wanted = self._number(number)
        await self._live.make_current(wanted)
        version = self._live.versions.get(wanted)
        outdated = (await self._state(request)).counts.outdated
        return JsonResponse(entry_of(version, self._live.current, outdated).model_dump())

    async def take_version_back(self, number: str, request: Request) -> Response:
        """Take a version back, and what was learned on top of it; its parent answers again."""
        self._answers.limit_rate(request)
        wanted, versions = self._number(number), self._live.versions
        try:
            current = await asyncio.to_thread(versions.take_back, wanted)
        except ConfigError as error:
            raise HttpError(409, "not_taken", "it has never answered by itself") from error
        await self._live.make_current(current.number)
        taken = models.VersionTakenBack(number=wanted, current=name_of(current.number))
        return JsonResponse(taken.model_dump())

    def _number(self, text: str) -> int:
        missing = HttpError(404, "version_not_found", "there is no such version")
        number = _whole(text, missing)
        if number not in (0, *self._live.versions.numbers()):
            raise missing
        return number

    # -- all of it ---------------------------------------------------------------------------------

    async def export(self, request: Request) -> Response:
        """Send pairs as JSONL; of KTO's format, single answers."""
        self._answers.limit_rate(request)
        form, part = (
            request.query_params.get(*one) for one in (("format", "fitbot"), ("part", "all"))
        )
        if form not in _FORMS or part not in _PARTS:
            problem = f"format is one of {', '.join(_FORMS)}; part of {', '.join(_PARTS)}"
            raise HttpError(422, "invalid_field", problem)

        def read(store: Store) -> str:
            records = export_records(store, form, _PARTS[part])
            return "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in records)

        text = await self._records.read(read)
        named = {"Content-Disposition": f'attachment; filename="feedback-{form}.jsonl"'}
        return Response(text, media_type="application/jsonl", headers=named)

    async def import_(self, request: Request) -> Response:
        """Add choices of a file; what is there already is not added again."""
        asked = await self._answers.read(request, models.ImportRequest)
        author = self._side.author(request.state.client)
        file = self._records.path.with_name(f"import-{secrets.token_hex(8)}.json")

        def run() -> models.ImportAnswer:
            try:
                file.touch(mode=0o600)
                file.write_text(json.dumps(asked.records), encoding="utf-8")
                with Store(self._records.path) as store:
                    name = store.pseudonym(author)
                    touched = self._touched or (lambda conversation, texts: False)
                    done = import_choices(store, file, author=name, is_touched=touched)
            finally:
                file.unlink(missing_ok=True)
            refused = [why.replace(f"{file}: ", "") for why in done.refused]
            return models.ImportAnswer(**{**done._asdict(), "refused": refused})

        return JsonResponse((await asyncio.to_thread(run)).model_dump())

    async def forget(self, name: str, request: Request) -> Response:
        """Remove all of an author, "me" for who asks; versions that learned from it are named."""
        self._answers.limit_rate(request)
        own = self._side.author(request.state.client)

        def write(store: Store) -> models.Forgotten:
            author = store.pseudonym(own) if name == "me" else name
            if author not in store.counts().authors:
                raise HttpError(404, "author_not_found", "there is nothing of that author")
            return models.Forgotten(author=author, versions=store.forget(author))

        return JsonResponse((await self._records.write(write)).model_dump())


def _whole(text: str, missing: HttpError) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise missing
    return int(text)


def _answer(store: Store, completion: str | None, field: str) -> Answer:
    try:
        return store.answer_of(completion or "")
    except DataError as error:
        problem = "no answer of that id was kept: it was stopped, or given without --learn"
        raise HttpError(404, "answer_not_found", problem, param=field) from error


def _sides(
    store: Store, asked: models.ChoiceRequest
) -> tuple[int | str | None, int | str | None, bool]:
    """Return what is chosen and what rejected, and whether the chosen one is a whole answer."""
    names = ("chosen", "rejected", "answer")
    found = {
        name: _answer(store, completion, name)
        for name in names
        if (completion := getattr(asked, name)) is not None
    }
    about = found.get("answer")
    chosen, rejected = found.get("chosen"), found.get("rejected")
    if about and asked.kind == "thumb_up":
        chosen = about
    elif about:
        rejected = about
    is_whole = not (chosen and chosen.sampling.get(CUT_OFF))
    ids = [side.id if side else None for side in (chosen, rejected)]
    return asked.text or ids[0], ids[1], is_whole
