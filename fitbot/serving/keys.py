"""API keys: where they come from, and the comparison that tells nothing about them."""

import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path

from fitbot.errors import ConfigError
from fitbot.platforms import mode_for_others

ENVIRONMENT = "FITBOT_API_KEYS"
ADMIN_ENVIRONMENT = "FITBOT_ADMIN_KEYS"  # of those who may change what is served
_SHORTEST = 16


class KeyRing:
    """The keys a server accepts; only their digests are kept."""

    def __init__(self, keys: Iterable[str], name: str = "key"):
        """Take the keys.

        Args:
            keys: Those accepted.
            name: They are called by it and a number.

        Raises:
            ConfigError: A key is so short that it could be guessed.
        """
        self._digests: dict[str, bytes] = {}
        for number, key in enumerate(dict.fromkeys(keys), start=1):
            if len(key) < _SHORTEST:
                raise ConfigError(
                    f"{name} {number} has {len(key)} characters; give it {_SHORTEST} or more, "
                    "as `openssl rand -base64 24` makes them"
                )
            self._digests[f"{name}{number}"] = _digest(key)

    def __bool__(self) -> bool:
        """Say whether a key is needed at all."""
        return bool(self._digests)

    def shares(self, other: "KeyRing") -> bool:
        """Say whether another ring accepts a key of this one."""
        return not set(self._digests.values()).isdisjoint(other._digests.values())

    def name_of(self, presented: str) -> str | None:
        """Return the name of a key, "key1" and so on, or None for a wrong one."""
        digest = _digest(presented)
        # All are compared, each in constant time: how long it takes says nothing.
        names = [name for name, own in self._digests.items() if hmac.compare_digest(own, digest)]
        return names[0] if names else None


def load_keys(keys_file: Path | None, *, admin: bool = False) -> list[str]:
    """Read the API keys, or the admin keys, of the environment, taking them out of it, and a file.

    Args:
        keys_file: One key a line; nobody but its owner may be able to read it.
        admin: Which keys.

    Raises:
        ConfigError: The file cannot be read, others may read it, or it holds no key.
    """
    named = os.environ.pop(ADMIN_ENVIRONMENT if admin else ENVIRONMENT, "")
    keys = [key.strip() for key in named.split(",") if key.strip()]
    if keys_file is None:
        return keys
    option = f"--{'admin_' if admin else ''}keys_file {keys_file}"
    try:
        others = mode_for_others(keys_file)
        lines = keys_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{option}: cannot be read: {error}") from error
    if others:
        raise ConfigError(f"{option}: others may use it (mode {others}); chmod 600 it")
    in_file = [line.strip() for line in lines if line.strip()]
    if not in_file:
        raise ConfigError(f"{option}: there is no key in it")
    return keys + in_file


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
