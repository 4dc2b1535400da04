"""Small helpers that all packages of the project use; they import no other package of the project."""
