"""Whether a Postgres connection is encrypted: libpq alone would fall back to plain text.

Its own default (`prefer`) takes a server's word that there is no TLS, and so anybody's in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address

from psycopg import ProgrammingError, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

LIBPQ_DEFAULT = "prefer"
NO_TLS_MEND = (
    "switch TLS on at the server; only if you trust the whole network between: "
    "add ?sslmode=disable to DATABASE_URL"
)
CERTIFICATE_MEND = (
    "see who answers at that address; if it is your server, correct sslrootcert, or the host, in "
    "DATABASE_URL"
)
SUPABASE_HOSTS = (".supabase.co", ".supabase.com")
SUPABASE_CERTIFICATE = (
    "download Supabase's certificate (dashboard: Database, Settings, SSL Configuration, "
    "Download certificate) and add sslmode=verify-full&sslrootcert=/path/to/prod-ca-2021.crt to "
    "DATABASE_URL"
)
ANY_CERTIFICATE = (
    "add sslmode=verify-full&sslrootcert=/path/to/ca.crt to DATABASE_URL, with the certificate of "
    "the authority that signed the server's (of a public one: "
    "/etc/ssl/certs/ca-certificates.crt)"
)


def with_tls(conninfo: str) -> str:
    """The same connection string, with sslmode=require where nothing says how far TLS must go.

    Nothing is changed where every host is this machine, or where the string, PGSSLMODE or a
    service says more or less. `prefer` counts as said in the string alone: elsewhere libpq's
    answer does not tell it from its own default.

    Raises:
        psycopg.ProgrammingError: the string cannot be read.
    """
    options = _options(conninfo)
    if "sslmode" in conninfo_to_dict(conninfo) or options.get("sslmode") != LIBPQ_DEFAULT:
        return conninfo
    return make_conninfo(conninfo, sslmode="require") if _remote_hosts(options) else conninfo


def tls_advice_of(database_url: str) -> str | None:
    """As `tls_advice`, for any DATABASE_URL; one that cannot be read is another check's matter."""
    if "://" not in database_url:
        return None
    try:
        return tls_advice(database_url)
    except ProgrammingError:
        return None


def tls_advice(conninfo: str) -> str | None:
    """What would make this connection safer, as `what is so: what to do`; None if nothing.

    Raises:
        psycopg.ProgrammingError: the string cannot be read.
    """
    options = _options(with_tls(conninfo))
    hosts, mode = _remote_hosts(options), options.get("sslmode", "")
    if not hosts or mode == "verify-full":
        return None
    of_supabase = all(host.endswith(SUPABASE_HOSTS) for host in hosts)
    mend = SUPABASE_CERTIFICATE if of_supabase else ANY_CERTIFICATE
    return f"{_weakness(mode, options)} (sslmode={mode}): {mend}"


def tls_mend(said: str) -> str | None:
    """What mends a refused connection whose libpq message speaks of TLS; None for any other."""
    lowered = said.lower()
    if "does not support ssl" in lowered:
        return NO_TLS_MEND
    if "root certificate file" in lowered and "does not exist" in lowered:
        return "give sslrootcert in DATABASE_URL the path of the certificate authority's file"
    if "certificate" in lowered and ("verify failed" in lowered or "does not match" in lowered):
        return CERTIFICATE_MEND
    return None


def _weakness(mode: str, options: Mapping[str, str]) -> str:
    if mode == "verify-ca" or (mode == "require" and "sslrootcert" in options):
        return "the database connection is encrypted, but the server's name is not checked"
    if mode == "require":
        return "the database connection is encrypted, but any server would be believed"
    return "the database connection may go over the network in clear text"


def _options(conninfo: str) -> Mapping[str, str]:
    """Every option as libpq itself understands it: from the string, a service, PG… variables.

    Nothing is connected: libpq fills in all options, then stumbles over the last one.
    """
    stumbling = make_conninfo(conninfo, target_session_attrs="nowhere")
    connection = pq.PGconn.connect_start(stumbling.encode())
    try:
        return {o.keyword.decode(): o.val.decode() for o in connection.info if o.val}
    finally:
        connection.finish()


def _remote_hosts(options: Mapping[str, str]) -> list[str]:
    """Hosts that are not this machine; an address in hostaddr is where libpq really goes."""
    hosts = options.get("host", "").split(",")
    addresses = options.get("hostaddr", "").split(",")
    length = max(len(hosts), len(addresses))
    hosts += [""] * (length - len(hosts))
    addresses += [""] * (length - len(addresses))
    return [
        host or address
        for host, address in zip(hosts, addresses, strict=True)
        if not _is_this_machine(address or host)
    ]


def _is_this_machine(host: str) -> bool:
    if not host or host.startswith(("/", "@")):  # libpq's own socket, a socket's path
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
