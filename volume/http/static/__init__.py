"""Files that are served as they are, and the template of the page."""
