"""The kinds of findings, apart from all that finds them, so that help answers at once."""

from typing import Literal

Severity = Literal["error", "warning", "note"]

# kind → what it means; the words that --fail-on takes
KINDS = {
    "refused": "the reader refuses records: empty or equal answers, unpaired surrogates, lost keys",
    "shortcut": "a rule that does not read the question picks the chosen answer",
    "leak": "prompts of a validation file stand in the training file, or answers that tell labels",
    "near-leak": "prompts of a validation file share most of their words with training prompts",
    "shared": "answers of a validation file stand in the training file, but tell no labels",
    "template": "prompts or answers stand there but for numbers and names",
    "reversed": "a validation file prefers the same two answers the other way round than training",
    "conflict": "the same two answers are preferred both ways for the same prompt in one file",
    "label": "a record's own check fails its chosen answer, or passes its rejected one",
    "identical": "chosen and rejected differ in case, spacing or punctuation only",
    "equal": "chosen and rejected are the same tokens within the length limits",
    "duplicate": "a pair repeats an earlier one, exactly or nearly",
    "repetition": "one answer or sentence stands in many pairs",
    "loop": "an answer repeats its own sentences",
    "truncated": "an answer stops in mid-sentence, or inside a list, a bracket or code",
    "empty": "a text has neither letter nor digit",
    "character": "control, replacement, zero-width or other odd characters",
    "control": "control strings of chat templates in texts",
    "contact": "an e-mail address or a phone number",
    "language": "an answer is in another script than its prompt, or another language than the file",
    "cut": "texts exceed the length limits, or the chat template refuses them",
}

# error: a run stops, learns wrong labels, or its accuracy means little; warning: pairs that teach
# something unwanted; note: worth knowing, and often as it should be
SEVERITIES: dict[str, Severity] = {
    **dict.fromkeys(KINDS, "warning"),
    **dict.fromkeys(("refused", "shortcut", "leak", "reversed", "conflict", "label"), "error"),
    **dict.fromkeys(("shared", "template", "repetition"), "note"),
}
