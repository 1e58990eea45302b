"""From a configuration as it was given to one that has a broker's address, or one line about why not."""

import logging
from dataclasses import replace

from wcsup.config import Config
from wcsup.errors import ConfigurationError


def connect(config: Config, *, start: bool = True) -> Config:
    """Return the configuration with the address of a broker that answers.

    Where none is named it is the embedded one, started where it does not run; without `start` only one that
    has data already, since a new one has no counts to look at.
    """
    from wcsup.kafka import clients

    if config.bootstrap_servers is None:
        if not start and not embedded_has_data(config):
            raise ConfigurationError(
                f"nothing was counted yet: there is no embedded Kafka in {config.data}; start wcsup run, or name a "
                "Kafka with --bootstrap-servers"
            )
        from wcsup import broker

        config = replace(config, bootstrap_servers=broker.ensure(config))
    clients.check_reachable(config)
    return config


def embedded_has_data(config: Config) -> bool:
    """Tell whether an embedded broker was ever started here."""
    from wcsup import broker

    return broker.has_data(config.data)


def quiet_clients() -> None:
    """Keep librdkafka's remarks away from commands that end with one line of their own."""
    logging.getLogger("wcsup.kafka").setLevel(logging.CRITICAL + 1)
