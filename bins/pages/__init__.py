"""Pages that the server shows in a browser: what a dev server answers at its address, and the console."""
