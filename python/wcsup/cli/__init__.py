"""The command `wcsup`."""

import io
import sys
from collections.abc import Sequence

import click
from click.core import ParameterSource

from wcsup.cli.file import META_KEY
from wcsup.errors import INTERRUPTED, ExitStatus, WcsupError
from wcsup.process.memory import collect_rarely


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; return the exit status. An error prints one line on standard error."""
    from wcsup.cli.app import app

    collect_rarely()

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack characters of words and file names
    try:
        return int(app.main(arguments, prog_name="wcsup", standalone_mode=False) or ExitStatus.DONE)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitStatus.USAGE
    except click.ClickException as error:
        return say(_usage_message(error), ExitStatus.USAGE)
    except WcsupError as error:
        return say(str(error), error.status)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        known = _kafka_error(error)
        if known is None:
            raise
        return say(str(known), known.status)


def say(message: str, status: int) -> int:
    """Print one line on standard error and return the status."""
    print("wcsup:", " ".join(message.split()), file=sys.stderr)
    return status


def _usage_message(error: click.ClickException) -> str:
    """Return the message of a usage error: what is wrong, in which file or variable, and where help is."""
    message = error.format_message().rstrip(".")
    ctx = getattr(error, "ctx", None)
    parameter = getattr(error, "param", None)
    if ctx is None:
        return message
    if parameter is not None and parameter.name:
        match ctx.get_parameter_source(parameter.name):
            case ParameterSource.ENVIRONMENT:
                name = parameter.envvar or f"{ctx.auto_envvar_prefix}_{parameter.name.upper()}"
                message += f" (from {name})"
            case ParameterSource.DEFAULT_MAP:
                message += f" (from {ctx.meta.get(META_KEY)})"
    return f"{message} (see {ctx.command_path} --help)"


def _kafka_error(error: Exception) -> WcsupError | None:
    """Return wcsup's error for an error of the Kafka client; none for any other error."""
    if type(error).__module__.partition(".")[0] not in {"cimpl", "confluent_kafka"}:
        return None
    from confluent_kafka import KafkaException

    from wcsup.kafka import failures

    if not isinstance(error, KafkaException):
        return None
    cause = failures.of(error)
    meaning, name = failures.meaning(cause), cause.name()
    if meaning.passes:
        known = WcsupError(f"Kafka: {cause.str()} ({name}); a broker is away, or leaders are moving: try again")
    else:
        known = WcsupError(f"Kafka: {cause.str()} ({name})")
    known.status = meaning.status
    return known
