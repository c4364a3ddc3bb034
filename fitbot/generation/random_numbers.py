"""Random numbers that depend on a seed and a count only: splitmix64."""

# splitmix64 (doi 10.1145/2660193.2660195); the first is its own step, the others are odd as well.
# As a GPU takes them: the signed 64-bit numbers of the same bits.
STEP, SEED_STEP, ATTEMPT_STEP = (
    step - 2**64 for step in (0x9E3779B97F4A7C15, 0xD1342543DE82EF95, 0xDA942042E4DD58B5)
)
MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
MASK = 2**64 - 1


def uniform(seed: int, drawn: int, attempt: int = 0) -> float:
    """Return a random number from 0, below 1, that depends only on the arguments."""
    z = (seed * SEED_STEP + (drawn + 1) * STEP + attempt * ATTEMPT_STEP) & MASK
    z = ((z ^ (z >> 30)) * MIX[0]) & MASK
    z = ((z ^ (z >> 27)) * MIX[1]) & MASK
    return float((z ^ (z >> 31)) >> 11) / 2**53
