-- Open alerts are raised anew by whatever raised them; notes and the past are gone.
DROP TABLE alerts;
