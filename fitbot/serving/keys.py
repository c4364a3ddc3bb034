"""API keys: where they come from, and the comparison that tells nothing about them."""

import hashlib
import hmac
import logging
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from fitbot.errors import ConfigError
from fitbot.platforms import mode_for_others, take_from_environment

ENVIRONMENT = "FITBOT_API_KEYS"
ADMIN_ENVIRONMENT = "FITBOT_ADMIN_KEYS"  # of those who may change what is served
_SHORTEST = 16
_LOOK_SECONDS = 1.0  # from one look at a file to the next

log = logging.getLogger(__name__)


class KeyRing:
    """The keys a server accepts; only their digests are kept. Those of a file change with it."""

    def __init__(self, keys: Iterable[str], *, keys_file: Path | None = None, admin: bool = False):
        """Take the keys.

        Args:
            keys: Those accepted.
            keys_file: Where some of `keys` are from; it is read anew when it changes.
            admin: Which keys, as for `load_keys`.

        Raises:
            ConfigError: A key is so short that it could be guessed.
        """
        self._name = "admin_key" if admin else "key"
        self._file = keys_file
        self._read = partial(load_keys, keys_file, admin=admin)
        self._names: dict[bytes, str] = {}  # of every key that there has been: logs stay clear
        self._looked_at = time.monotonic()
        self._stamp = _stamp(keys_file)
        in_file = set(self._read() if keys_file else ())
        keys = list(dict.fromkeys(keys))
        self._others = [_digest(key) for key in keys if key not in in_file]
        self._digests = self._digests_of(keys)

    def _digests_of(self, keys: Iterable[str]) -> dict[str, bytes]:
        digests = []
        for number, key in enumerate(keys, start=1):
            if len(key) < _SHORTEST:
                raise ConfigError(
                    f"{self._name} {number} has {len(key)} characters; give it {_SHORTEST} or "
                    "more, as `openssl rand -base64 24` makes them"
                )
            digests.append(_digest(key))
        for digest in digests:
            self._names.setdefault(digest, f"{self._name}{len(self._names) + 1}")
        return {self._names[digest]: digest for digest in digests}

    def _look_at_file(self) -> None:
        """Take the file's keys if it has changed; what is wrong with it changes nothing."""
        if not self._file or time.monotonic() < self._looked_at + _LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            others = {self._names[digest]: digest for digest in self._others}
            self._digests = others | self._digests_of(self._read())
        except ConfigError as error:
            log.error("the keys stay as they were: %s", error)
        else:
            log.info("the keys were read anew", extra={"keys": list(self._digests)})

    def __bool__(self) -> bool:
        """Say whether a key is needed at all."""
        return bool(self._digests)

    def shares(self, other: "KeyRing") -> bool:
        """Say whether another ring accepts a key of this one."""
        return not set(self._digests.values()).isdisjoint(other._digests.values())

    def name_of(self, presented: str) -> str | None:
        """Return the name of a key, "key1" and so on, or None for a wrong one."""
        self._look_at_file()
        digest = _digest(presented)
        # All are compared, each in constant time: how long it takes says nothing.
        names = [name for name, own in self._digests.items() if hmac.compare_digest(own, digest)]
        return names[0] if names else None


def load_keys(keys_file: Path | None, *, admin: bool = False) -> list[str]:
    """Read the API keys, or the admin keys, of the environment, taking them out of it, and a file.

    Args:
        keys_file: One key a line; of mode 0600 or 0400, or 0440 as Kubernetes mounts it.
        admin: Which keys.

    Raises:
        ConfigError: The file cannot be read, others may read it, or it holds no key.
    """
    named = take_from_environment(ADMIN_ENVIRONMENT if admin else ENVIRONMENT)
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
        raise ConfigError(f"{option}: others may use it (mode {others}); chmod 600 it, or 440")
    in_file = [line.strip() for line in lines if line.strip()]
    if not in_file:
        raise ConfigError(f"{option}: there is no key in it")
    return keys + in_file


def _stamp(file: Path | None) -> tuple[int, ...] | None:
    """Return what differs when a file, its mode or what its name leads to has changed."""
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return found and (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
