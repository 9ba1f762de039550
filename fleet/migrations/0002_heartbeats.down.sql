-- The history of all agents is gone; what they are now stays.
DROP TABLE worker_state;
DROP TABLE heartbeats;
