"""What pyproject.toml cannot say yet: that three files are compiled at install. Where that fails, faiss and numpy do
the same work more slowly (`recsys/index/walks.py`, `mended_links.py`, `recsys/gathering.py`).
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "recsys.index.walking",
            ["recsys/index/walking.c"],
            extra_compile_args=["-O3", "-pthread"],
            extra_link_args=["-pthread"],
            py_limited_api=True,
            optional=True,
        ),
        Extension(
            "recsys.index.mending",
            ["recsys/index/mending.c"],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        ),
        Extension(
            "recsys.gathered",
            ["recsys/gathered.c"],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        ),
    ]
)
