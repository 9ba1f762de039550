-- Every agent has to be enrolled anew.
DROP TABLE enrolment_tokens;
DROP TABLE agents;
