"""Every test has the real broker and a fresh application at hand."""

from fixtures import app, application, broker, data_dir, doors, make_application, own_logging, proxy, wcsup

__all__ = ["app", "application", "broker", "data_dir", "doors", "make_application", "own_logging", "proxy", "wcsup"]
