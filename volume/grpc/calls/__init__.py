"""The calls: each a function of the services and a decoded request, which raises what fails it."""
