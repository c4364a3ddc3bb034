"""The health layer: what reads the question and the answer around a model that has no judgement.

`layer.py` is what others call: `open_layer`, its `check`; then `AnswerFilter` of `answer.py`. Three
read: `rules.py` (rules.json, by `match.py`), `classifier.py` (words.safetensors) and, where its
weights are on the machine, `encoder.py` (meaning/). `texts.json` holds what is shown, read by
`texts.py`. See docs/health.md.
"""
