"""HTTP: the application that turns bytes into requests and responses into bytes, and three ways to reach it."""
