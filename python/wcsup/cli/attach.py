"""The screen of a run that is another process's: `wcsup status --watch` on a terminal."""

import sys

import click

from wcsup.cli.cluster import connect, quiet_clients
from wcsup.config import Config
from wcsup.errors import ConfigurationError, WcsupError

_LOOK_SECONDS = 0.5


def attach(config: Config) -> bool:
    """Show the run of a state directory until the user leaves its screen or it ends; keys act on it as on its own.

    Return false where there is nothing to show it on, or no run.
    """
    if not sys.stdout.isatty():
        return False
    from wcsup.cli.means import means_of
    from wcsup.observe.screen import terminal, view
    from wcsup.observe.screen.scene import Tie
    from wcsup.supervisor import Snapshot, request

    quiet_clients()
    try:
        snapshot = Snapshot.from_json(request(config.state, {"command": "status"}))
    except (ConfigurationError, ValueError):  # no run is here, or one of another version whose state is not understood
        return False
    if not terminal.usable():
        return False
    ended = False
    with (
        means_of(config, lambda: connect(config, start=False)) as means,
        view.ScreenView(_title(config), means, tie=Tie.ATTACHED) as screen,
    ):
        screen.show(snapshot)
        while not ended and not screen.left.wait(_LOOK_SECONDS):
            try:
                screen.show(Snapshot.from_json(request(config.state, {"command": "status"})))
            except ConfigurationError:
                ended = True
            except WcsupError:
                pass  # it did not answer in time: the screen says how old its news are
    if ended:
        click.echo("the run has ended; wcsup events says why")
    return True


def _title(config: Config) -> str:
    """Return the application and its Kafka. The embedded broker's address is told by the broker's own record."""
    from wcsup import broker

    address = config.bootstrap_servers
    if address is None and (found := broker.status(config.data)) is not None:
        address = found.bootstrap
    return f"{config.app_id} on {address}" if address else config.app_id
