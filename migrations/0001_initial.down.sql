-- Back to an empty schema: everything stored is gone. Children first, because of their keys.
DROP TABLE members;
DROP TABLE files;
DROP TABLE records;
DROP TABLE spaces;
DROP FUNCTION update_updated_at_column();
