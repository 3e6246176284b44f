"""Every store of the house holds the laws."""

import pytest

from outlast.testing import blob_laws
from outlast.testing.exercise import laws_of

LAWS = laws_of(blob_laws)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
async def test_a_store_holds_the_law(store, law):
    await law(store)
