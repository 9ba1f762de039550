-- Nobody can sign in any more, and who changed what is forgotten.
DROP TABLE audit_log;
DROP TABLE operator_sessions;
DROP TABLE operators;
