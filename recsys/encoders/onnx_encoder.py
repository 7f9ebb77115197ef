"""An exported graph, run by onnxruntime: no torch in the process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from tokenizers import Tokenizer

from recsys.datatypes import Floats
from recsys.encoders.batches import by_length, padded
from recsys.encoders.exported import MODEL
from recsys.errors import VersionError

BATCH_TOKENS = 256
"""Tokens of one run of the graph: of 128 to 4096, 256 was fastest on short, long and mixed texts, up to twice."""
_SLOWER_FUSIONS = ["SkipLayerNormFusion", "BiasSkipLayerNormFusion"]
"""On CPUs onnxruntime 1.32 can run the fused kernel slower than the Add and LayerNormalization that it replaces."""


class Graph:
    """Tokenizer and graph together: texts in, unit vectors out."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, *, threads: int, batch_tokens: int = BATCH_TOKENS) -> None:
        """Raises VersionError when onnxruntime cannot load it."""
        self._tokenizer = tokenizer
        self._batch_tokens = batch_tokens
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_mem_pattern = False  # plans memory for one shape, and every batch has another
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / MODEL), options, ["CPUExecutionProvider"], disabled_optimizers=_SLOWER_FUSIONS
            )
        except Exception as error:  # its own errors share no base but this
            version = onnxruntime.__version__
            raise VersionError(f"onnxruntime {version} cannot load {folder / MODEL}: {error}") from error

    def vectors(self, texts: Sequence[str]) -> Floats:
        """(n, dimension) float32 unit vectors. Row i is that of texts[i], whatever the order in which they were run."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        parts, rows = [], []
        for batch in by_length([len(row) for row in tokens], self._batch_tokens):
            ids, mask = padded([tokens[i] for i in batch])
            parts.append(self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0])
            rows.append(batch)
        unordered = np.concatenate(parts)
        vectors = np.empty_like(unordered)
        vectors[np.concatenate(rows)] = unordered
        return vectors
