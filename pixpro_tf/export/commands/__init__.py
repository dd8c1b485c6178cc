"""The commands of the exports, each with one late import of its library."""
