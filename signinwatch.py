"""``python -m signinwatch`` is the command ``signinwatch``."""

from consumers.cli import main

if __name__ == "__main__":
    main()
