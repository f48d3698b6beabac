"""`python -m pets` is `pets`."""

from pets.cli.main import main

main()
