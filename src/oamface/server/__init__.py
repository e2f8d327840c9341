"""The web service: a REST API and a page. It stores and logs nothing of the images it receives."""
