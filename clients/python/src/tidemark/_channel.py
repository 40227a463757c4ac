"""What a channel to a gateway is made of, for blocking and asyncio code alike."""

from urllib.parse import urlsplit

from tidemark._rules import Settings

# The largest message on both sides, in bytes: what the contract asks of clients.
MAX_MESSAGE_BYTES = 32 << 20

# The longest that the channel itself waits before it connects again, in milliseconds; the rest of the waiting is F-6's.
MAX_RECONNECT_MS = 1000


def target_of(url: str) -> tuple[str, bool]:
    """`host:port` of a gateway's URL, and whether it speaks TLS."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ValueError(f"url must be http://HOST:PORT or https://HOST:PORT, not {url!r}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or (443 if secure else 80)}", secure


def options_of(settings: Settings) -> list[tuple[str, int]]:
    """Options of a channel: room for large messages, pings that notice a dead connection, a connection of its own."""
    ping_ms = max(int(settings.idle_timeout * 1000 / 3), 1)
    return [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", ping_ms),
        ("grpc.keepalive_timeout_ms", ping_ms),
        ("grpc.http2.ping_timeout_ms", ping_ms),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.min_reconnect_backoff_ms", MAX_RECONNECT_MS),
        ("grpc.initial_reconnect_backoff_ms", min(int(settings.min_delay * 1000) or 1, MAX_RECONNECT_MS)),
        ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_MS),
        ("grpc.use_local_subchannel_pool", 1),
    ]


def metadata_of(credential: str | None, owner: str | None) -> list[tuple[str, str]]:
    """Who is calling, as metadata."""
    metadata = []
    if credential is not None:
        metadata.append(("authorization", f"Bearer {credential}"))
    if owner is not None:
        metadata.append(("x-tidemark-owner", owner))
    return metadata
