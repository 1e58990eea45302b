------------------------------- MODULE Trace -------------------------------
(***************************************************************************)
(* Whether the trace of a real run is a behaviour of Wcsup.tla.            *)
(*                                                                         *)
(* Workers write their steps (wcsup run --trace), tests/proof/traces.py    *)
(* writes them as Steps, and TLC looks for a behaviour in which every      *)
(* process takes its steps in their order.  Between them stands what no    *)
(* worker writes: what the brokers do, and a few steps of workers.  Each   *)
(* is let in only where a later step of the trace may need it.  The method *)
(* is that of "Validating Traces of Distributed Programs Against TLA+      *)
(* Specifications" (Cirstea, Kuppe, Loillier, Merz; 2024).                 *)
(***************************************************************************)
EXTENDS Wcsup

CONSTANT
  Steps  \* Steps[process]: its steps; after[r] is how many steps of r were over before this one can have begun

VARIABLE done  \* done[process]: how many of its steps have been taken

traceVars == <<kafka, process, store, network, left, done>>

IsOver(q) == done[q] = Len(Steps[q])
Step(q) == Steps[q][done[q] + 1]
Before(q) == IF done[q] = 0 THEN "nothing" ELSE Steps[q][done[q]].step
Comes(q, kinds) == ~IsOver(q) /\ Step(q).step \in kinds
SomeoneComes(kinds) == \E q \in Processes : Comes(q, kinds)
IsKilled(q) == IsOver(q) /\ Before(q) # "end" /\ Alive(q)

\* Transactions.commit has given the records to librdkafka, which sends them until the commit.
Handed(q) == Before(q) \in {"produced", "offsets"}
Given == {"add", "position", "produce"}
Sends(q, kinds) == Request(q) /\ \E r \in process[q].todo : r.kind \in kinds /\ process'[q].todo = process[q].todo \ {r}
IsRefused(q) == Request(q) /\ process'[q].at = "abort"

\* A batch is dropped, since the group has not taken the member in yet.  Wcsup.tla lets such a batch wait.
Unjoined(q) ==
  /\ process[q].at = "idle"
  /\ process' = [process EXCEPT ![q] = Rewound(q)]
  /\ UNCHANGED <<kafka, store, network, left>>

\* A commit without input, such as of top words: it sends the last offsets again, so that the group fences it.
BeginIdle(q, sent) ==
  /\ process[q].at = "idle" /\ Moved(q) = {}
  /\ sent # {} /\ \A x \in sent : x.partition \in Open(q) /\ x.offset = process[q].part[x.partition].base
  /\ process[q].epoch = 0 => process[q].last = kafka.coordinator[NameOf[q]].epoch
  /\ process' = [process EXCEPT
       ![q].generation = IF IsMemberNow(q) THEN Group(q).generation ELSE 0,
       ![q].todo = {[kind |-> "add", places |-> {OffsetsOf(Input[NameOf[q]])}], [kind |-> "offsets", offsets |-> sent]},
       ![q].at = IF process[q].epoch = 0 THEN "renew" ELSE IF process[q].disturbed THEN "ask" ELSE "transaction"]
  /\ UNCHANGED <<kafka, store, network, left>>

Taken(q) ==
  LET s == Step(q)
      now == process'[q]
  IN  CASE s.step = "start" -> Start(q)
        [] s.step = "producer" -> InitTransactions(q) /\ now.at # process[q].at
        [] s.step = "assigned" -> /\ TakeAssigned(q) /\ s.partitions \cap Owned(q) = {}
                                  /\ {p \in Partitions : now.part[p].step # "no"} = Owned(q) \cup s.partitions
        [] s.step = "found" -> Find(q, s.partition) /\ now.part[s.partition].base = s.offset
        [] s.step = "read" -> Read(q, s.partition) /\ now.part[s.partition].next = s.offset
        [] s.step = "begin" -> Begin(q) /\ now.at = s.at
        [] s.step = "idle" -> BeginIdle(q, s.offsets) /\ now.at = s.at
        [] s.step = "unjoined" -> Unjoined(q)
        [] s.step = "asked" -> AskEnds(q) /\ now.at = "renew"
        [] s.step = "produced" -> /\ process[q].at = "transaction" /\ UNCHANGED vars
                                  /\ {r.kind : r \in process[q].todo} \ {"add", "offsets"} = s.kinds
        [] s.step = "offsets" -> Sends(q, {"offsets"}) /\ [kind |-> "offsets", offsets |-> s.offsets] \in process[q].todo
        [] s.step = "commit" -> Commit(q) /\ now.at = "idle"
        [] s.step = "abort" -> Abort(q) /\ now.at = "idle" /\ (now.epoch # 0) = s.usable
        [] s.step = "revoked" -> Release(q, s.partition)
        [] s.step = "lost" -> Lose(q) /\ Owned(q) = s.partitions
        [] s.step = "verdict" -> /\ IF s.fenced = "member" THEN MemberIsFenced(q)
                                    ELSE Begin(q) \/ Ask(q) \/ AskEnds(q) \/ Request(q) \/ Commit(q) \/ Abort(q)
                                 /\ now.at = IF s.successor THEN "fenced" ELSE IF s.fenced = "member" THEN "joining"
                                             ELSE "idle"
                                 /\ now.at = "idle" => now.epoch = 0
        [] s.step = "end" -> process[q].at = "idle" /\ Moved(q) = {} /\ UNCHANGED vars

Logged ==
  \E q \in Processes :
    /\ ~IsOver(q) /\ \A r \in Processes : done[r] >= Step(q).after[r]
    /\ Taken(q)
    /\ done' = [done EXCEPT ![q] = @ + 1]

\* What a worker does without a line of its own.
Silent(q) ==
  \/ Join(q) /\ Comes(q, {"assigned", "verdict", "end"})
  \/ InitTransactions(q) /\ Comes(q, {"producer"}) /\ process' = process  \* what is open is aborted first
  \/ Ask(q) /\ Comes(q, {"asked", "verdict"}) /\ process'[q].at = "asking"
  \/ Handed(q) /\ Comes(q, {"abort", "verdict"}) /\ Sends(q, Given)
  \/ Comes(q, {"abort"}) /\ (GiveUp(q) \/ IsRefused(q))
  \/ Comes(q, {"begin", "idle"}) /\ Step(q).at = "ask" /\ ~process[q].disturbed  \* like Unanswered, and the request is lost
       /\ process' = [process EXCEPT ![q].disturbed = TRUE] /\ UNCHANGED <<kafka, store, network, left>>
  \/ Comes(q, {"revoked"}) /\ Drop(q)

\* What a killed process may have done after its last line, as far as others can tell: a commit is there or not, and it
\* may have taken the name from another process.
Unseen(q) ==
  /\ IsKilled(q)
  /\ \/ Before(q) = "offsets" /\ (Sends(q, Given) \/ Commit(q))
     \/ Before(q) \in {"start", "begin", "idle", "asked"} /\ SomeoneComes({"verdict"}) /\ InitTransactions(q)
     \/ SomeoneComes({"verdict"}) /\ Join(q)

\* The group gives partitions to members that will say that they have them, or that have ended.
WillHave(q) ==
  LET found == {i \in done[q] + 1 .. Len(Steps[q]) : Steps[q][i].step = "assigned"}
  IN  IF IsOver(q) THEN Partitions
      ELSE IF found = {} THEN {} ELSE Steps[q][CHOOSE i \in found : \A j \in found : i <= j].partitions
Assigns(s) ==
  /\ SomeoneComes({"assigned"}) /\ Assign(s)
  /\ \A p \in Partitions : LET n == kafka'.group[s].owner[p]
                          IN  n # kafka.group[s].owner[p] => p \in WillHave(kafka.group[s].member[n])
TakesAway(s) ==
  /\ SomeoneComes({"revoked"}) /\ TakeAway(s)
  /\ \E q \in Processes : /\ Comes(q, {"revoked"})
                          /\ kafka.group[s].owner[Step(q).partition] # kafka'.group[s].owner[Step(q).partition]

\* A session times out of a process that will hear of it, or whose partitions another one will have.
WillLose(q) ==
  \E i \in done[q] + 1 .. Len(Steps[q]) :
    Steps[q][i].step = "lost" /\ \A j \in done[q] + 1 .. i : Steps[q][j].step # "assigned"
Needs(r, n, s) ==  \* a member of another name will have what a name has
  Comes(r, {"assigned"}) /\ NameOf[r] # n /\ \E p \in Step(r).partitions : kafka.group[s].owner[p] = n
Loses(s) ==
  /\ SomeoneComes({"assigned", "lost"}) /\ SessionTimesOut(s)
  /\ \E n \in Names : LET q == kafka.group[s].member[n]
                      IN  /\ kafka'.group[s].member[n] # q
                          /\ WillLose(q) \/ \E r \in Processes : Needs(r, n, s)

Rest ==
  \/ \E q \in Processes : Silent(q) \/ Unseen(q)
  \/ \E s \in Stages : Assigns(s) \/ TakesAway(s) \/ Loses(s)
  \/ \E n \in Names : TransactionTimesOut(n) /\ SomeoneComes({"verdict"})

(***************************************************************************)
(* Order that no line depends on is fixed, so that TLC has less to look    *)
(* at: a decided transaction is told to its partitions at once, the        *)
(* offsets last; what librdkafka was given is sent at once, if the         *)
(* transaction goes on; and a process that can do nothing any more ends.   *)
(***************************************************************************)
FirstPlace(places) ==
  LET others == {place \in places : place[1] # "offsets"}
  IN  CHOOSE place \in places : others = {} \/ place \in others
Tell(n) ==
  /\ kafka' = Marker(kafka, n, FirstPlace(kafka.coordinator[n].places))
  /\ UNCHANGED <<process, store, network, left>>

HasGiven(q) == Comes(q, {"offsets", "commit"}) /\ Handed(q) /\ {r \in process[q].todo : r.kind \in Given} # {}
SendGiven(q) ==
  LET kinds == {r.kind : r \in process[q].todo}
  IN  Sends(q, {IF "add" \in kinds THEN "add" ELSE IF "position" \in kinds THEN "position" ELSE "produce"})

IsDead(q) ==
  /\ IsOver(q) /\ Alive(q)
  /\ process[q].epoch # kafka.coordinator[NameOf[q]].epoch \/ process[q].at = "idle" \/ Before(q) = "produced"

TraceNext ==
  LET deciding == {n \in Names : IsDeciding(kafka, n)}
      given == {q \in Processes : HasGiven(q)}
      dead == {q \in Processes : IsDead(q)}
  IN  IF deciding # {} THEN Tell(CHOOSE n \in deciding : TRUE) /\ UNCHANGED done
      ELSE IF given # {} THEN SendGiven(CHOOSE q \in given : TRUE) /\ UNCHANGED done
      ELSE IF dead # {} THEN Crash(CHOOSE q \in dead : TRUE) /\ UNCHANGED done
      ELSE Logged \/ (Rest /\ UNCHANGED done)

TraceInit == Init /\ done = [q \in Processes |-> 0]
TraceSpec == TraceInit /\ [][TraceNext]_traceVars

\* Told is true of every state.  It prints how far the trace is explained, and ends TLC where all of it is.
RECURSIVE Sum1(_, _)
Sum1(f, s) == IF s = {} THEN 0 ELSE LET x == CHOOSE x \in s : TRUE IN f[x] + Sum1(f, s \ {x})
ASSUME TLCSet(1, 0)
Told ==
  LET n == Sum1(done, Processes)
  IN  IF n <= TLCGet(1) THEN TRUE
      ELSE /\ TLCSet(1, n)
           /\ PrintT(<<"explained", [q \in 1..Cardinality(Processes) |-> done[q]]>>)
           /\ IF \A q \in Processes : IsOver(q) THEN TLCSet("exit", TRUE) ELSE TRUE
=============================================================================
