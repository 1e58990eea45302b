"""Benches run on the same real broker as the tests, and compare their ratios with the recorded ones at the end."""

import pytest
from benches.recorded import Ratios
from fixtures import app, application, broker, data_dir, doors, make_application, mortal

__all__ = ["app", "application", "broker", "data_dir", "doors", "make_application", "mortal"]

_ratios = Ratios()


@pytest.fixture(scope="session")
def ratios() -> Ratios:
    return _ratios


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="keep the ratios of this run as those to compare with")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = list(_ratios.report())
    if lines:
        terminalreporter.section("ratios, more is better (benches/recorded.json)")
        for line in lines:
            terminalreporter.write_line(line, red=line.endswith("SLOWER"))
    if config.getoption("--record"):
        _ratios.record()
