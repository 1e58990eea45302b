"""Benches run on the same real broker as the tests."""

from fixtures import app, application, broker, data_dir, doors, make_application

__all__ = ["app", "application", "broker", "data_dir", "doors", "make_application"]
