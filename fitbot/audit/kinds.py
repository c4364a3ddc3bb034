"""The kinds of findings, apart from all that finds them, so that help answers at once."""

# kind → what it means; the words that --fail-on takes
KINDS = {
    "refused": "the reader refuses records: empty or equal answers, unpaired surrogates, lost keys",
    "shortcut": "a rule that does not read the question picks the chosen answer",
    "leak": "prompts or answers of a validation file stand in the training file",
    "template": "they stand there but for numbers and names",
    "conflict": "the same two answers are preferred both ways for the same prompt",
    "identical": "chosen and rejected differ in case, spacing or punctuation only",
    "equal": "chosen and rejected are the same tokens within the length limits",
    "duplicate": "a pair repeats an earlier one, exactly or nearly",
    "repetition": "one answer or sentence stands in many pairs",
    "empty": "a text has neither letter nor digit",
    "character": "control, replacement, zero-width or other odd characters",
    "control": "control strings of chat templates in texts",
    "language": "an answer is in another script than its prompt",
    "cut": "texts exceed the length limits, or the chat template refuses them",
}
