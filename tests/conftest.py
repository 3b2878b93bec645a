"""Decides what every test may ask for: a real broker (tests/kafka/fixtures.py); nothing starts until a test asks."""

pytest_plugins = ["tests.kafka.fixtures"]
