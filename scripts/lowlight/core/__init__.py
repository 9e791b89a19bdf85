"""What every step needs: errors, command line, files and locks, sources, parallel work."""
