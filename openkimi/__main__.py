"""Makes ``python -m openkimi`` the command ``openkimi``."""

from openkimi.cli import main

main(prog_name="openkimi")
