"""Every broker of the house holds the laws."""

import pytest

from outlast.testing.exercise import BROKER_LAWS


@pytest.mark.parametrize("law", BROKER_LAWS.values(), ids=BROKER_LAWS)
async def test_a_broker_holds_the_law(house, law):
    await law(house)
