"""A base's chat template → the same in Go's template language, which Ollama speaks.

Nothing is guessed by a family's name: what the base's template writes between turns is read off a
rendering, put together again for conversations of up to four questions, and compared. A template
that is no such sequence is refused. Two things Go's templates cannot do: take blanks off the ends
of a text, and keep control strings in it from being read as tokens.
"""

import json
from typing import NamedTuple

from fitbot.errors import ConfigError, DataError
from fitbot.pairs.template import Template

_QUESTIONS = 4  # of the longest conversation that is compared


class Turns(NamedTuple):
    """What stands between the texts of questions and answers in turn, thinking off."""

    before_system: str
    after_system: str  # between the system prompt and the first question
    opening: str  # before the first question where there is no system prompt
    answer: str  # between a question and its answer in an earlier turn
    question: str  # between an answer and the next question
    end: str  # after the last question: hands the turn to the assistant

    def parts(self, roles: tuple[str, ...]) -> list[str]:
        """Return what stands around the texts of these turns."""
        start = [self.before_system, self.after_system] if "system" in roles else [self.opening]
        return [*start, *[self.answer, self.question] * roles.count("assistant"), self.end]

    def in_go(self) -> str:
        """Write it for Ollama, which gives `.Messages` with `.Role` and `.Content`.

        An answer that comes last is one that the model is to go on with.
        """
        before, after, opening, answer, question, end = map(_quote, self)
        return f"""\
{{{{- range $i, $turn := .Messages }}}}
{{{{- $last := eq (len (slice $.Messages $i)) 1 }}}}
{{{{- if eq .Role "system" }}}}{before}{{{{ .Content }}}}{after}
{{{{- else if eq .Role "user" }}}}{{{{ if eq $i 0 }}}}{opening}{{{{ end }}}}{{{{ .Content }}}}\
{{{{ if $last }}}}{end}{{{{ end }}}}
{{{{- else if eq .Role "assistant" }}}}{answer}{{{{ .Content }}}}\
{{{{ if not $last }}}}{question}{{{{ end }}}}
{{{{- end }}}}
{{{{- end }}}}"""


def turns_of(template: Template) -> Turns:
    """Read off a chat template what it writes between turns.

    Raises:
        ConfigError: It does more than to write the turns one after another, or takes no system
            prompt.
    """
    pair = ("user", "assistant")
    try:
        before, after, _ = template.parts(("system", "user"), thinking=False)[0]
        found = template.parts((*pair, "user"), thinking=False)[0]
        turns = Turns(before, after, *found)
        for number in range(_QUESTIONS):
            for system in ((), ("system",)):
                roles = (*system, *pair * number, "user")
                parts, order = template.parts(roles, thinking=False)
                if parts != turns.parts(roles) or order != [*range(len(roles))]:
                    raise ConfigError(f"it writes {', '.join(roles)} in another way than less")
    except (ConfigError, DataError) as error:
        raise ConfigError(
            f"--target ollama: the chat template of {template.tokenizer.name_or_path!r} is not "
            f"known to be a plain sequence of turns, which Ollama needs: {error}. Take --gguf, "
            "which keeps the template as it is, and serve with llama-server --jinja"
        ) from error
    return turns


def _quote(text: str) -> str:
    """Write a text so that a template prints it; braces, quotes and blanks in it mean nothing."""
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}" if text else ""
