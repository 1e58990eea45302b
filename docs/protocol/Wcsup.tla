------------------------------- MODULE Wcsup -------------------------------
(***************************************************************************)
(* The program: mappers and reducers, their loop, the commit, and the      *)
(* reducers' stores.  Comments name the code that an action stands for,    *)
(* below python/wcsup/.  docs/proof.md says what is proved with it.        *)
(*                                                                         *)
(* A mapper reads lines and writes words; a reducer reads words and writes *)
(* the new totals to counts.  Both have the same loop (pipeline/worker.py) *)
(* and the same commit (pipeline/transaction.py), so there is one kind of  *)
(* process here, and Input[name] tells its stage.                          *)
(*                                                                         *)
(* A process that stands still (SIGSTOP) is one that takes no step for a   *)
(* while; every process may do so at any time.                             *)
(***************************************************************************)
EXTENDS Kafka, TLC

CONSTANTS
  Processes,  \* 1..n: each is started at most once, in this order for each name
  NameOf,     \* NameOf[process]
  HostOf,     \* HostOf[name]: whose stores a reducer uses
  Logs0,      \* what the input topics have at the start
  Budget,     \* how many faults of each kind there may be
  Removed,    \* the guards that are left out: {} for the program as it is
  Gaps        \* known gaps that are let in: see docs/proof.md

VARIABLES
  kafka,    \* the brokers
  process,  \* what each process has in memory
  store,    \* what each host has on disk
  network,  \* requests that are still under way though their client has given up waiting
  left      \* what is left of the budget

vars == <<kafka, process, store, network, left>>

Guard(name) == name \notin Removed

IsReducer(q) == Input[NameOf[q]] = "words"
Place(q, p) == <<Input[NameOf[q]], p>>
Group(q) == kafka.group[Input[NameOf[q]]]
Store(q, p) == store[HostOf[NameOf[q]]][p]
Later(q) == {r \in Processes : r > q /\ NameOf[r] = NameOf[q] /\ process[r].at # "off"}

(***************************************************************************)
(* A partition within a process:                                           *)
(*   step   "no": not owned.  While it is being opened "find" (its offset  *)
(*          in the group), and for a reducer "compare" (the stamp with the *)
(*          end of counts) and "read" (counts).  "open": it is worked on   *)
(*   base   its input is committed up to here                              *)
(*   next   its input is read up to here: the batch is what is between     *)
(*   end    the end of counts, up to which a reducer reads                 *)
(*   total, stamp, own   a reducer's state: the totals in memory, and the  *)
(*          stamp as state/store.py describes it                           *)
(***************************************************************************)
Closed == [step |-> "no", base |-> 0, next |-> 0, end |-> 0, total |-> None, stamp |-> 0, own |-> FALSE]
Opening(p) ==  \* the mutant takes the end of counts already here, before the offset
  [Closed EXCEPT !.step = "find", !.end = IF Guard("offset-before-end") THEN 0 ELSE End(kafka.log[<<"counts", p>>])]

(***************************************************************************)
(* A process:                                                              *)
(*   at  "off", then "init" (init_transactions), "joining", "idle" (the    *)
(*       loop), "ask", "asking", "renew" (a new producer), "begun",        *)
(*       "transaction", "abort", and at its end "gone" or "fenced" (status *)
(*       4: another process has its name, so nobody starts it again)       *)
(*   epoch       of its producer; 0: it has none that can be used          *)
(*   last        the last epoch of its name that is no successor's, as far *)
(*               as it knows                                               *)
(*   generation  of the group, as the commit sends it                      *)
(*   todo        requests of the transaction that were not answered yet    *)
(*   sent        acknowledged batches by partition, under this epoch       *)
(*   disturbed   the producer is replaced before the next transaction      *)
(*   overdue     a transaction was open beyond its time-out                *)
(*   joined      it was a member of its group at some time                 *)
(*   refused     the group has refused its last offsets                    *)
(***************************************************************************)
Outputs == {"words", "counts"} \X Partitions
Nothing == [at |-> "off", epoch |-> 0, last |-> 0, generation |-> 0, part |-> [p \in Partitions |-> Closed],
            todo |-> {}, sent |-> [place \in Outputs |-> 0], disturbed |-> FALSE, overdue |-> FALSE, joined |-> FALSE,
            refused |-> FALSE]
Ended(why) == [Nothing EXCEPT !.at = why]
Alive(q) == process[q].at \notin {"off", "gone", "fenced"}

Owned(q) == {p \in Partitions : process[q].part[p].step # "no"}
Open(q) == {p \in Partitions : process[q].part[p].step = "open"}

Init ==
  /\ kafka = Fresh(Logs0)
  /\ process = [q \in Processes |-> Nothing]
  /\ store = [h \in {HostOf[n] : n \in Names} |->
                [p \in Partitions |-> [total |-> None, stamp |-> 0, own |-> FALSE, lock |-> NoProcess]]]
  /\ network = {}
  /\ left = Budget

Spend(what) == left[what] > 0 /\ left' = [left EXCEPT ![what] = @ - 1]

\* Unlocks the stores of these partitions; a process's end does, too.
Unlocked(q, partitions) ==
  [store EXCEPT ![HostOf[NameOf[q]]] = [p \in Partitions |->
     IF p \in partitions /\ @[p].lock = q THEN [@[p] EXCEPT !.lock = NoProcess] ELSE @[p]]]

\* Reducer.disown: kept totals are written, and the store is closed.
Put(q, partitions) ==
  [store EXCEPT ![HostOf[NameOf[q]]] = [p \in Partitions |->
     LET mine == process[q].part[p]
     IN  IF p \notin partitions \/ @[p].lock # q THEN @[p]
         ELSE IF mine.step = "open"
         THEN [total |-> mine.total, stamp |-> mine.stamp, own |-> mine.own, lock |-> NoProcess]
         ELSE [@[p] EXCEPT !.lock = NoProcess]]]

(***************************************************************************)
(* The batch.                                                              *)
(***************************************************************************)
RECURSIVE Sum(_, _, _)
Sum(log, from, to) ==  \* what the committed records of a log have from one offset up to another
  IF from >= to THEN None
  ELSE Plus(IF log[from + 1].state = "yes" THEN log[from + 1].value ELSE None, Sum(log, from + 1, to))

RECURSIVE OverPartitions(_, _)
OverPartitions(f, ps) ==
  IF ps = {} THEN None ELSE LET p == CHOOSE p \in ps : TRUE IN Plus(f[p], OverPartitions(f, ps \ {p}))

Batch(q) ==
  OverPartitions([p \in Partitions |-> Sum(kafka.log[Place(q, p)], process[q].part[p].base, process[q].part[p].next)],
                 Open(q))
Moved(q) == {p \in Open(q) : process[q].part[p].next > process[q].part[p].base}
Dropped(part) == [p \in Partitions |-> [part[p] EXCEPT !.next = part[p].base]]

\* The words of a partition.
Of(p, words) == [l \in Lines |-> IF Home[l] = p THEN words[l] ELSE 0]
NewTotal(q, p) == Plus(process[q].part[p].total, Of(p, Batch(q)))

\* Whether the batch has a record with words of several partitions: a mapper writes these under a light load
\* (mapper.py, MIXED_DISTINCT), for the reducer that owned all of the partitions then.
IsMixed(q) ==
  \E p \in Open(q) : \E i \in process[q].part[p].base + 1 .. process[q].part[p].next :
    LET record == kafka.log[Place(q, p)][i]
    IN  record.state = "yes" /\ \E l \in Lines : record.value[l] > 0 /\ Home[l] # p

\* Offsets.due: what the commit sends.  After a mixed record these are the offsets of all partitions.
Due(q) ==
  LET all == IsReducer(q) /\ IsMixed(q) /\ Guard("all-offsets")
  IN  {[partition |-> p, offset |-> process[q].part[p].next] : p \in IF all THEN Open(q) ELSE Moved(q)}

\* Mapper.outbox, Reducer.outbox: what the commit writes.
Writes(q) ==
  LET batch == Batch(q)
      ps == {p \in Partitions : Of(p, batch) # None}
      own == {p \in ps : IsReducer(q) /\ p \in Open(q)}
      away == IF IsReducer(q) /\ ~Guard("forward") THEN {} ELSE ps \ own
  IN  {[kind |-> "produce", place |-> <<"counts", p>>, value |-> NewTotal(q, p)] : p \in own}
      \cup {[kind |-> "produce", place |-> <<"words", p>>, value |-> Of(p, batch)] : p \in away}

Requests(q) ==
  LET writes == Writes(q)
      places == {w.place : w \in writes} \cup {OffsetsOf(Input[NameOf[q]])}
                \cup (IF WithPositions THEN {PositionsOf(Input[NameOf[q]])} ELSE {})
  IN  {[kind |-> "add", places |-> places], [kind |-> "offsets", offsets |-> Due(q)]} \cup writes
      \cup (IF WithPositions THEN {[kind |-> "position", offsets |-> Due(q)]} ELSE {})

(***************************************************************************)
(* Requests to the brokers.                                                *)
(***************************************************************************)
Message(q, request) ==
  LET known == [name |-> NameOf[q], epoch |-> process[q].epoch]
  IN  CASE request.kind = "produce" ->
             [number |-> process[q].sent[request.place]] @@ known @@ request
        [] request.kind = "offsets" ->
             [process |-> q, generation |-> process[q].generation] @@ known @@ request
        [] OTHER -> known @@ request

Answered(q, request) == Answer(kafka, Message(q, request), Guard("generation"))
After(q, request) == Applied(kafka, Message(q, request), Guard("generation"))

\* A client waits for an answer and does not get it: the request is under way for as long as it likes, or for ever.
\* What the client does about it are actions of the process: it sends the request again, or gives the transaction up.
Unanswered(q) ==
  /\ Spend("late")
  /\ \E request \in CASE process[q].at \in {"init", "renew"} -> {[kind |-> "init"]}
                      [] process[q].at = "transaction" ->
                           IF process[q].todo = {} THEN {[kind |-> "commit"]}
                           ELSE LET adds == {r \in process[q].todo : r.kind = "add"}
                                IN  IF adds # {} THEN adds ELSE process[q].todo
                      [] process[q].at = "abort" -> {[kind |-> "abort"]}
                      [] OTHER -> {} :
       /\ Message(q, request) \notin network
       /\ network' = network \cup {Message(q, request)}
       /\ process' = [process EXCEPT ![q].disturbed = @ \/ (Guard("renew-after-silence") /\ request.kind # "init")]
  /\ UNCHANGED <<kafka, store>>

Arrives ==  \* a late request comes to the broker; nobody waits for the answer
  \E m \in network :
    /\ network' = network \ {m}
    /\ kafka' = Applied(kafka, m, Guard("generation"))
    /\ UNCHANGED <<process, store, left>>

(***************************************************************************)
(* The start and the end of a process.                                     *)
(***************************************************************************)
\* The supervisor or somebody starts a process, while its predecessor may still be there.  Processes of a name are
\* numbered in the order of their first init_transactions: who comes later has the name.
Start(q) ==
  /\ process[q].at = "off"
  /\ \A r \in Processes : r < q /\ NameOf[r] = NameOf[q] =>
       process[r].at \notin {"off", "init"}
  /\ process' = [process EXCEPT ![q].at = "init"]
  /\ UNCHANGED <<kafka, store, network, left>>

\* A gap: two processes of one name start, join or renew their producers at the same moment.  Then the earlier process
\* may be the last one to come, and the later one ends.  Without the gap the later process comes last.
InOrder(q) ==
  \/ "start-race" \in Gaps
  \/ \A r \in Processes : r < q /\ NameOf[r] = NameOf[q] => process[r].at \notin {"joining", "renew"}

\* Transactions.start, Transactions._renew: init_transactions gives a new epoch, and aborts what is open.
InitTransactions(q) ==
  /\ process[q].at \in {"init", "renew"} /\ InOrder(q)
  /\ LET request == [kind |-> "init"]
         now == After(q, request)
     IN  /\ now # kafka
         /\ kafka' = now
         /\ process' = IF Answered(q, request) # "ok" THEN process  \* asked again when the abort is done
                       ELSE [process EXCEPT
                               ![q].epoch = now.coordinator[NameOf[q]].epoch,
                               ![q].last = now.coordinator[NameOf[q]].epoch,
                               ![q].sent = Nothing.sent,
                               ![q].disturbed = FALSE,
                               ![q].overdue = FALSE,
                               ![q].at = IF @ = "init" THEN "joining" ELSE "transaction"]
  /\ UNCHANGED <<store, network, left>>

Crash(q) ==  \* SIGKILL at any step; stores are left as they are, and unlocked
  /\ Alive(q)
  /\ Spend("crashes")
  /\ process' = [process EXCEPT ![q] = Ended("gone")]
  /\ store' = Unlocked(q, Partitions)
  /\ UNCHANGED <<kafka, network>>

(***************************************************************************)
(* The group (pipeline/membership.py).                                     *)
(***************************************************************************)
SetGroup(q, group) == kafka' = [kafka EXCEPT !.group[Input[NameOf[q]]] = group]

Join(q) ==  \* Membership.join, join_in_place
  /\ process[q].at = "joining" /\ InOrder(q)
  /\ SetGroup(q, Joined(Group(q), NameOf[q], q))
  /\ process' = [process EXCEPT ![q].at = "idle", ![q].joined = TRUE, ![q].refused = FALSE]
  /\ UNCHANGED <<store, network, left>>

\* A round of a rebalance: the leader assigns what nobody has, in any way.
Assign(stage) ==
  LET group == kafka.group[stage]
      free == {p \in Partitions : group.owner[p] = Nobody /\ group.claim[p] = Nobody}
  IN  /\ free # {}
      /\ \E to \in [free -> Members(group)] : kafka' = [kafka EXCEPT !.group[stage] = Assigned(group, to)]
      /\ UNCHANGED <<process, store, network, left>>

TakeAway(stage) ==  \* the other round: a partition is to go to another member
  LET group == kafka.group[stage]
  IN  /\ Cardinality(Members(group)) > 1
      /\ Spend("moves")
      /\ \E p \in Partitions : /\ group.owner[p] # Nobody
                               /\ kafka' = [kafka EXCEPT !.group[stage] = TakenAway(group, p)]
      /\ UNCHANGED <<process, store, network>>

SessionTimesOut(stage) ==  \* of a process that is dead or stands still
  LET group == kafka.group[stage]
  IN  /\ Spend("sessions")
      /\ \E n \in Members(group) : kafka' = [kafka EXCEPT !.group[stage] = WithoutMember(group, n)]
      /\ UNCHANGED <<process, store, network>>

IsMemberNow(q) == Group(q).member[NameOf[q]] = q

\* Membership._assigned: new partitions are opened.
TakeAssigned(q) ==
  LET new == {p \in Partitions : Group(q).owner[p] = NameOf[q]} \ Owned(q)
  IN  /\ process[q].at = "idle" /\ IsMemberNow(q) /\ new # {}
      /\ process' = [process EXCEPT ![q].part = [p \in Partitions |-> IF p \in new THEN Opening(p) ELSE @[p]]]
      /\ UNCHANGED <<kafka, store, network, left>>

\* Membership._revoked: the batch is committed or dropped first (Worker._settle); then the partition is released.
Release(q, p) ==
  /\ process[q].at = "idle" /\ IsMemberNow(q)
  /\ Group(q).claim[p] = NameOf[q] /\ Group(q).owner[p] # NameOf[q]
  /\ Moved(q) = {} \/ ~Guard("commit-before-release")
  /\ SetGroup(q, Released(Group(q), p))
  /\ IF Guard("commit-before-release") \/ p \notin Moved(q)
     THEN /\ store' = Put(q, {p})
          /\ process' = [process EXCEPT ![q].part[p] = Closed]
     ELSE UNCHANGED <<store, process>>
  /\ UNCHANGED <<network, left>>

Drop(q) ==  \* Worker._settle without a producer: the batch is read again by the next owner
  /\ process[q].at = "idle" /\ process[q].epoch = 0 /\ Moved(q) # {}
  /\ \E p \in Owned(q) : Group(q).owner[p] # NameOf[q]
  /\ process' = [process EXCEPT ![q].part = Dropped(@)]
  /\ UNCHANGED <<kafka, store, network, left>>

\* Membership._lost: the broker has taken the member out of the group; batch and partitions are dropped.
Lose(q) ==
  /\ process[q].at = "idle" /\ Group(q).member[NameOf[q]] = NoProcess
  /\ IF Guard("drop-lost")
     THEN /\ store' = Put(q, Owned(q))
          /\ process' = [process EXCEPT ![q].at = "joining", ![q].part = Nothing.part]
     ELSE /\ process' = [process EXCEPT ![q].at = "joining"]
          /\ UNCHANGED store
  /\ UNCHANGED <<kafka, network, left>>

\* Worker._go_on for a group member whose place another process has taken.
MemberIsFenced(q) ==
  /\ process[q].at = "idle" /\ Group(q).member[NameOf[q]] \notin {NoProcess, q}
  /\ IF IF process[q].overdue THEN Later(q) # {} ELSE kafka.coordinator[NameOf[q]].epoch # process[q].epoch
     THEN /\ process' = [process EXCEPT ![q] = Ended("fenced")]
          /\ store' = Unlocked(q, Partitions)
     ELSE /\ process' = [process EXCEPT ![q].at = "joining", ![q].part = Nothing.part]
          /\ store' = Put(q, Owned(q))
  /\ UNCHANGED <<kafka, network, left>>

(***************************************************************************)
(* Opening a partition (pipeline/offsets.py, state/restore.py).            *)
(***************************************************************************)
\* Offsets.find: the group's offset, when no pending transaction can change it (KIP-447), or else the position.
CommittedOffset(q, p) ==
  LET stage == Input[NameOf[q]]
  IN  IF kafka.offset[stage][p] # NoOffset THEN kafka.offset[stage][p]
      ELSE IF WithPositions /\ Guard("positions") THEN kafka.position[stage][p] ELSE 0

IsStable(q, p) ==
  \/ ~Guard("stable-offsets")
  \/ /\ \A x \in kafka.pending : ~(Input[x.name] = Input[NameOf[q]] /\ x.partition = p)
     /\ kafka.offset[Input[NameOf[q]]][p] = NoOffset =>  \* Reading: up to the high watermark of positions
          (~Guard("positions-end") \/ \A x \in kafka.positionsPending : Input[x.name] # Input[NameOf[q]])

\* Steps 1 and 2 of state/restore.py, first half: the store's lock, and the input's offset.
Find(q, p) ==
  /\ process[q].at = "idle" /\ process[q].part[p].step = "find"
  /\ IsStable(q, p)
  /\ IF ~IsReducer(q)
     THEN /\ process' = [process EXCEPT ![q].part[p] = [Closed EXCEPT !.step = "open", !.base = CommittedOffset(q, p),
                                                                      !.next = CommittedOffset(q, p)]]
          /\ UNCHANGED store
     ELSE /\ Store(q, p).lock = NoProcess
          /\ store' = [store EXCEPT ![HostOf[NameOf[q]]][p].lock = q]
          /\ process' = [process EXCEPT ![q].part[p] =
               [@ EXCEPT !.step = "compare", !.base = CommittedOffset(q, p), !.next = CommittedOffset(q, p)]]
  /\ UNCHANGED <<kafka, network, left>>

\* Steps 2, second half, and 3: only now the end of counts, the uncommitted one; then the stamp (Stamp.missed).
Compare(q, p) ==
  LET counts == kafka.log[<<"counts", p>>]
      was == process[q].part[p]
      end == IF ~Guard("offset-before-end") THEN was.end ELSE IF Guard("end") THEN End(counts) ELSE Stable(counts)
      disk == Store(q, p)
      ownMarkerOnly == /\ disk.own /\ end = disk.stamp + 1
                       /\ Stable(counts) = end \/ ~Guard("own-marker")
      has == [was EXCEPT !.total = disk.total, !.stamp = disk.stamp, !.own = disk.own, !.end = 0]
  IN  /\ process[q].at = "idle" /\ was.step = "compare"
      /\ process' = [process EXCEPT ![q].part[p] =
           IF end <= disk.stamp \/ ownMarkerOnly THEN [has EXCEPT !.step = "open"]
           ELSE [has EXCEPT !.step = "read", !.end = end]]
      /\ UNCHANGED <<kafka, store, network, left>>

Fold(log, from, to, total) ==  \* the last total among the committed records, or else the one before
  LET found == {i \in from + 1 .. to : log[i].state = "yes"}
  IN  IF found = {} THEN total ELSE log[CHOOSE i \in found : \A j \in found : j <= i].value

\* Steps 4 and 5: counts is read, as far as it is committed, until the end of step 2 is reached.
Restore(q, p) ==
  LET counts == kafka.log[<<"counts", p>>]
      was == process[q].part[p]
      total == Fold(counts, was.stamp, Stable(counts), was.total)
  IN  /\ process[q].at = "idle" /\ was.step = "read" /\ Stable(counts) >= was.end
      /\ process' = [process EXCEPT ![q].part[p] = [was EXCEPT !.step = "open", !.end = 0, !.total = total,
                                                               !.stamp = Stable(counts), !.own = FALSE]]
      /\ store' = [store EXCEPT ![HostOf[NameOf[q]]][p] =
                     [total |-> total, stamp |-> Stable(counts), own |-> FALSE, lock |-> q]]
      /\ UNCHANGED <<kafka, network, left>>

(***************************************************************************)
(* The loop: read, commit, write the store behind.                         *)
(***************************************************************************)
Read(q, p) ==  \* Intake.read: committed records, as many as there are at some moment
  /\ process[q].at = "idle" /\ process[q].part[p].step = "open"
  /\ \E next \in process[q].part[p].next + 1 .. Stable(kafka.log[Place(q, p)]) :
       process' = [process EXCEPT ![q].part[p].next = next]
  /\ UNCHANGED <<kafka, store, network, left>>

\* Worker._rewind: the batch is dropped, and each partition is opened anew from its committed offset.
Rewound(q) ==
  [process[q] EXCEPT !.at = "idle", !.todo = {}, !.generation = 0,
                     !.part = [p \in Partitions |-> IF process[q].part[p].step = "no" THEN Closed ELSE Opening(p)]]

\* Worker._go_on for a producer that is fenced: pipeline/fencing.py.  It looks for half a session whether its group
\* member is fenced, too.  That is long enough for a successor to join: the model waits for it.
ProducerIsFenced(q) ==
  LET joins == {r \in Later(q) : process[r].at \in {"init", "joining"}}
      memberIsFenced == Group(q).member[NameOf[q]] \notin {NoProcess, q}
      hasSuccessor == ~process[q].joined \/ (memberIsFenced /\ ~(process[q].overdue /\ Later(q) = {}))
  IN  /\ process[q].joined => joins = {}
      /\ process' = [process EXCEPT ![q] =
           IF hasSuccessor THEN Ended("fenced")
           ELSE [Rewound(q) EXCEPT !.epoch = 0, !.last = kafka.coordinator[NameOf[q]].epoch]]
      /\ store' = IF hasSuccessor THEN Unlocked(q, Partitions) ELSE Put(q, Owned(q))

\* Worker._commit, and step 1 of Transactions.commit: the batch is complete, and the group's generation is read.
\* librdkafka may have learnt of a new generation by itself; a process that is no member any more has an old one.
\* A producer that has ended can't ask who has the name.  So Transactions.start compares the epoch that the coordinator
\* has with the last one that is known to be no successor's.
Begin(q) ==
  /\ process[q].at = "idle" /\ Moved(q) # {}
  /\ process[q].refused => IsMemberNow(q)  \* else it would try again and again, with one producer after the other
  /\ IF process[q].epoch = 0 /\ process[q].last # kafka.coordinator[NameOf[q]].epoch /\ Guard("same-producer")
     THEN ProducerIsFenced(q)
     ELSE /\ process' = [process EXCEPT
               ![q].generation = IF IsMemberNow(q) THEN Group(q).generation ELSE 0,
               ![q].todo = Requests(q),
               ![q].at = IF process[q].epoch = 0 THEN "renew"
                         ELSE IF ~process[q].disturbed THEN "transaction"
                         ELSE IF Guard("question") THEN "ask" ELSE "renew"]
          /\ store' = IF Guard("retain-after-commit") \/ ~IsReducer(q) THEN store
                      ELSE [store EXCEPT ![HostOf[NameOf[q]]] = [p \in Partitions |->
                              IF p \in Open(q) THEN [@[p] EXCEPT !.total = NewTotal(q, p)] ELSE @[p]]]
  /\ UNCHANGED <<kafka, network, left>>

\* Transactions._ask: who has the name?  An empty transaction tells: it only sends offsets of a generation that never
\* exists.  The coordinator checks the producer's epoch first.
Ask(q) ==
  LET request == [kind |-> "add", places |-> {OffsetsOf(Input[NameOf[q]])}]
      answer == Answered(q, request)
  IN  /\ process[q].at = "ask" /\ answer # "concurrent"
      /\ IF answer = "fenced" THEN ProducerIsFenced(q) /\ UNCHANGED kafka
         ELSE /\ kafka' = IF Guard("empty-question") THEN After(q, request)
                          ELSE Applied(After(q, request), Message(q, CHOOSE r \in process[q].todo : r.kind = "offsets"),
                                       Guard("generation"))
              /\ process' = [process EXCEPT ![q].at = "asking"]
              /\ UNCHANGED store
      /\ UNCHANGED <<network, left>>

AskEnds(q) ==  \* the empty transaction is aborted; what goes wrong here does not matter (RetryError is suppressed)
  LET request == [kind |-> "abort"]
      answer == Answered(q, request)
  IN  /\ process[q].at = "asking" /\ answer # "concurrent"
      /\ IF answer = "fenced" THEN ProducerIsFenced(q) /\ UNCHANGED kafka
         ELSE /\ kafka' = After(q, request)
              /\ process' = [process EXCEPT ![q].at = "renew"]
              /\ UNCHANGED store
      /\ UNCHANGED <<network, left>>

\* Transactions.commit, steps 2 to 4: partitions are added, then records and offsets are sent, in any order.
Request(q) ==
  \E request \in process[q].todo :
    LET answer == Answered(q, request)
    IN  /\ process[q].at = "transaction" /\ answer # "concurrent"
        /\ request.kind # "add" => \A r \in process[q].todo : r.kind # "add"
        /\ CASE answer = "ok" ->
                  /\ kafka' = After(q, request)
                  /\ process' = [process EXCEPT ![q].todo = @ \ {request},
                                                ![q].sent = IF request.kind # "produce" THEN @
                                                            ELSE [@ EXCEPT ![request.place] = @ + 1]]
                  /\ UNCHANGED store
             [] answer = "fenced" -> ProducerIsFenced(q) /\ UNCHANGED kafka
             [] OTHER -> /\ process' = [process EXCEPT ![q].at = "abort", ![q].refused = answer = "generation"]
                         /\ UNCHANGED <<kafka, store>>
        /\ UNCHANGED <<network, left>>

\* Where the totals of a commit are in counts: the delivery report tells.
Written(q, p) ==
  LET counts == kafka.log[<<"counts", p>>]
      mine == {i \in 1..Len(counts) : counts[i].by = NameOf[q] /\ counts[i].state # "mark"}
  IN  IF mine = {} THEN process[q].part[p].stamp ELSE CHOOSE i \in mine : \A j \in mine : j <= i

\* Reducer.committed: the new totals are kept in memory (the write-behind buffer), with the stamp.
Retained(q) ==
  [p \in Partitions |->
     LET was == process[q].part[p]
     IN  IF was.step # "open" THEN was
         ELSE IF ~IsReducer(q) \/ Of(p, Batch(q)) = None THEN [was EXCEPT !.base = was.next]
         ELSE [was EXCEPT !.base = was.next, !.total = NewTotal(q, p), !.stamp = Written(q, p), !.own = TRUE]]

\* Transactions.commit, steps 4 and 5: EndTxn, and its answer.
Commit(q) ==
  LET request == [kind |-> "commit"]
      answer == Answered(q, request)
  IN  /\ process[q].at = "transaction" /\ process[q].todo = {} /\ answer # "concurrent"
      /\ CASE answer = "ok" ->
                /\ kafka' = After(q, request)
                /\ process' = [process EXCEPT ![q].at = "idle", ![q].generation = 0, ![q].part = Retained(q)]
                /\ store' = IF Guard("stamp-in-batch") \/ ~IsReducer(q) THEN store
                            ELSE [store EXCEPT ![HostOf[NameOf[q]]] = [p \in Partitions |->
                                    IF p \in Open(q) THEN [@[p] EXCEPT !.stamp = Retained(q)[p].stamp] ELSE @[p]]]
           [] answer = "fenced" -> ProducerIsFenced(q) /\ UNCHANGED kafka
           [] OTHER ->  \* the outcome is unknown: the process ends, and the next one's init_transactions settles it
                /\ process' = [process EXCEPT ![q] = Ended("gone")]
                /\ store' = Unlocked(q, Partitions)
                /\ UNCHANGED kafka
      /\ UNCHANGED <<network, left>>

\* The transaction fails for some other reason: say a record timed out.  A broker may even have appended a batch and
\* have answered with an error (NOT_ENOUGH_REPLICAS_AFTER_APPEND): the client would try again, and the abort purges that.
GiveUp(q) ==
  /\ process[q].at = "transaction" /\ process[q].todo # {}
  /\ Spend("aborts")
  /\ \/ UNCHANGED kafka
     \/ /\ \A r \in process[q].todo : r.kind # "add"
        /\ \E r \in process[q].todo : r.kind = "produce" /\ kafka' = After(q, r)
  /\ process' = [process EXCEPT ![q].at = "abort"]
  /\ UNCHANGED <<store, network>>

Abort(q) ==  \* Transactions._abort, and Worker._rewind
  LET request == [kind |-> "abort"]
      none == \E r \in process[q].todo : r.kind = "add"  \* no partition was added: there is nothing to abort
      answer == Answered(q, request)
  IN  /\ process[q].at = "abort" /\ (none \/ answer # "concurrent")
      /\ IF ~none /\ answer = "fenced" THEN ProducerIsFenced(q) /\ UNCHANGED kafka
         ELSE /\ kafka' = IF none THEN kafka ELSE After(q, request)
              /\ process' = [process EXCEPT ![q] =
                   IF none \/ answer = "ok"
                   THEN [Rewound(q) EXCEPT !.disturbed = @ \/ Guard("renew-after-abort")]
                   ELSE [Rewound(q) EXCEPT !.epoch = 0]]
              /\ store' = Put(q, Owned(q))
      /\ UNCHANGED <<network, left>>

\* Reducer._write_kept, Store.write: totals and their stamp in one RocksDB batch.
Flush(q, p) ==
  LET mine == process[q].part[p]
      disk == Store(q, p)
      new == [total |-> mine.total, stamp |-> mine.stamp, own |-> mine.own, lock |-> q]
  IN  /\ process[q].at = "idle" /\ IsReducer(q) /\ mine.step = "open" /\ disk.lock = q /\ disk # new
      /\ store' = [store EXCEPT ![HostOf[NameOf[q]]][p] = new]
      /\ UNCHANGED <<kafka, process, network, left>>

(***************************************************************************)
(* The brokers by themselves.                                              *)
(***************************************************************************)
TellMarker(n) ==
  /\ IsDeciding(kafka, n)
  /\ \E place \in kafka.coordinator[n].places : kafka' = Marker(kafka, n, place)
  /\ UNCHANGED <<process, store, network, left>>

TransactionTimesOut(n) ==
  /\ kafka.coordinator[n].state = "ongoing"
  /\ Spend("timeouts")
  /\ kafka' = TimedOut(kafka, n)
  /\ process' = [q \in Processes |->
       IF NameOf[q] = n /\ process[q].epoch = kafka.coordinator[n].epoch
          /\ process[q].at \in {"transaction", "abort", "asking"}
       THEN [process[q] EXCEPT !.overdue = TRUE] ELSE process[q]]
  /\ UNCHANGED <<store, network>>

\* offsets.retention.minutes: a group without members loses its offsets (KIP-211).
OffsetsExpire(stage) ==
  /\ Members(kafka.group[stage]) = {} /\ \A x \in kafka.pending : Input[x.name] # stage
  /\ \E p \in Partitions : kafka.offset[stage][p] # NoOffset
  /\ Spend("expiries")
  /\ kafka' = [kafka EXCEPT !.offset[stage] = [p \in Partitions |-> NoOffset]]
  /\ UNCHANGED <<process, store, network>>

Faults ==
  \/ \E q \in Processes : Unanswered(q) \/ Crash(q) \/ GiveUp(q)
  \/ \E s \in Stages : TakeAway(s) \/ SessionTimesOut(s) \/ OffsetsExpire(s)
  \/ \E n \in Names : TransactionTimesOut(n)
  \/ Arrives

Works(q) ==
  \/ InitTransactions(q) \/ Join(q) \/ TakeAssigned(q) \/ Drop(q) \/ Lose(q) \/ MemberIsFenced(q)
  \/ Begin(q) \/ Ask(q) \/ AskEnds(q) \/ Request(q) \/ Commit(q) \/ Abort(q)
  \/ \E p \in Partitions : Release(q, p) \/ Find(q, p) \/ Compare(q, p) \/ Restore(q, p) \/ Read(q, p)

Next ==
  \/ \E q \in Processes : Start(q) \/ Works(q) \/ \E p \in Partitions : Flush(q, p)
  \/ \E s \in Stages : Assign(s)
  \/ \E n \in Names : TellMarker(n)
  \/ Faults

Spec == Init /\ [][Next]_vars

(***************************************************************************)
(* Faults end with their budget; all else goes on.  A process that is gone *)
(* has a successor as long as there is one.                                *)
(***************************************************************************)
Supervise(q) ==
  /\ \A r \in Processes : r < q /\ NameOf[r] = NameOf[q] => process[r].at = "gone"
  /\ Start(q)

LiveSpec ==
  /\ Init /\ [][Next]_vars
  /\ \A q \in Processes : WF_vars(Works(q)) /\ WF_vars(Supervise(q))
  /\ \A s \in Stages : WF_vars(Assign(s))
  /\ \A n \in Names : WF_vars(TellMarker(n))

(***************************************************************************)
(* What has to hold.                                                       *)
(***************************************************************************)
\* What a decided transaction has written counts from the decision on, though its markers come later.
Will(k, place, state, by) ==
  \/ state = "yes"
  \/ state = "open" /\ k.coordinator[by].state = "prepare-commit" /\ place \in k.coordinator[by].places

\* How far a partition of an input is counted, now or with the markers of what is decided: by the group's offset, or
\* else by the position.
OfDecided(pending, stage, p) ==
  {x \in pending : /\ Input[x.name] = stage /\ x.partition = p
                   /\ kafka.coordinator[x.name].state = "prepare-commit"}
CountedTo(stage, p) ==
  LET offsets == OfDecided(kafka.pending, stage, p)
      positions == OfDecided(kafka.positionsPending, stage, p)
  IN  IF offsets # {} THEN (CHOOSE x \in offsets : TRUE).offset
      ELSE IF kafka.offset[stage][p] # NoOffset THEN kafka.offset[stage][p]
      ELSE IF positions # {} THEN (CHOOSE x \in positions : TRUE).offset
      ELSE kafka.position[stage][p]

RECURSIVE SumToBe(_, _, _)
SumToBe(place, from, to) ==
  IF from >= to THEN None
  ELSE LET record == kafka.log[place][from + 1]
       IN  Plus(IF record.state # "mark" /\ Will(kafka, place, record.state, record.by) THEN record.value ELSE None,
                SumToBe(place, from + 1, to))

\* What is left to count in a partition of an input topic.  A topic that no name reads is left as a whole.
LeftOf(stage, p) ==
  LET place == <<stage, p>>
  IN  SumToBe(place, IF stage \in Stages THEN CountedTo(stage, p) ELSE 0, Len(kafka.log[place]))

Totals(p) ==  \* the indices of the totals in counts that are, or will be, committed
  {i \in 1..Len(kafka.log[<<"counts", p>>]) :
     LET record == kafka.log[<<"counts", p>>][i]
     IN  record.state # "mark" /\ Will(kafka, <<"counts", p>>, record.state, record.by)}
TotalOf(p) ==
  IF Totals(p) = {} THEN None
  ELSE kafka.log[<<"counts", p>>][CHOOSE i \in Totals(p) : \A j \in Totals(p) : j <= i].value

\* 1. Each total equals the fold of the committed input, and a committed offset and its output are both there or
\*    neither: each line is in one place, which is lines, words or a total, and it is there once.
EachLineOnce ==
  LET at == Plus(OverPartitions([p \in Partitions |-> LeftOf("lines", p)], Partitions),
                 Plus(OverPartitions([p \in Partitions |-> LeftOf("words", p)], Partitions),
                      OverPartitions([p \in Partitions |-> TotalOf(p)], Partitions)))
  IN  \A l \in Lines : at[l] = 1

\* 2. Totals only rise.
TotalsRise ==
  \A p \in Partitions : \A i, j \in Totals(p) :
    i < j => AtMost(kafka.log[<<"counts", p>>][i].value, kafka.log[<<"counts", p>>][j].value)

\* 3. A store is the fold of counts below its stamp.
StoreIsFold ==
  \A h \in DOMAIN store : \A p \in Partitions :
    LET below == {i \in Totals(p) : i <= store[h][p].stamp}
    IN  /\ store[h][p].stamp <= Len(kafka.log[<<"counts", p>>])
        /\ store[h][p].total =
             IF below = {} THEN None
             ELSE kafka.log[<<"counts", p>>][CHOOSE i \in below : \A j \in below : j <= i].value

\* 4. A process that ends since another one has its name is right: a later one was started.
FencedByALaterOne == \A q \in Processes : process[q].at = "fenced" => Later(q) # {}

\* The same without an order: of the processes of a name that were started, not all end since another one has it.
\* Nobody starts such a process again, so the name would be left without a process.
NameIsNotLost ==
  \A n \in Names : LET started == {q \in Processes : NameOf[q] = n /\ process[q].at # "off"}
                    IN  started # {} => \E q \in started : process[q].at # "fenced"

\* 5. A record is open only as long as the coordinator knows of its transaction.
NothingHangs ==
  \A place \in Logs : \A i \in 1..Len(kafka.log[place]) :
    kafka.log[place][i].state = "open" => place \in kafka.coordinator[kafka.log[place][i].by].places

\* 6. In the end every line is counted, as far as its stage is there.
Counted ==
  \A p \in Partitions : \A s \in Stages : LeftOf(s, p) = None
EveryLineIsCounted == <>[]Counted
=============================================================================
