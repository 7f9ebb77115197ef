"""What pyproject.toml cannot say yet: that files are compiled at install. Where that fails, faiss and numpy do the same
work more slowly (`recsys/index/walks.py`, `mended_links.py`, `recsys/gathering.py`, `recsys/ranking/picking.py`).
"""

from setuptools import Extension, setup


def compiled(name: str, *flags: str) -> Extension:
    """The module of the C file of its name."""
    return Extension(
        name,
        [name.replace(".", "/") + ".c"],
        extra_compile_args=["-O3", *flags],
        extra_link_args=list(flags),
        py_limited_api=True,
        optional=True,
    )


setup(
    ext_modules=[
        compiled("recsys.index.walking", "-pthread", "-lm"),
        compiled("recsys.index.mending"),
        compiled("recsys.gathered"),
        compiled("recsys.ranking.picks"),
    ]
)
