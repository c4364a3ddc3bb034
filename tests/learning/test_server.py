"""`fitbot serve --learn` over HTTP: what is kept, chosen, learned, taken back and forgotten.

Engine and learner are toys, so that a lesson takes a moment; see test_learning_for_real.py.
"""

import json
import os
import random
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from fitbot.learning.store import Store
from tests.server_process import ServerProcess, alive, until

PROGRAM = ("-m", "tests.learning.toy_server")
BASE = "/v1/learning"


class Person:
    """Someone at a server that learns."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.folder = folder
        options = (f"--learning_folder={folder}", "--rate_per_minute=100000")
        self.server = ServerProcess(folder.with_name("log"), *options, program=PROGRAM, **more)
        self.http = httpx.Client(base_url=self.server.url, timeout=20)

    def ask(self, text: str, **more: Any) -> dict[str, Any]:
        body = {"messages": [{"role": "user", "content": text}], **more}
        response = self.http.post("/v1/chat/completions", json=body)
        assert response.status_code == 200, response.text
        return response.json()  # type: ignore[no-any-return]

    def two(self, text: str = "draw") -> tuple[str, str]:
        """Ask twice; ids of two answers that differ."""
        return self.ask(text, seed=1)["id"], self.ask(text, seed=2)["id"]

    def choose(self, **fields: Any) -> httpx.Response:
        return self.http.post(BASE + "/choices", json=fields)

    def pair(self, text: str = "draw") -> dict[str, Any]:
        chosen, rejected = self.two(text)
        return self.choose(kind="pair", chosen=chosen, rejected=rejected).json()  # type: ignore[no-any-return]

    def teach(self) -> int:
        """Choose until a choice is not held out; its id."""
        while True:
            chosen = self.pair(f"draw {random.random()}")
            if not chosen["held_out"]:
                return int(chosen["id"])

    def state(self) -> dict[str, Any]:
        return self.http.get(BASE).json()  # type: ignore[no-any-return]

    def version(self) -> int:
        return int(self.state()["current"]["number"])

    def versions(self) -> list[dict[str, Any]]:
        return self.http.get(BASE + "/versions").json()["data"]  # type: ignore[no-any-return]

    def has_learned_from(self, choice: int) -> bool:
        with self.stored() as store:
            return any(choice in store.learned_ids(one["name"]) for one in self.versions())

    def stored(self) -> Store:
        return Store(self.folder / "feedback.sqlite")

    def process(self, named: str) -> psutil.Process:
        """The learner or the worker."""
        others = self.server.processes()[1:]
        spawned = [p for p in others if "spawn_main" in " ".join(p.cmdline())]
        return next(p for p in spawned if _is_learner(p) == (named == "learner"))

    def is_learning(self) -> bool:
        return self.state()["learner"]["state"] in ("waiting", "learning")

    def is_ready(self) -> bool:
        return self.server.status("/readyz") == 200

    def has_lost(self, pid: int) -> bool:
        return all(process.pid != pid for process in alive(self.server.processes()))

    def stop(self) -> None:
        self.http.close()
        self.server.stop()


def _is_learner(process: psutil.Process) -> bool:
    return any(file.path.endswith("feedback.sqlite") for file in process.open_files())


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    one = Person(tmp_path_factory.mktemp("learning") / "learning")
    yield one
    one.stop()


@pytest.fixture
def meet(tmp_path: Path) -> Iterator[Callable[..., Person]]:
    """Start servers of the test's own."""
    met: list[Person] = []

    def one(name: str = "learning", **more: Any) -> Person:
        met.append(Person(tmp_path / name, **more))
        return met[-1]

    yield one
    for someone in met:
        someone.stop()


# -- what is kept and chosen -----------------------------------------------------------------------


def test_an_answer_is_kept_as_it_was_drawn_and_a_choice_between_two(person: Person) -> None:
    answers = [person.ask("draw", seed=seed, temperature=0.5) for seed in (11, 12)]
    texts = [answer["choices"][0]["message"]["content"] for answer in answers]

    chosen = person.choose(kind="pair", chosen=answers[0]["id"], rejected=answers[1]["id"])

    assert chosen.status_code == 200
    with person.stored() as store:
        choice = store.choices(limit=1)[0]
        assert choice.id == chosen.json()["id"]
        assert choice.author == person.state()["author"] == store.pseudonym("me")
    one = choice.chosen
    assert one is not None
    assert choice.rejected is not None
    assert [one.text, choice.rejected.text] == texts
    assert one.conversation[-1].content == "draw"
    assert (one.token_ids, one.logprobs, one.seed) == ((0,), (-0.5,), 11)
    assert one.sampling["temperature"] == 0.5
    assert one.version == answers[0]["model"]
    assert str(one.version).startswith("fitbot@")
    assert one.author == choice.author
    assert stat.S_IMODE((person.folder / "feedback.sqlite").stat().st_mode) == 0o600
    assert "logprobs" not in json.dumps(answers[0]["choices"][0]["message"])
    assert answers[0]["choices"][0]["logprobs"] is None


def test_a_streamed_answer_is_kept_before_its_end_goes_out(person: Person) -> None:
    body = {"messages": [{"role": "user", "content": "say Rest well. so"}], "stream": True}
    with person.http.stream("POST", "/v1/chat/completions", json=body) as response:
        events = [line[6:] for line in response.iter_lines() if line.startswith("data: ")]
        parts = [json.loads(event) for event in events[:-1]]
    deltas = [part["choices"][0]["delta"] for part in parts]

    assert all(delta.get("content", "x") or "role" in delta for delta in deltas)  # none is empty
    assert person.choose(kind="thumb_up", answer=parts[0]["id"]).json()["stored"]


def test_thumbs_wait_for_their_other_side_and_an_edit_is_the_better_text(person: Person) -> None:
    one, other = person.two("draw thumbs")

    up = person.choose(kind="thumb_up", answer=one).json()
    down = person.choose(kind="thumb_down", answer=other).json()
    edit = person.choose(kind="edit", answer=other, text="Sleep well.").json()

    assert (up["is_pair"], down["is_pair"], edit["is_pair"]) == (False, True, True)
    assert "other thumb" in up["reason"]
    with person.stored() as store:
        mine = store.choices(limit=1)[0]
    assert mine.id == edit["id"]
    assert mine.chosen is not None
    assert mine.chosen.text == "Sleep well."


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"kind": "pair", "chosen": "chatcmpl-1", "rejected": "chatcmpl-2"}, 404, "was kept"),
        ({"kind": "pair", "chosen": "chatcmpl-1"}, 422, "has chosen and rejected"),
        ({"kind": "thumb_up", "chosen": "chatcmpl-1"}, 422, "has answer"),
        ({"kind": "edit", "answer": "a", "text": " "}, 422, "more than blanks"),
        ({"kind": "star", "answer": "a"}, 422, "kind: it must be"),
    ],
)
def test_what_is_no_choice_is_refused(
    fields: dict[str, str], status: int, said: str, person: Person
) -> None:
    response = person.choose(**fields)

    assert response.status_code == status
    assert said in response.json()["error"]["message"]


def test_two_texts_that_are_alike_or_of_two_questions_are_no_choice(person: Person) -> None:
    one, other = person.ask("draw", seed=1)["id"], person.ask("draw other", seed=2)["id"]

    for rejected in (one, other):
        response = person.choose(kind="pair", chosen=one, rejected=rejected)
        assert (response.status_code, response.json()["error"]["code"]) == (422, "no_choice")


def test_nobody_learns_from_what_the_health_layer_touched_or_the_budget_cut(
    person: Person,
) -> None:
    bad = person.ask("advise badly")["id"]
    cut, whole = (person.ask("random", seed=seed, max_tokens=3)["id"] for seed in (1, 2))

    thumb = person.choose(kind="thumb_up", answer=bad).json()
    pair = person.choose(kind="pair", chosen=cut, rejected=whole).json()
    mine = person.choose(
        kind="edit", answer=whole, text="Take 50 mg of trenbolone every day."
    ).json()

    assert [one["usable"] for one in (thumb, pair, mine)] == [False] * 3
    assert "health layer" in thumb["reason"]
    assert "health layer" in mine["reason"]
    assert "cut off" in pair["reason"]


def test_a_choice_can_be_taken_back_once(person: Person) -> None:
    number = person.pair("draw it back")["id"]
    url = f"{BASE}/choices/{number}"

    assert person.http.delete(url).json()["deleted"] is True
    assert person.http.delete(url).status_code == 404
    assert person.http.delete(f"{BASE}/choices/x").status_code == 404


def test_teach_me_shows_two_answers_that_differ(person: Person) -> None:
    for _ in range(4):
        person.two(f"draw {random.random()}")  # the toy answers shipped ones alike
    asked = person.http.post(BASE + "/question", json={}).json()

    texts = [answer["text"] for answer in asked["answers"]]
    assert texts[0] != texts[1]
    assert asked["messages"][-1]["content"].startswith(("draw", "random"))
    ids = [answer["id"] for answer in asked["answers"]]
    assert person.choose(kind="teach", chosen=ids[1], rejected=ids[0]).status_code == 200


# -- versions --------------------------------------------------------------------------------------


def test_a_version_answers_by_its_name_and_what_was_begun_ends_with_its_own(
    person: Person,
) -> None:
    before = person.version()
    texts: list[str] = []

    def ask_slowly() -> None:
        answer = person.ask("go on", max_tokens=150)  # a second and a half
        texts.append(answer["model"] + " " + answer["choices"][0]["message"]["content"])

    under_way = threading.Thread(target=ask_slowly)
    under_way.start()
    time.sleep(0.2)
    person.teach()
    until(lambda: person.version() > before, 10)
    assert under_way.is_alive()
    now = person.version()
    answer = person.ask("go on", max_tokens=2)
    under_way.join()

    assert answer["model"] == f"fitbot@{now}"
    assert answer["choices"][0]["message"]["content"] == f"fitbot@{now}0. fitbot@{now}1. "
    name, _, text = texts[0].partition(" ")
    written_by = "base" if before == 0 else name
    assert name == f"fitbot@{before}"
    assert set(text.split()) == {f"{written_by}{number}." for number in range(150)}
    old = person.ask("go on", model=name, max_tokens=1)["choices"][0]["message"]["content"]
    assert old == f"{written_by}0. "
    listed = [one["id"] for one in person.http.get("/v1/models").json()["data"]]
    assert listed[:2] == ["fitbot", "base"]
    assert {f"fitbot@{now}", "fitbot@0"} <= set(listed)
    about = person.http.get(f"/v1/models/fitbot@{now}").json()["about"]["details"]
    assert about.startswith(f"Version {now}, learned here from")
    assert person.http.get("/v1/models/fitbot").json()["about"]["details"] == about


def test_a_version_is_made_current_and_taken_back_and_refused_ones_can_be_tried(
    person: Person,
) -> None:
    while not any(one["state"] == "refused" for one in person.versions()):
        tried = person.teach()
        until(partial(person.has_learned_from, tried), 10)
    current = person.version()
    refused = next(one["number"] for one in person.versions() if one["state"] == "refused")
    first = person.ask("go on", model=f"fitbot@{refused}", max_tokens=1)
    assert first["model"] == f"fitbot@{refused}"

    made = person.http.post(f"{BASE}/versions/0/current", json={})
    assert made.json()["current"] is True
    assert person.ask("go on", max_tokens=1)["model"] == "fitbot@0"
    person.http.post(f"{BASE}/versions/{current}/current", json={})
    taken = person.http.delete(f"{BASE}/versions/{current}").json()

    parent = next(one["parent"] for one in person.versions() if one["number"] == current)
    assert taken["current"]["number"] == person.version() == parent
    undone = next(one for one in person.versions() if one["number"] == current)
    assert undone["state"] == "undone"
    assert "Taken back" in undone["line"]
    for number, status in ((refused, 409), (0, 409), (999, 404)):
        assert person.http.delete(f"{BASE}/versions/{number}").status_code == status
    missing = person.http.post(f"{BASE}/versions/999/current", json={})
    assert missing.json()["error"]["code"] == "version_not_found"
    body = {"messages": [{"role": "user", "content": "hi"}], "model": "fitbot@999"}
    assert person.http.post("/v1/chat/completions", json=body).status_code == 404


@pytest.mark.slow
def test_a_damaged_version_does_not_take_a_whole_ones_place(meet: Callable[..., Person]) -> None:
    person = meet()
    person.teach()
    until(lambda: person.version() == 1, 10)
    person.http.post(f"{BASE}/versions/0/current", json={})
    (person.folder / "versions/1/adapter/adapter_model.safetensors").write_bytes(b"other")
    os.kill(person.process("worker").pid, signal.SIGKILL)  # whose engine has it loaded
    until(lambda: person.server.status("/readyz") == 503, 10)
    until(lambda: person.server.status("/readyz") == 200, 20)
    person.http.delete("/nothing")

    assert person.version() == 0
    assert person.ask("go on", max_tokens=1)["model"] == "fitbot@0"


# -- state, export, forgetting ---------------------------------------------------------------------


def test_whoever_follows_hears_of_every_change(person: Person) -> None:
    heard: list[dict[str, Any]] = []
    with person.http.stream("GET", BASE + "/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in response.iter_lines() if line.startswith("data: "))
        heard.append(json.loads(next(lines)[6:]))
        person.teach()
        for line in lines:
            heard.append(json.loads(line[6:]))
            last = heard[-1]["last"]
            if last and last != heard[0]["last"]:
                break

    stages = [one["learner"]["state"] for one in heard]
    assert "learning" in stages
    assert heard[-1]["counts"]["choices"] > heard[0]["counts"]["choices"]
    assert heard[-1]["last"]["line"].startswith(("Learned from 1 new choice", "Refused, after 1"))


@pytest.mark.slow
def test_choices_go_out_and_come_in_and_an_author_is_forgotten(
    meet: Callable[..., Person],
) -> None:
    person, other = meet("one"), meet("other")
    for _ in range(3):
        person.pair(f"draw {random.random()}")
    exported = person.http.get(BASE + "/export?format=trl")
    records = [json.loads(line) for line in exported.text.splitlines()]
    assert len(records) == 3

    for added, known in ((3, 0), (0, 3)):
        done = other.http.post(BASE + "/import", json={"records": records}).json()
        assert (done["added"], done["known"], done["refused"]) == (added, known, [])
    refused = other.http.post(BASE + "/import", json={"records": [{"odd": 1}]}).json()
    assert refused["added"] == 0
    assert "record 0" in refused["refused"][0]
    assert not list(other.folder.glob("import-*"))
    assert person.http.get(BASE + "/export?format=docx").status_code == 422

    until(lambda: other.state()["last"] is not None, 10)
    gone = other.http.delete(BASE + "/authors/me").json()
    assert gone["versions"][0] == "fitbot@1"
    assert other.state()["counts"]["choices"] == 0
    assert next(one for one in other.versions() if one["number"] == 1)["outdated"] is True
    assert other.http.delete(BASE + "/authors/me").status_code == 404
    with Store(other.folder / "feedback.sqlite") as store:
        assert store.counts().answers == 0


def test_every_route_is_documented_and_keeps_to_its_documentation(person: Person) -> None:
    document = person.http.get("/openapi.json").json()
    paths = {path for path in document["paths"] if path.startswith(BASE)}

    assert len(paths) == 11
    for path in paths:
        for operation in document["paths"][path].values():
            assert operation["description"]
            assert {"200", "401", "404", "422", "429"} <= operation["responses"].keys()
    references = set(json.dumps(document).split("#/components/schemas/")[1:])
    named = {one.split('"')[0] for one in references}
    assert named <= document["components"]["schemas"].keys()


@pytest.mark.parametrize("path", ["", "/events", "/choices", "/versions/1", "/export"])
def test_a_server_that_does_not_learn_says_so(path: str, client: httpx.Client) -> None:
    for method in ("GET", "POST", "DELETE"):
        response = client.request(method, BASE + path)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_learning")
        assert "fitbot serve --learn" in response.json()["error"]["message"]


# -- kills -----------------------------------------------------------------------------------------


class Stranger(threading.Thread):
    """Asks all the time, and notes whatever is no answer."""

    def __init__(self, person: Person) -> None:
        super().__init__()
        self.person, self.ended, self.answers = person, threading.Event(), 0
        self.failed: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.person.server.url, timeout=20) as http:
            while not self.ended.is_set():
                body = {"messages": [{"role": "user", "content": "go on"}], "max_tokens": 20}
                response = http.post("/v1/chat/completions", json=body)
                if response.status_code == 200:
                    text = response.json()["choices"][0]["message"]["content"]
                    self.answers += len(text.split()) == 20
                else:
                    self.failed.append(response.text)

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()

    def __enter__(self) -> "Stranger":
        self.start()
        return self


@pytest.mark.slow
def test_a_learner_that_dies_takes_no_answer_with_it_and_comes_again(
    meet: Callable[..., Person],
) -> None:
    person = meet()
    until(lambda: person.state()["learner"]["state"] == "waiting", 20)
    with Stranger(person) as stranger:
        os.kill(person.process("learner").pid, signal.SIGKILL)
        until(lambda: person.state()["learner"]["state"] == "failed", 5)
        assert "ended by signal 9" in person.state()["learner"]["message"]
        person.teach()
        until(lambda: person.version() == 1, 20)

    assert stranger.answers
    assert not stranger.failed


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_no_acknowledged_choice_is_lost_whatever_is_killed(
    kills: int, meet: Callable[..., Person]
) -> None:
    draw, promised, person = random.Random(kills), set[int](), meet()
    for kill in range(kills):
        victim = ("learner", "worker", "server")[kill % 3]
        until(person.is_learning, 30)
        pid = person.server.process.pid if victim == "server" else person.process(victim).pid
        timer = threading.Timer(draw.uniform(0.05, 0.5), os.kill, (pid, signal.SIGKILL))
        timer.start()
        while timer.is_alive():
            try:
                promised.add(person.pair(f"draw {draw.random()}")["id"])
            except (AssertionError, KeyError, httpx.TransportError):  # nobody was promised anything
                assert victim != "learner"
                break
        timer.join()
        if victim == "server":
            person.server.process.wait()
            person.http.close()
            person = meet()
        else:
            until(partial(person.has_lost, pid), 10)
        until(person.is_ready, 30)
        with person.stored() as store:
            assert promised <= {choice.id for choice in store.choices(limit=None)}
        assert person.version() in {one["number"] for one in person.versions()}
        person.ask("go on", max_tokens=1)
    assert len(promised) > kills
