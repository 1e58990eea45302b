------------------------------- MODULE Kafka -------------------------------
(***************************************************************************)
(* The broker's side, as its clients see it: logs with transactions, the   *)
(* transaction coordinator, and the consumer groups with their offsets.    *)
(*                                                                         *)
(* This is protocol version 1, which librdkafka speaks: all transactions   *)
(* of one producer have the same epoch.  So a late request of one          *)
(* transaction can hit the next one (KIP-890, librdkafka#5423).            *)
(*                                                                         *)
(* Everything here is a function of the brokers' state k.  The actions     *)
(* that use these functions are in Wcsup.tla.                              *)
(***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS
  Partitions,   \* the partition numbers, which all topics share
  Names,        \* names of workers: transactional.id and group.instance.id
  Input,        \* Input[name]: "lines" for a mapper, "words" for a reducer
  Lines,        \* the lines; each line has one word
  Home,         \* Home[line]: the partition that the line's word belongs to
  WithPositions,\* whether transactions also write to the topic positions
  Verified      \* transaction.partition.verification.enable of the brokers

Nobody == "nobody"
NoProcess == 0
NoOffset == 99  \* what a group answers that has no offset of a partition
Never == 99     \* a generation that never exists

Stages == {Input[n] : n \in Names}

\* Partitions of topics.  A group's offsets are records, too, and so are
\* positions; each stage has one partition for either.
Logs == {"lines", "words", "counts"} \X Partitions
Number(stage) == IF stage = "lines" THEN 0 ELSE 1
OffsetsOf(stage) == <<"offsets", Number(stage)>>
PositionsOf(stage) == <<"positions", Number(stage)>>

\* How often each line is in a record or a total.  A total is modelled as
\* the lines that were added up in it, so that a line that is missing or
\* counted twice can be told.
None == [l \in Lines |-> 0]
Plus(a, b) == [l \in Lines |-> a[l] + b[l]]
AtMost(a, b) == \A l \in Lines : a[l] <= b[l]

(***************************************************************************)
(* Logs.  An entry is a record or a marker of the end of a transaction     *)
(* ("mark"), which takes an offset, too.  The entry at index i has offset  *)
(* i - 1.  A record is "open" until the marker of its producer comes.      *)
(***************************************************************************)
Entry(by, state, value) == [by |-> by, state |-> state, value |-> value]
End(log) == Len(log)
Stable(log) ==  \* the last stable offset: the first open record, or the end
  LET open == {i \in 1..Len(log) : log[i].state = "open"}
  IN  IF open = {} THEN Len(log) ELSE (CHOOSE i \in open : \A j \in open : i <= j) - 1

\* A producer's marker ends all that is open of it in the partition, even
\* records of an earlier epoch (wcsup.kafka.hanging).
Marked(log, name, commit) ==
  Append([i \in 1..Len(log) |->
            IF log[i].state = "open" /\ log[i].by = name
            THEN [log[i] EXCEPT !.state = IF commit THEN "yes" ELSE "no"]
            ELSE log[i]],
         Entry(name, "mark", None))

(***************************************************************************)
(* What clients ask for.  A request has the name and the epoch of its      *)
(* producer; "offsets" also has member and generation of the group.        *)
(*   init      InitProducerId                                              *)
(*   add       AddPartitionsToTxn and AddOffsetsToTxn                      *)
(*   produce   Produce, with a sequence number                             *)
(*   position  Produce of positions: the input offsets of this commit      *)
(*   offsets   TxnOffsetCommit                                             *)
(*   commit    EndTxn                                                      *)
(*   abort     EndTxn                                                      *)
(***************************************************************************)
Running(k, m) == k.coordinator[m.name].state = "ongoing"

HasPartition(k, m, place) ==
  Running(k, m) /\ place \in k.coordinator[m.name].places

\* How many batches of this producer and epoch the partition has.
Appended(k, m) ==
  LET known == k.sequence[m.place][m.name]
  IN  IF known[1] = m.epoch THEN known[2] ELSE 0

IsMember(k, m) ==
  LET group == k.group[Input[m.name]]
  IN  group.member[m.name] = m.process /\ group.generation = m.generation

\* The brokers' answer to a request.  fences: whether the group refuses
\* offsets of an earlier generation (KIP-447); a mutant switches it off.
Answer(k, m, fences) ==
  LET state == k.coordinator[m.name].state
  IN  CASE m.kind = "init" -> IF state \in {"prepare-commit", "prepare-abort", "ongoing"} THEN "concurrent" ELSE "ok"
        [] m.kind # "init" /\ m.epoch # k.coordinator[m.name].epoch -> "fenced"
        [] m.kind = "add" -> IF state \in {"prepare-commit", "prepare-abort"} THEN "concurrent" ELSE "ok"
        [] m.kind = "produce" -> IF Verified /\ ~HasPartition(k, m, m.place) THEN "state"
                                 ELSE IF m.number > Appended(k, m) THEN "sequence" ELSE "ok"
        [] m.kind = "position" -> IF HasPartition(k, m, PositionsOf(Input[m.name])) THEN "ok" ELSE "state"
        [] m.kind = "offsets" -> IF ~HasPartition(k, m, OffsetsOf(Input[m.name])) THEN "state"
                                 ELSE IF fences /\ ~IsMember(k, m) THEN "generation"
                                 ELSE IF m.generation = Never THEN "generation" ELSE "ok"
        [] m.kind = "commit" -> IF state = "ongoing" \/ state = "complete-commit" THEN "ok"
                                ELSE IF state = "prepare-commit" THEN "concurrent" ELSE "state"
        [] m.kind = "abort" -> IF state = "ongoing" \/ state = "complete-abort" THEN "ok"
                               ELSE IF state = "prepare-abort" THEN "concurrent" ELSE "state"

\* The coordinator decides the transaction of a name.  It is told to the
\* partitions by markers later (Marker below).
Decided(k, name, state, epoch) ==
  [k EXCEPT !.coordinator[name].state = state, !.coordinator[name].epoch = epoch]

\* The brokers' state after a request.
Applied(k, m, fences) ==
  LET answer == Answer(k, m, fences)
      coordinator == k.coordinator[m.name]
  IN  CASE m.kind = "init" /\ answer = "ok" ->
             [k EXCEPT !.coordinator[m.name] = [epoch |-> coordinator.epoch + 1, state |-> "empty", places |-> {}]]
        [] m.kind = "init" /\ coordinator.state = "ongoing" ->  \* fences the producer that is there, and aborts
             Decided(k, m.name, "prepare-abort", coordinator.epoch + 1)
        [] answer # "ok" -> k
        [] m.kind = "add" ->
             [k EXCEPT !.coordinator[m.name].state = "ongoing",
                       !.coordinator[m.name].places = m.places \cup @]
        [] m.kind = "produce" ->
             IF m.number < Appended(k, m) THEN k  \* a duplicate is acknowledged, and not appended
             ELSE [k EXCEPT !.log[m.place] = Append(@, Entry(m.name, "open", m.value)),
                            !.sequence[m.place][m.name] = <<m.epoch, m.number + 1>>]
        [] m.kind = "position" ->
             [k EXCEPT !.positionsPending = {x \in @ : x.name # m.name}
                         \cup {[name |-> m.name, partition |-> x.partition, offset |-> x.offset] : x \in m.offsets}]
        [] m.kind = "offsets" ->
             [k EXCEPT !.pending = {x \in @ : x.name # m.name}
                         \cup {[name |-> m.name, partition |-> x.partition, offset |-> x.offset] : x \in m.offsets}]
        [] m.kind = "commit" /\ coordinator.state = "ongoing" ->
             Decided(k, m.name, "prepare-commit", coordinator.epoch)
        [] m.kind = "abort" /\ coordinator.state = "ongoing" ->
             Decided(k, m.name, "prepare-abort", coordinator.epoch)
        [] OTHER -> k

(***************************************************************************)
(* What the brokers do by themselves.                                      *)
(***************************************************************************)
IsDeciding(k, name) == k.coordinator[name].state \in {"prepare-commit", "prepare-abort"}

\* WriteTxnMarkers: the coordinator tells one partition how it decided.
Marker(k, name, place) ==
  LET commit == k.coordinator[name].state = "prepare-commit"
      left == k.coordinator[name].places \ {place}
      stage == Input[name]
      told == CASE place = OffsetsOf(stage) ->
                     [k EXCEPT !.pending = {x \in @ : x.name # name},
                               !.offset[stage] = [p \in Partitions |->
                                 LET new == {x \in k.pending : x.name = name /\ x.partition = p}
                                 IN  IF commit /\ new # {} THEN (CHOOSE x \in new : TRUE).offset ELSE @[p]]]
                [] place = PositionsOf(stage) ->
                     [k EXCEPT !.positionsPending = {x \in @ : x.name # name},
                               !.position[stage] = [p \in Partitions |->
                                 LET new == {x \in k.positionsPending : x.name = name /\ x.partition = p}
                                 IN  IF commit /\ new # {} THEN (CHOOSE x \in new : TRUE).offset ELSE @[p]]]
                [] OTHER -> [k EXCEPT !.log[place] = Marked(@, name, commit)]
  IN  [told EXCEPT !.coordinator[name].places = left,
                   !.coordinator[name].state =
                     IF left # {} THEN @ ELSE IF commit THEN "complete-commit" ELSE "complete-abort"]

\* transaction.timeout.ms: the coordinator aborts, and fences the producer.
TimedOut(k, name) == Decided(k, name, "prepare-abort", k.coordinator[name].epoch + 1)

(***************************************************************************)
(* A group of static members (KIP-345) with cooperative rebalances         *)
(* (KIP-429).  owner: who has a partition by the assignment of this        *)
(* generation.  claim: who said at the last rebalance that it has the      *)
(* partition; only when it is nobody can the partition get a new owner,    *)
(* which is what the two rounds of a rebalance are for.                    *)
(***************************************************************************)
Members(group) == {n \in Names : group.member[n] # NoProcess}

\* A process joins.  If its name is a member already, it takes that one's
\* place, with its partitions, and there is no rebalance.
Joined(group, name, process) ==
  [group EXCEPT !.generation = IF group.member[name] = NoProcess THEN @ + 1 ELSE @,
                !.member[name] = process]

\* A round of a rebalance: partitions that nobody has are given to members.
Assigned(group, to) ==
  [group EXCEPT !.generation = @ + 1,
                !.owner = [p \in Partitions |-> IF p \in DOMAIN to THEN to[p] ELSE @[p]],
                !.claim = [p \in Partitions |-> IF p \in DOMAIN to THEN to[p] ELSE @[p]]]

\* The other round: a member has to give a partition up.
TakenAway(group, p) == [group EXCEPT !.generation = @ + 1, !.owner[p] = Nobody]

\* The member has given a partition up, and rejoined.
Released(group, p) == [group EXCEPT !.claim[p] = Nobody]

\* session.timeout.ms: the group goes on without a member.
WithoutMember(group, name) ==
  [group EXCEPT !.generation = @ + 1,
                !.member[name] = NoProcess,
                !.owner = [p \in Partitions |-> IF @[p] = name THEN Nobody ELSE @[p]],
                !.claim = [p \in Partitions |-> IF @[p] = name THEN Nobody ELSE @[p]]]

\* The state at the start; logs has the content of the input.
Fresh(logs) ==
  [log |-> [place \in Logs |-> IF place \in DOMAIN logs
                               THEN [i \in 1..Len(logs[place]) |-> Entry(Nobody, "yes", logs[place][i])]
                               ELSE <<>>],
   sequence |-> [place \in Logs |-> [n \in Names |-> <<0, 0>>]],
   coordinator |-> [n \in Names |-> [epoch |-> 0, state |-> "empty", places |-> {}]],
   offset |-> [s \in Stages |-> [p \in Partitions |-> NoOffset]],
   pending |-> {},
   position |-> [s \in Stages |-> [p \in Partitions |-> 0]],
   positionsPending |-> {},
   group |-> [s \in Stages |-> [generation |-> 0,
                                member |-> [n \in Names |-> NoProcess],
                                owner |-> [p \in Partitions |-> Nobody],
                                claim |-> [p \in Partitions |-> Nobody]]]]
=============================================================================
