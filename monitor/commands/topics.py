"""Decides what `wervane topics` does: make the Kafka topics that are missing, or say which are not fit."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from monitor.commands.lifetime import start_log
from monitor.commands.options import EXIT_NO, ConfigOption, JsonOption, as_json


class TopicsAction(StrEnum):
    CREATE = "create"
    CHECK = "check"


def topics(
    action: Annotated[TopicsAction, typer.Argument(help="Make those of ours that are missing, or only look.")],
    config: ConfigOption = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Of the pairs and outcomes topics; 12 when they are made.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make or check the Kafka topics: partitions, retention, compaction, sizes; exit 1 if one is not fit."""
    from monitor.adapters.kafka import topics as kafka_topics
    from monitor.adapters.kafka.connection import read_connection
    from monitor.config import ConfigError, load_settings
    from monitor.settings_source import Problem

    settings = load_settings(config, os.environ)
    if settings.input.kind != "kafka":
        want = "kafka: other inputs have no topics"
        raise ConfigError([Problem(path="input.kind", got=settings.input.kind, want=want)])
    start_log(settings, quieter=True)
    connection = read_connection(settings.kafka)
    if action is TopicsAction.CREATE:
        report = kafka_topics.create(connection, settings, partitions=partitions or kafka_topics.PARTITIONS_DEFAULT)
    else:
        report = kafka_topics.check(connection, settings, partitions=partitions)
    if json:
        typer.echo(as_json(report.document()))
    for line in () if json else report.lines():
        typer.echo(line)
    if not report.fit:
        raise typer.Exit(EXIT_NO)
