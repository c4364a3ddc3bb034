"""What clients send to the routes of learning, and what they get."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from fitbot.serving.bodies import Body

_Id = Annotated[str, Field(min_length=1, max_length=128)]
LONGEST_TEXT = 16_384  # characters of an edit


class ChoiceRequest(Body):
    """A choice: between two answers, or about one.

    pair and teach have `chosen` and `rejected`; edit has `answer` and the `text` that is better;
    thumb_up and thumb_down have `answer`. Answers are named by their completions' ids.
    """

    kind: Literal["pair", "teach", "edit", "thumb_up", "thumb_down"]
    chosen: _Id | None = None
    rejected: _Id | None = None
    answer: _Id | None = None
    text: Annotated[str, Field(max_length=LONGEST_TEXT)] | None = None

    @model_validator(mode="after")
    def _fields_fit_the_kind(self) -> "ChoiceRequest":
        wanted = {"pair": {"chosen", "rejected"}, "edit": {"answer", "text"}}
        wanted["teach"] = wanted["pair"]
        needed = wanted.get(self.kind, {"answer"})
        found = self.model_dump(exclude={"kind"}, exclude_none=True).keys()
        if found != needed:
            raise ValueError(f"a choice of kind {self.kind} has {' and '.join(sorted(needed))}")
        if self.text is not None and (not self.text.strip() or "\0" in self.text):
            raise ValueError("text: it must hold more than blanks, and no NUL")
        return self


class Nothing(Body):
    """An empty object."""


class ImportRequest(Body):
    """Records of fitbot's, TRL's, OpenAI's or KTO's format, or of Open WebUI's export."""

    records: Annotated[list[dict[str, Any]], Field(min_length=1)]


class VersionName(BaseModel):
    """A version."""

    number: int
    name: str


class LearnerState(BaseModel):
    """What the learner does; what is not known is null."""

    state: Literal["starting", "waiting", "learning", "checking", "stopped", "failed"]
    number: int | None = None
    choices: int | None = None
    step: int | None = None
    steps: int | None = None
    seconds: float | None = None
    checked: int | None = None
    items: int | None = None
    message: str | None = None


class LastVersion(VersionName):
    """What the newest lesson came to."""

    state: str
    reason: str
    line: str
    seconds: float
    choices: int


class StateCounts(BaseModel):
    """How much the store holds."""

    answers: int
    choices: int
    pairs: int
    held_out: int
    not_usable: int
    kinds: dict[str, int]
    outdated: list[str]


class LearningState(BaseModel):
    """All that a page shows."""

    current: VersionName
    learner: LearnerState
    counts: StateCounts
    store: str  # the file on the server
    author: str
    last: LastVersion | None


class ChoiceAnswer(BaseModel):
    """A choice, stored."""

    id: int
    stored: bool = True
    usable: bool
    held_out: bool
    is_pair: bool
    reason: str | None


class TakenBack(BaseModel):
    """A choice that is no more."""

    id: int
    deleted: bool = True
    versions: list[str]


class Turn(BaseModel):
    """A message."""

    role: str
    content: str


class Candidate(BaseModel):
    """An answer to choose."""

    id: str
    text: str


class Question(BaseModel):
    """Two answers of which fitbot does not know which one is better."""

    messages: list[Turn]
    answers: list[Candidate]


class VersionEntry(VersionName):
    """A version, and what was measured of it."""

    parent: int
    time: float | None
    state: str
    reason: str
    line: str
    choices: int
    figures: dict[str, dict[str, float]]
    drift: float
    seconds: dict[str, float]
    current: bool
    outdated: bool


class VersionList(BaseModel):
    """The versions, newest first; 0 is where learning began."""

    data: list[VersionEntry]


class VersionTakenBack(BaseModel):
    """A version that answers no more by itself."""

    number: int
    deleted: bool = True
    current: VersionName


class ImportAnswer(BaseModel):
    """What became of records."""

    added: int
    known: int
    touched: int
    refused: list[str]


class Forgotten(BaseModel):
    """An author of whom nothing is left."""

    author: str
    deleted: bool = True
    versions: list[str]
