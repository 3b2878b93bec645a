"""Alerts and recording rules: declared once, for rules, runbooks, dashboards, Alertmanager and the chart."""
