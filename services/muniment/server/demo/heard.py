"""The demo's last steps: what those who subscribed were told, and how they know that it is true."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import hmac
import json
from typing import Any

from muniment.server.demo.mailbox import Mailbox
from muniment.server.demo.story import check, say, title
from muniment.server.demo.witnesses import WebhookReceiver


def hear_webhook(receiver: WebhookReceiver, version: Any, flow: str, secret: str) -> None:
    """Verify a webhook's signature as any receiver can, by hand and with the library of Standard Webhooks."""
    title("the webhook receiver heard of the first version, and verifies who says so")
    from standardwebhooks import Webhook

    headers, body = receiver.until(flow)
    name, moment = headers["webhook-id"], headers["webhook-timestamp"]
    say(f"  came      POST {len(body)} B, {headers['content-type']}, webhook-id {name}")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    say(f"  the key   is the secret of the subscription without `whsec_`, from base64: {len(key)} bytes")
    signed = f"{name}.{moment}.".encode() + body
    say(f"  signed    is {name[:8]}….{moment}.BODY: {len(signed)} bytes")
    own = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    say(f"  HMAC-SHA256 of it, in base64:  {own}\n  webhook-signature of it:       {headers['webhook-signature']}")
    check(own in headers["webhook-signature"].split(), "the signature is the secret's", headers["webhook-signature"])
    Webhook(secret).verify(body, headers)
    told = json.loads(body)
    say(f"  => {told['type']} {told['data']['model']}/{told['data']['number']}; the library agrees")
    check(told["data"]["id"] == version.id, "the webhook names the version", told["data"]["id"])


def read_mail(mailbox: Mailbox, client: Any, version: Any, subscription: dict[str, Any]) -> None:
    """Read the mail about the version, and hold its Message-ID against the ledger of deliveries."""
    title("and the mailbox has its e-mail")
    mail = email.message_from_bytes(mailbox.until(version.id[:19]), policy=email.policy.default)
    for header in ("From", "To", "Subject", "Message-ID"):
        say(f"  {header + ':':<12} {mail[header]}")
    body = mail.get_body(("plain",))
    text = "" if body is None else str(body.get_content())
    for line in [line for line in text.splitlines() if line][:7]:
        say(f"    {line}")
    check(mail["To"] == subscription["email"], "the mail is for the subscription's address", mail["To"])
    ids = [one["id"] for one in client.deliveries(subscription["id"])]
    known = any(one in mail["Message-ID"] for one in ids)
    check(known, "its Message-ID is made from a delivery's id in the ledger", mail["Message-ID"])
    say("  => its Message-ID is the delivery's in the ledger: sent again, it would be the same mail")
