"""Every channel there is, by the name that subscriptions call it."""

from __future__ import annotations

from collections.abc import Mapping

from muniment.adapters.kafka_guest import GuestPublisher
from muniment.notifier.channels import Channel
from muniment.notifier.channels.apprise import AppriseChannel
from muniment.notifier.channels.kafka import KafkaChannel
from muniment.notifier.channels.mail import MailChannel
from muniment.notifier.channels.posted import PostedChannel
from muniment.notifier.channels.slack import slack_body
from muniment.notifier.channels.teams import teams_body
from muniment.notifier.channels.webhook import WebhookChannel
from muniment.notifier.outbound import Outbound
from muniment.notifier.sealing import Sealer
from muniment.runtime.settings import Settings


def channels_of(
    settings: Settings, outbound: Outbound, sealer: Sealer, guest: GuestPublisher | None
) -> Mapping[str, Channel]:
    """The channels under these settings. One that cannot be used here says so when a subscription names it."""
    own, links = settings.notifier, settings.notifier.public_url
    forbidden = frozenset({settings.kafka.topic_prefix, settings.kafka.group_prefix, *settings.ingest.topic_accounts})
    return {
        "webhook": WebhookChannel(outbound, sealer),
        "slack": PostedChannel(outbound, sealer, slack_body, links),
        "teams": PostedChannel(outbound, sealer, teams_body, links),
        "email": MailChannel(own.smtp, links),
        "kafka": KafkaChannel(guest, own.topic_prefixes, forbidden - {""}),
        "apprise": AppriseChannel(sealer, own.apprise_schemes, links),
    }
