"""Decides what people see in Grafana: three dashboards as plain dicts, every metric of them from the catalogue."""
