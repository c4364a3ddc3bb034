"""The store's longer queries."""

from fitbot.learning.events import GIVEN

# The side that a thumb is about; the other one may stand there, too.
_THUMBED = "CASE {0}.kind WHEN 'thumb_up' THEN {0}.chosen ELSE {0}.rejected END"
PAIRS = f"""
    SELECT c.id, chosen.conversation, chosen.text AS chosen, rejected.text AS rejected, c.author,
        c.time, c.kind, c.held_out
    FROM choices c
    JOIN answers chosen ON chosen.id = c.chosen JOIN answers rejected ON rejected.id = c.rejected
    WHERE c.usable AND c.held_out IN (?, ?) AND NOT (
        c.kind IN ('thumb_up', 'thumb_down') AND EXISTS (  -- a thumb that was turned since
            SELECT 1 FROM choices later JOIN answers about ON about.id = {_THUMBED.format("later")}
            WHERE later.digest = c.digest AND later.author = c.author AND later.id > c.id
            AND (later.kind = 'thumb_up' AND about.text = rejected.text
                OR later.kind = 'thumb_down' AND about.text = chosen.text)))
    ORDER BY c.id"""

# The thumbs of an author about the answers of a conversation, as they were given.
THUMBS = f"""SELECT c.kind, a.id, a.text FROM choices c
    JOIN answers a ON a.id = {_THUMBED.format("c")} WHERE c.usable AND c.author = ?
    AND c.digest = ? AND c.kind IN ('thumb_up', 'thumb_down') ORDER BY c.id"""

# The versions whose answers were judged.
JUDGED = f"""SELECT coalesce(a.version, a.policy) FROM choices c JOIN answers a ON a.id =
    CASE WHEN coalesce((SELECT policy FROM answers WHERE id = c.chosen), '{GIVEN}')
    = '{GIVEN}' THEN coalesce(c.rejected, c.chosen) ELSE c.chosen END"""
WHOLE = """SELECT count(*) AS choices, count(*) - coalesce(sum(usable), 0) AS not_usable,
    min(time) AS first, max(time) AS last, (SELECT count(*) FROM answers) AS answers FROM choices"""
OUTDATED = """SELECT DISTINCT version FROM learned
    WHERE choice NOT IN (SELECT id FROM choices) ORDER BY 1"""

AUTHORS = """SELECT author, sum(chose) FROM (
    SELECT author, 1 AS chose FROM choices UNION ALL SELECT author, 0 FROM answers)
    GROUP BY author ORDER BY 2 DESC, 1"""
_OF_AUTHOR = """SELECT id FROM choices WHERE author = :author
    OR chosen IN (SELECT id FROM answers WHERE author = :author)
    OR rejected IN (SELECT id FROM answers WHERE author = :author)"""

EDITS = f"""SELECT id FROM answers WHERE policy = '{GIVEN}' AND id IN (
    SELECT chosen FROM choices WHERE id IN ({_OF_AUTHOR})
    UNION SELECT rejected FROM choices WHERE id IN ({_OF_AUTHOR}))"""
VERSIONS_OF = f"SELECT DISTINCT version FROM learned WHERE choice IN ({_OF_AUTHOR}) ORDER BY 1"

# What goes with a choice: a text that was written for it, and what other thumbs made of it.
TAKE_BACK = (
    f"""UPDATE choices SET chosen = CASE kind WHEN 'thumb_up' THEN chosen END,
    rejected = CASE kind WHEN 'thumb_down' THEN rejected END
    WHERE kind IN ('thumb_up', 'thumb_down') AND EXISTS (SELECT 1 FROM choices c WHERE c.id = :id
        AND c.kind IN ('thumb_up', 'thumb_down') AND c.kind != choices.kind
        AND c.author = choices.author AND {_THUMBED.format("c")} =
        CASE choices.kind WHEN 'thumb_up' THEN choices.rejected ELSE choices.chosen END)""",
    f"""DELETE FROM answers WHERE policy = '{GIVEN}'
    AND id = (SELECT chosen FROM choices WHERE id = :id AND kind = 'edit')""",
    "DELETE FROM choices WHERE id = :id",
)
