"""What pyproject.toml cannot say yet: that files are compiled at install. Where that fails, faiss, scipy, numpy
and onnxruntime do the same work more slowly (`recsys/index/walks.py`, `mended_links.py`, `recsys/gathering.py`,
`recsys/shard/chosen_rows.py`, `recsys/ranking/blending.py`, `rescoring.py`, `picking.py`, `quickscorer.py`,
`recsys/model/sparse_sums.py`, `recsys/encoders/bert_layers.py`).
"""

from setuptools import Extension, setup

ROUNDED = "-ffp-contract=off"
"""Sums are rounded after each product, as those are that they replace."""


def compiled(name: str, *flags: str) -> Extension:
    """The module of the C file of its name."""
    return Extension(
        name,
        [name.replace(".", "/") + ".c"],
        depends=[
            "recsys/module.h",
            "recsys/sorting.h",
            "recsys/ranking/by_score.h",
            "recsys/ranking/forest.h",
            "recsys/encoders/byte_products.h",
            "recsys/encoders/attention.h",
        ],
        extra_compile_args=["-O3", *flags],
        extra_link_args=list(flags),
        py_limited_api=True,
        optional=True,
    )


setup(
    ext_modules=[
        compiled("recsys.index.walking", "-pthread", "-lm"),
        compiled("recsys.index.mending"),
        compiled("recsys.encoders.bert", ROUNDED),
        compiled("recsys.gathered"),
        compiled("recsys.shard.choosing"),
        compiled("recsys.ranking.picks"),
        compiled("recsys.ranking.blends", ROUNDED),
        compiled("recsys.model.summing", ROUNDED),
        compiled("recsys.ranking.scoring", ROUNDED),
    ]
)
