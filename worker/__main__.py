"""`worker`, also as `python -m worker`."""

from worker.cli.program import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
