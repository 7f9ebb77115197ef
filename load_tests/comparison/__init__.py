"""The platform beside other ways to build it: same data, same client, same answers."""
