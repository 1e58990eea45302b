"""`wcsup demo`: a show in five acts that counts a real text on a real Kafka, with processes that die on the way.

`acts` is the show: what is done, and what has to be seen before it is told; `cues` waits for that. `audience` shows it,
on the live view of a run or as lines. `text` has the text and its independent recount, `feed` writes it to Kafka,
`commands` runs the commands of the user, and `main` puts all together.
"""
