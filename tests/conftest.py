"""Decides what every test may ask for: a real broker (tests/kafka/fixtures.py); nothing starts until a test asks."""

import pytest

pytest.register_assert_rewrite("tests.kafka.log_contract")

pytest_plugins = ["tests.kafka.fixtures"]
