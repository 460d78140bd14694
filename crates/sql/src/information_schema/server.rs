//! What is so of the server and not of a catalog: engines, character sets, connections, variables, users.

use super::VirtualTable;
use crate::show::answer::CellKind::{Long, Text, UInt};
use crate::show::answer::{Cell, CellKind, row};
use crate::show::{CHARSETS, COLLATIONS, ShowContext, process_row};
use crate::users;

const DB: &str = "information_schema";
const PERFORMANCE: &str = "performance_schema";
const NAME_VALUE: &[(&str, CellKind)] = &[("VARIABLE_NAME", Text), ("VARIABLE_VALUE", Long)];
const PROCESSES: &[(&str, CellKind)] = &[
    ("ID", UInt),
    ("USER", Text),
    ("HOST", Text),
    ("DB", Text),
    ("COMMAND", Text),
    ("TIME", UInt),
    ("STATE", Text),
    ("INFO", Long),
];

pub(super) const TABLES: &[VirtualTable] = &[
    VirtualTable {
        database: DB,
        name: "ENGINES",
        columns: &[
            ("ENGINE", Text),
            ("SUPPORT", Text),
            ("COMMENT", Text),
            ("TRANSACTIONS", Text),
            ("XA", Text),
            ("SAVEPOINTS", Text),
        ],
        rows: |_| vec![row!["InnoDB", "DEFAULT", "Strandline", "YES", "NO", "YES"]],
    },
    VirtualTable {
        database: DB,
        name: "CHARACTER_SETS",
        columns: &[
            ("CHARACTER_SET_NAME", Text),
            ("DEFAULT_COLLATE_NAME", Text),
            ("DESCRIPTION", Text),
            ("MAXLEN", UInt),
        ],
        rows: |_| CHARSETS.iter().map(|c| row![c.name, c.collation, c.description, c.max_bytes]).collect(),
    },
    VirtualTable {
        database: DB,
        name: "COLLATIONS",
        columns: &[
            ("COLLATION_NAME", Text),
            ("CHARACTER_SET_NAME", Text),
            ("ID", UInt),
            ("IS_DEFAULT", Text),
            ("IS_COMPILED", Text),
            ("SORTLEN", UInt),
            ("PAD_ATTRIBUTE", Text),
        ],
        rows: |_| {
            let collations = COLLATIONS.iter();
            collations
                .map(|c| row![c.name, c.charset, c.id, if c.default { "Yes" } else { "" }, "Yes", 1u64, c.padding])
                .collect()
        },
    },
    VirtualTable {
        database: DB,
        name: "COLLATION_CHARACTER_SET_APPLICABILITY",
        columns: &[("COLLATION_NAME", Text), ("CHARACTER_SET_NAME", Text)],
        rows: |_| COLLATIONS.iter().map(|c| row![c.name, c.charset]).collect(),
    },
    VirtualTable { database: DB, name: "PROCESSLIST", columns: PROCESSES, rows: processes },
    VirtualTable {
        database: DB,
        name: "PLUGINS",
        columns: &[
            ("PLUGIN_NAME", Text),
            ("PLUGIN_VERSION", Text),
            ("PLUGIN_STATUS", Text),
            ("PLUGIN_TYPE", Text),
            ("PLUGIN_DESCRIPTION", Long),
            ("PLUGIN_LICENSE", Text),
        ],
        rows: |_| {
            let plugin = |name: &str, kind: &str| row![name, "1.0", "ACTIVE", kind, "", "Apache-2.0"];
            vec![
                plugin("caching_sha2_password", "AUTHENTICATION"),
                plugin("mysql_native_password", "AUTHENTICATION"),
                plugin("InnoDB", "STORAGE ENGINE"),
            ]
        },
    },
    VirtualTable {
        database: DB,
        name: "USER_PRIVILEGES",
        columns: &[("GRANTEE", Text), ("TABLE_CATALOG", Text), ("PRIVILEGE_TYPE", Text), ("IS_GRANTABLE", Text)],
        rows: user_privileges,
    },
    VirtualTable { database: DB, name: "SESSION_VARIABLES", columns: NAME_VALUE, rows: |cx| pairs(cx.variables) },
    VirtualTable { database: DB, name: "GLOBAL_VARIABLES", columns: NAME_VALUE, rows: |cx| pairs(cx.global_variables) },
    VirtualTable { database: DB, name: "SESSION_STATUS", columns: NAME_VALUE, rows: |cx| pairs(cx.status) },
    VirtualTable { database: DB, name: "GLOBAL_STATUS", columns: NAME_VALUE, rows: |cx| pairs(cx.status) },
    VirtualTable {
        database: PERFORMANCE,
        name: "session_variables",
        columns: NAME_VALUE,
        rows: |cx| pairs(cx.variables),
    },
    VirtualTable {
        database: PERFORMANCE,
        name: "global_variables",
        columns: NAME_VALUE,
        rows: |cx| pairs(cx.global_variables),
    },
    VirtualTable { database: PERFORMANCE, name: "session_status", columns: NAME_VALUE, rows: |cx| pairs(cx.status) },
    VirtualTable { database: PERFORMANCE, name: "global_status", columns: NAME_VALUE, rows: |cx| pairs(cx.status) },
    VirtualTable { database: PERFORMANCE, name: "processlist", columns: PROCESSES, rows: processes },
    VirtualTable {
        database: "mysql",
        name: "user",
        columns: &[
            ("Host", Text),
            ("User", Text),
            ("plugin", Text),
            ("authentication_string", Text),
            ("account_locked", Text),
            ("password_expired", Text),
            ("Select_priv", Text),
            ("Insert_priv", Text),
            ("Update_priv", Text),
            ("Delete_priv", Text),
            ("Create_priv", Text),
            ("Drop_priv", Text),
            ("Grant_priv", Text),
            ("Super_priv", Text),
        ],
        rows: mysql_user,
    },
];

fn pairs(pairs: &[(String, String)]) -> Vec<Vec<Cell>> {
    pairs.iter().map(|(name, value)| row![name, value]).collect()
}

fn processes(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    cx.processes.iter().map(|process| process_row(process, true)).collect()
}

fn user_privileges(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    const PRIVILEGES: [&str; 15] = [
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "CREATE",
        "DROP",
        "RELOAD",
        "PROCESS",
        "REFERENCES",
        "INDEX",
        "ALTER",
        "SHOW DATABASES",
        "CREATE VIEW",
        "SHOW VIEW",
        "CREATE USER",
    ];
    let mut rows = Vec::new();
    for user in cx.catalog.users().iter().filter(|user| user.account == cx.account) {
        let grantee = format!("'{}'@'{}'", user.name, users::host_of(user));
        rows.extend(PRIVILEGES.iter().map(|privilege| row![&grantee, "def", *privilege, "YES"]));
    }
    rows
}

fn mysql_user(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let users = cx.catalog.users();
    let own = users.iter().filter(|user| user.account == cx.account);
    own.map(|user| {
        let sha2 = user.verifiers.contains_key("caching_sha2_password")
            || !user.verifiers.contains_key("mysql_native_password");
        let plugin = if sha2 { "caching_sha2_password" } else { "mysql_native_password" };
        let locked = if user.verifiers.contains_key("locked") { "Y" } else { "N" };
        // The verifier itself is shown to nobody.
        row![users::host_of(user), &user.name, plugin, "", locked, "N", "Y", "Y", "Y", "Y", "Y", "Y", "Y", "Y"]
    })
    .collect()
}
