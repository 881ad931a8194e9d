"""What drives a real Postern from outside: its process, and the peers around it. Shared by the tests and the demo."""
