------------------------------- MODULE Bounds -------------------------------
(***************************************************************************)
(* The bounds within which TLC looks at every behaviour.  check.py chooses *)
(* from here, and writes the configuration that TLC reads.                 *)
(***************************************************************************)
EXTENDS Wcsup

NoFaults == [late |-> 0, crashes |-> 0, aborts |-> 0, moves |-> 0, sessions |-> 0, timeouts |-> 0, expiries |-> 0]

Line(l) == [x \in Lines |-> IF x = l THEN 1 ELSE 0]
Both(a, b) == Plus(Line(a), Line(b))

\* Lines 1, 2, 3 ...; who has which partition.
AllHome0 == [l \in Lines |-> 0]
OneEach == [l \in Lines |-> (l + 1) % 2]

\* One name, and processes of it one after the other or at once.
Two == [q \in Processes |-> "a"]
Mapper == [n \in Names |-> "lines"]
Reducer == [n \in Names |-> "words"]
\* Two names: the last process is the second name's.
Others == [q \in Processes |-> IF q = Cardinality(Processes) THEN "b" ELSE "a"]
Pipeline == [n \in Names |-> IF n = "a" THEN "lines" ELSE "words"]
OwnHosts == [n \in Names |-> n]
OneHost == [n \in Names |-> "host"]

OneLine == (<<"lines", 0>> :> <<Line(1)>>)
TwoLines == (<<"lines", 0>> :> <<Line(1), Line(2)>>)
ALineEach == (<<"lines", 0>> :> <<Line(1)>> @@ <<"lines", 1>> :> <<Line(2)>>)
OneWord == (<<"words", 0>> :> <<Line(1)>>)
TwoWords == (<<"words", 0>> :> <<Line(1), Line(2)>>)
\* The first record of words is mixed: it has a word of each partition.
Mixed == (<<"words", 0>> :> <<Both(1, 2)>>)
MixedAndOne == (<<"words", 0>> :> <<Both(1, 2)>> @@ <<"words", 1>> :> <<Line(3)>>)
HomeOfThree == [l \in Lines |-> IF l = 1 THEN 0 ELSE 1]

(***************************************************************************)
(* Later starts: process 1, of name "a", has begun its work on all         *)
(* partitions.  Of the other names no process is there yet, or one has     *)
(* joined, too.  Behaviours from Init on come by here, too; TLC then has   *)
(* less to look at.                                                        *)
(***************************************************************************)
FirstOf(n) == CHOOSE q \in Processes : NameOf[q] = n /\ \A r \in Processes : NameOf[r] = n => q <= r

AtWork(present) ==
  LET all == [p \in Partitions |-> "a"]
      idle == [Nothing EXCEPT !.at = "idle", !.epoch = 1, !.last = 1, !.joined = TRUE]
  IN  /\ kafka = [Fresh(Logs0) EXCEPT
                    !.coordinator = [n \in Names |-> [@[n] EXCEPT !.epoch = IF n \in present THEN 1 ELSE 0]],
                    !.group[Input["a"]] = [generation |-> 2,
                                           member |-> [n \in Names |-> IF n \in present THEN FirstOf(n) ELSE NoProcess],
                                           owner |-> all, claim |-> all]]
      /\ process = [q \in Processes |->
           IF q = FirstOf("a") THEN [idle EXCEPT !.part = [p \in Partitions |-> [Closed EXCEPT !.step = "open"]]]
           ELSE IF NameOf[q] \in present /\ q = FirstOf(NameOf[q]) THEN idle
           ELSE Nothing]
      /\ store = [h \in {HostOf[n] : n \in Names} |->
                    [p \in Partitions |->
                       [total |-> None, stamp |-> 0, own |-> FALSE,
                        lock |-> IF h = HostOf["a"] /\ Input["a"] = "words" THEN FirstOf("a") ELSE NoProcess]]]
      /\ network = {}
      /\ left = Budget

\* Two processes that take the name from each other make one producer after the other: TLC looks at the first few.
AtMostProducers(most) == \A n \in Names : kafka.coordinator[n].epoch <= most

OneAtWork == AtWork({"a"}) /\ [][Next]_vars
AllAtWork == AtWork(Names) /\ [][Next]_vars  \* for names of one stage
=============================================================================
