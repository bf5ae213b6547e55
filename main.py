"""Run every collector in collectors/ until told to stop: ``python main.py``; ``--status`` says how it goes."""

from api2db.cli.main import run

if __name__ == "__main__":
    raise SystemExit(run())
