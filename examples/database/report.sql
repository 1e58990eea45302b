-- The most frequent words of each kind: sqlite3 words.db < report.sql, in this folder.
CREATE TEMP TABLE kinds (word TEXT PRIMARY KEY, kind TEXT);
.mode csv
.import --skip 1 kinds.csv kinds
.mode column
SELECT coalesce(kind, 'other') AS kind, count(*) AS words, sum(total) AS total
FROM totals LEFT JOIN kinds USING (word)
GROUP BY 1 ORDER BY 3 DESC;
