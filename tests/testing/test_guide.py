"""The guide's code is a test file as a user may have it, and it passes."""

import subprocess
import sys

from tests.pages import blocks, pages

BACKEND = "import pytest\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"


def test_the_tests_of_the_guide_pass(tmp_path):
    code = [b.text for b in blocks("testing.md", pages()["docs/testing.md"]) if b.is_run]
    (tmp_path / "test_shop.py").write_text("\n".join(code))
    (tmp_path / "conftest.py").write_text(BACKEND)

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-o", "anyio_mode=auto"],
        check=False, cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert "5 passed" in ran.stdout, ran.stdout + ran.stderr
