"""Decides what an error of kafka-python means: trying again may help, or cannot."""

from __future__ import annotations

from collections.abc import Mapping

from kafka import errors

from monitor.adapters.kafka.port import LogRefused, LogUnreachable

_REFUSALS: Mapping[type[Exception], str] = {
    errors.FencedInstanceIdError: "another member of the group has the same group_instance_id, and replaced this one",
    errors.TopicAuthorizationFailedError: "the cluster does not allow this user to use the topic",
    errors.GroupAuthorizationFailedError: "the cluster does not allow this user to use the consumer group",
    errors.ClusterAuthorizationFailedError: "the cluster does not allow this user idempotent writes (IDEMPOTENT_WRITE)",
    errors.SaslAuthenticationFailedError: "the cluster does not accept the username and password",
    errors.InconsistentGroupProtocolError: "the members of the group are not configured alike (assignment strategy)",
    errors.InvalidSessionTimeoutError: "the brokers do not allow this session timeout (group.max.session.timeout.ms)",
    errors.InvalidGroupIdError: "the cluster does not take the name of the consumer group",
    errors.InvalidTopicError: "the cluster does not take the name of the topic",
    errors.GroupMaxSizeReachedError: "the consumer group is full (group.max.size)",
    errors.UnsupportedVersionError: "the brokers are too old",
}


def refusal(error: BaseException, about: str) -> LogRefused | None:
    """The error as a refusal, if trying again cannot help. `about`: topics or group, for the message."""
    for kind, why in _REFUSALS.items():
        if isinstance(error, kind):
            return LogRefused(f"{about}: {why}")
    return None


def unreachable(what: str, servers: object, error: BaseException | None = None) -> LogUnreachable:
    """`what` could not be done. Only the kind of the error is told: its text may hold what it was working on."""
    listed = ", ".join(servers) if isinstance(servers, (list, tuple)) else str(servers)
    kind = f" ({type(error).__name__})" if error is not None else ""
    return LogUnreachable(f"{what}: no answer from {listed}{kind}; check address, port, network and that a broker runs")
