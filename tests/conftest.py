"""Settings for all tests."""

from hypothesis import HealthCheck, settings

# How fast values are drawn depends on what else the machine does; tests do not judge by the clock.
settings.register_profile("steady", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("steady")
