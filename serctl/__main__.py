"""Start the command line: the command `serctl`, and `python -m serctl`."""

import sys


def main() -> None:
    """Load and run the command line; Ctrl-C while it is loaded ends the process without a traceback."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from serctl.cli import main as run

    run()


if __name__ == "__main__":  # not in a worker process, which imports this module too
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # the current folder, whose files are not ours to run
    main()
