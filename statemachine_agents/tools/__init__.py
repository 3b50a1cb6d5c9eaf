"""The code that calls tools."""
