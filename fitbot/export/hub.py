"""An exported folder → a repository of the hub: the files of an export, and no others.

Which files go is a list of names that exports have, not of names to leave out: training data, logs,
events and optimizer state lie elsewhere, and whatever else is in the folder stays there.
"""

import logging
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fitbot.base_model.embedded import EMBEDDED
from fitbot.base_model.provenance import provenance_of
from fitbot.errors import ConfigError

logger = logging.getLogger(__name__)

_NAMES = (
    *("README.md", "fitbot.json", "Modelfile", "*.gguf"),
    *("adapter_config.json", "adapter_model.safetensors"),
    *(
        "config.json",
        "generation_config.json",
        "model*.safetensors",
        "model.safetensors.index.json",
    ),
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja"),
)
_WHY = {
    401: "the token is not valid; run hf auth login again",
    403: "the token may not write there; take one with the right to write, or another owner",
    404: "there is no such owner, or the token may not see it",
}


def check_repository(name: str) -> None:
    """Demand a name that the hub takes, as owner/name.

    Raises:
        ConfigError: It is another.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"--push {name}: {error}") from error
    if name.count("/") != 1:
        raise ConfigError(f"--push {name}: must be owner/name, such as ada/fitness-coach")


def files_of(folder: Path) -> list[Path]:
    """List the files of an export that are pushed, by name.

    Raises:
        AdapterError: The folder is no export of fitbot's.
    """
    provenance = provenance_of(folder, "base_model")
    base = provenance["base_model"]
    needs_base = (folder / "adapter_config.json").is_file()
    if needs_base and (base == EMBEDDED or Path(base).is_absolute()):
        logger.warning(
            "its base, %s, is not on the hub, and nobody can load an adapter without its base", base
        )
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return [file for file in files if any(fnmatch(file.name, name) for name in _NAMES)]


def push(folder: Path, name: str, *, private: bool, api: Any = None) -> str:
    """Make a repository, unless it is there, and upload an export as one commit.

    Args:
        folder: The export.
        name: Of the repository, owner/name.
        private: Whether others may not see it; of a repository that is there, nothing changes.
        api: huggingface_hub's, or one that stands for it.

    Returns:
        The repository's address.

    Raises:
        AdapterError: The folder is no export of fitbot's.
        ConfigError: There is no token, or the hub refuses or cannot be reached.
    """
    from httpx import HTTPError
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    names = [file.name for file in files_of(folder)]
    if get_token() is None:
        raise ConfigError("--push: no token here; run hf auth login, or set HF_TOKEN")
    api = api or HfApi()
    try:
        address = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=names,
            commit_message="Export of fitbot",
        )
    except OfflineModeIsEnabled as error:
        raise ConfigError("--push: HF_HUB_OFFLINE is set; unset it to reach the hub") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        why = _WHY.get(status, f"{status}: {str(error).splitlines()[0]}")
        raise ConfigError(f"--push {name}: the hub refuses: {why}") from error
    except (HTTPError, OSError) as error:  # of the connection
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"--push {name}: the hub cannot be reached: {why}; try again") from error
    return str(address)
