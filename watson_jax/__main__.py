"""`python -m watson_jax` is the command `watson-jax`."""

import sys

from watson_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
