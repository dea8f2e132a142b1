CREATE TABLE orders(id TEXT PRIMARY KEY, customer INTEGER, item TEXT, status TEXT);
INSERT INTO orders VALUES ('A10001', 7, 'kettle', 'shipped'), ('A10002', 8, 'lamp', 'lost');
CREATE TABLE notes(customer INTEGER, text TEXT);
