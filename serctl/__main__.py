"""Run the command line with `python -m serctl`."""

from serctl.cli import main

if __name__ == "__main__":
    main()
