"""Notifications as bytes out: what is said of an incident's step, in each receiver's own form, and how it is posted."""
