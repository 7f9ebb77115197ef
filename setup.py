"""What pyproject.toml cannot say yet: that a file is compiled at install. Where that fails, faiss does the same work
more slowly (`recsys/index/walks.py`).
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
        )
    ]
)
