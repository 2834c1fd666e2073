"""`python -m vitruvian`: the command, where its script is not on the path."""

from vitruvian.cli.main import main

if __name__ == "__main__":
    main()
