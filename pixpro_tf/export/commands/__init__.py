"""Commands of the exports; each imports its library only when it runs."""
