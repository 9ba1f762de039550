-- Waiting invitations are lost.
DROP TABLE invitations;
