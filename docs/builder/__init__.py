"""Builds the documentation: numbers from records into pages, notebooks into a site."""
