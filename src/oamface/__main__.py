"""`python -m oamface`, for launchers such as torchrun."""

from oamface.cli import main

if __name__ == "__main__":
    main()
