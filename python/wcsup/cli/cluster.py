"""Completes a configuration with the address of a broker that answers, or fails with one line that says why."""

import logging
from dataclasses import replace

from wcsup.config import Config
from wcsup.errors import ConfigurationError


def connect(config: Config, *, start: bool = True) -> Config:
    """Return the configuration with the address of a broker that answers.

    If the configuration names no broker, it is the embedded one, which is started if it does not run. Without `start`
    an embedded broker without data is not started, since it has no counts to look at.
    """
    from wcsup.kafka import addresses, clients

    if config.bootstrap_servers is None:
        if not start and not embedded_has_data(config):
            raise ConfigurationError(
                f"nothing was counted yet: there is no embedded Kafka in {config.data}; start wcsup run, or name a "
                "Kafka with --bootstrap-servers"
            )
        from wcsup import broker

        config = replace(config, bootstrap_servers=broker.ensure(config))
    else:
        addresses.refuse_unknown(config.bootstrap_servers)
    clients.check_reachable(config)
    return config


def embedded_has_data(config: Config) -> bool:
    """Tell whether an embedded broker was ever started here."""
    from wcsup import broker

    return broker.has_data(config.data)


def quiet_clients() -> None:
    """Hide librdkafka's log lines, for commands that end with one line of their own."""
    logging.getLogger("wcsup.kafka").setLevel(logging.CRITICAL + 1)
