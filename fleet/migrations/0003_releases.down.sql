-- What was published is forgotten. The files themselves stay in the store of releases.
DROP TABLE release_artifacts;
DROP TABLE releases;
