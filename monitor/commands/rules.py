"""Decides what `wervane rules` prints: recording and alerting rules, or the index of the runbooks."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from monitor.commands.options import ConfigOption


class RulesFormat(StrEnum):
    PROMETHEUS = "prometheus"
    OPERATOR = "operator"
    RUNBOOKS = "runbooks"


def rules(
    written: Annotated[
        RulesFormat, typer.Option("--format", help="A rule file, a PrometheusRule, or the index of docs/runbooks.")
    ] = RulesFormat.PROMETHEUS,
    runbooks: Annotated[
        str | None, typer.Option(metavar="URL", help="Where docs/runbooks can be read [default: the path].")
    ] = None,
    grafana: Annotated[
        str | None, typer.Option(metavar="URL", help="Of your Grafana [default: compose.yaml's].")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Print recording and alerting rules for Prometheus; with --config, at the gap that `decide.margin` allows."""
    from monitor.alerting.files import Places, operator_rules, prometheus_rules, runbooks_index

    places = Places()
    if runbooks is not None:
        places = places._replace(runbooks=runbooks)
    if grafana is not None:
        places = places._replace(grafana=grafana)
    if config is not None:
        from monitor.config import load_settings

        places = places._replace(margin=load_settings(config, os.environ).decide.margin)
    match written:
        case RulesFormat.PROMETHEUS:
            text = prometheus_rules(places)
        case RulesFormat.OPERATOR:
            text = operator_rules(places)
        case RulesFormat.RUNBOOKS:
            text = runbooks_index()
    typer.echo(text, nl=False)
