"""Which packages are installed; nothing here imports them, as one may be broken."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from fitbot.doctor.block import Fact
from fitbot.version import __version__

_PACKAGES = (
    *("torch", "triton", "lightning", "transformers", "peft", "bitsandbytes", "accelerate"),
    *("tokenizers", "datasets", "numpy", "litserve", "gguf", "xllamacpp", "unsloth", "ray"),
)


def software() -> Iterator[Fact]:
    """Yield what is installed, in which version."""
    yield "fitbot", f"{__version__}, Python {platform.python_version()}"
    yield "platform", platform.platform()
    found = {name: version_of(name) for name in _PACKAGES}
    yield "packages", ", ".join(f"{name} {it}" for name, it in found.items() if it)
    if missing := [name for name, it in found.items() if not it]:
        yield "without", ", ".join(missing)


def version_of(package: str) -> str | None:
    """Return an installed package's version; None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
