"""A client of Supabase's REST API without what it costs to trust every authority of the web."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from tests.services.certificates import make_certificate


@contextmanager
def one_authority() -> Iterator[None]:
    """httpx trusts one authority here, that of nobody, as the variable it knows for it says.

    It reads all of them for each client, which takes 25 ms, and nothing is encrypted on a
    loopback address. Which certificates are believed is in end_to_end/test_certificates.py.
    """
    with patch.dict(os.environ, {"SSL_CERT_FILE": str(_nobody())}):
        yield


@functools.cache
def _nobody() -> Path:
    """One file as long as this process lives: processes that it forks from keep the variable."""
    folder = tempfile.mkdtemp(prefix="authority-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return make_certificate(Path(folder), "nobody.example")
