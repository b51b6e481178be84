"""The notifier: everyone who waits for a model hears of it.

Consumes every outward topic that names it (`version-available`, `model-rejected`, `registry-changed`); emits
`audit-requested`; owns the schema `notifier`: subscriptions, the ledger of deliveries and attempts, and the event feed.
`muniment.notifier.app.service` is what the composition root runs.
"""
