"""The reference's log-probs of a list of pairs: computed once, kept on disk under an exact key.

They never change during a run, nor between runs of another beta, learning rate, seed or output
folder; so the key is a hash of what determines them and of nothing else: the base's weight files,
how they are held and computed with, the adapter that stands for the reference if there is one, and,
pair by pair, the token ids that are scored. Pairs are looked up one by one, so another train_limit
or a grown file computes the missing pairs only.
"""

import hashlib
import json
import logging
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save_file
from torch import Tensor

from fitbot.base_model.base_files import base_files
from fitbot.base_model.settings import BaseSettings
from fitbot.cluster.processes import (
    from_first,
    largest_over_processes,
    num_processes,
    rank,
    sum_over_processes,
)
from fitbot.pairs.batch import Layout, collate_pairs, pack_by_tokens
from fitbot.pairs.store import KEY_BYTES, PairStore
from fitbot.platforms import replace_file
from fitbot.policy.policy import Policy, to_device
from fitbot.report.progress import Progress

logger = logging.getLogger(__name__)

# Raise it whenever the same ids would be scored differently: another rule, another rendering.
SCORING_RULE = "sum of completion token log-probs, float32, v1"

_STORE_EVERY_SECONDS = 60


class ReferenceCache(NamedTuple):
    """Where one reference's log-probs are kept."""

    file: Path

    def lookup(self, keys: NDArray[np.uint64]) -> Tensor:
        """Find what is known, by the (N, 2) keys of pairs: (N, 2) nats, NaN where nothing is."""
        known, logps = self._read()
        found = torch.full((len(keys), 2), float("nan"))
        if len(known):
            order = np.argsort(known[:, 0])
            places = np.searchsorted(known[order, 0], keys[:, 0])
            places = order[np.minimum(places, len(order) - 1)]
            hits = (known[places] == keys).all(axis=1)
            found[torch.from_numpy(hits)] = logps[torch.from_numpy(places[hits])]
        return found

    def store(self, keys: NDArray[np.uint64], logps: Tensor) -> None:
        """Add pairs to the file, in one atomic replacement."""
        known, before = self._read()
        merged, first = np.unique(np.concatenate([keys, known]), axis=0, return_index=True)
        values = torch.cat([logps.cpu(), before])[torch.from_numpy(first)]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=self.file.parent, suffix=".partial")
        os.close(handle)
        as_bytes = torch.from_numpy(merged.view(np.uint8).reshape(len(merged), KEY_BYTES))
        save_file({"keys": as_bytes, "logps": values}, partial)
        replace_file(Path(partial), self.file)

    def _read(self) -> tuple[NDArray[np.uint64], Tensor]:
        if not self.file.exists():
            return np.empty((0, 2), dtype=np.uint64), torch.empty(0, 2)
        content = load(self.file.read_bytes())  # mapped, Windows would not let it be replaced
        return content["keys"].numpy().view(np.uint64), content["logps"]


def open_reference_cache(
    folder: Path,
    settings: BaseSettings,
    *,
    expanded: bool,
    compute_dtype: torch.dtype,
    device: torch.device,
    layout: Layout,
    engine: str,
    adapter: str | None,
) -> ReferenceCache:
    """Name the cache file of one reference; all processes take the first one's word for the base.

    Args:
        folder: Where caches live.
        settings: Which base and how it is held.
        expanded: Whether NF4 weights were expanded; the same values, other rounding.
        compute_dtype: What matrix products run in.
        device: Its kind, for the same reason.
        layout: For the same reason.
        engine: For the same reason.
        adapter: Folder of the frozen adapter that is the reference; None for the bare base.
    """
    identity = {
        "rule": SCORING_RULE,
        "base": from_first(_hash_weights(base_files(settings.base_model)) if rank() == 0 else ""),
        "load_in_4bit": settings.load_in_4bit,
        "expanded": expanded,
        "compute_dtype": str(compute_dtype),
        "device": device.type,
        "layout": layout,
        "engine": engine,
        "backend": settings.backend,
        "adapter": adapter and _hash_weights(sorted(Path(adapter).glob("adapter_*"))),
    }
    name = hashlib.blake2b(
        json.dumps(identity, sort_keys=True).encode(), digest_size=12
    ).hexdigest()
    return ReferenceCache(folder / f"{name}.safetensors")


def cached_reference_logps(
    policy: Policy,
    pairs: PairStore,
    cache: ReferenceCache,
    *,
    layout: Layout,
    pad_id: int,
    max_tokens: int,
    smaller: Callable[[int], int],
) -> Tensor:
    """Take the reference's log-probs from the cache and compute those that it lacks.

    All processes compute a share of them; the first one reads and writes the file.

    Args:
        policy: Whose reference it is.
        pairs: N pairs.
        cache: Where they are kept.
        layout: How pairs lie in a forward pass.
        pad_id: Token that fills a row.
        max_tokens: Tokens of one forward pass.
        smaller: Called with the tokens of the longest pair where memory runs out; frees some and
            returns a lower `max_tokens`.

    Returns:
        (N, 2) float32 nats on the CPU: chosen, rejected.
    """
    keys, sizes = pairs.keys(), pairs.sizes()
    logps = from_first(cache.lookup(keys) if rank() == 0 else torch.empty(0))
    missing = logps.isnan().any(-1).nonzero().flatten().tolist()

    def run(indices: list[int]) -> Tensor:
        batch = collate_pairs([pairs[i] for i in indices], layout=layout, pad_id=pad_id)
        return policy.reference_logps(to_device(batch, policy.device)).cpu()

    def save(indices: list[int], found: Tensor) -> None:
        if rank() == 0:
            cache.store(keys[indices], found[indices])

    if missing:
        # Sorted by length: rows of like length waste less padding; the result is per pair anyway.
        missing.sort(key=sizes.__getitem__)
        computed = _compute_share(policy, missing, sizes, max_tokens, run, smaller, save)
        logps[missing] = sum_over_processes(computed.to(policy.device)).cpu()[missing]
        save(missing, logps)
    logger.info(
        "reference log-probs: %d of %d pairs from %s, %d computed",
        len(pairs) - len(missing),
        len(pairs),
        cache.file,
        len(missing),
    )
    return logps


def _compute_share(
    policy: Policy,
    missing: list[int],
    sizes: NDArray[np.int64],
    max_tokens: int,
    run: Callable[[list[int]], Tensor],
    smaller: Callable[[int], int],
    save: Callable[[list[int], Tensor], None],
) -> Tensor:
    """Run this process's share of the missing pairs: (N, 2) nats, 0 for all other pairs."""
    share = missing[rank() :: num_processes()]
    groups = deque(_groups_of(share, sizes, max_tokens))
    computed = torch.zeros(len(sizes), 2)
    unsaved: list[int] = []
    saved_at = time.perf_counter()
    progress = Progress("reference log-probs of pairs", len(share), shown=rank() == 0)
    while _are_left(policy, len(groups)):
        indices = groups.popleft() if groups else []
        try:
            # Who is done goes on with any pair, if the others need its part of the base.
            found = run(indices or missing[:1])
        except torch.cuda.OutOfMemoryError:
            found = None
        # Only here is what the failed pass held free again.
        if found is None:
            left = [*indices, *chain.from_iterable(groups)]
            groups = deque(_groups_of(left, sizes, smaller(int(sizes[share].max()))))
            continue
        computed[indices] = found[: len(indices)]
        progress.update(len(indices))
        # Now and then, so that a run that is cut off does not start from nothing again.
        unsaved += indices
        if time.perf_counter() - saved_at > _STORE_EVERY_SECONDS:
            save(unsaved, computed)
            unsaved, saved_at = [], time.perf_counter()
    progress.close()
    return computed


def _groups_of(indices: list[int], sizes: NDArray[np.int64], max_tokens: int) -> list[list[int]]:
    """Split indices of pairs into groups of at most so many tokens, in order."""
    groups = pack_by_tokens(sizes[indices].tolist(), max_tokens)
    return [[indices[place] for place in group] for group in groups]


def _are_left(policy: Policy, num_groups: int) -> bool:
    """Whether pairs are left, here or, where all must run as many passes, in any process."""
    if policy.is_sharded:
        return largest_over_processes(num_groups, policy.device) > 0
    return num_groups > 0


def _hash_weights(files: Iterable[str | Path]) -> str:
    """Hash files side by side: SHA-256 takes a core about a second a GB, and a 70B base has 140."""

    def hash_of(path: str | Path) -> bytes:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    with ThreadPoolExecutor() as threads:
        return hashlib.sha256(b"".join(threads.map(hash_of, files))).hexdigest()
