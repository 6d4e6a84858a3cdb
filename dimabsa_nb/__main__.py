"""`python -m dimabsa_nb` is `dimabsa`."""
from .cli import app

app(prog_name="dimabsa")
