"""`python -m workbench.cli`, for where the script is not on the path."""

from workbench.cli.main import main

raise SystemExit(main())
