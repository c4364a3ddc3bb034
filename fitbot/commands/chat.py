"""Ask a trained adapter, or its base, at the terminal: the command `chat`.

The base is held and the question rendered as they were in training; what the model writes is shown
as it comes.
"""

import logging
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

from fitbot.base_model.introduction import introduce
from fitbot.base_model.provenance import answer_settings, latest_adapter
from fitbot.commands.command_line import SuggestingParser, add_engine_options, announce
from fitbot.errors import RequestError
from fitbot.generation.engine import Engine, Stream, submit_what_fits
from fitbot.generation.messages import Sampling
from fitbot.health.answer import AnswerFilter
from fitbot.health.layer import ENCODER_HELP, HealthLayer, HealthVerdict, open_layer
from fitbot.pairs.formats import Message
from fitbot.serving.engines import describe, open_local

_HELP = """\
1 to 6          ask this question of the list, in a new conversation; where the model
                has just asked something, it is your answer
/questions      the list again
/reset          forget the conversation
/system TEXT    answer by another system prompt, and forget the conversation
/compare        let base and tuned model answer side by side, or no more
/help           this; an empty line or Ctrl-D ends, Ctrl-C stops an answer
Arrow keys edit the line and bring back earlier ones; nothing is kept on disk.
"""
_COLUMN = 37  # characters: two of them in a terminal of 80


def main(args: list[str]) -> int:
    """Run `fitbot chat`."""
    options = _parser().parse_args(args[1:])
    announce("fitbot chat: loading")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    adapter = options.adapter or latest_adapter(Path("checkpoints"))
    if options.adapter is None:
        part = "the base of " if options.base else ""
        name = f"{part}{adapter}" if adapter else "the embedded model"
        sys.stderr.write(f"no --adapter named: {name} answers\n")
    wanted = {name: options[name] for name in ("max_new_tokens", "temperature", "seed")}
    given = {name: value for name, value in wanted.items() if value is not None}
    introduction = introduce(adapter, tuned=not options.base)
    announce(textwrap.fill(f"{introduction.kind}. {introduction.details}", 79))
    sampling = replace(Sampling.from_settings(answer_settings(adapter)), **given)
    health = None if options.raw else open_layer(options.health_texts, options.health_encoder)
    sys.stderr.write(f"health layer: {health.described if health else 'off'}\n")
    chosen = {"slots": 2} | ({"quantize": options.quantize} if options.quantize else {})
    with closing(open_local(options.backend, adapter, chosen)) as engine:
        announce(f"answers: {describe(engine)}")
        tuned, base = engine.models[0], engine.models[-1]
        models = [base, tuned] if options.compare else [base if options.base else tuned]
        conversation = Conversation(
            engine, sampling, models, health, introduction.questions, introduction.is_demonstration
        )
        if options.ask is not None:
            conversation.ask(options.ask)
            return 0
        if introduction.is_demonstration and models == [tuned] != [base]:
            conversation.show_both(introduction.questions[0])
        conversation.run_command("/questions")
        _write("Type a number or a question; /help lists what else there is, an empty line ends.\n")
        edit_lines()
        while line := _read():
            if not conversation.run_command(line):
                conversation.ask(conversation.meant(line))
    return 0


def _parser() -> SuggestingParser:
    parser = SuggestingParser(
        prog="fitbot chat", usage="fitbot chat [options]", description=__doc__
    )
    add_engine_options(parser)
    add = parser.add_argument
    add("--ask", help="one question; its answer is all that is printed")
    add("--base", action="store_true", help="ask the base, with the adapter off")
    add("--compare", action="store_true", help="let base and tuned model answer side by side")
    add("--max_new_tokens", type=int, help="tokens of an answer; default: the run's")
    add("--temperature", type=float, help="0 takes the likeliest; default: the run's")
    add("--seed", type=int, default=42, help="of the sampling")
    add("--raw", action="store_true", help="without the health layer, see docs/health.md")
    add("--health_texts", type=Path, help="its texts and numbers, where they are your own")
    add("--health_encoder", default="auto", help=ENCODER_HELP)
    return parser


@dataclass
class Conversation:
    """What was said so far, and who answers: one model, or two side by side."""

    engine: Engine
    sampling: Sampling
    models: list[str]
    health: HealthLayer | None
    questions: Sequence[str] = ()  # offered by number
    is_shown_one: bool = False  # question at a time: the models follow no conversation
    system: list[Message] = field(default_factory=list)
    turns: list[Message] = field(default_factory=list)
    finding: str = ""  # the health layer's, of the turns that are forgotten

    def run_command(self, line: str) -> bool:
        """Run a line that begins with a slash; False if it is a question."""
        word, _, text = line.partition(" ")
        if word == "/reset":
            self.turns, self.finding = [], ""
        elif word == "/system" and text:
            self.system, self.turns, self.finding = [Message("system", text)], [], ""
        elif word == "/compare":
            base, tuned = self.engine.models[-1], self.engine.models[0]
            self.models = [tuned] if len(self.models) > 1 else [base, tuned]
        elif word == "/questions":
            _write("".join(f" {n}  {text}\n" for n, text in enumerate(self.questions, 1)))
        elif word.startswith("/"):
            _write(_HELP)
        else:
            return False
        return True

    def meant(self, line: str) -> str:
        """Return the question whose number was typed, and forget the conversation; or the line.

        After a question of the model's a number is its answer.
        """
        numbered = {f"{n}": text for n, text in enumerate(self.questions, 1)}
        is_asked = bool(self.turns) and self.turns[-1].content.rstrip().endswith("?")
        if is_asked or line not in numbered:
            return line
        self.run_command("/reset")
        _write(f"{numbered[line]}\n")
        return numbered[line]

    def show_both(self, question: str) -> None:
        """Have base and tuned model answer a question side by side, outside of the conversation."""
        columns = []
        for title, model in (("before", self.engine.models[-1]), ("after", self.models[-1])):
            stream = self.engine.submit(
                [Message("user", question)], replace(self.sampling, temperature=0.0), model=model
            )
            said: list[str] = []
            verdict = HealthVerdict("ok")
            health = AnswerFilter(self.health, verdict) if self.health else None
            self._show(stream, health, said.append)
            columns.append([title, *textwrap.wrap("".join(said), _COLUMN)])
        _write(f"One question, before and after preference training:\n\n  {question}\n\n")
        for left, right in zip_longest(*columns, fillvalue=""):
            _write(f"  {left:<{_COLUMN}}  {right}\n")
        _write("\n")

    def ask(self, question: str) -> None:
        """Show the answer as it comes; with two models, one below the other.

        The last model's answer goes into the conversation.
        """
        self.turns.append(Message("user", question))
        verdict = HealthVerdict("ok")
        if self.health:
            verdict = self.health.check(self.turns, self.finding)
        answer = verdict.message
        if not verdict.model_answers:
            _write(f"{answer}\n")
        else:
            for model in self.models:
                if len(self.models) > 1:
                    _write(f"{model}: ")
                health = AnswerFilter(self.health, verdict) if self.health else None
                answer = self._show(self._submit(model), health)
        self.turns.append(Message("assistant", answer))

    def _submit(self, model: str) -> Stream:
        """Send the conversation; as many old turns as do not fit are left out, and it is said."""
        # Or else a question asked again would be answered word for word as before.
        sampling = replace(self.sampling, seed=(self.sampling.seed or 0) + len(self.turns) // 2)
        if self.is_shown_one:
            self._forget(len(self.turns) - 1)
        turns = [*self.system, *self.turns]
        try:
            stream, left_out = submit_what_fits(self.engine, turns, sampling, model=model)
        except RequestError:
            self.turns.pop()
            raise
        if left_out:
            self._forget(left_out)
            sys.stderr.write(f"(the {left_out // 2} oldest turns are forgotten: no room)\n")
        return stream

    def _forget(self, count: int) -> None:
        """Drop the oldest turns, but not what the health layer found in them."""
        forgotten, self.turns = self.turns[:count], self.turns[count:]
        if forgotten and self.health:
            self.finding = self.health.check(forgotten, self.finding).finding

    def _show(
        self,
        stream: Stream,
        health: AnswerFilter | None,
        write: Callable[[str], object] | None = None,
    ) -> str:
        write = write or _write
        answer, reason, error = "", None, None
        with _cancelling_on_ctrl_c(stream):
            for chunk in stream:
                text = chunk.text
                if health:
                    text = health.feed(text) + (health.finish() if chunk.finish_reason else "")
                    if health.intervened:
                        stream.cancel()
                write(text)
                answer += text
                reason, error = chunk.finish_reason, chunk.error
        if health and health.intervened:
            reason = None  # the filter has said why
        notes = {"length": " […]", "cancelled": " [stopped]", "error": f" [failed: {error}]"}
        write(notes.get(reason or "", "") + "\n")
        return answer


@contextmanager
def _cancelling_on_ctrl_c(stream: Stream) -> Iterator[None]:
    """Let Ctrl-C stop the answer, not the program."""
    before = signal.signal(signal.SIGINT, lambda *_: stream.cancel())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def edit_lines() -> None:
    """Have `input` take arrow keys, to edit a line and to bring back an earlier one."""
    with suppress(ImportError):  # on Windows the console does it
        import readline  # noqa: F401


def _read() -> str:
    """Read a line; none where the input has ended, or Ctrl-C was typed."""
    try:
        return input("> ").strip()
    except (EOFError, KeyboardInterrupt):
        _write("\n")
        return ""


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
