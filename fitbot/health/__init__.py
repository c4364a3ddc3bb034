"""The health layer: fixed rules on the question and on the answer, around a model that has none.

`layer.py` is what others call: `check_messages`, then `AnswerFilter`. `match.py` finds a rule's
concepts in a text. `rules.json` holds rules, concepts and messages. See docs/health.md.
"""
