"""Decides which alert an open incident becomes: every (kind, level, direction) that the decider tells has exactly one.

The decider has decided already, within its budget of false pages, and its incidents end by evidence and a day's hold.
So the rules add nothing but a name, numbers and a way to people.
"""

from __future__ import annotations

from monitor.alerting.declared import Alert, Dashboard
from monitor.alerting.wording import SLICE, SLICE_LABELS, asked, moment, selecting, told
from monitor.core.records import IncidentKind, Level

HOLD = "2m"
"""While an agent catches up after an outage, incidents that are over come and go within seconds: two minutes outlast
them. At 15 m nobody would be surer: the evidence is in already."""

KEEP = "15m"
"""An agent that restarts shows nothing for some minutes: without this each restart would resolve a page and send it
again."""

_CUSTOMER = ("customer",)


_WORSE = 'direction="worse"'
_CHANGES = f"{IncidentKind.DRIFT}|{IncidentKind.OVERALL}"
SELECTORS = {
    "WervaneAccentRegression": f'kind="{IncidentKind.DRIFT}",level="{Level.PAGE}",{_WORSE}',
    "WervaneOverallRegression": f'kind="{IncidentKind.OVERALL}",level="{Level.PAGE}",{_WORSE}',
    "WervaneDisparity": f'kind="{IncidentKind.DISPARITY}",level="{Level.PAGE}",{_WORSE}',
    "WervaneBlind": f'kind="{IncidentKind.BLIND}",level="{Level.PAGE}",{_WORSE}',
    "WervaneLabelsVanished": f'kind="{IncidentKind.COVERAGE}",level="{Level.PAGE}",{_WORSE}',
    "WervaneEarlyWarning": f'kind=~"{_CHANGES}",level="{Level.TICKET}",{_WORSE}',
    "WervaneStandingGap": f'kind="{IncidentKind.DISPARITY}",level="{Level.TICKET}",{_WORSE}',
    "WervaneReferencesStale": f'kind="{IncidentKind.STALE}",level="{Level.TICKET}",{_WORSE}',
    "WervaneImprovement": f'kind=~"{_CHANGES}",level="{Level.DIGEST}",direction="better"',
}

"""What each takes of `wervane_slice_incident_open`. Lost records (coverage, a ticket) are told by their own counter."""


def opened(name: str, by: tuple[str, ...] = SLICE_LABELS) -> str:
    """Replicas that show the same incident count once."""
    return f"max by ({', '.join(by)}) (wervane_slice_incident_open{{{SELECTORS[name]}}}) == 1"


def incident_alerts() -> tuple[Alert, ...]:
    """Pages first."""
    return (_accent_regression(), _overall_regression(), _disparity(), _labels_vanished(), *_tickets(), _improvement())


def _accent_regression() -> Alert:
    name = "WervaneAccentRegression"
    return Alert(
        name=name,
        severity=Level.PAGE,
        labels=SLICE_LABELS,
        expression=opened(name),
        hold=HOLD,
        keep=KEEP,
        summary=f"{{{{ $labels.customer }}}}: {SLICE}: {told(SLICE_LABELS, SELECTORS[name])}",
        description=(
            "This slice is recognised worse than in its own past, beyond what chance explains within the budget of "
            "false pages; all other traffic is not. Look at what changed for these speakers at that time: device, "
            "codec, site, model. The status page and incidents.jsonl say what moved with it."
        ),
        dashboard=Dashboard.SLICE,
    )


def _overall_regression() -> Alert:
    name = "WervaneOverallRegression"
    return Alert(
        name=name,
        severity=Level.PAGE,
        labels=_CUSTOMER,
        expression=opened(name, _CUSTOMER),
        hold=HOLD,
        keep=KEEP,
        summary=f"{{{{ $labels.customer }}}}: all traffic: {told(_CUSTOMER, SELECTORS[name])}",
        description=(
            "Everybody is recognised worse than before. First suspects: a new model or normaliser, a change of the "
            "audio path, another annotation vendor. Alerts of single slices are held back while this one fires."
        ),
        dashboard=Dashboard.FAIRNESS,
    )


def _disparity() -> Alert:
    name = "WervaneDisparity"
    return Alert(
        name=name,
        severity=Level.PAGE,
        labels=SLICE_LABELS,
        expression=opened(name),
        hold=HOLD,
        keep=KEEP,
        summary=f"{{{{ $labels.customer }}}}: {SLICE}: {told(SLICE_LABELS, SELECTORS[name])}",
        description=(
            "These speakers are recognised worse than others at the same tasks, by more than `decide.margin` and 15 %, "
            "beyond what chance explains within the budget of false pages. Only with `decide.page_on_gap`."
        ),
        dashboard=Dashboard.SLICE,
    )


def _labels_vanished() -> Alert:
    name, labels = "WervaneLabelsVanished", ("customer", "dimension")
    missing = "sum(rate(wervane_label_missing_utterances_total{dimension=%q}[6h]))"
    traffic = 'sum(rate(wervane_slice_traffic_utterances_total{dimension="all"}[6h]))'
    share = asked(f"100 * {missing} / ({traffic} > 0)", ("dimension",), "; %.0f %% of the last 6 h without it")
    return Alert(
        name=name,
        severity=Level.PAGE,
        labels=labels,
        expression=opened(name, labels),
        hold=HOLD,
        keep=KEEP,
        summary="{{ $labels.customer }}: many more utterances come without {{ $labels.dimension }} than before"
        + share
        + moment(
            f"min(wervane_slice_incident_since_timestamp_seconds{selecting(labels, SELECTORS[name])})",
            labels,
            "; since ",
        ),
        description=(
            "A label that traffic used to carry is gone. Slices that it named see less or nothing: a regression in "
            "them would not be noticed. Usually an upstream release dropped or renamed a field."
        ),
        dashboard=Dashboard.FAIRNESS,
    )


def _tickets() -> tuple[Alert, ...]:
    return (
        _ticket(
            "WervaneEarlyWarning",
            "may be getting worse: ",
            "May be getting worse, on weaker evidence than a page asks for. It becomes a page by itself if it goes "
            "on; look when there is time.",
        ),
        _ticket(
            "WervaneStandingGap",
            "has a standing gap: ",
            "A gap to the rest that was there from the start and that the same tasks do not explain. Nothing broke;"
            " it is what these speakers live with every day.",
        ),
    )


def _ticket(name: str, words: str, description: str) -> Alert:
    return Alert(
        name=name,
        severity=Level.TICKET,
        labels=SLICE_LABELS,
        expression=opened(name),
        hold=HOLD,
        keep=KEEP,
        summary=f"{{{{ $labels.customer }}}}: {SLICE} {words}{told(SLICE_LABELS, SELECTORS[name])}",
        description=description,
        dashboard=Dashboard.SLICE,
    )


def _improvement() -> Alert:
    name = "WervaneImprovement"
    return Alert(
        name=name,
        severity=Level.DIGEST,
        labels=SLICE_LABELS,
        expression=opened(name),
        hold=HOLD,
        keep=KEEP,
        summary=f"{{{{ $labels.customer }}}}: {SLICE} got better: {told(SLICE_LABELS, SELECTORS[name])}",
        description=(
            "This slice is recognised better than in its own past, beyond chance. "
            "Worth knowing after a rollout; nobody has to act."
        ),
        dashboard=Dashboard.SLICE,
    )
