//! The anomalies: for each a script of two to four sessions, and how it shows that it happened.
//!
//! The cases are those by which Hermitage compares databases, and a few more (long fork, reads FOR UPDATE);
//! scripts and values are our own. A judge asks only what a serial order could not have answered. It must find its
//! anomaly when every statement is a commit of its own: that is how the rig proves that it can see.

use super::script::Trace;

/// What snapshot isolation says of an anomaly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    Forbidden,
    /// Only serializable transactions forbid it: it must be seen, or the rig sees nothing.
    Allowed,
}

/// One anomaly.
pub struct Case {
    /// Its name in the literature, and which form of it.
    pub name: &'static str,
    pub about: &'static str,
    pub claim: Claim,
    /// One step a line: the session, and its statement. A session begins its transaction with its first step.
    pub script: &'static str,
    /// Tells whether the anomaly happened.
    pub seen: fn(&Trace) -> bool,
}

pub const CASES: &[Case] = &[
    Case {
        name: "G0",
        about: "dirty write: the rows of two transactions end up mixed",
        claim: Claim::Forbidden,
        script: "
            A UPDATE t SET v = 101 WHERE id = 1
            B UPDATE t SET v = 102 WHERE id = 1
            B UPDATE t SET v = 202 WHERE id = 2
            A UPDATE t SET v = 201 WHERE id = 2
            A COMMIT
            B COMMIT",
        seen: |t| t.last_value(1) % 10 != t.last_value(2) % 10,
    },
    Case {
        name: "G1a",
        about: "aborted read: a row that was rolled back is read",
        claim: Claim::Forbidden,
        script: "
            A UPDATE t SET v = 101 WHERE id = 1
            B SELECT id, v FROM t
            A ROLLBACK
            B SELECT id, v FROM t
            B COMMIT",
        seen: |t| t.saw('B', 0, 1, 101) || t.saw('B', 1, 1, 101),
    },
    Case {
        name: "G1a, by predicate",
        about: "aborted read: a rolled back row is counted by a condition",
        claim: Claim::Forbidden,
        script: "
            A INSERT INTO t VALUES (3, 300)
            B SELECT id, v FROM t WHERE v % 3 = 0
            A ROLLBACK
            B SELECT id, v FROM t WHERE v % 3 = 0
            B COMMIT",
        seen: |t| t.saw('B', 0, 3, 300) || t.saw('B', 1, 3, 300),
    },
    Case {
        name: "G1b",
        about: "intermediate read: a value that its transaction replaced before it committed is read",
        claim: Claim::Forbidden,
        script: "
            A UPDATE t SET v = 101 WHERE id = 1
            B SELECT id, v FROM t
            A UPDATE t SET v = 102 WHERE id = 1
            A COMMIT
            B SELECT id, v FROM t
            B COMMIT",
        seen: |t| t.saw('B', 0, 1, 101) || t.saw('B', 1, 1, 101),
    },
    Case {
        name: "G1c",
        about: "circular information flow: each of two transactions reads what the other wrote",
        claim: Claim::Forbidden,
        script: "
            A UPDATE t SET v = 101 WHERE id = 1
            B UPDATE t SET v = 202 WHERE id = 2
            A SELECT id, v FROM t WHERE id = 2
            B SELECT id, v FROM t WHERE id = 1
            A COMMIT
            B COMMIT",
        seen: |t| t.committed("AB") && t.saw('A', 0, 2, 202) && t.saw('B', 0, 1, 101),
    },
    Case {
        name: "OTV",
        about: "observed transaction vanishes: after a transaction's row is read, its other row reads as before it",
        claim: Claim::Forbidden,
        script: "
            A UPDATE t SET v = 101 WHERE id = 1
            A UPDATE t SET v = 201 WHERE id = 2
            B UPDATE t SET v = 102 WHERE id = 1
            A COMMIT
            C SELECT id, v FROM t WHERE id = 1
            C SELECT id, v FROM t WHERE id = 2
            B UPDATE t SET v = 202 WHERE id = 2
            C SELECT id, v FROM t WHERE id = 2
            B COMMIT
            C SELECT id, v FROM t WHERE id = 2
            C SELECT id, v FROM t WHERE id = 1
            C COMMIT",
        seen: |t| {
            let values: Vec<i64> = (0..5).filter_map(|at| t.read('C', at)).flatten().map(|(_, v)| *v).collect();
            let first = values.iter().position(|v| *v == 102 || *v == 202);
            t.committed("BC") && first.is_some_and(|first| values[first..].iter().any(|v| *v != 102 && *v != 202))
        },
    },
    Case {
        name: "PMP, read",
        about: "predicate many preceders: a row that came meanwhile meets a condition",
        claim: Claim::Forbidden,
        script: "
            A SELECT id, v FROM t WHERE v = 300
            B INSERT INTO t VALUES (3, 300)
            B COMMIT
            A SELECT id, v FROM t WHERE v % 3 = 0
            A COMMIT",
        seen: |t| t.committed("AB") && t.saw('A', 1, 3, 300),
    },
    Case {
        name: "PMP, write",
        about: "predicate many preceders: a DELETE takes other rows than those that its transaction read",
        claim: Claim::Forbidden,
        script: "
            B SELECT id, v FROM t
            A UPDATE t SET v = v + 100
            B DELETE FROM t WHERE v = 200
            A COMMIT
            B SELECT id, v FROM t
            B COMMIT",
        // B read the values of before A: of the serial orders only B, A is left.
        seen: |t| t.committed("AB") && t.saw('B', 0, 2, 200) && t.last() != [(1, 200)],
    },
    Case {
        name: "P4",
        about: "lost update: two transactions write what they computed from the same value",
        claim: Claim::Forbidden,
        script: "
            A SELECT id, v FROM t WHERE id = 1
            B SELECT id, v FROM t WHERE id = 1
            A UPDATE t SET v = 110 WHERE id = 1
            B UPDATE t SET v = 120 WHERE id = 1
            A COMMIT
            B COMMIT",
        seen: |t| t.committed("AB") && t.saw('A', 0, 1, 100) && t.saw('B', 0, 1, 100),
    },
    Case {
        name: "P4, FOR UPDATE",
        about: "lost update, though both read the row FOR UPDATE",
        claim: Claim::Forbidden,
        script: "
            A SELECT id, v FROM t WHERE id = 1 FOR UPDATE
            B SELECT id, v FROM t WHERE id = 1 FOR UPDATE
            A UPDATE t SET v = 110 WHERE id = 1
            B UPDATE t SET v = 120 WHERE id = 1
            A COMMIT
            B COMMIT",
        seen: |t| t.committed("AB") && t.saw('A', 0, 1, 100) && t.saw('B', 0, 1, 100),
    },
    Case {
        name: "G-single",
        about: "read skew: one row from before another's commit, one from after it",
        claim: Claim::Forbidden,
        script: "
            A SELECT id, v FROM t WHERE id = 1
            B UPDATE t SET v = 120 WHERE id = 1
            B UPDATE t SET v = 180 WHERE id = 2
            B COMMIT
            A SELECT id, v FROM t WHERE id = 2
            A COMMIT",
        seen: |t| t.committed("AB") && t.saw('A', 0, 1, 100) && t.saw('A', 1, 2, 180),
    },
    Case {
        name: "G-single, by predicate",
        about: "read skew: a changed row meets a second condition after it met a first one unchanged",
        claim: Claim::Forbidden,
        script: "
            A SELECT id, v FROM t WHERE v < 150
            B UPDATE t SET v = 333 WHERE v = 100
            B COMMIT
            A SELECT id, v FROM t WHERE v > 300
            A COMMIT",
        seen: |t| t.committed("AB") && t.saw('A', 0, 1, 100) && t.saw('A', 1, 1, 333),
    },
    Case {
        name: "G-single, DELETE misses",
        about: "a DELETE passes over a row that its transaction still reads as meeting the condition",
        claim: Claim::Forbidden,
        script: "
            A SELECT id, v FROM t
            B UPDATE t SET v = 120 WHERE id = 1
            B UPDATE t SET v = 180 WHERE id = 2
            B COMMIT
            A DELETE FROM t WHERE v = 200
            A SELECT id, v FROM t
            A COMMIT",
        seen: |t| t.committed("AB") && t.saw('A', 0, 2, 200) && t.last_value(2) == 180,
    },
    Case {
        name: "G-single, DELETE hits",
        about: "a DELETE takes a row by a value that its transaction has never read",
        claim: Claim::Forbidden,
        script: "
            A SELECT id, v FROM t
            B UPDATE t SET v = 200 WHERE id = 1
            B UPDATE t SET v = 100 WHERE id = 2
            B COMMIT
            A DELETE FROM t WHERE v = 200
            A COMMIT",
        seen: |t| t.committed("AB") && t.saw('A', 0, 1, 100) && t.last() == [(2, 100)],
    },
    Case {
        name: "G-single, UPDATE of a phantom",
        about: "an UPDATE reaches a row that was not there when its transaction read",
        claim: Claim::Forbidden,
        script: "
            A SELECT id, v FROM t
            B INSERT INTO t VALUES (3, 300)
            B COMMIT
            A UPDATE t SET v = v + 1 WHERE v >= 200
            A COMMIT",
        seen: |t| t.committed("AB") && t.read('A', 0).is_some_and(|rows| rows.len() == 2) && t.last_value(3) == 301,
    },
    Case {
        name: "G-single, own write",
        about: "another's commit shows through a transaction's own write",
        claim: Claim::Forbidden,
        script: "
            A SELECT id, v FROM t
            B UPDATE t SET v = 180 WHERE id = 2
            B COMMIT
            A UPDATE t SET v = v + 1 WHERE id = 2
            A SELECT id, v FROM t WHERE id = 2
            A COMMIT",
        seen: |t| t.committed("AB") && t.saw('A', 0, 2, 200) && t.saw('A', 1, 2, 181),
    },
    Case {
        name: "Long fork",
        about: "two readers see two commits in opposite orders",
        claim: Claim::Forbidden,
        script: "
            C SELECT id, v FROM t WHERE id = 1
            D SELECT id, v FROM t WHERE id = 2
            A UPDATE t SET v = 101 WHERE id = 1
            B UPDATE t SET v = 202 WHERE id = 2
            A COMMIT
            B COMMIT
            C SELECT id, v FROM t WHERE id = 2
            D SELECT id, v FROM t WHERE id = 1
            C COMMIT
            D COMMIT",
        seen: |t| {
            let forked =
                t.saw('C', 0, 1, 100) && t.saw('C', 1, 2, 202) && t.saw('D', 0, 2, 200) && t.saw('D', 1, 1, 101);
            t.committed("ABCD") && forked
        },
    },
    Case {
        name: "G2-item",
        about: "write skew: each of two transactions writes the row that only the other one read",
        claim: Claim::Allowed,
        script: "
            A SELECT id, v FROM t
            B SELECT id, v FROM t
            A UPDATE t SET v = 0 WHERE id = 1
            B UPDATE t SET v = 0 WHERE id = 2
            A COMMIT
            B COMMIT",
        seen: |t| t.committed("AB") && t.saw('A', 0, 2, 200) && t.saw('B', 0, 1, 100),
    },
    Case {
        name: "G2-item, FOR UPDATE",
        about: "write skew, though both read the rows FOR UPDATE",
        claim: Claim::Forbidden,
        script: "
            A SELECT id, v FROM t FOR UPDATE
            B SELECT id, v FROM t FOR UPDATE
            A UPDATE t SET v = 0 WHERE id = 1
            B UPDATE t SET v = 0 WHERE id = 2
            A COMMIT
            B COMMIT",
        seen: |t| t.committed("AB") && t.saw('A', 0, 2, 200) && t.saw('B', 0, 1, 100),
    },
    Case {
        name: "G2-item, FOR SHARE",
        about: "write skew, though both read the rows LOCK IN SHARE MODE",
        claim: Claim::Forbidden,
        script: "
            A SELECT id, v FROM t LOCK IN SHARE MODE
            B SELECT id, v FROM t LOCK IN SHARE MODE
            A UPDATE t SET v = 0 WHERE id = 1
            B UPDATE t SET v = 0 WHERE id = 2
            A COMMIT
            B COMMIT",
        seen: |t| t.committed("AB") && t.saw('A', 0, 2, 200) && t.saw('B', 0, 1, 100),
    },
    Case {
        name: "G2",
        about: "write skew by condition: each of two transactions adds the row that the other one did not find",
        claim: Claim::Allowed,
        script: "
            A SELECT id, v FROM t WHERE v % 3 = 0
            B SELECT id, v FROM t WHERE v % 3 = 0
            A INSERT INTO t VALUES (3, 300)
            B INSERT INTO t VALUES (4, 420)
            A COMMIT
            B COMMIT",
        seen: |t| t.committed("AB") && t.found_nothing('A', 0) && t.found_nothing('B', 0),
    },
    Case {
        name: "G2, FOR UPDATE",
        about: "the same, though both look FOR UPDATE: a row that is not there cannot be held on to",
        claim: Claim::Allowed,
        script: "
            A SELECT id, v FROM t WHERE v % 3 = 0 FOR UPDATE
            B SELECT id, v FROM t WHERE v % 3 = 0 FOR UPDATE
            A INSERT INTO t VALUES (3, 300)
            B INSERT INTO t VALUES (4, 420)
            A COMMIT
            B COMMIT",
        seen: |t| t.committed("AB") && t.found_nothing('A', 0) && t.found_nothing('B', 0),
    },
    Case {
        name: "G2, read-only",
        about: "a reader sees a state that no serial order of the two writers has",
        claim: Claim::Allowed,
        script: "
            A SELECT id, v FROM t
            B UPDATE t SET v = 205 WHERE id = 2
            B COMMIT
            C SELECT id, v FROM t
            C COMMIT
            A UPDATE t SET v = 0 WHERE id = 1
            A COMMIT",
        seen: |t| t.committed("ABC") && t.saw('A', 0, 2, 200) && t.saw('C', 0, 2, 205) && t.saw('C', 0, 1, 100),
    },
];
