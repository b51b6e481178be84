"""One module a command or noun, imported only when that command runs (`muniment.cli.main` holds the table)."""
