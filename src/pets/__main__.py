"""`python -m pets` is `pets`."""

from pets.cli import main

main()
