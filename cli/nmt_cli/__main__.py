"""`python -m nmt_cli` is `nmt`."""

from nmt_cli.main import app

if __name__ == "__main__":
    app()
