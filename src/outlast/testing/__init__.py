"""What ships for testing: conformance suites, the simulator, fixtures for users."""
