"""Logs on standard error: readable on a terminal, else JSON lines."""

from __future__ import annotations

import logging
import sys

import stamina.instrumentation
import structlog


def start_logging(*, verbose: bool) -> None:
    """Set up logging once, at the start of a command.

    Code that retries logs it with a remedy, so the retry library's own messages are off. So are
    the messages of the Azure SDKs on each attempt; at info level they would log headers.
    """
    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.DEBUG if verbose else logging.INFO
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.getLogger("azure").setLevel(logging.WARNING if verbose else logging.CRITICAL)
    stamina.instrumentation.set_on_retry_hooks([])
