"""All settings, read once (environment `MUNIMENT_...`, nested with `__`) and passed down in sections.

Nothing else reads the environment. Secrets are `SecretStr`: they print as stars.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PartMode = Literal["embedded", "external", "docker"]
Port = Annotated[int, Field(ge=1, le=65535)]
LockMode = Literal["COMPLIANCE", "GOVERNANCE"]


class Section(BaseModel):
    """A group of settings; unknown names are refused, so that a typing error is seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(Section):
    """The broker."""

    mode: PartMode = "embedded"
    bootstrap: str | None = None
    port: Port | None = None
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] | None = None
    username: str | None = None
    password: SecretStr | None = None
    cafile: Path | None = None
    topic_prefix: str = "muniment."
    group_prefix: str = "muniment."
    partitions: Annotated[int, Field(ge=1, le=1000)] = 6
    replication: Annotated[int, Field(ge=1, le=10)] = 1
    instance: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] = None
    """This replica's name in its consumer groups (`group.instance.id`, KIP-345), no other replica's. With it, a process
    that was killed has its partitions back as soon as it starts again, instead of 6 s after its death; one that is
    stopped for good leaves them idle for those 6 s. `muniment up` on the embedded broker has the name `up`."""
    topics_check_s: Annotated[float, Field(ge=1, le=3600)] = 300.0
    """How often the topics' settings are held against their declaration."""


class PostgresSettings(Section):
    """The database. `dsn` is a libpq URL."""

    mode: PartMode = "embedded"
    dsn: SecretStr | None = None
    pool_max: Annotated[int, Field(ge=2, le=100)] = 8
    """Connections of one service at most."""


class S3Settings(Section):
    """The object store. `public_endpoint` is the address that presigned URLs carry, where clients see another one."""

    mode: PartMode = "embedded"
    endpoint: str | None = None
    public_endpoint: str | None = None
    port: Port | None = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: SecretStr | None = None
    bucket: str = "muniment-models"
    threads: Annotated[int, Field(ge=2, le=128)] = 24


class HttpSettings(Section):
    """The HTTP API. A host that is not loopback needs `allow_remote`."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8686
    allow_remote: bool = False


class DeliverySettings(Section):
    """How events are taken and given (runtime/delivery)."""

    batch_records: Annotated[int, Field(ge=1, le=2000)] = 500
    attempts_in_place: Annotated[int, Field(ge=1, le=20)] = 3
    """Tries of a failing record before it leaves for a retry topic."""
    max_attempts: Annotated[int, Field(ge=1, le=10_000)] = 60
    """Tries in all before a transient failure becomes a dead letter (60: about nine hours)."""
    retry_scale: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Factor on the delays of the retry topics; tests make them short."""
    keep_days: Annotated[int, Field(ge=1, le=3650)] = 31
    """How long inbox and sent outbox rows stay: longer than any topic they answer for keeps records."""


class IngestSettings(Section):
    """The way in."""

    landing_buckets: frozenset[str] = frozenset({"muniment-landing"})
    allow_unsigned: bool | None = None
    """Take unsigned events, of every intake topic. None: on with the embedded broker only. Refused off loopback."""
    topic_accounts: dict[str, str] = {}
    """Intake topics and the one account that may write to each (by the broker's ACL).

    One that is not declared is an extra one, with training-completed events.
    """
    upload_expiry_s: Annotated[int, Field(ge=60, le=604_800)] = 3600
    part_size: Annotated[int, Field(ge=5 * 1024**2, le=5 * 1024**3)] = 64 * 1024**2
    single_put_max: Annotated[int, Field(ge=0, le=5 * 1024**3)] = 64 * 1024**2
    """Files up to this size go up in one PUT, larger ones in parts."""
    abandon_after_s: Annotated[int, Field(ge=60)] = 7 * 24 * 3600
    sweep_after_s: Annotated[int, Field(ge=60)] = 7 * 24 * 3600
    """How old leftovers of uploads must be before a sweep takes them."""
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Requests that begin or complete a publication, served at a time in one process; above it: 503."""
    max_pipeline: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Publications that are accepted and have not ended, at most, before HTTP answers 503."""


class ValidatorSettings(Section):
    """The checksum validator."""

    workers: Annotated[int, Field(ge=1, le=256)] = 16
    at_once_bytes: Annotated[int, Field(ge=0, le=64 * 1024**2)] = 8 * 1024**2
    """Publications up to this size are read as their event arrives; larger ones become jobs that workers lease."""
    lease_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    retry_base_s: Annotated[float, Field(gt=0, le=600)] = 1.0
    max_attempts: Annotated[int, Field(ge=1, le=10_000)] = 200
    allow_executable: bool = False
    """Let formats pass that can run code when they are loaded (pickle and its kin). They are flagged either way."""


class TrackSettings(Section):
    """The rules a track starts with."""

    lock_mode: LockMode = "COMPLIANCE"
    retention_s: Annotated[int, Field(ge=1)]


class ScrubSettings(Section):
    """Reading committed bytes again and again. Rates are bytes per second of all processes together."""

    enabled: bool = True
    """Off: nothing is read on its own; a pass that somebody asks for still is."""
    cycle_s: Annotated[int, Field(ge=60)] = 30 * 24 * 3600
    """Within this time every byte is read once: the rate follows from it and from what there is to read."""
    max_bytes_per_s: Annotated[int, Field(ge=64 * 1024)] = 64 * 1024**2
    """Never faster than this, even where the cycle then takes longer; a pass that somebody asks for runs at it."""


class IdentitySettings(Section):
    """Whose keyless signatures are believed: who, as vouched for by which OpenID Connect issuer."""

    issuer: Annotated[str, Field(min_length=1, max_length=500)]
    """Exact: `https://token.actions.githubusercontent.com`."""
    identity: Annotated[str, Field(min_length=1, max_length=1000)]
    """An e-mail address or a URI; `*` stands for any text."""


class SignatureSettings(Section):
    """Signatures of models (OMS): whose are believed, and the registry's own."""

    trusted_keys: tuple[Path, ...] = ()
    """Files with one EC public key in PEM each."""
    trusted_roots: tuple[Path, ...] = ()
    """Files with root certificates in PEM: a signer's certificate must lead to one of them."""
    sigstore_root: Path | None = None
    """Sigstore's `trusted_root.json`, by which keyless signatures are verified; needs `muniment[sigstore]`."""
    identities: tuple[IdentitySettings, ...] = ()
    """Whose keyless signatures are believed."""
    signing_key: SecretStr | None = None
    """EC private key on P-256 in PEM, for attestations. None: `secrets/signing.key` in the data folder, made on first
    start. Processes that share a registry need the same one."""
    builder_id: Annotated[str, Field(min_length=1, max_length=500)] = "https://muniment.invalid/builder"
    """Who runs trainings, in provenance: a URI that you own. Verifiers pin it together with the key."""


class RegistrySettings(Section):
    """The registry. Retention is what the store is asked to hold a version's bytes for, in seconds."""

    production: TrackSettings = TrackSettings(retention_s=365 * 24 * 3600)
    experimental: TrackSettings = TrackSettings(retention_s=30 * 24 * 3600)
    download_expiry_s: Annotated[int, Field(ge=10, le=604_800)] = 900
    retention_margin_s: Annotated[int, Field(ge=1)] = 7 * 24 * 3600
    """A referenced object's retention is extended when less than this is left of it."""
    compare_max_bytes: Annotated[int, Field(ge=0)] = 4 * 1024**3
    """Bytes of tensors that one `diff` may read, of both versions together."""
    sweep_after_s: Annotated[int, Field(ge=60)] = 7 * 24 * 3600
    """How old leftovers of releases must be before a sweep takes them, and how long ago a leftover's lock ended."""
    scrub: ScrubSettings = ScrubSettings()
    signatures: SignatureSettings = SignatureSettings()


class WitnessSettings(Section):
    """One witness: the URL that `/add-checkpoint` is below, and its key, `NAME+ID+BASE64` of type 4."""

    url: str
    vkey: str


class WitnessingSettings(Section):
    """Who cosigns. A checkpoint is published whether they answer or not; readers decide how many they require."""

    witnesses: Annotated[tuple[WitnessSettings, ...], Field(max_length=32)] = ()
    timeout_s: Annotated[float, Field(gt=0, le=30)] = 0.5
    """How long cosignatures are waited for, all requests together; a checkpoint is shown before."""
    every_s: Annotated[float, Field(ge=0.1, le=3600)] = 1.0
    """Between two askings at least: of several checkpoints meanwhile the newest is cosigned, which covers them."""


class AuditSettings(Section):
    """The audit log."""

    origin: str | None = None
    """The log's name in checkpoints, for ever: a URL without scheme that you own. None: `muniment/` and 16 random hex
    digits, made on first start."""
    bucket: str = "muniment-audit"
    """The log's own bucket, for one log alone; made with object lock."""
    retention_s: Annotated[int, Field(ge=1)] = 10 * 365 * 24 * 3600
    """How long full tiles and entries are locked there."""
    extend_below: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """A lock is extended by another retention when less than this part of a retention is left of it."""
    alarm_below: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """A lock that has less than this part left rings an alarm: it should have been extended."""
    checkpoints_kept: Annotated[int, Field(ge=100)] = 10_000
    """So many of the newest checkpoints stay in Postgres, whatever their age."""
    checkpoints_hourly_days: Annotated[int, Field(ge=0, le=36_500)] = 30
    """Of older ones the last of each hour stays for so many days, from then on the last of each day."""
    signing_keys: SecretStr | None = None
    """The log's keys, oldest first: 32-byte Ed25519 seeds in base64, apart by white space or commas. None: a key file
    in the data folder, made on first start."""
    witnessing: WitnessingSettings = WitnessingSettings()
    continues: Path | None = None
    """The end of an older log, as `muniment audit close-log` wrote it: a log that begins has it in its first entry."""

    @model_validator(mode="after")
    def _ordered(self) -> AuditSettings:
        if self.alarm_below >= self.extend_below:
            raise ValueError("audit_alarm_too_early: alarm_below must be less than extend_below")
        return self


class SmtpSettings(Section):
    """The mail server. The e-mail channel is off without a host and a sender."""

    host: str | None = None
    port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    """`none` sends in clear, so it cannot be had with a password."""
    username: str | None = None
    password: SecretStr | None = None
    sender: Annotated[str | None, Field(pattern=r"^[!-?A-~]{1,64}@[A-Za-z0-9.-]{1,253}$")] = None
    """The address that mails come from."""
    domains: frozenset[str] = frozenset()
    """Domains that mails may go to, in lower case. Empty: any."""
    cafile: Path | None = None

    @model_validator(mode="after")
    def _complete(self) -> SmtpSettings:
        if (self.host is None) != (self.sender is None):
            raise ValueError("smtp_incomplete: a mail server needs both host and sender")
        if self.security == "none" and self.password is not None:
            raise ValueError("smtp_password_in_clear: a password is sent over TLS only (security starttls or tls)")
        if (self.username is None) != (self.password is None):
            raise ValueError("smtp_incomplete: username and password go together")
        return self


class NotifierSettings(Section):
    """Deliveries."""

    allow_private_networks: bool | None = None
    """Deliver to addresses that are not globally routable. None: loopback alone, where all parts are embedded."""
    workers: Annotated[int, Field(ge=1, le=256)] = 128
    """Deliveries under way at once in one process. Each holds its event in memory."""
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 15.0
    retry_scale: Annotated[float, Field(gt=0, le=10)] = 1.0
    feed_days: Annotated[int, Field(ge=1, le=3650)] = 30
    max_streams: Annotated[int, Field(ge=0, le=2_000)] = 200
    """Event streams (`GET /api/v1/events/stream`) at once in one process."""
    secret_key: SecretStr | None = None
    """32 bytes in base64: seals signing secrets at rest. None: a key file in the data folder, made on first start."""
    public_url: Annotated[str | None, Field(pattern=r"^https?://[!-~]{1,500}$")] = None
    """The address under which people reach the API: links in messages begin with it. None: messages have no links."""
    smtp: SmtpSettings = SmtpSettings()
    topic_prefixes: frozenset[str] = frozenset({"subscriber."})
    """Beginnings of the names of Kafka topics that subscriptions may name. Empty: none."""
    apprise_schemes: frozenset[str] = frozenset({"discord", "opsgenie", "pagerduty", "pbul", "pover", "tgram"})
    """Apprise URL schemes that subscriptions may name. The defaults are services with fixed hosts; a scheme whose host
    the user names (`json`, `mailto`, ...) reaches any address from here."""


class Settings(BaseSettings):
    """Everything that can be set. `MUNIMENT_DATA_DIR`, `MUNIMENT_KAFKA__BOOTSTRAP`, ..."""

    model_config = SettingsConfigDict(
        env_prefix="MUNIMENT_", env_nested_delimiter="__", frozen=True, extra="ignore", secrets_dir=None
    )

    data_dir: Path = Path(".muniment")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"
    stop_at: str | None = None
    """Debugging: the process kills itself with SIGKILL at this named step (docs/reliability.md lists them)."""
    kafka: KafkaSettings = KafkaSettings()
    postgres: PostgresSettings = PostgresSettings()
    s3: S3Settings = S3Settings()
    http: HttpSettings = HttpSettings()
    delivery: DeliverySettings = DeliverySettings()
    ingest: IngestSettings = IngestSettings()
    validator: ValidatorSettings = ValidatorSettings()
    registry: RegistrySettings = RegistrySettings()
    audit: AuditSettings = AuditSettings()
    notifier: NotifierSettings = NotifierSettings()
