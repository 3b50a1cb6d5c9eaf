"""The test kit: scripted models, played runs, a fake Messages API."""
