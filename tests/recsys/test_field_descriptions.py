"""Docstrings of fields become their descriptions, as pydantic itself would have it."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model

from recsys.config.described import Described, docstrings
from recsys.config.scenarios import Scenario


class Read(BaseModel):
    """pydantic reads the docstrings when a class is made."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def kinds(base: type[BaseModel]) -> type[BaseModel]:
    class Inner(base):  # type: ignore[misc, valid-type]
        """Of a part."""

        count: int = 1
        """How many."""

    class Outer(base):  # type: ignore[misc, valid-type]
        part: Inner = Inner()
        """What it
        holds.
        """
        told: Annotated[int, Field(description="by itself")] = 0
        """This is not its description."""
        other: int = Field(0, alias="by_another_name")
        """Known by another name."""
        bare: str = ""
        lost: str | None = None
        """Which the class below declares without words."""

    class Below(Outer):
        bare: str = ""
        """Here it has some."""
        lost: str | None = None

    return Below


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_the_schema_is_pydantics(mode: Any) -> None:
    here, there = (kinds(base).model_json_schema(mode=mode) for base in (Described, Read))
    assert here == there
    assert here["properties"]["part"]["description"] == "What it\nholds."
    assert "description" not in here["properties"]["lost"]


def test_what_is_made_without_a_source_has_the_words_of_its_base() -> None:
    more = create_model("Scenario", __base__=Scenario, extra=(int, 0))
    assert docstrings(more) == docstrings(Scenario)
    assert more.model_json_schema()["properties"]["weights"]["description"] == docstrings(Scenario)["weights"]
