"""`python -m oamface`, for launchers such as torchrun."""

from oamface.cli.app import main

if __name__ == "__main__":
    main()
