"""The dataset `composites`: photographs of things on photographs, from packages of Debian."""
