"""Values of user code are written so that what is read back is what was there, or not at all."""

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter

from outlast.core.errors import InvalidInputError
from outlast.sdk.written import written

NAN, INFINITY = float("nan"), float("inf")


class Mean(BaseModel):
    value: float | None
    note: str | None = None


class Spelled(Mean):
    model_config = ConfigDict(ser_json_inf_nan="strings")


class Constant(Mean):
    model_config = ConfigDict(ser_json_inf_nan="constants")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (float, NAN),
        (Any, -INFINITY),
        (list[float | None], [None, INFINITY]),
        (Mean, Mean(value=NAN)),
        (Constant, Constant(value=INFINITY)),
        (Any, [Mean(value=1.0), Mean(value=NAN)]),
        (Any, object()),
        (str, "\ud800"),
        (Any, {"null": NAN}),
    ],
)
def test_what_json_has_not_is_refused(kind, value):
    with pytest.raises(InvalidInputError, match=r"^the result can't be written as JSON"):
        written(TypeAdapter(kind), value, "the result")


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (Any, None, "null"),
        (str, "null NaN Infinity", '"null NaN Infinity"'),
        (Mean, Mean(value=None), '{"value":null,"note":null}'),
        (Spelled, Spelled(value=NAN), '{"value":"NaN","note":null}'),
        (dict[str, Any], {"a": [None, "NaN"]}, '{"a":[null,"NaN"]}'),
    ],
)
def test_what_json_has_is_written_as_it_is(kind, value, text):
    assert written(TypeAdapter(kind), value, "the result") == text
