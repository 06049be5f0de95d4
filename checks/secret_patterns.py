"""What the secrets of this program look like, for the scan in secrets.py."""

from __future__ import annotations

import re
from typing import ClassVar

from detect_secrets.plugins.base import RegexBasedDetector


class SecretOfThisProgram(RegexBasedDetector):
    """Known by its shape, wherever it stands."""

    secret_type: ClassVar[str] = "Secret of this program"
    denylist: ClassVar[list[re.Pattern[str]]] = [
        re.compile(pattern)
        for pattern in (
            r"1//0[\w-]{30,}",  # Google: refresh token
            r"ya29\.[\w-]{20,}",  # Google: access token
            r"GOCSPX-[\w-]{20,}",  # Google: client secret
            r"AIza[\w-]{35}",  # Google: API key
            r"sb_secret_[\w-]{20,}",  # Supabase: service key
            r"sbp_[0-9a-f]{40}",  # Supabase: access token of an account
            r"gAAAAA[\w-]{60,}={0,2}",  # a token encrypted with ENCRYPTION_KEY
            r"(?<![\w+/-])[\w-]{43}=(?![\w=])",  # ENCRYPTION_KEY
            r"token_auth=[0-9a-f]{32}",  # Matomo
            r"hc-ping\.com/[\w-]{20,}",  # HEALTHCHECK_URL
            r"discord(?:app)?\.com/api/webhooks/\d+/[\w-]+",  # ALERT_WEBHOOK_URL
            # A line of .env, whatever the value looks like
            r"^(?:export )?[A-Z_]*(?:TOKEN|SECRET|PASSWORD|_KEY)=[^\s\"'()]*\d[^\s\"'()]{8,}$",
        )
    ]
