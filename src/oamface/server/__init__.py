"""The service: REST and a page. Nothing of what it is given is kept."""
