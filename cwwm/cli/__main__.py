"""python -m cwwm.cli, which is the command cwwm."""

from cwwm.cli.app import main

if __name__ == "__main__":
    main()
